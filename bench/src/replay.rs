//! tandem's own replay, as its users run it: `tandem replay generate` makes a capture, `tandem --json replay run` sends
//! it through the worker on `net_pcap`. Main thread.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tandem::replay::{
    capture::{self, Writer},
    sessions,
};
use tandem_lab::{
    cleanup,
    process::{self, Running},
    sys,
};

use crate::{
    Bench,
    testpmd::{Place, Testpmd},
};

/// What a capture is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub flows: usize,
    /// Of each flow, in sequence.
    pub packets: usize,
    /// None: G.711 of 20 ms, 214 bytes.
    pub frame_bytes: Option<usize>,
}

impl Recipe {
    pub fn total(self) -> usize {
        self.flows * self.packets
    }

    fn name(self) -> String {
        let size = self.frame_bytes.map_or("g711".to_owned(), |bytes| format!("{bytes}B"));
        format!("{}x{}-{size}.pcap", self.flows, self.packets)
    }
}

/// A capture on disk.
#[derive(Clone, Debug)]
pub struct Capture {
    pub path: PathBuf,
    pub recipe: Recipe,
}

/// What tandem does with the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    None,
    MuToA,
}

/// What `replay run` prints. It prints more than is read here.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    pub received: u64,
    pub forwarded: u64,
    pub mpps: f64,
    #[serde(default)]
    pub cycles_per_packet: f64,
    pub flows: u64,
    pub memory: Memory,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Memory {
    pub bytes_per_flow: f64,
}

/// Makes the capture, unless an earlier run with the same program made it.
pub fn generate(bench: &Bench, recipe: Recipe) -> Result<Capture> {
    let path = bench.captures().join(recipe.name());
    let newer = |path: &Path| -> Option<bool> {
        Some(path.metadata().ok()?.modified().ok()? > bench.tandem.metadata().ok()?.modified().ok()?)
    };
    if newer(&path) != Some(true) {
        // Written beside and moved: a capture that was interrupted is not taken for a whole one.
        let (flows, packets) = (recipe.flows.to_string(), recipe.packets.to_string());
        let part = path.with_extension("part.pcap");
        let part_name = part.to_string_lossy();
        let mut arguments = vec!["replay", "generate", &part_name, "--flows", &flows, "--packets", &packets];
        let bytes = recipe.frame_bytes.map(|bytes| bytes.to_string());
        if let Some(bytes) = &bytes {
            arguments.extend(["--frame-bytes", bytes]);
        }
        process::run(&bench.tandem.to_string_lossy(), &arguments)?;
        std::fs::rename(&part, &path)?;
    }
    Ok(Capture { path, recipe })
}

impl Capture {
    /// testpmd on this capture: as many queues as cores, and on each the packets that tandem's worker there gets.
    pub fn testpmd(&self, bench: &Bench, cores: usize) -> Result<Testpmd> {
        let captures = if cores > 1 { split(&self.path, cores)? } else { vec![self.path.clone()] };
        let place = Place {
            captures: &captures,
            packets: self.recipe.total(),
            main_cpu: bench.main_cpu,
            cpus: &bench.cpus[..cores],
            huge: bench.huge,
        };
        Testpmd::start(&place, bench.out.join("testpmd.log"))
    }

    /// One run of tandem over this capture.
    pub fn tandem(&self, bench: &Bench, convert: Convert, workers: usize, window: Duration) -> Result<Outcome> {
        let log = bench.out.join("replay.log");
        let answer = bench.out.join("replay.json");
        let mut command = self.command(bench, convert, workers);
        command.args(["--seconds", &window.as_secs().to_string()]);
        let status = run_to_end(command, &answer, &log, Duration::from_secs(120))?;
        if !status.success() {
            bail!("`tandem replay run` failed: {}", tail(&log));
        }
        self.outcome(&std::fs::read_to_string(&answer)?)
    }

    fn command(&self, bench: &Bench, convert: Convert, workers: usize) -> Command {
        let mut command = process::command_in(None, &bench.tandem);
        command.args(["--json", "replay", "run"]).arg(&self.path);
        command.args(["--convert", if convert == Convert::MuToA { "mu-to-a" } else { "none" }]);
        let cpus: Vec<String> = bench.cpus[..workers].iter().map(usize::to_string).collect();
        command.args(["--cpus", &cpus.join(",")]);
        command.args(["--main-cpu", &bench.main_cpu.to_string()]);
        if !bench.huge {
            command.arg("--no-huge");
        }
        // Where it puts the parts of a capture that several workers share: with what is ours, should it be killed.
        command.env("TMPDIR", bench.captures());
        command
    }

    /// What `replay run` reported, if it is all accounted for.
    fn outcome(&self, text: &str) -> Result<Outcome> {
        let outcome: Outcome =
            serde_json::from_str(text).with_context(|| format!("`tandem replay run` printed: {text}"))?;
        ensure!(
            outcome.forwarded == outcome.received && outcome.forwarded > 0,
            "tandem received {} packets and forwarded {}: {text}",
            outcome.received,
            outcome.forwarded
        );
        ensure!(outcome.flows == self.recipe.flows as u64, "tandem provisioned {} flows: {text}", outcome.flows);
        Ok(outcome)
    }
}

/// A tandem that replays in turns with others on its core: stopped (SIGSTOP) while it does not measure.
pub struct Parked<'a> {
    capture: &'a Capture,
    child: Child,
    requests: Option<ChildStdin>,
    answers: mpsc::Receiver<String>,
    log: PathBuf,
}

/// Loading a capture and provisioning its flows; a window.
const ANSWER: Duration = Duration::from_secs(60);

impl<'a> Parked<'a> {
    /// One worker; `name` tells its log from those of others.
    pub fn start(capture: &'a Capture, bench: &Bench, convert: Convert, name: &str) -> Result<Parked<'a>> {
        let log = bench.out.join(format!("replay-{name}.log"));
        let mut command = capture.command(bench, convert, 1);
        command.arg("--on-request").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        let mut child = cleanup::start_child(|| command.spawn()).context("tandem could not be started")?;
        let requests = child.stdin.take();
        let output = child.stdout.take().context("tandem has no output")?;
        // A thread, so that a tandem that says nothing is given up; it ends with tandem's output.
        let (tell, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut parked = Parked { capture, child, requests, answers, log };
        // The first answer comes when everything is loaded and runs.
        parked.ask(Duration::from_millis(1))?;
        parked.signal(libc::SIGSTOP)?;
        Ok(parked)
    }

    /// Mpps over `window`, after `warm_up`.
    pub fn measure(&mut self, warm_up: Duration, window: Duration) -> Result<f64> {
        self.signal(libc::SIGCONT)?;
        self.ask(warm_up)?;
        let mpps = self.ask(window)?;
        self.signal(libc::SIGSTOP)?;
        Ok(mpps)
    }

    /// Its report.
    pub fn finish(mut self) -> Result<Outcome> {
        self.signal(libc::SIGCONT)?;
        self.requests = None;
        let mut text = String::new();
        while let Ok(line) = self.answers.recv_timeout(ANSWER) {
            text += &line;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "`tandem replay run` failed: {}", tail(&self.log));
        self.capture.outcome(&text)
    }

    fn ask(&mut self, window: Duration) -> Result<f64> {
        let gone = || format!("tandem is gone: {}", tail(&self.log));
        let requests = self.requests.as_mut().with_context(gone)?;
        writeln!(requests, "{}", window.as_millis()).with_context(gone)?;
        let answer = self.answers.recv_timeout(ANSWER).with_context(gone)?;
        answer.parse().with_context(|| format!("`tandem replay run` printed: {answer}"))
    }

    fn signal(&self, signal: i32) -> Result<()> {
        Ok(sys::signal(self.child.id(), signal)?)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It takes a process that is stopped, too.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        cleanup::child_ended(self.child.id());
    }
}

/// The capture in as many files, as `tandem replay run` shares it among its workers: by pairs of local ports. Made once.
fn split(path: &Path, parts: usize) -> Result<Vec<PathBuf>> {
    let names: Vec<PathBuf> = (0..parts).map(|part| path.with_extension(format!("{part}of{parts}.pcap"))).collect();
    let made = path.metadata()?.modified()?;
    if names.iter().all(|name| name.metadata().and_then(|m| m.modified()).is_ok_and(|at| at >= made)) {
        return Ok(names);
    }
    let beside: Vec<PathBuf> = names.iter().map(|name| name.with_extension("part")).collect();
    let mut writers = beside.iter().map(|name| Writer::create(name)).collect::<Result<Vec<_>, _>>()?;
    let mut result = Ok(());
    capture::read(path, |frame| {
        let pair = sessions::dissect(&frame.bytes).map_or(0, |found| usize::from(found.local.port() / 2));
        if result.is_ok() {
            result = writers[pair % parts].write(frame.at, &frame.bytes);
        }
    })?;
    result?;
    writers.into_iter().try_for_each(Writer::close)?;
    beside.iter().zip(&names).try_for_each(|(from, to)| std::fs::rename(from, to))?;
    Ok(names)
}

/// As `Running` does it, with the two outputs apart.
fn run_to_end(
    command: std::process::Command,
    out: &Path,
    log: &Path,
    limit: Duration,
) -> Result<std::process::ExitStatus> {
    let mut shell = process::command_in(None, "sh");
    // The shell gives way to the program, so that its id is the one that is ended.
    shell.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]).arg(out).arg(command.get_program());
    shell
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    Running::start("tandem", shell, log.to_owned())?.wait(limit)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}\n(all of it: {})", lines[lines.len().saturating_sub(12)..].join("\n"), log.display())
}
