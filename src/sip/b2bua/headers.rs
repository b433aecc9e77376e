//! Which header fields cross from one leg to the other. Slow-path thread.
//!
//! Vias, routes, Contact, Call-ID and tags never do (but the Contact of a 3xx, which says where to call instead).
//! Others only if they are named here: what is about the user passes, what is about the hop does not.

use crate::sip::message::{HeaderName, Message};

/// From an INVITE to the INVITE on leg B. Credentials pass because the challenge did.
pub fn of_invite() -> Vec<HeaderName> {
    vec![
        HeaderName::Subject,
        HeaderName::Priority,
        HeaderName::Privacy,
        HeaderName::PAssertedIdentity,
        HeaderName::Diversion,
        HeaderName::AlertInfo,
        HeaderName::Reason,
        HeaderName::Authorization,
        HeaderName::ProxyAuthorization,
        HeaderName::Other("User-to-User".into()),
    ]
}

/// From a response to the response on the other leg.
fn of_response(status: u16) -> Vec<HeaderName> {
    let mut names = vec![
        HeaderName::Reason,
        HeaderName::AlertInfo,
        HeaderName::WwwAuthenticate,
        HeaderName::ProxyAuthenticate,
        HeaderName::PAssertedIdentity,
        HeaderName::Other("User-to-User".into()),
    ];
    if (300..400).contains(&status) {
        // RFC 3261 §21.3: a redirection is nothing without its Contact. tandem does not follow it.
        names.push(HeaderName::Contact);
    }
    if status != 503 {
        // With a 503 it would keep the caller away from tandem, not from the destination.
        names.push(HeaderName::RetryAfter);
    }
    names
}

pub fn copy(from: &Message, to: &mut Message, names: Vec<HeaderName>) {
    for name in names {
        for value in from.headers.all(&name) {
            to.headers.push(name.clone(), value);
        }
    }
}

/// What of a response is passed on with its status.
pub fn passed_with(response: &Message) -> Vec<(HeaderName, String)> {
    let mut list = Vec::new();
    for name in of_response(response.status().unwrap_or(0)) {
        for value in response.headers.all(&name) {
            list.push((name.clone(), value.to_owned()));
        }
    }
    list
}

/// RFC 3326.
pub fn reason_of(message: &Message) -> Option<String> {
    message.headers.get(&HeaderName::Reason).map(str::to_owned)
}
