//! Who is at the other end of a connection over TLS, as far as the configuration and the DNS say. Slow-path thread; pure.

use std::net::{IpAddr, SocketAddr};

use crate::{
    config::{SipTransport, Trunk},
    sip::{endpoint::Core, flow::ListenerId, route::TrunkId},
};

/// Whom a certificate has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    pub trunk: TrunkId,
    /// One of these.
    pub names: Vec<String>,
}

/// Whose address `remote` is at this listener: whose certificate it has to show, if that trunk demands one.
pub fn caller(core: &Core, local: ListenerId, remote: IpAddr) -> Option<TrunkId> {
    core.routing.trunk_of(remote, &core.local(local)?.name)
}

/// Whom we expect at `remote`. RFC 5922 §7.3: what a certificate has to name comes from the configuration, never from the
/// DNS. Several, where trunks share an address; none, where nobody is to be connected to.
pub fn called(core: &Core, local: ListenerId, remote: SocketAddr) -> Vec<TlsPeer> {
    let Some(name) = core.local(local).map(|local| local.name.as_str()) else { return Vec::new() };
    let here = || (0u16..).map(TrunkId).zip(&core.config.trunks).filter(|(_, trunk)| trunk.address == name);
    let mut peers: Vec<TlsPeer> = here()
        .filter_map(|(id, trunk)| {
            let hosts = hosts_at(core, id, trunk, Some(remote));
            (!hosts.is_empty()).then(|| TlsPeer { trunk: id, names: told(trunk, hosts) })
        })
        .collect();
    let calls_from = caller(core, local, remote.ip());
    if peers.is_empty() {
        // Where a Contact or Via of the trunk leads.
        let known =
            calls_from.or_else(|| here().find(|(_, trunk)| core.knows(&trunk.name, remote.ip())).map(|(id, _)| id));
        let Some((id, trunk)) = known.and_then(|id| here().find(|(at, _)| *at == id)) else { return Vec::new() };
        let mut names = told(trunk, hosts_at(core, id, trunk, None));
        names.extend(trunk.tls.peer_names.iter().cloned());
        peers.extend((!names.is_empty()).then_some(TlsPeer { trunk: id, names }));
    }
    // What comes back on that connection counts as from whoever calls from there.
    if let Some((id, trunk)) = calls_from.and_then(|id| here().find(|(at, _)| *at == id))
        && trunk.tls.demands_certificate()
        && peers.iter().all(|peer| peer.trunk != id)
    {
        peers.push(TlsPeer { trunk: id, names: trunk.tls.peer_names.clone() });
    }
    peers
}

fn told(trunk: &Trunk, hosts: Vec<String>) -> Vec<String> {
    match &trunk.tls.server_name {
        Some(name) if !hosts.is_empty() => vec![name.clone()],
        _ => hosts,
    }
}

/// The hosts of a trunk's destinations over TLS, those at `remote` only if it is given.
fn hosts_at(core: &Core, id: TrunkId, trunk: &Trunk, remote: Option<SocketAddr>) -> Vec<String> {
    let fits = |at: SocketAddr| remote.is_none_or(|remote| remote == at);
    let mut hosts: Vec<String> = core
        .routing
        .destinations(&[id])
        .iter()
        .filter(|to| to.transport == SipTransport::Tls && !to.remote.ip().is_unspecified() && fits(to.remote))
        .map(|to| to.remote.ip().to_string())
        .collect();
    hosts.extend(core.names.hosts(&trunk.name, SipTransport::Tls, remote));
    hosts.sort();
    hosts.dedup();
    hosts
}
