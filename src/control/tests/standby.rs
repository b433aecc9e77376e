//! The active host's sessions on the standby: two engines, each with its own table, and only what one tells the other in
//! between. Their addresses have the same names and not the same numbers.

use std::time::Duration;

use super::*;
use crate::{
    base::pack::{pack, unpack},
    control::SavedMedia,
};

const ELSEWHERE: &str = "198.18.2.77";

/// The standby's clock is another one.
fn its(now: Time) -> Time {
    now + Duration::from_secs(5_000)
}

fn standby() -> Rig {
    let mut rig = rig_of(&CONFIG.replace("local = \"198.18.2.10\"", &format!("local = \"{ELSEWHERE}\"")));
    rig.engine.follow(its(t(0)));
    rig
}

/// One round of the active host; how many sessions it told.
fn tell(active: &mut Rig, standby: &mut Rig, now: Time, budget: usize) -> usize {
    let changes = active.engine.take_changes(now, budget);
    let told = changes.puts.len() + changes.deletes.len();
    let over_the_wire = |saved: &SavedMedia| unpack(&pack(saved));
    let mut list: Vec<(SessionId, Option<SavedMedia>)> =
        changes.puts.iter().map(|(id, saved)| (*id, over_the_wire(saved))).collect();
    assert!(list.iter().all(|(_, saved)| saved.is_some()));
    list.extend(changes.deletes.into_iter().map(|id| (id, None)));
    standby.engine.apply(its(now), Duration::ZERO, list);
    told
}

/// What forwards, apart from numbers that are each host's own.
fn plans(rig: &Rig) -> Vec<String> {
    let mut plans: Vec<String> = rig
        .engine
        .flows()
        .map(|flow| {
            let mut plan = flow.plan.clone();
            (plan.version, plan.next_hop) = (0, crate::flow::nexthop::NextHopId::NONE);
            assert_ne!(flow.not_ready, Some("no neighbour"), "the next hop was asked for");
            assert_ne!(flow.not_ready, Some("no route"), "the next hop was asked for");
            format!("{} {:?}", flow.local, plan).replace(ELSEWHERE, "198.18.2.10")
        })
        .collect();
    plans.sort();
    plans
}

#[test]
fn the_standby_has_the_plans_of_the_active_host_on_the_same_ports() {
    let (mut active, mut standby) = (rig(), standby());
    active.engine.mark_all();
    let session = active.call(t(1_000));
    assert_eq!(tell(&mut active, &mut standby, t(1_000), 10), 1);
    assert_eq!(plans(&active), plans(&standby));
    assert_eq!(plans(&active).len(), 4);
    assert_eq!(standby.engine.local(session.id, Side::B).unwrap().rtp.ip().to_string(), ELSEWHERE);
    assert_eq!(standby.engine.spare_ports(), active.engine.spare_ports());
    // A hold, with rtcp-mux from now on.
    let mut held = leg(A, 0, Encoding::Pcmu);
    (held.rtcp_mux, held.rtcp) = (true, held.rtp);
    active.engine.update(t(2_000), session.id, Side::A, &held);
    tell(&mut active, &mut standby, t(2_000), 10);
    assert_eq!(plans(&active), plans(&standby));
    active.engine.close(t(3_000), session.id);
    tell(&mut active, &mut standby, t(3_000), 10);
    assert_eq!(standby.engine.sessions(), 0);
    assert_eq!(plans(&standby), Vec::<String>::new());
    // Its ports rest there as they rest here.
    assert_eq!(standby.engine.spare_ports(), active.engine.spare_ports());
}

#[test]
fn a_session_that_rests_is_told_once_and_all_of_them_a_few_at_a_time() {
    let (mut active, mut standby) = (rig(), standby());
    let (first, second) = (active.call(t(0)), active.call(t(0)));
    assert!(active.engine.take_changes(t(0), 10).is_empty(), "nobody asked");
    active.engine.mark_all();
    assert_eq!(active.engine.left_to_send(), 2);
    // Ends before it was told.
    active.engine.close(t(10), first.id);
    assert_eq!(tell(&mut active, &mut standby, t(10), 1), 1);
    assert_eq!(tell(&mut active, &mut standby, t(20), 1), 1);
    assert_eq!(tell(&mut active, &mut standby, t(30), 1), 0);
    assert!(standby.engine.is_open(second.id) && !standby.engine.is_open(first.id));
    assert_eq!(plans(&active), plans(&standby));
    // The latching windows close.
    active.run(t(30), 4_000);
    active.engine.take_changes(t(4_030), 10);
    active.run(t(4_030), 4_000);
    assert!(active.engine.take_changes(t(8_030), 10).is_empty(), "nothing happened");
}

#[test]
fn legs_that_change_places_do_so_on_both() {
    let (mut active, mut standby) = (rig(), standby());
    active.engine.mark_all();
    let (one, two) = (active.call(t(0)), active.call(t(0)));
    tell(&mut active, &mut standby, t(0), 10);
    active.engine.exchange(t(100), (one.id, Side::B), (two.id, Side::A));
    assert_eq!(tell(&mut active, &mut standby, t(100), 10), 2);
    assert_eq!(plans(&active), plans(&standby));
    active.engine.close(t(200), two.id);
    tell(&mut active, &mut standby, t(200), 10);
    assert_eq!(plans(&active), plans(&standby));
    assert_eq!(standby.engine.counters.unfollowed, 0);
}

#[test]
fn who_takes_over_counts_silence_from_then_and_numbers_on() {
    let (mut active, mut standby) = (rig(), standby());
    active.engine.mark_all();
    let session = active.call(t(0));
    tell(&mut active, &mut standby, t(0), 10);
    assert_eq!(standby.run(its(t(0)), 60_000), [], "a standby hears nobody, and nobody times out");
    standby.engine.take_over(its(t(60_000)));
    assert_eq!(standby.run(its(t(60_000)), 9_000), []);
    assert_eq!(standby.run(its(t(69_000)), 2_000), [ControlEvent::MediaTimeout(session.id)]);
    let next = standby.engine.open(its(t(71_000)), &request()).unwrap();
    assert!(next.id > session.id);
    assert_ne!(next.local[0].rtp, session.local[0].rtp);
}

#[test]
fn a_latching_window_goes_on_and_what_was_latched_is_admitted() {
    let (mut active, mut standby) = (rig(), standby());
    active.engine.mark_all();
    let session = active.call(t(0));
    tell(&mut active, &mut standby, t(0), 10);
    let wants = |rig: &Rig| {
        let flow = rig.engine.flows().find(|f| f.side == Side::A && !f.plan.rtcp).unwrap();
        flow.plan.candidates
    };
    assert!(wants(&standby));
    // The window closes there by itself, on its own clock (`media.latching.window_ms` is 3 s).
    standby.run(its(t(0)), 3_600);
    assert!(!wants(&standby));
    // Here it latched in time.
    let source = "203.0.113.5:4444";
    active.candidate(session.id, source, 7);
    active.candidate(session.id, source, 8);
    active.engine.tick(t(1_000));
    assert_eq!(active.admitted(session.id, Side::A), Admit::Exact(source.parse().unwrap()));
    tell(&mut active, &mut standby, t(1_000), 10);
    assert_eq!(standby.admitted(session.id, Side::A), Admit::Exact(source.parse().unwrap()));
    assert_eq!(plans(&active), plans(&standby));
}

#[test]
fn what_cannot_be_taken_in_is_counted_and_costs_no_port() {
    let (mut active, mut standby) = (rig(), standby());
    active.engine.mark_all();
    let session = active.call(t(0));
    let (_, mut saved) = active.engine.take_changes(t(0), 10).puts.remove(0);
    let spare = standby.engine.spare_ports();
    saved.legs[1].address = "nowhere".into();
    standby.engine.apply(t(0), Duration::ZERO, vec![(session.id, Some(saved))]);
    assert_eq!((standby.engine.sessions(), standby.engine.counters.unfollowed), (0, 1));
    standby.engine.tick(t(20_000));
    assert_eq!(standby.engine.spare_ports(), spare);
}

#[test]
fn to_follow_is_to_forget() {
    let mut rig = rig();
    rig.engine.mark_all();
    rig.call(t(0));
    rig.engine.phase(t(0), SessionId(1), Phase::Confirmed);
    let spare = rig.engine.spare_ports();
    rig.engine.follow(t(1_000));
    assert_eq!((rig.engine.sessions(), rig.engine.flows().count()), (0, 0));
    assert!(rig.engine.take_changes(t(1_000), 10).is_empty());
    rig.engine.tick(t(12_000));
    assert_eq!(rig.engine.spare_ports(), spare + 2, "its ports have rested");
}
