//! Counters and levels of the edge, for the thread that serves metrics. Reading one disturbs no worker.

use std::sync::Arc;

use dpdk_sys::{Error, Pool, Port, RingLevel, Stats, Xstats};

use crate::base::ids::PortId;

/// How full something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub name: String,
    pub used: u64,
    pub capacity: u64,
}

/// One port's counters.
pub struct PortMeter {
    pub id: PortId,
    pub name: String,
    port: Arc<Port>,
    xstats: Option<Xstats>,
}

impl PortMeter {
    pub fn stats(&self) -> Result<Stats, Error> {
        self.port.stats()
    }

    /// Every counter of the driver by its own name, ENA's `*_allowance_exceeded` among them.
    pub fn xstats(&mut self, sink: &mut dyn FnMut(&str, u64)) -> Result<(), Error> {
        if let Some(xstats) = &mut self.xstats {
            xstats.read()?.for_each(|(name, value)| sink(name, value));
        }
        Ok(())
    }

    pub fn link_up(&self) -> Result<bool, Error> {
        Ok(self.port.link()?.up)
    }
}

#[derive(Default)]
pub struct Meters {
    pub ports: Vec<PortMeter>,
    pools: Vec<(String, Pool)>,
    rings: Vec<(String, RingLevel)>,
}

impl Meters {
    pub(super) fn add_port(&mut self, id: PortId, name: &str, port: &Arc<Port>) {
        let xstats = Xstats::new(port).inspect_err(|e| tracing::warn!(port = name, "no extended counters: {e}")).ok();
        self.ports.push(PortMeter { id, name: name.to_owned(), port: port.clone(), xstats });
    }

    pub(super) fn add_pool(&mut self, name: String, pool: Pool) {
        self.pools.push((name, pool));
    }

    pub(super) fn add_ring(&mut self, name: String, level: RingLevel) {
        self.rings.push((name, level));
    }

    /// Buffers in use of each pool: in queues, in rings, in hand.
    pub fn pools(&self) -> impl Iterator<Item = Level> {
        self.pools.iter().map(|(name, pool)| {
            let capacity = u64::from(pool.capacity());
            Level { name: name.clone(), used: capacity.saturating_sub(pool.available().into()), capacity }
        })
    }

    /// Packets that wait in each ring.
    pub fn rings(&self) -> impl Iterator<Item = Level> {
        self.rings.iter().map(|(name, ring)| Level {
            name: name.clone(),
            used: ring.count() as u64,
            capacity: ring.capacity() as u64,
        })
    }
}
