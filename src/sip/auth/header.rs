//! The header fields of digest authentication: challenges and credentials, read and written (RFC 3261 §20.7, §20.27,
//! §20.28, §20.44 and §25.1; RFC 7616 §3.3 and §3.4). Pure; slow-path thread.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, Qop};
use crate::{
    base::limits::SIP_PARAMS,
    sip::message::{Cursor, quote, unquote},
};

/// `Digest name=value, …`: names in lower case, values without quotes and escapes. None: another scheme, or it cannot
/// be read; a name that stands twice makes it unreadable.
fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let mut cursor = Cursor::new(value);
    cursor.skip_space();
    if !cursor.token()?.eq_ignore_ascii_case("Digest") {
        return None;
    }
    cursor.skip_space();
    let mut list: Vec<(String, String)> = Vec::new();
    loop {
        let name = cursor.token()?.to_ascii_lowercase();
        if !cursor.eat_spaced(b'=') || list.len() >= SIP_PARAMS || list.iter().any(|(known, _)| *known == name) {
            return None;
        }
        let value = match cursor.peek()? {
            b'"' => unquote(cursor.quoted()?),
            _ => Some(cursor.take_while(is_bare)).filter(|bare| !bare.is_empty())?.to_owned(),
        };
        list.push((name, value));
        if !cursor.eat_spaced(b',') {
            cursor.skip_space();
            return cursor.at_end().then_some(list);
        }
    }
}

/// A value without quotes is a token; those that write a nonce or URI without them are understood as well.
fn is_bare(b: u8) -> bool {
    b > b' ' && b != 0x7f && b != b',' && b != b'"'
}

struct Read(Vec<(String, String)>);

impl Read {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    /// None: not said, which means MD5 (RFC 7616 §3.3).
    pub algorithm: Option<Algorithm>,
    /// The one that is taken; None: the server does not know of any (RFC 2069).
    pub qop: Option<Qop>,
    pub stale: bool,
}

impl Challenge {
    /// None: one that tandem cannot answer: another scheme or algorithm, no qop that is known.
    pub fn parse(value: &str) -> Option<Challenge> {
        let mut read = Read(parameters(value)?);
        let algorithm = match read.take("algorithm") {
            None => None,
            Some(name) => Some(Algorithm::parse(&name)?),
        };
        let qop = match read.take("qop") {
            None => None,
            Some(offered) => {
                let offers = |qop: Qop| offered.split(',').any(|one| one.trim().eq_ignore_ascii_case(qop.as_str()));
                Some([Qop::Auth, Qop::AuthInt].into_iter().find(|qop| offers(*qop))?)
            }
        };
        // RFC 7616 §3.4.2: a session's key has a cnonce, which only a qop brings.
        if algorithm.is_some_and(|algorithm| algorithm.session) && qop.is_none() {
            return None;
        }
        Some(Challenge {
            realm: read.take("realm")?,
            nonce: read.take("nonce")?,
            opaque: read.take("opaque"),
            algorithm,
            qop,
            stale: read.take("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::MD5)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", quote(&self.realm), quote(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.as_str())?;
        }
        match self.qop {
            // RFC 3261 §20.44: of a challenge, a list within quotes.
            Some(qop) => write!(f, ", qop=\"{}\"", qop.as_str()),
            None => Ok(()),
        }
    }
}

/// What a client shows. It holds no password, but what a guess at one can be tried against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub realm: String,
    pub nonce: String,
    pub uri: String,
    pub response: String,
    pub algorithm: Option<Algorithm>,
    pub opaque: Option<String>,
    /// With its nonce count and cnonce.
    pub qop: Option<(Qop, u32, String)>,
}

impl Credentials {
    pub fn parse(value: &str) -> Option<Credentials> {
        let mut read = Read(parameters(value)?);
        let algorithm = match read.take("algorithm") {
            None => None,
            Some(name) => Some(Algorithm::parse(&name)?),
        };
        let qop = match read.take("qop") {
            None => None,
            Some(name) => {
                let qop = [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| name.eq_ignore_ascii_case(qop.as_str()))?;
                // RFC 7616 §3.4: exactly eight hexadecimal digits.
                let nc = read.take("nc").filter(|nc| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit()))?;
                Some((qop, u32::from_str_radix(&nc, 16).ok()?, read.take("cnonce")?))
            }
        };
        Some(Credentials {
            username: read.take("username")?,
            realm: read.take("realm")?,
            nonce: read.take("nonce")?,
            uri: read.take("uri")?,
            response: read.take("response")?,
            algorithm,
            opaque: read.take("opaque"),
            qop,
        })
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 7616 §3.4: these are quoted; algorithm, qop and nc must not be.
        write!(f, "Digest username={}, realm={}", quote(&self.username), quote(&self.realm))?;
        write!(f, ", nonce={}, uri={}", quote(&self.nonce), quote(&self.uri))?;
        write!(f, ", response={}", quote(&self.response))?;
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.as_str())?;
        }
        if let Some((qop, nc, cnonce)) = &self.qop {
            write!(f, ", qop={}, nc={nc:08x}, cnonce={}", qop.as_str(), quote(cnonce))?;
        }
        match &self.opaque {
            Some(opaque) => write!(f, ", opaque={}", quote(opaque)),
            None => Ok(()),
        }
    }
}
