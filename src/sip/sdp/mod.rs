//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) as an anchor of media needs them: each side talks to
//! tandem only, and sees nothing of the other side's addresses. Runs on the slow path; pure.
//!
//! `sdp-types` reads and writes the lines; what they mean, and which of them go on to the other side, is decided here.

mod anchor;
pub mod attributes;
pub(crate) mod audio;
pub(crate) mod formats;
mod join;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use sdp_types::Session;
use serde::{Deserialize, Serialize};

pub use anchor::{Answered, SdpAnchor};
pub use audio::Audio;
pub use join::Joined;

use crate::base::limits::{SDP_BYTES, SDP_MEDIA};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("the session description is longer than {SDP_BYTES} bytes")]
    TooLong,
    #[error("the session description cannot be read: {0}")]
    Syntax(String),
    #[error("more than {SDP_MEDIA} media sections")]
    TooManySections,
    #[error("no audio section that tandem can carry")]
    NoAudio,
    #[error("the media address is a host name; only IP addresses are carried")]
    AddressIsName,
    #[error("no codec in common")]
    NoCommonFormat,
    #[error("an answer without an offer")]
    NoOffer,
}

impl SdpError {
    /// The status code that answers a request with such a description.
    pub const fn status(&self) -> u16 {
        match self {
            SdpError::TooLong => 413,
            SdpError::Syntax(_) | SdpError::TooManySections => 400,
            // RFC 3261 §21.4.26.
            _ => 488,
        }
    }
}

/// A session description as it was written: lines in the order of RFC 8866, unknown attributes kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sdp(pub(crate) Session);

impl Sdp {
    pub fn parse(body: &[u8]) -> Result<Sdp, SdpError> {
        if body.len() > SDP_BYTES {
            return Err(SdpError::TooLong);
        }
        let text = match std::str::from_utf8(body) {
            Ok(text) => Cow::Borrowed(text),
            // RFC 8866 §6.10 lets an attribute name another character set; ASCII is the same in those that are met.
            Err(_) => body.iter().map(|&b| char::from(b)).collect::<String>().into(),
        };
        let text = complete_media_lines(&text);
        let session = Session::parse(text.as_bytes())
            .or_else(|_| Session::parse(essential_lines(&text).as_bytes()))
            .map_err(|e| SdpError::Syntax(e.to_string()))?;
        if session.medias.len() > SDP_MEDIA { Err(SdpError::TooManySections) } else { Ok(Sdp(session)) }
    }

    pub fn write(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        // Writing into memory does not fail.
        let _ = self.0.write(&mut out);
        out.into()
    }
}

/// A refused section is met without any format (`m=video 0 RTP/AVP`), which the grammar does not allow.
fn complete_media_lines(text: &str) -> Cow<'_, str> {
    let short = |line: &str| line.starts_with("m=") && line.trim_end().matches(' ').count() == 2;
    if !text.lines().any(short) {
        return text.into();
    }
    text.lines()
        .map(|line| if short(line) { format!("{} 0\r\n", line.trim_end()) } else { format!("{line}\r\n") })
        .collect()
}

/// Without the lines that tandem makes nothing of: no call fails for a bandwidth or a time zone that cannot be read.
fn essential_lines(text: &str) -> String {
    let essential = |line: &&str| ["v=", "o=", "s=", "c=", "m=", "a="].iter().any(|start| line.starts_with(start));
    text.lines().filter(essential).flat_map(|line| [line, "\r\n"]).collect()
}

impl From<Sdp> for String {
    fn from(sdp: Sdp) -> String {
        String::from_utf8_lossy(&sdp.write()).into_owned()
    }
}

impl TryFrom<String> for Sdp {
    type Error = SdpError;

    fn try_from(text: String) -> Result<Sdp, SdpError> {
        Sdp::parse(text.as_bytes())
    }
}
