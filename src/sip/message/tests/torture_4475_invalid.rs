//! RFC 4475 §3.1.2, §3.2 and §3.3: messages to refuse, and how.

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
fn s3_1_2_2_content_length_larger_than_message() {
    let length = ("Content-Length", "Content-Length: 9999");
    assert_eq!(refused(INVITE, &[length]), (MalformedKind::BodyShort, Some(400)));
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
fn s3_1_2_4_request_scalar_fields_with_overlarge_values() {
    let found = refusal(
        "REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bK342sdfoi3
To: <sip:user@example.com>
From: <sip:user@example.com>;tag=239232jh3
CSeq: 36893488147419103232 REGISTER
Call-ID: scalar02.23o0pd9vanlq3wnrlnewofjas9ui32
Max-Forwards: 300
Expires: 10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
Contact: <sip:user@host129.example.com>
  ;expires=280297596632815
Content-Length: 0

",
    );
    assert_eq!(found, (MalformedKind::Bad(Field::CSeq), Some(400)));
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
fn s3_1_2_5_response_scalar_fields_with_overlarge_values() {
    let found = refusal(
        "SIP/2.0 503 Service Unavailable
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129
To: <sip:user@example.com>
From: <sip:other@example.net>;tag=2easdjfejw
CSeq: 9292394834772304023312 OPTIONS
Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r
Retry-After: 949302838503028349304023988
Warning: 1812 overture \"In Progress\"
Content-Length: 0

",
    );
    assert_eq!(found, (MalformedKind::Bad(Field::CSeq), None), "nothing answers a response");
}

#[test]
fn s3_1_2_6_unterminated_quoted_string_in_display_name() {
    let to = ("To", "To: \"Mr. J. User <sip:j.user@example.com>");
    assert_eq!(refused(INVITE, &[to]), (MalformedKind::Bad(Field::To), Some(400)));
}

#[test]
fn s3_1_2_7_angle_brackets_enclosing_request_uri() {
    let found = refused("INVITE <sip:user@example.com> SIP/2.0", &[]);
    assert_eq!(found, (MalformedKind::BadRequestUri, Some(400)));
}

#[test]
fn s3_1_2_8_malformed_request_uri_with_embedded_lws() {
    let found = refused("INVITE sip:user@example.com; lr SIP/2.0", &[]);
    assert_eq!(found, (MalformedKind::BadStartLine, Some(400)));
}

#[test]
fn s3_1_2_9_multiple_sp_separating_request_line_elements() {
    let found = refused("INVITE  sip:user@example.com  SIP/2.0", &[]);
    assert_eq!(found, (MalformedKind::BadStartLine, Some(400)));
}

#[test]
fn s3_1_2_10_sp_characters_at_end_of_request_line() {
    let found = refused("OPTIONS sip:remote-target@example.com SIP/2.0  ", &[]);
    assert_eq!(found, (MalformedKind::BadStartLine, Some(400)));
}

#[test]
fn s3_1_2_11_escaped_headers_in_request_uri() {
    let found = refused("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0", &[]);
    assert_eq!(found, (MalformedKind::BadRequestUri, Some(400)));
}

#[test]
fn s3_1_2_12_invalid_time_zone_in_date_is_ignored() {
    let text = request_with(INVITE, &[("Contact", "Date: Fri, 01 Jan 2010 16:00:00 EST")], SDP);
    assert_eq!(parse(&text).headers.get(&HeaderName::Date), None);
}

#[test]
fn s3_1_2_13_failure_to_enclose_name_addr_uri() {
    let contact = ("Contact", "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E");
    assert_eq!(refused(INVITE, &[contact]), (MalformedKind::Bad(Field::Contact), Some(400)));
}

#[test]
fn s3_1_2_14_spaces_within_addr_spec() {
    let to = ("To", "To: \"Watson, Thomas\" < sip:t.watson@example.org >");
    assert_eq!(refused(OPTIONS, &[to]), (MalformedKind::Bad(Field::To), Some(400)));
}

#[test]
fn s3_1_2_15_non_token_characters_in_display_name() {
    let from = ("From", "From:    Bell, Alexander <sip:a.g.bell@example.com>;tag=43");
    assert_eq!(refused(OPTIONS, &[from]), (MalformedKind::Bad(Field::From), Some(400)));
}

#[test]
fn s3_1_2_16_unknown_protocol_version() {
    let via = ("Via", "Via:     SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw");
    let found = refused("OPTIONS sip:t.watson@example.org SIP/7.0", &[via]);
    assert_eq!(found, (MalformedKind::UnsupportedVersion, Some(505)));
    assert_eq!(refused(OPTIONS, &[via]), (MalformedKind::Bad(Field::Via), Some(400)));
}

#[test]
fn s3_1_2_17_start_line_and_cseq_method_mismatch() {
    let found = refused(OPTIONS, &[("CSeq", "CSeq: 8 INVITE")]);
    assert_eq!(found, (MalformedKind::MethodMismatch, Some(400)));
}

#[test]
fn s3_1_2_18_unknown_method_with_cseq_method_mismatch() {
    let found = refused("NEWMETHOD sip:user@example.com SIP/2.0", &[("CSeq", "CSeq: 8 INVITE")]);
    assert_eq!(found, (MalformedKind::MethodMismatch, Some(400)));
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
fn s3_2_1_missing_transaction_identifier() {
    let via = ("Via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK");
    assert_eq!(refused(OPTIONS, &[via]), (MalformedKind::Bad(Field::Via), Some(400)));
}

#[test]
fn s3_3_1_missing_required_header_fields() {
    let found = refusal(&format!(
        "INVITE sip:user@example.com SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf
Content-Type: application/sdp
l: 150

{SDP}"
    ));
    assert_eq!(found, (MalformedKind::Missing(Field::From), Some(400)));
    for (name, field) in [("To", Field::To), ("From", Field::From), ("Call-ID", Field::CallId), ("CSeq", Field::CSeq)] {
        assert_eq!(refused(INVITE, &[(name, "")]), (MalformedKind::Missing(field), Some(400)));
    }
    // Without a Via nobody knows where to answer.
    assert_eq!(refused(INVITE, &[("Via", "")]), (MalformedKind::Missing(Field::Via), None));
}

#[test]
fn s3_3_2_and_3_3_3_request_uri_with_unknown_or_atypical_scheme() {
    for uri in ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002"] {
        let found = refused(&format!("OPTIONS {uri} SIP/2.0"), &[]);
        assert_eq!(found, (MalformedKind::UnsupportedScheme, Some(416)), "{uri}");
    }
}

#[test]
fn s3_3_8_multiple_values_in_single_value_required_fields() {
    let found = refusal(&format!(
        "INVITE sip:user@company.com SIP/2.0
Contact: <sip:caller@host25.example.net>
Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: multi01.98asdh@192.0.2.1
CSeq: 59 INVITE
Call-ID: multi01.98asdh@192.0.2.2
From: sip:caller@example.com;tag=3413415
To: sip:user@example.com
To: sip:other@example.net
From: sip:caller@example.net;tag=2923420123
Content-Type: application/sdp
l: 150
Contact: <sip:caller@host36.example.net>
Max-Forwards: 5

{SDP}"
    ));
    assert_eq!(found, (MalformedKind::Conflicting(Field::CSeq), Some(400)));
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
fn s3_3_9_multiple_content_length_values() {
    let found = refusal(
        "OPTIONS sip:user@example.com SIP/2.0
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bK293423
To: sip:user@example.com
From: sip:other@example.net;tag=3923942
Call-ID: mcl01.fhn2323orihawfdoa3o4r52o3irsdf
CSeq: 15932 OPTIONS
Content-Length: 13
Max-Forwards: 60
Content-Length: 5
Content-Type: text/plain

There's no way to know how many octets are supposed to be here.
",
    );
    assert_eq!(found, (MalformedKind::Conflicting(Field::ContentLength), Some(400)));
}

#[test]
fn nothing_answers_an_ack() {
    let start = "ACK sip:user@example.com SIP/2.0";
    assert_eq!(refused(start, &[("To", "")]), (MalformedKind::Missing(Field::To), None));
    assert_eq!(refused("ACK sip:user@example.com SIP/3.0", &[]), (MalformedKind::UnsupportedVersion, None));
}
