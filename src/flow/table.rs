//! The flow table: from the local address and port where a packet arrives to the plan that says what becomes of it.
//!
//! tandem allots the ports itself, so the look-up is an index, not a hash. A slot is one word: the RTP entry's number in
//! its low half, the RTCP entry's in its high half (RFC 5761 §4: one port may carry both). Entry 0 is none.
//!
//! An entry is two cache lines side by side, the plan and the state line. Apart from them lie the plans' second lines,
//! where any media address is IPv6, and the tallies.
//!
//! Workers read through [`FlowTable`]; the slow path alone writes, through [`Publisher`]: it fills a spare entry, stores
//! its number in the slot with release, and reuses the old one only after every worker has passed a burst boundary. So a
//! reader that has found an entry through a slot sees all of its plan, and only it.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    memory::prefetch_at,
    nexthop::NextHops,
    plan::{LINE_WORDS, Line, Plan, PlanView},
    quiesce::{Boundaries, Mark},
    state::{StateLine, TALLY_WORDS, TallyWords},
    sync::{AtomicU64, Ordering, words},
};

/// RTP and RTCP on the same port are different flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowClass {
    Rtp,
    Rtcp,
}

impl FlowClass {
    const fn shift(self) -> u32 {
        match self {
            FlowClass::Rtp => 0,
            FlowClass::Rtcp => 32,
        }
    }
}

/// A media address, counted in the order given to [`FlowTable::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(pub u16);

/// Where a flow arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub address: AddressId,
    pub port: u16,
    pub class: FlowClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u32);

impl EntryId {
    /// The entry that no slot names.
    pub const NONE: EntryId = EntryId(0);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("the flow table is full")]
    Full,
    #[error("no such media address or port")]
    NoSuchPlace,
}

#[derive(Debug)]
pub struct FlowTable {
    addresses: AddressMap,
    /// By their number.
    locals: Vec<IpAddr>,
    port_low: u16,
    ports: usize,
    slots: &'static [AtomicU64],
    entries: &'static [Entry],
    /// The plans' second lines: as many as entries, or one that nobody uses.
    wide: &'static [Line],
    tallies: &'static [TallyWords],
    pub next_hops: NextHops,
    pub boundaries: Boundaries,
}

/// The plan's first line, then the state line.
type Entry = [Line; 2];

/// Memory of a table, in words: zeroed, aligned to a cache line, for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Memory<T> {
    pub slots: T,
    pub entries: T,
    pub wide: T,
    pub tallies: T,
}

impl<T> Memory<T> {
    pub fn try_map<U, E>(self, mut each: impl FnMut(&'static str, T) -> Result<U, E>) -> Result<Memory<U>, E> {
        Ok(Memory {
            slots: each("flow_slots", self.slots)?,
            entries: each("flow_entries", self.entries)?,
            wide: each("flow_wide", self.wide)?,
            tallies: each("flow_tallies", self.tallies)?,
        })
    }
}

impl Memory<usize> {
    pub fn bytes(&self) -> usize {
        8 * (self.slots + self.entries + self.wide + self.tallies)
    }
}

/// Where a flow's entry is looked up: found once per packet, asked for before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    /// Where no flow is.
    pub const NONE: SlotId = SlotId(u32::MAX);
}

/// The local address of the packet before and where its slots begin: the next one is for the same address as a rule.
#[derive(Clone, Copy, Debug)]
pub struct LastAddress {
    /// Wider than an address, so that nothing is like it at first.
    ip: u64,
    slots: usize,
}

impl Default for LastAddress {
    fn default() -> Self {
        LastAddress { ip: u64::MAX, slots: 0 }
    }
}

impl FlowTable {
    /// `capacity` counts entries: live ones and those that wait for a burst boundary.
    pub fn new(addresses: &[IpAddr], port_low: u16, port_high: u16, capacity: usize, workers: usize) -> Arc<Self> {
        let sizes = Self::sizes(addresses, port_low, port_high, capacity);
        let Ok(memory) = sizes.try_map(|_, count| Ok::<_, std::convert::Infallible>(words(count)));
        Self::on(addresses, port_low, port_high, workers, memory)
    }

    /// Words that `new` would take: for those who bring memory of their own.
    pub fn sizes(addresses: &[IpAddr], port_low: u16, port_high: u16, capacity: usize) -> Memory<usize> {
        let ports = usize::from(port_high.saturating_sub(port_low)) + 1;
        let entries = capacity + 1;
        let wide = if addresses.iter().any(IpAddr::is_ipv6) { entries } else { 1 };
        Memory {
            slots: addresses.len() * ports,
            entries: entries * 2 * LINE_WORDS,
            wide: wide * LINE_WORDS,
            tallies: entries * TALLY_WORDS,
        }
    }

    /// On memory as large as `sizes` says.
    pub fn on(
        addresses: &[IpAddr],
        port_low: u16,
        port_high: u16,
        workers: usize,
        memory: Memory<&'static [AtomicU64]>,
    ) -> Arc<Self> {
        let ports = usize::from(port_high.saturating_sub(port_low)) + 1;
        Arc::new(FlowTable {
            addresses: AddressMap::new(addresses),
            locals: addresses.to_vec(),
            port_low,
            ports,
            slots: memory.slots,
            entries: memory.entries.as_chunks::<LINE_WORDS>().0.as_chunks().0,
            wide: memory.wide.as_chunks().0,
            tallies: memory.tallies.as_chunks().0,
            next_hops: NextHops::default(),
            boundaries: Boundaries::new(workers),
        })
    }

    #[inline]
    pub fn address_v4(&self, ip: u32) -> Option<AddressId> {
        self.addresses.v4(ip)
    }

    #[inline]
    pub fn address_v6(&self, ip: u128) -> Option<AddressId> {
        self.addresses.v6(ip)
    }

    pub fn address(&self, ip: IpAddr) -> Option<AddressId> {
        match ip {
            IpAddr::V4(ip) => self.address_v4(ip.into()),
            IpAddr::V6(ip) => self.address_v6(ip.into()),
        }
    }

    /// True for ports that carry media and nothing else.
    #[inline]
    pub fn is_media_port(&self, port: u16) -> bool {
        usize::from(port.wrapping_sub(self.port_low)) < self.ports
    }

    /// None where no flow can be.
    #[inline]
    pub fn slot_id(&self, address: AddressId, port: u16) -> Option<SlotId> {
        let offset = usize::from(port.wrapping_sub(self.port_low));
        if offset >= self.ports {
            return None;
        }
        let at = usize::from(address.0) * self.ports + offset;
        // 256 addresses of 65,536 ports fit.
        (at < self.slots.len()).then_some(SlotId(at as u32))
    }

    /// The same for an IPv4 packet, the last of which was for `last`.
    #[inline(always)]
    pub fn slot_id_v4(&self, ip: u32, port: u16, last: &mut LastAddress) -> Option<SlotId> {
        if u64::from(ip) != last.ip {
            let address = self.address_v4(ip)?;
            *last = LastAddress { ip: ip.into(), slots: usize::from(address.0) * self.ports };
        }
        let offset = usize::from(port.wrapping_sub(self.port_low));
        (offset < self.ports).then_some(SlotId((last.slots + offset) as u32))
    }

    #[inline]
    fn slot(&self, address: AddressId, port: u16) -> Option<&'static AtomicU64> {
        self.slots.get(self.slot_id(address, port)?.0 as usize)
    }

    /// Asks the cache for a slot.
    #[inline]
    pub fn prefetch_slot(&self, slot: SlotId) {
        prefetch_at(self.slots, slot.0 as usize);
    }

    #[inline]
    pub fn lookup_slot(&self, slot: SlotId, class: FlowClass) -> Option<EntryId> {
        let word = self.slots.get(slot.0 as usize)?.load(Ordering::Acquire);
        let id = (word >> class.shift()) as u32;
        if id == 0 { None } else { Some(EntryId(id)) }
    }

    /// The RTP flow's entry, or `EntryId::NONE`: for whoever asks for many and looks at the answers later.
    #[inline(always)]
    pub fn rtp_entry(&self, slot: SlotId) -> EntryId {
        // The lower half of a slot: see `FlowClass::shift`.
        EntryId(self.slots.get(slot.0 as usize).map_or(0, |word| word.load(Ordering::Acquire) as u32))
    }

    #[inline]
    pub fn lookup(&self, key: FlowKey) -> Option<EntryId> {
        self.lookup_slot(self.slot_id(key.address, key.port)?, key.class)
    }

    /// Asks the cache for a plan's first line and its state line.
    #[inline]
    pub fn prefetch_entry(&self, id: EntryId) {
        let (lines, at) = (self.entries.as_flattened(), 2 * id.0 as usize);
        prefetch_at(lines, at);
        prefetch_at(lines, at + 1);
    }

    #[inline]
    fn entry(&self, id: EntryId) -> &'static Entry {
        // An `EntryId` comes from a slot, a slot from the publisher, and that from the free list of this table.
        &self.entries[id.0 as usize]
    }

    #[inline]
    pub fn plan(&self, id: EntryId) -> PlanView {
        self.plan_and_state(id).0
    }

    #[inline]
    pub fn state(&self, id: EntryId) -> StateLine {
        self.plan_and_state(id).1
    }

    #[inline]
    pub fn plan_and_state(&self, id: EntryId) -> (PlanView, StateLine) {
        let [plan, state] = self.entry(id);
        let at = id.0 as usize;
        (PlanView::of(plan, self.wide, at), StateLine::of(state, self.tallies, at))
    }
}

/// An entry that no worker can reach any more, handed back once: its state line is final.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    pub key: FlowKey,
    pub entry: EntryId,
}

/// The slow path's side: the only writer.
#[derive(Debug)]
pub struct Publisher {
    table: Arc<FlowTable>,
    free: Vec<u32>,
    retired: VecDeque<(Mark, Retired)>,
}

impl Publisher {
    /// One per table.
    pub fn new(table: Arc<FlowTable>) -> Self {
        let count = table.entries.len() as u32;
        Publisher { free: (1..count).rev().collect(), retired: VecDeque::new(), table }
    }

    pub fn table(&self) -> &Arc<FlowTable> {
        &self.table
    }

    /// Entries that could be filled now.
    pub fn spare(&self) -> usize {
        self.free.len()
    }

    pub fn key(&self, at: SocketAddr, class: FlowClass) -> Option<FlowKey> {
        let address = self.table.address(at.ip())?;
        self.table.is_media_port(at.port()).then_some(FlowKey { address, port: at.port(), class })
    }

    /// Makes `plan` the one for `key`; the one before it, if any, is retired.
    pub fn publish(&mut self, key: FlowKey, plan: &Plan) -> Result<EntryId, TableError> {
        let slot = self.table.slot(key.address, key.port).ok_or(TableError::NoSuchPlace)?;
        let id = EntryId(self.free.pop().ok_or(TableError::Full)?);
        let [line, state] = self.table.entry(id);
        let encoded = plan.encode(SocketAddr::new(self.table.locals[usize::from(key.address.0)], key.port));
        let (narrow, wide) = encoded.split_at(LINE_WORDS);
        for (word, value) in line.iter().zip(narrow) {
            word.store(*value, Ordering::Relaxed);
        }
        // A plan with an IPv6 address comes from a table with an IPv6 address, where entries have second lines.
        if let Some(line) = self.table.wide.get(id.0 as usize) {
            for (word, value) in line.iter().zip(wide) {
                word.store(*value, Ordering::Relaxed);
            }
        }
        for word in state.iter().chain(&self.table.tallies[id.0 as usize]) {
            word.store(0, Ordering::Relaxed);
        }
        self.swap(slot, key, id.0);
        Ok(id)
    }

    /// No packet for `key` is forwarded from the next burst on.
    pub fn withdraw(&mut self, key: FlowKey) {
        if let Some(slot) = self.table.slot(key.address, key.port) {
            self.swap(slot, key, 0);
        }
    }

    fn swap(&mut self, slot: &AtomicU64, key: FlowKey, id: u32) {
        let word = slot.load(Ordering::Relaxed);
        let shift = key.class.shift();
        let old = (word >> shift) as u32;
        slot.store(word & !(u64::from(u32::MAX) << shift) | u64::from(id) << shift, Ordering::Release);
        if old != 0 {
            let mark = self.table.boundaries.retire();
            self.retired.push_back((mark, Retired { key, entry: EntryId(old) }));
        }
    }

    /// Hands every entry that has become unreachable to `last`, then makes it spare.
    pub fn reclaim(&mut self, mut last: impl FnMut(&FlowTable, Retired)) {
        while let Some(&(mark, retired)) = self.retired.front() {
            if !self.table.boundaries.passed(mark) {
                return;
            }
            self.retired.pop_front();
            last(&self.table, retired);
            self.free.push(retired.entry.0);
        }
    }
}

/// Media addresses → their number: a small open-addressed table, fixed at start.
#[derive(Debug)]
struct AddressMap {
    v4: Vec<Option<(u32, AddressId)>>,
    v6: Vec<Option<(u128, AddressId)>>,
}

impl AddressMap {
    fn new(addresses: &[IpAddr]) -> Self {
        let size = (addresses.len() * 4).next_power_of_two().max(4);
        let mut map = AddressMap { v4: vec![None; size], v6: vec![None; size] };
        for (i, ip) in addresses.iter().enumerate() {
            let id = AddressId(i as u16);
            match *ip {
                IpAddr::V4(ip) => place(&mut map.v4, hash(u128::from(u32::from(ip))), (u32::from(ip), id)),
                IpAddr::V6(ip) => place(&mut map.v6, hash(ip.into()), (u128::from(ip), id)),
            }
        }
        map
    }

    #[inline]
    fn v4(&self, ip: u32) -> Option<AddressId> {
        find(&self.v4, hash(u128::from(ip)), ip)
    }

    #[inline]
    fn v6(&self, ip: u128) -> Option<AddressId> {
        find(&self.v6, hash(ip), ip)
    }
}

#[inline]
fn hash(ip: u128) -> usize {
    let folded = (ip >> 64) as u64 ^ ip as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

fn place<K: Copy>(slots: &mut [Option<(K, AddressId)>], hash: usize, entry: (K, AddressId)) {
    let mask = slots.len() - 1;
    // A quarter full at most: there is room.
    if let Some(at) = (0..slots.len()).map(|i| (hash + i) & mask).find(|&at| slots[at].is_none()) {
        slots[at] = Some(entry);
    }
}

#[inline]
fn find<K: Copy + PartialEq>(slots: &[Option<(K, AddressId)>], hash: usize, key: K) -> Option<AddressId> {
    let mask = slots.len() - 1;
    let mut at = hash & mask;
    while let Some((k, id)) = slots[at] {
        if k == key {
            return Some(id);
        }
        at = (at + 1) & mask;
    }
    None
}
