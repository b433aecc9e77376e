//! The slow path: one pinned thread that owns signalling, media sessions, the exception devices and the admin socket.
//!
//! - `boot`: opens everything in order, runs the loop, takes everything down again.
//! - `round`: the loop: wait, take what is ready, run what is due, send what came out.
//! - `sockets`: SIP over UDP and TCP.
//! - `ng`: the rtpengine control protocol over UDP, TCP, HTTP and WebSocket.
//! - `kernel`: next hops from the kernel's routes and neighbours.
//! - `pair`: the same on a host of a pair: what goes to the standby, what comes from the active host.
//! - `floating`: the floating addresses on this host.
//! - `answers`: what the admin socket is told.
//! - `lateness`: how long what waits for this thread has waited.
//! - `resolver`: the DNS, on a thread of its own.
//! - `meters`: what the metrics thread reads.
//! - `supervisor`: what systemd is told.
//! - `watch`: workers that stall.
//!
//! Workers never wait for this thread, and it never waits for anything but its poll, a millisecond at most: the rings
//! from the workers are polled, because a worker makes no system call and so cannot wake anybody.

#[cfg(feature = "dpdk")]
mod answers;
#[cfg(feature = "dpdk")]
mod boot;
#[cfg(feature = "dpdk")]
mod floating;
#[cfg(feature = "dpdk")]
mod kernel;
pub mod lateness;
#[cfg(feature = "dpdk")]
mod meters;
pub mod ng;
#[cfg(feature = "dpdk")]
mod pair;
pub mod resolver;
#[cfg(feature = "dpdk")]
mod round;
pub mod sockets;
pub mod supervisor;
pub mod watch;

#[cfg(feature = "dpdk")]
pub use boot::run;
