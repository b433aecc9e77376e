//! tandem as the one who is challenged: which challenge is answered, and what is known from earlier ones. Pure; slow-path
//! thread; saved, so that a nonce count goes on on the next host.
//!
//! A *space* is one realm of one server: who challenged, in which header field. Its nonce is used ahead of the next
//! challenge, with a rising count (RFC 7616 §3.4, RFC 3261 §22.1), until the server says that it is stale.
//!
//! Always: a request answers at most one challenge of a realm that is not called stale, and `MOST_TRIES` challenges in
//! all, so that wrong credentials fail once and end nowhere near a loop.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    digest::{Input, Protection},
    header::{Challenge, Credentials},
};
use crate::sip::message::{HeaderName, Message};

/// Spaces that are remembered of one trunk; the one unused for longest is forgotten for another.
const MOST_SPACES: usize = 32;
/// Challenges that one request answers: proxies in a row, each with its realm, and nonces that turn stale.
const MOST_TRIES: usize = 8;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// The one who is called, or a registrar: RFC 3261 §22.2.
    Server,
    /// A proxy on the way: §22.3.
    Proxy,
}

impl By {
    const BOTH: [By; 2] = [By::Server, By::Proxy];

    const fn challenge(self) -> HeaderName {
        match self {
            By::Server => HeaderName::WwwAuthenticate,
            By::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    const fn credentials(self) -> HeaderName {
        match self {
            By::Server => HeaderName::Authorization,
            By::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

/// The header fields that carry credentials.
pub const CREDENTIALS: [HeaderName; 2] = [By::Server.credentials(), By::Proxy.credentials()];

/// Whose credentials are shown.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub username: &'a str,
    pub password: &'a str,
    /// Only this realm is answered; None: any.
    pub realm: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Space {
    server: SocketAddr,
    by: By,
    challenge: Challenge,
    cnonce: String,
    /// Requests that the nonce was used for.
    nc: u32,
}

impl Space {
    fn credentials(&mut self, account: &Account<'_>, request: &Message) -> Option<(HeaderName, Credentials)> {
        self.nc = self.nc.checked_add(1)?;
        let (method, uri) = (request.method()?.as_str(), request.uri()?.to_string());
        let challenge = &self.challenge;
        let protection = challenge.qop.map(|qop| Protection { qop, nc: self.nc, cnonce: &self.cnonce });
        let input = Input {
            algorithm: challenge.algorithm(),
            username: account.username,
            password: account.password,
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            protection,
            method,
            uri: &uri,
            body: &request.body,
        };
        let response = input.response();
        let credentials = Credentials {
            username: account.username.to_owned(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri,
            response,
            algorithm: challenge.algorithm,
            opaque: challenge.opaque.clone(),
            qop: challenge.qop.map(|qop| (qop, self.nc, self.cnonce.clone())),
        };
        Some((self.by.credentials(), credentials))
    }
}

/// What the servers of one trunk have asked for, the last used last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spaces(Vec<Space>);

/// The realms that one request has answered a challenge of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    realms: Vec<(By, String)>,
    times: usize,
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nothing in it that tandem can answer: no digest, no algorithm or qop that it knows, another realm.
    Unknown,
    /// The right answer was given, and refused: the account is not what the server thinks it is.
    Refused,
}

impl Spaces {
    /// A request to `server` is about to go out: shows it what it has asked for before.
    pub fn authorize(&mut self, server: SocketAddr, account: &Account<'_>, request: &mut Message) {
        CREDENTIALS.iter().for_each(|name| request.headers.remove(name));
        let (mut known, rest): (Vec<Space>, Vec<Space>) =
            std::mem::take(&mut self.0).into_iter().partition(|space| space.server == server);
        for space in &mut known {
            if let Some((name, credentials)) = space.credentials(account, request) {
                request.headers.push(name, credentials.to_string());
            }
        }
        self.0 = rest;
        self.0.extend(known);
    }

    /// `server` challenged `request`. Ok: the request may go out again, `authorize`d anew. `cnonce` gives a text that
    /// nobody can guess.
    pub fn challenged(
        &mut self,
        server: SocketAddr,
        account: &Account<'_>,
        request: &Message,
        response: &Message,
        tried: &mut Tried,
        mut cnonce: impl FnMut() -> String,
    ) -> Result<(), Unanswered> {
        let asked = asked(account, response);
        if asked.is_empty() {
            return Err(Unanswered::Unknown);
        }
        let refused = |(by, challenge): &(By, Challenge)| {
            let again = shown(request, *by, &challenge.realm).is_some_and(|nonce| nonce == challenge.nonce);
            let tried = tried.realms.iter().any(|(b, realm)| b == by && *realm == challenge.realm);
            // RFC 7616 §3.3: stale says that the nonce alone was wrong.
            !challenge.stale && (again || tried)
        };
        if tried.times >= MOST_TRIES || asked.iter().any(refused) {
            for (by, challenge) in &asked {
                self.forget(server, *by, &challenge.realm);
            }
            return Err(Unanswered::Refused);
        }
        tried.times += 1;
        for (by, challenge) in asked {
            self.forget(server, by, &challenge.realm);
            tried.realms.push((by, challenge.realm.clone()));
            if self.0.len() >= MOST_SPACES {
                self.0.remove(0);
            }
            self.0.push(Space { server, by, challenge, cnonce: cnonce(), nc: 0 });
        }
        Ok(())
    }

    fn forget(&mut self, server: SocketAddr, by: By, realm: &str) {
        self.0.retain(|space| space.server != server || space.by != by || space.challenge.realm != realm);
    }
}

/// The challenges to answer: of each realm the topmost that tandem can (RFC 8760 §2.4), of both header fields, since a
/// proxy that forked gathers what it got (RFC 3261 §16.7).
fn asked(account: &Account<'_>, response: &Message) -> Vec<(By, Challenge)> {
    let mut asked: Vec<(By, Challenge)> = Vec::new();
    for by in By::BOTH {
        for challenge in response.headers.all(&by.challenge()).filter_map(Challenge::parse) {
            let ours = account.realm.is_none_or(|realm| realm == challenge.realm);
            let known = asked.iter().any(|(b, other)| *b == by && other.realm == challenge.realm);
            if ours && !known && asked.len() < MOST_SPACES {
                asked.push((by, challenge));
            }
        }
    }
    asked
}

/// The nonce that the request answered for a realm.
fn shown(request: &Message, by: By, realm: &str) -> Option<String> {
    let all = request.headers.all(&by.credentials()).filter_map(Credentials::parse).collect::<Vec<_>>();
    all.into_iter().find(|credentials| credentials.realm == realm).map(|credentials| credentials.nonce)
}
