//! A call's state goes to another host and goes on there; what has changed is known by Call-ID.

use super::*;
use crate::{
    base::pack::{pack, unpack},
    ng::SavedCall,
};

fn puts(rig: &mut Rig, now: Time) -> Vec<String> {
    rig.ng.take_changes(now, 0).puts.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn changes_are_journalled_by_call_id_and_only_if_somebody_asks() {
    let mut rig = rig();
    rig.call(t(1));
    assert!(puts(&mut rig, t(1)).is_empty());
    rig.ng.mark_all();
    assert_eq!((rig.ng.left_to_send(), puts(&mut rig, t(1)).len()), (1, 0), "all of them as far as the budget goes");
    assert_eq!((rig.ng.take_changes(t(1), 5).puts.len(), rig.ng.left_to_send()), (1, 0));
    rig.told(t(2), &offer("f", "t", sdp("192.0.2.1:4000", "0")));
    assert_eq!(puts(&mut rig, t(2)), ["c"]);
    rig.send(t(3), &command("query", "f", ""));
    assert!(puts(&mut rig, t(3)).is_empty(), "to look changes nothing");
    rig.send(t(3), &command("delete", "f", "t"));
    assert_eq!(rig.ng.take_changes(t(3), 0).deletes, ["c"]);
    rig.ng.stop_journal();
    rig.call(t(4));
    assert!(puts(&mut rig, t(4)).is_empty());
}

#[test]
fn a_saved_call_goes_on_elsewhere_as_it_would_have_here() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0 101")).with("replace", vec![Value::from("SDP version")]));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0 101")));
    let saved: SavedCall = unpack(&pack(&rig.ng.save(t(10), "c").unwrap())).unwrap();

    // The other host has the same configuration, and a clock of its own; its call control has the session under its id.
    let mut other = super::rig();
    other.call(t(1000));
    other.ng.follow();
    other.ng.begin();
    other.ng.apply(t(1000), vec![("c".into(), Some(saved))]);
    other.ng.complete();
    other.ng.take_over(t(1000), &mut other.engine);
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
fn a_standby_forgets_what_it_was_not_told_again_and_a_call_without_media_ends() {
    let mut rig = rig();
    rig.call(t(1));
    let saved = rig.ng.save(t(1), "c");
    let mut other = super::rig();
    other.ng.apply(t(5), vec![("c".into(), saved)]);
    assert_eq!(other.ng.in_progress(), 1);
    other.ng.begin();
    other.ng.complete();
    assert_eq!(other.ng.in_progress(), 0);
    other.ng.apply(t(6), vec![("c".into(), rig.ng.save(t(2), "c"))]);
    other.ng.take_over(t(7), &mut other.engine);
    assert_eq!(other.ng.in_progress(), 0, "call control was told of no session");
}

#[test]
fn a_standby_answers_nobody() {
    let mut rig = rig();
    rig.ng.stand_by(true);
    assert_eq!(rig.raw(t(1), b"c d7:command4:pinge"), None);
    rig.ng.stand_by(false);
    assert!(rig.raw(t(1), b"c d7:command4:pinge").is_some());
}
