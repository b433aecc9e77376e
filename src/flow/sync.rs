//! The atomics of this room: the standard ones, or loom's where TANDEM_LOOM is set and the models explore every interleaving.

#[cfg(tandem_loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(tandem_loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Zeroed words that live as long as the process: where no device memory is at hand (tests, simulation).
pub fn words(count: usize) -> &'static [AtomicU64] {
    let mut words = Vec::with_capacity(count);
    words.resize_with(count, || AtomicU64::new(0));
    Box::leak(words.into_boxed_slice())
}
