//! The pair: two hosts, one active, one standby, floating addresses that move between them, and every call's state on
//! both. `docs/ha.md` is the page for operators; this one says who is who in here.
//!
//! - `generation`: who outranks whom.
//! - `heartbeat`: what the two tell each other, and which of it is news.
//! - `role`: which of the two is active. Pure, as the two above.
//! - `pair`: the thread that has the sockets, the clock and the lease, and asks `role` what to do.
//! - `held`: answers that wait until the standby knows of them.
//! - `link`: what that thread and the slow path say to each other, and the snapshot that everybody else reads.
//! - `state`: the generation on disk.
//! - `mirror`: what the slow path tells the standby in each of its rounds, and what the standby makes of it.
//! - `provider`: what moves the floating addresses: nothing, gratuitous ARP, or the EC2 API.
//! - `replica`: the connection on which it is told, and the slow path's end of it.
//! - `replicate`: what the active host tells the standby, as pure machines.

pub mod generation;
pub mod heartbeat;
pub mod held;
pub mod link;
pub mod meters;
pub mod mirror;
pub mod pair;
pub mod provider;
pub mod replica;
pub mod replicate;
pub mod role;
pub mod state;
