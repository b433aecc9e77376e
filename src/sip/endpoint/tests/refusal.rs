//! Requests that are refused for what they say: RFC 3261 §8.2, §12.2.2, §16.3.

use super::harness::*;
use crate::sip::{
    endpoint::Cause,
    message::{HeaderName, Message, Method},
};

/// Sends an INVITE that `change` spoils and returns the refusal.
fn refused(change: impl FnOnce(&mut Message), status: u16, cause: Cause) -> Message {
    let mut net = Net::new();
    let mut invite = net.invite(A, "100");
    change(&mut invite);
    net.send(A, &invite);
    let refusal = net.response_to(A, status);
    net.nothing_to(B);
    let record = net.the_record();
    assert_eq!((record.cause, record.status), (cause, status));
    assert_eq!(net.endpoint.counters().ended(cause), 1);
    net.run_out();
    refusal
}

#[test]
fn an_extension_that_must_be_known() {
    let refusal = refused(
        |invite| {
            invite.headers.push(HeaderName::Require, "100rel, precondition, timer");
            invite.headers.push(HeaderName::ProxyRequire, "foo");
        },
        420,
        Cause::BadRequest,
    );
    assert_eq!(header(&refusal, HeaderName::Unsupported), "precondition, foo");
}

#[test]
fn a_body_that_is_no_session_description() {
    let refusal =
        refused(|invite| invite.headers.set(HeaderName::ContentType, "application/isup"), 415, Cause::BadRequest);
    assert_eq!(header(&refusal, HeaderName::Accept), "application/sdp");
    let refusal = refused(|invite| invite.headers.push(HeaderName::ContentEncoding, "gzip"), 415, Cause::BadRequest);
    assert_eq!(header(&refusal, HeaderName::AcceptEncoding), "identity");
}

#[test]
fn an_accept_that_takes_no_session_description() {
    for accept in ["text/nobodyKnowsThis", "", "application/isup, application/sdpx"] {
        refused(|invite| invite.headers.push(HeaderName::Accept, accept), 406, Cause::BadRequest);
    }
    for accept in ["application/sdp", "text/plain, Application/SDP;level=1", "application/*", "*/*;q=0.1"] {
        let mut net = Net::new();
        let mut invite = net.invite(A, "100");
        invite.headers.push(HeaderName::Accept, accept);
        net.send(A, &invite);
        net.response_to(A, 100);
    }
}

#[test]
fn no_hop_left() {
    refused(|invite| invite.headers.set(HeaderName::MaxForwards, "0"), 483, Cause::BadRequest);
}

#[test]
fn no_contact() {
    refused(|invite| invite.headers.remove(&HeaderName::Contact), 400, Cause::BadRequest);
}

#[test]
fn a_scheme_that_promises_what_tandem_has_not() {
    let sips = |invite: &mut Message| {
        let text = String::from_utf8(invite.write()).unwrap().replacen("INVITE sip:", "INVITE sips:", 1);
        *invite = Message::parse(text.as_bytes()).unwrap();
    };
    refused(sips, 416, Cause::BadRequest);
}

#[test]
fn a_number_without_a_route() {
    let other = |invite: &mut Message| {
        let text = String::from_utf8(invite.write()).unwrap().replacen("INVITE sip:100@", "INVITE sip:900@", 1);
        *invite = Message::parse(text.as_bytes()).unwrap();
    };
    refused(other, 404, Cause::NoRoute);
}

#[test]
fn an_invite_that_passed_here_before_for_the_same_number() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let out = net.request_to(B, Method::Invite);
    let came_back = |number: &str, net: &mut Net| {
        // A proxy at bob's place sends it back: our Via lies beneath its own.
        let mut again = out.clone();
        let branch = net.branch();
        again.headers.push_front(HeaderName::Via, format!("SIP/2.0/UDP {B};branch={branch};rport"));
        let text = String::from_utf8(again.write()).unwrap();
        text.replacen("INVITE sip:100@198.18.1.2", &format!("INVITE sip:{number}@{TANDEM_B}"), 1)
    };
    let text = came_back("100", &mut net);
    net.send_bytes(Net::udp(B), text.as_bytes());
    net.response_to(B, 482);
    // To another number it is a spiral.
    let text = came_back("222", &mut net).replace("CSeq: 1", "CSeq: 2");
    net.send_bytes(Net::udp(B), text.as_bytes());
    assert_eq!(net.response_to(B, 100).status(), Some(100));
    net.run_out();
}

#[test]
fn the_same_request_by_two_paths() {
    let mut net = Net::new();
    let mut invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
    let branch = net.branch();
    invite.headers.set(HeaderName::Via, format!("SIP/2.0/UDP {A};branch={branch};rport"));
    net.send(A, &invite);
    net.response_to(A, 482);
    assert_eq!((net.endpoint.in_progress(), net.take(B).len()), (1, 1));
}

#[test]
fn too_many_calls() {
    let mut net = Net::with(|config| config.sip.max_calls = 2);
    for _ in 0..2 {
        let invite = net.invite(A, "100");
        net.send(A, &invite);
        net.response_to(A, 100);
    }
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    assert!(net.response_to(A, 503).headers.contains(&HeaderName::RetryAfter));
    assert_eq!(net.endpoint.counters().ended(Cause::Limit), 1);
    net.run_out();
    net.take(A);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
}

#[test]
fn a_dialog_that_is_not_known() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let mut stranger = up.a.clone();
    stranger.remote = stranger.remote.replace("tag=", "tag=not");
    for method in ["BYE", "INVITE", "INFO", "OPTIONS"] {
        let request = net.in_dialog(&stranger, method, 2);
        net.send(A, &request);
        net.response_to(A, 481);
    }
    // Our tag, but not the peer's.
    let mut stranger = up.a.clone();
    stranger.local = stranger.local.replace("a-tag", "other");
    let request = net.in_dialog(&stranger, "BYE", 2);
    net.send(A, &request);
    net.response_to(A, 481);
    let message = ack(&mut net, &stranger, 1);
    net.send(A, &message);
    net.nothing_to(A);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_request_out_of_order() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let options = net.in_dialog(&up.a, "OPTIONS", 9);
    net.send(A, &options);
    net.response_to(A, 200);
    let bye = net.in_dialog(&up.a, "BYE", 8);
    net.send(A, &bye);
    net.response_to(A, 500);
    net.nothing_to(B);
    take_down(&mut net, &up, 10);
}

#[test]
fn strays_are_ignored() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    net.send(A, &respond(A, &invite, 200, "x", None));
    let ends = Ends {
        peer: A,
        call_id: "x".into(),
        local: "<sip:a@b>;tag=1".into(),
        remote: "<sip:c@d>;tag=2".into(),
        target: "sip:198.18.0.1".into(),
    };
    let message = ack(&mut net, &ends, 1);
    net.send(A, &message);
    net.nothing_to(A);
    assert_eq!(net.endpoint.counters().strays, 2);
}
