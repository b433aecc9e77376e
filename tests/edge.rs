//! The edge on DPDK's own virtual devices, real EAL, ordinary memory, no root: two workers that share a CPU, two ports.
//! net_ring hands what a queue sends to the same queue's receiver; net_null has a redirection table.
#![cfg(feature = "dpdk")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tandem::{
    base::ids::{PortId, WorkerId},
    config::Config,
    io::{Burst, PacketBuf, PacketIo, SlowIo, dpdk},
};

const CONFIG: &str = r#"
[dpdk]
hugepages = false
memory_mb = 256
mbufs = 32767
[cores]
workers = [0, 0]
slow = 0
[[port]]
name = "loop"
device = "net_ring0"
exception = "tan0"
addresses = []
[[port]]
name = "null"
device = "net_null0"
device_args = "size=100,no-rx=1"
exception = "tan1"
addresses = []
[[address]]
name = "m"
port = "loop"
local = "198.18.0.1"
[media]
[sip]
listen = []
"#;

const LOOP: PortId = PortId(0);
const NULL: PortId = PortId(1);

fn pool_in_use(opened: &dpdk::Meters) -> u64 {
    opened.pools().map(|pool| pool.used).sum()
}

#[test]
fn packets_go_round_between_slow_path_worker_and_port() {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let mut opened = dpdk::open(&config).unwrap();
    let [looped, null] = &opened.ports[..] else { panic!("{:?}", opened.ports) };
    assert_eq!((looped.name.as_str(), looped.driver.as_str(), looped.slow_queue), ("loop", "net_ring", false));
    assert_eq!((looped.rx_queues, looped.tx_queues), (2, 2));
    // The table keeps received packets off the third queue.
    assert_eq!((null.driver.as_str(), null.slow_queue, null.rx_queues, null.tx_queues), ("net_null", true, 2, 3));
    assert_eq!(opened.workers.len(), 2);
    let at_rest = pool_in_use(&opened.meters);

    // Slow path → ring → worker 0 → port → same port → worker 0 → ring → slow path, unchanged. A frame longer than a
    // buffer goes as a chain and comes back joined.
    let frames: Vec<Vec<u8>> = [60usize, 1514, 5000].iter().map(|n| (0..*n).map(|i| (i * 3) as u8).collect()).collect();
    for frame in &frames {
        assert!(opened.slow.inject(LOOP, frame));
    }
    assert!(opened.slow.inject(NULL, &frames[0]), "through its own queue");
    assert!(!opened.slow.inject(PortId(2), &frames[0]), "no such port");
    assert_eq!(opened.meters.rings().find(|r| r.name == "inject").map(|r| r.used), Some(3));

    let counted = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut jobs = Vec::new();
    for (id, mut io) in (0..).map(WorkerId).zip(opened.workers.drain(..)) {
        let counted = counted.clone();
        let job = move || {
            let mut burst = Burst::new();
            io.injected(&mut burst);
            counted[usize::from(id.0)].store(burst.len(), Ordering::SeqCst);
            assert!(burst.iter().all(|p| PacketBuf::port(p) == LOOP));
            assert_eq!(io.tx(LOOP, &mut burst).packets, 0);
            io.rx(LOOP, &mut burst);
            io.rx(NULL, &mut burst);
            assert!(burst.iter().all(|p| PacketBuf::port(p) == LOOP));
            assert_eq!(io.punt(&mut burst), 0);
            assert!(burst.is_empty() && io.ports() == 2 && io.ticks_per_second() > 1_000_000);
        };
        jobs.push(opened.launcher.launch(id, Box::new(job)).unwrap());
    }
    for job in jobs {
        opened.launcher.wait(job).unwrap();
    }
    assert_eq!([0, 1].map(|w: usize| counted[w].load(Ordering::SeqCst)), [3, 0], "worker 0 sends for the slow path");

    assert!(opened.slow.punted_waits());
    let mut seen = Vec::new();
    assert_eq!(opened.slow.punted(2, &mut |port, frame| seen.push((port, frame.to_vec()))), 2, "the limit holds");
    assert_eq!(opened.slow.punted(64, &mut |port, frame| seen.push((port, frame.to_vec()))), 1);
    assert!(!opened.slow.punted_waits());
    assert_eq!(seen, frames.iter().map(|f| (LOOP, f.clone())).collect::<Vec<_>>());
    assert_eq!(pool_in_use(&opened.meters), at_rest, "every buffer came back");

    // Counters, by name, from another thread.
    let mut meters = opened.meters;
    let sent = std::thread::spawn(move || {
        let mut sent = Vec::new();
        for port in &mut meters.ports {
            port.xstats(&mut |name, value| {
                if name == "tx_good_packets" {
                    sent.push(("xstats", value));
                }
            })
            .unwrap();
            sent.push(("stats", port.stats().unwrap().tx_packets));
        }
        sent
    });
    assert_eq!(sent.join().unwrap(), [("xstats", 3), ("stats", 3), ("xstats", 1), ("stats", 1)]);
    assert_eq!(opened.launcher.zone("table", 4096).unwrap().len(), 4096);
    assert_eq!(opened.slow.reset_wanted(), None);
    opened.slow.run_timers();
}
