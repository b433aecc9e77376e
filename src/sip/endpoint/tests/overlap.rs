//! Several calls and attempts at once do not touch each other.

use super::harness::*;
use crate::sip::message::{Message, Method};

#[test]
fn two_calls_of_one_caller_are_two_calls() {
    let mut net = Net::new();
    let first = net.invite(A, "101");
    let second = net.invite(A, "102");
    net.send(A, &first);
    net.send(A, &second);
    assert_eq!(net.take(A).len(), 2);
    let invites: Vec<Message> = net.take(B);
    assert_eq!(invites.len(), 2);
    assert_ne!(invites[0].call_id(), invites[1].call_id());
    assert_ne!(invites[0].top_via().unwrap().branch(), invites[1].top_via().unwrap().branch());
    net.send(B, &respond(B, &invites[1], 200, "tag-2", Some(6_002)));
    assert_eq!(net.request_to(B, Method::Ack).call_id(), invites[1].call_id());
    let ok = net.response_to(A, 200);
    assert_eq!(ok.call_id(), second.call_id());
    net.send(B, &respond(B, &invites[0], 486, "tag-1", None));
    assert_eq!(net.response_to(A, 486).call_id(), first.call_id());
    assert_eq!(net.endpoint.in_progress(), 1);
    assert_eq!(net.media.open.len(), 1);
}

#[test]
fn tags_branches_and_call_ids_differ_by_seed_and_from_each_other() {
    let mut seen = std::collections::HashSet::new();
    let mut net = Net::new();
    for _ in 0..20 {
        let invite = net.invite(A, "100");
        net.send(A, &invite);
    }
    for invite in net.take(B) {
        let branch = invite.top_via().unwrap().branch().unwrap().to_owned();
        assert!(branch.len() >= 7 + 32, "128 random bits: {branch}");
        assert!(seen.insert(branch));
        assert!(seen.insert(invite.call_id().unwrap().to_owned()));
        assert!(seen.insert(invite.from().unwrap().tag().unwrap().to_owned()));
    }
    assert_eq!(seen.len(), 60);
}
