//! The pair: two hosts, one active, one standby, floating addresses that move between them, and every call's state on
//! both. `docs/ha.md` is the page for operators; this one says who is who in here.
//!
//! - `generation`: who outranks whom, and what is on disk of it.
//! - `mirror`: what the slow path does for the pair in each of its rounds.
//! - `provider`: what moves the floating addresses: nothing, gratuitous ARP, or the EC2 API.
//! - `replica`: the connection on which it is told, and the slow path's end of it.
//! - `replicate`: what the active host tells the standby, as pure machines.

pub mod generation;
pub mod mirror;
pub mod provider;
pub mod replica;
pub mod replicate;
