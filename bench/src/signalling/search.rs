//! The search for the highest rate that holds, as RFC 2544 §26.1 has it for frames: up or down in steps until one rate
//! holds and one does not, then between them. Pure.

/// The search ends when the rates that held and that did not are as near as this.
pub const NEAR_ENOUGH: f64 = 1.06;
/// Where the search gives up.
const LOWEST_RATE: f64 = 50.0;
pub const HIGHEST_RATE: f64 = 12_000.0;

#[derive(Clone, Copy, Debug)]
pub struct Search {
    first: f64,
    step: f64,
    held: Option<f64>,
    failed: Option<f64>,
}

impl Search {
    pub fn new(first: f64, step: f64) -> Self {
        Search { first, step, held: None, failed: None }
    }

    /// The rate to try next. None: the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        let rate = match (self.held, self.failed) {
            (Some(low), Some(high)) if high / low <= NEAR_ENOUGH => return None,
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * self.step,
            (None, Some(high)) => high / self.step,
            (None, None) => self.first,
        };
        (LOWEST_RATE..=HIGHEST_RATE).contains(&rate).then_some(rate)
    }

    pub fn tried(&mut self, rate: f64, holds: bool) {
        if holds {
            self.held = Some(rate);
        } else {
            self.failed = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a search finds in a subject that holds up to `limit`, and how many trials it took.
    fn find(limit: f64, first: f64, step: f64) -> (Option<f64>, usize) {
        let (mut search, mut trials) = (Search::new(first, step), 0);
        while let Some(rate) = search.next_rate() {
            search.tried(rate, rate <= limit);
            trials += 1;
            assert!(trials < 100, "no end: {search:?}");
        }
        (search.held, trials)
    }

    #[test]
    fn what_is_found_holds_and_is_near_the_limit() {
        for limit in [60.0, 999.0, 2_000.0, 2_001.0, 3_456.0, 10_000.0] {
            let (found, _) = find(limit, 2_000.0, 1.5);
            let found = found.unwrap();
            assert!(found <= limit && limit / found < NEAR_ENOUGH, "{found} for {limit}");
        }
    }

    #[test]
    fn a_round_that_begins_near_is_short() {
        assert!(find(3_000.0, 2_950.0, 1.15).1 <= 4);
        assert!(find(2_900.0, 2_950.0, 1.15).1 <= 4);
    }

    #[test]
    fn nothing_holds_or_everything() {
        assert_eq!(find(0.0, 2_000.0, 1.5).0, None);
        let (found, _) = find(f64::MAX, 2_000.0, 1.5);
        assert!(found.is_some_and(|rate| rate * 1.5 > HIGHEST_RATE));
    }
}
