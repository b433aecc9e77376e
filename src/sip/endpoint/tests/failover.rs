//! Destinations in order: 503, silence, errors of the transport and ringing without an answer lead to the next.

use super::harness::*;
use crate::{
    config::SipTransport,
    sip::{
        endpoint::{Cause, EndedBy},
        flow::Flow,
        message::{HeaderName, Message, Method},
    },
};

fn start(net: &mut Net, number: &str) -> Message {
    let invite = net.invite(A, number);
    net.send(A, &invite);
    net.response_to(A, 100);
    invite
}

#[test]
fn a_503_leads_to_the_next_destination() {
    let mut net = Net::new();
    start(&mut net, "100");
    let first = net.request_to(B, Method::Invite);
    let mut refusal = respond(B, &first, 503, "b-tag", None);
    refusal.headers.push(HeaderName::RetryAfter, "3600");
    net.send(B, &refusal);
    net.request_to(B, Method::Ack);
    net.nothing_to(A);
    let second = net.request_to(B2, Method::Invite);
    assert_ne!(second.call_id(), first.call_id());
    assert_eq!(second.uri().unwrap().to_string(), "sip:100@198.18.1.3:5060");
    assert_eq!(net.media.opened, 1, "the session serves again");
    net.send(B2, &respond(B2, &second, 200, "b2-tag", Some(6_000)));
    net.request_to(B2, Method::Ack);
    net.response_to(A, 200);
    let detail = net.endpoint.calls().next().map(|c| net.endpoint.call(c.id).unwrap()).unwrap();
    assert_eq!(detail.attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [Some(503), Some(200)]);
}

#[test]
fn when_all_are_unavailable_the_caller_gets_503() {
    let mut net = Net::new();
    start(&mut net, "100");
    for peer in [B, B2] {
        let invite = net.request_to(peer, Method::Invite);
        let mut refusal = respond(peer, &invite, 503, "tag", None);
        refusal.headers.push(HeaderName::RetryAfter, "3600");
        net.send(peer, &refusal);
    }
    let refused = net.response_to(A, 503);
    assert!(!refused.headers.contains(&HeaderName::RetryAfter), "the destination's, not ours");
    let record = net.the_record();
    assert_eq!((record.cause, record.status, record.trunk_b), (Cause::Unavailable, 503, None));
    assert_eq!(record.attempts.len(), 2);
    net.run_out();
}

#[test]
fn silence_leads_to_the_next_destination_and_a_late_200_is_hung_up() {
    let mut net = Net::new();
    start(&mut net, "100");
    let first = net.request_to(B, Method::Invite);
    net.pass(3_999);
    net.nothing_to(B2);
    net.pass(1);
    let second = net.request_to(B2, Method::Invite);
    net.take(B);
    // The first one wakes up: it is cancelled; its 200 is too late.
    net.send(B, &respond(B, &first, 180, "b-tag", None));
    net.request_to(B, Method::Cancel);
    net.send(B, &respond(B, &first, 200, "b-tag", Some(6_000)));
    let to_b = net.take(B);
    assert_eq!(to_b.iter().filter_map(Message::method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
    net.send(B2, &respond(B2, &second, 486, "b2-tag", None));
    net.response_to(A, 486);
    net.run_out();
}

#[test]
fn a_100_is_a_reply() {
    let mut net = Net::new();
    start(&mut net, "100");
    let first = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &first, 100, "", None));
    net.pass(60_000);
    net.nothing_to(B2);
    net.nothing_to(B);
}

#[test]
fn when_all_are_silent_the_caller_gets_408() {
    let mut net = Net::new();
    start(&mut net, "100");
    net.pass(8_000);
    net.response_to(A, 408);
    assert_eq!(net.the_record().cause, Cause::NoReply);
    net.run_out();
}

#[test]
fn timer_b_counts_as_silence() {
    let mut net = Net::with(|config| config.trunks[1].no_reply_ms = 100_000);
    start(&mut net, "100");
    net.pass(31_999);
    net.nothing_to(B2);
    net.pass(1);
    net.request_to(B2, Method::Invite);
    net.run_out();
    assert_eq!(net.the_record().attempts[0].status, Some(408));
}

#[test]
fn ringing_without_an_answer_leads_on_and_ends_with_408() {
    let mut net = Net::new();
    start(&mut net, "100");
    let first = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &first, 180, "b-tag", None));
    net.response_to(A, 180);
    net.pass(119_999);
    net.nothing_to(B2);
    net.take(A);
    net.pass(1);
    let cancel = net.request_to(B, Method::Cancel);
    assert_eq!(cancel.top_via().unwrap(), first.top_via().unwrap());
    let second = net.request_to(B2, Method::Invite);
    net.take(A);
    net.send(B2, &respond(B2, &second, 180, "b2-tag", None));
    net.response_to(A, 180);
    net.pass(120_000);
    let to_a = net.take(A);
    assert_eq!(to_a.last().unwrap().status(), Some(408));
    let record = net.the_record();
    assert_eq!((record.cause, record.ended_by), (Cause::NoAnswer, EndedBy::Tandem));
    net.run_out();
}

#[test]
fn a_long_ringing_is_refreshed_each_minute() {
    let mut net = Net::new();
    start(&mut net, "100");
    let first = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &first, 180, "b-tag", None));
    net.response_to(A, 180);
    net.pass(59_999);
    net.nothing_to(A);
    net.pass(1);
    net.response_to(A, 180);
}

#[test]
fn a_transport_error_leads_to_the_next_destination() {
    let mut net = Net::new();
    start(&mut net, "100");
    net.request_to(B, Method::Invite);
    // Another remote's failure is none of ours.
    net.fail(Net::udp(B2));
    net.nothing_to(B2);
    net.fail(Net::udp(B));
    net.request_to(B2, Method::Invite);
    net.fail(Net::udp(B2));
    net.response_to(A, 503);
    let record = net.the_record();
    assert_eq!((record.cause, record.attempts[0].status), (Cause::Unavailable, Some(503)));
    net.run_out();
}

#[test]
fn the_next_trunk_follows_over_its_own_transport() {
    let mut net = Net::new();
    start(&mut net, "300");
    net.fail(Net::udp(B));
    net.fail(Net::udp(B2));
    assert_eq!(
        net.sent.iter().filter(|s| s.flow.remote == C).map(|s| s.flow).collect::<Vec<_>>(),
        [Flow { local: LISTEN_B_TCP, transport: SipTransport::Tcp, remote: C, connection: None }]
    );
    let third = net.request_to(C, Method::Invite);
    assert_eq!(third.uri().unwrap().to_string(), "sip:300@198.18.2.2:5070;transport=tcp");
    assert_eq!(header(&third, HeaderName::Contact), format!("<sip:{TANDEM_B};transport=tcp>"));
    net.fail(Flow { local: LISTEN_B_TCP, transport: SipTransport::Tcp, remote: C, connection: None });
    net.response_to(A, 503);
    net.run_out();
}

#[test]
fn other_refusals_are_the_answer() {
    for status in [302, 404, 480, 486, 500, 504, 603] {
        let mut net = Net::new();
        start(&mut net, "100");
        let invite = net.request_to(B, Method::Invite);
        let mut refusal = Message::response_to(&invite, status, "Not So");
        let mut to = refusal.to().unwrap();
        to.set_tag("b-tag");
        refusal.headers.set(HeaderName::To, to.to_string());
        refusal.headers.push(HeaderName::Reason, "Q.850;cause=17");
        refusal.headers.push(HeaderName::RetryAfter, "5");
        refusal.headers.push(HeaderName::Contact, "<sip:elsewhere@198.18.9.9>");
        net.send(B, &refusal);
        net.request_to(B, Method::Ack);
        net.nothing_to(B2);
        let passed = net.response_to(A, status);
        assert!(format!("{:?}", passed.start).contains("Not So"), "the phrase is passed on");
        assert_eq!(header(&passed, HeaderName::Reason), "Q.850;cause=17");
        assert_eq!(header(&passed, HeaderName::RetryAfter), "5");
        assert_eq!(passed.headers.contains(&HeaderName::Contact), status == 302, "a redirection says where to");
        let record = net.the_record();
        assert_eq!((record.cause, record.ended_by, record.status), (Cause::Rejected, EndedBy::Callee, status));
        net.run_out();
    }
}

#[test]
fn a_challenge_and_its_answer_pass_where_a_trunk_lets_them() {
    let mut net = Net::with(|config| {
        config.trunks[1].headers.pass = ["Proxy-Authenticate", "Proxy-Authorization"].map(str::to_owned).to_vec();
    });
    start(&mut net, "100");
    let invite = net.request_to(B, Method::Invite);
    let mut challenge = respond(B, &invite, 407, "b-tag", None);
    challenge.headers.push(HeaderName::ProxyAuthenticate, "Digest realm=\"r\", nonce=\"n\"");
    net.send(B, &challenge);
    net.request_to(B, Method::Ack);
    assert_eq!(header(&net.response_to(A, 407), HeaderName::ProxyAuthenticate), "Digest realm=\"r\", nonce=\"n\"");
    let mut again = net.invite(A, "100");
    again.headers.push(HeaderName::ProxyAuthorization, "Digest username=\"a\"");
    net.send(A, &again);
    assert_eq!(header(&net.request_to(B, Method::Invite), HeaderName::ProxyAuthorization), "Digest username=\"a\"");
}
