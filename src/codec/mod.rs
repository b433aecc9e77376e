//! What turns one audio encoding into another, in place, as a packet passes.
//!
//! Runs on the workers, once per transcoded packet. It takes bytes and returns decisions: nothing here allocates,
//! panics, or does I/O. `unsafe` is in `simd` and nowhere else.

mod g711;
#[cfg(target_arch = "x86_64")]
mod simd;

pub use g711::{Converted, Kernel, Law};
