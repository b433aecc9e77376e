//! The short way of the common packet: IPv4 without options, UDP, RTP with its twelve bytes of header, admitted, to an
//! IPv4 peer. Runs on the workers.
//!
//! It takes only what it can forward without another look, and decides nothing else: whatever is unusual, wrong or to be
//! dropped goes the general way (`arrival`, `relay`), unchanged. So each rule is written once, there, and a test holds
//! that both ways give the same bytes and the same counters.

use std::hint::black_box;

use super::{
    relay::{HOP_LIMIT, count, off_owner, pseudo_sum, retyped, sound},
    worker::{Shared, Turn},
};
use crate::{
    flow::{
        PtOp, Verdict,
        counters::PortCounter,
        nexthop::NextHop,
        plan::{ADMIT_V4, ANY_PORT, MUTED, NO_REMOTE, OUT_V6, PlanView, RTCP},
        state::{Ownership, Step},
        table::{EntryId, LastAddress, SlotId},
    },
    io::{Checked, ChecksumRequest, PacketBuf},
    wire::{IPPROTO_UDP, ethernet, ipv4, rtp, udp},
};

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + ipv4::MIN_HEADER_LEN;
const RTP: usize = UDP + udp::HEADER_LEN;
/// All headers, up to the payload of RTP.
const HEAD: usize = RTP + rtp::MIN_HEADER_LEN;
type Head = [u8; HEAD];

/// Bytes as they lie, the first one lowest: one load each, which is why they are not put together from single bytes.
#[inline(always)]
fn raw<const N: usize>(head: &Head, at: usize) -> [u8; N] {
    // Every `at` here is a constant within the head.
    head.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[inline(always)]
fn raw_u16(head: &Head, at: usize) -> u16 {
    u16::from_le_bytes(raw(head, at))
}

#[inline(always)]
fn raw_u32(head: &Head, at: usize) -> u32 {
    u32::from_le_bytes(raw(head, at))
}

#[inline(always)]
fn raw_u64(head: &Head, at: usize) -> u64 {
    u64::from_le_bytes(raw(head, at))
}

#[inline(always)]
fn u16_at(head: &Head, at: usize) -> u16 {
    u16::from_be_bytes(raw(head, at))
}

#[inline(always)]
fn u32_at(head: &Head, at: usize) -> u32 {
    u32::from_be_bytes(raw(head, at))
}

/// The 32-bit halves of a word, added.
#[inline(always)]
fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// RFC 1071 §2 (B): a sum over swapped bytes is the swapped sum. So checksums are summed here as the bytes lie, in wide
/// words, and never swapped. Never 0 for what is not all zero.
#[inline(always)]
fn folded(sum: u64) -> u16 {
    // A word added to itself with its halves exchanged has in its upper half their sum with the end-around carry.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// What a common frame looks like, in words as they lie: which bits count, and what they are.
#[derive(Clone, Copy)]
pub struct Common {
    /// To this port's address: in the high six bytes.
    mac: u64,
    /// EtherType IPv4, version 4, five words of header.
    plain: (u64, u64),
    /// Not a fragment (DF may be set); UDP.
    whole: (u64, u64),
}

impl Common {
    pub fn to(mac: &ethernet::Mac) -> Common {
        let mac = u64::from_le_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]);
        // Known constants would be compared byte by byte, with a load for each.
        black_box(Common {
            mac,
            plain: bits([0xff, 0xff, 0xff, 0, 0, 0, 0, 0], [8, 0, 0x45, 0, 0, 0, 0, 0]),
            whole: bits([0xbf, 0xff, 0, 0xff, 0, 0, 0, 0], [0, 0, 0, IPPROTO_UDP, 0, 0, 0, 0]),
        })
    }
}

const fn bits(mask: [u8; 8], value: [u8; 8]) -> (u64, u64) {
    (u64::from_le_bytes(mask), u64::from_le_bytes(value))
}

/// Where the flow of a frame that looks common is looked up: a frame for us, IPv4 and UDP without options or fragments,
/// lengths that agree, RTP version 2 with nothing but its fixed header, for a media port. Changes nothing.
#[inline(always)]
pub fn look<B: PacketBuf>(buf: &B, common: &Common, last: &mut LastAddress, shared: &Shared) -> Option<SlotId> {
    let data = buf.data();
    let head: &Head = data.first_chunk()?;
    // EtherType to identification; fragment to the source's first half; both addresses; UDP; RTP's first half.
    let (first, second) = (raw_u64(head, IP - 2), raw_u64(head, IP + 6));
    let (addresses, udp, rtp) = (raw_u64(head, IP + 12), raw_u64(head, UDP), raw_u16(head, RTP));
    let plain = (first & common.plain.0) ^ common.plain.1;
    let whole = (second & common.whole.0) ^ common.whole.1;
    // RFC 3550 §5.1: version 2, no padding, no extension, no CSRC. RFC 5761 §4: 192 to 223 would be RTCP.
    let fixed = u64::from((rtp & 0xff) ^ 0x80);
    let rtcp = rtp & 0xe000 == 0xc000;
    let total = usize::from(((first >> 32) as u16).swap_bytes());
    let udp_len = usize::from(((udp >> 32) as u16).swap_bytes());
    let excess =
        (data.len() ^ (IP + total)) | (buf.total_len() ^ data.len()) | (udp_len + ipv4::MIN_HEADER_LEN) ^ total;
    let foreign = (raw_u64(head, 0) << 16) ^ common.mac;
    if (plain | whole | fixed | excess as u64 | foreign != 0) | rtcp {
        return None;
    }
    // The header's first six bytes, the next six, the addresses.
    let sum = (first >> 16) + (second & 0xffff_ffff_ffff) + halves(addresses);
    // RFC 1071 §3: all ones, which is 0 in one's complement; a version of 4 keeps it from being all zeros.
    let right = || buf.ip_is(Checked::Good) || sum.is_multiple_of(0xffff);
    if buf.ip_is(Checked::Bad) || !right() {
        return None;
    }
    let (to, port) = (u32::from_be((addresses >> 32) as u32), u16::from_be((udp >> 16) as u16));
    shared.table.slot_id_v4(to, port, last)
}

/// Forwards the frame that `look` liked, if its plan allows it just so; None: nothing was changed, and the general way
/// decides.
#[inline(always)]
pub fn forward<B: PacketBuf>(
    buf: &mut B,
    entry: EntryId,
    port: usize,
    shared: &Shared,
    turn: &Turn,
) -> Option<Verdict> {
    let (plan, line) = shared.table.plan_and_state(entry);
    let udp_good = buf.udp_is(Checked::Good);
    let (head, frame): (&mut Head, _) = buf.data_mut().split_first_chunk_mut()?;
    let common = plan.flags() & (RTCP | ADMIT_V4 | ANY_PORT | MUTED | OUT_V6 | NO_REMOTE) == ADMIT_V4;
    let known = plan.is_from_v4(u32_at(head, IP + 12), u16_at(head, UDP));
    if !(common & known) {
        return None;
    }
    let rule = plan.rule(head[RTP + 1] & 0x7f)?;
    let hop = shared.table.next_hops.get(plan.next_hop())?;
    let out = shared.port(hop.port);
    let total = u16_at(head, IP + 2);
    if total > out.mtu {
        return None;
    }

    let (difference, silent) = sound(frame, rule, shared);
    if !line.in_order(shared.id, &step(head, &plan, silent, turn)) {
        out_of_order(head, entry, silent, port, shared, turn);
    }
    if rule.op() != PtOp::Relay {
        shared.counters.add(port, PortCounter::Transcoded, 1);
    }

    // Both words whole, here and in `emit`: a wide load of what was just stored in part would wait for the store.
    let old_type = raw_u16(head, RTP);
    let new_type = u16::from_le_bytes([head[RTP], retyped(head[RTP + 1], rule)]);
    head[RTP..RTP + 2].copy_from_slice(&new_type.to_le_bytes());
    let old_checksum = raw_u16(head, UDP + 6);
    let by_device = out.offloads.udp_checksum & udp_good & (old_checksum != 0);
    let checksum = if by_device {
        pseudo_sum(&plan, false, usize::from(total) - ipv4::MIN_HEADER_LEN).to_be()
    } else if old_checksum == 0 {
        0
    } else {
        // RFC 1624 eqn. 3: what was taken out, complemented, and what was put in.
        let grown = u64::from(plan.sum_difference().to_be()) + u64::from(difference.to_be());
        let grown = grown + u64::from(!old_type) + u64::from(new_type);
        // RFC 768: a checksum that comes out as 0 is sent as all ones.
        match !folded(u64::from(!old_checksum) + grown) {
            0 => 0xffff,
            checksum => checksum,
        }
    };
    let ip_by_device = out.offloads.ipv4_checksum;
    emit(head, &plan, &hop, &out.mac, checksum, ip_by_device);
    if by_device | ip_by_device {
        buf.request_checksums(ChecksumRequest {
            l2_len: ethernet::HEADER_LEN as u8,
            l3_len: ipv4::MIN_HEADER_LEN as u16,
            ipv6: false,
            ip: ip_by_device,
            udp: by_device,
        });
    }
    Some(Verdict::Forward(hop.port))
}

/// Counts a packet that is not simply the next one of a stream that is ours.
#[cold]
#[inline(never)]
fn out_of_order(head: &Head, entry: EntryId, silent: bool, port: usize, shared: &Shared, turn: &Turn) {
    let (plan, line) = shared.table.plan_and_state(entry);
    let len = usize::from(u16_at(head, IP + 2)) - (RTP - IP);
    match line.claim(shared.id) {
        Ownership::Mine => {
            let mut state = line.rtp();
            count(&mut state, &step(head, &plan, silent, turn));
            line.set_rtp(&state);
        }
        Ownership::Another => off_owner(&line, len, port, shared),
    }
}

/// The packet as the state line sees it.
#[inline(always)]
fn step(head: &Head, plan: &PlanView, silent: bool, turn: &Turn) -> Step {
    Step {
        number: u16_at(head, RTP + 2),
        ssrc: u32_at(head, RTP + 8),
        timestamp: u32_at(head, RTP + 4),
        arrival: turn.arrival(plan.clock_hz()),
        len: u64::from(u16_at(head, IP + 2)) - (RTP - IP) as u64,
        silent,
    }
}

/// The new headers. What `look` found stays: EtherType, version, both lengths.
#[inline(always)]
fn emit(head: &mut Head, plan: &PlanView, hop: &NextHop, from: &ethernet::Mac, checksum: u16, ip_by_device: bool) {
    // RFC 6864 §4.1: identification 0 with DF; a fresh hop count.
    const REST: [u8; 6] = [0, 0, 0x40, 0, HOP_LIMIT, IPPROTO_UDP];
    let first = raw_u32(head, IP) & 0xffff_00ff | u32::from(plan.tos()) << 8;
    head[..6].copy_from_slice(&hop.mac);
    head[6..12].copy_from_slice(from);
    head[IP..IP + 4].copy_from_slice(&first.to_le_bytes());
    let addresses = plan.out_addresses();
    let ip_checksum = if ip_by_device {
        0
    } else {
        let rest = const { raw_sum(&REST) };
        let addresses = u64::from_le_bytes(addresses);
        !folded(u64::from(first) + rest + (addresses >> 32) + (addresses & 0xffff_ffff))
    };
    head[IP + 4..IP + 10].copy_from_slice(&REST);
    head[IP + 10..IP + 12].copy_from_slice(&ip_checksum.to_le_bytes());
    head[IP + 12..IP + 20].copy_from_slice(&addresses);
    head[UDP..UDP + 4].copy_from_slice(&plan.out_ports());
    head[UDP + 6..UDP + 8].copy_from_slice(&checksum.to_le_bytes());
}

const fn raw_sum(words: &[u8; 6]) -> u64 {
    u16::from_le_bytes([words[0], words[1]]) as u64
        + u16::from_le_bytes([words[2], words[3]]) as u64
        + u16::from_le_bytes([words[4], words[5]]) as u64
}
