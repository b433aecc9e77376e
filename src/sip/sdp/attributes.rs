//! Which attributes go on to the other side: all but those that tandem says itself, those of what it does not pass
//! through (ICE, DTLS, keys, bundling), and whatever names an address or host of the side they come from.

use sdp_types::{Attribute, Session};

use super::audio::direction_named;

/// ICE: RFC 8839.
pub const ICE: &[&str] = &[
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
];

/// Agreeing on keys elsewhere than in the description: RFC 8122, RFC 8842, RFC 4567, RFC 6189.
pub const KEYING: &[&str] = &["fingerprint", "setup", "connection", "tls-id", "dtls-id", "key-mgmt", "zrtp-hash"];

/// Other transports or addresses for the same media: RFC 5939, RFC 6871, RFC 4091, RFC 6947.
pub const ALTERNATIVES: &[&str] = &["tcap", "acap", "pcfg", "acfg", "csup", "creq", "sescap", "lcfg", "alt", "altc"];

/// Said by tandem itself, or about what ends at tandem.
const REMOVED: &[&[&str]] = &[
    // Said anew, from the formats and ports that were agreed.
    &["rtpmap", "fmtp", "rtcp", "rtcp-mux", "rtcp-mux-only"],
    ICE,
    KEYING,
    // Keys in the description, and who vouches for them: RFC 4568, RFC 8827.
    &["crypto", "identity"],
    // Sources and grouping over sections that are refused: RFC 5576, RFC 8830, RFC 5888, RFC 8843, RFC 8851, RFC 8853.
    &["ssrc", "ssrc-group", "msid", "msid-semantic", "group", "bundle-only", "rid", "simulcast"],
    ALTERNATIVES,
    // Media capabilities of RFC 6871, and sources by address: RFC 4570.
    &["rmcap", "omcap", "mfcap", "mscap", "source-filter"],
    // About the other side's program and the relays before it.
    &["tool", "nortpproxy", "oldmediaip", "oldmediaport", "oldoip", "oldcip"],
];

/// What must not be seen on the other side: IP addresses, whosever, and the names in this description.
pub struct Secrets {
    /// In lower case. Addresses among them need no place here.
    names: Vec<String>,
}

impl Secrets {
    pub fn of(session: &Session) -> Self {
        let connections = session.medias.iter().flat_map(|m| &m.connections).chain(&session.connection);
        let mut names: Vec<&str> = connections.map(|c| c.connection_address.as_str()).collect();
        names.push(&session.origin.unicast_address);
        names.extend(session.origin.username.as_deref());
        // `-` stands for no user, and a number may stand for anything.
        names.retain(|name| name.len() > 1 && !name.bytes().all(|b| b.is_ascii_digit()) && !holds_address(name));
        names.sort_unstable();
        names.dedup();
        Secrets { names: names.into_iter().map(str::to_ascii_lowercase).collect() }
    }

    /// Whether a text holds an IP address, or the origin's user or a host as a word.
    pub fn are_told_by(&self, text: &str) -> bool {
        let lower = text.to_ascii_lowercase();
        holds_address(text) || self.names.iter().any(|name| holds_word(&lower, name))
    }

    /// The same of what names codecs and media: a user or host whose name is a plain word may be called like one.
    pub fn are_told_by_term(&self, text: &str) -> bool {
        let lower = text.to_ascii_lowercase();
        holds_address(text) || self.names.iter().any(|name| name.contains('.') && holds_word(&lower, name))
    }
}

/// Whether an IP address is written somewhere in a text, whatever stands around it.
pub fn holds_address(text: &str) -> bool {
    holds_ipv4(text) || holds_ipv6(text)
}

/// Four numbers between dots. What stands before the first and after the last may be cut off to make them numbers.
fn holds_ipv4(text: &str) -> bool {
    let number = |part: &&str| part.parse::<u8>().is_ok();
    text.split(|c: char| !c.is_ascii_digit() && c != '.').any(|run| {
        let parts: Vec<&str> = run.split('.').collect();
        parts.windows(4).any(|w| match w {
            [first, inner @ .., last] => !first.is_empty() && inner.iter().all(number) && !last.is_empty(),
            _ => false,
        })
    })
}

/// RFC 4291 §2.2: eight groups of one to four hexadecimal digits, or some of them beside `::`.
fn holds_ipv6(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_hexdigit() && c != ':').any(|run| {
        let groups: Vec<&str> = run.split(':').collect();
        let compressed = run.contains("::") && groups.iter().any(|group| !group.is_empty());
        compressed
            || groups.windows(8).any(|w| match w {
                [first, inner @ .., last] => {
                    !first.is_empty() && inner.iter().all(|g| (1..=4).contains(&g.len())) && !last.is_empty()
                }
                _ => false,
            })
    })
}

/// Whether `word` is in `text` with no letter or digit at its sides.
fn holds_word(text: &str, word: &str) -> bool {
    let mut before = None;
    text.char_indices().any(|(at, first)| {
        let starts = !before.replace(first).is_some_and(char::is_alphanumeric);
        let after = text.get(at..).filter(|_| starts).and_then(|rest| rest.strip_prefix(word));
        after.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}

/// The attributes of a session or section that go on. `numbers`: payload types that mean the same, from and to.
pub fn passed_on(attributes: &[Attribute], secrets: &Secrets, numbers: &[(u8, u8)]) -> Vec<Attribute> {
    attributes.iter().filter_map(|attribute| pass(attribute, secrets, numbers)).collect()
}

fn pass(attribute: &Attribute, secrets: &Secrets, numbers: &[(u8, u8)]) -> Option<Attribute> {
    let name = attribute.attribute.to_ascii_lowercase();
    if REMOVED.iter().any(|names| names.contains(&name.as_str())) || direction_named(&name).is_some() {
        return None;
    }
    // As it is written: an address may begin in the name and end in the value.
    let told = match &attribute.value {
        Some(value) => secrets.are_told_by(&format!("{name}:{value}")),
        None => secrets.are_told_by(&name),
    };
    if told {
        return None;
    }
    if name == "rtcp-fb" {
        let value = renumber(attribute.value.as_deref()?, numbers)?;
        return Some(Attribute::with_value("rtcp-fb", value));
    }
    Some(attribute.clone())
}

/// RFC 4585 §4.2: a payload type or `*`, then what it is about.
fn renumber(value: &str, numbers: &[(u8, u8)]) -> Option<String> {
    let (pt, rest) = value.split_once(' ')?;
    if pt == "*" {
        return Some(value.to_owned());
    }
    let pt: u8 = pt.parse().ok()?;
    numbers.iter().find(|(from, _)| *from == pt).map(|(_, to)| format!("{to} {rest}"))
}
