//! A model of two hosts, their entries and a connection that may be cut anywhere: what was acknowledged is there, and a
//! session that comes to its end makes both the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::base::limits::{REPLICA_SILENT, REPLICA_WINDOW_BYTES};

/// The active host: entries with values, those that changed, those that are queued.
#[derive(Default)]
struct Active {
    entries: BTreeMap<u64, Vec<u8>>,
    changed: BTreeSet<u64>,
    queue: VecDeque<u64>,
    asked: bool,
    sender: Sender,
    sessions: u64,
}

#[derive(Default)]
struct Standby {
    entries: BTreeMap<Key, Bytes>,
    told: Option<BTreeSet<Key>>,
    receiver: Receiver,
}

fn key(n: u64) -> Key {
    Key::Media(SessionId(n))
}

impl Active {
    fn set(&mut self, n: u64, value: Option<Vec<u8>>) {
        match value {
            Some(value) => drop(self.entries.insert(n, value)),
            None => drop(self.entries.remove(&n)),
        }
        if self.asked {
            self.changed.insert(n);
        }
    }

    fn connect(&mut self) -> Frame {
        self.sessions += 1;
        (self.asked, self.changed) = (true, BTreeSet::new());
        self.queue = self.entries.keys().copied().collect();
        self.sender.connected(self.sessions)
    }

    fn disconnect(&mut self) {
        self.asked = false;
        self.changed.clear();
        self.queue.clear();
        self.sender.lost();
    }

    fn round(&mut self, now: Time, at_once: usize) -> Result<Option<Frame>, Overrun> {
        let mut batch = Batch { at: now, ..Batch::default() };
        for n in std::mem::take(&mut self.changed) {
            match self.entries.get(&n) {
                Some(value) => batch.puts.push((key(n), value.clone().into())),
                None => batch.deletes.push(key(n)),
            }
        }
        let at_once = if self.sender.budget() == 0 { 0 } else { at_once };
        for n in self.queue.drain(..at_once.min(self.queue.len())) {
            batch.puts.extend(self.entries.get(&n).map(|value| (key(n), value.clone().into())));
        }
        self.sender.offer(now, batch, self.queue.len())
    }
}

impl Standby {
    fn take(&mut self, now: Time, frame: Frame) -> Result<(), Broken> {
        match self.receiver.take(now, frame)? {
            Action::Begin => self.told = Some(BTreeSet::new()),
            Action::Apply { batch, .. } => {
                if let Some(told) = &mut self.told {
                    told.extend(batch.puts.iter().map(|(key, _)| key.clone()));
                }
                self.entries.extend(batch.puts);
                batch.deletes.iter().for_each(|key| drop(self.entries.remove(key)));
                if batch.complete
                    && let Some(told) = self.told.take()
                {
                    self.entries.retain(|key, _| told.contains(key));
                }
            }
        }
        Ok(())
    }

    fn is(&self, entries: &BTreeMap<u64, Vec<u8>>) -> bool {
        let expected = entries.iter().map(|(n, value)| (key(*n), Bytes::from(value.clone())));
        self.entries == expected.collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u64, Option<Vec<u8>>),
    Round,
    /// So many frames arrive at the standby, then so many acknowledgements at the active host.
    Deliver(usize, usize),
    Cut,
    Connect,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..4));
    prop_oneof![
        6 => (0u64..20, value).prop_map(|(n, value)| Op::Set(n, value)),
        6 => Just(Op::Round),
        6 => (0usize..4, 0usize..4).prop_map(|(there, back)| Op::Deliver(there, back)),
        1 => Just(Op::Cut),
        2 => Just(Op::Connect),
        2 => (0u64..300).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_safe_is_there_and_a_session_makes_both_the_same(ops in proptest::collection::vec(op(), 1..120)) {
        let (mut active, mut standby) = (Active::default(), Standby::default());
        let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
        let mut connected = false;
        let mut now = Time::from_secs(1);
        // What the state was when each batch of this session went out.
        let mut history: BTreeMap<u64, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Set(n, value) => active.set(n, value),
                Op::Round => match active.round(now, 2) {
                    Ok(Some(frame)) => {
                        history.insert(active.sender.last().unwrap().1, active.entries.clone());
                        there.push_back(frame);
                    }
                    Ok(None) => {}
                    Err(_) => {
                        // Given up: it must have been silent for too long.
                        active.disconnect();
                        connected = false;
                        there.clear();
                        back.clear();
                        standby.receiver.lost();
                    }
                },
                Op::Deliver(frames, acks) => {
                    for _ in 0..frames {
                        let Some(frame) = there.pop_front() else { break };
                        prop_assert_eq!(standby.take(now, frame), Ok(()));
                    }
                    back.extend(standby.receiver.ack());
                    for _ in 0..acks {
                        let Some(Frame::Ack { session, seq }) = back.pop_front() else { break };
                        active.sender.acked_by_peer(session, seq);
                    }
                }
                Op::Cut => {
                    connected = false;
                    there.clear();
                    back.clear();
                    active.disconnect();
                    standby.receiver.lost();
                }
                Op::Connect if !connected => {
                    connected = true;
                    history.clear();
                    there.push_back(active.connect());
                }
                Op::Connect => {}
                Op::Wait(ms) => now += Duration::from_millis(ms),
            }
            // Whatever the active host takes for safe is in what the standby would take over with.
            if let Some((session, last)) = active.sender.last() {
                let safe = (1..=last).rev().find(|seq| active.sender.is_safe((session, *seq)) == Some(true));
                if let Some(safe) = safe {
                    prop_assert!(standby.receiver.is_whole());
                    let applied = (safe..=last).any(|seq| standby.is(&history[&seq]));
                    prop_assert!(applied, "{} of {}", safe, last);
                }
            }
        }
        // Left alone they come to the same.
        if !connected {
            there.push_back(active.connect());
        }
        for _ in 0..40 {
            now += BEAT;
            there.extend(active.round(now, 2).unwrap());
            while let Some(frame) = there.pop_front() {
                prop_assert_eq!(standby.take(now, frame), Ok(()));
            }
            if let Some(Frame::Ack { session, seq }) = standby.receiver.ack() {
                active.sender.acked_by_peer(session, seq);
            }
        }
        prop_assert_eq!(active.sender.peer(), Peer::Synced);
        prop_assert!(standby.receiver.is_synced());
        prop_assert!(standby.is(&active.entries));
        prop_assert_eq!(active.sender.lag(now).messages, 0);
    }
}

fn batch(frame: Option<Frame>) -> Batch {
    match frame {
        Some(Frame::Batch { batch, .. }) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_cut_after_any_frame_loses_nothing_that_was_acknowledged() {
    for cut in 0..8 {
        let (mut active, mut standby) = (Active::default(), Standby::default());
        let now = Time::from_secs(1);
        for n in 0..6 {
            active.set(n, Some(vec![n as u8]));
        }
        let mut frames = vec![active.connect()];
        for round in 0..7 {
            active.set(100 + round, Some(vec![1]));
            frames.extend(active.round(now, 2).unwrap());
        }
        for frame in frames.drain(..cut) {
            standby.take(now, frame).unwrap();
        }
        standby.receiver.ack();
        active.disconnect();
        standby.receiver.lost();
        let before = standby.entries.clone();
        active.set(3, None);
        active.set(4, Some(b"new".to_vec()));
        standby.take(now, active.connect()).unwrap();
        // Until all has come again, what was known stays.
        assert!(before.keys().all(|key| standby.entries.contains_key(key)));
        while active.sender.peer() != Peer::Synced {
            standby.take(now, active.round(now, 2).unwrap().unwrap()).unwrap();
            let Some(Frame::Ack { session, seq }) = standby.receiver.ack() else { panic!() };
            active.sender.acked_by_peer(session, seq);
        }
        assert!(standby.is(&active.entries), "cut after {cut}");
    }
}

#[test]
fn a_gap_another_session_and_what_is_no_batch_break_the_connection() {
    let now = Time::from_secs(1);
    let mut active = Active::default();
    let start = active.connect();
    let mut frames: Vec<Frame> = (0..3)
        .map(|n| {
            active.set(n, Some(vec![]));
            active.round(now, 1).unwrap().unwrap()
        })
        .collect();
    let mut receiver = Receiver::default();
    assert_eq!(receiver.take(now, frames[0].clone()), Err(Broken::Unexpected), "nothing was begun");
    assert_eq!(receiver.take(now, start), Ok(Action::Begin));
    assert!(receiver.take(now, frames.remove(0)).is_ok());
    assert_eq!(receiver.take(now, frames.remove(1)), Err(Broken::Gap { expected: 2, found: 3 }));
    let Frame::Batch { batch, .. } = frames.remove(0) else { panic!() };
    assert_eq!(receiver.take(now, Frame::Batch { session: 7, batch }), Err(Broken::Unexpected));
    assert_eq!(receiver.take(now, Frame::Ack { session: 1, seq: 1 }), Err(Broken::Unexpected));
}

#[test]
fn a_standby_that_does_not_keep_up_is_given_up() {
    let mut active = Active::default();
    let mut now = Time::from_secs(1);
    active.connect();
    // Too much: changes do not wait for it.
    let big = vec![0; 1 << 20];
    let mut sent = 0;
    let overrun = loop {
        active.set(1, Some(big.clone()));
        match active.round(now, 0) {
            Ok(frame) => sent += batch(frame).bytes(),
            Err(overrun) => break overrun,
        }
    };
    assert!(matches!(overrun, Overrun::Bytes(bytes) if bytes > REPLICA_WINDOW_BYTES));
    assert!(sent <= REPLICA_WINDOW_BYTES);
    assert_eq!((active.sender.peer(), active.sender.overruns), (Peer::NotConnected, 1));
    // Too long.
    active.connect();
    batch(active.round(now, 0).unwrap());
    now += REPLICA_SILENT;
    assert!(active.round(now, 0).is_ok());
    now += Duration::from_millis(1);
    assert!(matches!(active.round(now, 0), Err(Overrun::Silent(_))));
}

#[test]
fn the_queue_waits_for_acknowledgements_and_changes_do_not() {
    let mut sender = Sender::default();
    let now = Time::from_secs(1);
    assert_eq!(sender.budget(), 0);
    sender.connected(1);
    let mut rounds = 0;
    while sender.budget() > 0 {
        let value = Bytes::from(vec![0; sender.budget()]);
        let puts = vec![(key(rounds), value)];
        batch(sender.offer(now, Batch { at: now, puts, ..Batch::default() }, 1_000).unwrap());
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(sender.lag(now).bytes <= REPLICA_WINDOW_BYTES / 2 + 200);
    let change = Batch { at: now, puts: vec![(key(0), Bytes::from_static(b"x"))], ..Batch::default() };
    assert_eq!(batch(sender.offer(now, change, 1_000).unwrap()).puts.len(), 1);
    sender.acked_by_peer(1, rounds);
    assert!(sender.budget() > 0);
}

#[test]
fn nothing_is_sent_of_nothing_but_a_beat() {
    let mut active = Active::default();
    let mut now = Time::from_secs(1);
    active.connect();
    assert!(batch(active.round(now, 1).unwrap()).complete, "an empty state is complete at once");
    active.sender.acked_by_peer(1, 1);
    assert_eq!(active.round(now, 1).unwrap(), None);
    now += BEAT;
    let beat = batch(active.round(now, 1).unwrap());
    assert!(beat.is_empty() && !beat.complete);
    assert_eq!((beat.seq, beat.at), (2, now));
}

#[test]
fn what_is_safe_needs_a_synchronised_standby_and_its_acknowledgement() {
    let mut active = Active::default();
    let now = Time::from_secs(1);
    assert_eq!(active.sender.last(), None);
    active.connect();
    active.set(1, Some(vec![]));
    active.round(now, 1).unwrap();
    let first = active.sender.last().unwrap();
    assert_eq!(active.sender.is_safe(first), None, "not synchronised: waiting is in vain");
    active.sender.acked_by_peer(1, 9);
    active.sender.acked_by_peer(2, 1);
    assert_eq!(active.sender.is_safe(first), None, "acknowledgements of what was not sent");
    active.sender.acked_by_peer(1, 1);
    assert_eq!(active.sender.is_safe(first), Some(true));
    active.set(1, None);
    active.round(now, 1).unwrap();
    let second = active.sender.last().unwrap();
    assert_eq!(active.sender.is_safe(second), Some(false));
    active.disconnect();
    active.connect();
    assert_eq!(active.sender.is_safe(second), None, "of a session that is over");
}

#[test]
fn the_age_of_a_batch_is_what_it_took_longer_than_the_quickest() {
    let mut receiver = Receiver::default();
    receiver.take(Time::ZERO, Frame::Start { session: 1 }).unwrap();
    let mut age = |seq, at, now| {
        let batch = Batch { seq, at: Time::from_millis(at), ..Batch::default() };
        match receiver.take(Time::from_millis(now), Frame::Batch { session: 1, batch }).unwrap() {
            Action::Apply { age, .. } => age.as_micros(),
            Action::Begin => panic!(),
        }
    };
    assert_eq!(age(1, 70_000, 5_010), 0);
    assert_eq!(age(2, 71_000, 6_000), 0, "this one was 10 ms quicker");
    assert_eq!(age(3, 72_000, 7_300), 299_870, "less what clocks may drift in 1.3 s, and none of it is ever added");
}

#[test]
fn neighbouring_releases_meet_and_others_do_not() {
    let ours = Hello::new("a", Role::Active);
    let theirs = |change: fn(&mut Hello)| {
        let mut hello = Hello::new("b", Role::Standby);
        change(&mut hello);
        ours.meets(&hello, "b")
    };
    assert_eq!(theirs(|_| ()), Ok(()));
    assert_eq!(theirs(|h| h.wire.speaks = 2), Ok(()), "the next release still talks ours");
    assert!(matches!(theirs(|h| h.wire = Version { speaks: 3, least: 2 }), Err(Unfit::Wire { .. })));
    assert!(matches!(theirs(|h| h.state = Version { speaks: 3, least: 2 }), Err(Unfit::State { .. })));
    assert!(matches!(theirs(|h| h.role = Role::Active), Err(Unfit::Role { .. })));
    assert!(matches!(theirs(|h| h.node = "c".into()), Err(Unfit::Stranger { .. })));
}
