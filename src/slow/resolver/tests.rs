//! The resolver against a DNS server on loopback, which speaks the protocol by hickory's own reader and writer.

use std::{
    net::{SocketAddr, UdpSocket},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NAPTR, SRV},
    },
};
use mio::{Events, Poll, Token};

use super::*;

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

/// What it says of a name; None: no answer at all.
fn zone(asked: &str, kind: RecordType) -> Option<Result<Vec<RData>, ResponseCode>> {
    let bytes = |text: &str| text.as_bytes().into();
    Some(match (asked, kind) {
        ("example.com.", RecordType::NAPTR) => Ok(vec![RData::NAPTR(NAPTR::new(
            90,
            50,
            bytes("s"),
            bytes("SIP+D2U"),
            bytes(""),
            name("_sip._udp.example.com."),
        ))]),
        ("_sip._udp.example.com.", RecordType::SRV) => {
            Ok(vec![RData::SRV(SRV::new(1, 2, 5070, name("one.example.com.")))])
        }
        ("one.example.com.", RecordType::A) => {
            Ok(vec![RData::A(A::new(198, 18, 1, 2)), RData::A(A::new(198, 18, 1, 3))])
        }
        ("alias.example.com.", RecordType::A) => {
            Ok(vec![RData::CNAME(CNAME(name("one.example.com."))), RData::A(A::new(198, 18, 1, 2))])
        }
        ("broken.example.com.", _) => Err(ResponseCode::ServFail),
        ("silent.example.com.", _) => return None,
        _ => Err(ResponseCode::NXDomain),
    })
}

fn serve(socket: UdpSocket) {
    let mut buffer = [0; 4_096];
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
        let Ok(request) = Message::from_vec(&buffer[..bytes]) else { continue };
        let Some(query) = request.queries.first().cloned() else { continue };
        let mut response = Message::response(request.metadata.id, OpCode::Query);
        response.add_query(query.clone());
        response.metadata.recursion_available = true;
        match zone(&query.name().to_lowercase().to_ascii(), query.query_type()) {
            None => continue,
            Some(Err(code)) => response.metadata.response_code = code,
            Some(Ok(list)) => {
                let owner = |data: &RData| match data {
                    RData::A(_) if query.name() == &name("alias.example.com.") => name("one.example.com."),
                    _ => query.name().clone(),
                };
                for data in list {
                    let ttl = if matches!(data, RData::CNAME(_)) { 30 } else { 300 };
                    response.add_answer(Record::from_rdata(owner(&data), ttl, data));
                }
            }
        }
        let _ = socket.send_to(&response.to_vec().unwrap(), from);
    }
}

fn start() -> (Poll, Resolver) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at: SocketAddr = socket.local_addr().unwrap();
    thread::spawn(move || serve(socket));
    let poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), Token(1)).unwrap();
    let resolver = Resolver::start(&[at], waker).unwrap();
    (poll, resolver)
}

fn answers(poll: &mut Poll, resolver: &Resolver, queries: &[(&str, QueryKind)]) -> Vec<Answer> {
    let queries: Vec<Query> = queries.iter().map(|(name, kind)| Query { name: (*name).into(), kind: *kind }).collect();
    queries.iter().for_each(|query| resolver.ask(query.clone()));
    let mut found = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while found.len() < queries.len() {
        assert!(Instant::now() < end, "answers so far: {found:?}");
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
        found.extend(resolver.answers());
    }
    let answer = |query: &Query| found.iter().find(|(asked, _)| asked == query).unwrap().1.clone();
    queries.iter().map(answer).collect()
}

#[test]
fn each_kind_of_record_and_each_kind_of_nothing() {
    let (mut poll, resolver) = start();
    let found = answers(
        &mut poll,
        &resolver,
        &[
            ("example.com", QueryKind::Naptr),
            ("_sip._udp.example.com", QueryKind::Srv),
            ("one.example.com", QueryKind::A),
            ("alias.example.com", QueryKind::A),
            ("nobody.example.com", QueryKind::A),
            ("broken.example.com", QueryKind::A),
            ("silent.example.com", QueryKind::A),
            ("not a name", QueryKind::A),
        ],
    );
    let naptr = Naptr {
        order: 90,
        preference: 50,
        flags: "s".into(),
        service: "SIP+D2U".into(),
        replacement: "_sip._udp.example.com.".into(),
    };
    let srv = Srv { priority: 1, weight: 2, port: 5070, target: "one.example.com.".into() };
    let mut addresses = match &found[2] {
        Answer::Found { records: Records::Addresses(list), ttl_s: 300 } => list.clone(),
        other => panic!("{other:?}"),
    };
    addresses.sort();
    assert_eq!(found[0], Answer::Found { records: Records::Naptr(vec![naptr]), ttl_s: 300 });
    assert_eq!(found[1], Answer::Found { records: Records::Srv(vec![srv]), ttl_s: 300 });
    assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.18.1.2", "198.18.1.3"]);
    let alias = match &found[3] {
        Answer::Found { records: Records::Addresses(list), ttl_s } => (list.clone(), *ttl_s),
        other => panic!("{other:?}"),
    };
    assert_eq!(alias.0, ["198.18.1.2".parse::<std::net::IpAddr>().unwrap()]);
    assert!(matches!(found[4], Answer::Nothing { .. }), "{:?}", found[4]);
    assert_eq!(found[5..7], [Answer::Failed, Answer::Failed]);
    assert_ne!(found[7], found[2]);
}
