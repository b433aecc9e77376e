//! The local admin socket: what `tandem calls`, `flows`, `ports` and `drain` speak with a running tandem.
//!
//! Newline-delimited JSON over a Unix stream socket: a line `{"command":"calls.list"}` is answered by a line
//! `{"ok":{…}}` or `{"error":"a sentence"}`. Both ends use the types of `protocol`.

pub mod protocol;
pub mod server;

pub use protocol::*;
pub use server::{AdminError, AdminServer};
