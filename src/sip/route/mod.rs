//! Which trunk a source belongs to, and where a called number goes. Slow-path thread; compiled once from the
//! configuration, then read only. Look-ups cost the number of distinct prefix lengths, not the number of trunks.
//!
//! `plan` finds the rule, `numbers` reads and writes telephone numbers, `times` says when a rule holds. Here: whose
//! source an address is, and the destinations of a trunk.

mod numbers;
mod plan;
#[cfg(test)]
mod tests;
mod times;

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    flow::{ListenerId, Local},
    message::{Scheme, Uri},
};
use crate::config::{Config, NamedDestination, SipTransport};

pub use numbers::{Number, Numbers, called_number, normalise};
pub use plan::{Asked, Choice, Considered, Plan, Verdict};
pub use times::zone;

/// Index into `config.trunks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrunkId(pub u16);

/// One place a call can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub trunk: String,
    /// As configured, for records.
    pub uri: String,
    pub listener: ListenerId,
    pub transport: SipTransport,
    pub remote: SocketAddr,
}

/// Networks of one prefix length, and whose they are.
type Sources = HashMap<IpNet, Vec<TrunkId>>;

#[derive(Debug, Default)]
pub struct Routing {
    /// Prefix lengths in use, longest first, for each family; the networks of that length by address.
    sources: [Vec<(u8, Sources)>; 2],
    /// Trunk names by place and places by name.
    trunks: HashMap<String, TrunkId>,
    addresses: Vec<String>,
    destinations: Vec<Vec<Destination>>,
    /// Where tandem registers with each trunk.
    registrars: Vec<Option<Destination>>,
    /// Hosts that belong to a trunk though its `from` does not name them.
    hosts: Vec<BTreeSet<IpAddr>>,
    nets: Vec<Vec<IpNet>>,
    plan: Plan,
}

impl Routing {
    /// What the configuration says. Names that lead nowhere are left out: the loader refuses them.
    pub fn new(config: &Config, locals: &[Local]) -> Routing {
        let mut routing = Routing::default();
        let mut sources: HashMap<(bool, u8), Sources> = HashMap::new();
        for (index, trunk) in (0u16..).zip(&config.trunks) {
            let id = TrunkId(index);
            routing.trunks.entry(trunk.name.clone()).or_insert(id);
            routing.addresses.push(trunk.address.clone());
            for net in &trunk.from {
                let net = net.trunc();
                let v6 = matches!(net, IpNet::V6(_));
                sources.entry((v6, net.prefix_len())).or_default().entry(net).or_default().push(id);
            }
            let destinations: Vec<Destination> = trunk
                .destinations
                .iter()
                .filter_map(|to| destination(&trunk.name, &trunk.address, &to.uri, locals))
                .collect();
            let registrar = trunk.register.as_ref().and_then(|rule| {
                let uri = &rule.registrar;
                destination(&trunk.name, &trunk.address, uri, locals)
            });
            routing.hosts.push(destinations.iter().chain(&registrar).map(|d| d.remote.ip()).collect());
            routing.registrars.push(registrar);
            routing.nets.push(trunk.from.clone());
            routing.destinations.push(destinations);
        }
        for ((v6, len), nets) in sources {
            routing.sources[usize::from(v6)].push((len, nets));
        }
        for family in &mut routing.sources {
            family.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
        }
        routing.plan = Plan::new(config, &routing.trunks);
        routing
    }

    /// A destination of a trunk, or its registrar, by its URI as configured.
    pub fn place(&self, trunk: &str, uri: &str) -> Option<&Destination> {
        let at = usize::from(self.trunk(trunk)?.0);
        let all = self.destinations.get(at)?.iter().chain(self.registrars.get(at)?);
        all.into_iter().find(|to| to.uri == uri)
    }

    pub fn trunk(&self, name: &str) -> Option<TrunkId> {
        self.trunks.get(name).copied()
    }

    /// The trunk that `source` calls from: longest prefix; among equals, the one that signals at `address`, then the
    /// first configured.
    pub fn trunk_of(&self, source: IpAddr, address: &str) -> Option<TrunkId> {
        let source = source.to_canonical();
        for (len, nets) in &self.sources[usize::from(source.is_ipv6())] {
            let Ok(net) = IpNet::new(source, *len) else { continue };
            if let Some(found) = nets.get(&net.trunc()) {
                let here = found.iter().find(|id| self.addresses.get(usize::from(id.0)).is_some_and(|a| a == address));
                return here.or(found.first()).copied();
            }
        }
        None
    }

    /// Whether `host` is one that the trunk's configuration names, as a source or as a destination.
    pub fn knows(&self, trunk: TrunkId, host: IpAddr) -> bool {
        let at = usize::from(trunk.0);
        self.hosts.get(at).is_some_and(|hosts| hosts.contains(&host))
            || self.nets.get(at).is_some_and(|nets| nets.iter().any(|net| net.contains(&host)))
    }

    /// Which rule a call follows, and why.
    pub fn choose(&self, asked: &Asked) -> Choice {
        self.plan.choose(asked)
    }

    /// Where a call to these trunks goes, in order.
    pub fn destinations(&self, to: &[TrunkId]) -> Vec<Destination> {
        let lists = to.iter().filter_map(|id| self.destinations.get(usize::from(id.0)));
        lists.flatten().cloned().collect()
    }

    /// The number in a URI, as a trunk means it.
    pub fn number(&self, uri: &Uri, trunk: TrunkId) -> Number {
        Number::of(uri, self.plan.scheme(trunk))
    }

    /// A number as it is written towards a trunk.
    pub fn written(&self, number: &Number, trunk: TrunkId) -> String {
        number.written(self.plan.scheme(trunk))
    }
}

/// `sip:host[:port][;transport=tcp]`, `sips:host[:port]`. A host name has no address yet: `trunk::choice` fills it in.
fn destination(trunk: &str, address: &str, text: &str, locals: &[Local]) -> Option<Destination> {
    let uri = Uri::parse(text).ok()?;
    if !uri.scheme.is_sip() {
        return None;
    }
    let transport = transport_of(&uri)?;
    let named = NamedDestination::parse(text).is_some();
    let ip = uri.host.ip().or(named.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))?;
    let remote = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
    let any = || locals.iter().position(|l| l.name == address).and_then(|at| u16::try_from(at).ok()).map(ListenerId);
    let listener = listener(locals, address, transport).or_else(|| named.then(any).flatten())?;
    Some(Destination { trunk: trunk.to_owned(), uri: text.to_owned(), listener, transport, remote })
}

/// The transport that a SIP URI asks for; None: one that we do not have.
pub fn transport_of(uri: &Uri) -> Option<SipTransport> {
    let asked = uri.params.value("transport").map(SipTransport::from_word);
    match (uri.scheme == Scheme::Sips, asked) {
        (false, None) => Some(SipTransport::Udp),
        (false, Some(asked)) => asked,
        // RFC 3261 §26.2.2: over TLS; `transport=tcp` says what is under it.
        (true, None | Some(Some(SipTransport::Tcp | SipTransport::Tls))) => Some(SipTransport::Tls),
        (true, Some(_)) => None,
    }
}

/// The listener of an address and transport.
pub fn listener(locals: &[Local], address: &str, transport: SipTransport) -> Option<ListenerId> {
    let index = locals.iter().position(|l| l.name == address && l.transport == transport)?;
    u16::try_from(index).ok().map(ListenerId)
}
