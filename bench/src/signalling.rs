//! Calls set up and torn down per second on one slow-path thread, and what a call in progress costs in memory. Main
//! thread; the generator has one of its own.
//!
//! The real appliance stands in the laboratory's veth ground (af_xdp). Its slow path has CPU 0 to itself; the worker
//! (adaptive) and the generator share CPU 1. Each call is INVITE, 180, 200, ACK, BYE, 200 at both ends, with a session
//! description each way, μ-law on one side and A-law on the other, so that ports are allotted and transcoding plans made.
//!
//! A rate holds when every call of a trial ends as it should, as fast as calls begin, and no message is sent twice by
//! anyone. The highest such rate is searched for as RFC 2544 §26.1 does for frames. A transaction over UDP lingers for
//! 32 s (RFC 3261 §17.2), so longer trials show what holds with those tables full.
//!
//! All of it takes some four minutes. Whatever was started or laid goes with its handle, or by the cleanup on a signal.

mod calls;
mod lab;
mod messages;
mod search;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tandem_lab::{
    appliance::Appliance,
    topology::{self, Between, Topology},
};

use self::{
    calls::{Outcome, Phones},
    lab::{Lab, generate, load, phone},
    messages::Codec,
    search::Search,
};
use crate::{
    Bench,
    report::{Better, Report, Row, Series},
};

/// How long calls are offered in one trial of the search.
const TRIAL: Duration = Duration::from_secs(3);
/// Of the rate offered, what ends well where it holds: fewer means that calls pile up, and a longer trial would fail.
const KEPT_UP: f64 = 0.97;
/// No further round of the search begins after this.
const SEARCH_BUDGET: Duration = Duration::from_secs(150);
/// Longer than a transaction lingers.
const LONG_TRIAL: Duration = Duration::from_secs(36);
/// Of the lowest rate that a round found: what the long trials are tried with.
const LONG_SHARES: [f64; 3] = [0.9, 0.75, 0.6];
const FIRST_RATE: f64 = 2_000.0;
/// From one rate to the next until one holds and one does not; the rounds after the first begin where it ended.
const FIRST_STEP: f64 = 1.5;
const NEXT_STEP: f64 = 1.12;
/// What the generator is asked for without the appliance, one after the other until it keeps up.
const ALONE_RATES: [f64; 5] = [16_000.0, 12_000.0, 9_000.0, 6_000.0, 4_000.0];
const ALONE_TRIAL: Duration = Duration::from_secs(2);
/// Calls in progress at once when memory is looked at, and how fast they are set up.
const HELD_CALLS: usize = 3_000;
const HELD_RATE: f64 = 1_000.0;

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let room = bench.out.join("signalling");
    std::fs::create_dir_all(&room).with_context(|| format!("cannot make {}", room.display()))?;
    let alone = alone(report)?;
    let mut lab = Lab::lay(bench, room.canonicalize()?)?;
    memory(&mut lab, bench.rounds, report)?;
    rates(&mut lab, bench.rounds, alone, report)
}

/// The highest rate that the generator keeps up with where the kernel routes in the appliance's place, so that callers
/// and callees talk directly; so both have the same codec.
fn alone(report: &mut Report) -> Result<f64> {
    let ground = Topology::lay(Between::Cable)?;
    ground.route_in_kernel()?;
    let phones = Phones {
        caller: phone(&ground.caller, topology::CALLER, topology::CALLEE, Codec::Pcmu)?,
        callee: phone(&ground.callee, topology::CALLEE, topology::CALLER, Codec::Pcmu)?,
    };
    let mut curve = series("the generator alone");
    let mut kept_up = None;
    for (trial, rate) in (0..).zip(ALONE_RATES) {
        let load = load(trial, rate, ALONE_TRIAL);
        let outcome = generate(&phones, load)?;
        let share = percent(outcome.busy, outcome.took);
        eprintln!(
            "signalling: the generator alone, {rate:.0} calls/s: {share:.0} % of its CPU; faults: {}",
            outcome.faults()
        );
        curve.points.push((rate, outcome.per_second(&load).min(rate)));
        if outcome.flawless() {
            kept_up = Some((rate, share));
            break;
        }
    }
    let (rate, share) = kept_up.context("the generator cannot keep up even without the appliance")?;
    let words = format!("{rate:.0} calls/s without a fault, {share:.0} % of its CPU");
    report.facts.push(("signalling: the generator alone".to_owned(), words));
    curve.points.reverse();
    report.series.push(curve);
    Ok(rate)
}

fn series(name: &str) -> Series {
    Series {
        plot: "signalling".to_owned(),
        x: "calls offered per second".to_owned(),
        y: "calls ended well per second".to_owned(),
        log_x: false,
        name: name.to_owned(),
        points: Vec::new(),
    }
}

fn percent(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64() * 100.0
}

fn memory(lab: &mut Lab, rounds: usize, report: &mut Report) -> Result<()> {
    let mut bytes = Vec::new();
    let mut faults = Vec::new();
    for round in 1..=rounds {
        eprintln!("signalling: memory of {HELD_CALLS} calls, round {round} of {rounds}");
        match held_bytes(lab)? {
            Ok(figure) => bytes.push(figure),
            Err(fault) => faults.push(fault),
        }
    }
    ensure!(!bytes.is_empty(), "{HELD_CALLS} calls cannot be held: {}", faults.join(" | "));
    let left_out = if faults.is_empty() { String::new() } else { format!("; left out: {}", faults.join(" | ")) };
    let what = "resident memory of the appliance per call in progress: SIP, media session, four plans";
    let mut row = Row::figure("memory_per_call", what, "bytes", bytes).note(format!(
        "growth of VmRSS from idle to {HELD_CALLS} calls, ÷ {HELD_CALLS}; their INVITE transactions, which linger for \
         32 s, are still there{left_out}"
    ));
    row.better = Better::Lower;
    report.rows.push(row);
    Ok(())
}

/// Growth of resident memory per call, or why the round does not count: a call that failed.
fn held_bytes(lab: &mut Lab) -> Result<Result<f64, String>> {
    lab.start_anew()?;
    let before = lab.appliance()?.resident_kib()?;
    let set_up = Duration::from_secs_f64(HELD_CALLS as f64 / HELD_RATE);
    let mut load = lab.next_load(HELD_RATE, set_up);
    load.hold = set_up + Duration::from_secs(2);
    let (kib, up, outcome) = std::thread::scope(|scope| -> Result<(u64, f64, Outcome)> {
        let calls = scope.spawn(|| generate(&lab.phones, load));
        // Figures are published four times a second.
        std::thread::sleep(set_up + Duration::from_millis(1_200));
        let up = lab.metric("tandem_calls_in_progress");
        let kib = lab.appliance().and_then(Appliance::resident_kib);
        let outcome = calls.join().map_err(|_| anyhow::anyhow!("the generator died"))??;
        Ok((kib?, up?, outcome))
    })?;
    if up as usize != HELD_CALLS || outcome.done != HELD_CALLS {
        return Ok(Err(format!("{up} calls in progress; {}", outcome.faults())));
    }
    Ok(Ok(kib.saturating_sub(before) as f64 * 1024.0 / HELD_CALLS as f64))
}

/// A rate that held.
struct Held {
    /// Offered.
    rate: f64,
    per_second: f64,
    /// Of the slow path's CPU, in percent.
    slow_path: f64,
    /// How much of the time another program had that CPU although the slow path could have run.
    waited: f64,
    us_a_call: f64,
    /// Of the CPU that the worker and the generator share.
    shared: f64,
    setup_p99_ms: f64,
}

fn rates(lab: &mut Lab, rounds: usize, alone: f64, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    let mut curve = series("tandem");
    let mut best: Vec<Held> = Vec::new();
    let mut limits = Vec::new();
    for round in 1..=rounds {
        if began.elapsed() > SEARCH_BUDGET && !best.is_empty() {
            eprintln!("signalling: no time for round {round} of {rounds}");
            break;
        }
        let search = match best.last() {
            Some(held) => Search::new(held.rate, NEXT_STEP),
            None => Search::new(FIRST_RATE, FIRST_STEP),
        };
        let (held, limit) = highest(lab, search, &mut curve)?;
        eprintln!("signalling: round {round} of {rounds}: {:.0} calls/s", held.per_second);
        best.push(held);
        limits.push(limit);
    }
    let lowest = best.iter().map(|held| held.per_second).fold(f64::MAX, f64::min);
    let long = sustained(lab, lowest)?;
    let list = |of: fn(&Held) -> f64| best.iter().map(|held| format!("{:.0}", of(held))).collect::<Vec<_>>().join(", ");
    let mut fact = |name: &str, value: String| report.facts.push((format!("signalling: {name}"), value));
    fact("% of the slow path's CPU at the rates that held", list(|h| h.slow_path));
    fact("% of the time that it waited for its CPU, which others had", list(|h| h.waited));
    fact("processor time of the slow path per call, µs", list(|h| h.us_a_call));
    fact("% of the CPU of worker and generator at these rates", list(|h| h.shared));
    fact("99 % of calls answered within, ms", list(|h| h.setup_p99_ms));
    fact("what failed at the next higher rate", limits.join(" | "));
    fact("with full tables", long.clone());
    curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    report.series.push(curve);
    let row = Row::figure(
        "calls_per_second",
        "calls set up and torn down per second on one slow-path thread, each with media sessions on both sides",
        "calls/s",
        best.iter().map(|held| held.per_second).collect(),
    );
    report.rows.push(row.bar(Better::Higher, 1_000.0, 3_000.0).note(format!(
        "highest rate at which no call of {} s failed or was late and no message was sent twice; with full tables {long}; the \
         generator alone {alone:.0}",
        TRIAL.as_secs()
    )));
    Ok(())
}

/// The highest rate that holds, and what went wrong at the lowest that did not.
fn highest(lab: &mut Lab, mut search: Search, curve: &mut Series) -> Result<(Held, String)> {
    let mut best: Option<Held> = None;
    let mut limit = "nothing: the search ended at its highest rate".to_owned();
    lab.start_anew()?;
    while let Some(rate) = search.next_rate() {
        let before = lab.times()?;
        let (load, outcome) = lab.trial(rate, TRIAL)?;
        let times = lab.times()?.since(before);
        let slow_path = percent(times.slow_path, outcome.took);
        let waited = percent(times.waited, outcome.took);
        let shared = percent(times.others + outcome.busy, outcome.took);
        let per_second = outcome.per_second(&load).min(load.per_second);
        eprintln!(
            "signalling: {rate:.0} calls/s: {per_second:.0} ended well, slow path {slow_path:.0} % and {waited:.0} % kept \
             waiting by others, worker and generator {shared:.0} %, at most {:.0} ms late; faults: {}",
            outcome.latest.as_secs_f64() * 1e3,
            outcome.faults()
        );
        curve.points.push((rate, per_second));
        let holds = outcome.flawless() && per_second >= KEPT_UP * rate;
        search.tried(rate, holds);
        if holds {
            let us_a_call = times.slow_path.as_secs_f64() * 1e6 / outcome.done as f64;
            let setup_p99_ms = outcome.setup_ms(0.99);
            best = Some(Held { rate, per_second, slow_path, waited, us_a_call, shared, setup_p99_ms });
        } else {
            limit = format!("{rate:.0}: {per_second:.0} ended well, faults: {}", outcome.faults());
            // What was left hanging must not burden the next trial.
            lab.start_anew()?;
        }
    }
    Ok((best.with_context(|| format!("no rate holds; the last fault: {limit}"))?, limit))
}

/// The first share of `rate` that holds for longer than a transaction lingers.
fn sustained(lab: &mut Lab, rate: f64) -> Result<String> {
    let mut all = Vec::new();
    for share in LONG_SHARES {
        let (flawless, words) = long_trial(lab, (rate * share).floor())?;
        eprintln!("signalling: {words}");
        all.push(words);
        if flawless {
            break;
        }
    }
    Ok(all.join("; "))
}

/// Until transactions end as fast as they begin. What the calls were is checked by the appliance's own figures.
fn long_trial(lab: &mut Lab, rate: f64) -> Result<(bool, String)> {
    lab.start_anew()?;
    let names = ["tandem_calls_answered_total", "tandem_plans_published_total", "tandem_cdr_records_total"];
    let look = |lab: &Lab| names.iter().map(|name| lab.metric(name)).collect::<Result<Vec<f64>>>();
    let (before, times) = (look(lab)?, lab.times()?);
    let (load, outcome) = lab.trial(rate, LONG_TRIAL)?;
    let share = percent(lab.times()?.since(times).slow_path, outcome.took);
    // Figures are published four times a second.
    std::thread::sleep(Duration::from_millis(600));
    let risen: Vec<f64> = look(lab)?.iter().zip(&before).map(|(after, before)| after - before).collect();
    let resident = lab.appliance()?.resident_kib()? / 1024;
    if outcome.flawless() {
        let calls = load.calls as f64;
        ensure!(risen[0] == calls && risen[2] == calls, "{calls} calls, but {names:?} rose by {risen:?}");
        ensure!(risen[1] >= calls * 4.0, "{calls} calls, but {} plans were published", risen[1]);
    }
    let words = format!(
        "{rate:.0} calls/s for {} s: faults: {}, {share:.0} % of the slow path's CPU, {resident} MiB resident",
        LONG_TRIAL.as_secs(),
        outcome.faults()
    );
    Ok((outcome.flawless(), words))
}
