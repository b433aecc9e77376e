//! Requests, answers and rows, shared by both ends of the admin socket. Times are Unix milliseconds, durations seconds.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    base::ids::Side,
    control::{Local, SessionReport},
    ha::link::PairStatus,
};

/// Rows that one answer may carry.
pub const MAX_ROWS: u32 = 10_000;
/// Rows that it carries if the request does not say.
pub const DEFAULT_ROWS: u32 = 200;

fn default_rows() -> u32 {
    DEFAULT_ROWS
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", deny_unknown_fields)]
pub enum AdminRequest {
    #[serde(rename = "calls.list")]
    CallsList {
        #[serde(default = "default_rows")]
        limit: u32,
    },
    /// `id` is a call's id, or the beginning of one that no other call shares.
    #[serde(rename = "calls.show")]
    CallsShow { id: String },
    /// Ends a call: BYE on both sides, or CANCEL and a final answer if it is not answered.
    #[serde(rename = "calls.hangup")]
    CallsHangup { id: String },
    #[serde(rename = "bans.list")]
    BansList {
        #[serde(default = "default_rows")]
        limit: u32,
    },
    /// Shuts a network out from SIP. `for_s` absent: `sip.protection.ban_s`.
    #[serde(rename = "bans.add")]
    BansAdd {
        network: IpNet,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_s: Option<u64>,
    },
    /// Lifts the ban of exactly this network.
    #[serde(rename = "bans.remove")]
    BansRemove { network: IpNet },
    #[serde(rename = "flows.list")]
    FlowsList {
        #[serde(default = "default_rows")]
        limit: u32,
    },
    #[serde(rename = "ports.list")]
    PortsList {},
    #[serde(rename = "trunks.list")]
    TrunksList {},
    /// No new calls; those in progress end by themselves, or after `deadline_s` with a BYE. Absent: `node.drain_s`.
    #[serde(rename = "drain")]
    Drain {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_s: Option<u64>,
    },
    /// Reads certificates and keys again.
    #[serde(rename = "tls.reload")]
    TlsReload {},
    /// The pair as this host sees it.
    #[serde(rename = "ha.status")]
    HaStatus {},
    /// The standby becomes active; asked on either host, answered before it has happened.
    #[serde(rename = "ha.switchover")]
    HaSwitchover {},
    /// This host takes nothing over and hands nothing over.
    #[serde(rename = "ha.freeze")]
    HaFreeze {},
    /// It takes part again.
    #[serde(rename = "ha.join")]
    HaJoin {},
    #[serde(rename = "status")]
    Status {},
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminResponse {
    Ok(Answer),
    /// A sentence for the person who asked.
    Error(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Calls(Listing<CallRow>),
    Call(Box<CallDetail>),
    /// The call that is being ended.
    Hangup(CallRow),
    Bans(Listing<BanRow>),
    /// The ban that was set, or lifted.
    Ban(BanRow),
    Flows(Listing<FlowRow>),
    Ports(Listing<PortRow>),
    Trunks(Listing<TrunkRow>),
    Drain(DrainState),
    /// Our own, as they were loaded.
    Certificates(Listing<CertificateRow>),
    Ha(Box<PairStatus>),
    Status(Status),
}

/// The first rows of `total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing<T> {
    pub total: u64,
    pub rows: Vec<T>,
}

/// A certificate that tandem shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    pub file: PathBuf,
    pub expires_unix_s: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// No provisional answer from the called side yet.
    Trying,
    Ringing,
    Answered,
    Held,
    /// BYE or CANCEL is under way.
    Ending,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRow {
    /// tandem's id of the call, as in its record.
    pub id: String,
    /// Call-ID of side A.
    pub call_id: String,
    pub state: CallState,
    /// User part or URI of who called and who is called.
    pub from: String,
    pub to: String,
    pub from_trunk: String,
    /// None before a destination is chosen.
    pub to_trunk: Option<String>,
    pub started_unix_ms: u64,
    /// Since the 200; None before.
    pub answered_s: Option<f64>,
    /// Codec of side A and side B.
    pub codecs: [Option<String>; 2],
}

/// A network that is shut out from SIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanRow {
    pub network: IpNet,
    /// `operator`, or the offence: `scanner`, `unknown_caller`, `malformed`, `limit`.
    pub reason: String,
    pub since_unix_ms: u64,
    pub until_unix_ms: u64,
    /// Messages that it kept out.
    pub hits: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    pub call: CallRow,
    /// Side A, side B.
    pub legs: [LegDetail; 2],
    /// None before media is opened.
    pub media: Option<SessionReport>,
}

/// One side's signalling and where its media goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegDetail {
    pub trunk: Option<String>,
    pub call_id: Option<String>,
    /// The dialog's remote target.
    pub remote_uri: Option<String>,
    /// Where its signalling goes, and over what.
    pub remote: Option<SocketAddr>,
    pub transport: Option<String>,
    /// What tandem allotted on this side.
    pub local_media: Option<Local>,
    /// Where its session description wants RTP.
    pub remote_rtp: Option<SocketAddr>,
    pub on_hold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    Rtp,
    Rtcp,
    /// Both on one port, RFC 5761.
    Mux,
}

/// One direction of one stream: what arrives at `local` from side `side`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRow {
    pub session: String,
    pub call_id: String,
    pub side: Side,
    pub kind: FlowKind,
    pub local: SocketAddr,
    /// Who is admitted; None before the remote is known.
    pub source: Option<SocketAddr>,
    /// Where it is sent.
    pub destination: Option<SocketAddr>,
    /// Empty, or why nothing is forwarded: no neighbour, on hold.
    #[serde(default)]
    pub not_ready: String,
    pub transcode: Option<String>,
    /// The worker that owns the state line.
    pub worker: Option<u8>,
    pub packets: u64,
    pub bytes: u64,
    pub lost: i64,
    pub jitter_ms: f64,
    pub dropped: u64,
    pub off_owner: u64,
}

/// A count under its reason or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortRow {
    pub name: String,
    pub device: String,
    pub driver: String,
    /// `02:00:00:00:00:10`.
    pub mac: String,
    pub mtu: u16,
    pub link_up: bool,
    /// The TAP through which the kernel sees it.
    pub exception: String,
    pub rx_queues: u16,
    pub tx_queues: u16,
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// By reason, over all workers; reasons that occurred.
    pub drops: Vec<Named>,
    pub punts: Vec<Named>,
    pub xstats: Vec<Named>,
}

/// A trunk: its calls, its limits and where calls to it go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkRow {
    pub name: String,
    /// Calls in progress from it and to it.
    pub calls_in: u32,
    pub calls_out: u32,
    /// `order`, `weighted`, `round_robin` or `least_calls`.
    pub policy: String,
    /// Those that are set.
    pub limits: Vec<Named>,
    /// Since the start, by direction and limit: `in max_calls`. Those that occurred.
    pub refused: Vec<Named>,
    pub destinations: Vec<DestinationRow>,
    /// None: tandem does not register with it.
    pub registration: Option<RegistrationRow>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistrationRow {
    pub aor: String,
    pub registrar: String,
    pub registered: bool,
    /// Until it runs out.
    pub expires_in_s: Option<u64>,
    /// Until the next REGISTER; None: one is under way, or none follows.
    pub next_in_s: Option<u64>,
    /// What the last one came to: `accepted`, `unauthorized`, …
    pub last: Option<String>,
    /// Since the start, by what they came to. Those that occurred.
    pub attempts: Vec<Named>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationRow {
    pub uri: String,
    pub priority: u16,
    pub weight: u16,
    /// None: nobody asks, or nothing came of it yet.
    pub up: Option<bool>,
    /// How long it has been so, if that ever changed.
    pub for_s: Option<u64>,
    /// Changes since the start.
    pub changes: u64,
    pub calls: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    pub calls: u64,
    /// When the calls that are left get a BYE.
    pub deadline_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node: String,
    pub version: String,
    pub uptime_s: u64,
    pub calls: u64,
    pub draining: bool,
    /// What stands against readiness; empty: ready.
    pub objections: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_documented() {
        let read = |text: &str| serde_json::from_str::<AdminRequest>(text);
        assert_eq!(read(r#"{"command":"calls.list"}"#).unwrap(), AdminRequest::CallsList { limit: DEFAULT_ROWS });
        assert_eq!(read(r#"{"command":"calls.show","id":"c1"}"#).unwrap(), AdminRequest::CallsShow { id: "c1".into() });
        assert_eq!(read(r#"{"command":"ports.list"}"#).unwrap(), AdminRequest::PortsList {});
        assert_eq!(
            read(r#"{"command":"drain","deadline_s":30}"#).unwrap(),
            AdminRequest::Drain { deadline_s: Some(30) }
        );
        assert_eq!(read(r#"{"command":"drain"}"#).unwrap(), AdminRequest::Drain { deadline_s: None });
        assert!(read(r#"{"command":"ports.list","id":"x"}"#).is_err());
        assert!(read(r#"{"command":"reboot"}"#).is_err());
        let network = "203.0.113.0/24".parse().unwrap();
        assert_eq!(
            read(r#"{"command":"bans.add","network":"203.0.113.0/24","for_s":60}"#).unwrap(),
            AdminRequest::BansAdd { network, for_s: Some(60) }
        );
        assert_eq!(
            read(r#"{"command":"bans.remove","network":"203.0.113.0/24"}"#).unwrap(),
            AdminRequest::BansRemove { network }
        );
    }

    #[test]
    fn responses_write_as_documented() {
        let state = DrainState { calls: 3, deadline_s: 600 };
        assert_eq!(
            serde_json::to_string(&AdminResponse::Ok(Answer::Drain(state))).unwrap(),
            r#"{"ok":{"drain":{"calls":3,"deadline_s":600}}}"#
        );
        assert_eq!(
            serde_json::to_string(&AdminResponse::Error("no call has the id c9".into())).unwrap(),
            r#"{"error":"no call has the id c9"}"#
        );
    }
}
