//! Messages to refuse, and how: variations on what RFC 4475 §3.1.2, §3.2 and §3.3 break. The RFC's own messages are in
//! tests/torture/.

use super::*;

/// A sound request, line by line; tests replace a line by what the RFC breaks.
fn request_with(start: &str, replaced: &[(&str, &str)], body: &str) -> String {
    let method = start.split_whitespace().next().unwrap();
    let mut lines = vec![
        ("To", "To: sip:j.user@example.com".to_owned()),
        ("From", "From: sip:caller@example.net;tag=134161461246".to_owned()),
        ("Max-Forwards", "Max-Forwards: 7".to_owned()),
        ("Call-ID", "Call-ID: badinv01.0ha0isndaksdjasdf3234nas".to_owned()),
        ("CSeq", format!("CSeq: 8 {method}")),
        ("Via", "Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw".to_owned()),
        ("Contact", "Contact: <sip:caller@host5.example.net>".to_owned()),
        ("Content-Type", "Content-Type: application/sdp".to_owned()),
        ("Content-Length", format!("Content-Length: {}", wire(body).len())),
    ];
    for (name, line) in replaced {
        lines.iter_mut().filter(|(n, _)| n == name).for_each(|(_, l)| *l = (*line).to_owned());
    }
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).filter(|line| !line.is_empty()).collect();
    format!("{start}\n{}\n\n{body}", lines.join("\n"))
}

const INVITE: &str = "INVITE sip:user@example.com SIP/2.0";
const OPTIONS: &str = "OPTIONS sip:user@example.com SIP/2.0";

fn refused(start: &str, replaced: &[(&str, &str)]) -> (MalformedKind, Option<u16>) {
    refusal(&request_with(start, replaced, SDP))
}

#[test]
fn the_sound_request_is_accepted() {
    parse(&request_with(INVITE, &[], SDP));
}

#[test]
fn s3_1_2_1_extraneous_header_field_separators() {
    use MalformedKind::Bad;
    let via = ("Via", "Via: SIP/2.0/UDP 192.0.2.15;;,;,,");
    let contact = ("Contact", "Contact: \"Joe\" <sip:joe@example.org>;;;;");
    assert_eq!(refused(INVITE, &[via, contact]), (Bad(Field::Via), Some(400)));
    assert_eq!(refused(INVITE, &[contact]), (Bad(Field::Contact), Some(400)));
    // The answer still says where it goes.
    let reply = Message::parse(&wire(&request_with(INVITE, &[via], SDP))).unwrap_err().reply.unwrap();
    assert_eq!(reply.top_via().unwrap().host, Host::Ip("192.0.2.15".parse().unwrap()));
}

#[test]
fn s3_1_2_3_negative_content_length() {
    for value in ["-999", "+1", "", "1 2", "0x10", "1, 1", "99999999999999999999999999"] {
        let line = format!("Content-Length: {value}");
        let found = refused(INVITE, &[("Content-Length", &line)]);
        assert_eq!(found, (MalformedKind::Bad(Field::ContentLength), Some(400)), "{value}");
    }
}

#[test]
fn s3_1_2_4_request_scalar_fields_at_their_limits() {
    for (seq, good) in [("2147483647", true), ("2147483648", false), ("4294967296", false), ("-1", false), ("", false)]
    {
        let line = format!("CSeq: {seq} OPTIONS");
        let text = request_with(OPTIONS, &[("CSeq", &line)], "");
        assert_eq!(Message::parse(&wire(&text)).is_ok(), good, "{seq}");
    }
    let found = refused(OPTIONS, &[("Max-Forwards", "Max-Forwards: 300")]);
    assert_eq!(found, (MalformedKind::Bad(Field::MaxForwards), Some(400)));
}

#[test]
fn s3_1_2_16_unknown_protocol_version() {
    let via = ("Via", "Via:     SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw");
    let found = refused("OPTIONS sip:t.watson@example.org SIP/7.0", &[via]);
    assert_eq!(found, (MalformedKind::UnsupportedVersion, Some(505)));
    assert_eq!(refused(OPTIONS, &[via]), (MalformedKind::Bad(Field::Via), Some(400)));
}

#[test]
fn s3_1_2_18_unknown_method_with_cseq_method_mismatch() {
    let found = refused("NEWMETHOD sip:user@example.com SIP/2.0", &[("CSeq", "CSeq: 8 INVITE")]);
    assert_eq!(found, (MalformedKind::MethodMismatch, Some(501)));
    // RFC 3261 §7.1: methods compare with case.
    let found = refused(OPTIONS, &[("CSeq", "CSeq: 8 options")]);
    assert_eq!(found, (MalformedKind::MethodMismatch, Some(400)));
}

#[test]
fn s3_1_2_19_overlarge_response_code() {
    let response = |code: &str| {
        format!(
            "SIP/2.0 {code} better not break the receiver
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i
CSeq: 353494 INVITE
From: <sip:user@example.com>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.com>

"
        )
    };
    for code in ["4294967301", "65736", "099", "99", "700", "2 0", "+20", "abc"] {
        assert_eq!(refusal(&response(code)), (MalformedKind::BadStartLine, None), "{code}");
    }
    parse(&response("699"));
}

#[test]
fn s3_3_1_missing_required_header_fields() {
    for (name, field) in [("To", Field::To), ("From", Field::From), ("Call-ID", Field::CallId), ("CSeq", Field::CSeq)] {
        assert_eq!(refused(INVITE, &[(name, "")]), (MalformedKind::Missing(field), Some(400)));
    }
    // Without a Via nobody knows where to answer.
    assert_eq!(refused(INVITE, &[("Via", "")]), (MalformedKind::Missing(Field::Via), None));
}

#[test]
fn s3_3_8_multiple_values_in_single_value_required_fields() {
    for (name, second, field) in [
        ("To", "t: sip:other@example.net", Field::To),
        ("From", "f: sip:caller@example.com;tag=1", Field::From),
        ("Call-ID", "i: multi01.98asdh@192.0.2.2", Field::CallId),
        ("CSeq", "cseq: 59 INVITE", Field::CSeq),
        ("Max-Forwards", "MAX-FORWARDS: 5", Field::MaxForwards),
        ("Content-Type", "c: text/plain", Field::ContentType),
        ("Content-Length", "l: 1", Field::ContentLength),
    ] {
        let once = request_with(INVITE, &[], SDP);
        let twice = once.replacen("\nTo:", &format!("\n{second}\nTo:"), 1);
        assert_ne!(once, twice);
        assert_eq!(refusal(&twice), (MalformedKind::Conflicting(field), Some(400)), "{name}");
    }
    // Said twice alike, it is said once.
    let once = request_with(INVITE, &[], SDP);
    let twice = once.replacen("\nTo:", "\nMax-Forwards:  7\nl: 150\nTo:", 1);
    assert_eq!(parse(&twice).headers.all(&HeaderName::MaxForwards).count(), 1);
    // A list where one value may be.
    let found = refused(INVITE, &[("To", "To: sip:j.user@example.com, sip:other@example.net")]);
    assert_eq!(found, (MalformedKind::Bad(Field::To), Some(400)));
}

#[test]
fn nothing_answers_an_ack() {
    let start = "ACK sip:user@example.com SIP/2.0";
    assert_eq!(refused(start, &[("To", "")]), (MalformedKind::Missing(Field::To), None));
    assert_eq!(refused("ACK sip:user@example.com SIP/3.0", &[]), (MalformedKind::UnsupportedVersion, None));
}
