//! Who gets in, and under which reason the rest stays out.

use super::rig::*;
use crate::{
    base::ids::{SessionId, Side},
    flow::{DropReason, PtOp, counters::PortCounter, event::Candidate, plan::Admit},
    io::PacketBuf,
};

const STRANGER: &str = "198.18.1.66:40000";

#[test]
fn a_source_that_is_not_admitted_is_dropped_and_told_to_nobody() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    for from in [STRANGER, "198.18.1.20:40001"] {
        rig.refused(&frame(from, LOCAL, &rtp(0, 1, &speech())), DropReason::Source);
    }
    assert!(rig.events.is_empty());
    let mut v6 = Rig::new();
    v6.publish(LOCAL6, &crate::flow::Plan { admit: Admit::Exact(addr(PEER6)), ..plan() });
    v6.refused(&frame("[2001:db8:1::66]:40000", LOCAL6, &rtp(0, 1, &speech())), DropReason::Source);
}

#[test]
fn while_the_window_is_open_a_plausible_stranger_is_a_candidate_and_still_dropped() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { candidates: true, version: 5, ..plan() });
    rig.refused(&frame(STRANGER, LOCAL, &rtp(0, 77, &speech())), DropReason::Source);
    let expected = Candidate {
        session: SessionId(7),
        side: Side::A,
        version: 5,
        source: addr(STRANGER),
        ssrc: 0xdead_beef,
        sequence: 77,
    };
    assert_eq!(rig.events.pop(), Some(expected));
    assert_eq!(rig.count(PortCounter::Candidates), 1);
}

#[test]
fn a_stranger_with_another_payload_type_or_no_rtp_is_no_candidate() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { candidates: true, ..plan() });
    rig.refused(&frame(STRANGER, LOCAL, &rtp(18, 1, &speech())), DropReason::Source);
    rig.refused(&frame(STRANGER, LOCAL, b"hello, world"), DropReason::BadRtp);
    assert!(rig.events.is_empty());
}

#[test]
fn candidates_beyond_the_queue_are_counted_and_forgotten() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { candidates: true, ..plan() });
    for number in 0..6 {
        rig.refused(&frame(STRANGER, LOCAL, &rtp(0, number, &speech())), DropReason::Source);
    }
    assert_eq!((rig.count(PortCounter::Candidates), rig.count(PortCounter::CandidatesLost)), (4, 2));
}

#[test]
fn a_payload_type_that_was_not_negotiated_stays_out() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    rig.refused(&frame(PEER, LOCAL, &rtp(18, 1, &speech())), DropReason::PayloadType);
}

#[test]
fn each_defect_has_its_reason() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &crate::flow::Plan { rules: vec![rule(0, 8, PtOp::MuToA)], ..plan() });
    let good = frame(PEER, LOCAL, &rtp(0, 1, &speech()));
    let changed = |at: usize, value: u8| {
        let mut f = good.clone();
        f[at] = value;
        // Keep the IPv4 checksum right, so that only the defect shows.
        f[24..26].copy_from_slice(&[0, 0]);
        let checksum = !(sum(&f[14..34]) as u16);
        f[24..26].copy_from_slice(&checksum.to_be_bytes());
        f
    };
    rig.refused(&good[..13], DropReason::ShortEthernet);
    rig.refused(&changed(5, 9), DropReason::OtherMac);
    rig.refused(&changed(14, 0x44), DropReason::BadIp);
    rig.refused(&changed(16, 0xff), DropReason::BadIp);
    let mut bad = good.clone();
    bad[24] ^= 1;
    rig.refused(&bad, DropReason::IpChecksum);
    rig.refused(&changed(38, 0xff), DropReason::BadUdp);
    rig.refused(&changed(42, 0x40), DropReason::BadRtp);
    rig.refused(&frame(PEER, LOCAL, &[]), DropReason::BadRtp);
    rig.refused(&frame(PEER, "198.18.1.10:20002", &rtp(0, 1, &speech())), DropReason::NoFlow);
    rig.refused(&frame(PEER, LOCAL, &[0x80, 200, 0, 1, 0, 0, 0, 0]), DropReason::NoFlow);
    rig.refused(&frame(PEER, OUT, &rtp(0, 1, &speech())), DropReason::NoFlow);
    assert_eq!(rig.pass(&good).len(), 1);
}

#[test]
fn every_truncation_of_a_frame_is_dropped_or_punted_and_counted() {
    for (from, local) in [(PEER, LOCAL), (PEER6, LOCAL6)] {
        let mut rig = Rig::new();
        rig.publish(local, &crate::flow::Plan { admit: Admit::Exact(addr(from)), ..plan() });
        let good = frame(from, local, &rtp(0, 1, &speech()));
        for cut in 0..good.len() {
            assert!(rig.pass(&good[..cut]).is_empty(), "{cut} bytes were forwarded");
        }
        assert_eq!(rig.drops().iter().sum::<u64>(), good.len() as u64);
    }
}

#[test]
fn rtcp_is_admitted_by_address_and_read() {
    let mut rig = Rig::new();
    let at = "198.18.1.10:20001";
    let p = crate::flow::Plan { rtcp: true, admit: Admit::Address(addr(PEER).ip()), rules: vec![], ..plan() };
    rig.publish(at, &p);
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 64, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 80];
    report.extend_from_slice(&[0; 8]);
    let sent = rig.pass(&frame("198.18.1.20:51234", at, &report));
    let (_, _, udp) = parts(sent[0].data());
    assert_eq!(udp[8..], report);
    assert!(udp_checksum_holds(sent[0].data()));
    let key = rig.publisher.key(addr(at), crate::flow::FlowClass::Rtcp).unwrap();
    let state = rig.table.state(rig.table.lookup(key).unwrap()).rtcp();
    assert_eq!((state.fraction_lost, state.jitter, state.source_port, state.reports), (64, 80, 51_234, 1));
    // RFC 3611 §4.7: VoIP metrics with a round trip of 258 ms and an R factor of 93.
    let mut extended = vec![0x80, 207, 0, 10, 0, 0, 0, 1, 7, 0, 0, 8];
    let mut block = [0u8; 32];
    (block[4], block[12], block[13], block[20]) = (25, 0x01, 0x02, 93);
    extended.extend_from_slice(&block);
    rig.pass(&frame("198.18.1.20:51234", at, &extended));
    let state = rig.table.state(rig.table.lookup(key).unwrap()).rtcp();
    assert_eq!((state.round_trip_ms, state.loss_rate, state.r_factor, state.reports), (258, 25, 93, 1));
    rig.refused(&frame(STRANGER, at, &report), DropReason::Source);
    rig.refused(&frame(PEER, at, &report[..31]), DropReason::BadRtcp);
    rig.refused(&frame(PEER, at, &rtp(0, 1, &speech())), DropReason::NoFlow);
}
