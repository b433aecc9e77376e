//! Who calls, as it is told to whom: P-Asserted-Identity by trust (RFC 3325), Privacy (RFC 3323), and what diversions
//! and histories say of callers who want none of it known (RFC 5806, RFC 7044). Slow-path thread; pure.

use crate::sip::{
    b2bua::hiding::{Mask, Secrets},
    message::{HeaderName, Host, Message, NameAddr, Scheme, Uri},
};

/// What the caller asks to be kept private: RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044 §10.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    values: Vec<String>,
}

impl Privacy {
    pub fn of(message: &Message) -> Privacy {
        let lines = message.headers.all(&HeaderName::Privacy).flat_map(|line| line.split([';', ',']));
        Privacy { values: lines.map(|v| v.trim().to_ascii_lowercase()).filter(|v| !v.is_empty()).collect() }
    }

    fn asks(&self, value: &str) -> bool {
        self.values.iter().any(|v| v == value)
    }

    /// RFC 3323 §4.2: nothing is to be kept private. With other values beside it, which the RFC forbids, those count.
    pub fn none(&self) -> bool {
        self.asks("none") && self.values.iter().all(|v| v == "none" || v == "critical")
    }

    /// The caller's name and number are not to be told.
    pub fn of_caller(&self) -> bool {
        self.asks("id") || self.asks("user")
    }

    /// Fields that a user may fill in as he likes are not to cross (RFC 3323 §5.3).
    pub fn of_user(&self) -> bool {
        self.asks("user")
    }

    /// RFC 7044 §10.1.2: these cover every entry of the history.
    pub fn of_history(&self) -> bool {
        self.asks("history") || self.asks("header") || self.asks("session")
    }

    /// RFC 3323 §4.2: the request is to fail rather than go on without these.
    pub fn unmet(&self) -> Vec<&str> {
        let known = ["id", "user", "header", "session", "history", "none", "critical"];
        if !self.asks("critical") {
            return Vec::new();
        }
        self.values.iter().map(String::as_str).filter(|value| !known.contains(value)).collect()
    }

    /// What is left to ask for once ours is done: RFC 3323 §5 has a privacy service take out what it performed. `id` stays,
    /// for whoever comes to know the identity by other means.
    pub fn left(&self) -> Option<String> {
        let done = |value: &str| matches!(value, "user" | "header" | "session" | "history");
        let left: Vec<&str> = self.values.iter().map(String::as_str).filter(|value| !done(value)).collect();
        // RFC 3323 §4.2: `critical` says something of the others.
        left.iter().any(|value| *value != "critical").then(|| left.join(";"))
    }

    /// As it came.
    pub fn whole(&self) -> Option<String> {
        (!self.values.is_empty()).then(|| self.values.join(";"))
    }
}

/// RFC 3323 §4.1.1.3.
fn anonymous_uri() -> Uri {
    Uri::sip(Some("anonymous"), Host::Name("anonymous.invalid".into()), None)
}

pub fn anonymous() -> NameAddr {
    NameAddr { display: Some("Anonymous".into()), ..NameAddr::new(anonymous_uri()) }
}

/// The identities that a message asserts: RFC 3325 §9.1 has one SIP URI, one tel URI, or one of each. A peer that is
/// trusted and only prefers one (§9.2) asserts that.
pub fn asserted(message: &Message, mask: &Mask, secrets: &Secrets) -> Vec<NameAddr> {
    let read = |name: &HeaderName| -> Vec<NameAddr> {
        let lines = message.headers.all(name);
        lines.flat_map(|line| NameAddr::parse_list(line).unwrap_or_default()).collect()
    };
    let mut list = read(&HeaderName::PAssertedIdentity);
    if list.is_empty() {
        list = read(&HeaderName::PPreferredIdentity);
        list.truncate(1);
    }
    let sip = list.iter().find(|identity| identity.uri.scheme.is_sip());
    let tel = list.iter().find(|identity| identity.uri.scheme == Scheme::Tel);
    let known = list.iter().filter(|identity| [sip, tel].contains(&Some(identity)));
    let mut shown: Vec<NameAddr> = Vec::new();
    for identity in known.filter_map(|identity| mask.address(identity, secrets)) {
        if !shown.iter().any(|before| before.uri.scheme == identity.uri.scheme) {
            shown.push(identity);
        }
    }
    shown
}

/// RFC 5806 §5: `privacy` says which of a diverting party's URI and name are not to be told outside.
pub fn diversion(mut entry: NameAddr, untrusted: bool) -> NameAddr {
    let privacy = entry.params.value("privacy").unwrap_or("off").trim_matches('"').to_ascii_lowercase();
    if untrusted && matches!(privacy.as_str(), "full" | "name") {
        entry.display = None;
    }
    if untrusted && matches!(privacy.as_str(), "full" | "uri") {
        entry.uri = anonymous_uri();
    }
    entry
}

/// RFC 7044 §10.1.2: an entry that is private, by itself or with all others, keeps its index and nothing that tells whom
/// it is about.
pub fn history(mut entry: NameAddr, untrusted: bool, privacy: &Privacy) -> NameAddr {
    let of_itself = entry.uri.headers.as_deref().is_some_and(|headers| {
        let mut parts = headers.split('&').filter_map(|header| header.split_once('='));
        parts.any(|(name, value)| name.eq_ignore_ascii_case("Privacy") && !value.eq_ignore_ascii_case("none"))
    });
    if untrusted && (of_itself || privacy.of_history()) {
        entry.uri = anonymous_uri();
        entry.display = None;
    }
    entry
}
