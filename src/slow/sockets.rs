//! The SIP sockets: listeners on the configured addresses, connections over TCP and TLS in both directions. Runs on the
//! slow-path thread inside its poll loop; never blocks.
//!
//! - `admission`: which peers may connect, and how often.
//! - `connection`: bytes in and out of one connection.
//! - `kernel`: how sockets are made.
//! - `secure`: TLS over one connection.
//! - `handshakes`: whose certificate it is to be, how many at once, and how they ended.
//!
//! Always holds: what is buffered for a connection is bounded, connections are bounded by source and in all, and one
//! peer that does not read, does not speak or does not answer costs itself its connection and nobody anything else.

mod admission;
mod connection;
mod handshakes;
mod kernel;
mod secure;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::SocketAddr,
};

use bytes::Bytes;
use ipnet::IpNet;
use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream, UdpSocket},
};

pub use self::{
    admission::trunk_peers,
    secure::{Handshake, Handshakes},
};
use self::{
    admission::{Admission, Source},
    connection::{Connection, Turn},
    secure::Session,
};
use crate::{
    base::{
        Time,
        limits::{SIP_CONNECTIONS, SIP_MESSAGE_BYTES, SIP_TLS_HANDSHAKES_PER_SECOND},
    },
    config::SipTransport,
    sip::{
        flow::{ConnectionId, Flow, ListenerId},
        guard::Gate,
        message::{Malformed, Message},
    },
    tls::Credentials,
};

/// Datagrams taken from one socket before the others get their turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// Connections taken from one listener before the others get their turn.
const ACCEPTS_AT_ONCE: usize = 64;

/// What the sockets tell the endpoint.
pub enum Received {
    /// As it came: what it is worth is decided before it is read.
    Datagram(Flow, Bytes),
    Message(Flow, Box<Result<Message, Malformed>>),
    /// A connection that could not be made, or was lost.
    Lost(Flow),
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "cannot listen for SIP on {transport:?} {at}: {source}; is the address free, and is another tandem running?"
    )]
    Bind { transport: SipTransport, at: SocketAddr, source: io::Error },
    #[error("cannot watch a SIP socket: {0}")]
    Poll(io::Error),
}

enum Listener {
    Udp(UdpSocket),
    /// TCP, with or without TLS over it.
    Stream(TcpListener, SipTransport),
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketCounters {
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    pub datagrams_refused: u64,
    pub connections_accepted: u64,
    pub connections_refused: u64,
    /// Of sources that are banned: not taken, or closed.
    pub connections_banned: u64,
    pub connections_opened: u64,
    pub connections_lost: u64,
    pub handshakes: Handshakes,
    /// Strangers for whom there was no handshake left.
    pub handshakes_refused: u64,
}

struct Listening {
    token: Token,
    at: SocketAddr,
    socket: Listener,
    /// Nothing to accept with was left: not tried again before the next sweep.
    starved: bool,
}

pub struct Sockets {
    registry: Registry,
    listeners: Vec<Listening>,
    admission: Admission,
    /// None: no TLS.
    credentials: Option<Credentials>,
    /// Handshakes of strangers that may begin before the next sweep.
    handshakes_left: u32,
    connections: HashMap<Token, Connection>,
    by_id: HashMap<ConnectionId, Token>,
    /// The connection to reuse towards a remote, by the listener whose address it goes out from.
    by_remote: HashMap<(ListenerId, SocketAddr), Token>,
    next_connection: u64,
    /// Tokens from here on are ours.
    next_token: usize,
    buffer: Vec<u8>,
    pub counters: SocketCounters,
}

impl Sockets {
    /// Listeners in the order given: their index is their `ListenerId`. `trunks` are the peers that may have more
    /// connections than strangers.
    pub fn open(
        listeners: impl IntoIterator<Item = (SocketAddr, SipTransport)>,
        trunks: Vec<IpNet>,
        registry: &Registry,
        first_token: usize,
    ) -> Result<Self, SocketError> {
        let mut sockets = Sockets {
            registry: registry.try_clone().map_err(SocketError::Poll)?,
            listeners: Vec::new(),
            admission: Admission::new(trunks),
            credentials: None,
            handshakes_left: SIP_TLS_HANDSHAKES_PER_SECOND,
            connections: HashMap::new(),
            by_id: HashMap::new(),
            by_remote: HashMap::new(),
            next_connection: 1,
            next_token: first_token,
            buffer: vec![0; SIP_MESSAGE_BYTES + 1],
            counters: SocketCounters::default(),
        };
        for (at, transport) in listeners {
            let token = sockets.token();
            let mut socket =
                kernel::bind(at, transport).map_err(|source| SocketError::Bind { transport, at, source })?;
            match &mut socket {
                Listener::Udp(s) => registry.register(s, token, Interest::READABLE),
                Listener::Stream(s, _) => registry.register(s, token, Interest::READABLE),
            }
            .map_err(SocketError::Poll)?;
            sockets.listeners.push(Listening { token, at, socket, starved: false });
        }
        Ok(sockets)
    }

    /// What TLS is done with from here on; connections that are there go on as they are.
    pub fn arm(&mut self, credentials: Option<Credentials>) {
        self.credentials = credentials;
    }

    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Never handed out twice: an event for a connection that is gone finds nobody.
    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token - 1)
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes what waits behind `token` and passes it on. True if there may be more at once.
    pub fn ready(&mut self, now: Time, token: Token, gate: &mut dyn Gate, sink: &mut dyn FnMut(Received)) -> bool {
        if let Some(index) = self.listeners.iter().position(|l| l.token == token) {
            return match &self.listeners[index].socket {
                Listener::Udp(_) => self.datagrams(now, index, gate, sink),
                Listener::Stream(..) => !self.listeners[index].starved && self.accept(now, index, gate),
            };
        }
        let Some(connection) = self.connections.get_mut(&token) else { return false };
        let turn = connection.turn(now, &mut self.buffer, sink);
        let lost = connection.is_lost();
        self.note_handshake(token);
        if lost {
            self.unlist(token);
        }
        if turn == Turn::Dead {
            self.close(now, token, sink);
        }
        turn == Turn::More
    }

    fn datagrams(&mut self, now: Time, index: usize, gate: &mut dyn Gate, sink: &mut dyn FnMut(Received)) -> bool {
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Listener::Udp(socket) = &self.listeners[index].socket else { return false };
            match socket.recv_from(&mut self.buffer) {
                Ok((n, remote)) => {
                    self.counters.datagrams_in += 1;
                    // Whoever is shut out costs no more than this.
                    if !gate.admits(now, remote.ip()) || !gate.heeds(now, remote.ip(), &self.buffer[..n]) {
                        continue;
                    }
                    let flow = Flow {
                        local: ListenerId(index as u16),
                        transport: SipTransport::Udp,
                        remote: kernel::unmapped(remote),
                        connection: None,
                    };
                    // RFC 5626 §4.4.1 and common practice: a datagram of CRLFs keeps a binding open and asks nothing.
                    if self.buffer[..n].iter().any(|b| !matches!(b, b'\r' | b'\n' | 0)) {
                        sink(Received::Datagram(flow, Bytes::copy_from_slice(&self.buffer[..n])));
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) => {
                    if !self.take_refusals(index, &e, sink) {
                        return true;
                    }
                }
            }
        }
        true
    }

    /// Tells of destinations that an ICMP error has come back from; a datagram that was too long for a path is a loss like
    /// any, and the kernel sends the next one shorter. False if none was queued: the error was another.
    fn take_refusals(&mut self, index: usize, error: &io::Error, sink: &mut dyn FnMut(Received)) -> bool {
        let told = error.raw_os_error() != Some(libc::EMSGSIZE);
        let mut any = false;
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Listener::Udp(socket) = &self.listeners[index].socket else { break };
            let Some(remote) = kernel::refused(socket) else { break };
            any = true;
            let local = ListenerId(index as u16);
            if !told {
                continue;
            }
            sink(Received::Lost(Flow { local, transport: SipTransport::Udp, remote, connection: None }));
        }
        any
    }

    fn accept(&mut self, now: Time, index: usize, gate: &mut dyn Gate) -> bool {
        for _ in 0..ACCEPTS_AT_ONCE {
            let listening = &mut self.listeners[index];
            let Listener::Stream(listener, transport) = &listening.socket else { return false };
            let transport = *transport;
            match listener.accept() {
                Ok((stream, remote)) => {
                    listening.starved = false;
                    if gate.shuts_out(now, remote.ip()) {
                        self.counters.connections_banned += 1;
                        continue;
                    }
                    let (local, remote) = (ListenerId(index as u16), kernel::unmapped(remote));
                    let taken = self.take_in(now, stream, local, transport, remote, gate);
                    self.counters.connections_accepted += u64::from(taken);
                    self.counters.connections_refused += u64::from(!taken);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    listening.starved = false;
                    return false;
                }
                Err(e) if kernel::is_shortage(&e) => {
                    if !listening.starved {
                        tracing::warn!(at = %listening.at, "cannot accept SIP connections for now: {e}");
                    }
                    listening.starved = true;
                    return false;
                }
                // It ended before it was taken (accept(2) hands out such errors); those behind it wait still.
                Err(_) => {}
            }
        }
        true
    }

    fn take_in(
        &mut self,
        now: Time,
        stream: TcpStream,
        local: ListenerId,
        transport: SipTransport,
        remote: SocketAddr,
        gate: &mut dyn Gate,
    ) -> bool {
        if self.connections.len() >= SIP_CONNECTIONS {
            return false;
        }
        let Some(source) = self.admission.admit(remote.ip()) else { return false };
        let flow = Flow { local, transport, remote, connection: None };
        let taken = match transport {
            SipTransport::Tls => self.answer_handshake(source, flow, gate).map(Some),
            _ => Some(None),
        };
        let taken = taken.is_some_and(|tls| self.adopt(now, stream, tls, flow, Some(source)).is_some());
        if !taken {
            self.admission.release(source);
        }
        taken
    }

    fn adopt(
        &mut self,
        now: Time,
        mut stream: TcpStream,
        tls: Option<Session>,
        flow: Flow,
        source: Option<Source>,
    ) -> Option<Token> {
        let token = self.token();
        kernel::tune(&stream);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).ok()?;
        let id = self.connection_id(source.is_none());
        let flow = Flow { connection: Some(id), ..flow };
        self.by_id.insert(id, token);
        self.by_remote.insert((flow.local, flow.remote), token);
        self.connections.insert(token, Connection::new(now, stream, tls, flow, source));
        Some(token)
    }

    /// Odd for connections that we open, even for those that peers open: of one that is gone it can still be told
    /// whether its remote port is one to connect to.
    fn connection_id(&mut self, ours: bool) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId(self.next_connection * 2 + u64::from(ours))
    }

    /// New messages no longer choose this connection.
    fn unlist(&mut self, token: Token) {
        let Some(connection) = self.connections.get(&token) else { return };
        let key = (connection.flow.local, connection.flow.remote);
        if self.by_remote.get(&key) == Some(&token) {
            self.by_remote.remove(&key);
        }
    }

    fn close(&mut self, now: Time, token: Token, sink: &mut dyn FnMut(Received)) {
        self.unlist(token);
        let Some(mut connection) = self.connections.remove(&token) else { return };
        self.end_session(now, &mut connection);
        let _ = self.registry.deregister(&mut connection.stream);
        self.counters.connections_lost += 1;
        if let Some(source) = connection.source {
            self.admission.release(source);
        }
        if let Some(id) = connection.flow.connection {
            self.by_id.remove(&id);
        }
        connection.flows().for_each(|flow| sink(Received::Lost(flow)));
    }

    /// Sends `bytes` along `flow`. Over a stream: on its connection; where it names none, on one to the same remote or on a
    /// new one. What surely does not arrive comes back as `Lost`.
    pub fn send(&mut self, now: Time, flow: Flow, bytes: &[u8], gate: &mut dyn Gate, sink: &mut dyn FnMut(Received)) {
        match flow.transport {
            SipTransport::Udp => self.send_datagram(flow, bytes, sink),
            SipTransport::Tcp | SipTransport::Tls => self.send_on_stream(now, flow, bytes, gate, sink),
        }
    }

    fn send_datagram(&mut self, flow: Flow, bytes: &[u8], sink: &mut dyn FnMut(Received)) {
        let index = usize::from(flow.local.0);
        let mut sent = self.try_datagram(index, flow.remote, bytes);
        // The socket reports an earlier datagram's error on whatever comes next: this one was not sent, and is not at fault.
        if let Err(e) = &sent
            && index < self.listeners.len()
            && self.take_refusals(index, e, sink)
        {
            sent = self.try_datagram(index, flow.remote, bytes);
        }
        self.counters.datagrams_out += u64::from(sent.is_ok());
        self.counters.datagrams_refused += u64::from(sent.is_err());
        // RFC 3261 §18.4: an address that cannot be reached is told; anything else is a loss like any on the way.
        if sent.is_err_and(|e| kernel::is_unreachable(&e)) {
            sink(Received::Lost(flow));
        }
    }

    fn try_datagram(&self, index: usize, remote: SocketAddr, bytes: &[u8]) -> io::Result<usize> {
        match self.listeners.get(index).map(|l| &l.socket) {
            Some(Listener::Udp(socket)) => socket.send_to(bytes, remote),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    fn send_on_stream(
        &mut self,
        now: Time,
        flow: Flow,
        bytes: &[u8],
        gate: &mut dyn Gate,
        sink: &mut dyn FnMut(Received),
    ) {
        let token = flow
            .connection
            .and_then(|id| self.by_id.get(&id))
            .copied()
            .or_else(|| self.to_reuse(flow, gate))
            .or_else(|| self.connect(now, flow, gate));
        let Some((token, connection)) = token.and_then(|t| Some((t, self.connections.get_mut(&t)?))) else {
            return sink(Received::Lost(flow));
        };
        if let Some(id) = flow.connection {
            connection.inherit(id);
        }
        if !connection.send(now, bytes) {
            self.close(now, token, sink);
        }
    }

    /// RFC 5923: a connection to the same remote. Over TLS, one whose certificate was held against what is expected now.
    fn to_reuse(&self, flow: Flow, gate: &dyn Gate) -> Option<Token> {
        let token = self.by_remote.get(&(flow.local, flow.remote)).copied()?;
        let connection = self.connections.get(&token)?;
        let Some(tls) = &connection.tls else { return Some(token) };
        let verified = connection.source.is_none() && tls.peers == gate.tls_called(flow.local, flow.remote);
        verified.then_some(token)
    }

    fn connect(&mut self, now: Time, flow: Flow, gate: &dyn Gate) -> Option<Token> {
        // RFC 3261 §18.2.2: where a peer connected from is no place to connect to; the sender knows the other address.
        if flow.connection.is_some_and(|id| id.0 % 2 == 0) || self.connections.len() >= SIP_CONNECTIONS {
            return None;
        }
        let listening = self.listeners.get(usize::from(flow.local.0))?;
        let at = listening.at;
        let tls = match flow.transport {
            SipTransport::Tls => Some(self.begin_handshake(flow, gate)?),
            _ => None,
        };
        let stream = kernel::connect_from(at, flow.remote).ok()?;
        let token = self.adopt(now, stream, tls, flow, None)?;
        self.counters.connections_opened += 1;
        Some(token)
    }

    /// This host answers no more: its peers connect again, to the one that does.
    pub fn close_all(&mut self, now: Time) {
        let all: Vec<Token> = self.connections.keys().copied().collect();
        all.into_iter().for_each(|token| self.close(now, token, &mut |_| ()));
    }

    /// Closes what is overdue: connections that were not made in time, on which no message ever came, or that have been
    /// idle for long; their peers open new ones (RFC 3261 §18); and those of sources that are banned. Accepts where that
    /// had failed. Once a second.
    pub fn sweep(&mut self, now: Time, gate: &mut dyn Gate, sink: &mut dyn FnMut(Received)) {
        let before = self.connections.len();
        let banned: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, c)| c.source.is_some() && gate.shuts_out(now, c.flow.remote.ip()))
            .map(|(token, _)| *token)
            .collect();
        banned.into_iter().for_each(|token| self.close(now, token, sink));
        self.counters.connections_banned += (before - self.connections.len()) as u64;
        let overdue: Vec<Token> =
            self.connections.iter().filter(|(_, c)| c.is_overdue(now)).map(|(token, _)| *token).collect();
        overdue.into_iter().for_each(|token| self.close(now, token, sink));
        self.handshakes_left = SIP_TLS_HANDSHAKES_PER_SECOND;
        for index in 0..self.listeners.len() {
            if self.listeners[index].starved {
                self.catch_up(now, index, gate);
            }
        }
    }

    /// The whole backlog: no event will come for those that have waited.
    fn catch_up(&mut self, now: Time, index: usize, gate: &mut dyn Gate) {
        for _ in 0..=kernel::BACKLOG / ACCEPTS_AT_ONCE {
            if !self.accept(now, index, gate) {
                return;
            }
        }
        self.listeners[index].starved = true;
    }
}
