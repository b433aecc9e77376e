//! Header values and header lines outside the torture tests: names, lists, character sets, limits.

use super::*;
use crate::base::limits;

fn request(lines: &str) -> String {
    format!(
        "OPTIONS sip:b@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
From: <sip:a@example.com>;tag=1
To: <sip:b@example.com>
Call-ID: 1
CSeq: 1 OPTIONS
{lines}
"
    )
}

#[test]
fn compact_names_are_the_long_ones() {
    // The IANA registry of SIP header fields, its compact forms.
    for (compact, long) in [
        ("a", "Accept-Contact"),
        ("u", "Allow-Events"),
        ("i", "Call-ID"),
        ("m", "Contact"),
        ("e", "Content-Encoding"),
        ("l", "Content-Length"),
        ("c", "Content-Type"),
        ("o", "Event"),
        ("f", "From"),
        ("y", "Identity"),
        ("n", "Identity-Info"),
        ("r", "Refer-To"),
        ("b", "Referred-By"),
        ("j", "Reject-Contact"),
        ("d", "Request-Disposition"),
        ("x", "Session-Expires"),
        ("s", "Subject"),
        ("k", "Supported"),
        ("t", "To"),
        ("v", "Via"),
    ] {
        assert_eq!(HeaderName::from(compact), HeaderName::from(long));
        assert_eq!(HeaderName::from(compact.to_uppercase().as_str()).as_str(), long);
    }
    assert_eq!(HeaderName::from("X-Unknown"), HeaderName::from("x-uNKNOWN"));
    assert_ne!(HeaderName::from("X-Unknown"), HeaderName::from("X-Other"));
}

#[test]
fn a_header_that_is_not_utf8_hides_nothing() {
    let mut bytes = wire(&request(""));
    bytes.truncate(bytes.len() - 2);
    bytes.extend_from_slice(
        b"Subject: caf\xe9\r\n\xff\xfe: x\r\nno colon here\r\nX-Last: seen\r\nContent-Length: 2\r\n\r\nhi",
    );
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.headers.get(&HeaderName::Subject), Some("café"));
    assert_eq!(message.headers.get(&HeaderName::from("x-last")), Some("seen"));
    assert_eq!(message.body, "hi");
    assert_eq!(Message::parse(&message.write()).unwrap(), message);
}

#[test]
fn comma_lists_and_lines_are_one_list() {
    let message = parse(&request(
        "Contact: <sip:a@h;x=1,sip:b@h>\nRoute: <sip:1.example.com;lr>, <sip:2.example.com>\nRoute: <sip:3.example.com>\n",
    ).replace(";x=1,sip:b@h", ">, \"B, C\" <sip:b@h"));
    let contacts = message.contacts().unwrap();
    assert_eq!(contacts[1].display.as_deref(), Some("B, C"));
    assert_eq!(message.routes().unwrap().len(), 3);
}

#[test]
fn bare_line_breaks_are_refused() {
    for (broken, kind) in [
        ("Subject: a\rX: b", MalformedKind::BareLineBreak),
        ("Subject: a\nX: b", MalformedKind::BareLineBreak),
        ("Subject: a\n b", MalformedKind::BareLineBreak),
    ] {
        let text = String::from_utf8(wire(&request("Subject: a\n"))).unwrap().replace("Subject: a", broken);
        assert_eq!(refusal_of(text.as_bytes()), (kind, Some(400)), "{broken:?}");
    }
    let text = wire(&request("")).iter().filter(|&&b| b != b'\r').copied().collect::<Vec<_>>();
    assert_eq!(refusal_of(&text).0, MalformedKind::HeadersDoNotEnd);
}

#[test]
fn line_breaks_before_the_start_line_are_skipped() {
    let bytes = [b"\r\n\r\n".as_slice(), &wire(&request(""))].concat();
    assert!(Message::parse(&bytes).is_ok());
    for nothing in [&b""[..], b"\r\n\r\n", b"\r\n"] {
        assert_eq!(refusal_of(nothing), (MalformedKind::Empty, None));
    }
}

#[test]
fn a_datagram_without_content_length_is_body_to_its_end() {
    let text = request("").replace("\n\n", "\n\nall of this");
    assert_eq!(parse(&text).body, "all of this");
    let text = request("Content-Length: 3\n").replace("\n\n", "\n\nall of this");
    assert_eq!(parse(&text).body, "all");
}

#[test]
fn a_message_without_the_empty_line_is_refused() {
    let text = request("");
    let text = text.trim_end_matches('\n');
    assert_eq!(refusal(text), (MalformedKind::HeadersDoNotEnd, Some(400)));
}

#[test]
fn the_limits_hold() {
    let lines = |n: usize| request(&"X-A: 1\n".repeat(n - 5));
    assert_eq!(parse(&lines(limits::SIP_HEADERS)).headers.len(), limits::SIP_HEADERS);
    assert_eq!(refusal(&lines(limits::SIP_HEADERS + 1)), (MalformedKind::TooManyHeaders, Some(513)));

    let line = |n: usize| request(&format!("X-A: {}\n", "x".repeat(n)));
    parse(&line(limits::SIP_HEADER_BYTES));
    assert_eq!(refusal(&line(limits::SIP_HEADER_BYTES + 1)), (MalformedKind::HeaderTooLong, Some(513)));

    let vias = |n: usize| request(&"Via: SIP/2.0/UDP h\n".repeat(n - 1));
    parse(&vias(limits::SIP_LIST_ENTRIES));
    assert_eq!(refusal(&vias(limits::SIP_LIST_ENTRIES + 1)), (MalformedKind::Bad(Field::Via), Some(400)));

    let params =
        |n: usize| request(&format!("Contact: <sip:h>{}\n", (0..n).map(|i| format!(";p{i}")).collect::<String>()));
    parse(&params(limits::SIP_PARAMS));
    assert_eq!(refusal(&params(limits::SIP_PARAMS + 1)), (MalformedKind::Bad(Field::Contact), Some(400)));

    let mut long = wire(&request(""));
    long.resize(limits::SIP_MESSAGE_BYTES, b'x');
    assert!(Message::parse(&long).is_ok());
    long.push(b'x');
    assert_eq!(refusal_of(&long), (MalformedKind::TooLong, Some(513)));
}

#[test]
fn a_parameter_said_twice_alike_is_said_once() {
    let address = NameAddr::parse("<sip:a@h;user=phone;user=phone>;tag=1;TAG=1").unwrap();
    assert_eq!(address.to_string(), "<sip:a@h;user=phone>;tag=1");
    assert!(NameAddr::parse("<sip:a@h>;tag=1;tag=2").is_err());
}

#[test]
fn via_with_space_and_port_wherever_the_grammar_lets_them_be() {
    for text in [
        "SIP/2.0/UDP h:5060;rport",
        "SIP / 2.0 / UDP  h : 5060 ; rport",
        "sip/2.0/UDP h: 5060;RPORT",
        "SIP/2.0/UDP h :5060;rport",
    ] {
        let via = Via::parse(text).unwrap();
        assert_eq!((via.host, via.port), (Host::Name("h".into()), Some(5060)), "{text}");
        assert_eq!(via.params.get("rport"), Some(None));
    }
    let via = Via::parse("SIP/2.0/UDP h;rport=1234;received=192.0.2.7").unwrap();
    assert_eq!((via.rport(), via.received()), (Some(Some(1234)), Some("192.0.2.7".parse().unwrap())));
    assert_eq!(Via::parse("SIP/2.0/UDP h").unwrap().rport(), None);
    for bad in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDPh",
        "SIP/2.0 h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h x",
        "SIP/2.0/UDP ::1",
        "SIP/2.0/UDP h,",
    ] {
        assert!(Via::parse_list(bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_that_are_none() {
    for bad in [
        "",
        "<>",
        "<sip:a@h",
        "sip:a@h>",
        "\"x\" sip:a@h",
        "\"x",
        "<sip:a@h>;",
        "<sip:a@h>;=1",
        "<sip:a@h> x",
        "<sip:a@h>;tag=",
        "<sip:a@h>;x=\"1",
        "<<sip:a@h>>",
    ] {
        assert!(NameAddr::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_others_write_unquoted_is_read_and_written_quoted() {
    let address = NameAddr::parse("Anne-Marie O'Neil (Sales) müller <sip:a@h>;tag=1").unwrap();
    assert_eq!(address.to_string(), "\"Anne-Marie O'Neil (Sales) müller\" <sip:a@h>;tag=1");
    let address = NameAddr::parse("\"\" <sip:a@h>").unwrap();
    assert_eq!(address.display.as_deref(), Some(""));
    let address = NameAddr::parse("<sip:a@h>;+sip.instance=\"<urn:uuid:0>\";q=1").unwrap();
    assert_eq!(address.params.value("+sip.instance"), Some("\"<urn:uuid:0>\""));
}

#[test]
fn headers_keep_their_order() {
    let mut headers = Headers::new();
    for value in ["1", "2", "3"] {
        headers.push(HeaderName::Route, value);
        headers.push(HeaderName::Subject, value);
    }
    headers.set(HeaderName::Route, "x");
    headers.push_front(HeaderName::Via, "v");
    headers.set(HeaderName::To, "t");
    let seen: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(seen, ["Via=v", "Route=x", "Subject=1", "Subject=2", "Subject=3", "To=t"]);
    headers.remove(&HeaderName::Subject);
    assert_eq!(headers.len(), 3);
}

#[test]
fn a_value_cannot_add_a_header() {
    let mut message = parse(&request(""));
    message.headers.push(HeaderName::Subject, "x\r\nVia: SIP/2.0/UDP evil\r\n\r\nbody");
    message.headers.push(HeaderName::ContentLength, "99");
    message.body = "hi".into();
    let read = Message::parse(&message.write()).unwrap();
    assert_eq!(read.vias().unwrap().len(), 1);
    assert_eq!(read.body, "hi");
}

#[test]
fn a_message_survives_being_saved() {
    let mut message = parse(&request("Subject: ü\nX-Own: 1\nContact: \"a\" <sip:a@[::1]:5>\n"));
    message.body = vec![0, 1, 255].into();
    let saved = serde_json::to_string(&message).unwrap();
    assert_eq!(serde_json::from_str::<Message>(&saved).unwrap(), message);
    let kind = serde_json::to_string(&MalformedKind::Bad(Field::Via)).unwrap();
    assert_eq!(serde_json::from_str::<MalformedKind>(&kind).unwrap(), MalformedKind::Bad(Field::Via));
}

#[test]
fn the_largest_messages_of_the_worst_shapes_cost_little() {
    let n = limits::SIP_MESSAGE_BYTES;
    let value = limits::SIP_HEADER_BYTES;
    let shapes = [
        "t:\n".repeat(n / 5),
        format!("X:{}\n", "\n ".repeat(n / 4)),
        format!("X: {}\n", "a\n ".repeat(n / 5)),
        format!("Via: {}\n", ",".repeat(value)),
        format!("Via: {}\n", "SIP/2.0/UDP h,".repeat(value / 14)).repeat(7),
        format!("Contact: {}\n", "<".repeat(value - 10)).repeat(7),
        format!("Contact: {}\n", "a ".repeat(value / 2 - 10)).repeat(7),
        format!("Contact: {}\n", "\\\"".repeat(value / 2 - 10)).repeat(7),
        format!("Contact: <sip:h>{}\n", ";a".repeat(value / 2 - 20)).repeat(7),
        format!("Route: {}\n", "sip:h,".repeat(value / 6 - 20)).repeat(7),
        "\n".repeat(n / 2),
        ":".repeat(n - 300) + "\n",
    ];
    for shape in shapes {
        let bytes = wire(&request(&shape));
        let started = std::time::Instant::now();
        let _ = Message::parse(&bytes);
        let mut framer = Framer::new();
        framer.push(&bytes);
        while let Ok(Some(_)) = framer.next() {}
        assert!(started.elapsed().as_millis() < 500, "{:?} for {:?}", started.elapsed(), &shape[..20]);
    }
}
