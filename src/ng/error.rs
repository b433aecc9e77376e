//! Why a command of the `ng` protocol was not carried out. The text goes to the proxy, which writes it into its log.

use crate::{base::limits::*, control::OpenError, sip::sdp::SdpError};

use super::bencode::BencodeError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NgError {
    #[error("the message is no bencode: {0}")]
    Bencode(#[from] BencodeError),
    #[error("the message is no JSON: {0}")]
    Json(String),
    #[error("the message is neither a bencode dictionary nor a JSON object")]
    Format,
    #[error("no {0} in the message")]
    Missing(&'static str),
    #[error("{0} is empty, longer than {NG_NAME_BYTES} bytes or no UTF-8")]
    Name(&'static str),
    #[error("unrecognised command: {0}")]
    Command(String),
    #[error("unknown call-id")]
    UnknownCall,
    #[error("no such participant in this call")]
    UnknownParticipant,
    #[error("an answer without an offer")]
    NoOffer,
    #[error("{what} is not there: {why}")]
    Refused { what: String, why: &'static str },
    #[error("{key}: {found:?} is no value for it")]
    Value { key: &'static str, found: String },
    #[error("no interface is called {0:?}")]
    Interface(String),
    #[error("no codec in common")]
    NoCommonFormat,
    #[error("no media section that can be carried")]
    NoMedia,
    #[error("the answer has {answered} media sections, the offer had {offered}")]
    Sections { offered: usize, answered: usize },
    #[error("the call has {NG_BRANCHES} branches already")]
    Branches,
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("no new calls are taken: {0}")]
    Full(&'static str),
}

impl NgError {
    /// Another node may well take the call: proxies that are told so ask one.
    pub const fn is_load(&self) -> bool {
        matches!(self, NgError::Full(_) | NgError::Open(OpenError::NoPort | OpenError::TableFull))
    }
}
