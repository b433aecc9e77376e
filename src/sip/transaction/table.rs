//! The transactions in progress: finds the one a message belongs to, holds the bytes to be repeated, keeps the timers.
//!
//! Slow-path thread; all look-ups by hash; entries are boxed, so that a table that grows moves pointers. `C` and `S` are
//! what the user attaches to its client and server transactions. What is to be transmitted gathers in `sent` until the
//! endpoint takes it. A transaction that terminated stays readable until `sweep`.

mod saved;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ClientKey, MergeKey, ServerKey, Step, Timing, Transmit, Up, client::Client, client_invite::ClientInvite,
    server::Server, server_invite::ServerInvite,
};
use crate::{
    base::{Time, marks::Marks},
    sip::{
        auth::client::CREDENTIALS,
        deadlines::Deadlines,
        flow::{Flow, ListenerId, Path},
        message::{CSeq, HeaderName, Host, Message, Method, Uri},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(u64);

impl ServerId {
    /// No transaction's: of a call that tandem makes itself, which answers nobody.
    pub const NONE: ServerId = ServerId(0);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ref {
    Client(ClientId),
    Server(ServerId),
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmission {
    pub flow: Flow,
    pub bytes: Bytes,
    pub label: Label,
    /// The same bytes were sent before.
    pub repeated: bool,
}

/// What a transmission is, for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    Request(Method),
    Response(u16),
}

impl Label {
    pub fn of(message: &Message) -> Label {
        match message.method() {
            Some(method) => Label::Request(method.clone()),
            None => Label::Response(message.status().unwrap_or(0)),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum ClientMachine {
    Invite(ClientInvite),
    Other(Client),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum ServerMachine {
    Invite(ServerInvite),
    Other(Server),
}

/// The ACK that the user made for one fork's 2xx, to be sent again with each repetition of that 2xx.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SentAck {
    tag: String,
    path: Path,
    bytes: Bytes,
}

/// Of a request that got its final response: what a further 2xx, from another fork, is acknowledged with.
const OF_A_DIALOG: [HeaderName; 7] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Route,
    HeaderName::Authorization,
    HeaderName::ProxyAuthorization,
];

/// Forks of one INVITE whose 2xx are acknowledged; more are ignored.
const MAX_FORKS: usize = 16;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientEntry<C> {
    machine: ClientMachine,
    key: ClientKey,
    path: Path,
    /// After a final response only what a dialog is made of (`OF_A_DIALOG`).
    pub request: Message,
    /// Nothing after a final response: the request is not sent again.
    bytes: Bytes,
    /// The ACK for the non-2xx final response.
    ack: Option<Bytes>,
    acks: Vec<SentAck>,
    pub user: C,
}

impl<C> ClientEntry<C> {
    /// A response came, but no final one: the state in which RFC 3261 §9.1 allows a CANCEL.
    pub fn proceeding(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(m) => m.state() == super::client_invite::State::Proceeding,
            ClientMachine::Other(m) => m.state() == super::client::State::Proceeding,
        }
    }

    pub fn path(&self) -> Path {
        self.path
    }

    /// It may be that the request never arrived.
    fn unanswered(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(m) => m.state() == super::client_invite::State::Calling,
            ClientMachine::Other(m) => {
                matches!(m.state(), super::client::State::Trying | super::client::State::Proceeding)
            }
        }
    }

    /// A final response came. The transaction lingers for up to 32 s, thousands beside it: what it no longer needs goes.
    fn lighten(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes = Bytes::new();
            self.request.keep_only(&OF_A_DIALOG);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match &self.machine {
            ClientMachine::Invite(m) => m.next_deadline(),
            ClientMachine::Other(m) => m.next_deadline(),
        }
    }

    fn terminated(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(m) => m.state() == super::client_invite::State::Terminated,
            ClientMachine::Other(m) => m.state() == super::client::State::Terminated,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerEntry<S> {
    machine: ServerMachine,
    key: ServerKey,
    merge: Option<MergeKey>,
    path: Path,
    /// Without headers and body after a final response: no other is made from it.
    pub request: Message,
    /// The last response, and the To tag it carried.
    last: Option<(Bytes, u16)>,
    pub to_tag: Option<String>,
    pub user: S,
}

impl<S> ServerEntry<S> {
    /// No final response was given yet.
    pub fn pending(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(m) => m.state() == super::server_invite::State::Proceeding,
            ServerMachine::Other(m) => {
                matches!(m.state(), super::server::State::Trying | super::server::State::Proceeding)
            }
        }
    }

    pub fn path(&self) -> Path {
        self.path
    }

    fn next_deadline(&self) -> Option<Time> {
        match &self.machine {
            ServerMachine::Invite(m) => m.next_deadline(),
            ServerMachine::Other(m) => m.next_deadline(),
        }
    }

    fn terminated(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(m) => m.state() == super::server_invite::State::Terminated,
            ServerMachine::Other(m) => m.state() == super::server::State::Terminated,
        }
    }
}

/// What a response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It belongs to no transaction.
    Stray,
    /// The transaction dealt with it.
    Absorbed,
    /// The user is to look at it.
    Tell(ClientId),
}

/// A timer that the user must know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Timer B or F.
    Client(ClientId),
    /// Timer H.
    Server(ServerId),
}

type Remote = (ListenerId, u8, SocketAddr);

#[derive(Clone, Debug)]
pub struct Transactions<C, S> {
    timing: Timing,
    /// The last number given away.
    next: u64,
    clients: HashMap<ClientId, Box<ClientEntry<C>>>,
    client_keys: HashMap<ClientKey, ClientId>,
    servers: HashMap<ServerId, Box<ServerEntry<S>>>,
    server_keys: HashMap<ServerKey, ServerId>,
    merges: HashMap<MergeKey, ServerId>,
    remotes: BTreeSet<(Remote, Ref)>,
    deadlines: Deadlines<Ref>,
    ended: Vec<Ref>,
    sent: Vec<Transmission>,
    /// For the journal.
    changed: Marks<Ref>,
}

fn remote_of(flow: &Flow) -> Remote {
    (flow.local, flow.reliable().into(), flow.remote)
}

impl<C, S> Transactions<C, S> {
    pub fn new(timing: Timing) -> Self {
        Transactions {
            timing,
            next: 0,
            clients: HashMap::new(),
            client_keys: HashMap::new(),
            servers: HashMap::new(),
            server_keys: HashMap::new(),
            merges: HashMap::new(),
            remotes: BTreeSet::new(),
            deadlines: Deadlines::default(),
            ended: Vec::new(),
            sent: Vec::new(),
            changed: Marks::default(),
        }
    }

    pub fn timing(&self) -> Timing {
        self.timing
    }

    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    pub fn take_sent(&mut self) -> std::vec::Drain<'_, Transmission> {
        self.sent.drain(..)
    }

    /// Sends outside of any transaction: an ACK for a 2xx, the repetition of a 2xx, a stateless response.
    pub fn transmit(&mut self, path: &Path, bytes: Bytes, label: Label, repeated: bool) {
        self.sent.push(Transmission { flow: path.flow, bytes, label, repeated });
    }

    // --- client side ------------------------------------------------------------------------------------------------

    /// Sends a request, which has our Via on top, and watches over it. None if it lacks a Via with a branch or CSeq.
    pub fn request(&mut self, now: Time, request: Message, path: Path, user: C) -> Option<ClientId> {
        let key = ClientKey::of(&request)?;
        let id = ClientId(self.bump());
        self.begin(now, id, key, request, path, user);
        Some(id)
    }

    fn begin(&mut self, now: Time, id: ClientId, key: ClientKey, request: Message, path: Path, user: C) {
        let reliable = path.flow.reliable();
        let invite = request.method() == Some(&Method::Invite);
        let machine = if invite {
            ClientMachine::Invite(ClientInvite::start(now, &self.timing, reliable))
        } else {
            ClientMachine::Other(Client::start(now, &self.timing, reliable))
        };
        let bytes = Bytes::from(request.write());
        self.transmit(&path, bytes.clone(), Label::of(&request), false);
        let entry = ClientEntry { machine, key: key.clone(), path, request, bytes, ack: None, acks: Vec::new(), user };
        self.changed.note(Ref::Client(id));
        self.deadlines.set(Ref::Client(id), entry.next_deadline());
        self.remotes.insert((remote_of(&path.flow), Ref::Client(id)));
        self.client_keys.insert(key, id);
        self.clients.insert(id, Box::new(entry));
    }

    /// The request as it was sent, once a challenge has ended its transaction, which keeps what it still needs of it.
    pub fn recall(&mut self, id: ClientId) -> Option<Message> {
        let entry = self.clients.get_mut(&id).filter(|entry| !entry.bytes.is_empty())?;
        let request = entry.request.clone();
        entry.lighten();
        self.changed.note(Ref::Client(id));
        Some(request)
    }

    /// Sends `request`, which says in other words what `id`'s said, on the same path and for the same user, who knows it
    /// as `id` from now on. The transaction that ended lingers under another number, for `rest`. False: there is none.
    pub fn again(&mut self, now: Time, id: ClientId, request: Message, rest: C) -> bool {
        let Some(key) = ClientKey::of(&request) else { return false };
        let Some(mut old) = self.clients.remove(&id) else { return false };
        let (path, user) = (old.path, std::mem::replace(&mut old.user, rest));
        let lingering = ClientId(self.bump());
        self.changed.note(Ref::Client(lingering));
        self.deadlines.set(Ref::Client(id), None);
        self.deadlines.set(Ref::Client(lingering), old.next_deadline());
        self.remotes.remove(&(remote_of(&path.flow), Ref::Client(id)));
        self.remotes.insert((remote_of(&path.flow), Ref::Client(lingering)));
        self.client_keys.insert(old.key.clone(), lingering);
        self.clients.insert(lingering, old);
        // Over a reliable transport it is over already.
        self.ended
            .iter_mut()
            .filter(|ended| **ended == Ref::Client(id))
            .for_each(|ended| *ended = Ref::Client(lingering));
        self.begin(now, id, key, request, path, user);
        true
    }

    pub fn client(&self, id: ClientId) -> Option<&ClientEntry<C>> {
        self.clients.get(&id).map(Box::as_ref)
    }

    pub fn client_mut(&mut self, id: ClientId) -> Option<&mut ClientEntry<C>> {
        self.changed.note(Ref::Client(id));
        self.clients.get_mut(&id).map(Box::as_mut)
    }

    /// A response arrived.
    pub fn response(&mut self, now: Time, response: &Message) -> Matched {
        let Some(status) = response.status() else { return Matched::Stray };
        let Some(id) = ClientKey::of(response).and_then(|key| self.client_keys.get(&key).copied()) else {
            return Matched::Stray;
        };
        let Some(entry) = self.clients.get_mut(&id) else { return Matched::Stray };
        // The user may want to send it again (`recall`).
        let challenge = matches!(status, 401 | 407);
        let step = match &mut entry.machine {
            ClientMachine::Invite(m) => m.response(now, &self.timing, status),
            ClientMachine::Other(m) => m.response(now, &self.timing, status),
        };
        if step.transmit == Transmit::Ack && entry.ack.is_none() {
            entry.ack = Some(Bytes::from(ack_for_failure(&entry.request, response).write()));
            if !challenge {
                entry.lighten();
            }
            self.settle_client(id, step, false);
        } else {
            if status >= 200 && !challenge {
                entry.lighten();
            }
            self.settle_client(id, step, true);
        }
        match step.up {
            Some(_) if self.acknowledged_again(id, response) => Matched::Absorbed,
            Some(_) => Matched::Tell(id),
            None => Matched::Absorbed,
        }
    }

    /// Stores the ACK of a 2xx and sends it; it goes out again with each repetition of that 2xx (RFC 3261 §13.2.2.4).
    pub fn acknowledge(&mut self, id: ClientId, tag: &str, path: Path, ack: &Message) {
        let bytes = Bytes::from(ack.write());
        self.transmit(&path, bytes.clone(), Label::Request(Method::Ack), false);
        if let Some(entry) = self.clients.get_mut(&id)
            && entry.acks.len() < MAX_FORKS
        {
            entry.acks.push(SentAck { tag: tag.to_owned(), path, bytes });
            self.changed.note(Ref::Client(id));
        }
    }

    fn acknowledged_again(&mut self, id: ClientId, response: &Message) -> bool {
        let Some(entry) = self.clients.get(&id) else { return false };
        let success = response.status().is_some_and(|s| (200..300).contains(&s));
        if !success || entry.acks.is_empty() {
            return false;
        }
        let to = response.to().ok();
        let tag = to.as_ref().and_then(|to| to.tag()).unwrap_or("");
        let Some(sent) = entry.acks.iter().find(|a| a.tag == tag).cloned() else {
            return entry.acks.len() >= MAX_FORKS;
        };
        self.transmit(&sent.path, sent.bytes, Label::Request(Method::Ack), true);
        true
    }

    /// Forgets a client transaction; what still comes for it is stray.
    pub fn abandon(&mut self, id: ClientId) {
        if let Some(entry) = self.clients.get_mut(&id) {
            match &mut entry.machine {
                ClientMachine::Invite(m) => m.terminate(),
                ClientMachine::Other(m) => m.terminate(),
            }
            self.settle_client(id, Step::NOTHING, false);
        }
    }

    fn settle_client(&mut self, id: ClientId, step: Step, ack_repeated: bool) {
        let Some(entry) = self.clients.get(&id) else { return };
        let flow = entry.path.flow;
        match (step.transmit, &entry.ack) {
            (Transmit::Request, _) => {
                let label = Label::of(&entry.request);
                self.sent.push(Transmission { flow, bytes: entry.bytes.clone(), label, repeated: true });
            }
            (Transmit::Ack, Some(ack)) => {
                let label = Label::Request(Method::Ack);
                self.sent.push(Transmission { flow, bytes: ack.clone(), label, repeated: ack_repeated });
            }
            _ => {}
        }
        self.changed.note(Ref::Client(id));
        self.deadlines.set(Ref::Client(id), entry.next_deadline());
        if entry.terminated() {
            self.ended.push(Ref::Client(id));
        }
    }

    // --- server side ------------------------------------------------------------------------------------------------

    /// The transaction that a request belongs to, if it is one's repetition or an INVITE's ACK.
    pub fn server_of(&self, key: &ServerKey) -> Option<ServerId> {
        self.server_keys.get(key).copied()
    }

    pub fn server(&self, id: ServerId) -> Option<&ServerEntry<S>> {
        self.servers.get(&id).map(Box::as_ref)
    }

    pub fn server_mut(&mut self, id: ServerId) -> Option<&mut ServerEntry<S>> {
        self.changed.note(Ref::Server(id));
        self.servers.get_mut(&id).map(Box::as_mut)
    }

    /// RFC 3261 §8.2.2.2: whether the same request outside a dialog is here already, under another branch.
    pub fn merged(&self, request: &Message) -> bool {
        MergeKey::of(request).is_some_and(|key| self.merges.contains_key(&key))
    }

    /// Begins a server transaction for a new request.
    pub fn accept(&mut self, key: ServerKey, request: Message, path: Path, user: S) -> ServerId {
        let id = ServerId(self.bump());
        let reliable = path.flow.reliable();
        let machine = if request.method() == Some(&Method::Invite) {
            ServerMachine::Invite(ServerInvite::start(reliable))
        } else {
            ServerMachine::Other(Server::start(reliable))
        };
        let merge = MergeKey::of(&request);
        if let Some(merge) = &merge
            && let Some(before) = self.merges.insert(merge.clone(), id)
        {
            // One entry at a time has the key, so that the index follows from the entries.
            self.changed.note(Ref::Server(before));
            if let Some(before) = self.servers.get_mut(&before) {
                before.merge = None;
            }
        }
        self.changed.note(Ref::Server(id));
        if path.flow.connection.is_some() {
            self.remotes.insert((remote_of(&path.flow), Ref::Server(id)));
        }
        self.server_keys.insert(key.clone(), id);
        let entry = ServerEntry { machine, key, merge, path, request, last: None, to_tag: None, user };
        self.servers.insert(id, Box::new(entry));
        id
    }

    /// The request of transaction `id` arrived again.
    pub fn repeated(&mut self, id: ServerId) {
        let Some(entry) = self.servers.get_mut(&id) else { return };
        let step = match &mut entry.machine {
            ServerMachine::Invite(m) => m.repeated(),
            ServerMachine::Other(m) => m.repeated(),
        };
        self.settle_server(id, step);
    }

    /// An ACK arrived that has the key of INVITE transaction `id`. True: it is for a 2xx and belongs to the user.
    pub fn ack(&mut self, now: Time, id: ServerId, ack: &Message) -> bool {
        let Some(entry) = self.servers.get_mut(&id) else { return false };
        // RFC 3261 §17.2.3: an RFC 2543 ACK must carry the To tag of the response it acknowledges.
        let ack_to = ack.to().ok();
        if entry.key.is_legacy() && entry.to_tag.as_deref() != ack_to.as_ref().and_then(|to| to.tag()) {
            return false;
        }
        let ServerMachine::Invite(machine) = &mut entry.machine else { return false };
        let step = machine.ack(now, &self.timing);
        self.settle_server(id, step);
        step.up == Some(Up::Ack)
    }

    /// Sends a response, if the transaction's state still allows one of that status.
    pub fn respond(&mut self, now: Time, id: ServerId, response: &Message) {
        let (Some(entry), Some(status)) = (self.servers.get_mut(&id), response.status()) else { return };
        let step = match &mut entry.machine {
            ServerMachine::Invite(m) => m.respond(now, &self.timing, status),
            ServerMachine::Other(m) => m.respond(now, &self.timing, status),
        };
        if step.transmit != Transmit::Response {
            return;
        }
        let bytes = Bytes::from(response.write());
        entry.last = Some((bytes.clone(), status));
        entry.to_tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
        if status >= 200 {
            // It lingers for up to 32 s, thousands beside it.
            entry.request.keep_only(&[]);
        }
        let path = entry.path;
        self.settle_server(id, Step::NOTHING);
        self.transmit(&path, bytes, Label::Response(status), false);
    }

    /// Sends the last response again on the user's account (RFC 3261 §13.3.1.1: long ringing).
    pub fn resend(&mut self, id: ServerId) {
        self.settle_server(id, Step::transmit(Transmit::Response));
    }

    /// The bytes of the last response, for the user who repeats a 2xx itself.
    pub fn last_response(&self, id: ServerId) -> Option<(Path, Bytes, u16)> {
        let entry = self.servers.get(&id)?;
        entry.last.as_ref().map(|(bytes, status)| (entry.path, bytes.clone(), *status))
    }

    fn settle_server(&mut self, id: ServerId, step: Step) {
        let Some(entry) = self.servers.get(&id) else { return };
        if let (Transmit::Response, Some((bytes, status))) = (step.transmit, &entry.last) {
            let label = Label::Response(*status);
            self.sent.push(Transmission { flow: entry.path.flow, bytes: bytes.clone(), label, repeated: true });
        }
        self.changed.note(Ref::Server(id));
        self.deadlines.set(Ref::Server(id), entry.next_deadline());
        if entry.terminated() {
            self.ended.push(Ref::Server(id));
        }
    }

    // --- transport and time -----------------------------------------------------------------------------------------

    /// Nothing can be sent on `flow`, or its connection closed. What has another way is sent again on that; the client
    /// transactions that have none are returned, to be told so.
    pub fn transport_failed(&mut self, flow: &Flow) -> Vec<ClientId> {
        let remote = remote_of(flow);
        let low = (remote, Ref::Client(ClientId(0)));
        let high = (remote, Ref::Server(ServerId(u64::MAX)));
        let hit: Vec<Ref> = self.remotes.range(low..=high).map(|(_, r)| *r).collect();
        let mut failed = Vec::new();
        for r in hit {
            match r {
                Ref::Client(id) => failed.extend(self.client_transport_failed(id, flow)),
                Ref::Server(id) => self.server_transport_failed(id, flow),
            }
        }
        failed
    }

    fn client_transport_failed(&mut self, id: ClientId, flow: &Flow) -> Option<ClientId> {
        let entry = self.clients.get_mut(&id)?;
        self.changed.note(Ref::Client(id));
        for ack in entry.acks.iter_mut().filter(|ack| ack.path.flow.connection == flow.connection) {
            ack.path = ack.path.without_connection().unwrap_or(ack.path);
        }
        if entry.path.flow.connection.is_some() && entry.path.flow.connection != flow.connection {
            return None;
        }
        if let Some(other) = entry.path.without_connection() {
            self.remotes.remove(&(remote_of(&entry.path.flow), Ref::Client(id)));
            self.remotes.insert((remote_of(&other.flow), Ref::Client(id)));
            entry.path = other;
            let resend = entry.unanswered();
            self.settle_client(id, if resend { Step::transmit(Transmit::Request) } else { Step::NOTHING }, true);
            return None;
        }
        let step = match &mut entry.machine {
            ClientMachine::Invite(m) => m.transport_failed(),
            ClientMachine::Other(m) => m.transport_failed(),
        };
        self.settle_client(id, step, true);
        step.up.map(|_| id)
    }

    fn server_transport_failed(&mut self, id: ServerId, flow: &Flow) {
        let Some(entry) = self.servers.get_mut(&id) else { return };
        if entry.path.flow.connection != flow.connection {
            return;
        }
        let Some(other) = entry.path.without_connection() else { return };
        // RFC 3261 §18.2.2: a new connection to the `received` address and the port in sent-by.
        self.remotes.remove(&(remote_of(&entry.path.flow), Ref::Server(id)));
        entry.path = other;
        // A response that is still to be acknowledged goes out again; a 2xx its user repeats anyway, and a provisional
        // one is not worth a connection.
        let unacknowledged = match &entry.machine {
            ServerMachine::Invite(m) => m.state() == super::server_invite::State::Completed,
            ServerMachine::Other(_) => false,
        };
        self.settle_server(id, if unacknowledged { Step::transmit(Transmit::Response) } else { Step::NOTHING });
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Lets due timers fire, one transaction at a time, until one concerns the user. None: nothing more is due.
    pub fn fire(&mut self, now: Time) -> Option<Expired> {
        while let Some(due) = self.deadlines.pop_due(now) {
            match due {
                Ref::Client(id) => {
                    let Some(entry) = self.clients.get_mut(&id) else { continue };
                    let step = match &mut entry.machine {
                        ClientMachine::Invite(m) => m.fire(now, &self.timing),
                        ClientMachine::Other(m) => m.fire(now, &self.timing),
                    };
                    self.settle_client(id, step, true);
                    if step.up.is_some() {
                        return Some(Expired::Client(id));
                    }
                }
                Ref::Server(id) => {
                    let Some(entry) = self.servers.get_mut(&id) else { continue };
                    let step = match &mut entry.machine {
                        ServerMachine::Invite(m) => m.fire(now, &self.timing),
                        ServerMachine::Other(m) => m.fire(now, &self.timing),
                    };
                    self.settle_server(id, step);
                    if step.up.is_some() {
                        return Some(Expired::Server(id));
                    }
                }
            }
        }
        None
    }

    /// Removes what terminated.
    pub fn sweep(&mut self) {
        while let Some(ended) = self.ended.pop() {
            self.deadlines.set(ended, None);
            self.changed.note(ended);
            match ended {
                Ref::Client(id) => {
                    let Some(entry) = self.clients.remove(&id) else { continue };
                    self.client_keys.remove(&entry.key);
                    self.remotes.remove(&(remote_of(&entry.path.flow), ended));
                }
                Ref::Server(id) => {
                    let Some(entry) = self.servers.remove(&id) else { continue };
                    self.server_keys.remove(&entry.key);
                    self.remotes.remove(&(remote_of(&entry.path.flow), ended));
                    if let Some(merge) = entry.merge {
                        self.merges.remove(&merge);
                    }
                }
            }
        }
    }

    fn bump(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// RFC 3261 §17.1.1.3: the ACK for a 300–699, in the transaction of its INVITE.
fn ack_for_failure(invite: &Message, response: &Message) -> Message {
    let mut ack = within_transaction(invite, Method::Ack);
    if let Some(to) = response.headers.get(&HeaderName::To) {
        ack.headers.set(HeaderName::To, to);
    }
    copy_credentials(invite, &mut ack);
    ack
}

/// RFC 3261 §22.1: an ACK shows the credentials of its INVITE, since nobody may challenge it.
pub fn copy_credentials(invite: &Message, ack: &mut Message) {
    for name in CREDENTIALS {
        for value in invite.headers.all(&name) {
            ack.headers.push(name.clone(), value);
        }
    }
}

/// An ACK or CANCEL: same Request-URI, top Via, From, To, Call-ID, CSeq number and Route as the INVITE.
pub fn within_transaction(invite: &Message, method: Method) -> Message {
    let uri = invite.uri().cloned().unwrap_or_else(|| Uri::sip(None, Host::Name("invalid".into()), None));
    let mut message = Message::request(method.clone(), uri);
    let headers = &mut message.headers;
    if let Ok(via) = invite.top_via() {
        headers.push(HeaderName::Via, via.to_string());
    }
    headers.push(HeaderName::MaxForwards, "70");
    for name in [HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId] {
        for value in invite.headers.all(&name) {
            headers.push(name.clone(), value);
        }
    }
    if let Ok(cseq) = invite.cseq() {
        headers.push(HeaderName::CSeq, CSeq { seq: cseq.seq, method }.to_string());
    }
    message
}
