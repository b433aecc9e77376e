//! net_ring as a loop, and rings between threads.

use arrayvec::ArrayVec;
use dpdk_sys::{Eal, EalArgs, Mbuf, Pool, PoolArgs, Port, PortArgs, ring};

type Burst = ArrayVec<Mbuf, 32>;

#[test]
fn what_goes_in_comes_out_in_order_and_the_rest_is_freed() {
    let eal = Eal::start(&EalArgs::ordinary(64, 0)).unwrap();
    let pool = Pool::create(
        &eal,
        &PoolArgs { name: "p", count: 1023, cache: 0, data_bytes: 256, socket: None, shared_cpus: false },
    )
    .unwrap();
    let numbered =
        |from: u8, n: u8| -> Burst { (from..from + n).map(|i| Mbuf::from_bytes(&pool, &[i, 0xAB]).unwrap()).collect() };

    // The device net_ring hands its transmit queue to its receive queue.
    let port = Port::attach(&eal, "net_ring0").unwrap();
    let pools = [pool];
    let arguments = PortArgs {
        rx_pools: &pools,
        tx_queues: 1,
        rx_descriptors: 64,
        tx_descriptors: 64,
        mtu: 1500,
        program_reta: false,
    };
    let mut started = port.start(&arguments).map_err(|(_, e)| e).unwrap();
    assert_eq!(started.tx[0].tx(&mut numbered(0, 20)).packets, 0);
    let mut back = Burst::new();
    assert_eq!(started.rx[0].rx(&mut back), 20);
    assert!((0u8..).zip(&back).all(|(i, m)| m.data() == [i, 0xAB]));
    drop(back);
    drop(started);
    assert_eq!(pool.available(), 1023);

    // One producer, one consumer: 63 fit.
    let (mut producer, mut consumer) = ring::single(&eal, "r1", 63, None).unwrap();
    assert!(ring::single(&eal, "r1", 63, None).is_err(), "names are used once");
    let level = producer.level();
    assert_eq!((level.count(), level.capacity()), (0, 63));
    assert_eq!(producer.enqueue(&mut numbered(0, 32)), 0);
    let mut second = numbered(32, 32);
    assert_eq!(producer.enqueue(&mut second), 1, "the 64th has no room");
    assert!(second.is_empty());
    assert_eq!((level.count(), pool.available()), (63, 1023 - 63), "and was freed");
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut burst = Burst::new();
        while !consumer.is_empty() {
            consumer.dequeue(&mut burst);
            seen.extend(burst.drain(..).map(|m| m.data()[0]));
        }
        (seen, consumer)
    });
    let (seen, consumer) = thread.join().unwrap();
    assert_eq!(seen, (0..63).collect::<Vec<u8>>());
    assert_eq!(producer.enqueue(&mut numbered(0, 10)), 0);
    drop((producer, consumer));
    assert_eq!(pool.available(), 1023 - 10, "a level reader keeps the ring");
    drop(level);
    assert_eq!(pool.available(), 1023, "the last handle frees what a ring still held");

    // Several producers.
    let (shared, mut consumer) = ring::shared(&eal, "r2", 255, None).unwrap();
    let threads: Vec<_> = (0..4u8)
        .map(|t| {
            let (shared, mut burst) = (shared.clone(), numbered(t * 32, 32));
            std::thread::spawn(move || shared.enqueue(&mut burst))
        })
        .collect();
    assert!(threads.into_iter().all(|t| t.join().unwrap() == 0));
    let mut seen = Vec::new();
    let mut burst = Burst::new();
    while consumer.dequeue(&mut burst) > 0 {
        seen.extend(burst.drain(..).map(|m| m.data()[0]));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..128).collect::<Vec<u8>>());
}
