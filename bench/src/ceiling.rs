//! tandem against the ceiling: testpmd's modes and tandem, relaying and converting, over the same capture of 10,000
//! flows, on the same device and core, in turn. Main thread.
//!
//! A round is one testpmd, which measures its three modes, and one tandem for each of its two jobs, all started anew. They
//! take short turns, again and again; who has no turn is parked. So the two figures of a ratio are a second apart at most,
//! and a machine that slows down for seconds slows down both. The turn in the middle stands for the round.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use crate::{
    Bench,
    replay::{self, Convert, Parked, Recipe},
    report::{Better, Report, Row, median},
    testpmd::Mode,
};

/// Few packets a flow: the device holds each in a buffer of 2.4 KB, and 10,000 flows of many would fill the caches with
/// buffers. Of eight, six are in sequence and two begin a stream anew (`tandem replay run` prints the shares).
pub const FLOWS: Recipe = Recipe { flows: 10_000, packets: 8, frame_bytes: None };

const MODES: [Mode; 3] = [Mode::Io, Mode::MacSwap, Mode::FiveTupleSwap];
const JOBS: [(&str, &str, Convert); 2] =
    [("relay", "relay", Convert::None), ("transcode", "μ→A conversion of 160-byte payloads", Convert::MuToA)];

/// Turns of each in a round, an odd number: one stands in the middle.
const TURNS: usize = 7;
/// After a turn of another program the caches hold nothing of one's own.
const WARM_UP: Duration = Duration::from_millis(50);
const WINDOW: Duration = Duration::from_millis(200);

/// Packets and flows: what huge pages are counted for. All three programs of a round hold the capture.
pub fn largest(_: &Bench) -> (usize, usize) {
    let programs = 1 + JOBS.len();
    (programs * FLOWS.total(), programs * FLOWS.flows)
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    bench.step("ceiling: generating 10,000 flows");
    let capture = replay::generate(bench, FLOWS)?;
    let mut rounds: BTreeMap<(&str, &str), Vec<(f64, f64)>> = BTreeMap::new();
    let mut cycles: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=bench.rounds {
        bench.step(&format!("ceiling, round {round} of {}: testpmd and tandem in turn", bench.rounds));
        let mut testpmd = capture.testpmd(bench, 1)?;
        let mut tandems = Vec::new();
        for (job, _, convert) in JOBS {
            tandems.push((job, Parked::start(&capture, bench, convert, job)?));
        }
        let mut turns: BTreeMap<(&str, &str), Vec<(f64, f64)>> = BTreeMap::new();
        for _ in 0..TURNS {
            let mut ceilings = Vec::new();
            for mode in MODES {
                ceilings.push((mode.name(), testpmd.measure(mode, WARM_UP, WINDOW)?));
            }
            for (job, tandem) in &mut tandems {
                let mpps = tandem.measure(WARM_UP, WINDOW)?;
                for &(mode, ceiling) in &ceilings {
                    turns.entry((*job, mode)).or_default().push((mpps, ceiling));
                }
            }
        }
        for (pair, mut of_round) in turns {
            of_round.sort_by(|a, b| f64::total_cmp(&(a.0 / a.1), &(b.0 / b.1)));
            rounds.entry(pair).or_default().extend(of_round.get(TURNS / 2));
        }
        for (job, tandem) in tandems {
            cycles.entry(job).or_default().push(tandem.finish()?.cycles_per_packet);
        }
    }
    for (job, what, _) in JOBS {
        // The row that counts stands first.
        for mode in ["5tswap", "macswap", "io"] {
            let Some(pairs) = rounds.remove(&(job, mode)) else { continue };
            let what = format!("{what}, 10,000 flows, one core");
            let mut row =
                Row::versus(&format!("{job}_10k_vs_{mode}"), &what, "Mpps", &format!("testpmd {mode}"), pairs);
            if mode == "5tswap" {
                row = match job {
                    "relay" => row.bar(Better::Higher, 0.75, 0.95),
                    _ => row.bar(Better::Higher, 0.62, 0.80),
                };
                let middle = median(cycles.get(job).map_or(&[][..], Vec::as_slice));
                row = row.note(format!("{middle:.0} TSC cycles a packet in the worker"));
            }
            report.rows.push(row);
        }
    }
    Ok(())
}
