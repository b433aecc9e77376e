//! What the kernel gets, and how much of it.

use super::rig::*;
use crate::{
    base::ids::PortId,
    config::Punt,
    flow::{DropReason, PuntClass, counters::PortCounter},
    io::{PacketBuf, TxOffloads, simulated::Frame},
};

/// `frame`, with another IP protocol number and its checksum put right.
fn of_protocol(mut f: Vec<u8>, protocol: u8) -> Vec<u8> {
    if f[12] == 8 {
        f[23] = protocol;
        f[24..26].copy_from_slice(&[0, 0]);
        let checksum = !(sum(&f[14..34]) as u16);
        f[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        f[20] = protocol;
    }
    f
}

fn fragment(mut f: Vec<u8>, flags_and_offset: [u8; 2]) -> Vec<u8> {
    f[20..22].copy_from_slice(&flags_and_offset);
    of_protocol(f, 17)
}

#[test]
fn each_class_goes_to_the_kernel_unchanged() {
    let mut rig = Rig::new();
    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&[2, 0, 0, 0, 9, 9, 8, 6]);
    arp.extend_from_slice(&[0; 46]);
    rig.punted(&arp, PuntClass::Neighbour);
    let sip = |from, to| frame(from, to, b"OPTIONS sip:a SIP/2.0\r\n");
    rig.punted(&sip("198.18.1.20:5060", "198.18.1.10:5060"), PuntClass::Sip);
    rig.punted(&sip("198.18.1.20:5060", "198.18.1.10:40000"), PuntClass::Sip);
    rig.punted(&sip("[2001:db8:1::20]:5060", "[2001:db8:1::10]:5060"), PuntClass::Sip);
    rig.punted(&of_protocol(sip("198.18.1.20:5060", "198.18.1.10:40000"), 6), PuntClass::Sip);
    rig.punted(&of_protocol(sip("198.18.1.20:22", "198.18.1.10:40000"), 6), PuntClass::Other);
    rig.punted(&of_protocol(sip(PEER, LOCAL), 1), PuntClass::Icmp);
    let mut echo = of_protocol(frame(PEER6, LOCAL6, &[]), 58);
    echo[54] = 128;
    rig.punted(&echo, PuntClass::Icmp);
    echo[54] = 135;
    rig.punted(&echo, PuntClass::Neighbour);
    rig.punted(&frame(PEER, "198.18.1.10:9", b"x"), PuntClass::Other);
    let mut vlan = arp.clone();
    vlan[12..14].copy_from_slice(&[0x81, 0]);
    rig.punted(&vlan, PuntClass::Other);
}

#[test]
fn media_ports_of_an_address_that_is_not_ours_are_the_kernels_business() {
    let mut rig = Rig::new();
    rig.punted(&frame(PEER, "198.18.1.11:20000", &rtp(0, 1, &speech())), PuntClass::Other);
}

#[test]
fn fragments_go_to_the_kernel_but_never_for_a_media_port() {
    let mut rig = Rig::new();
    let sip = frame("198.18.1.20:5060", "198.18.1.10:5060", &[b'x'; 64]);
    rig.punted(&fragment(sip.clone(), [0x20, 0]), PuntClass::Fragment);
    rig.punted(&fragment(sip, [0x00, 0xb9]), PuntClass::Fragment);
    let media = frame(PEER, LOCAL, &rtp(0, 1, &speech()));
    rig.refused(&fragment(media.clone(), [0x20, 0]), DropReason::MediaFragment);
    // Behind the first, nothing tells the port: the kernel waits for a first fragment that never comes.
    rig.punted(&fragment(media, [0x00, 0xb9]), PuntClass::Fragment);
}

#[test]
fn a_flood_of_one_class_takes_nothing_from_another() {
    let mut rig = Rig::with(TxOffloads::default(), Punt { icmp_pps: 100, ..Punt::default() });
    let icmp = of_protocol(frame(PEER, LOCAL, &[0; 20]), 1);
    for _ in 0..500 {
        rig.pass(&icmp);
    }
    assert_eq!(rig.counters.punt_count(0, PuntClass::Icmp), 32, "the bucket's depth");
    assert_eq!(rig.counters.drop_count(0, DropReason::PoliceIcmp), 468);
    rig.punted(&frame("198.18.1.20:5060", "198.18.1.10:5060", b"x"), PuntClass::Sip);
    // A tenth of a second later, ten more.
    rig.io.0.borrow_mut().ticks += 100_000;
    for _ in 0..50 {
        rig.pass(&icmp);
    }
    assert_eq!(rig.counters.punt_count(0, PuntClass::Icmp), 42);
}

#[test]
fn a_full_ring_to_the_slow_path_is_counted() {
    let mut rig = Rig::new();
    rig.io.0.borrow_mut().punt_room = 0;
    rig.pass(&frame("198.18.1.20:5060", "198.18.1.10:5060", b"x"));
    assert_eq!(rig.counters.drop_count(0, DropReason::PuntFull), 1);
}

#[test]
fn injected_frames_leave_by_the_port_they_name() {
    let mut rig = Rig::new();
    rig.io.0.borrow_mut().injected.push_back(Frame::new(PortId(1), b"a frame of the kernel's"));
    rig.worker.turn();
    assert_eq!(rig.io.sent(PortId(1))[0].data(), b"a frame of the kernel's");
    assert_eq!(rig.counters.count(1, PortCounter::Injected), 1);
}
