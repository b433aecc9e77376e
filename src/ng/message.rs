//! One message: a cookie, a blank, and a dictionary in bencode or JSON. Pure; slow-path thread.
//!
//! Always holds: what has a cookie gets an answer that begins with it, in the way of writing that it came in; without a
//! cookie there is nobody to answer, unless it came by a way of which each message has one answer.

use bytes::Bytes;

use super::{
    NgError,
    bencode::{self, BencodeError},
    json,
    value::{Dictionary, Value},
};
use crate::base::limits::{NG_COOKIE_BYTES, NG_MESSAGE_BYTES};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Bencode,
    Json,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub cookie: Bytes,
    pub format: Format,
    pub body: Result<Dictionary, NgError>,
}

impl Message {
    /// None: no cookie can be made out.
    pub fn parse(bytes: &Bytes) -> Option<Message> {
        let cookie = cookie(bytes)?;
        let payload = bytes.slice(cookie.len() + 1..);
        Some(Message::of(cookie, &payload))
    }

    /// What comes without a cookie, by a way that tells whom to answer.
    pub fn plain(bytes: &Bytes) -> Message {
        Message::of(Bytes::new(), bytes)
    }

    fn of(cookie: Bytes, payload: &Bytes) -> Message {
        let format = if payload.first() == Some(&b'{') { Format::Json } else { Format::Bencode };
        let body = match (format, payload.first()) {
            (Format::Json, _) => json::read(payload).map_err(|e| NgError::Json(e.to_string())),
            (Format::Bencode, Some(b'd')) => bencode::read(payload).map_err(NgError::from),
            (Format::Bencode, _) => Err(NgError::Format),
        };
        let body = body.and_then(|value| match value {
            Value::Dictionary(dictionary) => Ok(dictionary),
            _ => Err(NgError::Format),
        });
        Message { cookie, format, body }
    }

    pub fn reply(&self, body: &Dictionary) -> Bytes {
        let mut out = Vec::with_capacity(1_024);
        if !self.cookie.is_empty() {
            out.extend_from_slice(&self.cookie);
            out.push(b' ');
        }
        match self.format {
            Format::Bencode => bencode::write_dictionary(body, &mut out),
            Format::Json => out.extend_from_slice(&json::write(body)),
        }
        out.into()
    }
}

fn cookie(bytes: &Bytes) -> Option<Bytes> {
    let window = bytes.get(..bytes.len().min(NG_COOKIE_BYTES + 1))?;
    let len = window.iter().position(|byte| *byte == b' ')?;
    let plain = window.get(..len)?.iter().all(u8::is_ascii_graphic);
    (len > 0 && plain).then(|| bytes.slice(..len))
}

/// The length of the message at the start of a stream. None: it has not all come. An error: this stream cannot go on.
pub fn length(bytes: &Bytes) -> Result<Option<usize>, NgError> {
    let short = |found: Option<usize>| match found {
        None if bytes.len() > NG_MESSAGE_BYTES => Err(NgError::Format),
        found => Ok(found),
    };
    let Some(cookie) = cookie(bytes) else {
        let may_come = bytes.len() <= NG_COOKIE_BYTES && bytes.iter().all(u8::is_ascii_graphic);
        return if may_come { Ok(None) } else { Err(NgError::Format) };
    };
    let at = cookie.len() + 1;
    let payload = bytes.slice(at..);
    let found = match payload.first() {
        None => None,
        Some(b'{') => json::length(&payload),
        Some(_) => match bencode::length(&payload) {
            Ok(len) => Some(len),
            Err(BencodeError::Short) => None,
            Err(error) => return Err(error.into()),
        },
    };
    short(found.map(|len| at + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Message> {
        Message::parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn the_answer_has_the_cookie_and_is_written_as_the_question() {
        let pong = Dictionary::default().with("result", "pong");
        let question = parse("5323_1 d7:command4:pinge").unwrap();
        assert_eq!(question.body.as_ref().unwrap().get("command").and_then(Value::text), Some("ping"));
        assert_eq!(question.reply(&pong), "5323_1 d6:result4:ponge");
        let question = parse("x {\"command\":\"ping\"}").unwrap();
        assert_eq!(question.reply(&pong), "x {\"result\":\"pong\"}");
    }

    #[test]
    fn what_may_come_without_a_cookie_is_answered_without_one() {
        let pong = Dictionary::default().with("result", "pong");
        let question = Message::plain(&Bytes::from_static(b"{\"command\":\"ping\"}"));
        assert_eq!(question.body.as_ref().unwrap().get("command").and_then(Value::text), Some("ping"));
        assert_eq!(question.reply(&pong), "{\"result\":\"pong\"}");
        assert!(Message::plain(&Bytes::new()).body.is_err());
    }

    #[test]
    fn what_has_a_cookie_can_be_answered_whatever_follows_it() {
        for wrong in ["c ", "c x", "c i1e", "c d7:command", "c {\"a\":", "c {}{}"] {
            assert!(parse(wrong).unwrap().body.is_err(), "{wrong}");
        }
        for nobody in ["", " d7:command4:pinge", "no-blank", "\u{1} de", &"c".repeat(300)] {
            assert!(parse(nobody).is_none(), "{nobody}");
        }
    }

    #[test]
    fn a_stream_is_cut_into_messages_wherever_it_is_interrupted() {
        let of = |text: &str| length(&Bytes::copy_from_slice(text.as_bytes()));
        for message in ["1 d7:command4:pinge", "2 {\"command\":\"ping\"}"] {
            assert_eq!(of(&format!("{message}3 d")), Ok(Some(message.len())));
            for end in 0..message.len() {
                assert_eq!(of(&message[..end]), Ok(None), "{}", &message[..end]);
            }
        }
        assert!(of("GET / HTTP/1.1").is_err());
        assert!(of(&"c".repeat(300)).is_err());
        assert!(of("\r\n").is_err());
        assert!(of(&format!("c 9999999:{}", "x".repeat(NG_MESSAGE_BYTES))).is_err());
    }
}
