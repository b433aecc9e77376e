//! Who may send SIP at all, and how much: limits by source, scanners, bans. Slow-path thread; pure, the time is an
//! argument, and all that is kept is bounded.
//!
//! It is asked before a datagram is parsed, so that whoever is shut out costs a look-up. Always holds: a trunk's address,
//! and whoever we sent a request to, is never banned, never taken for a scanner and never limited with the strangers.
//! A datagram's source can be forged: what is done to one address must hurt nobody who matters, and does not.

mod bans;
mod meter;
mod networks;
mod scanner;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

pub use self::bans::{Ban, Bans, Offence};
use self::{
    bans::Terms,
    meter::{Bucket, Meter, Rate},
    networks::Networks,
    scanner::Scanners,
};
use crate::{
    base::{
        Time,
        limits::{SIP_SOURCES, SIP_VOUCHED},
    },
    config::Config,
    sip::{
        flow::ListenerId,
        message::{Message, Uri},
        route::TrunkId,
        trunk::TlsPeer,
    },
};

/// Whom we sent a request to may answer, and ask, for this long: a destination whose address only the DNS told.
const VOUCHED: Duration = Duration::from_secs(3_600);

/// Asked by the sockets.
pub trait Gate {
    /// Before a datagram is read.
    fn admits(&mut self, now: Time, remote: IpAddr) -> bool;
    /// Before a datagram that was admitted is parsed.
    fn heeds(&mut self, now: Time, remote: IpAddr, datagram: &[u8]) -> bool;
    /// Whether a connection with `remote` may be, or stay.
    fn shuts_out(&mut self, now: Time, remote: IpAddr) -> bool;
    /// The trunk that a connection over TLS from `remote` comes from.
    fn tls_caller(&self, local: ListenerId, remote: IpAddr) -> Option<TrunkId>;
    /// Who has to be at `remote` for a connection over TLS to it; nobody: none is made.
    fn tls_called(&self, local: ListenerId, remote: SocketAddr) -> Vec<TlsPeer>;
}

/// Messages that were dropped in silence, by reason; and bans, by what earned them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardCounters {
    pub banned: u64,
    pub source_limit: u64,
    pub strangers_limit: u64,
    pub trunk_limit: u64,
    pub scanner: u64,
    /// In the order of `Offence::ALL`.
    pub bans: [u64; Offence::ALL.len()],
}

/// Why a network is not banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    #[error("{0} is an address of a trunk: take it out of the trunk's `from` or `destinations` instead")]
    Trunk(IpNet),
    #[error("there are too many bans already; remove some")]
    TooMany,
    #[error("sip.protection.enabled is false: no ban would hold")]
    Disabled,
}

#[derive(Debug)]
pub struct Guard {
    enabled: bool,
    trunks: Networks<()>,
    /// Until when each of these counts as known.
    vouched: HashMap<IpAddr, Time>,
    of_source: Meter,
    of_trunk: Meter,
    strangers_rate: Rate,
    strangers: Bucket,
    scanners: Scanners,
    bans: Bans,
    pub counters: GuardCounters,
}

impl Guard {
    pub fn new(config: &Config) -> Self {
        let protection = &config.sip.protection;
        let mut trunks = Networks::default();
        for trunk in &config.trunks {
            let registrar = trunk.register.as_ref().map(|rule| &rule.registrar);
            let uris = trunk.destinations.iter().map(|to| &to.uri).chain(registrar);
            let hosts = uris.filter_map(|uri| Uri::parse(uri).ok()?.host.ip());
            for net in trunk.from.iter().copied().chain(hosts.map(IpNet::from)) {
                trunks.insert(net, ());
            }
        }
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        // A second's worth: bursts are what trunks send.
        let steady = |per_s: u32| Rate { per_s, burst: per_s.max(1) };
        let of_source = Rate { per_s: protection.source_per_s, burst: protection.source_burst };
        let strangers_rate = steady(protection.strangers_per_s);
        let terms = Terms {
            after: protection.ban_after,
            window: seconds(protection.ban_window_s),
            lasts: seconds(protection.ban_s),
        };
        Guard {
            enabled: protection.enabled,
            trunks,
            vouched: HashMap::new(),
            of_source: Meter::new(of_source, SIP_SOURCES),
            of_trunk: Meter::new(steady(protection.trunk_per_s), SIP_SOURCES),
            strangers_rate,
            strangers: Bucket::full(&strangers_rate, Time::ZERO),
            scanners: Scanners::new(&protection.scanners),
            bans: Bans::new(terms),
            counters: GuardCounters::default(),
        }
    }

    /// One more message from `ip`: false if it is to be dropped in silence.
    pub fn admits(&mut self, now: Time, ip: IpAddr) -> bool {
        if !self.enabled {
            return true;
        }
        let ip = ip.to_canonical();
        if self.knows(now, ip) {
            let admitted = self.of_trunk.admit(now, IpNet::from(ip));
            self.counters.trunk_limit += u64::from(!admitted);
            return admitted;
        }
        if self.bans.stops(now, ip) {
            self.counters.banned += 1;
            return false;
        }
        let admitted = self.of_source.admit(now, source_of(ip));
        if !admitted {
            self.counters.source_limit += 1;
            self.offends(now, ip, Offence::Limit);
        }
        admitted
    }

    /// The bytes of a datagram that was admitted: false if a scanner wrote it, or if strangers have sent enough. A scanner
    /// is known at little cost; what all strangers share bounds the parsing.
    pub fn heeds(&mut self, now: Time, ip: IpAddr, datagram: &[u8]) -> bool {
        if !self.enabled || self.knows(now, ip.to_canonical()) {
            return true;
        }
        let scanner = self.scanners.in_bytes(datagram);
        self.heeds_stranger(now, ip, scanner)
    }

    /// The same of a message that came on a connection.
    pub fn heeds_message(&mut self, now: Time, ip: IpAddr, message: &Message) -> bool {
        if !self.enabled || self.knows(now, ip.to_canonical()) {
            return true;
        }
        let scanner = self.scanners.in_message(message);
        self.heeds_stranger(now, ip, scanner)
    }

    fn heeds_stranger(&mut self, now: Time, ip: IpAddr, scanner: bool) -> bool {
        if scanner {
            self.counters.scanner += 1;
            self.offends(now, ip, Offence::Scanner);
            return false;
        }
        let admitted = self.strangers.admit(&self.strangers_rate, now);
        self.counters.strangers_limit += u64::from(!admitted);
        admitted
    }

    /// Something was wrong with what `ip` sent.
    pub fn offends(&mut self, now: Time, ip: IpAddr, offence: Offence) {
        let ip = ip.to_canonical();
        if !self.enabled || self.knows(now, ip) {
            return;
        }
        if self.bans.offends(now, source_of(ip), offence)
            && let Some(at) = Offence::ALL.iter().position(|o| *o == offence)
        {
            self.counters.bans[at] += 1;
        }
    }

    /// We send `ip` a request: it counts as known for a while.
    pub fn vouch(&mut self, now: Time, ip: IpAddr) {
        let ip = ip.to_canonical();
        if !self.enabled || self.trunks.contains(ip) {
            return;
        }
        if self.vouched.len() >= SIP_VOUCHED && !self.vouched.contains_key(&ip) {
            self.vouched.retain(|_, until| *until > now);
            if self.vouched.len() >= SIP_VOUCHED {
                return;
            }
        }
        self.vouched.insert(ip, now + VOUCHED);
    }

    fn knows(&self, now: Time, ip: IpAddr) -> bool {
        self.trunks.contains(ip) || self.vouched.get(&ip).is_some_and(|until| *until > now)
    }

    /// Whether a connection with `ip` may not be.
    pub fn shuts_out(&mut self, now: Time, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.enabled && !self.knows(now, ip) && self.bans.is_banned(now, ip)
    }

    /// The operator's ban; also of a network that some trunk's addresses lie in, which it then does not touch.
    pub fn ban(&mut self, now: Time, net: IpNet, lasts: Option<Duration>) -> Result<Ban, BanError> {
        let net = net.trunc();
        if !self.enabled {
            return Err(BanError::Disabled);
        }
        if self.trunks.iter().any(|(trunk, ())| trunk.contains(&net)) {
            return Err(BanError::Trunk(net));
        }
        self.bans.add(now, net, lasts).ok_or(BanError::TooMany)
    }

    /// The ban that was lifted; None: there is none of exactly that network.
    pub fn unban(&mut self, net: IpNet) -> Option<Ban> {
        self.bans.remove(net)
    }

    pub fn bans(&self, now: Time) -> impl Iterator<Item = (&IpNet, &Ban)> {
        self.bans.iter(now)
    }

    /// Bans in force by offences, and by the operator.
    pub fn ban_counts(&self) -> (usize, usize) {
        self.bans.counts()
    }

    /// Forgets what has run out.
    pub fn tidy(&mut self, now: Time) {
        self.bans.tidy(now);
    }

    /// What a standby, or the next process, has to know.
    pub fn book(&self) -> &Bans {
        &self.bans
    }

    pub fn book_mut(&mut self) -> &mut Bans {
        &mut self.bans
    }
}

/// Whose doing a message is: one host on IPv6 usually has a whole /64 to send from.
fn source_of(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(_) => IpNet::from(ip),
        IpAddr::V6(_) => IpNet::new(ip, 64).map_or(IpNet::from(ip), |net| net.trunc()),
    }
}
