//! The table of transactions as the other host of a pair gets it: entry by entry. Everything else in the table follows from
//! the entries and is made anew where they arrive. Slow-path thread.

use super::{ClientEntry, ClientId, Ref, ServerEntry, ServerId, Transactions, remote_of};
use crate::sip::flow::Relocation;

impl<C, S> Transactions<C, S> {
    /// Whether `changed` is asked for.
    pub fn follow(&mut self, asked: bool) {
        self.changed.ask(asked);
    }

    /// Whose entries changed, came or went since this was last asked.
    pub fn take_changed(&mut self) -> (Vec<ClientId>, Vec<ServerId>) {
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for changed in self.changed.take() {
            match changed {
                Ref::Client(id) => clients.push(id),
                Ref::Server(id) => servers.push(id),
            }
        }
        (clients, servers)
    }

    pub fn client_ids(&self) -> impl Iterator<Item = ClientId> {
        self.clients.keys().copied()
    }

    pub fn server_ids(&self) -> impl Iterator<Item = ServerId> {
        self.servers.keys().copied()
    }

    /// The highest number that was given away.
    pub fn last_number(&self) -> u64 {
        self.next
    }

    /// No number up to this one is given away again.
    pub fn skip_numbers(&mut self, last: u64) {
        self.next = self.next.max(last);
    }

    /// An entry of another host; its connections are not ours.
    pub fn adopt_client(&mut self, id: ClientId, mut entry: Box<ClientEntry<C>>, here: &Relocation) {
        here.path(&mut entry.path);
        entry.acks.iter_mut().for_each(|ack| here.path(&mut ack.path));
        self.skip_numbers(id.0);
        self.client_keys.insert(entry.key.clone(), id);
        self.remotes.insert((remote_of(&entry.path.flow), Ref::Client(id)));
        self.deadlines.set(Ref::Client(id), entry.next_deadline());
        self.ended.extend(entry.terminated().then_some(Ref::Client(id)));
        self.clients.insert(id, entry);
    }

    /// An entry of another host; its connections are not ours.
    pub fn adopt_server(&mut self, id: ServerId, mut entry: Box<ServerEntry<S>>, here: &Relocation) {
        here.path(&mut entry.path);
        self.skip_numbers(id.0);
        self.server_keys.insert(entry.key.clone(), id);
        if let Some(merge) = &entry.merge {
            self.merges.insert(merge.clone(), id);
        }
        self.deadlines.set(Ref::Server(id), entry.next_deadline());
        self.ended.extend(entry.terminated().then_some(Ref::Server(id)));
        self.servers.insert(id, entry);
    }
}

#[cfg(test)]
impl<C, S> Transactions<C, S> {
    pub fn set_last_number(&mut self, last: u64) {
        self.next = last;
    }
}
