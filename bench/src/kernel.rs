//! The conversion's inner loop alone, in the first-level cache: bytes per cycle against memcpy, against a scalar table
//! and against libraries that others use. Main thread.
//!
//! Every subject runs in the same loop over the same burst of payloads, which lie as they do in mbufs: 32 of them, at
//! different places, behind 54 bytes of headers. tandem's kernel converts where the bytes lie and gives two checksums
//! and silence besides; memcpy, spandsp and FFmpeg write to a second place of the same kind.

use std::hint::black_box;

use anyhow::{Result, ensure};
use tandem::codec::Kernel;

use crate::{
    Bench,
    foreign::{self, Ffmpeg, Spandsp},
    report::{Better, Report, Row, Series, median},
};

const PAYLOAD: usize = 160;
const BURST: usize = 32;
/// Headers in front of a payload: Ethernet, IPv4, UDP, RTP.
const HEADERS: usize = 54;
const LONGEST: usize = 480;
const STRIDE: usize = 640;
/// Ticks that one sample lasts at least.
const SAMPLE_TICKS: u64 = 4_000_000;
const SAMPLES: usize = 7;

/// Two bursts of payloads.
struct Payloads {
    from: Vec<u8>,
    to: Vec<u8>,
    len: usize,
}

impl Payloads {
    fn new(len: usize) -> Payloads {
        let from = (0..BURST * STRIDE).map(|i| (i * 37 + i / 7) as u8).collect();
        Payloads { from, to: vec![0; BURST * STRIDE], len }
    }

    /// Bytes per tick of `one`, called for each payload in turn: the median of some samples.
    fn rate(&mut self, mut one: impl FnMut(&mut [u8], &mut [u8])) -> f64 {
        let mut pass = |payloads: &mut Payloads| {
            for (to, from) in payloads.to.chunks_mut(STRIDE).zip(payloads.from.chunks_mut(STRIDE)) {
                let end = HEADERS + payloads.len;
                one(black_box(&mut to[HEADERS..end]), black_box(&mut from[HEADERS..end]));
            }
        };
        let mut samples = Vec::with_capacity(SAMPLES);
        // The first sample warms up and is dropped.
        for _ in 0..=SAMPLES {
            let start = foreign::ticks();
            let (mut passes, mut taken) = (0, 0);
            while taken < SAMPLE_TICKS {
                for _ in 0..64 {
                    pass(self);
                }
                passes += 64;
                taken = foreign::ticks() - start;
            }
            samples.push((passes * BURST * self.len) as f64 / taken as f64);
        }
        median(&samples[1..])
    }

    fn memcpy(&mut self) -> f64 {
        self.rate(|to, from| foreign::memcpy(to, from))
    }

    fn kernel(&mut self, kernel: Kernel) -> f64 {
        self.rate(|_, payload| {
            black_box(kernel.mu_to_a(payload));
        })
    }
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fastest = Kernel::detect();
    let scalar = Kernel::available()[0];
    let spandsp = Spandsp::load()?;
    let mut convert_by_spandsp = spandsp.converter()?;
    let mut ffmpeg = Ffmpeg::load()?;
    let mut payloads = Payloads::new(PAYLOAD);
    let (mut copies, mut tables, mut spandsps, mut ffmpegs) = (vec![], vec![], vec![], vec![]);
    let mut refused = 0;
    for round in 1..=bench.rounds {
        bench.step(&format!("kernel, round {round} of {}", bench.rounds));
        copies.push((payloads.kernel(fastest), payloads.memcpy()));
        tables.push((payloads.kernel(fastest), payloads.kernel(scalar)));
        spandsps.push((payloads.kernel(fastest), payloads.rate(|to, from| convert_by_spandsp(to, from))));
        let by_ffmpeg = payloads.rate(|to, from| refused += usize::from(!ffmpeg.convert(to, from)));
        ffmpegs.push((payloads.kernel(fastest), by_ffmpeg));
    }
    ensure!(refused == 0, "FFmpeg refused {refused} payloads");
    report.rows.push(
        Row::versus(
            "kernel_vs_memcpy",
            "μ→A conversion of 160 bytes in L1, with both checksums and silence",
            "B/cycle",
            "memcpy",
            copies,
        )
        .bar(Better::Higher, 0.30, 0.60)
        .note(format!(
            "kernel: {}; the C library's memcpy, called with a length that is not a constant",
            fastest.name()
        )),
    );
    let what = "the same conversion";
    report.rows.push(
        Row::versus("kernel_vs_scalar", what, "B/cycle", "a table of 256 bytes", tables)
            .note("tandem's own scalar path, which also gives the checksums"),
    );
    report.rows.push(
        Row::versus("kernel_vs_spandsp", what, "B/cycle", "libspandsp's g711_transcode", spandsps)
            .note("it gives the same bytes, and no checksums"),
    );
    report.rows.push(
        Row::versus("kernel_vs_ffmpeg", what, "B/cycle", "libavcodec, pcm_mulaw → pcm_alaw", ffmpegs)
            .note("through its interface as applications call it, packet by packet, allocations included"),
    );
    by_length(bench, report);
    Ok(())
}

/// Curves: each path that this CPU has, and memcpy, over the lengths of 10 to 60 ms.
fn by_length(bench: &Bench, report: &mut Report) {
    bench.step("kernel, by length");
    let lengths = [80, 160, 240, 320, LONGEST];
    let mut curve = |name: &str, measure: &dyn Fn(&mut Payloads) -> f64| {
        let points = lengths.iter().map(|&len| (len as f64, measure(&mut Payloads::new(len)))).collect();
        report.series.push(Series {
            plot: "Codec kernel: bytes per cycle by length of payload".to_owned(),
            x: "payload, bytes".to_owned(),
            y: "bytes per TSC cycle".to_owned(),
            log_x: false,
            name: name.to_owned(),
            points,
        });
    };
    curve("memcpy", &|payloads| payloads.memcpy());
    for kernel in Kernel::available() {
        curve(&format!("tandem {}", kernel.name()), &move |payloads| payloads.kernel(kernel));
    }
}
