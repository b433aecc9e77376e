//! OPTIONS to destinations: sent in time, counted with hysteresis, and what calls make of it.

use std::sync::Arc;

use super::harness::*;
use crate::{
    base::Time,
    config::Config,
    sip::{
        endpoint::Endpoint,
        message::{HeaderName, Method},
    },
};

fn asked(config: &mut Config) {
    config.trunks[1].health = Some(toml::from_str("interval_s = 10\nup_after = 2\ndown_after = 3").unwrap());
}

fn ups(net: &Net) -> Vec<Option<bool>> {
    net.endpoint.trunks(net.now)[1].destinations.iter().map(|to| to.up).collect()
}

/// Answers what is asked, or not; one interval passes.
fn interval(net: &mut Net, b: Option<u16>, b2: Option<u16>) {
    net.pass(10_000);
    for (peer, status) in [(B, b), (B2, b2)] {
        for options in net.take(peer) {
            assert!(matches!(options.method(), Some(Method::Options)), "{options:#?}");
            if let Some(status) = status {
                net.send(peer, &respond(peer, &options, status, "o", None));
            }
        }
    }
}

#[test]
fn the_options_are_whole_requests_spread_over_the_interval() {
    let mut net = Net::with(asked);
    net.pass(0);
    let options = net.request_to(B, Method::Options);
    net.nothing_to(B2);
    assert_eq!(options.uri().unwrap().to_string(), "sip:198.18.1.2");
    assert_eq!(header(&options, HeaderName::Accept), "application/sdp");
    assert_eq!(header(&options, HeaderName::MaxForwards), "70");
    assert_eq!(options.cseq().unwrap().method, Method::Options);
    net.send(B, &respond(B, &options, 200, "o", None));
    net.pass(4_999);
    net.nothing_to(B2);
    net.pass(1);
    net.request_to(B2, Method::Options);
    net.pass(4_999);
    net.nothing_to(B);
    net.pass(1);
    let again = net.request_to(B, Method::Options);
    assert_ne!(again.call_id(), options.call_id());
    assert_eq!(ups(&net), [Some(true), None]);
}

#[test]
fn three_failures_take_it_down_and_two_answers_bring_it_up() {
    let mut net = Net::with(asked);
    // The first destination never answers; the second refuses, and so lives.
    for expected in [true, true, false] {
        interval(&mut net, None, Some(405));
        assert_eq!(ups(&net), [Some(expected), Some(true)]);
    }
    assert!(net.notes.iter().any(|n| n == "destination sip:198.18.1.2 of trunk carrier is down: no answer"));
    // Calls pass it over.
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.request_to(B2, Method::Invite);
    net.nothing_to(B);
    net.fail(Net::udp(B2));
    assert_eq!(net.take(A).last().unwrap().status(), Some(503));
    for expected in [false, false, true] {
        assert_eq!(ups(&net)[0], Some(expected));
        interval(&mut net, Some(200), Some(200));
    }
    assert!(net.notes.iter().any(|n| n == "destination sip:198.18.1.2 of trunk carrier is up: answered 200"));
    let view = &net.endpoint.trunks(net.now)[1].destinations[0];
    assert_eq!(view.changes, [1, 1]);
}

#[test]
fn when_all_are_down_all_are_tried() {
    let mut net = Net::with(asked);
    for _ in 0..5 {
        interval(&mut net, None, None);
    }
    assert_eq!(ups(&net), [Some(false), Some(false)]);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.request_to(B, Method::Invite);
    // Another trunk of the route that is not known to be down goes first.
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    net.nothing_to(B);
    net.request_to(C, Method::Invite);
}

#[test]
fn an_icmp_error_is_a_failure_at_once_and_success_can_be_asked_for() {
    let mut net = Net::with(|config| {
        config.trunks[1].health = Some(toml::from_str("interval_s = 10\ndown_after = 1\nalive = \"success\"").unwrap());
    });
    net.pass(0);
    net.fail(Net::udp(B));
    assert_eq!(ups(&net), [Some(false), None]);
    net.pass(5_000);
    let options = net.request_to(B2, Method::Options);
    net.send(B2, &respond(B2, &options, 404, "o", None));
    assert_eq!(ups(&net), [Some(false), Some(false)]);
}

#[test]
fn a_new_host_knows_what_was_known_and_goes_on_asking() {
    let mut net = Net::with(asked);
    for _ in 0..5 {
        interval(&mut net, None, Some(200));
    }
    let saved = net.endpoint.save(net.now);
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    asked(&mut config);
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    assert_eq!(ups(&net), [Some(false), Some(true)]);
    for _ in 0..3 {
        interval(&mut net, Some(200), Some(200));
    }
    assert_eq!(ups(&net), [Some(true), Some(true)]);
    // A configuration that asks nobody knows nothing.
    let saved = net.endpoint.save(net.now);
    let plain = Arc::new(toml::from_str(CONFIG).unwrap());
    net.endpoint = Endpoint::from_shadow(plain, [10; 32], net.now, EPOCH_MS, &saved);
    assert_eq!(ups(&net), [None, None]);
    net.run_out();
}

#[test]
fn a_drain_ends_the_asking() {
    let mut net = Net::with(asked);
    net.pass(15_000);
    net.endpoint.drain(net.now, net.now + std::time::Duration::from_secs(1), &mut net.media);
    net.collect();
    net.run_out();
}
