//! The concurrency of this room under every interleaving, by loom:
//! `TANDEM_LOOM=1 cargo test --no-default-features --lib flow::models`.

use std::net::{IpAddr, SocketAddr};

use loom::thread;

use super::{
    FlowClass, FlowTable, Plan, Publisher,
    nexthop::NextHopId,
    plan::Admit,
    state::{Ownership, Tally},
    table::FlowKey,
};
use crate::base::ids::{SessionId, Side, WorkerId};

const AT: &str = "198.18.1.10:20000";

/// Every word of the first line depends on the version, so that a mixture of two shows.
fn plan(version: u32) -> Plan {
    let port = version as u16;
    Plan {
        session: SessionId(version.into()),
        side: Side::A,
        version,
        rtcp: false,
        admit: Admit::Exact(SocketAddr::new("198.18.1.20".parse().unwrap(), port)),
        departing: None,
        candidates: false,
        muted: false,
        out_source: SocketAddr::new("198.18.2.10".parse().unwrap(), port),
        out_destination: Some(SocketAddr::new("198.18.2.20".parse().unwrap(), port)),
        next_hop: NextHopId(port),
        tos: port as u8,
        clock_hz: version,
        rules: Vec::new(),
    }
}

fn table(capacity: usize, workers: usize) -> (std::sync::Arc<FlowTable>, Publisher, FlowKey) {
    let at: SocketAddr = AT.parse().unwrap();
    let ip: IpAddr = at.ip();
    let table = FlowTable::new(&[ip], at.port(), at.port(), capacity, workers);
    let publisher = Publisher::new(table.clone());
    let key = publisher.key(at, FlowClass::Rtp).unwrap();
    (table, publisher, key)
}

#[test]
fn a_worker_sees_one_version_of_a_plan_or_another_never_a_mixture() {
    loom::model(|| {
        let (table, mut publisher, key) = table(2, 1);
        publisher.publish(key, &plan(1)).unwrap();
        let reader = {
            let boundary = table.boundaries.worker(0);
            let table = table.clone();
            thread::spawn(move || {
                boundary.enter();
                for _ in 0..2 {
                    if let Some(entry) = table.lookup(key) {
                        let seen = table.plan(entry);
                        assert_eq!(seen.words(), plan(seen.version()).encode(AT.parse().unwrap()), "a torn plan");
                    }
                    boundary.pass();
                }
            })
        };
        // With two entries the third version has to reuse the first one's, if it may.
        publisher.publish(key, &plan(2)).unwrap();
        publisher.reclaim(|_, _| {});
        let third = publisher.publish(key, &plan(3)).is_ok();
        reader.join().unwrap();
        let last = table.plan(table.lookup(key).unwrap()).version();
        assert_eq!(last, if third { 3 } else { 2 });
    });
}

#[test]
fn one_worker_owns_a_state_line_and_no_packet_is_counted_twice_or_not_at_all() {
    loom::model(|| {
        let (table, mut publisher, key) = table(1, 2);
        let entry = publisher.publish(key, &plan(1)).unwrap();
        let worker = |id: u8| {
            let table = table.clone();
            thread::spawn(move || {
                let line = table.state(entry);
                let mut mine = 0;
                for _ in 0..2 {
                    match line.claim(WorkerId(id)) {
                        Ownership::Mine => {
                            mine += 1;
                            line.store(1, line.load(1) + 1);
                        }
                        Ownership::Another => line.tally(Tally::OffOwner, 1),
                    }
                }
                mine
            })
        };
        let (a, b) = (worker(0), worker(1));
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        let line = table.state(entry);
        assert!(a == 0 || b == 0, "two owners");
        assert_eq!(line.load(1), a + b);
        assert_eq!(line.load(1) + line.tallied(Tally::OffOwner), 4);
    });
}
