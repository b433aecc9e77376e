//! What a participant sends is blocked and let through again; and the TOS byte, asymmetric peers.

use super::*;

fn numbers(rig: &Rig, side: Side) -> Vec<u8> {
    rig.plans(side)[0].rules.iter().map(|rule| rule.pt_in).collect()
}

#[test]
fn media_and_events_are_blocked_apart_for_all_or_for_one() {
    let mut rig = rig();
    rig.call(t(1));
    assert_eq!(numbers(&rig, Side::A), [0, 101]);
    let of = |name: &str| Dictionary::default().with("command", name).with("call-id", "c");
    rig.send(t(2), &command("block media", "f", ""));
    assert_eq!((numbers(&rig, Side::A), numbers(&rig, Side::B)), (vec![101], vec![0, 101]));
    rig.send(t(2), &of("block DTMF"));
    assert_eq!((numbers(&rig, Side::A), numbers(&rig, Side::B)), (vec![], vec![0]));
    rig.send(t(3), &of("unblock DTMF"));
    rig.send(t(3), &of("unblock media"));
    assert_eq!(numbers(&rig, Side::A), [101], "blocked by name, so unblocked by name");
    rig.send(t(3), &of("unblock media").with("all", "all"));
    assert_eq!(numbers(&rig, Side::A), [0, 101]);
    let address = of("block media").with("address", "192.0.2.2");
    rig.send(t(4), &address);
    assert_eq!((numbers(&rig, Side::A), numbers(&rig, Side::B)), (vec![0, 101], vec![101]));
    assert_eq!(rig.fails(t(4), &command("block media", "stranger", "")), "no such participant in this call");
}

#[test]
fn what_is_blocked_stays_so_through_a_later_offer() {
    let mut rig = rig();
    rig.call(t(1));
    rig.send(t(2), &command("block media", "f", ""));
    rig.told(t(3), &offer("f", "t", sdp("192.0.2.1:4444", "0 101")));
    rig.told(t(3), &answer("f", "t", sdp("192.0.2.2:5000", "0 101")));
    assert_eq!(numbers(&rig, Side::A), [101]);
}

#[test]
fn labels_name_participants_and_are_shown() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0 101")).with("label", "alice").with("metadata", "m"));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0 101")).with("label", "bob"));
    let of = |name: &str| Dictionary::default().with("command", name).with("call-id", "c");
    rig.send(t(2), &of("block media").with("label", "bob"));
    assert_eq!((numbers(&rig, Side::A), numbers(&rig, Side::B)), (vec![0, 101], vec![101]));
    let reply = rig.send(t(2), &of("query"));
    assert_eq!(text(&reply, "metadata"), "m");
    let Some(Value::Dictionary(tags)) = reply.get("tags") else { panic!("no tags") };
    let Some(Value::Dictionary(bob)) = tags.get("t") else { panic!("no t") };
    assert_eq!((text(bob, "label"), text(bob, "in dialogue with")), ("bob", "f"));
}

#[test]
fn the_tos_byte_and_dropped_traffic_hold_for_the_call() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")).with("TOS", 32i64));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")).with("drop-traffic", "start"));
    assert_eq!((rig.plans(Side::A)[0].tos, rig.plans(Side::B)[0].tos), (32, 32));
    assert!(rig.plans(Side::A)[0].rules.is_empty());
    rig.told(t(2), &offer("f", "t", sdp("192.0.2.1:4000", "0")).with("TOS", 256i64).with("drop-traffic", "stop"));
    assert_eq!(rig.plans(Side::A)[0].tos, 46 << 2, "as configured");
    assert_eq!(numbers(&rig, Side::A), [0]);
}
