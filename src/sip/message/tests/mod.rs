//! What a message may look like and what it may not. The torture tests of RFC 4475 and RFC 5118 are in tests/torture/.

mod framer;
mod ipv6;
mod malformed;
mod properties;
mod reply;
mod uri;
mod values;

use super::*;

/// RFC 4475's usual body, which has 150 octets with a 9-octet address and two more for each digit of it.
pub const SDP: &str = "v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 49217 RTP/AVP 0 12
m=video 3227 RTP/AVP 31
a=rtpmap:31 LPC
";

/// `text` with the line ends of the wire. Lines end in `\n` in this file.
pub fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

pub fn parse(text: &str) -> Message {
    let message = Message::parse(&wire(text)).unwrap();
    assert_eq!(Message::parse(&message.write()).as_ref(), Ok(&message), "reads back what it writes");
    message
}

/// What is wrong and the status that answers it.
pub fn refusal(text: &str) -> (MalformedKind, Option<u16>) {
    refusal_of(&wire(text))
}

pub fn refusal_of(bytes: &[u8]) -> (MalformedKind, Option<u16>) {
    let malformed = Message::parse(bytes).unwrap_err();
    (malformed.kind, malformed.reply.and_then(|reply| reply.status()))
}
