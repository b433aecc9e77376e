//! The datagram of a heartbeat: 128 bytes, fixed layout, big-endian, sealed with HMAC-SHA256 (RFC 2104) in full length.
//!
//! The seal is looked at before anything else is believed, and covers who sent it and on which path, so that a datagram is
//! good for one direction of one path of one pair.

use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Advert, Echo, Flags, Heartbeat, Owner, Role};

/// Length of a heartbeat on the wire.
pub const BYTES: usize = 128;

const MAGIC: [u8; 4] = *b"tdmH";
/// A release that changes the layout counts up; a host hears its own version alone.
const VERSION: u8 = 1;

const VERSION_AT: usize = 4;
const PATH: usize = 5;
const ROLE: usize = 6;
const TERM_OWNER: usize = 7;
const FLAGS: Range<usize> = 8..10;
const SENDER: Range<usize> = 16..24;
const OWN: usize = 24;
const KNOWN: usize = 40;
const NEWCOMER: usize = 56;
const CLAIM: usize = 72;
const TERM: usize = 80;
const SEEN: usize = 88;
const SEALED: Range<usize> = 0..96;
const SEAL: Range<usize> = 96..128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("no heartbeat of this version")]
    Foreign,
    #[error("a seal that the key does not give")]
    Seal,
    #[error("not from the peer")]
    Sender,
    #[error("a field with a value that has no meaning")]
    Field,
}

/// The key of the heartbeats, and who speaks: both derived from the pair's key and the nodes' names.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha256>,
    me: [u8; 8],
    peer: [u8; 8],
}

impl Key {
    /// The heartbeats' own key comes from the pair's by HMAC with a label, so that what leaks of one use says nothing of
    /// another.
    pub fn new(pair_key: &[u8], me: &str, peer: &str) -> Key {
        let seal = mac(&subkey(pair_key, "tandem ha heartbeat 1"));
        Key { mac: seal, me: identity(me), peer: identity(peer) }
    }

    fn seal(&self, bytes: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// A key for one purpose, made from the pair's.
pub fn subkey(pair_key: &[u8], label: &str) -> [u8; 32] {
    let mut mac = mac(pair_key);
    mac.update(label.as_bytes());
    mac.finalize().into_bytes().into()
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    // RFC 2104 §2 takes keys of any length: longer ones than a block are hashed, which `new_from_slice` does.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()))
}

fn identity(name: &str) -> [u8; 8] {
    let digest = Sha256::digest(name.as_bytes());
    std::array::from_fn(|at| digest[at])
}

pub fn encode(heartbeat: &Heartbeat, path: u8, key: &Key) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let advert = &heartbeat.advert;
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[VERSION_AT] = VERSION;
    bytes[PATH] = path;
    bytes[ROLE] = role_byte(advert.role);
    bytes[TERM_OWNER] = owner_byte(advert.term.1);
    bytes[FLAGS].copy_from_slice(&advert.flags.bits().to_be_bytes());
    bytes[SENDER].copy_from_slice(&key.me);
    for (at, echo) in [(OWN, heartbeat.own), (KNOWN, heartbeat.known), (NEWCOMER, heartbeat.newcomer)] {
        put(&mut bytes, at, echo.nonce);
        put(&mut bytes, at + 8, echo.counter);
    }
    put(&mut bytes, CLAIM, advert.claim);
    put(&mut bytes, TERM, advert.term.0);
    put(&mut bytes, SEEN, advert.seen);
    let seal = key.seal(&bytes[SEALED]);
    bytes[SEAL].copy_from_slice(&seal);
    bytes
}

/// The heartbeat in `bytes` and the path that it was sent on.
pub fn decode(bytes: &[u8], key: &Key) -> Result<(Heartbeat, u8), Malformed> {
    let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| Malformed::Foreign)?;
    if bytes[..4] != MAGIC || bytes[VERSION_AT] != VERSION {
        return Err(Malformed::Foreign);
    }
    let mut mac = key.mac.clone();
    mac.update(&bytes[SEALED]);
    // In a time that does not tell where the two differ.
    mac.verify_slice(&bytes[SEAL]).map_err(|_| Malformed::Seal)?;
    if bytes[SENDER] != key.peer {
        return Err(Malformed::Sender);
    }
    let echo = |at: usize| Echo { nonce: field(bytes, at), counter: field(bytes, at + 8) };
    let advert = Advert {
        role: Role::ALL.into_iter().find(|role| role_byte(*role) == bytes[ROLE]).ok_or(Malformed::Field)?,
        claim: field(bytes, CLAIM),
        term: (field(bytes, TERM), owner(bytes[TERM_OWNER]).ok_or(Malformed::Field)?),
        seen: field(bytes, SEEN),
        flags: Flags::from_bits(u16::from_be_bytes([bytes[FLAGS.start], bytes[FLAGS.start + 1]])),
    };
    Ok((Heartbeat { own: echo(OWN), known: echo(KNOWN), newcomer: echo(NEWCOMER), advert }, bytes[PATH]))
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Starting => 1,
        Role::Standby => 2,
        Role::Claiming => 3,
        Role::Active => 4,
        Role::Draining => 5,
        Role::Faulted => 6,
    }
}

fn owner_byte(owner: Owner) -> u8 {
    match owner {
        Owner::Neither => 0,
        Owner::Sender => 1,
        Owner::Recipient => 2,
    }
}

fn owner(byte: u8) -> Option<Owner> {
    [Owner::Neither, Owner::Sender, Owner::Recipient].into_iter().find(|owner| owner_byte(*owner) == byte)
}

fn put(bytes: &mut [u8; BYTES], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn field(bytes: &[u8; BYTES], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR_KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            own: Echo { nonce: 0x0102_0304_0506_0708, counter: 9 },
            known: Echo { nonce: 0x1112_1314_1516_1718, counter: 10 },
            newcomer: Echo { nonce: 0x2122_2324_2526_2728, counter: 11 },
            advert: Advert {
                role: Role::Active,
                claim: 12,
                term: (13, Owner::Sender),
                seen: 14,
                flags: Flags { fit: true, holding: true, preempts: true, ..Flags::default() },
            },
        }
    }

    #[test]
    fn what_was_sealed_is_read_by_the_peer_alone() {
        let (a, b) = (Key::new(PAIR_KEY, "a", "b"), Key::new(PAIR_KEY, "b", "a"));
        let bytes = encode(&heartbeat(), 1, &a);
        assert_eq!(decode(&bytes, &b), Ok((heartbeat(), 1)));
        // Its own heartbeat, thrown back.
        assert_eq!(decode(&bytes, &a), Err(Malformed::Sender));
        assert_eq!(decode(&bytes, &Key::new(b"another key of thirty-two bytes!", "b", "a")), Err(Malformed::Seal));
        // Another pair that shares the key.
        assert_eq!(decode(&bytes, &Key::new(PAIR_KEY, "b", "c")), Err(Malformed::Sender));
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let (a, b) = (Key::new(PAIR_KEY, "a", "b"), Key::new(PAIR_KEY, "b", "a"));
        let bytes = encode(&heartbeat(), 0, &a);
        for bit in 0..BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < (VERSION_AT + 1) * 8 { Malformed::Foreign } else { Malformed::Seal };
            assert_eq!(decode(&changed, &b), Err(expected), "bit {bit}");
        }
        for cut in [0, 1, BYTES - 1] {
            assert_eq!(decode(&bytes[..cut], &b), Err(Malformed::Foreign));
        }
        assert_eq!(decode(&[bytes.as_slice(), &[0]].concat(), &b), Err(Malformed::Foreign));
    }

    #[test]
    fn the_layout_and_the_hash_are_as_documented() {
        // RFC 4231 §4.3, test case 2.
        let sealed = subkey(b"Jefe", "what do ya want for nothing?");
        assert_eq!(sealed[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        let bytes = encode(&heartbeat(), 1, &Key::new(PAIR_KEY, "a", "b"));
        let mut front = vec![b't', b'd', b'm', b'H', 1, 1, 4, 1, 0x02, 0x11, 0, 0, 0, 0, 0, 0];
        // SHA-256 of "a".
        front.extend([0xca, 0x97, 0x81, 0x12, 0xca, 0x1b, 0xbd, 0xca]);
        assert_eq!(bytes[..24], front);
        assert_eq!(bytes[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[88..96], [0, 0, 0, 0, 0, 0, 0, 14]);
    }
}
