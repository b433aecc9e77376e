//! Queues of a started port. Each has one owner and moves to the thread that polls it; the port stays open while any of
//! its queues lives.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::{ffi, mbuf::Mbuf, port::Port};

/// What a device did not take of a burst, and what was freed instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub packets: usize,
    pub bytes: u64,
}

/// One receive queue. `&mut self` and no Clone: DPDK allows one thread per queue.
pub struct RxQueue {
    pub(crate) port: Arc<Port>,
    pub(crate) id: u16,
    pub(crate) queue: u16,
}

/// One transmit queue. `&mut self` and no Clone: DPDK allows one thread per queue.
pub struct TxQueue {
    pub(crate) port: Arc<Port>,
    pub(crate) id: u16,
    pub(crate) queue: u16,
    /// Packets pass rte_eth_tx_prepare: the port computes checksums.
    pub(crate) prepare: bool,
}

impl RxQueue {
    /// Appends what waits, up to the burst's capacity; returns how many.
    #[inline]
    pub fn rx<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        append_raw(burst, |packets, n| {
            // SAFETY: the port is started while `self.port` lives, the queue exists, this is its only owner, and
            // `packets` has room for `n`. What it returns are packets with one reference.
            unsafe { ffi::td_rx_burst(self.id, self.queue, packets, n as u16).into() }
        })
    }

    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }
}

impl TxQueue {
    /// Sends all of `burst`, which is empty afterwards.
    #[inline]
    pub fn tx<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> Refused {
        let mut bytes = 0;
        let packets = take_raw(burst, |packets, n| {
            // SAFETY: the port is started while `self.port` lives, the queue exists and this is its only owner; the
            // `n` packets are owned and given up here; `bytes` is room for the answer.
            unsafe { ffi::td_tx_burst(self.id, self.queue, packets, n as u16, self.prepare.into(), &mut bytes).into() }
        });
        Refused { packets, bytes }
    }

    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }
}

/// Lets `fill(space, n)` write up to `n` packets behind those in `burst`; it returns how many it wrote.
#[inline]
pub(crate) fn append_raw<const N: usize>(
    burst: &mut ArrayVec<Mbuf, N>,
    fill: impl FnOnce(*mut *mut ffi::rte_mbuf, usize) -> usize,
) -> usize {
    let (length, room) = (burst.len(), burst.remaining_capacity().min(usize::from(u16::MAX)));
    if room == 0 {
        return 0;
    }
    // SAFETY: Mbuf is a transparent non-null pointer to rte_mbuf, so the spare capacity behind `length` is room for
    // `room` such pointers; `fill` wrote the first `n` of them, each a packet that is owned from now on.
    unsafe {
        let n = fill(burst.as_mut_ptr().add(length).cast(), room).min(room);
        burst.set_len(length + n);
        n
    }
}

/// Gives all packets of `burst` to `take(packets, n)`, which must consume every one of them.
#[inline]
pub(crate) fn take_raw<const N: usize>(
    burst: &mut ArrayVec<Mbuf, N>,
    take: impl FnOnce(*mut *mut ffi::rte_mbuf, usize) -> usize,
) -> usize {
    let n = burst.len();
    if n == 0 {
        return 0;
    }
    // SAFETY: Mbuf is a transparent non-null pointer; the length is set to 0 first, so that the `n` packets have no
    // owner here when `take` consumes them. N is at most u16::MAX for every burst in use (checked at compile time).
    unsafe {
        const { assert!(N <= u16::MAX as usize) };
        burst.set_len(0);
        take(burst.as_mut_ptr().cast(), n)
    }
}
