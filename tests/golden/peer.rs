//! Debian's rtpengine as a peer of tandem's: it is given the same commands, and its descriptions are compared line by line,
//! but for what it says in its own way everywhere.

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Speaker, told};

pub const ADDRESSES: &[(&str, &str)] =
    &[("{A}", "127.0.0.1"), ("{A6}", "::1"), ("{B}", "127.0.0.2"), ("{C}", "203.0.113.9")];

pub struct Rtpengine {
    process: Child,
    socket: UdpSocket,
    commands: u32,
}

impl Rtpengine {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        // A port that was free a moment ago.
        let at = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let process = Command::new("rtpengine")
            .args([
                "--foreground",
                "--log-stderr",
                "--log-level=1",
                "--table=-1",
                "--port-min=31000",
                "--port-max=32999",
            ])
            .args(["--interface=a/127.0.0.1", "--interface=a/::1", "--interface=b/127.0.0.2"])
            .arg("--interface=c/127.0.0.3!203.0.113.9")
            .arg(format!("--listen-ng={at}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) => panic!("rtpengine does not start: run `apt-get install rtpengine-daemon` first ({error})"),
        };
        socket.connect(at).unwrap();
        let mut rtpengine = Rtpengine { process, socket, commands: 0 };
        let end = Instant::now() + Duration::from_secs(10);
        while rtpengine.exchange(b"d7:command4:pinge").is_none() {
            assert!(Instant::now() < end, "rtpengine does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        rtpengine
    }

    fn exchange(&mut self, payload: &[u8]) -> Option<Bytes> {
        self.commands += 1;
        let cookie = format!("k{} ", self.commands);
        self.socket.send(&[cookie.as_bytes(), payload].concat()).ok()?;
        let mut buffer = vec![0; 65_536];
        loop {
            let len = self.socket.recv(&mut buffer).ok()?;
            if let Some(reply) = buffer[..len].strip_prefix(cookie.as_bytes()) {
                return Some(Bytes::copy_from_slice(reply));
            }
        }
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Speaker for Rtpengine {
    const OURS: bool = false;

    fn ask(&mut self, payload: &[u8]) -> Result<String, String> {
        told(&self.exchange(payload).expect("rtpengine answers"))
    }
}

/// None: they say the same. Within a section the order of attributes means nothing (RFC 8866 §5.13), and rtpengine has an
/// order of its own. It also says what need not be said: a=rtpmap for types whose meaning is fixed (RFC 3551 §6),
/// a=sendrecv (RFC 8866 §6.7.3), and in answers a=ptime:20, its default.
pub fn differs(expected: &str, found: &str) -> Option<String> {
    let (expected, found) = (sections(expected), sections(found));
    if expected.len() != found.len() {
        return Some(format!("{} sections, not {}", found.len() - 1, expected.len() - 1));
    }
    expected.iter().zip(&found).find_map(|(expected, found)| {
        let missing = expected.iter().find(|line| !found.contains(line));
        let more = found.iter().find(|line| !expected.contains(line) && !is_usual(line));
        missing.map(|line| format!("lacks {line}")).or_else(|| more.map(|line| format!("has {line}")))
    })
}

fn sections(text: &str) -> Vec<Vec<String>> {
    let mut sections = vec![Vec::new()];
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap().push(line.to_owned());
    }
    sections
}

fn is_usual(line: &str) -> bool {
    let fixed = |line: &str| {
        let pt = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split(' ').next()?.parse::<u8>().ok());
        pt.is_some_and(|pt| pt < 96)
    };
    line == "a=sendrecv" || line == "a=ptime:20" || fixed(line)
}
