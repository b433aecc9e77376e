//! Session descriptions: how they are read, and what becomes of them on their way through.

mod answer;
mod examples;
mod hold;
mod join;
mod offer;
mod privacy;
mod properties;
mod reading;

use super::*;
use crate::{
    base::ids::Side,
    config::Codec::{self, Pcma, Pcmu},
    control::{Direction, Format, LegMedia, Local},
};

pub const BOTH: &[Codec] = &[Pcmu, Pcma];

/// Lines end in `\n` in this file, in CRLF on the wire.
pub fn sdp(text: &str) -> Sdp {
    Sdp::parse(text.replace('\n', "\r\n").as_bytes()).unwrap()
}

/// A description with these media lines.
pub fn described(media: &str) -> Sdp {
    sdp(&format!("v=0\no=alice 2890844526 2890844526 IN IP4 192.0.2.1\ns=Talk\nc=IN IP4 192.0.2.1\nt=0 0\n{media}"))
}

pub fn local_at(rtp: &str) -> Local {
    let rtp: std::net::SocketAddr = rtp.parse().unwrap();
    let rtcp = std::net::SocketAddr::new(rtp.ip(), rtp.port() + 1);
    let inside = "10.0.0.1:1".parse().unwrap();
    Local { address: "media".into(), rtp: inside, rtcp: inside, told_rtp: rtp, told_rtcp: rtcp }
}

/// Where A and B find tandem.
pub fn locals() -> [Local; 2] {
    [local_at("198.51.100.1:20000"), local_at("203.0.113.1:30000")]
}

pub fn anchor() -> SdpAnchor {
    SdpAnchor::new([2_000, 4_000])
}

/// A's offer as B sees it.
pub fn offer(anchor: &mut SdpAnchor, offer: &Sdp, codecs: &[Codec]) -> String {
    text(&anchor.offer_to_other_side(Side::A, offer, &locals()[1], codecs).unwrap())
}

/// B's answer to it.
pub fn answer(anchor: &mut SdpAnchor, answer: &Sdp) -> Answered {
    anchor.answer_to_offerer(answer, &locals()[0]).unwrap()
}

pub fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n")
}

/// The lines from the first media section on.
pub fn sections(text: &str) -> &str {
    &text[text.find("\nm=").unwrap() + 1..]
}

pub fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(start)).unwrap_or("")
}

/// `number name` of each format.
pub fn names(formats: &[Format]) -> Vec<String> {
    formats.iter().map(|f| format!("{} {}", f.pt, f.encoding.name())).collect()
}

pub fn leg(answered: &Answered, side: Side) -> &LegMedia {
    &answered.legs[side.index()]
}
