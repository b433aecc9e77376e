//! What is hashed, and how: RFC 7616 §3.4 with the algorithms that RFC 8760 brings to SIP. Pure; slow-path thread.
//!
//! Always: a password goes in and a hash comes out; nothing here keeps or shows one.

use std::fmt::Write;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512_256};
use subtle::ConstantTimeEq;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

/// A hash, and whether its first input is that of a session (RFC 7616 §3.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Algorithm {
    pub hash: Hash,
    pub session: bool,
}

impl Algorithm {
    pub const MD5: Algorithm = Algorithm { hash: Hash::Md5, session: false };
    pub const SHA_256: Algorithm = Algorithm { hash: Hash::Sha256, session: false };

    const NAMES: [(&'static str, Algorithm); 6] = [
        ("MD5", Algorithm::MD5),
        ("MD5-sess", Algorithm { hash: Hash::Md5, session: true }),
        ("SHA-256", Algorithm::SHA_256),
        ("SHA-256-sess", Algorithm { hash: Hash::Sha256, session: true }),
        ("SHA-512-256", Algorithm { hash: Hash::Sha512_256, session: false }),
        ("SHA-512-256-sess", Algorithm { hash: Hash::Sha512_256, session: true }),
    ];

    /// RFC 3261 §7.3.1: tokens compare without case.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Self::NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, algorithm)| algorithm)
    }

    pub fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(name, _)| name)
    }
}

impl Hash {
    /// As lower-case hexadecimal digits, over the parts one after the other.
    fn hex(self, parts: &[&[u8]]) -> String {
        fn of<D: Digest>(parts: &[&[u8]]) -> String {
            let mut hasher = D::new();
            parts.iter().for_each(|part| hasher.update(part));
            hex(&hasher.finalize())
        }
        match self {
            Hash::Md5 => of::<Md5>(parts),
            Hash::Sha256 => of::<Sha256>(parts),
            Hash::Sha512_256 => of::<Sha512_256>(parts),
        }
    }

    /// RFC 7616 §3.4.1: H of what a colon joins.
    fn joined(self, parts: &[&str]) -> String {
        self.hex(&[parts.join(":").as_bytes()])
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qop {
    Auth,
    /// The body is hashed as well.
    AuthInt,
}

impl Qop {
    pub const fn as_str(self) -> &'static str {
        match self {
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }
}

/// A quality of protection with what it brings into the hash.
#[derive(Clone, Copy, Debug)]
pub struct Protection<'a> {
    pub qop: Qop,
    pub nc: u32,
    pub cnonce: &'a str,
}

/// Everything that a response is made of. Strings are as they read between their quotes, without escapes.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub algorithm: Algorithm,
    pub username: &'a str,
    pub password: &'a str,
    pub realm: &'a str,
    pub nonce: &'a str,
    /// None: the challenge knows no qop, as in RFC 2069.
    pub protection: Option<Protection<'a>>,
    pub method: &'a str,
    pub uri: &'a str,
    pub body: &'a [u8],
}

impl Input<'_> {
    /// The value of `response` (RFC 7616 §3.4.1).
    pub fn response(&self) -> String {
        let hash = self.algorithm.hash;
        let mut secret = hash.joined(&[self.username, self.realm, self.password]);
        if let (true, Some(protection)) = (self.algorithm.session, self.protection) {
            // §3.4.2: the session's key has its first nonce and cnonce, which tandem keeps as long as the nonce.
            secret = hash.joined(&[&secret, self.nonce, protection.cnonce]);
        }
        let what = match self.protection {
            Some(Protection { qop: Qop::AuthInt, .. }) => {
                hash.joined(&[self.method, self.uri, &hash.hex(&[self.body])])
            }
            _ => hash.joined(&[self.method, self.uri]),
        };
        match self.protection {
            Some(Protection { qop, nc, cnonce }) => {
                hash.joined(&[&secret, self.nonce, &format!("{nc:08x}"), cnonce, qop.as_str(), &what])
            }
            None => hash.joined(&[&secret, self.nonce, &what]),
        }
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
