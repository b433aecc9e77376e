//! The calls of a pair: what the active host tells of them, by Call-ID, and what the standby makes of it. Slow-path thread;
//! pure.
//!
//! Always holds: a standby answers nobody and ends nothing by itself; media sessions are call control's to tell, under the
//! ids that the calls name.

use super::{
    call::Call,
    machine::{Ng, SavedCall},
};
use crate::{
    base::{Time, ids::SessionId},
    control::MediaControl,
};

/// What changed since it was last asked for.
#[derive(Clone, Debug, Default)]
pub struct NgChanges {
    pub puts: Vec<(String, SavedCall)>,
    /// Calls that have ended.
    pub deletes: Vec<String>,
}

impl Ng {
    /// As the standby of a pair nothing is answered: a proxy that asks here by mistake asks another node.
    pub fn stand_by(&mut self, standby: bool) {
        self.standby = standby;
    }

    pub fn is_standby(&self) -> bool {
        self.standby
    }

    /// Somebody wants every call, and from now on those that change.
    pub fn mark_all(&mut self) {
        self.journal = Some(Default::default());
        self.queue = self.by_id.keys().cloned().collect();
    }

    /// Nobody wants to know any more.
    pub fn stop_journal(&mut self) {
        self.journal = None;
        self.queue.clear();
    }

    /// Calls of `mark_all` that are still to be told.
    pub fn left_to_send(&self) -> usize {
        self.queue.len()
    }

    /// The calls that changed since this was last asked, and `budget` of those that `mark_all` queued.
    pub fn take_changes(&mut self, now: Time, budget: usize) -> NgChanges {
        let mut changes = NgChanges::default();
        for id in self.journal.as_mut().map(std::mem::take).unwrap_or_default() {
            match self.save(now, &id) {
                Some(saved) => changes.puts.push((id, saved)),
                None => changes.deletes.push(id),
            }
        }
        for id in self.queue.drain(..budget.min(self.queue.len())).collect::<Vec<_>>() {
            // What has ended since was never told, or its end was among the changes.
            changes.puts.extend(self.save(now, &id).map(|saved| (id, saved)));
        }
        changes
    }

    /// None: the call has ended.
    pub fn save(&self, now: Time, call_id: &str) -> Option<SavedCall> {
        let call = self.calls.get(self.by_id.get(call_id)?)?.clone();
        Some(SavedCall { at: now, call })
    }

    /// Forgets every call and follows another host from now on.
    pub fn follow(&mut self) {
        self.stop_journal();
        self.calls.clear();
        self.by_id.clear();
        self.sessions.clear();
        self.deadlines = Default::default();
        self.untold.clear();
    }

    /// Everything is going to be told. What is known stays until then.
    pub fn begin(&mut self) {
        self.untold = self.by_id.keys().cloned().collect();
    }

    /// Everything was told: what was not is no more.
    pub fn complete(&mut self) {
        for id in std::mem::take(&mut self.untold) {
            self.forget(&id);
        }
    }

    /// What the active host told: a call each, or that it has ended.
    pub fn apply(&mut self, now: Time, changes: Vec<(String, Option<SavedCall>)>) {
        for (id, saved) in changes {
            self.untold.remove(&id);
            match saved {
                Some(saved) => self.restore(now, saved),
                None => self.forget(&id),
            }
        }
    }

    /// Whether a session is one of ours.
    pub fn has_session(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Goes on by itself. A call whose media did not come with it ends.
    pub fn take_over(&mut self, now: Time, media: &mut dyn MediaControl) {
        self.untold.clear();
        let lacks = |call: &Call| call.sessions().any(|id| media.report(id).is_none());
        let silent: Vec<u64> = self.calls.iter().filter(|(_, call)| lacks(call)).map(|(number, _)| *number).collect();
        silent.into_iter().for_each(|number| drop(self.end(now, number, media)));
    }

    /// Takes up a call in place of what was known of it.
    pub fn restore(&mut self, now: Time, saved: SavedCall) {
        let SavedCall { at, mut call } = saved;
        call.rebase(at, now);
        self.forget(&call.id);
        let number = self.insert(call);
        self.changed(now, number);
    }

    /// The other host's call has ended. Its sessions are call control's to end.
    fn forget(&mut self, call_id: &str) {
        let Some(number) = self.by_id.remove(call_id) else { return };
        self.deadlines.set(number, None);
        let gone = self.calls.remove(&number);
        for id in gone.iter().flat_map(Call::sessions) {
            self.sessions.remove(&id);
        }
    }
}
