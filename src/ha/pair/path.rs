//! One path of the heartbeats: a UDP socket, and what became of what came in. Pair thread.

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdSocket},
};

use mio::{Interest, Registry, Token, net::UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    base::{Time, limits::HA_DATAGRAMS},
    config::HaLink,
    ha::{
        heartbeat::{
            BYTES, Heartbeat, Key, Rejected,
            wire::{self, Malformed},
        },
        link::{Count, PathStatus},
    },
};

/// What was not believed, by reason.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    source: u64,
    foreign: u64,
    seal: u64,
    old: u64,
    unproven: u64,
}

pub struct Path {
    link: HaLink,
    socket: UdpSocket,
    heard: u64,
    refused: Refused,
    send_errors: u64,
}

impl Path {
    /// An interface that is not there yet is no reason not to start: the other path may do.
    pub fn open(link: HaLink, registry: &Registry, token: Token) -> io::Result<Path> {
        let socket = Socket::new(Domain::for_address(link.local), Type::DGRAM, Some(Protocol::UDP))?;
        match link.local {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
        socket.set_nonblocking(true)?;
        socket.bind(&link.local.into())?;
        let mut socket = UdpSocket::from_std(StdSocket::from(socket));
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Path { link, socket, heard: 0, refused: Refused::default(), send_errors: 0 })
    }

    pub fn send(&mut self, at: usize, heartbeat: &Heartbeat, key: &Key) {
        let bytes = wire::encode(heartbeat, at as u8, key);
        // A peer that is down, or a link: the next one goes out all the same.
        self.send_errors += u64::from(self.socket.send_to(&bytes, self.link.peer).is_err());
    }

    /// Takes what waits, `HA_DATAGRAMS` at most. True if more may wait.
    pub fn hear(&mut self, key: &Key, take: &mut dyn FnMut(u8, &Heartbeat) -> Result<(), Rejected>) -> bool {
        // One byte more than a heartbeat has, so that a longer datagram is not taken for one.
        let mut bytes = [0; BYTES + 1];
        for _ in 0..HA_DATAGRAMS {
            let (length, from) = match self.socket.recv_from(&mut bytes) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error for what was sent; the next datagram may wait behind it.
                Err(_) => continue,
            };
            if from != self.link.peer {
                self.refused.source += 1;
                continue;
            }
            match wire::decode(&bytes[..length], key) {
                Ok((heartbeat, left)) => match take(left, &heartbeat) {
                    Ok(()) => self.heard += 1,
                    Err(Rejected::Old) => self.refused.old += 1,
                    Err(Rejected::Unproven) => self.refused.unproven += 1,
                },
                Err(Malformed::Seal | Malformed::Sender) => self.refused.seal += 1,
                Err(Malformed::Foreign | Malformed::Field) => self.refused.foreign += 1,
            }
        }
        true
    }

    pub fn status(&self, at: usize, heard_at: Option<Time>, now: Time) -> PathStatus {
        let Refused { source, foreign, seal, old, unproven } = self.refused;
        let named = [("source", source), ("foreign", foreign), ("seal", seal), ("old", old), ("unproven", unproven)];
        PathStatus {
            path: at + 1,
            local: self.link.local.to_string(),
            peer: self.link.peer.to_string(),
            heard_s: heard_at.map(|heard| now.since(heard).as_secs_f64()),
            heard: self.heard,
            refused: named.map(|(name, count)| Count { name: name.to_owned(), count }).to_vec(),
            send_errors: self.send_errors,
        }
    }
}
