//! Two subjects on AF_XDP: the appliance with calls placed by SIP, and testpmd in io mode. Main thread.

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tandem_lab::{
    appliance::{Appliance, Device, Setup},
    lab::source_root,
    law::Law,
    process::{Running, command_in},
    sipp::{Formats, Phone, Sipp},
    topology::{self, CALLEE, CALLER, SECOND, TANDEM_A, Topology},
};

use super::{
    bpf::pin,
    generator::Stream,
    place::{BUFFERS, CALLS, DESCRIPTORS, GENERATOR_CPU, SUBJECT_CPU},
};

/// New calls a second: what SIPp places without haste.
const CALL_RATE: u32 = 400;
/// Calls stay up until their phones are ended.
const HOUR: Duration = Duration::from_secs(3600);

pub struct Tandem {
    /// Ended first: nobody waits for a BYE.
    pub appliance: Appliance,
    _phones: Vec<Sipp>,
}

impl Tandem {
    /// `CALLS` relayed and `CALLS` converted calls; their callers' streams.
    pub fn start(binary: &Path, ground: &Topology, room: &Path) -> Result<(Self, Vec<Stream>, Vec<Stream>)> {
        let setup = Setup {
            poll: "busy",
            descriptors: DESCRIPTORS,
            media_timeout_s: 0,
            log: "warn",
            // The relayed calls' callee takes the caller's law, the other one the other: a trunk each.
            callee_codecs: r#"["PCMU"]"#,
            extra: format!(
                "\n[[trunk]]\nname = \"other_law\"\naddress = \"b4\"\ncodecs = [\"PCMA\"]\ndestinations = [\"{}\"]\n\
                 \n[[route]]\nprefix = \"8\"\nto = [\"other_law\"]\n",
                topology::sip_uri(SECOND, false)
            ),
            ..Setup::new(Device::AfXdp)
        };
        let appliance = Appliance::start(binary, &setup, ground, room).context("tandem on AF_XDP")?;
        // Phones inherit where this thread may run.
        pin(&[GENERATOR_CPU])?;
        let phones = place_calls(ground, room);
        pin(&[GENERATOR_CPU, SUBJECT_CPU])?;
        let phones = phones?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (relay, transcode) = streams(&appliance)?;
            if relay.len() == CALLS as usize && transcode.len() == CALLS as usize {
                return Ok((Tandem { appliance, _phones: phones }, relay, transcode));
            }
            ensure!(
                Instant::now() < deadline,
                "{} relayed and {} converted calls of {CALLS} each were set up",
                relay.len(),
                transcode.len()
            );
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

fn place_calls(ground: &Topology, room: &Path) -> Result<Vec<Sipp>> {
    let scenarios = source_root().join("tests/scenarios");
    let mut phones = Vec::new();
    for (names, address, law, dial, port, media_port) in [
        (("caller_relay", "callee_relay"), CALLEE, Law::Mu, "70", 5060, 30_000),
        (("caller_law", "callee_law"), SECOND, Law::A, "80", 5061, 34_000),
    ] {
        let callee = Phone { name: names.1.into(), calls: CALLS, limit: HOUR, ..Phone::callee(address, law) };
        phones.push(callee.start(&ground.callee, &scenarios, room)?);
        wait_for_port(ground, address)?;
        let caller = Phone {
            name: names.0.into(),
            port,
            dial: dial.to_owned(),
            media_port,
            calls: CALLS,
            rate: CALL_RATE,
            formats: Formats::of(Law::Mu, None),
            limit: HOUR,
            ..Phone::caller(CALLER, TANDEM_A, Law::Mu)
        }
        .with("talk_ms", HOUR.as_millis());
        phones.push(caller.start(&ground.caller, &scenarios, room)?);
    }
    Ok(phones)
}

fn wait_for_port(ground: &Topology, address: IpAddr) -> Result<()> {
    for _ in 0..250 {
        if !ground.callee.run("ss", &["-ulnH", &format!("src {address}:5060")])?.trim().is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("SIPp does not listen at {address}")
}

/// What the caller sends, as the workers' plans have it.
fn streams(appliance: &Appliance) -> Result<(Vec<Stream>, Vec<Stream>)> {
    let flows = appliance.ask(&["flows", "--limit", "10000"])?;
    let (mut relay, mut transcode) = (Vec::new(), Vec::new());
    for flow in flows["rows"].as_array().context("`tandem flows` has no rows")? {
        let address = |key: &str| -> Option<std::net::SocketAddr> { flow[key].as_str()?.parse().ok() };
        let (Some(from), Some(to), Some(_)) = (address("source"), address("local"), address("destination")) else {
            continue;
        };
        if from.ip() != CALLER
            || flow["kind"] == "rtcp"
            || flow["not_ready"].as_str().is_some_and(|why| !why.is_empty())
        {
            continue;
        }
        let list = if flow["transcode"].is_null() { &mut relay } else { &mut transcode };
        list.push(Stream { from, to });
    }
    Ok((relay, transcode))
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
