//! OPTIONS, INFO and the methods that tandem does not take.

use super::harness::*;
use crate::sip::{
    endpoint::Cause,
    message::{HeaderName, Message, Method},
};

fn outside(net: &mut Net, method: &str) -> Message {
    let text = String::from_utf8(net.invite(A, "100").write()).unwrap().replace("INVITE", method);
    Message::parse(text.as_bytes()).unwrap()
}

#[test]
fn options_are_answered_in_and_out_of_a_dialog() {
    let mut net = Net::new();
    let request = outside(&mut net, "OPTIONS");
    net.send(A, &request);
    let answer = net.response_to(A, 200);
    assert_eq!(header(&answer, HeaderName::Allow), "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE");
    assert_eq!(header(&answer, HeaderName::Supported), "100rel, timer");
    assert_eq!(header(&answer, HeaderName::Accept), "application/sdp");
    assert!(answer.to().unwrap().tag().is_some());
    assert_eq!(header(&answer, HeaderName::Server), concat!("tandem/", env!("CARGO_PKG_VERSION"), " (t1)"));
    net.send(A, &request);
    assert_eq!(net.response_to(A, 200), answer, "a repetition draws the same response");
    let up = call_up(&mut net);
    let request = net.in_dialog(&up.b, "OPTIONS", 1);
    net.send(B, &request);
    net.response_to(B, 200);
    net.nothing_to(A);
    take_down(&mut net, &up, 2);
}

#[test]
fn an_info_in_early_media_does_not_change_the_number_of_the_ack() {
    let mut net = Net::new();
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 183, "b-tag", Some(7_000)));
    let progress = net.response_to(A, 183);
    let ends = Ends::caller(A, &invite_a, &progress);
    let info = net.in_dialog(&ends, "INFO", 2);
    net.send(A, &info);
    let passed = net.request_to(B, Method::Info);
    net.send(B, &respond(B, &passed, 200, "b-tag", None));
    net.response_to(A, 200);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(7_000)));
    let ack = net.request_to(B, Method::Ack);
    assert_eq!(ack.cseq().unwrap().to_string(), "1 ACK", "RFC 3261 §13.2.2.4");
}

#[test]
fn info_passes_both_ways_with_its_body() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    for (from, to, ends) in [(A, B, up.a.clone()), (B, A, up.b.clone())] {
        let mut info = net.in_dialog(&ends, "INFO", 2);
        info.headers.push(HeaderName::ContentType, "application/dtmf-relay");
        info.headers.push(HeaderName::Other("Info-Package".into()), "dtmf");
        info.body = "Signal=5\r\nDuration=160\r\n".into();
        net.send(from, &info);
        net.nothing_to(from);
        let passed = net.request_to(to, Method::Info);
        assert_eq!(passed.body, info.body);
        assert_eq!(header(&passed, HeaderName::ContentType), "application/dtmf-relay");
        assert_eq!(header(&passed, HeaderName::Other("info-package".into())), "dtmf");
        assert_eq!(passed.max_forwards(), Some(69));
        let mut answer = respond(to, &passed, 202, "", None);
        answer.headers.push(HeaderName::ContentType, "text/plain");
        answer.body = "heard".into();
        net.send(to, &answer);
        let back = net.response_to(from, 202);
        assert_eq!((body(&back).as_str(), header(&back, HeaderName::ContentType).as_str()), ("heard", "text/plain"));
    }
    take_down(&mut net, &up, 3);
}

#[test]
fn info_that_is_not_answered_gets_408() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.send(A, &info);
    net.pass(32_000);
    net.response_to(A, 408);
    assert_eq!(net.endpoint.in_progress(), 1, "the call goes on");
    net.take(B);
    take_down(&mut net, &up, 3);
}

#[test]
fn a_side_that_does_not_know_the_dialog_ends_the_call() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.send(A, &info);
    let passed = net.request_to(B, Method::Info);
    net.send(B, &respond(B, &passed, 481, "", None));
    let to_a = net.take(A);
    assert_eq!((to_a[0].status(), to_a[1].method()), (Some(481), Some(&Method::Bye)));
    net.request_to(B, Method::Bye);
    assert_eq!(net.the_record().cause, Cause::DialogLost);
    net.run_out();
}

#[test]
fn info_before_the_other_side_has_a_dialog_gets_480() {
    let mut net = Net::new();
    let mut invite = net.invite(A, "100");
    invite.headers.set(HeaderName::To, "<sip:100@198.18.0.1>");
    net.send(A, &invite);
    let trying = net.response_to(A, 100);
    assert!(trying.to().unwrap().tag().is_none());
    let invite_b = net.request_to(B, Method::Invite);
    // Alice learns the tag only from a response, so bob rings and then asks something of her.
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    let ringing = net.response_to(A, 180);
    let info = net.in_dialog(&Ends::caller(A, &invite, &ringing), "INFO", 2);
    net.send(A, &info);
    net.request_to(B, Method::Info);
    net.run_out();
}

#[test]
fn other_methods_are_405_or_501_with_allow() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    for method in ["REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "REFER"] {
        let request = outside(&mut net, method);
        net.send(A, &request);
        let allowed = header(&net.response_to(A, 405), HeaderName::Allow);
        assert_eq!(allowed, "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE");
    }
    let request = outside(&mut net, "DANCE");
    net.send(A, &request);
    assert!(net.response_to(A, 501).headers.contains(&HeaderName::Allow));
    let request = net.in_dialog(&up.a, "REFER", 2);
    net.send(A, &request);
    net.response_to(A, 405);
    let request = net.in_dialog(&up.b, "DANCE", 2);
    net.send(B, &request);
    net.response_to(B, 501);
    take_down(&mut net, &up, 3);
}

#[test]
fn requests_without_a_dialog_get_481() {
    let mut net = Net::new();
    for method in ["BYE", "INFO", "UPDATE", "PRACK"] {
        let request = outside(&mut net, method);
        net.send(A, &request);
        net.response_to(A, 481);
    }
    net.run_out();
}

#[test]
fn labels_are_a_closed_set() {
    let mut net = Net::new();
    for method in ["DANCE", "SING", "INVITE2"] {
        let request = outside(&mut net, method);
        net.send(A, &request);
    }
    let counters = net.endpoint.counters();
    assert_eq!(counters.requests_in.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(), [("other", 3)]);
    assert_eq!(counters.responses_out.get(&501), Some(&3));
}
