//! What lies on hugepages, and how many pages that takes: packet buffers, rings, the flow table, and what the EAL and the
//! drivers keep. Pure; `tandem tune` plans with it, `io::dpdk` asks DPDK for the same.
//!
//! Always holds: every buffer that queues, rings, caches and bursts can keep at once is there.

use std::net::IpAddr;

use serde::Serialize;

use super::{Choices, Troubles};
use crate::{
    base::limits::BURST,
    config::Config,
    flow::FlowTable,
    host::picture::{Node, Picture},
};

/// Packets that one worker's punt ring holds: a slice lost to another process (16 ms were measured) must not lose what
/// the policers let through.
pub const PUNT_RING: u32 = 4096;
/// Injected packets that may wait for worker 0.
pub const INJECT_RING: u32 = 2048;
/// Buffers that each lcore keeps for itself.
pub const POOL_CACHE: u32 = 256;
/// Data in one buffer: an Ethernet frame of MTU 1500 fits, a jumbo frame takes several.
pub const BUFFER_BYTES: u16 = 2048;
/// What net_af_xdp keeps in its fill ring besides the descriptors (two times its default ring).
const AF_XDP_FILL: u32 = 4096;
/// Around a buffer's data: the mbuf itself, the headroom in front, the pool's own word and its alignment.
const BUFFER_OVERHEAD: u64 = 128 + 128 + 128;
/// On ordinary memory DPDK lets no buffer cross a page.
const ORDINARY_PAGE: u64 = 4096;
/// A pointer in a ring; descriptors and what drivers keep for each, at most.
const RING_SLOT_BYTES: u64 = 8;
const DESCRIPTOR_BYTES: u64 = 128;
/// For the EAL's heap and the drivers' own tables.
const EAL_BYTES: u64 = 64 << 20;

/// Unless the configuration says otherwise, no less than this.
pub const LEAST_MBUFS: u32 = 65_535;
pub const LEAST_MEMORY_MB: u32 = 1024;

const MIB: u64 = 1 << 20;
const GIB_KIB: u64 = 1 << 20;
const TWO_MIB_KIB: u64 = 2_048;
/// Pages of 1 GiB are taken where that wastes no more than this part of the node.
const WASTE: u64 = 8;

/// What will be asked of memory.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Receive and transmit descriptors of a queue, of each port.
    pub descriptors: Vec<(u16, u16)>,
    pub sessions: u32,
    pub media_addresses: Vec<IpAddr>,
    pub media_ports: (u16, u16),
    /// Named by the configuration; None: as many as are needed.
    pub mbufs: Option<u32>,
    pub memory_mb: Option<u32>,
    pub hugepages: bool,
}

impl Default for Demand {
    /// That of the configuration's own defaults, with one port and one address.
    fn default() -> Self {
        Demand {
            descriptors: vec![(1024, 1024)],
            sessions: 10_000,
            media_addresses: vec![IpAddr::from([0, 0, 0, 0])],
            media_ports: (20_000, 59_999),
            mbufs: None,
            memory_mb: None,
            hugepages: true,
        }
    }
}

/// So much is asked of DPDK, on each node that it has memory on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub mbufs: u32,
    pub memory_mb: u32,
}

/// One term of the sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub what: &'static str,
    pub bytes: u64,
}

/// Hugepages of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    pub node: u16,
    pub parts: Vec<Part>,
    pub mbufs: u32,
    pub memory_mb: u32,
    pub page_kib: u64,
    pub pages: u64,
    /// False in laboratories: then no page is taken.
    pub hugepages: bool,
}

/// Entries of the flow table: four flows a session; an eighth more, because a version that is replaced waits a burst
/// before it is spare.
pub fn flow_entries(sessions: u32) -> usize {
    let flows = sessions as usize * 4;
    flows + flows / 8 + 1_024
}

impl Demand {
    pub fn of(config: &Config) -> Demand {
        Demand {
            descriptors: config.ports.iter().map(|port| (port.rx_descriptors, port.tx_descriptors)).collect(),
            sessions: config.media.max_sessions,
            media_addresses: config.addresses.iter().map(|address| address.local).collect(),
            media_ports: (config.media.ports.low, config.media.ports.high),
            mbufs: config.dpdk.mbufs,
            memory_mb: config.dpdk.memory_mb,
            hugepages: config.dpdk.hugepages,
        }
    }

    /// Buffers that `workers` on one node can keep at once.
    pub fn buffers(&self, workers: u32, af_xdp: bool) -> u32 {
        let fill = if af_xdp { AF_XDP_FILL } else { 0 };
        let queues: u32 = self.descriptors.iter().map(|(rx, tx)| u32::from(*rx) + u32::from(*tx) + fill).sum();
        // DPDK lets a cache grow to half as much again before it flushes.
        let per_worker = queues + PUNT_RING + POOL_CACHE * 3 / 2 + 4 * BURST as u32;
        let transmit: u32 = self.descriptors.iter().map(|(_, tx)| u32::from(*tx)).sum();
        workers * per_worker + transmit + INJECT_RING + POOL_CACHE * 3 / 2 + BURST as u32
    }

    /// What is asked of DPDK with `workers` on one node.
    pub fn sizes(&self, workers: u32) -> Sizes {
        // A pool is best one less than a power of two. Of af_xdp nothing is known before its device is there.
        let needed = (self.buffers(workers, false) + 1).next_power_of_two() - 1;
        let mbufs = self.mbufs.unwrap_or(needed.max(LEAST_MBUFS));
        let sum = self.parts(workers, mbufs).iter().map(|part| part.bytes).sum::<u64>().div_ceil(MIB);
        Sizes { mbufs, memory_mb: self.memory_mb.unwrap_or((sum as u32).max(LEAST_MEMORY_MB)) }
    }

    fn parts(&self, workers: u32, mbufs: u32) -> Vec<Part> {
        let (low, high) = self.media_ports;
        let table = FlowTable::sizes(&self.media_addresses, low, high, flow_entries(self.sessions));
        let descriptors: u64 = self.descriptors.iter().map(|(rx, tx)| u64::from(*rx) + u64::from(*tx)).sum();
        let ring_slots = u64::from(workers) * u64::from(PUNT_RING) + u64::from(INJECT_RING);
        vec![
            Part { what: "packet buffers", bytes: pool_bytes(mbufs, self.hugepages) },
            Part { what: "flow table", bytes: table.bytes() as u64 },
            // The slow path has a transmit queue of its own.
            Part { what: "queues", bytes: descriptors * u64::from(workers + 1) * DESCRIPTOR_BYTES },
            Part { what: "rings", bytes: ring_slots * RING_SLOT_BYTES },
            Part { what: "the EAL and drivers", bytes: EAL_BYTES },
        ]
    }
}

/// About what a pool takes.
pub fn pool_bytes(mbufs: u32, hugepages: bool) -> u64 {
    let packed = BUFFER_OVERHEAD + u64::from(BUFFER_BYTES);
    u64::from(mbufs) * if hugepages { packed } else { ORDINARY_PAGE }
}

pub(super) fn plan(
    picture: &Picture,
    demand: &Demand,
    node: u16,
    workers: u16,
    troubles: &mut Troubles,
    choices: &mut Choices,
) -> MemoryPlan {
    let sizes = demand.sizes(workers.into());
    let parts = demand.parts(workers.into(), sizes.mbufs);
    let mut plan = MemoryPlan {
        node,
        mbufs: sizes.mbufs,
        memory_mb: sizes.memory_mb,
        page_kib: TWO_MIB_KIB,
        pages: 0,
        hugepages: demand.hugepages,
        parts,
    };
    choose_pages(picture, &mut plan, troubles);
    explain(&plan, demand, troubles, choices);
    let needed = demand.buffers(workers.into(), false);
    if sizes.mbufs < needed {
        troubles.grave(
            "dpdk.mbufs",
            format!(
                "{} buffers are fewer than queues and rings of {workers} workers can keep at once: set it to {needed} or more, or \
                 leave it out.",
                sizes.mbufs
            ),
        );
    }
    plan
}

fn choose_pages(picture: &Picture, plan: &mut MemoryPlan, troubles: &mut Troubles) {
    if !plan.hugepages {
        return;
    }
    let memory_kib = picture.node(plan.node).map_or(0, |node: &Node| node.memory_kib);
    let needed_kib = u64::from(plan.memory_mb) << 10;
    let in_gib = needed_kib.div_ceil(GIB_KIB);
    if picture.gigabyte_pages
        && in_gib * GIB_KIB - needed_kib <= memory_kib / WASTE
        && in_gib * GIB_KIB <= memory_kib / 2
    {
        (plan.page_kib, plan.pages) = (GIB_KIB, in_gib);
    } else {
        (plan.page_kib, plan.pages) = (TWO_MIB_KIB, needed_kib.div_ceil(TWO_MIB_KIB));
    }
    if memory_kib > 0 && needed_kib > memory_kib * 3 / 4 {
        troubles.grave(
            format!("node {}", plan.node),
            format!(
                "It has {} MiB of memory, of which hugepages would take {} MiB: lower media.max_sessions or dpdk.mbufs, or take a \
                 machine with more memory.",
                memory_kib >> 10,
                plan.memory_mb
            ),
        );
    }
}

fn explain(plan: &MemoryPlan, demand: &Demand, troubles: &mut Troubles, choices: &mut Choices) {
    let mib = |bytes: u64| bytes.div_ceil(MIB);
    let sum: u64 = plan.parts.iter().map(|part| part.bytes).sum();
    let terms: Vec<String> = plan.parts.iter().map(|part| format!("{} {}", part.what, mib(part.bytes))).collect();
    let terms = format!("{} = {} MiB", terms.join(" + "), mib(sum));
    let asked = match demand.memory_mb {
        Some(named) => format!("dpdk.memory_mb names {named}"),
        None if u64::from(plan.memory_mb) > mib(sum) => format!("no less than {LEAST_MEMORY_MB} are taken"),
        None => "so many are taken".to_owned(),
    };
    if demand.memory_mb.is_some_and(|named| u64::from(named) < mib(sum)) {
        troubles.warn(
            "dpdk.memory_mb",
            format!(
                "{} MiB are less than the sum of {} MiB ({terms}): raise it, or leave it out.",
                plan.memory_mb,
                mib(sum)
            ),
        );
    }
    if plan.hugepages {
        let size = if plan.page_kib == GIB_KIB { "1 GiB" } else { "2 MiB" };
        let why = if plan.page_kib == GIB_KIB {
            "pages of 1 GiB, of which one entry of the TLB covers all buffers"
        } else {
            "pages of 2 MiB, as 1 GiB would be too coarse for this node or this CPU"
        };
        choices.note(
            "hugepages",
            format!("node {}: {} of {size}", plan.node, plan.pages),
            format!("{terms}; {asked}; {why}."),
        );
    } else {
        choices.note(
            "memory",
            format!("{} MiB of ordinary pages", plan.memory_mb),
            format!("{terms}; {asked}; dpdk.hugepages is false."),
        );
    }
    choices.note(
        "packet buffers",
        plan.mbufs.to_string(),
        "Every queue, ring, cache and burst can be full at once and no port starves.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    // One port of 1024 + 1024 descriptors, one worker: 2048, its punt ring 4096, its cache 384, four bursts 128; the slow
    // path's transmit queue 1024, the inject ring 2048, a cache 384, a burst 32.
    #[test]
    fn every_place_of_a_buffer_is_counted() {
        let demand = Demand::default();
        assert_eq!(demand.buffers(1, false), 2048 + 4096 + 384 + 128 + 1024 + 2048 + 384 + 32);
        assert_eq!(demand.buffers(1, true), demand.buffers(1, false) + 4096);
        assert_eq!(demand.buffers(3, false) - demand.buffers(2, false), 2048 + 4096 + 384 + 128);
    }

    #[test]
    fn what_the_configuration_names_holds() {
        let named = Demand { mbufs: Some(2_000), memory_mb: Some(64), ..Demand::default() };
        assert_eq!(named.sizes(4), Sizes { mbufs: 2_000, memory_mb: 64 });
        // 20 workers keep 20 · 6656 + 3488 = 136,608 buffers: the next power of two less one is 262,143.
        assert_eq!(Demand::default().sizes(20).mbufs, 262_143);
        assert_eq!(Demand::default().sizes(1), Sizes { mbufs: LEAST_MBUFS, memory_mb: LEAST_MEMORY_MB });
    }
}
