//! The endpoint's state as one value that can be written, and an endpoint made of it. Slow-path thread.
//!
//! Saved: transactions with their timers, dialogs, calls, what is drained, bans. Not saved: counters, randomness (a new seed
//! each time, so that no two hosts ever draw the same tags) and connections, which die with their host.

use std::{collections::HashMap, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    CallId, Clock, Core, Endpoint,
    core::Live,
    random::{Random, Seed},
};
use crate::{
    base::Time,
    config::Config,
    sip::{b2bua::Call, guard::Ban, outside, pairs, trunk},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// On the state's own clock.
    at: Time,
    live: Live,
    #[serde(with = "pairs")]
    calls: HashMap<CallId, Box<Call>>,
    #[serde(default)]
    bans: Vec<(IpNet, Ban)>,
}

impl Endpoint {
    pub fn save(&self, now: Time) -> Saved {
        let bans = self.core.guard.save();
        Saved { at: self.core.clock.inside(now), live: self.core.live.clone(), calls: self.calls.clone(), bans }
    }

    /// Goes on with a saved state, on a process whose clock shows `now`. The time between `save` and now has passed
    /// for it only if the caller adds it; timers that came due in between fire at the next `tick`.
    pub fn restore(config: Arc<Config>, seed: Seed, now: Time, epoch_ms: u64, saved: Saved) -> Endpoint {
        let Saved { at, mut live, mut calls, bans } = saved;
        live.tx.forget_connections();
        outside::forget_connections(&mut live.subscriptions);
        for call in calls.values_mut() {
            for leg in std::iter::once(&mut call.a).chain(&mut call.b) {
                leg.dialog.source.connection = None;
                leg.forks.iter_mut().for_each(|fork| fork.dialog.source.connection = None);
            }
            let subscription = call.transfer.as_mut().and_then(|pending| pending.subscription.as_mut());
            if let Some((dialog, _)) = subscription.and_then(|subscription| subscription.after.as_mut()) {
                dialog.source.connection = None;
            }
        }
        let mut core = Core::with_state(config, Random::new(seed), Clock::new(now, at, epoch_ms), live);
        core.guard.restore(bans);
        calls.values_mut().for_each(|call| trunk::count::note(&mut core.live.trunks, call));
        Endpoint { core, calls, waiting: Default::default() }
    }
}
