//! One side's offer as the other side sees it.

use super::*;

const DTMF: &str = "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n";

fn offered(media: &str, codecs: &[Codec]) -> String {
    let text = offer(&mut anchor(), &described(media), codecs);
    sections(&text).to_owned()
}

#[test]
fn origin_name_and_addresses_are_ours() {
    let text = offer(&mut anchor(), &described("m=audio 49170 RTP/AVP 0\n"), &[Pcmu]);
    assert_eq!(
        text,
        "v=0
o=- 2000 1 IN IP4 203.0.113.1
s=-
c=IN IP4 203.0.113.1
t=0 0
m=audio 30000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendrecv
"
    );
}

#[test]
fn an_ipv6_address_is_told_as_one() {
    let described = described("m=audio 49170 RTP/AVP 0\n");
    let local = local_at("[2001:db8::9]:30000");
    let told = anchor().offer_to_other_side(Side::A, &described, &local, BOTH).unwrap();
    assert_eq!(line(&text(&told), "c="), "c=IN IP6 2001:db8::9");
    assert_eq!(line(&text(&told), "o="), "o=- 2000 1 IN IP6 2001:db8::9");
}

#[test]
fn the_trunks_g711_is_offered_in_its_order() {
    let line = |numbers: &str, codecs: &[Codec]| {
        line(&offered(&format!("m=audio 4000 RTP/AVP {numbers}\n{DTMF}"), codecs), "m=").to_owned()
    };
    assert_eq!(line("0 101", BOTH), "m=audio 30000 RTP/AVP 0 8 101");
    assert_eq!(line("0 101", &[Pcma, Pcmu]), "m=audio 30000 RTP/AVP 8 0 101");
    assert_eq!(line("0 101", &[Pcma]), "m=audio 30000 RTP/AVP 8 101");
    assert_eq!(line("8 0 101", BOTH), "m=audio 30000 RTP/AVP 0 8 101");
    assert_eq!(line("18 8 101", BOTH), "m=audio 30000 RTP/AVP 18 0 8 101");
    // Nothing to convert from.
    assert_eq!(line("18 101", BOTH), "m=audio 30000 RTP/AVP 18 101");
    assert_eq!(line("9 0 101", &[]), "m=audio 30000 RTP/AVP 9 101");
}

#[test]
fn an_offer_of_which_nothing_is_left_is_refused() {
    let described = described(&format!("m=audio 4000 RTP/AVP 0 101\n{DTMF}"));
    let error = anchor().offer_to_other_side(Side::A, &described, &locals()[1], &[]).unwrap_err();
    assert_eq!((&error, error.status()), (&SdpError::NoCommonFormat, 488));
}

#[test]
fn dynamic_numbers_and_parameters_are_kept() {
    let media = "m=audio 4000 RTP/AVP 111 100 0
a=rtpmap:111 opus/48000/2
a=fmtp:111 useinbandfec=1
a=rtpmap:100 telephone-event/8000
a=fmtp:100 0-16
a=ptime:20
a=maxptime:60
";
    assert_eq!(
        offered(media, &[Pcma]),
        "m=audio 30000 RTP/AVP 111 100 8
a=rtpmap:111 opus/48000/2
a=fmtp:111 useinbandfec=1
a=rtpmap:100 telephone-event/8000
a=fmtp:100 0-16
a=rtpmap:8 PCMA/8000
a=ptime:20
a=maxptime:60
a=sendrecv
"
    );
}

#[test]
fn an_added_codec_takes_no_number_that_means_something_else() {
    let text = offered("m=audio 4000 RTP/AVP 0 8\na=rtpmap:8 iLBC/8000\n", BOTH);
    assert_eq!(line(&text, "m="), "m=audio 30000 RTP/AVP 0 96 8");
    assert_eq!(line(&text, "a=rtpmap:96"), "a=rtpmap:96 PCMA/8000");
    assert_eq!(line(&text, "a=rtpmap:8 "), "a=rtpmap:8 iLBC/8000");
}

#[test]
fn g711_under_a_dynamic_number_is_g711() {
    let text = offered("m=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMU/8000\n", &[Pcma, Pcmu]);
    assert_eq!(line(&text, "m="), "m=audio 30000 RTP/AVP 8 97");
}

#[test]
fn other_sections_are_refused_in_their_place() {
    let text = offered(
        "m=video 51372 RTP/AVP 31 99
a=rtpmap:99 H264/90000
m=audio 49170 RTP/AVP 0
m=audio 49172 RTP/AVP 8
m=application 5000 UDP/DTLS/SCTP webrtc-datachannel
a=sctp-port:5000
",
        &[Pcmu],
    );
    assert_eq!(
        text,
        "m=video 0 RTP/AVP 31 99
m=audio 30000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendrecv
m=audio 0 RTP/AVP 8
m=application 0 UDP/DTLS/SCTP webrtc-datachannel
"
    );
}

#[test]
fn rtcp_and_rtcp_mux_are_ours() {
    let media = "m=audio 4000 RTP/AVP 0\na=rtcp:4711\na=rtcp-mux\n";
    assert!(offered(media, &[Pcmu]).ends_with("a=rtpmap:0 PCMU/8000\na=rtcp-mux\na=sendrecv\n"));
    assert!(!offered("m=audio 4000 RTP/AVP 0\na=rtcp:4711\n", &[Pcmu]).contains("rtcp"));
    let mut local = locals()[1].clone();
    local.told_rtcp.set_port(30_007);
    let told = anchor().offer_to_other_side(Side::A, &described(media), &local, BOTH).unwrap();
    assert_eq!(line(&text(&told), "a=rtcp:"), "a=rtcp:30007");
}

#[test]
fn attributes_that_tandem_does_not_know_go_on() {
    let text = offered(
        "m=audio 4000 RTP/AVPF 0 18
b=AS:80
b=RS:800
a=rtcp-fb:18 nack
a=rtcp-fb:* ccm tmmbr
a=rtcp-xr:voip-metrics
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=x-unknown:left alone
a=silenceSupp:off - - - -
",
        &[Pcma],
    );
    assert_eq!(
        text,
        "m=audio 30000 RTP/AVPF 8 18
b=AS:80
b=RS:800
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=rtcp-fb:18 nack
a=rtcp-fb:* ccm tmmbr
a=rtcp-xr:voip-metrics
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=x-unknown:left alone
a=silenceSupp:off - - - -
a=sendrecv
"
    );
}

#[test]
fn no_more_formats_are_offered_than_a_plan_holds() {
    let others: String = (96..110).map(|pt| format!("a=rtpmap:{pt} X{pt}/8000\n")).collect();
    let numbers: Vec<_> = (96..110).map(|pt| pt.to_string()).collect();
    let text = offered(
        &format!("m=audio 4000 RTP/AVP {} 0 110\na=rtpmap:110 telephone-event/8000\n{others}", numbers.join(" ")),
        BOTH,
    );
    assert_eq!(line(&text, "m="), "m=audio 30000 RTP/AVP 96 97 98 99 100 0 8 110");
}
