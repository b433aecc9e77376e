//! Next hops: where on the link a forwarded packet goes. A plan holds an index into this table, so that a gateway that
//! moves costs one store, not a recompilation of every plan behind it.

use super::sync::{AtomicU64, Ordering, words};
use crate::base::{ids::PortId, limits::MAX_NEXT_HOPS};

/// Index into the table; `NONE` never resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHopId(pub u16);

impl NextHopId {
    pub const NONE: NextHopId = NextHopId(0);
}

/// A resolved next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub port: PortId,
    pub mac: [u8; 6],
}

/// One word each: bit 63 says resolved, bits 48–55 the port, bits 0–47 the MAC, its first byte lowest. So a reader never
/// sees half of one.
#[derive(Debug)]
pub struct NextHops {
    words: &'static [AtomicU64],
}

const RESOLVED: u64 = 1 << 63;

impl Default for NextHops {
    fn default() -> Self {
        NextHops { words: words(MAX_NEXT_HOPS) }
    }
}

impl NextHops {
    /// The slow path alone writes.
    pub fn set(&self, id: NextHopId, hop: Option<NextHop>) {
        if id == NextHopId::NONE {
            return;
        }
        let word = hop.map_or(0, |h| {
            let m = h.mac;
            RESOLVED | u64::from(h.port.0) << 48 | u64::from_le_bytes([m[0], m[1], m[2], m[3], m[4], m[5], 0, 0])
        });
        if let Some(w) = self.words.get(usize::from(id.0)) {
            w.store(word, Ordering::Release);
        }
    }

    #[inline]
    pub fn get(&self, id: NextHopId) -> Option<NextHop> {
        let word = self.words.get(usize::from(id.0))?.load(Ordering::Acquire);
        if word & RESOLVED == 0 {
            return None;
        }
        let b = word.to_le_bytes();
        Some(NextHop { port: PortId(b[6]), mac: [b[0], b[1], b[2], b[3], b[4], b[5]] })
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_hop_comes_back_as_it_was_set_and_none_never_resolves() {
        let hops = NextHops::default();
        let hop = NextHop { port: PortId(3), mac: [2, 0, 0xff, 1, 2, 0xfe] };
        hops.set(NextHopId(7), Some(hop));
        hops.set(NextHopId::NONE, Some(hop));
        assert_eq!(hops.get(NextHopId(7)), Some(hop));
        assert_eq!(hops.get(NextHopId::NONE), None);
        hops.set(NextHopId(7), None);
        assert_eq!(hops.get(NextHopId(7)), None);
        assert_eq!(hops.get(NextHopId(u16::MAX)), None);
    }
}
