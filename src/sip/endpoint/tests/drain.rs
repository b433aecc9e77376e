//! Draining: no new calls, those in progress go on until the deadline.

use std::time::Duration;

use super::harness::*;
use crate::sip::{
    endpoint::{Cause, EndedBy},
    message::{HeaderName, Method},
};

#[test]
fn calls_in_progress_go_on_until_the_deadline() {
    let mut net = Net::new();
    let _up = call_up(&mut net);
    let ringing = net.invite(A, "100");
    net.send(A, &ringing);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b2-tag", None));
    net.response_to(A, 180);
    assert!(!net.endpoint.is_drained());
    net.endpoint.drain(net.now, net.now + Duration::from_secs(30), &mut net.media);
    net.collect();
    let late = net.invite(A, "100");
    net.send(A, &late);
    assert!(net.response_to(A, 503).headers.contains(&HeaderName::RetryAfter));
    assert_eq!(net.the_record().cause, Cause::Draining);
    net.pass(29_999);
    assert_eq!(net.endpoint.in_progress(), 2);
    net.take(A);
    assert_eq!(net.take(B).len(), 0);
    net.pass(1);
    assert_eq!(net.endpoint.in_progress(), 0);
    let to_a = net.take(A);
    assert!(to_a.iter().any(|m| m.status() == Some(503)) && to_a.iter().any(|m| m.method() == Some(&Method::Bye)));
    let to_b = net.take(B);
    assert!(to_b.iter().any(|m| m.method() == Some(&Method::Cancel)));
    assert!(to_b.iter().any(|m| m.method() == Some(&Method::Bye)));
    assert!(!net.endpoint.is_drained(), "the BYEs are not answered yet");
    for (peer, messages) in [(A, to_a), (B, to_b)] {
        for bye in messages.iter().filter(|m| m.method() == Some(&Method::Bye)) {
            net.send(peer, &respond(peer, bye, 200, "", None));
        }
    }
    assert!(net.endpoint.is_drained());
    assert!(net.records.iter().all(|r| (r.cause, r.ended_by) == (Cause::Drained, EndedBy::Tandem)));
    assert_eq!(net.records.len(), 2);
    net.run_out();
}

#[test]
fn without_calls_it_is_drained_at_once_and_peers_still_get_options() {
    let mut net = Net::new();
    net.endpoint.drain(net.now, net.now + Duration::from_secs(600), &mut net.media);
    assert!(net.endpoint.is_drained());
    assert_eq!(net.endpoint.next_deadline(), None, "nothing wakes it for an empty table");
    let text = String::from_utf8(net.invite(A, "100").write()).unwrap().replace("INVITE", "OPTIONS");
    net.send_bytes(Net::udp(A), text.as_bytes());
    net.response_to(A, 200);
}
