//! tandem registers with a trunk: the messages, the servers, and what calls make of it.

use std::{sync::Arc, time::Duration};

use super::harness::*;
use crate::{
    base::Time,
    config::{Config, Secret, TrunkAuth, TrunkRegister},
    sip::{
        auth::header::Credentials,
        endpoint::Endpoint,
        message::{HeaderName, Message, Method},
        names::{Answer, Query, QueryKind, Records, Srv},
        register::RegistrationView,
    },
};

fn rule(more: &str) -> TrunkRegister {
    toml::from_str(&format!("registrar = \"sip:198.18.1.2\"\naor = \"sip:4930123@carrier.example\"\n{more}")).unwrap()
}

fn registers(config: &mut Config) {
    config.trunks[1].register = Some(rule(""));
    let password = Some(Secret::new("zanzibar-7"));
    config.trunks[1].auth = Some(TrunkAuth { username: "bob".into(), password, ..TrunkAuth::default() });
}

fn begin(change: impl FnOnce(&mut Config)) -> Net {
    let mut net = Net::with(change);
    net.pass(20);
    net
}

/// A 200 that binds the request's own Contact for so long.
fn bound(request: &Message, expires_s: u32) -> Message {
    let mut ok = Message::response_to(request, 200, "");
    let contact = header(request, HeaderName::Contact);
    ok.headers.push(HeaderName::Contact, format!("{contact};expires={expires_s}"));
    ok
}

fn view(net: &Net) -> RegistrationView {
    net.endpoint.trunks(net.now)[1].registration.clone().unwrap()
}

fn count(net: &Net, name: &str) -> u64 {
    view(net).attempts.iter().find(|(known, _)| *known == name).unwrap().1
}

/// The next REGISTER to `peer`, which comes within these milliseconds from now and not before.
fn next_register(net: &mut Net, peer: std::net::SocketAddr, earliest_ms: u64, latest_ms: u64) -> Message {
    net.pass(earliest_ms - 1);
    net.nothing_to(peer);
    for _ in (earliest_ms..latest_ms + 100).step_by(100) {
        net.pass(100);
        if !net.sent.is_empty() {
            return net.request_to(peer, Method::Register);
        }
    }
    panic!("no REGISTER within {latest_ms} ms");
}

fn registered(change: impl FnOnce(&mut Config), expires_s: u32) -> (Net, Message) {
    let mut net = begin(change);
    let request = net.request_to(B, Method::Register);
    net.send(B, &bound(&request, expires_s));
    (net, request)
}

#[test]
fn the_request_is_that_of_rfc_3261_section_10_2() {
    let mut net = begin(registers);
    let request = net.request_to(B, Method::Register);
    // The domain without a user; From, To and Contact as they should be.
    assert_eq!(request.uri().unwrap().to_string(), "sip:carrier.example");
    assert_eq!(header(&request, HeaderName::To), "<sip:4930123@carrier.example>");
    assert_eq!(request.from().unwrap().uri.to_string(), "sip:4930123@carrier.example");
    assert!(request.from().unwrap().tag().is_some());
    assert_eq!(header(&request, HeaderName::Contact), "<sip:4930123@192.0.2.7:5060>");
    assert_eq!(header(&request, HeaderName::Expires), "3600");
    assert_eq!(header(&request, HeaderName::CSeq), "1 REGISTER");
    assert_eq!(header(&request, HeaderName::Supported), "path");
    assert!(!view(&net).registered);
    net.send(B, &bound(&request, 600));
    let view = view(&net);
    assert_eq!((view.registered, view.expires_in_s, view.last), (true, Some(600), Some("accepted")));
    assert!(
        net.notes.iter().any(|n| {
            n == "sip:4930123@carrier.example is registered with trunk carrier (198.18.1.2:5060) for 600 s"
        })
    );
}

#[test]
fn it_is_renewed_with_the_same_call_id_and_the_next_number() {
    let (mut net, first) = registered(registers, 600);
    // 80 % of 600 s at the earliest, 90 % at the latest.
    let second = next_register(&mut net, B, 480_000, 540_000);
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.from().unwrap().tag(), first.from().unwrap().tag());
    assert_eq!(second.cseq().unwrap().seq, 2);
    net.send(B, &bound(&second, 600));
    assert_eq!(view(&net).expires_in_s, Some(600));
}

#[test]
fn a_challenge_is_answered_and_the_nonce_used_ahead_of_the_next() {
    let mut net = begin(registers);
    let first = net.request_to(B, Method::Register);
    let mut challenge = Message::response_to(&first, 401, "");
    challenge.headers.push(HeaderName::WwwAuthenticate, "Digest realm=\"carrier.example\", nonce=\"n1\", qop=\"auth\"");
    net.send(B, &challenge);
    let second = net.request_to(B, Method::Register);
    assert_eq!((second.cseq().unwrap().seq, second.call_id()), (2, first.call_id()));
    let shown = Credentials::parse(&header(&second, HeaderName::Authorization)).unwrap();
    assert_eq!((shown.uri.as_str(), shown.username.as_str()), ("sip:carrier.example", "bob"));
    net.send(B, &bound(&second, 600));
    assert!(view(&net).registered);
    assert_eq!((count(&net, "accepted"), count(&net, "unauthorized")), (1, 0));
    let renewal = next_register(&mut net, B, 480_000, 540_000);
    assert_eq!(renewal.cseq().unwrap().seq, 3);
    let shown = Credentials::parse(&header(&renewal, HeaderName::Authorization)).unwrap();
    assert_eq!(shown.qop.unwrap().1, 2);
}

#[test]
fn wrong_credentials_are_not_shown_again_soon() {
    let mut net = begin(registers);
    let mut request = net.request_to(B, Method::Register);
    for round in 0..2 {
        let mut challenge = Message::response_to(&request, 401, "");
        challenge.headers.push(HeaderName::WwwAuthenticate, "Digest realm=\"carrier.example\", nonce=\"n1\"");
        net.send(B, &challenge);
        request = net.request_to(B, Method::Register);
        let mut again = Message::response_to(&request, 401, "");
        again.headers.push(HeaderName::WwwAuthenticate, "Digest realm=\"carrier.example\", nonce=\"n1\"");
        net.send(B, &again);
        assert_eq!(count(&net, "unauthorized"), round + 1);
        // Half of 30 s at least, then half of 60 s.
        request = next_register(&mut net, B, 15_000 * (round + 1), 30_000 * (round + 1));
    }
    assert!(!view(&net).registered);
}

#[test]
fn the_lifetime_is_what_the_registrar_says_of_our_contact() {
    let answer = |request: &Message, contacts: &str, expires: &str| {
        let mut ok = Message::response_to(request, 200, "");
        if !contacts.is_empty() {
            ok.headers.push(HeaderName::Contact, contacts);
        }
        if !expires.is_empty() {
            ok.headers.push(HeaderName::Expires, expires);
        }
        ok
    };
    for (contacts, expires, told_s) in [
        // Ours among others, and compared as URIs are.
        ("<sip:x@192.0.2.9>;expires=7, <sip:4930123@192.0.2.7:5060>;expires=500", "90", 500),
        // No word at ours.
        ("<sip:4930123@192.0.2.7:5060>", "90", 90),
        // Written as the registrar sees us.
        ("<sip:4930123@203.0.113.77:1024>;expires=120, <sip:4930123@203.0.113.78>;expires=300", "", 120),
        ("", "77", 77),
        ("", "", 3_600),
    ] {
        let mut net = begin(registers);
        let request = net.request_to(B, Method::Register);
        net.send(B, &answer(&request, contacts, expires));
        assert_eq!(view(&net).expires_in_s, Some(told_s), "{contacts}");
    }
}

#[test]
fn a_registrar_that_wants_longer_is_asked_for_that() {
    let mut net = begin(registers);
    let request = net.request_to(B, Method::Register);
    let mut brief = Message::response_to(&request, 423, "");
    brief.headers.push(HeaderName::MinExpires, "7200");
    net.send(B, &brief);
    net.pass(0);
    let again = net.request_to(B, Method::Register);
    assert_eq!((header(&again, HeaderName::Expires).as_str(), again.cseq().unwrap().seq), ("7200", 2));
}

#[test]
fn a_busy_registrar_is_left_alone_as_long_as_it_says() {
    let mut net = begin(registers);
    let request = net.request_to(B, Method::Register);
    let mut busy = Message::response_to(&request, 503, "");
    busy.headers.push(HeaderName::RetryAfter, "120 (maintenance)");
    net.send(B, &busy);
    net.pass(119_999);
    net.nothing_to(B);
    net.pass(1);
    net.request_to(B, Method::Register);
    assert_eq!(count(&net, "busy"), 1);
}

#[test]
fn no_answer_and_no_way_are_failures_that_wait() {
    let mut net = begin(registers);
    // Timer F: 32 s, with repetitions.
    net.pass(32_000);
    assert_eq!(count(&net, "silent"), 1);
    net.take(B);
    next_register(&mut net, B, 15_000, 30_000);
    net.fail(Net::udp(B));
    assert_eq!(count(&net, "unreachable"), 1);
    net.nothing_to(B);
}

#[test]
fn the_servers_of_a_name_are_tried_in_turn() {
    let mut net = Net::with(|config| {
        registers(config);
        config.trunks[1].register.as_mut().unwrap().registrar = "sip:carrier.example".into();
    });
    net.pass(0);
    let zone = |query: &Query| {
        let records = match (query.name.as_str(), query.kind) {
            ("_sip._udp.carrier.example", QueryKind::Srv) => {
                let srv = |priority, target: &str| Srv { priority, weight: 0, port: 5060, target: target.into() };
                Records::Srv(vec![srv(1, "one.example."), srv(2, "two.example.")])
            }
            ("one.example", QueryKind::A) => Records::Addresses(vec![B.ip()]),
            ("two.example", QueryKind::A) => Records::Addresses(vec![B2.ip()]),
            _ => return Answer::Nothing { ttl_s: 1_000 },
        };
        Answer::Found { records, ttl_s: 1_000 }
    };
    while let Some(query) = net.questions.pop() {
        net.endpoint.resolved(net.now, &query, &zone(&query));
        net.collect();
    }
    net.pass(20);
    let first = net.request_to(B, Method::Register);
    net.send(B, &Message::response_to(&first, 503, ""));
    net.pass(0);
    let second = net.request_to(B2, Method::Register);
    assert_eq!((second.call_id(), second.cseq().unwrap().seq), (first.call_id(), 2));
    net.send(B2, &bound(&second, 600));
    assert!(view(&net).registered);
    // The one that was busy a while ago has its turn again.
    next_register(&mut net, B, 480_000, 540_000);
}

#[test]
fn what_is_not_renewed_runs_out() {
    let (mut net, _) = registered(registers, 600);
    net.pass(599_999);
    assert!(view(&net).registered);
    net.pass(1);
    assert!(!view(&net).registered);
    assert!(
        net.notes
            .iter()
            .any(|n| n == "sip:4930123@carrier.example is no longer registered with trunk carrier: it ran out")
    );
}

#[test]
fn a_trunk_that_must_be_registered_is_passed_over_while_it_is_not() {
    let required = |config: &mut Config| {
        registers(config);
        config.trunks[1].register = Some(rule("required = true"));
    };
    let mut net = begin(required);
    let register = net.request_to(B, Method::Register);
    // The other trunk of the route gets the call.
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    net.nothing_to(B);
    net.request_to(C, Method::Invite);
    net.send(B, &bound(&register, 600));
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    net.request_to(B, Method::Invite);
    // Where there is no other, a try costs less than a lost call.
    let mut net = begin(required);
    net.request_to(B, Method::Register);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.request_to(B, Method::Invite);
}

#[test]
fn the_registrars_route_is_the_way_of_calls() {
    // RFC 3608 §6.1.
    let mut net = begin(registers);
    let request = net.request_to(B, Method::Register);
    let mut ok = bound(&request, 600);
    ok.headers.push(HeaderName::ServiceRoute, "<sip:p1.example;lr>, <sip:strict.example>");
    ok.headers.push(HeaderName::ServiceRoute, "<sip:p2.example;lr>");
    net.send(B, &ok);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let sent = net.request_to(B, Method::Invite);
    let routes: Vec<String> = sent.routes().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]);
    assert_eq!(sent.uri().unwrap().to_string(), "sip:100@198.18.1.2");
}

#[test]
fn a_drain_takes_the_registration_back() {
    let (mut net, first) = registered(registers, 600);
    net.endpoint.drain(net.now, net.now + Duration::from_secs(60), &mut net.media);
    net.collect();
    let last = net.request_to(B, Method::Register);
    // RFC 3261 §10.2.2.
    assert_eq!((header(&last, HeaderName::Expires).as_str(), last.cseq().unwrap().seq), ("0", 2));
    assert_eq!(
        (last.call_id(), header(&last, HeaderName::Contact)),
        (first.call_id(), header(&first, HeaderName::Contact))
    );
    assert!(!net.endpoint.is_drained());
    net.send(B, &Message::response_to(&last, 200, ""));
    assert!(net.endpoint.is_drained());
    net.run_out();
}

#[test]
fn a_registrar_that_says_nothing_does_not_hold_a_shutdown_up() {
    let (mut net, _) = registered(registers, 600);
    net.endpoint.drain(net.now, net.now + Duration::from_secs(60), &mut net.media);
    net.pass(3_999);
    assert!(!net.endpoint.is_drained());
    net.pass(1);
    assert!(net.endpoint.is_drained());
    net.run_out();
}

#[test]
fn a_drain_before_the_first_answer_takes_back_what_may_have_been_bound() {
    let mut net = begin(registers);
    net.request_to(B, Method::Register);
    net.endpoint.drain(net.now, net.now + Duration::from_secs(60), &mut net.media);
    net.collect();
    let last = net.request_to(B, Method::Register);
    assert_eq!(header(&last, HeaderName::Expires), "0");
    net.send(B, &Message::response_to(&last, 200, ""));
    net.run_out();
}

#[test]
fn the_next_host_goes_on_with_the_same_registration() {
    let (mut net, first) = registered(registers, 600);
    net.pass(100_000);
    let saved = net.endpoint.save(net.now);
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    registers(&mut config);
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    assert_eq!(view(&net).expires_in_s, Some(500));
    let renewal = next_register(&mut net, B, 380_000, 440_000);
    assert_eq!((renewal.call_id(), renewal.cseq().unwrap().seq), (first.call_id(), 2));
    // Another address of record is another registration.
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    registers(&mut config);
    config.trunks[1].register.as_mut().unwrap().aor = "sip:4930124@carrier.example".into();
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    assert!(!view(&net).registered);
    net.pass(20);
    let other = net.request_to(B, Method::Register);
    assert_ne!(other.call_id(), first.call_id());
}
