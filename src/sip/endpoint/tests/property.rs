//! Random sequences of messages, right and wrong, from all sides, with failures and time-outs in between: nothing
//! panics, media sessions are opened and closed in pairs, and once the clock has run out nothing is left.

use std::time::Duration;

use proptest::{prelude::*, strategy::ValueTree};

use super::{
    harness::*,
    transfer::{escaped, replaces},
};
use crate::{
    base::ids::{SessionId, Side},
    config::Config,
    control::OpenError,
    sip::{
        b2bua::call::{LegState, Phase},
        endpoint::{Cause, Endpoint, TransferKind},
        flow::Flow,
        message::{HeaderName, Message, Method},
        transaction::table::within_transaction,
    },
};

const NUMBERS: [&str; 8] = ["100", "200", "300", "400", "999", "5%31%30;phone-context=+1", "5*7", "112"];
const PEERS: [std::net::SocketAddr; 5] = [A, B, B2, C, NOBODY];

#[derive(Clone, Debug)]
pub enum Op {
    /// A new INVITE to one of several numbers, with one of several bodies.
    Invite {
        from: usize,
        number: usize,
        body: usize,
    },
    /// A whole set-up without a mishap, as far as the rest of the world lets it.
    CallUp,
    /// A response to the n-th newest request that a peer got.
    Respond {
        to: usize,
        back: usize,
        status: u16,
        tag: usize,
        body: usize,
    },
    /// A request in a dialog that a peer knows.
    Within {
        dialog: usize,
        method: usize,
        seq: u32,
        body: usize,
    },
    /// A REFER in a dialog, perhaps with the Replaces of another.
    Refer {
        dialog: usize,
        other: Option<usize>,
        number: usize,
        seq: u32,
    },
    /// An INVITE with the Replaces of a dialog.
    Replacing {
        from: usize,
        dialog: usize,
        early: bool,
    },
    /// A request outside of any dialog that is no INVITE.
    Outside {
        from: usize,
        method: usize,
        number: usize,
    },
    Cancel {
        invite: usize,
    },
    AckFailure {
        invite: usize,
    },
    /// Something that was sent to tandem before, again, perhaps from somewhere else.
    Repeat {
        message: usize,
        from: usize,
    },
    Corrupt {
        message: usize,
        at: usize,
        with: u8,
    },
    Fail {
        peer: usize,
        connection: Option<u64>,
    },
    MediaTimeout(u64),
    NoMedia(bool),
    HangUp(usize),
    TakeOver,
    Pass(u64),
}

pub fn op() -> impl Strategy<Value = Op> {
    let statuses = prop_oneof![
        5 => Just(200u16), 3 => Just(180), 2 => Just(183), 2 => Just(100), 2 => Just(503), 1 => Just(486), 1 => Just(487),
        2 => Just(481), 1 => Just(491), 1 => Just(302), 1 => Just(422), 1 => 100u16..700
    ];
    // Mostly what is newest.
    let small = || prop_oneof![3 => Just(0usize), 1 => 0usize..6];
    prop_oneof![
        4 => (0usize..5, 0usize..8, 0usize..5).prop_map(|(from, number, body)| Op::Invite { from, number, body }),
        2 => Just(Op::CallUp),
        14 => (prop_oneof![1 => 0usize..5, 1 => Just(1usize)], small(), statuses, 0usize..3, 0usize..5)
            .prop_map(|(to, back, status, tag, body)| Op::Respond { to, back, status, tag, body }),
        8 => (small(), 0usize..11, 0u32..8, 0usize..5).prop_map(|(dialog, method, seq, body)| Op::Within { dialog, method, seq, body }),
        4 => (small(), proptest::option::of(0usize..4), 0usize..8, 1u32..8)
            .prop_map(|(dialog, other, number, seq)| Op::Refer { dialog, other, number, seq }),
        2 => (0usize..4, small(), any::<bool>()).prop_map(|(from, dialog, early)| Op::Replacing { from, dialog, early }),
        3 => (0usize..5, 0usize..5, 0usize..8).prop_map(|(from, method, number)| Op::Outside { from, method, number }),
        2 => small().prop_map(|invite| Op::Cancel { invite }),
        2 => small().prop_map(|invite| Op::AckFailure { invite }),
        2 => (0usize..20, 0usize..5).prop_map(|(message, from)| Op::Repeat { message, from }),
        1 => (0usize..20, 0usize..400, any::<u8>()).prop_map(|(message, at, with)| Op::Corrupt { message, at, with }),
        1 => (0usize..5, proptest::option::of(0u64..3)).prop_map(|(peer, connection)| Op::Fail { peer, connection }),
        1 => (0u64..6).prop_map(Op::MediaTimeout),
        1 => any::<bool>().prop_map(Op::NoMedia),
        1 => small().prop_map(Op::HangUp),
        1 => Just(Op::TakeOver),
        5 => prop_oneof![Just(10u64), Just(500), Just(4_000), Just(33_000), Just(121_000)].prop_map(Op::Pass),
    ]
}

/// What the peers remember.
#[derive(Clone, Default)]
pub struct World {
    /// Requests that tandem sent, by peer.
    got: [Vec<Message>; 5],
    invites: Vec<(std::net::SocketAddr, Message)>,
    /// Final responses to those.
    answers: Vec<Message>,
    dialogs: Vec<Ends>,
    sent: Vec<Vec<u8>>,
    /// 2xx to re-INVITEs.
    renegotiated: usize,
    /// RSeq of the last reliable provisional response.
    rseq: u32,
    /// How often another host took over; each draws other random numbers.
    hosts: u8,
}

impl World {
    fn send(&mut self, net: &mut Net, peer: std::net::SocketAddr, message: &Message) {
        self.sent.push(message.write());
        net.send(peer, message);
        self.read(net);
    }

    fn read(&mut self, net: &mut Net) {
        for (at, peer) in PEERS.into_iter().enumerate() {
            for message in net.take(peer) {
                if message.is_request() {
                    self.got[at].push(message);
                } else if message.contacts().is_ok_and(|c| !c.is_empty()) && message.status() != Some(302) {
                    if let Some((peer, invite)) = self.invites.iter().find(|(_, i)| i.call_id() == message.call_id()) {
                        self.dialogs.push(Ends::caller(*peer, invite, &message));
                    }
                    let again = message.cseq().unwrap();
                    self.renegotiated +=
                        usize::from(again.method == Method::Invite && again.seq > 1 && message.status() == Some(200));
                    self.answers.push(message);
                }
            }
        }
    }
}

fn put_body(message: &mut Message, peer: std::net::SocketAddr, kind: usize) {
    let (content, body) = match kind {
        0 | 1 => ("application/sdp", sdp(peer.ip(), 4_000, 1, "")),
        2 => ("application/sdp", sdp(peer.ip(), 4_002, 2, "a=sendonly\r\n")),
        3 => ("application/sdp", "v=0\r\nnonsense\r\n".into()),
        _ => ("", String::new()),
    };
    message.headers.remove(&HeaderName::ContentType);
    message.body = body.into();
    if !content.is_empty() {
        message.headers.push(HeaderName::ContentType, content);
    }
}

fn nth<T>(list: &[T], back: usize) -> Option<&T> {
    list.len().checked_sub(1 + back).map(|at| &list[at])
}

pub fn apply(net: &mut Net, world: &mut World, op: &Op) {
    match op {
        Op::Invite { from, number, body } => {
            let peer = PEERS[*from];
            let mut invite = net.invite(peer, NUMBERS[*number]);
            put_body(&mut invite, peer, *body);
            if *body % 2 == 1 {
                invite.headers.push(HeaderName::Supported, "100rel");
            }
            invite.headers.push(HeaderName::Allow, "INVITE, UPDATE");
            world.invites.push((peer, invite.clone()));
            world.send(net, peer, &invite);
        }
        Op::CallUp => {
            let mut invite = net.invite(A, "100");
            // The refresher is alice, then bob, then tandem on either leg.
            let round = world.invites.len() % 4;
            invite.headers.push(HeaderName::Supported, "timer");
            if round != 3 {
                let who = ["uac", "uas"][round % 2];
                invite.headers.push(HeaderName::SessionExpires, format!("90;refresher={who}"));
            }
            world.invites.push((A, invite.clone()));
            world.send(net, A, &invite);
            let Some(passed) = world.got[1].last().filter(|m| m.method() == Some(&Method::Invite)).cloned() else {
                return;
            };
            let mut ok = respond(B, &passed, 200, "t1", Some(6_000));
            if round >= 2 {
                let who = ["uac", "uas"][round % 2];
                ok.headers.push(HeaderName::SessionExpires, format!("90;refresher={who}"));
                ok.headers.push(HeaderName::Allow, "INVITE, UPDATE");
            }
            world.dialogs.push(Ends::callee(B, &passed, &ok));
            world.send(net, B, &ok);
            let Some(ends) = world.dialogs.last().filter(|ends| ends.peer == A).cloned() else { return };
            let ack = net.in_dialog(&ends, "ACK", 1);
            world.send(net, A, &ack);
        }
        Op::Respond { to, back, status, tag, body } => {
            let peer = PEERS[*to];
            let Some(request) = nth(&world.got[*to], *back).cloned() else { return };
            let mut response = respond(peer, &request, *status, ["t1", "t2", "t3"][*tag], None);
            put_body(&mut response, peer, *body);
            if *status % 100 == 83 || *body == 1 {
                response.headers.push(HeaderName::Require, "100rel");
                world.rseq += 1;
                response.headers.push(HeaderName::RSeq, world.rseq.to_string());
                response.headers.push(HeaderName::Allow, "INVITE, PRACK, UPDATE");
            }
            if *status == 422 {
                response.headers.push(HeaderName::MinSe, "2000");
            }
            if request.method() == Some(&Method::Subscribe) {
                response.headers.push(HeaderName::Expires, "30");
            }
            if matches!(request.method(), Some(Method::Invite | Method::Subscribe)) && *status > 100 {
                world.dialogs.push(Ends::callee(peer, &request, &response));
            }
            world.send(net, peer, &response);
        }
        Op::Within { dialog, method, seq, body } => {
            let Some(ends) = nth(&world.dialogs, *dialog).cloned() else { return };
            let name = [
                "ACK",
                "BYE",
                "INVITE",
                "INFO",
                "OPTIONS",
                "UPDATE",
                "PRACK",
                "NOTIFY",
                "MESSAGE",
                "SUBSCRIBE",
                "REFER",
            ][*method];
            let mut request = net.in_dialog(&ends, name, *seq);
            request.headers.push(HeaderName::Event, ["refer", "presence", "refer;id=3"][*body % 3]);
            request.headers.push(HeaderName::SubscriptionState, ["active;expires=20", "terminated"][*body % 2]);
            request.headers.push(HeaderName::Supported, "timer");
            if *seq % 2 == 1 {
                request.headers.push(HeaderName::SessionExpires, "90");
            }
            // Mostly what waits for it.
            let rseq = world.answers.iter().rev().find_map(|answer| answer.headers.get(&HeaderName::RSeq));
            request.headers.push(HeaderName::RAck, format!("{} 1 INVITE", rseq.unwrap_or("1")));
            put_body(&mut request, ends.peer, *body);
            world.send(net, ends.peer, &request);
        }
        Op::Refer { dialog, other, number, seq } => {
            let Some(ends) = nth(&world.dialogs, *dialog).cloned() else { return };
            let with = other.and_then(|other| nth(&world.dialogs, other)).map(replaces);
            let with = with.map_or_else(String::new, |with| format!("?Replaces={}", escaped(&with)));
            let mut refer = net.in_dialog(&ends, "REFER", *seq);
            refer.headers.push(HeaderName::ReferTo, format!("<sip:{}@198.18.0.1{with}>", NUMBERS[*number]));
            if *seq == 4 {
                refer.headers.push(HeaderName::Other("Refer-Sub".into()), "false");
            }
            world.send(net, ends.peer, &refer);
        }
        Op::Replacing { from, dialog, early } => {
            let Some(value) = nth(&world.dialogs, *dialog).map(replaces) else { return };
            let mut invite = net.invite(PEERS[*from], "100");
            invite.headers.push(HeaderName::Replaces, if *early { format!("{value};early-only") } else { value });
            world.invites.push((PEERS[*from], invite.clone()));
            world.send(net, PEERS[*from], &invite);
        }
        Op::Outside { from, method, number } => {
            let name = ["MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "REFER"][*method];
            let invite = String::from_utf8(net.invite(PEERS[*from], NUMBERS[*number]).write()).unwrap();
            let mut request = Message::parse(invite.replace("INVITE", name).as_bytes()).unwrap();
            request.headers.push(HeaderName::Event, "presence");
            request.headers.push(HeaderName::Expires, "30");
            world.invites.push((PEERS[*from], request.clone()));
            world.send(net, PEERS[*from], &request);
        }
        Op::Cancel { invite } => {
            let Some((peer, invite)) = nth(&world.invites, *invite).cloned() else { return };
            world.send(net, peer, &within_transaction(&invite, Method::Cancel));
        }
        Op::AckFailure { invite } => {
            let Some((peer, invite)) = nth(&world.invites, *invite).cloned() else { return };
            let mut ack = within_transaction(&invite, Method::Ack);
            if let Some(answer) = world.answers.iter().rev().find(|a| a.call_id() == invite.call_id()) {
                ack.headers.set(HeaderName::To, header(answer, HeaderName::To));
            }
            world.send(net, peer, &ack);
        }
        Op::Repeat { message, from } => {
            let Some(bytes) = nth(&world.sent, *message).cloned() else { return };
            net.send_bytes(Net::udp(PEERS[*from]), &bytes);
            net.sent.clear();
        }
        Op::Corrupt { message, at, with } => {
            let Some(mut bytes) = nth(&world.sent, *message).cloned() else { return };
            let at = at % bytes.len();
            bytes[at] = *with;
            net.endpoint.receive(net.now, Net::udp(A), Message::parse(&bytes), &mut net.media);
            while net.endpoint.poll_output().is_some() {}
        }
        Op::Fail { peer, connection } => {
            let flow = match connection {
                Some(0) => Flow { connection: None, ..Net::tcp(PEERS[*peer], 0) },
                Some(n) => Net::tcp(PEERS[*peer], *n),
                None => Net::udp(PEERS[*peer]),
            };
            net.fail(flow);
        }
        Op::MediaTimeout(id) => {
            net.endpoint.media_timeout(net.now, SessionId(*id), &mut net.media);
            net.collect();
        }
        Op::NoMedia(none) => net.media.refuse = none.then_some(OpenError::NoPort),
        Op::HangUp(at) => {
            let mut ids: Vec<_> = net.endpoint.calls().map(|call| call.id).collect();
            ids.sort();
            let id = ids.get(*at).copied();
            if let Some(id) = id {
                assert!(net.endpoint.hang_up(net.now, id, &mut net.media));
                net.collect();
            }
        }
        Op::TakeOver => {
            world.hosts += 1;
            let saved = net.endpoint.save(net.now);
            let config = std::sync::Arc::new(config());
            net.endpoint = Endpoint::from_shadow(config, [world.hosts; 32], net.now, EPOCH_MS, &saved);
        }
        Op::Pass(ms) => net.pass(*ms),
    }
    world.read(net);
}

/// The harness's, and rules that rewrite numbers, hold at times, and let emergency calls pass the limit.
pub fn config() -> Config {
    let rules = "
        [[route]]
        prefix = '5'
        called = { strip = 1, prepend = '+' }
        calling = { number = '+4930111' }
        to = ['carrier', 'backup']
        [[route]]
        prefix = '5'
        times = ['22:30-23:00', 'wed']
        to = ['backup']
        [[route]]
        prefix = '112'
        emergency = true
        to = ['backup', 'carrier']";
    let mut config = toml::from_str(&format!("{CONFIG}{rules}")).unwrap();
    limited(&mut config);
    config
}

/// Trunks with limits that sequences reach, and destinations that are asked whether they live.
fn limited(config: &mut crate::config::Config) {
    for trunk in &mut config.trunks {
        trunk.transfer = crate::config::Transfer::Local;
        trunk.requests = crate::config::Requests::Pass;
    }
    config.trunks[2].transfer = crate::config::Transfer::Pass;
    config.trunks[0].limits = toml::from_str("calls_per_second_in = 40\nburst = 6").unwrap();
    config.trunks[1].limits = toml::from_str("max_calls_out = 5\nmax_calls = 8").unwrap();
    config.trunks[1].policy = crate::config::Policy::LeastCalls;
    config.trunks[2].health = Some(toml::from_str("interval_s = 20\ndown_after = 2").unwrap());
}

/// What the trunks count is what a look at every call says.
fn counts_are_the_calls(net: &Net) {
    let live = net.endpoint.calls.values().filter(|call| call.phase != Phase::Ended);
    let legs = live.flat_map(|call| std::iter::once(&call.a).chain(&call.b)).filter(|leg| leg.state != LegState::Gone);
    let (out, into): (Vec<_>, Vec<_>) = legs.partition(|leg| leg.place.is_some());
    let [out, into] = [out, into].map(|legs| u32::try_from(legs.len()).unwrap());
    assert_eq!(net.endpoint.core.live.trunks.all_calls(), ([into, out], out));
}

/// What a sequence came to.
#[derive(Default)]
struct Reached {
    causes: std::collections::BTreeSet<Cause>,
    renegotiated: usize,
    transfers: Vec<TransferKind>,
    /// REFERs that crossed, and subscriptions that were made.
    crossed: usize,
    subscribed: usize,
}

/// Runs the sequence.
fn check(ops: &[Op]) -> Reached {
    let mut reached = Reached::default();
    let mut net = Net::with(|its| *its = config());
    let mut world = World::default();
    for op in ops {
        apply(&mut net, &mut world, op);
        let sessions = net.endpoint.calls().filter(|call| call.session.is_some()).count();
        assert_eq!(sessions, net.media.open.len(), "every session belongs to a call in progress");
        counts_are_the_calls(&net);
        every_leg_is_found(&net);
        reached.crossed += net.endpoint.calls.values().filter(|call| !call.passed.is_empty()).count();
        reached.subscribed += net.endpoint.core.live.subscriptions.dialogs() / 2;
    }
    // Calls that are up stay up; the operator ends them, and nobody answers.
    net.endpoint.drain(net.now, net.now + Duration::from_secs(1), &mut net.media);
    net.collect();
    net.run_out();
    assert!(net.endpoint.is_drained());
    let mut ids: Vec<_> = net.records.iter().map(|record| record.id).collect();
    let records = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), records, "one record for each call");
    reached.causes = net.records.iter().map(|record| record.cause).collect();
    reached.renegotiated = world.renegotiated;
    reached.transfers = net.records.iter().flat_map(|record| &record.transfers).map(|transfer| transfer.kind).collect();
    reached
}

/// A leg's dialog is in the index exactly as long as the leg is not gone, and leads to where the leg is.
fn every_leg_is_found(net: &Net) {
    let mut legs = 0;
    for call in net.endpoint.calls.values() {
        for side in Side::BOTH {
            let Some(leg) = call.leg(side).filter(|leg| leg.state != LegState::Gone) else { continue };
            legs += 1;
            assert_eq!(net.endpoint.core.live.dialogs.get(&leg.dialog.key()), Some(&(call.id, side)));
        }
    }
    assert_eq!(net.endpoint.core.live.dialogs.len(), legs);
    assert!(net.endpoint.core.deferred.is_empty());
    let waits = |call: &crate::sip::b2bua::Call| call.transfer.as_ref().map(|pending| pending.target);
    for target in net.endpoint.calls.values().filter_map(|call| waits(call)) {
        assert!(net.endpoint.calls.contains_key(&target), "a transfer waits for a call that is no more");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_nothing_is_left(ops in proptest::collection::vec(op(), 1..80)) {
        check(&ops);
    }
}

/// The sequences are worth something only if they get somewhere: every way for a call to end occurs, and so do
/// accepted re-INVITEs.
#[test]
fn the_sequences_reach_every_end_of_a_call() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(op(), 40..120);
    let mut causes = std::collections::BTreeSet::new();
    let (mut renegotiated, mut crossed, mut subscribed, mut transfers) = (0, 0, 0, Vec::new());
    for _ in 0..400 {
        let ops = strategy.new_tree(&mut runner).unwrap().current();
        let reached = check(&ops);
        causes.extend(reached.causes);
        renegotiated += reached.renegotiated;
        crossed += reached.crossed;
        subscribed += reached.subscribed;
        transfers.extend(reached.transfers);
    }
    // Of the others, limits need more calls than a sequence has, and draining comes after its end.
    let expected =
        Cause::ALL.into_iter().filter(|cause| !matches!(cause, Cause::Limit | Cause::Draining | Cause::BadRequest));
    let missing: Vec<Cause> = expected.filter(|cause| !causes.contains(cause)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    assert!(renegotiated > 10, "{renegotiated}");
    for kind in [TransferKind::Blind, TransferKind::Attended, TransferKind::Replaced] {
        assert!(transfers.contains(&kind), "never seen: {kind:?}");
    }
    assert!(crossed > 0 && subscribed > 0, "{crossed} {subscribed}");
}
