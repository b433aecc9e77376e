//! Trunks as the operator and the metrics see them. Slow-path thread; plain values.

use super::{AuthResult, Direction, limits::Reached};
use crate::{
    config::{Policy, TrunkLimits},
    sip::{endpoint::Core, register::RegistrationView},
};

#[derive(Clone, Debug, PartialEq)]
pub struct TrunkView {
    pub name: String,
    pub policy: Policy,
    pub limits: TrunkLimits,
    /// In progress, from it and to it.
    pub calls: [u32; 2],
    /// Refused since the start: direction, limit, count.
    pub refused: Vec<(Direction, &'static str, u64)>,
    pub destinations: Vec<DestinationView>,
    /// Since the start, by what it came to; none without an account.
    pub auth: Vec<(AuthResult, u64)>,
    /// None: tandem does not register with it.
    pub registration: Option<RegistrationView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DestinationView {
    pub uri: String,
    pub priority: u16,
    pub weight: u16,
    /// None: nobody asks, or nothing came of it yet.
    pub up: Option<bool>,
    /// How long it has been so, if that ever changed.
    pub for_s: Option<u64>,
    /// Since the start: to up, to down.
    pub changes: [u64; 2],
    pub calls: u32,
}

impl TrunkView {
    pub(in crate::sip) fn all(core: &Core, now: crate::base::Time) -> Vec<TrunkView> {
        core.config.trunks.iter().filter_map(|trunk| TrunkView::of(core, trunk, now)).collect()
    }

    fn of(core: &Core, trunk: &crate::config::Trunk, now: crate::base::Time) -> Option<TrunkView> {
        let state = core.live.trunks.get(&trunk.name)?;
        let refused = Direction::BOTH.into_iter().flat_map(|direction| {
            let counts = Reached::NAMES.into_iter().zip(state.refused(direction));
            counts.map(move |(limit, count)| (direction, limit, count))
        });
        let destinations = trunk.destinations.iter().filter_map(|to| {
            let known = state.destinations.get(&to.uri)?;
            Some(DestinationView {
                uri: to.uri.clone(),
                priority: to.priority,
                weight: to.weight,
                up: known.health.is_known().then(|| known.health.is_up()),
                for_s: known.health.since().map(|since| now.since(since).as_secs()),
                changes: known.changes,
                calls: known.calls,
            })
        });
        Some(TrunkView {
            name: trunk.name.clone(),
            policy: trunk.policy,
            limits: trunk.limits.clone(),
            calls: Direction::BOTH.map(|direction| state.calls(direction)),
            refused: refused.collect(),
            destinations: destinations.collect(),
            auth: match trunk.auth {
                Some(_) => AuthResult::ALL.into_iter().zip(state.auth).collect(),
                None => Vec::new(),
            },
            registration: trunk.register.as_ref().and_then(|rule| {
                let registration = core.live.registrations.get(&trunk.name)?;
                Some(RegistrationView::of(rule, registration, now))
            }),
        })
    }
}
