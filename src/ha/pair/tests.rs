//! Two instances of the thread in one process, joined by loopback sockets. Real time: what is asserted is what comes about
//! in the end, and what holds at every look.

use std::{net::UdpSocket, path::PathBuf, sync::Mutex, time::Instant};

use super::*;
use crate::{
    config::{HaLink, HaProvider, PairKey},
    ha::{
        heartbeat::{Advert, Echo, Heartbeat, Role, wire},
        link::Wish,
    },
};

/// One at a time: they measure time on cores that they share.
static ALONE: Mutex<()> = Mutex::new(());

struct Bench {
    folder: PathBuf,
    paths: Vec<[std::net::SocketAddr; 2]>,
    start: Instant,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = std::env::temp_dir().join(format!("tandem-pair-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        // Four ports that were free a moment ago.
        let sockets: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let at = |n: usize| sockets[n].local_addr().unwrap();
        Bench { folder, paths: vec![[at(0), at(1)], [at(2), at(3)]], start: Instant::now() }
    }

    fn ha(&self, at: usize) -> Ha {
        let link = |pair: &[std::net::SocketAddr; 2]| HaLink { local: pair[at], peer: pair[1 - at] };
        Ha {
            peer: ["b", "a"][at].into(),
            key_file: PathBuf::new(),
            key: PairKey::new(KEY.to_vec()),
            heartbeat_ms: 20,
            misses: 4,
            commit_ms: 50,
            drain_ms: 200,
            hold_down_ms: 100,
            preempt: false,
            state: self.folder.join(["a.json", "b.json"][at]),
            provider: HaProvider::Garp,
            ec2: None,
            replication: link(&self.paths[0]),
            paths: self.paths.iter().map(link).collect(),
        }
    }

    fn host(&self, at: usize) -> Host {
        let (lease, start) = (Arc::new(Lease::ended()), self.start);
        let setup = Setup {
            ha: &self.ha(at),
            node: ["a", "b"][at],
            provider: None,
            lease: lease.clone(),
            clock: Monotonic::start(),
            ticks: Box::new(move || start.elapsed().as_nanos() as u64),
            ticks_per_second: 1_000_000_000,
            cpu: None,
        };
        let (pair, link) = Pair::start(setup).unwrap();
        link.report(Report::Fit(Ok(())));
        Host { _pair: pair, link, lease, start, orders: Vec::new() }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

struct Host {
    _pair: Pair,
    link: Link,
    lease: Arc<Lease>,
    start: Instant,
    orders: Vec<Order>,
}

impl Host {
    fn transmits(&self) -> bool {
        self.lease.holds(self.start.elapsed().as_nanos() as u64)
    }

    /// What the slow path does once a round.
    fn turn(&mut self) {
        self.link.beat();
        while let Some(order) = self.link.order() {
            if order == Order::Prepare {
                self.link.report(Report::Prepared);
            }
            if matches!(order, Order::Deactivate { .. }) {
                self.link.report(Report::Synced(true));
            }
            self.orders.push(order);
        }
    }

    fn role(&self) -> Role {
        self.link.status().role
    }
}

/// Turns both until `done`.
#[track_caller]
fn until(hosts: &mut [&mut Host], what: &str, mut done: impl FnMut(&[&mut Host]) -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done(hosts) {
        let roles: Vec<_> = hosts.iter().map(|host| host.link.status()).collect();
        assert!(Instant::now() < end, "{what}: {roles:#?}");
        hosts.iter_mut().for_each(|host| host.turn());
        thread::sleep(Duration::from_millis(1));
    }
}

fn settled(hosts: &[&mut Host]) -> bool {
    let roles: Vec<Role> = hosts.iter().map(|host| host.role()).collect();
    roles == [Role::Active, Role::Standby] || roles == [Role::Standby, Role::Active]
}

#[test]
fn of_two_that_start_one_is_active_and_when_it_dies_the_other() {
    let _alone = ALONE.lock();
    let bench = Bench::new("takeover");
    let (mut a, mut b) = (bench.host(0), bench.host(1));
    until(&mut [&mut a, &mut b], "one is active", settled);
    // The name that sorts later has the word, where neither was active before.
    assert_eq!((a.role(), b.role()), (Role::Standby, Role::Active));
    assert!(b.transmits() && !a.transmits());
    assert!(matches!(b.orders[..], [Order::Activate { cause: Cause::Elected, .. }]), "{:?}", b.orders);
    drop(b);
    until(&mut [&mut a], "the other is", |hosts| hosts[0].role() == Role::Active && !hosts[0].orders.is_empty());
    assert!(a.transmits());
    let Order::Activate { generation, cause, .. } = &a.orders[0] else { panic!("{:?}", a.orders) };
    assert_eq!((generation.to_string().as_str(), *cause), ("2/a", Cause::Silence));
    let announced = a.link.status().last_takeover.clone().unwrap();
    assert!(announced.detect_s >= 0.09, "{announced:?}");
    let stored = std::fs::read_to_string(bench.folder.join("a.json")).unwrap();
    assert!(stored.contains("\"number\":2"), "{stored}");
    // It comes back as a standby, whatever it was.
    let mut b = bench.host(1);
    until(&mut [&mut a, &mut b], "it comes back", settled);
    assert_eq!((a.role(), b.role()), (Role::Active, Role::Standby));
}

#[test]
fn a_switchover_comes_about_once_the_standby_is_ready() {
    let _alone = ALONE.lock();
    let bench = Bench::new("switchover");
    let (mut a, mut b) = (bench.host(0), bench.host(1));
    until(&mut [&mut a, &mut b], "one is active", settled);
    let refused = b.link.wish(Wish::Switchover).unwrap_err();
    assert_eq!(refused, "a is not ready: it is not synchronised");
    a.link.report(Report::Synced(true));
    until(&mut [&mut a, &mut b], "ready", |hosts| hosts[1].link.status().peer.ready);
    b.link.wish(Wish::Switchover).unwrap();
    until(&mut [&mut a, &mut b], "switched", |hosts| {
        hosts[0].role() == Role::Active && hosts[1].role() == Role::Standby
    });
    b.turn();
    let given: Vec<&Order> = b.orders.iter().skip(1).collect();
    assert!(
        matches!(given[..], [Order::Prepare, Order::Drain, Order::Deactivate { reason: Reason::Switchover }]),
        "{given:?}"
    );
}

#[test]
fn a_slow_path_that_does_not_turn_hands_over_to_a_ready_peer() {
    let _alone = ALONE.lock();
    let bench = Bench::new("fault");
    let (mut a, mut b) = (bench.host(0), bench.host(1));
    until(&mut [&mut a, &mut b], "one is active", settled);
    a.link.report(Report::Synced(true));
    until(&mut [&mut a, &mut b], "ready", |hosts| hosts[1].link.status().peer.ready);
    // From now on nobody turns b.
    until(&mut [&mut a], "handed over", |hosts| !hosts[0].orders.is_empty());
    assert!(matches!(a.orders.last(), Some(Order::Activate { cause: Cause::Handover, .. })), "{:?}", a.orders);
    assert_eq!(b.role(), Role::Faulted);
    assert!(!b.transmits());
    let why = b.link.status().unfit.clone().unwrap();
    assert!(why.starts_with("the slow path has not come round for "), "{why}");
}

/// Issue 5, number 7: an attacker on the heartbeat network changes no role.
#[test]
fn who_forges_replays_or_floods_changes_no_role() {
    let _alone = ALONE.lock();
    let bench = Bench::new("attack");
    let mut a = bench.host(0);
    until(&mut [&mut a], "alone", |hosts| hosts[0].role() == Role::Active);
    let (target, from) = (bench.paths[0][0], bench.paths[0][1]);
    // The attacker has the peer's own address, once.
    let attacker = UdpSocket::bind(from).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let advert = Advert { role: Role::Active, claim: 1_000, term: (1_000, Default::default()), ..Advert::default() };
    let claim = |counter: u64, echo: u64| Heartbeat {
        own: Echo { nonce: 7, counter },
        known: Echo { nonce: echo, counter: 1 },
        newcomer: Echo { nonce: echo, counter: 1 },
        advert,
    };
    let (forger, peer) = (Key::new(b"another key of thirty-two bytes!", "b", "a"), Key::new(KEY, "b", "a"));
    let end = Instant::now() + Duration::from_millis(600);
    let mut counter = 0;
    while Instant::now() < end {
        for _ in 0..200 {
            counter += 1;
            let forged = wire::encode(&claim(counter, 1), 0, &forger);
            // Sealed by the right key, as a recording is, for a process of this host that is no more.
            let recorded = wire::encode(&claim(counter, 99), 0, &peer);
            for bytes in [&forged[..], &recorded[..], &recorded[..50], &[0; 1_400][..]] {
                let _ = attacker.send_to(bytes, target);
                let _ = stranger.send_to(bytes, target);
            }
        }
        a.turn();
        assert_eq!(a.role(), Role::Active);
    }
    until(&mut [&mut a], "it transmits", |hosts| hosts[0].transmits());
    let status = a.link.status();
    assert_eq!(status.paths[0].heard, 0);
    let refused: Vec<&str> =
        status.paths[0].refused.iter().filter(|count| count.count > 0).map(|count| count.name.as_str()).collect();
    assert_eq!(refused, ["source", "foreign", "seal", "unproven"]);
}
