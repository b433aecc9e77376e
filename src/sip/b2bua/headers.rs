//! Which header fields cross from one leg to the other, and what they may say. Slow-path thread.
//!
//! Vias, routes, Contact, Call-ID and tags never cross (but the Contact of a 3xx, which says where to call instead, and
//! then by way of tandem). Others only if they are named here or in a trunk's lists: what is about the user passes, what
//! is about the hop does not. Whatever passes is masked (`hiding`), and says who calls only to whom trust allows
//! (`identity`).

use super::{
    call::Call,
    hiding::{self, Mask, Secrets},
    identity::{self, Privacy},
};
use crate::{
    base::ids::Side,
    config::Trunk,
    sip::{
        endpoint::{Cause, Core, Refusal},
        flow::ListenerId,
        message::{HeaderName, Host, Message, NameAddr, Params, Start, Uri, escape_user},
    },
};

/// Besides identity, which crosses by trust.
fn usual_in_requests(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Subject
            | HeaderName::Priority
            | HeaderName::Privacy
            | HeaderName::Diversion
            | HeaderName::HistoryInfo
            | HeaderName::AlertInfo
            | HeaderName::Reason
    ) || is_user_to_user(name)
}

fn usual_in_responses(name: &HeaderName, status: u16) -> bool {
    match name {
        HeaderName::Reason | HeaderName::AlertInfo | HeaderName::Warning | HeaderName::Privacy => true,
        HeaderName::HistoryInfo => true,
        // With a 503 it would keep the caller away from tandem, not from the destination.
        HeaderName::RetryAfter => status != 503,
        name => is_user_to_user(name),
    }
}

/// RFC 7433.
fn is_user_to_user(name: &HeaderName) -> bool {
    name.as_str().eq_ignore_ascii_case("User-to-User")
}

/// RFC 3323 §5.3: what a user writes about himself goes where he wants to stay unknown.
fn is_about_user(name: &HeaderName) -> bool {
    use HeaderName::*;
    matches!(name, Subject | CallInfo | Organization | UserAgent | ReplyTo | InReplyTo | RemotePartyId | ReferredBy)
}

/// Challenges, and what answers them: they name realms and URIs of one side, and mean nothing without these. They cross
/// as they stand, and only where a trunk's `pass` names them.
fn is_credential(name: &HeaderName) -> bool {
    use HeaderName::*;
    matches!(name, WwwAuthenticate | ProxyAuthenticate | Authorization | ProxyAuthorization | AuthenticationInfo)
}

/// A message of one trunk on its way to another.
pub struct Crossing<'a> {
    from: Option<&'a Trunk>,
    to: Option<&'a Trunk>,
    mask: Mask,
    /// Where a redirected caller is to call: tandem, as `to` knows it.
    redirect: Mask,
}

type Lines = Vec<(HeaderName, String)>;

impl<'a> Crossing<'a> {
    /// From the trunk of one name to that of another, out of a listener.
    pub fn new(core: &'a Core, from: &str, to: &str, listener: ListenerId) -> Crossing<'a> {
        let trunk = |name: &str| core.config.trunks.get(usize::from(core.routing.trunk(name)?.0));
        let local = core.local(listener);
        let host = local.map_or(Host::Name("anonymous.invalid".into()), |local| Host::Ip(local.told));
        let redirect = Mask { host: host.clone(), port: local.map(|local| local.bind.port()) };
        Crossing { from: trunk(from), to: trunk(to), mask: Mask { host, port: None }, redirect }
    }

    /// From one leg of a call to the other.
    pub fn of_call(core: &'a Core, call: &Call, from: Side) -> Crossing<'a> {
        let trunk = |side| call.leg(side).map_or("", |leg| leg.trunk.as_str());
        let listener = call.leg(from.other()).map_or(ListenerId(u16::MAX), |leg| leg.dialog.source.local);
        Crossing::new(core, trunk(from), trunk(from.other()), listener)
    }

    fn trusts(trunk: Option<&Trunk>) -> bool {
        trunk.is_some_and(|trunk| trunk.identity.trust)
    }

    /// RFC 3892: who asks for a transfer, as the other side may know him; that his trunk is believed is for the caller to
    /// say.
    pub fn referrer(&self, line: &str, message: &Message) -> Option<String> {
        let list = self.mask.addresses(line, &self.secrets(message));
        let by = list.into_iter().next().filter(|_| Self::trusts(self.to))?;
        Some(NameAddr { params: Params::new(), ..by }.to_string())
    }

    /// The same, for a REFER that crosses.
    pub fn referred(&self, refer: &Message) -> Option<String> {
        let line = refer.headers.get(&HeaderName::ReferredBy).filter(|_| Self::trusts(self.from))?;
        self.referrer(line, refer)
    }

    /// Whom a REFER names, as the other side is to call him: by way of tandem.
    pub fn refer_to(&self, target: &NameAddr, refer: &Message) -> Option<NameAddr> {
        self.redirect.address(target, &self.secrets(refer))
    }

    fn secrets(&self, message: &Message) -> Secrets {
        Secrets::of(message, self.mask.host.ip())
    }

    /// Whether fields of that name cross, `usual` being what holds without lists.
    fn lets(&self, name: &HeaderName, usual: bool) -> bool {
        let trunks = || self.from.into_iter().chain(self.to);
        let listed = |list: &[String]| list.iter().any(|listed| HeaderName::from(listed.as_str()) == *name);
        !belongs_to_hop(name)
            && !trunks().any(|trunk| listed(&trunk.headers.drop))
            && (usual || trunks().any(|trunk| listed(&trunk.headers.pass)))
    }

    /// What of a request goes into the request on the other leg, identity included.
    pub fn request(&self, request: &Message) -> Lines {
        self.lines(request, usual_in_requests)
    }

    /// What of a response goes with its status to the other leg.
    pub fn response(&self, response: &Message) -> Lines {
        let status = response.status().unwrap_or(0);
        let mut lines = self.lines(response, |name| usual_in_responses(name, status));
        if (300..400).contains(&status) {
            // RFC 3261 §21.3: a redirection is nothing without its Contact. tandem does not follow it; the caller may, and
            // comes by here again.
            let secrets = self.secrets(response);
            let contacts = response.contacts().unwrap_or_default();
            let shown = contacts.iter().filter_map(|contact| self.redirect.address(contact, &secrets));
            lines.extend(shown.map(|contact| (HeaderName::Contact, contact.to_string())));
        }
        lines
    }

    fn lines(&self, message: &Message, usual: impl Fn(&HeaderName) -> bool) -> Lines {
        let (secrets, privacy) = (self.secrets(message), Privacy::of(message));
        let mut lines = Vec::new();
        for (name, value) in message.headers.iter() {
            if !is_identity(name) && self.lets(name, usual(name)) && *name != HeaderName::Privacy {
                self.line(name, value, &secrets, &privacy, &mut lines);
            }
        }
        self.identity(message, &secrets, &privacy, &mut lines);
        lines
    }

    fn line(&self, name: &HeaderName, value: &str, secrets: &Secrets, privacy: &Privacy, lines: &mut Lines) {
        let untrusted = !Self::trusts(self.to);
        if untrusted && privacy.of_user() && is_about_user(name) {
            return;
        }
        let addresses = || self.mask.addresses(value, secrets);
        let shown: Vec<String> = match name {
            HeaderName::Reason => hiding::reason(value, secrets).into_iter().collect(),
            HeaderName::Warning => hiding::warning(value, &self.mask, secrets).into_iter().collect(),
            HeaderName::AlertInfo | HeaderName::CallInfo | HeaderName::ErrorInfo => {
                self.mask.info(value, secrets).iter().map(NameAddr::to_string).collect()
            }
            HeaderName::Diversion => {
                addresses().into_iter().map(|entry| identity::diversion(entry, untrusted).to_string()).collect()
            }
            HeaderName::HistoryInfo => {
                let entries = addresses().into_iter();
                entries.map(|entry| identity::history(entry, untrusted, privacy).to_string()).collect()
            }
            HeaderName::RemotePartyId if untrusted || !Self::trusts(self.from) => Vec::new(),
            name if is_credential(name) => vec![value.to_owned()],
            _ if value.contains('<') => addresses().iter().map(NameAddr::to_string).collect(),
            // Where the operator lets a field pass, he knows what names it holds.
            HeaderName::Subject | HeaderName::Priority if secrets.told_by_words(value) => Vec::new(),
            name if is_user_to_user(name) && secrets.told_by_words(value) => Vec::new(),
            _ if secrets.told_by(value) => Vec::new(),
            _ => vec![value.to_owned()],
        };
        if !shown.is_empty() {
            lines.push((name.clone(), shown.join(", ")));
        }
    }

    /// RFC 3325 §5: what an untrusted peer asserts is not believed, and goes no further. An untrusted peer is told an
    /// identity only where the caller says that nothing is private.
    fn identity(&self, message: &Message, secrets: &Secrets, privacy: &Privacy, lines: &mut Lines) {
        let told = Self::trusts(self.to) || privacy.none();
        if Self::trusts(self.from) && told && self.lets(&HeaderName::PAssertedIdentity, true) {
            let list = identity::asserted(message, &self.mask, secrets);
            lines.extend(list.iter().map(|identity| (HeaderName::PAssertedIdentity, identity.to_string())));
        }
        if self.lets(&HeaderName::Privacy, true) {
            let value = if Self::trusts(self.to) { privacy.whole() } else { privacy.left() };
            let value = value.filter(|value| !secrets.told_by_words(value));
            lines.extend(value.map(|value| (HeaderName::Privacy, value)));
        }
    }

    /// The caller, as the other side is told: without a tag, at our address; nobody where privacy asks for that.
    pub fn caller(&self, request: &Message) -> Option<NameAddr> {
        let from = request.from().ok()?;
        let privacy = Privacy::of(request);
        if !Self::trusts(self.to) && privacy.of_caller() {
            return Some(identity::anonymous());
        }
        let secrets = self.secrets(request);
        let mut caller = if from.uri.scheme.is_sip() {
            let Uri { user, scheme, .. } = self.mask.uri(&from.uri, &secrets).unwrap_or(from.uri.clone());
            let host = if hiding::is_nowhere(&from.uri.host) { from.uri.host.clone() } else { self.mask.host.clone() };
            debug_assert!(scheme.is_sip());
            NameAddr::new(Uri::sip(user.as_deref(), host, None))
        } else {
            let user = from.uri.called().map(escape_user);
            NameAddr::new(Uri::sip(user.as_deref(), self.mask.host.clone(), None))
        };
        caller.display = from.display.filter(|name| !secrets.told_by(name));
        Some(caller)
    }

    /// RFC 3323 §4.2: a request that is to fail rather than lose its privacy, and asks for some that we do not know, fails
    /// with 500 where it would leave for a trunk that is not trusted.
    pub fn check_privacy(&self, request: &Message) -> Result<(), Refusal> {
        let privacy = Privacy::of(request);
        let unmet = privacy.unmet();
        if unmet.is_empty() || Self::trusts(self.to) {
            return Ok(());
        }
        let mut refusal = Refusal::new(500, Cause::BadRequest);
        refusal.phrase = Some(format!("Privacy failed: {}", unmet.join(", ")));
        Err(refusal)
    }

    /// The status that the other leg gets. A challenge that does not cross cannot be answered.
    pub fn status(&self, response: &Message) -> u16 {
        let status = response.status().unwrap_or(500);
        let challenge = match status {
            401 => HeaderName::WwwAuthenticate,
            407 => HeaderName::ProxyAuthenticate,
            _ => return status,
        };
        if self.lets(&challenge, false) { status } else { 403 }
    }
}

/// Copies lines as they stand: for what never left its own side, or describes a body.
pub fn copy(from: &Message, to: &mut Message, names: Vec<HeaderName>) {
    for name in names {
        for value in from.headers.all(&name) {
            to.headers.push(name.clone(), value);
        }
    }
}

pub fn push(lines: Lines, to: &mut Message) {
    for (name, value) in lines {
        to.headers.push(name, value);
    }
}

/// What of a response may pass to whomever: for where no `Crossing` is at hand.
pub fn passed_with(response: &Message) -> Lines {
    let secrets = Secrets::of(response, None);
    let mut list = Vec::new();
    if let Some(reason) = reason_of(response) {
        list.push((HeaderName::Reason, reason));
    }
    for (name, value) in response.headers.iter() {
        let passes = is_user_to_user(name) || *name == HeaderName::RetryAfter && response.status() != Some(503);
        if passes && !secrets.told_by_words(value) {
            list.push((name.clone(), value.to_owned()));
        }
    }
    list
}

/// RFC 3326; without texts that name the other side's hosts.
pub fn reason_of(message: &Message) -> Option<String> {
    let secrets = Secrets::of(message, None);
    message.headers.get(&HeaderName::Reason).and_then(|value| hiding::reason(value, &secrets))
}

/// The phrase of a response, unless it tells something of the side that it came from; then the usual one.
pub fn phrase_of(response: &Message) -> Option<String> {
    let Start::Response { reason, .. } = &response.start else { return None };
    let told = Secrets::of(response, None).told_by_words(reason);
    (!told && !reason.is_empty()).then(|| reason.clone())
}

/// Header fields that say something about the hop, the dialog or the body: tandem writes its own, whatever a trunk's
/// lists say.
pub fn belongs_to_hop(name: &HeaderName) -> bool {
    use HeaderName::*;
    matches!(
        name,
        Accept
            | AcceptEncoding
            | Allow
            | AllowEvents
            | CallId
            | Contact
            | ContentDisposition
            | ContentEncoding
            | ContentLanguage
            | ContentLength
            | ContentType
            | CSeq
            | Event
            | Expires
            | From
            | MaxForwards
            | MimeVersion
            | MinExpires
            | MinSe
            | Path
            | ProxyRequire
            | RAck
            | RSeq
            | RecordRoute
            | ReferTo
            | Replaces
            | Require
            | Route
            | ServiceRoute
            | SessionExpires
            | SipETag
            | SipIfMatch
            | SubscriptionState
            | Supported
            | Timestamp
            | To
            | Unsupported
            | Via
    )
}

/// Header fields that cross by trust (RFC 3325), not by lists.
pub fn is_identity(name: &HeaderName) -> bool {
    matches!(name, HeaderName::PAssertedIdentity | HeaderName::PPreferredIdentity)
}
