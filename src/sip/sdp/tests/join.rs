//! Two sides that talked to others are joined: what each is told then (RFC 3264 §8), and who is told nothing.

use super::*;

const X: &str = "m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n";
const T: &str = "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n";
const Y: &str = "m=audio 7000 RTP/AVP 8 96\na=rtpmap:96 telephone-event/8000\n";

/// X, on side A, and T, on side B, in one call; T, on side A, and Y, on side B, in another. `x` and `y`: what they say.
fn calls(x: &str, y: &str) -> [SdpAnchor; 2] {
    [(x, T, [2_000, 4_000]), (T, y, [6_000, 8_000])].map(|(caller, callee, ids)| {
        let mut anchor = SdpAnchor::new(ids);
        offer(&mut anchor, &described(caller), BOTH);
        anchor.answer_to_offerer(&described(callee), &locals()[0]).unwrap();
        anchor
    })
}

/// Y takes T's place.
fn joined(x: &str, y: &str) -> (SdpAnchor, Joined) {
    let [mut anchor, other] = calls(x, y);
    anchor.adopt(Side::B, &other, Side::B);
    let joined = anchor.join(Side::B, described(y), described(x), &locals(), BOTH).unwrap();
    (anchor, joined)
}

fn version(anchor: &SdpAnchor, side: Side) -> (String, String) {
    let told = text(&anchor.repeat(side).unwrap());
    let mut parts = line(&told, "o=").split(' ').skip(1).map(str::to_owned);
    (parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn who_hears_and_is_heard_as_before_is_told_nothing() {
    let (anchor, joined) = joined(X, Y);
    assert_eq!(joined.changed, [false, false], "tandem translates between the laws");
    assert_eq!(version(&anchor, Side::A), ("1000".into(), "1".into()));
    assert_eq!(version(&anchor, Side::B), ("4000".into(), "1".into()), "Y's session is the one that it knows");
    assert_eq!(names(&joined.legs[0].formats), ["0 PCMU", "101 telephone-event"]);
    assert_eq!(names(&joined.legs[1].formats), ["8 PCMA", "96 telephone-event"], "each keeps its own numbers");
}

#[test]
fn whoever_was_held_is_told_that_it_is_so_no_longer() {
    let held = format!("{X}a=recvonly\n");
    let [mut anchor, other] = calls(X, Y);
    anchor.offer_to_other_side(Side::B, &described(&format!("{T}a=sendonly\n")), &locals()[0], BOTH).unwrap();
    anchor.answer_to_offerer(&described(&held), &locals()[1]).unwrap();
    anchor.adopt(Side::B, &other, Side::B);
    let joined = anchor.join(Side::B, described(Y), described(&held), &locals(), BOTH).unwrap();
    assert_eq!(joined.changed, [true, false]);
    let told = text(&anchor.repeat(Side::A).unwrap());
    assert!(told.contains("a=sendrecv"), "{told}");
    assert_eq!(version(&anchor, Side::A).1, "3", "said, held, and now this");
    assert_eq!(joined.legs[0].direction, Direction::SendRecv);
}

#[test]
fn a_codec_that_the_other_lacks_is_given_up() {
    let wide = "m=audio 4000 RTP/AVP 9 0\na=rtpmap:9 G722/8000\n";
    let [mut anchor, other] = calls(wide, Y);
    // T takes G.722 with X.
    offer(&mut anchor, &described(wide), BOTH);
    anchor.answer_to_offerer(&described("m=audio 5000 RTP/AVP 9 0\na=rtpmap:9 G722/8000\n"), &locals()[0]).unwrap();
    anchor.adopt(Side::B, &other, Side::B);
    let joined = anchor.join(Side::B, described(Y), described(wide), &locals(), BOTH).unwrap();
    assert_eq!(joined.changed, [true, false]);
    let told = text(&anchor.repeat(Side::A).unwrap());
    assert!(!told.contains("G722"), "{told}");
}

#[test]
fn sections_that_a_side_knows_stay_in_their_places() {
    let with_video = |hold: &str| described(&format!("{X}{hold}m=video 4002 RTP/AVP 31\n"));
    let [_, other] = calls(X, Y);
    let mut anchor = anchor();
    offer(&mut anchor, &with_video(""), BOTH);
    anchor.answer_to_offerer(&described(T), &locals()[0]).unwrap();
    let hold = described(&format!("{T}a=sendonly\nm=video 0 RTP/AVP 31\n"));
    anchor.offer_to_other_side(Side::B, &hold, &locals()[0], BOTH).unwrap();
    anchor.answer_to_offerer(&with_video("a=recvonly\n"), &locals()[1]).unwrap();
    anchor.adopt(Side::B, &other, Side::B);
    let joined = anchor.join(Side::B, described(Y), with_video("a=recvonly\n"), &locals(), BOTH).unwrap();
    assert_eq!(joined.changed, [true, false]);
    let told = text(&anchor.repeat(Side::A).unwrap());
    assert!(told.contains("m=video 0 "), "RFC 3264 §8: X's second section is refused, and not left out: {told}");
}

#[test]
fn what_has_no_audio_cannot_be_joined() {
    let [mut anchor, other] = calls(X, Y);
    anchor.adopt(Side::B, &other, Side::B);
    let none = described("m=audio 0 RTP/AVP 0\n");
    assert_eq!(anchor.join(Side::B, none, described(X), &locals(), BOTH), Err(SdpError::NoAudio));
}
