//! Which of the two hosts is active: a machine with the time as an argument. It hears heartbeats, what its own host can do
//! and what its operator wants, and says what to send, whether the workers may transmit and what the slow path is to do.
//!
//! What always holds, whatever is lost, late or asleep:
//! - A host transmits only while its lease holds. A heartbeat extends it, to a lease after a moment before it left, and only
//!   if it left before a lease had passed since the one before. `detection` is longer than `lease`: who is silent because it
//!   sleeps, before, after or between the two, has stopped before its peer takes over.
//! - A host that finds its lease run out transmits nothing before it knows that nobody has taken over.
//! - It becomes active for one of three reasons, which must hold at that moment: its peer has been silent for a whole
//!   detection time in which this host was awake; its peer lets it (`grant`); or both are passive, have heard each other
//!   within a lease, and the decision is this host's (`authority`).
//! - Of two that are active, the lower generation stops as soon as it hears of the other.
//!
//! `docs/ha.md` says what follows from it, and for how long two can transmit where the network does not let them hear each
//! other.

mod active;
mod claim;
mod machine;
mod passive;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use machine::Machine;

use super::{
    generation::Generation,
    heartbeat::{Advert, Role},
    provider::{Places, ProviderError},
};
use crate::base::Time;

/// How long a host that starts, or has no calls, waits for its peer, before it is active on its own.
pub const START_PATIENCE: Duration = Duration::from_secs(1);
/// How long a granted peer, or a slow path that is to get ready, may take, the provider's time aside.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a claim that the provider took may be confirmed in vain; the EC2 API tells late of what it did.
pub const CONFIRM_PATIENCE: Duration = Duration::from_secs(5);
/// From one look at the addresses to the next, while a claim waits for them.
pub const CONFIRM_SOON: Duration = Duration::from_millis(100);
/// The same, on an active host that does not hear its peer.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// The same, on one that does: an operator may have moved them, or a request of the peer was on its way for long.
pub const CONFIRM_IDLE: Duration = Duration::from_secs(5);
/// From a claim, or a write of the generation, that failed to the next.
pub const RETRY: Duration = Duration::from_secs(1);
/// From one rehearsal of a claim to the next, and how old one may be that still counts.
pub const REHEARSE_EVERY: Duration = Duration::from_secs(30);
/// After one that failed: a slow answer must not cost half a minute of cover.
pub const REHEARSE_AGAIN: Duration = Duration::from_secs(5);
pub const REHEARSED_WITHIN: Duration = Duration::from_secs(90);
/// Unplanned stops within this time lengthen the next hold-down, each twofold, and so many at most.
pub const FLAPPING_WITHIN: Duration = Duration::from_secs(600);
pub const FLAPPING_MOST: usize = 6;
/// A host whose addresses a peer took that it does not hear leaves them there for so long: else the two would take them
/// from each other for as long as they do not hear each other.
pub const GONE: Duration = Duration::from_secs(60);
/// A host that woke, hears its peer, and is not answered though the peer claims nothing, goes on after this.
pub const UNANSWERED: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: String,
    pub peer: String,
    pub heartbeat: Duration,
    pub misses: u32,
    pub drain: Duration,
    pub hold_down: Duration,
    pub preempt: bool,
    pub provider: ProviderKind,
}

impl Settings {
    /// Silence on all paths for so long says that the peer is gone: `misses` heartbeats, and half an interval in which the
    /// last of them may be late.
    pub fn detection(&self) -> Duration {
        self.heartbeat * self.misses + self.heartbeat / 2
    }

    /// The lease, from when a heartbeat was sent: half an interval shorter than the detection, an eighth of it and more at
    /// the usual settings. That is for clocks that differ and for a burst that a worker has begun.
    pub fn lease(&self) -> Duration {
        self.heartbeat * self.misses
    }
}

/// What the machine has to know of the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderKind {
    /// It must be asked for the addresses; else taking over is all.
    pub claims: bool,
    /// It knows who has the addresses.
    pub witness: bool,
}

/// Why a host becomes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It started, and its peer was not heard.
    Alone,
    /// Both were passive, and it was the better one, or as good.
    Elected,
    /// The peer was silent.
    Silence,
    /// The peer stopped because it was not well, or had just started, and let it.
    Handover,
    /// The peer drained for it: an operator's wish, or a preemption.
    Switchover,
}

impl Cause {
    pub const ALL: [Cause; 5] = [Cause::Alone, Cause::Elected, Cause::Silence, Cause::Handover, Cause::Switchover];

    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Alone => "alone",
            Cause::Elected => "elected",
            Cause::Silence => "silence",
            Cause::Handover => "handover",
            Cause::Switchover => "switchover",
        }
    }
}

/// Why a host stops being active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The peer is active under a higher generation, or has the addresses and wants to be.
    Outranked,
    /// The provider says that the addresses are elsewhere.
    AddressesGone,
    /// It is not well, and the peer is ready.
    Fault,
    /// It drained, and the peer has taken over.
    Switchover,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::Outranked, Reason::AddressesGone, Reason::Fault, Reason::Switchover];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Outranked => "outranked",
            Reason::AddressesGone => "addresses_gone",
            Reason::Fault => "fault",
            Reason::Switchover => "switchover",
        }
    }
}

/// What the slow path is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lease holds already, so media flows: put the addresses on, announce them, go on with SIP. Answered by
    /// `Report::Activated`.
    Activate {
        generation: Generation,
        cause: Cause,
        /// When the peer was last heard, where its silence is the cause; else when it was decided.
        last_heard: Time,
        detected_at: Time,
    },
    /// The lease has ended already: take the addresses off, forget all calls, be an empty standby.
    Deactivate { reason: Reason },
    /// A planned switchover: begin nothing that is not yet begun, bring the peer up to date, and report `Prepared`. Media
    /// flows on.
    Prepare,
    /// The peer takes over now: send nothing of your own until the next order. Media that still enters is forwarded.
    Drain,
    /// The switchover did not come about: go on as before.
    Resume,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// The other host is to be active; asked on either.
    Switchover,
    /// This host takes nothing over, and hands nothing over, until `Join`.
    Freeze,
    /// It takes part again, at once: neither frozen nor held down.
    Join,
}

/// What the provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Claim(Generation),
    Confirm,
    Rehearse,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Claimed(Result<(), ProviderError>),
    Confirmed(Result<Places, ProviderError>),
    Rehearsed(Result<(), ProviderError>),
}

/// What the machine wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A heartbeat on every path, at once.
    Send(Advert),
    /// Workers may transmit until then, if the heartbeat before it has left before `by`: else `late` is to be said instead. A
    /// peer that did not get it in time counts its silence from the one before.
    Lease {
        until: Time,
        by: Time,
    },
    EndLease,
    /// Onto the disk: this host may be active under it. One at a time; answered by `persisted`.
    Persist(Generation),
    Ask(Ask),
    Order(Order),
    /// For the log.
    Note(String),
}

/// How often what happened, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub takeovers: [u64; Cause::ALL.len()],
    pub stops: [u64; Reason::ALL.len()],
    /// The lease ran out while this host was active.
    pub overslept: u64,
    /// Claims that came to nothing.
    pub abandoned: u64,
    /// The provider did not say where the addresses are.
    pub unconfirmed: u64,
}

/// What is known of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    pub advert: Advert,
    pub heard_at: Time,
}

/// The machine from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub role: Role,
    /// Active or claiming under this one; else the highest that it knows to have been active.
    pub generation: Generation,
    pub since: Time,
    pub lease_until: Option<Time>,
    pub revalidating: bool,
    pub frozen: bool,
    pub held_until: Option<Time>,
    pub unfit: Option<String>,
    pub synced: bool,
    pub ready: bool,
    /// Why the provider would not move the addresses.
    pub rehearsal: Option<String>,
    /// Why the next generation is not on disk.
    pub disk: Option<String>,
    pub silent: bool,
    pub peer: Option<PeerView>,
}
