//! A provider that must be asked for the addresses and knows who has them.

use super::rig::{A, B, Rig, settings};
use crate::ha::{
    heartbeat::Role,
    provider::{Floating, Place, Places, ProviderError},
    role::{Answer, Ask, ProviderKind, Reason, Settings, Wish},
};

fn witnessed(at: usize) -> Settings {
    Settings { provider: ProviderKind { claims: true, witness: true }, ..settings(at) }
}

fn places(place: Place) -> Places {
    vec![(Floating { name: "f".into(), local: [192, 0, 2, 1].into(), advertise: None }, place)]
}

fn here() -> Answer {
    Answer::Confirmed(Ok(places(Place::Here)))
}

fn elsewhere() -> Answer {
    Answer::Confirmed(Ok(places(Place::Elsewhere("i-other".into()))))
}

fn lost() -> ProviderError {
    ProviderError::Unreachable("no answer".into())
}

/// B active, A a ready standby; the provider has answered all.
fn settled() -> Rig {
    let mut rig = Rig::with(witnessed);
    rig.run(500);
    assert_eq!(rig.role(B), Role::Claiming);
    rig.answer(B, Answer::Claimed(Ok(())));
    rig.run(1);
    rig.answer(B, here());
    rig.run(100);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    rig.tell(A, |machine, now| machine.synced(now, true));
    rig.answer(A, Answer::Rehearsed(Ok(())));
    rig.run(50);
    rig.hosts.iter_mut().for_each(|host| (host.asks.clear(), host.orders.clear()).0);
    rig
}

#[test]
fn a_standby_claims_confirms_and_only_then_transmits() {
    let mut rig = settled();
    rig.kill(B);
    rig.until(A, Role::Claiming, 100);
    assert!(matches!(rig.hosts[A].asks[..], [Ask::Claim(_)]), "{:?}", rig.hosts[A].asks);
    rig.run(500);
    assert!(!rig.transmits(A));
    rig.answer(A, Answer::Claimed(Ok(())));
    assert_eq!(rig.hosts[A].asks.last(), Some(&Ask::Confirm));
    assert_eq!(rig.role(A), Role::Claiming);
    rig.answer(A, here());
    assert_eq!(rig.role(A), Role::Active);
    assert!(rig.transmits(A));
}

#[test]
fn a_claim_whose_addresses_went_elsewhere_yields() {
    let mut rig = settled();
    rig.kill(B);
    rig.until(A, Role::Claiming, 100);
    rig.answer(A, Answer::Claimed(Ok(())));
    // The API tells late of what it did: once is not enough.
    rig.answer(A, elsewhere());
    assert_eq!(rig.role(A), Role::Claiming);
    rig.run(5_000);
    rig.answer(A, elsewhere());
    assert_eq!(rig.role(A), Role::Standby);
    rig.run(50_000);
    assert_eq!(rig.role(A), Role::Standby, "it does not grab back at once");
    rig.until(A, Role::Claiming, 11_000);
}

#[test]
fn a_claim_that_fails_is_tried_again() {
    let mut rig = settled();
    rig.kill(B);
    rig.until(A, Role::Claiming, 100);
    rig.answer(A, Answer::Claimed(Err(lost())));
    rig.run(900);
    assert_eq!(rig.hosts[A].asks.len(), 1);
    rig.run(200);
    assert_eq!(rig.hosts[A].asks.len(), 2);
}

#[test]
fn an_active_that_lost_its_peer_looks_every_second_and_stops_when_the_addresses_are_gone() {
    let mut rig = settled();
    rig.run(5_100);
    assert_eq!(rig.hosts[B].asks, [Ask::Confirm], "as long as it hears its peer it asks now and then");
    rig.answer(B, here());
    rig.hosts[B].asks.clear();
    rig.hosts[A].heard = false;
    rig.run(1_000);
    assert_eq!(rig.hosts[B].asks, [Ask::Confirm]);
    rig.answer(B, here());
    rig.run(1_100);
    assert_eq!(rig.hosts[B].asks.len(), 2);
    rig.answer(B, elsewhere());
    assert_eq!(rig.stops(B, Reason::AddressesGone), 1, "the claim was seven seconds ago");
    assert!(!rig.transmits(B));
    rig.run(30_000);
    assert!(!rig.transmits(B), "it does not grab back");
}

#[test]
fn an_active_that_lost_its_peer_and_the_api_goes_on() {
    let mut rig = settled();
    rig.kill(A);
    for _ in 0..10 {
        rig.run(1_100);
        rig.answer(B, Answer::Confirmed(Err(lost())));
    }
    assert!(rig.transmits(B));
    assert_eq!(rig.hosts[B].machine.counters().unconfirmed, 10);
}

#[test]
fn a_sleeper_that_hears_nobody_asks_the_witness_first() {
    let mut rig = settled();
    rig.kill(A);
    rig.run(200);
    rig.answer(B, here());
    rig.hosts[B].asleep = true;
    rig.run(6_000);
    rig.hosts[B].asleep = false;
    rig.run(500);
    assert!(!rig.transmits(B));
    rig.answer(B, elsewhere());
    assert_eq!(rig.stops(B, Reason::AddressesGone), 1);
}

#[test]
fn a_standby_is_ready_only_if_a_rehearsal_succeeded_lately() {
    let mut rig = settled();
    let ready = |rig: &Rig| rig.hosts[A].machine.view(rig.now()).ready;
    assert!(ready(&rig));
    rig.run(30_000);
    assert!(rig.hosts[A].asks.contains(&Ask::Rehearse));
    rig.answer(
        A,
        Answer::Rehearsed(Err(ProviderError::Refused {
            what: "not allowed".into(),
            missing: Some("ec2:AssignPrivateIpAddresses".into()),
        })),
    );
    assert!(!ready(&rig));
    let view = rig.hosts[A].machine.view(rig.now());
    assert_eq!(view.rehearsal.as_deref(), Some("not allowed (the permission ec2:AssignPrivateIpAddresses is missing)"));
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    assert_eq!(rig.role(B), Role::Active);
    // It does not wait as long for the next one as after one that succeeded.
    let rehearsals = |rig: &Rig| rig.hosts[A].asks.iter().filter(|ask| **ask == Ask::Rehearse).count();
    let before = rehearsals(&rig);
    rig.run(5_000);
    assert_eq!(rehearsals(&rig), before + 1);
    rig.answer(A, Answer::Rehearsed(Ok(())));
    rig.run(50);
    assert!(ready(&rig));
    rig.run(29_000);
    assert_eq!(rehearsals(&rig), before + 1);
}

#[test]
fn a_claim_that_cannot_be_taken_back_asks_the_peer_that_is_heard_again_to_stop() {
    let mut rig = settled();
    rig.hosts[B].heard = false;
    rig.hosts[A].heard = false;
    rig.until(A, Role::Claiming, 100);
    (rig.hosts[A].heard, rig.hosts[B].heard) = (true, true);
    rig.run(50);
    // It is not known yet whether the addresses move.
    assert!(rig.transmits(B));
    rig.answer(A, Answer::Claimed(Ok(())));
    rig.run(2);
    // They do: the peer lets it, and transmits no more.
    assert!(!rig.transmits(B) && !rig.transmits(A));
    rig.answer(A, here());
    rig.run(50);
    assert_eq!(rig.roles(), [Role::Active, Role::Standby]);
}

#[test]
fn a_claim_that_may_have_moved_nothing_is_given_up_when_the_peer_is_heard() {
    let mut rig = settled();
    rig.hosts[B].heard = false;
    rig.hosts[A].heard = false;
    rig.until(A, Role::Claiming, 100);
    (rig.hosts[A].heard, rig.hosts[B].heard) = (true, true);
    rig.run(50);
    rig.answer(A, Answer::Claimed(Err(lost())));
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    // What became of it is for the active host to find out, which takes the addresses back.
    rig.run(6_000);
    rig.answer(B, elsewhere());
    assert!(rig.hosts[B].asks.iter().any(|ask| matches!(ask, Ask::Claim(_))), "{:?}", rig.hosts[B].asks);
    assert!(rig.transmits(B));
}

#[test]
fn a_host_whose_claim_fails_is_not_let_again_at_once() {
    let mut rig = settled();
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    rig.until(A, Role::Claiming, 50);
    rig.tell(B, |machine, now| machine.fit(now, Ok(())));
    rig.answer(A, Answer::Claimed(Err(lost())));
    rig.until(B, Role::Claiming, 100);
    assert_eq!(rig.role(A), Role::Standby);
    assert!(matches!(rig.hosts[B].asks.last(), Some(Ask::Claim(_))), "{:?}", rig.hosts[B].asks);
}

#[test]
fn what_the_api_says_of_a_late_claim_is_believed_the_second_time() {
    let mut rig = settled();
    rig.kill(B);
    rig.until(A, Role::Claiming, 100);
    rig.answer(A, Answer::Claimed(Ok(())));
    rig.answer(A, here());
    rig.run(1_000);
    // Once: an answer of a server that does not know of the claim yet.
    rig.answer(A, elsewhere());
    assert!(rig.transmits(A));
    rig.hosts[A].asks.clear();
    rig.run(120);
    assert_eq!(rig.hosts[A].asks, [Ask::Confirm]);
    rig.answer(A, elsewhere());
    assert_eq!(rig.stops(A, Reason::AddressesGone), 1);
}

/// Found by the simulation: neither went on, each waiting for the other.
#[test]
fn a_claim_of_a_host_that_had_not_heard_of_a_higher_generation_is_given_up() {
    let mut rig = settled();
    // A starts anew, its disk lost, and hears nobody; B's generation is as high as the one that A chooses, and B outranks it.
    rig.kill(A);
    (rig.hosts[A].heard, rig.hosts[B].heard) = (false, false);
    rig.hosts[A].written = 0;
    rig.start(A);
    rig.until(A, Role::Claiming, 1_100);
    assert!(rig.generation(A) < rig.generation(B));
    rig.answer(A, Answer::Claimed(Ok(())));
    (rig.hosts[A].heard, rig.hosts[B].heard) = (true, true);
    rig.run(100);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert!(rig.transmits(B));
}
