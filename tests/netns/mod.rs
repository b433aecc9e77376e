//! Network namespaces for tests. A test that needs them runs twice: outside it lays namespaces and runs itself again
//! inside one (`ip netns exec`), so that no test needs `unsafe` to change its own. Without root it says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::{
    env,
    process::{Command, Output},
};

const INSIDE: &str = "TANDEM_TEST_NETNS";

/// Namespaces `a` and `b`, joined by veth `a0`–`b0` per pair asked for; gone when dropped, also after a panic.
pub struct Lab {
    prefix: String,
}

impl Lab {
    /// `a<i>` in namespace a, `b<i>` in namespace b, up, without addresses.
    pub fn lay(name: &str, pairs: usize) -> Lab {
        let lab = Lab { prefix: format!("td{}{name}", std::process::id()) };
        let (a, b) = (lab.ns("a"), lab.ns("b"));
        for ns in [&a, &b] {
            run("ip", &["netns", "add", ns]);
            run("ip", &["-n", ns, "link", "set", "lo", "up"]);
        }
        for i in 0..pairs {
            let (near, far) = (format!("a{i}"), format!("b{i}"));
            // One queue each way: net_af_xdp serves no more on a veth.
            let make = format!(
                "link add {near} netns {a} numrxqueues 1 numtxqueues 1 type veth \
                 peer name {far} netns {b} numrxqueues 1 numtxqueues 1"
            );
            let make: Vec<&str> = make.split_whitespace().collect();
            run("ip", &make);
            run("ip", &["-n", &a, "link", "set", &near, "up"]);
            run("ip", &["-n", &b, "link", "set", &far, "up"]);
        }
        lab
    }

    pub fn ns(&self, which: &str) -> String {
        format!("{}{which}", self.prefix)
    }

    /// Runs `test` of this very binary inside namespace a; it finds namespace b's name in `outside`.
    pub fn run_inside(&self, test: &str) {
        let done = Command::new("ip")
            .args(["netns", "exec", &self.ns("a")])
            .arg(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, &self.prefix)
            .output()
            .unwrap();
        print!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{test} failed inside the namespace");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for which in ["a", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(which)]).output();
        }
    }
}

/// Inside: the lab that the outer test laid. Outside: `None`.
pub fn inside() -> Option<Inside> {
    env::var(INSIDE).ok().map(|prefix| Inside { prefix })
}

#[derive(Clone)]
pub struct Inside {
    prefix: String,
}

impl Inside {
    /// Standard output of a command in namespace b that must succeed.
    pub fn in_b(&self, command: &str) -> String {
        let done = self.attempt_in_b(command);
        assert!(done.status.success(), "{command}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    pub fn attempt_in_b(&self, command: &str) -> Output {
        let ns = format!("{}b", self.prefix);
        let words: Vec<&str> = ["netns", "exec", &ns].into_iter().chain(command.split(' ')).collect();
        attempt("ip", &words)
    }

    /// The MAC of an interface in namespace b.
    pub fn mac_in_b(&self, interface: &str) -> [u8; 6] {
        mac(&self.in_b(&format!("cat /sys/class/net/{interface}/address")))
    }
}

pub fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text.trim().split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Standard output of a command that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let done = attempt(program, arguments);
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

pub fn attempt(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// True where namespaces can be made; else prints why the test does nothing.
pub fn possible(test: &str) -> bool {
    let root = run("id", &["-u"]).trim() == "0";
    if !root {
        println!("skipped: {test} makes network namespaces, which takes root");
    }
    root
}
