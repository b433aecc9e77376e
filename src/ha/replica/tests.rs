//! Two ends over loopback, and in between them what may go wrong: another key, garbage, a cut, a reader that is slow.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::*;
use crate::{base::ids::SessionId, ha::replicate::Key, sip::endpoint};

/// A port of loopback that nobody uses now.
fn spare() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Pair {
    clock: Monotonic,
    active: Replica,
    standby: Replica,
    /// What the standby was told, in order.
    told: Vec<Happened>,
    joined: usize,
    left: usize,
}

fn settings(node: &str, peer: &str, local: SocketAddr, to: SocketAddr, key: u8) -> Settings {
    Settings { node: node.into(), peer_node: peer.into(), local, peer: to, key: [key; 32] }
}

impl Pair {
    fn new() -> Pair {
        let at = spare();
        Pair::with(settings("a", "b", at, spare(), 1), settings("b", "a", spare(), at, 1))
    }

    fn with(a: Settings, b: Settings) -> Pair {
        let clock = Monotonic::start();
        let mut active = Replica::start(a, clock, None).unwrap();
        let mut standby = Replica::start(b, clock, None).unwrap();
        active.be(Role::Active);
        standby.be(Role::Standby);
        Pair { clock, active, standby, told: Vec::new(), joined: 0, left: 0 }
    }

    fn listen(&mut self) {
        for happened in self.active.poll(self.clock.now()) {
            match happened {
                Happened::Joined => self.joined += 1,
                Happened::Left => self.left += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn round(&mut self, changes: Changes, left: usize) {
        self.listen();
        if self.active.budget().is_some() {
            self.active.offer(self.clock.now(), changes, MediaChanges::default(), NgChanges::default(), left);
        }
        self.told.extend(self.standby.poll(self.clock.now()));
        self.standby.ack();
    }

    /// Rounds without changes until it is so.
    fn until(&mut self, what: &str, is: impl Fn(&Pair) -> bool) {
        let start = Instant::now();
        while !is(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
            self.round(Changes::default(), 0);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.told.iter().filter_map(|happened| match happened {
            Happened::Apply { batch, .. } => Some(&**batch),
            _ => None,
        })
    }
}

fn change(n: u64, bytes: usize) -> Changes {
    let value = Bytes::from(vec![n as u8; bytes]);
    Changes { puts: vec![(endpoint::Key::Subscription(n), value)], ..Changes::default() }
}

#[test]
fn changes_arrive_in_order_and_are_acknowledged() {
    let mut pair = Pair::new();
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced);
    assert_eq!((pair.joined, &pair.told[0]), (1, &Happened::Begin));
    assert!(pair.standby.is_synced());
    // From nothing to more than a Noise message holds.
    let sizes = [0, 1, 65_500, 65_535, 65_536, 300_000, 3];
    for (n, bytes) in sizes.into_iter().enumerate() {
        pair.round(change(n as u64, bytes), 0);
    }
    let last = pair.active.last().unwrap();
    pair.until("safe", |pair| pair.active.is_safe(last) == Some(true));
    let puts: Vec<_> = pair.batches().flat_map(|batch| &batch.puts).collect();
    assert_eq!(puts.len(), sizes.len());
    for (n, (bytes, (key, value))) in sizes.into_iter().zip(puts).enumerate() {
        assert_eq!((key, value.len()), (&Key::Sip(endpoint::Key::Subscription(n as u64)), bytes));
        assert!(value.iter().all(|byte| usize::from(*byte) == n));
    }
    assert_eq!(pair.left, 0);
}

#[test]
fn a_media_session_crosses_as_it_is() {
    let mut pair = Pair::new();
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced);
    let media = MediaChanges { puts: Vec::new(), deletes: vec![SessionId(7)] };
    pair.active.offer(pair.clock.now(), Changes::default(), media, NgChanges::default(), 0);
    pair.until("told", |pair| pair.batches().any(|batch| batch.deletes == [Key::Media(SessionId(7))]));
}

/// A standby with this name and key connects for longer than it takes to be heard.
#[track_caller]
fn is_not_heard(name: &str, key: u8) {
    let at = spare();
    let mut pair = Pair::with(settings("a", "b", at, spare(), 1), settings(name, "a", spare(), at, key));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(700) {
        pair.round(Changes::default(), 0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((pair.joined, pair.told.len()), (0, 0));
}

#[test]
fn who_has_another_key_is_not_heard() {
    is_not_heard("b", 2);
}

#[test]
fn who_has_another_name_is_not_heard() {
    is_not_heard("c", 1);
}

#[test]
fn garbage_and_silence_cost_nothing() {
    let at = spare();
    let mut pair = Pair::with(settings("a", "b", at, spare(), 1), settings("b", "a", spare(), at, 1));
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced);
    // Some say nothing, some say anything, some half a message; one more than may wait.
    let strangers: Vec<TcpStream> = (0..12u8)
        .map(|n| {
            let mut stream = TcpStream::connect(at).unwrap();
            let garbage = vec![n; 200 * usize::from(n)];
            let _ = stream.write_all(&garbage);
            stream
        })
        .collect();
    for n in 0..50 {
        pair.round(change(n, 10), 0);
        std::thread::sleep(Duration::from_millis(2));
    }
    let last = pair.active.last().unwrap();
    pair.until("safe", |pair| pair.active.is_safe(last) == Some(true));
    assert_eq!((pair.joined, pair.left), (1, 0));
    drop(strangers);
}

/// Carries bytes between the standby and the active host, and does what it is told to them.
fn between(to: SocketAddr, cut_after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // The first connection is cut in the middle of something; later ones are not.
        let mut nth = 0;
        for stream in listener.incoming() {
            // The active host may not listen yet.
            let (Ok(down), Ok(up)) = (stream, TcpStream::connect(to)) else { continue };
            nth += 1;
            let (mut down_read, mut up_write) = (down.try_clone().unwrap(), up.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut down_read, &mut up_write);
                let _ = up_write.shutdown(Shutdown::Both);
            });
            let (mut up, mut down) = (up, down);
            std::thread::spawn(move || {
                let limit = if nth == 1 { cut_after as u64 } else { u64::MAX };
                let _ = std::io::copy(&mut (&mut up).take(limit), &mut down);
                let _ = down.shutdown(Shutdown::Both);
                let _ = up.shutdown(Shutdown::Both);
            });
        }
    });
    at
}

#[test]
fn a_connection_cut_in_the_middle_of_a_frame_is_made_anew() {
    // In the handshake, in the greeting, in the length of a frame, in a long one.
    for cut in [1, 40, 60, 180, 5_000] {
        let (a, b) = (spare(), spare());
        let middle = between(a, cut);
        let mut pair = Pair::with(settings("a", "b", a, b, 1), settings("b", "a", b, middle, 1));
        for n in 0..20 {
            pair.round(change(n, 2_000), 0);
            std::thread::sleep(Duration::from_millis(5));
        }
        pair.until("synced", |pair| pair.active.peer() == Peer::Synced && pair.standby.is_synced());
        // The first connection may have come this far: more passes until it is cut for certain.
        let start = Instant::now();
        let mut n = 100;
        while start.elapsed() < Duration::from_millis(400) {
            pair.round(change(n, 2_000), 0);
            n += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        pair.until("synced again", |pair| pair.active.peer() == Peer::Synced && pair.standby.is_synced());
        pair.round(change(7_777, 1), 0);
        pair.until("told", |pair| {
            let mut puts = pair.batches().flat_map(|batch| &batch.puts);
            puts.any(|(key, _)| *key == Key::Sip(endpoint::Key::Subscription(7_777)))
        });
        let begins = pair.told.iter().filter(|happened| **happened == Happened::Begin).count();
        assert_eq!(pair.joined, pair.left + 1, "cut after {cut}");
        assert!(begins <= pair.joined && begins >= 1);
    }
}

#[test]
fn a_reader_that_is_slow_is_given_up_and_costs_the_active_host_no_time() {
    let mut pair = Pair::new();
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced);
    let mut longest = Duration::ZERO;
    let mut offered = 0;
    // The standby's slow path looks at nothing any more.
    while pair.left == 0 {
        let start = Instant::now();
        pair.listen();
        if pair.active.budget().is_some() {
            pair.active.offer(
                pair.clock.now(),
                change(offered, 1 << 20),
                MediaChanges::default(),
                NgChanges::default(),
                0,
            );
        }
        longest = longest.max(start.elapsed());
        offered += 1;
        assert!(offered < 5_000);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(pair.active.overruns(), 1);
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    pair.told.clear();
    pair.until("synced again", |pair| pair.active.peer() == Peer::Synced && pair.standby.is_synced());
}

#[test]
fn roles_change_places() {
    let (a, b) = (spare(), spare());
    let mut pair = Pair::with(settings("a", "b", a, b, 1), settings("b", "a", b, a, 1));
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced);
    std::mem::swap(&mut pair.active, &mut pair.standby);
    pair.active.be(Role::Active);
    pair.standby.be(Role::Standby);
    assert!(!pair.standby.is_whole());
    pair.told.clear();
    pair.until("synced", |pair| pair.active.peer() == Peer::Synced && pair.standby.is_synced());
    assert_eq!(pair.told[0], Happened::Begin);
}
