//! How long a packet takes from the generator to the sink, through tandem and through testpmd in turn, at half the lower
//! of their rates without loss; and through one cable alone. Main thread.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tandem_lab::{
    net::{Namespace, cable},
    runner::take_turn,
};

use super::{
    generator::{Generator, Sent, Way},
    place::{GENERATOR_CPU, Place, Who, Work, plain_streams},
    rates::Rates,
    sink::{self, DelayMeter, Delays},
};
use crate::{
    Bench,
    report::{Better, Report, Row, median},
};

/// Short, so that most looks fall between the turns of others on the core; a hundred thousand packets and more.
const LENGTH: Duration = Duration::from_millis(300);
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Somebody else on the subject's core for so long shows in the p99.9: it is a third of a thousandth of `LENGTH`. The
/// generator's core does not matter: it is left between two batches only, when nothing of it is under way.
const DISTURBED: Duration = Duration::from_micros(100);
/// Looks at one subject in one round; the least disturbed one counts, and the first undisturbed one is the last.
const LOOKS: usize = 30;

pub fn run(bench: &Bench, tandem: &Path, rates: &Rates, report: &mut Report) -> Result<()> {
    let of = |who| rates.median(who, Work::Relay);
    let rate = of(Who::Tandem).min(of(Who::Testpmd)) / 2.0;
    let (mut pairs, mut lines, mut disturbed) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()], 0);
    for round in 1..=bench.rounds {
        bench.step(&format!("lab, delay, round {round} of {} at {:.0} kpps", bench.rounds, rate / 1e3));
        let _turn = take_turn(true)?;
        let [alone, theirs, ours] = &mut lines;
        alone.push(one_cable(rate)?);
        for (who, to) in [(Who::Testpmd, &mut *theirs), (Who::Tandem, &mut *ours)] {
            let (quantiles, away) = through(&Place::take(who, tandem, &bench.out)?, rate)?;
            disturbed += usize::from(away > DISTURBED);
            println!("  {}: {} µs", who.name(), text(quantiles));
            to.push(quantiles);
        }
        pairs.extend(ours.last().zip(theirs.last()).map(|(t, r)| (t[2], r[2])));
    }
    let mut notes = vec![format!("{:.0} kpps, both cables included", rate / 1e3)];
    for (name, line) in ["one cable without a subject", "testpmd io", "tandem"].into_iter().zip(&lines) {
        let medians = [0, 1, 2].map(|q| median(&line.iter().map(|l| l[q]).collect::<Vec<_>>()));
        report.facts.push((format!("lab: delay at {:.0} kpps, {name}", rate / 1e3), format!("{} µs", text(medians))));
        notes.push(format!("{name}: {} µs", text(medians)));
    }
    if disturbed > 0 {
        notes.push(format!(
            "in {disturbed} of {} looks somebody else had the subject's core for over 0.1 ms",
            2 * bench.rounds
        ));
    }
    let what = "p99.9 of the time from generator to sink";
    let row = Row::versus("delay_p999_vs_testpmd", what, "µs", "testpmd io", pairs);
    report.rows.push(row.bar(Better::Lower, 2.0, 1.2).note(notes.join("; ")));
    Ok(())
}

fn text([p50, p99, p999]: [f64; 3]) -> String {
    format!("p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}")
}

/// In microseconds.
fn quantiles(delays: &Delays) -> [f64; 3] {
    QUANTILES.map(|q| delays.quantile(q).as_nanos() as f64 / 1e3)
}

/// The least disturbed look's quantiles, and for how long somebody else had the subject's core meanwhile.
fn through(place: &Place, rate: f64) -> Result<([f64; 3], Duration)> {
    // What is cold and what must be learnt is not what is asked for.
    place.send(Work::Relay, rate, Duration::from_millis(300))?;
    let mut best = ([f64::NAN; 3], Duration::MAX);
    for _ in 0..LOOKS {
        let meter = DelayMeter::open(&place.ground.callee.name, "eth0")?;
        let load = place.load(Work::Relay, rate, LENGTH)?;
        if load.away < best.1 {
            best = (quantiles(&meter.read()?), load.away);
        }
        if load.away <= DISTURBED {
            break;
        }
    }
    Ok(best)
}

fn one_cable(rate: f64) -> Result<[f64; 3]> {
    let (near, far) = (Namespace::make("near")?, Namespace::make("far")?);
    cable((&near, "eth0"), (&far, "eth0"))?;
    sink::shut(&far, "eth0")?;
    far.run("ethtool", &["-K", "eth0", "gro", "on"])?;
    let way = Way {
        namespace: near.name.clone(),
        interface: "eth0".to_owned(),
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
    };
    let generator = Generator::new(way, &plain_streams(), GENERATOR_CPU)?;
    let meter = DelayMeter::open(&far.name, "eth0")?;
    let _: Sent = generator.send(rate, LENGTH)?;
    Ok(quantiles(&meter.read()?))
}
