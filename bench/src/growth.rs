//! What more flows, another worker and other frame sizes cost: curves of tandem and of testpmd's 5tswap over the same
//! captures, in turn. Main thread.
//!
//! A forwarder slows down as the device's own buffers leave the caches; so growth is not tandem's rate against its rate
//! at 1,000 flows, but what is left of its share of 5tswap's rate.

use anyhow::Result;

use crate::{
    Bench,
    replay::{self, Capture, Convert, Outcome, Recipe},
    report::{Better, Report, Row, Series, median},
    testpmd::Mode,
};

/// Of each flow. A million flows of as many packets as elsewhere would take ten gigabytes of buffers.
const PACKETS: usize = 2;
const FLOWS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const SIZES: [usize; 6] = [60, 128, 214, 512, 1_024, 1_500];
const SIZES_FLOWS: usize = 10_000;

fn recipe(flows: usize) -> Recipe {
    Recipe { flows, packets: PACKETS, frame_bytes: None }
}

/// Packets of the largest capture: what huge pages are counted for.
pub fn most_packets(bench: &Bench) -> usize {
    bench.flows().max().unwrap_or(0) * PACKETS
}

impl Bench {
    /// The numbers of flows that this run goes through.
    pub fn flows(&self) -> impl Iterator<Item = usize> + '_ {
        FLOWS.into_iter().filter(|&flows| flows <= self.most_flows)
    }
}

/// tandem's and 5tswap's Mpps over one capture.
fn pair(bench: &Bench, capture: &Capture, workers: usize) -> Result<(Outcome, f64)> {
    let reference = capture.testpmd(bench, workers)?.measure(Mode::FiveTupleSwap, bench.warm_up, bench.window)?;
    Ok((capture.tandem(bench, Convert::None, workers)?, reference))
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    by_flows(bench, report)?;
    if bench.cpus.len() > 1 {
        two_workers(bench, report)?;
    }
    by_size(bench, report)
}

#[derive(Default)]
struct Point {
    flows: usize,
    pairs: Vec<(f64, f64)>,
    bytes_per_flow: Vec<f64>,
}

fn by_flows(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut points: Vec<Point> = bench.flows().map(|flows| Point { flows, ..Point::default() }).collect();
    for round in 1..=bench.rounds {
        for point in &mut points {
            let flows = point.flows;
            bench.step(&format!("growth, round {round} of {}: {flows} flows, 5tswap and relay", bench.rounds));
            let capture = replay::generate(bench, recipe(flows))?;
            let (outcome, reference) = pair(bench, &capture, 1)?;
            point.pairs.push((outcome.mpps, reference));
            point.bytes_per_flow.push(outcome.memory.bytes_per_flow);
        }
    }
    let Some(base) = points.first() else { return Ok(()) };
    for (flows, name, bar, aim) in
        [(100_000, "relay_100k_growth", 0.75, 0.95), (1_000_000, "relay_1m_growth", 0.60, 0.85)]
    {
        let Some(point) = points.iter().find(|point| point.flows == flows) else { continue };
        let shares = point.pairs.iter().zip(&base.pairs).map(|(here, base)| (here.0 / here.1, base.0 / base.1));
        report.rows.push(
            Row::versus(
                name,
                &format!("relay ÷ 5tswap at {flows} flows, against the same at 1,000 flows"),
                "of 5tswap",
                "1,000 flows",
                shares.collect(),
            )
            .bar(Better::Higher, bar, aim)
            .note(format!(
                "{:.1} Mpps against 5tswap's {:.1} there",
                median(&point.pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()),
                median(&point.pairs.iter().map(|pair| pair.1).collect::<Vec<_>>()),
            )),
        );
    }
    if let Some(point) = points.iter().find(|point| point.flows == 1_000_000) {
        report.rows.push(
            Row::figure(
                "bytes_per_flow",
                "worker-reachable memory per flow, of 1,000,000 provisioned",
                "B",
                point.bytes_per_flow.clone(),
            )
            .bar(Better::Lower, 256.0, 128.0),
        );
    }
    let middle = |take: fn(&(f64, f64)) -> f64| {
        let at = |point: &Point| (point.flows as f64, median(&point.pairs.iter().map(take).collect::<Vec<_>>()));
        points.iter().map(at).collect::<Vec<_>>()
    };
    push(report, BY_FLOWS, "tandem relay, 1 worker", middle(|pair| pair.0));
    push(report, BY_FLOWS, "testpmd 5tswap, 1 core", middle(|pair| pair.1));
    push(report, SHARE, "tandem ÷ 5tswap", middle(|pair| pair.0 / pair.1));
    Ok(())
}

/// One round each: curves, and no rows.
fn two_workers(bench: &Bench, report: &mut Report) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for flows in bench.flows() {
        bench.step(&format!("growth: {flows} flows on two workers, 5tswap and relay"));
        let capture = replay::generate(bench, recipe(flows))?;
        let (outcome, reference) = pair(bench, &capture, 2)?;
        ours.push((flows as f64, outcome.mpps));
        theirs.push((flows as f64, reference));
    }
    push(report, BY_FLOWS, "tandem relay, 2 workers", ours);
    push(report, BY_FLOWS, "testpmd 5tswap, 2 cores", theirs);
    if bench.cpus[..2].contains(&bench.main_cpu) {
        let line = "the second worker shares its CPU with the control thread: this machine has two CPUs";
        report.facts.push(("two workers".to_owned(), line.to_owned()));
    }
    Ok(())
}

fn by_size(bench: &Bench, report: &mut Report) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for bytes in SIZES {
        bench.step(&format!("growth: frames of {bytes} bytes, 5tswap and relay"));
        let recipe = Recipe { frame_bytes: Some(bytes), ..recipe(SIZES_FLOWS) };
        let (outcome, reference) = pair(bench, &replay::generate(bench, recipe)?, 1)?;
        ours.push((bytes as f64, outcome.mpps));
        theirs.push((bytes as f64, reference));
    }
    push(report, BY_SIZE, "tandem relay", ours);
    push(report, BY_SIZE, "testpmd 5tswap", theirs);
    Ok(())
}

type Plot = (&'static str, &'static str, &'static str, bool);
const BY_FLOWS: Plot = ("Growth: rate by number of flows", "flows", "Mpps", true);
const SHARE: Plot = ("Growth: tandem's share of 5tswap's rate", "flows", "ratio", true);
const BY_SIZE: Plot = ("Frame size: rate over 10,000 flows", "frame, bytes", "Mpps", false);

fn push(report: &mut Report, (plot, x, y, log_x): Plot, name: &str, points: Vec<(f64, f64)>) {
    report.series.push(Series {
        plot: plot.to_owned(),
        x: x.to_owned(),
        y: y.to_owned(),
        log_x,
        name: name.to_owned(),
        points,
    });
}
