//! One TCP connection that carries SIP: whole messages out and in, and whether it still lives.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

use crate::sip::Message;

/// How long a connection may take to come into being.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a look for what came may take.
const LOOK: Duration = Duration::from_millis(2);

pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    unread: Vec<u8>,
}

impl Connection {
    /// From this address: a phone's host may have several, and each belongs to another trunk.
    pub fn open(from: IpAddr, peer: SocketAddr) -> std::io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&peer.into(), CONNECT)?;
        Connection::over(socket.into(), peer)
    }

    pub fn over(stream: TcpStream, peer: SocketAddr) -> std::io::Result<Connection> {
        // Each message leaves as it is written.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        Ok(Connection { stream, peer, unread: Vec::new() })
    }

    /// A connection that is dead is found out by who reads.
    pub fn write(&mut self, text: &str) -> Result<()> {
        match self.stream.write_all(text.as_bytes()) {
            Ok(()) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("nothing can be sent to {}", self.peer)),
        }
    }

    /// The messages that have come; None: the connection is dead.
    pub fn hear(&mut self) -> Result<Option<Vec<Message>>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(length) => self.unread.extend_from_slice(&chunk[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(Some(Vec::new())),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("nothing can be heard of {}", self.peer)),
        }
        let mut messages = Vec::new();
        while let Some(message) = self.next_message()? {
            messages.push(message);
        }
        Ok(Some(messages))
    }

    fn next_message(&mut self) -> Result<Option<Message>> {
        let Some(head) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&self.unread[..head + 4]).into_owned();
        let mut message = Message { at: Duration::ZERO, outgoing: false, from: self.peer, text };
        let body: usize = match message.header("Content-Length").or_else(|| message.header("l")) {
            Some(length) => length.parse().context("a Content-Length that is no number")?,
            None => bail!("a message over TCP without Content-Length: {}", message.start_line()),
        };
        let Some(body) = self.unread.get(head + 4..head + 4 + body) else { return Ok(None) };
        message.text.push_str(&String::from_utf8_lossy(body));
        self.unread.drain(..head + 4 + body.len());
        Ok(Some(message))
    }
}

/// The answer to a request, with this tag behind its To if it has none.
pub fn answer(request: &Message, status: &str, tag: &str, contact: SocketAddr, body: &str) -> String {
    let header = |name| request.header(name).unwrap_or_default();
    let to = header("To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:{contact};transport=tcp>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        header("Via"),
        header("From"),
        header("Call-ID"),
        header("CSeq"),
        body.len()
    )
}
