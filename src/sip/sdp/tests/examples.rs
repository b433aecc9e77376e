//! The exchanges of RFC 4317 through an anchor. Host names became addresses: tandem resolves none.

use super::*;

const ALICE: &str = "v=0
o=alice 2890844526 2890844526 IN IP4 192.0.2.1
s=
c=IN IP4 192.0.2.1
t=0 0
";
const BOB: &str = "v=0
o=bob 2808844564 2808844564 IN IP4 192.0.2.2
s=
c=IN IP4 192.0.2.2
t=0 0
";

fn alice(media: &str) -> Sdp {
    sdp(&format!("{ALICE}{media}"))
}

fn bob(media: &str) -> Sdp {
    sdp(&format!("{BOB}{media}"))
}

const AUDIO: &str = "m=audio 49170 RTP/AVP 0 8 97
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:97 iLBC/8000
";
const VIDEO: &str = "m=video 51372 RTP/AVP 31 32
a=rtpmap:31 H261/90000
a=rtpmap:32 MPV/90000
";

#[test]
fn s2_1_audio_and_video_1() {
    let mut anchor = anchor();
    let b_sees = offer(&mut anchor, &alice(&format!("{AUDIO}{VIDEO}")), BOTH);
    assert_eq!(
        sections(&b_sees),
        "m=audio 30000 RTP/AVP 0 8 97
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:97 iLBC/8000
a=sendrecv
m=video 0 RTP/AVP 31 32
"
    );
    // Bob cannot answer the video that tandem refused; the rest is the RFC's.
    let answered = answer(&mut anchor, &bob("m=audio 49174 RTP/AVP 0\na=rtpmap:0 PCMU/8000\nm=video 0 RTP/AVP 32\n"));
    assert_eq!(
        sections(&text(&answered.sdp)),
        "m=audio 20000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendrecv
m=video 0 RTP/AVP 31 32
"
    );
}

#[test]
fn s2_3_audio_and_video_3_one_codec_after_a_second_offer() {
    let mut anchor = anchor();
    offer(&mut anchor, &alice(AUDIO), BOTH);
    let answered = answer(&mut anchor, &bob("m=audio 49172 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n"));
    assert_eq!(names(&leg(&answered, Side::A).formats), ["0 PCMU", "8 PCMA"]);
    // The second offer settles on one; tandem may still offer the other to Bob.
    let b_sees = offer(&mut anchor, &alice("m=audio 49170 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"), BOTH);
    assert_eq!(line(&b_sees, "m="), "m=audio 30000 RTP/AVP 0 8");
    let answered = answer(&mut anchor, &bob("m=audio 49172 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"));
    assert_eq!(sections(&text(&answered.sdp)), "m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n");
}

#[test]
fn s2_4_audio_and_telephone_event_in_sections_of_their_own() {
    let mut anchor = anchor();
    let b_sees = offer(
        &mut anchor,
        &alice(
            "m=audio 49170 RTP/AVP 0 97
a=rtpmap:0 PCMU/8000
a=rtpmap:97 iLBC/8000
m=audio 49172 RTP/AVP 98
a=rtpmap:98 telephone-event/8000
a=sendonly
",
        ),
        &[Pcmu],
    );
    let lines: Vec<_> = b_sees.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=audio 30000 RTP/AVP 0 97", "m=audio 0 RTP/AVP 98"]);
    let answered = answer(&mut anchor, &bob("m=audio 49172 RTP/AVP 97\na=rtpmap:97 iLBC/8000\nm=audio 0 RTP/AVP 98\n"));
    assert_eq!(
        sections(&text(&answered.sdp)),
        "m=audio 20000 RTP/AVP 97\na=rtpmap:97 iLBC/8000\na=sendrecv\nm=audio 0 RTP/AVP 98\n"
    );
}

#[test]
fn s3_1_call_hold_and_unhold_by_the_called_side() {
    let mut anchor = anchor();
    let local = locals();
    offer(&mut anchor, &alice("m=audio 49170 RTP/AVP 0 97\na=rtpmap:0 PCMU/8000\na=rtpmap:97 iLBC/8000\n"), BOTH);
    let bobs = "m=audio 49172 RTP/AVP 97\na=rtpmap:97 iLBC/8000\n";
    answer(&mut anchor, &bob(bobs));
    for (bob_says, alice_says) in [("a=sendonly\n", "a=recvonly\n"), ("", "")] {
        let told = anchor.offer_to_other_side(Side::B, &bob(&format!("{bobs}{bob_says}")), &local[0], BOTH).unwrap();
        let told = text(&told);
        assert_eq!(line(&told, "m="), "m=audio 20000 RTP/AVP 97");
        assert!(told.ends_with(if bob_says.is_empty() { "a=sendrecv\n" } else { bob_says }));
        let answer = alice(&format!("m=audio 49170 RTP/AVP 97\na=rtpmap:97 iLBC/8000\n{alice_says}"));
        let answered = anchor.answer_to_offerer(&answer, &local[1]).unwrap();
        assert!(text(&answered.sdp).ends_with(if alice_says.is_empty() { "a=sendrecv\n" } else { alice_says }));
    }
}
