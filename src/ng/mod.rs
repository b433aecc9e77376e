//! The `ng` control protocol: Kamailio and OpenSIPS drive tandem's media as they drive rtpengine. A second user of call
//! control, beside SIP. Pure: bytes, the time and call control come in, bytes go out; the sockets are in `slow`.
//!
//! - `message`: cookie and payload; `bencode`, `json`: the two ways to write a payload; `value`: what both mean.
//! - `cookies`: answers that are given again to commands that come again.
//! - `keys`: every command, key and flag that is known, and what becomes of it; `request`: a command as understood.
//! - `call`: the state; `section`, `codecs`, `rewrite`: descriptions; `offer`, `answer`, `end`, `block`, `view`: the commands.
//! - `machine`: all calls, their deadlines, and the way in; `standby`: the same on a host of a pair.

mod answer;
pub mod bencode;
mod block;
mod call;
mod codecs;
mod cookies;
mod end;
mod error;
pub mod json;
pub mod keys;
mod machine;
pub mod message;
mod offer;
mod request;
mod rewrite;
mod section;
mod standby;
#[cfg(test)]
mod tests;
pub mod value;
mod view;

pub use error::NgError;
pub use machine::{Ng, NgCounters, SavedCall, Settings};
pub use request::Command;
pub use standby::NgChanges;
