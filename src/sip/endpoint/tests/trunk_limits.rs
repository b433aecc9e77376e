//! Limits of a trunk: 503 with Retry-After for the caller, the next trunk for a call that would go there; counts that
//! go with their calls.

use std::sync::Arc;

use super::harness::*;
use crate::{
    base::Time,
    sip::{
        endpoint::{Cause, Endpoint},
        message::{HeaderName, Method},
        trunk::Direction,
    },
};

fn limited(trunk: usize, limits: &str) -> Net {
    let limits = toml::from_str(limits).unwrap();
    Net::with(move |config| config.trunks[trunk].limits = limits)
}

fn calls(net: &Net, trunk: &str) -> [u32; 2] {
    let state = net.endpoint.core.live.trunks.get(trunk).unwrap();
    Direction::BOTH.map(|direction| state.calls(direction))
}

#[test]
fn a_caller_over_its_calls_is_told_when_to_come_again() {
    let mut net = limited(0, "max_calls_in = 1");
    let up = call_up(&mut net);
    assert_eq!((calls(&net, "alice"), calls(&net, "carrier")), ([1, 0], [0, 1]));
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let refused = net.response_to(A, 503);
    assert_eq!(header(&refused, HeaderName::RetryAfter), "10");
    assert_eq!(net.the_record().cause, Cause::Limit);
    net.nothing_to(B);
    // A call from the carrier to nobody of alice's is not hers.
    let invite = net.invite(B, "123");
    net.send(B, &invite);
    net.request_to(C, Method::Invite);
    // Room again as soon as the call is over.
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye);
    net.take(A);
    assert_eq!(calls(&net, "alice"), [0, 0]);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
    let view = net.endpoint.trunks(net.now);
    assert_eq!(view[0].refused[0], (Direction::In, "max_calls", 1));
    net.pass(300_000);
    net.run_out();
}

#[test]
fn a_caller_over_its_rate_waits_for_the_next_second() {
    let mut net = limited(0, "calls_per_second_in = 1\nburst = 2");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let invite = net.invite(A, "100");
        net.send(A, &invite);
        statuses.push(net.take(A).pop().unwrap());
    }
    assert_eq!(statuses.iter().map(|m| m.status().unwrap()).collect::<Vec<_>>(), [100, 100, 503]);
    assert_eq!(header(&statuses[2], HeaderName::RetryAfter), "1");
    net.pass(1_000);
    net.take(A);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
    net.run_out();
}

#[test]
fn a_trunk_at_its_limit_is_passed_over_for_the_next() {
    // Route 3… goes to the carrier, then to the back-up.
    let mut net = limited(1, "max_calls_out = 1");
    call_up(&mut net);
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    net.response_to(A, 100);
    net.nothing_to(B);
    net.nothing_to(B2);
    net.request_to(C, Method::Invite);
    assert_eq!((calls(&net, "carrier"), calls(&net, "backup")), ([0, 1], [0, 1]));
    // Route 1… has the carrier alone.
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let refused = net.take(A).pop().unwrap();
    assert_eq!((refused.status(), header(&refused, HeaderName::RetryAfter)), (Some(503), "10".into()));
    let record = net.records.pop().unwrap();
    assert_eq!((record.cause, record.attempts.len()), (Cause::Limit, 0));
    let refused = &net.endpoint.trunks(net.now)[1].refused;
    assert_eq!(refused[2], (Direction::Out, "max_calls", 2));
}

#[test]
fn the_second_destination_of_a_trunk_is_not_a_second_call() {
    let mut net = limited(1, "max_calls = 1");
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let first = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &first, 503, "b-tag", None));
    net.request_to(B2, Method::Invite);
    assert_eq!(calls(&net, "carrier"), [0, 1]);
    net.pass(5_000);
    net.run_out();
}

#[test]
fn each_destination_tried_is_one_of_the_rate() {
    let mut net = limited(1, "calls_per_second_out = 1\nburst = 1");
    let invite = net.invite(A, "300");
    net.send(A, &invite);
    let first = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &first, 503, "b-tag", None));
    net.nothing_to(B2);
    net.request_to(C, Method::Invite);
    net.run_out();
}

#[test]
fn limits_hold_over_a_take_over() {
    let limits = "max_calls_in = 2\ncalls_per_second_in = 1\nburst = 2";
    let mut net = limited(0, limits);
    let up = call_up(&mut net);
    net.pass(5_000);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.take(A);
    let saved = net.endpoint.save(net.now);
    let mut config: crate::config::Config = toml::from_str(CONFIG).unwrap();
    config.trunks[0].limits = toml::from_str(limits).unwrap();
    net.now = Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    assert_eq!((calls(&net, "alice"), calls(&net, "carrier")), ([2, 0], [0, 2]), "counted from the calls");
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    assert_eq!(net.take(A).pop().unwrap().status(), Some(503));
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye);
    net.take(A);
    // One of the burst is left; after it the rate goes on where it was.
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
    let id = net.endpoint.calls().next().unwrap().id;
    net.endpoint.hang_up(net.now, id, &mut net.media);
    net.collect();
    net.take(A);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    assert_eq!(header(&net.response_to(A, 503), HeaderName::RetryAfter), "1");
    net.run_out();
}
