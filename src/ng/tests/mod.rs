//! The machine from a proxy's side, with call control behind it and the clock in the tests' hands.

mod blocking;
mod calls;
mod forks;
mod limits;
mod state;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Ng, Settings, bencode,
    value::{Dictionary, Value},
};
use crate::{
    base::{Time, ids::Side},
    config::Config,
    control::{engine::Engine, tests::Link},
    flow::{FlowClass, FlowTable, Plan},
};

const CONFIG: &str = r#"
port = [
  { name = "p", device = "net_null0", exception = "t0", addresses = ["198.18.1.10/24"] },
]
address = [
  { name = "a", port = "p", local = "198.18.1.10" },
  { name = "b", port = "p", local = "198.18.2.10", advertise = "203.0.113.9" },
  { name = "b6", port = "p", local = "2001:db8::10" },
]
[media]
ports = { low = 20000, high = 20099 }
[sip]
listen = [{ address = "a" }]
[ng]
media = ["a"]
offer_timeout_s = 60
silent_timeout_s = 600
max_calls = 20
[[ng.interface]]
name = "out"
media = ["b", "b6"]
"#;

struct Rig {
    ng: Ng,
    engine: Engine,
    cookie: u32,
}

fn rig() -> Rig {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
    let table = FlowTable::new(&media, 20_000, 20_099, 2_048, 0);
    let engine = Engine::new(&config, table, Vec::new(), Box::new(Link));
    let ng = Ng::new(Settings::of(&config).unwrap(), 7, t(0), 1_700_000_000_000);
    Rig { ng, engine, cookie: 0 }
}

fn t(seconds: u64) -> Time {
    Time::from_secs(seconds)
}

/// A description of audio at this address.
fn sdp(at: &str, formats: &str) -> String {
    let at: SocketAddr = at.parse().unwrap();
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n\
         a=rtpmap:101 telephone-event/8000\r\n",
        ip = at.ip(),
        port = at.port()
    )
}

/// A command of a call, from `f` and to `to`.
fn command(name: &str, from: &str, to: &str) -> Dictionary {
    let command = Dictionary::default().with("command", name).with("call-id", "c").with("from-tag", from);
    if to.is_empty() { command } else { command.with("to-tag", to) }
}

fn offer(from: &str, to: &str, sdp: String) -> Dictionary {
    command("offer", from, to).with("sdp", sdp)
}

fn answer(from: &str, to: &str, sdp: String) -> Dictionary {
    command("answer", from, to).with("sdp", sdp)
}

impl Rig {
    fn send(&mut self, now: Time, command: &Dictionary) -> Dictionary {
        self.cookie += 1;
        let mut bytes = format!("k{} ", self.cookie).into_bytes();
        let prefix = bytes.clone();
        bencode::write_dictionary(command, &mut bytes);
        let reply = self.raw(now, &bytes).unwrap();
        let rest = Bytes::copy_from_slice(reply.strip_prefix(prefix.as_slice()).unwrap());
        match bencode::read(&rest).unwrap() {
            Value::Dictionary(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn raw(&mut self, now: Time, bytes: &[u8]) -> Option<Bytes> {
        let source = [127, 0, 0, 1].into();
        self.ng.message(now, source, &Bytes::copy_from_slice(bytes), &mut self.engine)
    }

    /// The description in the answer to a command that must succeed.
    fn told(&mut self, now: Time, command: &Dictionary) -> String {
        let reply = self.send(now, command);
        assert_eq!(text(&reply, "result"), "ok", "{}", text(&reply, "error-reason"));
        text(&reply, "sdp").to_owned()
    }

    fn fails(&mut self, now: Time, command: &Dictionary) -> String {
        let reply = self.send(now, command);
        assert_eq!(text(&reply, "result"), "error", "{reply:?}");
        text(&reply, "error-reason").to_owned()
    }

    /// An answered call of `f` at 192.0.2.1:4000 and `t` at 192.0.2.2:5000.
    fn call(&mut self, now: Time) {
        self.told(now, &offer("f", "", sdp("192.0.2.1:4000", "0 101")));
        self.told(now, &answer("f", "t", sdp("192.0.2.2:5000", "0 101")));
    }

    fn tick(&mut self, now: Time) {
        self.engine.tick(now);
        while let Some(event) = self.engine.poll_event() {
            if let crate::control::engine::ControlEvent::MediaTimeout(session) = event {
                self.ng.media_timeout(now, session, &mut self.engine);
            }
        }
        self.ng.tick(now, &mut self.engine);
    }

    /// The plans in force for RTP of one side.
    fn plans(&self, side: Side) -> Vec<Plan> {
        let rtp = self.engine.flows().filter(|flow| flow.side == side && flow.class == FlowClass::Rtp);
        rtp.map(|flow| flow.plan.clone()).collect()
    }
}

fn text<'a>(reply: &'a Dictionary, key: &str) -> &'a str {
    reply.get(key).and_then(Value::text).unwrap_or_default()
}

/// The port of the first section.
fn port(sdp: &str) -> u16 {
    sdp.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn addr(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn the_rig_has_room_for_what_the_tests_open() {
    let rig = rig();
    assert!(rig.engine.spare_ports() >= 100, "{}", rig.engine.spare_ports());
    assert!(Arc::strong_count(&Arc::new(())) == 1);
}
