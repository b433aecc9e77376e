//! Messages put together at random from what was seen on the wire: each is well formed, and most make no sense where they
//! come. Branches, tags, Call-IDs and numbers are those of real transactions and dialogs, ours and the peers', so that
//! they meet the machines in the middle of what these do. Nothing panics, and once the clock has run out nothing is left.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;

use super::harness::*;
use crate::sip::message::{Message, Method};

const PEERS: [SocketAddr; 5] = [A, B, B2, C, NOBODY];

const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "UPDATE",
    "PRACK",
    "REFER",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REGISTER",
    "DANCE",
];

const STATUSES: [u16; 16] = [100, 180, 183, 199, 200, 202, 302, 401, 407, 408, 481, 486, 487, 491, 503, 603];

/// Header fields that ask for something.
const EXTRAS: [&str; 15] = [
    "",
    "Require: 100rel",
    "Require: frobnicate",
    "Supported: 100rel, timer, replaces",
    "RSeq: 1",
    "RAck: 1 1 INVITE",
    "Session-Expires: 90;refresher=uac",
    "Min-SE: 90",
    "Replaces: call-z9hG4bKt1@198.18.0.2;to-tag=1;from-tag=2",
    "Refer-To: <sip:100@198.18.1.2>",
    "Event: refer",
    "Record-Route: <sip:198.18.1.9;lr>, <sip:203.0.113.7>",
    "Route: <sip:198.18.0.1;lr>",
    "Retry-After: 5",
    "Max-Forwards: 0",
];

#[derive(Clone, Debug)]
struct Piece {
    /// A method, or a status beyond them.
    start: usize,
    peer: usize,
    tcp: bool,
    branch: usize,
    call_id: usize,
    tags: [usize; 2],
    seq: usize,
    /// A response's or an ACK's CSeq names another method.
    about: usize,
    contact: usize,
    extra: usize,
    body: usize,
    /// How long nothing happens afterwards.
    pass_ms: u64,
}

fn piece() -> impl Strategy<Value = Piece> {
    // Mostly what was seen last.
    let pick = || prop_oneof![4 => 0usize..3, 2 => 3usize..12, 1 => Just(usize::MAX)];
    let starts = prop_oneof![3 => 0usize..6, 1 => 6usize..14, 4 => 14usize..30];
    let pass = prop_oneof![8 => Just(0u64), 2 => Just(10), 1 => Just(600), 1 => Just(5_000), 1 => Just(40_000)];
    (
        (starts, 0usize..5, any::<bool>(), pick(), pick(), [pick(), pick()]),
        (pick(), 0usize..METHODS.len(), 0usize..5, 0usize..EXTRAS.len(), 0usize..5, pass),
    )
        .prop_map(|((start, peer, tcp, branch, call_id, tags), (seq, about, contact, extra, body, pass_ms))| {
            Piece { start, peer, tcp, branch, call_id, tags, seq, about, contact, extra, body, pass_ms }
        })
}

/// What was seen, newest first when picked.
#[derive(Default)]
struct Seen {
    branches: Vec<String>,
    call_ids: Vec<String>,
    tags: Vec<String>,
    seqs: Vec<u32>,
}

impl Seen {
    fn learn(&mut self, message: &Message) {
        let note = |list: &mut Vec<String>, item: Option<&str>| {
            list.extend(item.filter(|item| !list.iter().any(|known| known == item)).map(str::to_owned));
        };
        note(&mut self.branches, message.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).as_deref());
        note(&mut self.call_ids, message.call_id());
        for address in [message.from(), message.to()].into_iter().flatten() {
            note(&mut self.tags, address.tag());
        }
        self.seqs.extend(message.cseq().ok().map(|cseq| cseq.seq));
    }
}

fn nth<T: Clone>(list: &[T], back: usize) -> Option<T> {
    list.iter().rev().nth(back).cloned()
}

fn assemble(net: &mut Net, seen: &Seen, piece: &Piece) -> Vec<u8> {
    let peer = PEERS[piece.peer];
    let (start, method) = match METHODS.get(piece.start) {
        Some(method) => (format!("{method} sip:100@198.18.0.1 SIP/2.0"), *method),
        None => (format!("SIP/2.0 {} x", STATUSES[piece.start - METHODS.len()]), METHODS[piece.about]),
    };
    let branch = nth(&seen.branches, piece.branch).unwrap_or_else(|| net.branch());
    let call_id = nth(&seen.call_ids, piece.call_id).unwrap_or_else(|| format!("new-{branch}"));
    let tag = |at: usize| nth(&seen.tags, at).map_or(String::new(), |tag| format!(";tag={tag}"));
    let seq = nth(&seen.seqs, piece.seq).unwrap_or(7);
    let via = if piece.tcp { "TCP" } else { "UDP" };
    let contact = match piece.contact {
        0 => String::new(),
        1 => "Contact: <sip:203.0.113.66>\r\n".into(),
        2 => "Contact: <sip:x@198.18.1.3;transport=tcp>, <sip:y@198.18.1.2>\r\n".into(),
        _ => format!("Contact: <sip:x@{peer}>\r\n"),
    };
    let extra = EXTRAS[piece.extra];
    let extra = if extra.is_empty() { String::new() } else { format!("{extra}\r\n") };
    let (kind, body) = match piece.body {
        0 | 1 => ("application/sdp", sdp(peer.ip(), 4_000, 1, "")),
        2 => ("application/sdp", sdp(peer.ip(), 4_002, 2, "a=inactive\r\n")),
        3 => ("text/plain", "hello".into()),
        _ => ("", String::new()),
    };
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    format!(
        "{start}\r\nVia: SIP/2.0/{via} {peer};branch={branch}\r\nFrom: <sip:alice@198.18.0.2>{}\r\n\
         To: <sip:100@198.18.0.1>{}\r\nCall-ID: {call_id}\r\nCSeq: {seq} {method}\r\n{contact}{extra}{kind}\r\n{body}",
        tag(piece.tags[0]),
        tag(piece.tags[1]),
    )
    .into_bytes()
}

/// Takes what tandem sent, and lets the peers remember it.
fn listen(net: &mut Net, seen: &mut Seen) {
    for sent in std::mem::take(&mut net.sent) {
        seen.learn(&sent.message);
    }
}

/// A call that got as far as `depth`: nothing, asked for, ringing, up, up twice.
fn begin(net: &mut Net, seen: &mut Seen, depth: usize) {
    for _ in 0..depth.saturating_sub(2).max(depth.min(1)) {
        let invite = net.invite(A, "100");
        seen.learn(&invite);
        net.send(A, &invite);
        let passed = net.request_to(B, Method::Invite);
        seen.learn(&passed);
        if depth > 1 {
            let ringing = respond(B, &passed, 180, "b-tag", None);
            seen.learn(&ringing);
            net.send(B, &ringing);
        }
        if depth > 2 {
            net.take(A);
            net.send(B, &respond(B, &passed, 200, "b-tag", Some(6_000)));
            let ok = net.response_to(A, 200);
            let ack = net.in_dialog(&Ends::caller(A, &invite, &ok), "ACK", 1);
            net.send(A, &ack);
            seen.learn(&ok);
        }
        listen(net, seen);
    }
}

fn check(depth: usize, pieces: &[Piece]) -> Net {
    let mut net = Net::new();
    let mut seen = Seen::default();
    begin(&mut net, &mut seen, depth);
    for (at, piece) in pieces.iter().enumerate() {
        let bytes = assemble(&mut net, &seen, piece);
        let read = Message::parse(&bytes);
        assert!(read.is_ok(), "{read:?} of {}", String::from_utf8_lossy(&bytes));
        let peer = PEERS[piece.peer];
        let connection = u64::try_from(at % 3).unwrap();
        let flow = if piece.tcp { Net::tcp(peer, connection) } else { Net::udp(peer) };
        net.send_bytes(flow, &bytes);
        seen.learn(&read.unwrap());
        net.pass(piece.pass_ms);
        listen(&mut net, &mut seen);
        let sessions = net.endpoint.calls().filter(|call| call.session.is_some()).count();
        assert_eq!(sessions, net.media.open.len(), "every session belongs to a call in progress");
    }
    net.endpoint.drain(net.now, net.now + Duration::from_secs(1), &mut net.media);
    net.collect();
    net.run_out();
    let mut ids: Vec<_> = net.records.iter().map(|record| record.id).collect();
    let records = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), records, "one record for each call");
    net
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_nothing_is_left(depth in 0usize..5, pieces in proptest::collection::vec(piece(), 1..60)) {
        check(depth, &pieces);
    }
}

/// They are worth something only if they hit: calls that end otherwise than by the drain, requests within dialogs that
/// are answered, and many that are refused.
#[test]
fn the_pieces_meet_the_machines() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(piece(), 40..80);
    let mut answers = std::collections::BTreeMap::<u16, u64>::new();
    let (mut ended, mut strays) = (std::collections::BTreeSet::new(), 0);
    for depth in (0..5).cycle().take(200) {
        let net = check(depth, &strategy.new_tree(&mut runner).unwrap().current());
        for (status, count) in &net.endpoint.counters().responses_out {
            *answers.entry(*status).or_default() += count;
        }
        strays += net.endpoint.counters().strays;
        ended.extend(net.records.iter().map(|record| record.cause));
    }
    for status in [200, 403, 405, 415, 420, 481, 482, 483, 487, 501] {
        assert!(answers.get(&status).is_some_and(|count| *count > 10), "{status}: {answers:?}");
    }
    assert!(strays > 100, "{strays}");
    assert!(ended.len() > 5, "{ended:?}");
}
