//! For every input: no panic, and what is told to a side can be read and keeps the promises of the anchor.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::base::limits::MAX_PT_RULES;

/// Both functions with whatever can be read, as offer and as answer.
fn check(bytes: &[u8]) {
    let Ok(read) = Sdp::parse(bytes) else { return };
    assert_eq!(Sdp::parse(&read.write()).as_ref().map(Sdp::write), Ok(read.write()), "reads back what it writes");
    let mut anchor = anchor();
    if let Ok(told) = anchor.offer_to_other_side(Side::A, &read, &locals()[1], BOTH) {
        let told = Sdp::parse(&told).unwrap();
        assert_eq!(told.0.medias.len(), read.0.medias.len());
        assert!(told.media().unwrap().leg.formats.len() <= MAX_PT_RULES);
        // Whoever takes the offer as it stands, answers it.
        let answered = anchor.answer_to_offerer(&told, &locals()[0]).unwrap();
        for (leg, formats) in answered.legs.iter().map(|leg| (leg, &leg.formats)) {
            assert!((1..=MAX_PT_RULES).contains(&formats.len()), "{leg:?}");
        }
        assert_eq!(Sdp::parse(&answered.sdp).unwrap().0.medias.len(), read.0.medias.len());
    }
    let mut anchor = self::anchor();
    offer(&mut anchor, &described("m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n"), BOTH);
    let _ = anchor.answer_to_offerer(&read, &locals()[0]);
}

const SAMPLE: &str = "v=0\r
o=alice 1 1 IN IP4 192.0.2.1\r
s=-\r
c=IN IP4 192.0.2.1\r
b=AS:64\r
t=0 0\r
a=group:BUNDLE 0\r
a=sendonly\r
m=audio 4000/2 RTP/AVPF 0 111 101 13\r
c=IN IP6 2001:db8::1\r
a=rtpmap:111 opus/48000/2\r
a=fmtp:111 useinbandfec=1\r
a=rtpmap:101 telephone-event/8000\r
a=rtcp-fb:111 nack\r
a=rtcp:4009 IN IP6 2001:db8::1\r
a=rtcp-mux\r
a=x:y\r
m=video 0 RTP/AVP\r
";

#[test]
fn every_truncation_and_every_changed_byte() {
    assert!(Sdp::parse(SAMPLE.as_bytes()).unwrap().media().is_ok());
    for end in 0..=SAMPLE.len() {
        check(&SAMPLE.as_bytes()[..end]);
    }
    for at in 0..SAMPLE.len() {
        for byte in [0, b'\n', b'\r', b' ', b'/', b'0', b'9', b':', b'=', b'a', b'm', 0x80, 0xff] {
            let mut changed = SAMPLE.as_bytes().to_vec();
            changed[at] = byte;
            check(&changed);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        check(&bytes);
        check(&[b"v=0\r\n", bytes.as_slice()].concat());
    }

    #[test]
    fn random_lines_in_a_sound_frame(lines in vec("[acmbokitrz]=[ -~]{0,30}", 0..6)) {
        check(format!("{SAMPLE}{}\r\n", lines.join("\r\n")).as_bytes());
        check(SAMPLE.replacen("m=", &format!("{}\r\nm=", lines.join("\r\n")), 1).as_bytes());
    }

    #[test]
    fn random_formats(
        numbers in vec(0_u8..128, 1..20),
        maps in vec((0_u8..128, "(PCMU|PCMA|telephone-event|opus|G729|CN|red|x)/(8000|16000|48000)(/2)?"), 0..20),
        codecs in prop_oneof![Just(vec![Pcmu]), Just(vec![Pcma]), Just(vec![Pcma, Pcmu])],
    ) {
        let numbers: Vec<_> = numbers.iter().map(u8::to_string).collect();
        let maps: String = maps.iter().map(|(pt, map)| format!("a=rtpmap:{pt} {map}\n")).collect();
        let described = described(&format!("m=audio 4000 RTP/AVP {}\n{maps}", numbers.join(" ")));
        let mut anchor = anchor();
        if let Ok(told) = anchor.offer_to_other_side(Side::A, &described, &locals()[1], &codecs) {
            let told = Sdp::parse(&told).unwrap();
            let offered = told.media().unwrap();
            let mut numbers: Vec<_> = offered.formats.iter().map(|s| s.format.pt).collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), offered.formats.len(), "a number means one codec");
            prop_assert!(offered.formats.len() <= MAX_PT_RULES);
            // Each single codec that was offered can be chosen.
            for spec in offered.formats.iter().filter(|s| !s.format.encoding.is_beside()) {
                let media = format!("m=audio 5000 RTP/AVP {}\na=rtpmap:{} {}\n", spec.format.pt, spec.format.pt, spec.rtpmap);
                let answered = anchor.answer_to_offerer(&super::described(&media), &locals()[0]);
                prop_assert!(answered.is_ok(), "{} {:?}", media, answered);
            }
        }
        check(&described.write());
    }
}
