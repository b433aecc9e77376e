//! Memory on hugepages of a chosen NUMA node, for tables that several threads share.

use std::{ptr, slice, sync::atomic::AtomicU64};

use crate::{
    Socket,
    eal::Eal,
    error::{Error, c_string, last},
    ffi, socket_id,
};

const CACHE_LINE_BYTES: u32 = 64;

/// Reserves `words` zeroed words, aligned to a cache line, for the life of the process. To be called at start: a
/// request that cannot be met takes seconds. The name is at most 31 bytes and used once.
pub fn reserve(_eal: &Eal, name: &str, words: usize, socket: Socket) -> Result<&'static [AtomicU64], Error> {
    let text = c_string(name)?;
    let bytes = words.checked_mul(size_of::<AtomicU64>()).filter(|b| *b > 0 && *b <= isize::MAX as usize);
    let Some(bytes) = bytes else {
        return Err(Error::Limit { what: "a memory zone", found: words as u64, allowed: "1 word or more".into() });
    };
    // SAFETY: the EAL runs; the string lives through the call, which copies it.
    let zone =
        unsafe { ffi::rte_memzone_reserve_aligned(text.as_ptr(), bytes, socket_id(socket), 0, CACHE_LINE_BYTES) };
    if zone.is_null() {
        return Err(last("rte_memzone_reserve"));
    }
    // SAFETY: DPDK returned a descriptor of a zone of at least `bytes`, aligned to 64, known to nobody else (names are
    // unique) and never freed. It is zeroed before the shared slice exists; all-zero is a valid AtomicU64.
    unsafe {
        let start = (*zone).__bindgen_anon_1.addr;
        ptr::write_bytes(start.cast::<u8>(), 0, bytes);
        Ok(slice::from_raw_parts(start.cast::<AtomicU64>(), words))
    }
}
