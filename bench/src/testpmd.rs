//! DPDK's own forwarder, `dpdk-testpmd`, on a capture that `net_pcap` repeats without end: the ceiling. Main thread.
//!
//! It is driven by its prompt, through a pipe. A rate is testpmd's own: what it has sent between two moments, by its own
//! clock. One process measures several modes in turn, because loading a capture takes longer than measuring; it is
//! parked while it does not forward, and takes no time from others then.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Child, ChildStdin, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tandem_lab::{cleanup, process};

/// What testpmd does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sends it as it came.
    Io,
    /// Exchanges the Ethernet addresses.
    MacSwap,
    /// Exchanges Ethernet addresses, IP addresses and ports: it touches the same headers as a relay does.
    FiveTupleSwap,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Io => "io",
            Mode::MacSwap => "macswap",
            Mode::FiveTupleSwap => "5tswap",
        }
    }
}

/// Where and on what it runs.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// One for each queue.
    pub captures: &'a [PathBuf],
    /// In all captures: `net_pcap` holds each in a buffer.
    pub packets: usize,
    pub main_cpu: usize,
    /// One queue and one forwarding core for each.
    pub cpus: &'a [usize],
    /// None: no huge pages are to be had.
    pub huge: bool,
}

/// DPDK's buffer with its usual 2 KiB of room, its headroom, and what a pool keeps for each.
pub const BUFFER_BYTES: usize = 2_048 + 128 + 128 + 64;
/// Buffers beside those that hold the capture: bursts under way and the pool's caches.
const SPARE_BUFFERS: usize = 16_384;
/// A million packets take a few seconds to load.
const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);

/// Buffers that one run takes.
pub fn buffers(packets: usize) -> usize {
    packets + SPARE_BUFFERS
}

/// A testpmd at its prompt.
pub struct Testpmd {
    child: Child,
    prompt: ChildStdin,
    log: PathBuf,
    /// Bytes of the log that were taken note of.
    seen: usize,
}

impl Testpmd {
    pub fn start(place: &Place, log: PathBuf) -> Result<Testpmd> {
        let queues = place.cpus.len();
        let mut device = "net_pcap0,infinite_rx=1".to_owned();
        for capture in place.captures {
            device += &format!(",rx_pcap={}", capture.display());
        }
        let mut lcores = format!("0@{}", place.main_cpu);
        for (i, cpu) in place.cpus.iter().enumerate() {
            lcores += &format!(",{}@{cpu}", i + 1);
        }
        let buffers = buffers(place.packets);
        // stdbuf: what it prints into a file would otherwise come in blocks.
        let mut command = process::command_in(None, "stdbuf");
        command.args(["-oL", "dpdk-testpmd", "--lcores", &lcores, "--main-lcore", "0", "--no-pci", "--no-telemetry"]);
        if place.huge {
            command.arg("--in-memory");
        } else {
            command.args(["--no-huge", "-m", &(buffers * BUFFER_BYTES / (1 << 20) + 256).to_string()]);
        }
        command.args(["--vdev", &device, "--", "--interactive", "--no-flush-rx", "--burst=32"]);
        command.args([format!("--nb-cores={queues}"), format!("--rxq={queues}"), format!("--txq={queues}")]);
        command.arg(format!("--total-num-mbufs={buffers}"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stderr(out.try_clone()?).stdout(out);
        let mut child = cleanup::start_child(|| command.spawn()).context("dpdk-testpmd could not be started")?;
        let prompt = child.stdin.take().context("dpdk-testpmd has no input")?;
        let mut testpmd = Testpmd { child, prompt, log, seen: 0 };
        testpmd.wait_for("testpmd> ", START)?;
        let text = testpmd.text();
        ensure!(!text.contains("No probed ethernet devices"), "testpmd found no device: {}", testpmd.tail());
        Ok(testpmd)
    }

    /// Mpps sent in this mode, over `window` after `warm_up`.
    pub fn measure(&mut self, mode: Mode, warm_up: Duration, window: Duration) -> Result<f64> {
        self.say(&format!("set fwd {}", mode.name()))?;
        self.wait_for(&format!("Set {} packet forwarding mode", mode.name()), ANSWER)?;
        self.say("start")?;
        self.wait_for("packets/burst=", ANSWER)?;
        std::thread::sleep(warm_up);
        // A rate is counted from the last time that it was asked for.
        self.rate()?;
        std::thread::sleep(window);
        let rate = self.rate()?;
        self.say("stop")?;
        let totals = self.wait_for("Done.", ANSWER)?;
        let total = |name: &str| last_number(&totals, name);
        ensure!(
            total("RX-total:") == total("TX-total:") && total("TX-dropped:") == Some(0),
            "testpmd lost packets of its own: {}",
            self.tail()
        );
        ensure!(rate > 0, "testpmd forwarded nothing: {}", self.tail());
        Ok(rate as f64 / 1e6)
    }

    fn rate(&mut self) -> Result<u64> {
        self.say("show port stats 0")?;
        let answer = self.wait_for("Tx-bps:", ANSWER)?;
        last_number(&answer, "Tx-pps:").with_context(|| format!("testpmd's counters were not read: {answer}"))
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.prompt, "{line}").with_context(|| format!("testpmd is gone: {}", self.tail()))
    }

    /// What it wrote since the last wait, up to and with `end`.
    fn wait_for(&mut self, end: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let text = self.text();
            let fresh = text.get(self.seen..).unwrap_or_default();
            if let Some(at) = fresh.find(end) {
                let answer = fresh[..at + end.len()].to_owned();
                self.seen += answer.len();
                return Ok(answer);
            }
            if self.child.try_wait()?.is_some() {
                bail!("testpmd ended: {}", self.tail());
            }
            if Instant::now() >= deadline {
                bail!("testpmd did not say \"{end}\" within {} s: {}", limit.as_secs(), self.tail());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        format!("{}\n(all of it: {})", lines[lines.len().saturating_sub(12)..].join("\n"), self.log.display())
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = writeln!(self.prompt, "quit");
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        cleanup::child_ended(self.child.id());
    }
}

/// The number behind the last `name` in `text`.
fn last_number(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_from_testpmds_own_words() {
        let answer = "  Throughput (since last show)\n  Rx-pps:      5592187          Rx-bps:   9573824480\n  \
                      Tx-pps:      5592188          Tx-bps:";
        assert_eq!(last_number(answer, "Tx-pps:"), Some(5_592_188));
        assert_eq!(last_number(answer, "RX-total:"), None);
        let totals = "  RX-packets: 21976544       RX-dropped: 0             RX-total: 21976544\n  \
                      TX-packets: 21976544       TX-dropped: 0             TX-total: 21976544\n";
        assert_eq!((last_number(totals, "RX-total:"), last_number(totals, "TX-dropped:")), (Some(21_976_544), Some(0)));
    }
}
