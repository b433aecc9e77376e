//! What leaves: addresses, checksums, payload types, conversion, both families.

use super::rig::*;
use crate::{
    base::ids::PortId,
    config::Punt,
    flow::{DropReason, PtOp, counters::PortCounter, nexthop::NextHopId, plan::Admit},
    io::{Checked, PacketBuf, TxOffloads, simulated::Frame},
};

#[test]
fn a_relayed_packet_has_new_headers_and_its_payload_untouched() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let payload = rtp(0, 1, &speech());
    let sent = rig.pass(&frame(PEER, LOCAL, &payload));
    let out = sent[0].data();
    assert_eq!(out[..6], HOP_MAC);
    assert_eq!(out[6..12], [2, 0, 0, 0, 1, 1], "the MAC of the port it leaves by");
    let (from, to, udp) = parts(out);
    assert_eq!((from, to), (addr(OUT), addr(FAR)));
    assert_eq!(udp[8..], payload);
    assert_eq!(out[15], 46 << 2, "DSCP EF");
    assert_eq!(out[22], 64, "a fresh hop count");
    assert_eq!(sum(&out[14..34]), 0xffff, "IPv4 header checksum");
    assert!(udp_checksum_holds(out));
    assert_eq!(rig.count(PortCounter::RxPackets), 1);
    assert_eq!(rig.counters.count(1, PortCounter::TxPackets), 1);
    assert_eq!(rig.drops().iter().sum::<u64>(), 0);
}

#[test]
fn every_pair_of_families_is_joined() {
    for (local, peer) in [(LOCAL, PEER), (LOCAL6, PEER6)] {
        for (out, far) in [(OUT, FAR), (OUT6, FAR6)] {
            let mut rig = Rig::new();
            let p = crate::flow::Plan {
                admit: Admit::Exact(addr(peer)),
                out_source: addr(out),
                out_destination: Some(addr(far)),
                ..plan()
            };
            rig.publish(local, &p);
            let payload = rtp(8, 9, &speech());
            let sent = rig.pass(&frame(peer, local, &payload));
            let (from, to, udp) = parts(sent[0].data());
            assert_eq!((from, to, &udp[8..]), (addr(out), addr(far), &payload[..]));
            assert!(udp_checksum_holds(sent[0].data()), "{peer} to {far}");
            if addr(out).is_ipv6() {
                assert_eq!(sent[0].data()[14..16], [0x6b, 0x80], "DSCP EF in the traffic class");
            }
        }
    }
}

#[test]
fn a_converted_packet_changes_type_and_payload_and_its_checksum_stays_right() {
    let vectors = crate::codec::Kernel::available()[0];
    for (op, pt_in, pt_out) in [(PtOp::MuToA, 0, 8), (PtOp::AToMu, 8, 0)] {
        let mut rig = Rig::new();
        rig.publish(LOCAL, &crate::flow::Plan { rules: vec![rule(pt_in, pt_out, op)], ..plan() });
        for len in [0, 1, 79, 80, 160, 161, 240] {
            let speech: Vec<u8> = speech().into_iter().cycle().take(len).collect();
            let sent = rig.pass(&frame(PEER, LOCAL, &rtp(pt_in, len as u16, &speech)));
            let mut expected = speech.clone();
            // The conversion itself is proved against libspandsp's tables in `codec`.
            match op {
                PtOp::MuToA => vectors.mu_to_a(&mut expected),
                _ => vectors.a_to_mu(&mut expected),
            };
            let (_, _, udp) = parts(sent[0].data());
            assert_eq!(udp[9], pt_out);
            assert_eq!(udp[20..], expected);
            assert!(udp_checksum_holds(sent[0].data()), "{len} bytes");
        }
        assert_eq!(rig.count(PortCounter::Transcoded), 7);
    }
}

#[test]
fn padding_and_extension_are_not_converted() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { rules: vec![rule(0, 8, PtOp::MuToA)], ..plan() });
    let mut payload = rtp(0, 1, &[]);
    payload[0] |= 0x30;
    payload.extend_from_slice(&[0xbe, 0xde, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    payload.extend_from_slice(&[0xff; 8]);
    payload.extend_from_slice(&[0xff, 0xff, 0xff, 4]);
    let sent = rig.pass(&frame(PEER, LOCAL, &payload));
    let (_, _, udp) = parts(sent[0].data());
    // G.711: μ-law 0xff is A-law 0xd5, both zero.
    assert_eq!(udp[8 + 16..8 + 20], [0xff; 4]);
    assert_eq!(udp[8 + 20..8 + 28], [0xd5; 8]);
    assert_eq!(udp[8 + 28..], [0xff, 0xff, 0xff, 4]);
    assert!(udp_checksum_holds(sent[0].data()));
}

#[test]
fn a_dynamic_payload_type_gets_the_other_sides_number_and_keeps_the_marker() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let sent = rig.pass(&frame(PEER, LOCAL, &rtp(0x80 | 101, 1, &[5, 0x8a, 0, 160])));
    let (_, _, udp) = parts(sent[0].data());
    assert_eq!(udp[9], 0x80 | 96);
    assert_eq!(udp[20..], [5, 0x8a, 0, 160]);
    assert!(udp_checksum_holds(sent[0].data()));
}

#[test]
fn a_corrupt_packet_leaves_as_corrupt_as_it_came() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { rules: vec![rule(0, 8, PtOp::MuToA)], ..plan() });
    let mut corrupt = frame(PEER, LOCAL, &rtp(0, 1, &speech()));
    corrupt[100] ^= 0x10;
    let sent = rig.pass(&corrupt);
    assert!(!udp_checksum_holds(sent[0].data()));
}

#[test]
fn no_checksum_stays_none_over_ipv4_and_is_made_for_ipv6() {
    let mut without = frame(PEER, LOCAL, &rtp(0, 1, &speech()));
    without[40..42].copy_from_slice(&[0, 0]);
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let sent = rig.pass(&without);
    assert_eq!(sent[0].data()[40..42], [0, 0]);
    let p = crate::flow::Plan { out_source: addr(OUT6), out_destination: Some(addr(FAR6)), ..plan() };
    rig.publish(LOCAL, &p);
    let sent = rig.pass(&without);
    assert!(udp_checksum_holds(sent[0].data()));
}

#[test]
fn ip_options_and_ethernet_padding_do_not_travel() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let plain = frame(PEER, LOCAL, &rtp(0, 1, &[0xff]));
    let mut f = plain[..34].to_vec();
    f[14] = 0x46;
    f[16..18].copy_from_slice(&((plain.len() - 14 + 4) as u16).to_be_bytes());
    f.extend_from_slice(&[1, 1, 1, 0]);
    f[24..26].copy_from_slice(&[0, 0]);
    let checksum = !(sum(&f[14..38]) as u16);
    f[24..26].copy_from_slice(&checksum.to_be_bytes());
    f.extend_from_slice(&plain[34..]);
    f.resize(64, 0xee);
    let sent = rig.pass(&f);
    assert_eq!(sent[0].data().len(), plain.len());
    assert!(udp_checksum_holds(sent[0].data()));
}

#[test]
fn the_device_fills_in_checksums_only_where_it_found_them_right() {
    let offloads = TxOffloads { ipv4_checksum: true, udp_checksum: true };
    for (found, asked) in [(Checked::Good, true), (Checked::Unknown, false), (Checked::Bad, false)] {
        let mut rig = Rig::with(offloads, Punt::default());
        rig.publish(LOCAL, &plan());
        let mut f = Frame::new(PortId(0), &frame(PEER, LOCAL, &rtp(0, 1, &speech())));
        f.checks = (Checked::Good, found);
        rig.io.0.borrow_mut().arriving[0].push_back(f);
        rig.worker.turn();
        let sent = rig.io.sent(PortId(1));
        let request = sent[0].request.unwrap();
        assert_eq!((request.ip, request.udp, request.l2_len, request.l3_len), (true, asked, 14, 20));
        let mut out = sent[0].data().to_vec();
        if asked {
            // What the device does: sums the datagram, pseudo-header's sum in place, and inverts.
            let filled = !(sum(&out[34..]) as u16);
            out[40..42].copy_from_slice(&filled.to_be_bytes());
        }
        assert!(udp_checksum_holds(&out), "{found:?}");
    }
}

#[test]
fn what_cannot_leave_is_counted_and_dropped() {
    let good = frame(PEER, LOCAL, &rtp(0, 1, &speech()));
    let with = |change: fn(&mut crate::flow::Plan)| {
        let mut rig = Rig::new();
        let mut p = plan();
        change(&mut p);
        rig.publish(LOCAL, &p);
        rig
    };
    with(|p| p.next_hop = NextHopId(2)).refused(&good, DropReason::NoNeighbour);
    with(|p| p.out_destination = None).refused(&good, DropReason::NoRemote);
    with(|p| p.muted = true).refused(&good, DropReason::Muted);
    // 1,472 bytes of payload fit IPv4's 1,500; IPv6's header is 20 bytes longer.
    let large = frame(PEER, LOCAL, &rtp(0, 1, &[0xff; 1460]));
    assert_eq!(with(|_| ()).pass(&large).len(), 1);
    with(|p| (p.out_source, p.out_destination) = (addr(OUT6), Some(addr(FAR6)))).refused(&large, DropReason::TooBig);
    let mut rig = with(|_| ());
    rig.io.0.borrow_mut().tx_room = 0;
    rig.pass(&good);
    assert_eq!(rig.counters.drop_count(1, DropReason::TxFull), 1);
}

#[test]
fn a_chained_buffer_is_relayed_but_not_converted() {
    for (op, pt_out, forwarded) in [(PtOp::Relay, 0, 1), (PtOp::MuToA, 8, 0)] {
        let mut rig = Rig::new();
        rig.publish(LOCAL, &crate::flow::Plan { rules: vec![rule(0, pt_out, op)], ..plan() });
        let whole = frame(PEER, LOCAL, &rtp(0, 1, &[0xff; 1000]));
        let mut f = Frame::new(PortId(0), &whole[..200]);
        f.beyond = whole.len() - 200;
        rig.io.0.borrow_mut().arriving[0].push_back(f);
        rig.worker.turn();
        assert_eq!(rig.io.sent(PortId(1)).len(), forwarded);
    }
}
