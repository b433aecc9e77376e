//! One side's description made into what the other side is told: tandem's addresses and ports in place of the peer's, the
//! codecs that were chosen, and nothing by which media could go another way. All else stays, in its order. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};

use super::request::{Options, Replace};
use crate::{
    control::Local,
    sip::sdp::{
        attributes::{ALTERNATIVES, ICE, KEYING},
        formats::Spec,
    },
};

/// What becomes of a section.
pub enum Fate<'a> {
    /// It keeps its place, with port 0 (RFC 3264 §6).
    Refused,
    Carried(Carried<'a>),
}

pub struct Carried<'a> {
    pub local: &'a Local,
    pub proto: String,
    /// The codecs it is to have; None: those that it has, but for those not in `numbers`.
    pub specs: Option<&'a [Spec]>,
    /// Payload type numbers: as the description has them, and as they are to be.
    pub numbers: &'a [(u8, u8)],
    pub mux: bool,
    /// RTCP has no port of its own.
    pub mux_only: bool,
    pub ptime: Option<i64>,
    /// Keys of SDES stay.
    pub keys: bool,
}

/// What makes media go past tandem, or wants of tandem what it has not; and one port for several sections (RFC 8843).
const REMOVED: &[&[&str]] = &[ICE, KEYING, ALTERNATIVES, &["bundle-only"]];

/// Marks descriptions that this node has rewritten.
pub const LOOP_MARK: &str = "tandem";

pub fn rewrite(session: &mut Session, sections: &[Fate<'_>], options: &Options) {
    let replace = options.replace;
    // RFC 8866 §5.7: the session's address is that of the sections that have none.
    let needed = session.medias.iter().any(|media| media.connections.is_empty());
    for (media, section) in session.medias.iter_mut().zip(sections) {
        match section {
            Fate::Refused => refuse(media),
            Fate::Carried(carried) => carry(media, carried, options),
        }
    }
    let ours = sections.iter().find_map(|section| match section {
        Fate::Carried(carried) => Some(carried.local.told_rtp.ip()),
        Fate::Refused => None,
    });
    if let Some(ip) = ours {
        if replace.origin {
            session.origin.set_unicast_ip_address(ip);
        }
        if let Some(connection) = session.connection.as_mut().filter(|_| needed || replace.session_connection) {
            put_address(connection, ip, replace);
        }
    }
    session.attributes.retain(|attribute| !is_removed(attribute) && !is_bundle(attribute));
}

fn put_address(connection: &mut Connection, ip: IpAddr, replace: Replace) {
    let zero = connection.try_address().is_ok_and(|address| address.ip.is_unspecified()) && !replace.zero_address;
    let ip = match ip {
        IpAddr::V4(_) if zero => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) if zero => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ip => ip,
    };
    *connection = Connection::from_ip_addr(ip);
}

fn refuse(media: &mut Media) {
    media.port = 0;
    media.num_ports = None;
    // What the section says of addresses and keys is nobody's business any more.
    media.attributes.retain(|attribute| !is_removed(attribute) && attribute.attribute != "crypto");
}

fn carry(media: &mut Media, carried: &Carried<'_>, options: &Options) {
    let rtp = carried.local.told_rtp;
    media.port = rtp.port();
    media.num_ports = None;
    media.proto.clone_from(&carried.proto);
    if let Some(connection) = media.connections.first_mut() {
        put_address(connection, rtp.ip(), options.replace);
    }
    media.connections.truncate(1);
    media.fmt = match carried.specs {
        Some(specs) => specs.iter().map(|spec| spec.format.pt.to_string()).collect::<Vec<_>>().join(" "),
        None => carried.numbers.iter().map(|(_, pt)| pt.to_string()).collect::<Vec<_>>().join(" "),
    };
    let mut writer = Writer { carried, options, rtcp: rtcp(carried, options), mux: carried.mux, ptime: carried.ptime };
    let said = std::mem::take(&mut media.attributes);
    let mut told: Vec<Attribute> = said.into_iter().filter_map(|attribute| writer.pass(attribute)).collect();
    writer.add_codecs(&mut told);
    let Writer { rtcp, mux, ptime, .. } = writer;
    told.extend(rtcp.map(|value| Attribute::with_value("rtcp", value)));
    told.extend(mux.then(|| Attribute::new("rtcp-mux")));
    told.extend(ptime.map(|ms| Attribute::with_value("ptime", ms.to_string())));
    media.attributes = told;
}

/// What is yet to be said of a section.
struct Writer<'a> {
    carried: &'a Carried<'a>,
    options: &'a Options,
    rtcp: Option<String>,
    mux: bool,
    ptime: Option<i64>,
}

impl Writer<'_> {
    /// An attribute as it goes on, in its place.
    fn pass(&mut self, attribute: Attribute) -> Option<Attribute> {
        if is_removed(&attribute) {
            return None;
        }
        match attribute.attribute.as_str() {
            "crypto" => Some(attribute).filter(|_| self.carried.keys),
            "extmap" => Some(attribute).filter(|_| !self.options.strip_extmap),
            "rtcp" => self.rtcp.take().map(|value| Attribute::with_value("rtcp", value)),
            "rtcp-mux" => std::mem::take(&mut self.mux).then_some(attribute),
            "rtcp-mux-only" => Some(attribute).filter(|_| self.carried.mux_only),
            "ptime" => match self.ptime.take() {
                Some(ms) => Some(Attribute::with_value("ptime", ms.to_string())),
                None => Some(attribute),
            },
            // RFC 4585 §4.2: feedback belongs to the AVPF profiles.
            "rtcp-fb" if !self.carried.proto.ends_with('F') && self.options.protocol.is_some() => None,
            "rtpmap" | "fmtp" | "rtcp-fb" => self.renumber(attribute),
            _ => Some(attribute),
        }
    }

    /// What begins with a payload type number, or `*`.
    fn renumber(&self, attribute: Attribute) -> Option<Attribute> {
        let value = attribute.value.as_deref()?.trim_start();
        let (pt, rest) = value.split_once(' ')?;
        if pt == "*" {
            return Some(attribute);
        }
        let pt: u8 = pt.parse().ok()?;
        let (_, to) = self.carried.numbers.iter().find(|(from, _)| *from == pt)?;
        if *to == pt {
            return Some(attribute);
        }
        Some(Attribute::with_value(attribute.attribute.clone(), format!("{to} {rest}")))
    }

    /// What tandem added is named behind what was there.
    fn add_codecs(&self, told: &mut Vec<Attribute>) {
        let Some(specs) = self.carried.specs else { return };
        let named = |a: &Attribute| matches!(a.attribute.as_str(), "rtpmap" | "fmtp");
        let mut at = told.iter().rposition(named).map_or(told.len(), |last| last + 1);
        for spec in specs {
            let pt = spec.format.pt;
            if self.carried.numbers.iter().any(|(_, to)| *to == pt) {
                continue;
            }
            let fmtp = spec.format.fmtp.as_ref().map(|fmtp| Attribute::with_value("fmtp", format!("{pt} {fmtp}")));
            let map = Attribute::with_value("rtpmap", format!("{pt} {}", spec.rtpmap));
            for attribute in std::iter::once(map).chain(fmtp) {
                told.insert(at, attribute);
                at += 1;
            }
        }
    }
}

/// RFC 3605 §2.1.
fn rtcp(carried: &Carried<'_>, options: &Options) -> Option<String> {
    if options.no_rtcp_attribute {
        return None;
    }
    let local = carried.local;
    let at: SocketAddr = if carried.mux_only { local.told_rtp } else { local.told_rtcp };
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    Some(match options.full_rtcp_attribute {
        true => format!("{} IN {family} {}", at.port(), at.ip()),
        false => at.port().to_string(),
    })
}

fn is_removed(attribute: &Attribute) -> bool {
    let name = attribute.attribute.to_ascii_lowercase();
    REMOVED.iter().any(|names| names.contains(&name.as_str()))
}

fn is_bundle(attribute: &Attribute) -> bool {
    attribute.attribute == "group" && attribute.value.as_deref().is_some_and(|value| value.starts_with("BUNDLE"))
}
