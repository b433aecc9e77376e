//! The guard at the endpoint's door: what the sockets ask it, what the operator does with bans, and what counts as an
//! offence. Slow-path thread.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use super::Endpoint;
use crate::{
    base::Time,
    sip::{
        flow::{Flow, ListenerId},
        guard::{BanError, Gate, GuardCounters, Offence},
        message::{Malformed, Message},
        route::TrunkId,
        trunk::{TlsPeer, peers},
    },
};

/// A ban as the operator sees it; times in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanSummary {
    pub net: IpNet,
    /// None: the operator's decision.
    pub offence: Option<Offence>,
    pub since_ms: u64,
    pub until_ms: u64,
    pub hits: u64,
}

impl Gate for Endpoint {
    fn admits(&mut self, now: Time, remote: IpAddr) -> bool {
        self.core.guard.admits(self.core.clock.inside(now), remote)
    }

    fn heeds(&mut self, now: Time, remote: IpAddr, datagram: &[u8]) -> bool {
        self.core.guard.heeds(self.core.clock.inside(now), remote, datagram)
    }

    fn shuts_out(&mut self, now: Time, remote: IpAddr) -> bool {
        self.core.guard.shuts_out(self.core.clock.inside(now), remote)
    }

    fn tls_caller(&self, local: ListenerId, remote: IpAddr) -> Option<TrunkId> {
        peers::caller(&self.core, local, remote)
    }

    fn tls_called(&self, local: ListenerId, remote: SocketAddr) -> Vec<TlsPeer> {
        peers::called(&self.core, local, remote)
    }
}

impl Endpoint {
    /// A message on a connection, which the sockets could not ask about before it was framed.
    pub(super) fn lets_in(&mut self, now: Time, flow: &Flow, message: &Result<Message, Malformed>) -> bool {
        if !flow.reliable() {
            return true;
        }
        let (guard, ip) = (&mut self.core.guard, flow.remote.ip());
        guard.admits(now, ip) && message.as_ref().map_or(true, |message| guard.heeds_message(now, ip, message))
    }

    /// What has been refused so far: requests of strangers, and what could not be read.
    pub(super) fn refused_so_far(&self) -> (u64, u64) {
        (self.core.counters.unknown_callers, self.core.counters.malformed.values().sum())
    }

    /// `flow`'s message was refused if there is more of it than `before`.
    pub(super) fn note_offence(&mut self, now: Time, flow: &Flow, before: (u64, u64)) {
        let after = self.refused_so_far();
        let offence = match (after.0 > before.0, after.1 > before.1) {
            (true, _) => Offence::UnknownCaller,
            (_, true) => Offence::Malformed,
            _ => return,
        };
        self.core.guard.offends(now, flow.remote.ip(), offence);
    }

    pub fn guard_counters(&self) -> &GuardCounters {
        &self.core.guard.counters
    }

    /// Bans by offences, and by the operator.
    pub fn ban_counts(&self) -> (usize, usize) {
        self.core.guard.ban_counts()
    }

    /// Forgets bans that have run out. Once a second.
    pub fn tidy_bans(&mut self, now: Time) {
        self.core.guard.tidy(self.core.clock.inside(now));
    }

    pub fn bans(&self, now: Time) -> Vec<BanSummary> {
        let bans = self.core.guard.bans(self.core.clock.inside(now));
        bans.map(|(net, ban)| self.summary(*net, ban)).collect()
    }

    /// Bans a network, for as long as the configuration says if `lasts` does not.
    pub fn ban(&mut self, now: Time, net: IpNet, lasts: Option<Duration>) -> Result<BanSummary, BanError> {
        let ban = self.core.guard.ban(self.core.clock.inside(now), net, lasts)?;
        Ok(self.summary(net.trunc(), &ban))
    }

    pub fn unban(&mut self, net: IpNet) -> Option<BanSummary> {
        let ban = self.core.guard.unban(net)?;
        Some(self.summary(net.trunc(), &ban))
    }

    fn summary(&self, net: IpNet, ban: &crate::sip::guard::Ban) -> BanSummary {
        BanSummary {
            net,
            offence: ban.offence,
            since_ms: self.core.clock.epoch_ms(ban.since),
            until_ms: self.core.clock.epoch_ms(ban.until),
            hits: ban.hits,
        }
    }
}
