//! What is provisioned for a capture: the flows that it holds, or those that a file names. Runs on the main thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    ReplayError,
    generate::{OUR_MAC, STRANGERS_V4},
    verdicts::Lap,
};
use crate::{
    base::{
        ids::{SessionId, Side},
        limits::{MAX_MEDIA_ADDRESSES, MAX_PT_RULES},
    },
    codec::Law,
    flow::{FlowClass, Plan, PtOp, PtRule, Publisher, nexthop::NextHopId, plan::Admit},
    wire::{IPPROTO_UDP, ethernet, ipv4, ipv6, rtcp, rtp, udp},
};

/// What is done with G.711 payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Convert {
    None,
    #[value(name = "mu-to-a")]
    MuToA,
    #[value(name = "a-to-mu")]
    AToMu,
}

/// A file of sessions: `[[flow]]` tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "flow")]
    flows: Vec<Flow>,
}

/// One direction of one RTP or RTCP stream, as it is to be provisioned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Where its packets come from, and the local address and port that they come to.
    pub source: SocketAddr,
    pub local: SocketAddr,
    /// Where they go on to, of the same or the other family; by default back to the source.
    pub destination: Option<SocketAddr>,
    /// Where they seem to come from then; by default the local address and port.
    pub departs_from: Option<SocketAddr>,
    #[serde(default)]
    pub rtcp: bool,
    /// Payload types that are let through.
    #[serde(default)]
    pub payload_types: BTreeSet<u8>,
    #[serde(default = "no_conversion")]
    pub convert: Convert,
}

fn no_conversion() -> Convert {
    Convert::None
}

/// A capture, looked at: its flows, whom its frames are for, and how its sequence numbers run.
#[derive(Debug, Default)]
pub struct Seen {
    flows: BTreeMap<(SocketAddr, bool), (SocketAddr, BTreeSet<u8>)>,
    macs: BTreeMap<ethernet::Mac, u64>,
    pub packets: u64,
    pub lap: Lap,
}

/// What one frame says of its flow.
pub struct Arrival {
    pub source: SocketAddr,
    pub local: SocketAddr,
    pub rtcp: bool,
    /// Payload type, SSRC and sequence number, of RTP.
    pub rtp: Option<(u8, u32, u16)>,
}

/// Ethernet, IP without fragments, UDP, RTP or RTCP; else None.
pub fn dissect(bytes: &[u8]) -> Option<Arrival> {
    let frame = ethernet::Frame::new_checked(bytes).ok()?;
    let upper = bytes.get(ethernet::HEADER_LEN..)?;
    let (source, local, at): (IpAddr, IpAddr, usize) = match frame.ethertype() {
        ethernet::ETHERTYPE_IPV4 => {
            let ip = ipv4::Packet::new_checked(upper, upper.len()).ok()?;
            if ip.protocol() != IPPROTO_UDP || ip.is_fragment() {
                return None;
            }
            (
                std::net::Ipv4Addr::from(ip.source()).into(),
                std::net::Ipv4Addr::from(ip.destination()).into(),
                ip.header_len(),
            )
        }
        ethernet::ETHERTYPE_IPV6 => {
            let ip = ipv6::Packet::new_checked(upper, upper.len()).ok()?;
            let end = ip.upper().ok()?;
            if end.protocol != IPPROTO_UDP || end.fragment.is_some() {
                return None;
            }
            (
                std::net::Ipv6Addr::from(ip.source()).into(),
                std::net::Ipv6Addr::from(ip.destination()).into(),
                end.offset,
            )
        }
        _ => return None,
    };
    let data = upper.get(at..)?;
    let datagram = udp::Datagram::new_checked(data, data.len()).ok()?;
    let payload = data.get(udp::HEADER_LEN..datagram.len())?;
    let (source, local) =
        (SocketAddr::new(source, datagram.source_port()), SocketAddr::new(local, datagram.destination_port()));
    if rtp::is_rtcp(payload) {
        rtcp::Compound::new_checked(payload).ok()?;
        return Some(Arrival { source, local, rtcp: true, rtp: None });
    }
    let packet = rtp::Packet::new_checked(payload, payload.len()).ok()?;
    let rtp = Some((packet.payload_type(), packet.ssrc(), packet.sequence()));
    Some(Arrival { source, local, rtcp: false, rtp })
}

/// True for sources that nothing is provisioned for: see `generate`.
fn is_stranger(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == STRANGERS_V4.octets()[..3],
        IpAddr::V6(ip) => ip.segments()[..3] == [0x2001, 0xdb8, 0xffff],
    }
}

impl Seen {
    pub fn look(&mut self, bytes: &[u8]) {
        self.packets += 1;
        if let Some(mac) = bytes.first_chunk::<6>() {
            *self.macs.entry(*mac).or_default() += 1;
        }
        let Some(arrival) = dissect(bytes) else { return };
        if is_stranger(arrival.source.ip()) {
            return;
        }
        // The first source at a local port is its flow's; others are not admitted.
        let flow = self.flows.entry((arrival.local, arrival.rtcp)).or_insert((arrival.source, BTreeSet::new()));
        if flow.0 == arrival.source
            && let Some((pt, ssrc, sequence)) = arrival.rtp
        {
            flow.1.insert(pt);
            self.lap.push(arrival.local, ssrc, sequence);
        }
    }

    /// Most frames are for it.
    pub fn mac(&self) -> ethernet::Mac {
        self.macs.iter().max_by_key(|(_, count)| **count).map_or(OUR_MAC, |(mac, _)| *mac)
    }

    pub fn flows(&self, convert: Convert) -> Vec<Flow> {
        let flow =
            |((local, rtcp), (source, payload_types)): (&(SocketAddr, bool), &(SocketAddr, BTreeSet<u8>))| Flow {
                source: *source,
                local: *local,
                destination: None,
                departs_from: None,
                rtcp: *rtcp,
                payload_types: payload_types.clone(),
                convert,
            };
        self.flows.iter().map(flow).collect()
    }
}

/// The flows that a file names.
pub fn read(path: &Path) -> Result<Vec<Flow>, ReplayError> {
    let text = fs::read_to_string(path).map_err(|cause| ReplayError::File { path: path.to_owned(), cause })?;
    let file: File =
        toml::from_str(&text).map_err(|e| ReplayError::Sessions { path: path.to_owned(), cause: e.to_string() })?;
    Ok(file.flows)
}

/// Where flows arrive: the media addresses, and the range of their ports.
#[derive(Debug)]
pub struct Ground {
    pub addresses: Vec<IpAddr>,
    pub low: u16,
    pub high: u16,
}

impl Ground {
    /// Of `flows`, with the ports that strangers knock at.
    pub fn of(flows: &[Flow]) -> Result<Ground, ReplayError> {
        let addresses: BTreeSet<IpAddr> = flows.iter().map(|f| f.local.ip()).collect();
        let ports = || flows.iter().map(|f| f.local.port());
        let (Some(low), Some(high)) = (ports().min(), ports().max()) else {
            return Err(ReplayError::NothingToProvision);
        };
        if addresses.len() > MAX_MEDIA_ADDRESSES {
            return Err(ReplayError::TooManyAddresses { found: addresses.len(), allowed: MAX_MEDIA_ADDRESSES });
        }
        Ok(Ground { addresses: addresses.into_iter().collect(), low, high: high.saturating_add(2_000) })
    }
}

/// The plan of one flow, out by `next_hop`.
pub fn plan(flow: &Flow, session: u64, next_hop: NextHopId) -> Plan {
    let rule = |&pt: &u8| {
        let law = match pt {
            0 => Some(Law::Mu),
            8 => Some(Law::A),
            _ => None,
        };
        let (pt_out, op) = match (flow.convert, law) {
            (Convert::MuToA, Some(Law::Mu)) => (8, PtOp::MuToA),
            (Convert::AToMu, Some(Law::A)) => (0, PtOp::AToMu),
            _ => (pt, PtOp::Relay),
        };
        PtRule { pt_in: pt, pt_out, op, law }
    };
    Plan {
        session: SessionId(session),
        side: Side::A,
        version: 1,
        rtcp: flow.rtcp,
        admit: Admit::Exact(flow.source),
        departing: None,
        candidates: false,
        muted: false,
        out_source: flow.departs_from.unwrap_or(flow.local),
        out_destination: Some(flow.destination.unwrap_or(flow.source)),
        next_hop,
        tos: 46 << 2,
        clock_hz: 8_000,
        rules: flow.payload_types.iter().take(MAX_PT_RULES).map(rule).collect(),
    }
}

/// Publishes every flow; returns how many.
pub fn provision(publisher: &mut Publisher, flows: &[Flow], next_hop: NextHopId) -> Result<u64, ReplayError> {
    let mut provisioned = 0;
    for flow in flows {
        let class = if flow.rtcp { FlowClass::Rtcp } else { FlowClass::Rtp };
        let key = publisher.key(flow.local, class).ok_or(crate::flow::table::TableError::NoSuchPlace)?;
        publisher.publish(key, &plan(flow, provisioned, next_hop))?;
        provisioned += 1;
    }
    Ok(provisioned)
}
