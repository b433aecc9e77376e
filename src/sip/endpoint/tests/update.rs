//! UPDATE (RFC 3311): in early and confirmed dialogs, with and without a description, across the legs, and its glare.

use super::harness::*;
use crate::sip::{
    endpoint::Cause,
    message::{HeaderName, Message, Method},
};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE";

/// A call that is up, whose sides allow UPDATE or not.
fn call(net: &mut Net, alice: bool, bob: bool) -> Up {
    let mut invite_a = net.invite(A, "100");
    if alice {
        invite_a.headers.push(HeaderName::Allow, ALLOW);
    }
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    if bob {
        ok_b.headers.push(HeaderName::Allow, ALLOW);
    }
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    assert!(header(&ok_a, HeaderName::Allow).contains("UPDATE"));
    let (a, b) = (Ends::caller(A, &invite_a, &ok_a), Ends::callee(B, &invite_b, &ok_b));
    let message = ack(net, &a, 1);
    net.send(A, &message);
    Up { a, b, invite_a, invite_b }
}

fn update(net: &mut Net, ends: &Ends, seq: u32, port: Option<u16>) -> Message {
    let mut update = net.in_dialog(ends, "UPDATE", seq);
    if let Some(port) = port {
        update.headers.push(HeaderName::ContentType, "application/sdp");
        update.body = sdp(ends.peer.ip(), port, 2, "").into();
    }
    update
}

/// Both sides in an early dialog whose first offer and answer are done: reliable 183, PRACK on both legs.
fn early(net: &mut Net, alice_allows: bool) -> (Ends, Ends, Message) {
    let mut invite_a = net.invite(A, "100");
    invite_a.headers.push(HeaderName::Supported, "100rel");
    if alice_allows {
        invite_a.headers.push(HeaderName::Allow, ALLOW);
    }
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let mut progress_b = respond(B, &invite_b, 183, "b-tag", Some(6_000));
    progress_b.headers.push(HeaderName::Require, "100rel");
    progress_b.headers.push(HeaderName::RSeq, "1");
    progress_b.headers.push(HeaderName::Allow, ALLOW);
    net.send(B, &progress_b);
    let progress = net.response_to(A, 183);
    let a = Ends::caller(A, &invite_a, &progress);
    let b = Ends::callee(B, &invite_b, &progress_b);
    // RFC 3311 §5.1: before the answer is acknowledged there is no other offer.
    let message = update(net, &a, 2, Some(4_100));
    net.send(A, &message);
    let refused = net.response_to(A, 500);
    assert!(header(&refused, HeaderName::RetryAfter).parse::<u32>().unwrap() <= 10);
    let mut prack = net.in_dialog(&a, "PRACK", 3);
    prack.headers.push(HeaderName::RAck, format!("{} 1 INVITE", header(&progress, HeaderName::RSeq)));
    net.send(A, &prack);
    net.response_to(A, 200);
    let prack = net.request_to(B, Method::Prack);
    net.send(B, &respond(B, &prack, 200, "", None));
    (a, b, invite_b)
}

#[test]
fn without_a_description_it_moves_the_contact_and_crosses_to_nobody() {
    let mut net = Net::new();
    let up = call(&mut net, false, false);
    let mut message = update(&mut net, &up.a, 2, None);
    message.headers.set(HeaderName::Contact, "<sip:alice@198.18.0.9:5099>");
    net.send(A, &message);
    let ok = net.response_to(A, 200);
    assert_eq!(header(&ok, HeaderName::Contact), format!("<sip:{TANDEM_A}>"));
    net.nothing_to(B);
    let bye = net.in_dialog(&up.b, "BYE", 1);
    net.send(B, &bye);
    net.request_to("198.18.0.9:5099".parse().unwrap(), Method::Bye);
    net.run_out();
}

#[test]
fn with_a_description_it_crosses_as_update_or_as_re_invite() {
    for by_update in [true, false] {
        let mut net = Net::new();
        let up = call(&mut net, true, by_update);
        let message = update(&mut net, &up.a, 2, Some(4_100));
        net.send(A, &message);
        net.nothing_to(A);
        let passed = net.request_to(B, if by_update { Method::Update } else { Method::Invite });
        assert!(body(&passed).contains("m=audio 20006 "));
        assert!(header(&passed, HeaderName::Contact).contains(TANDEM_B));
        net.send(B, &respond(B, &passed, 200, "", Some(6_100)));
        if by_update {
            net.nothing_to(B);
        } else {
            net.request_to(B, Method::Ack);
        }
        let ok = net.response_to(A, 200);
        assert_eq!(ok.cseq().unwrap().method, Method::Update);
        assert!(body(&ok).contains("m=audio 20004 "));
        let legs = &net.media.open[&1];
        assert_eq!(legs[0].as_ref().unwrap().rtp, Some("198.18.0.2:4100".parse().unwrap()));
        assert_eq!(legs[1].as_ref().unwrap().rtp, Some("198.18.1.2:6100".parse().unwrap()));
        net.pass(1_000);
        net.nothing_to(A);
        take_down(&mut net, &up, 3);
    }
}

#[test]
fn a_refusal_is_passed_on_and_changes_nothing() {
    let mut net = Net::new();
    let up = call(&mut net, true, true);
    let before = net.media.open[&1].clone();
    let message = update(&mut net, &up.b, 1, Some(6_100));
    net.send(B, &message);
    let passed = net.request_to(A, Method::Update);
    net.send(A, &respond(A, &passed, 488, "", None));
    net.response_to(B, 488);
    assert_eq!(net.media.open[&1], before);
    // What cannot be carried is refused here.
    let mut message = update(&mut net, &up.b, 2, Some(6_100));
    message.headers.set(HeaderName::ContentType, "text/plain");
    net.send(B, &message);
    net.response_to(B, 415);
    net.nothing_to(A);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_re_invite_in_its_place_that_takes_long_is_cancelled_in_time() {
    let mut net = Net::new();
    let up = call(&mut net, true, false);
    let message = update(&mut net, &up.a, 2, Some(4_100));
    net.send(A, &message);
    let passed = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &passed, 180, "", None));
    net.nothing_to(A);
    net.pass(20_000);
    // RFC 3311 §5.2.
    net.response_to(A, 504);
    net.request_to(B, Method::Cancel);
    net.send(B, &respond(B, &passed, 487, "", None));
    net.request_to(B, Method::Ack);
    net.nothing_to(A);
    assert_eq!(net.endpoint.in_progress(), 1);
    take_down(&mut net, &up, 3);
}

#[test]
fn a_lost_dialog_ends_the_call() {
    for status in [None, Some(481)] {
        let mut net = Net::new();
        let up = call(&mut net, true, true);
        let message = update(&mut net, &up.a, 2, Some(4_100));
        net.send(A, &message);
        let passed = net.request_to(B, Method::Update);
        match status {
            Some(status) => net.send(B, &respond(B, &passed, status, "", None)),
            None => net.pass(32_000),
        }
        let to_a = net.take(A);
        assert_eq!((to_a[0].status(), to_a[1].method()), (Some(status.unwrap_or(408)), Some(&Method::Bye)));
        assert_eq!(net.the_record().cause, Cause::DialogLost);
        net.take(B);
        net.run_out();
    }
}

/// RFC 3311 §5.2: 500 to a second one of the same side, 491 where ours is open.
#[test]
fn glare() {
    let mut net = Net::new();
    let up = call(&mut net, true, true);
    let message = update(&mut net, &up.a, 2, Some(4_100));
    net.send(A, &message);
    let passed = net.request_to(B, Method::Update);
    for (seq, port) in [(3, Some(4_200)), (4, None)] {
        let second = update(&mut net, &up.a, seq, port);
        net.send(A, &second);
        assert!(header(&net.response_to(A, 500), HeaderName::RetryAfter).parse::<u32>().unwrap() <= 10);
    }
    let crossing = update(&mut net, &up.b, 1, Some(6_100));
    net.send(B, &crossing);
    net.response_to(B, 491);
    let mut crossing = net.in_dialog(&up.b, "INVITE", 2);
    crossing.headers.push(HeaderName::ContentType, "application/sdp");
    crossing.body = sdp(B.ip(), 6_200, 2, "").into();
    net.send(B, &crossing);
    net.response_to(B, 491);
    // Without an offer there is nothing to collide.
    let bare = update(&mut net, &up.b, 3, None);
    net.send(B, &bare);
    net.response_to(B, 200);
    net.send(B, &respond(B, &passed, 200, "", Some(6_000)));
    net.response_to(A, 200);
}

#[test]
fn early_media_is_changed_from_either_side() {
    let mut net = Net::new();
    let (a, b, invite_b) = early(&mut net, true);
    let message = update(&mut net, &a, 4, Some(4_100));
    net.send(A, &message);
    let passed = net.request_to(B, Method::Update);
    net.send(B, &respond(B, &passed, 200, "", Some(6_100)));
    net.response_to(A, 200);
    let message = update(&mut net, &b, 1, Some(6_200));
    net.send(B, &message);
    let passed = net.request_to(A, Method::Update);
    net.send(A, &respond(A, &passed, 200, "", Some(4_200)));
    assert!(body(&net.response_to(B, 200)).contains("m=audio 20006 "));
    let ports = |net: &Net| {
        let legs = &net.media.open[&1];
        [0, 1].map(|at: usize| legs[at].as_ref().unwrap().rtp.unwrap().port())
    };
    assert_eq!(ports(&net), [4_200, 6_200]);
    // The answer to the INVITE says nothing new, even if bob repeats what he said first.
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    assert_eq!(net.request_to(B, Method::Ack).cseq().unwrap().seq, 1);
    assert!(net.response_to(A, 200).body.is_empty());
    assert_eq!(ports(&net), [4_200, 6_200]);
}

#[test]
fn before_the_answer_there_is_no_other_way() {
    let mut net = Net::new();
    let (_, b, _) = early(&mut net, false);
    let message = update(&mut net, &b, 1, Some(6_200));
    net.send(B, &message);
    assert!(header(&net.response_to(B, 488), HeaderName::Warning).starts_with("399 "));
    net.nothing_to(A);
}

#[test]
fn an_offer_of_the_callee_before_it_has_answered_is_glare() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let ringing = respond(B, &invite_b, 180, "b-tag", None);
    net.send(B, &ringing);
    net.response_to(A, 180);
    let message = update(&mut net, &Ends::callee(B, &invite_b, &ringing), 1, Some(6_200));
    net.send(B, &message);
    net.response_to(B, 491);
    net.run_out();
}

#[test]
fn a_call_that_ends_answers_what_is_open() {
    let mut net = Net::new();
    let up = call(&mut net, true, true);
    let message = update(&mut net, &up.a, 2, Some(4_100));
    net.send(A, &message);
    let passed = net.request_to(B, Method::Update);
    let bye = net.in_dialog(&up.a, "BYE", 3);
    net.send(A, &bye);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(487)]);
    net.request_to(B, Method::Bye);
    net.send(B, &respond(B, &passed, 200, "", Some(6_000)));
    net.nothing_to(B);
    net.run_out();
}
