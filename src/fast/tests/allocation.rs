//! No allocation per packet: an allocator that counts, over every kind of packet that a worker meets.
//!
//! The allocator is the whole test binary's; each thread counts for itself, so that other tests do not disturb.

use super::rig::*;
use crate::flow::{FlowClass, PtOp};

#[test]
fn a_worker_allocates_nothing_for_any_kind_of_packet() {
    let mut rig = Rig::new();
    rig.publish(
        LOCAL,
        &crate::flow::Plan {
            candidates: true,
            rules: vec![rule(0, 8, PtOp::MuToA), rule(101, 96, PtOp::Relay)],
            ..plan()
        },
    );
    let rtcp_at = "198.18.1.10:20001";
    rig.publish(
        rtcp_at,
        &crate::flow::Plan {
            rtcp: true,
            rules: vec![],
            admit: crate::flow::plan::Admit::Address(addr(PEER).ip()),
            ..plan()
        },
    );
    let frames = [
        frame(PEER, LOCAL, &rtp(0, 1, &speech())),
        frame(PEER, LOCAL, &rtp(101, 2, &[1, 2, 3, 4])),
        frame(PEER, LOCAL, &rtp(18, 3, &speech())),
        frame("198.18.1.66:4", LOCAL, &rtp(0, 4, &speech())),
        frame(PEER, rtcp_at, &[0x80, 201, 0, 1, 0, 0, 0, 1]),
        frame(PEER, "198.18.1.10:20004", &speech()),
        frame("198.18.1.20:5060", "198.18.1.10:5060", b"OPTIONS"),
        frame(PEER6, LOCAL6, &rtp(0, 5, &speech())),
        vec![0; 10],
    ];
    for f in &frames {
        // The simulated device allocates: what it holds is laid out before the count and kept until after it.
        for _ in 0..8 {
            rig.io.arrive(crate::base::ids::PortId(0), f);
        }
        {
            let mut wires = rig.io.0.borrow_mut();
            wires.sent[1].reserve(64);
            wires.punted.reserve(64);
        }
        let before = crate::base::counting::allocations();
        rig.worker.turn();
        let after = crate::base::counting::allocations();
        assert_eq!(after, before, "{f:02x?}");
    }
    let key = rig.publisher.key(addr(LOCAL), FlowClass::Rtp).unwrap();
    assert!(rig.table.state(rig.table.lookup(key).unwrap()).rtp().packets >= 16, "the packets were really handled");
}

#[test]
fn the_counting_allocator_counts() {
    let before = crate::base::counting::allocations();
    let boxed = std::hint::black_box(Box::new(7));
    assert_eq!(crate::base::counting::allocations(), before + 1);
    drop(boxed);
}
