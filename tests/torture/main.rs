//! Every message of RFC 4475 (torture tests) and RFC 5118 (torture tests for IPv6), each in a file of its own, through
//! the parser and through the endpoint as a trunk's message: as a datagram and out of a stream. What should come of
//! each is in `expected.toml`; the table of docs/sip.md is made of it. Needs neither DPDK, sockets nor root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod appliance;
mod cases;
mod notation;
mod page;
mod understood;
mod understood_ipv6;

use tandem::{
    config::SipTransport,
    sip::message::{Framer, HeaderName, Malformed, Message, Method, StreamItem},
};

use appliance::Appliance;
use cases::{Case, Deed, Stream, bytes, cases};

/// Says whose fault a failure is.
fn each(check: impl Fn(&Case)) {
    for case in cases() {
        let name = case.name.clone();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case)));
        assert!(result.is_ok(), "{name} ({}, §{}): see above", case.title, case.section);
    }
}

#[test]
fn the_parser_accepts_the_valid_and_says_what_is_wrong_with_the_rest() {
    each(|case| match Message::parse(&bytes(&case.name)) {
        Ok(message) => {
            assert_eq!(case.wrong, None, "was accepted");
            assert_eq!(Message::parse(&message.write()), Ok(message), "reads back what it writes");
        }
        Err(malformed) => assert_eq!(Some(malformed.kind.to_string()), case.wrong),
    });
}

#[test]
fn as_a_datagram_each_leads_to_what_the_rfc_says() {
    each(|case| leads_to(case, case.tandem, SipTransport::Udp, Message::parse(&bytes(&case.name))));
}

#[test]
fn out_of_a_stream_each_leads_to_the_same_or_to_what_the_rfc_says_of_streams() {
    each(|case| {
        let mut framer = Framer::new();
        // Cut where it is awkward: byte by byte.
        let mut items = Vec::new();
        let mut lost = None;
        for byte in bytes(&case.name) {
            framer.push(&[byte]);
            match framer.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => {}
                Err(error) => lost = lost.or(Some(error.0)),
            }
        }
        items.retain(|item| *item != StreamItem::Ping);
        match case.stream {
            Some(Stream::Wait) => {
                assert!(items.is_empty() && lost.is_none());
                assert!(framer.buffered() > 0);
            }
            Some(Stream::Close) => {
                assert!(items.is_empty());
                let malformed = lost.expect("the stream goes on");
                leads_to(case, Deed::Answer(400), SipTransport::Tcp, Err(malformed));
            }
            Some(Stream::More) | None => {
                // The second message of dblreq has a longer body than it says, which loses what comes after it.
                let more = case.stream.is_some();
                assert!(more || lost.is_none(), "the stream is lost: {lost:?}");
                assert_eq!(items.len(), if more { 2 } else { 1 }, "{items:#?}");
                let first = match items.remove(0) {
                    StreamItem::Message(message) => Ok(*message),
                    StreamItem::Malformed(malformed) => Err(malformed),
                    StreamItem::Ping => unreachable!("taken out above"),
                };
                leads_to(case, case.tandem, SipTransport::Tcp, first);
            }
        }
    });
}

fn leads_to(case: &Case, deed: Deed, transport: SipTransport, message: Result<Message, Malformed>) {
    let (rfc, _) = case.name.split_once('/').unwrap();
    let mut tandem = Appliance::new();
    let arrived = message.clone();
    tandem.receive(rfc, transport, message);
    let (to_peer, to_bob) = tandem.sent();
    let statuses: Vec<_> = to_peer.iter().map(|sent| sent.status).collect();
    match deed {
        Deed::Call => {
            assert_eq!(statuses, [Some(100)], "{to_peer:#?}");
            assert_eq!(to_bob.len(), 1, "{to_bob:#?}");
            tandem.bob_answers(to_bob[0].message());
            let (to_peer, to_bob) = tandem.sent();
            let methods: Vec<_> = to_bob.iter().map(|sent| sent.message().method().cloned()).collect();
            assert_eq!(methods, [Some(Method::Ack)]);
            assert_eq!(to_peer.iter().map(|sent| sent.status).collect::<Vec<_>>(), [Some(200)], "{to_peer:#?}");
            assert!(to_peer[0].message().content_is("application/sdp"));
        }
        Deed::Drop => {
            assert!(to_peer.is_empty() && to_bob.is_empty(), "{to_peer:#?} {to_bob:#?}");
            let counters = tandem.endpoint.counters();
            let counted = counters.strays + counters.malformed.values().sum::<u64>();
            assert_eq!(counted, 1, "what is dropped is counted");
        }
        Deed::Answer(status) => {
            assert_eq!(statuses.last(), Some(&Some(status)), "{to_peer:#?}");
            assert!(
                statuses.iter().rev().skip(1).all(|s| *s == Some(100)) && to_bob.is_empty(),
                "{to_peer:#?} {to_bob:#?}"
            );
            let answer = to_peer.last().unwrap();
            if arrived.is_ok() && matches!(status, 405 | 501) {
                assert!(answer.message().headers.contains(&HeaderName::Allow), "RFC 3261 §8.2.1");
            }
            for (name, value) in &case.answer {
                let name = HeaderName::from(name.as_str());
                let found: Vec<&str> = answer.message().headers.all(&name).collect();
                assert_eq!(found, [value.as_str()], "{name}");
            }
        }
    }
    tandem.run_out();
    tandem.is_well();
}
