//! Phones that are SIPp: which scenario, with what filled in, from where to where. Main thread.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    law::Law,
    net::Namespace,
    process::{Running, command_in},
    script::Script,
};

/// The payload types and attributes of a phone's session description.
#[derive(Clone, Debug)]
pub struct Formats {
    pub payloads: String,
    pub rtpmap: String,
}

impl Formats {
    /// One law, and telephone-event under this number.
    pub fn of(law: Law, event: Option<u8>) -> Self {
        let pt = law.payload_type();
        let mut formats =
            Formats { payloads: pt.to_string(), rtpmap: format!("a=rtpmap:{pt} {}/8000", law.encoding()) };
        if let Some(event) = event {
            formats.payloads += &format!(" {event}");
            formats.rtpmap += &format!("\n      a=rtpmap:{event} telephone-event/8000\n      a=fmtp:{event} 0-15");
        }
        formats
    }
}

/// What to start SIPp with.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Names its files, and the file of its scenario in tests/scenarios.
    pub name: String,
    pub scenario: &'static str,
    /// In place of that file.
    pub script: Option<Script>,
    pub address: IpAddr,
    pub port: u16,
    /// Whom to call; None: it waits for calls.
    pub target: Option<SocketAddr>,
    /// What to dial; SIPp adds the call's number.
    pub dial: String,
    pub tcp: bool,
    pub media_port: u16,
    pub calls: u32,
    /// New calls per second.
    pub rate: u32,
    pub formats: Formats,
    /// A capture to play.
    pub play: Option<PathBuf>,
    pub fill: Vec<(&'static str, String)>,
    /// It fails if it takes longer.
    pub limit: Duration,
}

impl Phone {
    pub fn caller(address: IpAddr, target: IpAddr, law: Law) -> Self {
        Phone {
            name: "caller".into(),
            scenario: "caller",
            script: None,
            address,
            port: 5060,
            target: Some(SocketAddr::new(target, 5060)),
            dial: "70".to_owned(),
            tcp: false,
            media_port: 30_000,
            calls: 1,
            rate: 10,
            formats: Formats::of(law, None),
            play: None,
            fill: Vec::new(),
            limit: Duration::from_secs(60),
        }
    }

    pub fn callee(address: IpAddr, law: Law) -> Self {
        Phone {
            name: "callee".into(),
            scenario: "callee",
            target: None,
            media_port: 40_000,
            ..Phone::caller(address, address, law)
        }
    }

    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.fill.push((key, value.to_string()));
        self
    }

    pub fn scenario(mut self, scenario: &'static str) -> Self {
        self.scenario = scenario;
        self
    }

    pub fn follows(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    pub fn plays(mut self, capture: &Path) -> Self {
        self.play = Some(capture.to_owned());
        self
    }

    /// The scenario file with everything filled in.
    fn script(&self, scenarios: &Path) -> Result<String> {
        let path = scenarios.join(format!("{}.xml", self.scenario));
        let mut script = match &self.script {
            Some(script) => script.xml(),
            None => std::fs::read_to_string(&path).with_context(|| format!("no scenario {}", path.display()))?,
        };
        let play = self.play.as_ref().map_or(String::new(), |capture| {
            format!("<nop><action><exec play_pcap_audio=\"{}\"/></action></nop>", capture.display())
        });
        let given = self.fill.iter().map(|(key, value)| (*key, value.clone()));
        let usual = [
            ("payloads", self.formats.payloads.clone()),
            ("rtpmap", self.formats.rtpmap.clone()),
            ("play", play),
            ("talk_ms", "8000".to_owned()),
            ("ring_ms", "200".to_owned()),
            ("hold", "inactive".to_owned()),
            ("hold_ms", "3000".to_owned()),
            ("patience_ms", "30000".to_owned()),
        ];
        for (key, value) in given.chain(usual) {
            script = script.replace(&format!("{{{{{key}}}}}"), &value);
        }
        // The opening comment names the blanks; a blank anywhere else was not filled in.
        let body = script.split_once("-->").map_or(script.as_str(), |(_, body)| body);
        ensure!(!body.contains("{{"), "scenario {} has a blank that was not filled in", self.scenario);
        Ok(script)
    }

    pub fn start(&self, namespace: &Namespace, scenarios: &Path, room: &Path) -> Result<Sipp> {
        let file = room.join(format!("{}.xml", self.name));
        std::fs::write(&file, self.script(scenarios)?)?;
        let mut command = command_in(Some(&namespace.name), "sipp");
        command.current_dir(room).arg("-sf").arg(&file).args(["-nostdin", "-timeout_error", "-trace_err"]);
        if self.calls <= 50 {
            command.arg("-trace_msg").arg("-message_file").arg(room.join(format!("{}.messages", self.name)));
        }
        let address = self.address.to_string();
        let number = |n: u32| n.to_string();
        command
            .arg("-error_file")
            .arg(room.join(format!("{}.errors", self.name)))
            .args(["-trace_stat", "-fd", "1", "-stf"])
            .arg(room.join(format!("{}.csv", self.name)))
            .args(["-i", &address, "-mi", &address, "-p", &self.port.to_string()])
            .args(["-mp", &self.media_port.to_string(), "-max_socket", "2000"])
            .args(["-m", &number(self.calls), "-l", &number(self.calls), "-r", &number(self.rate)])
            .args(["-timeout", &format!("{}s", self.limit.as_secs()), "-s", &self.dial])
            .args(["-t", if self.tcp { "t1" } else { "u1" }]);
        if let Some(target) = self.target {
            command.arg(target.to_string());
        }
        let running = Running::start(&self.name, command, room.join(format!("{}.log", self.name)))?;
        Ok(Sipp { running, room: room.to_owned(), name: self.name.clone(), limit: self.limit, calls: self.calls })
    }
}

/// A SIPp that runs.
pub struct Sipp {
    pub running: Running,
    room: PathBuf,
    name: String,
    limit: Duration,
    calls: u32,
}

impl Sipp {
    /// Waits until all its calls ended the way the scenario says.
    pub fn finish(&mut self) -> Result<()> {
        let status = self.running.wait(self.limit + Duration::from_secs(10))?;
        let (good, failed) = self.counts();
        if status.success() && good == u64::from(self.calls) && failed == 0 {
            return Ok(());
        }
        let errors = std::fs::read_to_string(self.room.join(format!("{}.errors", self.name))).unwrap_or_default();
        let first: Vec<&str> = errors.lines().take(12).collect();
        bail!(
            "SIPp as {}: {status}, {good} of {} calls went as they should, {failed} failed\n{}\n(all of it: {}/{}.errors)",
            self.name,
            self.calls,
            first.join("\n"),
            self.room.display(),
            self.name
        )
    }

    /// Successful and failed calls so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.statistic("SuccessfulCall(C)"), self.statistic("FailedCall(C)"))
    }

    /// Messages that it sent again.
    pub fn retransmissions(&self) -> u64 {
        self.statistic("Retransmissions(C)")
    }

    fn statistic(&self, wanted: &str) -> u64 {
        let csv = std::fs::read_to_string(self.room.join(format!("{}.csv", self.name))).unwrap_or_default();
        let mut lines = csv.lines();
        let (Some(names), Some(last)) = (lines.next(), lines.next_back()) else { return 0 };
        let index = names.split(';').position(|name| name == wanted);
        index.and_then(|i| last.split(';').nth(i)?.parse().ok()).unwrap_or(0)
    }
}
