//! Pools of packet buffers. A pool lives as long as the process, so that an `Mbuf` can always be returned to it.

use std::ptr::NonNull;

use crate::{
    Socket,
    eal::Eal,
    error::{Error, c_string, last},
    ffi, socket_id,
};

#[derive(Clone, Debug)]
pub struct PoolArgs<'a> {
    /// At most 25 bytes, one pool each.
    pub name: &'a str,
    /// Packet buffers; 2ⁿ − 1 wastes no memory.
    pub count: u32,
    /// Buffers that each lcore keeps for itself, at most 512.
    pub cache: u32,
    /// Bytes of data in a buffer, besides the headroom of 128.
    pub data_bytes: u16,
    pub socket: Socket,
    /// Lcores share a CPU: a thread that loses its slice within an operation on the pool must not stall the others.
    pub shared_cpus: bool,
}

/// A pool of packet buffers. Any thread may take from it and return to it.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    raw: NonNull<ffi::rte_mempool>,
    count: u32,
    data_bytes: u16,
}

// SAFETY: rte_mempool's operations (multi-producer, multi-consumer; the cache is per lcore) may be called from any
// thread, and a pool is never freed.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    pub const HEADROOM_BYTES: u16 = ffi::TD_PKTMBUF_HEADROOM as u16;

    pub fn create(_eal: &Eal, arguments: &PoolArgs<'_>) -> Result<Pool, Error> {
        let name = c_string(arguments.name)?;
        let room = arguments.data_bytes.checked_add(Self::HEADROOM_BYTES).ok_or(Error::Limit {
            what: "a packet buffer",
            found: arguments.data_bytes.into(),
            allowed: format!("up to {} bytes", u16::MAX - Self::HEADROOM_BYTES),
        })?;
        // ring_mt_rts: a preempted thread does not hold up the others' next operation.
        let operations = if arguments.shared_cpus { c"ring_mt_rts" } else { c"ring_mp_mc" };
        // SAFETY: the EAL runs; both strings live through the call, which copies them.
        let raw = unsafe {
            ffi::td_pktmbuf_pool_create(
                name.as_ptr(),
                arguments.count,
                arguments.cache,
                room,
                socket_id(arguments.socket),
                operations.as_ptr(),
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| last("rte_pktmbuf_pool_create"))?;
        Ok(Pool { raw, count: arguments.count, data_bytes: arguments.data_bytes })
    }

    pub fn capacity(&self) -> u32 {
        self.count
    }

    /// Bytes of data in one buffer, besides the headroom.
    pub fn data_bytes(&self) -> u16 {
        self.data_bytes
    }

    /// Buffers that are in the pool or in an lcore's cache. Walks the caches: for metrics, not for each packet.
    pub fn available(&self) -> u32 {
        // SAFETY: `raw` is a pool that is never freed; reads only.
        unsafe { ffi::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::rte_mempool {
        self.raw.as_ptr()
    }
}
