//! Via (RFC 3261 §20.42, RFC 3581, RFC 5118 §4.5).

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    params::Params,
    scan::{Cursor, Syntax},
    uri::{Host, parse_host_port},
};
use crate::base::limits::SIP_LIST_ENTRIES;

const WHAT: Syntax = Syntax("Via");

/// RFC 3261 §8.1.1.7: what every branch starts with.
pub const BRANCH_COOKIE: &str = "z9hG4bK";

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Via {
    /// `UDP`, `TCP`, `TLS` or any other token, as written.
    pub transport: String,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    pub fn new(transport: &str, host: Host, port: Option<u16>, branch: &str) -> Via {
        let mut params = Params::new();
        params.set("branch", Some(branch));
        Via { transport: transport.to_owned(), host, port, params }
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// RFC 3581 §3: Some(None) asks for it, Some(Some(port)) answers.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|value| value.and_then(|v| v.parse().ok()))
    }

    /// RFC 5118 §4.5: an IPv6 address with or without brackets.
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    pub fn parse(text: &str) -> Result<Via, Syntax> {
        let mut cursor = Cursor::new(text);
        let (via, _) = Via::take(&mut cursor)?;
        if cursor.at_end() { Ok(via) } else { Err(WHAT) }
    }

    /// The first of one or more that are well formed.
    pub fn parse_first(text: &str) -> Result<Via, Syntax> {
        Ok(Via::take(&mut Cursor::new(text))?.0)
    }

    /// One or more, separated by commas.
    pub fn parse_list(text: &str) -> Result<Vec<Via>, Syntax> {
        Ok(Via::parse_list_of_versions(text)?.0)
    }

    /// And whether every one of them says SIP/2.0.
    pub(super) fn parse_list_of_versions(text: &str) -> Result<(Vec<Via>, bool), Syntax> {
        let (mut list, mut all_2_0) = (Vec::new(), true);
        let mut cursor = Cursor::new(text);
        loop {
            if list.len() >= SIP_LIST_ENTRIES {
                return Err(WHAT);
            }
            let (via, version) = Via::take(&mut cursor)?;
            list.push(via);
            all_2_0 &= version == "2.0";
            if cursor.at_end() {
                return Ok((list, all_2_0));
            }
            if !cursor.eat(b',') {
                return Err(WHAT);
            }
        }
    }

    /// The first entry of a line, as much of it as is needed to answer it.
    pub(super) fn parse_first_leniently(text: &str) -> Option<Via> {
        let mut cursor = Cursor::new(text);
        let (mut via, _) = Via::take_sent_by(&mut cursor).ok()?;
        via.params = Params::parse_header_leniently(&mut cursor);
        Some(via)
    }

    /// Takes one entry and the space around it; the version, which is 2.0 in everything we write, comes beside it.
    fn take<'a>(cursor: &mut Cursor<'a>) -> Result<(Via, &'a str), Syntax> {
        let (mut via, version) = Via::take_sent_by(cursor)?;
        via.params = Params::parse_header(cursor)?;
        cursor.skip_space();
        Ok((via, version))
    }

    fn take_sent_by<'a>(cursor: &mut Cursor<'a>) -> Result<(Via, &'a str), Syntax> {
        cursor.skip_space();
        let protocol = cursor.token().ok_or(WHAT)?;
        if !protocol.eq_ignore_ascii_case("SIP") || !cursor.eat_spaced(b'/') {
            return Err(WHAT);
        }
        let version = cursor.token().ok_or(WHAT)?;
        if !cursor.eat_spaced(b'/') {
            return Err(WHAT);
        }
        let transport = cursor.token().ok_or(WHAT)?.to_owned();
        let before = cursor.rest().len();
        cursor.skip_space();
        if cursor.rest().len() == before {
            return Err(WHAT);
        }
        let host = match cursor.peek() {
            Some(b'[') => cursor.take_while(|b| b.is_ascii_hexdigit() || matches!(b, b'[' | b']' | b':' | b'.')),
            _ => cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':')),
        };
        let (host, port) = match host.strip_suffix(':') {
            // RFC 3261 §25.1: COLON may have space around it.
            Some(host) if !host.is_empty() => (Host::parse(host)?, Some(take_port(cursor)?)),
            _ => match parse_host_port(host)? {
                (host, None) if cursor.eat_spaced(b':') => (host, Some(take_port(cursor)?)),
                found => found,
            },
        };
        Ok((Via { transport, host, port, params: Params::new() }, version))
    }
}

fn take_port(cursor: &mut Cursor<'_>) -> Result<u16, Syntax> {
    cursor.skip_space();
    cursor.take_while(|b| b.is_ascii_digit()).parse().map_err(|_| WHAT)
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}
