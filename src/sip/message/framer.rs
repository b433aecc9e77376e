//! Messages out of a stream (RFC 3261 §18.3, RFC 5626 §4.4.1): bytes are pushed in as they come, whole messages and
//! keep-alives are taken out. One framer per connection; runs on the slow path.
//!
//! Always holds: at most one message (`SIP_MESSAGE_BYTES`) and what was pushed last is buffered; a byte is searched for
//! the end of the headers a constant number of times; the same bytes give the same items and the same loss, however the
//! network cuts them up. Once framing is lost it stays lost: the connection is to be closed.

use bytes::{Buf, BytesMut};

use super::{
    Message,
    malformed::{Malformed, MalformedKind},
    parse::{Draft, find_head_end},
};
use crate::base::limits::SIP_MESSAGE_BYTES;

#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    Message(Box<Message>),
    /// The message is bad, its end is known: answer `reply`, the stream goes on.
    Malformed(Malformed),
    /// Two line breaks between messages: the peer asks whether we live. Answer one line break.
    Ping,
}

/// Where the next message starts is not known any more: answer `reply` if there is one, then close. There is one only
/// where a whole head was read, and it is made of nothing else.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("lost the framing of the stream: {0}")]
pub struct FramerError(pub Malformed);

#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of `buffer` in which no end of headers starts.
    searched: usize,
    /// Length of the whole message, once its headers are there.
    whole: Option<Whole>,
    lost: Option<Malformed>,
}

#[derive(Clone, Copy, Debug)]
struct Whole {
    head: usize,
    total: usize,
}

impl Framer {
    pub fn new() -> Self {
        Framer::default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.lost.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole item; None: push more.
    #[expect(clippy::should_implement_trait, reason = "an error ends the stream, which an iterator's contract hides")]
    pub fn next(&mut self) -> Result<Option<StreamItem>, FramerError> {
        if let Some(lost) = &self.lost {
            return Err(FramerError(lost.clone()));
        }
        if self.whole.is_none() {
            if let Some(ping) = self.skip_line_breaks() {
                return Ok(Some(ping));
            }
            self.whole = self.find_whole()?;
        }
        let Some(Whole { head, total }) = self.whole.filter(|w| w.total <= self.buffer.len()) else { return Ok(None) };
        self.whole = None;
        self.searched = 0;
        let bytes = self.buffer.split_to(total);
        let (head, body) = bytes.split_at(head.min(bytes.len()));
        Ok(Some(match Draft::read(head).finish(body, total) {
            Ok(message) => StreamItem::Message(Box::new(message)),
            Err(malformed) => StreamItem::Malformed(malformed),
        }))
    }

    /// RFC 5626 §4.4.1: CRLF CRLF between messages is a ping; a lone CRLF is a pong, or (RFC 3261 §7.5) nothing.
    fn skip_line_breaks(&mut self) -> Option<StreamItem> {
        loop {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Some(StreamItem::Ping);
            }
            match self.buffer.get(..3) {
                // The third byte tells a lone line break from the start of a ping.
                Some([b'\r', b'\n', third]) if *third != b'\r' => self.buffer.advance(2),
                _ => return None,
            }
        }
    }

    fn find_whole(&mut self) -> Result<Option<Whole>, FramerError> {
        // A start line never begins with a line break: one that does not pair up is noise.
        if matches!(self.buffer.first(), Some(b'\n')) {
            return Err(self.lose(MalformedKind::BareLineBreak));
        }
        // Only where a head may lie: what was pushed with it may hold the end of a later one.
        let within = self.buffer.get(..SIP_MESSAGE_BYTES).unwrap_or(&self.buffer);
        let Some(head) = find_head_end(within, self.searched) else {
            self.searched = self.buffer.len().saturating_sub(3);
            return if self.buffer.len() > SIP_MESSAGE_BYTES {
                Err(self.lose(MalformedKind::TooLong))
            } else {
                Ok(None)
            };
        };
        let draft = Draft::read(self.buffer.get(..head).unwrap_or(&[]));
        let lost = match draft.body_length() {
            Ok(body) if body <= SIP_MESSAGE_BYTES - head => return Ok(Some(Whole { head, total: head + body })),
            Ok(_) => MalformedKind::BodyTooLong,
            Err(kind) => kind,
        };
        Err(self.lose_with(draft.refuse(lost)))
    }

    /// Without a whole head: how much of it is there, and what lies behind it, is the network's doing. No reply.
    fn lose(&mut self, kind: MalformedKind) -> FramerError {
        self.lose_with(Malformed { kind, reply: None })
    }

    fn lose_with(&mut self, malformed: Malformed) -> FramerError {
        self.buffer = BytesMut::new();
        self.lost = Some(malformed.clone());
        FramerError(malformed)
    }
}
