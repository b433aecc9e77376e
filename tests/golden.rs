//! Descriptions through the `ng` protocol: what is offered and answered, and what each side is then told, in data files
//! (`tests/golden/*.toml`) made from the RFCs and from rtpengine's documentation, one sentence each on why.
//!
//! The same cases go to Debian's rtpengine, an independent peer. Where it tells something else, the case says so (`differs`);
//! a difference that nobody has explained fails the test, and so does one that is explained and not there.
//!
//! A file is a list of cases. `keys` go with the offer, `answer_keys` with the answer; `more` are later exchanges. A
//! description that begins without `v=` is completed by the lines that every one has. In what is expected `{A}` is
//! tandem's address on the offerer's interface by name, `{a1}` its port for section 1 on the offerer's side, `{b1+1}` the
//! port behind that on the answerer's side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/peer.rs"]
mod peer;

use std::net::IpAddr;

use bytes::Bytes;
use cases::{Case, Ports, all, completed, filled, message};
use peer::Rtpengine;
use tandem::{
    base::{Time, ids::PortId},
    config::Config,
    control::{engine::Engine, neighbours::Kernel},
    flow::FlowTable,
    ng::{Ng, Settings, bencode, value::Value},
};

const CONFIG: &str = r#"
port = [{ name = "p", device = "net_null0", exception = "t0", addresses = ["198.18.1.10/24"] }]
address = [
  { name = "a", port = "p", local = "198.18.1.10" },
  { name = "a6", port = "p", local = "2001:db8:1::10" },
  { name = "b", port = "p", local = "198.18.2.10" },
  { name = "c", port = "p", local = "198.18.3.10", advertise = "203.0.113.9" },
]
[media]
ports = { low = 20000, high = 20999 }
[sip]
listen = [{ address = "a" }]
[ng]
media = ["a", "a6"]
"#;

/// What the names in braces stand for, in the configuration above.
const ADDRESSES: &[(&str, &str)] =
    &[("{A}", "198.18.1.10"), ("{A6}", "2001:db8:1::10"), ("{B}", "198.18.2.10"), ("{C}", "203.0.113.9")];

struct Link;

impl Kernel for Link {
    fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        Some((PortId(0), destination))
    }

    fn watch(&mut self, _: PortId, _: IpAddr) -> Option<[u8; 6]> {
        None
    }

    fn forget(&mut self, _: PortId, _: IpAddr) {}
}

struct Tandem {
    ng: Ng,
    engine: Engine,
    commands: u32,
}

impl Tandem {
    fn new() -> Self {
        let config: Config = toml::from_str(CONFIG).unwrap();
        let media: Vec<IpAddr> = config.addresses.iter().map(|a| a.local).collect();
        let table = FlowTable::new(&media, 20_000, 20_999, 4_096, 0);
        let engine = Engine::new(&config, table, Vec::new(), Box::new(Link));
        Tandem { ng: Ng::new(Settings::of(&config).unwrap(), 1, Time::ZERO, 0), engine, commands: 0 }
    }
}

/// Whoever answers commands: the description told, or why there is none.
trait Speaker {
    /// Whether it says why in the words of the cases.
    const OURS: bool;

    fn ask(&mut self, payload: &[u8]) -> Result<String, String>;
}

fn told(reply: &Bytes) -> Result<String, String> {
    let Value::Dictionary(reply) = bencode::read(reply).unwrap() else { panic!("the reply is no dictionary") };
    let text = |key: &str| reply.get(key).and_then(Value::text).map(str::to_owned);
    match text("result").as_deref() {
        Some("ok") => Ok(text("sdp").unwrap_or_default()),
        _ => Err(text("error-reason").unwrap_or_default()),
    }
}

impl Speaker for Tandem {
    const OURS: bool = true;

    fn ask(&mut self, payload: &[u8]) -> Result<String, String> {
        self.commands += 1;
        let cookie = format!("k{} ", self.commands);
        let bytes = Bytes::from([cookie.as_bytes(), payload].concat());
        let reply = self.ng.message(Time::from_secs(1), [127, 0, 0, 1].into(), &bytes, &mut self.engine).unwrap();
        assert!(reply.starts_with(cookie.as_bytes()));
        told(&reply.slice(cookie.len()..))
    }
}

/// Plays a case. What `judge` has to say of each description comes back, with the part of the case it is about.
fn play<S: Speaker>(
    case: &Case,
    speaker: &mut S,
    addresses: &[(&str, &str)],
    judge: &dyn Fn(&str, &str) -> Option<String>,
) -> Vec<String> {
    let mut ports = Ports::default();
    let mut complaints = Vec::new();
    for (at, round) in case.rounds().enumerate() {
        for part in round.parts() {
            let found = speaker.ask(&message(&case.name, &part));
            let complaint = match (&part.expected, &part.error, found) {
                (Some(expected), _, Ok(found)) => {
                    ports.learn(&completed(expected, part.origin), &found);
                    judge(&filled(&completed(expected, part.origin), &ports, addresses), &found)
                }
                (Some(_), _, Err(error)) => Some(format!("error: {error}")),
                (None, Some(error), Err(found)) if !S::OURS || found.contains(error.as_str()) => None,
                (None, Some(error), found) => Some(format!("no error with {error:?}, but {found:?}")),
                (None, None, _) => None,
            };
            complaints.extend(complaint.map(|what| format!("{} {} {at}: {what}", case.name, part.command)));
        }
    }
    complaints
}

#[test]
fn tandem_tells_each_side_what_is_expected() {
    let cases = all();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut tandem = Tandem::new();
    let exact = |expected: &str, found: &str| {
        (expected.replace('\n', "\r\n") != found).then(|| format!("\n--- expected\n{expected}--- found\n{found}"))
    };
    let wrong: Vec<String> = cases.iter().flat_map(|case| play(case, &mut tandem, ADDRESSES, &exact)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rtpengine_tells_the_same_but_where_a_difference_is_explained() {
    let mut rtpengine = Rtpengine::start();
    let mut wrong = Vec::new();
    for case in all() {
        let found = play(&case, &mut rtpengine, peer::ADDRESSES, &peer::differs);
        match (&case.differs, found.is_empty()) {
            (None, false) => wrong.push(format!("unexplained: {}", found.join("\n"))),
            (Some(why), true) => wrong.push(format!("{}: it is said that {why}; it does not differ", case.name)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_lists_every_difference_with_its_reason() {
    let page = include_str!("../docs/ng.md");
    for case in all() {
        let Some(why) = &case.differs else { continue };
        let row = format!("| `{}` | {why} |", case.name);
        assert!(page.lines().any(|line| line == row), "docs/ng.md lacks\n{row}");
    }
}
