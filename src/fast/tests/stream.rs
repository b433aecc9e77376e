//! What the worker writes down of a stream, and who writes it.

use super::rig::*;
use crate::{
    base::ids::{PortId, WorkerId},
    flow::{
        FlowClass,
        counters::PortCounter,
        state::{StateLine, Tally},
    },
};

fn line(rig: &Rig) -> StateLine {
    let key = rig.publisher.key(addr(LOCAL), FlowClass::Rtp).unwrap();
    rig.table.state(rig.table.lookup(key).unwrap())
}

#[test]
fn packets_loss_order_and_silence_are_counted() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    for (number, payload) in [(1, 0xffu8), (2, 0x7f), (5, 0x00), (4, 0x00), (5, 0x00)] {
        rig.pass(&frame(PEER, LOCAL, &rtp(0, number, &[payload; 160])));
    }
    let state = line(&rig).rtp();
    assert_eq!((state.packets, state.bytes), (5, 5 * 172));
    assert_eq!((state.sequence.lost(), state.sequence.reordered, state.sequence.duplicate), (1, 1, 1));
    // G.711: 0xff and 0x7f are μ-law's two zeros, 0x00 its loudest.
    assert_eq!(state.silent, 2);
    assert_eq!(line(&rig).owner(), Some(WorkerId(0)));
}

#[test]
fn jitter_is_measured_in_the_streams_own_clock() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    for number in 0..100u16 {
        // The simulated clock counts microseconds: alternately 20 ms and 24 ms late in turns of two.
        rig.io.0.borrow_mut().ticks = 1_000_000 + u64::from(number) * 20_000 + u64::from(number % 2) * 4_000;
        rig.pass(&frame(PEER, LOCAL, &rtp(0, number, &speech())));
    }
    // |D| is 4 ms each time, so the estimate tends to 4 ms (RFC 3550 §6.4.1).
    let jitter = line(&rig).rtp().jitter.millis(8_000);
    assert!((jitter - 4.0).abs() < 0.2, "{jitter}");
}

#[test]
fn another_worker_forwards_without_touching_the_line() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    rig.pass(&frame(PEER, LOCAL, &rtp(0, 1, &speech())));
    let before = line(&rig).rtp();
    let (io, mut second, counters) = rig.second();
    for number in 2..5 {
        io.arrive(PortId(0), &frame(PEER, LOCAL, &rtp(0, number, &speech())));
        second.turn();
    }
    assert_eq!(io.sent(PortId(1)).len(), 3, "no packet is lost over it");
    assert_eq!(line(&rig).rtp(), before);
    assert_eq!(line(&rig).tallied(Tally::OffOwner), 3);
    assert_eq!(counters.count(0, PortCounter::OffOwner), 3);
}

#[test]
fn a_new_version_is_claimed_by_whoever_sees_it_first() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    rig.pass(&frame(PEER, LOCAL, &rtp(0, 1, &speech())));
    rig.publish(LOCAL, &crate::flow::Plan { version: 2, ..plan() });
    let (io, mut second, _) = rig.second();
    io.arrive(PortId(0), &frame(PEER, LOCAL, &rtp(0, 2, &speech())));
    second.turn();
    assert_eq!(line(&rig).owner(), Some(WorkerId(1)));
    assert_eq!(line(&rig).rtp().packets, 1, "a line of its own");
}

#[test]
fn a_withdrawn_flow_forwards_nothing_from_the_next_burst_on() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let key = rig.publisher.key(addr(LOCAL), FlowClass::Rtp).unwrap();
    rig.publisher.withdraw(key);
    rig.refused(&frame(PEER, LOCAL, &rtp(0, 1, &speech())), crate::flow::DropReason::NoFlow);
}

#[test]
fn refused_packets_are_tallied_on_the_flow() {
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    rig.pass(&frame("198.18.1.66:1", LOCAL, &rtp(0, 1, &speech())));
    rig.pass(&frame(PEER, LOCAL, &rtp(18, 1, &speech())));
    rig.pass(&frame(PEER, LOCAL, b"no RTP at all"));
    let line = line(&rig);
    assert_eq!([Tally::Source, Tally::PayloadType, Tally::Other].map(|t| line.tallied(t)), [1, 1, 1]);
    assert!(!line.is_claimed());
}
