//! An endpoint made of what another host sent of its own (`journal`). Slow-path thread.
//!
//! Not sent, and so not here: counters, randomness (a new seed each time, so that no two hosts ever draw the same tags),
//! connections, which die with their host, and whether that host was draining, which is its own affair.

use std::{collections::HashMap, sync::Arc};

use super::{
    CallId, Clock, Core, Endpoint, Level,
    core::Live,
    journal::{Basics, Key, SavedClient, SavedServer, SavedTrunk, Shadow},
    random::{Random, Seed},
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
        pack::unpack,
    },
    config::Config,
    sip::{
        auth::server::Nonces,
        b2bua::{
            Call,
            call::{LegState, Phase},
        },
        flow::{Local, Relocation},
        guard::Ban,
        outside::SavedSubscription,
    },
};

impl Endpoint {
    /// Goes on with what `shadow` says, on a process whose clock shows `now`. Timers that came due since it was last told
    /// something fire at the next `tick`. An empty one makes an endpoint that begins.
    pub fn from_shadow(config: Arc<Config>, seed: Seed, now: Time, epoch_ms: u64, shadow: &Shadow) -> Endpoint {
        if shadow.is_empty() {
            return Endpoint::new(config, seed, now, epoch_ms);
        }
        let mut random = Random::new(seed);
        let mut live = Live::new(&config, &mut random);
        let mut unread = 0usize;
        let mut listeners = Vec::new();
        if let Some(basics) = read::<Basics>(shadow, &Key::Basics, &mut unread) {
            live.cookie = basics.cookie;
            live.tx.skip_numbers(basics.last_transaction);
            live.subscriptions.skip_numbers(basics.last_subscription);
            live.nonces = Nonces::with(basics.nonces);
            listeners = basics.listeners;
        }
        let here = Relocation::new(&listeners, &Local::from_config(&config));
        let (mut calls, mut bans, mut records) = (HashMap::new(), Vec::new(), Vec::new());
        for key in shadow.entries.keys() {
            let unread = &mut unread;
            match key {
                Key::Basics => {}
                Key::Trunk(name) => {
                    let Some(saved) = read::<SavedTrunk>(shadow, key, unread) else { continue };
                    saved.state.into_iter().for_each(|state| live.trunks.adopt(name.clone(), state));
                    live.spaces.extend(saved.spaces.map(|spaces| (name.clone(), spaces)));
                    saved.registration.into_iter().for_each(|one| live.registrations.adopt(name.clone(), one));
                }
                Key::Call(id) => calls.extend(read::<Box<Call>>(shadow, key, unread).map(|call| (*id, call))),
                Key::Client(id) => {
                    let Some(mut saved) = read::<SavedClient>(shadow, key, unread) else { continue };
                    saved.entry.user.relocate(&here);
                    live.tx.adopt_client(*id, saved.entry, &here);
                    live.unwanted.set(*id, saved.unwanted);
                }
                Key::Server(id) => {
                    let Some(entry) = read::<SavedServer>(shadow, key, unread) else { continue };
                    live.tx.adopt_server(*id, entry, &here);
                }
                Key::Subscription(id) => {
                    let Some(saved) = read::<SavedSubscription>(shadow, key, unread) else { continue };
                    live.subscriptions.adopt(*id, saved, &here);
                }
                Key::Nonce(stamp) => {
                    let Some(counts) = read(shadow, key, unread) else { continue };
                    live.nonces.adopt(stamp.clone(), counts);
                }
                Key::Ban(net) => bans.extend(read::<Ban>(shadow, key, unread).map(|ban| (*net, ban))),
                Key::Record(_) => records.extend(read(shadow, key, unread)),
            }
        }
        let clock = Clock::new(now, shadow.at + now.since(shadow.heard), epoch_ms);
        let mut endpoint = Endpoint::with(Core::with_state(config, random, clock, live));
        bans.into_iter().for_each(|(net, ban)| endpoint.core.guard.book_mut().put(net, ban));
        calls.into_iter().for_each(|(id, call)| endpoint.adopt(id, call, &here));
        // Nobody knows whether they reached the other host's disk: once too often does no harm.
        records.into_iter().for_each(|record| endpoint.core.write_record(record));
        if unread > 0 {
            let text = format!("{unread} entries of the other host's state could not be read");
            endpoint.core.log(Level::Warn, None, None, text);
        }
        endpoint
    }

    /// Whether the media session is a call's.
    pub fn has_session(&self, id: SessionId) -> bool {
        self.core.live.sessions.contains_key(&id)
    }

    /// The media sessions of the calls.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.core.live.sessions.keys().copied()
    }

    /// A call of another host, and what leads to it.
    fn adopt(&mut self, id: CallId, mut call: Box<Call>, here: &Relocation) {
        call.relocate(here, &self.core.config);
        let live = &mut self.core.live;
        live.active += u32::from(call.phase != Phase::Ended);
        for side in Side::BOTH {
            if let Some(leg) = call.leg(side).filter(|leg| leg.state != LegState::Gone) {
                live.dialogs.insert(leg.dialog.key(), (id, side));
            }
        }
        if let Some(media) = &call.media {
            live.sessions.insert(media.session.id, id);
        }
        self.keep(call);
    }
}

fn read<T: serde::de::DeserializeOwned>(shadow: &Shadow, key: &Key, unread: &mut usize) -> Option<T> {
    let value = unpack(shadow.entries.get(key)?);
    *unread += usize::from(value.is_none());
    value
}
