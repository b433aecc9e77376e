//! tandem's own replay, as its users run it: `tandem replay generate` makes a capture, `tandem --json replay run` sends
//! it through the worker on `net_pcap`. Main thread.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tandem::replay::{
    capture::{self, Writer},
    sessions,
};
use tandem_lab::process::{self, Running};

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
        let mut command = process::command_in(None, &bench.tandem);
        command.args(["--json", "replay", "run"]).arg(&self.path);
        command.args(["--convert", if convert == Convert::MuToA { "mu-to-a" } else { "none" }]);
        let cpus: Vec<String> = bench.cpus[..workers].iter().map(usize::to_string).collect();
        command.args(["--cpus", &cpus.join(",")]);
        command.args(["--main-cpu", &bench.main_cpu.to_string()]);
        command.args(["--seconds", &window.as_secs().to_string()]);
        if !bench.huge {
            command.arg("--no-huge");
        }
        // Where it puts the parts of a capture that several workers share: with what is ours, should it be killed.
        command.env("TMPDIR", bench.captures());
        let status = run_to_end(command, &answer, &log, Duration::from_secs(120))?;
        if !status.success() {
            bail!("`tandem replay run` failed: {}", tail(&log));
        }
        let text = std::fs::read_to_string(&answer)?;
        let outcome: Outcome =
            serde_json::from_str(&text).with_context(|| format!("`tandem replay run` printed: {text}"))?;
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
