//! TLS between the sockets and peers that are rustls on a thread of their own, or that only pretend.

use std::{io, thread::JoinHandle};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use super::*;
use crate::{
    config::Config,
    tls::testing::{Authority, Folder, Pair},
};

const CONFIG: &str = r#"
    [[port]]
    name = "p"
    device = "net_null0"
    exception = "t"
    addresses = []
    [[address]]
    name = "a"
    port = "p"
    local = "127.0.0.1"
    [media]
    [sip]
    listen = [{ address = "a", transports = ["tls"] }]
    tls = { certificate = "DIR/own.pem", key = "DIR/own.key", min_version = "VERSION" }
    [[trunk]]
    name = "carrier"
    address = "a"
    destinations = ["sips:carrier.example"]
    tls = { ca = "DIR/ca.pem" }
    [[trunk]]
    name = "strict"
    address = "a"
    tls = { ca = "DIR/ca.pem", peer_names = ["strict.example"] }
"#;

/// Places in `CONFIG`.
const CARRIER: TrunkId = TrunkId(0);
const STRICT: TrunkId = TrunkId(1);

/// tandem with a certificate of an authority, and the means to make others.
struct Site {
    bench: Bench,
    authority: Authority,
    folder: Folder,
    config: Config,
}

impl Site {
    fn new() -> Site {
        Site::speaking("1.2")
    }

    fn speaking(oldest: &str) -> Site {
        let (authority, folder) = (Authority::new("ours"), Folder::made());
        std::fs::write(folder.path("ca.pem"), &authority.pem).unwrap();
        authority.issue("tandem.example").write(&folder.path("own.pem"), &folder.path("own.key"));
        let place = folder.path("x").parent().unwrap().display().to_string();
        let config: Config = toml::from_str(&CONFIG.replace("DIR", &place).replace("VERSION", oldest)).unwrap();
        let mut site = Site {
            bench: Bench::new(&[("127.0.0.1:0", SipTransport::Tls)], &["127.0.0.0/8"]),
            authority,
            folder,
            config,
        };
        site.load().unwrap();
        site
    }

    fn load(&mut self) -> Result<(), crate::tls::TlsError> {
        self.bench.sockets.arm(Credentials::load(&self.config)?);
        Ok(())
    }

    fn roots(&self) -> RootCertStore {
        roots(&self.authority)
    }

    /// What a peer that trusts our authority connects with.
    fn client(&self, shows: Option<&Pair>, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(crate::tls::provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        match shows {
            Some(pair) => builder.with_client_auth_cert(chain(pair), key(pair)).unwrap(),
            None => builder.with_no_client_auth(),
        }
    }

    /// A peer connects and then does `then`, on its own thread, while the sockets run.
    fn connect<T: Send + 'static>(&self, config: ClientConfig, then: fn(&mut Peer) -> io::Result<T>) -> Work<T> {
        let at = self.bench.at(0);
        std::thread::spawn(move || {
            let stream = patient(StdStream::connect(at)?);
            let tls = ClientConnection::new(Arc::new(config), "tandem.example".try_into().unwrap()).unwrap();
            then(&mut Peer::Client(StreamOwned::new(tls, stream)))
        })
    }

    /// A peer that tandem may connect to, with this certificate; it wants to see one of ours.
    fn serve<T: Send + 'static>(&self, shows: &Pair, then: fn(&mut Peer) -> io::Result<T>) -> (SocketAddr, Work<T>) {
        let provider = Arc::new(crate::tls::provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(shows), key(shows))
            .unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let work = std::thread::spawn(move || {
            let stream = patient(listener.accept()?.0);
            let tls = ServerConnection::new(Arc::new(config)).unwrap();
            then(&mut Peer::Server(StreamOwned::new(tls, stream)))
        });
        (at, work)
    }

    fn expects(&mut self, name: &str) {
        self.bench.gate.called = vec![TlsPeer { trunk: CARRIER, names: vec![name.to_owned()] }];
    }

    fn finish<T>(&mut self, work: Work<T>) -> io::Result<T> {
        self.bench.until("the peer", |_| work.is_finished());
        self.bench.rounds(3);
        work.join().unwrap()
    }

    /// Results of handshakes so far: of connections to us, and of ours.
    fn results(&self) -> [Vec<&'static str>; 2] {
        self.bench.sockets.counters.handshakes.0.map(|counts| {
            let all = Handshake::ALL.iter().zip(counts);
            all.flat_map(|(result, count)| std::iter::repeat_n(result.as_str(), count as usize)).collect()
        })
    }
}

type Work<T> = JoinHandle<io::Result<T>>;

enum Peer {
    Client(StreamOwned<ClientConnection, StdStream>),
    Server(StreamOwned<ServerConnection, StdStream>),
}

impl Peer {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Peer::Client(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Peer::Server(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 100_000];
        let heard = match self {
            Peer::Client(tls) => tls.read(&mut buffer)?,
            Peer::Server(tls) => tls.read(&mut buffer)?,
        };
        buffer.truncate(heard);
        Ok(buffer)
    }

    fn close(&mut self) -> io::Result<()> {
        match self {
            Peer::Client(tls) => {
                tls.conn.send_close_notify();
                tls.flush()
            }
            Peer::Server(tls) => {
                tls.conn.send_close_notify();
                tls.flush()
            }
        }
    }
}

/// It gives up in the end.
fn patient(stream: StdStream) -> StdStream {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()]
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()
}

fn over_tls(remote: SocketAddr) -> Flow {
    Flow { local: FIRST, transport: SipTransport::Tls, remote, connection: None }
}

/// Sends a request and takes the answer, which both begin a line.
fn ask(peer: &mut Peer) -> io::Result<Vec<u8>> {
    peer.say(&options())?;
    peer.hear()
}

#[test]
fn a_message_and_its_answer_cross_in_each_version() {
    for version in [&TLS12, &TLS13] {
        let mut site = Site::new();
        let work = site.connect(site.client(None, &[version]), ask);
        site.bench.until("the request", |b| b.messages().len() == 1);
        let flow = site.bench.messages()[0];
        assert_eq!(flow.transport, SipTransport::Tls);
        site.bench.send(flow, b"SIP/2.0 200 OK\r\n\r\n");
        assert_eq!(site.finish(work).unwrap(), b"SIP/2.0 200 OK\r\n\r\n");
        assert_eq!(site.results(), [vec!["done"], vec![]]);
    }
}

#[test]
fn the_oldest_version_is_what_the_configuration_says() {
    let mut site = Site::speaking("1.3");
    let work = site.connect(site.client(None, &[&TLS12]), ask);
    assert!(site.finish(work).is_err());
    assert_eq!(site.results(), [vec!["incompatible"], vec![]]);
    assert_eq!(site.bench.messages().len(), 0);
}

#[test]
fn a_trunk_that_demands_certificates_hears_only_who_shows_the_right_one() {
    let (mut site, stranger) = (Site::new(), Authority::new("another"));
    site.bench.gate.caller = Some(STRICT);
    let cases = [
        (Some(site.authority.issue("strict.example")), "done"),
        (None, "no_certificate"),
        (Some(site.authority.issue("other.example")), "wrong_name"),
        (Some(site.authority.issue_until("strict.example", 2002)), "expired"),
        (Some(stranger.issue("strict.example")), "unknown_issuer"),
    ];
    for version in [&TLS12, &TLS13] {
        for (shows, expected) in &cases {
            site.bench.received.clear();
            site.bench.sockets.counters = SocketCounters::default();
            let work = site.connect(site.client(shows.as_ref(), &[version]), |peer| {
                peer.say(&options())?;
                peer.close()
            });
            // With TLS 1.3 the peer learns only afterwards what was made of its certificate (RFC 8446 §4.4.2.4).
            let _ = site.finish(work);
            site.bench.until("the end", |b| b.sockets.connections() == 0);
            assert_eq!(site.results(), [vec![*expected], vec![]], "{version:?}");
            assert_eq!(site.bench.messages().len(), usize::from(*expected == "done"), "{expected}");
        }
    }
}

#[test]
fn from_other_trunks_no_certificate_is_asked_for() {
    let mut site = Site::new();
    site.bench.gate.caller = Some(CARRIER);
    let work = site.connect(site.client(None, &[&TLS13]), |peer| peer.say(&options()));
    site.finish(work).unwrap();
    site.bench.until("the request", |b| b.messages().len() == 1);
}

#[test]
fn what_is_no_tls_is_told_so_and_closed() {
    let mut site = Site::new();
    let mut client = site.bench.client();
    client.write_all(&options()).unwrap();
    site.bench.until("the end", |b| b.sockets.connections() == 0);
    assert_eq!(site.results(), [vec!["not_tls"], vec![]]);
    assert_eq!(site.bench.messages().len(), 0);
    let mut heard = Vec::new();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = client.read_to_end(&mut heard);
    // RFC 8446 §6: an alert (21), fatal (2).
    assert_eq!((heard.first(), heard.get(5)), (Some(&21), Some(&2)));
}

/// What a client says first.
fn client_hello(site: &Site) -> Vec<u8> {
    let config = site.client(None, &[&TLS13]);
    let mut tls = ClientConnection::new(Arc::new(config), "tandem.example".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn half_a_handshake_is_closed_in_time_and_not_before() {
    for said in [0, 1, 100, usize::MAX] {
        let mut site = Site::new();
        let mut client = site.bench.client();
        let hello = client_hello(&site);
        client.write_all(&hello[..said.min(hello.len())]).unwrap();
        site.bench.rounds(3);
        site.bench.sweep_after(8);
        assert_eq!(site.bench.sockets.connections(), 1, "{said}");
        site.bench.sweep_after(1);
        assert_eq!(site.bench.sockets.connections(), 0, "{said}");
        assert_eq!(site.results(), [vec!["timeout"], vec![]], "{said}");
    }
}

#[test]
fn a_handshake_that_dribbles_is_closed_in_time_too() {
    let mut site = Site::new();
    let mut client = site.bench.client();
    for byte in client_hello(&site).iter().take(8) {
        client.write_all(&[*byte]).unwrap();
        site.bench.round();
        site.bench.sweep_after(1);
    }
    assert_eq!(site.bench.sockets.connections(), 1);
    site.bench.sweep_after(1);
    assert_eq!(site.bench.sockets.connections(), 0);
}

#[test]
fn strangers_have_so_many_handshakes_at_once_and_trunks_have_more() {
    let mut site = Site::new();
    site.bench.sockets.admission = Admission::new(vec!["127.0.0.1/32".parse().unwrap()]);
    let at = site.bench.at(0);
    let mut held: Vec<StdStream> =
        (0..70).map(|n| super::connect_from(&format!("127.0.1.{}", n / 30 + 1), at)).collect();
    site.bench.until("the refusals", |b| b.sockets.counters.handshakes_refused == 6);
    assert_eq!(site.bench.sockets.connections(), 64);
    held.push(super::connect_from("127.0.0.1", at));
    site.bench.until("the trunk's", |b| b.sockets.connections() == 65);
}

#[test]
fn strangers_have_so_many_handshakes_a_second() {
    let mut site = Site::new();
    site.bench.sockets.admission = Admission::new(Vec::new());
    let at = site.bench.at(0);
    for round in 0..2 {
        for _ in 0..100 {
            let before = site.bench.sockets.counters.connections_accepted;
            drop(super::connect_from("127.0.1.1", at));
            site.bench
                .until("its end", |b| b.sockets.counters.connections_accepted > before && b.sockets.connections() == 0);
        }
        drop(super::connect_from("127.0.1.1", at));
        site.bench.until("the refusal", |b| b.sockets.counters.handshakes_refused == round + 1);
        site.bench.sweep_after(1);
    }
}

#[test]
fn ours_goes_to_who_has_the_right_name_and_shows_our_certificate() {
    let mut site = Site::new();
    site.expects("carrier.example");
    let (at, work) = site.serve(&site.authority.issue("carrier.example"), |peer| {
        let heard = peer.hear()?;
        let Peer::Server(tls) = &peer else { return Ok((heard, 0)) };
        let shown = tls.conn.peer_certificates().map_or(0, <[_]>::len);
        peer.say(&options())?;
        Ok((heard, shown))
    });
    site.bench.send(over_tls(at), &options());
    let (heard, shown) = site.finish(work).unwrap();
    assert_eq!((heard, shown), (options(), 1));
    site.bench.until("the answer", |b| b.messages().len() == 1);
    assert_eq!(site.results(), [vec![], vec!["done"]]);
}

#[test]
fn ours_to_anybody_else_is_a_failure_of_the_transport() {
    let stranger = Authority::new("another");
    let site = Site::new();
    let cases = [
        (site.authority.issue("other.example"), "wrong_name"),
        (site.authority.issue("*.example"), "wrong_name"),
        (site.authority.issue_until("carrier.example", 2002), "expired"),
        (stranger.issue("carrier.example"), "unknown_issuer"),
    ];
    let mut site = site;
    site.expects("carrier.example");
    for (shows, expected) in &cases {
        site.bench.received.clear();
        site.bench.sockets.counters = SocketCounters::default();
        let (at, work) = site.serve(shows, Peer::hear);
        site.bench.send(over_tls(at), &options());
        assert!(site.finish(work).is_err(), "{expected}");
        site.bench.until("the loss", |b| b.lost().len() == 1);
        assert_eq!(site.bench.lost()[0].remote, at);
        assert_eq!(site.results(), [vec![], vec![*expected]]);
        assert_eq!(site.bench.sockets.connections(), 0);
    }
}

#[test]
fn where_nobody_is_expected_no_connection_is_made() {
    let mut site = Site::new();
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    site.bench.send(over_tls(at), &options());
    assert_eq!(site.bench.lost(), [over_tls(at)]);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_certificate_has_to_do_for_each_trunk_that_calls_there() {
    let mut site = Site::new();
    site.bench.gate.called = vec![
        TlsPeer { trunk: CARRIER, names: vec!["carrier.example".into()] },
        TlsPeer { trunk: STRICT, names: vec!["strict.example".into()] },
    ];
    let (at, work) = site.serve(&site.authority.issue("carrier.example"), Peer::hear);
    site.bench.send(over_tls(at), &options());
    assert!(site.finish(work).is_err());
    assert_eq!(site.results(), [vec![], vec!["wrong_name"]]);
}

#[test]
fn rfc_5923_a_connection_is_used_again_while_the_same_is_expected() {
    let mut site = Site::new();
    site.expects("carrier.example");
    let (at, work) = site.serve(&site.authority.issue("carrier.example"), |peer| {
        let mut heard = 0;
        while heard < options().len() * 2 {
            heard += peer.hear()?.len();
        }
        Ok(heard)
    });
    site.bench.send(over_tls(at), &options());
    site.bench.send(over_tls(at), &options());
    assert_eq!(site.bench.sockets.counters.connections_opened, 1);
    site.finish(work).unwrap();
    // What was verified for one name is not used for another.
    site.expects("other.example");
    site.bench.send(over_tls(at), &options());
    assert!(!site.bench.lost().is_empty());
}

#[test]
fn a_message_of_many_records_crosses_both_ways() {
    let mut site = Site::new();
    let work = site.connect(site.client(None, &[&TLS13]), |peer| {
        let body = "x".repeat(60_000);
        let message = String::from_utf8(options()).unwrap();
        let message = message.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
        peer.say(format!("{message}{body}").as_bytes())?;
        let mut heard = Vec::new();
        while heard.len() < 400_000 {
            heard.extend(peer.hear()?);
        }
        Ok(heard)
    });
    site.bench.until("the request", |b| b.messages().len() == 1);
    // More than the kernel and TLS take at once.
    let answer: Vec<u8> = (0..400_000u32).map(|n| n as u8).collect();
    let flow = site.bench.messages()[0];
    site.bench.send(flow, &answer);
    assert_eq!(site.finish(work).unwrap(), answer);
}

#[test]
fn who_does_not_read_costs_so_much_and_then_its_connection() {
    let mut site = Site::new();
    let work = site.connect(site.client(None, &[&TLS13]), |peer| {
        peer.say(&options())?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    });
    site.bench.until("the request", |b| b.messages().len() == 1);
    let flow = site.bench.messages()[0];
    let (most, mut sent) = (64 << 20, 0);
    while site.bench.lost().is_empty() {
        site.bench.send(flow, &[b'x'; 60_000]);
        site.bench.round();
        sent += 60_000;
        assert!(sent < most, "{sent} bytes were taken for a peer that does not read");
    }
    assert_eq!(site.bench.sockets.connections(), 0);
    let _ = site.finish(work);
}

#[test]
fn rfc_8446_section_6_1_a_goodbye_is_answered_with_one() {
    let mut site = Site::new();
    let work = site.connect(site.client(None, &[&TLS13]), |peer| {
        peer.say(&options())?;
        peer.close()?;
        peer.hear()
    });
    // An end without close_notify would be an error to it.
    assert_eq!(site.finish(work).unwrap(), b"");
    site.bench.until("the loss", |b| b.lost().len() == 1);
}

#[test]
fn certificates_that_are_loaded_anew_are_shown_from_then_on() {
    let mut site = Site::new();
    let shown = |peer: &mut Peer| {
        peer.say(&options())?;
        let Peer::Client(tls) = peer else { return Ok(None) };
        Ok(tls.conn.peer_certificates().map(|all| all[0].to_vec()))
    };
    let work = site.connect(site.client(None, &[&TLS13]), |peer| {
        peer.say(&options())?;
        peer.hear()
    });
    site.bench.until("the old one's request", |b| b.messages().len() == 1);
    let old = site.bench.messages()[0];
    let renewed = site.authority.issue("tandem.example");
    renewed.write(&site.folder.path("own.pem"), &site.folder.path("own.key"));
    site.load().unwrap();
    let another = site.connect(site.client(None, &[&TLS13]), shown);
    assert_eq!(site.finish(another).unwrap().as_deref(), Some(&*chain(&renewed)[0]));
    // The connection from before goes on.
    site.bench.send(old, b"SIP/2.0 200 OK\r\n\r\n");
    assert_eq!(site.finish(work).unwrap(), b"SIP/2.0 200 OK\r\n\r\n");
}

#[test]
fn certificates_that_are_wrong_leave_those_from_before() {
    let mut site = Site::new();
    let other = site.authority.issue("tandem.example");
    std::fs::write(site.folder.path("own.key"), &other.key).unwrap();
    let told = site.load().unwrap_err().to_string();
    assert!(
        told.starts_with("sip.tls.certificate: the key in ") && told.contains("is not that of the certificate"),
        "{told}"
    );
    let work = site.connect(site.client(None, &[&TLS13]), |peer| peer.say(&options()));
    site.finish(work).unwrap();
    site.bench.until("the request", |b| b.messages().len() == 1);
}
