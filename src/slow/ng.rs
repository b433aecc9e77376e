//! The sockets of the `ng` protocol, over UDP, TCP and HTTP, and the machine behind them. Runs on the slow-path thread inside its
//! poll loop; never blocks.
//!
//! Always holds: commands are read from allowed addresses only; a round takes a bounded number of them; what is buffered for a
//! connection is bounded, and one whose bytes are no messages, or whose peer does not read, is closed.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use bytes::{Bytes, BytesMut};
use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream, UdpSocket},
};
use socket2::{Domain, Protocol, Socket, Type};

use self::web::{Dress, Step, Web};
use crate::{
    base::{
        Time,
        limits::{NG_CONNECTIONS, NG_HTTP_HEAD_BYTES, NG_MESSAGE_BYTES, NG_OUTGOING_BYTES},
    },
    control::MediaControl,
    ng::{Ng, message},
};

/// Listeners of all kinds together, as the configuration allows.
const LISTENERS: usize = 48;
/// What is read from a connection before it is looked at: a message, in a request where it comes in one.
const INCOMING_BYTES: usize = NG_HTTP_HEAD_BYTES + NG_MESSAGE_BYTES;
/// Commands taken from one socket before the others get their turn: some milliseconds of work.
const COMMANDS_AT_ONCE: usize = 32;
/// Connections taken from one listener before the others get their turn.
const ACCEPTS_AT_ONCE: usize = 16;
/// Kernel buffer of a UDP listener: a second of commands of a busy proxy.
const UDP_BUFFER_BYTES: usize = 4 << 20;
const BACKLOG: i32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum NgSocketError {
    #[error("cannot listen for ng commands on {at}: {source}; is the address this host's, and free?")]
    Bind { at: SocketAddr, source: io::Error },
    #[error("cannot watch an ng socket: {0}")]
    Poll(io::Error),
}

enum Listener {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Http(TcpListener),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
    Http,
}

/// Where it is listened, over each of them.
#[derive(Clone, Copy, Debug)]
pub struct Listens<'a> {
    pub udp: &'a [SocketAddr],
    pub tcp: &'a [SocketAddr],
    pub http: &'a [SocketAddr],
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    incoming: BytesMut,
    outgoing: Vec<u8>,
    /// Messages come in requests, or in WebSocket's messages; None: they stand one behind another.
    web: Option<Web>,
    /// It ends once everything is sent.
    closing: bool,
}

pub struct NgSockets {
    pub machine: Ng,
    registry: Registry,
    first_token: usize,
    listeners: Vec<Listener>,
    connections: HashMap<Token, Connection>,
    buffer: Vec<u8>,
    /// Answers that the kernel did not take.
    pub unsent: u64,
}

impl NgSockets {
    /// Tokens from the first one on that are used here.
    pub const TOKENS: usize = LISTENERS + NG_CONNECTIONS;

    pub fn open(
        machine: Ng,
        Listens { udp, tcp, http }: Listens<'_>,
        registry: &Registry,
        first_token: usize,
    ) -> Result<Self, NgSocketError> {
        let mut listeners = Vec::new();
        let all = [(udp, Over::Udp), (tcp, Over::Tcp), (http, Over::Http)];
        for (at, over) in all.into_iter().flat_map(|(all, over)| all.iter().map(move |at| (*at, over))) {
            let token = Token(first_token + listeners.len());
            let mut listener = bind(at, over).map_err(|source| NgSocketError::Bind { at, source })?;
            match &mut listener {
                Listener::Udp(socket) => registry.register(socket, token, Interest::READABLE),
                Listener::Tcp(socket) | Listener::Http(socket) => registry.register(socket, token, Interest::READABLE),
            }
            .map_err(NgSocketError::Poll)?;
            listeners.push(listener);
        }
        Ok(NgSockets {
            machine,
            registry: registry.try_clone().map_err(NgSocketError::Poll)?,
            first_token,
            listeners,
            connections: HashMap::new(),
            buffer: vec![0; NG_MESSAGE_BYTES + 1],
            unsent: 0,
        })
    }

    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + Self::TOKENS).contains(&token.0)
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes what waits behind `token`. True if there may be more at once.
    pub fn ready(&mut self, now: Time, token: Token, media: &mut dyn MediaControl) -> bool {
        let index = token.0.saturating_sub(self.first_token);
        match self.listeners.get(index) {
            Some(Listener::Udp(_)) => self.datagrams(now, index, media),
            Some(Listener::Tcp(_) | Listener::Http(_)) => self.accept(index),
            None => self.stream(now, token, media),
        }
    }

    fn datagrams(&mut self, now: Time, index: usize, media: &mut dyn MediaControl) -> bool {
        for _ in 0..COMMANDS_AT_ONCE {
            let Some(Listener::Udp(socket)) = self.listeners.get(index) else { return false };
            match socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => {
                    if !self.machine.admits(from.ip()) {
                        continue;
                    }
                    let bytes = Bytes::copy_from_slice(&self.buffer[..len]);
                    if let Some(reply) = self.machine.message(now, from.ip(), &bytes, media) {
                        let sent = socket.send_to(&reply, from);
                        self.unsent += u64::from(sent.is_err());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {}
            }
        }
        true
    }

    fn accept(&mut self, index: usize) -> bool {
        for _ in 0..ACCEPTS_AT_ONCE {
            let (listener, web) = match self.listeners.get(index) {
                Some(Listener::Tcp(listener)) => (listener, None),
                Some(Listener::Http(listener)) => (listener, Some(Web::default())),
                _ => return false,
            };
            match listener.accept() {
                // Whoever is not allowed, or one too many, is dropped, and thereby closed.
                Ok((stream, remote)) => {
                    if self.machine.admits(remote.ip()) {
                        self.adopt(stream, remote, web);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return false,
            }
        }
        true
    }

    fn adopt(&mut self, mut stream: TcpStream, remote: SocketAddr, web: Option<Web>) {
        let first = self.first_token + LISTENERS;
        let free = (first..first + NG_CONNECTIONS).map(Token).find(|token| !self.connections.contains_key(token));
        let Some(token) = free else { return };
        let _ = stream.set_nodelay(true);
        if self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
            let (incoming, outgoing) = (BytesMut::new(), Vec::new());
            let connection = Connection { stream, remote, incoming, outgoing, web, closing: false };
            self.connections.insert(token, connection);
        }
    }

    fn stream(&mut self, now: Time, token: Token, media: &mut dyn MediaControl) -> bool {
        let Self { connections, machine, buffer, .. } = self;
        let Some(connection) = connections.get_mut(&token) else { return false };
        match connection.turn(now, machine, buffer, media) {
            Some(more) => more,
            None => {
                if let Some(mut gone) = self.connections.remove(&token) {
                    let _ = self.registry.deregister(&mut gone.stream);
                }
                false
            }
        }
    }
}

impl Connection {
    /// Reads, answers, writes. None: it is over. Some(true): there may be more.
    fn turn(&mut self, now: Time, machine: &mut Ng, buffer: &mut [u8], media: &mut dyn MediaControl) -> Option<bool> {
        // What comes behind the last request is not read.
        let open = if self.closing { Some(false) } else { self.read(buffer) };
        let mut more = !self.closing;
        let mut left = COMMANDS_AT_ONCE;
        while more && left > 0 {
            more =
                if self.web.is_some() { self.request(now, machine, media) } else { self.message(now, machine, media)? };
            left -= 1;
        }
        self.write()?;
        if self.closing && self.outgoing.is_empty() {
            return None;
        }
        let open = open?;
        (self.outgoing.len() <= NG_OUTGOING_BYTES).then_some(open || more)
    }

    /// Carries out the message in front. None: it is none. False: it has not all come.
    fn message(&mut self, now: Time, machine: &mut Ng, media: &mut dyn MediaControl) -> Option<bool> {
        let waiting = self.incoming.split().freeze();
        let len = match message::length(&waiting) {
            Ok(Some(len)) => len,
            Ok(None) => {
                self.incoming.extend_from_slice(&waiting);
                return Some(false);
            }
            Err(_) => return None,
        };
        self.incoming.extend_from_slice(waiting.get(len..).unwrap_or_default());
        if let Some(reply) = machine.message(now, self.remote.ip(), &waiting.slice(..len), media) {
            self.outgoing.extend_from_slice(&reply);
        }
        Some(true)
    }

    /// The same where messages come in requests.
    fn request(&mut self, now: Time, machine: &mut Ng, media: &mut dyn MediaControl) -> bool {
        let Some(web) = &mut self.web else { return false };
        let source = self.remote.ip();
        web.stand_by(machine.is_standby());
        let mut answer = |bytes: &Bytes, dress| match dress {
            Dress::Cookie => machine.message(now, source, bytes, media),
            Dress::Plain => machine.plain(now, bytes, media),
        };
        let step = web.step(&mut self.incoming, &mut self.outgoing, &mut answer);
        self.closing = step == Step::Close;
        step == Step::Again
    }

    /// None: the peer has closed. Some(true): there may be more to read.
    fn read(&mut self, buffer: &mut [u8]) -> Option<bool> {
        while self.incoming.len() <= INCOMING_BYTES {
            match self.stream.read(buffer) {
                Ok(0) => return None,
                Ok(len) => self.incoming.extend_from_slice(&buffer[..len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(true)
    }

    fn write(&mut self) -> Option<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return None,
                Ok(len) => drop(self.outgoing.drain(..len)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

fn bind(at: SocketAddr, over: Over) -> io::Result<Listener> {
    let (kind, protocol) = if over == Over::Udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    // The address may come later: a floating one is only on the active node.
    match at {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    if over == Over::Udp {
        // The kernel may grant less: that is its limit, not an error.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    } else {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    if over == Over::Udp {
        return Ok(Listener::Udp(UdpSocket::from_std(socket.into())));
    }
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into());
    Ok(if over == Over::Tcp { Listener::Tcp(listener) } else { Listener::Http(listener) })
}

#[cfg(test)]
mod tests;
pub mod web;
