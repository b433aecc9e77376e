//! Hosts that sleep: the lease ends before the peer can notice, and who wakes finds out before it sends.

use super::rig::{A, B, Rig};
use crate::ha::{heartbeat::Role, role::Reason};

#[test]
fn an_active_that_slept_shortly_goes_on_and_nobody_takes_over() {
    let mut rig = Rig::settled();
    rig.hosts[B].asleep = true;
    rig.run(55);
    rig.hosts[B].asleep = false;
    assert!(rig.transmits(B), "its lease is longer");
    rig.run(1_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert_eq!(rig.hosts[B].machine.counters().overslept, 0);
}

#[test]
fn the_lease_of_a_sleeper_ends_before_its_peer_takes_over() {
    let mut rig = Rig::settled();
    rig.hosts[B].asleep = true;
    while rig.role(A) != Role::Active {
        let held = rig.now() < rig.hosts[B].lease;
        assert!(!(held && rig.transmits(A)));
        rig.run(1);
    }
    assert!(rig.now().since(rig.hosts[B].lease).as_millis() >= 9, "half an interval");
}

#[test]
fn a_sleeper_that_was_succeeded_sends_nothing_after_it_wakes() {
    let mut rig = Rig::settled();
    rig.hosts[B].asleep = true;
    rig.run(300);
    assert_eq!(rig.role(A), Role::Active);
    rig.hosts[B].asleep = false;
    for _ in 0..1_000 {
        assert!(!rig.transmits(B), "{} ms", rig.ms);
        rig.run(1);
    }
    assert_eq!(rig.stops(B, Reason::Outranked), 1);
}

#[test]
fn a_sleeper_whose_peer_could_not_succeed_it_goes_on_once_the_peer_says_so() {
    let mut rig = Rig::settled();
    rig.tell(A, |machine, now| machine.fit(now, Err("no link".into())));
    rig.hosts[B].asleep = true;
    rig.run(300);
    rig.hosts[B].asleep = false;
    assert!(!rig.transmits(B));
    // The machine wakes, asks, and is answered at once.
    rig.run(3);
    assert!(rig.transmits(B));
    assert_eq!(rig.hosts[B].machine.counters().overslept, 1);
}

#[test]
fn a_sleeper_that_hears_nobody_goes_on_after_a_detection_time() {
    let mut rig = Rig::settled();
    rig.kill(A);
    rig.hosts[B].asleep = true;
    rig.run(300);
    rig.hosts[B].asleep = false;
    rig.run(89);
    assert!(!rig.transmits(B));
    rig.run(30);
    assert!(rig.transmits(B));
}

#[test]
fn a_standby_that_slept_has_heard_nothing_because_it_slept() {
    let mut rig = Rig::settled();
    rig.hosts[A].asleep = true;
    rig.run(5_000);
    rig.hosts[A].asleep = false;
    rig.run(1_000);
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert_eq!(rig.hosts[A].machine.counters().abandoned, 0);
}

#[test]
fn a_claim_that_slept_is_looked_at_anew() {
    // B sleeps; A claims, and its disk takes so long that both sleep and wake meanwhile.
    let mut rig = Rig::settled_without_disk();
    rig.hosts[B].asleep = true;
    rig.until(A, Role::Claiming, 100);
    rig.hosts[A].asleep = true;
    rig.run(2_000);
    rig.hosts[A].disk = true;
    (rig.hosts[A].asleep, rig.hosts[B].asleep) = (false, false);
    for _ in 0..2_000 {
        rig.run(1);
        assert!(!(rig.transmits(A) && rig.transmits(B)));
    }
    assert_eq!(rig.roles(), [Role::Standby, Role::Active]);
    assert_eq!(rig.hosts[A].machine.counters().abandoned, 1);
}

/// The thread is put to sleep between what it decided and the heartbeat: its peer counts from the one before.
#[test]
fn a_heartbeat_that_left_late_extends_nothing() {
    let mut rig = Rig::settled();
    rig.run(40);
    // The last one left at most 20 ms ago; this one is held up for 75 ms.
    let before = rig.hosts[B].lease;
    rig.tell(B, |machine, now| machine.late(now));
    assert!(!rig.transmits(B));
    assert!(rig.hosts[B].lease < before);
    rig.run(3);
    assert!(rig.transmits(B), "the peer has answered that it has not taken over");
}
