//! Replication as pure machines: what the active host sends and when it gives a standby up (`Sender`), and what the
//! standby makes of it (`Receiver`). No I/O, no clock; the thread that carries the frames is `ha::replica`.
//!
//! A *session* is one connection: it begins with `Start`, behind which every entry comes once, a few at a time, between
//! the changes, which come at once. A *batch* is what one round of the active host's slow path changed; it is applied
//! whole, in order, and acknowledged by its number. Always:
//!
//! - a batch that was acknowledged is in what the standby takes over with, whatever happens to the connection;
//! - a standby that does not keep up, or misses a batch, costs the active host nothing but a new session;
//! - what a standby knew before a session stays until all of that session's entries have come.

mod receiver;
mod sender;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    receiver::{Action, Broken, Receiver},
    sender::{Lag, Overrun, Peer, Sender},
};
use crate::{
    base::{
        Time,
        ids::SessionId,
        pack::{Packer, unpack},
    },
    control::{MediaChanges, SavedMedia},
    ng::{NgChanges, SavedCall},
    sip::endpoint::{self, Changes},
};

/// What an entry is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    Sip(endpoint::Key),
    Media(SessionId),
    /// A call of the `ng` protocol, by its Call-ID.
    Ng(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// From 1, without a gap within a session.
    pub seq: u64,
    /// On the clock of the active host's state.
    pub at: Time,
    pub puts: Vec<(Key, Bytes)>,
    pub deletes: Vec<Key>,
    /// With this one, every entry has come.
    #[serde(default)]
    pub complete: bool,
}

impl Batch {
    pub fn of(sip: Changes, media: MediaChanges, ng: NgChanges, packer: &mut Packer) -> Batch {
        let mut puts: Vec<(Key, Bytes)> = sip.puts.into_iter().map(|(key, value)| (Key::Sip(key), value)).collect();
        puts.extend(media.puts.iter().map(|(id, saved)| (Key::Media(*id), packer.pack(saved))));
        puts.extend(ng.puts.into_iter().map(|(id, saved)| (Key::Ng(id), packer.pack(&saved))));
        let mut deletes: Vec<Key> = sip.deletes.into_iter().map(Key::Sip).collect();
        deletes.extend(media.deletes.into_iter().map(Key::Media));
        deletes.extend(ng.deletes.into_iter().map(Key::Ng));
        Batch { seq: 0, at: sip.at, puts, deletes, complete: false }
    }

    /// For those who go on with it.
    pub fn apart(self) -> Parts {
        let mut sip = Changes { at: self.at, ..Changes::default() };
        let (mut media, mut ng, mut unread) = (Vec::new(), Vec::new(), 0);
        for (key, value) in self.puts {
            match key {
                Key::Sip(key) => sip.puts.push((key, value)),
                Key::Media(id) => match unpack(&value) {
                    Some(saved) => media.push((id, Some(saved))),
                    None => unread += 1,
                },
                Key::Ng(id) => match unpack(&value) {
                    Some(saved) => ng.push((id, Some(saved))),
                    None => unread += 1,
                },
            }
        }
        for key in self.deletes {
            match key {
                Key::Sip(key) => sip.deletes.push(key),
                Key::Media(id) => media.push((id, None)),
                Key::Ng(id) => ng.push((id, None)),
            }
        }
        Parts { sip, media, ng, complete: self.complete, unread }
    }

    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// About what it takes on the wire.
    pub fn bytes(&self) -> usize {
        const EACH: usize = 48;
        EACH * (1 + self.puts.len() + self.deletes.len())
            + self.puts.iter().map(|(_, value)| value.len()).sum::<usize>()
    }
}

/// A batch, by who takes it.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub sip: Changes,
    /// None: it is closed.
    pub media: Vec<(SessionId, Option<SavedMedia>)>,
    /// None: it has ended.
    pub ng: Vec<(String, Option<SavedCall>)>,
    pub complete: bool,
    /// Sessions and calls that could not be read.
    pub unread: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// The first of either side.
    Hello(Hello),
    /// Of the active host: what follows is all there is.
    Start {
        session: u64,
    },
    Batch {
        session: u64,
        batch: Batch,
    },
    /// Of the standby: it has all up to here.
    Ack {
        session: u64,
        seq: u64,
    },
}

/// A version, and the oldest one that can be talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub speaks: u16,
    pub least: u16,
}

impl Version {
    pub const fn fits(self, other: Version) -> bool {
        self.speaks >= other.least && other.speaks >= self.least
    }
}

/// The frames. A release that adds a kind of frame raises `speaks`; one that cannot do without it raises `least`.
pub const WIRE: Version = Version { speaks: 1, least: 1 };
/// The entries. A release that adds a field which others may pass over leaves both alone; one that adds a kind of entry,
/// or a case that an older release could not read, raises `speaks`; one whose entries the release before could not
/// go on with raises `least`.
pub const STATE: Version = Version { speaks: 1, least: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Active,
    Standby,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub node: String,
    pub role: Role,
    pub wire: Version,
    pub state: Version,
    /// For the log.
    pub release: String,
}

/// Why a peer is not talked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{node} is not the peer that the configuration names")]
    Stranger { node: String },
    #[error("{release} of {node} talks version {theirs:?}, this release {ours:?}")]
    Wire { node: String, release: String, theirs: Version, ours: Version },
    #[error("{release} of {node} keeps state of version {theirs:?}, this release {ours:?}")]
    State { node: String, release: String, theirs: Version, ours: Version },
    #[error("{node} is {role:?} too")]
    Role { node: String, role: Role },
}

impl Hello {
    pub fn new(node: &str, role: Role) -> Hello {
        let release = format!("tandem {}", env!("CARGO_PKG_VERSION"));
        Hello { node: node.to_owned(), role, wire: WIRE, state: STATE, release }
    }

    /// Whether ours and the peer's go together.
    pub fn meets(&self, theirs: &Hello, expected: &str) -> Result<(), Unfit> {
        let (node, release) = (theirs.node.clone(), theirs.release.clone());
        if theirs.node != expected {
            return Err(Unfit::Stranger { node });
        }
        if !self.wire.fits(theirs.wire) {
            return Err(Unfit::Wire { node, release, theirs: theirs.wire, ours: self.wire });
        }
        if !self.state.fits(theirs.state) {
            return Err(Unfit::State { node, release, theirs: theirs.state, ours: self.state });
        }
        if self.role == theirs.role {
            return Err(Unfit::Role { node, role: theirs.role });
        }
        Ok(())
    }
}

/// Nothing changed: all the same the standby hears what time it is, this often.
pub const BEAT: Duration = Duration::from_millis(100);
