//! Peers, a fake call control, and a network that keeps what the endpoint sends until a test asks for it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    config::{Config, SipTransport},
    control::{
        LegMedia, LegReport, Local as MediaLocal, Manner, MediaControl, OpenError, OpenRequest, Phase, Session,
        SessionReport,
    },
    sip::{
        endpoint::{CallRecord, Endpoint, Output},
        flow::{ConnectionId, Flow, ListenerId},
        message::{HeaderName, Message, Method},
    },
};

/// The caller, the called side's three destinations, and nobody.
pub const A: SocketAddr = addr([198, 18, 0, 2], 5060);
pub const B: SocketAddr = addr([198, 18, 1, 2], 5060);
pub const B2: SocketAddr = addr([198, 18, 1, 3], 5060);
pub const C: SocketAddr = addr([198, 18, 2, 2], 5070);
pub const NOBODY: SocketAddr = addr([203, 0, 113, 9], 5060);
/// What tandem tells each side.
pub const TANDEM_A: &str = "198.18.0.1:5060";
pub const TANDEM_B: &str = "192.0.2.7:5060";

pub const EPOCH_MS: u64 = 1_700_000_000_000;

pub const fn addr(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])), port)
}

/// Two addresses; `b` is known to its peers by another (an Elastic IP). Calls to 1… go to the carrier, with a back-up
/// trunk behind it; to 2… to the back-up alone, over TCP; to 12… from the carrier to alice.
pub const CONFIG: &str = r#"
[node]
name = "t1"
[[port]]
name = "p0"
device = "net_null0"
exception = "tap0"
addresses = ["198.18.0.1/24"]
[[address]]
name = "a"
port = "p0"
local = "198.18.0.1"
[[address]]
name = "b"
port = "p0"
local = "198.18.1.1"
advertise = "192.0.2.7"
[media]
[sip]
ring_s = 120
max_calls = 20
[[sip.listen]]
address = "a"
[[sip.listen]]
address = "b"
[[trunk]]
name = "alice"
from = ["198.18.0.0/24"]
address = "a"
codecs = ["PCMU", "PCMA"]
[[trunk]]
name = "carrier"
from = ["198.18.1.0/24"]
address = "b"
codecs = ["PCMA", "PCMU"]
destinations = ["sip:198.18.1.2", "sip:198.18.1.3:5060"]
no_reply_ms = 4000
[[trunk]]
name = "backup"
from = ["198.18.2.0/24"]
address = "b"
destinations = ["sip:198.18.2.2:5070;transport=tcp"]
[[trunk]]
name = "empty"
address = "b"
[[route]]
prefix = "1"
to = ["carrier"]
[[route]]
prefix = "12"
from = "carrier"
to = ["backup"]
[[route]]
prefix = "2"
to = ["backup"]
[[route]]
prefix = "3"
to = ["carrier", "backup"]
[[route]]
prefix = "4"
to = ["empty"]
"#;

pub const LISTEN_A_UDP: ListenerId = ListenerId(0);
pub const LISTEN_A_TCP: ListenerId = ListenerId(1);
pub const LISTEN_B_UDP: ListenerId = ListenerId(2);
pub const LISTEN_B_TCP: ListenerId = ListenerId(3);

/// Counts what it is asked, and hands out ports 20000, 20004, …
#[derive(Clone, Default)]
pub struct FakeMedia {
    pub open: BTreeMap<u64, [Option<LegMedia>; 2]>,
    pub opened: u64,
    pub closed: u64,
    pub refuse: Option<OpenError>,
    pub phases: Vec<(u64, Phase)>,
    pub requests: Vec<OpenRequest>,
}

impl MediaControl for FakeMedia {
    fn open(&mut self, _now: Time, request: &OpenRequest) -> Result<Session, OpenError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        self.opened += 1;
        self.requests.push(request.clone());
        let id = self.opened;
        self.open.insert(id, [None, None]);
        let port = 20_000 + u16::try_from(id % 5_000).unwrap() * 4;
        let local = |name: &str, ip: [u8; 4], told: [u8; 4], port: u16| MediaLocal {
            address: name.into(),
            rtp: addr(ip, port),
            rtcp: addr(ip, port + 1),
            told_rtp: addr(told, port),
            told_rtcp: addr(told, port + 1),
        };
        let a = local("a", [198, 18, 0, 1], [198, 18, 0, 1], port);
        let b = local("b", [198, 18, 1, 1], [192, 0, 2, 7], port + 2);
        Ok(Session { id: SessionId(id), local: [a, b] })
    }

    fn update(&mut self, _now: Time, id: SessionId, side: Side, media: &LegMedia) {
        let legs = self.open.get_mut(&id.0).expect("update of a session that is not open");
        legs[side.index()] = Some(media.clone());
    }

    fn phase(&mut self, _now: Time, id: SessionId, phase: Phase) {
        assert!(self.open.contains_key(&id.0), "phase of a session that is not open");
        self.phases.push((id.0, phase));
    }

    fn treat(&mut self, _: Time, _: SessionId, _: Side, _: Manner) {}

    fn exchange(&mut self, _now: Time, one: (SessionId, Side), other: (SessionId, Side)) {
        let at = |media: &FakeMedia, (id, side): (SessionId, Side)| media.open[&id.0][side.index()].clone();
        let (first, second) = (at(self, one), at(self, other));
        self.open.get_mut(&one.0.0).unwrap()[one.1.index()] = second;
        self.open.get_mut(&other.0.0).unwrap()[other.1.index()] = first;
    }

    fn close(&mut self, _now: Time, id: SessionId) -> Option<SessionReport> {
        assert!(self.open.remove(&id.0).is_some(), "a session is closed once");
        self.closed += 1;
        self.report_of(id)
    }

    fn report(&self, id: SessionId) -> Option<SessionReport> {
        self.open.contains_key(&id.0).then(|| self.report_of(id)).flatten()
    }
}

impl FakeMedia {
    fn report_of(&self, id: SessionId) -> Option<SessionReport> {
        let leg = |codec: &str| LegReport { codec: Some(codec.into()), ..LegReport::default() };
        Some(SessionReport { id, legs: [leg("PCMU"), leg("PCMA")], transcoded: true })
    }
}

/// A message that the endpoint sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Time,
    pub flow: Flow,
    pub message: Message,
}

pub struct Net {
    pub endpoint: Endpoint,
    pub media: FakeMedia,
    pub now: Time,
    pub sent: Vec<Sent>,
    pub records: Vec<CallRecord>,
    pub notes: Vec<String>,
    pub questions: Vec<crate::sip::names::Query>,
    /// Everything that was sent, as it was sent.
    pub wire: Vec<(SocketAddr, Vec<u8>)>,
    /// What the endpoint took for what it got.
    pub took: std::time::Duration,
    branch: u32,
}

impl Net {
    pub fn new() -> Net {
        Net::with(|_| ())
    }

    /// With other random numbers.
    pub fn seeded(seed: u8) -> Net {
        let mut net = Net::new();
        let config = Arc::new(toml::from_str(CONFIG).unwrap());
        net.endpoint = Endpoint::new(config, [seed; 32], net.now, EPOCH_MS);
        net
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Net {
        let mut config: Config = toml::from_str(CONFIG).unwrap();
        change(&mut config);
        let now = Time::from_secs(100);
        Net {
            endpoint: Endpoint::new(Arc::new(config), [7; 32], now, EPOCH_MS),
            media: FakeMedia::default(),
            now,
            sent: Vec::new(),
            records: Vec::new(),
            notes: Vec::new(),
            questions: Vec::new(),
            wire: Vec::new(),
            took: Default::default(),
            branch: 0,
        }
    }

    /// The same world around another endpoint.
    pub fn around(&self, endpoint: Endpoint) -> Net {
        Net {
            endpoint,
            media: self.media.clone(),
            now: self.now,
            sent: self.sent.clone(),
            records: self.records.clone(),
            notes: Vec::new(),
            questions: Vec::new(),
            wire: Vec::new(),
            took: Default::default(),
            branch: self.branch,
        }
    }

    /// A branch that no other request of this test has.
    pub fn branch(&mut self) -> String {
        self.branch += 1;
        format!("z9hG4bKt{}", self.branch)
    }

    /// The flow on which a peer's datagrams arrive.
    pub fn udp(peer: SocketAddr) -> Flow {
        let local = if peer.ip() == A.ip() || peer == NOBODY { LISTEN_A_UDP } else { LISTEN_B_UDP };
        Flow { local, transport: SipTransport::Udp, remote: peer, connection: None }
    }

    pub fn tcp(peer: SocketAddr, connection: u64) -> Flow {
        let local = if peer.ip() == A.ip() { LISTEN_A_TCP } else { LISTEN_B_TCP };
        Flow { local, transport: SipTransport::Tcp, remote: peer, connection: Some(ConnectionId(connection)) }
    }

    /// `peer` sends a datagram.
    pub fn send(&mut self, peer: SocketAddr, message: &Message) {
        self.send_on(Net::udp(peer), message);
    }

    pub fn send_on(&mut self, flow: Flow, message: &Message) {
        self.send_bytes(flow, &message.write());
    }

    pub fn send_bytes(&mut self, flow: Flow, bytes: &[u8]) {
        let start = std::time::Instant::now();
        self.endpoint.receive(self.now, flow, Message::parse(bytes), &mut self.media);
        self.took += start.elapsed();
        self.collect();
    }

    pub fn fail(&mut self, flow: Flow) {
        self.endpoint.transport_failed(self.now, flow, &mut self.media);
        self.collect();
    }

    pub fn collect(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    let message = Message::parse(&bytes).expect("what tandem sends can be read");
                    self.wire.push((flow.remote, bytes.to_vec()));
                    self.sent.push(Sent { at: self.now, flow, message });
                }
                Output::Record(record) => self.records.push(*record),
                Output::Log(note) => self.notes.push(note.text),
                Output::Resolve(query) => self.questions.push(query),
            }
        }
    }

    /// Lets `ms` milliseconds pass; the endpoint is woken exactly when it asks to be.
    pub fn pass(&mut self, ms: u64) {
        let until = Time::from_micros(self.now.as_micros() + ms * 1_000);
        let mut wakes = 0;
        while let Some(due) = self.endpoint.next_deadline().filter(|at| *at <= until) {
            wakes += 1;
            assert!(wakes < 100_000, "it wakes without end");
            self.now = self.now.max(due);
            self.endpoint.tick(self.now, &mut self.media);
            self.collect();
        }
        self.now = until;
    }

    /// What was sent to `peer` since it was last asked for.
    pub fn take(&mut self, peer: SocketAddr) -> Vec<Message> {
        let (his, rest) = std::mem::take(&mut self.sent).into_iter().partition(|s: &Sent| s.flow.remote == peer);
        self.sent = rest;
        let his: Vec<Sent> = his;
        his.into_iter().map(|s| s.message).collect()
    }

    /// The only message sent to `peer`, which is a request of that method.
    pub fn request_to(&mut self, peer: SocketAddr, method: Method) -> Message {
        let mut all = self.take(peer);
        assert_eq!(all.iter().map(|m| m.method().cloned()).collect::<Vec<_>>(), [Some(method)], "to {peer}: {all:#?}");
        all.remove(0)
    }

    /// The only message sent to `peer`, which is a response of that status.
    pub fn response_to(&mut self, peer: SocketAddr, status: u16) -> Message {
        let mut all = self.take(peer);
        assert_eq!(all.iter().map(Message::status).collect::<Vec<_>>(), [Some(status)], "to {peer}: {all:#?}");
        all.remove(0)
    }

    pub fn nothing_to(&mut self, peer: SocketAddr) {
        let all = self.take(peer);
        assert!(all.is_empty(), "to {peer}: {all:#?}");
    }

    pub fn the_record(&mut self) -> CallRecord {
        assert_eq!(self.records.len(), 1, "{:#?}", self.records);
        self.records.remove(0)
    }

    /// Lets every timer run out and checks that nothing is left.
    pub fn run_out(&mut self) {
        self.pass(400_000);
        assert_eq!(self.endpoint.next_deadline(), None, "a timer is left");
        assert_eq!(self.endpoint.table_sizes(), (0, 0, 0), "a transaction or dialog is left");
        assert_eq!(self.endpoint.in_progress(), 0);
        assert_eq!(self.endpoint.calls().count(), 0);
        assert_eq!(self.media.open.len(), 0, "a media session is left");
        assert_eq!(self.media.opened, self.media.closed);
        assert_eq!(self.endpoint.core.live.trunks.all_calls(), ([0, 0], 0), "a trunk counts calls that are over");
    }

    /// An INVITE of `peer` to `number`, outside a dialog, with an offer of PCMU and PCMA.
    pub fn invite(&mut self, peer: SocketAddr, number: &str) -> Message {
        let branch = self.branch();
        let text = format!(
            "INVITE sip:{number}@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Alice\" <sip:alice@{ip}>;tag=a-tag\r\nTo: <sip:{number}@198.18.0.1>\r\nCall-ID: call-{branch}@{ip}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:alice@{peer}>\r\nContent-Type: application/sdp\r\n\r\n",
            ip = peer.ip()
        );
        let mut invite = Message::parse(text.as_bytes()).unwrap();
        invite.body = sdp(peer.ip(), 4_000, 1, "").into();
        invite
    }

    /// A request of a peer in the dialog that `mine` (a request it sent, or got, in it) and `theirs` name.
    pub fn in_dialog(&mut self, dialog: &Ends, method: &str, seq: u32) -> Message {
        let branch = self.branch();
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {seq} {method}\r\nContact: <sip:x@{peer}>\r\n\r\n",
            target = dialog.target,
            peer = dialog.peer,
            from = dialog.local,
            to = dialog.remote,
            call_id = dialog.call_id,
        );
        Message::parse(text.as_bytes()).unwrap()
    }
}

/// One peer's view of its dialog with tandem.
#[derive(Clone, Debug)]
pub struct Ends {
    pub peer: SocketAddr,
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
}

impl Ends {
    /// Of the one who called tandem, from its INVITE and tandem's response.
    pub fn caller(peer: SocketAddr, invite: &Message, response: &Message) -> Ends {
        Ends {
            peer,
            call_id: invite.call_id().unwrap().into(),
            local: header(invite, HeaderName::From),
            remote: header(response, HeaderName::To),
            target: response.contacts().unwrap()[0].uri.to_string(),
        }
    }

    /// Of the one whom tandem called, from tandem's INVITE and the response it gave.
    pub fn callee(peer: SocketAddr, invite: &Message, response: &Message) -> Ends {
        Ends {
            peer,
            call_id: invite.call_id().unwrap().into(),
            local: header(response, HeaderName::To),
            remote: header(invite, HeaderName::From),
            target: invite.contacts().unwrap()[0].uri.to_string(),
        }
    }
}

pub fn header(message: &Message, name: HeaderName) -> String {
    message.headers.get(&name).unwrap_or_else(|| panic!("no {name} in {message:#?}")).into()
}

/// A session description with PCMU and PCMA at an address.
pub fn sdp(ip: IpAddr, port: u16, version: u32, extra: &str) -> String {
    format!(
        "v=0\r\no=- 42 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n{extra}"
    )
}

/// A peer's response to a request of tandem's, with its tag and Contact; with an answer if `port` is given.
pub fn respond(peer: SocketAddr, request: &Message, status: u16, tag: &str, port: Option<u16>) -> Message {
    let mut response = Message::response_to(request, status, "");
    if status > 100 {
        let mut to = response.to().unwrap();
        if to.tag().is_none() {
            to.set_tag(tag);
        }
        response.headers.set(HeaderName::To, to.to_string());
        response.headers.push(HeaderName::Contact, format!("<sip:bob@{peer}>"));
    }
    if let Some(port) = port {
        response.headers.push(HeaderName::ContentType, "application/sdp");
        response.body = sdp(peer.ip(), port, 1, "").into();
    }
    response
}

/// An ACK of a peer for tandem's 2xx.
pub fn ack(net: &mut Net, dialog: &Ends, seq: u32) -> Message {
    net.in_dialog(dialog, "ACK", seq)
}

/// A call that is up.
pub struct Up {
    pub a: Ends,
    pub b: Ends,
    /// The INVITE of each leg: alice's, and tandem's to bob.
    pub invite_a: Message,
    pub invite_b: Message,
}

/// Sets a call up: alice calls 100, bob at `B` answers.
pub fn call_up(net: &mut Net) -> Up {
    let invite_a = net.invite(A, "100");
    net.send(A, &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
    net.response_to(A, 180);
    let ok_b = respond(B, &invite_b, 200, "b-tag", Some(6_000));
    net.send(B, &ok_b);
    net.request_to(B, Method::Ack);
    let ok_a = net.response_to(A, 200);
    let a = Ends::caller(A, &invite_a, &ok_a);
    let b = Ends::callee(B, &invite_b, &ok_b);
    let message = ack(net, &a, 1);
    net.send(A, &message);
    Up { a, b, invite_a, invite_b }
}

/// Alice hangs up, bob agrees, and nothing is left.
pub fn take_down(net: &mut Net, up: &Up, seq: u32) {
    let bye = net.in_dialog(&up.a, "BYE", seq);
    net.send(A, &bye);
    net.response_to(A, 200);
    let bye = net.request_to(B, Method::Bye);
    net.send(B, &respond(B, &bye, 200, "", None));
    net.run_out();
}

/// `application/sdp` body of a message, as text.
pub fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}
