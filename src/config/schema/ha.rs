//! `[ha]`: the pair that this host is one of. Values only; `docs/ha.md` says what they do.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::ha_ec2::HaEc2;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ha {
    /// `node.name` of the other host.
    pub peer: String,
    /// Holds what both hosts and nobody else know; the loader puts it into `key`.
    pub key_file: PathBuf,
    #[serde(skip)]
    pub key: PairKey,
    #[serde(default = "default_heartbeat")]
    pub heartbeat_ms: u32,
    /// So many heartbeats missed on all paths say that the peer is gone.
    #[serde(default = "default_misses")]
    pub misses: u32,
    /// How long a caller's 200 waits for the standby.
    #[serde(default = "default_commit")]
    pub commit_ms: u32,
    /// After a planned switchover: how long the old side forwards what still comes there.
    #[serde(default = "default_drain")]
    pub drain_ms: u32,
    /// After this host stopped being active.
    #[serde(default = "default_hold_down")]
    pub hold_down_ms: u32,
    #[serde(default)]
    pub preempt: bool,
    /// Where the generation is kept.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    #[serde(default)]
    pub provider: HaProvider,
    /// With `provider = "ec2"`: how it moves each of them.
    #[serde(default)]
    pub ec2: Option<HaEc2>,
    /// The TCP connection over which calls are copied.
    pub replication: HaLink,
    /// Where heartbeats go, over UDP.
    #[serde(rename = "path")]
    pub paths: Vec<HaLink>,
}

/// One address of each host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaLink {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// What moves the floating addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HaProvider {
    /// Nothing: something else does, or there are none.
    #[default]
    None,
    /// Gratuitous ARP and unsolicited neighbour advertisements.
    Garp,
    /// The EC2 API.
    Ec2,
}

impl HaProvider {
    pub fn as_str(self) -> &'static str {
        match self {
            HaProvider::None => "none",
            HaProvider::Garp => "garp",
            HaProvider::Ec2 => "ec2",
        }
    }
}

/// What both hosts of a pair know. It is read and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PairKey(Vec<u8>);

impl PairKey {
    /// An HMAC-SHA256 key as long as its output (RFC 2104 §3).
    pub const SHORTEST: usize = 32;

    pub fn new(bytes: Vec<u8>) -> Self {
        PairKey(bytes)
    }

    /// The key itself. Whoever asks for it derives a key of its own from it, and lets it go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKey")
    }
}

fn default_heartbeat() -> u32 {
    20
}

fn default_misses() -> u32 {
    4
}

fn default_commit() -> u32 {
    50
}

fn default_drain() -> u32 {
    200
}

fn default_hold_down() -> u32 {
    3_000
}

fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/tandem/ha.json")
}
