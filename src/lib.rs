//! tandem: a media-plane appliance for telephony.
//!
//! It answers SIP, anchors the RTP of every call on poll-mode cores, and converts G.711 μ-law and A-law in flight.
//!
//! Rooms, from the wire inwards. `fast` and `control` never import each other: they meet in `flow`. `wire`, `codec`,
//! `media`, `flow`, `ng` and the machines in `sip` do no I/O: they take bytes and the time as arguments and return
//! decisions. `tests/tidy.rs` holds this picture. Under loom only what the models in `flow` are made of is built.

pub mod base;
#[cfg(not(tandem_loom))]
pub mod cli;
pub mod codec;
#[cfg(not(tandem_loom))]
pub mod config;
#[cfg(not(tandem_loom))]
pub mod control;
#[cfg(not(tandem_loom))]
pub mod fast;
pub mod flow;
#[cfg(not(tandem_loom))]
pub mod ha;
#[cfg(not(tandem_loom))]
pub mod host;
#[cfg(not(tandem_loom))]
pub mod io;
pub mod media;
#[cfg(not(tandem_loom))]
pub mod ng;
#[cfg(not(tandem_loom))]
pub mod observe;
#[cfg(not(tandem_loom))]
pub mod replay;
#[cfg(not(tandem_loom))]
pub mod sip;
#[cfg(not(tandem_loom))]
pub mod slow;
#[cfg(not(tandem_loom))]
pub mod tls;
pub mod wire;
