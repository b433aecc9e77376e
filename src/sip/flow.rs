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

/// A listener as another host names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerName {
    address: String,
    transport: SipTransport,
    port: u16,
}

impl From<&Local> for ListenerName {
    fn from(local: &Local) -> Self {
        ListenerName { address: local.name.clone(), transport: local.transport, port: local.bind.port() }
    }
}

/// Makes what another host saved fit this one: its listeners become ours of the same names, and its connections, which
/// died with it, none.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// By their number.
    listeners: Vec<ListenerId>,
}

impl Relocation {
    /// What was there and is not here.
    const NOWHERE: ListenerId = ListenerId(u16::MAX);

    /// Without names both hosts have the same listeners.
    pub fn new(theirs: &[ListenerName], ours: &[Local]) -> Relocation {
        let ours: Vec<ListenerName> = ours.iter().map(ListenerName::from).collect();
        let here = |name: &ListenerName| {
            let same = |our: &&ListenerName| our.address == name.address && our.transport == name.transport;
            let exact = ours.iter().position(|our| our == name);
            let at = exact.or_else(|| ours.iter().position(|our| same(&our)));
            at.and_then(|at| u16::try_from(at).ok()).map_or(Self::NOWHERE, ListenerId)
        };
        Relocation { listeners: theirs.iter().map(here).collect() }
    }

    pub fn listener(&self, id: &mut ListenerId) {
        if !self.listeners.is_empty() {
            *id = self.listeners.get(usize::from(id.0)).copied().unwrap_or(Self::NOWHERE);
        }
    }

    pub fn flow(&self, flow: &mut Flow) {
        flow.connection = None;
        self.listener(&mut flow.local);
    }

    pub fn path(&self, path: &mut Path) {
        *path = path.without_connection().unwrap_or(*path);
        self.flow(&mut path.flow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str, transport: SipTransport, port: u16) -> Local {
        let bind = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port);
        Local { name: name.into(), bind, told: bind.ip(), transport }
    }

    #[test]
    fn listeners_are_found_by_name_wherever_they_stand() {
        let theirs = [
            local("a", SipTransport::Udp, 5060),
            local("b", SipTransport::Tcp, 5060),
            local("a", SipTransport::Udp, 5070),
            local("gone", SipTransport::Udp, 5060),
        ];
        let ours = [
            local("b", SipTransport::Tcp, 5080),
            local("a", SipTransport::Udp, 5070),
            local("a", SipTransport::Udp, 5060),
        ];
        let names: Vec<ListenerName> = theirs.iter().map(ListenerName::from).collect();
        let here = Relocation::new(&names, &ours);
        let moved = [0, 1, 2, 3, 4].map(|id| {
            let mut id = ListenerId(id);
            here.listener(&mut id);
            id.0
        });
        assert_eq!(moved, [2, 0, 1, u16::MAX, u16::MAX]);
    }

    #[test]
    fn a_path_goes_on_without_its_connection() {
        let at = |port| SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port);
        let connection = Some(ConnectionId(7));
        let flow = Flow { local: ListenerId(0), transport: SipTransport::Tcp, remote: at(40_000), connection };
        let mut path = Path { flow, fallback: Some(at(5060)) };
        Relocation::new(&[], &[]).path(&mut path);
        let flow = Flow { remote: at(5060), connection: None, ..flow };
        assert_eq!(path, Path { flow, fallback: None });
    }
}
