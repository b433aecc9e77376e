//! The other side's answer as the offerer sees it, and the media that both have afterwards.

use super::*;

const DTMF: &str = "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n";

/// A offers, B answers: what A is told from its first section on, and the legs.
fn exchange(offered: &str, codecs: &[Codec], answered: &str) -> (String, Answered) {
    let mut anchor = anchor();
    offer(&mut anchor, &described(offered), codecs);
    let answered = answer(&mut anchor, &b_says(answered));
    (sections(&text(&answered.sdp)).to_owned(), answered)
}

fn b_says(media: &str) -> Sdp {
    sdp(&format!("v=0\no=bob 1 1 IN IP4 192.0.2.99\ns=-\nc=IN IP4 192.0.2.99\nt=0 0\n{media}"))
}

#[test]
fn the_same_codec_on_both_sides() {
    let (text, answered) = exchange("m=audio 4000 RTP/AVP 0 8\n", BOTH, "m=audio 5000 RTP/AVP 8\n");
    assert_eq!(text, "m=audio 20000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=sendrecv\n");
    let (a, b) = (leg(&answered, Side::A), leg(&answered, Side::B));
    assert_eq!((names(&a.formats), names(&b.formats)), (vec!["8 PCMA".into()], vec!["8 PCMA".into()]));
    assert_eq!(a.rtp, Some("192.0.2.1:4000".parse().unwrap()));
    assert_eq!(b.rtp, Some("192.0.2.99:5000".parse().unwrap()));
    assert_eq!(b.rtcp, Some("192.0.2.99:5001".parse().unwrap()));
}

#[test]
fn a_codec_that_only_the_answerer_has_is_converted() {
    let offered = format!("m=audio 4000 RTP/AVP 0 101\n{DTMF}");
    let (text, answered) = exchange(&offered, &[Pcma], &format!("m=audio 5000 RTP/AVP 8 101\n{DTMF}"));
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 0 101");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["0 PCMU", "101 telephone-event"]);
    assert_eq!(names(&leg(&answered, Side::B).formats), ["8 PCMA", "101 telephone-event"]);
}

#[test]
fn what_needs_no_conversion_is_preferred() {
    let (text, answered) = exchange("m=audio 4000 RTP/AVP 0\n", &[Pcma, Pcmu], "m=audio 5000 RTP/AVP 8 0\n");
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 0");
    assert_eq!(names(&leg(&answered, Side::B).formats), ["8 PCMA", "0 PCMU"]);
    // B prefers PCMA, and may send it: A must have something to convert it to.
    let (text, answered) = exchange("m=audio 4000 RTP/AVP 9 0\n", &[Pcma], "m=audio 5000 RTP/AVP 8 9\n");
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 9 0");
    assert_eq!(names(&leg(&answered, Side::B).formats), ["8 PCMA", "9 G722"]);
}

#[test]
fn dtmf_has_the_offerers_number_on_its_side() {
    let offered = format!("m=audio 4000 RTP/AVP 0 101\n{DTMF}");
    let answered = "m=audio 5000 RTP/AVP 0 96\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-11\n";
    let (text, answered) = exchange(&offered, &[Pcmu], answered);
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 0 101");
    assert_eq!(line(&text, "a=fmtp"), "a=fmtp:101 0-11");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["0 PCMU", "101 telephone-event"]);
    // RFC 3264 §6.1: B receives under its own number and sends under the one that was offered.
    let b = names(&leg(&answered, Side::B).formats);
    assert_eq!(b, ["0 PCMU", "96 telephone-event", "101 telephone-event"]);
}

#[test]
fn dtmf_that_only_one_side_has_is_not_agreed() {
    let offered = format!("m=audio 4000 RTP/AVP 0 101\n{DTMF}");
    let (text, answered) = exchange(&offered, BOTH, "m=audio 5000 RTP/AVP 0\n");
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 0");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["0 PCMU"]);
}

#[test]
fn the_answers_parameters_go_to_the_offerer() {
    let offered = "m=audio 4000 RTP/AVP 18 0\na=fmtp:18 annexb=yes\n";
    let (text, _) = exchange(offered, BOTH, "m=audio 5000 RTP/AVP 18\na=fmtp:18 annexb=no\na=ptime:40\n");
    assert_eq!(text, "m=audio 20000 RTP/AVP 18\na=rtpmap:18 G729/8000\na=fmtp:18 annexb=no\na=ptime:40\na=sendrecv\n");
}

#[test]
fn formats_that_differ_only_in_parameters_are_told_apart_by_number() {
    let offered = "m=audio 4000 RTP/AVP 96 97
a=rtpmap:96 AMR/8000
a=fmtp:96 octet-align=1
a=rtpmap:97 AMR/8000
a=fmtp:97 octet-align=0
";
    let answered = "m=audio 5000 RTP/AVP 97\na=rtpmap:97 AMR/8000\na=fmtp:97 octet-align=0\n";
    let (text, answered) = exchange(offered, BOTH, answered);
    assert_eq!(line(&text, "m="), "m=audio 20000 RTP/AVP 97");
    assert_eq!(names(&leg(&answered, Side::A).formats), ["97 AMR"]);
}

#[test]
fn each_sides_rtcp_mux_is_its_own() {
    for (a, b) in [(true, true), (true, false), (false, true), (false, false)] {
        let mux = |on: bool| if on { "a=rtcp-mux\n" } else { "" };
        let (text, answered) = exchange(
            &format!("m=audio 4000 RTP/AVP 0\n{}", mux(a)),
            BOTH,
            &format!("m=audio 5000 RTP/AVP 0\n{}", mux(b)),
        );
        // RFC 5761 §5.1.1: answered only if offered. What B answers without an offer counts for nothing.
        assert_eq!(text.contains("a=rtcp-mux"), a);
        assert_eq!(leg(&answered, Side::A).rtcp_mux, a);
        assert_eq!(leg(&answered, Side::A).rtcp.unwrap().port(), if a { 4000 } else { 4001 });
        assert_eq!(leg(&answered, Side::B).rtcp_mux, a && b);
        assert_eq!(leg(&answered, Side::B).rtcp.unwrap().port(), if a && b { 5000 } else { 5001 });
    }
}

#[test]
fn the_sections_are_those_of_the_offer() {
    let offered = "m=video 1000 RTP/AVP 31\nm=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 8\n";
    let (text, _) = exchange(offered, BOTH, "m=video 0 RTP/AVP 31\nm=audio 5000 RTP/AVP 0\nm=audio 0 RTP/AVP 8\n");
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=video 0 RTP/AVP 31", "m=audio 20000 RTP/AVP 0", "m=audio 0 RTP/AVP 8"]);
}

#[test]
fn an_answer_that_refuses_the_audio_refuses_it() {
    let (text, answered) = exchange("m=audio 4000 RTP/AVP 0\n", BOTH, "m=audio 0 RTP/AVP 0\n");
    assert_eq!(text, "m=audio 0 RTP/AVP 0\n");
    assert!(answered.legs.iter().all(|leg| leg.rtp.is_none() && leg.formats.is_empty()));
}

#[test]
fn an_answer_without_a_common_codec_is_an_error() {
    let mut anchor = anchor();
    offer(&mut anchor, &described(&format!("m=audio 4000 RTP/AVP 0 101\n{DTMF}")), BOTH);
    for bad in ["m=audio 5000 RTP/AVP 9\n", "m=audio 5000 RTP/SAVP 0\n", ""] {
        let error = anchor.answer_to_offerer(&b_says(bad), &locals()[0]).unwrap_err();
        assert_eq!((&error, error.status()), (&SdpError::NoCommonFormat, 488), "{bad}");
    }
    // DTMF alone carries no call.
    let dtmf = format!("m=audio 5000 RTP/AVP 101\n{DTMF}");
    assert!(anchor.answer_to_offerer(&b_says(&dtmf), &locals()[0]).is_err());
    // The offer stands: a good answer may still come.
    assert!(anchor.answer_to_offerer(&b_says("m=audio 5000 RTP/AVP 0\n"), &locals()[0]).is_ok());
}

#[test]
fn an_answer_without_an_offer_is_an_error() {
    let found = anchor().answer_to_offerer(&b_says("m=audio 5000 RTP/AVP 0\n"), &locals()[0]);
    assert_eq!(found, Err(SdpError::NoOffer));
}

#[test]
fn the_same_answer_again_is_the_same_and_another_is_a_new_version() {
    let mut anchor = anchor();
    offer(&mut anchor, &described("m=audio 4000 RTP/AVP 0 8\n"), BOTH);
    let early = answer(&mut anchor, &b_says("m=audio 5000 RTP/AVP 0\n"));
    assert_eq!(answer(&mut anchor, &b_says("m=audio 5000 RTP/AVP 0\n")), early);
    let other = answer(&mut anchor, &b_says("m=audio 5002 RTP/AVP 8\n"));
    assert_eq!(line(&text(&early.sdp), "o="), "o=- 1000 1 IN IP4 198.51.100.1");
    assert_eq!(line(&text(&other.sdp), "o="), "o=- 1000 2 IN IP4 198.51.100.1");
    assert_eq!(leg(&other, Side::B).rtp.unwrap().port(), 5002);
}

#[test]
fn feedback_is_renumbered_to_the_offerers_numbers() {
    let offered = "m=audio 4000 RTP/AVPF 111\na=rtpmap:111 opus/48000/2\na=rtcp-fb:111 nack\n";
    let answered = "m=audio 5000 RTP/AVPF 96\na=rtpmap:96 opus/48000/2\na=rtcp-fb:96 nack\na=rtcp-fb:5 nack\n";
    let (text, _) = exchange(offered, BOTH, answered);
    assert_eq!(text, "m=audio 20000 RTP/AVPF 111\na=rtpmap:111 opus/48000/2\na=rtcp-fb:111 nack\na=sendrecv\n");
}
