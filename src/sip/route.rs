//! Which trunk a source belongs to, and where a called number goes. Slow-path thread; compiled once from the
//! configuration, then read only. Look-ups cost the number of distinct prefix lengths, not the number of trunks.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    flow::{ListenerId, Local},
    message::{Scheme, Uri},
};
use crate::config::{Config, SipTransport};

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
    /// Hosts that belong to a trunk though its `from` does not name them.
    hosts: Vec<BTreeSet<IpAddr>>,
    nets: Vec<Vec<IpNet>>,
    prefixes: HashMap<String, Vec<Rule>>,
    longest_prefix: usize,
}

#[derive(Debug)]
struct Rule {
    from: Option<TrunkId>,
    to: Vec<TrunkId>,
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
                .filter_map(|uri| destination(&trunk.name, &trunk.address, uri, locals))
                .collect();
            routing.hosts.push(destinations.iter().map(|d| d.remote.ip()).collect());
            routing.nets.push(trunk.from.clone());
            routing.destinations.push(destinations);
        }
        for ((v6, len), nets) in sources {
            routing.sources[usize::from(v6)].push((len, nets));
        }
        for family in &mut routing.sources {
            family.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
        }
        for route in &config.routes {
            let from = match &route.from {
                None => None,
                Some(name) => match routing.trunks.get(name) {
                    Some(id) => Some(*id),
                    None => continue,
                },
            };
            let to = route.to.iter().filter_map(|name| routing.trunks.get(name).copied()).collect();
            routing.longest_prefix = routing.longest_prefix.max(route.prefix.len());
            routing.prefixes.entry(route.prefix.clone()).or_default().push(Rule { from, to });
        }
        routing
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

    /// Where a call from `from` to `called` goes, in order; None: no route. The longest prefix wins, and among equal
    /// ones the rule that names the trunk it comes from.
    pub fn destinations(&self, called: &str, from: TrunkId) -> Option<Vec<Destination>> {
        let longest = self.longest_prefix.min(called.len());
        for len in (0..=longest).rev() {
            let Some(rules) = called.get(..len).and_then(|prefix| self.prefixes.get(prefix)) else { continue };
            let named = rules.iter().find(|rule| rule.from == Some(from));
            let Some(rule) = named.or_else(|| rules.iter().find(|rule| rule.from.is_none())) else { continue };
            let lists = rule.to.iter().filter_map(|id| self.destinations.get(usize::from(id.0)));
            return Some(lists.flatten().cloned().collect());
        }
        None
    }
}

/// `sip:host[:port][;transport=tcp]` with an IP address as host.
fn destination(trunk: &str, address: &str, text: &str, locals: &[Local]) -> Option<Destination> {
    let uri = Uri::parse(text).ok()?;
    if uri.scheme != Scheme::Sip {
        return None;
    }
    let transport = transport_of(&uri)?;
    let remote = SocketAddr::new(uri.host.ip()?, uri.port.unwrap_or(5060));
    let listener = listener(locals, address, transport)?;
    Some(Destination { trunk: trunk.to_owned(), uri: text.to_owned(), listener, transport, remote })
}

/// The transport that a SIP URI asks for; None: one that we do not have.
pub fn transport_of(uri: &Uri) -> Option<SipTransport> {
    match uri.params.value("transport") {
        None => Some(SipTransport::Udp),
        Some(name) if name.eq_ignore_ascii_case("udp") => Some(SipTransport::Udp),
        Some(name) if name.eq_ignore_ascii_case("tcp") => Some(SipTransport::Tcp),
        Some(_) => None,
    }
}

/// The listener of an address and transport.
pub fn listener(locals: &[Local], address: &str, transport: SipTransport) -> Option<ListenerId> {
    let index = locals.iter().position(|l| l.name == address && l.transport == transport)?;
    u16::try_from(index).ok().map(ListenerId)
}

/// The number that the dial plan looks at: the user part without its parameters, or a `tel:` number (RFC 3966 §5.3)
/// without its visual separators.
pub fn called_number(uri: &Uri) -> String {
    let text = match (&uri.user, &uri.scheme) {
        (Some(user), _) => user.as_str(),
        (None, Scheme::Tel) => uri.opaque.as_str(),
        (None, _) => "",
    };
    let number = text.split(';').next().unwrap_or("");
    if uri.scheme == Scheme::Tel {
        number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect()
    } else {
        number.to_owned()
    }
}
