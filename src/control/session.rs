//! What passes between call control and those above it: requests, the ports allotted, reports.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Format;
use crate::{base::ids::SessionId, config::Config};

#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Names of the `[[address]]`es that may carry side A's and side B's media, in order of preference.
    pub media: [Vec<String>; 2],
    /// The Call-ID, for logs and listings.
    pub call_id: String,
}

/// Where one side's peer sends: the local address and what the peer is told instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Name of the `[[address]]`.
    pub address: String,
    /// Address and port on the wire.
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    /// What SDP says: `rtp` and `rtcp` with the advertised address.
    pub told_rtp: SocketAddr,
    pub told_rtcp: SocketAddr,
}

impl Local {
    /// It comes from another host, whose address of that name is another one; the ports are the same.
    pub fn relocate(&mut self, config: &Config) {
        let Some(here) = config.addresses.iter().find(|here| here.name == self.address) else { return };
        let told = here.advertise.unwrap_or(here.local);
        [&mut self.rtp, &mut self.rtcp].into_iter().for_each(|at| at.set_ip(here.local));
        [&mut self.told_rtp, &mut self.told_rtcp].into_iter().for_each(|at| at.set_ip(told));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    /// Indexed by `Side::index`.
    pub local: [Local; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("no free media port")]
    NoPort,
    #[error("the flow table is full")]
    TableFull,
    #[error("no media address of that name and family")]
    NoAddress,
}

/// RFC 3264 §5.1, as the side itself says it: `SendOnly` means that this side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// What one side's current session description says about the audio that tandem carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegMedia {
    /// Where this side wants RTP. None: nowhere (port 0, or not known yet).
    pub rtp: Option<SocketAddr>,
    /// Where this side wants RTCP: `a=rtcp`, else RTP's port + 1; equal to `rtp` with rtcp-mux.
    pub rtcp: Option<SocketAddr>,
    /// RFC 5761 was agreed with this side.
    pub rtcp_mux: bool,
    /// What this side may send and receive, in its order, after negotiation. At most `MAX_PT_RULES`.
    pub formats: Vec<Format>,
    pub direction: Direction,
}

impl LegMedia {
    /// Of a side that has not said anything (yet, or any more).
    pub fn nowhere() -> Self {
        LegMedia { rtp: None, rtcp: None, rtcp_mux: false, formats: Vec::new(), direction: Direction::Inactive }
    }
}

/// What becomes of one side's media whatever its description says. It belongs to the side, and goes with it where two
/// sides change places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    /// What this side sends is not forwarded, telephone events aside.
    pub media_blocked: bool,
    /// Telephone events (RFC 4733) that this side sends are not forwarded.
    pub events_blocked: bool,
    /// This side sends from elsewhere than it receives: it is sent to where its description says, also when another source
    /// is latched.
    pub asymmetric: bool,
    /// The TOS or traffic-class byte of what is sent to this side; None: as configured.
    pub tos: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Early,
    Confirmed,
}

/// Figures of one direction of one stream, as measured where it arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Admitted, whichever worker forwarded them.
    pub packets: u64,
    pub bytes: u64,
    /// RFC 3550 §A.3: expected less received.
    pub lost: i64,
    pub reordered: u64,
    pub duplicate: u64,
    /// RFC 3550 §6.4.1, in milliseconds.
    pub jitter_ms: f64,
    /// G.711 frames whose every sample is near zero.
    pub silent: u64,
    /// Of `packets`, those forwarded by a worker that does not own the state line: their order is not looked at.
    pub off_owner: u64,
    /// Refused: the source was not admitted.
    pub dropped_source: u64,
    /// Refused for any other reason.
    pub dropped_other: u64,
    /// Where packets were admitted from last.
    pub source: Option<SocketAddr>,
}

/// One side: what arrived from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegReport {
    pub rtp: StreamReport,
    pub rtcp: StreamReport,
    /// What the side's own RTCP reports say of what it received: fraction lost of 256, jitter in ms, round trip in ms.
    pub peer_fraction_lost: Option<u8>,
    pub peer_jitter_ms: Option<f64>,
    /// Of its extended reports (RFC 3611 §4.7): round trip, and the R factor (ITU-T G.107).
    pub peer_round_trip_ms: Option<u16>,
    pub peer_r_factor: Option<u8>,
    /// Encoding names in use, for records.
    pub codec: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    pub id: SessionId,
    /// Indexed by `Side::index`.
    pub legs: [LegReport; 2],
    pub transcoded: bool,
}
