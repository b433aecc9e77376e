//! The edge on real interfaces: a peer behind a veth pings an address that only the exception device has. Its frames
//! pass DPDK, a worker, the punt ring and the TAP; the kernel's answers pass the inject ring, worker 0 and DPDK. The
//! kernel behind the port's veth is silenced, and shown to be silent.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod netns;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use netns::{Inside, Lab, inside, possible, run};
use tandem::{
    base::ids::{PortId, WorkerId},
    config::Config,
    io::{
        Burst, PacketIo, SlowIo,
        dpdk::{self, DpdkIo, DpdkSlowIo},
        exception::Exception,
        netlink::Addresses,
    },
};

const PORT: PortId = PortId(0);
/// Peers: source addresses in namespace b.
const SOURCES: std::ops::Range<u8> = 20..36;

fn config(device: &str, workers: &str) -> Config {
    toml::from_str(&format!(
        r#"
        [dpdk]
        hugepages = false
        memory_mb = 384
        mbufs = 65535
        [cores]
        workers = {workers}
        slow = 0
        poll = "adaptive"
        [[port]]
        name = "wan"
        device = "{device}"
        exception = "tan0"
        addresses = ["198.18.0.1/24", "2001:db8::1/64"]
        [[address]]
        name = "m"
        port = "wan"
        local = "198.18.0.1"
        [media]
        [sip]
        listen = []
        "#
    ))
    .unwrap()
}

/// What a laboratory's port needs, so that nothing but tandem answers on it.
fn silence(lab: &Inside) {
    lab.in_b("ethtool -K b0 tx off");
    run("ethtool", &["-K", "a0", "tx", "off"]);
    std::fs::write("/proc/sys/net/ipv6/conf/a0/disable_ipv6", "1").unwrap();
    std::fs::write("/proc/sys/net/ipv4/conf/a0/arp_ignore", "8").unwrap();
    run("nft", &["add", "table", "inet", "quiet"]);
    run("nft", &["add chain inet quiet first { type filter hook prerouting priority raw; }"]);
    run("nft", &["add rule inet quiet first iifname \"a0\" drop"]);
}

fn peer(lab: &Inside) {
    for source in SOURCES {
        lab.in_b(&format!("ip addr add 198.18.0.{source}/24 dev b0"));
    }
    lab.in_b("ip addr add 2001:db8::2/64 dev b0 nodad");
}

fn worker(mut io: DpdkIo, stop: &AtomicBool, punted: &AtomicUsize) {
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        io.rx(PORT, &mut burst);
        let received = burst.len();
        punted.fetch_add(received, Ordering::Relaxed);
        assert_eq!(io.punt(&mut burst), 0);
        io.injected(&mut burst);
        let injected = burst.len();
        io.tx(PORT, &mut burst);
        if received + injected == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The slow path, as small as can be, until `done`.
fn shovel(slow: &mut DpdkSlowIo, tap: &mut Exception, done: &AtomicBool) {
    let mut buffer = vec![0; tap.frame_bytes()];
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        assert!(start.elapsed() < Duration::from_secs(60), "the peer's commands hang");
        let mut moved = slow.punted(64, &mut |_, frame| {
            tap.write(frame);
        });
        while let Some(frame) = tap.read(&mut buffer).unwrap() {
            assert!(slow.inject(PORT, frame));
            moved += 1;
        }
        if moved == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Pings from every source, IPv4 and IPv6; `long` also a datagram of three fragments.
fn ping_all(lab: &Inside, long: bool) {
    let answered = |command: &str, count: usize| {
        let text = lab.in_b(command);
        assert!(text.contains(&format!("{count} received, 0% packet loss")), "{command}: {text}");
        assert!(!text.contains("DUP!"), "answered twice: {text}");
    };
    for source in SOURCES {
        answered(&format!("ping -c 3 -i 0.02 -W 2 -I 198.18.0.{source} 198.18.0.1"), 3);
    }
    answered("ping -c 20 -i 0.02 -W 2 2001:db8::1", 20);
    answered("ping -c 5 -i 0.05 -W 2 -s 1472 -M do 198.18.0.1", 5);
    if long {
        answered("ping -c 5 -i 0.05 -W 2 -s 4000 198.18.0.1", 5);
    }
}

/// Opens the edge on `device` and has the peer ping through it; what each worker punted.
fn proof(lab: &Inside, device: &str, workers: &str, long: bool) -> Vec<usize> {
    peer(lab);
    silence(lab);
    // The kernel behind the veth does not answer, though it has the address.
    run("ip", &["addr", "add", "198.18.0.1/32", "dev", "lo"]);
    assert!(
        !lab.attempt_in_b("ping -c 2 -i 0.2 -W 1 198.18.0.1").status.success(),
        "the kernel behind the port answers"
    );
    run("ip", &["addr", "del", "198.18.0.1/32", "dev", "lo"]);

    let config = config(device, workers);
    let mut opened = dpdk::open(&config).unwrap();
    let facts = &opened.ports[0];
    let of_veth = netns::mac(&run("cat", &["/sys/class/net/a0/address"]));
    assert_eq!((facts.mac, facts.mtu, facts.slow_queue), (of_veth, 1500, false));
    let port = &config.ports[0];
    let mut tap = Exception::open(PORT, &port.name, &port.exception, facts.mac, facts.mtu).unwrap();
    let refused = Addresses::open().unwrap().set_up(tap.ifindex(), port);
    assert!(refused.is_empty(), "{refused:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let punted: Arc<Vec<AtomicUsize>> = Arc::new(opened.workers.iter().map(|_| AtomicUsize::new(0)).collect());
    let jobs: Vec<_> = (0..)
        .zip(opened.workers.drain(..))
        .map(|(id, io)| {
            let (stop, punted) = (stop.clone(), punted.clone());
            let job = Box::new(move || worker(io, &stop, &punted[usize::from(id)]));
            opened.launcher.launch(WorkerId(id), job).unwrap()
        })
        .collect();

    let done = Arc::new(AtomicBool::new(false));
    let pings = std::thread::spawn({
        let (lab, done) = (lab.clone(), done.clone());
        move || {
            let pinged = std::panic::catch_unwind(|| ping_all(&lab, long));
            done.store(true, Ordering::Relaxed);
            pinged
        }
    });
    shovel(&mut opened.slow, &mut tap, &done);
    stop.store(true, Ordering::Relaxed);
    for job in jobs {
        opened.launcher.wait(job).unwrap();
    }
    assert!(pings.join().unwrap().is_ok(), "pings failed");
    let stats = opened.meters.ports[0].stats().unwrap();
    let punted: Vec<usize> = punted.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    println!("{device}: punted per worker {punted:?}, {stats:?}");
    assert_eq!(stats.rx_packets, punted.iter().sum::<usize>() as u64, "the port's counters agree");
    punted
}

fn in_lab(test: &str, name: &str, inner: impl FnOnce(&Inside)) {
    match inside() {
        Some(lab) => inner(&lab),
        None if possible(test) => Lab::lay(name, 1).run_inside(test),
        None => {}
    }
}

#[test]
fn af_packet_with_one_worker() {
    in_lab("af_packet_with_one_worker", "p1", |lab| {
        proof(lab, "net_af_packet0,iface=a0,framecnt=16384", "[1]", false);
    });
}

#[test]
fn af_packet_with_two_workers() {
    in_lab("af_packet_with_two_workers", "p2", |lab| {
        let punted = proof(lab, "net_af_packet0,iface=a0,qpairs=2", "[1, 0]", false);
        assert!(punted.iter().all(|n| *n > 0), "both workers received: {punted:?}");
    });
}

#[test]
fn af_xdp() {
    in_lab("af_xdp", "x1", |lab| {
        proof(lab, "net_af_xdp0,iface=a0", "[1]", true);
    });
}

#[test]
fn queues_that_do_not_fit_the_workers_are_refused() {
    in_lab("queues_that_do_not_fit_the_workers_are_refused", "q", |_| {
        let e = dpdk::open(&config("net_af_packet0,iface=a0,qpairs=2", "[1]")).err().unwrap();
        assert_eq!(
            e.to_string(),
            "port `wan`: `net_af_packet0,iface=a0,qpairs=2` spreads packets over 2 queues, but there are 1 worker(s), so \
             some would never be read: set qpairs=1, or name 2 CPUs in cores.workers"
        );
    });
}

#[test]
fn too_few_queues_are_refused() {
    in_lab("too_few_queues_are_refused", "f", |_| {
        let e = dpdk::open(&config("net_af_packet0,iface=a0", "[1, 0]")).err().unwrap().to_string();
        assert!(
            e.starts_with("port `wan`: `net_af_packet0,iface=a0` has 1 receive queue(s), but cores.workers asks for 2"),
            "{e}"
        );
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    in_lab("an_interface_that_is_not_there_is_named", "n", |_| {
        let e = dpdk::open(&config("net_af_packet0,iface=eth77", "[1]")).err().unwrap().to_string();
        assert!(e.starts_with("port `wan`: no device `net_af_packet0,iface=eth77`: "), "{e}");
        assert!(e.contains("Does the interface it names exist in this network namespace"), "{e}");
    });
}
