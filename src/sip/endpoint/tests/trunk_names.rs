//! Calls to a trunk whose destination is a host name: to the servers that the DNS names, the next one when one fails.

use super::harness::*;
use crate::{
    config::SipTransport,
    sip::{
        message::{HeaderName, Message, Method},
        names::{Answer, Query, QueryKind, Records, Srv},
    },
};

const URI: &str = "sip:example.com";

/// `_sip._udp.example.com` has B before B2, nothing else is there.
fn zone(query: &Query) -> Answer {
    let records = match (query.name.as_str(), query.kind) {
        ("_sip._udp.example.com", QueryKind::Srv) => {
            let srv = |priority, target: &str| Srv { priority, weight: 0, port: 5060, target: target.into() };
            Records::Srv(vec![srv(2, "two.example.com."), srv(1, "one.example.com.")])
        }
        ("one.example.com", QueryKind::A) => Records::Addresses(vec![B.ip()]),
        ("two.example.com", QueryKind::A) => Records::Addresses(vec![B2.ip()]),
        _ => return Answer::Nothing { ttl_s: 1_000 },
    };
    Answer::Found { records, ttl_s: 1_000 }
}

impl Net {
    fn answer_questions(&mut self, zone: impl Fn(&Query) -> Answer) {
        while let Some(query) = self.questions.pop() {
            self.endpoint.resolved(self.now, &query, &zone(&query));
            self.collect();
        }
    }
}

fn named() -> Net {
    let mut net = Net::with(|config| {
        config.trunks[1].destinations = vec![URI.into()];
        // What its phones have for addresses is not known but from the DNS.
        config.trunks[1].from.clear();
    });
    net.pass(0);
    net
}

fn call(net: &mut Net) -> Message {
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    invite
}

#[test]
fn before_the_dns_has_answered_there_is_nowhere_to_go() {
    let mut net = named();
    call(&mut net);
    assert_eq!(net.take(A).pop().unwrap().status(), Some(503));
    assert_eq!(net.questions, [Query { name: "example.com".into(), kind: QueryKind::Naptr }]);
}

#[test]
fn a_call_goes_to_the_first_server_and_to_the_next_when_that_fails() {
    let mut net = named();
    net.answer_questions(zone);
    call(&mut net);
    let first = net.request_to(B, Method::Invite);
    // RFC 3263 §4: the URI stays what it is.
    assert_eq!(first.uri().unwrap().to_string(), "sip:100@example.com");
    net.send(B, &respond(B, &first, 503, "b-tag", None));
    net.request_to(B, Method::Ack);
    let second = net.request_to(B2, Method::Invite);
    net.send(B2, &respond(B2, &second, 486, "b-tag", None));
    net.take(B2);
    // The failed one is tried last for a while.
    call(&mut net);
    net.request_to(B2, Method::Invite);
    net.nothing_to(B);
    net.pass(61_000);
    net.sent.clear();
    call(&mut net);
    assert!(net.take(B).iter().any(|m| m.method() == Some(&Method::Invite)));
}

#[test]
fn requests_in_the_dialog_come_from_and_go_to_what_the_dns_names() {
    let mut net = named();
    net.answer_questions(zone);
    let invite = call(&mut net);
    let called = net.request_to(B, Method::Invite);
    let mut ok = respond(B, &called, 200, "b-tag", Some(6_000));
    ok.headers.set(HeaderName::Contact, format!("<sip:bob@{B2}>"));
    net.send(B, &ok);
    net.request_to(B2, Method::Ack);
    let answer = net.take(A).pop().unwrap();
    let a = Ends::caller(A, &invite, &answer);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    // The other server hangs up.
    let mut ends = Ends::callee(B, &called, &ok);
    ends.peer = B2;
    let bye = net.in_dialog(&ends, "BYE", 1);
    net.send(B2, &bye);
    net.response_to(B2, 200);
    net.request_to(A, Method::Bye);
}

#[test]
fn srv_records_choose_the_transport_and_its_listener() {
    let mut net = named();
    net.answer_questions(|query| match (query.name.as_str(), query.kind) {
        ("_sip._tcp.example.com", QueryKind::Srv) => {
            let srv = Srv { priority: 0, weight: 0, port: 5070, target: "t.example.com.".into() };
            Answer::Found { records: Records::Srv(vec![srv]), ttl_s: 1_000 }
        }
        ("t.example.com", QueryKind::A) => Answer::Found { records: Records::Addresses(vec![C.ip()]), ttl_s: 1_000 },
        _ => Answer::Nothing { ttl_s: 1_000 },
    });
    call(&mut net);
    let sent = net.sent.iter().find(|sent| sent.message.method() == Some(&Method::Invite)).unwrap();
    assert_eq!((sent.flow.remote, sent.flow.transport, sent.flow.local), (C, SipTransport::Tcp, LISTEN_B_TCP));
}

#[test]
fn a_drain_asks_the_dns_nothing_more() {
    let mut net = named();
    net.answer_questions(zone);
    net.endpoint.drain(net.now, net.now + std::time::Duration::from_secs(1), &mut net.media);
    net.collect();
    net.run_out();
    assert_eq!(net.questions, []);
}
