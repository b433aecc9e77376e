//! A media session as the standby of a pair gets it. Plain values; what is left of a time is told as its length, because
//! the two hosts have no clock in common, and addresses of ours by their names.
//!
//! Not told: the figures (they are in the workers' lines of the host that forwarded) and the workers' own state.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{LegMedia, Manner, Phase};
use crate::{base::ids::SessionId, media::latching::SavedLatch};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedMedia {
    pub call_id: String,
    pub phase: Phase,
    /// Indexed by `Side::index`.
    pub legs: [SavedLeg; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedLeg {
    /// Name of the address.
    pub address: String,
    /// The even port of the pair.
    pub port: u16,
    /// What the side's description says.
    pub media: Option<LegMedia>,
    pub latch: SavedLatch,
    /// Where the side sent from before it moved, and how long that is still admitted.
    #[serde(default)]
    pub departing: Option<(SocketAddr, Duration)>,
    #[serde(default)]
    pub rtcp_seen: Option<SocketAddr>,
    #[serde(default)]
    pub manner: Manner,
}

/// What changed since it was last asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaChanges {
    pub puts: Vec<(SessionId, SavedMedia)>,
    pub deletes: Vec<SessionId>,
}

impl MediaChanges {
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
