//! REFER that crosses to the other side of the call (`transfer = "pass"`), and the NOTIFYs that come back.

use super::{
    harness::*,
    transfer::{D, bye, consultation, escaped, methods, refer, replaces, transfers},
};
use crate::{
    config::{Config, Transfer},
    sip::message::{HeaderName, Message, Method},
};

fn passes(config: &mut Config) {
    transfers(config);
    config.trunks.iter_mut().for_each(|trunk| trunk.transfer = Transfer::Pass);
    config.trunks.iter_mut().for_each(|trunk| trunk.identity.trust = true);
}

fn notify(net: &mut Net, ends: &Ends, seq: u32, event: &str, line: &str) -> Message {
    let mut notify = net.in_dialog(ends, "NOTIFY", seq);
    notify.headers.push(HeaderName::Event, event);
    notify.headers.push(HeaderName::SubscriptionState, "active;expires=60");
    notify.headers.push(HeaderName::ContentType, "message/sipfrag;version=2.0");
    notify.body = format!("{line}\r\nContact: <sip:secret@198.18.0.77>\r\n").into();
    notify
}

#[test]
fn a_refer_crosses_and_its_notifys_come_back() {
    let mut net = Net::with(passes);
    let up = call_up(&mut net);
    let mut asked = refer(&mut net, &up.b, 7, "<sip:500@pbx.bob.example>");
    asked.headers.push(HeaderName::ReferredBy, "<sip:bob@pbx.bob.example>;cid=\"x@pbx.bob.example\"");
    net.send(B, &asked);
    net.nothing_to(B);
    let passed = net.request_to(A, Method::Refer);
    assert_eq!(header(&passed, HeaderName::ReferTo), "<sip:500@198.18.0.1:5060>", "by way of tandem");
    assert_eq!(header(&passed, HeaderName::ReferredBy), "<sip:bob@198.18.0.1>", "RFC 3892, between trusted trunks");
    assert_eq!(passed.max_forwards(), Some(69));
    assert!(passed.headers.contains(&HeaderName::Contact));
    net.send(A, &respond(A, &passed, 202, "", None));
    let accepted = net.response_to(B, 202);
    assert!(header(&accepted, HeaderName::Contact).contains("192.0.2.7"));
    // RFC 3515 §2.4.6: the id is the REFER's number on that side.
    let went = passed.cseq().unwrap().seq;
    for (seq, event, back) in [(1, format!("refer;id={went}"), "refer;id=7"), (2, "refer".to_owned(), "refer")] {
        let told = notify(&mut net, &up.a, 1 + seq, &event, "SIP/2.0 100 Trying");
        net.send(A, &told);
        let to_bob = net.request_to(B, Method::Notify);
        assert_eq!(header(&to_bob, HeaderName::Event), back);
        assert_eq!(header(&to_bob, HeaderName::SubscriptionState), "active;expires=60");
        assert_eq!(body(&to_bob), "SIP/2.0 100 Trying\r\n", "what tells of addresses stays out");
        net.send(B, &respond(B, &to_bob, 200, "", None));
        net.response_to(A, 200);
    }
    // Bob has let go of the subscription, and not of the call.
    let told = notify(&mut net, &up.a, 5, "refer", "SIP/2.0 180 Ringing");
    net.send(A, &told);
    let to_bob = net.request_to(B, Method::Notify);
    net.send(B, &respond(B, &to_bob, 481, "", None));
    net.response_to(A, 481);
    assert_eq!(net.endpoint.in_progress(), 1);
    // A NOTIFY that nobody asked for.
    let stray = notify(&mut net, &up.b, 8, "refer", "SIP/2.0 100 Trying");
    net.send(B, &stray);
    net.response_to(B, 481);
    take_down(&mut net, &up, 9);
}

#[test]
fn replaces_names_the_dialog_as_the_other_side_knows_it() {
    let mut net = Net::with(passes);
    let up = call_up(&mut net);
    let (second, _, desk) = consultation(&mut net);
    let asked = refer(&mut net, &up.b, 2, &format!("<sip:500@x?Replaces={}>", escaped(&replaces(&second))));
    net.send(B, &asked);
    let passed = net.request_to(A, Method::Refer);
    // Desk is asked, so its own tag stands in to-tag.
    let tag = |text: &str| text.split("tag=").nth(1).unwrap().to_owned();
    let mapped = format!("{};to-tag={};from-tag={}", desk.call_id, tag(&desk.local), tag(&desk.remote));
    assert_eq!(
        header(&passed, HeaderName::ReferTo),
        format!("<sip:500@198.18.0.1:5060?Replaces={}>", escaped(&mapped))
    );
    net.send(A, &respond(A, &passed, 202, "", None));
    net.response_to(B, 202);
    // Alice follows it, by way of tandem: she takes bob's place in his call with desk.
    let mut invite = net.invite(A, "500");
    invite.headers.set(HeaderName::From, "<sip:alice@198.18.0.2>;tag=a2-tag");
    invite.headers.push(HeaderName::Replaces, mapped);
    invite.body = sdp(A.ip(), 4_200, 1, "").into();
    net.send(A, &invite);
    let to_alice = net.take(A);
    assert_eq!(methods(&to_alice), ["100", "200"]);
    let ends = Ends::caller(A, &invite, &to_alice[1]);
    let message = ack(&mut net, &ends, 1);
    net.send(A, &message);
    bye(&mut net, B);
    net.nothing_to(D);
    assert_eq!(net.media.open.len(), 2);
    // Bob hangs up the first call; alice and desk go on.
    let bye_b = net.in_dialog(&up.b, "BYE", 3);
    net.send(B, &bye_b);
    net.response_to(B, 200);
    bye(&mut net, A);
    let bye_a = net.in_dialog(&ends, "BYE", 2);
    net.send(A, &bye_a);
    net.response_to(A, 200);
    bye(&mut net, D);
    net.run_out();
}

#[test]
fn a_side_that_takes_no_refer_says_so() {
    let mut net = Net::with(passes);
    let up = call_up(&mut net);
    let asked = refer(&mut net, &up.b, 2, "<sip:500@x>");
    net.send(B, &asked);
    let passed = net.request_to(A, Method::Refer);
    assert!(!passed.headers.contains(&HeaderName::ReferredBy));
    net.send(A, &respond(A, &passed, 405, "", None));
    net.response_to(B, 405);
    take_down(&mut net, &up, 2);
}
