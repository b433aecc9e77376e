//! What the parser understands by RFC 4475's valid messages, field by field.

use tandem::sip::message::{CSeq, HeaderName, Host, Message, Method, Scheme, Start, Uri, unescape, unquote};

use crate::cases::bytes;

pub fn message(name: &str) -> Message {
    Message::parse(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn wsinv() {
    let message = message("rfc4475/wsinv");
    let uri = message.uri().unwrap();
    assert_eq!((uri.user.as_deref(), uri.params.get("unknownparam")), (Some("vivekg"), Some(None)));
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((from.display.as_deref(), from.tag()), (Some(r#"J Rosenberg \""#), Some("98asjd8")));
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.call_id(), Some("wsinv.ndaksdj@192.0.2.1"));
    assert_eq!(message.cseq().unwrap(), CSeq { seq: 9, method: Method::Invite });
    let vias = message.vias().unwrap();
    let seen: Vec<_> = vias.iter().map(|v| (v.transport.as_str(), v.host.to_string(), v.branch().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("UDP", "192.0.2.2".to_owned(), "390skdjuw"),
            ("TCP", "spindle.example.com".to_owned(), "z9hG4bK9ikj8"),
            ("UDP", "192.168.255.111".to_owned(), "z9hG4bK30239"),
        ]
    );
    assert_eq!(message.headers.get(&HeaderName::Subject), Some(""));
    let unknown = |name: &str| message.headers.get(&HeaderName::from(name));
    assert_eq!(unknown("newfangledheader"), Some("newfangled value continued newfangled value"));
    assert_eq!(unknown("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"));
    let route = &message.routes().unwrap()[0].uri;
    assert!(route.is_loose_router());
    assert_eq!((route.params.value("unknownwith"), route.params.get("unknown-no-value")), (Some("value"), Some(None)));
    let contact = &message.contacts().unwrap()[0];
    assert_eq!(contact.display.as_deref(), Some(r#"Quoted string """#));
    assert_eq!(contact.params.value("newparam"), Some("newvalue"));
    assert_eq!(contact.params.get("secondparam"), Some(None));
    assert_eq!(contact.params.value("q"), Some("0.33"));
    assert_eq!(message.body.len(), 150);
}

#[test]
fn intmeth() {
    let message = message("rfc4475/intmeth");
    assert_eq!(message.method(), Some(&Method::Other("!interesting-Method0123456789_*+`.%indeed'~".into())));
    let uri = message.uri().unwrap();
    assert_eq!(uri.user.as_deref(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password.as_deref(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.host, Host::Name("example.com".into()));
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    let from = message.from().unwrap();
    assert_eq!(from.display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(from.params.value("fromParam''~+*_!.-%").map(unquote).as_deref(), Some("работающий"));
    assert_eq!(message.call_id(), Some("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(message.max_forwards(), Some(255));
    let extension = HeaderName::from("extensionHeader-!.%*+_`'~");
    assert_eq!(message.headers.get(&extension), Some("\u{feff}大停電"));
}

#[test]
fn esc01() {
    let message = message("rfc4475/esc01");
    let uri = message.uri().unwrap();
    assert_eq!(unescape(uri.user.as_deref().unwrap()), b"sips:user@example.com");
    assert_eq!(uri.host, Host::Name("example.net".into()));
    assert!(message.to().unwrap().uri.equivalent(&Uri::parse("sip:user@example.com").unwrap()));
    let contact = &message.contacts().unwrap()[0].uri;
    assert_eq!(contact.params.value("n%61me").map(unescape).as_deref(), Some(&b"value%41"[..]));
}

#[test]
fn escnull() {
    let contacts = message("rfc4475/escnull").contacts().unwrap();
    assert!(!contacts[0].uri.equivalent(&contacts[1].uri));
    assert_eq!(unescape(contacts[1].uri.user.as_deref().unwrap()), [0, 0]);
}

#[test]
fn esc02() {
    let message = message("rfc4475/esc02");
    assert_eq!(message.method(), Some(&Method::Other("RE%47IST%45R".into())));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("%Z%45"));
    assert_eq!(message.contacts().unwrap().len(), 2);
}

#[test]
fn lwsdisp() {
    assert_eq!(message("rfc4475/lwsdisp").from().unwrap().display.as_deref(), Some("caller"));
}

#[test]
fn longreq() {
    let message = message("rfc4475/longreq");
    assert_eq!(message.vias().unwrap().len(), 34);
    assert_eq!(message.to().unwrap().uri.port, Some(6000));
    assert_eq!(message.from().unwrap().tag().map(str::len), Some(158));
    assert_eq!(message.vias().unwrap()[33].received(), Some("192.0.2.5".parse().unwrap()));
}

#[test]
fn dblreq() {
    let message = message("rfc4475/dblreq");
    assert_eq!(message.method(), Some(&Method::Register));
    assert!(message.body.is_empty());
}

#[test]
fn semiuri() {
    let message = message("rfc4475/semiuri");
    let uri = message.uri().unwrap();
    assert_eq!(uri.user.as_deref(), Some("user;par=u%40example.net"));
    assert!(uri.params.is_empty());
    assert_eq!(message.tokens(&HeaderName::Accept).count(), 6);
}

#[test]
fn transports() {
    let vias = message("rfc4475/transports").vias().unwrap();
    let transports: Vec<_> = vias.into_iter().map(|v| v.transport).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn mpart01() {
    let message = message("rfc4475/mpart01");
    assert_eq!(message.body.len(), 553);
    assert!(message.body.contains(&0) && message.body.ends_with(b"\xd0\x05\r\n--7a9cbec02ceef655--\r\n"));
    assert!(message.content_is("multipart/mixed"));
    assert_eq!(message.headers.get(&HeaderName::Date), Some("Sat, 15 Oct 2005 04:44:56 GMT"));
}

#[test]
fn unreason_and_noreason() {
    let reason = "= 2**3 * 5**2 но сто девяносто девять - простое".to_owned();
    assert_eq!(message("rfc4475/unreason").start, Start::Response { status: 200, reason });
    assert_eq!(message("rfc4475/noreason").start, Start::Response { status: 100, reason: String::new() });
}

#[test]
fn baddate() {
    assert_eq!(message("rfc4475/baddate").headers.get(&HeaderName::Date), None);
}

#[test]
fn unksm2() {
    let message = message("rfc4475/unksm2");
    assert_eq!(message.to().unwrap().uri.scheme, Scheme::Other("isbn".into()));
    assert_eq!(message.contacts().unwrap()[0].uri.opaque, "John_Smith");
}

#[test]
fn bcast_and_zeromf() {
    assert_eq!(message("rfc4475/bcast").vias().unwrap().len(), 2);
    assert_eq!(message("rfc4475/zeromf").max_forwards(), Some(0));
}

#[test]
fn cparam01_and_cparam02() {
    let outside = message("rfc4475/cparam01").contacts().unwrap().remove(0);
    let inside = message("rfc4475/cparam02").contacts().unwrap().remove(0);
    assert!(outside.params.contains("unknownparam") && outside.uri.params.is_empty());
    assert!(inside.uri.params.contains("unknownparam") && inside.params.is_empty());
}

#[test]
fn regescrt() {
    let contact = message("rfc4475/regescrt").contacts().unwrap().remove(0);
    assert_eq!(contact.uri.headers.as_deref(), Some("Route=%3Csip:sip.example.com%3E"));
}

#[test]
fn inv2543() {
    let message = message("rfc4475/inv2543");
    assert_eq!(message.top_via().unwrap().branch(), None);
    assert_eq!(message.from().unwrap().tag(), None);
    assert_eq!(message.max_forwards(), None);
    assert!(message.body.ends_with(b"RTP/AVP 0\r\n"));
}
