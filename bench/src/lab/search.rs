//! The zero-loss rate by search: RFC 2544 §26.1's throughput with `LOSS_BOUND`, on a machine that others share. What a
//! subject carries wavers there, so a rate counts as carried when most of its trials pass (draft-ietf-bmwg-mlrsearch-12:
//! a goal exceed ratio of 0.5, the recommended one). Pure: a trial is a function.

use anyhow::Result;

/// Share of packets that may be missing.
pub const LOSS_BOUND: f64 = 1e-4;
/// The search ends when the bracket is this narrow.
const RESOLUTION: f64 = 1.02;
/// What the first look beside the hint is away from it; further ones are further away.
const FIRST_STEP: f64 = 1.1;
/// Packets a second below which there is nothing to be found.
const LEAST: f64 = 100.0;
/// Trials of a rate, of which most decide.
const TRIALS: usize = 3;

#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Packets a second that really were offered.
    pub offered: f64,
    pub loss: f64,
    /// The generator sent about what it was asked to.
    pub kept_pace: bool,
    /// Somebody else had the subject's core, for long enough that what was lost may be their doing.
    pub disturbed: bool,
    /// Somebody else had the generator's core, for long enough that what was not sent may be their doing.
    pub starved: bool,
}

impl Trial {
    pub fn passes(&self) -> bool {
        self.loss < LOSS_BOUND
    }

    /// Says something about the subject and the generator, not about somebody else.
    fn stands(&self) -> bool {
        if self.passes() { self.kept_pace || !self.starved } else { !self.disturbed }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub rate: f64,
    /// No rate was found that the subject could not carry: the generator ended first.
    pub by_generator: bool,
    /// Trials that were made again.
    pub repeated: usize,
}

/// Around `hint`. A trial whose result may be somebody else's doing is made again, `patience` times in all.
pub fn zero_loss(hint: f64, patience: usize, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<Found> {
    let mut repeated = 0;
    let mut standing = |rate| {
        let mut seen = trial(rate)?;
        while !seen.stands() && repeated < patience {
            repeated += 1;
            seen = trial(rate)?;
        }
        Ok(seen)
    };
    let (rate, by_generator) = search(hint, |rate| most(rate, &mut standing))?;
    Ok(Found { rate, by_generator, repeated })
}

/// What most trials of a rate say.
struct Verdict {
    carried: bool,
    /// The least that was offered in a trial that passed.
    offered: f64,
    kept_pace: bool,
}

fn most(rate: f64, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<Verdict> {
    let (mut passed, mut failed) = (0, 0);
    let mut verdict = Verdict { carried: true, offered: rate, kept_pace: false };
    while passed.max(failed) <= TRIALS / 2 {
        let seen = trial(rate)?;
        if seen.passes() {
            passed += 1;
            verdict.offered = verdict.offered.min(seen.offered);
            verdict.kept_pace |= seen.kept_pace;
        } else {
            failed += 1;
        }
    }
    Ok(Verdict { carried: passed > failed, ..verdict })
}

/// The rate, and whether the generator ended first.
fn search(hint: f64, mut judge: impl FnMut(f64) -> Result<Verdict>) -> Result<(f64, bool)> {
    // What was asked for, and of the lower one what was really offered.
    let (mut low, mut high, mut carried) = (0.0, f64::INFINITY, 0.0);
    let mut rate = hint;
    let mut step = FIRST_STEP;
    // A bracket: up or down in growing steps until one is carried and one is not.
    while low == 0.0 || high.is_infinite() {
        let seen = judge(rate)?;
        if seen.carried {
            // Where a higher rate is known to be too much, a generator that does not keep pace is no limit.
            if !seen.kept_pace && high.is_infinite() {
                return Ok((seen.offered, true));
            }
            (low, carried) = (rate, seen.offered);
            rate = if high.is_finite() { rate } else { rate * step };
        } else {
            high = rate;
            rate = if low > 0.0 { rate } else { rate / step };
        }
        step *= FIRST_STEP;
        if rate < LEAST {
            return Ok((0.0, false));
        }
    }
    while high / low > RESOLUTION {
        let middle = (low * high).sqrt();
        let seen = judge(middle)?;
        if seen.carried {
            (low, carried) = (middle, seen.offered);
        } else {
            high = middle;
        }
    }
    Ok((carried, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(limit: f64, generator: f64) -> impl FnMut(f64) -> Result<Trial> {
        move |rate| {
            let offered = rate.min(generator);
            let loss = if offered > limit { 1.0 - limit / offered } else { 0.0 };
            Ok(Trial { offered, loss, kept_pace: rate <= generator, disturbed: false, starved: false })
        }
    }

    #[test]
    fn it_finds_a_limit_from_below_and_from_above() {
        for hint in [1e5, 4.9e5, 5e5, 2e6] {
            let found = zero_loss(hint, 0, subject(5e5, 1e7)).expect("trials do not fail");
            assert!(found.rate <= 5e5 && found.rate > 4.9e5 && !found.by_generator, "{hint}: {found:?}");
        }
    }

    #[test]
    fn a_subject_that_carries_nothing_ends_the_search() {
        let found = zero_loss(5e5, 0, subject(0.0, 1e7)).expect("trials do not fail");
        assert!(found.rate == 0.0 && !found.by_generator, "{found:?}");
    }

    #[test]
    fn a_generator_that_ends_first_is_named() {
        let found = zero_loss(5e5, 0, subject(1e7, 8e5)).expect("trials do not fail");
        assert!(found.by_generator && (7.9e5..=8e5).contains(&found.rate), "{found:?}");
    }

    #[test]
    fn a_disturbed_trial_is_made_again() {
        let mut trials = 0;
        let found = zero_loss(4.9e5, 50, |rate| {
            trials += 1;
            let seen = subject(5e5, 1e7)(rate)?;
            // Every other trial is spoilt.
            Ok(if trials % 2 == 1 { Trial { loss: 0.5, disturbed: true, ..seen } } else { seen })
        })
        .expect("trials do not fail");
        assert!(found.rate <= 5e5 && found.rate > 4.9e5, "{found:?}");
    }

    #[test]
    fn a_generator_that_others_kept_from_its_core_is_not_a_limit() {
        let mut trials = 0;
        let found = zero_loss(4.9e5, 50, |rate| {
            trials += 1;
            let seen = subject(5e5, 1e7)(rate)?;
            // Every other trial sends a third of what it should.
            Ok(if trials % 2 == 1 {
                Trial { offered: rate / 3.0, loss: 0.0, kept_pace: false, starved: true, ..seen }
            } else {
                seen
            })
        })
        .expect("trials do not fail");
        assert!(found.rate <= 5e5 && found.rate > 4.9e5 && !found.by_generator && found.repeated > 3, "{found:?}");
    }

    #[test]
    fn what_was_offered_is_reported_not_what_was_asked_for() {
        let found = zero_loss(5e5, 0, |rate| {
            let seen = subject(5e5, 1e7)(rate * 0.98)?;
            Ok(Trial { kept_pace: true, ..seen })
        })
        .expect("trials do not fail");
        assert!(found.rate <= 5e5 && found.rate > 4.8e5, "{found:?}");
    }

    #[test]
    fn neither_one_lucky_trial_nor_one_unlucky_one_decides() {
        for odd in 0..12 {
            let mut trials = 0;
            let found = zero_loss(4.9e5, 0, |rate| {
                trials += 1;
                let limit = if trials - 1 != odd {
                    5e5
                } else if rate > 5e5 {
                    1e7
                } else {
                    0.0
                };
                subject(limit, 1e8)(rate)
            })
            .expect("trials do not fail");
            assert!(found.rate <= 5e5 && found.rate > 4.9e5, "{odd}: {found:?}");
        }
    }
}
