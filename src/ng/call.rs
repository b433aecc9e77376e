//! A call as the `ng` protocol knows it: named by its Call-ID, made of pairs of participants, each with its media sections.
//! Values that can be saved; what happens to them is in the machines beside this. Pure; slow-path thread.
//!
//! A pair is one offerer's branch: side A made its first offer, side B is whoever answers it. Several tags may answer (forks
//! behind one branch): they share side B's ports, and media follows the one that answered last.

use std::net::SocketAddr;

use sdp_types::Session as Description;
use serde::{Deserialize, Serialize};

use super::{
    request::{Mux, Replace},
    section::Section,
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    control::{Format, Manner, Session},
    sip::sdp::formats::{Offered, Spec},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The Call-ID: what another node knows this call by.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    pub signalled_ms: u64,
    /// When it was last offered or answered something.
    pub signalled: Time,
    /// When packets were last seen to have come, and how many there were.
    pub active: Time,
    pub packets: u64,
    pub delete_at: Option<Time>,
    pub metadata: Option<String>,
    pub tos: Option<u8>,
    /// Of all participants.
    pub blocked: Blocked,
    pub pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    pub media: bool,
    pub events: bool,
    /// All that is RTP, by `drop-traffic`.
    pub all: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// A has one; those of B are its forks. The last one is the one that media goes to.
    pub tags: [Vec<String>; 2],
    pub branch: Option<String>,
    pub labels: [Option<String>; 2],
    pub created_ms: u64,
    /// Names of the addresses of each side.
    pub names: [Vec<String>; 2],
    pub lines: Vec<Line>,
    pub told: [Told; 2],
    pub exchange: Option<Exchange>,
    pub answered: bool,
    pub blocked: [Blocked; 2],
    pub asymmetric: [bool; 2],
}

/// One media section, for as long as the pair lasts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// None: nothing was ever carried for it.
    pub session: Option<Session>,
    /// `audio`, as the description has it.
    pub media: String,
    pub proto: [String; 2],
    /// Where each side's description wants its media.
    pub signalled: [Option<SocketAddr>; 2],
    /// Payload types that have been in use with each side (RFC 3264 §8.3.2).
    pub known: [Vec<Format>; 2],
    /// Both sides have agreed on it, and it was silent for too long since.
    pub agreed: bool,
    pub silent: bool,
}

/// What a side was told of the session as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub version: Option<u64>,
    /// Of the last description, without its version.
    pub digest: u64,
    pub username: Option<String>,
    pub session_name: Option<String>,
}

/// The last offer, for as long as it may be answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchange {
    pub offerer: Side,
    pub lines: Vec<Option<OfferedLine>>,
    pub mux: Mux,
    pub ptime_reverse: Option<i64>,
    pub accept: Vec<String>,
}

/// A section of it that is carried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfferedLine {
    pub section: Section,
    /// The offerer's codecs that may be used, and what was made of them. Of opaque media none.
    pub theirs: Vec<Spec>,
    pub offered: Vec<Offered>,
    pub mux_offered: bool,
}

impl Call {
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.pairs.iter().flat_map(Pair::sessions)
    }

    pub fn answered(&self) -> bool {
        self.pairs.iter().any(|pair| pair.answered)
    }

    /// The pair, and the offerer's side in it, that an offer is about; None: it begins a new one.
    pub fn offered_by(&self, from: &str, to: Option<&str>, branch: Option<&str>) -> Option<(usize, Side)> {
        let by_both = |exact: bool| {
            self.pairs.iter().enumerate().rev().find_map(|(at, pair)| {
                let side = pair.side_of(from)?;
                let fits =
                    to.is_some_and(|to| pair.has(side.other(), to)) && (!exact || pair.branch.as_deref() == branch);
                fits.then_some((at, side))
            })
        };
        by_both(true).or_else(|| by_both(false)).or_else(|| {
            // The other side has no tag yet: an offer that comes again, or whose answer is still to come.
            self.pairs.iter().enumerate().find_map(|(at, pair)| {
                let side = pair.side_of(from).filter(|_| pair.branch.as_deref() == branch)?;
                (to.is_none() || pair.tags[side.other().index()].is_empty()).then_some((at, side))
            })
        })
    }

    /// The pair whose offer is answered, and the offerer's side in it.
    pub fn answered_by(&self, from: &str, to: &str, branch: Option<&str>) -> Option<(usize, Side)> {
        let pending: Vec<(usize, Side)> = self
            .pairs
            .iter()
            .enumerate()
            .filter_map(|(at, pair)| Some((at, pair.exchange.as_ref()?.offerer)))
            .filter(|(at, offerer)| self.pairs[*at].has(*offerer, from))
            .collect();
        let find = |fits: &dyn Fn(&Pair, Side) -> bool| {
            pending.iter().copied().find(|(at, offerer)| fits(&self.pairs[*at], offerer.other()))
        };
        let same_branch = |pair: &Pair| branch.is_some() && pair.branch.as_deref() == branch;
        find(&|pair, other| pair.has(other, to) && same_branch(pair))
            .or_else(|| find(&|pair, other| pair.has(other, to)))
            .or_else(|| find(&|pair, _| same_branch(pair)))
            .or_else(|| find(&|pair, other| pair.tags[other.index()].is_empty()))
            // A fork; only who was never asked in a branch of its own can be one.
            .or_else(|| find(&|pair, _| branch.is_none() || pair.branch.is_none()))
    }

    /// How a side's media is treated now.
    pub fn manner(&self, pair: &Pair, side: Side) -> Manner {
        let own = pair.blocked[side.index()];
        let all = self.blocked.all || own.all;
        Manner {
            media_blocked: self.blocked.media || own.media || all,
            events_blocked: self.blocked.events || own.events || all,
            asymmetric: pair.asymmetric[side.index()],
            tos: self.tos,
        }
    }

    /// On another clock: what was at `from` there is at `to` here.
    pub fn rebase(&mut self, from: Time, to: Time) {
        let shift = |at: Time| if at >= from { to + at.since(from) } else { ago(to, from.since(at)) };
        self.signalled = shift(self.signalled);
        self.active = shift(self.active);
        self.delete_at = self.delete_at.map(shift);
    }
}

fn ago(now: Time, age: std::time::Duration) -> Time {
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(now.as_micros().saturating_sub(age))
}

impl Pair {
    pub fn new(from: &str, branch: Option<&str>, names: [Vec<String>; 2], created_ms: u64) -> Pair {
        Pair {
            tags: [vec![from.to_owned()], Vec::new()],
            branch: branch.map(str::to_owned),
            labels: [None, None],
            created_ms,
            names,
            lines: Vec::new(),
            told: [Told::default(), Told::default()],
            exchange: None,
            answered: false,
            blocked: [Blocked::default(); 2],
            asymmetric: [false; 2],
        }
    }

    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.lines.iter().filter_map(|line| Some(line.session.as_ref()?.id))
    }

    pub fn has(&self, side: Side, tag: &str) -> bool {
        self.tags[side.index()].iter().any(|known| known == tag)
    }

    pub fn side_of(&self, tag: &str) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| self.has(*side, tag))
    }

    /// Media goes to this tag from now on. The oldest fork is forgotten where there are too many.
    pub fn speaks(&mut self, side: Side, tag: &str, most: usize) {
        let tags = &mut self.tags[side.index()];
        tags.retain(|known| known != tag);
        tags.push(tag.to_owned());
        if tags.len() > most {
            tags.remove(0);
        }
    }

    /// The tag that media goes to.
    pub fn tag(&self, side: Side) -> Option<&str> {
        self.tags[side.index()].last().map(String::as_str)
    }
}

impl Told {
    /// Writes what is asked for into the description, and keeps it for the next one.
    pub fn apply(&mut self, description: &mut Description, replace: Replace) {
        if replace.username {
            let first =
                self.username.get_or_insert_with(|| description.origin.username.clone().unwrap_or_else(|| "-".into()));
            description.origin.username = Some(first.clone());
        }
        if replace.session_name {
            let first = self.session_name.get_or_insert_with(|| description.session_name.clone());
            description.session_name.clone_from(first);
        }
        if !replace.version && !replace.force_version {
            return;
        }
        let said = std::mem::take(&mut description.origin.sess_version);
        let mut text = Vec::new();
        // Writing into memory does not fail.
        let _ = description.write(&mut text);
        let digest = digest(&text);
        let version = match self.version {
            None => said,
            Some(last) if replace.force_version || digest != self.digest => last.wrapping_add(1),
            Some(last) => last,
        };
        (self.version, self.digest) = (Some(version), digest);
        description.origin.sess_version = version;
    }
}

/// FNV-1a: only to see that a text has changed, on whichever node.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(pairs: Vec<Pair>) -> Call {
        Call {
            id: "c".into(),
            created_ms: 0,
            signalled_ms: 0,
            signalled: Time::from_secs(90),
            active: Time::from_secs(95),
            packets: 0,
            delete_at: Some(Time::from_secs(130)),
            metadata: None,
            tos: None,
            blocked: Blocked::default(),
            pairs,
        }
    }

    fn pair(branch: Option<&str>, to: &[&str], offerer: Side) -> Pair {
        let mut pair = Pair::new("f", branch, [Vec::new(), Vec::new()], 0);
        pair.tags[1] = to.iter().map(|tag| (*tag).to_owned()).collect();
        let exchange =
            Exchange { offerer, lines: Vec::new(), mux: Mux::default(), ptime_reverse: None, accept: Vec::new() };
        pair.exchange = Some(exchange);
        pair
    }

    #[test]
    fn offers_find_their_pair_by_tags_and_branch() {
        let call = call(vec![pair(Some("b1"), &[], Side::A), pair(Some("b2"), &["t"], Side::A)]);
        assert_eq!(call.offered_by("f", None, Some("b1")), Some((0, Side::A)), "it comes again");
        assert_eq!(call.offered_by("f", None, Some("b3")), None, "a branch of its own");
        assert_eq!(call.offered_by("f", Some("t"), Some("z9")), Some((1, Side::A)), "a later offer has another branch");
        assert_eq!(call.offered_by("t", Some("f"), None), Some((1, Side::B)), "from the other side");
        assert_eq!(call.offered_by("x", Some("f"), None), None);
    }

    #[test]
    fn answers_find_their_pair_and_forks_share_one() {
        let branches = call(vec![pair(Some("b1"), &[], Side::A), pair(Some("b2"), &[], Side::A)]);
        assert_eq!(branches.answered_by("f", "t2", Some("b2")), Some((1, Side::A)));
        assert_eq!(branches.answered_by("t2", "f", Some("b2")), None, "roles are the offer's");
        let forks = call(vec![pair(None, &["t1"], Side::A)]);
        assert_eq!(forks.answered_by("f", "t2", None), Some((0, Side::A)));
        let back = call(vec![pair(None, &["t1"], Side::B)]);
        assert_eq!(back.answered_by("t1", "f", None), Some((0, Side::B)));
    }

    #[test]
    fn a_call_goes_on_on_another_clock() {
        let mut call = call(Vec::new());
        call.rebase(Time::from_secs(100), Time::from_secs(7));
        assert_eq!((call.signalled, call.active), (Time::ZERO, Time::from_secs(2)));
        assert_eq!(call.delete_at, Some(Time::from_secs(37)));
    }
}
