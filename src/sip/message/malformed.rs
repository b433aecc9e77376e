//! What can be wrong with a message: a closed list, so that each has its counter and its answer.

use serde::{Deserialize, Serialize};

use super::Message;

/// A header field that parsing looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Field {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Contact,
    Route,
    RecordRoute,
    ContentType,
    ContentLength,
}

impl Field {
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Via => "Via",
            Field::From => "From",
            Field::To => "To",
            Field::CallId => "Call-ID",
            Field::CSeq => "CSeq",
            Field::MaxForwards => "Max-Forwards",
            Field::Contact => "Contact",
            Field::Route => "Route",
            Field::RecordRoute => "Record-Route",
            Field::ContentType => "Content-Type",
            Field::ContentLength => "Content-Length",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
pub enum MalformedKind {
    #[error("nothing but line breaks")]
    Empty,
    #[error("message too long")]
    TooLong,
    #[error("too many header lines")]
    TooManyHeaders,
    #[error("header line too long")]
    HeaderTooLong,
    #[error("no empty line ends the headers")]
    HeadersDoNotEnd,
    #[error("carriage return or line feed alone")]
    BareLineBreak,
    #[error("bad start line")]
    BadStartLine,
    #[error("bad Request-URI")]
    BadRequestUri,
    #[error("unknown Request-URI scheme")]
    UnsupportedScheme,
    #[error("SIP version is not 2.0")]
    UnsupportedVersion,
    #[error("no {}", .0.as_str())]
    Missing(Field),
    #[error("bad {}", .0.as_str())]
    Bad(Field),
    #[error("{} said twice, differently", .0.as_str())]
    Conflicting(Field),
    #[error("CSeq method differs from the request's")]
    MethodMismatch,
    #[error("body shorter than Content-Length")]
    BodyShort,
    #[error("body longer than allowed")]
    BodyTooLong,
}

impl MalformedKind {
    /// The status code that the RFC names for it.
    pub const fn status(self) -> u16 {
        match self {
            MalformedKind::UnsupportedScheme => 416,
            MalformedKind::UnsupportedVersion => 505,
            MalformedKind::BodyTooLong => 413,
            // RFC 3261 §21.5.7.
            MalformedKind::TooLong | MalformedKind::TooManyHeaders | MalformedKind::HeaderTooLong => 513,
            _ => 400,
        }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{kind}")]
pub struct Malformed {
    pub kind: MalformedKind,
    /// What to answer, without state. None: answer nothing (a response, an ACK, or no way to tell where to).
    pub reply: Option<Box<Message>>,
}
