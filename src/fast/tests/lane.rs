//! The short way and the general one: the same frames, the same bytes out, the same counters, the same state line.

use proptest::prelude::*;

use super::rig::*;
use crate::{
    base::ids::PortId,
    fast::lane,
    flow::{
        Plan, PtOp,
        table::{FlowClass, LastAddress, SlotId},
    },
    io::{Checked, PacketBuf, TxOffloads},
};

/// Frames that the short way takes, and ones that differ from them in a few bytes anywhere.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (
        prop_oneof![Just(0u8), Just(8), Just(101), Just(13)],
        0u16..12,
        prop_oneof![Just(0usize), Just(1), Just(6), Just(7), Just(80), Just(160), Just(240)],
        proptest::collection::vec((0usize..70, any::<u8>()), 0..3),
        prop_oneof![4 => Just(PEER), 1 => Just("198.18.1.20:40001"), 1 => Just("198.18.1.21:40000")],
        any::<u8>(),
    );
    let one = one.prop_map(|(pt, step, len, changes, from, seed)| {
        // Numbers run on, repeat, go back and jump.
        let number = [0, 1, 2, 3, 4, 5, 6, 3, 9, 8, 40_000, 40_001][usize::from(step)];
        let payload: Vec<u8> = (0..len).map(|i| if seed < 64 { 0xff } else { (i as u8).wrapping_mul(seed) }).collect();
        let mut frame = frame(from, LOCAL, &rtp(pt, number, &payload));
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame
    });
    proptest::collection::vec(one, 1..80)
}

fn plans() -> Vec<Plan> {
    let rules = vec![rule(0, 8, PtOp::MuToA), rule(8, 0, PtOp::AToMu), rule(101, 96, PtOp::Relay)];
    vec![
        plan(),
        Plan { rules, ..plan() },
        Plan { muted: true, ..plan() },
        Plan { departing: Some(addr("198.18.1.21:40000")), clock_hz: 16_000, ..plan() },
        Plan { out_source: addr(OUT6), out_destination: Some(addr(FAR6)), ..plan() },
        Plan { out_destination: None, ..plan() },
    ]
}

proptest! {
    #[test]
    fn both_ways_are_one(
        frames in frames(), which in 0usize..6, offloads in any::<(bool, bool)>(), good in any::<bool>(),
    ) {
        let offloads = TxOffloads { ipv4_checksum: offloads.0, udp_checksum: offloads.1 };
        let mut rigs = [Rig::with(offloads, Default::default()), Rig::with(offloads, Default::default())];
        rigs[1].worker.long_way = true;
        let plan = &plans()[which];
        let seen = rigs.each_mut().map(|rig| {
            rig.publish(LOCAL, plan);
            let mut sent = Vec::new();
            for burst in frames.chunks(24) {
                for bytes in burst {
                    rig.io.arrive(PortId(0), bytes);
                    if good {
                        let mut wires = rig.io.0.borrow_mut();
                        wires.arriving[0].back_mut().unwrap().checks = (Checked::Good, Checked::Good);
                    }
                }
                rig.io.0.borrow_mut().ticks += 20_000;
                rig.worker.turn();
                sent.extend(rig.io.sent(PortId(1)).into_iter().map(|f| (f.data().to_vec(), f.request)));
            }
            let key = rig.publisher.key(addr(LOCAL), FlowClass::Rtp).unwrap();
            let line = rig.table.state(rig.table.lookup(key).unwrap());
            let counts: Vec<u64> = crate::flow::counters::PortCounter::ALL
                .iter()
                .flat_map(|&c| [rig.counters.count(0, c), rig.counters.count(1, c)])
                .collect();
            (sent, line.rtp(), line.owner(), rig.drops(), counts)
        });
        prop_assert_eq!(&seen[0], &seen[1]);
    }
}

#[test]
fn the_common_packet_takes_the_short_way() {
    // Else the test above would compare the general way with itself.
    let mut rig = Rig::new();
    rig.publish(LOCAL, &plan());
    let table = rig.table.clone();
    let bytes = frame(PEER, LOCAL, &rtp(0, 7, &speech()));
    let io = rig.io.clone();
    io.arrive(PortId(0), &bytes);
    let buf = io.0.borrow_mut().arriving[0].pop_front().unwrap();
    let slot = lane::look(&buf, &lane::Common::to(&[2, 0, 0, 0, 1, 0]), &mut LastAddress::default(), &table);
    assert_ne!(slot, SlotId::NONE, "not taken");
    assert_eq!(table.lookup_slot(slot, FlowClass::Rtp), Some(table.rtp_entry(slot)));
    assert!(table.lookup_slot(slot, FlowClass::Rtp).is_some());
}
