//! tandem against the ceiling: testpmd's modes and tandem, relaying and converting, over the same capture of 10,000
//! flows, on the same device and core, in turn. Main thread.
//!
//! A round is one testpmd, which measures its three modes, and one tandem for each of its two jobs; so every ratio is
//! of figures that were taken within seconds of each other.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    Bench,
    replay::{self, Convert, Recipe},
    report::{Better, Report, Row, median},
    testpmd::Mode,
};

/// Few packets a flow: the device holds each in a buffer of 2.4 KB, and 10,000 flows of many would fill the caches with
/// buffers. Of eight, six are in sequence and two begin a stream anew (`tandem replay run` prints the shares).
pub const FLOWS: Recipe = Recipe { flows: 10_000, packets: 8, frame_bytes: None };

const MODES: [Mode; 3] = [Mode::Io, Mode::MacSwap, Mode::FiveTupleSwap];
const JOBS: [(&str, &str, Convert); 2] =
    [("relay", "relay", Convert::None), ("transcode", "μ→A conversion of 160-byte payloads", Convert::MuToA)];

/// Packets and flows: what huge pages are counted for.
pub fn largest(_: &Bench) -> (usize, usize) {
    (FLOWS.total(), FLOWS.flows)
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    bench.step("ceiling: generating 10,000 flows");
    let capture = replay::generate(bench, FLOWS)?;
    let mut rounds: BTreeMap<(&str, &str), Vec<(f64, f64)>> = BTreeMap::new();
    let mut cycles: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=bench.rounds {
        bench.step(&format!("ceiling, round {round} of {}: testpmd io, macswap, 5tswap", bench.rounds));
        let mut testpmd = capture.testpmd(bench, 1)?;
        let mut ceilings = Vec::new();
        for mode in MODES {
            ceilings.push((mode.name(), testpmd.measure(mode, bench.warm_up, bench.window)?));
        }
        drop(testpmd);
        bench.step(&format!("ceiling, round {round} of {}: tandem relay, transcode", bench.rounds));
        for (job, _, convert) in JOBS {
            let outcome = capture.tandem(bench, convert, 1, bench.window)?;
            cycles.entry(job).or_default().push(outcome.cycles_per_packet);
            for &(mode, mpps) in &ceilings {
                rounds.entry((job, mode)).or_default().push((outcome.mpps, mpps));
            }
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
