//! The `ng` protocol inside HTTP and WebSocket, as rtpengine's `listen-http` has it: bytes of one connection in, messages out to
//! the machine, bytes to be sent back. Does no I/O; slow-path thread.
//!
//! Always holds: a head, a body and a WebSocket message are bounded before anything is kept of them; what is no request is
//! answered with why, and its connection closed; a page of another origin in somebody's browser is refused. On the standby of a
//! pair nothing is carried out, and whoever asks is told so, that a proxy or a balancer goes to the other host.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tungstenite::{
    WebSocket,
    error::{CapacityError, Error as WebSocketError, ProtocolError},
    handshake::derive_accept_key,
    protocol::{CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode},
};

use crate::base::limits::{NG_HTTP_HEAD_BYTES, NG_HTTP_HEADERS, NG_MESSAGE_BYTES};

/// The media type and the subprotocol of messages with a cookie, and of those without.
const TYPE: &str = "application/x-rtpengine-ng";
const JSON_TYPE: &str = "application/json";
const SUBPROTOCOLS: [(&str, Dress); 2] =
    [("ng.rtpengine.com", Dress::Cookie), ("ng-plain.rtpengine.com", Dress::Plain)];
/// What tungstenite reads ahead: a usual command.
const READ_BYTES: usize = 4_096;

/// Whether messages have a cookie in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    Cookie,
    Plain,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Wait,
    /// Something was taken; there may be more.
    Again,
    /// The connection ends once everything is sent.
    Close,
}

/// Carries out one message; None: there is no answer to it.
pub type Answer<'a> = &'a mut dyn FnMut(&Bytes, Dress) -> Option<Bytes>;

#[derive(Default)]
pub struct Web {
    /// From the upgrade on.
    socket: Option<(Box<WebSocket<Pipe>>, Dress)>,
    /// The request that is coming in was told to go on (RFC 9110 §10.1.1).
    continued: bool,
    standby: bool,
}

impl Web {
    /// Whether this host is the standby of its pair.
    pub fn stand_by(&mut self, standby: bool) {
        self.standby = standby;
    }

    /// Takes one request or one WebSocket message from the front of `incoming`.
    pub fn step(&mut self, incoming: &mut BytesMut, outgoing: &mut Vec<u8>, answer: Answer<'_>) -> Step {
        match &mut self.socket {
            Some((socket, dress)) => {
                let answer: Option<Answer<'_>> = if self.standby { None } else { Some(answer) };
                message(socket, *dress, incoming, outgoing, answer)
            }
            None => self.request(incoming, outgoing, answer),
        }
    }

    fn request(&mut self, incoming: &mut BytesMut, outgoing: &mut Vec<u8>, answer: Answer<'_>) -> Step {
        if incoming.is_empty() {
            return Step::Wait;
        }
        let head = match Head::read(incoming) {
            Ok(Some(head)) => head,
            Ok(None) if incoming.len() > NG_HTTP_HEAD_BYTES => return refuse(outgoing, Status::HeadTooLarge),
            Ok(None) => return Step::Wait,
            Err(status) => return refuse(outgoing, status),
        };
        if incoming.len() - head.bytes < head.body_bytes {
            if head.expects && !self.continued {
                outgoing.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.continued = true;
            }
            return Step::Wait;
        }
        self.continued = false;
        incoming.advance(head.bytes);
        let body = incoming.split_to(head.body_bytes).freeze();
        if self.standby {
            return refuse(outgoing, Status::Standby);
        }
        let (status, kind, said) = match head.asks {
            Asks::Upgrade { key, dress } => {
                let (name, _) = SUBPROTOCOLS.into_iter().find(|(_, of)| *of == dress).unwrap_or(SUBPROTOCOLS[0]);
                let accept = derive_accept_key(key.as_bytes());
                outgoing.extend_from_slice(
                    format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {name}\r\n\r\n"
                    )
                    .as_bytes(),
                );
                self.socket =
                    Some((Box::new(WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(limits()))), dress));
                return Step::Again;
            }
            Asks::Ping => (Status::Ok, "text/plain", Bytes::from_static(b"pong")),
            Asks::Carry { dress, kind } => match answer(&body, dress) {
                Some(reply) => (Status::Ok, kind, reply),
                None => return refuse(outgoing, Status::NoMessage),
            },
        };
        write(outgoing, status, kind, &said, head.keeps);
        if head.keeps { Step::Again } else { Step::Close }
    }
}

/// What a request's head says, as far as it matters.
struct Head {
    bytes: usize,
    body_bytes: usize,
    /// The client waits to be told to send the body.
    expects: bool,
    /// The connection stays for another request.
    keeps: bool,
    asks: Asks,
}

enum Asks {
    Ping,
    Carry { dress: Dress, kind: &'static str },
    Upgrade { key: String, dress: Dress },
}

impl Head {
    /// None: it has not all come.
    fn read(bytes: &[u8]) -> Result<Option<Head>, Status> {
        let mut fields = [httparse::EMPTY_HEADER; NG_HTTP_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) if len > NG_HTTP_HEAD_BYTES => return Err(Status::HeadTooLarge),
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
            Err(_) => return Err(Status::Bad),
        };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Err(Status::Bad);
        };
        let fields = Fields(request.headers);
        // A page of somebody's browser may not command: its origin is not where it sends to (RFC 6455 §10.2).
        if let Some(origin) = fields.one("Origin")?
            && origin.split_once("://").map(|(_, host)| host) != fields.one("Host")?
        {
            return Err(Status::OtherOrigin);
        }
        if fields.one("Transfer-Encoding")?.is_some() {
            return Err(Status::NoLength);
        }
        let length = fields.one("Content-Length")?;
        let digits = length.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let body_bytes = match (length, digits) {
            (None, _) => None,
            (Some(_), None) => return Err(Status::Bad),
            // What is no number of ours is too large.
            (_, Some(digits)) => Some(digits.parse().unwrap_or(usize::MAX)),
        };
        if body_bytes.is_some_and(|bytes| bytes > NG_MESSAGE_BYTES) {
            return Err(Status::BodyTooLarge);
        }
        let path = target.split('?').next().unwrap_or_default();
        let asks = if fields.has("Connection", "upgrade") && fields.has("Upgrade", "websocket") {
            upgrade(method, &fields)?
        } else {
            let plain = match path {
                "/ping" if method == "GET" => None,
                "/ng" if method == "POST" => Some(Dress::Cookie),
                "/ng-plain" if method == "POST" => Some(Dress::Plain),
                "/ping" | "/ng" | "/ng-plain" => {
                    return Err(Status::OtherMethod(if path == "/ping" { "GET" } else { "POST" }));
                }
                _ => return Err(Status::NotHere),
            };
            match plain {
                None => Asks::Ping,
                Some(dress) => Asks::Carry { dress, kind: media_type(dress, fields.one("Content-Type")?)? },
            }
        };
        if matches!(asks, Asks::Carry { .. }) && body_bytes.is_none() {
            return Err(Status::NoLength);
        }
        // RFC 9112 §9.3: connections of HTTP/1.1 stay unless one side says otherwise.
        let keeps = version == 1 && !fields.has("Connection", "close");
        let expects = version == 1 && fields.has("Expect", "100-continue");
        Ok(Some(Head { bytes: len, body_bytes: body_bytes.unwrap_or(0), expects, keeps, asks }))
    }
}

/// RFC 6455 §4.2.1.
fn upgrade(method: &str, fields: &Fields<'_>) -> Result<Asks, Status> {
    if method != "GET" {
        return Err(Status::OtherMethod("GET"));
    }
    if fields.one("Sec-WebSocket-Version")? != Some("13") {
        return Err(Status::OtherVersion);
    }
    // 16 bytes in base64.
    let key = fields.one("Sec-WebSocket-Key")?.filter(|key| key.len() == 24 && key.ends_with("=="));
    let key = key.ok_or(Status::Bad)?.to_owned();
    let wanted = SUBPROTOCOLS.into_iter().find(|(name, _)| fields.has("Sec-WebSocket-Protocol", name));
    let (_, dress) = wanted.ok_or(Status::NoSubprotocol)?;
    Ok(Asks::Upgrade { key, dress })
}

fn media_type(dress: Dress, said: Option<&str>) -> Result<&'static str, Status> {
    let said = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim();
    match dress {
        _ if said.eq_ignore_ascii_case(TYPE) => Ok(TYPE),
        Dress::Plain if said.eq_ignore_ascii_case(JSON_TYPE) => Ok(JSON_TYPE),
        _ => Err(Status::OtherType),
    }
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let ours = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        ours.map(|field| std::str::from_utf8(field.value).unwrap_or_default().trim())
    }

    /// A field that stands once; twice, nobody knows which one counts.
    fn one(&self, name: &str) -> Result<Option<&'a str>, Status> {
        let mut all = self.all(name);
        match (all.next(), all.next()) {
            (found, None) => Ok(found),
            _ => Err(Status::Bad),
        }
    }

    /// Whether a list names something.
    fn has(&self, name: &str, wanted: &str) -> bool {
        self.all(name).flat_map(|list| list.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Bad,
    /// There was no answer to what the body holds.
    NoMessage,
    NoSubprotocol,
    OtherOrigin,
    NotHere,
    /// With the one that is right.
    OtherMethod(&'static str),
    NoLength,
    BodyTooLarge,
    OtherType,
    OtherVersion,
    HeadTooLarge,
    Standby,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::Bad | Status::NoMessage | Status::NoSubprotocol => "400 Bad Request",
            Status::OtherOrigin => "403 Forbidden",
            Status::NotHere => "404 Not Found",
            Status::OtherMethod(_) => "405 Method Not Allowed",
            Status::NoLength => "411 Length Required",
            Status::BodyTooLarge => "413 Content Too Large",
            Status::OtherType => "415 Unsupported Media Type",
            Status::OtherVersion => "426 Upgrade Required",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Standby => "503 Service Unavailable",
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Status::Ok => "",
            Status::Bad => "this is no request",
            Status::NoMessage => "the body is no message of the ng protocol",
            Status::NoSubprotocol => "the subprotocols here are ng.rtpengine.com and ng-plain.rtpengine.com",
            Status::OtherOrigin => "pages of another origin may not send commands",
            Status::NotHere => "here are /ng, /ng-plain and /ping",
            Status::OtherMethod(_) => "another method is wanted here",
            Status::NoLength => "say Content-Length, without a transfer coding",
            Status::BodyTooLarge => "no message is that long",
            Status::OtherType => "the type is application/x-rtpengine-ng, for /ng-plain also application/json",
            Status::OtherVersion => "the version of WebSocket here is 13",
            Status::HeadTooLarge => "the head is too long",
            Status::Standby => "this host is the standby of its pair: ask the other",
        }
    }
}

fn refuse(outgoing: &mut Vec<u8>, status: Status) -> Step {
    write(outgoing, status, "text/plain", format!("{}\n", status.why()).as_bytes(), false);
    Step::Close
}

fn write(outgoing: &mut Vec<u8>, status: Status, kind: &str, body: &[u8], keeps: bool) {
    let more = match status {
        Status::OtherMethod(right) => format!("Allow: {right}\r\n"),
        Status::OtherVersion => "Sec-WebSocket-Version: 13\r\n".to_owned(),
        _ => String::new(),
    };
    let close = if keeps { "" } else { "Connection: close\r\n" };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{more}{close}\r\n",
        status.line(),
        body.len()
    );
    outgoing.extend_from_slice(head.as_bytes());
    outgoing.extend_from_slice(body);
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(NG_MESSAGE_BYTES))
        .max_frame_size(Some(NG_MESSAGE_BYTES))
}

/// One frame's worth: pings are answered and a close is closed by the library. Without an answerer, a message closes.
fn message(
    socket: &mut WebSocket<Pipe>,
    dress: Dress,
    incoming: &mut BytesMut,
    outgoing: &mut Vec<u8>,
    answer: Option<Answer<'_>>,
) -> Step {
    // Only when all of it is read: what waits stays where it is bounded.
    if socket.get_ref().incoming.is_empty() {
        socket.get_mut().incoming = incoming.split();
    }
    let read = socket.read();
    let said = match &read {
        Ok(Message::Text(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Ok(Message::Binary(bytes)) => Some(bytes.clone()),
        _ => None,
    };
    let reply = match (said, answer) {
        (Some(bytes), Some(answer)) => answer(&bytes, dress),
        (Some(_), None) => {
            // RFC 6455 §7.4.1 leaves 1012 and 1013 to IANA's registry: come again, elsewhere.
            let _ = socket.close(Some(CloseFrame { code: CloseCode::Again, reason: Status::Standby.why().into() }));
            let _ = socket.flush();
            outgoing.append(&mut socket.get_mut().outgoing);
            return Step::Close;
        }
        _ => None,
    };
    let replied = reply.map(|reply| {
        // A text in, a text out, where the answer is one.
        let text = matches!(read, Ok(Message::Text(_))).then(|| std::str::from_utf8(&reply).ok()).flatten();
        socket.write(text.map_or_else(|| Message::Binary(reply.clone()), Message::text))
    });
    let step = match (read, replied) {
        (Ok(_), None | Some(Ok(()))) => Step::Again,
        (Err(WebSocketError::Io(e)), _) if e.kind() == ErrorKind::WouldBlock => {
            if incoming.is_empty() {
                Step::Wait
            } else {
                Step::Again
            }
        }
        (Err(error), _) => {
            let _ = code(&error).map(|code| socket.close(Some(CloseFrame { code, reason: Default::default() })));
            Step::Close
        }
        (_, Some(Err(_))) => Step::Close,
    };
    // The answer to a ping or a close leaves with this.
    let flushed = socket.flush();
    outgoing.append(&mut socket.get_mut().outgoing);
    if flushed.is_ok() { step } else { Step::Close }
}

/// RFC 6455 §7.4.1: why we close, where the peer has not done so.
fn code(error: &WebSocketError) -> Option<CloseCode> {
    match error {
        WebSocketError::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::Size),
        WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        WebSocketError::Protocol(_) => Some(CloseCode::Protocol),
        WebSocketError::Utf8(_) => Some(CloseCode::Invalid),
        _ => None,
    }
}

/// A connection in memory, for a library that wants to read and write one.
#[derive(Default)]
struct Pipe {
    incoming: BytesMut,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = into.len().min(self.incoming.len());
        self.incoming.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
