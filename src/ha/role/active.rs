//! Active and draining: what ends it, what a host does that woke to find its lease run out, and the planned switchover.

use std::time::Duration;

use super::{
    Ask, CONFIRM_EVERY, CONFIRM_IDLE, CONFIRM_PATIENCE, CONFIRM_SOON, HANDOVER_PATIENCE, Order, Output, Reason,
    UNANSWERED,
    claim::{all_here, elsewhere},
    machine::{Grant, Machine, State},
};
use crate::{
    base::Time,
    ha::{
        generation::Generation,
        heartbeat::{Advert, Role},
        provider::{Places, ProviderError},
    },
};

/// The next look at the addresses is due `CONFIRM_SOON` after one that says that they are gone.
const SOONER: Duration = CONFIRM_EVERY.saturating_sub(CONFIRM_SOON);

#[derive(Clone, Debug)]
pub(super) struct Active {
    pub generation: Generation,
    /// The lease ran out, noticed then: nothing is sent before it is known that nobody has taken over.
    pub revalidating: Option<Time>,
    /// The provider has answered since.
    looked: bool,
    /// The peer was silent since the addresses were last seen here.
    doubt: bool,
    looked_at: Time,
    /// When the provider last took a claim.
    pub claimed_at: Time,
    /// They were seen here since.
    pub seen_here: bool,
    /// Answers in a row that say otherwise.
    gone: u32,
}

impl Active {
    pub fn new(generation: Generation, seen_here: bool, now: Time) -> Self {
        Active {
            generation,
            revalidating: None,
            looked: false,
            doubt: false,
            looked_at: now,
            claimed_at: now,
            seen_here,
            gone: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The slow path brings the peer up to date.
    Preparing { until: Time },
    /// The peer may take over.
    Granted { since: Time, until: Time },
    /// It may no longer: this host goes on once the peer has heard so and has not.
    Withdrawn { at: Time },
    /// It has: what still comes here is forwarded until then.
    Leaving { until: Time },
}

#[derive(Debug)]
pub(super) struct Draining {
    pub active: Active,
    phase: Phase,
}

impl Machine {
    /// Whether a heartbeat that goes out now extends the lease.
    pub(super) fn may_extend(&self) -> bool {
        match &self.state {
            State::Active(active) => active.revalidating.is_none(),
            State::Draining(_) => true,
            _ => false,
        }
    }

    pub(super) fn overslept(&mut self, now: Time) {
        let active = match &self.state {
            State::Active(active) if active.revalidating.is_none() => active.clone(),
            State::Draining(draining) => {
                let active = draining.active.clone();
                self.outputs.push_back(Output::Order(Order::Resume));
                active
            }
            _ => return,
        };
        self.counters.overslept += 1;
        self.note("the lease ran out: nothing is sent before it is known that the peer has not taken over".into());
        self.end_lease();
        self.grant = Grant::None;
        self.woke_at = now;
        self.next_send = now;
        self.state = State::Active(Active { revalidating: Some(now), looked: false, ..active });
    }

    pub(super) fn step_active(&mut self, now: Time) {
        if self.outranked(now) {
            return self.stop(now, Reason::Outranked);
        }
        let State::Active(active) = &self.state else { return };
        if let Some(since) = active.revalidating {
            let generation = active.generation.clone();
            return self.revalidate(now, since, &generation);
        }
        self.look_for_addresses(now);
        let Some(flags) = self.bound(now).filter(|peer| peer.advert.role == Role::Standby).map(|p| p.advert.flags)
        else {
            return;
        };
        if self.frozen || !flags.ready {
            return;
        }
        if self.unfit.is_some() {
            self.stop(now, Reason::Fault);
        } else if flags.wants {
            self.switch_over(now, "the peer wants it");
        }
    }

    /// A higher generation is or was active; or the peer has the addresses under one, and only waits for us.
    fn outranked(&self, now: Time) -> bool {
        let (State::Active(active) | State::Draining(Draining { active, .. })) = &self.state else { return false };
        let waits = self.peer.as_ref().is_some_and(|peer| {
            let higher = (peer.advert.claim, &self.settings.peer) > (active.generation.number, &self.settings.me);
            higher && peer.advert.role == Role::Claiming && peer.advert.flags.wants && !self.silent(now)
        });
        self.term > active.generation || waits
    }

    fn revalidate(&mut self, now: Time, since: Time, generation: &Generation) {
        let peer = self.peer.clone().filter(|peer| peer.heard_at >= since && !self.silent(now));
        let goes_on = match peer {
            // Had it claimed before it answered, the answer would say so; and now it hears us.
            Some(peer) if peer.advert.role.is_passive() => peer.answered >= since || now.since(since) >= UNANSWERED,
            // A higher one claims for our silence and gives up as it hears us, or wants us to stop; a lower one stops.
            Some(peer) => {
                let lower = (peer.advert.claim, &self.settings.peer) < (generation.number, &generation.node);
                lower && peer.answered >= since
            }
            None => self.silent(now) && self.looked_for_addresses(now),
        };
        if let State::Active(active) = &mut self.state
            && goes_on
        {
            active.revalidating = None;
            self.next_send = now;
            self.note("still active: the peer has not taken over".into());
        }
    }

    /// Where the provider is a witness, it is asked before a host goes on that slept and hears nobody.
    fn looked_for_addresses(&mut self, now: Time) -> bool {
        let State::Active(active) = &mut self.state else { return false };
        if !self.settings.provider.witness || active.looked {
            return true;
        }
        active.doubt = true;
        self.look_for_addresses(now);
        false
    }

    fn look_for_addresses(&mut self, now: Time) {
        let silent = self.silent(now);
        let State::Active(active) = &mut self.state else { return };
        active.doubt |= silent;
        let every = if active.doubt { CONFIRM_EVERY } else { CONFIRM_IDLE };
        if self.settings.provider.witness && now.since(active.looked_at) >= every && !self.asked[1] {
            active.looked_at = now;
            self.ask(1, Ask::Confirm);
        }
    }

    pub(super) fn confirmed_active(&mut self, now: Time, result: Result<Places, ProviderError>) {
        let silent = self.silent(now);
        let peer_passive = self.bound(now).is_some_and(|peer| peer.advert.role.is_passive());
        let State::Active(active) = &mut self.state else { return };
        match result {
            Err(_) => active.looked = true,
            Ok(places) if all_here(&places) => {
                active.looked = true;
                active.doubt &= silent;
                (active.seen_here, active.gone) = (true, 0);
            }
            // The API tells late of what it did, and not the same to everybody: lately claimed, they are believed gone if it
            // says so twice after it has said that they were here.
            Ok(_) if now.since(active.claimed_at) < CONFIRM_PATIENCE && (!active.seen_here || active.gone == 0) => {
                active.gone += 1;
                active.doubt = true;
                active.looked_at = Time::from_micros(now.as_micros().saturating_sub(SOONER.as_micros() as u64));
            }
            Ok(places) if elsewhere(&places).is_some() && !peer_passive => self.stop(now, Reason::AddressesGone),
            Ok(_) => {
                let ask = Ask::Claim(active.generation.clone());
                self.note("the addresses are not here, and the peer does not want them: they are claimed again".into());
                self.ask(0, ask);
            }
        }
    }

    pub(super) fn switch_over(&mut self, now: Time, why: &str) {
        let State::Active(active) = &self.state else { return };
        let ready = self.bound(now).is_some_and(|p| p.advert.role == Role::Standby && p.advert.flags.ready);
        if !ready || self.frozen || active.revalidating.is_some() {
            return self.note(format!("no switchover, though {why}: the peer is not ready, or this host is frozen"));
        }
        let phase = Phase::Preparing { until: now + HANDOVER_PATIENCE };
        let active = active.clone();
        self.note(format!("switchover: {why}"));
        self.outputs.push_back(Output::Order(Order::Prepare));
        self.enter(now, State::Draining(Draining { active, phase }));
    }

    pub(super) fn drain_prepared(&mut self, now: Time) {
        let patience = HANDOVER_PATIENCE * if self.settings.provider.claims { 5 } else { 1 };
        let State::Draining(draining) = &mut self.state else { return };
        if matches!(draining.phase, Phase::Preparing { .. }) {
            draining.phase = Phase::Granted { since: now, until: now + patience };
            self.grant = Grant::Given;
            self.outputs.push_back(Output::Order(Order::Drain));
        }
    }

    pub(super) fn step_draining(&mut self, now: Time) {
        let (outranked, silent) = (self.outranked(now), self.silent(now));
        let bound = self.bound(now).map(|peer| (peer.answered, peer.advert));
        let passive = |advert: Advert| advert.role.is_passive();
        let State::Draining(draining) = &mut self.state else { return };
        match draining.phase {
            Phase::Preparing { .. } if outranked => self.stop(now, Reason::Outranked),
            Phase::Granted { .. } | Phase::Withdrawn { .. } if outranked => {
                self.grant = Grant::None;
                draining.phase = Phase::Leaving { until: now + self.settings.drain };
            }
            Phase::Leaving { until } if now >= until || silent => self.stop(now, Reason::Switchover),
            Phase::Preparing { until } if now >= until || silent => self.resume(now),
            Phase::Granted { .. } | Phase::Withdrawn { .. } if silent => self.resume(now),
            Phase::Granted { since, until } => {
                let declined =
                    bound.is_some_and(|(answered, advert)| answered >= since && passive(advert) && !advert.flags.ready);
                if now >= until || declined {
                    draining.phase = Phase::Withdrawn { at: now };
                    self.grant = Grant::None;
                }
            }
            Phase::Withdrawn { at } => {
                let heard = bound.is_some_and(|(answered, advert)| answered >= at && passive(advert));
                if heard || now.since(at) >= UNANSWERED {
                    self.resume(now);
                }
            }
            Phase::Preparing { .. } | Phase::Leaving { .. } => {}
        }
    }

    fn resume(&mut self, now: Time) {
        let State::Draining(draining) = &self.state else { return };
        let active = draining.active.clone();
        self.grant = Grant::None;
        self.note("the switchover did not come about: still active".into());
        self.outputs.push_back(Output::Order(Order::Resume));
        self.enter(now, State::Active(active));
    }
}
