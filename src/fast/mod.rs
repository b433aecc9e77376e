//! The fast path: one core, one loop, one queue per port, run to completion. A packet that enters on a core leaves from
//! it. No lock, allocation, system call, log line or clock read per packet; one tick read per burst.
//!
//! - `worker`: the loop; bursts in, bursts out, counters.
//! - `arrival`: what a frame is: for a media flow, for the kernel, or for nobody.
//! - `relay`: what a plan does with a packet: admission, RTP, conversion, new headers.
//! - `lane`: the short way of the common packet.
//! - `police`: how much goes to the kernel.

mod arrival;
mod lane;
mod police;
mod relay;
pub mod worker;

pub use worker::{Shared, Worker};

#[cfg(test)]
mod tests;
