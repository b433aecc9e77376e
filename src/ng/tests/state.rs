//! A call's state goes to another node and goes on there; what has changed is known by Call-ID.

use super::*;
use crate::ng::SavedCall;

#[test]
fn changes_are_journalled_by_call_id_and_only_if_somebody_asks() {
    let mut rig = rig();
    rig.call(t(1));
    assert!(rig.ng.take_changed().is_empty());
    rig.ng.keep_journal();
    rig.told(t(2), &offer("f", "t", sdp("192.0.2.1:4000", "0")));
    assert_eq!(rig.ng.take_changed().into_iter().collect::<Vec<_>>(), ["c"]);
    assert!(rig.ng.take_changed().is_empty());
    rig.send(t(3), &command("query", "f", ""));
    assert!(rig.ng.take_changed().is_empty(), "to look changes nothing");
    rig.send(t(3), &command("delete", "f", "t"));
    assert_eq!(rig.ng.take_changed().len(), 1);
    assert!(rig.ng.save(t(3), "c").is_none(), "it has ended");
}

#[test]
fn a_saved_call_goes_on_elsewhere_as_it_would_have_here() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0 101")).with("replace", vec![Value::from("SDP version")]));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0 101")));
    let saved = serde_json::to_string(&rig.ng.save(t(10), "c").unwrap()).unwrap();
    let saved: SavedCall = serde_json::from_str(&saved).unwrap();

    // The other node has the same configuration, and a clock of its own; its call control has the session under its id.
    let mut other = super::rig();
    other.call(t(1000));
    other.ng.forget("c");
    other.ng.restore(t(1000), saved);
    let again = |rig: &mut Rig, now: Time| {
        let command = offer("t", "f", sdp("192.0.2.2:5008", "0 101")).with("replace", vec![Value::from("SDP version")]);
        rig.told(now, &command)
    };
    assert_eq!(again(&mut other, t(1001)), again(&mut rig, t(11)));
    assert_eq!(other.told(t(1002), &answer("t", "f", sdp("192.0.2.1:4000", "0 101"))), {
        rig.told(t(12), &answer("t", "f", sdp("192.0.2.1:4000", "0 101")))
    });
    other.send(t(1003), &command("delete", "f", "t"));
    assert_eq!(other.engine.sessions(), 0);
}

#[test]
fn a_standby_answers_nobody() {
    let mut rig = rig();
    rig.ng.stand_by(true);
    assert_eq!(rig.raw(t(1), b"c d7:command4:pinge"), None);
    rig.ng.stand_by(false);
    assert!(rig.raw(t(1), b"c d7:command4:pinge").is_some());
}
