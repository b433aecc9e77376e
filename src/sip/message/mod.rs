//! SIP messages as values: read strictly, written canonically. Runs on the slow path; pure.
//!
//! Always holds for a message that `parse` returned: Via, From, To, Call-ID and CSeq are there and well formed, CSeq's
//! method is the request's, Contact, Route and Record-Route are well formed, and `parse(write(m)) == m` (unless writing names out made it longer than `SIP_MESSAGE_BYTES`). Message state
//! can be serialised, because dialogs and transactions hold messages and a standby takes them over.

mod address;
mod framer;
mod header;
mod malformed;
mod method;
mod params;
mod parse;
mod reason;
mod reply;
mod scan;
#[cfg(test)]
mod tests;
mod uri;
mod via;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use address::NameAddr;
pub use framer::{Framer, FramerError, StreamItem};
pub use header::{HeaderName, Headers};
pub use malformed::{Field, Malformed, MalformedKind};
pub use method::{CSeq, Method};
pub use params::Params;
pub use reason::reason_phrase;
pub(in crate::sip) use scan::Cursor;
pub use scan::{Syntax, quote, unquote};
pub use uri::{Host, Scheme, Uri, escape_user, unescape};
pub use via::{BRANCH_COOKIE, Via};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub start: Start,
    /// Without Content-Length: it follows from `body`.
    pub headers: Headers,
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Start {
    Request { method: Method, uri: Uri },
    Response { status: u16, reason: String },
}

impl Message {
    /// A request without headers.
    pub fn request(method: Method, uri: Uri) -> Message {
        Message { start: Start::Request { method, uri }, headers: Headers::new(), body: Bytes::new() }
    }

    /// The message as it goes onto the wire. A line break within a value, which parsing never leaves there, becomes a
    /// space: no value can add a header.
    pub fn write(&self) -> Vec<u8> {
        let (uri, status);
        let start: [&str; 4] = match &self.start {
            Start::Request { method, uri: to } => {
                uri = to.to_string();
                [method.as_str(), " ", &uri, " SIP/2.0"]
            }
            Start::Response { status: code, reason } => {
                status = code.to_string();
                ["SIP/2.0 ", &status, " ", reason]
            }
        };
        let length = self.body.len().to_string();
        let lines = || self.headers.iter().filter(|(name, _)| **name != HeaderName::ContentLength);
        // To the byte: what is sent is often kept for repetitions.
        let bytes = start.iter().map(|part| part.len()).sum::<usize>()
            + lines().map(|(name, value)| name.as_str().len() + 2 + value.len() + 2).sum::<usize>()
            + "\r\nContent-Length: \r\n\r\n".len()
            + length.len()
            + self.body.len();
        let mut out = Vec::with_capacity(bytes);
        push_line(&mut out, &start);
        for (name, value) in lines() {
            push_line(&mut out, &[name.as_str(), ": ", value]);
        }
        push_line(&mut out, &["Content-Length: ", &length]);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }

    /// Forgets the body and all header lines but those named, and gives their memory back.
    pub fn keep_only(&mut self, names: &[HeaderName]) {
        self.headers.keep_only(names);
        self.body = Bytes::new();
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// A request's method.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// A request's Request-URI.
    pub fn uri(&self) -> Option<&Uri> {
        match &self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// A response's status code.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// Every Via, top first.
    pub fn vias(&self) -> Result<Vec<Via>, Syntax> {
        let mut vias = Vec::new();
        for line in self.headers.all(&HeaderName::Via) {
            vias.extend(Via::parse_list(line)?);
        }
        Ok(vias)
    }

    pub fn top_via(&self) -> Result<Via, Syntax> {
        let line = self.headers.get(&HeaderName::Via).ok_or(Syntax("Via"))?;
        Via::parse_first(line)
    }

    pub fn from(&self) -> Result<NameAddr, Syntax> {
        NameAddr::parse(self.headers.get(&HeaderName::From).ok_or(Syntax("From"))?)
    }

    pub fn to(&self) -> Result<NameAddr, Syntax> {
        NameAddr::parse(self.headers.get(&HeaderName::To).ok_or(Syntax("To"))?)
    }

    pub fn call_id(&self) -> Option<&str> {
        self.headers.get(&HeaderName::CallId)
    }

    pub fn cseq(&self) -> Result<CSeq, Syntax> {
        CSeq::parse(self.headers.get(&HeaderName::CSeq).ok_or(Syntax("CSeq"))?)
    }

    /// Every contact; a `*` (RFC 3261 §10.2.2) is none.
    pub fn contacts(&self) -> Result<Vec<NameAddr>, Syntax> {
        self.addresses(&HeaderName::Contact)
    }

    pub fn routes(&self) -> Result<Vec<NameAddr>, Syntax> {
        self.addresses(&HeaderName::Route)
    }

    pub fn record_routes(&self) -> Result<Vec<NameAddr>, Syntax> {
        self.addresses(&HeaderName::RecordRoute)
    }

    /// Every address in the lines of that name, in order.
    pub fn addresses(&self, name: &HeaderName) -> Result<Vec<NameAddr>, Syntax> {
        let mut list = Vec::new();
        for line in self.headers.all(name).filter(|line| *line != "*") {
            list.extend(NameAddr::parse_list(line)?);
        }
        Ok(list)
    }

    pub fn max_forwards(&self) -> Option<u8> {
        self.headers.get(&HeaderName::MaxForwards)?.parse().ok()
    }

    /// The media type of the body, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(&HeaderName::ContentType)
    }

    /// Whether the body's media type is `kind` (`application/sdp`); parameters and case aside.
    pub fn content_is(&self, kind: &str) -> bool {
        let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>();
        self.content_type().and_then(|t| t.split(';').next()).is_some_and(|t| plain(t).eq_ignore_ascii_case(kind))
    }

    /// The items of a comma-separated list of tokens (Supported, Require, Allow), over all its lines.
    pub fn tokens<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.headers.all(name).flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
    }
}

fn push_line(out: &mut Vec<u8>, parts: &[&str]) {
    let start = out.len();
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\r' | b'\n')) {
        *byte = b' ';
    }
    out.extend_from_slice(b"\r\n");
}
