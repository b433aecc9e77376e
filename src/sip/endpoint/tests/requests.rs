//! MESSAGE, PUBLISH and SUBSCRIBE outside of calls (`requests = "pass"`): RFC 3428, 3903, 6665.

use super::{
    harness::*,
    transfer::{D, take_over, transfers},
};
use crate::{
    config::{Config, Requests},
    sip::message::{HeaderName, Message, Method},
};

fn passes(config: &mut Config) {
    transfers(config);
    config.trunks.iter_mut().for_each(|trunk| trunk.requests = Requests::Pass);
}

pub(super) fn outside(net: &mut Net, method: &str, number: &str) -> Message {
    let invite = net.invite(A, number);
    let mut request =
        Message::parse(String::from_utf8(invite.write()).unwrap().replace("INVITE", method).as_bytes()).unwrap();
    request.headers.remove(&HeaderName::ContentType);
    request.body = Default::default();
    request
}

fn message(net: &mut Net, number: &str) -> Message {
    let mut message = outside(net, "MESSAGE", number);
    message.headers.remove(&HeaderName::Contact);
    message.headers.push(HeaderName::ContentType, "text/plain");
    message.body = "Watson, come here.".into();
    message
}

#[test]
fn a_message_goes_on_by_the_dial_plan_and_its_answer_comes_back() {
    let mut net = Net::with(passes);
    let request = message(&mut net, "500");
    net.send(A, &request);
    net.nothing_to(A);
    let passed = net.request_to(D, Method::Message);
    assert_eq!(passed.uri().unwrap().to_string(), "sip:500@198.18.3.2");
    assert_eq!((body(&passed).as_str(), passed.max_forwards()), ("Watson, come here.", Some(69)));
    assert_eq!(header(&passed, HeaderName::ContentType), "text/plain");
    assert!(!passed.headers.contains(&HeaderName::Contact), "RFC 3428 §4");
    let text = String::from_utf8(passed.write()).unwrap();
    for secret in ["198.18.0.2", "a-tag", request.call_id().unwrap()] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let mut ok = Message::response_to(&passed, 200, "");
    ok.headers.set(HeaderName::To, format!("{};tag=d", header(&passed, HeaderName::To)));
    net.send(D, &ok);
    let answer = net.response_to(A, 200);
    assert!(answer.to().unwrap().tag().is_some_and(|tag| tag != "d"));
    net.run_out();
}

#[test]
fn the_next_destination_after_503_and_silence() {
    let mut net = Net::with(passes);
    let request = message(&mut net, "100");
    net.send(A, &request);
    let first = net.request_to(B, Method::Message);
    net.send(B, &respond(B, &first, 503, "t", None));
    let second = net.request_to(B2, Method::Message);
    assert_ne!(first.call_id(), second.call_id());
    net.send(B2, &respond(B2, &second, 603, "t", None));
    net.response_to(A, 603);
    let request = message(&mut net, "500");
    net.send(A, &request);
    net.pass(32_000);
    net.response_to(A, 408);
    net.take(D);
    net.run_out();
}

#[test]
fn what_may_not_pass_is_refused() {
    let mut net = Net::with(|config| {
        passes(config);
        config.trunks.last_mut().unwrap().requests = Requests::Refuse;
    });
    for (number, status) in [("500", 403), ("999", 404)] {
        let request = message(&mut net, number);
        net.send(A, &request);
        net.response_to(A, status);
    }
    let mut far = message(&mut net, "100");
    far.headers.set(HeaderName::MaxForwards, "0");
    net.send(A, &far);
    net.response_to(A, 483);
    net.run_out();
}

#[test]
fn a_message_in_a_call_crosses() {
    let mut net = Net::with(passes);
    let up = call_up(&mut net);
    let mut request = net.in_dialog(&up.a, "MESSAGE", 2);
    request.headers.push(HeaderName::ContentType, "text/plain");
    request.body = "hello".into();
    net.send(A, &request);
    let passed = net.request_to(B, Method::Message);
    assert_eq!(body(&passed), "hello");
    net.send(B, &respond(B, &passed, 200, "", None));
    net.response_to(A, 200);
    take_down(&mut net, &up, 3);
}

#[test]
fn a_publication_keeps_its_entity_tag() {
    let mut net = Net::with(passes);
    let mut request = outside(&mut net, "PUBLISH", "500");
    request.headers.remove(&HeaderName::Contact);
    request.headers.push(HeaderName::Event, "presence");
    request.headers.push(HeaderName::Expires, "600");
    request.headers.push(HeaderName::SipIfMatch, "abc");
    net.send(A, &request);
    let passed = net.request_to(D, Method::Publish);
    assert_eq!(header(&passed, HeaderName::SipIfMatch), "abc");
    assert_eq!(
        (header(&passed, HeaderName::Event).as_str(), header(&passed, HeaderName::Expires).as_str()),
        ("presence", "600")
    );
    let mut ok = respond(D, &passed, 200, "d", None);
    ok.headers.push(HeaderName::SipETag, "def");
    ok.headers.push(HeaderName::Expires, "300");
    net.send(D, &ok);
    let answer = net.response_to(A, 200);
    assert_eq!(
        (header(&answer, HeaderName::SipETag).as_str(), header(&answer, HeaderName::Expires).as_str()),
        ("def", "300")
    );
    net.run_out();
}

/// Alice subscribes at desk for 60 s; both ends of it, and desk's NOTIFY so far.
fn subscribed(net: &mut Net) -> (Ends, Ends) {
    let mut request = outside(net, "SUBSCRIBE", "500");
    request.headers.push(HeaderName::Event, "presence");
    request.headers.push(HeaderName::Expires, "60");
    net.send(A, &request);
    let passed = net.request_to(D, Method::Subscribe);
    assert_eq!(header(&passed, HeaderName::Event), "presence");
    assert_eq!(header(&passed, HeaderName::Contact), "<sip:192.0.2.7:5060>");
    let mut ok = respond(D, &passed, 202, "d-tag", None);
    ok.headers.push(HeaderName::Expires, "60");
    net.send(D, &ok);
    let answer = net.response_to(A, 202);
    assert_eq!(header(&answer, HeaderName::Expires), "60");
    assert_eq!(net.endpoint.table_sizes().2, 2);
    (Ends::caller(A, &request, &answer), Ends::callee(D, &passed, &ok))
}

fn notify(net: &mut Net, ends: &Ends, seq: u32, state: &str) -> Message {
    let mut notify = net.in_dialog(ends, "NOTIFY", seq);
    notify.headers.push(HeaderName::Event, "presence");
    notify.headers.push(HeaderName::SubscriptionState, state);
    notify
}

/// A NOTIFY of desk's reaches alice, who answers.
fn told(net: &mut Net, ends: &Ends, seq: u32, state: &str) {
    let request = notify(net, ends, seq, state);
    net.send(D, &request);
    let passed = net.request_to(A, Method::Notify);
    assert_eq!(header(&passed, HeaderName::SubscriptionState), state);
    assert_eq!(header(&passed, HeaderName::Contact), "<sip:198.18.0.1:5060>");
    net.send(A, &respond(A, &passed, 200, "", None));
    net.response_to(D, 200);
}

#[test]
fn a_subscription_is_two_dialogs_until_it_ends() {
    let mut net = Net::with(passes);
    let (alice, desk) = subscribed(&mut net);
    told(&mut net, &desk, 1, "active;expires=60");
    net.pass(40_000);
    // Refreshed within its dialog, it lasts on.
    let mut refresh = net.in_dialog(&alice, "SUBSCRIBE", 2);
    refresh.headers.push(HeaderName::Event, "presence");
    refresh.headers.push(HeaderName::Expires, "60");
    net.send(A, &refresh);
    let passed = net.request_to(D, Method::Subscribe);
    assert_eq!(passed.call_id(), Some(desk.call_id.as_str()));
    let mut ok = respond(D, &passed, 200, "", None);
    ok.headers.push(HeaderName::Expires, "60");
    net.send(D, &ok);
    net.response_to(A, 200);
    net.pass(60_000);
    take_over(&mut net, passes);
    told(&mut net, &desk, 2, "active;expires=10");
    told(&mut net, &desk, 3, "terminated;reason=timeout");
    assert_eq!(net.endpoint.table_sizes().2, 0);
    let late = notify(&mut net, &desk, 4, "active");
    net.send(D, &late);
    net.response_to(D, 481);
    net.run_out();
}

#[test]
fn a_subscription_that_nobody_refreshes_lapses() {
    let mut net = Net::with(passes);
    let (_, desk) = subscribed(&mut net);
    // RFC 6665 §4.1.2.4: a NOTIFY may still be on its way.
    net.pass(91_000);
    told(&mut net, &desk, 1, "active");
    net.pass(1_100);
    assert_eq!(net.endpoint.table_sizes().2, 0);
    net.run_out();
}

#[test]
fn the_first_notify_may_come_before_the_answer() {
    let mut net = Net::with(passes);
    let mut request = outside(&mut net, "SUBSCRIBE", "500");
    request.headers.push(HeaderName::Event, "presence");
    net.send(A, &request);
    let passed = net.request_to(D, Method::Subscribe);
    let ok = respond(D, &passed, 200, "d-tag", None);
    let desk = Ends::callee(D, &passed, &ok);
    let first = notify(&mut net, &desk, 1, "active;expires=30");
    net.send(D, &first);
    let told_first = net.request_to(A, Method::Notify);
    assert_eq!(told_first.call_id(), request.call_id());
    net.send(D, &ok);
    net.response_to(A, 200);
    net.send(A, &respond(A, &told_first, 481, "", None));
    net.response_to(D, 481);
    assert_eq!(net.endpoint.table_sizes().2, 0, "the subscriber does not know it");
    net.run_out();
}

#[test]
fn a_refused_subscription_leaves_nothing_and_strangers_reach_nobody() {
    let mut net = Net::with(passes);
    let mut request = outside(&mut net, "SUBSCRIBE", "500");
    net.send(A, &request);
    net.response_to(A, 489);
    request = outside(&mut net, "SUBSCRIBE", "500");
    request.headers.push(HeaderName::Event, "presence");
    net.send(A, &request);
    let passed = net.request_to(D, Method::Subscribe);
    net.send(D, &respond(D, &passed, 489, "d-tag", None));
    net.response_to(A, 489);
    assert_eq!(net.endpoint.table_sizes().2, 0);
    let (_, desk) = subscribed(&mut net);
    let forged = notify(&mut net, &Ends { peer: C, ..desk.clone() }, 1, "terminated");
    net.send(C, &forged);
    net.response_to(C, 481);
    let mut bye = net.in_dialog(&desk, "BYE", 2);
    bye.headers.remove(&HeaderName::Contact);
    net.send(D, &bye);
    assert_eq!(header(&net.response_to(D, 405), HeaderName::Allow), "NOTIFY");
    told(&mut net, &desk, 3, "terminated");
    net.run_out();
}
