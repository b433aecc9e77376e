//! net_null under the real EAL, on ordinary memory, without root: receiving, sending, limits, counters, leaks.

use arrayvec::ArrayVec;
use dpdk_sys::{Eal, EalArgs, Error, Mbuf, Pool, PoolArgs, Port, PortArgs, Xstats};

type Burst = ArrayVec<Mbuf, 32>;

const BUFFERS: u32 = 2047;

fn arguments(pools: &[Pool], tx_queues: u16) -> PortArgs<'_> {
    PortArgs { rx_pools: pools, tx_queues, rx_descriptors: 64, tx_descriptors: 64, mtu: 1500, program_reta: false }
}

#[test]
fn net_null_gives_and_takes_bursts_and_leaks_nothing() {
    let eal = Eal::start(&EalArgs::ordinary(128, 0)).unwrap();
    assert_eq!(Eal::start(&EalArgs::ordinary(128, 0)).err(), Some(Error::AlreadyStarted));
    let pool = Pool::create(
        &eal,
        &PoolArgs { name: "p", count: BUFFERS, cache: 0, data_bytes: 2048, socket: None, shared_cpus: false },
    )
    .unwrap();
    assert_eq!((pool.capacity(), pool.available()), (BUFFERS, BUFFERS));

    assert_eq!(Port::find(&eal, "net_null0").err(), Some(Error::NoDevice("net_null0".into())));
    let port = Port::attach(&eal, "net_null0,size=172").unwrap();
    assert_eq!(Port::find(&eal, "net_null0").err(), Some(Error::InUse("net_null0".into())));
    let info = port.info().unwrap();
    assert_eq!(info.driver, "net_null");
    assert!(info.reta_size > 0, "net_null has a redirection table");

    let too_many = vec![pool; usize::from(info.max_rx_queues) + 1];
    let (port, e) = port.start(&arguments(&too_many, 1)).err().unwrap();
    assert_eq!(e, Error::Queues { what: "receive", has: info.max_rx_queues, wanted: info.max_rx_queues + 1 });
    let (port, e) = port.start(&PortArgs { mtu: 10, ..arguments(&[pool], 1) }).err().unwrap();
    assert!(e.to_string().starts_with("the MTU is 10; allowed is "), "{e}");

    // Two workers' queues and one more transmit queue, the table written over the two.
    let pools = [pool, pool];
    let started = port.start(&PortArgs { program_reta: true, ..arguments(&pools, 3) }).map_err(|(_, e)| e).unwrap();
    assert_eq!((started.rx.len(), started.tx.len()), (2, 3));
    // net_null computes no checksums: what it does not offer is not asked for.
    let facts = started.facts;
    assert!(!facts.tx_ipv4_checksum && !facts.tx_udp_checksum && !facts.rx_ipv4_checksum && !facts.rx_udp_checksum);
    assert!(started.port.mac().unwrap() != [0; 6]);
    assert!(!started.port.reset_wanted());

    let (mut rx, mut tx) = (started.rx, started.tx);
    let mut burst = Burst::new();
    assert_eq!(rx[1].rx(&mut burst), 32);
    assert_eq!(rx[1].rx(&mut burst), 0, "a full burst takes no more");
    assert!(burst.iter().all(|m| m.data().len() == 172 && m.total_len() == 172 && m.segments_len() == 1));
    burst.truncate(30);
    assert_eq!(rx[0].rx(&mut burst), 2, "what waits is appended");
    assert_eq!(pool.available(), BUFFERS - 32);
    assert_eq!(tx[2].tx(&mut burst).packets, 0);
    assert!(burst.is_empty());

    let stats = started.port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (34, 32));
    let mut xstats = Xstats::new(&started.port).unwrap();
    let read = |x: &mut Xstats, name: &str| x.read().unwrap().find(|(n, _)| *n == name).map(|(_, v)| v);
    assert_eq!(read(&mut xstats, "tx_good_packets"), Some(32));
    assert_eq!(read(&mut xstats, "rx_good_packets"), Some(34));
    assert_eq!(read(&mut xstats, "no such counter"), None);

    // The port closes with its last queue, and only then is it free again.
    drop((xstats, started.port, tx));
    assert_eq!(Port::find(&eal, "net_null0").err(), Some(Error::InUse("net_null0".into())));
    drop(rx);
    assert_eq!(Port::find(&eal, "net_null0").err(), Some(Error::NoDevice("net_null0".into())));
    assert_eq!(pool.available(), BUFFERS, "every buffer came back");
}
