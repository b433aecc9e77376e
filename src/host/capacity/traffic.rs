//! What calls ask of a host: packets, bits, cycles and port pairs, each a fixed fraction of the number of calls. Pure
//! arithmetic on integers; a short-lived process runs it once.
//!
//! A call has two legs. tandem receives one RTP stream on each and sends one on each, so what holds for the way in
//! holds for the way out, and every figure here is for one way.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::base::limits::PORT_REST;

/// Streams one way: one for each leg.
pub const STREAMS_PER_CALL: u64 = 2;
/// Ethernet without its check sequence, which the lab's captures leave out as well.
const ETHERNET_BYTES: u64 = 14;
const IPV4_BYTES: u64 = 20;
const IPV6_BYTES: u64 = 40;
const UDP_BYTES: u64 = 8;
/// RFC 3550 §5.1, without contributing sources or an extension.
const RTP_BYTES: u64 = 12;
/// Assumed: a sender report with one block (RFC 3550 §6.4.1: 52 bytes) and a source description with a CNAME of 18
/// characters (§6.5: 32 bytes).
pub const RTCP_BYTES: u64 = 84;
/// The largest payload of which an IPv6 packet still fits 1,500 bytes.
pub const MAX_PAYLOAD_BYTES: u16 = 1_440;

/// So much of something for each call: `numerator / denominator`, kept as a fraction, so that 30 ms lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCall {
    numerator: u64,
    denominator: u64,
}

impl PerCall {
    /// What `calls` ask for, rounded up.
    pub fn of(self, calls: u64) -> u64 {
        let asked = (u128::from(calls) * u128::from(self.numerator)).div_ceil(u128::from(self.denominator.max(1)));
        u64::try_from(asked).unwrap_or(u64::MAX)
    }

    /// How many whole calls `limit` is enough for.
    pub fn within(self, limit: u64) -> u64 {
        let calls = u128::from(limit) * u128::from(self.denominator) / u128::from(self.numerator.max(1));
        u64::try_from(calls).unwrap_or(u64::MAX)
    }
}

/// What a leg carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// PCMU or PCMA, passed on as it is.
    G711,
    /// PCMU on one side, PCMA on the other.
    G711Transcoded,
    G722,
    G729,
    /// Relayed, with so many payload bytes per packet.
    Payload(u16),
}

impl Codec {
    /// Payload of one packet, in bytes.
    fn payload_bytes(self, ptime_ms: u64) -> u64 {
        match self {
            // RFC 3551 §4.5.14 and §4.5.2: 64 kbit/s, 8 bytes each millisecond.
            Codec::G711 | Codec::G711Transcoded | Codec::G722 => 8 * ptime_ms,
            // RFC 3551 §4.5.6: 10 bytes for each frame of 10 ms. A packet holds whole frames.
            Codec::G729 => 10 * ptime_ms.div_ceil(10),
            Codec::Payload(bytes) => u64::from(bytes),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::G711 => f.write_str("g711"),
            Codec::G711Transcoded => f.write_str("g711-transcoded"),
            Codec::G722 => f.write_str("g722"),
            Codec::G729 => f.write_str("g729"),
            Codec::Payload(bytes) => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Codec {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        match text {
            "g711" => Ok(Codec::G711),
            "g711-transcoded" => Ok(Codec::G711Transcoded),
            "g722" => Ok(Codec::G722),
            "g729" => Ok(Codec::G729),
            _ => match text.parse() {
                Ok(bytes) if (1..=MAX_PAYLOAD_BYTES).contains(&bytes) => Ok(Codec::Payload(bytes)),
                _ => Err(MixError::Codec(text.to_owned())),
            },
        }
    }
}

/// Which share of the calls, in per cent, carries which codec. The shares add up to 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecMix(Vec<(Codec, u64)>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    #[error("{0:?} is no codec: g711, g711-transcoded, g722, g729, or 1 to {MAX_PAYLOAD_BYTES} payload bytes")]
    Codec(String),
    #[error("{0:?} is no share: CODEC=PERCENT, as in g711=90,g729=10")]
    Share(String),
    #[error("the shares add up to {0} per cent, not to 100")]
    Sum(u64),
}

impl FromStr for CodecMix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut shares = Vec::new();
        for entry in text.split(',').map(str::trim) {
            let wrong = || MixError::Share(entry.to_owned());
            let (codec, percent) = entry.split_once('=').ok_or_else(wrong)?;
            let percent = percent.parse::<u8>().map_err(|_| wrong())?;
            shares.push((codec.parse()?, u64::from(percent)));
        }
        match shares.iter().map(|(_, percent)| percent).sum() {
            100 => Ok(CodecMix(shares)),
            sum => Err(MixError::Sum(sum)),
        }
    }
}

impl fmt::Display for CodecMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (codec, percent)) in self.0.iter().enumerate() {
            write!(f, "{}{codec}={percent}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Serialize for CodecMix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The kind of calls that are planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Milliseconds of sound in a packet.
    pub ptime_ms: u64,
    pub codecs: CodecMix,
    /// IPv6 on both legs; else IPv4 on both.
    pub ipv6: bool,
    /// RTCP packets for each 1,000 RTP packets.
    pub rtcp_per_mille: u64,
    /// How long a call lasts on average, which tells how many ports rest.
    pub mean_call_s: u64,
}

impl Default for Traffic {
    /// G.711 in packets of 20 ms over IPv4, an RTCP report every 5 s, calls of three minutes.
    fn default() -> Self {
        Traffic {
            ptime_ms: 20,
            codecs: CodecMix(vec![(Codec::G711, 100)]),
            ipv6: false,
            rtcp_per_mille: 4,
            mean_call_s: 180,
        }
    }
}

impl Traffic {
    fn header_bytes(&self) -> u64 {
        ETHERNET_BYTES + if self.ipv6 { IPV6_BYTES } else { IPV4_BYTES } + UDP_BYTES
    }

    /// The mean frame of RTP, in hundredths of a byte.
    fn rtp_frame_centibytes(&self) -> u64 {
        let frame = |codec: Codec| self.header_bytes() + RTP_BYTES + codec.payload_bytes(self.ptime_ms);
        self.codecs.0.iter().map(|&(codec, percent)| percent * frame(codec)).sum()
    }

    fn transcoded_percent(&self) -> u64 {
        self.codecs.0.iter().filter(|(codec, _)| *codec == Codec::G711Transcoded).map(|(_, percent)| percent).sum()
    }

    /// `thousand` is what 1,000 RTP packets and their share of RTCP come to. A stream sends these in `ptime_ms` seconds.
    fn over_ptime(&self, thousand: u64) -> PerCall {
        PerCall { numerator: STREAMS_PER_CALL * thousand, denominator: self.ptime_ms }
    }

    /// Packets per second, one way.
    pub fn packets_per_s(&self) -> PerCall {
        self.over_ptime(1_000 + self.rtcp_per_mille)
    }

    /// Bits per second, one way, Ethernet headers included.
    pub fn bits_per_s(&self) -> PerCall {
        let rtcp_frame = self.header_bytes() + RTCP_BYTES;
        self.over_ptime(8 * (10 * self.rtp_frame_centibytes() + self.rtcp_per_mille * rtcp_frame))
    }

    /// Cycles per second on the workers: a packet is received, rewritten and sent in one go.
    pub fn cycles_per_s(&self, per_packet: u64, more_if_transcoded: u64) -> PerCall {
        let rtp = 1_000 * per_packet + 10 * more_if_transcoded * self.transcoded_percent();
        self.over_ptime(rtp + self.rtcp_per_mille * per_packet)
    }

    /// Pairs of media ports, in use or resting. A leg takes a pair, also where it multiplexes RTCP onto one port; each
    /// pair rests after its call.
    pub fn port_pairs(&self) -> PerCall {
        let mean_call_s = self.mean_call_s.max(1);
        PerCall { numerator: STREAMS_PER_CALL * (mean_call_s + PORT_REST.as_secs()), denominator: mean_call_s }
    }
}
