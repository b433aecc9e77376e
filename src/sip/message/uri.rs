//! Hosts and URIs (RFC 3261 §19.1, RFC 5954 for IPv6). User and parameters are kept as written, with their escapes;
//! `equivalent` compares what they mean.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::{
    params::Params,
    scan::{Syntax, escapes_are_whole, is_token_byte},
};

const WHAT: Syntax = Syntax("the URI");

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
}

impl Host {
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    pub fn parse(text: &str) -> Result<Host, Syntax> {
        const WHAT: Syntax = Syntax("the host");
        if let Some(inner) = text.strip_prefix('[') {
            // RFC 5954 §4: an IPv6 reference holds an address as RFC 3986 writes it; no zone.
            let inner = inner.strip_suffix(']').ok_or(WHAT)?;
            return parse_ipv6(inner).map(|ip| Host::Ip(IpAddr::V6(ip))).ok_or(WHAT);
        }
        if let Ok(ip) = text.parse() {
            return Ok(Host::Ip(IpAddr::V4(ip)));
        }
        let labels = text.strip_suffix('.').unwrap_or(text);
        let good_label =
            |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        // RFC 3261 §25.1: the last label of a name starts with a letter, so that 10.0.0.256 is no name either.
        let numeric_end = labels.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > 255 || numeric_end || !labels.split('.').all(good_label) {
            return Err(WHAT);
        }
        Ok(Host::Name(text.to_owned()))
    }

    /// RFC 3261 §19.1.4: without case.
    pub fn equivalent(&self, other: &Host) -> bool {
        match (self, other) {
            (Host::Ip(a), Host::Ip(b)) => a == b,
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Host::Ip(ip)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// RFC 5118 §4.10: RFC 3261's grammar asked for a third colon before an embedded IPv4 address, and both forms are met.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Some((groups, ipv4)) = text.split_once(":::")
        && ipv4.parse::<Ipv4Addr>().is_ok()
    {
        return format!("{groups}::{ipv4}").parse().ok();
    }
    text.parse().ok()
}

/// `host[:port]`.
pub(super) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), Syntax> {
    const WHAT: Syntax = Syntax("the host or port");
    let colon = match text.strip_prefix('[') {
        Some(_) => text.find(']').and_then(|end| text.get(end + 1..)?.starts_with(':').then_some(end + 1)),
        None => text.find(':'),
    };
    let Some(colon) = colon else { return Ok((Host::parse(text)?, None)) };
    let (host, port) = (text.get(..colon).unwrap_or(""), text.get(colon + 1..).unwrap_or(""));
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WHAT);
    }
    Ok((Host::parse(host)?, Some(port.parse().map_err(|_| WHAT)?)))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any other, in lower case.
    Other(String),
}

impl Scheme {
    pub fn as_str(&self) -> &str {
        match self {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel => "tel",
            Scheme::Other(name) => name,
        }
    }

    pub fn is_sip(&self) -> bool {
        matches!(self, Scheme::Sip | Scheme::Sips)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Uri {
    pub scheme: Scheme,
    pub user: Option<String>,
    pub password: Option<String>,
    /// An empty name where the scheme is neither sip nor sips.
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
    /// What follows `?`.
    pub headers: Option<String>,
    /// What follows the scheme where it is neither sip nor sips; else empty.
    pub opaque: String,
}

impl Uri {
    /// `sip:host` or `sip:user@host`, to be completed.
    pub fn sip(user: Option<&str>, host: Host, port: Option<u16>) -> Uri {
        Uri {
            scheme: Scheme::Sip,
            user: user.map(str::to_owned),
            password: None,
            host,
            port,
            params: Params::new(),
            headers: None,
            opaque: String::new(),
        }
    }

    pub fn parse(text: &str) -> Result<Uri, Syntax> {
        let (scheme, rest) = text.split_once(':').ok_or(WHAT)?;
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => Uri::parse_sip(Scheme::Sip, rest),
            "sips" => Uri::parse_sip(Scheme::Sips, rest),
            other => Uri::parse_opaque(other, rest),
        }
    }

    fn parse_opaque(scheme: &str, rest: &str) -> Result<Uri, Syntax> {
        // RFC 3986 §3.1: a letter, then letters, digits and `+-.`.
        let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !good || rest.is_empty() || !rest.bytes().all(is_uri_byte) {
            return Err(WHAT);
        }
        let scheme = if scheme == "tel" { Scheme::Tel } else { Scheme::Other(scheme.to_owned()) };
        Ok(Uri { scheme, opaque: rest.to_owned(), ..Uri::sip(None, Host::Name(String::new()), None) })
    }

    fn parse_sip(scheme: Scheme, rest: &str) -> Result<Uri, Syntax> {
        if !rest.bytes().all(is_uri_byte) {
            return Err(WHAT);
        }
        // RFC 3261 §25.1: a user part may hold `;`, `?` and `/`, never a bare `@`: the first `@` ends it.
        let (userinfo, after) = match rest.split_once('@') {
            Some((userinfo, after)) => (Some(userinfo), after),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|u| (u, u.split_once(':'))) {
            None => (None, None),
            Some((_, Some((user, password)))) => (Some(user), Some(password)),
            Some((user, None)) => (Some(user), None),
        };
        if user.is_some_and(str::is_empty) || !userinfo.is_none_or(escapes_are_whole) {
            return Err(WHAT);
        }
        let (after, headers) = match after.split_once('?') {
            Some((after, headers)) => (after, Some(headers)),
            None => (after, None),
        };
        if headers.is_some_and(|h| h.is_empty() || !escapes_are_whole(h)) {
            return Err(WHAT);
        }
        let (host_port, params) = after.split_at(after.find(';').unwrap_or(after.len()));
        let (host, port) = parse_host_port(host_port)?;
        Ok(Uri {
            scheme,
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            host,
            port,
            params: Params::parse_uri(params)?,
            headers: headers.map(str::to_owned),
            opaque: String::new(),
        })
    }

    /// The number or name that is called: the user part, or a tel URI's number without its parameters.
    pub fn called(&self) -> Option<&str> {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.user.as_deref(),
            Scheme::Tel => self.opaque.split(';').next(),
            Scheme::Other(_) => None,
        }
    }

    /// RFC 3261 §16.12: the next hop routes loosely.
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }

    /// RFC 3261 §19.1.4.
    pub fn equivalent(&self, other: &Uri) -> bool {
        if self.scheme != other.scheme || self.port != other.port || !self.host.equivalent(&other.host) {
            return false;
        }
        if !self.scheme.is_sip() {
            return self.opaque == other.opaque;
        }
        let same = |a: &Option<String>, b: &Option<String>| a.as_deref().map(unescape) == b.as_deref().map(unescape);
        same(&self.user, &other.user)
            && same(&self.password, &other.password)
            && params_match(&self.params, &other.params)
            && params_match(&other.params, &self.params)
            && header_set(self.headers.as_deref()) == header_set(other.headers.as_deref())
    }
}

/// RFC 3261 §19.1.4: a parameter in both must match; user, ttl, method, maddr (and transport, by RFC 3261's own
/// examples) in one of them only makes the URIs differ; any other is ignored then.
fn params_match(ours: &Params, theirs: &Params) -> bool {
    ours.iter().all(|(name, value)| match theirs.get(name) {
        Some(other) => {
            let plain = |v: Option<&str>| v.map(|v| String::from_utf8_lossy(&unescape(v)).to_ascii_lowercase());
            plain(other) == plain(value)
        }
        None => !["user", "ttl", "method", "maddr", "transport"].iter().any(|n| n.eq_ignore_ascii_case(name)),
    })
}

fn header_set(headers: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let mut set: Vec<_> = headers
        .into_iter()
        .flat_map(|h| h.split('&'))
        .map(|h| h.split_once('=').unwrap_or((h, "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), unescape(value)))
        .collect();
    set.sort();
    set
}

/// The bytes that `%`-escaped text stands for.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&b, after)) = bytes.split_first() {
        let digit =
            |at: usize| after.get(at).and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (b, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                bytes = after.get(2..).unwrap_or(&[]);
            }
            _ => {
                out.push(b);
                bytes = after;
            }
        }
    }
    out
}

/// Text as a user part: what RFC 3261 §25.1 does not allow there is escaped.
pub fn escape_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        let plain = is_token_byte(b) && !matches!(b, b'%' | b'`') || b"()&=+$,;?/".contains(&b);
        match plain {
            true => out.push(char::from(b)),
            false => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// What ends a URI wherever it stands, and controls, never occur within. Bytes of UTF-8 do in practice, and are kept.
fn is_uri_byte(b: u8) -> bool {
    b > b' ' && b != 0x7f && !matches!(b, b'"' | b'<' | b'>')
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        if !self.scheme.is_sip() {
            return f.write_str(&self.opaque);
        }
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}
