//! The generator: an XDP program that writes RTP of many streams, each in order, and sends at a pace.
//!
//! It runs inside the kernel on one CPU, on copies of one frame that are recycled (BPF_PROG_TEST_RUN with live frames),
//! and hands each to the cable's other end as a frame a driver would have received: no socket, no buffer to allocate.
//! The clock is read for each packet; what is not due yet is not sent. A generator that was kept from its core makes up
//! for `LATE_LIMIT_NS` and forgets the rest, so that no burst follows that nobody asked for; what it really sent, and
//! how long it took, is what counts.

use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tandem_lab::{inject::Noise, sys::enter_netns};

use super::{
    asm::{Alu, Assembler, Helper, If, R, Size},
    bpf::{Kind, Map, Program, Thread, interface_index, interrupt, pin, prefer, this_thread},
    usage,
};

/// Ethernet, IPv4, UDP, RTP, and 20 ms of G.711.
pub const FRAME_BYTES: usize = 14 + 20 + 8 + 12 + PAYLOAD_BYTES;
pub const PAYLOAD_BYTES: usize = 160;
/// Of the UDP header and what it carries, as its length field says.
pub const UDP_BYTES: u16 = 8 + 12 + PAYLOAD_BYTES as u16;
/// Where the payload begins, with the time of sending.
const STAMP_AT: usize = 54;
pub const STAMP_BYTES: usize = 8;

/// Redirected frames are flushed together, at most this many.
const BATCH: u32 = 16;
/// Runs of the program in one call: more than are needed. Setting a call up and tearing it down costs milliseconds, so
/// that one call is made for all packets, and it is interrupted once they are sent.
const REPEAT: u32 = u32::MAX;
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(5);
const LATE_LIMIT_NS: u64 = 100_000;
/// Fractions of a nanosecond that the pace is kept in.
const FRACTION_BITS: u32 = 8;

const XDP_DROP: i32 = 1;

/// One direction of one call: where its sender sends from, and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// What the program keeps, in words.
#[derive(Clone, Copy)]
enum Word {
    Due,
    Interval,
    Sent,
    Cursor,
    Remaining,
    FirstNs,
    LastNs,
}
const WORDS: usize = 7;

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub packets: u64,
    pub took: Duration,
    /// How long it stood in line for its core.
    pub waited: Duration,
}

impl Sent {
    pub fn rate(&self) -> f64 {
        self.packets as f64 / self.took.as_secs_f64()
    }
}

/// Where frames go in.
#[derive(Clone, Debug)]
pub struct Way {
    pub namespace: String,
    pub interface: String,
    pub source: [u8; 6],
    pub destination: [u8; 6],
}

pub struct Generator {
    way: Way,
    frame: Vec<u8>,
    state: Map<WORDS>,
    program: Program,
    /// The program refers to it.
    _streams: Map<4>,
    cpu: usize,
}

impl Generator {
    /// All streams end at one address; the payload type is PCMU's.
    pub fn new(way: Way, streams: &[Stream], cpu: usize) -> Result<Self> {
        let first = streams.first().context("no stream to send")?;
        ensure!(
            streams.iter().all(|s| s.from.ip() == first.from.ip() && s.to.ip() == first.to.ip()),
            "the generator sends between one pair of addresses"
        );
        let frame = template(&way, first)?;
        let state = Map::new(1)?;
        let table = Map::new(u32::try_from(streams.len())?)?;
        for (index, stream) in streams.iter().enumerate() {
            table.set(index as u32, &entry(&frame, stream, index as u32))?;
        }
        let out = in_namespace(&way.namespace, || interface_index(&way.interface))?;
        let program = Program::load(Kind::Xdp, &program(state.fd(), table.fd(), streams.len() as i32, out)?)?;
        Ok(Generator { way, frame, state, program, _streams: table, cpu })
    }

    pub fn payload(&self) -> &[u8] {
        &self.frame[STAMP_AT..]
    }

    /// Sends for about `length` at `rate` packets a second.
    pub fn send(&self, rate: f64, length: Duration) -> Result<Sent> {
        let mut words = self.state.get(0)?;
        let packets = (rate * length.as_secs_f64()).max(1.0) as u64;
        words[Word::Due as usize] = 0;
        words[Word::Interval as usize] = (1e9 * f64::from(1 << FRACTION_BITS) / rate) as u64;
        words[Word::Remaining as usize] = packets;
        (words[Word::Sent as usize], words[Word::FirstNs as usize]) = (0, 0);
        self.state.set(0, &words)?;
        let waited = self.run(length * 4 + Duration::from_secs(1))?;
        let words = self.state.get(0)?;
        let word = |which: Word| words[which as usize];
        Ok(Sent {
            packets: word(Word::Sent),
            // The last packet's own interval belongs to it.
            took: Duration::from_nanos(
                word(Word::LastNs) - word(Word::FirstNs) + (word(Word::Interval) >> FRACTION_BITS),
            ),
            waited,
        })
    }
}

impl Generator {
    /// Runs the program on a thread of its own until nothing remains to be sent, at most this long. Returns for how long
    /// others had its core.
    fn run(&self, limit: Duration) -> Result<Duration> {
        let (tell, told) = std::sync::mpsc::channel();
        let finished = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let result = self.run_here(tell);
                finished.store(true, Ordering::Release);
                result
            });
            if let Ok(runner) = told.recv() {
                // A thread of its own: it shares the generator's core, and must have it when it wants it.
                let watch = scope.spawn(move || self.watch(runner, finished, limit));
                watch.join().map_err(|_| anyhow::anyhow!("the generator's watch died"))??;
            }
            thread.join().map_err(|_| anyhow::anyhow!("the generator died"))?
        })
    }

    /// Interrupts the runner once nothing remains to be sent.
    fn watch(&self, runner: Thread, finished: &AtomicBool, limit: Duration) -> Result<()> {
        prefer(0)?;
        let deadline = Instant::now() + limit;
        while !finished.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
            if Instant::now() > deadline || self.state.get(0)?[Word::Remaining as usize] == 0 {
                interrupt(runner)?;
            }
        }
        Ok(())
    }

    fn run_here(&self, tell: Sender<Thread>) -> Result<Duration> {
        enter_netns(&self.way.namespace)?;
        pin(&[self.cpu])?;
        prefer(0)?;
        tell.send(this_thread()?)?;
        match self.program.run_live(&self.frame, REPEAT, BATCH) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                Err(error).context("BPF_PROG_TEST_RUN with live frames (Linux 5.18 or later) failed")
            }
            _ => Ok(usage::of_this_thread()?.waited),
        }
    }
}

/// Runs `f` on a thread inside the namespace, to its end.
pub fn in_namespace<T: Send>(namespace: &str, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_netns(namespace)?;
            f()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the thread inside {namespace} died"))?
    })
}

/// The frame that all copies begin as.
fn template(way: &Way, stream: &Stream) -> Result<Vec<u8>> {
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) = (stream.from.ip(), stream.to.ip()) else {
        anyhow::bail!("the generator sends IPv4");
    };
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    frame.extend(way.destination);
    frame.extend(way.source);
    frame.extend([8, 0]);
    // RFC 791 §3.1: version and length, precedence EF, total length, no fragment, 64 hops, UDP.
    frame.extend([0x45, 0xb8]);
    frame.extend((20 + UDP_BYTES).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    let checksum = !fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_ne_bytes());
    frame.extend([0; 4]);
    frame.extend(UDP_BYTES.to_be_bytes());
    frame.extend([0, 0]);
    // RFC 3550 §5.1: version 2, payload type 0; sequence, timestamp and SSRC are written for each packet.
    frame.extend([0x80, 0]);
    frame.extend([0; 10]);
    let mut payload = [0; PAYLOAD_BYTES];
    Noise::new(0x7a11).fill(&mut payload);
    frame.extend(payload);
    Ok(frame)
}

/// A stream's words: address (unused) and ports; SSRC; next sequence and timestamp; the sum of all that never changes.
fn entry(frame: &[u8], stream: &Stream, index: u32) -> [u64; 4] {
    let ports = u64::from(stream.from.port().to_be()) | u64::from(stream.to.port().to_be()) << 16;
    let ssrc = 0x7a00_0000 + index;
    let (sequence, timestamp) = (index.wrapping_mul(331) & 0xffff, index.wrapping_mul(77_777));
    // RFC 768's pseudo-header: both addresses, the protocol, the length. Then the datagram without what varies.
    let mut total = sum(&frame[26..34]) + u64::from(17u16.to_be()) + u64::from(UDP_BYTES.to_be());
    total += sum(&ports.to_le_bytes()[..4]) + u64::from(UDP_BYTES.to_be());
    total += sum(&frame[42..44]) + sum(&ssrc.to_be_bytes()) + sum(&frame[STAMP_AT + STAMP_BYTES..]);
    [ports << 32, u64::from(ssrc.to_be()), u64::from(sequence) | u64::from(timestamp) << 32, total]
}

/// RFC 1071 §2(B): the sum comes out right in whatever byte order it is taken, so it is taken in ours.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(2).map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn program(state: i32, streams: i32, count: i32, out: i32) -> Result<Vec<u64>> {
    let at = |word: Word| word as i16 * 8;
    let [ctx, now, own, stream] = [R(6), R(7), R(8), R(9)];
    let mut a = Assembler::default();
    a.mov(ctx, R(1));
    a.store_imm(Size::W, R(10), -4, 0);
    a.entry(state, -4, "drop");
    a.mov(own, R(0));
    a.load(Size::D, R(1), own, at(Word::Remaining));
    a.jump_if(R(1), If::Eq, 0, "drop");
    a.call(Helper::KtimeNs);
    a.mov(now, R(0));
    // Is it due? R9 is the time with its fraction.
    a.mov(R(9), now);
    a.alu(Alu::Lsh, R(9), FRACTION_BITS as i32);
    a.load(Size::D, R(2), own, at(Word::Due));
    a.jump_if(R(2), If::Ne, 0, "begun");
    a.mov(R(2), R(9));
    a.store(Size::D, own, at(Word::FirstNs), now);
    a.label("begun");
    a.jump_if(R(2), If::Gt, R(9), "drop");
    a.mov(R(3), R(9));
    a.alu(Alu::Sub, R(3), R(2));
    a.jump_if(R(3), If::Lt, (LATE_LIMIT_NS << FRACTION_BITS) as i32, "in_time");
    a.mov(R(2), R(9));
    a.label("in_time");
    a.load(Size::D, R(3), own, at(Word::Interval));
    a.alu(Alu::Add, R(2), R(3));
    a.store(Size::D, own, at(Word::Due), R(2));
    a.load(Size::D, R(1), own, at(Word::Remaining));
    a.alu(Alu::Sub, R(1), 1);
    a.store(Size::D, own, at(Word::Remaining), R(1));
    a.load(Size::D, R(1), own, at(Word::Sent));
    a.alu(Alu::Add, R(1), 1);
    a.store(Size::D, own, at(Word::Sent), R(1));
    a.store(Size::D, own, at(Word::LastNs), now);
    // Whose turn it is.
    a.load(Size::D, R(1), own, at(Word::Cursor));
    a.store(Size::W, R(10), -8, R(1));
    a.alu(Alu::Add, R(1), 1);
    a.jump_if(R(1), If::Lt, count, "next");
    a.mov(R(1), 0);
    a.label("next");
    a.store(Size::D, own, at(Word::Cursor), R(1));
    a.entry(streams, -8, "drop");
    a.mov(stream, R(0));
    write_packet(&mut a, ctx, now, stream);
    a.mov(R(1), out);
    a.mov(R(2), 0);
    a.call(Helper::Redirect);
    a.exit_r0();
    a.label("drop");
    a.exit(XDP_DROP);
    a.finish()
}

/// What differs from packet to packet, into the frame; R1 gathers the checksum.
fn write_packet(a: &mut Assembler, ctx: R, now: R, stream: R) {
    let data = R(2);
    a.load(Size::W, data, ctx, 0);
    a.load(Size::W, R(3), ctx, 4);
    a.mov(R(4), data);
    a.alu(Alu::Add, R(4), FRAME_BYTES as i32);
    a.jump_if(R(4), If::Gt, R(3), "drop");
    a.load(Size::W, R(5), stream, 4);
    a.store(Size::W, data, 34, R(5));
    a.load(Size::W, R(5), stream, 8);
    a.store(Size::W, data, 50, R(5));
    a.load(Size::D, R(1), stream, 24);
    // Sequence.
    a.load(Size::W, R(4), stream, 16);
    a.mov(R(5), R(4));
    a.alu(Alu::Add, R(5), 1);
    a.store(Size::W, stream, 16, R(5));
    a.big_endian(R(4), 16);
    a.store(Size::H, data, 44, R(4));
    a.alu(Alu::Add, R(1), R(4));
    // Timestamp: 20 ms at 8 kHz.
    a.load(Size::W, R(4), stream, 20);
    a.mov(R(5), R(4));
    a.alu(Alu::Add, R(5), 160);
    a.store(Size::W, stream, 20, R(5));
    a.big_endian(R(4), 32);
    a.store(Size::W, data, 46, R(4));
    add_halves(a, R(4), 2);
    // The time of sending.
    a.store(Size::D, data, STAMP_AT as i16, now);
    a.mov(R(4), now);
    add_halves(a, R(4), 4);
    for _ in 0..3 {
        a.mov(R(4), R(1));
        a.alu(Alu::Rsh, R(4), 16);
        a.alu(Alu::And, R(1), 0xffff);
        a.alu(Alu::Add, R(1), R(4));
    }
    a.alu(Alu::Xor, R(1), 0xffff);
    // RFC 768: a sum of zero is sent as all ones.
    a.jump_if(R(1), If::Ne, 0, "sum");
    a.mov(R(1), 0xffff);
    a.label("sum");
    a.store(Size::H, data, 40, R(1));
}

/// Adds the lowest `count` 16-bit words of `from` to R1.
fn add_halves(a: &mut Assembler, from: R, count: usize) {
    for _ in 0..count {
        a.mov(R(5), from);
        a.alu(Alu::And, R(5), 0xffff);
        a.alu(Alu::Add, R(1), R(5));
        a.alu(Alu::Rsh, from, 16);
    }
}
