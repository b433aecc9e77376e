//! Who may call: trunks by source address; others get 403 or nothing (`sip.unknown_caller`).

use super::harness::*;
use crate::{
    config::UnknownCaller,
    sip::message::{HeaderName, MalformedKind, Message, Method},
};

fn silent() -> Net {
    Net::with(|config| config.sip.unknown_caller = UnknownCaller::Silent)
}

#[test]
fn an_unknown_caller_gets_403_and_leaves_no_state() {
    let mut net = Net::new();
    let invite = net.invite(NOBODY, "100");
    net.send(NOBODY, &invite);
    let first = net.response_to(NOBODY, 403);
    net.send(NOBODY, &invite);
    let second = net.response_to(NOBODY, 403);
    assert_eq!(first.to().unwrap().tag(), second.to().unwrap().tag(), "RFC 3261 §8.2.7");
    assert_eq!(net.endpoint.table_sizes(), (0, 0, 0));
    assert_eq!((net.endpoint.counters().unknown_callers, net.endpoint.counters().calls), (2, 0));
    assert!(net.records.is_empty());
    // Its ACK is nobody's.
    let ends = Ends {
        peer: NOBODY,
        call_id: "x".into(),
        local: header(&invite, HeaderName::From),
        remote: header(&first, HeaderName::To),
        target: "sip:198.18.0.1".into(),
    };
    let message = ack(&mut net, &ends, 1);
    net.send(NOBODY, &message);
    net.nothing_to(NOBODY);
}

#[test]
fn or_silence() {
    let mut net = silent();
    let invite = net.invite(NOBODY, "100");
    net.send(NOBODY, &invite);
    for method in ["OPTIONS", "REGISTER", "BYE", "CANCEL"] {
        let text = String::from_utf8(invite.write()).unwrap().replace("INVITE", method);
        net.send_bytes(Net::udp(NOBODY), text.as_bytes());
    }
    let in_dialog = String::from_utf8(invite.write())
        .unwrap()
        .replace("To: <sip:100@198.18.0.1>", "To: <sip:100@198.18.0.1>;tag=x");
    net.send_bytes(Net::udp(NOBODY), in_dialog.as_bytes());
    let bad = String::from_utf8(invite.write()).unwrap().replace("Max-Forwards: 70", "Max-Forwards: many");
    net.send_bytes(Net::udp(NOBODY), bad.as_bytes());
    net.nothing_to(NOBODY);
    // A trunk is heard as before.
    let bad = bad.replace(&NOBODY.to_string(), &A.to_string());
    net.send_bytes(Net::udp(A), bad.as_bytes());
    net.response_to(A, 400);
}

#[test]
fn options_from_an_unknown_source_follow_the_same_rule() {
    let mut net = Net::new();
    let text = String::from_utf8(net.invite(NOBODY, "100").write()).unwrap().replace("INVITE", "OPTIONS");
    net.send_bytes(Net::udp(NOBODY), text.as_bytes());
    net.response_to(NOBODY, 403);
}

#[test]
fn the_longest_prefix_names_the_trunk() {
    let mut net = Net::with(|config| {
        config.trunks[2].from = vec!["198.18.0.2/32".parse().unwrap()];
        config.trunks[1].from.push("198.18.0.0/16".parse().unwrap());
    });
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    assert_eq!(net.endpoint.calls().next().unwrap().trunk_a, "backup");
    let other = "198.18.0.77:5060".parse().unwrap();
    let invite = net.invite(other, "100");
    net.send_on(crate::sip::flow::Flow { remote: other, ..Net::udp(A) }, &invite);
    assert!(net.endpoint.calls().any(|call| call.trunk_a == "alice"));
    let far = "198.18.99.1:5060".parse().unwrap();
    let invite = net.invite(far, "100");
    net.send_on(crate::sip::flow::Flow { remote: far, ..Net::udp(A) }, &invite);
    assert!(net.endpoint.calls().any(|call| call.trunk_a == "carrier"));
}

#[test]
fn what_cannot_be_read_is_answered_and_counted() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let good = net.in_dialog(&up.a, "INFO", 2);
    let bad = String::from_utf8(good.write()).unwrap().replace("Max-Forwards: 70", "Max-Forwards: many");
    net.send_bytes(Net::udp(A), bad.as_bytes());
    let reply = net.response_to(A, 400);
    let received = reply.top_via().unwrap();
    assert_eq!(received.rport(), Some(Some(5060)), "RFC 3581 §4");
    let counted: u64 = net.endpoint.counters().malformed.values().sum();
    assert_eq!(counted, 1);
    net.send_bytes(Net::udp(A), b"\r\n\r\n");
    assert_eq!(net.endpoint.counters().malformed.get(&MalformedKind::Empty), Some(&1));
    net.nothing_to(A);
    // The dialog survives.
    take_down(&mut net, &up, 3);
}

#[test]
fn replies_go_where_the_request_came_from() {
    let mut net = Net::new();
    // RFC 3581 §4: behind NAT, with rport: to the source port.
    let nat = "198.18.0.66:31000".parse().unwrap();
    let flow = crate::sip::flow::Flow { remote: nat, ..Net::udp(A) };
    let mut invite = net.invite("10.0.0.5:5060".parse().unwrap(), "999");
    net.send_on(flow, &invite);
    let reply = net.response_to(nat, 404);
    let via = reply.top_via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some(nat.ip()), Some(Some(31_000))));
    // RFC 3261 §18.2.2: without rport, to the port in sent-by at the source address.
    let branch = net.branch();
    invite.headers.set(HeaderName::Via, format!("SIP/2.0/UDP 10.0.0.5:5077;branch={branch}"));
    invite.headers.set(HeaderName::CallId, "another");
    net.send_on(flow, &invite);
    let reply = net.response_to("198.18.0.66:5077".parse().unwrap(), 404);
    assert_eq!(reply.top_via().unwrap().received(), Some(nat.ip()));
    // Nothing is added where sent-by tells the truth and rport is not asked for.
    let branch = net.branch();
    invite
        .headers
        .set(HeaderName::Via, format!("SIP/2.0/UDP 198.18.0.66;branch={branch}, SIP/2.0/UDP p;branch=z9hG4bKp"));
    invite.headers.set(HeaderName::CallId, "yet-another");
    net.send_on(flow, &invite);
    let reply = net.response_to("198.18.0.66:5060".parse().unwrap(), 404);
    assert_eq!(reply.vias().unwrap().len(), 2);
    assert!(!reply.top_via().unwrap().params.contains("received"));
}

#[test]
fn a_phone_behind_nat_is_reached_where_it_calls_from() {
    // Whether or not its inner address is one of the trunk's.
    behind_nat(Net::new());
    behind_nat(Net::with(|config| config.trunks[0].from = vec!["0.0.0.0/0".parse().unwrap()]));
}

fn behind_nat(mut net: Net) {
    let outer = "198.18.0.66:31000".parse().unwrap();
    let inner = "10.0.0.5:5060".parse().unwrap();
    let flow = crate::sip::flow::Flow { remote: outer, ..Net::udp(A) };
    let invite_a = net.invite(inner, "100");
    net.send_on(flow, &invite_a);
    net.response_to(outer, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(outer, 200);
    let ends = Ends::caller(inner, &invite_a, &ok_a);
    let message = ack(&mut net, &ends, 1);
    net.send_on(flow, &message);
    let bye: Message = net.in_dialog(&Ends::callee(B, &invite_b, &ok_b), "BYE", 1);
    net.send(B, &bye);
    let bye = net.request_to(outer, Method::Bye);
    assert_eq!(bye.uri().unwrap().to_string(), "sip:alice@10.0.0.5:5060");
}
