//! Who becomes active and who stops, with hosts that are awake.

use super::rig::{A, B, Rig, settings};
use crate::ha::{
    heartbeat::Role,
    role::{Cause, Order, Reason, Settings, Wish},
};

#[test]
fn of_two_that_start_at_once_one_is_active() {
    let mut rig = Rig::down(settings);
    rig.start(A);
    rig.start(B);
    for _ in 0..3_000 {
        rig.run(1);
        assert!(!(rig.transmits(A) && rig.transmits(B)), "{} ms", rig.ms);
    }
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert_eq!(rig.takeovers(B, Cause::Elected), 1);
}

#[test]
fn a_host_alone_is_active_after_a_second_and_counted() {
    let mut rig = Rig::down(settings);
    rig.start(A);
    rig.run(999);
    assert_eq!(rig.role(A), Role::Starting);
    rig.run(21);
    assert_eq!(rig.role(A), Role::Active);
    assert_eq!(rig.takeovers(A, Cause::Alone), 1);
    assert!(rig.transmits(A));
}

#[test]
fn a_host_that_is_not_fit_is_not_active_alone_either() {
    let mut rig = Rig::down(settings);
    rig.start(A);
    rig.tell(A, |machine, now| machine.fit(now, Err("no link".into())));
    rig.run(5_000);
    assert_eq!(rig.role(A), Role::Faulted);
    rig.tell(A, |machine, now| machine.fit(now, Ok(())));
    assert_eq!(rig.role(A), Role::Active);
}

#[test]
fn a_silent_active_is_succeeded_within_a_hundred_milliseconds() {
    let mut rig = Rig::settled();
    rig.kill(B);
    let took = rig.until(A, Role::Active, 1_000);
    // Four intervals of 20 ms and half of one, from the last heartbeat, which was up to 20 ms earlier.
    assert!((70..=90).contains(&took), "{took}");
    let Order::Activate { cause, last_heard, detected_at, .. } = &rig.hosts[A].orders[0] else { panic!() };
    assert_eq!((*cause, detected_at.since(*last_heard).as_millis()), (Cause::Silence, 90));
    assert_eq!(rig.generation(A).to_string(), "2/a");
}

#[test]
fn a_standby_that_lost_its_connection_succeeds_a_silent_active_with_what_it_has() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.whole(now, true));
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.kill(B);
    rig.until(A, Role::Active, 100);
}

#[test]
fn a_standby_without_the_calls_gives_a_silent_active_a_second_to_wake() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.hosts[B].asleep = true;
    rig.run(900);
    assert_eq!(rig.role(A), Role::Standby);
    rig.hosts[B].asleep = false;
    rig.run(100);
    assert!(rig.transmits(B), "it goes on with its calls");
    rig.kill(B);
    let took = rig.until(A, Role::Active, 1_100);
    assert!((980..=1_020).contains(&took), "{took}");
}

#[test]
fn of_two_that_are_passive_the_one_with_the_calls_becomes_active() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.whole(now, true));
    rig.kill(B);
    // It has noticed that the connection is gone, and B is back before it takes over.
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.run(5);
    rig.start(B);
    rig.until(A, Role::Active, 100);
    assert_eq!((rig.takeovers(A, Cause::Handover), rig.takeovers(B, Cause::Elected)), (1, 0));
}

#[test]
fn a_hold_down_ends_where_the_calls_would() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    rig.until(A, Role::Active, 50);
    rig.tell(B, |machine, now| machine.fit(now, Ok(())));
    rig.tell(B, |machine, now| machine.whole(now, true));
    rig.run(100);
    // A, active last, is back before its silence tells, without a call.
    rig.kill(A);
    rig.start(A);
    rig.until(B, Role::Active, 100);
    assert_eq!((rig.takeovers(B, Cause::Handover), rig.role(A)), (1, Role::Standby));
}

#[test]
fn a_switchover_is_not_taken_by_a_process_that_started_since() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    // The new process has none of the calls, and is heard before the silence of the old one tells.
    rig.kill(A);
    rig.start(A);
    rig.tell(B, |machine, now| machine.prepared(now));
    rig.until(B, Role::Active, 100);
    rig.run(3_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert_eq!(rig.hosts[B].orders, [Order::Prepare, Order::Drain, Order::Resume]);
}

#[test]
fn a_standby_that_hears_a_fit_active_never_takes_over() {
    let mut rig = Rig::settled();
    rig.run(600_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    // Nor is anything said to it by what it sends itself not being heard.
    rig.hosts[A].heard = false;
    rig.run(10_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
}

#[test]
fn nothing_is_sent_before_the_generation_is_on_disk() {
    let mut rig = Rig::settled_without_disk();
    let view = rig.hosts[A].machine.view(rig.now());
    assert!(!view.ready && view.disk.as_deref() == Some("no space"), "{view:?}");
    rig.kill(B);
    rig.run(5_000);
    assert_eq!(rig.role(A), Role::Claiming);
    assert!(!rig.transmits(A));
    rig.hosts[A].disk = true;
    rig.until(A, Role::Active, 1_100);
    assert_eq!(rig.hosts[A].written, 2);
}

#[test]
fn a_takeover_does_not_wait_for_the_disk() {
    let mut rig = Rig::settled();
    assert!(rig.hosts[A].machine.view(rig.now()).ready);
    rig.hosts[A].disk = false;
    rig.kill(B);
    rig.until(A, Role::Active, 110);
    assert_eq!((rig.generation(A).number, rig.hosts[A].written), (2, 2), "reserved while it was a standby");
}

#[test]
fn a_claim_that_waits_gives_way_to_the_host_with_the_calls() {
    let mut rig = Rig::down(settings);
    rig.hosts[B].disk = false;
    rig.start(A);
    rig.start(B);
    rig.tell(A, |machine, now| {
        machine.whole(now, true);
        machine.fit(now, Err("a link is down".into()));
    });
    rig.until(B, Role::Claiming, 2_000);
    rig.tell(A, |machine, now| machine.fit(now, Ok(())));
    rig.until(A, Role::Active, 300);
    rig.hosts[B].disk = true;
    rig.run(2_000);
    assert_eq!(rig.roles(), [Role::Active, Role::Standby]);
    assert_eq!(rig.hosts[B].machine.counters().abandoned, 1);
}

/// What is reserved is used once at most: the process that starts again does not know whether it was.
#[test]
fn a_generation_that_was_reserved_is_not_taken_by_the_next_process() {
    let mut rig = Rig::settled();
    rig.kill(A);
    rig.kill(B);
    assert_eq!(rig.hosts[A].written, 2);
    rig.start(A);
    rig.until(A, Role::Active, 1_100);
    assert_eq!(rig.generation(A).number, 3);
}

#[test]
fn of_two_that_are_active_the_lower_stops_when_it_hears_the_higher() {
    let mut rig = Rig::settled();
    (rig.hosts[A].heard, rig.hosts[B].heard) = (false, false);
    rig.run(5_000);
    assert!(rig.transmits(A) && rig.transmits(B), "without a witness nothing tells them");
    (rig.hosts[A].heard, rig.hosts[B].heard) = (true, true);
    rig.until(B, Role::Standby, 21);
    assert!(rig.transmits(A) && !rig.transmits(B));
    assert_eq!(rig.hosts[B].orders, [Order::Deactivate { reason: Reason::Outranked }]);
    rig.run(60_000);
    assert_eq!(rig.roles(), [Role::Active, Role::Standby], "it does not grab back");
}

#[test]
fn a_partition_in_one_direction_ends_with_the_first_heartbeat_of_the_other() {
    let mut rig = Rig::settled();
    rig.hosts[B].heard = false;
    rig.until(A, Role::Active, 100);
    // It hears of it at once, as the other direction works.
    assert_eq!(rig.role(B), Role::Standby);
    assert!(!rig.transmits(B));
}

#[test]
fn an_active_that_is_not_fit_hands_over_to_a_ready_peer() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    assert!(!rig.transmits(B), "before the peer does");
    rig.until(A, Role::Active, 50);
    assert_eq!((rig.takeovers(A, Cause::Handover), rig.stops(B, Reason::Fault)), (1, 1));
    assert_eq!(rig.role(B), Role::Faulted);
}

#[test]
fn an_active_that_is_not_fit_goes_on_if_nobody_is_ready() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.run(50);
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    rig.run(5_000);
    assert!(rig.transmits(B));
    rig.tell(A, |machine, now| machine.synced(now, true));
    rig.until(A, Role::Active, 50);
}

#[test]
fn an_active_that_crashed_and_is_back_at_once_lets_the_standby_take_over() {
    let mut rig = Rig::settled();
    rig.kill(B);
    rig.run(5);
    rig.start(B);
    rig.until(A, Role::Active, 100);
    rig.run(1_000);
    assert_eq!(rig.roles(), [Role::Active, Role::Standby]);
}

#[test]
fn faults_that_come_again_are_held_down_twice_as_long_each() {
    let mut rig = Rig::settled();
    let mut held = Vec::new();
    for _ in 0..4 {
        let from = if rig.role(A) == Role::Active { A } else { B };
        rig.tell(1 - from, |machine, now| machine.synced(now, true));
        rig.run(50);
        rig.tell(from, |machine, now| machine.fit(now, Err("a worker hangs".into())));
        rig.run(200);
        rig.tell(from, |machine, now| machine.fit(now, Ok(())));
        let left = rig.hosts[from].machine.view(rig.now()).held_until.unwrap().since(rig.now());
        held.push((left.as_millis() + 200) / 1_000);
        rig.run(60_000);
    }
    // Each of the two for itself: 3 s, then 6 s.
    assert_eq!(held, [3, 3, 6, 6]);
}

#[test]
fn a_host_that_is_held_down_is_not_asked_to_take_over() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    rig.until(A, Role::Active, 50);
    rig.tell(B, |machine, now| machine.fit(now, Ok(())));
    rig.tell(B, |machine, now| machine.synced(now, true));
    rig.run(500);
    rig.tell(A, |machine, now| machine.fit(now, Err("no link".into())));
    rig.run(2_000);
    assert!(rig.transmits(A), "held down for 3 s");
    rig.until(B, Role::Active, 1_000);
    // But it takes over from a silent peer, whatever it did before.
    rig.tell(A, |machine, now| machine.whole(now, true));
    rig.kill(B);
    rig.tell(A, |machine, now| machine.fit(now, Ok(())));
    rig.until(A, Role::Active, 100);
}

#[test]
fn a_switchover_prepares_drains_and_forwards_for_a_while() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    assert_eq!(rig.hosts[B].orders, [Order::Prepare]);
    rig.run(100);
    assert_eq!(rig.roles(), [Role::Standby, Role::Draining], "not before the standby knows all");
    rig.tell(B, |machine, now| machine.prepared(now));
    rig.until(A, Role::Active, 30);
    assert_eq!(rig.takeovers(A, Cause::Switchover), 1);
    rig.run(190);
    assert!(rig.transmits(B), "what still comes here is forwarded");
    rig.run(31);
    assert!(!rig.transmits(B) && rig.transmits(A));
    assert_eq!(rig.hosts[B].orders, [Order::Prepare, Order::Drain, Order::Deactivate { reason: Reason::Switchover }]);
}

#[test]
fn a_switchover_may_be_asked_of_the_standby() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.wish(now, Wish::Switchover));
    rig.run(2);
    assert_eq!(rig.role(B), Role::Draining);
}

#[test]
fn a_switchover_that_does_not_come_about_leaves_all_as_it_was() {
    let mut rig = Rig::settled();
    // The slow path does not get ready.
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    rig.run(2_100);
    assert_eq!(rig.role(B), Role::Active);
    assert_eq!(rig.hosts[B].orders, [Order::Prepare, Order::Resume]);
    // The standby has become unable in the meantime.
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    rig.tell(A, |machine, now| machine.wish(now, Wish::Freeze));
    rig.tell(B, |machine, now| machine.prepared(now));
    rig.until(B, Role::Active, 100);
    rig.run(1_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert!(rig.transmits(B));
}

/// The standby declines, and is ready again before it hears that it may no longer: it takes over, and only it is active.
#[test]
fn a_grant_that_is_withdrawn_may_have_been_taken() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.run(2);
    rig.tell(B, |machine, now| machine.prepared(now));
    rig.run(1);
    assert!(rig.hosts[A].machine.view(rig.now()).peer.unwrap().advert.flags.grant);
    rig.hosts[B].heard = false;
    rig.run(25);
    assert_eq!(rig.role(A), Role::Standby);
    rig.tell(A, |machine, now| machine.synced(now, true));
    rig.hosts[B].heard = true;
    rig.run(1_000);
    assert_eq!(rig.roles(), [Role::Active, Role::Standby]);
    assert_eq!(rig.hosts[B].orders, [Order::Prepare, Order::Drain, Order::Deactivate { reason: Reason::Switchover }]);
}

#[test]
fn a_switchover_to_a_standby_that_is_not_ready_does_not_begin() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.synced(now, false));
    rig.run(50);
    rig.tell(B, |machine, now| machine.wish(now, Wish::Switchover));
    assert_eq!((rig.role(B), rig.hosts[B].orders.len()), (Role::Active, 0));
}

#[test]
fn a_frozen_host_keeps_its_role_until_it_joins() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.wish(now, Wish::Freeze));
    rig.kill(B);
    rig.run(60_000);
    assert_eq!(rig.role(A), Role::Standby);
    rig.tell(A, |machine, now| machine.wish(now, Wish::Join));
    assert_eq!(rig.role(A), Role::Active);
}

#[test]
fn a_frozen_active_does_not_hand_over() {
    let mut rig = Rig::settled();
    rig.tell(B, |machine, now| machine.wish(now, Wish::Freeze));
    rig.tell(B, |machine, now| machine.fit(now, Err("no link".into())));
    rig.run(1_000);
    assert!(rig.transmits(B));
}

#[test]
fn nobody_preempts_unless_configured() {
    fn a_preempts(at: usize) -> Settings {
        Settings { preempt: at == A, ..settings(at) }
    }
    fn both_preempt(at: usize) -> Settings {
        Settings { preempt: true, ..settings(at) }
    }
    let mut rig = Rig::settled();
    rig.run(60_000);
    assert_eq!(rig.role(B), Role::Active);
    let mut rig = Rig::settled_with(both_preempt);
    rig.run(60_000);
    assert_eq!(rig.role(B), Role::Active, "two that would both have no end");
    let mut rig = Rig::settled_with(a_preempts);
    rig.run(2_800);
    assert_eq!(rig.role(B), Role::Active, "not before it has been ready for hold_down_ms");
    rig.until(B, Role::Draining, 400);
    rig.tell(B, |machine, now| machine.prepared(now));
    rig.until(A, Role::Active, 50);
}
