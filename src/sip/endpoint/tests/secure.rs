//! TLS as the endpoint sees it: what URIs and header fields say of it, what sips demands, and whose word counts.

use std::net::SocketAddr;

use super::harness::*;
use crate::{
    config::{Config, SipListen, SipTransport},
    sip::{
        endpoint::Cause,
        flow::{ConnectionId, Flow, ListenerId},
        guard::Gate,
        message::{HeaderName, Message, Method, Uri},
        names::{Answer, QueryKind, Records},
        route::TrunkId,
        trunk::TlsPeer,
    },
};

const LISTEN_A_TLS: ListenerId = ListenerId(4);
const LISTEN_B_TLS: ListenerId = ListenerId(5);

const B_TLS: SocketAddr = SocketAddr::new(B.ip(), 5061);

/// TLS at both addresses; calls to 1… go to these destinations.
fn secure(destinations: &[&str]) -> Net {
    secure_with(destinations, |_| ())
}

fn secure_with(destinations: &[&str], change: impl FnOnce(&mut Config)) -> Net {
    Net::with(|config| {
        for address in ["a", "b"] {
            let transports = vec![SipTransport::Tls];
            config.sip.listen.push(SipListen { address: address.into(), port: None, transports });
        }
        config.trunks[1].destinations = destinations.iter().map(|uri| (*uri).into()).collect();
        change(config);
    })
}

fn tls(peer: SocketAddr, connection: u64) -> Flow {
    let local = if peer.ip() == A.ip() { LISTEN_A_TLS } else { LISTEN_B_TLS };
    Flow { local, transport: SipTransport::Tls, remote: peer, connection: Some(ConnectionId(connection)) }
}

/// alice's INVITE as she sends it over TLS.
fn invite(net: &mut Net, number: &str, scheme: &str) -> Message {
    let invite = String::from_utf8(net.invite(A, number).write()).unwrap();
    let invite = invite.replacen("INVITE sip:", &format!("INVITE {scheme}:"), 1).replace("SIP/2.0/UDP", "SIP/2.0/TLS");
    Message::parse(invite.as_bytes()).unwrap()
}

fn uri(message: &Message) -> String {
    message.uri().unwrap().to_string()
}

#[test]
fn a_destination_over_tls_is_told_so_in_via_and_contact_and_has_port_5061() {
    for destination in ["sip:198.18.1.2;transport=tls", "sip:198.18.1.2:5061;transport=tls"] {
        let mut net = secure(&[destination]);
        let invite = net.invite(A, "100");
        net.send(A, &invite);
        let sent = net.sent.iter().find(|sent| sent.flow.remote == B_TLS).expect("an INVITE to port 5061").clone();
        assert_eq!((sent.flow.transport, sent.flow.local), (SipTransport::Tls, LISTEN_B_TLS));
        assert_eq!(sent.message.top_via().unwrap().to_string().split(';').next(), Some("SIP/2.0/TLS 192.0.2.7:5061"));
        assert_eq!(header(&sent.message, HeaderName::Contact), "<sip:192.0.2.7:5061;transport=tls>");
        assert!(!sent.message.top_via().unwrap().params.contains("rport"));
    }
}

#[test]
fn rfc_3261_section_26_2_2_a_call_to_sips_goes_on_over_tls_alone() {
    let mut net = secure(&["sip:198.18.1.3", "sip:198.18.1.3;transport=tcp", "sip:198.18.1.2;transport=tls"]);
    let invite = invite(&mut net, "100", "sips");
    net.send_on(tls(A, 2), &invite);
    net.nothing_to(B2);
    net.response_to(A, 100);
    let onward = net.request_to(B_TLS, Method::Invite);
    assert_eq!(uri(&onward), "sips:100@198.18.1.2");
    assert_eq!(header(&onward, HeaderName::To), "<sips:100@198.18.1.2>");
    assert_eq!(header(&onward, HeaderName::Contact), "<sips:192.0.2.7:5061>");
    net.send_on(tls(B_TLS, 3), &respond(B_TLS, &onward, 200, "b-tag", Some(6_000)));
    let answer = net.response_to(A, 200);
    assert_eq!(header(&answer, HeaderName::Contact), "<sips:198.18.0.1:5061>");
    // Where the peer's Contact leads into the clear, requests stay on its connection.
    let ack = net.sent.iter().find(|sent| sent.message.method() == Some(&Method::Ack)).expect("an ACK");
    assert_eq!((ack.flow.transport, ack.flow.remote), (SipTransport::Tls, B_TLS));
}

#[test]
fn a_call_to_sips_without_a_way_over_tls_gets_503_and_goes_nowhere() {
    let mut net = secure(&["sip:198.18.1.2", "sip:198.18.1.2;transport=tcp"]);
    let invite = invite(&mut net, "100", "sips");
    net.send_on(tls(A, 2), &invite);
    net.nothing_to(B);
    net.response_to(A, 503);
    assert_eq!(net.the_record().cause, Cause::Unavailable);
}

#[test]
fn a_call_to_sips_that_came_in_the_clear_gets_416() {
    let mut net = secure(&["sip:198.18.1.2;transport=tls"]);
    let invite = invite(&mut net, "100", "sips");
    net.send_on(Net::tcp(A, 2), &invite);
    net.response_to(A, 416);
    net.nothing_to(B_TLS);
}

#[test]
fn a_destination_that_is_sips_is_called_so() {
    let mut net = secure(&["sips:198.18.1.2"]);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    let onward = net.request_to(B_TLS, Method::Invite);
    assert_eq!(uri(&onward), "sips:100@198.18.1.2");
    assert_eq!(header(&onward, HeaderName::Contact), "<sips:192.0.2.7:5061>");
}

#[test]
fn who_has_to_show_a_certificate_is_heard_over_tls_alone() {
    let demand = |config: &mut Config| config.trunks[0].tls.peer_names = vec!["alice.example".into()];
    for flow in [Net::udp(A), Net::tcp(A, 2)] {
        let mut net = secure_with(&["sip:198.18.1.2"], demand);
        let invite = net.invite(A, "100");
        net.send_on(flow, &invite);
        net.response_to(A, 403);
        net.nothing_to(B);
    }
    let mut net = secure_with(&["sip:198.18.1.2"], demand);
    let invite = invite(&mut net, "100", "sip");
    net.send_on(tls(A, 2), &invite);
    net.response_to(A, 100);
    net.request_to(B, Method::Invite);
}

#[test]
fn nobody_ends_a_call_over_tls_from_the_clear() {
    let mut net = secure(&["sip:198.18.1.2"]);
    let invite_a = invite(&mut net, "100", "sip");
    net.send_on(tls(A, 2), &invite_a);
    net.response_to(A, 100);
    let invite_b = net.request_to(B, Method::Invite);
    // RFC 3261 §9.2, of one who guessed the branch and forges the address.
    let mut cancel = Message::request(Method::Cancel, Uri::parse(&uri(&invite_a)).unwrap());
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId] {
        cancel.headers.push(name.clone(), header(&invite_a, name));
    }
    cancel.headers.push(HeaderName::CSeq, "1 CANCEL");
    net.send(A, &cancel);
    net.response_to(A, 481);
    net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
    let ok = net.response_to(A, 200);
    let ends = Ends::caller(A, &invite_a, &ok);
    let bye = net.in_dialog(&ends, "BYE", 2);
    net.send(A, &bye);
    assert_eq!(net.take(A).iter().map(Message::status).collect::<Vec<_>>(), [Some(481)]);
    assert_eq!(net.endpoint.in_progress(), 1);
    net.send_on(tls(A, 2), &bye);
    assert_eq!(net.endpoint.in_progress(), 0);
}

#[test]
fn rfc_3261_section_18_2_2_an_answer_whose_connection_is_gone_goes_to_port_5061() {
    let mut net = secure(&["sip:198.18.1.2"]);
    let invite = invite(&mut net, "900", "sip");
    let text = String::from_utf8(invite.write()).unwrap().replace(&format!("TLS {A}"), &format!("TLS {}", A.ip()));
    net.send_bytes(tls(SocketAddr::new(A.ip(), 40_000), 2), text.as_bytes());
    assert_eq!(net.sent[0].flow.connection, Some(ConnectionId(2)));
    net.sent.clear();
    net.fail(tls(SocketAddr::new(A.ip(), 40_000), 2));
    let again = net.sent.first().expect("it is sent again");
    assert_eq!((again.flow.remote, again.flow.connection), (SocketAddr::new(A.ip(), 5061), None));
}

fn peer(trunk: u16, names: &[&str]) -> TlsPeer {
    TlsPeer { trunk: TrunkId(trunk), names: names.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn rfc_5922_section_7_3_whom_a_certificate_has_to_name_is_what_the_configuration_calls() {
    let mut net = secure(&["sips:198.18.1.2", "sips:gw.example.com"]);
    net.endpoint.tick(net.now, &mut net.media);
    net.collect();
    // The DNS says where the name is, not what it is called there.
    while let Some(query) = net.questions.pop() {
        let answer = match query.kind {
            QueryKind::A => {
                Answer::Found { records: Records::Addresses(vec!["198.18.1.3".parse().unwrap()]), ttl_s: 60 }
            }
            _ => Answer::Nothing { ttl_s: 60 },
        };
        net.endpoint.resolved(net.now, &query, &answer);
        net.collect();
    }
    let called = |net: &Net, at: &str| net.endpoint.tls_called(LISTEN_B_TLS, at.parse().unwrap());
    assert_eq!(called(&net, "198.18.1.2:5061"), [peer(1, &["198.18.1.2"])]);
    assert_eq!(called(&net, "198.18.1.3:5061"), [peer(1, &["gw.example.com"])]);
    // Where a Contact leads, any of the trunk's own.
    assert_eq!(called(&net, "198.18.1.9:5061"), [peer(1, &["198.18.1.2", "gw.example.com"])]);
    assert_eq!(called(&net, "203.0.113.9:5061"), []);
    assert_eq!(net.endpoint.tls_called(LISTEN_A_TLS, B_TLS), []);
}

#[test]
fn a_name_that_the_configuration_gives_is_the_one_to_be_shown() {
    let net = secure_with(&["sips:198.18.1.2"], |config| {
        config.trunks[1].tls.server_name = Some("sbc.example.com".into());
    });
    assert_eq!(net.endpoint.tls_called(LISTEN_B_TLS, B_TLS), [peer(1, &["sbc.example.com"])]);
}

#[test]
fn who_calls_from_where_we_connect_to_must_be_named_too() {
    let net = secure_with(&["sips:198.18.2.2"], |config| {
        config.trunks[2].tls.peer_names = vec!["backup.example".into()];
    });
    let at = "198.18.2.2:5061".parse().unwrap();
    assert_eq!(net.endpoint.tls_called(LISTEN_B_TLS, at), [peer(1, &["198.18.2.2"]), peer(2, &["backup.example"])]);
}
