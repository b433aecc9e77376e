//! Which destination of a trunk gets a call: the policies in whole calls.

use std::net::SocketAddr;

use super::harness::*;
use crate::{
    config::{Policy, TrunkDestination},
    sip::message::Method,
};

const THIRD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 1, 4)), 5060);

fn three(policy: Policy, weights: [u16; 3]) -> Net {
    Net::with(|config| {
        let uris = ["sip:198.18.1.2", "sip:198.18.1.3:5060", "sip:198.18.1.4"];
        let weigh = |(uri, weight)| TrunkDestination { weight, ..TrunkDestination::from(uri) };
        config.trunks[1].destinations = uris.into_iter().zip(weights).map(weigh).collect();
        config.trunks[1].policy = policy;
        config.sip.max_calls = 1_000;
    })
}

/// Alice calls; whoever is called first keeps ringing.
fn first_asked(net: &mut Net) -> SocketAddr {
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.take(A);
    for peer in [B, B2, THIRD] {
        if let Some(invite) = net.take(peer).into_iter().find(|m| m.method() == Some(&Method::Invite)) {
            net.send(peer, &respond(peer, &invite, 180, "tag", None));
            net.take(A);
            return peer;
        }
    }
    panic!("nobody was called");
}

#[test]
fn each_in_turn() {
    let mut net = three(Policy::RoundRobin, [1; 3]);
    let asked: Vec<_> = (0..7).map(|_| first_asked(&mut net)).collect();
    assert_eq!(asked, [B, B2, THIRD, B, B2, THIRD, B]);
}

#[test]
fn the_one_with_the_fewest_calls() {
    let mut net = three(Policy::LeastCalls, [1, 1, 2]);
    for _ in 0..40 {
        first_asked(&mut net);
    }
    let calls: Vec<u32> = net.endpoint.trunks(net.now)[1].destinations.iter().map(|to| to.calls).collect();
    assert_eq!(calls, [10, 10, 20]);
    // Those at the second hang up: it gets the next ones.
    let ids: Vec<_> = net.endpoint.calls().map(|call| call.id).collect();
    for id in ids {
        if net.endpoint.call(id).unwrap().legs[1].source == B2 {
            net.endpoint.hang_up(net.now, id, &mut net.media);
            net.collect();
        }
    }
    net.sent.clear();
    assert_eq!([first_asked(&mut net), first_asked(&mut net)], [B2, B2]);
}

#[test]
fn weights_over_many_calls() {
    let mut net = three(Policy::Weighted, [0, 1, 3]);
    let mut asked = [0; 3];
    for _ in 0..400 {
        let peer = first_asked(&mut net);
        asked[[B, B2, THIRD].iter().position(|p| *p == peer).unwrap()] += 1;
    }
    // RFC 2782: one of five draws each for weights 0 and 1, three for weight 3.
    assert!((50..110).contains(&asked[0]) && (50..110).contains(&asked[1]), "{asked:?}");
    assert!((200..280).contains(&asked[2]), "{asked:?}");
}

#[test]
fn the_next_priority_only_after_the_first() {
    let mut net = three(Policy::RoundRobin, [1; 3]);
    let mut config = (*net.endpoint.core.config).clone();
    config.trunks[1].destinations[0].priority = 5;
    net = Net::with(|c| *c = config);
    let asked: Vec<_> = (0..4).map(|_| first_asked(&mut net)).collect();
    assert_eq!(asked, [B2, THIRD, B2, THIRD]);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    for peer in [B2, THIRD] {
        let asked = net.request_to(peer, Method::Invite);
        net.send(peer, &respond(peer, &asked, 503, "tag", None));
        net.take(peer);
    }
    net.request_to(B, Method::Invite);
}
