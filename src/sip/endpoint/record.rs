//! The call-detail record: what is known of a call at its end, one JSON line once somebody writes it. Slow-path thread.
//!
//! Times are milliseconds since 1970 by the wall clock the endpoint was given; durations come from the monotonic one.

use serde::{Deserialize, Serialize};

use super::CallId;
use crate::{
    base::ids::Side,
    control::{LegReport, SessionReport},
};

/// Why a call ended or never began: a closed list, each a label of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Answered, and one side hung up.
    Hangup,
    /// Answered, and no media came for too long.
    MediaTimeout,
    /// The operator ended it.
    Operator,
    /// The drain's deadline came.
    Drained,
    /// The caller never acknowledged the answer, or a reliable provisional response.
    NoAck,
    /// Answered, and a side no longer knew the dialog or did not answer within it.
    DialogLost,
    /// Answered, and a side did not refresh the session in time (RFC 4028).
    SessionExpired,
    /// The caller gave up before the answer.
    Cancelled,
    /// The called side refused (3xx to 6xx).
    Rejected,
    /// No destination gave a final answer in time.
    NoAnswer,
    /// No destination reacted.
    NoReply,
    /// Every destination was unavailable: 503 or unreachable.
    Unavailable,
    /// An answer to an offer could not be used.
    BadAnswer,
    /// No route for the called number.
    NoRoute,
    /// `sip.max_calls` or a limit of the trunk reached.
    Limit,
    /// Calls are drained.
    Draining,
    /// No media port or table entry.
    NoMedia,
    /// The offer could not be carried.
    NotAcceptable,
    /// The INVITE itself was refused: looped, an extension or body type that is unknown, no Contact.
    BadRequest,
}

impl Cause {
    pub const ALL: [Cause; 19] = [
        Cause::Hangup,
        Cause::MediaTimeout,
        Cause::Operator,
        Cause::Drained,
        Cause::NoAck,
        Cause::DialogLost,
        Cause::SessionExpired,
        Cause::Cancelled,
        Cause::Rejected,
        Cause::NoAnswer,
        Cause::NoReply,
        Cause::Unavailable,
        Cause::BadAnswer,
        Cause::NoRoute,
        Cause::Limit,
        Cause::Draining,
        Cause::NoMedia,
        Cause::NotAcceptable,
        Cause::BadRequest,
    ];

    /// As in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Hangup => "hangup",
            Cause::MediaTimeout => "media_timeout",
            Cause::Operator => "operator",
            Cause::Drained => "drained",
            Cause::NoAck => "no_ack",
            Cause::DialogLost => "dialog_lost",
            Cause::SessionExpired => "session_expired",
            Cause::Cancelled => "cancelled",
            Cause::Rejected => "rejected",
            Cause::NoAnswer => "no_answer",
            Cause::NoReply => "no_reply",
            Cause::Unavailable => "unavailable",
            Cause::BadAnswer => "bad_answer",
            Cause::NoRoute => "no_route",
            Cause::Limit => "limit",
            Cause::Draining => "draining",
            Cause::NoMedia => "no_media",
            Cause::NotAcceptable => "not_acceptable",
            Cause::BadRequest => "bad_request",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    Caller,
    Callee,
    Tandem,
    Operator,
}

impl EndedBy {
    pub const fn of(side: Side) -> EndedBy {
        match side {
            Side::A => EndedBy::Caller,
            Side::B => EndedBy::Callee,
        }
    }
}

/// One destination that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub trunk: String,
    pub destination: String,
    pub call_id: String,
    /// The numbers as they were written to it; no calling number where the caller gives none, or hides it.
    pub called: String,
    pub calling: Option<String>,
    pub at_ms: u64,
    /// The final status, received or (time-out, transport error) concluded; None: it was given up before.
    pub status: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    pub id: CallId,
    pub node: String,
    /// From and To as the caller wrote them, and the number that the dial plan saw.
    pub from: String,
    pub to: String,
    pub called: String,
    /// The calling number that it saw; None where the caller gives none, or hides it.
    pub calling: Option<String>,
    /// A rule for emergency numbers was followed.
    pub emergency: bool,
    pub trunk_a: String,
    pub trunk_b: Option<String>,
    pub destination: Option<String>,
    pub call_id_a: String,
    pub call_id_b: Option<String>,
    pub start_ms: u64,
    pub ringing_ms: Option<u64>,
    pub answer_ms: Option<u64>,
    pub end_ms: u64,
    /// Answer to end.
    pub duration_ms: u64,
    pub ended_by: EndedBy,
    pub cause: Cause,
    /// The status the caller got; for an answered call 200.
    pub status: u16,
    /// The Reason header (RFC 3326) or phrase that came with the end.
    pub reason: Option<String>,
    pub attempts: Vec<AttemptRecord>,
    /// Encoding names of leg A and leg B.
    pub codecs: [Option<String>; 2],
    pub transcoded: bool,
    /// Packets, loss and jitter of leg A and leg B, each as it arrived from that side.
    pub legs: Option<[LegReport; 2]>,
    /// In order: each put another party in the place of one side.
    #[serde(default)]
    pub transfers: Vec<TransferRecord>,
    /// The call that one of its legs went over to; both end together.
    #[serde(default)]
    pub joined: Option<CallId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// A REFER to somebody who was not in a call.
    Blind,
    /// A REFER to somebody whom the transferor had in another call.
    Attended,
    /// An INVITE with Replaces.
    Replaced,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRecord {
    pub at_ms: u64,
    pub kind: TransferKind,
    /// Who left.
    pub left: EndedBy,
    /// The call that who came is of; its record has his number and trunk.
    pub with: CallId,
}

impl CallRecord {
    pub fn note_media(&mut self, report: SessionReport) {
        let [a, b] = &report.legs;
        self.codecs = [a.codec.clone(), b.codec.clone()];
        self.transcoded = report.transcoded;
        self.legs = Some(report.legs);
    }
}
