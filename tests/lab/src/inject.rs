//! Packets that do not belong: sent by the laboratory itself, from a socket inside a namespace. Any thread.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    frame::Rtp,
    net::Namespace,
    sys::{allow_files, in_netns},
};

/// A sender with its own address and a steady pace.
pub struct Injector {
    socket: UdpSocket,
    next: Instant,
    interval: Duration,
    pub sent: u64,
}

impl Injector {
    pub fn new(namespace: &str, from: SocketAddr, packets_per_second: u32) -> Result<Self> {
        let socket = in_netns(namespace, || UdpSocket::bind(from)).with_context(|| format!("cannot bind {from}"))?;
        let interval = Duration::from_secs(1) / packets_per_second.max(1);
        Ok(Injector { socket, next: Instant::now(), interval, sent: 0 })
    }

    /// The same sender at another pace, with a count of its own.
    pub fn clone_paced(other: &Injector, packets_per_second: u32) -> Result<Self> {
        let interval = Duration::from_secs(1) / packets_per_second.max(1);
        Ok(Injector { socket: other.socket.try_clone()?, next: Instant::now(), interval, sent: 0 })
    }

    /// Sends when it is due. Bursts of a millisecond's worth make up for sleep that is too long.
    pub fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> Result<()> {
        let now = Instant::now();
        if self.next > now + Duration::from_millis(1) {
            std::thread::sleep(self.next - now);
        }
        self.next = self.next.max(now.checked_sub(Duration::from_millis(50)).unwrap_or(now)) + self.interval;
        // An ICMP error for an earlier datagram is reported by the next send, which then did not happen: once more.
        if self.socket.send_to(datagram, to).is_err() {
            self.socket.send_to(datagram, to)?;
        }
        self.sent += 1;
        Ok(())
    }

    /// Valid RTP in a row, as someone would send who wants to be taken for the phone.
    pub fn talk(&mut self, to: SocketAddr, payload_type: u8, ssrc: u32, packets: u16) -> Result<()> {
        for sequence in 0..packets {
            let datagram = Rtp {
                pt: payload_type,
                marker: sequence == 0,
                sequence,
                timestamp: u32::from(sequence) * 160,
                ssrc,
                payload: &[0x55; 160],
            }
            .write();
            self.send(to, &datagram)?;
        }
        Ok(())
    }
}

/// A small generator of bytes that look like nothing in particular, the same ones for the same seed (xorshift64*).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Noise(seed.max(1))
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound.max(1)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Many senders with addresses of their own, who look for an open PBX.
pub struct Crowd {
    sockets: Vec<UdpSocket>,
}

impl Crowd {
    /// The first `count` addresses of `network`, all of them at home in this namespace.
    pub fn gather(namespace: &Namespace, network: &str, count: u32) -> Result<Self> {
        namespace.ip(&["route", "add", "local", network, "dev", "lo"])?;
        allow_files(u64::from(count) + 512).context("too few files may be open")?;
        let first = network.split('/').next().unwrap_or_default();
        let first = u32::from(first.parse::<Ipv4Addr>().with_context(|| format!("{network} is no IPv4 network"))?);
        let sockets = in_netns(&namespace.name, || {
            let addresses = (0..count).map(|n| Ipv4Addr::from(first + n));
            addresses.map(|address| UdpSocket::bind((address, 5060))).collect::<io::Result<Vec<_>>>()
        });
        Ok(Crowd { sockets: sockets.context("a scanner got no socket")? })
    }

    /// Scans for that long. Half of them call themselves what scanners do, the others what phones do. Returns how many
    /// messages left.
    pub fn scan(&self, target: IpAddr, per_second: u32, time: Duration) -> Result<u64> {
        let to = SocketAddr::new(target, 5060);
        let start = Instant::now();
        let mut sent = 0u64;
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
            while sent < due {
                let at = (sent % self.sockets.len() as u64) as usize;
                let text = scan_message(at, sent, to);
                // An ICMP error for an earlier one is reported by the next send, which then did not happen.
                if self.sockets[at].send_to(text.as_bytes(), to).is_err() {
                    self.sockets[at].send_to(text.as_bytes(), to)?;
                }
                sent += 1;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        let reached = sent as f64 / start.elapsed().as_secs_f64();
        ensure!(reached >= f64::from(per_second) * 0.95, "the scan reached {reached:.0} messages per second only");
        Ok(sent)
    }
}

fn scan_message(who: usize, number: u64, to: SocketAddr) -> String {
    let (method, agent) = match who % 4 {
        0 => ("OPTIONS", "friendly-scanner"),
        1 => ("REGISTER", "Acme Phone 2.1"),
        2 => ("INVITE", "sipcli/v1.8"),
        _ => ("INVITE", "Acme Phone 2.1"),
    };
    format!(
        "{method} sip:{user}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-{number};rport\r\n\
         From: <sip:{user}@{to}>;tag={number:x}\r\nTo: <sip:{user}@{to}>\r\nCall-ID: {number:016x}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:{user}@192.0.2.9>\r\nMax-Forwards: 70\r\nUser-Agent: {agent}\r\n\
         Content-Length: 0\r\n\r\n",
        user = 100 + number / 1_000
    )
}
