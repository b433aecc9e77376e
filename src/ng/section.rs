//! What one media section of a description says, as far as media is to be carried for it. Pure; slow-path thread.
//!
//! Audio over RTP/AVP or RTP/AVPF is understood, codec by codec. Other RTP, and RTP/SAVP whose keys pass between the ends,
//! is carried as it is: a payload type goes through under its own number. What is no RTP, or needs keys of tandem's own,
//! is refused.

use std::net::SocketAddr;

use sdp_types::{Media, Session};
use serde::{Deserialize, Serialize};

use super::{NgError, request::Options};
use crate::{
    base::limits::MAX_PT_RULES,
    control::{Direction, Encoding, Format, LegMedia},
    sip::sdp::{
        audio,
        formats::{Spec, limited},
    },
};

/// A section that is to be carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its codecs are not looked into.
    pub opaque: bool,
    pub proto: String,
    pub leg: LegMedia,
    /// Audio's codecs; of opaque media none.
    pub specs: Vec<Spec>,
    /// Where RTCP would go without rtcp-mux.
    pub rtcp_apart: Option<SocketAddr>,
}

/// None: the section is refused, by the peer itself or because tandem cannot carry it, which `why` then says.
pub fn read(session: &Session, media: &Media, options: &Options, why: &mut NgError) -> Option<Section> {
    if media.port == 0 {
        return None;
    }
    let proto = media.proto.to_ascii_uppercase();
    let secure = match proto.as_str() {
        "RTP/AVP" | "RTP/AVPF" => false,
        "RTP/SAVP" | "RTP/SAVPF" => true,
        _ => {
            *why = unsupported(&media.proto, "only RTP is carried, in the clear or with keys that pass in SDES");
            return None;
        }
    };
    let dtls = [&media.attributes, &session.attributes].into_iter().flatten().any(|a| a.attribute == "fingerprint");
    if secure && dtls {
        *why = unsupported("DTLS", "media is neither encrypted nor decrypted");
        return None;
    }
    let opaque = secure || !media.media.eq_ignore_ascii_case("audio");
    let specs = if opaque { Vec::new() } else { audio::formats(media) };
    let formats = if opaque { numbers(media) } else { limited(&specs) };
    if formats.iter().all(|format| format.encoding.is_beside()) {
        *why = NgError::NoCommonFormat;
        return None;
    }
    let ip = match audio::address(session, media) {
        Ok(Some(ip)) => ip,
        Ok(None) => return None,
        Err(error) => {
            *why = error.into();
            return None;
        }
    };
    let said =
        audio::direction(&media.attributes).or_else(|| audio::direction(&session.attributes)).unwrap_or_default();
    // RFC 3264 §8.4: 0.0.0.0 asks for neither RTP nor RTCP.
    let (rtp, direction) = match ip.is_unspecified() {
        true => (None, audio::from_flags(audio::sends(said), false)),
        false => (Some(SocketAddr::new(options.expected_from().unwrap_or(ip), media.port)), said),
    };
    let rtcp_mux = media.has_attribute("rtcp-mux");
    let rtcp_apart = rtp.and_then(|rtp| rtcp_address(media, rtp, options));
    let rtcp = if rtcp_mux { rtp } else { rtcp_apart };
    let leg = LegMedia { rtp, rtcp, rtcp_mux, formats, direction };
    Some(Section { opaque, proto, leg, specs, rtcp_apart })
}

fn unsupported(what: &str, why: &'static str) -> NgError {
    NgError::Refused { what: what.chars().take(64).collect(), why }
}

/// A source that is trusted over the description holds for RTCP as well.
fn rtcp_address(media: &Media, rtp: SocketAddr, options: &Options) -> Option<SocketAddr> {
    let said = audio::rtcp_address(media, rtp)?;
    Some(SocketAddr::new(options.expected_from().unwrap_or(said.ip()), said.port()))
}

/// Formats that are known by their numbers alone. The clock is what the description says, for the jitter.
fn numbers(media: &Media) -> Vec<Format> {
    let known = audio::formats(media);
    let mut formats: Vec<Format> = Vec::new();
    for pt in media.fmt.split_ascii_whitespace().filter_map(|pt| pt.parse::<u8>().ok()).filter(|pt| *pt < 128) {
        if formats.len() < MAX_PT_RULES && !formats.iter().any(|format| format.pt == pt) {
            let clock_hz = known.iter().find(|spec| spec.format.pt == pt).map_or(90_000, |spec| spec.format.clock_hz);
            formats.push(Format { pt, encoding: Encoding::Other(pt.to_string()), clock_hz, channels: 1, fmtp: None });
        }
    }
    formats
}

/// Whether the protocol that the answerer is to be spoken to in can be had.
pub fn protocol(section: &Section, options: &Options) -> Result<String, NgError> {
    let Some(wanted) = &options.protocol else { return Ok(section.proto.clone()) };
    let secure = |proto: &str| proto.starts_with("RTP/SAVP");
    let known = matches!(wanted.as_str(), "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF");
    if !known || secure(wanted) != secure(&section.proto) {
        return Err(unsupported(wanted, "media is neither encrypted nor decrypted"));
    }
    Ok(wanted.clone())
}

/// Opaque media after an answer: what both sides list, under the numbers it has.
pub fn in_common(offered: &LegMedia, answered: &LegMedia) -> Vec<Format> {
    let both = |format: &&Format| offered.formats.iter().any(|other| other.pt == format.pt);
    answered.formats.iter().filter(both).cloned().collect()
}

/// Each side's direction after an answer (RFC 3264 §6.1).
pub fn direction(offer: Direction, answer: Direction) -> Direction {
    audio::permitted(offer, answer)
}
