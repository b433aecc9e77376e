//! What the two hosts of a pair tell each other every few milliseconds, on every path. Pure: bytes and the time come as
//! arguments; the pair thread has the sockets.
//!
//! - `wire`: the datagram, its layout and its seal.
//! - `channel`: which datagrams are news. A heartbeat counts only if it answers one of ours, so that a recording of it is
//!   worth nothing: neither to this process later, nor to the next one.

pub mod channel;
pub mod wire;

use serde::{Deserialize, Serialize};

pub use channel::{Channel, News, Rejected};
pub use wire::{BYTES, Key};

/// What a host is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Waits to hear its peer, for a bounded time.
    #[default]
    Starting,
    Standby,
    /// It is to be active as soon as its generation is on disk and the addresses are here.
    Claiming,
    Active,
    /// A planned switchover: it still forwards, and the peer takes over.
    Draining,
    /// Not active, and not able to be.
    Faulted,
}

impl Role {
    pub const ALL: [Role; 6] =
        [Role::Starting, Role::Standby, Role::Claiming, Role::Active, Role::Draining, Role::Faulted];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Starting => "starting",
            Role::Standby => "standby",
            Role::Claiming => "claiming",
            Role::Active => "active",
            Role::Draining => "draining",
            Role::Faulted => "faulted",
        }
    }

    /// It has, or had until a moment ago, the right to transmit.
    pub fn is_active(self) -> bool {
        matches!(self, Role::Active | Role::Draining)
    }

    /// It has no right to transmit and seeks none.
    pub fn is_passive(self) -> bool {
        matches!(self, Role::Starting | Role::Standby | Role::Faulted)
    }
}

/// Whose a generation is, as the sender of a heartbeat names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Neither of the two: of a host that was replaced, or none yet.
    #[default]
    Neither,
    Sender,
    Recipient,
}

/// What a heartbeat says of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Advert {
    pub role: Role,
    /// Number of the generation that it is active under, or claims; 0: neither.
    pub claim: u64,
    /// The highest generation that it knows to have been active.
    pub term: (u64, Owner),
    /// The highest number that it has heard of.
    pub seen: u64,
    pub flags: Flags,
}

/// The answers to yes-or-no questions about a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Its workers, its port, its slow path are well.
    pub fit: bool,
    /// It may be asked to take over: fit, not held down, not frozen, and its provider would move the addresses.
    pub eligible: bool,
    /// It has every call of the active host.
    pub synced: bool,
    /// Eligible and synchronised.
    pub ready: bool,
    /// Its lease holds.
    pub holding: bool,
    /// The recipient may take over now: the sender does not, until the recipient is known not to have.
    pub grant: bool,
    /// It would like to be granted.
    pub wants: bool,
    /// It wants an answer at once: it has just woken.
    pub asks: bool,
    /// It takes over nothing until an operator lets it.
    pub frozen: bool,
    /// It takes over from a peer that does not say the same, once it is ready.
    pub preempts: bool,
    /// It has every call, as things were when it last heard of them.
    pub whole: bool,
}

impl Flags {
    /// It would go on with the calls, if perhaps not with the last of what happened to them.
    pub fn has_calls(self) -> bool {
        self.synced || self.whole
    }

    fn bits(self) -> u16 {
        let flags = [
            self.fit,
            self.eligible,
            self.synced,
            self.ready,
            self.holding,
            self.grant,
            self.wants,
            self.asks,
            self.frozen,
            self.preempts,
            self.whole,
        ];
        flags.iter().enumerate().fold(0, |bits, (at, set)| bits | u16::from(*set) << at)
    }

    fn from_bits(bits: u16) -> Flags {
        let bit = |at: u16| bits >> at & 1 == 1;
        Flags {
            fit: bit(0),
            eligible: bit(1),
            synced: bit(2),
            ready: bit(3),
            holding: bit(4),
            grant: bit(5),
            wants: bit(6),
            asks: bit(7),
            frozen: bit(8),
            preempts: bit(9),
            whole: bit(10),
        }
    }
}

/// A nonce of a process, with the newest counter that was heard from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    pub nonce: u64,
    pub counter: u64,
}

/// One heartbeat. The same goes out on every path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Of the sending process; the counter goes up by one with every heartbeat.
    pub own: Echo,
    /// The recipient's process, as the sender has accepted it; zeros: none.
    pub known: Echo,
    /// A process that the sender has heard and does not yet believe in; zeros: none.
    pub newcomer: Echo,
    pub advert: Advert,
}
