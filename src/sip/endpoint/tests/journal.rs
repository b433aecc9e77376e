//! What a standby is told: the journal of changes, applied piece by piece, is the state; and an endpoint made of it does,
//! to the byte, what the original does.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    harness::*,
    property::{self, Op, World},
};
use crate::{
    base::{Time, pack::unpack},
    config::Config,
    sip::{
        endpoint::{
            Endpoint,
            journal::{Basics, Key, Shadow},
        },
        message::{HeaderName, Method},
    },
};

/// A standby beside the endpoint: `budget` bytes of what is queued each time.
fn tell(net: &mut Net, shadow: &mut Shadow, budget: usize) {
    let changes = net.endpoint.take_changes(net.now, budget);
    shadow.apply(net.now, changes);
}

fn tell_all(net: &mut Net, shadow: &mut Shadow) {
    net.endpoint.journal.look_at_trunks();
    tell(net, shadow, usize::MAX);
    assert_eq!(net.endpoint.left_to_send(), 0);
}

/// What the standby knows is what saving says now; of numbers it knows that none is used up that it may give away.
fn is_the_state(net: &Net, shadow: &Shadow) {
    let saved = net.endpoint.save(net.now);
    let sorted = |shadow: &Shadow| {
        let entries = shadow.entries.iter().filter(|(key, _)| **key != Key::Basics);
        let mut entries: Vec<(Key, Bytes)> = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        entries.sort();
        entries
    };
    let (told, is) = (sorted(shadow), sorted(&saved));
    assert_eq!(told.iter().map(|e| &e.0).collect::<Vec<_>>(), is.iter().map(|e| &e.0).collect::<Vec<_>>());
    for (told, is) in told.iter().zip(&is) {
        assert_eq!(told.1, is.1, "{:?}: {:?}", told.0, String::from_utf8_lossy(&told.1));
    }
    let basics: Basics = unpack(&shadow.entries[&Key::Basics]).unwrap();
    assert!(basics.last_transaction >= net.endpoint.core.live.tx.last_number());
    assert!(basics.last_subscription >= net.endpoint.core.live.subscriptions.last_number());
}

/// The property's rules; bans are left out, because what is counted towards them stays behind.
fn config() -> Config {
    let mut config = property::config();
    config.sip.protection.enabled = false;
    config
}

/// An endpoint made of the shadow, which draws the numbers that the original draws.
fn twin(net: &Net, shadow: &Shadow) -> Net {
    let wall = net.endpoint.core.clock.epoch_ms(net.endpoint.core.clock.inside(net.now));
    let mut endpoint = Endpoint::from_shadow(Arc::new(config()), [1; 32], net.now, wall, shadow);
    endpoint.core.random = net.endpoint.core.random.clone();
    endpoint.core.shed_tag = net.endpoint.core.shed_tag.clone();
    let live = &net.endpoint.core.live;
    // It goes on behind every number that the original may have given away; here both give away the same.
    endpoint.core.live.tx.set_last_number(live.tx.last_number());
    let mut twin = net.around(endpoint);
    twin.collect();
    assert_eq!(twin.wire, [], "what is taken over sends nothing by itself");
    twin.records = net.records.clone();
    twin
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changes_and_a_slow_full_synchronisation_come_to_the_state(
        ops in proptest::collection::vec(property::op(), 1..60),
        begins in 0usize..30,
        budget in 1usize..4_000,
    ) {
        let mut net = Net::with(|its| *its = property::config());
        let (mut world, mut shadow) = (World::default(), Shadow::default());
        let mut begun = false;
        for (at, op) in ops.iter().filter(|op| !matches!(op, Op::TakeOver)).enumerate() {
            if at == begins {
                net.endpoint.mark_all();
                begun = true;
            }
            property::apply(&mut net, &mut world, op);
            tell(&mut net, &mut shadow, budget);
        }
        if !begun {
            prop_assert!(shadow.is_empty(), "nobody asked");
            net.endpoint.mark_all();
        }
        // One that comes back has everything sent anew.
        let mut anew = shadow.clone();
        tell_all(&mut net, &mut shadow);
        is_the_state(&net, &shadow);
        net.endpoint.mark_all();
        anew.entries.clear();
        tell_all(&mut net, &mut anew);
        is_the_state(&net, &anew);
    }

    #[test]
    fn an_endpoint_made_of_the_journal_does_what_the_original_does(
        before in proptest::collection::vec(property::op(), 1..50),
        after in proptest::collection::vec(property::op(), 1..40),
    ) {
        let mut net = Net::with(|its| *its = config());
        let (mut world, mut shadow) = (World::default(), Shadow::default());
        net.endpoint.mark_all();
        for op in before.iter().filter(|op| !matches!(op, Op::TakeOver)) {
            property::apply(&mut net, &mut world, op);
            tell(&mut net, &mut shadow, 500);
        }
        tell_all(&mut net, &mut shadow);
        let mut twin = twin(&net, &shadow);
        let mut its = world.clone();
        net.wire.clear();
        for op in after.iter().filter(|op| !matches!(op, Op::TakeOver)) {
            property::apply(&mut net, &mut world, op);
            property::apply(&mut twin, &mut its, op);
            let text = |net: &Net| net.wire.iter().map(|(to, b)| (*to, String::from_utf8_lossy(b).into_owned())).collect::<Vec<_>>();
            prop_assert_eq!(text(&net), text(&twin), "{:?}", op);
            prop_assert_eq!(net.endpoint.next_deadline(), twin.endpoint.next_deadline(), "{:?}", op);
            prop_assert_eq!(net.endpoint.table_sizes(), twin.endpoint.table_sizes());
            prop_assert_eq!(net.endpoint.in_progress(), twin.endpoint.in_progress());
        }
        prop_assert_eq!(net.records, twin.records);
        prop_assert_eq!(net.media.open, twin.media.open);
    }
}

#[test]
fn nothing_is_noted_until_somebody_asks_and_nothing_afterwards() {
    let mut net = Net::new();
    call_up(&mut net);
    assert!(net.endpoint.take_changes(net.now, usize::MAX).is_empty());
    net.endpoint.mark_all();
    assert!(net.endpoint.left_to_send() > 5);
    net.endpoint.stop_journal();
    assert_eq!(net.endpoint.left_to_send(), 0);
    let up = call_up(&mut net);
    assert!(net.endpoint.take_changes(net.now, usize::MAX).is_empty());
    net.now += std::time::Duration::from_secs(1);
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye);
    assert!(net.endpoint.take_changes(net.now, usize::MAX).is_empty());
}

#[test]
fn a_call_that_rests_is_not_sent_again() {
    let mut net = Net::new();
    call_up(&mut net);
    net.endpoint.mark_all();
    let mut shadow = Shadow::default();
    tell_all(&mut net, &mut shadow);
    assert!(net.endpoint.take_changes(net.now, usize::MAX).is_empty());
    net.pass(60_000);
    let changes = net.endpoint.take_changes(net.now, usize::MAX);
    assert!(changes.puts.is_empty(), "transactions end, nothing else: {:?}", changes.puts);
    assert!(!changes.deletes.is_empty());
}

#[test]
fn a_record_is_kept_until_it_is_on_disk_and_written_by_who_takes_over() {
    let mut net = Net::new();
    net.endpoint.mark_all();
    let mut shadow = Shadow::default();
    let up = call_up(&mut net);
    let bye = net.in_dialog(&up.a, "BYE", 2);
    net.send(A, &bye);
    net.response_to(A, 200);
    let record = net.the_record();
    tell_all(&mut net, &mut shadow);
    assert!(shadow.entries.contains_key(&Key::Record(record.id)));
    // The active host's disk has it, or not: the standby writes what it was not told of.
    let config: Arc<Config> = Arc::new(toml::from_str(CONFIG).unwrap());
    let endpoint = Endpoint::from_shadow(config.clone(), [9; 32], net.now, EPOCH_MS, &shadow);
    let mut next = net.around(endpoint);
    next.collect();
    assert_eq!(next.the_record(), record);
    net.endpoint.record_written(record.id);
    tell_all(&mut net, &mut shadow);
    assert!(!shadow.entries.contains_key(&Key::Record(record.id)));
    let mut next = net.around(Endpoint::from_shadow(config, [9; 32], net.now, EPOCH_MS, &shadow));
    next.collect();
    assert!(next.records.is_empty());
}

#[test]
fn local_addresses_are_those_of_the_host_that_takes_over() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let saved = net.endpoint.save(net.now);
    // The other host has `b` elsewhere (its peers know the same Elastic IP), and lists it first.
    let mut config: Config = toml::from_str(CONFIG).unwrap();
    config.addresses[1].local = "198.18.1.99".parse().unwrap();
    config.sip.listen.reverse();
    net.endpoint = Endpoint::from_shadow(Arc::new(config), [9; 32], net.now, EPOCH_MS, &saved);
    let local = net.endpoint.calls.values().next().unwrap().media.as_ref().unwrap().session.local.clone();
    assert_eq!(local[1].rtp.ip(), net.endpoint.locals()[0].bind.ip());
    assert_eq!(local[1].told_rtp.ip().to_string(), "192.0.2.7");
    let mut info = net.in_dialog(&up.a, "INFO", 2);
    info.headers.push(HeaderName::ContentType, "application/dtmf-relay");
    let mut flow = Net::udp(A);
    flow.local = crate::sip::flow::ListenerId(2);
    net.send_on(flow, &info);
    let sent = net.sent.iter().find(|sent| sent.message.method() == Some(&Method::Info)).unwrap();
    assert_eq!(net.endpoint.locals()[usize::from(sent.flow.local.0)].name, "b");
}

#[test]
fn an_entry_that_cannot_be_read_costs_that_entry_alone() {
    let mut net = Net::new();
    let up = call_up(&mut net);
    let mut saved = net.endpoint.save(net.now);
    saved.entries.insert(Key::Call(crate::sip::endpoint::CallId(7)), Bytes::from_static(b"\x93\x01"));
    saved.entries.insert(Key::Nonce("x".into()), Bytes::new());
    let config = Arc::new(toml::from_str(CONFIG).unwrap());
    net.endpoint = Endpoint::from_shadow(config, [9; 32], net.now, EPOCH_MS, &saved);
    net.collect();
    assert!(net.notes.iter().any(|note| note.contains("2 entries")), "{:?}", net.notes);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_host_that_was_shutting_down_hands_on_its_calls_and_not_its_intention() {
    let mut net = Net::new();
    call_up(&mut net);
    net.endpoint.drain(net.now, net.now + std::time::Duration::from_secs(60), &mut net.media);
    net.collect();
    let saved = net.endpoint.save(net.now);
    let config = Arc::new(toml::from_str(CONFIG).unwrap());
    net.endpoint = Endpoint::from_shadow(config, [9; 32], Time::from_secs(1), EPOCH_MS, &saved);
    net.now = Time::from_secs(1);
    assert_eq!(net.endpoint.in_progress(), 1);
    let invite = net.invite(A, "100");
    net.send(A, &invite);
    net.response_to(A, 100);
}

/// In the smallest rounds that there are, a message each; how long it takes beside the endpoint's own work is printed.
#[test]
fn what_is_told_of_a_call_is_bounded() {
    const CALLS: u32 = 500;
    let mut net = Net::with(|config| config.sip.max_calls = 10_000);
    net.endpoint.mark_all();
    let (mut puts, mut bytes, mut took) = (0, 0, std::time::Duration::ZERO);
    let mut tell = |net: &mut Net| {
        let start = std::time::Instant::now();
        let changes = net.endpoint.take_changes(net.now, usize::MAX);
        took += start.elapsed();
        puts += changes.puts.len();
        bytes += changes.puts.iter().map(|(_, value)| value.len()).sum::<usize>();
    };
    for _ in 0..CALLS {
        let invite_a = net.invite(A, "100");
        net.send(A, &invite_a);
        tell(&mut net);
        net.response_to(A, 100);
        let invite_b = net.request_to(B, Method::Invite);
        net.send(B, &respond(B, &invite_b, 180, "b-tag", None));
        tell(&mut net);
        net.response_to(A, 180);
        net.send(B, &respond(B, &invite_b, 200, "b-tag", Some(6_000)));
        tell(&mut net);
        net.request_to(B, Method::Ack);
        let ok = net.response_to(A, 200);
        let a = Ends::caller(A, &invite_a, &ok);
        let message = ack(&mut net, &a, 1);
        net.send(A, &message);
        tell(&mut net);
        let bye = net.in_dialog(&a, "BYE", 2);
        net.send(A, &bye);
        tell(&mut net);
        net.response_to(A, 200);
        let bye = net.request_to(B, Method::Bye);
        net.send(B, &respond(B, &bye, 200, "", None));
        tell(&mut net);
        let record = net.the_record();
        net.endpoint.record_written(record.id);
        net.pass(2);
    }
    let (puts, bytes) = (puts as f64 / f64::from(CALLS), bytes as f64 / f64::from(CALLS));
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / f64::from(CALLS);
    let share = took.as_secs_f64() / net.took.as_secs_f64();
    println!(
        "a call: {puts:.1} entries of {bytes:.0} bytes; journal {:.0} µs beside {:.0} µs: {:.0} %",
        each(took),
        each(net.took),
        share * 100.0
    );
    // A call and a transaction or two for each of its six messages.
    assert!(puts < 6.0 * 3.0 + 1.0, "{puts}");
    assert!(bytes < 48_000.0, "{bytes}");
}
