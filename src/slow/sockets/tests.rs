//! The sockets between real peers on loopback, with a clock moved by hand.

mod tls;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream, UdpSocket as StdUdp},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};
use socket2::{Domain, Socket, Type};

use super::*;
use crate::{
    base::limits::SIP_OUTGOING_BYTES,
    sip::{route::TrunkId, trunk::TlsPeer},
};

const FIRST: ListenerId = ListenerId(0);
const START: Time = Time::from_secs(100);

struct Bench {
    poll: Poll,
    sockets: Sockets,
    now: Time,
    again: Vec<Token>,
    received: Vec<Received>,
    gate: Door,
}

/// Lets in all but one address, and heeds all but one text.
#[derive(Default)]
struct Door {
    shut: Option<std::net::IpAddr>,
    deaf_to: Option<&'static str>,
    /// How many messages it was asked to read.
    read: usize,
    /// Whose connections over TLS come in, and who is at the other end of ours.
    caller: Option<TrunkId>,
    called: Vec<TlsPeer>,
}

impl Gate for Door {
    fn admits(&mut self, _now: Time, remote: std::net::IpAddr) -> bool {
        self.shut != Some(remote)
    }

    fn heeds(&mut self, _now: Time, _remote: std::net::IpAddr, datagram: &[u8]) -> bool {
        self.read += 1;
        let text = String::from_utf8_lossy(datagram);
        self.deaf_to.is_none_or(|word| !text.contains(word))
    }

    fn shuts_out(&mut self, _now: Time, remote: std::net::IpAddr) -> bool {
        self.shut == Some(remote)
    }

    fn tls_caller(&self, _local: ListenerId, _remote: std::net::IpAddr) -> Option<TrunkId> {
        self.caller
    }

    fn tls_called(&self, _local: ListenerId, _remote: SocketAddr) -> Vec<TlsPeer> {
        self.called.clone()
    }
}

impl Bench {
    fn new(listeners: &[(&str, SipTransport)], trunks: &[&str]) -> Bench {
        let poll = Poll::new().unwrap();
        let listeners = listeners.iter().map(|(at, transport)| (at.parse().unwrap(), *transport));
        let trunks = trunks.iter().map(|net| net.parse().unwrap()).collect();
        let sockets = Sockets::open(listeners, trunks, poll.registry(), 10).unwrap();
        Bench { poll, sockets, now: START, again: Vec::new(), received: Vec::new(), gate: Door::default() }
    }

    fn tcp() -> Bench {
        Bench::new(&[("127.0.0.1:0", SipTransport::Tcp)], &[])
    }

    fn at(&self, index: usize) -> SocketAddr {
        match &self.sockets.listeners[index].socket {
            Listener::Udp(s) => s.local_addr().unwrap(),
            Listener::Stream(s, _) => s.local_addr().unwrap(),
        }
    }

    /// One round of the loop.
    fn round(&mut self) {
        let wait = if self.again.is_empty() { Duration::from_millis(10) } else { Duration::ZERO };
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(wait)).unwrap();
        let mut tokens = std::mem::take(&mut self.again);
        tokens.extend(events.iter().map(|e| e.token()));
        tokens.dedup();
        for token in tokens {
            if self.sockets.ready(self.now, token, &mut self.gate, &mut |r| self.received.push(r)) {
                self.again.push(token);
            }
        }
    }

    fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    fn until(&mut self, what: &str, done: impl Fn(&Bench) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain: {what}");
            self.round();
        }
    }

    fn send(&mut self, flow: Flow, bytes: &[u8]) {
        self.sockets.send(self.now, flow, bytes, &mut self.gate, &mut |r| self.received.push(r));
    }

    fn sweep_after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.sockets.sweep(self.now, &mut self.gate, &mut |r| self.received.push(r));
    }

    fn client(&mut self) -> StdStream {
        let before = self.sockets.connections();
        let client = StdStream::connect(self.at(0)).unwrap();
        self.until("a connection", |b| b.sockets.connections() == before + 1);
        client
    }

    fn messages(&self) -> Vec<Flow> {
        self.received
            .iter()
            .filter_map(|r| match r {
                Received::Message(flow, message) if message.is_ok() => Some(*flow),
                Received::Datagram(flow, bytes) if Message::parse(bytes).is_ok() => Some(*flow),
                _ => None,
            })
            .collect()
    }

    fn lost(&self) -> Vec<Flow> {
        self.received
            .iter()
            .filter_map(|r| match r {
                Received::Lost(flow) => Some(*flow),
                _ => None,
            })
            .collect()
    }
}

fn options() -> Vec<u8> {
    b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
      From: <sip:b@192.0.2.2>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
      Content-Length: 0\r\n\r\n"
        .to_vec()
}

fn to(remote: SocketAddr) -> Flow {
    Flow { local: FIRST, transport: SipTransport::Tcp, remote, connection: None }
}

/// A connection from `source`, an address of 127.0.0.0/8.
fn connect_from(source: &str, to: SocketAddr) -> StdStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Whether the other side closed it, with or without a reset.
fn is_closed(client: &mut StdStream) -> bool {
    client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match client.read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_flood_of_pings_leaves_the_others_their_turn_and_draws_few_pongs() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Tcp), ("127.0.0.1:0", SipTransport::Udp)], &[]);
    let mut flooder = bench.client();
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let pings = b"\r\n\r\n".repeat(64 * 1024);
            while !stop.load(Ordering::Relaxed) && flooder.write_all(&pings).is_ok() {}
            flooder
        })
    };
    let other = StdUdp::bind("127.0.0.1:0").unwrap();
    bench.until("a turn that the flood fills", |b| !b.again.is_empty());
    for n in 1..=50 {
        other.send_to(&options(), bench.at(1)).unwrap();
        bench.until("the datagram", |b| b.messages().len() == n);
        let waiting = bench.sockets.connections.values().next().unwrap().waiting_bytes();
        assert!(waiting <= 2, "{waiting} bytes of pongs wait");
    }
    stop.store(true, Ordering::Relaxed);
    // What the writer still waits to write is taken, or it would not end.
    bench.until("the writer", |_| thread.is_finished());
    thread.join().unwrap();
    assert_eq!(bench.lost().len(), 0);
}

#[test]
fn rfc_5626_a_ping_draws_a_pong_and_many_at_once_draw_one() {
    let mut bench = Bench::tcp();
    let mut client = bench.client();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for pings in [1, 1000] {
        client.write_all(&b"\r\n\r\n".repeat(pings)).unwrap();
        bench.rounds(5);
        let mut buffer = [0; 4096];
        let n = client.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..2], b"\r\n");
        // They may arrive in a few pieces, not in a thousand.
        assert!(n <= 10, "{n} bytes of pongs for {pings} pings");
    }
}

#[test]
fn a_peer_that_does_not_read_loses_its_connection_alone() {
    let mut bench = Bench::tcp();
    let (mut deaf, mut good) = (bench.client(), bench.client());
    deaf.write_all(&options()).unwrap();
    bench.until("the request", |b| b.messages().len() == 1);
    let flow = bench.messages()[0];
    let bytes = vec![b'x'; 50_000];
    // The kernel's buffers take some megabytes first.
    for _ in 0..1_000 {
        bench.send(flow, &bytes);
        assert!(bench.sockets.connections.values().all(|c| c.waiting_bytes() <= SIP_OUTGOING_BYTES));
        if !bench.lost().is_empty() {
            break;
        }
    }
    assert_eq!(bench.lost(), [flow]);
    good.write_all(&options()).unwrap();
    bench.until("the other's request", |b| b.messages().len() == 2);
    assert_eq!(bench.sockets.connections(), 1);
}

#[test]
fn what_the_kernel_does_not_take_at_once_goes_out_when_it_does() {
    let mut bench = Bench::tcp();
    let mut client = bench.client();
    client.write_all(&options()).unwrap();
    bench.until("the request", |b| b.messages().len() == 1);
    let flow = bench.messages()[0];
    let mut sent = Vec::new();
    while bench.sockets.connections.values().all(|c| c.waiting_bytes() < 300_000) {
        let piece: Vec<u8> = (0..50_000).map(|i| ((sent.len() + i) % 251) as u8).collect();
        bench.send(flow, &piece);
        sent.extend(piece);
        assert!(sent.len() < 60_000_000, "the kernel takes everything");
    }
    bench.rounds(3);
    let want = sent.len();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; want];
        client.read_exact(&mut got).map(|()| got)
    });
    bench.until("all is read", |_| reader.is_finished());
    assert!(reader.join().unwrap().unwrap() == sent, "bytes are lost or out of order");
}

#[test]
fn one_source_has_32_connections_and_a_trunk_has_more() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Tcp)], &["127.0.0.3/32"]);
    let at = bench.at(0);
    let mut strangers: Vec<StdStream> = (0..40).map(|_| connect_from("127.0.0.1", at)).collect();
    bench.until("all are looked at", |b| b.sockets.counters.connections_refused == 8);
    assert_eq!(bench.sockets.connections(), 32);
    assert_eq!(strangers.iter_mut().map(is_closed).filter(|closed| *closed).count(), 8);
    let _other = connect_from("127.0.0.2", at);
    let _trunk: Vec<StdStream> = (0..40).map(|_| connect_from("127.0.0.3", at)).collect();
    bench.until("another source and a trunk", |b| b.sockets.connections() == 32 + 1 + 40);
    // A place that is given up is free again.
    strangers.clear();
    bench.until("they are gone", |b| b.sockets.connections() == 41);
    let _again = connect_from("127.0.0.1", at);
    bench.until("one more", |b| b.sockets.connections() == 42);
}

#[test]
fn a_connection_without_a_whole_message_is_closed_after_32_seconds() {
    let mut bench = Bench::tcp();
    let (mut pinging, mut half, mut good) = (bench.client(), bench.client(), bench.client());
    good.write_all(&options()).unwrap();
    half.write_all(&options()[..40]).unwrap();
    bench.until("the message", |b| b.messages().len() == 1);
    bench.now += Duration::from_secs(31);
    pinging.write_all(b"\r\n\r\n").unwrap();
    half.write_all(b"Subject: ").unwrap();
    bench.rounds(5);
    bench.sweep_after(1);
    assert_eq!(bench.sockets.connections(), 3);
    bench.sweep_after(1);
    assert_eq!(bench.sockets.connections(), 1);
    assert!(!is_closed(&mut good));
    // One pong, then the end.
    assert!((0..2).any(|_| is_closed(&mut pinging)) && is_closed(&mut half));
}

#[test]
fn only_whole_messages_and_pings_keep_a_connection() {
    let mut bench = Bench::tcp();
    let (mut trickle, mut pinging) = (bench.client(), bench.client());
    trickle.write_all(&options()).unwrap();
    pinging.write_all(&options()).unwrap();
    bench.until("both", |b| b.messages().len() == 2);
    for _ in 0..2 {
        bench.now += Duration::from_secs(901);
        trickle.write_all(b"OPTIONS ").unwrap();
        pinging.write_all(b"\r\n\r\n").unwrap();
        bench.rounds(5);
    }
    bench.sweep_after(0);
    assert_eq!(bench.sockets.connections(), 1);
    assert!(is_closed(&mut trickle));
}

#[test]
fn a_destination_that_swallows_syns_is_given_up_after_5_seconds() {
    // A listener whose backlog is full drops further SYNs.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let at = full.local_addr().unwrap().as_socket().unwrap();
    let _fillers: Vec<Socket> = (0..4)
        .map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&at.into());
            filler
        })
        .collect();
    let mut bench = Bench::tcp();
    bench.send(to(at), &options());
    bench.rounds(5);
    bench.sweep_after(5);
    assert_eq!((bench.sockets.connections(), bench.lost().len()), (1, 0), "it is still being tried");
    bench.sweep_after(1);
    assert_eq!(bench.lost().iter().map(|f| f.remote).collect::<Vec<_>>(), [at]);
    assert_eq!(bench.sockets.connections(), 0);
    // What comes next gets a connection of its own.
    bench.send(to(at), &options());
    assert_eq!((bench.sockets.connections(), bench.sockets.counters.connections_opened), (1, 2));
}

#[test]
fn a_refused_connection_is_told_at_once_and_a_made_one_is_used_both_ways() {
    let peer = StdListener::bind("127.0.0.1:0").unwrap();
    let at = peer.local_addr().unwrap();
    let mut bench = Bench::tcp();
    bench.send(to(at), &options());
    bench.send(to(at), &options());
    let (mut stream, _) = peer.accept().unwrap();
    bench.rounds(3);
    let mut got = vec![0; options().len() * 2];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, options().repeat(2));
    stream.write_all(&options()).unwrap();
    bench.until("its request", |b| b.messages().len() == 1);
    assert_eq!(bench.sockets.counters.connections_opened, 1);
    // It outlives the time for connecting, and that for a first message.
    bench.sweep_after(60);
    assert_eq!(bench.lost(), []);
    let first = bench.messages()[0];
    drop((stream, peer));
    bench.until("its end", |b| b.lost() == [first]);
    // We opened it, so it is opened again; that fails, which is told under the name that the sender knows.
    bench.send(first, &options());
    bench.until("the refusal", |b| b.sockets.connections() == 0);
    assert_eq!(bench.lost().last(), Some(&first));
    assert_eq!(bench.sockets.connections(), 0);
}

#[test]
fn nobody_connects_to_the_port_that_a_peer_connected_from() {
    let mut bench = Bench::tcp();
    let mut client = bench.client();
    client.write_all(&options()).unwrap();
    bench.until("the request", |b| b.messages().len() == 1);
    let flow = bench.messages()[0];
    // While it lives, what names no connection takes it too.
    bench.send(to(flow.remote), b"one");
    let mut got = [0; 3];
    client.read_exact(&mut got).unwrap();
    assert_eq!((&got, bench.sockets.connections()), (b"one", 1));
    drop(client);
    bench.until("its end", |b| b.sockets.connections() == 0);
    bench.send(flow, &options());
    assert_eq!(bench.lost(), [flow, flow]);
    assert_eq!(bench.sockets.counters.connections_opened, 0);
}

#[test]
fn the_answer_to_lost_framing_goes_out_before_the_connection_ends() {
    let mut bench = Bench::tcp();
    let mut client = bench.client();
    // RFC 3261 §18.3: over TCP the length of the body must be said.
    let text = String::from_utf8(options()).unwrap().replace("Content-Length: 0\r\n", "");
    client.write_all(text.as_bytes()).unwrap();
    bench.until("the bad message", |b| !b.received.is_empty());
    let Received::Message(flow, message) = &bench.received[0] else { panic!("lost before it was told") };
    let (flow, reply) = (*flow, message.as_ref().as_ref().unwrap_err().reply.is_some());
    assert!(reply, "the test needs a message that is answered");
    // Not read any more.
    client.write_all(&options()).unwrap();
    bench.rounds(3);
    assert_eq!(bench.messages(), []);
    bench.send(flow, b"SIP/2.0 400 ");
    let mut got = [0; 12];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"SIP/2.0 400 ");
    bench.sweep_after(3);
    assert_eq!((bench.lost(), bench.sockets.connections()), (vec![flow], 0));
}

#[test]
fn more_connections_than_one_turn_takes_are_all_taken() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Tcp)], &["127.0.0.0/8"]);
    let at = bench.at(0);
    let _clients: Vec<StdStream> = (0..150).map(|_| StdStream::connect(at).unwrap()).collect();
    bench.round();
    assert_eq!(bench.sockets.connections(), ACCEPTS_AT_ONCE);
    assert_eq!(bench.again.len(), 1);
    bench.until("the rest", |b| b.sockets.connections() == 150);
}

/// In a process of its own: it takes all file descriptors.
#[test]
fn what_could_not_be_accepted_for_want_of_descriptors_is_accepted_later() {
    const INNER: &str = "TANDEM_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(INNER).is_none() {
        let name = "slow::sockets::tests::what_could_not_be_accepted_for_want_of_descriptors_is_accepted_later";
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" --exact \"$1\" --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(INNER, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{output:?}");
        return;
    }
    let mut bench = Bench::tcp();
    let at = bench.at(0);
    let _clients: Vec<StdStream> = (0..5).map(|_| StdStream::connect(at).unwrap()).collect();
    let hoard: Vec<std::fs::File> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(hoard.len() > 5);
    bench.rounds(5);
    assert_eq!(bench.sockets.connections(), 0);
    assert!(bench.sockets.listeners[0].starved && bench.again.is_empty(), "nobody tries in a busy loop");
    bench.sweep_after(1);
    assert!(bench.sockets.listeners[0].starved);
    drop(hoard);
    bench.rounds(3);
    assert_eq!(bench.sockets.connections(), 0, "no event says that descriptors are free");
    bench.sweep_after(1);
    assert_eq!(bench.sockets.connections(), 5);
    let _next = StdStream::connect(at).unwrap();
    bench.until("the next one, by its event", |b| b.sockets.connections() == 6);
}

#[test]
fn ipv6_peers_are_met_in_both_directions() {
    let mut bench = Bench::new(&[("[::1]:0", SipTransport::Tcp), ("[::1]:0", SipTransport::Udp)], &[]);
    let mut client = bench.client();
    client.write_all(&options()).unwrap();
    bench.until("the request", |b| b.messages().len() == 1);
    assert_eq!(bench.messages()[0].remote, client.local_addr().unwrap());
    let peer = StdListener::bind("[::1]:0").unwrap();
    bench.send(to(peer.local_addr().unwrap()), b"two");
    let (mut stream, from) = peer.accept().unwrap();
    bench.rounds(3);
    let mut got = [0; 3];
    stream.read_exact(&mut got).unwrap();
    assert_eq!((&got, from.ip()), (b"two", bench.at(0).ip()));
    // RFC 4291 §2.5.5.2 and RFC 4007 §11: a mapped address is IPv4, a link-local one keeps its zone.
    assert_eq!(kernel::unmapped("[::ffff:192.0.2.1]:5060".parse().unwrap()), "192.0.2.1:5060".parse().unwrap());
    assert_eq!(kernel::unmapped("[fe80::1%7]:5060".parse().unwrap()), "[fe80::1%7]:5060".parse().unwrap());
}

#[test]
fn a_datagram_to_an_address_that_cannot_be_reached_is_told_and_a_long_one_is_not() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Udp)], &[]);
    let udp = |remote: &str| Flow { transport: SipTransport::Udp, ..to(remote.parse().unwrap()) };
    // The family of the address is not that of the socket.
    bench.send(udp("[::1]:5060"), b"x");
    assert_eq!(bench.lost(), [udp("[::1]:5060")]);
    bench.send(udp("127.0.0.1:9"), &vec![b'x'; 65_535]);
    assert_eq!((bench.lost().len(), bench.sockets.counters.datagrams_refused), (1, 2));
}

/// A UDP address on which nobody listens: the kernel answers with ICMP port unreachable.
fn closed_port() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_datagram_is_told_and_harms_no_other() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Udp)], &[]);
    let flow = |remote| Flow { local: ListenerId(0), transport: SipTransport::Udp, remote, connection: None };
    let (closed, open) = (closed_port(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    bench.send(flow(closed), b"nobody hears this");
    // The error is pending on the socket: the next datagram must leave all the same.
    bench.send(flow(open.local_addr().unwrap()), b"this arrives");
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(open.recv(&mut buffer).unwrap(), b"this arrives".len());
    bench.until("the refusal", |b| !b.lost().is_empty());
    assert_eq!(bench.lost(), [flow(closed)]);
}

#[test]
fn a_banned_source_is_not_read_and_its_connections_are_closed() {
    let mut bench = Bench::new(&[("127.0.0.1:0", SipTransport::Udp)], &[]);
    let peer = StdUdp::bind("127.0.0.1:0").unwrap();
    bench.gate.shut = Some(peer.local_addr().unwrap().ip());
    peer.send_to(&options(), bench.at(0)).unwrap();
    bench.until("a datagram", |b| b.sockets.counters.datagrams_in == 1);
    assert_eq!((bench.gate.read, bench.received.len()), (0, 0), "not even looked at");
    bench.gate.shut = None;
    bench.gate.deaf_to = Some("OPTIONS");
    peer.send_to(&options(), bench.at(0)).unwrap();
    bench.until("a datagram", |b| b.sockets.counters.datagrams_in == 2);
    assert_eq!((bench.gate.read, bench.received.len()), (1, 0), "a scanner's is not parsed");

    let mut bench = Bench::tcp();
    let _early = bench.client();
    bench.gate.shut = Some("127.0.0.1".parse().unwrap());
    let mut late = StdStream::connect(bench.at(0)).unwrap();
    bench.until("a refusal", |b| b.sockets.counters.connections_banned == 1);
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(matches!(late.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(bench.sockets.connections(), 1);
    bench.sweep_after(1);
    assert_eq!((bench.sockets.connections(), bench.sockets.counters.connections_banned), (0, 2));
    assert_eq!(bench.lost().len(), 1);
}
