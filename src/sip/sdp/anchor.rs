//! Offer and answer through an anchor (RFC 3264): what one side says becomes what tandem says to the other side. First
//! offers, holds, resumes, moved addresses and other codecs all go through the same two functions.
//!
//! Always holds: to each side tandem is one session with one id, whose version grows only when the description changes;
//! the sections that a side is told are those of the offer, in its order; nothing that a side is told holds an address
//! of the other side. The state is small and can be saved.

use std::net::SocketAddr;

use bytes::Bytes;
use sdp_types::{Attribute, Bandwidth, Connection, Media, Origin, Session, Time};
use serde::{Deserialize, Serialize};

use super::{
    Sdp, SdpError,
    attributes::{Secrets, passed_on},
    audio::{direction_name, permitted},
    formats::{Offered, Spec, agree, to_offer},
};
use crate::{
    base::ids::Side,
    config::Codec,
    control::{Direction, Format, LegMedia, Local},
};

/// Payload types that are remembered for a side.
const KNOWN_FORMATS: usize = 32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SdpAnchor {
    /// What each side has been told, by `Side::index`.
    pub(super) told: [Told; 2],
    exchange: Option<Exchange>,
}

/// Our session as one side sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    session_id: u64,
    pub(super) version: u64,
    /// The last description, without its origin.
    pub(super) last: Option<String>,
    /// Payload types that have been in use with this side.
    known: Vec<Format>,
}

/// The last offer: what its answer must be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Exchange {
    offerer: Side,
    sections: Vec<Section>,
    audio: usize,
    leg: LegMedia,
    /// All that was offered to us.
    theirs: Vec<Spec>,
    /// What we made of it.
    offered: Vec<Offered>,
}

/// The first line of a media section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    media: String,
    proto: String,
    fmt: String,
}

/// What comes of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer for the offerer.
    pub sdp: Bytes,
    /// Both sides' media from now on, by `Side::index`.
    pub legs: [LegMedia; 2],
}

impl SdpAnchor {
    /// `session_ids`: numbers that nobody else uses, one for each side; 63 of their bits are used.
    pub fn new(session_ids: [u64; 2]) -> SdpAnchor {
        SdpAnchor { told: session_ids.map(Told::new), exchange: None }
    }

    /// Another peer takes that side's place: the next destination after one that failed.
    pub fn new_peer(&mut self, side: Side, session_id: u64) {
        *self.told_mut(side) = Told::new(session_id);
    }

    /// The offer for the other side, made of `from`'s offer. `local`: the other side's local address. `codecs`: the
    /// G.711 that the other side's trunk is offered, in order of preference.
    pub fn offer_to_other_side(
        &mut self,
        from: Side,
        offer: &Sdp,
        local: &Local,
        codecs: &[Codec],
    ) -> Result<Bytes, SdpError> {
        let audio = offer.media()?;
        let to = from.other();
        let offered = to_offer(&audio.formats, codecs, &self.told_mut(to).known);
        if offered.iter().all(|o| o.told.format.encoding.is_beside()) {
            return Err(SdpError::NoCommonFormat);
        }
        let numbers: Vec<_> =
            offered.iter().filter_map(|o| Some((o.theirs.as_ref()?.format.pt, o.told.format.pt))).collect();
        let exchange = Exchange {
            offerer: from,
            sections: offer.0.medias.iter().map(Section::of).collect(),
            audio: audio.section,
            leg: audio.leg,
            theirs: audio.formats,
            offered,
        };
        let specs: Vec<&Spec> = exchange.offered.iter().map(|o| &o.told).collect();
        let (rtcp_mux, direction) = (exchange.leg.rtcp_mux, exchange.leg.direction);
        let ours = Ours { local, specs: &specs, direction, rtcp_mux };
        let mut session = ours.describe(&exchange.sections, &offer.0, exchange.audio, &numbers);
        self.told_mut(to).keep_sections(&mut session);
        self.told_mut(from).remember(exchange.theirs.iter().map(|spec| &spec.format));
        let told = self.told_mut(to);
        told.remember(exchange.offered.iter().map(|o| &o.told.format));
        let sdp = told.say(session);
        self.exchange = Some(exchange);
        Ok(sdp)
    }

    /// The answer for the offerer, made of the other side's answer to our last offer. `local`: the offerer's local
    /// address. An answer may come again, in later responses, and may differ then.
    pub fn answer_to_offerer(&mut self, answer: &Sdp, local: &Local) -> Result<Answered, SdpError> {
        let exchange = self.exchange.clone().ok_or(SdpError::NoOffer)?;
        let Some(audio) = answer.audio(exchange.audio)? else { return self.refused(&exchange, answer, local) };
        let agreed = agree(&exchange.offered, &exchange.theirs, &audio.formats).ok_or(SdpError::NoCommonFormat)?;
        let direction = permitted(exchange.leg.direction, audio.leg.direction);
        let rtcp_mux = exchange.leg.rtcp_mux;
        let ours = Ours { local, specs: &agreed.offerer.iter().collect::<Vec<_>>(), direction, rtcp_mux };
        let session = ours.describe(&exchange.sections, &answer.0, exchange.audio, &agreed.numbers);

        let answerer_mux = audio.leg.rtcp_mux && rtcp_mux;
        let rtcp = if answerer_mux { audio.leg.rtp } else { answer.rtcp_without_mux(&audio) };
        let other = LegMedia { rtcp, rtcp_mux: answerer_mux, formats: agreed.answerer, direction, ..audio.leg };
        let formats = agreed.offerer.iter().map(|spec| spec.format.clone()).collect();
        let own = LegMedia { formats, ..exchange.leg };
        self.told_mut(exchange.offerer.other()).remember(other.formats.iter());
        let sdp = self.told_mut(exchange.offerer).say(session);
        Ok(Answered { sdp, legs: by_side(exchange.offerer, own, other) })
    }

    /// What that side was told last, word for word and in the same version (RFC 4028 §7.4, RFC 3264 §8): an offer that
    /// changes nothing.
    pub fn repeat(&self, side: Side) -> Option<Bytes> {
        let [a, b] = &self.told;
        let told = if side == Side::A { a } else { b };
        let mut sdp = Sdp::parse(told.last.as_ref()?.as_bytes()).ok()?;
        told.sign(&mut sdp.0);
        Some(sdp.write())
    }

    /// The other side wants no audio: nor does the offerer get any.
    fn refused(&mut self, exchange: &Exchange, answer: &Sdp, local: &Local) -> Result<Answered, SdpError> {
        if answer.0.medias.get(exchange.audio).is_none_or(|media| media.port != 0) {
            return Err(SdpError::NoCommonFormat);
        }
        let ours = Ours { local, specs: &[], direction: Direction::Inactive, rtcp_mux: false };
        let session = ours.describe(&exchange.sections, &answer.0, usize::MAX, &[]);
        let sdp = self.told_mut(exchange.offerer).say(session);
        let nowhere =
            || LegMedia { rtp: None, rtcp: None, rtcp_mux: false, formats: Vec::new(), direction: Direction::Inactive };
        Ok(Answered { sdp, legs: [nowhere(), nowhere()] })
    }

    pub(super) fn told_mut(&mut self, side: Side) -> &mut Told {
        let [a, b] = &mut self.told;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }
}

fn by_side(offerer: Side, own: LegMedia, other: LegMedia) -> [LegMedia; 2] {
    match offerer {
        Side::A => [own, other],
        Side::B => [other, own],
    }
}

impl Told {
    /// RFC 8866 §5.2: the id is a number; peers are met that read it as a signed one.
    fn new(session_id: u64) -> Told {
        Told { session_id: session_id >> 1, version: 0, last: None, known: Vec::new() }
    }

    fn remember<'a>(&mut self, formats: impl Iterator<Item = &'a Format>) {
        for format in formats {
            let room = self.known.len() < KNOWN_FORMATS;
            match self.known.iter_mut().find(|known| known.pt == format.pt) {
                Some(known) => known.clone_from(format),
                None if room => self.known.push(format.clone()),
                None => {}
            }
        }
    }

    /// RFC 3264 §8: no section goes away. Those that this side knows beyond the offer's stay refused.
    fn keep_sections(&self, session: &mut Session) {
        let Some(last) = self.last.as_ref().and_then(|last| Sdp::parse(last.as_bytes()).ok()) else { return };
        let more = last.0.medias.iter().skip(session.medias.len()).map(|media| {
            let section = Section::of(media);
            section.media(0, section.fmt.clone())
        });
        session.medias.extend(more.collect::<Vec<_>>());
    }

    /// RFC 3264 §8: the version grows by one with every change, and only then.
    fn say(&mut self, mut session: Session) -> Bytes {
        let text = String::from(Sdp(session.clone()));
        if self.last.as_ref() != Some(&text) {
            self.version += 1;
            self.last = Some(text);
        }
        self.sign(&mut session);
        Sdp(session).write()
    }

    fn sign(&self, session: &mut Session) {
        session.origin.sess_id = self.session_id.to_string();
        session.origin.sess_version = self.version;
    }
}

impl Section {
    fn of(media: &Media) -> Section {
        Section { media: media.media.clone(), proto: media.proto.clone(), fmt: media.fmt.clone() }
    }

    /// RFC 3264 §6: a refused section keeps its place; its formats mean nothing.
    fn refused(&self, secrets: &Secrets) -> Media {
        let Section { media, proto, fmt } = self;
        if [media, proto, fmt].into_iter().any(|text| secrets.are_told_by_term(text)) {
            let unnamed = Section { media: "application".into(), proto: "RTP/AVP".into(), fmt: "0".into() };
            return unnamed.media(0, unnamed.fmt.clone());
        }
        self.media(0, fmt.clone())
    }

    fn media(&self, port: u16, fmt: String) -> Media {
        Media {
            media: self.media.clone(),
            port,
            num_ports: None,
            proto: self.proto.clone(),
            fmt,
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        }
    }
}

/// Those whose kind gives nothing away.
fn bandwidths(said: &[Bandwidth], secrets: &Secrets) -> Vec<Bandwidth> {
    said.iter().filter(|b| !secrets.are_told_by_term(&b.bwtype)).cloned().collect()
}

/// What we say about our audio.
struct Ours<'a> {
    local: &'a Local,
    specs: &'a [&'a Spec],
    direction: Direction,
    rtcp_mux: bool,
}

impl Ours<'_> {
    /// Our description: the sections of the offer, all refused but the one at `audio`; `said`: the description whose
    /// attributes go on.
    fn describe(&self, sections: &[Section], said: &Session, audio: usize, numbers: &[(u8, u8)]) -> Session {
        let secrets = Secrets::of(said);
        let ip = self.local.told_rtp.ip();
        let section = |(at, section): (usize, &Section)| match said.medias.get(at).filter(|_| at == audio) {
            Some(said) => self.audio(section, said, &secrets, numbers),
            None => section.refused(&secrets),
        };
        Session {
            connection: Some(Connection::from_ip_addr(ip)),
            bandwidths: bandwidths(&said.bandwidths, &secrets),
            times: vec![Time::new(0, 0)],
            attributes: passed_on(&said.attributes, &secrets, &[]),
            medias: sections.iter().enumerate().map(section).collect(),
            ..Session::new(Origin::with_ip_addr(0, 0, ip), "-")
        }
    }

    fn audio(&self, section: &Section, said: &Media, secrets: &Secrets, numbers: &[(u8, u8)]) -> Media {
        let fmt: Vec<String> = self.specs.iter().map(|spec| spec.format.pt.to_string()).collect();
        let mut media = section.media(self.local.told_rtp.port(), fmt.join(" "));
        media.bandwidths = bandwidths(&said.bandwidths, secrets);
        for spec in self.specs {
            let pt = spec.format.pt;
            media.add_attribute(Attribute::with_value("rtpmap", format!("{pt} {}", spec.rtpmap)));
            if let Some(fmtp) = spec.format.fmtp.as_ref().filter(|fmtp| !secrets.are_told_by_term(fmtp)) {
                media.add_attribute(Attribute::with_value("fmtp", format!("{pt} {fmtp}")));
            }
        }
        media.add_attributes(passed_on(&said.attributes, secrets, numbers));
        if let Some(rtcp) = self.rtcp() {
            media.add_attribute(Attribute::with_value("rtcp", rtcp));
        }
        if self.rtcp_mux {
            media.add_attribute(Attribute::new("rtcp-mux"));
        }
        media.add_attribute(Attribute::new(direction_name(self.direction)));
        media
    }

    /// RFC 3605 §2.1: said where RTCP is not at RTP's port and one.
    fn rtcp(&self) -> Option<String> {
        let (rtp, rtcp) = (self.local.told_rtp, self.local.told_rtcp);
        let usual = rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
        let family = if rtcp.is_ipv4() { "IP4" } else { "IP6" };
        match usual == Some(rtcp) {
            true => None,
            false if rtp.ip() == rtcp.ip() => Some(rtcp.port().to_string()),
            false => Some(format!("{} IN {family} {}", rtcp.port(), rtcp.ip())),
        }
    }
}
