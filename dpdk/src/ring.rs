//! Rings of packets between two threads, a burst at a time.
//!
//! `Producer` and `Consumer` are each one end with one owner (`&mut self`), which is what the single-producer and
//! single-consumer modes of rte_ring demand. `SharedProducer` may be cloned: its ring is made for several producers.

use std::{ptr::NonNull, sync::Arc};

use arrayvec::ArrayVec;

use crate::{
    Socket,
    eal::Eal,
    error::{Error, c_string, last},
    ffi,
    mbuf::Mbuf,
    queue::{append_raw, take_raw},
    socket_id,
};

struct Ring {
    raw: NonNull<ffi::rte_ring>,
}

// SAFETY: rte_ring may be used from several threads as its mode allows; the ends below keep to the mode.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn create(name: &str, size: u32, socket: Socket, flags: u32) -> Result<Arc<Ring>, Error> {
        let text = c_string(name)?;
        // rte_ring holds one less than a power of two.
        let Some(count) = size.checked_add(1).and_then(u32::checked_next_power_of_two) else {
            return Err(Error::Limit { what: "a ring", found: size.into(), allowed: "up to 2^31 - 1 packets".into() });
        };
        // SAFETY: an Eal was shown to the public constructors; the string lives through the call, which copies it.
        let raw = unsafe { ffi::rte_ring_create(text.as_ptr(), count, socket_id(socket), flags) };
        NonNull::new(raw).map(|raw| Arc::new(Ring { raw })).ok_or_else(|| last("rte_ring_create"))
    }

    fn enqueue<const N: usize>(&self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        take_raw(burst, |packets, n| {
            // SAFETY: the ring lives as long as `self`; the `n` packets are owned and given up here. The caller is the
            // ring's only producer, or the ring is made for several.
            unsafe { ffi::td_ring_enqueue_burst(self.raw.as_ptr(), packets, n as u32) as usize }
        })
    }

    fn count(&self) -> usize {
        // SAFETY: reads two indices of a live ring.
        unsafe { ffi::td_ring_count(self.raw.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        // SAFETY: reads a constant of a live ring.
        unsafe { ffi::td_ring_capacity(self.raw.as_ptr()) as usize }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut left: ArrayVec<Mbuf, 32> = ArrayVec::new();
        loop {
            append_raw(&mut left, |packets, n| {
                // SAFETY: both ends are gone, so nobody else touches the ring; what it holds was given up to it.
                unsafe { ffi::td_ring_dequeue_burst(self.raw.as_ptr(), packets, n as u32) as usize }
            });
            if left.is_empty() {
                break;
            }
            left.clear();
        }
        // SAFETY: the last handle is gone and the ring is empty.
        unsafe { ffi::rte_ring_free(self.raw.as_ptr()) }
    }
}

/// The end that fills a ring with one producer.
pub struct Producer {
    ring: Arc<Ring>,
}

/// An end that fills a ring with several producers.
#[derive(Clone)]
pub struct SharedProducer {
    ring: Arc<Ring>,
}

/// The end that empties a ring.
pub struct Consumer {
    ring: Arc<Ring>,
}

/// Reads a ring's level from any thread.
#[derive(Clone)]
pub struct RingLevel {
    ring: Arc<Ring>,
}

/// A ring for at least `size` packets between one producer and one consumer. Names are at most 29 bytes, one ring each.
pub fn single(_eal: &Eal, name: &str, size: u32, socket: Socket) -> Result<(Producer, Consumer), Error> {
    let ring = Ring::create(name, size, socket, ffi::TD_RING_SP_ENQ | ffi::TD_RING_SC_DEQ)?;
    Ok((Producer { ring: ring.clone() }, Consumer { ring }))
}

/// A ring for at least `size` packets between several producers and one consumer.
pub fn shared(_eal: &Eal, name: &str, size: u32, socket: Socket) -> Result<(SharedProducer, Consumer), Error> {
    let ring = Ring::create(name, size, socket, ffi::TD_RING_SC_DEQ)?;
    Ok((SharedProducer { ring: ring.clone() }, Consumer { ring }))
}

impl Producer {
    /// Hands over all of `burst`, which is empty afterwards; returns how many found no room (they are freed).
    pub fn enqueue<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        self.ring.enqueue(burst)
    }

    pub fn level(&self) -> RingLevel {
        RingLevel { ring: self.ring.clone() }
    }
}

impl SharedProducer {
    /// Hands over all of `burst`, which is empty afterwards; returns how many found no room (they are freed).
    pub fn enqueue<const N: usize>(&self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        self.ring.enqueue(burst)
    }

    pub fn level(&self) -> RingLevel {
        RingLevel { ring: self.ring.clone() }
    }
}

impl Consumer {
    /// Appends waiting packets, up to the burst's capacity; returns how many.
    pub fn dequeue<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        append_raw(burst, |packets, n| {
            // SAFETY: the ring lives as long as `self`, which is its only consumer; what it holds are packets that a
            // producer gave up, and `packets` has room for `n`.
            unsafe { ffi::td_ring_dequeue_burst(self.ring.raw.as_ptr(), packets, n as u32) as usize }
        })
    }

    pub fn is_empty(&self) -> bool {
        self.ring.count() == 0
    }

    pub fn level(&self) -> RingLevel {
        RingLevel { ring: self.ring.clone() }
    }
}

impl RingLevel {
    pub fn count(&self) -> usize {
        self.ring.count()
    }

    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}
