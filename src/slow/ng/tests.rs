//! Commands over real sockets on loopback, with the machine and call control behind them.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use super::*;
use crate::{
    base::ids::PortId,
    config::Config,
    control::{engine::Engine, neighbours::Kernel},
    flow::FlowTable,
    ng::Settings,
};

struct NoKernel;

impl Kernel for NoKernel {
    fn gateway(&mut self, _: IpAddr) -> Option<(PortId, IpAddr)> {
        None
    }

    fn watch(&mut self, _: PortId, _: IpAddr) -> Option<[u8; 6]> {
        None
    }

    fn forget(&mut self, _: PortId, _: IpAddr) {}
}

struct Rig {
    poll: Poll,
    sockets: NgSockets,
    engine: Engine,
    udp: SocketAddr,
    tcp: SocketAddr,
    http: SocketAddr,
}

/// `allow`: networks, as the configuration has them.
fn rig(allow: &str) -> Rig {
    let text = include_str!("../../../docs/tandem.example.toml");
    let mut config: Config = toml::from_str(text).unwrap();
    config.ng.as_mut().unwrap().allow = vec![allow.parse().unwrap()];
    let table = FlowTable::new(&[], 20_000, 20_001, 1, 0);
    let engine = Engine::new(&config, table, Vec::new(), Box::new(NoKernel));
    let poll = Poll::new().unwrap();
    let machine = Ng::new(Settings::of(&config).unwrap(), 1, Time::ZERO, 0);
    let any = "127.0.0.1:0".parse().unwrap();
    let listens = Listens { udp: &[any], tcp: &[any], http: &[any] };
    let sockets = NgSockets::open(machine, listens, poll.registry(), 512).unwrap();
    let at = |listener: &Listener| match listener {
        Listener::Udp(socket) => socket.local_addr().unwrap(),
        Listener::Tcp(socket) | Listener::Http(socket) => socket.local_addr().unwrap(),
    };
    let [udp, tcp, http] = [0, 1, 2].map(|index| at(&sockets.listeners[index]));
    Rig { poll, sockets, engine, udp, tcp, http }
}

impl Rig {
    /// Rounds of the loop until `done`, or two seconds.
    fn until(&mut self, mut done: impl FnMut(&NgSockets) -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(2);
        let mut events = Events::with_capacity(64);
        let mut again = std::collections::BTreeSet::new();
        while !done(&self.sockets) {
            if Instant::now() > end {
                return false;
            }
            let wait = if again.is_empty() { Duration::from_millis(5) } else { Duration::ZERO };
            self.poll.poll(&mut events, Some(wait)).unwrap();
            let mut ready = std::mem::take(&mut again);
            ready.extend(events.iter().map(mio::event::Event::token));
            for token in ready {
                assert!(self.sockets.owns(token));
                if self.sockets.ready(Time::from_secs(1), token, &mut self.engine) {
                    again.insert(token);
                }
            }
        }
        true
    }
}

#[test]
fn a_ping_over_udp_is_answered_with_its_cookie_and_a_stranger_is_not() {
    let mut rig = rig("127.0.0.0/8");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    client.send_to(b"5_1 d7:command4:pinge", rig.udp).unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.commands.contains_key("ping")));
    let mut answer = [0; 100];
    let len = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..len], b"5_1 d6:result4:ponge");

    let mut rig = super::tests::rig("192.0.2.0/24");
    client.send_to(b"5_2 d7:command4:pinge", rig.udp).unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.strangers == 1));
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(client.recv(&mut answer).is_err());
}

#[test]
fn a_stream_carries_message_behind_message_in_pieces() {
    let mut rig = rig("127.0.0.0/8");
    let mut client = TcpStream::connect(rig.tcp).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    client.write_all(b"1 d7:command4:pinge2 {\"command\":\"pi").unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.commands.get("ping") == Some(&(1, 0))));
    client.write_all(b"ng\"}").unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.commands.get("ping") == Some(&(2, 0))));
    let mut answers = [0; b"1 d6:result4:ponge2 {\"result\":\"pong\"}".len()];
    client.read_exact(&mut answers).unwrap();
    assert_eq!(&answers, b"1 d6:result4:ponge2 {\"result\":\"pong\"}");
    drop(client);
    assert!(rig.until(|sockets| sockets.connections() == 0), "a connection that is closed is forgotten");
}

#[test]
fn what_is_no_message_ends_its_connection_and_no_other() {
    let mut rig = rig("127.0.0.0/8");
    let mut good = TcpStream::connect(rig.tcp).unwrap();
    let mut bad = TcpStream::connect(rig.tcp).unwrap();
    assert!(rig.until(|sockets| sockets.connections() == 2));
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(rig.until(|sockets| sockets.connections() == 1));
    good.write_all(b"1 d7:command4:pinge").unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.commands.contains_key("ping")));
    let more: Vec<TcpStream> = (2..=NG_CONNECTIONS)
        .map(|count| {
            let stream = TcpStream::connect(rig.tcp).unwrap();
            assert!(rig.until(|sockets| sockets.connections() == count));
            stream
        })
        .collect();
    let mut refused = TcpStream::connect(rig.tcp).unwrap();
    refused.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    rig.until(|sockets| sockets.connections() > NG_CONNECTIONS);
    assert_eq!((more.len(), refused.read(&mut [0; 1]).unwrap()), (NG_CONNECTIONS - 1, 0), "one too many is closed");
}

#[test]
fn a_request_over_http_is_answered_and_one_that_is_none_says_why_and_ends_its_connection() {
    let mut rig = rig("127.0.0.0/8");
    let mut client = TcpStream::connect(rig.http).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let body = "1 d7:command4:pinge";
    let request = format!(
        "POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).unwrap();
    assert!(rig.until(|sockets| sockets.machine.counters.commands.get("ping") == Some(&(1, 0))));
    let expected =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 18\r\n\r\n1 d6:result4:ponge";
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), expected);

    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(rig.until(|sockets| sockets.connections() == 0));
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 404 Not Found\r\n"), "{rest}");
}
