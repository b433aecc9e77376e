//! RFC 3261 §19.1: the RFC's example URIs and its rules for when two are the same.

use super::*;

#[test]
fn s19_1_3_example_uris_are_read_and_written() {
    for text in [
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "tel:+1-201-555-0123;phone-context=example.com",
    ] {
        assert_eq!(Uri::parse(text).unwrap().to_string(), text);
    }
    let uri = Uri::parse("sip:alice;day=tuesday@atlanta.com").unwrap();
    assert_eq!((uri.user.as_deref(), uri.params.is_empty()), (Some("alice;day=tuesday"), true));
    let uri = Uri::parse("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com").unwrap();
    assert_eq!((uri.user, uri.params.value("method")), (None, Some("REGISTER")));
}

#[test]
fn s19_1_4_uris_that_are_equivalent() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ] {
        let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
        assert!(a.equivalent(&b) && b.equivalent(&a), "{a} {b}");
    }
}

#[test]
fn s19_1_4_uris_that_are_not_equivalent() {
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:alice@atlanta.com", "sips:alice@atlanta.com"),
        ("sip:alice@atlanta.com", "sip:atlanta.com"),
    ] {
        let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
        assert!(!a.equivalent(&b) && !b.equivalent(&a), "{a} {b}");
    }
}

#[test]
fn what_is_no_uri() {
    for text in [
        "",
        "sip:",
        "sip",
        ":a",
        "1sip:a",
        "sip:@host",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b:",
        "sip:a@b:65536",
        "sip:a@b:-1",
        "sip:a@b:50a",
        "sip:a@b;;lr",
        "sip:a@b;lr;",
        "sip:a@b;=x",
        "sip:a@b;p=1;p=2",
        "sip:a@b?",
        "sip:a%4@b",
        "sip:%zz@b",
        "sip:a@10.0.0.256",
        "sip:a@1.2.3",
        "sip:a@ho st",
        "sip:a@b..c",
        "sip:a@h<x>",
        "sip:a\u{0}@b",
        "tel:",
        "tel:1 2",
    ] {
        assert!(Uri::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_called_number() {
    assert_eq!(Uri::parse("sip:+4930123@host").unwrap().called(), Some("+4930123"));
    assert_eq!(Uri::parse("tel:+4930123;phone-context=x").unwrap().called(), Some("+4930123"));
    assert_eq!(Uri::parse("sip:host").unwrap().called(), None);
}

#[test]
fn a_user_part_made_of_any_text_is_a_user_part() {
    let user = escape_user("a b@c:d\"<é>#%");
    let uri = Uri::parse(&format!("sip:{user}@h")).unwrap();
    assert_eq!(unescape(uri.user.as_deref().unwrap()), "a b@c:d\"<é>#%".as_bytes());
    assert_eq!(escape_user("+49;ext=1"), "+49;ext=1");
}
