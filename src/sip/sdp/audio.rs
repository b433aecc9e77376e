//! What a description says about the audio that tandem carries: address, formats, direction.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};

use super::{
    Sdp, SdpError,
    attributes::holds_address,
    formats::{Spec, limited},
};
use crate::control::{Direction, Format, LegMedia};

/// The first audio section that tandem can carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Its place among the sections, from 0.
    pub section: usize,
    pub leg: LegMedia,
    /// `a=ptime`, in milliseconds.
    pub ptime_ms: Option<u32>,
    pub(super) formats: Vec<Spec>,
}

impl Sdp {
    /// The first section of audio over RTP/AVP or RTP/AVPF that is not refused and has a format we can name.
    pub fn media(&self) -> Result<Audio, SdpError> {
        let mut why = SdpError::NoAudio;
        for section in 0..self.0.medias.len() {
            match self.audio(section) {
                Ok(Some(audio)) => return Ok(audio),
                Ok(None) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// The audio of that section. None: it is refused (port 0), no audio, or nothing that can be carried.
    pub(super) fn audio(&self, section: usize) -> Result<Option<Audio>, SdpError> {
        let Some(media) = self.0.medias.get(section).filter(|m| is_rtp_audio(m)) else { return Ok(None) };
        let formats = formats(media);
        if !formats.iter().any(|spec| !spec.format.encoding.is_beside()) {
            return Ok(None);
        }
        let Some(ip) = address(&self.0, media)? else { return Ok(None) };
        let said = direction(&media.attributes).or_else(|| direction(&self.0.attributes)).unwrap_or_default();
        // RFC 3264 §8.4: 0.0.0.0 asks for neither RTP nor RTCP.
        let (rtp, direction) = match ip.is_unspecified() {
            true => (None, from_flags(sends(said), false)),
            false => (Some(SocketAddr::new(ip, media.port)), said),
        };
        let rtcp_mux = media.has_attribute("rtcp-mux");
        let rtcp = if rtcp_mux { rtp } else { rtp.and_then(|rtp| rtcp_address(media, rtp)) };
        let leg = LegMedia { rtp, rtcp, rtcp_mux, formats: limited(&formats), direction };
        let ptime = media.get_first_attribute_value("ptime").flatten();
        Ok(Some(Audio { section, leg, ptime_ms: ptime.and_then(|p| p.trim().parse().ok()), formats }))
    }

    /// Where that section wants RTCP if rtcp-mux is not in use.
    pub(super) fn rtcp_without_mux(&self, audio: &Audio) -> Option<SocketAddr> {
        rtcp_address(self.0.medias.get(audio.section)?, audio.leg.rtp?)
    }
}

fn is_rtp_audio(media: &Media) -> bool {
    let proto = |name: &str| media.proto.eq_ignore_ascii_case(name);
    media.media.eq_ignore_ascii_case("audio") && media.port != 0 && (proto("RTP/AVP") || proto("RTP/AVPF"))
}

/// RFC 8866 §5.7: the section's connection address, else the session's. None: there is none, or it is multicast.
pub(crate) fn address(session: &Session, media: &Media) -> Result<Option<IpAddr>, SdpError> {
    let Some(connection) = media.connections.first().or(session.connection.as_ref()) else { return Ok(None) };
    match connection.try_address() {
        Ok(found) => Ok(Some(found.ip).filter(|ip| !ip.is_multicast() && is_internet(connection))),
        // RFC 6157 §5.2.3 and RFC 2606 §2: a name under .invalid is IPv6's way to say 0.0.0.0.
        Err(_) if connection.connection_address.to_ascii_lowercase().ends_with(".invalid") => {
            Ok(Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))
        }
        Err(_) => Err(SdpError::AddressIsName),
    }
}

fn is_internet(connection: &Connection) -> bool {
    connection.nettype.as_str().eq_ignore_ascii_case("IN")
}

/// RFC 3605 §2.1: `port` or `port nettype addrtype address`; without it RTP's port and one. None: no such port.
pub(crate) fn rtcp_address(media: &Media, rtp: SocketAddr) -> Option<SocketAddr> {
    let Some(value) = media.get_first_attribute_value("rtcp").flatten() else {
        return rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
    };
    let mut parts = value.split_ascii_whitespace();
    let port = parts.next()?.parse().ok().filter(|&port| port != 0)?;
    let ip = parts.nth(2).map_or(Some(rtp.ip()), |ip| ip.parse().ok())?;
    Some(SocketAddr::new(ip, port))
}

pub(crate) fn formats(media: &Media) -> Vec<Spec> {
    let mut maps: [Option<&str>; 128] = [None; 128];
    let mut parameters: [Option<&str>; 128] = [None; 128];
    for attribute in &media.attributes {
        let table = match attribute.attribute.to_ascii_lowercase().as_str() {
            "rtpmap" => &mut maps,
            "fmtp" => &mut parameters,
            _ => continue,
        };
        let Some((number, text)) = attribute.value.as_deref().and_then(|v| v.trim().split_once(' ')) else { continue };
        if let Some(entry) = number.parse::<usize>().ok().and_then(|pt| table.get_mut(pt)) {
            entry.get_or_insert(text.trim());
        }
    }
    let mut specs: Vec<Spec> = Vec::new();
    for pt in media.fmt.split_ascii_whitespace().filter_map(|text| text.parse::<u8>().ok()) {
        let Some((map, fmtp)) = maps.get(usize::from(pt)).zip(parameters.get(usize::from(pt))) else { continue };
        // A name that is an address is no codec's, and is not told to the other side.
        let map = map.filter(|text| !holds_address(text));
        let format = map.and_then(|text| Format::from_rtpmap(pt, text)).or_else(|| Format::of_static(pt));
        if let Some(mut format) = format.filter(Spec::can_be_carried)
            && !specs.iter().any(|spec| spec.format.pt == pt)
        {
            format.fmtp = fmtp.map(str::to_owned);
            specs.push(Spec { rtpmap: map.map_or_else(|| format.rtpmap(), str::to_owned), format });
        }
    }
    specs
}

pub(crate) fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|a| direction_named(&a.attribute))
}

pub(super) fn direction_named(name: &str) -> Option<Direction> {
    match name.to_ascii_lowercase().as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

pub(super) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

pub(crate) const fn sends(direction: Direction) -> bool {
    matches!(direction, Direction::SendRecv | Direction::SendOnly)
}

const fn receives(direction: Direction) -> bool {
    matches!(direction, Direction::SendRecv | Direction::RecvOnly)
}

pub(crate) const fn from_flags(send: bool, receive: bool) -> Direction {
    match (send, receive) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

/// RFC 3264 §6.1: an answer sends only what the offer receives, and receives only what it sends.
pub(crate) const fn permitted(offer: Direction, answer: Direction) -> Direction {
    from_flags(sends(answer) && receives(offer), receives(answer) && sends(offer))
}
