//! Two subjects on AF_XDP: the appliance with calls set up over `ng`, and testpmd in io mode. Main thread.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tandem_lab::{
    appliance::{Appliance, Device, Setup},
    ng::Client,
    process::{Running, command_in},
    topology::{CALLER, Topology},
};

use super::{
    calls::{CONTROL, set_up},
    generator::Stream,
    place::{BUFFERS, DESCRIPTORS, GENERATOR_CPU, SUBJECT_CPU},
};

pub struct Tandem {
    pub appliance: Appliance,
}

impl Tandem {
    /// `CALLS` relayed and `CALLS` converted calls; their callers' streams.
    pub fn start(binary: &Path, ground: &Topology, room: &Path) -> Result<(Self, Vec<Stream>, Vec<Stream>)> {
        let setup = Setup {
            poll: "busy",
            descriptors: DESCRIPTORS,
            media_timeout_s: 0,
            log: "warn",
            extra: "\n[ng]\nmedia = [\"a4\"]\n".into(),
            ..Setup::new(Device::AfXdp)
        };
        let appliance = Appliance::start(binary, &setup, ground, room).context("tandem on AF_XDP")?;
        let (relay, transcode) = set_up(&mut Client::open(&ground.tandem, CONTROL)?).context("tandem")?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let ready = ready(&appliance)?;
            if ready == relay.len() + transcode.len() {
                return Ok((Tandem { appliance }, relay, transcode));
            }
            ensure!(Instant::now() < deadline, "{ready} callers' streams are ready to go on");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Cycles that the worker has spent in turns with packets.
    pub fn busy_cycles(&self) -> Result<f64> {
        let samples = self.appliance.metrics()?;
        let busy = |name: &str| name.starts_with("tandem_worker_cycles_total{") && name.contains("state=\"busy\"");
        samples.iter().find(|(name, _)| busy(name)).map(|(_, value)| *value).context("no busy cycles in /metrics")
    }
}

/// Streams of callers whose next hop is known, as the workers' plans have it.
fn ready(appliance: &Appliance) -> Result<usize> {
    let flows = appliance.ask(&["flows", "--limit", "10000"])?;
    let rows = flows["rows"].as_array().context("`tandem flows` has no rows")?;
    let of_caller = |flow: &&Value| {
        let source: Option<SocketAddr> = flow["source"].as_str().and_then(|at| at.parse().ok());
        source.is_some_and(|at| at.ip() == CALLER) && flow["kind"] != "rtcp" && flow["destination"].is_string()
    };
    let waits = |flow: &&Value| flow["not_ready"].as_str().is_some_and(|why| !why.is_empty());
    Ok(rows.iter().filter(of_caller).filter(|flow| !waits(flow)).count())
}

pub struct Testpmd {
    running: Running,
}

impl Testpmd {
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// One forwarding core; `count_cycles` makes it tell its cycles for each packet when it ends.
    pub fn start(ground: &Topology, room: &Path, count_cycles: bool) -> Result<Self> {
        let mut command = command_in(Some(&ground.tandem.name), "dpdk-testpmd");
        command.args(["--no-huge", "--no-shconf", "-m", "512", "--no-pci", "--no-telemetry"]);
        command.arg(format!("--lcores=0@{GENERATOR_CPU},1@{SUBJECT_CPU}")).arg("--main-lcore=0");
        for port in 0..2 {
            command.arg(format!("--vdev={}", Device::AfXdp.vdev(port, 1)));
        }
        // With a period of statistics it needs no terminal.
        command.args(["--", "--forward-mode=io", "--auto-start", "--nb-cores=1", "--stats-period=3600"]);
        command.args(["--rxq=1", "--txq=1", "--burst=32", "--port-topology=paired"]);
        command.arg(format!("--rxd={DESCRIPTORS}")).arg(format!("--txd={DESCRIPTORS}"));
        command.arg(format!("--total-num-mbufs={BUFFERS}"));
        if count_cycles {
            command.arg("--record-core-cycles");
        }
        let mut running = Running::start("dpdk-testpmd", command, room.join("testpmd.log"))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !running.output().contains("Port statistics") {
            ensure!(running.ended()?.is_none(), "testpmd ended at its start: {}", running.tail());
            ensure!(Instant::now() < deadline, "testpmd does not start: {}", running.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Testpmd { running })
    }

    /// Its ports are free afterwards.
    pub fn end(&mut self) -> Result<()> {
        self.running.signal(libc::SIGINT)?;
        self.running.wait(Duration::from_secs(10)).map(drop)
    }

    /// Ends it; the cycles it spent for each packet in rounds that found some.
    pub fn cycles_per_packet(&mut self) -> Result<f64> {
        self.end()?;
        let output = self.running.output();
        let (_, rest) = output.split_once("CPU cycles/packet=").context("testpmd tells no cycles")?;
        let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        Ok(number.trim_end_matches('.').parse()?)
    }
}
