//! Packets that do not belong: sent by the laboratory itself, from a socket inside a namespace. Any thread.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{frame::Rtp, sys::in_netns};

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
