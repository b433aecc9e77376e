//! The sessions of a pair: what the active host tells of them, and what the standby makes of it: the same ports taken, the
//! same plans compiled and published, the next hops asked for. Its workers are muted by the lease, so that to take over
//! nothing has to be built. Slow path.
//!
//! Always: what is left of a latching window only becomes less by crossing; a window that is closed stays closed.

use std::time::Duration;

use super::Engine;
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    control::{
        media::{Leg, MediaSession},
        ports::Pair,
        saved::{MediaChanges, SavedMedia},
    },
    flow::FlowClass,
};

impl Engine {
    /// Somebody wants every session, and from now on those that change.
    pub fn mark_all(&mut self) {
        self.changed.ask(true);
        self.queue = self.sessions.keys().copied().collect();
    }

    /// Nobody wants to know any more.
    pub fn stop_journal(&mut self) {
        self.changed.ask(false);
        self.queue.clear();
    }

    /// Sessions of `mark_all` that are still to be told.
    pub fn left_to_send(&self) -> usize {
        self.queue.len()
    }

    /// The sessions that changed since this was last asked, and `budget` of those that `mark_all` queued.
    pub fn take_changes(&mut self, now: Time, budget: usize) -> MediaChanges {
        let mut changes = MediaChanges::default();
        for id in self.changed.take() {
            match self.sessions.get(&id) {
                Some(session) => changes.puts.push((id, session.saved(now))),
                None => changes.deletes.push(id),
            }
        }
        for id in self.queue.drain(..budget.min(self.queue.len())) {
            // What was closed since was never told, or its end was among the changes.
            changes.puts.extend(self.sessions.get(&id).map(|session| (id, session.saved(now))));
        }
        changes
    }

    /// Forgets every session and follows another host from now on: sessions come by `apply`, and none times out.
    pub fn follow(&mut self, now: Time) {
        self.stop_journal();
        while let Some((id, _)) = self.sessions.first_key_value() {
            let id = *id;
            self.forget(now, id);
        }
        self.following = true;
        self.untold.clear();
    }

    /// Everything is going to be told. What is known stays until then.
    pub fn begin(&mut self) {
        self.untold = self.sessions.keys().copied().collect();
    }

    /// Everything was told: what was not is no more.
    pub fn complete(&mut self, now: Time) {
        for id in std::mem::take(&mut self.untold) {
            self.forget(now, id);
        }
    }

    /// Goes on by itself with what it was told. Whoever is silent is so from now on.
    pub fn take_over(&mut self, now: Time) {
        self.following = false;
        self.untold.clear();
        self.sessions.values_mut().for_each(|session| session.begin_anew(now));
    }

    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// What the active host told together, so long ago: a session each, or that it is closed. Together, because legs, with
    /// their ports, go over from one session to another.
    pub fn apply(&mut self, now: Time, age: Duration, changes: Vec<(SessionId, Option<SavedMedia>)>) {
        let mut loose = Vec::new();
        for (id, saved) in &changes {
            self.next_id = self.next_id.max(id.0.saturating_add(1));
            self.untold.remove(id);
            let stays = self.sessions.get(id).zip(saved.as_ref()).is_some_and(|(session, saved)| session.fits(saved));
            if !stays && let Some(mut session) = self.sessions.remove(id) {
                self.withdraw(&mut session);
                loose.extend(session.legs.into_iter().map(|leg| leg.pair));
            }
        }
        for (id, saved) in changes {
            let Some(saved) = saved else { continue };
            self.make_way(&saved, &mut loose);
            if !self.sessions.contains_key(&id) {
                match self.rebuild(now, &saved, &mut loose) {
                    Some(session) => self.sessions.insert(id, session),
                    None => {
                        self.counters.unfollowed += 1;
                        continue;
                    }
                };
            }
            if let Some(session) = self.sessions.get_mut(&id) {
                session.adopt(now, age, saved, &self.settings.latching, &mut self.publisher);
            }
            self.recompile(now, id);
        }
        loose.iter().for_each(|pair| self.ports.free(now, pair));
    }

    /// Ports that a session has which was not told anew: it ended while nobody told, and they were allotted again.
    fn make_way(&mut self, saved: &SavedMedia, loose: &mut Vec<Pair>) {
        let wants = |pair: &Pair| saved.legs.iter().any(|leg| leg.address == pair.address && leg.port == pair.rtp);
        let in_the_way = |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.legs.iter().any(|l| wants(&l.pair)));
        let ended: Vec<SessionId> = self.untold.iter().copied().filter(in_the_way).collect();
        for id in ended {
            self.untold.remove(&id);
            if let Some(mut session) = self.sessions.remove(&id) {
                self.withdraw(&mut session);
                loose.extend(session.legs.into_iter().map(|leg| leg.pair));
            }
        }
    }

    /// None: an address, a port or a place in the table is not to be had.
    fn rebuild(&mut self, now: Time, saved: &SavedMedia, loose: &mut Vec<Pair>) -> Option<MediaSession> {
        let [a, b] = &saved.legs;
        let mut pair = |address: &str, port: u16| {
            let at = loose.iter().position(|pair| pair.address == address && pair.rtp == port);
            at.map(|at| loose.swap_remove(at)).or_else(|| self.ports.take(address, port))
        };
        let (a, b) = (pair(&a.address, a.port), pair(&b.address, b.port));
        let leg =
            |pair: &Option<Pair>| Leg::new(pair.clone()?, &self.publisher, &self.settings.latching, self.settings.ring);
        match (leg(&a), leg(&b)) {
            (Some(leg_a), Some(leg_b)) => Some(MediaSession::new(now, saved.call_id.clone(), [leg_a, leg_b])),
            _ => {
                a.into_iter().chain(b).for_each(|pair| loose.push(pair));
                None
            }
        }
    }

    fn forget(&mut self, now: Time, id: SessionId) {
        if let Some(mut session) = self.sessions.remove(&id) {
            self.withdraw(&mut session);
            session.legs.iter().for_each(|leg| self.ports.free(now, &leg.pair));
        }
    }

    /// Takes the session's plans out of the table.
    pub(super) fn withdraw(&mut self, session: &mut MediaSession) {
        for side in Side::BOTH {
            for class in [FlowClass::Rtp, FlowClass::Rtcp] {
                // Withdrawing cannot fail: nothing new is published.
                let _ = session.install(side, class, None, &mut self.publisher);
            }
        }
    }
}
