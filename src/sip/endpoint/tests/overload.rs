//! A slow path that is late: calls in progress go on, new ones are refused in a moment and leave nothing behind.

use std::{net::SocketAddr, time::Duration};

use super::harness::*;
use crate::{
    base::limits::SIP_OFFERS_WAITING,
    config::UnknownCaller,
    sip::{
        message::{HeaderName, Message, Method},
        transaction::table::within_transaction,
    },
};

impl Net {
    /// A datagram of `peer`, as the sockets hand it over: new calls wait.
    fn datagram(&mut self, peer: SocketAddr, message: &Message) {
        let bytes = message.write().into();
        self.endpoint.datagram(self.now, Net::udp(peer), bytes, &mut self.media);
        self.collect();
    }

    fn take_offers(&mut self) {
        while self.endpoint.take_offer(self.now, &mut self.media) {}
        self.collect();
    }

    /// `ms` milliseconds in which everything is so late.
    fn late(&mut self, ms: u64, late: Duration) {
        for _ in 0..ms {
            self.pass(1);
            self.endpoint.note_lateness(self.now, late);
        }
    }

    /// Late for so long that as good as nothing is taken.
    fn overloaded(&mut self) {
        self.late(2_000, Duration::from_millis(400));
        assert!(self.endpoint.admitted_share() < 0.02);
    }
}

#[test]
fn a_new_call_waits_for_what_is_in_dialogs() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let invite = net.invite(A, "100");
    net.datagram(A, &invite);
    net.nothing_to(A);
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.datagram(A, &bye);
    net.response_to(A, 200);
    assert_eq!(net.endpoint.offers_waiting(), 1);
    net.take_offers();
    net.response_to(A, 100);
}

#[test]
fn while_late_new_calls_get_503_without_a_trace_and_calls_in_progress_go_on() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    net.overloaded();
    let tables = net.endpoint.table_sizes();
    let calls = net.endpoint.counters().calls;
    let mut refused = 0;
    for _ in 0..100 {
        let invite = net.invite(A, "100");
        net.datagram(A, &invite);
        let Some(answer) = net.take(A).pop() else { continue };
        assert_eq!(answer.status(), Some(503));
        assert_eq!(header(&answer, HeaderName::RetryAfter), "5");
        // RFC 3261 §17.1.1.3: the caller's transaction acknowledges it, and nobody cares.
        let mut ack = within_transaction(&invite, Method::Ack);
        ack.headers.set(HeaderName::To, header(&answer, HeaderName::To));
        net.datagram(A, &ack);
        refused += 1;
    }
    assert!(refused >= 98, "{refused}");
    assert_eq!((net.endpoint.counters().shed, net.endpoint.counters().strays), (refused, 0));
    assert_eq!((net.endpoint.table_sizes(), net.endpoint.counters().calls), (tables, calls));
    assert!(net.endpoint.offers_waiting() <= 2);
    // The call in progress: an INFO passes, a BYE ends it.
    let info = net.in_dialog(&up.a, "INFO", 2);
    net.datagram(A, &info);
    let passed = net.request_to(B, Method::Info);
    net.datagram(B, &respond(B, &passed, 200, "", None));
    net.response_to(A, 200);
    let bye = net.in_dialog(&up.a, "BYE", 3);
    net.datagram(A, &bye);
    net.response_to(A, 200);
    net.take_offers();
}

#[test]
fn a_repetition_is_no_new_call() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    net.datagram(A, &invite);
    net.take_offers();
    net.response_to(A, 100);
    let called = net.request_to(B, Method::Invite);
    net.send(B, &respond(B, &called, 180, "b-tag", None));
    net.take(A);
    net.overloaded();
    net.take(A);
    for _ in 0..50 {
        net.datagram(A, &invite);
        net.take_offers();
        net.response_to(A, 180);
    }
    assert_eq!(net.endpoint.counters().shed, 0);
}

#[test]
fn the_same_request_draws_the_same_tag() {
    let mut net = Net::new();
    net.overloaded();
    let invite = net.invite(A, "100");
    let mut tags = std::collections::BTreeSet::new();
    for _ in 0..10 {
        net.datagram(A, &invite);
        tags.extend(net.take(A).iter().map(|answer| header(answer, HeaderName::To)));
    }
    assert_eq!(tags.len(), 1, "RFC 3261 §8.2.7");
}

#[test]
fn it_recovers_within_two_seconds() {
    let mut net = Net::new();
    net.overloaded();
    net.late(2_000, Duration::from_millis(1));
    assert_eq!(net.endpoint.admitted_share(), 1.0);
    let invite = net.invite(A, "100");
    net.datagram(A, &invite);
    net.take_offers();
    net.response_to(A, 100);
}

#[test]
fn strangers_are_nobody_as_ever() {
    for unknown in [UnknownCaller::Reject, UnknownCaller::Silent] {
        let mut net = Net::with(|config| config.sip.unknown_caller = unknown);
        net.overloaded();
        let invite = net.invite(NOBODY, "100");
        net.datagram(NOBODY, &invite);
        match unknown {
            UnknownCaller::Reject => drop(net.response_to(NOBODY, 403)),
            UnknownCaller::Silent => net.nothing_to(NOBODY),
        }
        assert_eq!((net.endpoint.counters().unknown_callers, net.endpoint.counters().shed), (1, 0));
    }
}

#[test]
fn what_waits_is_bounded_and_not_kept_for_long() {
    let mut net = Net::new();
    for _ in 0..SIP_OFFERS_WAITING + 100 {
        let invite = net.invite(A, "100");
        net.datagram(A, &invite);
    }
    assert_eq!(net.endpoint.offers_waiting(), SIP_OFFERS_WAITING);
    let refused = net.take(A);
    assert_eq!((refused.len(), refused[0].status()), (100, Some(503)));
    // Four times `late_ms`: their callers are about to repeat themselves.
    net.now += Duration::from_millis(201);
    assert_eq!(net.endpoint.offer_waited(net.now), Duration::from_millis(201));
    net.take_offers();
    assert_eq!(net.take(A).iter().filter(|m| m.status() == Some(503)).count(), SIP_OFFERS_WAITING);
    assert_eq!((net.endpoint.counters().calls, net.endpoint.offers_waiting()), (0, 0));
    net.run_out();
}

#[test]
fn a_cancel_does_not_overtake_its_invite() {
    let mut net = Net::new();
    let invite = net.invite(A, "100");
    net.datagram(A, &invite);
    net.datagram(A, &within_transaction(&invite, Method::Cancel));
    net.nothing_to(A);
    net.take_offers();
    let statuses: Vec<_> = net.take(A).iter().map(|m| m.status().unwrap()).collect();
    assert_eq!(statuses, [100, 200, 487]);
}

#[test]
fn over_tcp_the_answer_is_the_same() {
    let mut net = Net::new();
    net.overloaded();
    let flow = Net::tcp("198.18.0.2:40001".parse().unwrap(), 5);
    let mut invite = net.invite(A, "100");
    invite.headers.set(HeaderName::Via, "SIP/2.0/TCP 198.18.0.2:5060;branch=z9hG4bKtcp");
    net.send_on(flow, &invite);
    let answer = net.response_to(flow.remote, 503);
    assert_eq!(header(&answer, HeaderName::RetryAfter), "5");
    assert_eq!((net.endpoint.counters().shed, net.endpoint.table_sizes().1), (1, 0));
}
