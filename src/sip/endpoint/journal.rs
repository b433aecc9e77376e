//! The endpoint's state as entries that can be written one by one, and which of them have changed: what a standby is kept
//! up to date with. Slow-path thread.
//!
//! An entry is sent as what it is now, not as what happened to it, so that what changed many times in a round goes out
//! once, and everything can be sent anew at any time: `mark_all` queues all entries behind the changes, and each
//! `take_changes` brings the changes whole and a bounded part of the queue. What one `take_changes` brings belongs
//! together. What follows from other entries (indexes, counts, the queues of deadlines) is not sent. Nothing is noted, and
//! nothing costs anything, until `mark_all` was called.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{CallId, CallRecord, Endpoint, Errand};
use crate::{
    base::{Time, ids::Side, limits::SIP_RECORDS_UNWRITTEN, marks::Marks, pack::Packer},
    sip::{
        auth::{client::Spaces, server::Basis},
        flow::ListenerName,
        register::machine::Registration,
        transaction::{
            ClientId, ServerId,
            table::{ClientEntry, ServerEntry},
        },
        trunk::TrunkState,
    },
};

/// What an entry is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    Basics,
    Trunk(String),
    Call(CallId),
    Client(ClientId),
    Server(ServerId),
    Subscription(u64),
    /// What was seen of a nonce of ours, by its stamp.
    Nonce(String),
    Ban(IpNet),
    /// A call-detail record that is not on disk yet.
    Record(CallId),
}

/// Numbers of transactions that are given away before another host has to hear of it: it goes on behind them.
const TRANSACTIONS_AHEAD: u64 = 65_536;
const SUBSCRIPTIONS_AHEAD: u64 = 256;
/// Trunks are looked at this often: what changes of them (whose turn it is, rates, health) may be a little old.
const TRUNKS_AFTER: Duration = Duration::from_secs(1);

/// What there is one of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Basics {
    pub cookie: String,
    /// None up to these is given away again.
    pub last_transaction: u64,
    pub last_subscription: u64,
    pub nonces: Basis,
    pub listeners: Vec<ListenerName>,
}

#[derive(Serialize)]
struct ClientView<'a> {
    entry: &'a ClientEntry<Errand>,
    unwanted: Option<Time>,
}

#[derive(Deserialize)]
pub(super) struct SavedClient {
    pub entry: Box<ClientEntry<Errand>>,
    /// It must have ended by then, because nobody waits for it.
    #[serde(default)]
    pub unwanted: Option<Time>,
}

pub(super) type SavedServer = Box<ServerEntry<Option<(CallId, Side)>>>;

#[derive(Serialize)]
struct TrunkView<'a> {
    state: Option<&'a TrunkState>,
    spaces: Option<&'a Spaces>,
    registration: Option<&'a Registration>,
}

#[derive(Deserialize)]
pub(super) struct SavedTrunk {
    #[serde(default)]
    pub state: Option<TrunkState>,
    #[serde(default)]
    pub spaces: Option<Spaces>,
    #[serde(default)]
    pub registration: Option<Registration>,
}

/// What changed, in no order; it holds together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// On the state's own clock.
    pub at: Time,
    pub puts: Vec<(Key, Bytes)>,
    pub deletes: Vec<Key>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Another host's state, as far as it was told.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// On the state's own clock, and on ours when it was heard.
    pub(super) at: Time,
    pub(super) heard: Time,
    pub(super) entries: HashMap<Key, Bytes>,
    /// While everything is told anew: what was.
    told: Option<HashSet<Key>>,
}

impl Shadow {
    /// Everything is going to be told. What is known stays until then.
    pub fn begin(&mut self) {
        self.told = Some(HashSet::new());
    }

    /// Everything was told: what was not is no more.
    pub fn complete(&mut self) {
        if let Some(told) = self.told.take() {
            self.entries.retain(|key, _| told.contains(key));
        }
    }

    /// `now` is our own time.
    pub fn apply(&mut self, now: Time, changes: Changes) {
        (self.at, self.heard) = (changes.at, now);
        if let Some(told) = &mut self.told {
            told.extend(changes.puts.iter().map(|(key, _)| key.clone()));
        }
        self.entries.extend(changes.puts);
        for key in &changes.deletes {
            self.entries.remove(key);
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub fn entries(&self) -> &HashMap<Key, Bytes> {
        &self.entries
    }

    /// What they hold.
    pub fn bytes(&self) -> usize {
        self.entries.values().map(Bytes::len).sum()
    }
}

/// Records that nobody has said are on disk.
#[derive(Debug, Default)]
pub struct Unwritten {
    changed: Marks<CallId>,
    asked: bool,
    records: HashMap<CallId, CallRecord>,
}

impl Unwritten {
    /// A disk that is so far behind drops records too: this many are kept.
    pub(super) fn note(&mut self, record: &CallRecord) {
        if self.asked && self.records.len() < SIP_RECORDS_UNWRITTEN {
            self.records.insert(record.id, record.clone());
            self.changed.note(record.id);
        }
    }

    fn follow(&mut self, asked: bool) {
        (self.asked, self.records) = (asked, HashMap::new());
        self.changed.ask(asked);
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    asked: bool,
    calls: Marks<CallId>,
    /// Behind the changes: everything, once.
    queue: VecDeque<Key>,
    /// As they were sent last.
    basics: Option<Basics>,
    trunks: HashMap<String, Bytes>,
    next_look: Time,
    packer: Packer,
}

impl Journal {
    /// The call was changed, or is no more.
    pub fn note(&mut self, call: CallId) {
        self.calls.note(call);
    }

    #[cfg(test)]
    pub fn look_at_trunks(&mut self) {
        self.next_look = Time::ZERO;
    }
}

impl Endpoint {
    /// Somebody wants everything, and from now on what changes.
    pub fn mark_all(&mut self) {
        self.follow(true);
        self.journal.queue = self.all_keys().into();
    }

    /// Nobody wants to know any more.
    pub fn stop_journal(&mut self) {
        self.follow(false);
    }

    fn follow(&mut self, asked: bool) {
        self.journal = Journal { asked, ..Journal::default() };
        self.journal.calls.ask(asked);
        self.core.unwritten.follow(asked);
        self.core.guard.book_mut().follow(asked);
        let live = &mut self.core.live;
        live.tx.follow(asked);
        live.subscriptions.follow(asked);
        live.nonces.follow(asked);
        live.registrations.follow(asked);
    }

    /// Entries of `mark_all` that are still to be sent.
    pub fn left_to_send(&self) -> usize {
        self.journal.queue.len()
    }

    /// The record is on disk, or will never be.
    pub fn record_written(&mut self, id: CallId) {
        if self.core.unwritten.records.remove(&id).is_some() {
            self.core.unwritten.changed.note(id);
        }
    }

    /// What changed since this was last asked, and of what `mark_all` queued about `budget` bytes.
    pub fn take_changes(&mut self, now: Time, budget: usize) -> Changes {
        let mut changes = Changes { at: self.core.clock.inside(now), ..Changes::default() };
        if !self.journal.asked {
            return changes;
        }
        let mut packer = std::mem::take(&mut self.journal.packer);
        for key in self.changed_keys() {
            match self.write(&key, &mut packer) {
                Some(value) => changes.puts.push((key, value)),
                None => changes.deletes.push(key),
            }
        }
        self.look_at_basics(&mut packer, &mut changes);
        if now >= self.journal.next_look {
            self.journal.next_look = now + TRUNKS_AFTER;
            self.look_at_trunks(&mut packer, &mut changes);
        }
        let mut sent = 0;
        while sent < budget
            && let Some(key) = self.journal.queue.pop_front()
        {
            // What is no more was never sent, or its end was among the changes.
            if let Some(value) = self.write(&key, &mut packer) {
                sent += value.len();
                changes.puts.push((key, value));
            }
        }
        self.journal.packer = packer;
        changes
    }

    fn changed_keys(&mut self) -> Vec<Key> {
        let live = &mut self.core.live;
        let (clients, servers) = live.tx.take_changed();
        let mut keys: Vec<Key> = self.journal.calls.take().map(Key::Call).collect();
        keys.extend(clients.into_iter().map(Key::Client));
        keys.extend(servers.into_iter().map(Key::Server));
        keys.extend(live.subscriptions.take_changed().into_iter().map(Key::Subscription));
        keys.extend(live.nonces.take_changed().into_iter().map(Key::Nonce));
        keys.extend(live.registrations.take_changed().into_iter().map(Key::Trunk));
        keys.extend(self.core.guard.book_mut().take_changed().into_iter().map(Key::Ban));
        keys.extend(self.core.unwritten.changed.take().map(Key::Record));
        keys
    }

    fn look_at_basics(&mut self, packer: &mut Packer, changes: &mut Changes) {
        let live = &self.core.live;
        let holds = self.journal.basics.as_ref().is_some_and(|sent| {
            sent.last_transaction >= live.tx.last_number()
                && sent.last_subscription >= live.subscriptions.last_number()
                && sent.nonces == live.nonces.basis()
        });
        if !holds {
            let basics = self.basics();
            changes.puts.push((Key::Basics, packer.pack(&basics)));
            self.journal.basics = Some(basics);
        }
    }

    fn look_at_trunks(&mut self, packer: &mut Packer, changes: &mut Changes) {
        let config = Arc::clone(&self.core.config);
        for trunk in &config.trunks {
            let Some(value) = self.write(&Key::Trunk(trunk.name.clone()), packer) else { continue };
            if self.journal.trunks.get(&trunk.name) != Some(&value) {
                self.journal.trunks.insert(trunk.name.clone(), value.clone());
                changes.puts.push((Key::Trunk(trunk.name.clone()), value));
            }
        }
    }

    fn basics(&self) -> Basics {
        let live = &self.core.live;
        Basics {
            cookie: live.cookie.clone(),
            last_transaction: live.tx.last_number() + TRANSACTIONS_AHEAD,
            last_subscription: live.subscriptions.last_number() + SUBSCRIPTIONS_AHEAD,
            nonces: live.nonces.basis(),
            listeners: self.core.locals.iter().map(ListenerName::from).collect(),
        }
    }

    /// What lives longest stands first.
    fn all_keys(&self) -> Vec<Key> {
        let (core, live) = (&self.core, &self.core.live);
        let mut keys = vec![Key::Basics];
        keys.extend(core.config.trunks.iter().map(|trunk| Key::Trunk(trunk.name.clone())));
        keys.extend(core.guard.book().networks().map(Key::Ban));
        keys.extend(live.nonces.stamps().cloned().map(Key::Nonce));
        keys.extend(live.subscriptions.ids().map(Key::Subscription));
        keys.extend(self.calls.keys().copied().map(Key::Call));
        keys.extend(live.tx.client_ids().map(Key::Client));
        keys.extend(live.tx.server_ids().map(Key::Server));
        keys.extend(core.unwritten.records.keys().copied().map(Key::Record));
        keys
    }

    /// None: there is nothing of that key.
    fn write(&self, key: &Key, packer: &mut Packer) -> Option<Bytes> {
        let live = &self.core.live;
        Some(match key {
            Key::Basics => packer.pack(&self.basics()),
            Key::Trunk(name) => packer.pack(&TrunkView {
                state: live.trunks.get(name),
                spaces: live.spaces.get(name),
                registration: live.registrations.get(name),
            }),
            Key::Call(id) => packer.pack(self.calls.get(id)?),
            Key::Client(id) => {
                packer.pack(&ClientView { entry: live.tx.client(*id)?, unwanted: live.unwanted.get(id) })
            }
            Key::Server(id) => packer.pack(live.tx.server(*id)?),
            Key::Subscription(id) => packer.pack(&live.subscriptions.saved(*id)?),
            Key::Nonce(stamp) => packer.pack(&live.nonces.counts(stamp)?),
            Key::Ban(net) => packer.pack(self.core.guard.book().get(*net)?),
            Key::Record(id) => packer.pack(self.core.unwritten.records.get(id)?),
        })
    }

    /// Everything at once.
    pub fn save(&self, now: Time) -> Shadow {
        let mut packer = Packer::default();
        let entry = |key: Key| self.write(&key, &mut packer).map(|value| (key, value));
        let entries = self.all_keys().into_iter().filter_map(entry).collect();
        Shadow { at: self.core.clock.inside(now), heard: now, entries, told: None }
    }
}
