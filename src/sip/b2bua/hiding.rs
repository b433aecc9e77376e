//! Topology hiding: what a header field that crosses may say. Slow-path thread; pure.
//!
//! Always holds: a SIP URI that crosses has our address for its host, whatever it had; what is no URI crosses only if it
//! holds no IP address, and no host, Call-ID, tag or branch of the message that it came in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sip::message::{Host, Message, NameAddr, Params, Scheme, Uri, quote, unescape, unquote};

/// Shorter tags, Call-IDs and branches are found in texts that do not mean them.
const SHORTEST_WORD: usize = 6;

/// What a message tells of the side that it came from.
#[derive(Debug, Default)]
pub struct Secrets {
    hosts: Vec<String>,
    words: Vec<String>,
    /// Ours, as the side is told that the message goes to: no secret.
    ours: Option<IpAddr>,
}

impl Secrets {
    pub fn of(message: &Message, ours: Option<IpAddr>) -> Secrets {
        let mut secrets = Secrets { ours, ..Secrets::default() };
        let addresses = [message.from().ok(), message.to().ok()];
        for address in addresses.iter().flatten() {
            secrets.host(&address.uri.host);
            secrets.word(address.tag());
        }
        secrets.word(message.call_id());
        if let Some((word, host)) = message.call_id().and_then(|id| id.rsplit_once('@')) {
            secrets.word(Some(word));
            if let Ok(host) = Host::parse(host) {
                secrets.host(&host);
            }
        }
        for via in message.vias().unwrap_or_default() {
            secrets.host(&via.host);
            secrets.word(via.branch());
        }
        for address in message.contacts().unwrap_or_default() {
            secrets.host(&address.uri.host);
        }
        for address in message.record_routes().unwrap_or_default() {
            secrets.host(&address.uri.host);
        }
        if let Some(uri) = message.uri() {
            secrets.host(&uri.host);
        }
        secrets
    }

    fn host(&mut self, host: &Host) {
        match host {
            // An address by itself is found whosever it is; this finds it within other digits.
            Host::Ip(ip) if Some(*ip) != self.ours => self.word(Some(&ip.to_string())),
            Host::Name(name) if !name.is_empty() && !is_nowhere(host) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                if name.contains('.') {
                    self.word(Some(&name));
                }
                self.hosts.push(name);
            }
            _ => {}
        }
    }

    fn word(&mut self, word: Option<&str>) {
        self.words.extend(word.filter(|word| word.len() >= SHORTEST_WORD).map(str::to_ascii_lowercase));
    }

    /// Whether `text`, as it stands or with its escapes undone, tells any of it.
    pub fn told_by(&self, text: &str) -> bool {
        let plain = text.contains('%').then(|| String::from_utf8_lossy(&unescape(text)).into_owned());
        std::iter::once(text).chain(plain.as_deref()).any(|text| {
            let text = &text.to_ascii_lowercase();
            self.words.iter().any(|word| text.contains(word.as_str()))
                || addresses(text).any(|ip| Some(ip) != self.ours)
                || names(text).any(|name| self.is_host(name))
        })
    }

    /// The same of words for people, in which no host at all is to be named.
    pub fn told_by_words(&self, text: &str) -> bool {
        self.told_by(text) || names_a_host(text)
    }

    fn is_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| {
            name.strip_suffix(host.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}

/// RFC 2606 §2, RFC 3323 §4.1.1.3: a host that is nobody's.
pub fn is_nowhere(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    let name = name.to_ascii_lowercase();
    name == "invalid" || name.ends_with(".invalid") || name == "localhost"
}

/// IP addresses that are written in `text`.
fn addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    let v4 = text
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|token| token.trim_matches('.').parse::<Ipv4Addr>().ok())
        .map(IpAddr::V4);
    let v6 = text
        .split(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.'))
        .filter(|token| token.matches(':').count() >= 2 && token.bytes().any(|b| b.is_ascii_digit()))
        .filter_map(|token| {
            let whole = token.parse::<Ipv6Addr>();
            whole.or_else(|_| token.trim_start_matches(':').trim_end_matches([':', '.']).parse()).ok()
        })
        .map(IpAddr::V6);
    v4.chain(v6)
}

/// What could be host names in `text`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(move |c: char| !part(c)).map(|name| name.trim_matches('.')).filter(|name| !name.is_empty())
}

/// Whether words for people name a host, or somebody at one.
pub fn names_a_host(text: &str) -> bool {
    let like_a_host = |name: &str| {
        let Some((before, last)) = name.rsplit_once('.') else { return false };
        last.len() >= 2
            && last.bytes().all(|b| b.is_ascii_alphabetic())
            && before.split('.').all(|label| label.bytes().any(|b| b.is_ascii_alphanumeric()))
    };
    text.contains('@') || addresses(text).next().is_some() || names(text).any(like_a_host)
}

/// What stands for the other side's hosts.
#[derive(Clone, Debug)]
pub struct Mask {
    pub host: Host,
    pub port: Option<u16>,
}

/// Parameters of a SIP URI that are about the user: the kind of number (RFC 3261 §19.1.1), why it was redirected
/// (RFC 4458), an ISDN subaddress.
const URI_PARAMS: [&str; 3] = ["user", "cause", "isub"];
/// Parameters within a user part that are about the number: RFC 3966 §3, RFC 4694.
const NUMBER_PARAMS: [&str; 8] = ["ext", "isub", "postd", "npdi", "rn", "cic", "cpc", "oli"];

impl Mask {
    /// None: nothing of it can be shown.
    pub fn uri(&self, uri: &Uri, secrets: &Secrets) -> Option<Uri> {
        match &uri.scheme {
            Scheme::Sip | Scheme::Sips => Some(self.sip_uri(uri, secrets)),
            // RFC 3966 §5.1.5: the context of a local number may be a domain.
            Scheme::Tel => Some(uri.clone()).filter(|uri| !secrets.told_by(&uri.opaque)),
            // RFC 8141: a name, not a place.
            Scheme::Other(scheme) if scheme == "urn" => Some(uri.clone()).filter(|uri| !secrets.told_by(&uri.opaque)),
            Scheme::Other(_) => None,
        }
    }

    fn sip_uri(&self, uri: &Uri, secrets: &Secrets) -> Uri {
        let user = uri.user.as_deref().and_then(|user| shown_user(user, secrets));
        let (host, port) =
            if is_nowhere(&uri.host) { (uri.host.clone(), None) } else { (self.host.clone(), self.port) };
        let mut shown = Uri { scheme: uri.scheme.clone(), ..Uri::sip(user.as_deref(), host, port) };
        for name in URI_PARAMS {
            if let Some(value) = uri.params.get(name).filter(|v| !v.is_some_and(|v| secrets.told_by(v))) {
                shown.params.set(name, value);
            }
        }
        shown.headers = uri.headers.as_deref().and_then(|headers| shown_headers(headers, secrets));
        shown
    }

    /// An address with its display name and parameters, as far as they tell nothing.
    pub fn address(&self, address: &NameAddr, secrets: &Secrets) -> Option<NameAddr> {
        let mut shown = NameAddr::new(self.uri(&address.uri, secrets)?);
        shown.display = address.display.clone().filter(|name| !secrets.told_by(name));
        shown.params = shown_params(&address.params, secrets);
        Some(shown)
    }

    pub fn addresses(&self, line: &str, secrets: &Secrets) -> Vec<NameAddr> {
        let list = NameAddr::parse_list(line).unwrap_or_default();
        list.iter().filter_map(|address| self.address(address, secrets)).collect()
    }

    /// Alert-Info and its like: a name (RFC 7462) passes. A place is the other side's; what the parameters say of it, such
    /// as the kind of ring tone, passes with a place that is nowhere.
    pub fn info(&self, line: &str, secrets: &Secrets) -> Vec<NameAddr> {
        let nowhere = Uri::parse("http://127.0.0.1").ok();
        let list = NameAddr::parse_list(line).unwrap_or_default();
        let shown = list.iter().filter_map(|info| {
            if let Some(uri) = self.uri(&info.uri, secrets).filter(|uri| !uri.scheme.is_sip()) {
                return Some(NameAddr { display: None, uri, params: shown_params(&info.params, secrets) });
            }
            let params = shown_params(&info.params, secrets);
            if params.is_empty() { None } else { Some(NameAddr { display: None, uri: nowhere.clone()?, params }) }
        });
        shown.collect()
    }
}

fn shown_params(params: &Params, secrets: &Secrets) -> Params {
    let mut shown = Params::new();
    for (name, value) in params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("tag")) {
        if !secrets.told_by(name) && !value.is_some_and(|value| secrets.told_by(value)) {
            shown.set(name, value);
        }
    }
    shown
}

/// A user part without what names a trunk group or a domain (RFC 4904, RFC 3966 §5.1.5), if the rest tells nothing.
pub fn shown_user(user: &str, secrets: &Secrets) -> Option<String> {
    let mut parts = user.split(';');
    let mut shown = parts.next()?.to_owned();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let global = name.eq_ignore_ascii_case("phone-context") && value.starts_with(['+', '%']);
        if global || NUMBER_PARAMS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            shown.push(';');
            shown.push_str(part);
        }
    }
    let at = ["@", "%40"].iter().filter_map(|sign| shown.find(sign)).min();
    shown.truncate(at.unwrap_or(shown.len()));
    Some(shown).filter(|user| !user.is_empty() && !secrets.told_by(user))
}

/// RFC 7044 §5: Reason and Privacy stand in the URI of an entry; other header fields there are the other side's affair.
fn shown_headers(headers: &str, secrets: &Secrets) -> Option<String> {
    let known = |name: &str| name.eq_ignore_ascii_case("Reason") || name.eq_ignore_ascii_case("Privacy");
    let shown: Vec<&str> = headers
        .split('&')
        .filter(|header| header.split_once('=').is_some_and(|(name, _)| known(name)))
        .filter(|header| !secrets.told_by_words(header) && !names_a_host(&String::from_utf8_lossy(&unescape(header))))
        .collect();
    (!shown.is_empty()).then(|| shown.join("&"))
}

/// The parts of `text` between separators that stand outside quoted strings.
fn split_quoted(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(text.get(start..at).unwrap_or(""));
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// RFC 3326: protocol and cause pass, and the text unless it names a host. None: nothing is left.
pub fn reason(value: &str, secrets: &Secrets) -> Option<String> {
    let mut shown = Vec::new();
    for reason in split_quoted(value, ',') {
        let mut parts = split_quoted(reason, ';').into_iter();
        let Some(protocol) = parts.next().filter(|protocol| !secrets.told_by_words(protocol)) else { continue };
        let params = parts.filter(|param| {
            let value = param.split_once('=').map_or("", |(_, value)| value.trim());
            !secrets.told_by(param) && !secrets.told_by_words(&unquote(value))
        });
        shown.push(std::iter::once(protocol).chain(params).collect::<Vec<_>>().join(";"));
    }
    (!shown.is_empty()).then(|| shown.join(", "))
}

/// RFC 3261 §20.43: code, who warns, and a text. We warn, if the text names no host.
pub fn warning(value: &str, mask: &Mask, secrets: &Secrets) -> Option<String> {
    let shown: Vec<String> = split_quoted(value, ',')
        .into_iter()
        .filter_map(|warning| {
            let (code, rest) = warning.split_once(' ')?;
            let (_, text) = rest.trim_start().split_once(' ')?;
            let text = unquote(text.trim());
            let code_is_one = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
            let told = !code_is_one || secrets.told_by_words(&text);
            (!told).then(|| format!("{code} {} {}", mask.host, quote(&text)))
        })
        .collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}
