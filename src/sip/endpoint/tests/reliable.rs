//! 2xx and ACK, repetitions, and SIP over TCP.

use super::harness::*;
use crate::{
    config::SipTransport,
    sip::{
        endpoint::Cause,
        flow::{ConnectionId, Flow},
        message::{HeaderName, Message, Method},
    },
};

/// Up to our 200 to alice, which she does not acknowledge yet.
fn unacknowledged(net: &mut Net) -> (Ends, Ends, Message) {
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    (Ends::caller(A, &invite_a, &ok_a), Ends::callee(B, &invite_b, &ok_b), ok_b)
}

#[test]
fn a_repeated_invite_draws_the_last_response_and_one_call() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    for _ in 0..3 {
        net.send(A, &invite);
        net.response_to(A, 100);
    }
    assert_eq!(net.take(B).len(), 1);
    assert_eq!((net.endpoint.counters().calls, net.endpoint.counters().retransmissions_in), (1, 2));
}

#[test]
fn our_200_is_repeated_until_the_ack() {
    let mut net = Net::new();
    let (a, b, _) = unacknowledged(&mut net);
    let start = net.now;
    net.pass(8_000);
    let times: Vec<u128> = net.sent.iter().map(|s| (s.at - start).as_millis()).collect();
    // RFC 3261 §13.3.1.4: T1, doubling up to T2.
    assert_eq!(times, [500, 1_500, 3_500, 7_500]);
    assert!(net.take(A).iter().all(|m| m.status() == Some(200)));
    assert_eq!(net.endpoint.counters().retransmissions_out, 4);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    net.pass(60_000);
    net.nothing_to(A);
    net.send(A, &message);
    net.nothing_to(A);
    let bye = net.in_dialog(&b, "BYE", 1);
    net.send(B, &bye);
    net.request_to(A, Method::Bye);
    net.run_out();
}

#[test]
fn an_ack_with_the_branch_of_its_invite_counts() {
    // RFC 3261 §17.1.1.3 gives the ACK of a 2xx a branch of its own; phones are met that do not.
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    let ok_a = net.response_to(A, 200);
    let mut message = ack(&mut net, &Ends::caller(A, &invite_a, &ok_a), 1);
    message.headers.set(HeaderName::Via, header(&invite_a, HeaderName::Via));
    net.send(A, &message);
    net.pass(20_000);
    net.nothing_to(A);
}

#[test]
fn without_an_ack_both_sides_are_hung_up() {
    let mut net = Net::new();
    let _ = unacknowledged(&mut net);
    net.pass(31_999);
    assert_eq!(net.endpoint.in_progress(), 1);
    net.take(A);
    net.pass(1);
    net.request_to(A, Method::Bye);
    net.request_to(B, Method::Bye);
    assert_eq!(net.the_record().cause, Cause::NoAck);
    net.run_out();
}

#[test]
fn a_bye_waits_for_the_ack() {
    let mut net = Net::new();
    let (a, b, _) = unacknowledged(&mut net);
    let bye = net.in_dialog(&b, "BYE", 1);
    net.send(B, &bye);
    net.response_to(B, 200);
    // RFC 3261 §15: alice has not acknowledged.
    net.nothing_to(A);
    assert_eq!((net.records.len(), net.endpoint.in_progress(), net.media.open.len()), (1, 0, 0));
    net.pass(500);
    net.response_to(A, 200);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    net.request_to(A, Method::Bye);
    net.run_out();
}

#[test]
fn the_caller_may_hang_up_without_an_ack() {
    let mut net = Net::new();
    let (a, ..) = unacknowledged(&mut net);
    let bye = net.in_dialog(&a, "BYE", 2);
    net.send(A, &bye);
    net.response_to(A, 200);
    net.request_to(B, Method::Bye);
    net.pass(5_000);
    net.nothing_to(A);
    net.run_out();
}

#[test]
fn byes_that_cross_are_both_answered() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let from_a = net.in_dialog(&up.a, "BYE", 2);
    let from_b = net.in_dialog(&up.b, "BYE", 1);
    net.send(A, &from_a);
    net.response_to(A, 200);
    let ours = net.request_to(B, Method::Bye);
    net.send(B, &from_b);
    net.response_to(B, 200);
    net.send(B, &respond(B, &ours, 481, "", None));
    assert_eq!(net.records.len(), 1);
    net.run_out();
}

#[test]
fn each_repeated_200_of_leg_b_draws_the_ack() {
    let mut net = Net::new();
    let (_, _, ok_b) = unacknowledged(&mut net);
    net.send(B, &ok_b);
    let first = net.request_to(B, Method::Ack);
    net.send(B, &ok_b);
    assert_eq!(net.request_to(B, Method::Ack), first);
}

#[test]
fn a_second_fork_that_answers_is_hung_up() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "fork-1", None));
    net.send(B, &respond(B, &invite_b, 183, "fork-2", Some(6_000)));
    assert_eq!(net.take(A).len(), 2);
    net.send(B, &respond(B, &invite_b, 200, "fork-1", Some(6_100)));
    let ack_1 = net.request_to(B, Method::Ack);
    assert_eq!(ack_1.to().unwrap().tag(), Some("fork-1"));
    net.response_to(A, 200);
    let second = respond(B, &invite_b, 200, "fork-2", Some(6_200));
    net.send(B, &second);
    let to_b = net.take(B);
    assert_eq!(to_b.iter().filter_map(Message::method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
    assert!(to_b.iter().all(|m| m.to().unwrap().tag() == Some("fork-2")));
    net.nothing_to(A);
    assert_eq!(net.endpoint.in_progress(), 1);
    // Both forks' repetitions draw their own ACK and nothing else.
    net.send(B, &second);
    assert_eq!(net.request_to(B, Method::Ack).to().unwrap().tag(), Some("fork-2"));
    let legs = &net.media.open[&1];
    assert_eq!(legs[1].as_ref().unwrap().rtp, Some("198.18.1.2:6100".parse().unwrap()));
}

#[test]
fn over_tcp_responses_take_the_connection_and_nothing_is_repeated() {
    let mut net = Net::new();
    let from = "198.18.0.2:40001".parse().unwrap();
    let flow = Net::tcp(from, 5);
    let mut invite = net.invite(A, "200");
    invite.headers.set(HeaderName::Via, "SIP/2.0/TCP 198.18.0.2:5060;branch=z9hG4bKtcp");
    invite.headers.set(HeaderName::Contact, "<sip:alice@198.18.0.2:5060;transport=tcp>");
    net.send_on(flow, &invite);
    assert!(net.sent.iter().any(|s| s.flow == flow && s.message.status() == Some(100)));
    net.take(from);
    let invite_c = net.request_to(C, Method::Invite);
    net.pass(3_000);
    net.nothing_to(C);
    let on_c = Flow { local: LISTEN_B_TCP, transport: SipTransport::Tcp, remote: C, connection: Some(ConnectionId(6)) };
    let mut ok = respond(C, &invite_c, 200, "c-tag", Some(6_000));
    ok.headers.set(HeaderName::Contact, format!("<sip:carol@{C};transport=tcp>"));
    net.send_on(on_c, &ok);
    assert_eq!(net.sent.iter().filter(|s| s.flow.remote == C).map(|s| s.flow).collect::<Vec<_>>(), [on_c], "the ACK");
    let ok_a = net.response_to(from, 200);
    assert_eq!(header(&ok_a, HeaderName::Contact), format!("<sip:{TANDEM_A};transport=tcp>"));
    net.take(C);
    let mut message = ack(&mut net, &Ends::caller(A, &invite, &ok_a), 1);
    message.headers.set(HeaderName::Via, "SIP/2.0/TCP 198.18.0.2:5060;branch=z9hG4bKtcpack");
    net.send_on(flow, &message);
    // Alice's connection closes; the BYE to her opens one to where she listens.
    let id = net.endpoint.calls().next().unwrap().id;
    net.fail(flow);
    assert_eq!(net.endpoint.in_progress(), 1, "the dialog survives");
    assert!(net.endpoint.hang_up(net.now, id, &mut net.media));
    net.collect();
    assert_eq!(net.sent.iter().filter(|s| s.flow.remote == from).count(), 1, "the connection is tried");
    net.fail(flow);
    let bye = net.request_to(A, Method::Bye);
    net.send(A, &respond(A, &bye, 200, "", None));
    net.run_out();
}

#[test]
fn a_contact_without_transport_stays_on_tcp() {
    let mut net = Net::new();
    let flow = Net::tcp("198.18.0.2:40001".parse().unwrap(), 5);
    let mut invite = net.invite(A, "100");
    invite.headers.set(HeaderName::Via, "SIP/2.0/TCP 198.18.0.2:5060;branch=z9hG4bKtcp");
    net.send_on(flow, &invite);
    let invite_b = net.request_to(B, Method::Invite);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    let ok_a = net.take(flow.remote).pop().unwrap();
    let message = ack(&mut net, &Ends::caller(A, &invite, &ok_a), 1);
    net.send_on(flow, &message);
    let bye = net.in_dialog(&Ends::callee(B, &invite_b, &ok_b), "BYE", 1);
    net.send(B, &bye);
    assert!(net.sent.iter().any(|s| s.flow == flow && s.message.method() == Some(&Method::Bye)));
}
