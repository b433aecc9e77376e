//! A plan: what a worker does with the packets of one flow, compiled once by the slow path.
//!
//! `Plan` is the meaning; in the table it is sixteen words. The first eight are all that an IPv4 flow needs, one cache
//! line; an IPv6 address on either side uses the second line, which lies elsewhere. Layout, from the low bit:
//!
//! | word | bits |
//! |---|---|
//! | 0 | flags 16 · next hop 16 · source port 16 · TOS byte 8 |
//! | 1 | out source IPv4 32 · out destination IPv4 32: eight bytes as they stand on the wire, the first one lowest |
//! | 2 | out source port 16 · out destination port 16, likewise · admitted IPv4 source 32 |
//! | 3 | session 64 |
//! | 4–5 | payload-type rules, 16 bits each: in 7 · out 7 · operation 2 |
//! | 6 | RTP clock in units of 25 Hz, 16 · departing source's port 16 · laws of the rules 16 · what the sum of addresses and ports grows by 16 |
//! | 7 | version 32 · departing IPv4 source 32 |
//! | 8–9 | admitted IPv6 source |
//! | 10–11 | out source IPv6 |
//! | 12–13 | out destination IPv6 |
//! | 14–15 | departing IPv6 source |
//!
//! The plan's reader, `PlanView`, decodes field by field where they lie: they do not change while it can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    nexthop::NextHopId,
    sync::{AtomicU64, Ordering},
};
use crate::{
    base::{
        ids::{SessionId, Side},
        limits::MAX_PT_RULES,
    },
    codec::Law,
    wire::checksum,
};

pub const PLAN_WORDS: usize = 16;
pub type PlanWords = [u64; PLAN_WORDS];

/// A cache line.
pub const LINE_WORDS: usize = 8;
pub type Line = [AtomicU64; LINE_WORDS];

/// Which source a flow takes packets from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// None yet.
    Nobody,
    /// This address and port.
    Exact(SocketAddr),
    /// This address, whatever the port: RTCP of a peer whose RTCP port is not known.
    Address(IpAddr),
}

/// What is done with a payload of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtOp {
    Relay,
    MuToA,
    AToMu,
}

/// One payload type that is let through, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtRule {
    pub pt_in: u8,
    pub pt_out: u8,
    pub op: PtOp,
    /// The law of the arriving payload, where it is G.711: for silence detection.
    pub law: Option<Law>,
}

/// One direction of one RTP or RTCP stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub session: SessionId,
    /// The side that sends this stream to us.
    pub side: Side,
    pub version: u32,
    pub rtcp: bool,
    pub admit: Admit,
    /// The source before it moved: still admitted for a moment, because what it sent before it heard of the agreement
    /// is under way (RFC 3264 §8.3.1).
    pub departing: Option<SocketAddr>,
    /// Sources that are not admitted are reported as latch candidates.
    pub candidates: bool,
    /// Nothing is sent (the standby of a pair).
    pub muted: bool,
    /// Our address and port towards the other side.
    pub out_source: SocketAddr,
    /// Where the other side wants it; None: nowhere.
    pub out_destination: Option<SocketAddr>,
    pub next_hop: NextHopId,
    /// The IPv4 TOS or IPv6 traffic-class byte.
    pub tos: u8,
    pub clock_hz: u32,
    pub rules: Vec<PtRule>,
}

pub const RTCP: u16 = 1;
pub const ADMIT_V4: u16 = 1 << 1;
pub const ADMIT_V6: u16 = 1 << 2;
pub const ANY_PORT: u16 = 1 << 3;
pub const CANDIDATES: u16 = 1 << 4;
pub const MUTED: u16 = 1 << 5;
pub const OUT_V6: u16 = 1 << 6;
pub const NO_REMOTE: u16 = 1 << 7;
pub const SIDE_B: u16 = 1 << 8;
pub const DEPARTING_V4: u16 = 1 << 9;
pub const DEPARTING_V6: u16 = 1 << 10;

/// Every RTP clock in use is a multiple of it, 11,025 Hz included.
const CLOCK_UNIT_HZ: u32 = 25;

impl Plan {
    /// For a flow that arrives at `local`.
    pub fn encode(&self, local: SocketAddr) -> PlanWords {
        let mut w = PlanWords::default();
        let mut flags = 0;
        flags |= if self.rtcp { RTCP } else { 0 };
        flags |= if self.candidates { CANDIDATES } else { 0 };
        flags |= if self.muted { MUTED } else { 0 };
        let (source, source_port) = match self.admit {
            Admit::Nobody => (None, 0),
            Admit::Exact(s) => (Some(s.ip()), s.port()),
            Admit::Address(ip) => {
                flags |= ANY_PORT;
                (Some(ip), 0)
            }
        };
        match source {
            None => {}
            Some(IpAddr::V4(ip)) => {
                flags |= ADMIT_V4;
                w[2] |= u64::from(u32::from(ip)) << 32;
            }
            Some(IpAddr::V6(ip)) => {
                flags |= ADMIT_V6;
                put_v6(&mut w, 8, ip);
            }
        }
        let departing_port = self.departing.map_or(0, |d| d.port());
        match self.departing.map(|d| d.ip()) {
            None => {}
            Some(IpAddr::V4(ip)) => {
                flags |= DEPARTING_V4;
                w[7] |= u64::from(u32::from(ip)) << 32;
            }
            Some(IpAddr::V6(ip)) => {
                flags |= DEPARTING_V6;
                put_v6(&mut w, 14, ip);
            }
        }
        flags |= if self.side == Side::B { SIDE_B } else { 0 };
        match self.out_destination {
            None => flags |= NO_REMOTE,
            Some(to) => {
                w[2] |= u64::from(to.port().to_be()) << 16;
                match to.ip() {
                    IpAddr::V4(ip) => w[1] |= u64::from(u32::from(ip).to_be()) << 32,
                    IpAddr::V6(ip) => put_v6(&mut w, 12, ip),
                }
            }
        }
        w[2] |= u64::from(self.out_source.port().to_be());
        match self.out_source.ip() {
            IpAddr::V4(ip) => w[1] |= u64::from(u32::from(ip).to_be()),
            IpAddr::V6(ip) => {
                flags |= OUT_V6;
                put_v6(&mut w, 10, ip);
            }
        }
        w[0] = u64::from(flags)
            | u64::from(self.next_hop.0) << 16
            | u64::from(source_port) << 32
            | u64::from(self.tos) << 48;
        w[3] = self.session.0;
        let mut laws = 0u64;
        for (i, rule) in self.rules.iter().take(MAX_PT_RULES).enumerate() {
            let op = match rule.op {
                PtOp::Relay => 1,
                PtOp::MuToA => 2,
                PtOp::AToMu => 3,
            };
            let bits = u64::from(rule.pt_in & 0x7f) | u64::from(rule.pt_out & 0x7f) << 7 | op << 14;
            w[4 + i / 4] |= bits << (16 * (i % 4));
            let law = match rule.law {
                None => 0,
                Some(Law::Mu) => 1,
                Some(Law::A) => 2,
            };
            laws |= law << (2 * i);
        }
        let clock = (self.clock_hz / CLOCK_UNIT_HZ).clamp(1, u32::from(u16::MAX));
        w[6] = u64::from(clock)
            | u64::from(departing_port) << 16
            | laws << 32
            | u64::from(self.sum_difference(local)) << 48;
        w[7] |= u64::from(self.version);
        w
    }

    /// RFC 1624's ~m + m' over the addresses and ports of a packet that comes from the exact admitted source: they are
    /// the flow's own, so this is the same for all of them. 0 where there is no such source.
    fn sum_difference(&self, local: SocketAddr) -> u16 {
        let (Admit::Exact(source), Some(to)) = (self.admit, self.out_destination) else { return 0 };
        let old = checksum::fold(sum_of(source) + sum_of(local));
        checksum::fold(u32::from(!old) + sum_of(self.out_source) + sum_of(to))
    }
}

fn sum_of(at: SocketAddr) -> u32 {
    sum_ip(at.ip()) + u32::from(at.port())
}

fn put_v6(w: &mut PlanWords, at: usize, ip: Ipv6Addr) {
    let bits = u128::from(ip);
    w[at] = (bits >> 64) as u64;
    w[at + 1] = bits as u64;
}

fn sum_ip(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => checksum::sum_v4(ip.into()),
        IpAddr::V6(ip) => checksum::sum_v6(ip.into()),
    }
}

#[inline(always)]
fn rule_at(line: &Line, i: usize) -> Rule {
    let bits = (line[4 + i / 4].load(Ordering::Relaxed) >> (16 * (i % 4))) as u16;
    let law = (line[6].load(Ordering::Relaxed) >> (32 + 2 * i)) as u16 & 3;
    Rule { bits, law }
}

#[inline(never)]
fn rule_in_turn(line: &Line, pt: u8) -> Option<Rule> {
    (1..MAX_PT_RULES).map(|i| rule_at(line, i)).find(|rule| rule.is_for(pt))
}

/// A worker's reading of a plan: fields are decoded as they are needed.
#[derive(Clone, Copy, Debug)]
pub struct PlanView {
    line: &'static Line,
    /// The second lines of the table's entries, and which of them: only IPv6 flows have one.
    wide: (&'static [Line], usize),
}

impl PlanView {
    #[inline(always)]
    pub(super) fn of(line: &'static Line, wide: &'static [Line], at: usize) -> Self {
        PlanView { line, wide: (wide, at) }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        match at.checked_sub(LINE_WORDS) {
            None => self.line[at].load(Ordering::Relaxed),
            Some(at) => self.wide.0.get(self.wide.1).map_or(0, |line| line[at].load(Ordering::Relaxed)),
        }
    }

    /// All words, those of the second line only where an IPv6 address is in play.
    pub fn words(&self) -> PlanWords {
        let wide = self.flags() & (ADMIT_V6 | OUT_V6 | DEPARTING_V6) != 0;
        std::array::from_fn(|i| if i < LINE_WORDS || wide { self.word(i) } else { 0 })
    }

    /// The eight bytes of the departing packet's IPv4 addresses.
    #[inline]
    pub fn out_addresses(&self) -> [u8; 8] {
        self.word(1).to_le_bytes()
    }

    /// The four bytes of the departing packet's ports.
    #[inline]
    pub fn out_ports(&self) -> [u8; 4] {
        (self.word(2) as u32).to_le_bytes()
    }

    #[inline]
    pub fn flags(&self) -> u16 {
        self.word(0) as u16
    }

    #[inline]
    pub fn has(&self, flag: u16) -> bool {
        self.flags() & flag != 0
    }

    #[inline]
    pub fn next_hop(&self) -> NextHopId {
        NextHopId((self.word(0) >> 16) as u16)
    }

    #[inline]
    pub fn tos(&self) -> u8 {
        (self.word(0) >> 48) as u8
    }

    /// 0 for the admitted IPv4 source's address and port, if it is an IPv4 source.
    #[inline(always)]
    pub fn unlike_v4(&self, source: u32, port: u16) -> u64 {
        ((self.word(2) >> 32) ^ u64::from(source)) | u64::from((self.word(0) >> 32) as u16 ^ port)
    }

    /// True if a packet from this IPv4 source is admitted.
    #[inline]
    pub fn admits_v4(&self, source: u32, port: u16) -> bool {
        self.has(ADMIT_V4) && (self.word(2) >> 32) as u32 == source && self.admits_port(port)
            || self.has(DEPARTING_V4) && (self.word(7) >> 32) as u32 == source && self.departing_port() == port
    }

    #[inline]
    pub fn admits_v6(&self, source: u128, port: u16) -> bool {
        self.has(ADMIT_V6) && self.v6(8) == source && self.admits_port(port)
            || self.has(DEPARTING_V6) && self.v6(14) == source && self.departing_port() == port
    }

    #[inline]
    fn departing_port(&self) -> u16 {
        (self.word(6) >> 16) as u16
    }

    #[inline]
    fn admits_port(&self, port: u16) -> bool {
        (self.word(0) >> 32) as u16 == port || self.has(ANY_PORT)
    }

    #[inline]
    fn v6(&self, at: usize) -> u128 {
        u128::from(self.word(at)) << 64 | u128::from(self.word(at + 1))
    }

    #[inline]
    pub fn out_source_v4(&self) -> u32 {
        u32::from_be(self.word(1) as u32)
    }

    #[inline]
    pub fn out_destination_v4(&self) -> u32 {
        u32::from_be((self.word(1) >> 32) as u32)
    }

    #[inline]
    pub fn out_source_v6(&self) -> u128 {
        self.v6(10)
    }

    #[inline]
    pub fn out_destination_v6(&self) -> u128 {
        self.v6(12)
    }

    #[inline]
    pub fn out_source_port(&self) -> u16 {
        u16::from_be(self.word(2) as u16)
    }

    #[inline]
    pub fn out_destination_port(&self) -> u16 {
        u16::from_be((self.word(2) >> 16) as u16)
    }

    #[inline]
    pub fn session(&self) -> SessionId {
        SessionId(self.word(3))
    }

    #[inline]
    pub fn side(&self) -> Side {
        if self.has(SIDE_B) { Side::B } else { Side::A }
    }

    #[inline]
    pub fn version(&self) -> u32 {
        self.word(7) as u32
    }

    #[inline]
    pub fn clock_hz(&self) -> u32 {
        u32::from(self.word(6) as u16) * CLOCK_UNIT_HZ
    }

    /// What the one's complement sum of addresses and ports grows by when a packet from the exact admitted source is
    /// forwarded.
    #[inline]
    pub fn sum_difference(&self) -> u16 {
        (self.word(6) >> 48) as u16
    }

    /// One's complement sum of the forwarded packet's addresses and ports.
    pub fn new_sum(&self) -> u16 {
        let addresses = if self.has(OUT_V6) {
            checksum::sum_v6(self.out_source_v6()) + checksum::sum_v6(self.out_destination_v6())
        } else {
            checksum::sum_v4(self.out_source_v4()) + checksum::sum_v4(self.out_destination_v4())
        };
        checksum::fold(addresses + u32::from(self.out_source_port()) + u32::from(self.out_destination_port()))
    }

    /// The rule for an arriving payload type; None: not negotiated.
    #[inline(always)]
    pub fn rule(&self, pt: u8) -> Option<Rule> {
        // Most packets are of the first type that was agreed on.
        let first = self.rule_at(0);
        if first.is_for(pt) { Some(first) } else { rule_in_turn(self.line, pt) }
    }

    #[inline(always)]
    fn rule_at(&self, i: usize) -> Rule {
        rule_at(self.line, i)
    }

    /// The admitted source, for listings.
    pub fn admitted(&self) -> Admit {
        let port = (self.word(0) >> 32) as u16;
        let ip: IpAddr = if self.has(ADMIT_V4) {
            Ipv4Addr::from((self.word(2) >> 32) as u32).into()
        } else if self.has(ADMIT_V6) {
            Ipv6Addr::from(self.v6(8)).into()
        } else {
            return Admit::Nobody;
        };
        if self.has(ANY_PORT) { Admit::Address(ip) } else { Admit::Exact(SocketAddr::new(ip, port)) }
    }
}

/// A rule as it stands in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    bits: u16,
    law: u16,
}

impl Rule {
    /// False for a place that holds no rule, too.
    #[inline(always)]
    fn is_for(self, pt: u8) -> bool {
        (self.pt_in() == pt) & (self.bits >> 14 != 0)
    }

    #[inline(always)]
    pub fn pt_in(self) -> u8 {
        self.bits as u8 & 0x7f
    }

    #[inline(always)]
    pub fn pt_out(self) -> u8 {
        (self.bits >> 7) as u8 & 0x7f
    }

    #[inline(always)]
    pub fn op(self) -> PtOp {
        match self.bits >> 14 {
            2 => PtOp::MuToA,
            3 => PtOp::AToMu,
            _ => PtOp::Relay,
        }
    }

    #[inline(always)]
    pub fn law(self) -> Option<Law> {
        match self.law {
            1 => Some(Law::Mu),
            2 => Some(Law::A),
            _ => None,
        }
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    fn plan(source: &str, out: &str, to: &str) -> Plan {
        Plan {
            session: SessionId(0x1234_5678_9abc),
            side: Side::B,
            version: 7,
            rtcp: false,
            admit: Admit::Exact(source.parse().unwrap()),
            departing: None,
            candidates: true,
            muted: false,
            out_source: out.parse().unwrap(),
            out_destination: Some(to.parse().unwrap()),
            next_hop: NextHopId(513),
            tos: 0xb8,
            clock_hz: 8000,
            rules: vec![
                PtRule { pt_in: 0, pt_out: 8, op: PtOp::MuToA, law: Some(Law::Mu) },
                PtRule { pt_in: 8, pt_out: 8, op: PtOp::Relay, law: Some(Law::A) },
                PtRule { pt_in: 101, pt_out: 96, op: PtOp::Relay, law: None },
                PtRule { pt_in: 127, pt_out: 0, op: PtOp::AToMu, law: Some(Law::A) },
                PtRule { pt_in: 13, pt_out: 13, op: PtOp::Relay, law: None },
            ],
        }
    }

    const LOCAL: &str = "198.18.1.10:20000";

    fn view(plan: &Plan) -> PlanView {
        let words = crate::flow::sync::words(PLAN_WORDS);
        words
            .iter()
            .zip(plan.encode(LOCAL.parse().unwrap()))
            .for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        let lines = words.as_chunks().0;
        PlanView::of(&lines[0], &lines[1..], 0)
    }

    #[test]
    fn every_field_comes_back_from_the_words() {
        for (source, out, to) in [
            ("198.18.1.20:40000", "198.18.2.10:20002", "198.18.2.20:6000"),
            ("198.18.1.20:40000", "[2001:db8::10]:20002", "[2001:db8::20]:6000"),
            ("[2001:db8:1::20]:65535", "198.18.2.10:20002", "198.18.2.20:1"),
        ] {
            let p = plan(source, out, to);
            let v = view(&p);
            assert_eq!(v.admitted(), p.admit);
            assert_eq!((v.session(), v.side(), v.version()), (p.session, p.side, p.version));
            assert_eq!((v.tos(), v.clock_hz(), v.next_hop()), (p.tos, p.clock_hz, p.next_hop));
            assert_eq!(v.has(CANDIDATES), p.candidates);
            assert!(!v.has(MUTED | RTCP | NO_REMOTE));
            let (out, to) = if v.has(OUT_V6) {
                (IpAddr::from(Ipv6Addr::from(v.out_source_v6())), IpAddr::from(Ipv6Addr::from(v.out_destination_v6())))
            } else {
                (IpAddr::from(Ipv4Addr::from(v.out_source_v4())), IpAddr::from(Ipv4Addr::from(v.out_destination_v4())))
            };
            assert_eq!(SocketAddr::new(out, v.out_source_port()), p.out_source);
            assert_eq!(Some(SocketAddr::new(to, v.out_destination_port())), p.out_destination);
            for rule in &p.rules {
                let r = v.rule(rule.pt_in).unwrap();
                assert_eq!((r.pt_in(), r.pt_out(), r.op(), r.law()), (rule.pt_in, rule.pt_out, rule.op, rule.law));
            }
            assert_eq!(v.rule(9), None);
        }
    }

    #[test]
    fn a_source_is_admitted_by_address_and_port_or_by_address_alone() {
        let mut p = plan("198.18.1.20:40000", "198.18.2.10:20002", "198.18.2.20:6000");
        let ip = u32::from(Ipv4Addr::new(198, 18, 1, 20));
        let v = view(&p);
        assert!(v.admits_v4(ip, 40000) && !v.admits_v4(ip, 40001) && !v.admits_v4(ip + 1, 40000));
        assert!(!v.admits_v6(u128::from(ip), 40000));
        p.admit = Admit::Address(Ipv4Addr::from(ip).into());
        let v = view(&p);
        assert!(v.admits_v4(ip, 1) && !v.admits_v4(ip + 1, 1));
        p.admit = Admit::Nobody;
        assert!(!view(&p).admits_v4(0, 0), "nobody is not 0.0.0.0");
        assert!(!view(&p).admits_v6(0, 0));
    }

    #[test]
    fn a_departing_source_is_admitted_beside_the_new_one_in_either_family() {
        let mut p = plan("198.18.1.20:40000", "198.18.2.10:20002", "198.18.2.20:6000");
        p.departing = Some("198.18.1.21:5000".parse().unwrap());
        let ip = |last| u32::from(Ipv4Addr::new(198, 18, 1, last));
        let v = view(&p);
        assert!(v.admits_v4(ip(20), 40_000) && v.admits_v4(ip(21), 5_000));
        assert!(!v.admits_v4(ip(21), 40_000) && !v.admits_v4(ip(20), 5_000));
        let v6: Ipv6Addr = "2001:db8::21".parse().unwrap();
        p.departing = Some(SocketAddr::new(v6.into(), 5_000));
        let v = view(&p);
        assert!(v.admits_v6(v6.into(), 5_000) && !v.admits_v6(v6.into(), 5_001) && v.admits_v4(ip(20), 40_000));
        assert_eq!((v.version(), v.side(), v.clock_hz()), (7, Side::B, 8_000));
    }

    #[test]
    fn the_sum_covers_the_new_addresses_and_ports() {
        let p = plan("198.18.1.20:40000", "198.18.2.10:20002", "198.18.2.20:6000");
        // 198.18 = 0xc612 twice, 2.10 = 0x020a, 2.20 = 0x0214, ports 0x4e22 and 0x1770.
        let sum: u32 = 0xc612 + 0x020a + 0xc612 + 0x0214 + 0x4e22 + 0x1770;
        assert_eq!(view(&p).new_sum(), checksum::fold(sum));
        // From 198.18.1.20:40000 to 198.18.1.10:20000: 0x0114, 0x9c40, 0x010a and 0x4e20 in the place of the new ones.
        let old: u32 = 0xc612 + 0x0114 + 0xc612 + 0x010a + 0x9c40 + 0x4e20;
        let grown = u32::from(checksum::fold(old)) + u32::from(view(&p).sum_difference());
        assert_eq!(checksum::fold(grown), checksum::fold(sum));
    }
}
