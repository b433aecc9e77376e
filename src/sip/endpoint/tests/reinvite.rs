//! Re-INVITEs (RFC 3261 §14): hold, resume, moved addresses, refusals, glare, late offers.

use super::harness::*;
use crate::{
    base::ids::Side,
    control::Direction,
    sip::{
        endpoint::Cause,
        message::{HeaderName, Message, Method},
    },
};

fn reinvite(net: &mut Net, ends: &Ends, seq: u32, body: &str) -> Message {
    let mut invite = net.in_dialog(ends, "INVITE", seq);
    if !body.is_empty() {
        invite.headers.push(HeaderName::ContentType, "application/sdp");
        invite.body = body.to_owned().into();
    }
    invite
}

fn answer(peer: std::net::SocketAddr, invite: &Message, body: &str) -> Message {
    let mut ok = respond(peer, invite, 200, "", Some(1));
    ok.body = body.to_owned().into();
    ok
}

fn leg(net: &Net, side: Side) -> crate::control::LegMedia {
    net.media.open[&1][side.index()].clone().unwrap()
}

#[test]
fn hold_and_resume_from_either_side() {
    for side in [Side::A, Side::B] {
        let mut net = Net::new();
        let up = call_up(&mut net);
        let (from, to, ends, port) = if side == Side::A { (A, B, &up.a, 4_000) } else { (B, A, &up.b, 6_000) };
        let other_port = 10_000 - port;
        for (round, (ask, give)) in [("sendonly", "recvonly"), ("sendrecv", "sendrecv")].into_iter().enumerate() {
            let round = u32::try_from(round).unwrap();
            let seq = 2 + round;
            let invite = reinvite(&mut net, ends, seq, &sdp(from.ip(), port, seq, &format!("a={ask}\r\n")));
            net.send(from, &invite);
            net.response_to(from, 100);
            let passed = net.request_to(to, Method::Invite);
            assert!(body(&passed).contains(&format!("a={ask}\r\n")) || ask == "sendrecv", "{}", body(&passed));
            assert!(passed.to().unwrap().tag().is_some());
            net.send(to, &answer(to, &passed, &sdp(to.ip(), other_port, seq, &format!("a={give}\r\n"))));
            net.request_to(to, Method::Ack);
            let ok = net.response_to(from, 200);
            assert!(body(&ok).contains(&format!("a={give}\r\n")) || give == "sendrecv", "{}", body(&ok));
            let message = ack(&mut net, ends, seq);
            net.send(from, &message);
            let expected = if round == 0 { Direction::SendOnly } else { Direction::SendRecv };
            assert_eq!(leg(&net, side).direction, expected);
        }
        assert_eq!(net.endpoint.in_progress(), 1);
        let id = net.endpoint.calls().next().unwrap().id;
        net.endpoint.hang_up(net.now, id, &mut net.media);
        net.run_out();
    }
}

#[test]
fn a_moved_address_takes_effect_and_moves_the_dialog() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let mut invite = reinvite(&mut net, &up.a, 2, &sdp("198.18.0.9".parse().unwrap(), 4_400, 2, ""));
    invite.headers.set(HeaderName::Contact, "<sip:alice@198.18.0.9:5099>");
    net.send(A, &invite);
    net.response_to(A, 100);
    let passed = net.request_to(B, Method::Invite);
    assert!(!body(&passed).contains("198.18.0.9"), "{}", body(&passed));
    assert_eq!(leg(&net, Side::A).rtp, Some("198.18.0.2:4000".parse().unwrap()), "not before the answer");
    net.send(B, &answer(B, &passed, &sdp(B.ip(), 6_000, 2, "")));
    net.response_to(A, 200);
    let message = ack(&mut net, &up.a, 2);
    net.send(A, &message);
    assert_eq!(leg(&net, Side::A).rtp, Some("198.18.0.9:4400".parse().unwrap()));
    let bye = net.in_dialog(&up.b, "BYE", 1);
    net.send(B, &bye);
    let bye = net.request_to("198.18.0.9:5099".parse().unwrap(), Method::Bye);
    assert_eq!(bye.uri().unwrap().to_string(), "sip:alice@198.18.0.9:5099");
    net.run_out();
}

#[test]
fn a_refusal_leaves_the_call_as_it_was() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let before = [leg(&net, Side::A), leg(&net, Side::B)];
    for (seq, status) in [(2, 488), (3, 491), (4, 603)] {
        let invite = reinvite(&mut net, &up.a, seq, &sdp("198.18.0.9".parse().unwrap(), 4_400, seq, ""));
        net.send(A, &invite);
        net.response_to(A, 100);
        let passed = net.request_to(B, Method::Invite);
        net.send(B, &respond(B, &passed, status, "", None));
        net.request_to(B, Method::Ack);
        let refused = net.response_to(A, status);
        let mut acknowledged = crate::sip::transaction::table::within_transaction(&invite, Method::Ack);
        acknowledged.headers.set(HeaderName::To, header(&refused, HeaderName::To));
        net.send(A, &acknowledged);
        assert_eq!([leg(&net, Side::A), leg(&net, Side::B)], before);
    }
    assert_eq!(net.endpoint.in_progress(), 1);
    take_down(&mut net, &up, 5);
}

#[test]
fn a_body_that_cannot_be_carried_is_refused_at_once() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let invite =
        reinvite(&mut net, &up.a, 2, "v=0\r\no=- 42 2 IN IP4 198.18.0.2\r\ns=-\r\nt=0 0\r\nm=image 1 udptl t38\r\n");
    net.send(A, &invite);
    net.response_to(A, 488);
    net.nothing_to(B);
    let mut invite = reinvite(&mut net, &up.a, 3, "x");
    invite.headers.set(HeaderName::ContentType, "text/plain");
    net.send(A, &invite);
    net.response_to(A, 415);
    net.nothing_to(B);
    take_down(&mut net, &up, 4);
}

#[test]
fn re_invites_that_cross_get_491() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let from_a = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
    let from_b = reinvite(&mut net, &up.b, 1, &sdp(B.ip(), 6_002, 2, ""));
    net.send(A, &from_a);
    let passed = net.request_to(B, Method::Invite);
    net.send(B, &from_b);
    net.response_to(B, 491);
    net.send(B, &respond(B, &passed, 491, "", None));
    let statuses: Vec<_> = net.take(A).iter().map(Message::status).collect();
    assert_eq!(statuses, [Some(100), Some(491)]);
    // One alone succeeds later.
    let again = reinvite(&mut net, &up.b, 2, &sdp(B.ip(), 6_002, 2, ""));
    net.take(B);
    net.send(B, &again);
    net.response_to(B, 100);
    let passed = net.request_to(A, Method::Invite);
    net.send(A, &answer(A, &passed, &sdp(A.ip(), 4_000, 2, "")));
    net.response_to(B, 200);
    assert_eq!(leg(&net, Side::B).rtp, Some("198.18.1.2:6002".parse().unwrap()));
}

#[test]
fn a_second_one_before_the_first_is_answered_gets_500() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let first = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
    net.send(A, &first);
    net.response_to(A, 100);
    let second = reinvite(&mut net, &up.a, 3, &sdp(A.ip(), 4_004, 3, ""));
    net.send(A, &second);
    let retry: u32 = header(&net.response_to(A, 500), HeaderName::RetryAfter).parse().unwrap();
    assert!(retry <= 10, "RFC 3261 §14.2");
    assert_eq!(net.take(B).len(), 1);
}

#[test]
fn before_the_answer_there_is_no_re_invite() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    let ringing_b = respond(B, &invite_b, 180, "b-tag", None);
    net.send(B, &ringing_b);
    let ringing = net.response_to(A, 180);
    let early = reinvite(&mut net, &Ends::caller(A, &invite_a, &ringing), 2, &sdp(A.ip(), 4_002, 2, ""));
    net.send(A, &early);
    net.response_to(A, 500);
    let early = reinvite(&mut net, &Ends::callee(B, &invite_b, &ringing_b), 1, &sdp(B.ip(), 6_002, 2, ""));
    net.send(B, &early);
    net.response_to(B, 491);
    let bye = net.in_dialog(&Ends::callee(B, &invite_b, &ringing_b), "BYE", 2);
    net.send(B, &bye);
    net.response_to(B, 481);
    net.run_out();
}

#[test]
fn no_response_or_a_lost_dialog_ends_the_call() {
    for status in [None, Some(408), Some(481)] {
        let mut net = Net::new();
        let up = call_up(&mut net);
        let invite = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
        net.send(A, &invite);
        net.response_to(A, 100);
        let passed = net.request_to(B, Method::Invite);
        match status {
            Some(status) => net.send(B, &respond(B, &passed, status, "", None)),
            None => net.pass(32_000),
        }
        let to_a = net.take(A);
        assert_eq!(to_a[0].status(), Some(status.unwrap_or(408)));
        assert_eq!(to_a[1].method(), Some(&Method::Bye));
        assert!(net.take(B).iter().any(|m| m.method() == Some(&Method::Bye)));
        assert_eq!(net.the_record().cause, Cause::DialogLost);
        net.run_out();
    }
}

#[test]
fn a_cancel_lets_the_other_side_decide() {
    // Bob's 487 is passed on; or his 200, if it crosses the CANCEL: both sides keep one session.
    for status in [487, 200] {
        let mut net = Net::new();
        let up = call_up(&mut net);
        let invite = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
        net.send(A, &invite);
        net.response_to(A, 100);
        let passed = net.request_to(B, Method::Invite);
        let cancel = crate::sip::transaction::table::within_transaction(&invite, Method::Cancel);
        net.send(A, &cancel);
        assert_eq!(net.response_to(A, 200).cseq().unwrap().method, Method::Cancel);
        net.nothing_to(B);
        net.send(B, &respond(B, &passed, 100, "", None));
        net.request_to(B, Method::Cancel);
        net.send(B, &respond(B, &passed, 180, "", None));
        net.nothing_to(B);
        if status == 200 {
            net.send(B, &answer(B, &passed, &sdp(B.ip(), 6_000, 2, "")));
        } else {
            net.send(B, &respond(B, &passed, 487, "", None));
        }
        net.request_to(B, Method::Ack);
        net.response_to(A, status);
        if status == 200 {
            let message = ack(&mut net, &up.a, 2);
            net.send(A, &message);
        }
        assert_eq!(net.endpoint.in_progress(), 1);
        take_down(&mut net, &up, 3);
    }
}

#[test]
fn one_that_rings_for_ever_is_given_up() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let invite = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
    net.send(A, &invite);
    net.response_to(A, 100);
    let passed = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &passed, 180, "", None));
    net.pass(120_000);
    net.request_to(B, Method::Cancel);
    net.pass(32_000);
    assert!(net.take(A).iter().any(|m| m.status() == Some(408)));
    assert_eq!(net.endpoint.in_progress(), 1);
    net.take(B);
    take_down(&mut net, &up, 3);
}

#[test]
fn without_an_offer_the_other_side_makes_one() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let invite = reinvite(&mut net, &up.b, 1, "");
    net.send(B, &invite);
    net.response_to(B, 100);
    let passed = net.request_to(A, Method::Invite);
    assert!(passed.body.is_empty());
    net.send(A, &answer(A, &passed, &sdp(A.ip(), 4_010, 2, "")));
    net.nothing_to(A);
    let ok = net.response_to(B, 200);
    assert!(body(&ok).contains("m=audio 20006 "), "{}", body(&ok));
    let mut message = ack(&mut net, &up.b, 1);
    message.headers.push(HeaderName::ContentType, "application/sdp");
    message.body = sdp(B.ip(), 6_010, 2, "").into();
    net.send(B, &message);
    let to_a = net.request_to(A, Method::Ack);
    assert!(body(&to_a).contains("m=audio 20004 "), "{}", body(&to_a));
    assert_eq!(leg(&net, Side::A).rtp, Some("198.18.0.2:4010".parse().unwrap()));
    assert_eq!(leg(&net, Side::B).rtp, Some("198.18.1.2:6010".parse().unwrap()));
    take_down(&mut net, &up, 2);
}

#[test]
fn a_bye_while_one_is_under_way_ends_both() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let invite = reinvite(&mut net, &up.a, 2, &sdp(A.ip(), 4_002, 2, ""));
    net.send(A, &invite);
    net.response_to(A, 100);
    let passed = net.request_to(B, Method::Invite);
    let bye = net.in_dialog(&up.a, "BYE", 3);
    net.send(A, &bye);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(200), Some(487)]);
    let bye = net.request_to(B, Method::Bye);
    // Bob's 200 to the re-INVITE crosses our BYE: an ACK, and no second BYE.
    net.send(B, &answer(B, &passed, &sdp(B.ip(), 6_000, 2, "")));
    net.request_to(B, Method::Ack);
    net.send(B, &respond(B, &bye, 200, "", None));
    net.run_out();
}
