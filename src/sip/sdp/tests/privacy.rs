//! Nothing that a side is told holds an address or a name of the other side, whatever the other side says.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "v=0
o=alice-pbx 1 1 IN IP4 pbx.atlanta.example.com
s=Alice's call from pbx.atlanta.example.com
i=on 192.0.2.1
u=http://pbx.atlanta.example.com/
e=alice@pbx.atlanta.example.com
p=+1 555 192.0.2.1
c=IN IP4 192.0.2.1
b=AS:100
t=3149328700 0
k=clear:192.0.2.1
a=tool:pbx.atlanta.example.com 1.0
a=ice-lite
a=group:BUNDLE 0 1
a=msid-semantic: WMS pbx.atlanta.example.com
a=fingerprint:sha-256 19:E2:1C:3B
a=x-host:pbx.atlanta.example.com
a=x-user: alice-pbx
a=charset:UTF-8
m=audio 49170 RTP/AVP 0
i=192.0.2.1
c=IN IP4 192.0.2.1
k=clear:192.0.2.1
a=rtcp:49171 IN IP4 192.0.2.1
a=candidate:1 1 UDP 2130706431 192.0.2.1 49170 typ host
a=candidate:2 1 UDP 1694498815 192.0.2.200 45664 typ srflx raddr 192.0.2.1 rport 8998
a=remote-candidates:1 192.0.2.1 49170
a=ice-ufrag:8hhY
a=ice-pwd:asd88fgpdd777uzjYhagZg
a=end-of-candidates
a=setup:actpass
a=connection:new
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj
a=ssrc:314 cname:alice@pbx.atlanta.example.com
a=source-filter: incl IN IP4 * 192.0.2.1
a=altc:1 IP6 2001:db8::1 45678
a=nortpproxy:yes
a=oldmediaip:192.0.2.55
a=x-media:192.0.2.1:49170
a=x-six:[2001:db8::1]:49170
a=x-list:a=1;host=192.0.2.1
a=x-sip:sip:someone@192.0.2.1:5060
a=mid:0
a=x-kept:1
m=video 51372 RTP/AVP 31
c=IN IP4 192.0.2.1
a=candidate:1 1 UDP 2130706431 192.0.2.1 51372 typ host
";

fn assert_clean(told: &str) {
    for secret in [
        "192.0.2.",
        "2001:db8",
        "atlanta",
        "alice",
        "sip:",
        "candidate",
        "ice-",
        "crypto",
        "inline",
        "fingerprint",
        "ssrc",
        "BUNDLE",
        "k=",
        "i=",
        "u=",
        "e=",
        "p=",
        "4917",
        "5137",
    ] {
        assert!(!told.lines().any(|l| l.starts_with(secret) || l[2..].contains(secret)), "{secret} in\n{told}");
    }
}

#[test]
fn an_offer_gives_nothing_away() {
    let told = offer(&mut anchor(), &sdp(SECRET), BOTH);
    assert_clean(&told);
    assert_eq!(
        told,
        "v=0
o=- 2000 1 IN IP4 203.0.113.1
s=-
c=IN IP4 203.0.113.1
b=AS:100
t=0 0
a=charset:UTF-8
m=audio 30000 RTP/AVP 0 8
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=mid:0
a=x-kept:1
a=sendrecv
m=video 0 RTP/AVP 31
"
    );
}

#[test]
fn an_answer_gives_nothing_away() {
    let mut anchor = anchor();
    offer(&mut anchor, &described("m=audio 4000 RTP/AVP 0\nm=video 4002 RTP/AVP 31\n"), BOTH);
    let answered = answer(&mut anchor, &sdp(SECRET));
    assert_clean(&text(&answered.sdp));
    // What is said within: the legs have it all.
    assert_eq!(leg(&answered, Side::B).rtp, Some("192.0.2.1:49170".parse().unwrap()));
}

/// What becomes of A's offer of one audio section with this line.
fn told_with(line: &str) -> String {
    offer(&mut anchor(), &described(&format!("m=audio 4000 RTP/AVPF 0\n{line}\n")), BOTH)
}

fn without_line() -> String {
    offer(&mut anchor(), &described("m=audio 4000 RTP/AVPF 0\n"), BOTH)
}

#[test]
fn an_address_is_found_wherever_an_attribute_has_it() {
    for line in [
        "a=rtcp-fb:* nack 192.0.2.1",
        "a=rtcp-fb:0 nack 192.0.2.1",
        "a=rtcp-fb:* x 2001:db8::1",
        "a=192.0.2.1",
        "a=192.0.2.1:y",
        "a=x-192.0.2.1:y",
        "a=y192.0.2.1z",
        "a=2001:db8:0:0:0:0:0:1",
        "a=x-2001:db8::1",
        "a=ff02::1:y",
        "a=x-scheme:sip:192.0.2.1:5060",
        "a=x-quoted:'192.0.2.1'",
        "a=x-joined:host-192.0.2.1-4000",
        "a=x-digits:1192.0.2.100",
        "a=x-zeros:192.000.002.001",
        "a=x-mapped:::ffff:192.0.2.1",
        "a=x-zone:fe80::1%eth0",
        "a=x-whole:2001:DB8:0:0:0:0:0:1/64",
        "a=fmtp:0 x=192.0.2.1",
        "b=192.0.2.1:64",
    ] {
        assert_eq!(told_with(line), without_line(), "{line}");
    }
}

#[test]
fn a_user_and_a_host_are_found_in_names_and_feedback_too() {
    let with = |line: &str| {
        let text = format!(
            "v=0\no=alice 1 1 IN IP4 pbx.example.com\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVPF 0\n{line}"
        );
        offer(&mut anchor(), &sdp(&text), BOTH)
    };
    for line in [
        "a=rtcp-fb:* x PBX.example.com\n",
        "a=x-pbx.example.com:1\n",
        "a=x-Alice:1\n",
        "a=x-from:'alice'\n",
        "a=fmtp:0 cname=alice@pbx.example.com\n",
        "b=X-pbx.example.com:1\n",
    ] {
        assert_eq!(with(line), with(""), "{line}");
    }
    assert!(with("a=x-alices:1\n").contains("a=x-alices:1\n"));
}

#[test]
fn what_only_resembles_an_address_goes_on() {
    for line in [
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:0 ccm fir",
        "a=x-version:1.2.3",
        "a=x-large:1.256.3.4",
        "a=x-time:12:30:45",
        "a=x-mac:00:1b:44:11:3a:b7",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=x-dashes:192-0-2-1",
        "b=AS:64",
    ] {
        assert!(told_with(line).contains(&format!("\n{line}\n")), "{line}");
    }
}

#[test]
fn a_refused_section_keeps_its_place_and_not_an_address() {
    for line in ["m=video 5000 RTP/AVP 192.0.2.1", "m=x192.0.2.1 5000 RTP/AVP 0", "m=video 5000 192.0.2.1 0"] {
        let told = told_with(line);
        assert_eq!(line_of_last_section(&told), "m=application 0 RTP/AVP 0", "{line}");
    }
    assert_eq!(line_of_last_section(&told_with("m=video 5000 RTP/AVP 31")), "m=video 0 RTP/AVP 31");
}

fn line_of_last_section(told: &str) -> &str {
    told.lines().rfind(|line| line.starts_with("m=")).unwrap()
}

#[test]
fn a_codec_called_like_an_address_is_not_carried() {
    let told = offer(&mut anchor(), &described("m=audio 4000 RTP/AVP 0 96\na=rtpmap:96 192.0.2.1/8000\n"), BOTH);
    assert_eq!(line(&told, "m="), "m=audio 30000 RTP/AVP 0 8");
    assert!(!told.contains("192.0.2.1"), "{told}");
}

proptest! {
    #[test]
    fn no_line_carries_an_address_across(
        kind in "[abcikmoprstuz]",
        name in "(|rtpmap:0 |rtpmap:96 |fmtp:0 |rtcp-fb:\\* |rtcp-fb:0 |mid:|x:)",
        before in "[ -~]{0,12}",
        address in "(192\\.0\\.2\\.1|2001:db8::7|2001:db8:0:0:0:0:0:7)",
        after in "[ -~]{0,12}",
    ) {
        let line = format!("{kind}={name}{before}{address}{after}\n");
        let said = [
            format!("m=audio 4000 RTP/AVPF 0 96\n{line}"),
            format!("{line}m=audio 4000 RTP/AVPF 0 96\n"),
            format!("m=audio 4000 RTP/AVPF 0 96\nm=video 4002 RTP/AVP 31\n{line}"),
        ];
        for media in said {
            let text = format!("v=0\no=alice 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{media}");
            let Ok(read) = Sdp::parse(text.replace('\n', "\r\n").as_bytes()) else { continue };
            if let Ok(told) = anchor().offer_to_other_side(Side::A, &read, &locals()[1], BOTH) {
                prop_assert!(!super::text(&told).contains(&address), "{text}\n{}", super::text(&told));
            }
            let mut anchor = anchor();
            offer(&mut anchor, &described("m=audio 4000 RTP/AVPF 0 96\na=rtpmap:96 opus/48000/2\n"), BOTH);
            if let Ok(answered) = anchor.answer_to_offerer(&read, &locals()[0]) {
                prop_assert!(!super::text(&answered.sdp).contains(&address), "{text}");
            }
        }
    }
}
