//! Session descriptions, and offer and answer through the anchor of media.
//!
//! An offer, and behind a zero byte an answer to it.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use tandem::{
    base::ids::Side,
    config::Codec,
    control::Local,
    sip::sdp::{Sdp, SdpAnchor},
};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let (offer, answer) = (parts.next().unwrap_or(&[]), parts.next());
    let Some(offer) = read(offer) else { return };
    let mut anchor = SdpAnchor::new([2_000, 4_000]);
    let [a, b] = ["198.51.100.1:20000", "203.0.113.1:30000"].map(local_at);
    let Ok(told) = anchor.offer_to_other_side(Side::A, &offer, &b, &[Codec::Pcmu, Codec::Pcma]) else { return };
    let told = Sdp::parse(&told).expect("what a side is told can be read");
    // The one address that it is told is tandem's.
    assert_eq!(told.media().expect("audio").leg.rtp, Some(b.told_rtp));
    if let Some(answer) = answer.and_then(read)
        && let Ok(answered) = anchor.answer_to_offerer(&answer, &a)
    {
        let answered = Sdp::parse(&answered.sdp).expect("what a side is told can be read");
        assert!(answered.media().is_ok_and(|audio| audio.leg.rtp == Some(a.told_rtp)) || answered.media().is_err());
    }
    // Whoever takes the offer as it stands, answers it.
    let answered = anchor.answer_to_offerer(&told, &a).expect("an answer that takes all is taken");
    assert!(answered.legs.iter().all(|leg| !leg.formats.is_empty()));
});

/// A description that reads back what it writes.
fn read(bytes: &[u8]) -> Option<Sdp> {
    let sdp = Sdp::parse(bytes).ok()?;
    let again = Sdp::parse(&sdp.write()).expect("what was written can be read");
    assert_eq!(again.write(), sdp.write());
    let _ = sdp.media();
    Some(sdp)
}

fn local_at(rtp: &str) -> Local {
    let told_rtp: SocketAddr = rtp.parse().expect("an address and a port");
    let inside = SocketAddr::new(IpAddr::from([10, 0, 0, 1]), 1);
    let told_rtcp = SocketAddr::new(told_rtp.ip(), told_rtp.port() + 1);
    Local { address: "media".into(), rtp: inside, rtcp: inside, told_rtp, told_rtcp }
}
