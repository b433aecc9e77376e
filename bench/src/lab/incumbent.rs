//! rtpengine as Debian ships it, in user space on one core, with calls set up over its `ng` protocol. Main thread.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tandem_lab::{
    ng::Client,
    process::{Running, command_in},
    topology::{TANDEM_A, TANDEM_B, Topology},
};

use super::{
    calls::{CONTROL, set_up},
    generator::Stream,
    place::SUBJECT_CPU,
};

pub struct Rtpengine {
    running: Running,
}

impl Rtpengine {
    /// Its ports are free afterwards.
    pub fn end(&mut self) -> Result<()> {
        self.running.signal(libc::SIGKILL)?;
        self.running.wait(Duration::from_secs(10)).map(drop)
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it needs of the ground, once.
    pub fn prepare(ground: &Topology) -> Result<()> {
        for (port, address) in [("p0", TANDEM_A), ("p1", TANDEM_B)] {
            ground.tandem.address(port, address, 24)?;
            // Nothing but media and some ARP is to be counted.
            ground.tandem.sysctl(&format!("net.ipv6.conf.{port}.disable_ipv6"), "1")?;
            // The generator's frames are taken by the port's NAPI, which veth runs only for XDP or GRO.
            ground.tandem.run("ethtool", &["-K", port, "gro", "on"])?;
        }
        Ok(())
    }

    /// Relayed and converted calls, and their callers' streams.
    pub fn start(ground: &Topology, room: &Path) -> Result<(Self, Vec<Stream>, Vec<Stream>)> {
        let mut command = command_in(Some(&ground.tandem.name), "taskset");
        command.args(["-c", &SUBJECT_CPU.to_string(), "rtpengine", "--foreground", "--log-stderr", "--log-level=3"]);
        // Table -1: no kernel module; the packets go through user space.
        command.args(["--config-file=none", "--table=-1", "--num-threads=1", "--media-num-threads=1"]);
        command.arg(format!("--interface=a4/{TANDEM_A}")).arg(format!("--interface=b4/{TANDEM_B}"));
        command.arg(format!("--listen-ng={CONTROL}")).args(["--port-min=20000", "--port-max=27999"]);
        command.args(["--timeout=3600", "--silent-timeout=3600", "--offer-timeout=3600"]);
        let mut running = Running::start("rtpengine", command, room.join("rtpengine.log"))?;
        let mut client = Client::open(&ground.tandem, CONTROL)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while client.ask(&json!({ "command": "ping" })).is_err() {
            ensure!(running.ended()?.is_none(), "rtpengine ended at its start: {}", running.tail());
            ensure!(Instant::now() < deadline, "rtpengine does not answer: {}", running.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        let (relay, transcode) = set_up(&mut client).context("rtpengine")?;
        Ok((Rtpengine { running }, relay, transcode))
    }
}
