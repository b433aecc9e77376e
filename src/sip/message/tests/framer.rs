//! Messages out of a stream.

use super::*;
use crate::base::limits::SIP_MESSAGE_BYTES;

fn message(body: &str) -> Vec<u8> {
    wire(&format!(
        "MESSAGE sip:b@example.com SIP/2.0
Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1
From: <sip:a@example.com>;tag=1
To: <sip:b@example.com>
Call-ID: 1
CSeq: 1 MESSAGE
Content-Length: {}

",
        body.len()
    ))
    .into_iter()
    .chain(body.bytes())
    .collect()
}

fn drain(framer: &mut Framer) -> Vec<StreamItem> {
    std::iter::from_fn(|| framer.next().unwrap()).collect()
}

fn body_of(item: &StreamItem) -> Option<&[u8]> {
    match item {
        StreamItem::Message(message) => Some(&message.body),
        _ => None,
    }
}

#[test]
fn however_it_is_cut_the_same_comes_out() {
    // The body looks like the end of headers and like a message.
    let body = "\r\n\r\nINVITE sip:x@y SIP/2.0\r\n\r\n";
    let stream = [message(body), b"\r\n\r\n".to_vec(), message("two"), b"\r\n".to_vec(), message("")].concat();
    for piece in [1, 2, 3, 5, 7, 100, stream.len()] {
        let mut framer = Framer::new();
        let mut items = Vec::new();
        for bytes in stream.chunks(piece) {
            framer.push(bytes);
            items.extend(drain(&mut framer));
        }
        assert_eq!(items.len(), 4, "in pieces of {piece}");
        assert_eq!(body_of(&items[0]), Some(body.as_bytes()));
        assert_eq!(items[1], StreamItem::Ping);
        assert_eq!(body_of(&items[2]), Some(&b"two"[..]));
        assert_eq!(body_of(&items[3]), Some(&b""[..]));
        assert_eq!(framer.buffered(), 0);
    }
}

#[test]
fn rfc_5626_each_double_line_break_is_a_ping_and_a_single_one_is_none() {
    let mut framer = Framer::new();
    framer.push(b"\r\n\r\n\r\n\r\n");
    assert_eq!(drain(&mut framer), [StreamItem::Ping, StreamItem::Ping]);
    framer.push(b"\r\n");
    assert_eq!(drain(&mut framer), []);
    framer.push(&message("x"));
    assert_eq!(body_of(&drain(&mut framer)[0]), Some(&b"x"[..]));
}

#[test]
fn a_bad_message_whose_end_is_known_does_not_end_the_stream() {
    let mut framer = Framer::new();
    let bad = String::from_utf8(message("body")).unwrap().replace("CSeq: 1 MESSAGE", "CSeq: 1 BYE");
    framer.push(bad.as_bytes());
    framer.push(&message("next"));
    let items = drain(&mut framer);
    let StreamItem::Malformed(malformed) = &items[0] else { panic!("{items:?}") };
    assert_eq!(malformed.kind, MalformedKind::MethodMismatch);
    assert_eq!(malformed.reply.as_ref().and_then(|r| r.status()), Some(400));
    assert_eq!(body_of(&items[1]), Some(&b"next"[..]));
}

#[test]
fn what_leaves_the_end_unknown_ends_the_stream() {
    let good = String::from_utf8(message("body")).unwrap();
    let length = "Content-Length: 4\r\n";
    for (with, kind, status) in [
        ("", MalformedKind::Missing(Field::ContentLength), 400),
        ("Content-Length: 4\r\nl: 5\r\n", MalformedKind::Conflicting(Field::ContentLength), 400),
        // The first thing wrong is elsewhere; the end is unknown all the same.
        ("To: <sip:c@h>\r\nContent-Length: 4\r\nl: 5\r\n", MalformedKind::Conflicting(Field::ContentLength), 400),
        ("Content-Length: -4\r\n", MalformedKind::Bad(Field::ContentLength), 400),
        ("Content-Length: 65535\r\n", MalformedKind::BodyTooLong, 413),
        ("Content-Length: 4\r\nX: \nContent-Length: 9\r\n", MalformedKind::BareLineBreak, 400),
    ] {
        let mut framer = Framer::new();
        framer.push(good.replace(length, with).as_bytes());
        let FramerError(lost) = framer.next().unwrap_err();
        assert_eq!((lost.kind, lost.reply.and_then(|r| r.status())), (kind, Some(status)), "{with:?}");
        framer.push(good.as_bytes());
        assert_eq!(framer.next().unwrap_err().0.kind, kind, "stays lost");
        assert_eq!(framer.buffered(), 0);
    }
}

/// Every item of a stream that comes in pieces of that length, and how it was lost if it was.
pub fn framed(stream: &[u8], piece: usize) -> (Vec<StreamItem>, Option<FramerError>) {
    let (mut framer, mut items) = (Framer::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        framer.push(bytes);
        loop {
            match framer.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(lost) => return (items, Some(lost)),
            }
        }
    }
    (items, None)
}

#[test]
fn however_it_is_cut_framing_is_lost_alike_and_answered_alike() {
    let good = String::from_utf8(message("body")).unwrap();
    let other = good.replace("z9hG4bK1", "z9hG4bK2").replace("Call-ID: 1", "Call-ID: 2").into_bytes();
    let endless = good.replace("\r\n\r\n", "\r\n") + &"X: y\r\n".repeat(SIP_MESSAGE_BYTES / 6);
    // A head one byte longer than a message may be, without a length that could be at fault as well.
    let too_long = |over: usize| {
        let head = good.replace("Content-Length: 4\r\n\r\nbody", "");
        let line = "x".repeat(SIP_MESSAGE_BYTES + over - head.len() - "\r\n\r\n".len());
        format!("{head}{line}\r\n\r\n")
    };
    for (stream, kind, call_id) in [
        // Noise before a message whose headers would make a reply.
        (format!("\n{good}"), MalformedKind::BareLineBreak, None),
        (format!("\r\n\n{good}"), MalformedKind::BareLineBreak, None),
        (endless, MalformedKind::TooLong, None),
        (too_long(1), MalformedKind::TooLong, None),
        (too_long(0), MalformedKind::Missing(Field::ContentLength), Some("1")),
        (good.replace("Content-Length: 4\r\n", ""), MalformedKind::Missing(Field::ContentLength), Some("1")),
        (good.replace("Length: 4", "Length: 65535"), MalformedKind::BodyTooLong, Some("1")),
    ] {
        // Another message follows at once.
        let stream = [message("first"), stream.into_bytes(), other.clone()].concat();
        let whole = framed(&stream, stream.len());
        assert_eq!(whole.0.len(), 1, "{kind:?}");
        let FramerError(lost) = whole.1.clone().unwrap();
        assert_eq!(lost.kind, kind);
        let reply = lost.reply.as_deref();
        assert_eq!(reply.and_then(Message::call_id), call_id, "{kind:?}");
        assert_eq!(reply.map_or(0, |r| r.vias().unwrap().len()), usize::from(call_id.is_some()), "{kind:?}");
        for piece in [1, 2, 3, 7, 100, 1_460, SIP_MESSAGE_BYTES] {
            assert_eq!(framed(&stream, piece), whole, "{kind:?} in pieces of {piece}");
        }
    }
}

#[test]
fn headers_that_never_end_are_cut_off() {
    let mut framer = Framer::new();
    let mut pushed = 0;
    while pushed <= SIP_MESSAGE_BYTES {
        assert_eq!(framer.next(), Ok(None));
        framer.push(&[b'x'; 1024]);
        pushed += 1024;
    }
    assert_eq!(framer.next().unwrap_err().0.kind, MalformedKind::TooLong);
}

#[test]
fn the_largest_message_passes() {
    let head = message("").len() + "65535".len() - "0".len();
    let largest = message(&"b".repeat(SIP_MESSAGE_BYTES - head));
    assert_eq!(largest.len(), SIP_MESSAGE_BYTES);
    let mut framer = Framer::new();
    framer.push(&largest);
    assert_eq!(drain(&mut framer).len(), 1);
    framer.push(&message(&"b".repeat(SIP_MESSAGE_BYTES - head + 1)));
    assert_eq!(framer.next().unwrap_err().0.kind, MalformedKind::BodyTooLong);
}

#[test]
fn a_byte_at_a_time_costs_no_more_than_the_bytes() {
    // 64 KiB of headers a byte at a time: quadratic searching would be 2·10⁹ steps.
    let mut framer = Framer::new();
    let started = std::time::Instant::now();
    for _ in 0..SIP_MESSAGE_BYTES {
        framer.push(b"x");
        assert_eq!(framer.next(), Ok(None));
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
