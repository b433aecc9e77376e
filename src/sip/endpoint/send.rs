//! How the endpoint's own requests and responses are completed and sent. Slow-path thread.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

use super::{Cause, Core, Errand, Use};
use crate::{
    base::Time,
    config::{ReliableProvisionals, Requests, SessionTimerMode, SipTransport, Transfer},
    sip::{
        auth::client::Tried,
        b2bua::{hiding::names_a_host, reliable, session_timer, transfer},
        dialog::Dialog,
        flow::{Flow, Path},
        message::{BRANCH_COOKIE, HeaderName, Host, Message, Method, Scheme, Via},
        outside,
        route::{self, transport_of},
        transaction::{
            ClientId, ServerId,
            table::{Label, copy_credentials},
        },
    },
};

/// The methods that tandem takes from anybody it takes calls from.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE";
pub const SDP: &str = "application/sdp";

/// A final response that refuses a request, and what it counts as if the request would have been a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub status: u16,
    /// None: the usual phrase.
    pub phrase: Option<String>,
    pub cause: Cause,
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: u16, cause: Cause) -> Self {
        Refusal { status, phrase: None, cause, headers: Vec::new() }
    }

    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Core {
    /// The extensions that tandem speaks with a trunk (RFC 3261 §20.37).
    pub fn extensions(&self, trunk: &str) -> Vec<&'static str> {
        let mut list = Vec::new();
        if reliable::policy(self, trunk) != ReliableProvisionals::Off {
            list.push(reliable::RELIABLE);
        }
        if session_timer::policy(self, trunk).mode != SessionTimerMode::Off {
            list.push(session_timer::TIMER);
        }
        if transfer::policy(self, trunk) != Transfer::Refuse {
            list.extend([transfer::REPLACES, transfer::NO_REFER_SUB]);
        }
        list
    }

    /// The methods that tandem takes from a trunk.
    pub fn allowed(&self, trunk: &str) -> String {
        let mut methods = ALLOW.to_owned();
        let transfers = transfer::policy(self, trunk) != Transfer::Refuse;
        let requests = outside::policy(self, trunk) == Requests::Pass;
        if transfers {
            methods.push_str(", REFER");
        }
        if transfers || requests {
            methods.push_str(", NOTIFY");
        }
        if requests {
            methods.push_str(", MESSAGE, SUBSCRIBE, PUBLISH");
        }
        methods
    }

    /// Allow and Supported, as they hold for a trunk, go into a request or response that makes or refreshes a dialog.
    pub fn capabilities(&self, trunk: &str, message: &mut Message) {
        let extensions = self.extensions(trunk);
        let reliable = extensions.contains(&reliable::RELIABLE);
        let all = self.allowed(trunk);
        let methods: Vec<&str> = all.split(", ").filter(|method| reliable || *method != "PRACK").collect();
        message.headers.push(HeaderName::Allow, methods.join(", "));
        if !extensions.is_empty() {
            message.headers.push(HeaderName::Supported, extensions.join(", "));
        }
    }

    /// Sends a request to a trunk, complete but for Via, User-Agent and credentials. `mark` is for `loops`.
    pub fn send(
        &mut self,
        now: Time,
        trunk: &str,
        mut request: Message,
        path: Path,
        mark: u32,
        purpose: Use,
    ) -> Option<ClientId> {
        let via = self.via(&path.flow, mark)?;
        request.headers.push_front(HeaderName::Via, via);
        request.headers.push(HeaderName::UserAgent, self.product.as_str());
        self.authorize(trunk, path.flow.remote, &mut request);
        self.guard.vouch(now, path.flow.remote.ip());
        let errand = Errand { purpose, trunk: trunk.to_owned(), mark, tried: Tried::default() };
        self.live.tx.request(now, request, path, errand)
    }

    /// Sends the ACK for the 2xx that carried `tag`, again whenever that 2xx comes again.
    pub fn send_ack(&mut self, client: ClientId, tag: &str, mut ack: Message, path: Path) {
        let Some(via) = self.via(&path.flow, 0) else { return };
        ack.headers.push_front(HeaderName::Via, via);
        ack.headers.push(HeaderName::UserAgent, self.product.as_str());
        if let Some(invite) = self.live.tx.client(client) {
            copy_credentials(&invite.request, &mut ack);
        }
        self.live.tx.acknowledge(client, tag, path, &ack);
    }

    /// RFC 3261 §8.1.1.7, RFC 3581 §3: our address and a branch of 128 random bits, which also says that it is ours and
    /// for whom, so that a request that comes back is known.
    pub(super) fn via(&mut self, flow: &Flow, mark: u32) -> Option<String> {
        let token = self.random.token();
        let branch = format!("{BRANCH_COOKIE}{token}.{}.{mark:08x}", self.live.cookie);
        let local = self.local(flow.local)?;
        let mut via = Via::new(local.transport.token(), Host::Ip(local.told), Some(local.bind.port()), &branch);
        if local.transport == SipTransport::Udp {
            via.params.set("rport", None);
        }
        Some(via.to_string())
    }

    /// What a call looks like to loop detection: the number called and who calls.
    pub fn mark(called: &str, request: &Message) -> u32 {
        let mut hasher = DefaultHasher::new();
        called.hash(&mut hasher);
        request.from().ok().and_then(|from| from.uri.user).hash(&mut hasher);
        u32::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// RFC 3261 §16.3 item 4: the request passed through here already with the same number and caller. With another
    /// number it is a spiral, which is allowed.
    pub fn loops(&self, request: &Message, mark: u32) -> bool {
        let ending = format!(".{}.{mark:08x}", self.live.cookie);
        request.vias().unwrap_or_default().iter().any(|via| via.branch().is_some_and(|b| b.ends_with(&ending)))
    }

    /// Where requests in a dialog go. RFC 3261 §12.2.1.1 and §8.1.2 send them to the first route or the Contact. Here
    /// only if that is an address which the trunk's configuration names: a phone behind NAT writes one that leads
    /// nowhere, and nobody is to point tandem at a third party. All else goes to where the peer's last message came
    /// from.
    pub fn path(&self, dialog: &Dialog, trunk: &str) -> Path {
        let source = dialog.source;
        self.direct_path(dialog, trunk).unwrap_or(Path::direct(source))
    }

    fn direct_path(&self, dialog: &Dialog, trunk: &str) -> Option<Path> {
        let source = dialog.source;
        let hop = dialog.next_hop();
        let ip = hop.host.ip()?;
        if !hop.scheme.is_sip() || dialog.next_hop_is_hidden() || !self.knows(trunk, ip) {
            return None;
        }
        // A URI that names no transport means UDP (RFC 3263 §4.1); a peer that talks TCP and forgets to say so is
        // answered by TCP.
        let says = hop.scheme == Scheme::Sips || hop.params.contains("transport");
        let transport = if says { transport_of(hop)? } else { source.transport };
        // RFC 3261 §26.2.2: no hop of a call under sips is in the clear. The same for whoever came over TLS.
        if (dialog.is_secure() || source.transport == SipTransport::Tls) && transport != SipTransport::Tls {
            return None;
        }
        let name = &self.local(source.local)?.name;
        let listener = route::listener(&self.locals, name, transport)?;
        if self.local(listener)?.bind.is_ipv4() != ip.is_ipv4() {
            return None;
        }
        let remote = SocketAddr::new(ip, hop.port.unwrap_or(transport.default_port()));
        if transport.is_stream()
            && transport == source.transport
            && source.connection.is_some()
            && source.remote.ip() == ip
        {
            return Some(Path { flow: source, fallback: Some(remote) });
        }
        Some(Path::direct(Flow { local: listener, transport, remote, connection: None }))
    }

    /// A response to the request of `server`, with our tag in To.
    pub fn response(&self, server: ServerId, status: u16, phrase: &str, tag: &str) -> Option<Message> {
        let entry = self.live.tx.server(server)?;
        // Whoever passes a phrase on: it is not to name a host of the other side.
        let phrase = if names_a_host(phrase) { "" } else { phrase };
        let mut response = Message::response_to(&entry.request, status, phrase);
        if status > 100
            && let Ok(mut to) = response.to()
            && to.tag().is_none()
        {
            to.set_tag(tag);
            response.headers.set(HeaderName::To, to.to_string());
        }
        if status > 100 {
            response.headers.push(HeaderName::Server, self.product.as_str());
        }
        Some(response)
    }

    pub fn respond(&mut self, now: Time, server: ServerId, response: &Message) {
        self.live.tx.respond(now, server, response);
    }

    /// A response without more than its status.
    pub fn answer(&mut self, now: Time, server: ServerId, status: u16) {
        self.refuse(now, server, None, &Refusal::new(status, Cause::BadRequest));
    }

    /// A final response that refuses; the tag is `tag` or a new one.
    pub fn refuse(&mut self, now: Time, server: ServerId, tag: Option<&str>, refusal: &Refusal) {
        let tag = tag.map_or_else(|| self.random.token(), str::to_owned);
        let phrase = refusal.phrase.as_deref().unwrap_or("");
        let Some(mut response) = self.response(server, refusal.status, phrase, &tag) else { return };
        for (name, value) in &refusal.headers {
            response.headers.push(name.clone(), value.as_str());
        }
        // RFC 3261 §8.2.1: a 405 lists what is allowed.
        let says = refusal.headers.iter().any(|(name, _)| *name == HeaderName::Allow);
        if matches!(refusal.status, 405 | 501) && !says {
            response.headers.push(HeaderName::Allow, ALLOW);
        }
        self.respond(now, server, &response);
    }

    /// Answers without keeping anything (RFC 3261 §8.2.7): for those who are nobody to us. The same request draws the
    /// same tag.
    pub fn answer_stateless(&mut self, path: &Path, request: &Message, status: u16) {
        if request.method() == Some(&Method::Ack) {
            return;
        }
        let mut response = Message::response_to(request, status, "");
        if let Ok(mut to) = response.to()
            && to.tag().is_none()
        {
            let mut hasher = DefaultHasher::new();
            self.live.cookie.hash(&mut hasher);
            for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
                request.headers.get(&name).hash(&mut hasher);
            }
            to.set_tag(&format!("{:016x}", hasher.finish()));
            response.headers.set(HeaderName::To, to.to_string());
        }
        if status == 503 {
            response.headers.push(HeaderName::RetryAfter, self.config.sip.overload.retry_after_s.to_string());
        }
        response.headers.push(HeaderName::Server, self.product.as_str());
        self.live.tx.transmit(path, response.write().into(), Label::Response(status), false);
    }
}
