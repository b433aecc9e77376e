//! What changes within a call: hold, resume, a moved address, another codec, from either side.

use super::*;

const OFFER: &str = "m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n";
const ANSWER: &str = "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n";

/// A call that is up, with A in PCMU and B in PCMU.
fn call() -> SdpAnchor {
    let mut anchor = anchor();
    offer(&mut anchor, &described(OFFER), BOTH);
    answer(&mut anchor, &described(ANSWER));
    anchor
}

fn version(text: &str) -> u64 {
    line(text, "o=").split(' ').nth(2).unwrap().parse().unwrap()
}

fn with(text: &str, lines: &str) -> Sdp {
    described(&format!("{text}{lines}"))
}

#[test]
fn rfc_3264_s6_1_an_answer_does_what_the_offer_lets_it() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (offered, answered, told) in [
        (SendRecv, SendRecv, SendRecv),
        (SendRecv, SendOnly, SendOnly),
        (SendRecv, RecvOnly, RecvOnly),
        (SendRecv, Inactive, Inactive),
        (SendOnly, RecvOnly, RecvOnly),
        (SendOnly, SendRecv, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (RecvOnly, SendOnly, SendOnly),
        (RecvOnly, SendRecv, SendOnly),
        (Inactive, SendRecv, Inactive),
    ] {
        let name = |d: Direction| format!("a={}\n", super::super::audio::direction_name(d));
        let mut anchor = call();
        let b_sees = offer(&mut anchor, &with(OFFER, &name(offered)), BOTH);
        assert!(b_sees.ends_with(&name(offered)));
        let answered = answer(&mut anchor, &with(ANSWER, &name(answered)));
        assert!(text(&answered.sdp).ends_with(&name(told)), "{offered:?} {told:?}");
        assert_eq!(leg(&answered, Side::A).direction, offered);
        assert_eq!(leg(&answered, Side::B).direction, told);
    }
}

#[test]
fn hold_and_resume_are_two_new_versions_on_each_side() {
    let mut anchor = call();
    let held = offer(&mut anchor, &with(OFFER, "a=sendonly\n"), BOTH);
    assert_eq!((version(&held), line(&held, "a=send")), (2, "a=sendonly"));
    let answered = answer(&mut anchor, &with(ANSWER, "a=recvonly\n"));
    assert_eq!(version(&text(&answered.sdp)), 2);
    let resumed = offer(&mut anchor, &described(OFFER), BOTH);
    assert_eq!((version(&resumed), line(&resumed, "a=send")), (3, "a=sendrecv"));
    assert_eq!(line(&resumed, "o=").split(' ').nth(1), Some("2000"), "the session stays the same");
    assert_eq!(version(&text(&answer(&mut anchor, &described(ANSWER)).sdp)), 3);
}

#[test]
fn the_old_hold_is_passed_on_as_the_new_one() {
    let mut anchor = call();
    let held = offer(&mut anchor, &with(OFFER, "c=IN IP4 0.0.0.0\n"), BOTH);
    assert_eq!(line(&held, "c="), "c=IN IP4 203.0.113.1");
    assert!(held.ends_with("a=sendonly\n"));
    let answered = answer(&mut anchor, &with(ANSWER, "a=recvonly\n"));
    assert_eq!((leg(&answered, Side::A).rtp, leg(&answered, Side::A).direction), (None, Direction::SendOnly));
    assert!(leg(&answered, Side::B).rtp.is_some());
}

#[test]
fn the_called_side_holds_too() {
    let mut anchor = call();
    let local = locals();
    let held = anchor.offer_to_other_side(Side::B, &with(ANSWER, "a=sendonly\n"), &local[0], BOTH).unwrap();
    assert!(text(&held).ends_with("a=sendonly\n"));
    assert_eq!(line(&text(&held), "o="), "o=- 1000 2 IN IP4 198.51.100.1");
    let answered = anchor.answer_to_offerer(&with(OFFER, "a=recvonly\n"), &local[1]).unwrap();
    assert_eq!(line(&text(&answered.sdp), "m="), "m=audio 30000 RTP/AVP 0 101");
    assert_eq!(leg(&answered, Side::A).direction, Direction::RecvOnly);
    assert_eq!(leg(&answered, Side::B).direction, Direction::SendOnly);
}

#[test]
fn a_moved_peer_is_not_seen_on_the_other_side() {
    let mut anchor = call();
    let before = offer(&mut anchor, &described(OFFER), BOTH);
    let moved = offer(&mut anchor, &with(&OFFER.replace("4000", "4500"), "c=IN IP4 192.0.2.77\n"), BOTH);
    assert_eq!(moved, before, "nothing that B is told changed, nor did the version");
    let answered = answer(&mut anchor, &described(ANSWER));
    assert_eq!(leg(&answered, Side::A).rtp, Some("192.0.2.77:4500".parse().unwrap()));
    assert_eq!(version(&text(&answered.sdp)), 1);
}

#[test]
fn another_codec_by_a_new_offer() {
    let mut anchor = call();
    let pcma = "m=audio 4000 RTP/AVP 8\n";
    let told = offer(&mut anchor, &described(pcma), &[Pcmu]);
    assert_eq!((line(&told, "m="), version(&told)), ("m=audio 30000 RTP/AVP 0", 2));
    let answered = answer(&mut anchor, &described("m=audio 5000 RTP/AVP 0\n"));
    assert_eq!(line(&text(&answered.sdp), "m="), "m=audio 20000 RTP/AVP 8");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["8 PCMA"]);
    assert_eq!(names(&leg(&answered, Side::B).formats), ["0 PCMU"]);
}

#[test]
fn rfc_3264_s8_3_2_a_side_keeps_the_numbers_it_knows() {
    let mut anchor = anchor();
    let a = "m=audio 4000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\n";
    let b = "m=audio 5000 RTP/AVP 111 96\na=rtpmap:111 opus/48000/2\na=rtpmap:96 telephone-event/8000\n";
    offer(&mut anchor, &described(a), BOTH);
    answer(&mut anchor, &described(b));
    // B offers anew, in its own numbers: A hears of its own.
    let local = locals();
    let told = anchor.offer_to_other_side(Side::B, &described(b), &local[0], BOTH).unwrap();
    assert_eq!(line(&text(&told), "m="), "m=audio 20000 RTP/AVP 96 101");
    assert_eq!(line(&text(&told), "a=rtpmap:101"), "a=rtpmap:101 telephone-event/8000");
    let answered = anchor.answer_to_offerer(&described(a), &local[1]).unwrap();
    assert_eq!(line(&text(&answered.sdp), "m="), "m=audio 30000 RTP/AVP 111 96");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["96 OPUS", "101 telephone-event"]);
    assert_eq!(names(&leg(&answered, Side::B).formats), ["111 OPUS", "96 telephone-event"]);
}

#[test]
fn a_refused_re_invite_leaves_the_session_usable() {
    let mut anchor = call();
    // A wants fax; nobody can carry it. Then it goes on talking.
    let fax = anchor.offer_to_other_side(Side::A, &described("m=image 4000 udptl t38\n"), &locals()[1], BOTH);
    assert_eq!(fax, Err(SdpError::NoAudio));
    let again = offer(&mut anchor, &described(OFFER), BOTH);
    assert_eq!(version(&again), 1);
}

#[test]
fn a_late_offer_comes_from_the_called_side() {
    let mut anchor = anchor();
    let local = locals();
    let told = anchor.offer_to_other_side(Side::B, &described("m=audio 5000 RTP/AVP 8\n"), &local[0], BOTH).unwrap();
    assert_eq!(line(&text(&told), "m="), "m=audio 20000 RTP/AVP 0 8");
    let answered = anchor.answer_to_offerer(&described("m=audio 4000 RTP/AVP 0\n"), &local[1]).unwrap();
    assert_eq!(line(&text(&answered.sdp), "m="), "m=audio 30000 RTP/AVP 8");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["0 PCMU"]);
}

#[test]
fn the_next_destination_is_a_new_session_with_a_clean_slate() {
    let mut anchor = anchor();
    let first = offer(&mut anchor, &described(OFFER), BOTH);
    anchor.new_peer(Side::B, 6_000);
    let second = offer(&mut anchor, &described(OFFER), &[Pcma]);
    assert_eq!(line(&first, "o="), "o=- 2000 1 IN IP4 203.0.113.1");
    assert_eq!(line(&second, "o="), "o=- 3000 1 IN IP4 203.0.113.1");
    assert_eq!(line(&second, "m="), "m=audio 30000 RTP/AVP 8 101");
    let answered = answer(&mut anchor, &described("m=audio 5000 RTP/AVP 8\n"));
    assert_eq!(line(&text(&answered.sdp), "m="), "m=audio 20000 RTP/AVP 0");
}

#[test]
fn a_standby_goes_on_where_the_active_one_stopped() {
    let mut active = call();
    let held = with(OFFER, "a=sendonly\n");
    offer(&mut active, &held, BOTH);
    let saved = serde_json::to_string(&active).unwrap();
    let mut standby: SdpAnchor = serde_json::from_str(&saved).unwrap();
    assert_eq!(standby, active);
    let answered = with(ANSWER, "a=recvonly\n");
    assert_eq!(answer(&mut standby, &answered), answer(&mut active, &answered));
    assert_eq!(offer(&mut standby, &described(OFFER), BOTH), offer(&mut active, &described(OFFER), BOTH));
}

#[test]
fn formats_that_differ_in_parameters_keep_their_numbers_in_any_order() {
    let maps = "a=rtpmap:96 AMR/8000\na=fmtp:96 octet-align=1\na=rtpmap:97 AMR/8000\na=fmtp:97 octet-align=0\n";
    let mut anchor = anchor();
    offer(&mut anchor, &described(&format!("m=audio 4000 RTP/AVP 96 97\n{maps}")), BOTH);
    let told = offer(&mut anchor, &described(&format!("m=audio 4000 RTP/AVP 97 96\n{maps}")), BOTH);
    assert_eq!(line(&told, "m="), "m=audio 30000 RTP/AVP 97 96");
    assert_eq!(line(&told, "a=fmtp:97"), "a=fmtp:97 octet-align=0");
}
