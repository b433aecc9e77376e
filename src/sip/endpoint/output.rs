//! What the endpoint wants done: messages to send, records to write, things worth a log line. Slow-path thread.

use bytes::Bytes;

use super::{CallId, record::CallRecord};
use crate::sip::{flow::Flow, names::Query};

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Bytes of one message. Over TCP: on `flow.connection`, or where that is None on any connection between the two
    /// addresses, or on a new one. What cannot be sent comes back by `Endpoint::transport_failed` with this flow.
    Send {
        flow: Flow,
        bytes: Bytes,
    },
    /// A call ended, or was refused.
    Record(Box<CallRecord>),
    Log(Note),
    /// To be asked of the DNS; the answer comes by `Endpoint::resolved`.
    Resolve(Query),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// A log line, with the call it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub call: Option<CallId>,
    /// The Call-ID of leg A.
    pub sip_call_id: Option<String>,
    pub text: String,
}
