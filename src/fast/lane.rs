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
    base::ids::PortId,
    flow::{
        FlowTable, PtOp,
        nexthop::NextHop,
        plan::{ADMIT_V4, ANY_PORT, MUTED, NO_REMOTE, OUT_V6, PlanView, RTCP},
        state::{Ownership, Step},
        table::{EntryId, LastAddress, SlotId},
    },
    io::{Checked, ChecksumRequest, PacketBuf, TxOffloads},
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

/// The opposite: one store.
#[inline(always)]
fn put<const N: usize>(head: &mut Head, at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
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
const fn halves(word: u64) -> u64 {
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

/// An Ethernet address as it lies, in a word's low bytes.
#[inline(always)]
fn low_six(mac: &ethernet::Mac) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
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
        let mac = low_six(mac) << 16;
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
/// lengths that agree, RTP version 2 with nothing but its fixed header, for a media port. `SlotId::NONE` for any other
/// frame. Changes nothing.
#[inline(always)]
pub fn look<B: PacketBuf>(buf: &B, common: &Common, last: &mut LastAddress, table: &FlowTable) -> SlotId {
    let data = buf.data();
    let Some(head) = data.first_chunk::<HEAD>() else { return SlotId::NONE };
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
    // The header's first six bytes, the next six, the addresses.
    let sum = (first >> 16) + (second & 0xffff_ffff_ffff) + halves(addresses);
    // RFC 1071 §3: all ones, which is 0 in one's complement; a version of 4 keeps it from being all zeros.
    let wrong = !sum.is_multiple_of(0xffff) | buf.ip_is(Checked::Bad);
    if (plain | whole | fixed | excess as u64 | foreign != 0) | rtcp | wrong {
        return SlotId::NONE;
    }
    let (to, port) = (u32::from_be((addresses >> 32) as u32), u16::from_be((udp >> 16) as u16));
    table.slot_id_v4(to, port, last).unwrap_or(SlotId::NONE)
}

/// Forwards the frame that `look` liked, if its plan allows it just so, and says by which port; None: nothing was changed,
/// and the general way decides. Adds to `transcoded` if it was.
#[inline(always)]
pub fn forward<B: PacketBuf>(
    buf: &mut B,
    entry: EntryId,
    port: usize,
    shared: &Shared,
    turn: &Turn,
    transcoded: &mut u64,
) -> Option<PortId> {
    let (plan, line) = shared.table.plan_and_state(entry);
    let (head, frame): (&mut Head, _) = buf.data_mut().split_first_chunk_mut()?;
    let uncommon = plan.flags() & (RTCP | ADMIT_V4 | ANY_PORT | MUTED | OUT_V6 | NO_REMOTE) ^ ADMIT_V4;
    if u64::from(uncommon) | plan.unlike_v4(u32_at(head, IP + 12), u16_at(head, UDP)) != 0 {
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
    if !line.in_order(shared.id, &step(head, total, &plan, silent, turn)) {
        out_of_order(head, entry, silent, port, shared, turn);
    }
    *transcoded += u64::from(rule.op() != PtOp::Relay);

    // Both words whole, here and in `emit`: a wide load of what was just stored in part would wait for the store.
    let old_type = raw_u16(head, RTP);
    let new_type = u16::from_le_bytes([head[RTP], retyped(head[RTP + 1], rule)]);
    put(head, RTP, new_type.to_le_bytes());
    let old_checksum = raw_u16(head, UDP + 6);
    // RFC 1624 eqn. 3: what was taken out, complemented, and what was put in.
    let grown = u64::from(plan.sum_difference().to_be()) + u64::from(difference.to_be());
    let grown = grown + u64::from(!old_type) + u64::from(new_type);
    let checksum = match !folded(u64::from(!old_checksum) + grown) {
        // RFC 768: no checksum stays none, and one that comes out as 0 is sent as all ones.
        _ if old_checksum == 0 => 0,
        0 => 0xffff,
        checksum => checksum,
    };
    emit(head, &plan, &hop, &out.mac, checksum);
    if out.offloads.ipv4_checksum | out.offloads.udp_checksum {
        leave_to_device(buf, entry, old_checksum != 0, &out.offloads, shared);
    }
    Some(hop.port)
}

/// Leaves the checksums to the device, where it offers to fill them in and, UDP's, where it found them right.
#[inline(never)]
fn leave_to_device<B: PacketBuf>(buf: &mut B, entry: EntryId, has_one: bool, offers: &TxOffloads, shared: &Shared) {
    let udp = offers.udp_checksum && has_one && buf.udp_is(Checked::Good);
    let ip = offers.ipv4_checksum;
    if !(ip | udp) {
        return;
    }
    let Some((head, _)) = buf.data_mut().split_first_chunk_mut::<HEAD>() else { return };
    if ip {
        put(head, IP + 10, [0; 2]);
    }
    if udp {
        let len = usize::from(u16_at(head, UDP + 4));
        put(head, UDP + 6, pseudo_sum(&shared.table.plan(entry), false, len).to_be_bytes());
    }
    buf.request_checksums(ChecksumRequest {
        l2_len: ethernet::HEADER_LEN as u8,
        l3_len: ipv4::MIN_HEADER_LEN as u16,
        ipv6: false,
        ip,
        udp,
    });
}

/// Counts a packet that is not simply the next one of a stream that is ours.
#[cold]
#[inline(never)]
fn out_of_order(head: &Head, entry: EntryId, silent: bool, port: usize, shared: &Shared, turn: &Turn) {
    let (plan, line) = shared.table.plan_and_state(entry);
    let total = u16_at(head, IP + 2);
    let len = usize::from(total) - (RTP - IP);
    match line.claim(shared.id) {
        Ownership::Mine => {
            let mut state = line.rtp();
            count(&mut state, &step(head, total, &plan, silent, turn));
            line.set_rtp(&state);
        }
        Ownership::Another => off_owner(&line, len, port, shared),
    }
}

/// The packet as the state line sees it.
#[inline(always)]
fn step(head: &Head, total: u16, plan: &PlanView, silent: bool, turn: &Turn) -> Step {
    Step {
        number: u16_at(head, RTP + 2),
        ssrc: u32_at(head, RTP + 8),
        timestamp: u32_at(head, RTP + 4),
        arrival: turn.arrival(plan.clock_hz()),
        len: u64::from(total) - (RTP - IP) as u64,
        silent,
    }
}

/// The new headers, in words as wide as can be. What `look` found stays: EtherType, version, both lengths.
#[inline(always)]
fn emit(head: &mut Head, plan: &PlanView, hop: &NextHop, from: &ethernet::Mac, checksum: u16) {
    // RFC 6864 §4.1: identification 0 with DF; a fresh hop count.
    const REST: u64 = u64::from_le_bytes([0, 0, 0x40, 0, HOP_LIMIT, IPPROTO_UDP, 0, 0]);
    let (to, from_first) = (low_six(&hop.mac), u64::from(u16::from_le_bytes([from[0], from[1]])));
    let first = raw_u32(head, IP) & 0xffff_00ff | u32::from(plan.tos()) << 8;
    let addresses = plan.out_addresses();
    let ip_checksum = !folded(u64::from(first) + const { halves(REST) } + halves(u64::from_le_bytes(addresses)));
    put(head, 0, (to | from_first << 48).to_le_bytes());
    put(head, 8, [from[2], from[3], from[4], from[5]]);
    put(head, IP, first.to_le_bytes());
    put(head, IP + 4, (REST | u64::from(ip_checksum) << 48).to_le_bytes());
    put(head, IP + 12, addresses);
    put(head, UDP, plan.out_ports());
    put(head, UDP + 6, checksum.to_le_bytes());
}
