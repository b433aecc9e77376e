//! On the way to be active: the addresses come here, and what allowed the claim must still hold when they are. The
//! generation must be on disk, and as a rule is: a passive host reserves the next one, so that a takeover waits for no disk.

use std::time::Duration;

use super::{
    Ask, CONFIRM_PATIENCE, CONFIRM_SOON, Cause, GONE, Order, Output, RETRY,
    active::Active,
    machine::{Grant, Machine, State},
};
use crate::{
    base::Time,
    ha::{
        generation::Generation,
        heartbeat::Role,
        provider::{Place, Places, ProviderError},
    },
};

/// How far the provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    /// To be asked for from then on.
    Wanted(Time),
    Asked,
    /// The provider took the claim then, and is to confirm it.
    Taken(Time),
    Here,
    /// The provider took the claim and could not be asked what came of it.
    Presumed,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub generation: Generation,
    cause: Cause,
    last_heard: Time,
    decided_at: Time,
    /// The silence of the peer that allows it.
    patience: Duration,
    addresses: Addresses,
    next_confirm: Time,
    /// The addresses may be here and cannot be given back, and the peer is heard: it is asked to let us.
    pub wants: bool,
}

impl Machine {
    pub(super) fn claim(&mut self, now: Time, cause: Cause, patience: Duration) {
        self.seen = self.seen.saturating_add(1);
        let generation = Generation { number: self.seen, node: self.settings.me.clone() };
        self.note(format!("to be active ({}): generation {generation}", cause.as_str()));
        let last_heard = self.peer.as_ref().filter(|_| cause == Cause::Silence).map_or(now, |peer| peer.heard_at);
        let addresses = if self.settings.provider.claims { Addresses::Wanted(now) } else { Addresses::Here };
        let claim = Claim {
            generation,
            cause,
            last_heard,
            decided_at: now,
            patience,
            addresses,
            next_confirm: now,
            wants: false,
        };
        self.enter(now, State::Claiming(claim));
    }

    pub(super) fn step_claim(&mut self, now: Time) {
        let State::Claiming(claim) = &self.state else { return };
        if self.term > claim.generation {
            // A host that started has chosen without having heard of it. What its request may have moved, the active host
            // takes back.
            return self.abandon(now, "the peer is or was active under a higher generation");
        }
        let on_disk = self.reserve(now, claim.generation.number);
        self.ask_for_addresses(now);
        let allowed = self.allowed(now);
        let State::Claiming(claim) = &mut self.state else { return };
        if allowed {
            claim.wants = false;
            if on_disk && matches!(claim.addresses, Addresses::Here | Addresses::Presumed) {
                self.activate(now);
            }
            return;
        }
        self.reconsider(now);
    }

    /// What may make a host active, looked at anew: none of it may have passed while the disk or the provider took its time.
    fn allowed(&self, now: Time) -> bool {
        let State::Claiming(claim) = &self.state else { return false };
        let granted = self.bound(now).is_some_and(|peer| peer.advert.flags.grant);
        let decides = self.authority() && self.grant == Grant::None;
        // The peer may have become the better one, unless the addresses may be on their way already.
        let better = |peer| !self.committed(claim) && self.prefers(now, peer);
        let elected = decides && self.bound(now).is_some_and(|peer| peer.advert.role.is_passive() && !better(peer));
        self.quiet(now, claim.patience) || granted || elected
    }

    /// The provider may have moved the addresses.
    fn committed(&self, claim: &Claim) -> bool {
        self.settings.provider.claims && !matches!(claim.addresses, Addresses::Wanted(_))
    }

    /// Nothing allows the claim at the moment: the peer is heard again.
    fn reconsider(&mut self, now: Time) {
        let Some(peer) = self.peer.clone().filter(|_| !self.silent(now)) else { return };
        let State::Claiming(claim) = &self.state else { return };
        let committed = self.committed(claim);
        let State::Claiming(claim) = &mut self.state else { return };
        let number = claim.generation.number;
        let both_claim = peer.advert.role == Role::Claiming;
        let outranked = both_claim && (peer.advert.claim, &self.settings.peer) > (number, &self.settings.me);
        if committed && !outranked {
            // Until the provider has answered, nobody knows whether it is worth the peer's stopping.
            claim.wants = claim.addresses != Addresses::Asked;
        } else if both_claim || peer.advert.role.is_active() || self.bound(now).is_some() {
            self.abandon(now, "the peer is heard again");
        }
    }

    fn abandon(&mut self, now: Time, why: &str) {
        self.counters.abandoned += 1;
        self.note(format!("the claim is given up: {why}"));
        self.enter(now, State::Standby);
    }

    fn activate(&mut self, now: Time) {
        let State::Claiming(claim) = &self.state else { return };
        let (generation, cause) = (claim.generation.clone(), claim.cause);
        let seen_here = claim.addresses == Addresses::Here;
        let order = Order::Activate {
            generation: generation.clone(),
            cause,
            last_heard: claim.last_heard,
            detected_at: claim.decided_at,
        };
        self.note(format!("active: generation {generation}"));
        self.counters.takeovers[cause as usize] += 1;
        self.term = generation.clone();
        // From now on it is the one that others synchronise with.
        (self.synced, self.whole) = (false, false);
        self.grant = Grant::None;
        self.wants_until = Time::ZERO;
        self.enter(now, State::Active(Active::new(generation, seen_here, now)));
        // The heartbeat with the lease, and then the order: media flows before anything else happens.
        self.send(now);
        self.outputs.push_back(Output::Order(order));
    }

    fn ask_for_addresses(&mut self, now: Time) {
        let State::Claiming(claim) = &mut self.state else { return };
        match claim.addresses {
            Addresses::Wanted(at) if now >= at && !self.asked[0] => {
                claim.addresses = Addresses::Asked;
                let ask = Ask::Claim(claim.generation.clone());
                self.ask(0, ask);
            }
            Addresses::Taken(_) if now >= claim.next_confirm && !self.asked[1] => {
                claim.next_confirm = now + CONFIRM_SOON;
                self.ask(1, Ask::Confirm);
            }
            _ => {}
        }
    }

    pub(super) fn claim_taken(&mut self, now: Time, result: Result<(), ProviderError>) {
        let failed = result.err();
        if let Some(why) = &failed {
            self.note(format!("the provider does not move the addresses: {why}"));
        }
        let silent = self.silent(now);
        match (&mut self.state, failed) {
            (State::Claiming(claim), None) if claim.addresses == Addresses::Asked => {
                claim.next_confirm = now;
                claim.addresses = Addresses::Taken(now);
            }
            (State::Claiming(claim), Some(why)) if claim.addresses == Addresses::Asked => {
                claim.addresses = Addresses::Wanted(now + RETRY);
                self.rehearsed = Some(Err(why.to_string()));
                self.claim_after = now + RETRY;
                if !silent {
                    self.abandon(now, "the peer may be able to");
                }
            }
            (State::Active(active), None) => (active.claimed_at, active.seen_here) = (now, false),
            _ => {}
        }
    }

    pub(super) fn confirmed(&mut self, now: Time, result: Result<Places, ProviderError>) {
        self.counters.unconfirmed += u64::from(result.is_err());
        let State::Claiming(claim) = &mut self.state else { return self.confirmed_active(now, result) };
        let Addresses::Taken(since) = claim.addresses else { return };
        let late = now.since(since) >= CONFIRM_PATIENCE;
        match result {
            Ok(places) if all_here(&places) => claim.addresses = Addresses::Here,
            // It took the claim and does not say more: who waits on serves nobody.
            Err(_) if late => claim.addresses = Addresses::Presumed,
            Ok(places) if late && elsewhere(&places).is_some() => {
                let holder = elsewhere(&places).unwrap_or_default().to_owned();
                self.gone_until = now + GONE * self.flapping(now);
                self.abandon(now, &format!("the addresses are with {holder}, which claimed them later"));
            }
            Ok(_) if late => claim.addresses = Addresses::Wanted(now),
            Ok(_) | Err(_) => {}
        }
    }
}

pub(super) fn all_here(places: &Places) -> bool {
    places.iter().all(|(_, place)| *place == Place::Here)
}

/// Who has one of them.
pub(super) fn elsewhere(places: &Places) -> Option<&str> {
    places.iter().find_map(|(_, place)| match place {
        Place::Elsewhere(who) => Some(who.as_str()),
        Place::Here | Place::Nowhere => None,
    })
}
