//! What a description says about its audio.

use super::*;
use crate::{base::limits, control::Encoding};

fn rtp(media: &str) -> LegMedia {
    described(media).media().unwrap().leg
}

#[test]
fn a_description_is_written_back_as_it_was() {
    // RFC 8866 §5, its example; attributes that no one knows among the others.
    let text = "v=0
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
s=Call to John Smith
i=SDP Offer #1
u=http://www.jdoe.example.com/home.html
e=Jane Doe <jane@jdoe.example.com>
p=+1 617 555-6011
c=IN IP4 198.51.100.1
b=CT:128
t=0 0
a=x-unknown:some thing
a=x-flag
m=audio 49170 RTP/AVP 0
a=x-more:ü
m=audio 49180 RTP/AVP 0
m=video 51372 RTP/AVP 99
c=IN IP6 2001:db8::2
a=rtpmap:99 h263-1998/90000
";
    assert_eq!(self::text(&sdp(text).write()), text);
    let saved = serde_json::to_string(&sdp(text)).unwrap();
    assert_eq!(serde_json::from_str::<Sdp>(&saved).unwrap(), sdp(text));
}

#[test]
fn the_sections_own_address_comes_before_the_sessions() {
    assert_eq!(rtp("m=audio 4000 RTP/AVP 0\n").rtp, Some("192.0.2.1:4000".parse().unwrap()));
    let own = rtp("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::2\n");
    assert_eq!(own.rtp, Some("[2001:db8::2]:4000".parse().unwrap()));
    assert_eq!(own.rtcp, Some("[2001:db8::2]:4001".parse().unwrap()));
}

#[test]
fn rtcp_is_where_rfc_3605_and_rfc_5761_say() {
    let rtcp = |lines: &str| rtp(&format!("m=audio 4000 RTP/AVP 0\n{lines}")).rtcp.map(|a| a.to_string());
    assert_eq!(rtcp("").as_deref(), Some("192.0.2.1:4001"));
    // RFC 3605 §2.1, its examples.
    assert_eq!(rtcp("a=rtcp:53020\n").as_deref(), Some("192.0.2.1:53020"));
    assert_eq!(rtcp("a=rtcp:53020 IN IP4 126.16.64.4\n").as_deref(), Some("126.16.64.4:53020"));
    assert_eq!(
        rtcp("a=rtcp:53020 IN IP6 2001:2345:6789:ABCD:EF01:2345:6789:ABCD\n").as_deref(),
        Some("[2001:2345:6789:abcd:ef01:2345:6789:abcd]:53020")
    );
    assert_eq!(rtcp("a=rtcp:0\n"), None);
    assert_eq!(rtcp("a=rtcp:4001\na=rtcp-mux\n").as_deref(), Some("192.0.2.1:4000"));
    assert_eq!(rtp("m=audio 65535 RTP/AVP 0\n").rtcp, None);
}

#[test]
fn the_sections_own_direction_comes_before_the_sessions() {
    let said = |session: &str, section: &str| {
        let text = format!(
            "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{session}m=audio 4000 RTP/AVP 0\n{section}"
        );
        sdp(&text).media().unwrap().leg.direction
    };
    assert_eq!(said("", ""), Direction::SendRecv);
    assert_eq!(said("a=sendonly\n", ""), Direction::SendOnly);
    assert_eq!(said("a=sendonly\n", "a=inactive\n"), Direction::Inactive);
    assert_eq!(said("", "a=recvonly\n"), Direction::RecvOnly);
}

#[test]
fn rfc_3264_s8_4_the_old_hold_is_no_address_and_no_receiving() {
    for (said, meant) in [
        ("", Direction::SendOnly),
        ("a=sendonly\n", Direction::SendOnly),
        ("a=recvonly\n", Direction::Inactive),
        ("a=inactive\n", Direction::Inactive),
    ] {
        for address in ["IN IP4 0.0.0.0", "IN IP6 ::", "IN IP6 anything.invalid"] {
            let held = rtp(&format!("m=audio 4000 RTP/AVP 0\nc={address}\n{said}"));
            assert_eq!((held.rtp, held.rtcp, held.direction), (None, None, meant), "{address} {said}");
            assert_eq!(names(&held.formats), ["0 PCMU"]);
        }
    }
}

#[test]
fn formats_are_named_by_rtpmap_or_by_number() {
    let audio = described(
        "m=audio 4000 RTP/AVP 9 0 111 8 18 101 13 99 1
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:30
",
    );
    let audio = audio.media().unwrap();
    // 99 has no meaning without a map, 1 is reserved.
    assert_eq!(
        names(&audio.leg.formats),
        ["9 G722", "0 PCMU", "111 OPUS", "8 PCMA", "18 G729", "101 telephone-event", "13 CN"]
    );
    let opus = &audio.leg.formats[2];
    assert_eq!((opus.clock_hz, opus.channels), (48_000, 2));
    assert_eq!(opus.fmtp.as_deref(), Some("minptime=10;useinbandfec=1"));
    assert_eq!(audio.leg.formats[5].fmtp.as_deref(), Some("0-16"));
    assert_eq!(audio.leg.formats[4].encoding, Encoding::Other("G729".into()));
    assert_eq!(audio.ptime_ms, Some(30));
}

#[test]
fn a_plan_holds_so_many_formats_and_g711_and_dtmf_are_among_them() {
    let others: String = (96..110).map(|pt| format!("a=rtpmap:{pt} X{pt}/8000\n")).collect();
    let numbers: Vec<_> = (96..110).map(|pt| pt.to_string()).collect();
    let leg =
        rtp(&format!("m=audio 4000 RTP/AVP {} 0 110\na=rtpmap:110 telephone-event/8000\n{others}", numbers.join(" ")));
    assert_eq!(leg.formats.len(), limits::MAX_PT_RULES);
    assert_eq!(names(&leg.formats[6..]), ["0 PCMU", "110 telephone-event"]);
}

#[test]
fn the_first_usable_audio_section_is_taken() {
    let audio = described(
        "m=video 1000 RTP/AVP 31
m=audio 2000 RTP/SAVP 0
m=audio 0 RTP/AVP 0
m=audio 2500 RTP/AVP 101
a=rtpmap:101 telephone-event/8000
m=AUDIO 3000 rtp/avpf 8
m=audio 4000 RTP/AVP 0
",
    );
    let audio = audio.media().unwrap();
    assert_eq!((audio.section, audio.leg.rtp.unwrap().port()), (4, 3000));
}

#[test]
fn what_cannot_be_carried_is_refused_with_488() {
    for media in [
        "",
        "m=audio 0 RTP/AVP 0\n",
        "m=audio 4000 RTP/SAVP 0\n",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 0\n",
        "m=image 4000 udptl t38\n",
        "m=audio 4000 RTP/AVP 99\n",
        "m=audio 4000 RTP/AVP 96\na=rtpmap:96 red/8000\n",
        "m=audio 4000 RTP/AVP 0\nc=IN IP4 224.2.36.42/127\n",
        "m=audio 4000 RTP/AVP 0\nc=ATM NSAP 192.0.2.1\n",
    ] {
        let error = described(media).media().unwrap_err();
        assert_eq!((&error, error.status()), (&SdpError::NoAudio, 488), "{media}");
    }
    let error = described("m=audio 4000 RTP/AVP 0\nc=IN IP4 media.example.com\n").media().unwrap_err();
    assert_eq!((&error, error.status()), (&SdpError::AddressIsName, 488));
    assert_eq!(
        sdp("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 0\n").media(),
        Err(SdpError::NoAudio)
    );
}

#[test]
fn the_limits_hold() {
    let many = |n: usize| {
        format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(n))
    };
    assert!(Sdp::parse(many(limits::SDP_MEDIA).as_bytes()).is_ok());
    let error = Sdp::parse(many(limits::SDP_MEDIA + 1).as_bytes()).unwrap_err();
    assert_eq!((&error, error.status()), (&SdpError::TooManySections, 400));
    let long = format!("{}a={}", many(1), "x".repeat(limits::SDP_BYTES));
    assert_eq!(Sdp::parse(&long.as_bytes()[..limits::SDP_BYTES]).map(drop), Ok(()));
    let error = Sdp::parse(&long.as_bytes()[..=limits::SDP_BYTES]).unwrap_err();
    assert_eq!((&error, error.status()), (&SdpError::TooLong, 413));
}

#[test]
fn what_is_no_description_is_answered_with_400() {
    for bad in [
        "",
        "hello",
        "v=1\r\n",
        "o=- 1 1 IN IP4 192.0.2.1\r\n",
        "v=0\r\nm=audio x RTP/AVP 0\r\n",
        "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN\r\n",
        "v=0\r\nm=audio\r\n",
    ] {
        assert_eq!(Sdp::parse(bad.as_bytes()).unwrap_err().status(), 400, "{bad:?}");
    }
}

#[test]
fn what_others_write_carelessly_is_read() {
    // A refused section without formats; line feeds alone; another character set; no s= nor t=.
    let bytes = b"v=0\no=- 1 1 IN IP4 192.0.2.1\nc=IN IP4 192.0.2.1\ni=caf\xe9\nm=audio 4000 RTP/AVP 0\nm=video 0 RTP/AVP\na=x\n";
    let read = Sdp::parse(bytes).unwrap();
    assert_eq!(read.media().unwrap().leg.rtp, Some("192.0.2.1:4000".parse().unwrap()));
    assert!(text(&read.write()).ends_with("m=video 0 RTP/AVP 0\na=x\n"));
}

#[test]
fn a_line_that_tandem_makes_nothing_of_fails_no_call() {
    for line in ["b=AS:64.5", "z=x", "r=1", "t=now", "u=a\nu=b", "k=", "Q", ""] {
        let audio = described(&format!("a=x\n{line}\nm=audio 4000 RTP/AVP 0\n")).media().unwrap();
        assert_eq!(audio.leg.rtp, Some("192.0.2.1:4000".parse().unwrap()), "{line}");
    }
}
