//! Where a SIP message came from or goes to. Slow-path thread; plain values that the endpoint and the event loop share.
//!
//! A flow names the local socket by its place in the configuration, so that it means the same on a standby.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::{Config, SipTransport};

/// Index into the list of `Local`s, in the order of `Local::from_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerId(pub u16);

/// A connection of a reliable transport, numbered by the event loop; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// A socket that tandem listens on: one per address and transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Name of the `[[address]]`.
    pub name: String,
    pub bind: SocketAddr,
    /// What peers are told: the advertised address where there is one.
    pub told: IpAddr,
    pub transport: SipTransport,
}

impl Local {
    /// The listeners that `sip.listen` asks for. An entry that names no address is left out: the loader refuses it.
    pub fn from_config(config: &Config) -> Vec<Local> {
        let mut locals = Vec::new();
        for listen in &config.sip.listen {
            let Some(address) = config.addresses.iter().find(|a| a.name == listen.address) else { continue };
            for &transport in &listen.transports {
                locals.push(Local {
                    name: address.name.clone(),
                    bind: SocketAddr::new(address.local, listen.port_of(transport)),
                    told: address.advertise.unwrap_or(address.local),
                    transport,
                });
            }
        }
        locals
    }

    /// Address and port as peers are told.
    pub fn told_addr(&self) -> SocketAddr {
        SocketAddr::new(self.told, self.bind.port())
    }
}

/// One direction is implied by use: received from `remote` at `local`, or to be sent from `local` to `remote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    pub local: ListenerId,
    pub transport: SipTransport,
    pub remote: SocketAddr,
    /// The connection it came on or must go back on. None on a message to send over a stream: any connection to `remote`,
    /// or a new one.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    pub fn reliable(&self) -> bool {
        self.transport.is_stream()
    }
}

/// A flow to send on, and where to try next if its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Path {
    pub flow: Flow,
    /// Used once, with a fresh connection, when `flow.connection` fails (RFC 3261 §18.2.2, §18.4).
    pub fallback: Option<SocketAddr>,
}

impl Path {
    pub fn direct(flow: Flow) -> Self {
        Path { flow, fallback: None }
    }

    /// The path to use once the connection failed; None if there is no other.
    pub fn without_connection(&self) -> Option<Path> {
        self.flow.connection?;
        let remote = self.fallback?;
        Some(Path { flow: Flow { remote, connection: None, ..self.flow }, fallback: None })
    }
}
