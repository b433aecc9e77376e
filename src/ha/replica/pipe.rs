//! A TCP connection to the peer, encrypted and authenticated: Noise_NNpsk0_25519_ChaChaPoly_SHA256 by `snow`. Thread
//! `replica`; the socket never blocks.
//!
//! On the wire: Noise messages, each behind its length in two bytes; in what they decrypt to: frames, each behind its
//! length in four, one without content to show that this end lives. The key is in the first message already (psk0), so
//! who does not have it is not answered; a first message that is replayed leads nowhere, because what follows needs the
//! ephemeral key behind it.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use mio::net::TcpStream;
use snow::{Builder, HandshakeState, TransportState, params::NoiseParams};

use crate::base::{
    Time,
    limits::{REPLICA_FRAME_BYTES, REPLICA_OUTBOX_BYTES, REPLICA_SILENT},
};

const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
/// Binds the key's use to this protocol.
const PROLOGUE: &[u8] = b"tandem replication 1";
/// A Noise message and the tag in it.
const MESSAGE: usize = 65_535;
const TAG: usize = 16;
/// Read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes read from one connection before others, and what is to be sent, get their turn.
const READ_AT_ONCE: usize = 4 << 20;
/// This end shows that it lives.
const ALIVE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not encrypted with our key: {0}")]
    Noise(#[from] snow::Error),
    #[error("a frame of {0} bytes")]
    Frame(usize),
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    #[error("{0} bytes wait to be sent")]
    Full(usize),
}

enum Noise {
    Handshake(Box<HandshakeState>),
    Transport(Box<TransportState>),
    /// Never left standing.
    Between,
}

pub struct Pipe {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    noise: Noise,
    /// Read and not decrypted yet; decrypted and not yet a frame.
    encrypted: Vec<u8>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
    scratch: Vec<u8>,
    heard: Time,
    said: Time,
}

fn handshake(key: &[u8; 32], initiator: bool) -> Result<HandshakeState, snow::Error> {
    let params: NoiseParams = NOISE.parse()?;
    let builder = Builder::new(params).prologue(PROLOGUE)?.psk(0, key)?;
    if initiator { builder.build_initiator() } else { builder.build_responder() }
}

impl Pipe {
    /// Over a connection that is being made, or was accepted; who made it speaks first.
    pub fn new(
        now: Time,
        stream: TcpStream,
        peer: SocketAddr,
        key: &[u8; 32],
        initiator: bool,
    ) -> Result<Pipe, PipeError> {
        let noise = Noise::Handshake(Box::new(handshake(key, initiator)?));
        let mut pipe = Pipe {
            stream,
            peer,
            noise,
            encrypted: Vec::new(),
            plain: Vec::new(),
            outgoing: Vec::new(),
            scratch: vec![0; MESSAGE],
            heard: now,
            said: now,
        };
        if initiator {
            pipe.shake()?;
        }
        Ok(pipe)
    }

    /// The peer has shown that it has the key.
    pub fn is_open(&self) -> bool {
        matches!(self.noise, Noise::Transport(_))
    }

    /// Our message of the handshake.
    fn shake(&mut self) -> Result<(), PipeError> {
        if let Noise::Handshake(state) = &mut self.noise {
            let length = state.write_message(&[], &mut self.scratch)?;
            push(&mut self.outgoing, &self.scratch[..length]);
        }
        self.turn_over()
    }

    fn turn_over(&mut self) -> Result<(), PipeError> {
        self.noise = match std::mem::replace(&mut self.noise, Noise::Between) {
            Noise::Handshake(state) if state.is_handshake_finished() => {
                Noise::Transport(Box::new(state.into_transport_mode()?))
            }
            other => other,
        };
        Ok(())
    }

    /// Queues a frame.
    pub fn send(&mut self, now: Time, frame: &[u8]) -> Result<(), PipeError> {
        let waiting = self.outgoing.len();
        if frame.len() > REPLICA_FRAME_BYTES {
            return Err(PipeError::Frame(frame.len()));
        }
        if waiting > REPLICA_OUTBOX_BYTES {
            return Err(PipeError::Full(waiting));
        }
        self.said = now;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        // The length goes with the first piece: most frames are one message.
        let mut first = Vec::with_capacity(frame.len().min(MESSAGE - TAG) + length.len());
        let (head, rest) = frame.split_at(frame.len().min(MESSAGE - TAG - length.len()));
        first.extend_from_slice(&length);
        first.extend_from_slice(head);
        for piece in std::iter::once(first.as_slice()).chain(rest.chunks(MESSAGE - TAG)) {
            let Noise::Transport(state) = &mut self.noise else { return Ok(()) };
            let written = state.write_message(piece, &mut self.scratch)?;
            push(&mut self.outgoing, &self.scratch[..written]);
        }
        Ok(())
    }

    /// Shows that this end lives, if it has said nothing for a while, and looks whether the other does.
    pub fn look(&mut self, now: Time) -> Result<(), PipeError> {
        let silent = now.since(self.heard);
        if silent > REPLICA_SILENT {
            return Err(PipeError::Silent(silent));
        }
        if self.is_open() && now.since(self.said) >= ALIVE { self.send(now, &[]) } else { Ok(()) }
    }

    /// Gives the kernel what it takes.
    pub fn flush(&mut self) -> Result<(), PipeError> {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(0) => return Err(PipeError::Closed),
                Ok(bytes) => sent += bytes,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.outgoing.drain(..sent);
        Ok(())
    }

    /// Reads what is there, and hands out each frame. True: there may be more.
    pub fn read(&mut self, now: Time, frame: &mut dyn FnMut(&[u8])) -> Result<bool, PipeError> {
        let mut chunk = vec![0; CHUNK];
        let mut total = 0;
        while total < READ_AT_ONCE {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(PipeError::Closed),
                Ok(bytes) => {
                    total += bytes;
                    self.encrypted.extend_from_slice(&chunk[..bytes]);
                    self.decrypt(now, frame)?;
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    fn decrypt(&mut self, now: Time, frame: &mut dyn FnMut(&[u8])) -> Result<(), PipeError> {
        let mut at = 0;
        while let Some((message, next)) = message_at(&self.encrypted, at) {
            let length = match &mut self.noise {
                Noise::Handshake(state) => state.read_message(&self.encrypted[message], &mut self.scratch)?,
                Noise::Transport(state) => state.read_message(&self.encrypted[message], &mut self.scratch)?,
                Noise::Between => 0,
            };
            at = next;
            // Only who has the key is heard.
            self.heard = now;
            match &self.noise {
                Noise::Handshake(state) if state.is_handshake_finished() => self.turn_over()?,
                Noise::Handshake(_) => self.shake()?,
                _ => self.plain.extend_from_slice(&self.scratch[..length]),
            }
            self.frames(frame)?;
        }
        self.encrypted.drain(..at);
        Ok(())
    }

    fn frames(&mut self, frame: &mut dyn FnMut(&[u8])) -> Result<(), PipeError> {
        let mut at = 0;
        while let Some(head) = self.plain.get(at..at + 4) {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if length > REPLICA_FRAME_BYTES {
                return Err(PipeError::Frame(length));
            }
            let Some(content) = self.plain.get(at + 4..at + 4 + length) else { break };
            if length > 0 {
                frame(content);
            }
            at += 4 + length;
        }
        self.plain.drain(..at);
        Ok(())
    }
}

fn push(outgoing: &mut Vec<u8>, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    outgoing.extend_from_slice(&length.to_be_bytes());
    outgoing.extend_from_slice(message);
}

/// The whole message at `at`, and where the next one is.
fn message_at(bytes: &[u8], at: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let head = bytes.get(at..at + 2)?;
    let end = at + 2 + usize::from(u16::from_be_bytes([head[0], head[1]]));
    (end <= bytes.len()).then_some((at + 2..end, end))
}
