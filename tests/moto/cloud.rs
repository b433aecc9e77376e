//! EC2 as tests have it: moto's server as a child process, steered by HTTP. One server per test program; a test that
//! makes a world has it alone until it drops it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

struct Server {
    /// Its standard input: when it closes, with this process, the server ends.
    _child: Child,
    base: String,
}

static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(start()));

fn start() -> Server {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(root.join("scripts/moto"))
        .args(["--listen", "127.0.0.1:0", "--policy"])
        .arg(root.join("ami/iam/tandem-pair-policy.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/moto runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let base = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned));
    Server { _child: child, base: base.expect("scripts/moto says where it answers") }
}

/// A world: see `world.py`.
pub struct Cloud {
    _alone: MutexGuard<'static, Server>,
    pub base: String,
    pub facts: Value,
}

impl Cloud {
    pub fn new(shape: &Value) -> Self {
        // A test that failed leaves no world that the next one would see.
        let alone = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        let base = alone.base.clone();
        let facts = http(&base, "POST", "/tandem/world", &shape.to_string());
        Cloud { _alone: alone, base, facts }
    }

    pub fn text(&self, pointer: &str) -> String {
        let found = self.facts.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{pointer} in {}", self.facts)).to_owned()
    }

    pub fn interface(&self, host: &str) -> String {
        self.text(&format!("/hosts/{host}/interface"))
    }

    /// Replaces what goes wrong from now on: see `README.md`.
    pub fn faults(&self, faults: &Value) {
        let answer = http(&self.base, "PUT", "/tandem/faults", &faults.to_string());
        assert!(answer.get("unknown").is_none(), "{answer}");
    }

    /// Which host packets to `address` go to.
    pub fn host_of(&self, address: &str) -> String {
        let answer = http(&self.base, "GET", &format!("/tandem/where?address={address}"), "");
        answer["host"].as_str().unwrap_or("none").to_owned()
    }

    /// What was asked since the world began, or since this was called last.
    pub fn seen(&self) -> Vec<Value> {
        http(&self.base, "DELETE", "/tandem/seen", "").as_array().unwrap().clone()
    }

    /// The actions of the API among it, in order.
    pub fn actions(&self) -> Vec<String> {
        self.seen().iter().filter_map(|one| one["action"].as_str().map(str::to_owned)).collect()
    }
}

/// One request without keep-alive; the answer is JSON.
fn http(base: &str, method: &str, path: &str, body: &str) -> Value {
    let host = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).expect("moto answers");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 400"), "{method} {path}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"))
}
