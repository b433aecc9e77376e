//! Media where SIPp's own is too coarse: many calls, exact pacing, a moved port. One thread per namespace.
//!
//! It hears from the tap what offers and answers came to, and sends a frame every 20 ms for each such call from the
//! port that the phone named to the port it was told, until it has sent as many as it was asked for. Each call has an
//! SSRC of its own and every frame other bytes, so that any mix-up shows at the far end.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{frame::Rtp, sip::Agreed, sys::enter_netns};

pub const FRAME_MS: u64 = 20;
const FRAME_SAMPLES: u32 = 160;

/// What a talker sends.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Upper half of every SSRC: tells the sides apart.
    pub side: u16,
    /// Frames per call.
    pub frames: u32,
}

impl Words {
    /// The SSRC of the call with this called number.
    pub fn ssrc(&self, called: &str) -> u32 {
        let digits: u32 = called
            .chars()
            .filter(char::is_ascii_digit)
            .fold(0, |n: u32, c| n.wrapping_mul(10).wrapping_add(c.to_digit(10).unwrap_or(0)));
        u32::from(self.side) << 16 | (digits & 0xffff)
    }
}

/// The payload of a frame: all 256 codes occur, and no two frames or calls have the same.
pub fn payload(ssrc: u32, sequence: u16) -> [u8; FRAME_SAMPLES as usize] {
    let start = ssrc.wrapping_mul(37).wrapping_add(u32::from(sequence).wrapping_mul(101)) as u8;
    std::array::from_fn(|i| start.wrapping_add((i as u8).wrapping_mul(3)))
}

struct Line {
    agreed: Agreed,
    socket: UdpSocket,
    ssrc: u32,
    sent: u32,
    due: Instant,
}

/// What the talker did, for the test to read while it talks.
#[derive(Default)]
pub struct Tally {
    pub lines: AtomicU64,
    pub finished: AtomicU64,
    pub sent: AtomicU64,
    /// Sends that the kernel refused: such a frame never left.
    pub refused: AtomicU64,
    /// The most that a frame was late, in microseconds.
    pub latest_us: AtomicU64,
}

pub struct Talker {
    pub tally: Arc<Tally>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Talker {
    /// Talks until `agreements` is closed and every line has sent its frames.
    pub fn start(namespace: &str, agreements: Receiver<Agreed>, words: Words) -> Self {
        let tally = Arc::new(Tally::default());
        let (name, shared) = (namespace.to_owned(), Arc::clone(&tally));
        let thread = std::thread::spawn(move || {
            enter_netns(&name)?;
            talk(&agreements, words, &shared)
        });
        Talker { tally, thread: Some(thread) }
    }

    /// Waits until `calls` lines have sent all their frames, none of which the kernel may have refused.
    pub fn finish(&mut self, calls: u64, limit: Duration) -> Result<()> {
        self.wait(calls, limit)?;
        let refused = self.tally.refused.load(Ordering::Relaxed);
        ensure!(refused == 0, "the kernel refused {refused} of the generator's frames");
        Ok(())
    }

    /// Waits until `calls` lines have sent all their frames, or tried to.
    pub fn wait(&mut self, calls: u64, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.tally.finished.load(Ordering::Relaxed) < calls {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                self.join()?;
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "after {} s, {} of {calls} calls had started to talk and {} had finished",
                limit.as_secs(),
                self.tally.lines.load(Ordering::Relaxed),
                self.tally.finished.load(Ordering::Relaxed)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for the thread; the tap whose agreements it hears must be closed, or have let go of its end.
    pub fn join(&mut self) -> Result<()> {
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow::anyhow!("the talker died"))?,
            None => Ok(()),
        }
    }
}

fn talk(agreements: &Receiver<Agreed>, words: Words, tally: &Tally) -> Result<()> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let mut open = true;
    loop {
        // One look per millisecond: late enough to sleep, early enough for a 20 ms rhythm.
        match agreements.recv_timeout(Duration::from_millis(1)) {
            Ok(agreed) => {
                take(&mut lines, agreed, words)?;
                tally.lines.store(lines.len() as u64, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                open = false;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let now = Instant::now();
        let mut talking = false;
        for line in lines.values_mut() {
            while line.sent < words.frames && line.due <= now {
                let late = u64::try_from((now - line.due).as_micros()).unwrap_or(u64::MAX);
                tally.latest_us.fetch_max(late, Ordering::Relaxed);
                say(line, tally);
                if line.sent == words.frames {
                    tally.finished.fetch_add(1, Ordering::Relaxed);
                }
            }
            talking |= line.sent < words.frames;
        }
        if !open && !talking {
            return Ok(());
        }
    }
}

/// A new call gets a line; a known one that moved keeps its SSRC and its count.
fn take(lines: &mut BTreeMap<String, Line>, agreed: Agreed, words: Words) -> Result<()> {
    if let Some(line) = lines.get_mut(&agreed.call_id) {
        if line.agreed.local != agreed.local {
            line.socket = bind(&agreed)?;
        }
        line.agreed = agreed;
        return Ok(());
    }
    let ssrc = words.ssrc(&agreed.called);
    let socket = bind(&agreed)?;
    // Calls that were answered together still spread over the 20 ms.
    let phase = Duration::from_micros(u64::from(ssrc.wrapping_mul(7919) % 20) * 1000);
    let line = Line { socket, ssrc, sent: 0, due: Instant::now() + phase, agreed };
    lines.insert(line.agreed.call_id.clone(), line);
    Ok(())
}

fn bind(agreed: &Agreed) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(agreed.local).with_context(|| format!("cannot send from {}", agreed.local))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn say(line: &mut Line, tally: &Tally) {
    let sequence = line.sent as u16;
    let datagram = Rtp {
        pt: line.agreed.payload_type,
        marker: line.sent == 0,
        sequence,
        timestamp: line.sent.wrapping_mul(FRAME_SAMPLES),
        ssrc: line.ssrc,
        payload: &payload(line.ssrc, sequence),
    }
    .write();
    match line.socket.send_to(&datagram, line.agreed.remote) {
        Ok(_) => tally.sent.fetch_add(1, Ordering::Relaxed),
        Err(_) => tally.refused.fetch_add(1, Ordering::Relaxed),
    };
    line.sent += 1;
    line.due += Duration::from_millis(FRAME_MS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_occurs_and_calls_differ() {
        let mut seen = [false; 256];
        for sequence in 0..4 {
            payload(9, sequence).iter().for_each(|code| seen[usize::from(*code)] = true);
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_ne!(payload(1, 0), payload(2, 0));
        assert_ne!(payload(1, 0), payload(1, 1));
    }
}
