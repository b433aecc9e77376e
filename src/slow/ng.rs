//! The sockets of the `ng` protocol, over UDP and TCP, and the machine behind them. Runs on the slow-path thread inside its
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

use crate::{
    base::{
        Time,
        limits::{NG_CONNECTIONS, NG_MESSAGE_BYTES, NG_OUTGOING_BYTES},
    },
    control::MediaControl,
    ng::{Ng, message},
};

/// Listeners of both kinds together, as the configuration allows.
const LISTENERS: usize = 32;
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
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    incoming: BytesMut,
    outgoing: Vec<u8>,
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
        udp: &[SocketAddr],
        tcp: &[SocketAddr],
        registry: &Registry,
        first_token: usize,
    ) -> Result<Self, NgSocketError> {
        let mut listeners = Vec::new();
        for (at, kind) in udp.iter().map(|at| (*at, Type::DGRAM)).chain(tcp.iter().map(|at| (*at, Type::STREAM))) {
            let token = Token(first_token + listeners.len());
            let mut listener = bind(at, kind).map_err(|source| NgSocketError::Bind { at, source })?;
            match &mut listener {
                Listener::Udp(socket) => registry.register(socket, token, Interest::READABLE),
                Listener::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
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
            Some(Listener::Tcp(_)) => self.accept(index),
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
            let Some(Listener::Tcp(listener)) = self.listeners.get(index) else { return false };
            match listener.accept() {
                // Whoever is not allowed, or one too many, is dropped, and thereby closed.
                Ok((stream, remote)) => {
                    if self.machine.admits(remote.ip()) {
                        self.adopt(stream, remote);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return false,
            }
        }
        true
    }

    fn adopt(&mut self, mut stream: TcpStream, remote: SocketAddr) {
        let first = self.first_token + LISTENERS;
        let free = (first..first + NG_CONNECTIONS).map(Token).find(|token| !self.connections.contains_key(token));
        let Some(token) = free else { return };
        let _ = stream.set_nodelay(true);
        if self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
            let connection = Connection { stream, remote, incoming: BytesMut::new(), outgoing: Vec::new() };
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
        let open = self.read(buffer);
        let mut taken = 0;
        while taken < COMMANDS_AT_ONCE {
            let waiting = self.incoming.split().freeze();
            let len = match message::length(&waiting) {
                Ok(Some(len)) => len,
                Ok(None) => {
                    self.incoming.extend_from_slice(&waiting);
                    break;
                }
                Err(_) => return None,
            };
            self.incoming.extend_from_slice(waiting.get(len..).unwrap_or_default());
            if let Some(reply) = machine.message(now, self.remote.ip(), &waiting.slice(..len), media) {
                self.outgoing.extend_from_slice(&reply);
            }
            taken += 1;
        }
        self.write()?;
        let open = open?;
        (self.outgoing.len() <= NG_OUTGOING_BYTES).then_some(open || taken == COMMANDS_AT_ONCE)
    }

    /// None: the peer has closed. Some(true): there may be more to read.
    fn read(&mut self, buffer: &mut [u8]) -> Option<bool> {
        while self.incoming.len() <= NG_MESSAGE_BYTES {
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

fn bind(at: SocketAddr, kind: Type) -> io::Result<Listener> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    // The address may come later: a floating one is only on the active node.
    match at {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        // The kernel may grant less: that is its limit, not an error.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(match kind {
        Type::DGRAM => Listener::Udp(UdpSocket::from_std(socket.into())),
        _ => {
            socket.listen(BACKLOG)?;
            Listener::Tcp(TcpListener::from_std(socket.into()))
        }
    })
}

#[cfg(test)]
mod tests;
