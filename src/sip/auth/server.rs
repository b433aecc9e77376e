//! tandem as the one who challenges: nonces that it knows again without having kept them, and what it makes of
//! credentials. Pure; slow-path thread; saved, so that the next host takes what this one asked for.
//!
//! A nonce is the time, a random number, and a keyed hash over both and the trunk. Only nonces that were used with the
//! right credentials leave something behind: the counts that were seen (RFC 7616 §3.4, nc), bounded in number.
//!
//! Always: a count of a nonce is taken once; a nonce that may have been forgotten is stale.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    digest::{Algorithm, Input, Protection, Qop, hex, same},
    header::{Challenge, Credentials},
};
use crate::{
    base::{Time, limits::DIGEST_NONCES, marks::Marks},
    sip::message::{HeaderName, Message, Uri},
};

/// A nonce is taken for so long after it was given.
const LIFETIME_MS: u64 = 300_000;
/// RFC 8760 §2.4: the one that is preferred stands first.
const OFFERED: [Algorithm; 2] = [Algorithm::SHA_256, Algorithm::MD5];

/// What the credentials of a request are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// None of this realm that tandem can read.
    Missing,
    /// Right, for a nonce or count that is not taken any more.
    Stale,
    Wrong,
}

/// Who is expected.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub trunk: &'a str,
    pub realm: &'a str,
    pub username: &'a str,
    pub password: &'a str,
}

/// The front of a nonce: when it was given, in milliseconds of the state's clock, and what tells it from others. Digits of
/// one length, so that they sort by time.
const STAMP: usize = 32;

/// The counts of a nonce that were seen: the highest, and those up to 63 below it. Requests overtake each other on UDP.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Counts {
    highest: u32,
    below: u64,
}

impl Counts {
    /// False: it was seen, or is too far behind to know.
    fn take(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            let step = nc - self.highest;
            self.below = if step < 64 { self.below << step | 1 } else { 1 };
            self.highest = nc;
            return true;
        }
        let behind = self.highest - nc;
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        let fresh = bit != 0 && self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Nonces {
    basis: Basis,
    /// By the nonce's stamp.
    used: BTreeMap<String, Counts>,
    /// For the journal.
    #[serde(skip)]
    changed: Marks<String>,
}

/// What all nonces are judged by.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    key: [u8; 32],
    /// Nonces given before may have been forgotten.
    floor_ms: u64,
}

impl fmt::Debug for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basis").field("floor_ms", &self.floor_ms).finish_non_exhaustive()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl Nonces {
    pub fn new(key: [u8; 32]) -> Nonces {
        Nonces::with(Basis { key, floor_ms: 0 })
    }

    pub fn with(basis: Basis) -> Nonces {
        Nonces { basis, used: BTreeMap::new(), changed: Marks::default() }
    }

    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Whether `take_changed` is asked for.
    pub fn follow(&mut self, asked: bool) {
        self.changed.ask(asked);
    }

    /// Stamps whose counts changed, came or went.
    pub fn take_changed(&mut self) -> Vec<String> {
        self.changed.take().collect()
    }

    pub fn stamps(&self) -> impl Iterator<Item = &String> {
        self.used.keys()
    }

    pub fn counts(&self, stamp: &str) -> Option<Counts> {
        self.used.get(stamp).copied()
    }

    /// What another host saw.
    pub fn adopt(&mut self, stamp: String, counts: Counts) {
        self.used.insert(stamp, counts);
    }

    /// The challenges to a request, in the order in which they are to stand. `random` must not repeat.
    pub fn challenges(&self, now: Time, expected: &Expected<'_>, stale: bool, random: u64) -> Vec<Challenge> {
        let nonce = self.sign(format!("{:016x}{random:016x}", now.as_millis()), expected.trunk);
        let of = |algorithm| Challenge {
            realm: expected.realm.to_owned(),
            nonce: nonce.clone(),
            opaque: None,
            algorithm: Some(algorithm),
            qop: Some(Qop::Auth),
            stale,
        };
        OFFERED.map(of).into()
    }

    /// A nonce of this stamp for a trunk.
    fn sign(&self, stamp: String, trunk: &str) -> String {
        // RFC 2104 §2: a key shorter than a block is filled up with zeros.
        let mut block = [0; 64];
        block[..self.basis.key.len()].copy_from_slice(&self.basis.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(stamp.as_bytes());
        mac.update(trunk.as_bytes());
        let whole = mac.finalize().into_bytes();
        stamp + &hex(&whole[..16])
    }

    /// The nonce's stamp, if tandem gave it to this trunk.
    fn stamp(&self, nonce: &str, trunk: &str) -> Option<String> {
        let stamp = nonce.get(..STAMP)?.to_owned();
        same(nonce, &self.sign(stamp.clone(), trunk)).then_some(stamp)
    }

    /// Looks at the credentials of a request, and takes their count.
    pub fn check(&mut self, now: Time, expected: &Expected<'_>, request: &Message) -> Verdict {
        let all: Vec<Credentials> =
            request.headers.all(&HeaderName::Authorization).filter_map(Credentials::parse).collect();
        let Some(shown) = all.into_iter().find(|shown| shown.realm == expected.realm) else { return Verdict::Missing };
        let algorithm = shown.algorithm.unwrap_or(Algorithm::MD5);
        // RFC 7616 §3.4: qop was offered, so it is to be there.
        let Some((Qop::Auth, nc, cnonce)) = &shown.qop else { return Verdict::Missing };
        if !OFFERED.contains(&algorithm) {
            return Verdict::Missing;
        }
        let (Some(method), Some(uri)) = (request.method(), request.uri()) else { return Verdict::Missing };
        let input = Input {
            algorithm,
            username: expected.username,
            password: expected.password,
            realm: expected.realm,
            nonce: &shown.nonce,
            protection: Some(Protection { qop: Qop::Auth, nc: *nc, cnonce }),
            method: method.as_str(),
            uri: &shown.uri,
            body: b"",
        };
        let known = same(&shown.username, expected.username) & same(&shown.response, &input.response());
        // RFC 7616 §3.4.6: credentials for something else are none for this.
        let meant = Uri::parse(&shown.uri).is_ok_and(|shown| shown.equivalent(uri));
        if !known || !meant {
            return Verdict::Wrong;
        }
        let stamp = self.stamp(&shown.nonce, expected.trunk);
        if stamp.is_some_and(|stamp| self.takes(now, stamp, *nc)) { Verdict::Right } else { Verdict::Stale }
    }

    fn takes(&mut self, now: Time, stamp: String, nc: u32) -> bool {
        let oldest = now.as_millis().saturating_sub(LIFETIME_MS).max(self.basis.floor_ms);
        if given_ms(&stamp) < oldest || nc == 0 {
            return false;
        }
        if let Some(counts) = self.used.get_mut(&stamp) {
            self.changed.note_with(|| stamp);
            return counts.take(nc);
        }
        let kept = self.used.split_off(&format!("{oldest:016x}"));
        for over in std::mem::replace(&mut self.used, kept).into_keys() {
            self.changed.note(over);
        }
        if self.used.len() >= DIGEST_NONCES
            && let Some((forgotten, _)) = self.used.pop_first()
        {
            self.basis.floor_ms = given_ms(&forgotten) + 1;
            self.changed.note(forgotten);
        }
        if given_ms(&stamp) < self.basis.floor_ms {
            return false;
        }
        self.changed.note_with(|| stamp.clone());
        self.used.insert(stamp, Counts { highest: nc, below: 1 });
        true
    }
}

fn given_ms(stamp: &str) -> u64 {
    stamp.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
