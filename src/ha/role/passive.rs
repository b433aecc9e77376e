//! Starting and standby: when to take over, and when to let the peer.

use super::{
    Cause, START_PATIENCE,
    machine::{Grant, Machine, Peer, State},
};
use crate::{base::Time, ha::heartbeat::Role};

impl Machine {
    pub(super) fn step_passive(&mut self, now: Time) {
        self.reserve(now, self.seen.saturating_add(1));
        let Some(peer) = self.peer.clone().filter(|_| !self.silent(now)) else { return self.without_peer(now) };
        if peer.advert.role.is_active() {
            self.grant = Grant::None;
            self.acquainted(now);
            // It was granted to a process that had every call; the one that hears of it may have started since.
            let ready = self.able() && self.synced;
            if peer.advert.flags.grant && ready && now >= self.claim_after && self.bound(now).is_some() {
                self.claim(now, Cause::Switchover, self.settings.detection());
            }
        } else if self.bound(now).is_some() {
            self.acquainted(now);
            self.both_passive(now, &peer);
        }
    }

    /// Nobody is heard. A host that starts has not heard its peer yet, and waits longer: getting acquainted takes time. So
    /// does one that has no calls to go on with: the peer may only sleep, and wake with all of them.
    fn without_peer(&mut self, now: Time) {
        let starting = matches!(self.state, State::Starting);
        let cause = if starting { Cause::Alone } else { Cause::Silence };
        let patience = if starting || !self.has_calls() { START_PATIENCE } else { self.settings.detection() };
        let held = now < self.gone_until;
        if self.quiet(now, patience) && self.able() && !held {
            self.grant = Grant::None;
            self.claim(now, cause, patience);
        }
    }

    /// It was heard: from now on its silence tells, without the patience of a start.
    fn acquainted(&mut self, now: Time) {
        if matches!(self.state, State::Starting) {
            self.enter(now, State::Standby);
        }
    }

    /// Neither is active, and each has heard the other: one of them decides.
    fn both_passive(&mut self, now: Time, peer: &Peer) {
        if !self.authority() {
            if peer.advert.flags.grant && self.able() && now >= self.claim_after {
                self.claim(now, Cause::Handover, self.settings.detection());
            }
            return;
        }
        if self.prefers(now, peer) {
            self.grant = Grant::Given;
            return;
        }
        // A peer that claims because we were silent gives up as soon as it hears us.
        let passive = peer.advert.role.is_passive();
        if passive && self.able() && now >= self.claim_after && self.may_decide_for_itself(now, peer) {
            self.claim(now, Cause::Elected, self.settings.detection());
        }
    }

    /// Whether the peer is the better one to be active. One that has the addresses already is.
    pub(super) fn prefers(&self, now: Time, peer: &Peer) -> bool {
        let flags = peer.advert.flags;
        if peer.advert.role == Role::Claiming {
            return flags.wants || self.grant == Grant::Given;
        }
        let own = self.eligible(now);
        flags.eligible && (!own || (flags.has_calls() && !self.has_calls()))
    }

    /// A grant that the peer may still act on keeps this host from acting.
    fn may_decide_for_itself(&mut self, now: Time, peer: &Peer) -> bool {
        match self.grant {
            Grant::None => true,
            Grant::Given => {
                self.grant = Grant::Withdrawn { at: now };
                false
            }
            Grant::Withdrawn { at } if peer.answered >= at && peer.advert.role.is_passive() => {
                self.grant = Grant::None;
                true
            }
            Grant::Withdrawn { .. } => false,
        }
    }

    /// A standby that asks to be active: as the operator wants, or by preemption.
    pub(super) fn wants(&self, now: Time) -> bool {
        match &self.state {
            State::Claiming(claim) => claim.wants,
            State::Standby => now < self.wants_until || self.preempts(now),
            _ => false,
        }
    }

    fn preempts(&self, now: Time) -> bool {
        let peer_would_too = self.peer.as_ref().is_none_or(|peer| peer.advert.flags.preempts);
        let steady = self.ready_since.is_some_and(|since| now.since(since) >= self.settings.hold_down);
        self.settings.preempt && !peer_would_too && steady
    }
}
