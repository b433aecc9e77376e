//! A dialog: RFC 3261 §12. Slow-path thread; a value that builds its own requests and checks those of the peer.
//!
//! Always: the CSeq numbers we send rise by one; the tags and the route set never change once the dialog is confirmed.

use serde::{Deserialize, Serialize};

use crate::sip::{
    flow::Flow,
    message::{BRANCH_COOKIE, CSeq, HeaderName, Message, Method, NameAddr, Scheme, Uri},
};

#[cfg(test)]
mod tests;

/// What finds a dialog. Our tag is unguessable and unique, so the peer's is compared afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DialogKey {
    pub call_id: String,
    pub local_tag: String,
}

impl DialogKey {
    /// Of a request that the peer sent: our tag stands in To. None: the request lies outside any dialog.
    pub fn of_request(request: &Message) -> Option<DialogKey> {
        let local_tag = request.to().ok()?.tag()?.to_owned();
        Some(DialogKey { call_id: request.call_id()?.to_owned(), local_tag })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: String,
    /// Our side, with our tag.
    pub local: NameAddr,
    /// The peer; without a tag until a response brought one (or for good, with an RFC 2543 peer).
    pub remote: NameAddr,
    local_seq: u32,
    remote_seq: Option<u32>,
    remote_target: Uri,
    route_set: Vec<NameAddr>,
    /// Where the peer's last message came from.
    pub source: Flow,
    /// The Contact is the address of a peer behind NAT, as it sees itself: it leads nowhere.
    hidden: bool,
    /// RFC 3261 §12.1.1: a sips URI made it, so our Contact is one and what goes elsewhere than its source goes over TLS.
    #[serde(default)]
    secure: bool,
}

/// RFC 3261 §12.2.2: the request's CSeq is lower than one already seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl Dialog {
    /// As the one who was called, from the INVITE (RFC 3261 §12.1.1). None if it lacks what a dialog needs.
    pub fn answering(invite: &Message, local_tag: &str, source: Flow) -> Option<Dialog> {
        let mut local = invite.to().ok()?;
        local.set_tag(local_tag);
        let remote = invite.from().ok()?;
        let remote_target = match invite.contacts().ok()?.into_iter().next() {
            Some(contact) => contact.uri,
            // RFC 2543 §6.13: there, Contact is a choice, and From stands in for it. RFC 4475 §3.4.1 wants such a call.
            None if is_rfc2543(invite) => remote.uri.clone(),
            None => return None,
        };
        let route_set = invite.record_routes().unwrap_or_default();
        let next = route_set.first().map_or(&remote_target, |route| &route.uri);
        let secure = [invite.uri()?, next].iter().any(|uri| uri.scheme == Scheme::Sips);
        Some(Dialog {
            call_id: invite.call_id()?.to_owned(),
            local,
            remote,
            local_seq: 0,
            remote_seq: Some(invite.cseq().ok()?.seq),
            remote_target,
            route_set,
            source,
            hidden: contact_is_hidden(invite),
            secure,
        })
    }

    /// As the caller, from our INVITE before any response. The INVITE's CSeq number is `seq`.
    pub fn calling(call_id: &str, local: NameAddr, remote: NameAddr, seq: u32, source: Flow) -> Dialog {
        Dialog {
            call_id: call_id.to_owned(),
            local,
            remote_target: remote.uri.clone(),
            secure: remote.uri.scheme == Scheme::Sips,
            remote,
            local_seq: seq,
            remote_seq: None,
            route_set: Vec::new(),
            source,
            hidden: false,
        }
    }

    /// A response to our INVITE makes or confirms the dialog (RFC 3261 §12.1.2, §13.2.2.4): tag, route set in reverse,
    /// target.
    pub fn establish(&mut self, response: &Message, source: Flow) {
        if let Ok(to) = response.to() {
            self.remote = to;
        }
        self.route_set = response.record_routes().unwrap_or_default();
        self.route_set.reverse();
        self.refresh(response, source);
    }

    /// A NOTIFY makes the dialog of our SUBSCRIBE before, or instead of, its 2xx (RFC 6665 §4.4.1).
    pub fn establish_by(&mut self, notify: &Message, source: Flow) {
        if let Ok(from) = notify.from() {
            self.remote = from;
        }
        self.route_set = notify.record_routes().unwrap_or_default();
        self.refresh(notify, source);
    }

    /// The route set of an existing dialog, which no 2xx to a re-INVITE changes (RFC 3261 §12.2.1.2).
    pub fn keep_routes(&mut self, routes: Vec<NameAddr>) {
        self.route_set = routes;
    }

    pub fn key(&self) -> DialogKey {
        DialogKey { call_id: self.call_id.clone(), local_tag: self.local.tag().unwrap_or_default().to_owned() }
    }

    pub fn local_tag(&self) -> &str {
        self.local.tag().unwrap_or_default()
    }

    pub fn remote_tag(&self) -> Option<&str> {
        self.remote.tag()
    }

    /// The number of our next request, which it then is.
    pub fn next_seq(&mut self) -> u32 {
        self.local_seq += 1;
        self.local_seq
    }

    pub fn is_secure(&self) -> bool {
        self.secure
    }

    pub fn local_seq(&self) -> u32 {
        self.local_seq
    }

    /// Whether a request's From tag is the peer's.
    pub fn is_from_peer(&self, request: &Message) -> bool {
        request.from().is_ok_and(|from| from.tag() == self.remote.tag())
    }

    /// Notes a request of the peer. ACK and CANCEL carry the CSeq of their INVITE and are not noted.
    pub fn note_request(&mut self, request: &Message, source: Flow) -> Result<(), OutOfOrder> {
        let Some(seq) = request.cseq().ok().map(|c| c.seq) else { return Err(OutOfOrder) };
        if self.remote_seq.is_some_and(|last| seq < last) {
            return Err(OutOfOrder);
        }
        self.remote_seq = Some(seq);
        self.source = source;
        Ok(())
    }

    /// RFC 3261 §12.2.1.2, §12.2.2: a target refresh, that is a re-INVITE accepted or its 2xx, moves the peer.
    pub fn refresh(&mut self, message: &Message, source: Flow) {
        if let Some(contact) = message.contacts().unwrap_or_default().into_iter().next() {
            self.remote_target = contact.uri;
            self.hidden = contact_is_hidden(message);
        }
        self.source = source;
    }

    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The URI that says where our requests go first (RFC 3261 §12.2.1.1, §8.1.2).
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.remote_target, |route| &route.uri)
    }

    /// Whether that URI is one that only the peer's own network knows.
    pub fn next_hop_is_hidden(&self) -> bool {
        self.hidden && self.route_set.is_empty()
    }

    /// A new request in the dialog; Via and Contact are the caller's to add.
    pub fn request(&mut self, method: Method) -> Message {
        let seq = self.next_seq();
        self.build(method, seq)
    }

    /// The ACK for a 2xx to our INVITE number `seq` (RFC 3261 §13.2.2.4).
    pub fn ack(&self, seq: u32) -> Message {
        self.build(Method::Ack, seq)
    }

    fn build(&self, method: Method, seq: u32) -> Message {
        let mut routes: Vec<String> = self.route_set.iter().map(|r| r.to_string()).collect();
        let mut uri = self.remote_target.clone();
        if let Some(first) = self.route_set.first()
            && !first.uri.is_loose_router()
        {
            // RFC 3261 §12.2.1.1: a strict router wants itself in the Request-URI and the target as the last route.
            uri = first.uri.clone();
            uri.headers = None;
            uri.params.remove("method");
            routes.remove(0);
            routes.push(NameAddr::new(self.remote_target.clone()).to_string());
        }
        uri.headers = None;
        let mut message = Message::request(method.clone(), uri);
        let headers = &mut message.headers;
        headers.push(HeaderName::MaxForwards, "70");
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::From, self.local.to_string());
        headers.push(HeaderName::To, self.remote.to_string());
        headers.push(HeaderName::CallId, self.call_id.as_str());
        headers.push(HeaderName::CSeq, CSeq { seq, method }.to_string());
        message
    }
}

/// RFC 3261 §8.1.1.7: no cookie in the branch, or no branch: the sender follows RFC 2543.
fn is_rfc2543(request: &Message) -> bool {
    request.top_via().is_ok_and(|via| !via.branch().is_some_and(|branch| branch.starts_with(BRANCH_COOKIE)))
}

/// A request whose sender wrote one address into Via and Contact, and came from another (RFC 3261 §18.2.1 noted it).
fn contact_is_hidden(message: &Message) -> bool {
    let (true, Ok(via), Ok(contacts)) = (message.is_request(), message.top_via(), message.contacts()) else {
        return false;
    };
    let translated = via.received().is_some_and(|received| via.host.ip() != Some(received));
    translated && contacts.first().is_some_and(|contact| contact.uri.host == via.host)
}
