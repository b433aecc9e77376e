//! RFC 3261 §8.2.6 and §8.2.7.

use super::*;

// RFC 3665 §3.1 F1, without its body, with a second Via.
const INVITE: &str = "INVITE sip:bob@biloxi.example.com SIP/2.0
Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74bf9
Via: SIP/2.0/UDP ss1.example.com, SIP/2.0/UDP ss0.example.com
Max-Forwards: 70
From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl
To: Bob <sip:bob@biloxi.example.com>
Call-ID: 3848276298220188511@atlanta.example.com
CSeq: 1 INVITE
Timestamp: 54.21
Contact: <sip:alice@client.atlanta.example.com;transport=tcp>
Content-Length: 0

";

#[test]
fn a_response_repeats_what_the_request_said() {
    let request = parse(INVITE);
    let response = Message::response_to(&request, 180, "");
    assert_eq!(response.start, Start::Response { status: 180, reason: "Ringing".into() });
    assert_eq!(response.vias(), request.vias());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        assert_eq!(response.headers.get(&name), request.headers.get(&name));
    }
    assert_eq!(response.headers.len(), 6);
    assert_eq!(Message::parse(&response.write()).unwrap(), response);
}

#[test]
fn trying_repeats_the_timestamp() {
    let response = Message::response_to(&parse(INVITE), 100, "");
    assert_eq!(response.headers.get(&HeaderName::Timestamp), Some("54.21"));
}

#[test]
fn the_answer_to_a_malformed_request_has_a_to_tag_and_always_the_same() {
    let broken = INVITE.replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    let reply = || Message::parse(&wire(&broken)).unwrap_err().reply.unwrap();
    assert!(reply().to().unwrap().tag().is_some_and(|tag| tag.len() == 16));
    assert_eq!(reply(), reply());
    assert_eq!(reply().vias().unwrap().len(), 3);
    let other = broken.replace("z9hG4bK74bf9", "z9hG4bK74bfa");
    let other = Message::parse(&wire(&other)).unwrap_err().reply.unwrap();
    assert_ne!(other.to().unwrap().tag(), reply().to().unwrap().tag());
    // A tag that is there stays.
    let tagged = broken.replace("biloxi.example.com>", "biloxi.example.com>;tag=mine");
    let tagged = Message::parse(&wire(&tagged)).unwrap_err().reply.unwrap();
    assert_eq!(tagged.to().unwrap().tag(), Some("mine"));
}

#[test]
fn usual_reason_phrases() {
    // RFC 3261 §21.
    for (status, phrase) in
        [(100, "Trying"), (200, "OK"), (486, "Busy Here"), (488, "Not Acceptable Here"), (505, "Version Not Supported")]
    {
        assert_eq!(reason_phrase(status), phrase);
    }
    assert_eq!((reason_phrase(299), reason_phrase(499)), ("Success", "Client Error"));
}
