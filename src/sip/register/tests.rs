//! The machine of one registration, with its clock moved by hand and chance fixed.

use std::{net::SocketAddr, time::Duration};

use super::machine::{Outcome, Registration};
use crate::{base::Time, config::TrunkRegister};

const T0: Time = Time::from_secs(1_000);

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

fn rule(more: &str) -> TrunkRegister {
    toml::from_str(&format!("registrar = \"sip:192.0.2.1\"\naor = \"sip:1@example.com\"\n{more}")).unwrap()
}

fn fresh(rule: &TrunkRegister) -> Registration {
    Registration::new(rule, "c".into(), "t".into(), T0)
}

/// The least that chance gives, and the most.
fn least(_: u32) -> u32 {
    0
}

fn most(below: u32) -> u32 {
    below - 1
}

fn wait_ms(registration: &Registration, now: Time) -> u128 {
    registration.next_in(now).unwrap().as_millis()
}

#[test]
fn it_is_renewed_before_it_runs_out_at_a_time_of_its_own() {
    // RFC 3261 §10.2.4: before the expiration.
    let rule = rule("");
    for (draw, at_ms) in [(least as fn(u32) -> u32, 3_240_000), (most, 2_880_000)] {
        let mut one = fresh(&rule);
        one.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 3_600 }, &mut { draw });
        assert_eq!(wait_ms(&one, T0), at_ms);
        assert!(one.is_registered(T0 + Duration::from_secs(3_599)));
        assert!(!one.is_registered(T0 + Duration::from_secs(3_600)));
    }
}

#[test]
fn a_lifetime_of_seconds_does_not_make_a_flood() {
    let rule = rule("");
    let mut one = fresh(&rule);
    one.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 1 }, &mut most);
    assert_eq!(wait_ms(&one, T0), 5_000);
}

#[test]
fn failures_in_a_row_wait_longer_each_time() {
    // RFC 5626 §4.5: doubled up to a bound, of which chance takes half to all.
    let rule = rule("retry_s = 30\nretry_max_s = 200");
    let refused = Outcome::Unauthorized { status: 403, after: None };
    let waits = |draw: fn(u32) -> u32| -> Vec<u128> {
        let mut one = fresh(&rule);
        let mut waits = Vec::new();
        for _ in 0..40 {
            one.heard(T0, &rule, server(), refused, &mut { draw });
            waits.push(wait_ms(&one, T0));
        }
        waits
    };
    let (least, most) = (waits(least), waits(most));
    assert_eq!(least[..5], [15_000, 30_000, 60_000, 100_000, 100_000]);
    assert_eq!(most[..5], [30_000, 60_000, 120_000, 200_000, 200_000]);
    assert!(most.iter().all(|wait| *wait <= 200_000) && least[39] == 100_000);
}

#[test]
fn success_begins_the_count_anew() {
    let rule = rule("");
    let mut one = fresh(&rule);
    let refused = Outcome::Refused { status: 500, after: None };
    one.heard(T0, &rule, server(), refused, &mut most);
    one.heard(T0, &rule, server(), refused, &mut most);
    one.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 100 }, &mut most);
    one.heard(T0, &rule, server(), refused, &mut most);
    assert_eq!(wait_ms(&one, T0), 30_000);
    // What was bound stays bound until it runs out.
    assert!(one.is_registered(T0 + Duration::from_secs(99)));
}

#[test]
fn too_brief_asks_for_more_at_once_and_once() {
    // RFC 3261 §10.2.8.
    let rule = rule("expires_s = 60");
    let mut one = fresh(&rule);
    one.heard(T0, &rule, server(), Outcome::TooBrief { min_s: 1_800 }, &mut least);
    assert_eq!((wait_ms(&one, T0), one.expires_s()), (0, 1_800));
    one.heard(T0, &rule, server(), Outcome::TooBrief { min_s: 1_801 }, &mut least);
    assert_eq!((wait_ms(&one, T0), one.expires_s()), (15_000, 1_800));
    // What was demanded is asked for from then on.
    one.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 1_800 }, &mut least);
    assert_eq!(one.expires_s(), 1_800);
    // A demand for no more than was asked makes no sense, nor one for ever.
    for min_s in [1_800, 604_801] {
        one.heard(T0, &rule, server(), Outcome::TooBrief { min_s }, &mut least);
        assert_eq!(one.expires_s(), 1_800);
        assert!(wait_ms(&one, T0) > 0);
    }
}

#[test]
fn a_server_that_takes_nothing_gives_way_to_the_next_of_the_round() {
    let rule = rule("");
    let mut one = fresh(&rule);
    let other = SocketAddr::from(([192, 0, 2, 2], 5060));
    one.heard(T0, &rule, server(), Outcome::Busy { after: Some(Duration::from_secs(90)) }, &mut least);
    assert!(one.has_tried(server()) && !one.has_tried(other));
    assert_eq!(wait_ms(&one, T0), 0);
    one.heard(T0, &rule, other, Outcome::Silent, &mut least);
    assert!(one.has_tried(other));
    // RFC 3261 §20.33: who asked to be left alone for so long is.
    one.exhausted(T0, &rule, &mut least);
    assert_eq!(wait_ms(&one, T0), 90_000);
    assert!(!one.has_tried(server()) && !one.has_tried(other));
    one.heard(T0, &rule, server(), Outcome::Unreachable, &mut least);
    one.exhausted(T0, &rule, &mut least);
    assert_eq!(wait_ms(&one, T0), 30_000);
}

#[test]
fn nobody_is_left_alone_for_ever() {
    let rule = rule("");
    let mut one = fresh(&rule);
    let after = Some(Duration::from_secs(u64::from(u32::MAX)));
    one.heard(T0, &rule, server(), Outcome::Refused { status: 600, after }, &mut least);
    assert_eq!(wait_ms(&one, T0), 86_400_000);
}

#[test]
fn who_binds_nothing_has_refused() {
    let rule = rule("");
    let mut one = fresh(&rule);
    one.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 0 }, &mut least);
    assert!(!one.is_registered(T0));
    assert_eq!(wait_ms(&one, T0), 15_000);
}

#[test]
fn leaving_takes_back_what_is_bound_and_nothing_else() {
    let rule = rule("");
    let deadline = T0 + Duration::from_secs(600);
    let mut never = fresh(&rule);
    assert!(never.leave(T0, deadline).is_none());
    assert!(never.is_over() && !never.is_due(T0));
    let mut bound = fresh(&rule);
    bound.heard(T0, &rule, server(), Outcome::Accepted { expires_s: 100 }, &mut least);
    bound.leave(T0, deadline);
    assert!(bound.is_due(T0) && !bound.is_registered(T0));
    assert_eq!(bound.expires_s(), 0);
    // Whatever comes back, it is over; and without anything after 4 s.
    let mut silent = bound.clone();
    bound.heard(T0, &rule, server(), Outcome::Refused { status: 500, after: None }, &mut least);
    assert!(bound.is_over() && bound.next_deadline().is_none());
    silent.gives_up(T0 + Duration::from_millis(3_999));
    assert!(!silent.is_over());
    silent.gives_up(T0 + Duration::from_secs(4));
    assert!(silent.is_over());
}
