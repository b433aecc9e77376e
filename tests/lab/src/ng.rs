//! A client of the ng protocol, as a proxy has one: a socket in a namespace, a cookie per command. Main thread.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{net::Namespace, sys::in_netns};

pub struct Client {
    socket: UdpSocket,
    cookie: u64,
}

/// What a burst of commands came to.
#[derive(Debug, Default)]
pub struct Burst {
    pub sent: u64,
    /// By their `result`.
    pub results: HashMap<String, u64>,
    /// From sending to hearing, the longest.
    pub slowest: Duration,
}

impl Client {
    pub fn open(namespace: &Namespace, node: SocketAddr) -> Result<Self> {
        let socket = in_netns(&namespace.name, || {
            let any: SocketAddr = if node.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any)?;
            socket.connect(node)?;
            Ok(socket)
        })?;
        Ok(Client { socket, cookie: 0 })
    }

    fn send(&mut self, command: &Value) -> io::Result<u64> {
        self.cookie += 1;
        self.socket.send(format!("lab{} {command}", self.cookie).as_bytes())?;
        Ok(self.cookie)
    }

    /// One command and its answer.
    pub fn ask(&mut self, command: &Value) -> Result<Value> {
        self.socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let cookie = self.send(command)?;
        loop {
            let (heard, answer) = self.hear().with_context(|| format!("no answer to {command}"))?;
            if heard == cookie {
                return Ok(answer);
            }
        }
    }

    fn hear(&self) -> Result<(u64, Value)> {
        let mut buffer = vec![0; 65_536];
        let len = self.socket.recv(&mut buffer)?;
        let text = std::str::from_utf8(&buffer[..len])?;
        let Some((cookie, answer)) = text.split_once(' ') else { bail!("an answer without a cookie: {text}") };
        let cookie = cookie.strip_prefix("lab").and_then(|c| c.parse().ok()).context("a cookie of another")?;
        Ok((cookie, serde_json::from_str(answer)?))
    }

    /// So many commands a second, in even steps; then waits for what is still to come.
    pub fn burst(&mut self, per_second: u64, count: u64, command: impl Fn(u64) -> Value) -> Result<Burst> {
        let mut burst = Burst::default();
        let mut waiting: HashMap<u64, Instant> = HashMap::new();
        let began = Instant::now();
        self.socket.set_nonblocking(true)?;
        while burst.sent < count || !waiting.is_empty() {
            let due = (began.elapsed().as_micros() as u64 * per_second / 1_000_000).min(count);
            while burst.sent < due {
                let cookie = self.send(&command(burst.sent))?;
                waiting.insert(cookie, Instant::now());
                burst.sent += 1;
            }
            while let Ok((cookie, answer)) = self.hear() {
                let Some(since) = waiting.remove(&cookie) else { continue };
                burst.slowest = burst.slowest.max(since.elapsed());
                let result = answer["result"].as_str().unwrap_or("none").to_owned();
                *burst.results.entry(result).or_default() += 1;
            }
            ensure!(
                began.elapsed() < Duration::from_secs(60),
                "{} of {count} commands were not answered",
                waiting.len()
            );
            std::thread::sleep(Duration::from_micros(500));
        }
        self.socket.set_nonblocking(false)?;
        Ok(burst)
    }
}

/// An offer of G.711 from nobody that is there.
pub fn offer(call_id: &str) -> Value {
    json!({
        "command": "offer", "call-id": call_id, "from-tag": "f", "direction": ["a4", "b4"],
        "sdp": "v=0\r\no=- 1 1 IN IP4 198.18.1.99\r\ns=-\r\nc=IN IP4 198.18.1.99\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
    })
}
