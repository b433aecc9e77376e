//! The zero-loss rate by search (RFC 2544 §26.1's throughput): the highest rate at which a trial loses less than
//! `LOSS_BOUND`. Pure: a trial is a function.

use anyhow::Result;

/// Share of packets that may be missing.
pub const LOSS_BOUND: f64 = 1e-4;
/// The search ends when the bracket is this narrow.
const RESOLUTION: f64 = 1.02;
/// What the first look beside the hint is away from it; further ones are further away.
const FIRST_STEP: f64 = 1.1;
/// Packets a second below which there is nothing to be found.
const LEAST: f64 = 100.0;
/// Trials that must pass at the rate that is reported, the one that found it among them.
const CONFIRMATIONS: usize = 10;

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
    let (rate, by_generator) = search(hint, |rate| {
        let mut seen = trial(rate)?;
        while !seen.stands() && repeated < patience {
            repeated += 1;
            seen = trial(rate)?;
        }
        Ok(seen)
    })?;
    Ok(Found { rate, by_generator, repeated })
}

/// The rate, and whether the generator ended first.
fn search(hint: f64, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<(f64, bool)> {
    // What was asked for, and of the lower one what was really offered.
    let (mut low, mut high, mut carried) = (0.0, f64::INFINITY, 0.0);
    let mut rate = hint;
    let mut step = FIRST_STEP;
    // A bracket: up or down in growing steps until one passes and one does not.
    while low == 0.0 || high.is_infinite() {
        let seen = trial(rate)?;
        if seen.passes() {
            // Where a higher rate is known to be too much, a generator that does not keep pace is no limit.
            if !seen.kept_pace && high.is_infinite() {
                return Ok((seen.offered.min(rate), true));
            }
            (low, carried) = (rate, seen.offered.min(rate));
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
        let seen = trial(middle)?;
        if seen.passes() {
            (low, carried) = (middle, seen.offered.min(middle));
        } else {
            high = middle;
        }
    }
    // A rate that passed once by luck steps down, in growing steps, until it passes as often as asked.
    let (mut passed, mut step) = (1, RESOLUTION);
    while passed < CONFIRMATIONS && low > LEAST {
        let seen = trial(low)?;
        if seen.passes() {
            (passed, carried) = (passed + 1, carried.min(seen.offered));
        } else {
            low /= step;
            (passed, carried) = (0, low);
            step *= RESOLUTION;
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
    fn a_rate_that_passes_by_luck_is_not_reported() {
        let mut trials = 0;
        let found = zero_loss(5e5, 0, |rate| {
            trials += 1;
            // The first look at anything up to 510,000 passes.
            let limit = if trials <= 2 { 5.1e5 } else { 4.5e5 };
            subject(limit, 1e7)(rate)
        })
        .expect("trials do not fail");
        assert!(found.rate <= 4.5e5, "{found:?}");
    }
}
