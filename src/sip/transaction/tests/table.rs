//! How messages find their transaction: RFC 3261 §17.1.3, §17.2.3, §8.2.2.2.

use super::*;
use crate::{
    config::SipTransport,
    sip::{
        flow::{ConnectionId, Flow, ListenerId, Path},
        message::Message,
        transaction::{
            Expired, ServerId, ServerKey, Timing, Transactions,
            table::{Label, Matched},
        },
    },
};

type Table = Transactions<&'static str, &'static str>;

fn flow(transport: SipTransport, port: u16, connection: Option<u64>) -> Flow {
    let remote = std::net::SocketAddr::from(([198, 18, 0, 2], port));
    Flow { local: ListenerId(0), transport, remote, connection: connection.map(ConnectionId) }
}

fn udp() -> Path {
    Path::direct(flow(SipTransport::Udp, 5060, None))
}

fn request(method: &str, branch: &str, extra_to: &str) -> Message {
    let text = format!(
        "{method} sip:100@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.2:5060{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@198.18.0.2>;tag=from\r\nTo: <sip:100@198.18.0.1>{extra_to}\r\nCall-ID: c1\r\nCSeq: 7 {method}\r\n\
         Contact: <sip:a@198.18.0.2>\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(text.as_bytes()).unwrap()
}

fn response(request: &Message, status: u16, tag: &str) -> Message {
    let mut response = Message::response_to(request, status, "");
    let mut to = response.to().unwrap();
    to.set_tag(tag);
    response.headers.set(crate::sip::message::HeaderName::To, to.to_string());
    response
}

fn arrive(table: &mut Table, message: &Message) -> Result<ServerId, ServerId> {
    let key = ServerKey::of(message, &message.top_via().unwrap()).unwrap();
    match table.server_of(&key) {
        Some(id) => Err(id),
        None => Ok(table.accept(key, message.clone(), udp(), "")),
    }
}

fn labels(table: &mut Table) -> Vec<(Label, bool)> {
    table.take_sent().map(|t| (t.label, t.repeated)).collect()
}

#[test]
fn a_response_needs_branch_and_method() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let id = table.request(T0, invite.clone(), udp(), "u").unwrap();
    assert_eq!(table.response(T0, &response(&request("INVITE", ";branch=z9hG4bKtwo", ""), 200, "b")), Matched::Stray);
    assert_eq!(table.response(T0, &response(&request("CANCEL", ";branch=z9hG4bKone", ""), 200, "b")), Matched::Stray);
    assert_eq!(table.response(T0, &response(&invite, 180, "b")), Matched::Tell(id));
}

#[test]
fn the_ack_of_a_failure_is_built_from_invite_and_response() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let id = table.request(T0, invite.clone(), udp(), "u").unwrap();
    table.take_sent();
    assert_eq!(table.response(T0, &response(&invite, 486, "b")), Matched::Tell(id));
    let sent: Vec<_> = table.take_sent().collect();
    assert_eq!(sent.len(), 1);
    let ack = Message::parse(&sent[0].bytes).unwrap();
    assert_eq!(ack.uri(), invite.uri());
    assert_eq!(ack.top_via().unwrap(), invite.top_via().unwrap());
    assert_eq!(ack.to().unwrap().tag(), Some("b"));
    assert_eq!(ack.cseq().unwrap().to_string(), "7 ACK");
    assert!(!sent[0].repeated);
    assert_eq!(table.response(T0, &response(&invite, 486, "b")), Matched::Absorbed);
    assert_eq!(labels(&mut table), [(Label::Request(crate::sip::message::Method::Ack), true)]);
}

#[test]
fn a_repeated_2xx_draws_the_stored_ack_and_another_fork_is_told() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let id = table.request(T0, invite.clone(), udp(), "u").unwrap();
    assert_eq!(table.response(T0, &response(&invite, 200, "b1")), Matched::Tell(id));
    table.acknowledge(id, "b1", udp(), &request("ACK", ";branch=z9hG4bKack", ";tag=b1"));
    table.take_sent();
    assert_eq!(table.response(T0, &response(&invite, 200, "b1")), Matched::Absorbed);
    assert_eq!(labels(&mut table), [(Label::Request(crate::sip::message::Method::Ack), true)]);
    assert_eq!(table.response(T0, &response(&invite, 200, "b2")), Matched::Tell(id));
}

#[test]
fn the_ack_of_a_failure_finds_its_invite_and_one_for_a_2xx_does_not() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let id = arrive(&mut table, &invite).unwrap();
    table.respond(T0, id, &response(&invite, 486, "ours"));
    assert_eq!(arrive(&mut table, &request("ACK", ";branch=z9hG4bKone", ";tag=ours")), Err(id));
    assert!(!table.ack(T0, id, &request("ACK", ";branch=z9hG4bKone", ";tag=ours")));
    let other = request("ACK", ";branch=z9hG4bKother", ";tag=ours");
    assert_eq!(table.server_of(&ServerKey::of(&other, &other.top_via().unwrap()).unwrap()), None);
    assert_eq!(table.next_deadline(), Some(at(5_000)));
}

#[test]
fn sent_by_is_part_of_the_key() {
    let mut table = Table::new(Timing::default());
    let one = request("OPTIONS", ";branch=z9hG4bKone", "");
    arrive(&mut table, &one).unwrap();
    let text = String::from_utf8(one.write()).unwrap().replace("UDP 198.18.0.2:5060", "UDP 198.18.0.3:5060");
    assert!(arrive(&mut table, &Message::parse(text.as_bytes()).unwrap()).is_ok());
    let text = String::from_utf8(one.write()).unwrap().replace("UDP 198.18.0.2:5060", "UDP 198.18.0.2");
    assert!(arrive(&mut table, &Message::parse(text.as_bytes()).unwrap()).is_err(), "5060 is what no port means");
}

#[test]
fn an_rfc_2543_request_matches_by_its_headers() {
    let mut table = Table::new(Timing::default());
    for branch in ["", ";branch=1"] {
        let invite = request("INVITE", branch, "");
        let id = arrive(&mut table, &invite).unwrap();
        assert_eq!(arrive(&mut table, &invite), Err(id), "a repetition");
        table.respond(T0, id, &response(&invite, 486, "ours"));
        let wrong = request("ACK", branch, ";tag=theirs");
        assert_eq!(arrive(&mut table, &wrong), Err(id));
        table.ack(T0, id, &wrong);
        assert_eq!(table.next_deadline(), Some(at(500)), "timer G still runs");
        table.ack(T0, id, &request("ACK", branch, ";tag=ours"));
        assert_eq!(table.next_deadline(), Some(at(5_000)), "timer I runs");
        while table.fire(at(5_000)).is_some() {}
        table.sweep();
        assert_eq!(table.servers(), 0);
    }
}

#[test]
fn the_same_request_by_another_path_is_merged() {
    let mut table = Table::new(Timing::default());
    let id = arrive(&mut table, &request("INVITE", ";branch=z9hG4bKone", "")).unwrap();
    assert!(table.merged(&request("INVITE", ";branch=z9hG4bKtwo", "")));
    assert!(!table.merged(&request("OPTIONS", ";branch=z9hG4bKtwo", "")));
    assert!(!table.merged(&request("INVITE", ";branch=z9hG4bKtwo", ";tag=x")), "in a dialog nothing is merged");
    table.respond(T0, id, &response(&request("INVITE", ";branch=z9hG4bKone", ""), 200, "x"));
    while table.fire(at(32_000)).is_some() {}
    table.sweep();
    assert!(!table.merged(&request("INVITE", ";branch=z9hG4bKtwo", "")));
}

#[test]
fn a_lost_connection_is_replaced_once_and_then_told() {
    let mut table = Table::new(Timing::default());
    let old = flow(SipTransport::Tcp, 40_000, Some(9));
    let path = Path { flow: old, fallback: Some("198.18.0.2:5060".parse().unwrap()) };
    let bye = request("BYE", ";branch=z9hG4bKone", ";tag=x");
    let id = table.request(T0, bye, path, "u").unwrap();
    table.take_sent();
    assert_eq!(table.transport_failed(&Flow { connection: Some(ConnectionId(8)), ..old }), []);
    assert_eq!(table.take_sent().count(), 0);
    assert_eq!(table.transport_failed(&old), []);
    let sent: Vec<_> = table.take_sent().collect();
    let new = flow(SipTransport::Tcp, 5060, None);
    assert_eq!(sent.iter().map(|t| (t.flow, t.repeated)).collect::<Vec<_>>(), [(new, true)]);
    assert_eq!(table.transport_failed(&old), []);
    assert_eq!(table.transport_failed(&new), [id]);
}

#[test]
fn what_was_answered_is_not_sent_again_when_its_connection_closes() {
    let mut table = Table::new(Timing::default());
    let old = flow(SipTransport::Tcp, 40_000, Some(9));
    let path = Path { flow: old, fallback: Some("198.18.0.2:5060".parse().unwrap()) };
    let invite = request("INVITE", ";branch=z9hG4bKone", ";tag=x");
    let id = table.request(T0, invite.clone(), path, "u").unwrap();
    table.response(T0, &response(&invite, 200, "x"));
    table.acknowledge(id, "x", path, &request("ACK", ";branch=z9hG4bKack", ";tag=x"));
    table.take_sent();
    assert_eq!(table.transport_failed(&old), []);
    assert_eq!(table.take_sent().count(), 0);
    // A repeated 2xx, on whatever connection, draws its ACK on a new one.
    table.response(T0, &response(&invite, 200, "x"));
    assert_eq!(table.take_sent().map(|t| t.flow).collect::<Vec<_>>(), [flow(SipTransport::Tcp, 5060, None)]);
}

#[test]
fn a_response_whose_connection_is_gone_takes_the_sent_by_address() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let old = flow(SipTransport::Tcp, 40_000, Some(9));
    let path = Path { flow: old, fallback: Some("198.18.0.2:5060".parse().unwrap()) };
    let key = ServerKey::of(&invite, &invite.top_via().unwrap()).unwrap();
    let id = table.accept(key, invite.clone(), path, "");
    table.respond(T0, id, &response(&invite, 180, "x"));
    table.take_sent();
    table.transport_failed(&old);
    assert_eq!(table.take_sent().count(), 0, "a provisional response is not worth a connection");
    table.respond(T0, id, &response(&invite, 486, "x"));
    assert_eq!(table.take_sent().map(|t| t.flow).collect::<Vec<_>>(), [flow(SipTransport::Tcp, 5060, None)]);
    // A final one that is not acknowledged is.
    let other = request("INVITE", ";branch=z9hG4bKtwo", "");
    let key = ServerKey::of(&other, &other.top_via().unwrap()).unwrap();
    let id = table.accept(key, other.clone(), path, "");
    table.respond(T0, id, &response(&other, 486, "x"));
    table.take_sent();
    table.transport_failed(&old);
    let again: Vec<_> = table.take_sent().map(|t| (t.flow, t.label)).collect();
    assert_eq!(again, [(flow(SipTransport::Tcp, 5060, None), Label::Response(486))]);
}

#[test]
fn what_terminated_leaves_nothing_behind() {
    let mut table = Table::new(Timing::default());
    let invite = request("INVITE", ";branch=z9hG4bKone", "");
    let client = table.request(T0, invite.clone(), udp(), "u").unwrap();
    let server = arrive(&mut table, &invite).unwrap();
    table.respond(T0, server, &response(&invite, 486, "x"));
    let mut told = Vec::new();
    while let Some(due) = table.next_deadline() {
        while let Some(expired) = table.fire(due) {
            told.push(expired);
        }
        table.sweep();
    }
    assert_eq!(told, [Expired::Client(client), Expired::Server(server)]);
    assert_eq!((table.clients(), table.servers()), (0, 0));
    assert!(!table.merged(&request("INVITE", ";branch=z9hG4bKtwo", "")));
    assert_eq!(table.transport_failed(&udp().flow), []);
}
