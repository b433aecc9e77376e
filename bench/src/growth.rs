//! What more flows, another worker and other frame sizes cost: tandem and testpmd's 5tswap over the same captures, in
//! turn. Main thread.
//!
//! A forwarder slows down as the device's own buffers leave the caches; so growth is not tandem's rate against its rate
//! at 1,000 flows, but what is left of its share of 5tswap's rate. Every point is measured once in each round, so that a
//! round has all of a ratio of ratios within a minute or two.

use anyhow::Result;

use crate::{
    Bench,
    replay::{self, Convert, Recipe},
    report::{Better, Report, Row, Series, median},
    table::figure,
    testpmd::Mode,
};

/// Of each flow. The device holds every packet of a capture in a buffer of 2.4 KB: with more, the buffers and not the
/// flows fill the caches, and a million flows would take ten gigabytes.
const PACKETS: usize = 1;
const FLOWS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const SIZES: [usize; 6] = [60, 128, 256, 512, 1_024, 1_500];
const SIZES_FLOWS: usize = 10_000;
const WHOLE: &str = "1,000 flows";

/// Packets and flows of the largest capture: what huge pages are counted for.
pub fn largest(bench: &Bench) -> (usize, usize) {
    let flows = bench.flows().max().unwrap_or(0).max(SIZES_FLOWS);
    (flows * PACKETS, flows)
}

impl Bench {
    /// The numbers of flows that this run goes through.
    pub fn flows(&self) -> impl Iterator<Item = usize> + '_ {
        FLOWS.into_iter().filter(|&flows| flows <= self.most_flows)
    }
}

/// One place of a curve.
struct Point {
    recipe: Recipe,
    workers: usize,
    /// Mpps of tandem and of 5tswap, one pair for each round.
    pairs: Vec<(f64, f64)>,
    bytes_per_flow: Vec<f64>,
}

impl Point {
    fn new(flows: usize, frame_bytes: Option<usize>, workers: usize) -> Point {
        let recipe = Recipe { flows, packets: PACKETS, frame_bytes };
        Point { recipe, workers, pairs: Vec::new(), bytes_per_flow: Vec::new() }
    }

    fn name(&self) -> String {
        match self.recipe.frame_bytes {
            Some(bytes) => format!("relay_{bytes}b_vs_5tswap"),
            None => format!("relay_{}_{}w_vs_5tswap", short(self.recipe.flows), self.workers),
        }
    }

    fn what(&self) -> String {
        let frame = self
            .recipe
            .frame_bytes
            .map_or("frames of 214 bytes".to_owned(), |bytes| format!("frames of {bytes} bytes"));
        let workers = if self.workers == 1 { "one worker" } else { "two workers" };
        format!("relay, {} flows, {workers}, {frame}", figure(self.recipe.flows as f64))
    }

    fn middle(&self, take: fn(&(f64, f64)) -> f64) -> f64 {
        median(&self.pairs.iter().map(take).collect::<Vec<_>>())
    }

    /// Both subjects, one after the other. Which is first changes from round to round: a machine that warms up or slows
    /// down favours neither.
    fn measure(&mut self, bench: &Bench, round: usize) -> Result<()> {
        let capture = replay::generate(bench, self.recipe)?;
        let (warm_up, window) = (bench.warm_up, bench.short_window);
        let reference = || capture.testpmd(bench, self.workers)?.measure(Mode::FiveTupleSwap, warm_up, window);
        let ours = || capture.tandem(bench, Convert::None, self.workers, window);
        let (outcome, mpps) = if round.is_multiple_of(2) {
            let outcome = ours()?;
            (outcome, reference()?)
        } else {
            let mpps = reference()?;
            (ours()?, mpps)
        };
        self.pairs.push((outcome.mpps, mpps));
        self.bytes_per_flow.push(outcome.memory.bytes_per_flow);
        Ok(())
    }
}

/// 1,000 is 1k in a name.
fn short(flows: usize) -> String {
    match flows {
        1_000_000.. => format!("{}m", flows / 1_000_000),
        _ => format!("{}k", flows / 1_000),
    }
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut points: Vec<Point> = bench.flows().map(|flows| Point::new(flows, None, 1)).collect();
    points.extend(SIZES.iter().map(|&bytes| Point::new(SIZES_FLOWS, Some(bytes), 1)));
    if bench.cpus.len() > 1 {
        points.extend(bench.flows().map(|flows| Point::new(flows, None, 2)));
    }
    for round in 1..=bench.rounds {
        for point in &mut points {
            bench.step(&format!("growth, round {round} of {}: {}", bench.rounds, point.what()));
            point.measure(bench, round)?;
        }
    }
    asked(&points, report);
    let shared = bench.cpus.len() > 1 && bench.cpus[..2].contains(&bench.main_cpu);
    for point in &points {
        let row = Row::versus(&point.name(), &point.what(), "Mpps", "testpmd 5tswap", point.pairs.clone());
        let shared = shared && point.workers == 2;
        report.rows.push(row.note(if shared {
            "both: the second worker shares its CPU with the control thread"
        } else {
            ""
        }));
    }
    curves(&points, report);
    Ok(())
}

/// The rows that have bars.
fn asked(points: &[Point], report: &mut Report) {
    let by_flows =
        |flows| points.iter().find(|p| p.workers == 1 && p.recipe.frame_bytes.is_none() && p.recipe.flows == flows);
    let Some(base) = by_flows(FLOWS[0]) else { return };
    for (flows, name, bar, aim) in
        [(100_000, "relay_100k_growth", 0.75, 0.95), (1_000_000, "relay_1m_growth", 0.60, 0.85)]
    {
        let Some(point) = by_flows(flows) else { continue };
        let share = |(ours, theirs): &(f64, f64)| ours / theirs;
        let shares = point.pairs.iter().zip(&base.pairs).map(|(here, base)| (share(here), share(base)));
        let what = format!("relay ÷ 5tswap at {} flows, against the same at {WHOLE}", figure(flows as f64));
        let rates = format!(
            "{} Mpps against 5tswap's {} there",
            figure(point.middle(|pair| pair.0)),
            figure(point.middle(|pair| pair.1))
        );
        let row = Row::versus(name, &what, "of 5tswap", WHOLE, shares.collect());
        report.rows.push(row.bar(Better::Higher, bar, aim).note(rates));
    }
    if let Some(point) = by_flows(1_000_000) {
        let what = "worker-reachable memory per flow, of 1,000,000 provisioned";
        let row = Row::figure("bytes_per_flow", what, "B", point.bytes_per_flow.clone());
        report
            .rows
            .push(row.bar(Better::Lower, 256.0, 128.0).note("counted, not timed: it is the same in every round"));
    }
}

type Plot = (&'static str, &'static str, &'static str, bool);
const BY_FLOWS: Plot = ("Growth: rate by number of flows", "flows", "Mpps", true);
const SHARE: Plot = ("Growth: tandem's share of 5tswap's rate", "flows", "tandem ÷ 5tswap", true);
const BY_SIZE: Plot = ("Frame size: rate over 10,000 flows, one core", "frame, bytes", "Mpps", false);

fn curves(points: &[Point], report: &mut Report) {
    for workers in [1, 2] {
        let of = |take: fn(&(f64, f64)) -> f64| -> Vec<(f64, f64)> {
            let those = points.iter().filter(|p| p.workers == workers && p.recipe.frame_bytes.is_none());
            those.map(|p| (p.recipe.flows as f64, p.middle(take))).collect()
        };
        let (worker, core) = if workers == 1 { ("1 worker", "1 core") } else { ("2 workers", "2 cores") };
        push(report, BY_FLOWS, &format!("tandem relay, {worker}"), of(|pair| pair.0));
        push(report, BY_FLOWS, &format!("testpmd 5tswap, {core}"), of(|pair| pair.1));
        push(report, SHARE, worker, of(|pair| pair.0 / pair.1));
    }
    let of = |take: fn(&(f64, f64)) -> f64| -> Vec<(f64, f64)> {
        let sized = points.iter().filter_map(|p| Some((p.recipe.frame_bytes? as f64, p.middle(take))));
        sized.collect()
    };
    push(report, BY_SIZE, "tandem relay", of(|pair| pair.0));
    push(report, BY_SIZE, "testpmd 5tswap", of(|pair| pair.1));
}

fn push(report: &mut Report, (plot, x, y, log_x): Plot, name: &str, points: Vec<(f64, f64)>) {
    if points.is_empty() {
        return;
    }
    report.series.push(Series {
        plot: plot.to_owned(),
        x: x.to_owned(),
        y: y.to_owned(),
        log_x,
        name: name.to_owned(),
        points,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(flows: usize, pairs: &[(f64, f64)]) -> Point {
        let bytes_per_flow = pairs.iter().map(|_| 130.0).collect();
        Point { pairs: pairs.to_vec(), bytes_per_flow, ..Point::new(flows, None, 1) }
    }

    #[test]
    fn growth_is_a_share_against_the_share_at_1000_flows_round_by_round() {
        let points = [
            measured(1_000, &[(8.0, 10.0), (9.0, 10.0)]),
            measured(100_000, &[(4.0, 10.0), (9.0, 10.0)]),
            measured(1_000_000, &[(2.0, 5.0), (1.8, 4.0)]),
        ];
        let mut report = Report::default();
        asked(&points, &mut report);
        let ratios: Vec<(&str, f64)> = report.rows.iter().map(|row| (row.name.as_str(), row.ratio)).collect();
        // (0.4 ÷ 0.8 and 0.9 ÷ 0.9; 0.4 ÷ 0.8 and 0.45 ÷ 0.9), the median of each two.
        assert_eq!(ratios, [("relay_100k_growth", 0.75), ("relay_1m_growth", 0.5), ("bytes_per_flow", 130.0)]);
    }

    #[test]
    fn without_the_largest_captures_their_rows_are_missing() {
        let mut report = Report::default();
        asked(&[measured(1_000, &[(1.0, 2.0)]), measured(10_000, &[(1.0, 2.0)])], &mut report);
        assert!(report.rows.is_empty());
    }

    #[test]
    fn points_have_names() {
        let names = [Point::new(1_000, None, 1), Point::new(1_000_000, None, 2), Point::new(10_000, Some(60), 1)];
        let names = names.map(|point| point.name());
        assert_eq!(names, ["relay_1k_1w_vs_5tswap", "relay_1m_2w_vs_5tswap", "relay_60b_vs_5tswap"]);
    }
}
