//! The highest rate without loss of each subject, in turn. Main thread.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tandem_lab::{
    law::Tables,
    runner::take_turn,
    topology::{Between, Topology},
};

use super::{
    generator::Generator,
    place::{CALLS, GENERATOR_CPU, Load, Place, Who, Work, plain_streams, way},
    search::{Found, LOSS_BOUND, zero_loss},
    sink,
};
use crate::{
    Bench,
    report::{Better, Report, Row, Series, median},
};

/// Shorter than RFC 2544's, which are a minute, so that most fall between the turns of others on the core; and far longer
/// than what a subject keeps in its queues: a ring's 2,048 frames are some milliseconds, rtpengine's 500 sockets some
/// hundred.
const fn trial_length(who: Who) -> Duration {
    match who {
        Who::Tandem | Who::Testpmd => Duration::from_millis(300),
        Who::Rtpengine => Duration::from_secs(1),
    }
}
const OVERLOAD: Duration = Duration::from_secs(1);
/// Of the rate that was found.
const OVERLOADED: f64 = 1.4;
/// Lost share at which queues must have been full for long.
const OVERRUN: f64 = 0.005;
/// Trials in one search that are made again because somebody else had one of the cores.
const PATIENCE: usize = 40;
/// Packets a second that no generator here sends: it sends what it can.
const FLAT_OUT: f64 = 2e7;

/// No round begins after so long: on a busy machine trials are made again and again, and the run must end.
const BUDGET: Duration = Duration::from_secs(600);

/// One thing to search for in each round.
type Contest = (Who, Work);
const CONTESTS: [Contest; 5] = [
    (Who::Testpmd, Work::Relay),
    (Who::Tandem, Work::Relay),
    (Who::Tandem, Work::Transcode),
    (Who::Rtpengine, Work::Relay),
    (Who::Rtpengine, Work::Transcode),
];

/// Where the first round's search begins; it ends where it must.
fn first_guess(who: Who, work: Work) -> f64 {
    match (who, work) {
        (Who::Rtpengine, Work::Relay) => 130_000.0,
        (Who::Rtpengine, Work::Transcode) => 60_000.0,
        _ => 500_000.0,
    }
}

/// What the rounds found of one contest.
#[derive(Clone, Debug, Default)]
struct Results {
    found: Vec<Found>,
    /// Packets forwarded in a second of the subject's time while more came than it could take.
    saturated: Vec<f64>,
    /// (offered, lost share) of every trial.
    trials: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Rates(BTreeMap<Contest, Results>);

impl Rates {
    /// The median over the rounds; what was not measured has none.
    pub fn median(&self, who: Who, work: Work) -> f64 {
        median(&self.of(who, work).found.iter().map(|f| f.rate).collect::<Vec<_>>())
    }

    fn of(&self, who: Who, work: Work) -> Results {
        self.0.get(&(who, work)).cloned().unwrap_or_default()
    }
}

pub fn run(bench: &Bench, tandem: &Path, report: &mut Report) -> Result<Rates> {
    let tables = Tables::load()?;
    bench.step("lab: the generator and the sink alone");
    let alone = generator_alone().context("the generator alone")?;
    let mut limits = format!("generator and sink alone, on one core: {:.0} kpps", alone / 1e3);
    let mut rates = Rates::default();
    let started = Instant::now();
    for round in 1..=bench.rounds {
        if started.elapsed() > BUDGET {
            let text = format!("{} of {}: trials that others disturbed took the time", round - 1, bench.rounds);
            report.facts.push(("lab: rounds of rates".into(), text));
            break;
        }
        for who in [Who::Testpmd, Who::Tandem, Who::Rtpengine] {
            bench.step(&format!("lab, round {round} of {}: {}", bench.rounds, who.name()));
            let _turn = take_turn(true)?;
            let mut place = Place::take(who, tandem, &bench.out)?;
            for (_, work) in CONTESTS.into_iter().filter(|(subject, _)| *subject == who) {
                let seen = place.verify(work, &tables)?;
                if round == 1 {
                    report.facts.push((format!("lab: looked at, {} {}", who.name(), work.name()), seen));
                }
                let results = rates.0.entry((who, work)).or_default();
                contest(&mut place, work, results)?;
            }
            if (round, who) == (1, Who::Testpmd) {
                let most = place.load(Work::Relay, FLAT_OUT, Duration::from_millis(50))?.sent.rate();
                limits = format!("{limits}; generator into an AF_XDP port: {:.0} kpps", most / 1e3);
                println!("  {limits}");
            }
        }
    }
    report.facts.push(("lab: what can be offered".into(), limits.clone()));
    rows(&rates, &limits, report);
    curves(&rates, report);
    Ok(rates)
}

fn contest(place: &mut Place, work: Work, results: &mut Results) -> Result<()> {
    let hint = results.found.last().map_or(first_guess(place.who, work), |last| last.rate.max(10_000.0));
    let started = Instant::now();
    let length = trial_length(place.who);
    let found = zero_loss(hint, PATIENCE, |rate| {
        let trial = place.trial(work, rate, length)?;
        results.trials.push((trial.offered, trial.loss));
        if trial.loss > OVERRUN {
            place.recover()?;
        }
        Ok(trial)
    })?;
    let overload = saturated(&place.load(work, found.rate * OVERLOADED, OVERLOAD)?);
    place.recover()?;
    println!(
        "  {} {}: {}{:.0} kpps without loss, {} a second of its time overloaded ({:.0} s, {} trials made again)",
        place.who.name(),
        work.name(),
        if found.by_generator { "at least " } else { "" },
        found.rate / 1e3,
        overload.map_or("-".to_owned(), |rate| format!("{:.0} k", rate / 1e3)),
        started.elapsed().as_secs_f64(),
        found.repeated
    );
    results.found.push(found);
    results.saturated.extend(overload);
    Ok(())
}

/// Only where packets were lost is all of a poller's time spent on packets.
fn saturated(load: &Load) -> Option<f64> {
    let ran = load.ran.as_secs_f64();
    (load.loss() > 0.01 && ran > 0.0).then(|| load.arrived as f64 / ran)
}

/// From the generator into a cable whose far end counts and drops, all on one core: no subject.
fn generator_alone() -> Result<f64> {
    let _turn = take_turn(true)?;
    let ground = Topology::lay(Between::Cable)?;
    ground.deafen_ports()?;
    sink::shut(&ground.tandem, "p0")?;
    ground.tandem.run("ethtool", &["-K", "p0", "gro", "on"])?;
    let generator = Generator::new(way(&ground)?, &plain_streams(), GENERATOR_CPU)?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let before = sink::arrived(&ground.tandem, "p0")?;
        // For about a second.
        let sent = generator.send(FLAT_OUT, Duration::from_millis(50))?;
        rates.push((sink::arrived(&ground.tandem, "p0")? - before) as f64 / sent.took.as_secs_f64());
    }
    Ok(median(&rates))
}

fn rows(rates: &Rates, limits: &str, report: &mut Report) {
    for (name, work, against, bar, aim) in [
        ("lab_relay_vs_rtpengine", Work::Relay, Who::Rtpengine, 4.0, 5.0),
        ("lab_transcode_vs_rtpengine", Work::Transcode, Who::Rtpengine, 8.0, 11.0),
        ("lab_relay_vs_testpmd", Work::Relay, Who::Testpmd, 0.80, 0.95),
    ] {
        let (ours, theirs) = (rates.of(Who::Tandem, work), rates.of(against, work));
        let pairs = ours.found.iter().zip(&theirs.found).map(|(t, r)| (t.rate / 1e3, r.rate / 1e3)).collect();
        let what = format!(
            "highest rate with loss under {} %, {} of {CALLS} streams, one core, veth",
            LOSS_BOUND * 100.0,
            work.name()
        );
        let mut notes = vec![limits.to_owned()];
        notes.extend(limit_note(&ours.found, &theirs.found, against));
        let repeated: usize = ours.found.iter().chain(&theirs.found).map(|f| f.repeated).sum();
        if repeated > 0 {
            notes.push(format!("{repeated} trials were made again because somebody else had a core"));
        }
        if against == Who::Rtpengine {
            notes.push("rtpengine's reception by the kernel falls to the generator's core".to_owned());
        }
        let (t, r) = (median(&ours.saturated), median(&theirs.saturated));
        if t.is_finite() && r.is_finite() {
            let (kt, kr) = (t / 1e3, r / 1e3);
            notes.push(format!("overloaded, in a second of its time: {kt:.0} to {kr:.0} k, {:.2}", t / r));
        }
        let row = Row::versus(name, &what, "kpps", against.name(), pairs).bar(Better::Higher, bar, aim);
        report.rows.push(row.note(notes.join("; ")));
    }
}

/// What is known of a ratio if the generator ended before a subject did.
fn limit_note(ours: &[Found], theirs: &[Found], against: Who) -> Option<String> {
    let limited = |rounds: &[Found]| rounds.iter().filter(|f| f.by_generator).count();
    let (t, r) = (limited(ours), limited(theirs));
    let name = against.name();
    let rounds = ours.len().min(theirs.len());
    match (t, r) {
        (0, 0) => None,
        (t, 0) => {
            Some(format!("the generator, not tandem, was the limit in {t} of {rounds} rounds: at least this ratio"))
        }
        (0, r) => {
            Some(format!("the generator, not {name}, was the limit in {r} of {rounds} rounds: at most this ratio"))
        }
        (t, r) => Some(format!(
            "the generator was the limit, for tandem in {t} and for {name} in {r} of {rounds} rounds: each at least"
        )),
    }
}

fn curves(rates: &Rates, report: &mut Report) {
    for (&(who, work), results) in &rates.0 {
        let mut points: Vec<(f64, f64)> =
            results.trials.iter().map(|(rate, loss)| (rate / 1e3, loss * 100.0)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        report.series.push(Series {
            plot: "veth lab: loss in every trial".into(),
            x: "kpps offered".into(),
            y: "% lost".into(),
            log_x: true,
            name: format!("{} {}", who.name(), work.name()),
            points,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_ended_first_is_said_to_be_the_limit() {
        let found = |by_generator| [Found { rate: 1.0, by_generator, repeated: 0 }];
        let note = |t, r| limit_note(&found(t), &found(r), Who::Testpmd).unwrap_or_default();
        assert_eq!(note(false, false), "");
        assert!(note(true, false).ends_with("at least this ratio"));
        assert!(note(false, true).contains("testpmd io") && note(false, true).ends_with("at most this ratio"));
        assert!(note(true, true).ends_with("each at least"));
    }
}
