//! tandem's endpoint between the trunk that sends the messages and a called side that answers: no sockets, and a clock
//! moved by hand.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tandem::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    config::{Config, SipTransport},
    control::{LegMedia, Local, Manner, MediaControl, OpenError, OpenRequest, Phase, Session, SessionReport},
    sip::{
        endpoint::{Endpoint, Output},
        flow::{ConnectionId, Flow, ListenerId},
        message::{HeaderName, Malformed, Message, Method},
    },
};

/// The trunk speaks from an address of either family; whatever it calls goes to bob.
const CONFIG: &str = r#"
[node]
name = "torture"
[[port]]
name = "p0"
device = "net_null0"
exception = "tap0"
addresses = ["198.18.0.1/24", "2001:db8::10/64"]
[[address]]
name = "a"
port = "p0"
local = "198.18.0.1"
[[address]]
name = "a6"
port = "p0"
local = "2001:db8::10"
[[address]]
name = "b"
port = "p0"
local = "198.18.1.1"
[media]
[sip]
[[sip.listen]]
address = "a"
[[sip.listen]]
address = "a6"
[[sip.listen]]
address = "b"
[[trunk]]
name = "peer"
from = ["198.18.0.0/24"]
address = "a"
media = ["a", "a6"]
[[trunk]]
name = "peer6"
from = ["2001:db8::/32"]
address = "a6"
media = ["a6", "a"]
[[trunk]]
name = "bob"
from = ["198.18.1.0/24"]
address = "b"
destinations = ["sip:198.18.1.2"]
[[route]]
prefix = ""
to = ["bob"]
"#;

const BOB: &str = "198.18.1.2:5060";

#[derive(Default)]
struct Media {
    open: BTreeMap<u64, OpenRequest>,
    opened: u64,
}

impl MediaControl for Media {
    fn open(&mut self, _now: Time, request: &OpenRequest) -> Result<Session, OpenError> {
        self.opened += 1;
        self.open.insert(self.opened, request.clone());
        let local = |name: &str, ip: &str| {
            let at = |port| SocketAddr::new(ip.parse().unwrap(), port);
            let (rtp, rtcp) = (at(20_000), at(20_001));
            Local { address: name.into(), rtp, rtcp, told_rtp: rtp, told_rtcp: rtcp }
        };
        let a = match request.media[0].first().map(String::as_str) {
            Some("a6") => local("a6", "2001:db8::10"),
            _ => local("a", "198.18.0.1"),
        };
        Ok(Session { id: SessionId(self.opened), local: [a, local("b", "198.18.1.1")] })
    }

    fn update(&mut self, _now: Time, id: SessionId, _side: Side, _media: &LegMedia) {
        assert!(self.open.contains_key(&id.0));
    }

    fn phase(&mut self, _now: Time, id: SessionId, _phase: Phase) {
        assert!(self.open.contains_key(&id.0));
    }

    fn treat(&mut self, _: Time, _: SessionId, _: Side, _: Manner) {}

    fn exchange(&mut self, _now: Time, _one: (SessionId, Side), _other: (SessionId, Side)) {}

    fn close(&mut self, _now: Time, id: SessionId) -> Option<SessionReport> {
        assert!(self.open.remove(&id.0).is_some(), "a session is closed once");
        None
    }

    fn report(&self, _id: SessionId) -> Option<SessionReport> {
        None
    }
}

/// What tandem sent.
#[derive(Debug)]
pub struct Sent {
    /// A response's status.
    pub status: Option<u16>,
    /// An answer to what is malformed repeats some of it (RFC 3261 §8.2.6.2), and may be no better.
    read: Result<Message, Malformed>,
}

impl Sent {
    fn new(bytes: &[u8]) -> Sent {
        let status = bytes.strip_prefix(b"SIP/2.0 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
        Sent { status: status.and_then(|status| status.parse().ok()), read: Message::parse(bytes) }
    }

    pub fn message(&self) -> &Message {
        self.read.as_ref().unwrap_or_else(|error| panic!("tandem sent what nobody can read: {error}"))
    }
}

pub struct Appliance {
    pub endpoint: Endpoint,
    media: Media,
    now: Time,
    /// What it sent: to bob, and to anyone else.
    to_bob: Vec<Sent>,
    to_peer: Vec<Sent>,
}

impl Appliance {
    pub fn new() -> Appliance {
        let config: Config = toml::from_str(CONFIG).unwrap();
        let now = Time::from_secs(100);
        let endpoint = Endpoint::new(Arc::new(config), [7; 32], now, 1_700_000_000_000);
        Appliance { endpoint, media: Media::default(), now, to_bob: Vec::new(), to_peer: Vec::new() }
    }

    fn flow(&self, address: &str, transport: SipTransport, remote: &str) -> Flow {
        let at = self.endpoint.locals().iter().position(|l| l.name == address && l.transport == transport).unwrap();
        let connection = (transport == SipTransport::Tcp).then_some(ConnectionId(1));
        let local = ListenerId(u16::try_from(at).unwrap());
        Flow { local, transport, remote: remote.parse().unwrap(), connection }
    }

    /// The trunk's message arrives, over the family that its RFC is about.
    pub fn receive(&mut self, rfc: &str, transport: SipTransport, message: Result<Message, Malformed>) {
        let flow = match rfc {
            "rfc5118" => self.flow("a6", transport, "[2001:db8::9:1]:5060"),
            _ => self.flow("a", transport, "198.18.0.2:5060"),
        };
        self.endpoint.receive(self.now, flow, message, &mut self.media);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            let Output::Send { flow, bytes } = output else { continue };
            match flow.remote.to_string() == BOB {
                true => self.to_bob.push(Sent::new(&bytes)),
                false => self.to_peer.push(Sent::new(&bytes)),
            }
        }
    }

    /// What the trunk and bob were sent since the last time.
    pub fn sent(&mut self) -> (Vec<Sent>, Vec<Sent>) {
        (std::mem::take(&mut self.to_peer), std::mem::take(&mut self.to_bob))
    }

    /// Bob answers tandem's INVITE.
    pub fn bob_answers(&mut self, invite: &Message) {
        assert_eq!(invite.method(), Some(&Method::Invite));
        let mut ok = Message::response_to(invite, 200, "");
        let mut to = ok.to().unwrap();
        to.set_tag("bob");
        ok.headers.set(HeaderName::To, to.to_string());
        ok.headers.push(HeaderName::Contact, format!("<sip:bob@{BOB}>"));
        ok.headers.push(HeaderName::ContentType, "application/sdp");
        ok.body = answer(std::str::from_utf8(&invite.body).unwrap()).into_bytes().into();
        let flow = self.flow("b", SipTransport::Udp, BOB);
        self.endpoint.receive(self.now, flow, Ok(ok), &mut self.media);
        self.collect();
    }

    /// Lets every clock run out. Nobody answers any more, and nothing may be left.
    pub fn run_out(&mut self) {
        while let Some(due) = self.endpoint.next_deadline() {
            assert!(due.as_micros() < 1_000_000_000, "a timer does not end");
            self.now = self.now.max(due);
            self.endpoint.tick(self.now, &mut self.media);
            self.collect();
        }
        assert_eq!(self.endpoint.table_sizes(), (0, 0, 0), "a transaction or dialog is left");
        assert_eq!(self.endpoint.in_progress(), 0);
        assert!(self.media.open.is_empty(), "a media session is left");
    }

    /// It still works: a sound OPTIONS draws its 200.
    pub fn is_well(&mut self) {
        let text = "OPTIONS sip:198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.2:5060;branch=z9hG4bKwell\r\n\
                    From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: well\r\nCSeq: 1 OPTIONS\r\n\r\n";
        self.sent();
        self.receive("rfc4475", SipTransport::Udp, Message::parse(text.as_bytes()));
        let (to_peer, to_bob) = self.sent();
        assert_eq!(to_peer.iter().map(|sent| sent.status).collect::<Vec<_>>(), [Some(200)]);
        assert!(to_bob.is_empty());
        self.run_out();
    }
}

/// Bob takes the first format of the audio that he is offered, and nothing else.
fn answer(offer: &str) -> String {
    let mut sdp = "v=0\r\no=- 1 1 IN IP4 198.18.1.2\r\ns=-\r\nc=IN IP4 198.18.1.2\r\nt=0 0\r\n".to_owned();
    for media in offer.lines().filter(|line| line.starts_with("m=")) {
        let fields: Vec<&str> = media.split(' ').collect();
        let taken = fields[0] == "m=audio";
        sdp += &format!("{} {} {} {}\r\n", fields[0], if taken { 6000 } else { 0 }, fields[2], fields[3]);
        let map = format!("a=rtpmap:{} ", fields[3]);
        if let Some(line) = offer.lines().find(|line| taken && line.starts_with(&map)) {
            sdp += &format!("{line}\r\n");
        }
    }
    sdp
}
