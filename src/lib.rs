//! tandem: a media-plane appliance for telephony.
//!
//! It answers SIP, anchors the RTP of every call on poll-mode cores, and converts G.711 μ-law and A-law in flight.
//!
//! Rooms, from the wire inwards. `fast` and `control` never import each other: they meet in `flow`. `wire`, `codec`,
//! `media`, `flow`, `ng` and the machines in `sip` do no I/O: they take bytes and the time as arguments and return
//! decisions. `tests/tidy.rs` holds this picture.

pub mod base;
pub mod cli;
pub mod codec;
pub mod config;
pub mod control;
pub mod fast;
pub mod flow;
pub mod ha;
pub mod host;
pub mod io;
pub mod media;
pub mod ng;
pub mod observe;
pub mod replay;
pub mod sip;
pub mod slow;
pub mod tls;
pub mod wire;
