//! One connection over TCP, with or without TLS: bytes in and out, and what makes it overdue. Runs on the slow-path thread.
//!
//! Always holds: at most `SIP_OUTGOING_BYTES` wait to be sent and at most one pong among them; one turn of reading is
//! bounded, whatever the peer sends.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, BytesMut};
use mio::net::TcpStream;

use super::{Received, admission::Source, secure::Session};
use crate::{
    base::{
        Time,
        limits::{
            SIP_CONNECT, SIP_CONNECTION_HEIR_OF, SIP_CONNECTION_IDLE, SIP_FIRST_MESSAGE, SIP_LAST_ANSWER,
            SIP_OUTGOING_BYTES, SIP_TLS_HANDSHAKE,
        },
    },
    sip::{
        flow::{ConnectionId, Flow},
        message::{Framer, StreamItem},
    },
};

/// Fillings of the buffer taken from one connection before the others get their turn.
const READS_AT_ONCE: usize = 4;
/// RFC 5626 §4.4.1.
const PONG: &[u8] = b"\r\n";

/// How a turn on a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing more to do before the next event.
    Done,
    /// There may be more to read.
    More,
    Dead,
}

pub struct Connection {
    pub stream: TcpStream,
    /// None: in the clear.
    pub tls: Option<Box<Session>>,
    pub flow: Flow,
    /// Former connections in whose place this one was opened.
    heir_of: Vec<ConnectionId>,
    /// Whom it is counted against; None: we opened it.
    pub source: Option<Source>,
    framer: Framer,
    outgoing: BytesMut,
    pong_waits: bool,
    connected: bool,
    /// A whole message came on it.
    heard: bool,
    opened: Time,
    last_used: Time,
    /// When the framing was lost: nothing is read any more, what is to be said may still go out.
    lost: Option<Time>,
}

impl Connection {
    pub fn new(now: Time, stream: TcpStream, tls: Option<Session>, flow: Flow, source: Option<Source>) -> Self {
        Connection {
            stream,
            tls: tls.map(Box::new),
            flow,
            heir_of: Vec::new(),
            connected: source.is_some(),
            source,
            framer: Framer::new(),
            outgoing: BytesMut::new(),
            pong_waits: false,
            heard: false,
            opened: now,
            last_used: now,
            lost: None,
        }
    }

    /// Whether new messages may choose it; on one that lost its framing only answers to what came on it go out.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// From here on what happens to this connection is told of `former` too.
    pub fn inherit(&mut self, former: ConnectionId) {
        if Some(former) == self.flow.connection || self.heir_of.contains(&former) {
            return;
        }
        if self.heir_of.len() >= SIP_CONNECTION_HEIR_OF {
            self.heir_of.remove(0);
        }
        self.heir_of.push(former);
    }

    /// The flows that end with it.
    pub fn flows(&self) -> impl Iterator<Item = Flow> {
        let former = self.heir_of.iter().map(|id| Flow { connection: Some(*id), ..self.flow });
        std::iter::once(self.flow).chain(former)
    }

    pub fn is_overdue(&self, now: Time) -> bool {
        let age = now.since(self.opened);
        self.lost.is_some_and(|at| now.since(at) > SIP_LAST_ANSWER)
            || !self.connected && age > SIP_CONNECT
            || self.is_handshaking() && age > SIP_TLS_HANDSHAKE
            || self.source.is_some() && !self.heard && age > SIP_FIRST_MESSAGE
            || now.since(self.last_used) > SIP_CONNECTION_IDLE
    }

    /// False if the connection is dead, or has so much to send that its peer must be.
    pub fn send(&mut self, now: Time, bytes: &[u8]) -> bool {
        if self.outgoing.len() + bytes.len() > SIP_OUTGOING_BYTES {
            return false;
        }
        self.last_used = now;
        self.outgoing.extend_from_slice(bytes);
        !self.connected || self.flush()
    }

    /// An event came, or the last turn ended with `More`.
    pub fn turn(&mut self, now: Time, buffer: &mut [u8], sink: &mut dyn FnMut(Received)) -> Turn {
        match self.is_connected() {
            Some(true) => {}
            Some(false) => return Turn::Done,
            None => return Turn::Dead,
        }
        let read = if self.is_lost() { Turn::Done } else { self.read(now, buffer, sink) };
        // After reading: an answer that waits goes out, and so does the pong.
        if read == Turn::Dead || !self.flush() { Turn::Dead } else { read }
    }

    /// None: it cannot be made.
    fn is_connected(&mut self) -> Option<bool> {
        if !self.connected {
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(e) if e.kind() == ErrorKind::NotConnected => {
                    let failed = self.stream.take_error().ok()?.is_some();
                    return (!failed).then_some(false);
                }
                Err(_) => return None,
            }
        }
        Some(true)
    }

    fn read(&mut self, now: Time, buffer: &mut [u8], sink: &mut dyn FnMut(Received)) -> Turn {
        let mut pinged = false;
        let mut end = Turn::More;
        for _ in 0..READS_AT_ONCE {
            match self.take_in(buffer) {
                Ok(0) => end = Turn::Dead,
                Ok(n) => {
                    self.framer.push(buffer.get(..n).unwrap_or(&[]));
                    if self.take_items(now, &mut pinged, sink) {
                        continue;
                    }
                    end = if self.is_lost() { Turn::Done } else { Turn::Dead };
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => end = Turn::Done,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => end = Turn::Dead,
            }
            break;
        }
        if self.framer.buffered() == 0 {
            // Many connections are quiet for long: they are not to hold the room of their largest message.
            self.framer = Framer::new();
        }
        if pinged {
            self.pong();
        }
        end
    }

    /// False if the stream can no longer be followed.
    fn take_items(&mut self, now: Time, pinged: &mut bool, sink: &mut dyn FnMut(Received)) -> bool {
        loop {
            match self.framer.next() {
                Ok(None) => return true,
                Ok(Some(StreamItem::Ping)) => {
                    self.last_used = now;
                    *pinged = true;
                }
                Ok(Some(StreamItem::Message(message))) => {
                    self.last_used = now;
                    self.heard = true;
                    sink(Received::Message(self.flow, Box::new(Ok(*message))));
                }
                Ok(Some(StreamItem::Malformed(malformed))) => {
                    sink(Received::Message(self.flow, Box::new(Err(malformed))));
                }
                Err(lost) => {
                    self.lost = lost.0.reply.is_some().then_some(now);
                    sink(Received::Message(self.flow, Box::new(Err(lost.0))));
                    return false;
                }
            }
        }
    }

    /// RFC 5626 §4.4.1: a ping is answered with a pong. One that still waits answers all pings that came before it went.
    fn pong(&mut self) {
        if !self.pong_waits && self.outgoing.len() + PONG.len() <= SIP_OUTGOING_BYTES {
            self.outgoing.extend_from_slice(PONG);
            self.pong_waits = true;
        }
    }

    fn take_in(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, buffer),
            None => self.stream.read(buffer),
        }
    }

    fn give_out(&mut self) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.stream, &self.outgoing),
            None => self.stream.write(&self.outgoing),
        }
    }

    /// Until all is written or the kernel takes no more; then the next event says when it does. False if it is dead.
    fn flush(&mut self) -> bool {
        if let Some(tls) = &mut self.tls
            && let Err(e) = tls.flush(&mut self.stream)
        {
            return e.kind() == ErrorKind::WouldBlock;
        }
        while !self.outgoing.is_empty() {
            match self.give_out() {
                Ok(0) => return false,
                Ok(n) => self.outgoing.advance(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.pong_waits = false;
        self.outgoing = BytesMut::new();
        true
    }

    #[cfg(test)]
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.len()
    }
}
