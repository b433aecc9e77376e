//! Media sessions from `open` to `close`, with the real worker on simulated ports at the other end of the table.

mod standby;

use std::{net::IpAddr, sync::Arc};

use super::{
    Direction, Encoding, Format, LegMedia, MediaControl, OpenError, OpenRequest, Phase, Session,
    engine::{ControlEvent, Engine},
    neighbours::Kernel,
};
use crate::{
    base::{
        Time,
        ids::{PortId, SessionId, Side},
    },
    config::Config,
    flow::{FlowTable, event::Candidate, event::Events, plan::Admit},
};

const CONFIG: &str = r#"
port = [
  { name = "access", device = "net_null0", exception = "t0", addresses = ["198.18.1.10/24"] },
  { name = "core", device = "net_null1", exception = "t1", addresses = ["198.18.2.10/24"] },
]
address = [
  { name = "a", port = "access", local = "198.18.1.10" },
  { name = "b", port = "core", local = "198.18.2.10", advertise = "203.0.113.9" },
]
[media]
ports = { low = 20000, high = 20007 }
max_sessions = 100
timeout_s = 10
[sip]
listen = [{ address = "a" }]
ring_s = 60
"#;

/// Every destination is on the link, and answers at once.
pub struct Link;

impl Kernel for Link {
    fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        Some((PortId(0), destination))
    }

    fn watch(&mut self, _: PortId, _: IpAddr) -> Option<[u8; 6]> {
        Some([2; 6])
    }

    fn forget(&mut self, _: PortId, _: IpAddr) {}
}

struct Rig {
    engine: Engine,
    table: Arc<FlowTable>,
    events: Arc<Events>,
}

fn rig() -> Rig {
    rig_of(CONFIG)
}

fn rig_of(config: &str) -> Rig {
    let config: Config = toml::from_str(config).unwrap();
    let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
    let table = FlowTable::new(&media, 20_000, 20_007, 64, 0);
    let events = Arc::new(Events::new(64));
    Rig { engine: Engine::new(&config, table.clone(), vec![events.clone()], Box::new(Link)), table, events }
}

fn t(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn request() -> OpenRequest {
    OpenRequest { media: [vec!["a".into()], vec!["b".into()]], call_id: "c@x".into() }
}

fn leg(rtp: &str, pt: u8, encoding: Encoding) -> LegMedia {
    let rtp: std::net::SocketAddr = rtp.parse().unwrap();
    LegMedia {
        rtp: Some(rtp),
        rtcp: Some((rtp.ip(), rtp.port() + 1).into()),
        rtcp_mux: false,
        formats: vec![Format { pt, encoding, clock_hz: 8_000, channels: 1, fmtp: None }],
        direction: Direction::SendRecv,
    }
}

const A: &str = "198.18.1.20:6000";
const B: &str = "198.18.2.20:7000";

impl Rig {
    /// A confirmed call, μ-law to A-law.
    fn call(&mut self, now: Time) -> Session {
        let session = self.engine.open(now, &request()).unwrap();
        self.engine.update(now, session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
        self.engine.update(now, session.id, Side::B, &leg(B, 8, Encoding::Pcma));
        self.engine.phase(now, session.id, Phase::Confirmed);
        session
    }

    fn admitted(&self, id: SessionId, side: Side) -> Admit {
        let flow = self.engine.flows().find(|f| f.session == id && f.side == side && !f.plan.rtcp).unwrap();
        flow.plan.admit
    }

    fn version(&self, id: SessionId, side: Side) -> u32 {
        self.engine.flows().find(|f| f.session == id && f.side == side && !f.plan.rtcp).unwrap().plan.version
    }

    /// Drives the engine for `millis`, in the steps of a slow path.
    fn run(&mut self, from: Time, millis: u64) -> Vec<ControlEvent> {
        let mut events = Vec::new();
        for step in (0..=millis).step_by(10) {
            self.engine.tick(from + std::time::Duration::from_millis(step));
            events.extend(std::iter::from_fn(|| self.engine.poll_event()));
        }
        events
    }

    fn candidate(&self, id: SessionId, source: &str, sequence: u16) {
        let version = self.version(id, Side::A);
        let source = source.parse().unwrap();
        assert!(self.events.push(Candidate { session: id, side: Side::A, version, source, ssrc: 9, sequence }));
    }
}

#[test]
fn nothing_is_admitted_before_both_sides_have_spoken() {
    let mut rig = rig();
    let session = rig.engine.open(t(0), &request()).unwrap();
    assert_eq!(rig.engine.flows().count(), 0);
    rig.engine.update(t(0), session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    assert_eq!(rig.engine.flows().count(), 0);
    rig.engine.update(t(0), session.id, Side::B, &leg(B, 8, Encoding::Pcma));
    assert_eq!(rig.engine.flows().count(), 4);
    assert_eq!(rig.admitted(session.id, Side::A), Admit::Exact(A.parse().unwrap()));
    assert!(rig.engine.report(session.id).unwrap().transcoded);
}

#[test]
fn each_side_is_told_its_own_address_and_ports_are_even() {
    let mut rig = rig();
    let session = rig.engine.open(t(0), &request()).unwrap();
    let [a, b] = &session.local;
    assert_eq!((a.rtp.ip().to_string(), a.told_rtp), ("198.18.1.10".into(), a.rtp));
    assert_eq!(b.told_rtp.ip().to_string(), "203.0.113.9");
    assert_eq!((b.rtp.port() % 2, b.rtcp.port()), (0, b.rtp.port() + 1));
}

#[test]
fn a_description_that_says_the_same_publishes_nothing() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let published = rig.engine.counters.published;
    rig.engine.update(t(100), session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    rig.engine.phase(t(100), session.id, Phase::Confirmed);
    assert_eq!(rig.engine.counters.published, published);
}

#[test]
fn a_moved_remote_is_a_new_version_and_the_old_entry_comes_back() {
    let mut rig = rig();
    let session = rig.call(t(0));
    rig.run(t(0), 20);
    let spare = rig.engine.spare_entries();
    rig.engine.update(t(1_000), session.id, Side::A, &leg("198.18.1.21:8000", 0, Encoding::Pcmu));
    assert_eq!(rig.admitted(session.id, Side::A), Admit::Exact("198.18.1.21:8000".parse().unwrap()));
    rig.run(t(1_000), 20);
    assert_eq!(rig.engine.spare_entries(), spare, "no entry leaks");
}

#[test]
fn the_source_before_is_admitted_for_a_second_after_a_move() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let departing = |rig: &Rig| rig.engine.flows().find(|f| f.side == Side::A && !f.plan.rtcp).unwrap().plan.departing;
    assert_eq!(departing(&rig), None);
    rig.engine.update(t(1_000), session.id, Side::A, &leg("198.18.1.21:8000", 0, Encoding::Pcmu));
    assert_eq!(departing(&rig), Some(A.parse().unwrap()));
    rig.run(t(1_000), 900);
    assert_eq!(departing(&rig), Some(A.parse().unwrap()));
    rig.run(t(1_910), 600);
    assert_eq!(departing(&rig), None);
}

#[test]
fn two_candidates_in_sequence_latch_and_the_destination_follows() {
    let mut rig = rig();
    let session = rig.call(t(0));
    rig.candidate(session.id, "198.18.1.99:40000", 5);
    rig.candidate(session.id, "198.18.1.99:40000", 6);
    let events = rig.run(t(100), 0);
    let source = "198.18.1.99:40000".parse().unwrap();
    assert!(matches!(events[..], [ControlEvent::Latched { side: Side::A, source: s, .. }] if s == source));
    assert_eq!(rig.admitted(session.id, Side::A), Admit::Exact(source));
    let back = rig.engine.flows().find(|f| f.side == Side::B && !f.plan.rtcp).unwrap();
    assert_eq!(back.plan.out_destination, Some(source), "what B sends goes where A really is");
    let rtcp = rig.engine.flows().find(|f| f.side == Side::A && f.plan.rtcp).unwrap();
    assert_eq!(rtcp.plan.admit, Admit::Address(source.ip()), "RTCP must come from the latched address");
}

#[test]
fn a_late_packet_of_the_source_before_does_not_close_the_window_after_a_move() {
    let mut rig = rig();
    let session = rig.call(t(0));
    rig.engine.update(t(1_000), session.id, Side::A, &leg("10.0.0.7:8000", 0, Encoding::Pcmu));
    // What was under way from the source before claims the new line.
    let flow = rig.engine.flows().find(|f| f.side == Side::A && !f.plan.rtcp).unwrap();
    let key = crate::flow::table::FlowKey {
        address: rig.table.address(flow.local.ip()).unwrap(),
        port: flow.local.port(),
        class: crate::flow::FlowClass::Rtp,
    };
    let line = rig.table.state(rig.table.lookup(key).unwrap());
    line.claim(crate::base::ids::WorkerId(0));
    assert_eq!(rig.run(t(1_020), 600), []);
    rig.candidate(session.id, "198.18.1.99:40000", 5);
    rig.candidate(session.id, "198.18.1.99:40000", 6);
    assert!(matches!(rig.run(t(1_700), 0)[..], [ControlEvent::Latched { side: Side::A, .. }]));
}

#[test]
fn a_side_that_is_silenced_is_silent_at_once() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let mut nowhere = leg(B, 8, Encoding::Pcma);
    (nowhere.rtp, nowhere.rtcp) = (None, None);
    rig.engine.update(t(1_000), session.id, Side::B, &nowhere);
    assert_eq!(rig.admitted(session.id, Side::B), Admit::Nobody);
    let flow = rig.engine.flows().find(|f| f.side == Side::B && !f.plan.rtcp).unwrap();
    assert_eq!(flow.plan.departing, None);
}

#[test]
fn rtcp_is_admitted_from_where_the_description_says() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let mut elsewhere = leg(A, 0, Encoding::Pcmu);
    elsewhere.rtcp = Some("198.18.1.30:53020".parse().unwrap());
    rig.engine.update(t(10), session.id, Side::A, &elsewhere);
    let rtcp = rig.engine.flows().find(|f| f.side == Side::A && f.plan.rtcp).unwrap();
    assert_eq!(rtcp.plan.admit, Admit::Address("198.18.1.30".parse().unwrap()));
}

#[test]
fn a_plan_for_which_there_was_no_room_is_published_when_there_is() {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
    let table = FlowTable::new(&media, 20_000, 20_007, 8, 1);
    let mut engine = Engine::new(&config, table.clone(), vec![], Box::new(Link));
    let session = engine.open(t(0), &request()).unwrap();
    engine.update(t(0), session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    engine.update(t(0), session.id, Side::B, &leg(B, 8, Encoding::Pcma));
    // A worker that stands in its burst holds every entry that is replaced.
    let worker = table.boundaries.worker(0);
    worker.enter();
    for port in [8_000, 8_010, 8_020] {
        engine.update(t(10), session.id, Side::A, &leg(&format!("198.18.1.21:{port}"), 0, Encoding::Pcmu));
        engine.tick(t(10));
    }
    assert!(engine.counters.unpublished > 0);
    worker.pass();
    for step in 0..200 {
        engine.tick(t(20 + 10 * step));
    }
    let admitted = engine.flows().find(|f| f.side == Side::A && !f.plan.rtcp).unwrap().plan.admit;
    assert_eq!(admitted, Admit::Exact("198.18.1.21:8020".parse().unwrap()));
}

#[test]
fn candidates_for_an_older_version_count_for_nothing() {
    let mut rig = rig();
    let session = rig.call(t(0));
    rig.candidate(session.id, "198.18.1.99:40000", 5);
    rig.candidate(session.id, "198.18.1.99:40000", 6);
    rig.engine.update(t(50), session.id, Side::A, &leg("198.18.1.21:8000", 0, Encoding::Pcmu));
    assert_eq!(rig.run(t(100), 0), []);
    assert_eq!(rig.admitted(session.id, Side::A), Admit::Exact("198.18.1.21:8000".parse().unwrap()));
}

#[test]
fn after_the_window_workers_are_told_not_to_look_for_candidates() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let wanted = |rig: &Rig| rig.engine.flows().find(|f| f.side == Side::A && !f.plan.rtcp).unwrap().plan.candidates;
    assert!(wanted(&rig));
    rig.run(t(0), 4_500);
    assert!(!wanted(&rig), "the window of 3 s has closed");
    assert_eq!(rig.version(session.id, Side::A), 2, "one new version, and no more");
}

#[test]
fn a_call_without_media_times_out_once_and_not_while_on_hold() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let events = rig.run(t(0), 12_000);
    assert_eq!(events, [ControlEvent::MediaTimeout(session.id)]);
    let held = rig.call(t(20_000));
    let mut hold = leg(A, 0, Encoding::Pcmu);
    hold.direction = Direction::SendOnly;
    rig.engine.update(t(20_000), held.id, Side::A, &hold);
    assert_eq!(rig.run(t(20_000), 30_000), []);
    rig.engine.update(t(50_000), held.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    assert_eq!(rig.run(t(50_010), 9_000), [], "the time on hold does not count");
    assert_eq!(rig.run(t(59_020), 3_000), [ControlEvent::MediaTimeout(held.id)]);
}

#[test]
fn a_call_that_rings_long_does_not_time_out() {
    let mut rig = rig();
    let session = rig.engine.open(t(0), &request()).unwrap();
    rig.engine.update(t(0), session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    rig.engine.update(t(0), session.id, Side::B, &leg(B, 8, Encoding::Pcma));
    assert_eq!(rig.run(t(0), 50_000), []);
}

#[test]
fn rtcp_mux_moves_rtcp_to_the_rtp_port_and_back() {
    let mut rig = rig();
    let session = rig.call(t(0));
    let local = |rig: &Rig| rig.engine.flows().find(|f| f.side == Side::A && f.plan.rtcp).unwrap().local;
    assert_eq!(local(&rig), session.local[0].rtcp);
    let mut mux = leg(A, 0, Encoding::Pcmu);
    (mux.rtcp_mux, mux.rtcp) = (true, mux.rtp);
    rig.engine.update(t(10), session.id, Side::A, &mux);
    assert_eq!(local(&rig), session.local[0].rtp);
    let to_a = rig.engine.flows().find(|f| f.side == Side::B && f.plan.rtcp).unwrap();
    assert_eq!(to_a.plan.out_destination, Some(A.parse().unwrap()));
    assert_eq!(to_a.plan.out_source, session.local[0].rtp);
    rig.engine.update(t(20), session.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    assert_eq!(local(&rig), session.local[0].rtcp);
    assert_eq!(rig.engine.flows().count(), 4);
}

#[test]
fn closing_gives_everything_back_and_ports_rest() {
    let mut rig = rig();
    let (spare, ports) = (rig.engine.spare_entries(), rig.engine.spare_ports());
    for now in [t(0), t(1_000), t(2_000), t(3_000)] {
        let session = rig.call(now);
        assert!(rig.engine.close(now, session.id).is_some());
        assert!(rig.engine.close(now, session.id).is_none());
        rig.run(now, 10);
    }
    assert_eq!(rig.engine.spare_entries(), spare);
    assert_eq!(rig.engine.flows().count(), 0);
    assert_eq!(rig.engine.spare_ports(), ports - 8, "four pairs on each side rest");
    assert_eq!(rig.engine.open(t(3_100), &request()).unwrap_err(), OpenError::NoPort);
    assert!(rig.engine.open(t(10_000), &request()).is_ok(), "the first pair has rested 10 s");
}

#[test]
fn a_full_table_refuses_the_call_and_leaves_the_others_alone() {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
    let table = FlowTable::new(&media, 20_000, 20_007, 12, 0);
    let mut engine = Engine::new(&config, table.clone(), vec![], Box::new(Link));
    let first = engine.open(t(0), &request()).unwrap();
    engine.update(t(0), first.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    engine.update(t(0), first.id, Side::B, &leg(B, 8, Encoding::Pcma));
    engine.phase(t(0), first.id, Phase::Confirmed);
    let second = engine.open(t(0), &request()).unwrap();
    engine.update(t(0), second.id, Side::A, &leg(A, 0, Encoding::Pcmu));
    engine.update(t(0), second.id, Side::B, &leg(B, 8, Encoding::Pcma));
    assert_eq!(engine.open(t(0), &request()).unwrap_err(), OpenError::TableFull);
    assert_eq!(engine.counters.refused_table, 1);
    assert_eq!(engine.flows().count(), 8);
    assert_eq!(engine.spare_ports(), 4, "a refused call keeps no port");
}

#[test]
fn two_sides_change_places_with_their_ports_and_their_peers() {
    let mut rig = rig();
    let (spare, ports) = (rig.engine.spare_entries(), rig.engine.spare_ports());
    let one = rig.call(t(0));
    let two = rig.engine.open(t(0), &request()).unwrap();
    rig.engine.update(t(0), two.id, Side::A, &leg("198.18.1.21:6100", 0, Encoding::Pcmu));
    rig.engine.update(t(0), two.id, Side::B, &leg("198.18.2.21:7100", 8, Encoding::Pcma));
    rig.engine.phase(t(0), two.id, Phase::Confirmed);
    let version = rig.version(one.id, Side::B).max(rig.version(two.id, Side::B));
    rig.engine.exchange(t(1_000), (one.id, Side::B), (two.id, Side::B));
    // Who called first is fed to who was called second, from the port that the latter knows; and the other way.
    let flow = |rig: &Rig, id, side| {
        let found = rig.engine.flows().find(|f| f.session == id && f.side == side && !f.plan.rtcp).unwrap();
        (found.local, found.plan.admit, found.plan.out_source, found.plan.out_destination.unwrap())
    };
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let (a1, b2) = (one.local[0].rtp, two.local[1].rtp);
    assert_eq!(flow(&rig, one.id, Side::A), (a1, Admit::Exact(at(A)), b2, at("198.18.2.21:7100")));
    assert_eq!(flow(&rig, one.id, Side::B), (b2, Admit::Exact(at("198.18.2.21:7100")), a1, at(A)));
    assert_eq!(flow(&rig, two.id, Side::B).3, at("198.18.1.21:6100"));
    assert_eq!(rig.engine.local(one.id, Side::B).unwrap().rtp, b2);
    // What was queued about the leg before says nothing of the one in its place.
    assert!(rig.version(one.id, Side::B) > version && rig.version(two.id, Side::B) > version);
    // Each session gives back what it now has, and no entry is lost on the way.
    assert!(rig.engine.close(t(1_000), two.id).is_some());
    rig.run(t(1_000), 10);
    assert_eq!(rig.engine.flows().count(), 4);
    assert!(rig.engine.close(t(2_000), one.id).is_some());
    rig.run(t(2_000), 10);
    assert_eq!((rig.engine.spare_entries(), rig.engine.spare_ports()), (spare, ports - 4));
    rig.engine.exchange(t(3_000), (one.id, Side::A), (two.id, Side::A));
}
