//! What is never answered, never deleted, too much or not readable.

use super::*;
use crate::base::limits::NG_BRANCHES;

fn numbered(command: Dictionary, n: u64) -> Dictionary {
    let rest = command.iter().filter(|(key, _)| *key != "call-id");
    rest.fold(Dictionary::default().with("call-id", n.to_string()), |all, (key, value)| {
        all.with(std::str::from_utf8(key).unwrap(), value.clone())
    })
}

#[test]
fn offers_that_nobody_answers_end_by_themselves() {
    let mut rig = rig();
    for n in 0..20 {
        rig.told(t(1), &numbered(offer("f", "", sdp("192.0.2.1:4000", "0")), n));
    }
    assert_eq!(rig.engine.sessions(), 20);
    rig.tick(t(60));
    assert_eq!(rig.ng.in_progress(), 20);
    rig.tick(t(61));
    assert_eq!((rig.ng.in_progress(), rig.engine.sessions()), (0, 0));
    assert_eq!(rig.ng.counters.timed_out_offers, 20);
}

#[test]
fn a_full_node_sends_proxies_on_and_keeps_its_calls() {
    let mut rig = rig();
    for n in 0..20 {
        rig.told(t(1), &numbered(offer("f", "", sdp("192.0.2.1:4000", "0")), n));
    }
    let more = numbered(offer("f", "", sdp("192.0.2.1:4000", "0")), 99);
    assert_eq!(rig.fails(t(1), &more), "no new calls are taken: ng.max_calls are in progress");
    let supports: Vec<Value> = vec!["load limit".into()];
    let reply = rig.send(t(1), &more.clone().with("supports", supports));
    assert_eq!(text(&reply, "result"), "load limit");
    rig.told(t(2), &numbered(answer("f", "t", sdp("192.0.2.2:5000", "0")), 3));
    assert_eq!(rig.ng.counters.refused_load, 2);
}

#[test]
fn an_answered_call_in_silence_ends_after_medias_timeout_or_its_own() {
    let mut rig = rig();
    rig.call(t(1));
    for second in 1..=62 {
        rig.tick(t(second));
        // The engine looks at each session within half a second.
        (0..60).for_each(|n| rig.tick(t(second) + std::time::Duration::from_millis(n * 10)));
    }
    assert_eq!(rig.ng.in_progress(), 0, "media.timeout_s is 60");
    rig.told(t(100), &offer("f", "", sdp("192.0.2.1:4000", "0")));
    rig.told(t(100), &answer("f", "t", sdp("192.0.2.2:5000", "0") + "a=inactive\r\n"));
    (100..699).for_each(|second| rig.tick(t(second)));
    assert_eq!(rig.ng.in_progress(), 1, "on hold it may be silent for longer");
    (699..740).for_each(|second| rig.tick(t(second)));
    assert_eq!(rig.ng.in_progress(), 0);
}

#[test]
fn a_delete_may_take_effect_later_and_an_offer_takes_it_back() {
    let mut rig = rig();
    rig.call(t(1));
    rig.send(t(2), &command("delete", "f", "t").with("delete-delay", 30i64));
    rig.tick(t(31));
    assert_eq!(rig.ng.in_progress(), 1);
    rig.told(t(31), &offer("f", "t", sdp("192.0.2.1:4000", "0")));
    rig.tick(t(33));
    assert_eq!(rig.ng.in_progress(), 1, "it is still in use");
    rig.send(t(40), &command("delete", "f", "t").with("delete delay", "5"));
    rig.tick(t(45));
    assert_eq!(rig.ng.in_progress(), 0);
}

#[test]
fn drained_it_takes_no_new_call_and_ends_the_others_in_time() {
    let mut rig = rig();
    rig.call(t(1));
    rig.ng.drain(t(50));
    let new = numbered(offer("f", "", sdp("192.0.2.1:4000", "0")), 7);
    assert_eq!(rig.fails(t(2), &new), "no new calls are taken: this node is drained");
    rig.told(t(3), &offer("f", "t", sdp("192.0.2.1:4000", "0 101")));
    rig.tick(t(49));
    assert!(!rig.ng.is_drained());
    rig.tick(t(50));
    assert!(rig.ng.is_drained());
}

#[test]
fn branches_of_a_call_are_bounded() {
    let mut rig = rig();
    let nth = |n: usize| offer("f", "", sdp("192.0.2.1:4000", "0")).with("via-branch", n.to_string());
    (0..NG_BRANCHES).for_each(|n| drop(rig.told(t(1), &nth(n))));
    assert_eq!(rig.fails(t(1), &nth(99)), "the call has 16 branches already");
}

#[test]
fn what_cannot_be_read_gets_an_error_with_its_cookie() {
    let mut rig = rig();
    for wrong in ["c1 d7:command", "c2 {\"command\":", "c3 xyz", "c4 de", "c5 d7:commandi1ee"] {
        let reply = rig.raw(t(1), wrong.as_bytes()).unwrap();
        let cookie = wrong.split(' ').next().unwrap();
        assert!(reply.starts_with(cookie.as_bytes()), "{wrong}: {reply:?}");
        assert!(String::from_utf8_lossy(&reply).contains("error"), "{wrong}: {reply:?}");
    }
    assert_eq!(rig.raw(t(1), b"nocookie"), None);
    let huge = [b"c9 ".as_slice(), &vec![b'x'; 70_000]].concat();
    assert_eq!(rig.raw(t(1), &huge), None);
    assert_eq!(rig.ng.counters.malformed, 2);
}
