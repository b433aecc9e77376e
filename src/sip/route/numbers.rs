//! Telephone numbers: taken from URIs (RFC 3261 §19.1.6, RFC 3966), brought to +E.164 as the caller's trunk writes
//! them, and written as the called trunk wants them. Slow-path thread; no state.

use serde::{Deserialize, Serialize};

use crate::{
    config::{NumberFormat, Numbers as Scheme, Rewrite},
    sip::message::{Scheme as UriScheme, Uri, escape_user, unescape},
};

/// ITU-T E.164 §6: country code and national number together.
const E164_DIGITS: usize = 15;

/// A number on its way through the dial plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// As the caller wrote it, without its parameters; of a telephone number without visual separators too.
    pub dialled: String,
    /// What the rules see: +E.164 where the trunk's `numbers` say how, else as dialled.
    pub seen: String,
    /// What the winning rule made of it; None: it left it alone.
    pub rewritten: Option<String>,
}

/// Called and calling number of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub called: Number,
    /// None: the caller gives none, or hides it.
    pub calling: Option<Number>,
}

/// The text in which a URI holds a number, with the number's parameters: `+49-30;ext=7`.
fn subscriber(uri: &Uri) -> &str {
    match (&uri.user, &uri.scheme) {
        (Some(user), _) => user.as_str(),
        (None, UriScheme::Tel) => uri.opaque.as_str(),
        (None, _) => "",
    }
}

/// RFC 3261 §19.1.6: the user part is a telephone number by RFC 3966.
fn is_phone(uri: &Uri) -> bool {
    uri.scheme == UriScheme::Tel || uri.params.value("user").is_some_and(|user| user.eq_ignore_ascii_case("phone"))
}

/// The number that the dial plan looks at: the user part without its parameters and escapes, or a telephone number
/// without visual separators, which do not count (RFC 3966 §3, §5.1.1).
pub fn called_number(uri: &Uri) -> String {
    let number = subscriber(uri).split(';').next().unwrap_or("");
    // RFC 3261 §19.1.4: an escape and what it stands for are the same. What is no plain text stays escaped, so that it
    // harms no log.
    let plain = String::from_utf8(unescape(number)).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    let number = plain.unwrap_or_else(|| number.to_owned());
    if is_phone(uri) { number.chars().filter(|c| !is_separator(*c)).collect() } else { number }
}

/// RFC 3966 §3: visual-separator.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '.' | '(' | ')')
}

/// RFC 3966 §5.1.5: where a local number holds.
fn context(uri: &Uri) -> Option<&str> {
    let mut params = subscriber(uri).split(';').skip(1).filter_map(|param| param.split_once('='));
    params.find(|(name, _)| name.eq_ignore_ascii_case("phone-context")).map(|(_, value)| value)
}

/// RFC 3323 §4.1.1.3: a caller who does not want to be known.
fn is_anonymous(uri: &Uri) -> bool {
    let host = uri.host.to_string();
    host.eq_ignore_ascii_case("anonymous.invalid")
        || uri.user.as_deref().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"))
}

impl Numbers {
    /// A caller who hides stays hidden. Characters are only taken from and put before what is a number; another number
    /// may stand for a name too.
    pub fn rewrite_calling(&mut self, rewrite: &Rewrite, caller: Option<&Uri>) {
        let Some(uri) = caller.filter(|uri| !is_anonymous(uri)) else { return };
        match (&mut self.calling, &rewrite.number) {
            (Some(calling), None) if !is_number(&calling.seen) => {}
            (Some(calling), _) => calling.rewrite(rewrite),
            (None, Some(_)) => {
                let mut calling = Number::of(uri, None);
                calling.rewrite(rewrite);
                self.calling = Some(calling);
            }
            (None, None) => {}
        }
    }
}

/// Whether it could be dialled.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b"*#-.()".contains(&b))
}

impl Number {
    /// The number in `uri`, as a trunk whose numbers are written by `scheme` means it.
    pub fn of(uri: &Uri, scheme: Option<&Scheme>) -> Number {
        let dialled = called_number(uri);
        let seen = scheme.map_or_else(|| dialled.clone(), |scheme| normalise(scheme, &dialled, context(uri)));
        Number { dialled, seen, rewritten: None }
    }

    /// The same for a caller; None where there is no number, or it is hidden.
    pub fn of_caller(uri: &Uri, scheme: Option<&Scheme>) -> Option<Number> {
        if is_anonymous(uri) || subscriber(uri).is_empty() {
            return None;
        }
        Some(Number::of(uri, scheme))
    }

    pub fn rewrite(&mut self, rewrite: &Rewrite) {
        self.rewritten = rewritten(rewrite, &self.seen);
    }

    /// What the rules left.
    pub fn routed(&self) -> &str {
        self.rewritten.as_deref().unwrap_or(&self.seen)
    }

    /// As a trunk whose numbers are written by `scheme` wants it.
    pub fn written(&self, scheme: Option<&Scheme>) -> String {
        let format = scheme.map_or(NumberFormat::AsDialled, |scheme| scheme.format);
        if format == NumberFormat::AsDialled {
            return self.rewritten.as_deref().unwrap_or(&self.dialled).to_owned();
        }
        let number = self.routed();
        let Some(digits) = number.strip_prefix('+').filter(|digits| all_digits(digits)) else {
            return number.to_owned();
        };
        match (format, scheme) {
            (NumberFormat::E164, _) => digits.to_owned(),
            (NumberFormat::National, Some(scheme)) => national(scheme, digits),
            _ => number.to_owned(),
        }
    }

    /// The user part that stands for `written` at another host, if `uri` asked for this number. RFC 3261 §19.1.6: the
    /// number's parameters go along, but what a rule rewrote is another number, and a context holds only for what was
    /// dialled.
    pub fn user_part(&self, uri: &Uri, written: &str) -> Option<String> {
        let unchanged = written == self.dialled;
        if unchanged && uri.scheme.is_sip() {
            return uri.user.clone();
        }
        let mut user = escape_user(written);
        if self.rewritten.is_none() {
            let context = |param: &str| {
                param.get(..14).is_some_and(|name| name.eq_ignore_ascii_case("phone-context=")) && !unchanged
            };
            for param in subscriber(uri).split(';').skip(1).filter(|param| !context(param)) {
                user.push(';');
                // Of a SIP URI it is escaped as it must be; of a tel URI it may hold what a user part may not.
                user.push_str(&if uri.scheme.is_sip() { param.to_owned() } else { escape_param(param) });
            }
        }
        Some(user).filter(|user| !user.is_empty())
    }
}

/// Escapes that stand there already are kept.
fn escape_param(param: &str) -> String {
    param.split('%').map(escape_user).collect::<Vec<_>>().join("%")
}

/// What `rewrite` makes of `number`; None: nothing.
fn rewritten(rewrite: &Rewrite, number: &str) -> Option<String> {
    if let Some(other) = &rewrite.number {
        return Some(other.clone());
    }
    if rewrite.strip == 0 && rewrite.prepend.is_empty() {
        return None;
    }
    let rest = number.chars().skip(usize::from(rewrite.strip));
    Some(rewrite.prepend.chars().chain(rest).collect())
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `number` in +E.164, if it is one that `scheme` can tell; else as it is. Doing it again changes nothing.
///
/// `context` is the phone-context of a local number. Its digits are never put in front of the number: RFC 3966 §5.1.5
/// says that this does not make a global number. But a number that holds in another country is not read by this
/// country's prefixes.
pub fn normalise(scheme: &Scheme, number: &str, context: Option<&str>) -> String {
    if scheme.international.is_empty() && scheme.national.is_empty() && scheme.country.is_empty() {
        return number.to_owned();
    }
    let digits: String = number.chars().filter(|c| !is_separator(*c)).collect();
    if let Some(global) = digits.strip_prefix('+') {
        return if all_digits(global) { digits } else { number.to_owned() };
    }
    let foreign = context.and_then(|context| context.strip_prefix('+')).is_some_and(|global| {
        let place: String = global.chars().filter(|c| !is_separator(*c)).collect();
        !place.starts_with(&scheme.country)
    });
    if foreign || !all_digits(&digits) || digits.len() < usize::from(scheme.shortest) {
        return number.to_owned();
    }
    let international = scheme.international.iter().map(|prefix| (prefix, ""));
    let national = scheme.national.iter().map(|prefix| (prefix, scheme.country.as_str()));
    // Where both begin the number (0 and 00), the longer one is meant.
    let prefixes = international.chain(national).filter(|(prefix, _)| digits.starts_with(prefix.as_str()));
    let Some((prefix, country)) = prefixes.max_by_key(|(prefix, _)| prefix.len()) else { return number.to_owned() };
    let rest = digits.get(prefix.len()..).unwrap_or("");
    let global = format!("{country}{rest}");
    // ITU-T E.164 §6 and annex A: no country calling code begins with 0.
    if rest.is_empty() || global.starts_with('0') || global.len() > E164_DIGITS {
        return number.to_owned();
    }
    format!("+{global}")
}

/// Digits of E.164 as they are dialled by `scheme`: the first of its prefixes.
fn national(scheme: &Scheme, digits: &str) -> String {
    let home =
        Some(&scheme.country).filter(|country| !country.is_empty()).and_then(|c| digits.strip_prefix(c.as_str()));
    match (home, scheme.national.first(), scheme.international.first()) {
        (Some(rest), Some(prefix), _) => format!("{prefix}{rest}"),
        (_, _, Some(prefix)) => format!("{prefix}{digits}"),
        _ => format!("+{digits}"),
    }
}
