//! Media sessions in a call's life: refused, timed out, unusable answers, late offers.

use super::harness::*;
use crate::{
    base::ids::{SessionId, Side},
    control::OpenError,
    sip::{
        endpoint::{Cause, EndedBy},
        message::{HeaderName, Message, Method},
    },
};

#[test]
fn no_port_is_503() {
    for error in [OpenError::NoPort, OpenError::TableFull, OpenError::NoAddress] {
        let mut net = Net::new();
        net.media.refuse = Some(error);
        let invite = net.invite(A, "100");
        net.send(A, &invite);
        let to_a = net.take(A);
        assert_eq!(to_a.iter().map(Message::status).collect::<Vec<_>>(), [Some(100), Some(503)]);
        assert!(to_a[1].headers.contains(&HeaderName::RetryAfter));
        net.nothing_to(B);
        assert_eq!(net.the_record().cause, Cause::NoMedia);
        assert_eq!(net.endpoint.counters().ended(Cause::NoMedia), 1);
        net.media.refuse = None;
        net.run_out();
    }
}

#[test]
fn a_media_timeout_ends_the_call_on_both_sides() {
    let mut net = Net::new();
    call_up(&mut net);
    net.endpoint.media_timeout(net.now, SessionId(99), &mut net.media);
    net.collect();
    assert_eq!(net.endpoint.in_progress(), 1);
    net.endpoint.media_timeout(net.now, SessionId(1), &mut net.media);
    net.collect();
    for peer in [A, B] {
        let bye = net.request_to(peer, Method::Bye);
        assert!(header(&bye, HeaderName::Reason).contains("Media timeout"));
        net.send(peer, &respond(peer, &bye, 200, "", None));
    }
    let record = net.the_record();
    assert_eq!((record.cause, record.ended_by), (Cause::MediaTimeout, EndedBy::Tandem));
    net.run_out();
}

#[test]
fn an_offer_that_cannot_be_carried_is_488() {
    let mut net = Net::new();
    let mut invite = net.invite(A, "100");
    invite.body =
        "v=0\r\no=- 1 1 IN IP4 198.18.0.2\r\ns=-\r\nc=IN IP4 198.18.0.2\r\nt=0 0\r\nm=image 4000 udptl t38\r\n".into();
    net.send(A, &invite);
    assert_eq!(net.take(A).last().unwrap().status(), Some(488));
    net.nothing_to(B);
    assert_eq!(net.the_record().cause, Cause::NotAcceptable);
    net.run_out();
}

#[test]
fn an_answer_that_cannot_be_used_is_acknowledged_and_hung_up() {
    for broken in ["", "nonsense"] {
        let mut net = Net::new();
        let invite_a = net.invite(A, "100");
        net.send(A, &invite_a);
        net.response_to(A, 100);
        let invite_b = net.request_to(B, Method::Invite);
        let mut ok = respond(B, &invite_b, 200, "b-tag", Some(6_000));
        ok.body = broken.into();
        net.send(B, &ok);
        let to_b = net.take(B);
        assert_eq!(to_b.iter().filter_map(Message::method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
        net.response_to(A, 502);
        assert_eq!(net.the_record().cause, Cause::BadAnswer);
        net.run_out();
    }
}

/// RFC 3261 §13.2.1: an INVITE without an offer; the 2xx offers, the ACK answers.
#[test]
fn a_late_offer_passes_through() {
    let mut net = Net::new();
    let mut invite_a = net.invite(A, "100");
    invite_a.body = "".into();
    invite_a.headers.remove(&HeaderName::ContentType);
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    assert!(invite_b.body.is_empty() && !invite_b.headers.contains(&HeaderName::ContentType));
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.nothing_to(B);
    let ok_a = net.response_to(A, 200);
    assert!(body(&ok_a).contains("m=audio 20004 ") && body(&ok_a).contains("c=IN IP4 198.18.0.1\r\n"));
    // Bob repeats his 200 while he waits.
    net.send(B, &ok_b);
    net.nothing_to(B);
    let a = Ends::caller(A, &invite_a, &ok_a);
    let mut message = ack(&mut net, &a, 1);
    message.headers.push(HeaderName::ContentType, "application/sdp");
    message.body = sdp(A.ip(), 4_000, 1, "").into();
    net.send(A, &message);
    let ack_b = net.request_to(B, Method::Ack);
    assert!(body(&ack_b).contains("m=audio 20006 ") && body(&ack_b).contains("c=IN IP4 192.0.2.7\r\n"));
    let legs = &net.media.open[&1];
    assert_eq!(legs[Side::A.index()].as_ref().unwrap().rtp, Some("198.18.0.2:4000".parse().unwrap()));
    assert_eq!(legs[Side::B.index()].as_ref().unwrap().rtp, Some("198.18.1.2:6000".parse().unwrap()));
    // His 200 once more: the same ACK, with the answer.
    net.send(B, &ok_b);
    assert_eq!(net.request_to(B, Method::Ack), ack_b);
    let up = Up { a, b: Ends::callee(B, &invite_b, &ok_b), invite_a, invite_b };
    take_down(&mut net, &up, 2);
}

#[test]
fn a_late_offer_without_an_answer_ends_the_call() {
    let mut net = Net::new();
    let mut invite_a = net.invite(A, "100");
    invite_a.body = "".into();
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    let ok_a = net.response_to(A, 200);
    let a = Ends::caller(A, &invite_a, &ok_a);
    let message = ack(&mut net, &a, 1);
    net.send(A, &message);
    net.request_to(A, Method::Bye);
    let to_b = net.take(B);
    assert_eq!(to_b.iter().filter_map(Message::method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
    assert_eq!(net.the_record().cause, Cause::BadAnswer);
    net.run_out();
}

#[test]
fn a_trunk_with_other_media_addresses_gets_its_own_session() {
    let mut net = Net::with(|config| config.trunks[2].media = vec!["a".into(), "b".into()]);
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    net.fail(Net::udp(B));
    net.fail(Net::udp(B2));
    assert_eq!((net.media.opened, net.media.closed), (2, 1));
    assert_eq!(net.media.requests[1].media[1], ["a".to_owned(), "b".to_owned()]);
}
