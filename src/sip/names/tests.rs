//! Zones as tables, and what becomes of their names. Expected orders are RFC 3263's and RFC 2782's.

use std::collections::BTreeMap;

use super::*;

const UDP: SipTransport = SipTransport::Udp;
const TCP: SipTransport = SipTransport::Tcp;
const TLS: SipTransport = SipTransport::Tls;

/// A zone that answers at once and remembers what it was asked.
#[derive(Default)]
struct Zone {
    records: BTreeMap<Query, Records>,
    asked: Vec<Query>,
    fails: bool,
    ttl_s: u32,
}

impl Zone {
    fn new() -> Zone {
        Zone { ttl_s: 100, ..Zone::default() }
    }

    fn naptr(mut self, name: &str, list: &[(u16, u16, &str, &str)]) -> Zone {
        let naptrs = list.iter().map(|(order, preference, service, replacement)| Naptr {
            order: *order,
            preference: *preference,
            flags: "s".into(),
            service: (*service).into(),
            replacement: (*replacement).into(),
        });
        self.records.insert(query(name, QueryKind::Naptr), Records::Naptr(naptrs.collect()));
        self
    }

    fn srv(mut self, name: &str, list: &[(u16, u16, u16, &str)]) -> Zone {
        let srvs = list.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).into(),
        });
        self.records.insert(query(name, QueryKind::Srv), Records::Srv(srvs.collect()));
        self
    }

    fn a(mut self, name: &str, list: &[&str]) -> Zone {
        let addresses = list.iter().map(|ip| ip.parse().unwrap()).collect();
        self.records.insert(query(name, QueryKind::A), Records::Addresses(addresses));
        self
    }

    fn answer(&mut self, query: &Query) -> Answer {
        self.asked.push(query.clone());
        match self.records.get(query) {
            _ if self.fails => Answer::Failed,
            Some(records) => Answer::Found { records: records.clone(), ttl_s: self.ttl_s },
            None => Answer::Nothing { ttl_s: self.ttl_s },
        }
    }

    fn asked(&mut self) -> Vec<String> {
        let word = |query: Query| format!("{:?} {}", query.kind, query.name).to_lowercase();
        std::mem::take(&mut self.asked).into_iter().map(word).collect()
    }
}

fn query(name: &str, kind: QueryKind) -> Query {
    Query { name: name.into(), kind }
}

struct Bench {
    names: Names,
    now: Time,
    news: Vec<String>,
}

const URI: &str = "sip:example.com";

impl Bench {
    fn new(uri: &str) -> Bench {
        Bench::on(uri, &[])
    }

    /// With more transports where the trunk signals.
    fn on(uri: &str, more: &[SipTransport]) -> Bench {
        let mut config: Config = toml::from_str(crate::sip::endpoint::tests::harness::CONFIG).unwrap();
        config.sip.listen[1].transports.extend(more);
        config.trunks[1].destinations = vec![uri.into()];
        let now = Time::from_secs(100);
        let names = Names::new(&config, &Local::from_config(&config), now);
        Bench { names, now, news: Vec::new() }
    }

    /// Everything that is due is asked and answered.
    fn settle(&mut self, zone: &mut Zone) {
        let mut open = self.names.fire(self.now);
        while let Some(query) = open.pop() {
            let answer = zone.answer(&query);
            let (more, news) = self.names.answered(self.now, &query, &answer);
            open.extend(more);
            self.news.extend(news.into_iter().map(|news| news.text));
        }
    }

    fn servers(&self, uri: &str) -> Vec<(SipTransport, String)> {
        let all = self.names.servers(self.now, "carrier", uri, &mut |_| 0).unwrap();
        all.into_iter().map(|(transport, at)| (transport, at.to_string())).collect()
    }
}

fn at(transport: SipTransport, at: &str) -> (SipTransport, String) {
    (transport, at.into())
}

#[test]
fn naptr_then_srv_then_addresses_as_rfc_3263_has_it() {
    // §4.1's example, without TLS, which the listener does not have.
    let mut zone = Zone::new()
        .naptr(
            "example.com",
            &[
                (50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
                (90, 50, "SIP+D2T", "_sip._tcp.example.com."),
                (100, 50, "SIP+D2U", "_sip._udp.example.com."),
            ],
        )
        .srv("_sip._tcp.example.com", &[(0, 1, 5060, "server1.example.com."), (0, 2, 5070, "server2.example.com.")])
        .srv("_sip._udp.example.com", &[(0, 1, 5060, "server1.example.com.")])
        .a("server1.example.com", &["198.18.1.2"])
        .a("server2.example.com", &["198.18.1.3"]);
    let mut bench = Bench::new(URI);
    bench.settle(&mut zone);
    let servers = bench.servers(URI);
    assert_eq!(servers, [at(TCP, "198.18.1.2:5060"), at(TCP, "198.18.1.3:5070"), at(UDP, "198.18.1.2:5060")]);
    assert_eq!(bench.news, ["destination sip:example.com of trunk carrier: the DNS names 3 servers"]);
    assert!(bench.names.knows("carrier", "198.18.1.3".parse().unwrap()));
    assert!(!bench.names.knows("alice", "198.18.1.3".parse().unwrap()));
}

#[test]
fn rfc_3263_section_4_1_its_own_example_with_tls() {
    let zone = || {
        Zone::new()
            .naptr(
                "example.com",
                &[
                    (50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
                    (90, 50, "SIP+D2T", "_sip._tcp.example.com."),
                    (100, 50, "SIP+D2U", "_sip._udp.example.com."),
                ],
            )
            .srv("_sips._tcp.example.com", &[(0, 1, 5061, "server1.example.com.")])
            .srv("_sip._tcp.example.com", &[(0, 1, 5060, "server1.example.com.")])
            .a("server1.example.com", &["198.18.1.2"])
    };
    let mut bench = Bench::on(URI, &[TLS]);
    bench.settle(&mut zone());
    assert_eq!(bench.servers(URI), [at(TLS, "198.18.1.2:5061"), at(TCP, "198.18.1.2:5060")]);
    // §4.1: of a sips URI only services that are TLS.
    let uri = "sips:example.com";
    let (mut bench, mut zone) = (Bench::on(uri, &[TLS]), zone());
    bench.settle(&mut zone);
    assert_eq!(bench.servers(uri), [at(TLS, "198.18.1.2:5061")]);
    assert_eq!(bench.names.hosts("carrier", TLS, Some("198.18.1.2:5061".parse().unwrap())), ["example.com"]);
}

#[test]
fn a_name_over_tls_without_srv_has_port_5061() {
    for uri in ["sips:example.com", "sip:example.com;transport=tls"] {
        let mut zone = Zone::new().a("example.com", &["198.18.1.7"]);
        let mut bench = Bench::on(uri, &[TLS]);
        bench.settle(&mut zone);
        assert_eq!(zone.asked(), ["srv _sips._tcp.example.com", "a example.com"]);
        assert_eq!(bench.servers(uri), [at(TLS, "198.18.1.7:5061")]);
    }
}

#[test]
fn without_naptr_srv_for_each_transport_and_without_those_the_name_itself() {
    let mut zone = Zone::new().a("example.com", &["198.18.1.7", "198.18.1.8"]);
    let mut bench = Bench::new(URI);
    bench.settle(&mut zone);
    assert_eq!(
        zone.asked(),
        ["naptr example.com", "srv _sip._udp.example.com", "srv _sip._tcp.example.com", "a example.com"]
    );
    // §4.1: UDP for sip:, if nothing says otherwise; §4.2: port 5060.
    assert_eq!(bench.servers(URI), [at(UDP, "198.18.1.7:5060"), at(UDP, "198.18.1.8:5060")]);
}

#[test]
fn a_port_leaves_out_srv_and_a_transport_leaves_out_naptr() {
    let mut zone = Zone::new()
        .srv("_sip._tcp.example.com", &[(1, 0, 5090, "s.example.com")])
        .a("s.example.com", &["198.18.1.9"])
        .a("example.com", &["198.18.1.7"]);
    for (uri, asked, found) in [
        ("sip:example.com:5080", vec!["a example.com"], at(UDP, "198.18.1.7:5080")),
        ("sip:example.com:5080;transport=tcp", vec!["a example.com"], at(TCP, "198.18.1.7:5080")),
        (
            "sip:example.com;transport=tcp",
            vec!["srv _sip._tcp.example.com", "a s.example.com"],
            at(TCP, "198.18.1.9:5090"),
        ),
        // No SRV for it: the name itself, over the transport that was asked for.
        (
            "sip:example.com;transport=udp",
            vec!["srv _sip._udp.example.com", "a example.com"],
            at(UDP, "198.18.1.7:5060"),
        ),
    ] {
        let mut bench = Bench::new(uri);
        bench.settle(&mut zone);
        assert_eq!(zone.asked(), asked, "{uri}");
        assert_eq!(bench.servers(uri), [found], "{uri}");
    }
}

#[test]
fn a_target_of_a_dot_is_no_server() {
    let mut zone = Zone::new()
        .srv("_sip._udp.example.com", &[(0, 0, 5060, ".")])
        .srv("_sip._tcp.example.com", &[(0, 0, 5060, "t.example.com")])
        .a("t.example.com", &["198.18.1.9"]);
    let mut bench = Bench::new(URI);
    bench.settle(&mut zone);
    assert_eq!(bench.servers(URI), [at(TCP, "198.18.1.9:5060")]);
}

#[test]
fn priorities_in_order_and_weights_by_chance() {
    let mut zone = Zone::new()
        .srv(
            "_sip._udp.example.com",
            &[
                (20, 0, 5060, "backup.example.com"),
                (10, 3, 5060, "big.example.com"),
                (10, 1, 5060, "small.example.com"),
            ],
        )
        .a("backup.example.com", &["198.18.1.1"])
        .a("big.example.com", &["198.18.1.2"])
        .a("small.example.com", &["198.18.1.3"]);
    let mut bench = Bench::new(URI);
    bench.settle(&mut zone);
    let mut random = crate::sip::endpoint::Random::for_tests();
    let mut big_first = 0;
    for _ in 0..5_000 {
        let order = bench.names.servers(bench.now, "carrier", URI, &mut |below| random.below(below)).unwrap();
        assert_eq!(order[2].1.to_string(), "198.18.1.1:5060");
        big_first += u32::from(order[0].1.to_string() == "198.18.1.2:5060");
    }
    // Draws of 0 to 4: 0 to 3 are the first listed's, weight 3.
    let share = f64::from(big_first) / 5_000.0;
    assert!((share - 0.8).abs() < 0.03, "{share}");
}

#[test]
fn a_name_is_asked_for_again_before_its_answer_expires() {
    let mut zone = Zone::new().a("example.com", &["198.18.1.7"]);
    let mut bench = Bench::new("sip:example.com:5060");
    bench.settle(&mut zone);
    // Four fifths of 100 s.
    assert_eq!(bench.names.next_deadline(), Some(bench.now + Duration::from_secs(80)));
    bench.now += Duration::from_secs(79);
    bench.settle(&mut zone);
    assert_eq!(zone.asked().len(), 1);
    bench.now += Duration::from_secs(1);
    zone = zone.a("example.com", &["198.18.1.8"]);
    bench.settle(&mut zone);
    assert_eq!(bench.servers("sip:example.com:5060"), [at(UDP, "198.18.1.8:5060")]);
    // A TTL of nothing is five seconds.
    zone.ttl_s = 0;
    bench.now += Duration::from_secs(80);
    bench.settle(&mut zone);
    assert_eq!(bench.names.next_deadline(), Some(bench.now + Duration::from_secs(4)));
}

#[test]
fn what_was_known_stays_while_the_dns_fails() {
    let uri = "sip:example.com:5060";
    let mut zone = Zone::new().a("example.com", &["198.18.1.7"]);
    let mut bench = Bench::new(uri);
    bench.settle(&mut zone);
    zone.fails = true;
    for _ in 0..1_000 {
        bench.now += Duration::from_secs(100);
        bench.settle(&mut zone);
        assert_eq!(bench.servers(uri).len(), 1);
    }
    assert_eq!(bench.news.len(), 2, "told once: {:?}", bench.news);
    assert_eq!(
        bench.news[1],
        "destination sip:example.com:5060 of trunk carrier: the DNS does not answer; what was known stays in use"
    );
    // But an answer that says that there is nothing is one.
    zone.fails = false;
    zone.records.clear();
    bench.now += Duration::from_secs(100);
    bench.settle(&mut zone);
    assert_eq!(bench.servers(uri), []);
    assert_eq!(bench.news[2], "destination sip:example.com:5060 of trunk carrier: the DNS names 0 servers");
}

#[test]
fn a_question_that_is_never_answered_is_asked_again() {
    let mut bench = Bench::new(URI);
    assert_eq!(bench.names.fire(bench.now).len(), 1);
    assert_eq!(bench.names.fire(bench.now + Duration::from_secs(59)), []);
    assert_eq!(bench.names.fire(bench.now + Duration::from_secs(60)).len(), 1);
}

#[test]
fn a_failed_server_is_tried_last_for_a_minute() {
    let uri = "sip:example.com:5060";
    let mut zone = Zone::new().a("example.com", &["198.18.1.7", "198.18.1.8"]);
    zone.ttl_s = 10_000;
    let mut bench = Bench::new(uri);
    bench.settle(&mut zone);
    let (first, second) = (at(UDP, "198.18.1.7:5060"), at(UDP, "198.18.1.8:5060"));
    bench.names.failed(bench.now, UDP, "198.18.1.7:5060".parse().unwrap());
    assert_eq!(bench.servers(uri), [second.clone(), first.clone()]);
    // Over another transport it may do.
    bench.names.failed(bench.now, TCP, "198.18.1.8:5060".parse().unwrap());
    assert_eq!(bench.servers(uri), [second.clone(), first.clone()]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.servers(uri), [first, second]);
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut bench = Bench::new(URI);
    let records = Records::Addresses(vec!["198.18.1.7".parse().unwrap()]);
    let answer = Answer::Found { records, ttl_s: 100 };
    for kind in [QueryKind::A, QueryKind::Srv, QueryKind::Naptr] {
        let (more, news) = bench.names.answered(bench.now, &query("other.example", kind), &answer);
        assert!(more.is_empty() && news.is_empty());
    }
    bench.names.fire(bench.now);
    bench.names.answered(bench.now, &query("example.com", QueryKind::A), &answer);
    assert_eq!(bench.servers(URI), []);
}
