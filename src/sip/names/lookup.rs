//! From a name to servers (RFC 3263 §4.1 and §4.2): which questions follow from which answers. Pure.
//!
//! What fails on the way is taken as absent, as long as anything is found: servers that refuse NAPTR are common. Bounded:
//! no more than `RECORDS` of any kind are followed.

use super::{Answer, Naptr, Query, QueryKind, Records, Server, Srv};
use crate::config::{NamedDestination, SipTransport};

const RECORDS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Perhaps none.
    Servers {
        servers: Vec<Server>,
        ttl_s: u32,
    },
    Failed,
}

/// A way to reach the name: by its SRV records.
#[derive(Clone, Debug)]
struct Service {
    rank: u16,
    transport: SipTransport,
    srv: String,
}

/// A host whose addresses are wanted.
#[derive(Clone, Debug)]
struct Wanted {
    host: String,
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Naptr,
    Srv,
    Addresses,
}

#[derive(Debug)]
pub struct Lookup {
    named: NamedDestination,
    transports: Vec<SipTransport>,
    v6: bool,
    stage: Stage,
    pending: Vec<Query>,
    naptrs: Vec<Naptr>,
    services: Vec<Service>,
    srvs: Vec<(Service, Srv)>,
    wanted: Vec<Wanted>,
    ttl_s: u32,
    failed: bool,
}

impl Lookup {
    /// `transports`: those that the trunk's address has; `v6`: its family.
    pub fn new(named: &NamedDestination, transports: &[SipTransport], v6: bool) -> Lookup {
        Lookup {
            named: named.clone(),
            transports: transports.to_vec(),
            v6,
            stage: Stage::Naptr,
            pending: Vec::new(),
            naptrs: Vec::new(),
            services: Vec::new(),
            srvs: Vec::new(),
            wanted: Vec::new(),
            ttl_s: u32::MAX,
            failed: false,
        }
    }

    /// The first questions.
    pub fn start(&mut self) -> Vec<Query> {
        match (self.named.port, self.named.transport) {
            // §4.2: a port says that there are no SRV records to look for; §4.1: UDP, if no transport is said.
            (Some(port), transport) => {
                let transport = transport.unwrap_or(self.usual());
                self.want(self.named.host.clone(), server(0, transport, port));
                self.ask_addresses()
            }
            (None, Some(transport)) => {
                self.services = vec![self.service(0, transport)];
                self.ask_services()
            }
            (None, None) => self.ask(vec![Query { name: self.named.host.clone(), kind: QueryKind::Naptr }]),
        }
    }

    /// What follows from an answer; nothing, if it was not asked for.
    pub fn answered(&mut self, query: &Query, answer: &Answer) -> Vec<Query> {
        let Some(at) = self.pending.iter().position(|pending| pending == query) else { return Vec::new() };
        self.pending.swap_remove(at);
        match answer {
            Answer::Found { records, ttl_s } => {
                self.ttl_s = self.ttl_s.min(*ttl_s);
                self.take(query, records);
            }
            Answer::Nothing { ttl_s } => self.ttl_s = self.ttl_s.min(*ttl_s),
            Answer::Failed => self.failed = true,
        }
        if self.pending.is_empty() { self.go_on() } else { Vec::new() }
    }

    /// None: answers are awaited.
    pub fn outcome(&self) -> Option<Outcome> {
        if !self.pending.is_empty() || self.stage != Stage::Addresses {
            return None;
        }
        let found = self.wanted.iter().map(|wanted| &wanted.server).filter(|server| !server.addresses.is_empty());
        let servers: Vec<Server> = found.cloned().collect();
        if servers.is_empty() && self.failed {
            return Some(Outcome::Failed);
        }
        Some(Outcome::Servers { servers, ttl_s: self.ttl_s })
    }

    fn ask(&mut self, mut queries: Vec<Query>) -> Vec<Query> {
        queries.sort();
        queries.dedup();
        self.pending = queries.clone();
        queries
    }

    fn ask_services(&mut self) -> Vec<Query> {
        self.stage = Stage::Srv;
        let queries = self.services.iter().map(|s| Query { name: s.srv.clone(), kind: QueryKind::Srv }).collect();
        self.ask(queries)
    }

    fn ask_addresses(&mut self) -> Vec<Query> {
        self.stage = Stage::Addresses;
        let kind = if self.v6 { QueryKind::Aaaa } else { QueryKind::A };
        let queries = self.wanted.iter().map(|wanted| Query { name: wanted.host.clone(), kind }).collect();
        self.ask(queries)
    }

    fn take(&mut self, query: &Query, records: &Records) {
        match records {
            Records::Naptr(naptrs) => self.naptrs.extend(naptrs.iter().take(RECORDS).cloned()),
            Records::Srv(srvs) => {
                let service = self.services.iter().find(|service| service.srv == query.name).cloned();
                let Some(service) = service else { return };
                self.srvs.extend(srvs.iter().take(RECORDS).map(|srv| (service.clone(), srv.clone())));
            }
            Records::Addresses(addresses) => {
                let fit = |ip: &&std::net::IpAddr| ip.is_ipv6() == self.v6;
                let addresses: Vec<_> = addresses.iter().filter(fit).take(RECORDS).copied().collect();
                for wanted in self.wanted.iter_mut().filter(|wanted| wanted.host == query.name) {
                    wanted.server.addresses.clone_from(&addresses);
                }
            }
        }
    }

    /// All that was asked for in a stage was answered.
    fn go_on(&mut self) -> Vec<Query> {
        match self.stage {
            Stage::Naptr => {
                self.services = self.services_of_naptrs();
                if self.services.is_empty() {
                    // §4.1: no usable NAPTR record: SRV for each transport that we have.
                    let ranks = (0u16..).zip(self.transports.clone());
                    self.services = ranks.map(|(rank, transport)| self.service(rank, transport)).collect();
                }
                self.ask_services()
            }
            Stage::Srv => {
                for (service, srv) in std::mem::take(&mut self.srvs) {
                    let target = plain(&srv.target);
                    // RFC 2782, Target: "." says that the service is decidedly not there.
                    if !target.is_empty() {
                        let (priority, weight) = (srv.priority, srv.weight);
                        self.want(
                            target,
                            Server { priority, weight, ..server(service.rank, service.transport, srv.port) },
                        );
                    }
                }
                if self.wanted.is_empty() {
                    // §4.2: no SRV records: the name itself, at the default port; §4.1: over UDP unless it says otherwise.
                    let transport = self.named.transport.unwrap_or(self.usual());
                    self.want(self.named.host.clone(), server(0, transport, transport.default_port()));
                }
                self.ask_addresses()
            }
            Stage::Addresses => Vec::new(),
        }
    }

    /// §4.1: UDP, if nothing says otherwise; where the listener has none, what it has.
    fn usual(&self) -> SipTransport {
        let first = self.transports.first().copied().unwrap_or(SipTransport::Udp);
        if self.transports.contains(&SipTransport::Udp) { SipTransport::Udp } else { first }
    }

    fn want(&mut self, host: String, server: Server) {
        if self.wanted.len() < RECORDS {
            self.wanted.push(Wanted { host, server });
        }
    }

    fn service(&self, rank: u16, transport: SipTransport) -> Service {
        // §4.1, §4.2: TLS over TCP is the service sips.
        let service = match transport {
            SipTransport::Udp => "_sip._udp",
            SipTransport::Tcp => "_sip._tcp",
            SipTransport::Tls => "_sips._tcp",
        };
        Service { rank, transport, srv: format!("{service}.{}", self.named.host) }
    }

    /// §4.1: NAPTR records with the services of transports that we have, by order and preference (RFC 3403 §4.1).
    fn services_of_naptrs(&self) -> Vec<Service> {
        let mut usable: Vec<(&Naptr, SipTransport)> = self
            .naptrs
            .iter()
            .filter(|naptr| naptr.flags.eq_ignore_ascii_case("s"))
            .filter_map(|naptr| {
                let transport = match naptr.service.to_ascii_uppercase().as_str() {
                    "SIP+D2U" => SipTransport::Udp,
                    "SIP+D2T" => SipTransport::Tcp,
                    "SIPS+D2T" => SipTransport::Tls,
                    _ => return None,
                };
                self.transports.contains(&transport).then_some((naptr, transport))
            })
            .collect();
        usable.sort_by_key(|(naptr, _)| (naptr.order, naptr.preference));
        let ranked = (0u16..).zip(usable);
        ranked.map(|(rank, (naptr, transport))| Service { rank, transport, srv: plain(&naptr.replacement) }).collect()
    }
}

fn server(rank: u16, transport: SipTransport, port: u16) -> Server {
    Server { rank, priority: 0, weight: 0, transport, port, addresses: Vec::new() }
}

/// As questions are compared: without the dot at the end, in lower case.
pub fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
