//! Trunks as places that calls go to and come from: how many they take, in which order their destinations are tried,
//! and whether those live. Slow-path thread, no I/O.
//!
//! - `limits`: calls in progress and calls per second.
//! - `count`: which calls are in progress where; the only place that counts them.
//! - `choice`: the order in which destinations are tried.
//! - `health`: when a destination is up, and when it is down.
//! - `probe`: the OPTIONS that ask.
//! - `peers`: who is at the other end of a connection over TLS.
//! - `view`: what the operator is shown.
//!
//! Always holds: what a trunk and a destination count is what the calls in progress say, so that no count outlives its
//! call; a trunk is known by its name and a destination by its URI as configured, so that saved state fits a
//! configuration that has changed.

pub mod choice;
pub mod count;
pub mod health;
pub mod limits;
pub mod peers;
pub mod probe;
pub mod view;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

pub use self::{
    count::Counted,
    limits::Direction,
    peers::TlsPeer,
    view::{DestinationView, TrunkView},
};
use self::{health::Health, limits::Rates};
use super::{deadlines::Deadlines, transaction::ClientId};
use crate::{base::Time, config::Config};

/// Every trunk of the configuration, by name.
#[derive(Clone, Debug, Default)]
pub struct Trunks {
    by_name: HashMap<String, TrunkState>,
    /// When each destination is asked next: place of the trunk, place of the destination. Made from `probe_at`.
    probes: Deadlines<(u16, u16)>,
}

/// What changes about one trunk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrunkState {
    /// Calls in progress that came from it and that went to it. Not saved: the calls say it.
    #[serde(skip)]
    calls: [u32; 2],
    rates: Rates,
    /// Calls that have asked for an order so far: whose turn it is.
    turn: u32,
    destinations: BTreeMap<String, DestinationState>,
    /// What digest authentication came to since this process began, by `AuthResult`.
    #[serde(skip)]
    auth: [u64; AuthResult::ALL.len()],
    /// Refusals since this process began, by direction and limit.
    #[serde(skip)]
    refused: [[u64; limits::LIMITS]; 2],
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DestinationState {
    /// Calls in progress that went to it. Not saved.
    #[serde(skip)]
    calls: u32,
    health: Health,
    /// The OPTIONS that is under way.
    probe: Option<ClientId>,
    probe_at: Option<Time>,
    /// Changes of its health since this process began: to up, to down.
    #[serde(skip)]
    changes: [u64; 2],
}

/// What became of a challenge of the trunk (out), or of credentials that it was to show (in).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthResult {
    /// The request went out again.
    Answered,
    /// The right answer was not taken.
    Refused,
    /// Nothing in it that can be answered.
    Unknown,
    Right,
    Missing,
    Stale,
    Wrong,
}

impl AuthResult {
    pub const ALL: [AuthResult; 7] = [
        AuthResult::Answered,
        AuthResult::Refused,
        AuthResult::Unknown,
        AuthResult::Right,
        AuthResult::Missing,
        AuthResult::Stale,
        AuthResult::Wrong,
    ];

    pub const fn direction(self) -> Direction {
        match self {
            AuthResult::Answered | AuthResult::Refused | AuthResult::Unknown => Direction::Out,
            AuthResult::Right | AuthResult::Missing | AuthResult::Stale | AuthResult::Wrong => Direction::In,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            AuthResult::Answered => "answered",
            AuthResult::Refused => "refused",
            AuthResult::Unknown => "unknown",
            AuthResult::Right => "right",
            AuthResult::Missing => "missing",
            AuthResult::Stale => "stale",
            AuthResult::Wrong => "wrong",
        }
    }
}

impl Trunks {
    /// Counts one; how many there were so far.
    pub fn note_auth(&mut self, trunk: &str, result: AuthResult) -> u64 {
        let Some(state) = self.by_name.get_mut(trunk) else { return 0 };
        let count = &mut state.auth[result as usize];
        *count += 1;
        *count
    }

    /// Fits the state to the configuration: what is not configured goes, what is new begins.
    pub fn fit(&mut self, config: &Config, now: Time) {
        self.by_name.retain(|name, _| config.trunks.iter().any(|trunk| trunk.name == *name));
        for trunk in &config.trunks {
            let state = self.by_name.entry(trunk.name.clone()).or_default();
            state.destinations.retain(|uri, _| trunk.destinations.iter().any(|to| to.uri == *uri));
            for to in &trunk.destinations {
                let known = state.destinations.entry(to.uri.clone()).or_default();
                if trunk.health.is_none() {
                    // Nobody asks any more: what was last known does not hold for ever.
                    known.health = Health::default();
                    known.probe = None;
                }
            }
        }
        self.schedule(config, now);
    }

    pub fn get(&self, name: &str) -> Option<&TrunkState> {
        self.by_name.get(name)
    }

    /// What another host knew of a trunk; before `fit`.
    pub fn adopt(&mut self, name: String, state: TrunkState) {
        self.by_name.insert(name, state);
    }

    fn destination(&self, trunk: &str, uri: &str) -> Option<&DestinationState> {
        self.by_name.get(trunk)?.destinations.get(uri)
    }

    fn destination_mut(&mut self, trunk: &str, uri: &str) -> Option<&mut DestinationState> {
        self.by_name.get_mut(trunk)?.destinations.get_mut(uri)
    }
}

impl TrunkState {
    /// Calls in progress.
    pub fn calls(&self, direction: Direction) -> u32 {
        self.calls[direction.index()]
    }
}
