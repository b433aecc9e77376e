//! Captures from a recipe: many flows of G.711 or filled frames, several packets of each in sequence, RTCP, IPv6 and
//! strangers mixed in. The same recipe and seed give the same file. Runs on the main thread.
//!
//! A file that is replayed without end cannot stay in sequence: its last packet is followed by its first. So each flow's
//! packets are two streams one after the other, with two SSRCs; every lap begins two streams that restart, which is
//! what a receiver makes of it, instead of duplicates for ever.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{ReplayError, capture::Writer};
use crate::{
    codec::Law,
    wire::{IPPROTO_UDP, checksum, ethernet, ipv4, ipv6, rtcp, rtp, udp},
};

/// Where the flows of strangers come from (TEST-NET-3, RFC 5737; RFC 3849's second half for IPv6): nothing is
/// provisioned for them, and they go to ports that no flow has.
pub const STRANGERS_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const STRANGERS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// Whom the frames are for and from.
pub const OUR_MAC: ethernet::Mac = [2, 0, 0, 0, 0, 1];
const THEIR_MAC: ethernet::Mac = [2, 0, 0, 0, 0, 2];

const PORT_LOW: u16 = 20_000;
/// RTP on even ports, RTCP on the odd ones.
const FLOWS_PER_ADDRESS: u32 = 20_000;
const SMALLEST: usize = 60;
const LARGEST: usize = 1514;
const CLOCK_PER_MS: u32 = 8;

#[derive(Clone, Debug)]
pub struct Recipe {
    pub flows: u32,
    /// Packets of each flow.
    pub packets: u16,
    pub ptime_ms: u32,
    pub law: Law,
    /// A frame of this size on the wire, without the FCS, instead of what G.711 makes.
    pub frame_bytes: Option<usize>,
    /// Shares in percent: of the flows, of the packets, of the packets.
    pub ipv6: u32,
    pub rtcp: u32,
    pub unknown: u32,
    pub seed: u64,
}

impl Recipe {
    fn check(&self) -> Result<(), ReplayError> {
        let refuse = |sentence: String| Err(ReplayError::Recipe(sentence));
        if self.flows == 0 || self.flows > 2_000_000 {
            return refuse(format!("{} flows: 1 to 2000000 are possible", self.flows));
        }
        if self.packets == 0 {
            return refuse("0 packets a flow: at least 1 is needed".into());
        }
        if self.ptime_ms == 0 || self.ptime_ms > 120 {
            return refuse(format!("frames of {} ms: 1 to 120 are possible", self.ptime_ms));
        }
        if let Some(bytes) = self.frame_bytes
            && !(SMALLEST..=LARGEST).contains(&bytes)
        {
            return refuse(format!("frames of {bytes} bytes: {SMALLEST} to {LARGEST} are possible"));
        }
        if self.ipv6 > 100 || self.rtcp + self.unknown > 100 {
            return refuse("shares above 100 percent".into());
        }
        Ok(())
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    pub packets: u64,
    pub rtp: u64,
    pub rtcp: u64,
    pub unknown: u64,
    pub ipv6: u64,
}

/// One flow of the recipe.
struct Flow {
    source: IpAddr,
    source_port: u16,
    local: IpAddr,
    local_port: u16,
}

impl Flow {
    fn at(recipe: &Recipe, index: u32, stranger: bool) -> Flow {
        let (host, block) = (index % 65_536, index / 65_536);
        let (near, slot) = (index / FLOWS_PER_ADDRESS, index % FLOWS_PER_ADDRESS);
        let v6 = (index.wrapping_mul(0x9e37_79b1) >> 8) % 100 < recipe.ipv6;
        let (source, local) = if v6 {
            let base = if stranger { STRANGERS_V6 } else { Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0) };
            let near = Ipv6Addr::from(u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)) + u128::from(near));
            (Ipv6Addr::from(u128::from(base) + u128::from(host)).into(), near.into())
        } else {
            // RFC 2544's network: ours in its lower half, theirs in its upper one.
            let base = if stranger { u32::from(STRANGERS_V4) } else { u32::from(Ipv4Addr::new(198, 19, 0, 0)) + host };
            let near = u32::from(Ipv4Addr::new(198, 18, 0, 1)) + near;
            (Ipv4Addr::from(base).into(), Ipv4Addr::from(near).into())
        };
        Flow { source, source_port: 10_000 + 2 * block as u16, local, local_port: PORT_LOW + 2 * slot as u16 }
    }
}

/// Writes the capture.
pub fn generate(recipe: &Recipe, path: &Path) -> Result<Written, ReplayError> {
    recipe.check()?;
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut order: Vec<u32> = (0..recipe.flows).collect();
    // Fisher and Yates: neighbours in the file are strangers in memory, as on a wire.
    for i in (1..order.len()).rev() {
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
    let mut noise = vec![0u8; 1 << 16];
    random.fill_bytes(&mut noise);
    let mut file = Writer::create(path)?;
    let mut written = Written::default();
    let gap = Duration::from_millis(recipe.ptime_ms.into()) / recipe.flows;
    let mut frame = Vec::with_capacity(LARGEST);
    for lap in 0..recipe.packets {
        let start = Duration::from_millis(u64::from(recipe.ptime_ms) * u64::from(lap));
        for (turn, &index) in (0u32..).zip(&order) {
            let kind = (random.next_u32() % 100, random.next_u32() as usize);
            let stranger = kind.0 < recipe.unknown;
            // Strangers go where no flow is: behind the last one.
            let flow = Flow::at(recipe, if stranger { recipe.flows + index % 1_000 } else { index }, stranger);
            let is_rtcp = !stranger && kind.0 < recipe.unknown + recipe.rtcp;
            if is_rtcp {
                written.rtcp += 1;
                lay(&mut frame, &flow, 1, &sender_report(index, lap));
            } else {
                written.rtp += u64::from(!stranger);
                written.unknown += u64::from(stranger);
                let payload = payload_bytes(recipe, flow.local.is_ipv6());
                let at = kind.1 % (noise.len() - payload);
                lay(&mut frame, &flow, 0, &rtp_packet(recipe, index, lap, &noise[at..at + payload]));
            }
            written.ipv6 += u64::from(flow.local.is_ipv6());
            written.packets += 1;
            file.write(start + gap * turn, &frame)?;
        }
    }
    file.close()?;
    Ok(written)
}

/// Of the RTP packet behind its header.
fn payload_bytes(recipe: &Recipe, v6: bool) -> usize {
    let ip = if v6 { ipv6::HEADER_LEN } else { ipv4::MIN_HEADER_LEN };
    let headers = ethernet::HEADER_LEN + ip + udp::HEADER_LEN + rtp::MIN_HEADER_LEN;
    match recipe.frame_bytes {
        Some(bytes) => bytes.saturating_sub(headers),
        None => (recipe.ptime_ms * CLOCK_PER_MS) as usize,
    }
}

fn rtp_packet(recipe: &Recipe, index: u32, lap: u16, payload: &[u8]) -> Vec<u8> {
    let first = recipe.packets / 2;
    let (stream, number) = if lap < first || recipe.packets == 1 { (0, lap) } else { (1, lap - first) };
    let sequence = (index as u16).wrapping_mul(40_503).wrapping_add(number);
    let pt = match recipe.law {
        Law::Mu => 0,
        Law::A => 8,
    };
    let mut packet = vec![0x80, pt];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(number) * recipe.ptime_ms * CLOCK_PER_MS).to_be_bytes());
    packet.extend_from_slice(&(index << 1 | stream).to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// RFC 3550 §6.4.1: a sender report with one block, then the CNAME that §6.1 asks for.
fn sender_report(index: u32, lap: u16) -> Vec<u8> {
    let ssrc = (index << 1).to_be_bytes();
    let mut packet = vec![0x81, rtcp::SR, 0, 12];
    packet.extend_from_slice(&ssrc);
    packet.extend_from_slice(&[0; 8]);
    for word in [u32::from(lap) * 160, u32::from(lap), u32::from(lap) * 160] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&(!index).to_be_bytes());
    packet.extend_from_slice(&[0; 20]);
    packet.extend_from_slice(&[0x81, 202, 0, 3]);
    packet.extend_from_slice(&ssrc);
    packet.extend_from_slice(&[1, 4, b'r', b'e', b'p', b'l', 0, 0]);
    packet
}

/// Ethernet, IP and UDP around `payload`, to the flow's local port plus `beside`.
fn lay(frame: &mut Vec<u8>, flow: &Flow, beside: u16, payload: &[u8]) {
    let len = (udp::HEADER_LEN + payload.len()) as u16;
    let (mut eth, mut datagram) = ([0; ethernet::HEADER_LEN], [0; udp::HEADER_LEN]);
    let (source_port, destination_port) = (flow.source_port + beside, flow.local_port + beside);
    let mut header = udp::Repr { source_port, destination_port, len, checksum: 0 };
    header.emit(&mut datagram);
    frame.clear();
    let (ethertype, addresses) = match (flow.source, flow.local) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (u32::from(source), u32::from(destination));
            let mut ip = [0; ipv4::MIN_HEADER_LEN];
            let total_len = ipv4::MIN_HEADER_LEN as u16 + len;
            ipv4::Repr { tos: 46 << 2, total_len, ttl: 60, source, destination }.emit(&mut ip, false);
            frame.extend_from_slice(&ip);
            (ethernet::ETHERTYPE_IPV4, checksum::sum_v4(source) + checksum::sum_v4(destination))
        }
        (source, destination) => {
            let bits = |ip| match ip {
                IpAddr::V4(ip) => u128::from(Ipv4Addr::to_ipv6_mapped(&ip)),
                IpAddr::V6(ip) => u128::from(ip),
            };
            let (source, destination) = (bits(source), bits(destination));
            let mut ip = [0; ipv6::HEADER_LEN];
            ipv6::Repr { traffic_class: 46 << 2, payload_len: len, hop_limit: 60, source, destination }.emit(&mut ip);
            frame.extend_from_slice(&ip);
            (ethernet::ETHERTYPE_IPV6, checksum::sum_v6(source) + checksum::sum_v6(destination))
        }
    };
    let ports = u32::from(source_port) + u32::from(destination_port);
    let pseudo = checksum::fold(addresses + 2 * u32::from(len) + ports + u32::from(IPPROTO_UDP));
    header.checksum = checksum::udp(pseudo, payload);
    header.emit(&mut datagram);
    ethernet::Frame::new_unchecked(&mut eth[..]).set(OUR_MAC, THEIR_MAC, ethertype);
    frame.splice(0..0, eth);
    frame.extend_from_slice(&datagram);
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(SMALLEST), 0);
}
