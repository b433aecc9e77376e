//! What a plan does with a packet: admission, RTP, conversion, new headers. Runs on the workers; each packet leaves
//! with exactly one verdict.
//!
//! Checksums are updated by difference, so that a packet that came corrupt leaves corrupt. Only where the device itself
//! has found the UDP checksum right is the new one left to the device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    arrival::{Datagram, Source},
    worker::{Shared, Turn},
};
use crate::{
    flow::{
        DropReason, FlowClass, PtOp, Verdict,
        counters::PortCounter,
        event::Candidate,
        plan::{CANDIDATES, MUTED, NO_REMOTE, OUT_V6, PlanView, RTCP, Rule},
        state::{Ownership, RtpState, StateLine, Step, Tally},
        table::FlowKey,
    },
    io::{Checked, ChecksumRequest, PacketBuf},
    media::sequence::SequenceVerdict,
    wire::{IPPROTO_UDP, checksum, checksum::Delta, ethernet, ipv4, ipv6, rtcp, rtp, udp},
};

/// What we send out is ours: it starts with a fresh hop count (RFC 1700's default).
pub(super) const HOP_LIMIT: u8 = 64;

/// Handles a datagram for a media port; rewrites it in place if it is to be forwarded.
#[inline]
pub fn relay<B: PacketBuf>(buf: &mut B, datagram: &Datagram, port: usize, shared: &Shared, turn: &Turn) -> Verdict {
    let at = datagram.payload_at;
    let Some(payload) = buf.data().get(at..) else { return Verdict::Drop(DropReason::BadUdp) };
    let class = if rtp::is_rtcp(payload) { FlowClass::Rtcp } else { FlowClass::Rtp };
    let key = FlowKey { address: datagram.address, port: datagram.port, class };
    let Some(entry) = shared.table.lookup(key) else { return Verdict::Drop(DropReason::NoFlow) };
    let (plan, line) = shared.table.plan_and_state(entry);
    let verdict = if plan.has(RTCP) {
        relay_rtcp(buf, datagram, &plan, &line, port, shared)
    } else {
        relay_rtp(buf, datagram, &plan, &line, port, shared, turn)
    };
    if let Verdict::Drop(reason) = verdict {
        line.tally(
            match reason {
                DropReason::Source => Tally::Source,
                DropReason::PayloadType => Tally::PayloadType,
                _ => Tally::Other,
            },
            1,
        );
    }
    verdict
}

#[inline]
fn admitted(plan: &PlanView, datagram: &Datagram) -> bool {
    match datagram.source {
        Source::V4(ip) => plan.admits_v4(ip, datagram.source_port),
        Source::V6(ip) => plan.admits_v6(ip, datagram.source_port),
    }
}

/// Why this plan lets nothing out at all.
#[inline]
fn barred(plan: &PlanView) -> Option<DropReason> {
    if plan.has(MUTED) {
        Some(DropReason::Muted)
    } else if plan.has(NO_REMOTE) {
        Some(DropReason::NoRemote)
    } else {
        None
    }
}

fn relay_rtp<B: PacketBuf>(
    buf: &mut B,
    datagram: &Datagram,
    plan: &PlanView,
    line: &StateLine,
    port: usize,
    shared: &Shared,
    turn: &Turn,
) -> Verdict {
    let (at, len) = (datagram.payload_at, datagram.payload_len);
    let in_buffer = buf.data().len().saturating_sub(at).min(len);
    let Ok(packet) = rtp::Packet::new_checked(&buf.data()[at..at + in_buffer], len) else {
        return Verdict::Drop(DropReason::BadRtp);
    };
    let rule = plan.rule(packet.payload_type());
    if !admitted(plan, datagram) {
        // Only what could be this call's media is worth the slow path's time.
        if plan.has(CANDIDATES) && rule.is_some() {
            let candidate = candidate(plan, datagram, packet.ssrc(), packet.sequence());
            let told = shared.events.push(candidate);
            shared.counters.add(port, if told { PortCounter::Candidates } else { PortCounter::CandidatesLost }, 1);
        }
        return Verdict::Drop(DropReason::Source);
    }
    let Some(rule) = rule else { return Verdict::Drop(DropReason::PayloadType) };
    let (number, timestamp, ssrc, range) =
        (packet.sequence(), packet.timestamp(), packet.ssrc(), packet.payload_range());
    if rule.op() != PtOp::Relay && range.end > in_buffer {
        return Verdict::Drop(DropReason::TooBig);
    }
    // From here on the packet has come from the peer, whether or not it can be sent on.
    let (delta, silent) = convert(&mut buf.data_mut()[at..at + in_buffer], rule, range, shared);
    match line.claim(shared.id) {
        Ownership::Mine => {
            let arrival = turn.arrival(plan.clock_hz());
            let mut state = line.rtp();
            count(&mut state, &Step { number, ssrc, timestamp, arrival, len: len as u64, silent });
            line.set_rtp(&state);
        }
        Ownership::Another => off_owner(line, len, port, shared),
    }
    if rule.op() != PtOp::Relay {
        shared.counters.add(port, PortCounter::Transcoded, 1);
    }
    match barred(plan) {
        Some(reason) => Verdict::Drop(reason),
        None => rewrite(buf, datagram, plan, delta, shared),
    }
}

pub(super) fn off_owner(line: &StateLine, len: usize, port: usize, shared: &Shared) {
    line.tally(Tally::OffOwner, 1);
    line.tally(Tally::OffOwnerBytes, len as u64);
    shared.counters.add(port, PortCounter::OffOwner, 1);
}

#[inline]
pub(super) fn count(state: &mut RtpState, step: &Step) {
    match state.sequence.update(step.ssrc, step.number) {
        SequenceVerdict::First | SequenceVerdict::Restarted => state.jitter.first(step.arrival, step.timestamp),
        SequenceVerdict::InOrder | SequenceVerdict::Gap(_) | SequenceVerdict::Reordered => {
            state.jitter.update(step.arrival, step.timestamp);
        }
        SequenceVerdict::Duplicate | SequenceVerdict::Suspect => {}
    }
    state.packets = state.packets.wrapping_add(1);
    state.bytes = state.bytes.wrapping_add(step.len);
    state.silent = state.silent.wrapping_add(u32::from(step.silent));
}

/// Applies the rule to the RTP packet in `payload`: what changes in the checksum's cover, and whether the frame is silent.
#[inline]
fn convert(payload: &mut [u8], rule: Rule, range: std::ops::Range<usize>, shared: &Shared) -> (Delta, bool) {
    let mut delta = Delta::default();
    if rule.pt_in() != rule.pt_out() {
        let old = u16::from_be_bytes([payload[0], payload[1]]);
        payload[1] = retyped(payload[1], rule);
        delta.replace(old, u16::from_be_bytes([payload[0], payload[1]]));
    }
    // The payload begins at a multiple of four (RFC 3550 §5.1), so its words are the checksum's words.
    let (difference, silent) = payload.get_mut(range).map_or((0, false), |frame| sound(frame, rule, shared));
    delta.add(difference);
    (delta, silent)
}

/// RTP's second octet with the departing payload type; the marker stays.
#[inline(always)]
pub(super) fn retyped(octet: u8, rule: Rule) -> u8 {
    octet & 0x80 | rule.pt_out()
}

/// What the rule makes of a frame: by what its one's complement sum grew, and whether it is silent.
#[inline(always)]
pub(super) fn sound(frame: &mut [u8], rule: Rule, shared: &Shared) -> (u16, bool) {
    let converted = match rule.op() {
        PtOp::Relay => {
            let silent = rule.law().is_some_and(|law| !frame.is_empty() && shared.kernel.is_silent(law, frame));
            return (0, silent);
        }
        PtOp::MuToA => shared.kernel.mu_to_a(frame),
        PtOp::AToMu => shared.kernel.a_to_mu(frame),
    };
    (converted.difference, converted.silent)
}

fn relay_rtcp<B: PacketBuf>(
    buf: &mut B,
    datagram: &Datagram,
    plan: &PlanView,
    line: &StateLine,
    port: usize,
    shared: &Shared,
) -> Verdict {
    let (at, len) = (datagram.payload_at, datagram.payload_len);
    let Some(payload) = buf.data().get(at..at + len) else { return Verdict::Drop(DropReason::TooBig) };
    let Ok(compound) = rtcp::Compound::new_checked(payload) else { return Verdict::Drop(DropReason::BadRtcp) };
    if !admitted(plan, datagram) {
        return Verdict::Drop(DropReason::Source);
    }
    match line.claim(shared.id) {
        Ownership::Mine => {
            let mut state = line.rtcp();
            for packet in compound.packets() {
                for block in packet.report_blocks() {
                    (state.fraction_lost, state.jitter) = (block.fraction_lost, block.jitter);
                    state.reports = state.reports.wrapping_add(1);
                }
                if let Some(xr) = packet.voip_metrics() {
                    (state.round_trip_ms, state.loss_rate, state.r_factor) =
                        (xr.round_trip_ms, xr.loss_rate, xr.r_factor);
                }
            }
            state.packets = state.packets.wrapping_add(1);
            state.bytes = state.bytes.wrapping_add(len as u64);
            state.source_port = datagram.source_port;
            line.set_rtcp(&state);
        }
        Ownership::Another => off_owner(line, len, port, shared),
    }
    match barred(plan) {
        Some(reason) => Verdict::Drop(reason),
        None => rewrite(buf, datagram, plan, Delta::default(), shared),
    }
}

fn candidate(plan: &PlanView, datagram: &Datagram, ssrc: u32, sequence: u16) -> Candidate {
    let ip: IpAddr = match datagram.source {
        Source::V4(ip) => Ipv4Addr::from(ip).into(),
        Source::V6(ip) => Ipv6Addr::from(ip).into(),
    };
    Candidate {
        session: plan.session(),
        side: plan.side(),
        version: plan.version(),
        source: SocketAddr::new(ip, datagram.source_port),
        ssrc,
        sequence,
    }
}

/// Replaces everything in front of the UDP payload.
#[inline]
fn rewrite<B: PacketBuf>(
    buf: &mut B,
    datagram: &Datagram,
    plan: &PlanView,
    mut delta: Delta,
    shared: &Shared,
) -> Verdict {
    let Some(hop) = shared.table.next_hops.get(plan.next_hop()) else {
        return Verdict::Drop(DropReason::NoNeighbour);
    };
    let out = shared.port(hop.port);
    let v6 = plan.has(OUT_V6);
    let ip_len = if v6 { ipv6::HEADER_LEN } else { ipv4::MIN_HEADER_LEN };
    let udp_len = udp::HEADER_LEN + datagram.payload_len;
    if ip_len + udp_len > usize::from(out.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    // What follows the datagram is Ethernet padding, or bytes behind a UDP length that is shorter than IP's.
    let excess = buf.total_len() - datagram.payload_at - datagram.payload_len;
    if excess > 0 && !buf.trim(excess) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let headers = ethernet::HEADER_LEN + ip_len + udp::HEADER_LEN;
    let fits = if headers > datagram.payload_at {
        buf.grow_front(headers - datagram.payload_at)
    } else {
        buf.shrink_front(datagram.payload_at - headers)
    };
    if !fits {
        return Verdict::Drop(DropReason::NoHeadroom);
    }
    // The pseudo-headers differ in their addresses only: length and protocol sum alike in both families (RFC 8200 §8.1).
    delta.replace(datagram.old_sum, plan.new_sum());
    let by_device = out.offloads.udp_checksum && buf.udp_is(Checked::Good) && datagram.checksum != 0;
    let ip_by_device = out.offloads.ipv4_checksum && !v6;
    let checksum = if by_device {
        pseudo_sum(plan, v6, udp_len)
    } else if datagram.checksum == 0 && v6 {
        // RFC 8200 §8.1: IPv6 wants one where IPv4 had none.
        let Some(payload) = buf.data().get(headers..headers + datagram.payload_len) else {
            return Verdict::Drop(DropReason::TooBig);
        };
        let sum = u32::from(plan.new_sum()) + 2 * udp_len as u32 + u32::from(IPPROTO_UDP);
        checksum::udp(checksum::fold(sum), payload)
    } else {
        delta.apply_udp(datagram.checksum)
    };
    emit(buf.data_mut(), plan, &hop.mac, out.mac, v6, udp_len, checksum, ip_by_device);
    if by_device || ip_by_device {
        buf.request_checksums(ChecksumRequest {
            l2_len: ethernet::HEADER_LEN as u8,
            l3_len: ip_len as u16,
            ipv6: v6,
            ip: ip_by_device,
            udp: by_device,
        });
    }
    Verdict::Forward(hop.port)
}

/// What a device that fills in the UDP checksum wants to find in its place: the pseudo-header's sum.
pub(super) fn pseudo_sum(plan: &PlanView, v6: bool, udp_len: usize) -> u16 {
    let addresses = if v6 {
        checksum::sum_v6(plan.out_source_v6()) + checksum::sum_v6(plan.out_destination_v6())
    } else {
        checksum::sum_v4(plan.out_source_v4()) + checksum::sum_v4(plan.out_destination_v4())
    };
    checksum::fold(addresses + udp_len as u32 + u32::from(IPPROTO_UDP))
}

#[inline]
#[allow(clippy::too_many_arguments)]
fn emit(
    data: &mut [u8],
    plan: &PlanView,
    to: &ethernet::Mac,
    from: ethernet::Mac,
    v6: bool,
    udp_len: usize,
    checksum: u16,
    ip_by_device: bool,
) {
    let ethertype = if v6 { ethernet::ETHERTYPE_IPV6 } else { ethernet::ETHERTYPE_IPV4 };
    ethernet::Frame::new_unchecked(&mut *data).set(*to, from, ethertype);
    let rest = &mut data[ethernet::HEADER_LEN..];
    let rest = if v6 {
        let Some((header, rest)) = rest.split_first_chunk_mut() else { return };
        ipv6::Repr {
            traffic_class: plan.tos(),
            payload_len: udp_len as u16,
            hop_limit: HOP_LIMIT,
            source: plan.out_source_v6(),
            destination: plan.out_destination_v6(),
        }
        .emit(header);
        rest
    } else {
        let Some((header, rest)) = rest.split_first_chunk_mut() else { return };
        ipv4::Repr {
            tos: plan.tos(),
            total_len: (ipv4::MIN_HEADER_LEN + udp_len) as u16,
            ttl: HOP_LIMIT,
            source: plan.out_source_v4(),
            destination: plan.out_destination_v4(),
        }
        .emit(header, ip_by_device);
        rest
    };
    if let Some((header, _)) = rest.split_first_chunk_mut() {
        udp::Repr {
            source_port: plan.out_source_port(),
            destination_port: plan.out_destination_port(),
            len: udp_len as u16,
            checksum,
        }
        .emit(header);
    }
}
