//! Packets: what may be read and changed, chains, flags; and that every buffer comes back.

use arrayvec::ArrayVec;
use dpdk_sys::{Checksum, Eal, EalArgs, Mbuf, Pool, PoolArgs, TxChecksums};

#[test]
fn packets_keep_their_bounds() {
    let eal = Eal::start(&EalArgs::ordinary(64, 0)).unwrap();
    let pool = Pool::create(
        &eal,
        &PoolArgs { name: "p", count: 255, cache: 0, data_bytes: 256, socket: None, shared_cpus: true },
    )
    .unwrap();
    assert_eq!(size_of::<Option<Mbuf>>(), size_of::<*const u8>());

    let bytes: Vec<u8> = (0..200).collect();
    let mut m = Mbuf::from_bytes(&pool, &bytes).unwrap();
    assert_eq!((m.data(), m.total_len(), m.segments_len()), (&bytes[..], 200, 1));

    // Front: the pool gives 128 bytes of headroom.
    assert_eq!(m.headroom(), 128);
    assert!(!m.prepend(129) && m.total_len() == 200);
    assert!(m.prepend(4) && m.headroom() == 124 && m.total_len() == 204);
    m.data_mut()[..4].copy_from_slice(&[9, 8, 7, 6]);
    assert_eq!(m.data()[..6], [9, 8, 7, 6, 0, 1]);
    assert!(m.adj(6) && m.data()[0] == 2 && m.total_len() == 198);
    assert!(!m.adj(199) && m.total_len() == 198);
    // Back.
    assert!(m.trim(98) && m.data() == &bytes[2..102]);
    assert!(!m.trim(101) && m.trim(100) && m.data().is_empty());
    assert!(!m.trim(usize::MAX) && !m.adj(usize::MAX) && !m.prepend(usize::MAX));

    // A jumbo frame: several segments, of which the first is what may be changed.
    let jumbo: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
    let mut chain = Mbuf::from_bytes(&pool, &jumbo).unwrap();
    assert_eq!((chain.segments_len(), chain.total_len(), chain.data().len()), (4, 1000, 256));
    assert_eq!(chain.segments().collect::<Vec<_>>().concat(), jumbo);
    assert!(!chain.trim(1), "the tail is in another segment");
    assert!(chain.adj(14) && chain.total_len() == 986);
    assert_eq!(chain.segments().collect::<Vec<_>>().concat(), jumbo[14..]);
    assert_eq!(pool.available(), 255 - 5);
    drop(chain);
    assert_eq!(pool.available(), 255 - 1, "a chain is freed whole");

    // Flags, as rte_mbuf_core.h numbers them: bit 4 bad IP, bit 7 good IP, bit 3 bad L4, bit 8 good L4.
    let seen = |m: &mut Mbuf, flags| {
        m.set_ol_flags(flags);
        let all = [Checksum::Unknown, Checksum::Good, Checksum::Bad];
        let ip: Vec<_> = all.into_iter().filter(|seen| m.rx_ip_checksum_is(*seen)).collect();
        let l4: Vec<_> = all.into_iter().filter(|seen| m.rx_l4_checksum_is(*seen)).collect();
        assert_eq!((ip.len(), l4.len()), (1, 1), "one of the three");
        (ip[0], l4[0])
    };
    assert_eq!(seen(&mut m, 0), (Checksum::Unknown, Checksum::Unknown));
    assert_eq!(seen(&mut m, 1 << 7 | 1 << 3), (Checksum::Good, Checksum::Bad));
    assert_eq!(seen(&mut m, 1 << 4 | 1 << 8), (Checksum::Bad, Checksum::Good));
    // Both bits: the device did not look.
    assert_eq!(seen(&mut m, 1 << 4 | 1 << 7), (Checksum::Unknown, Checksum::Unknown));
    // Transmission: bit 54 IP, bits 52–53 = 3 UDP, bit 55 IPv4, bit 56 IPv6. Reception's bits stay.
    m.set_ol_flags(1 << 7);
    m.request_checksums(TxChecksums { l2_len: 14, l3_len: 20, ipv6: false, ip: true, udp: true });
    assert_eq!(m.ol_flags(), 1 << 7 | 1 << 54 | 3 << 52 | 1 << 55);
    m.request_checksums(TxChecksums { l2_len: 14, l3_len: 40, ipv6: true, ip: true, udp: true });
    assert_eq!(m.ol_flags(), 1 << 7 | 3 << 52 | 1 << 56, "IPv6 has no header checksum");
    m.set_port(3);
    assert_eq!(m.port(), 3);
    drop(m);

    // An empty pool says so, also in the middle of a chain, and gets everything back.
    let mut all: Vec<Mbuf> = std::iter::from_fn(|| Mbuf::alloc(&pool)).collect();
    assert_eq!(all.len(), 255);
    all.truncate(253);
    assert!(Mbuf::from_bytes(&pool, &jumbo).is_none());
    assert_eq!(pool.available(), 2);
    let one: ArrayVec<Mbuf, 1> = Mbuf::from_bytes(&pool, &[]).into_iter().collect();
    assert!(one[0].data().is_empty());
    drop((all, one));
    assert_eq!(pool.available(), 255);
}
