//! One offer, several who answer: by tags behind one branch, and by branches.

use super::*;

#[test]
fn forks_share_the_ports_of_their_branch_and_media_follows_the_last_answer() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")));
    let first = rig.told(t(1), &answer("f", "t1", sdp("192.0.2.2:5000", "0")));
    let second = rig.told(t(2), &answer("f", "t2", sdp("192.0.2.3:6000", "0")));
    assert_eq!(port(&first), port(&second));
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.3:6000"));
    rig.told(t(3), &answer("f", "t1", sdp("192.0.2.2:5000", "0")));
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.2:5000"), "the first one answered for good");
    rig.send(t(4), &command("delete", "f", "t2"));
    assert_eq!(rig.engine.sessions(), 1, "the other fork is gone, the call goes on");
    rig.send(t(5), &command("delete", "f", "t1"));
    assert_eq!(rig.engine.sessions(), 0);
}

#[test]
fn branches_have_ports_of_their_own_and_end_apart() {
    let mut rig = rig();
    let branch = |command: Dictionary, name: &str| command.with("via-branch", name);
    let one = rig.told(t(1), &branch(offer("f", "", sdp("192.0.2.1:4000", "0")), "b1"));
    let two = rig.told(t(1), &branch(offer("f", "", sdp("192.0.2.1:4000", "0")), "b2"));
    assert_ne!(port(&one), port(&two));
    let reply = rig.send(t(1), &command("query", "f", ""));
    let Some(Value::Dictionary(tags)) = reply.get("tags") else { panic!("no tags") };
    let Some(Value::Dictionary(f)) = tags.get("f") else { panic!("no f") };
    assert!(matches!(f.get("medias"), Some(Value::List(medias)) if medias.len() == 2), "one caller, two branches");
    rig.told(t(2), &branch(answer("f", "t2", sdp("192.0.2.3:6000", "0")), "b2"));
    assert_eq!(rig.plans(Side::A)[0].out_source.port(), port(&two));
    rig.send(t(2), &branch(command("delete", "f", ""), "b1"));
    assert_eq!(rig.engine.sessions(), 1);
    rig.told(t(3), &branch(offer("f", "t2", sdp("192.0.2.1:4000", "0")), "b9"));
    assert_eq!(rig.engine.sessions(), 1, "a later offer is about the dialog, whatever its branch");
    rig.send(t(4), &command("delete", "t2", "f"));
    assert_eq!((rig.engine.sessions(), rig.ng.in_progress()), (0, 0));
}

#[test]
fn what_was_left_of_an_answered_call_goes_with_it() {
    let mut rig = rig();
    for branch in ["b1", "b2", "b3"] {
        rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")).with("via-branch", branch));
    }
    rig.told(t(2), &answer("f", "t", sdp("192.0.2.3:6000", "0")).with("via-branch", "b2"));
    rig.send(t(3), &command("delete", "f", "t"));
    assert_eq!(rig.engine.sessions(), 0, "branches that were never answered do not outlive it");
}

#[test]
fn a_delete_that_fits_nothing_warns_or_fails_as_asked() {
    let mut rig = rig();
    let reply = rig.send(t(1), &command("delete", "f", "t"));
    assert_eq!((text(&reply, "result"), text(&reply, "warning")), ("ok", "Call-ID not found or tags didn't match"));
    let fatal: Vec<Value> = vec!["fatal".into()];
    assert_eq!(rig.fails(t(1), &command("delete", "f", "t").with("flags", fatal)), "unknown call-id");
    rig.call(t(1));
    rig.send(t(2), &command("delete", "stranger", ""));
    assert_eq!(rig.ng.in_progress(), 1);
    rig.send(t(2), &Dictionary::default().with("command", "delete").with("call-id", "c"));
    assert_eq!(rig.ng.in_progress(), 0);
}
