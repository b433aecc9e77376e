//! Hints to the cache about memory that workers share: what a burst will need is asked for before it is needed, so that
//! the misses of a burst's packets overlap. Runs on the workers; changes nothing.
//!
//! The one file of this room with `unsafe`: the instruction takes a pointer.

#![allow(unsafe_code)]

/// Asks for the cache line in which `all[at]` begins; nothing happens if it is not there.
#[inline(always)]
pub fn prefetch_at<T>(all: &[T], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(tandem_loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that reads nothing and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(all.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(tandem_loom))))]
    let _ = (all, at);
}
