//! What leaves while the lease holds, and what still does when it has run out.

use super::rig::*;
use crate::{
    base::ids::PortId,
    flow::{DropReason, Plan, PuntClass, counters::PortCounter},
    io::{PacketBuf, simulated::Frame},
    wire::{arp, ndp},
};

const OWN: &str = "198.18.2.11:5060";

fn mac() -> [u8; 6] {
    [2, 0, 0, 0, 1, 1]
}

fn bits(at: &str) -> u32 {
    match addr(at).ip() {
        std::net::IpAddr::V4(ip) => ip.to_bits(),
        std::net::IpAddr::V6(_) => panic!("{at} is no IPv4 address"),
    }
}

/// What the kernel wants sent by port 1; true if it left.
fn injects(rig: &mut Rig, data: &[u8]) -> bool {
    let before = rig.counters.drop_count(1, DropReason::Lease);
    rig.io.0.borrow_mut().injected.push_back(Frame::new(PortId(1), data));
    rig.worker.turn();
    let sent = rig.io.sent(PortId(1));
    let held = rig.counters.drop_count(1, DropReason::Lease) - before;
    assert_eq!(sent.len() as u64 + held, 1, "neither sent nor counted");
    sent.first().is_some_and(|frame| frame.data() == data)
}

#[test]
fn media_leaves_until_the_tick_at_which_the_lease_ends() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let media = |number| frame(PEER, LOCAL, &rtp(0, number, &speech()));
    rig.lease.extend(1_000);
    rig.io.0.borrow_mut().ticks = 999;
    assert_eq!(rig.pass(&media(1)).len(), 1);
    rig.io.0.borrow_mut().ticks = 1_000;
    rig.refused(&media(2), DropReason::Lease);
    rig.lease.extend(2_000);
    assert_eq!(rig.pass(&media(3)).len(), 1);
    rig.lease.end();
    rig.refused(&media(4), DropReason::Lease);
    // What no call would get either is counted as it always is.
    rig.refused(&frame(PEER, LOCAL, &[]), DropReason::Lease);
    assert_eq!(rig.count(PortCounter::RxPackets), 5);
}

#[test]
fn without_a_lease_the_kernel_still_hears_everybody() {
    let mut rig = Rig::new();
    rig.lease.end();
    rig.punted(&arp::announcement(mac(), bits(PEER)), PuntClass::Neighbour);
    rig.punted(&frame("198.18.1.20:5060", "198.18.1.10:5060", b"OPTIONS sip:a SIP/2.0\r\n"), PuntClass::Sip);
}

#[test]
fn without_a_lease_the_kernel_speaks_for_this_host_only() {
    let mut rig = Rig::new();
    let sip = |from| frame(from, FAR, b"SIP/2.0 200 OK\r\n");
    let floating = [sip(OUT), frame(OUT6, FAR6, b"x"), arp::announcement(mac(), bits(OUT)).to_vec(), {
        let std::net::IpAddr::V6(ip) = addr(OUT6).ip() else { panic!("{OUT6} is no IPv6 address") };
        ndp::announcement(mac(), ip.to_bits()).to_vec()
    }];
    let own = [sip(OWN), arp::announcement(mac(), bits(OWN)).to_vec()];
    for data in floating.iter().chain(&own) {
        assert!(injects(&mut rig, data));
    }
    rig.lease.end();
    for data in &floating {
        assert!(!injects(&mut rig, data));
    }
    for data in &own {
        assert!(injects(&mut rig, data));
    }
}

#[test]
fn what_was_decided_before_a_pause_does_not_leave_after_it() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let media = |number| frame(PEER, LOCAL, &rtp(0, number, &speech()));
    // The first look at the clock is before the lease's end, the second one, after the verdicts, behind it.
    rig.lease.extend(1_000);
    (rig.io.0.borrow_mut().ticks, rig.io.0.borrow_mut().pace) = (999, 50);
    rig.io.0.borrow_mut().injected.push_back(Frame::new(PortId(1), &frame(OWN, FAR, b"own")));
    for number in 0..40 {
        rig.io.arrive(PortId(0), &media(number));
    }
    rig.worker.turn();
    let sent = rig.io.sent(PortId(1));
    assert_eq!(sent.len(), 1, "only what this host sends in its own name");
    assert_eq!(rig.counters.drop_count(1, DropReason::Lease), 32);
    assert_eq!(rig.counters.count(1, PortCounter::TxPackets), 1);
    assert_eq!(rig.counters.count(1, PortCounter::TxBytes), sent[0].data().len() as u64);
}

#[test]
fn more_than_a_burst_for_one_port_leaves_in_order() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    rig.publish(OUT, &Plan { admit: crate::flow::plan::Admit::Exact(addr(FAR)), ..plan() });
    for number in 0..32 {
        rig.io.arrive(PortId(0), &frame(PEER, LOCAL, &rtp(0, number, &speech())));
        let mut back = frame(FAR, OUT, &rtp(0, 100 + number, &speech()));
        back[..6].copy_from_slice(&mac());
        rig.io.arrive(PortId(1), &back);
    }
    rig.worker.turn();
    let sent = rig.io.sent(PortId(1));
    // RTP's sequence number stands 14 + 20 + 8 + 2 bytes into the frame.
    let numbers: Vec<u8> = sent.iter().map(|frame| frame.data()[45]).collect();
    let expected: Vec<u8> = (0..32).chain(100..132).collect();
    assert_eq!(numbers, expected);
}
