//! State saved in the middle of a call and restored into a fresh endpoint on another clock, which finishes the call.

use std::sync::Arc;

use super::harness::*;
use crate::{
    base::Time,
    sip::{
        endpoint::{Cause, Endpoint},
        message::{HeaderName, Message, Method},
    },
};

/// Another host takes over: the clock is another one, the seed too.
fn take_over(net: &mut Net) {
    let saved = net.endpoint.save(net.now);
    let config = Arc::new(toml::from_str(CONFIG).unwrap());
    let elapsed = net.now - Time::from_secs(100);
    let wall = EPOCH_MS + u64::try_from(elapsed.as_millis()).unwrap();
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(config, [9; 32], net.now, wall, &saved);
}

#[test]
fn an_answered_call() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    net.pass(10_000);
    take_over(&mut net);
    assert_eq!((net.endpoint.in_progress(), net.endpoint.calls().count()), (1, 1));
    net.pass(5_000);
    // A hold goes through, then bob hangs up.
    let mut hold = net.in_dialog(&up.a, "INVITE", 2);
    hold.headers.push(HeaderName::ContentType, "application/sdp");
    hold.body = sdp(A.ip(), 4_000, 2, "a=sendonly\r\n").into();
    net.send(A, &hold);
    net.response_to(A, 100);
    let passed = net.request_to(B, Method::Invite);
    assert_eq!(passed.cseq().unwrap().seq, 2, "the CSeq goes on");
    let mut ok = respond(B, &passed, 200, "", Some(6_000));
    ok.body = sdp(B.ip(), 6_000, 2, "a=recvonly\r\n").into();
    net.send(B, &ok);
    net.request_to(B, Method::Ack);
    net.response_to(A, 200);
    let message = ack(&mut net, &up.a, 2);
    net.send(A, &message);
    let bye = net.in_dialog(&up.b, "BYE", 1);
    net.send(B, &bye);
    net.response_to(B, 200);
    net.request_to(A, Method::Bye);
    let record = net.the_record();
    assert_eq!((record.cause, record.duration_ms), (Cause::Hangup, 15_000));
    assert_eq!((record.start_ms, record.end_ms), (EPOCH_MS, EPOCH_MS + 15_000));
    net.run_out();
}

#[test]
fn a_call_that_rings() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    net.response_to(A, 180);
    take_over(&mut net);
    // Alice repeats her INVITE: it is known.
    net.send(A, &invite_a);
    net.response_to(A, 180);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    net.request_to(B, Method::Ack);
    let ok = net.response_to(A, 200);
    // The new host's timers repeat the 200.
    net.pass(500);
    net.response_to(A, 200);
    let a = Ends::caller(A, &invite_a, &ok);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    let bye = net.in_dialog(&a, "BYE", 2);
    net.send(A, &bye);
    net.response_to(A, 200);
    net.request_to(B, Method::Bye);
    net.run_out();
}

#[test]
fn each_moment_of_a_call() {
    // Taken over after every single message, a call still comes to its end.
    for moment in 0..9 {
        let mut net = Net::new();
        let mut step = 0;
        let mut now = |net: &mut Net| {
            if step == moment {
                take_over(net);
            }
            step += 1;
        };
        let invite_a = net.invite(A, "100");
        net.send(A, &invite_a);
        now(&mut net);
        let invite_b = net.request_to(B, Method::Invite);
        net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(6_000)));
        now(&mut net);
        net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
        now(&mut net);
        let ok = net.take(A).pop().unwrap();
        let a = Ends::caller(A, &invite_a, &ok);
        let message = ack(&mut net, &a, 1);
        net.send(A, &message);
        now(&mut net);
        let info = net.in_dialog(&a, "INFO", 2);
        net.send(A, &info);
        now(&mut net);
        let passed = net.take(B).pop().unwrap();
        net.send(B, &respond(B, &passed, 200, "", None));
        now(&mut net);
        net.response_to(A, 200);
        let bye = net.in_dialog(&a, "BYE", 3);
        net.send(A, &bye);
        now(&mut net);
        net.response_to(A, 200);
        let bye: Message = net.request_to(B, Method::Bye);
        net.send(B, &respond(B, &bye, 200, "", None));
        now(&mut net);
        assert_eq!(net.the_record().cause, Cause::Hangup);
        net.run_out();
        now(&mut net);
        assert_eq!(net.endpoint.table_sizes(), (0, 0, 0));
    }
}

#[test]
fn connections_are_not_taken_over() {
    let mut net = Net::new();
    let flow = Net::tcp("198.18.0.2:40001".parse().unwrap(), 5);
    let mut invite = net.invite(A, "100");
    invite.headers.set(HeaderName::Via, "SIP/2.0/TCP 198.18.0.2:5060;branch=z9hG4bKtcp");
    invite.headers.set(HeaderName::Contact, "<sip:alice@198.18.0.2:5060;transport=tcp>");
    net.send_on(flow, &invite);
    net.take(flow.remote);
    let invite_b = net.request_to(B, Method::Invite);
    take_over(&mut net);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    // RFC 3261 §18.2.2: a new connection, to sent-by.
    let sent = net.sent.iter().find(|s| s.message.status() == Some(200)).unwrap();
    assert_eq!((sent.flow.remote, sent.flow.connection), (A, None));
}

#[test]
fn reliable_responses_and_session_timers_go_on() {
    let mut net = Net::new();
    let mut invite_a = net.invite(A, "100");
    invite_a.headers.push(HeaderName::Supported, "100rel, timer");
    invite_a.headers.push(HeaderName::SessionExpires, "90;refresher=uac");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut progress_b = respond(B, &invite_b, 183, "b-tag", Some(6_000));
    progress_b.headers.push(HeaderName::Require, "100rel");
    progress_b.headers.push(HeaderName::RSeq, "7");
    net.send(B, &progress_b);
    let progress = net.response_to(A, 183);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", None));
    take_over(&mut net);
    net.pass(500);
    assert_eq!(net.response_to(A, 183), progress, "it is repeated");
    let a = Ends::caller(A, &invite_a, &progress);
    let mut prack = net.in_dialog(&a, "PRACK", 2);
    prack.headers.push(HeaderName::RAck, format!("{} 1 INVITE", header(&progress, HeaderName::RSeq)));
    net.send(A, &prack);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(200)]);
    let to_b: Vec<_> = net.take(B).iter().filter_map(|m| m.method().cloned()).collect();
    assert_eq!(to_b, [Method::Prack, Method::Ack], "the 200 that waited was taken over");
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    net.pass(30_000);
    take_over(&mut net);
    net.pass(29_999);
    net.nothing_to(A);
    net.pass(1);
    net.request_to(A, Method::Bye);
    assert_eq!(net.the_record().cause, Cause::SessionExpired);
    net.run_out();
}
