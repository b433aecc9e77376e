//! A caller and a callee over TCP connections that may die with the host at the other end. A thread each.
//!
//! SIPp connects again after a reset and then sends nothing more, and as a callee it ends; so these are the laboratory's.
//! They speak by the talkers (which hear of session descriptions from the tap: each message is one segment). When a
//! connection dies, the next one goes on with the dialogs: a connection is no part of them (RFC 3261 §18.4).

mod callee;
mod caller;
mod connection;

pub use self::{
    callee::{Callee, Plan as Answers},
    caller::{Caller, Plan as Calls},
};

/// A session description of one PCMU or PCMA stream. Always the same version: nothing is changed (RFC 3264 §8).
fn description(address: std::net::IpAddr, media_port: u16, law: crate::law::Law) -> String {
    let (number, name) = (law.payload_type(), law.encoding());
    format!(
        "v=0\r\no=phone 53655765 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {media_port} RTP/AVP {number}\r\na=rtpmap:{number} {name}/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}
