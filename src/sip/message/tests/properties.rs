//! For every input: no panic; what is accepted is written and read back as the same; what is refused gets an answer
//! that can be read.

use proptest::{collection::vec, option, prelude::*};

use super::{framer::framed, *};

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,12}"
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,5}){0,2}".prop_map(Host::Name),
        any::<[u8; 4]>().prop_map(|b| Host::Ip(b.into())),
        any::<[u8; 16]>().prop_map(|b| Host::Ip(b.into())),
    ]
}

fn params() -> impl Strategy<Value = Vec<(String, Option<String>)>> {
    vec(("[a-z]{1,6}", option::of("[a-zA-Z0-9.!*_+~-]{1,10}")), 0..4)
}

fn set(params: &mut Params, list: Vec<(String, Option<String>)>) {
    for (name, value) in list {
        params.set(&name, value.as_deref());
    }
}

prop_compose! {
    fn uri()(user in option::of("\\PC{1,10}"), host in host(), port in any::<Option<u16>>(), list in params()) -> Uri {
        let mut uri = Uri::sip(user.map(|u| escape_user(&u)).as_deref(), host, port);
        set(&mut uri.params, list);
        uri
    }
}

prop_compose! {
    fn address()(display in option::of("[^\r\n]{0,12}"), uri in uri(), list in params()) -> NameAddr {
        let mut address = NameAddr::new(uri);
        address.display = display;
        set(&mut address.params, list);
        address
    }
}

prop_compose! {
    fn via()(transport in "[A-Z]{2,4}", host in host(), port in any::<Option<u16>>(), branch in token(), list in params()) -> Via {
        let mut via = Via::new(&transport, host, port, &format!("{BRANCH_COOKIE}{branch}"));
        set(&mut via.params, list);
        via
    }
}

prop_compose! {
    fn message()(
        method in token(),
        status in option::of(100_u16..700),
        reason in "[^\r\n]{0,10}",
        uri in uri(),
        vias in vec(via(), 1..4),
        ends in (address(), address()),
        contacts in vec(address(), 0..3),
        seq in 0_u32..(1 << 31),
        extra in vec(("X-[a-z]{1,5}", "[^\r\n]{0,20}"), 0..4),
        body in vec(any::<u8>(), 0..200),
    ) -> Message {
        let method = Method::from(method.as_str());
        let mut message = Message::request(method.clone(), uri);
        if let Some(status) = status {
            message.start = Start::Response { status, reason };
        }
        let mut push = |name: HeaderName, value: String| message.headers.push(name, value.trim_matches([' ', '\t']));
        vias.iter().for_each(|via| push(HeaderName::Via, via.to_string()));
        push(HeaderName::From, ends.0.to_string());
        push(HeaderName::To, ends.1.to_string());
        push(HeaderName::CallId, "a@b".into());
        push(HeaderName::CSeq, CSeq { seq, method }.to_string());
        if !contacts.is_empty() {
            push(HeaderName::Contact, contacts.iter().map(NameAddr::to_string).collect::<Vec<_>>().join(" , "));
        }
        extra.iter().for_each(|(name, value)| push(HeaderName::from(name.as_str()), value.clone()));
        message.body = body.into();
        message
    }
}

/// Whatever the bytes: no panic, and the promises of the module's page hold for what comes out.
fn check(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            assert_eq!(Message::parse(&message.write()).as_ref(), Ok(&message));
            assert!(message.top_via().is_ok() && message.from().is_ok() && message.to().is_ok());
            assert!(message.cseq().is_ok() && message.call_id().is_some());
            assert!(message.contacts().is_ok() && message.routes().is_ok() && message.record_routes().is_ok());
        }
        Err(Malformed { reply: Some(reply), .. }) => {
            assert!(reply.status().is_some_and(|s| s >= 400) && reply.top_via().is_ok());
        }
        Err(_) => {}
    }
    // A stream says the same however it is cut up.
    let whole = framed(bytes, bytes.len().max(1));
    assert_eq!(framed(bytes, 1), whole);
    assert_eq!(framed(bytes, 5), whole);
}

/// A message with most of what has a syntax.
fn sample() -> Vec<u8> {
    wire(
        "INVITE sip:bob:pw@[2001:db8::1]:5070;transport=tcp;lr SIP/2.0
v: SIP/2.0/UDP [::1]:5060;rport;branch=z9hG4bKa, SIP / 2.0 / TCP h : 5 ;branch=z9hG4bKb
Max-Forwards: 70
From: \"A \\\"q\\\" ü\" <sip:a@example.com;user=phone>;tag=1
To : Bob B <sips:b@192.0.2.1?subject=x>
Route: <sip:1.example.com;lr>,
  <sip:2.example.com;lr>
Record-Route: <sip:3.example.com>
i: abc@def
CSeq: 17 INVITE
m: \"\" <sip:a@h>;q=0.5;+sip.instance=\"<urn:x>\"
Content-Type: application/sdp
l: 5

v=0
",
    )
}

#[test]
fn every_truncation_of_a_message_and_every_changed_byte() {
    let sample = sample();
    let whole = Message::parse(&sample).unwrap();
    for end in 0..sample.len() {
        check(&sample[..end]);
        assert_ne!(Message::parse(&sample[..end]).as_ref(), Ok(&whole));
    }
    for at in 0..sample.len() {
        for byte in [
            0, b'\t', b'\n', b'\r', b' ', b'"', b'%', b',', b'/', b':', b';', b'<', b'=', b'>', b'@', b'[', b'\\',
            b']', 0x80, 0xff,
        ] {
            let mut changed = sample.clone();
            changed[at] = byte;
            check(&changed);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(message in message()) {
        prop_assert_eq!(Message::parse(&message.write()), Ok(message));
    }

    #[test]
    fn typed_values_are_read_back(address in address(), via in via(), uri in uri()) {
        prop_assert_eq!(NameAddr::parse(&address.to_string()), Ok(address));
        prop_assert_eq!(Via::parse(&via.to_string()), Ok(via));
        prop_assert_eq!(Uri::parse(&uri.to_string()), Ok(uri.clone()));
        prop_assert!(uri.equivalent(&uri));
    }

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn random_values_in_a_sound_frame(
        name in "(Via|v|From|To|Call-ID|CSeq|Max-Forwards|Contact|Route|Record-Route|l|c|Date|X)",
        value in "[ -~\t\u{80}-\u{ff}]{0,60}",
    ) {
        let sample = String::from_utf8(sample()).unwrap();
        check(sample.replacen("\r\n", &format!("\r\n{name}: {value}\r\n"), 1).as_bytes());
    }

    #[test]
    fn sound_pieces_in_any_order(pieces in vec("(sip:|<|>|\"|\\\\|;|,|=|@|\\[|\\]|::1|h|tag|\r\n| |SIP/2.0|/|UDP|:|5060|%41|\\?|ü)", 0..25)) {
        let text = pieces.concat();
        let sample = String::from_utf8(sample()).unwrap();
        for name in ["Via", "From", "Contact"] {
            check(sample.replacen("\r\n", &format!("\r\n{name}: {text}\r\n"), 1).as_bytes());
        }
        check(format!("INVITE {text} SIP/2.0{sample}").as_bytes());
    }
}
