//! The pair: two hosts, one active, one standby, floating addresses that move between them, and every call's state on
//! both. `docs/ha.md` is the page for operators; this one says who is who in here.
//!
//! - `generation`: who outranks whom, and what is on disk of it.
//! - `held`: answers that wait until the standby knows of them.
//! - `provider`: what moves the floating addresses: nothing, gratuitous ARP, or the EC2 API.

pub mod generation;
pub mod held;
pub mod provider;
