//! Two appliances as a pair: who is active, killing one, starting it anew, and the gap that the far ear hears. Main thread.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    appliance::{Appliance, NODES},
    lab::{End, Lab},
    topology::HEARTBEATS,
};

/// How long a pair may take from nothing to one that is active and one that is ready.
const FORMING: Duration = Duration::from_secs(30);

impl Lab<'_> {
    /// Both nodes, until one is active and the other could take over.
    pub fn start_pair(&mut self) -> Result<()> {
        for node in 0..2 {
            self.start_node(node)?;
        }
        self.wait_for_pair(FORMING).map(drop)
    }

    pub fn start_node(&mut self, node: usize) -> Result<()> {
        let binary = self.frame.binary.clone().context("a pair needs the appliance")?;
        let started = Appliance::start_node(&binary, &self.setup, &self.ground, &self.room, node)?;
        self.nodes[node] = Some(started);
        Ok(())
    }

    pub fn node(&mut self, node: usize) -> Result<&mut Appliance> {
        self.nodes[node].as_mut().with_context(|| format!("{} does not run", NODES[node]))
    }

    /// `tandem ha status`.
    pub fn status(&self, node: usize) -> Result<Value> {
        let appliance = self.nodes[node].as_ref().with_context(|| format!("{} does not run", NODES[node]))?;
        appliance.ask(&["ha", "status"])
    }

    fn role(&self, node: usize) -> String {
        let status = self.status(node);
        status.ok().and_then(|status| Some(status["role"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// Which node is active; None: none, or both.
    pub fn active(&self) -> Option<usize> {
        let roles = [self.role(0), self.role(1)];
        let active: Vec<usize> = (0..2).filter(|node| roles[*node] == "active").collect();
        (active.len() == 1).then(|| active[0])
    }

    /// Waits until one is active and the other ready; returns who is active.
    pub fn wait_for_pair(&mut self, limit: Duration) -> Result<usize> {
        let deadline = Instant::now() + limit;
        loop {
            for (node, name) in NODES.iter().enumerate() {
                if let Some(appliance) = &mut self.nodes[node]
                    && let Some(status) = appliance.process.ended()?
                {
                    bail!("{name} ended with {status}: {}", appliance.process.tail());
                }
            }
            if let Some(active) = self.active() {
                let other = self.status(1 - active).unwrap_or_default();
                if other["role"] == "standby" && other["ready"] == true {
                    return Ok(active);
                }
            }
            if Instant::now() > deadline {
                let said: Vec<String> = (0..2)
                    .map(|node| self.status(node).map_or_else(|e| format!("{e:#}"), |status| status.to_string()))
                    .collect();
                bail!("no pair after {} s:\n{}", limit.as_secs(), said.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this node is the active one.
    pub fn wait_for_active(&self, node: usize, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.role(node) != "active" {
            if Instant::now() > deadline {
                bail!("{} is not active after {} s: {:?}", NODES[node], limit.as_secs(), self.status(node));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until what this node says of itself has what is looked for.
    pub fn wait_for_status<T>(&self, node: usize, limit: Duration, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status(node)?;
            if let Some(found) = look(&status) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "{} still says after {} s: {status}", NODES[node], limit.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`; returns when, on the taps' clock.
    pub fn kill(&mut self, node: usize) -> Result<Duration> {
        let at = self.tap_clock();
        self.node(node)?.process.signal(libc::SIGKILL)?;
        self.node(node)?.process.wait(Duration::from_secs(5))?;
        self.nodes[node] = None;
        Ok(at)
    }

    /// The clock that frames are stamped with: the wall's.
    pub fn tap_clock(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }

    /// Cuts both heartbeat networks, or joins them again.
    pub fn cut_heartbeats(&self, cut: bool) -> Result<()> {
        for path in 0..HEARTBEATS.len() {
            self.cut_heartbeat(path, cut)?;
        }
        Ok(())
    }

    pub fn cut_heartbeat(&self, path: usize, cut: bool) -> Result<()> {
        let state = if cut { "down" } else { "up" };
        self.ground.tandem.ip(&["link", "set", &format!("hb{path}"), state]).map(drop)
    }

    /// For each of these streams, the longest time without a frame at the end that hears it, looking at what arrived
    /// from `from` on, and when that silence began.
    pub fn gaps(&self, hearing: End, ssrcs: &[u32], from: Duration) -> Result<Vec<Gap>> {
        let book = self.tap(hearing).book();
        let mut gaps = Vec::with_capacity(ssrcs.len());
        for ssrc in ssrcs {
            let heard = book.packets(|key| !key.outgoing && key.ssrc == *ssrc);
            let times: Vec<Duration> = heard.iter().map(|(_, packet)| packet.at).collect();
            let pairs = times.windows(2).filter(|pair| pair[1] >= from);
            let longest = pairs.max_by_key(|pair| pair[1] - pair[0]);
            let longest =
                longest.with_context(|| format!("the {hearing:?} end heard nothing of {ssrc:08x} after that"))?;
            gaps.push(Gap { began: longest[0], length: longest[1] - longest[0] });
        }
        ensure!(!gaps.is_empty(), "no stream was looked at");
        Ok(gaps)
    }
}

/// A silence at a far ear.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub began: Duration,
    pub length: Duration,
}

/// The median and the longest.
pub fn median_and_worst(gaps: &[Gap]) -> (Duration, Duration) {
    let mut lengths: Vec<Duration> = gaps.iter().map(|gap| gap.length).collect();
    lengths.sort_unstable();
    let middle = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    (middle, lengths.last().copied().unwrap_or_default())
}
