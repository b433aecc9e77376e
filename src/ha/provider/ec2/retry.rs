//! How long is waited and how often it is tried. The SDK's own retries are off: they are made for minutes, and a
//! takeover has seconds. Provider thread.

use std::{error::Error, time::Duration};

use super::super::ProviderError;

/// Before the second attempt; doubled for each one after it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest that one attempt takes.
    pub attempt: Duration,
    pub attempts: u32,
}

impl Patience {
    /// The longest that a connection may take to come about: half of the attempt.
    pub fn connect(self) -> Duration {
        self.attempt / 2
    }

    /// Tries until there is an answer that will not change, or the attempts are used up.
    pub async fn tried<T>(self, mut once: impl AsyncFnMut() -> Result<T, ProviderError>) -> Result<T, ProviderError> {
        let mut made = 1;
        loop {
            match once().await {
                Err(ProviderError::Unreachable(what)) if made < self.attempts => {
                    tracing::debug!(made, %what, "ec2: tried again");
                    tokio::time::sleep(pause(made, random())).await;
                    made += 1;
                }
                Err(ProviderError::Unreachable(what)) => {
                    return Err(ProviderError::Unreachable(format!("{what} ({made} attempts)")));
                }
                other => return other,
            }
        }
    }
}

/// After `made` attempts: at least half of the step, and the rest by chance, so that two hosts that were throttled
/// together do not come again together.
fn pause(made: u32, random: u32) -> Duration {
    let step = FIRST_PAUSE.saturating_mul(1 << (made - 1).min(8)).min(LONGEST_PAUSE);
    step / 2 + (step / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Without randomness from the kernel the pause is the longest: no reason to fail a takeover.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

/// What went wrong and what it came from, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_spread() {
        let longest = |made| pause(made, u32::MAX).as_millis();
        let shortest = |made| pause(made, 0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [50, 100, 200, 400, 400, 400]);
        assert_eq!([1, 2, 3, 4, 5, 40].map(shortest), [25, 50, 100, 200, 200, 200]);
    }

    fn tries(attempts: u32, answers: &[Result<u8, ProviderError>]) -> (Result<u8, ProviderError>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut made = 0;
        let patience = Patience { attempt: Duration::from_secs(1), attempts };
        let result = runtime.block_on(patience.tried(async || {
            made += 1;
            answers[made - 1].clone()
        }));
        (result, made)
    }

    #[test]
    fn only_what_may_change_is_tried_again_and_not_for_ever() {
        let away = || Err(ProviderError::Unreachable("away".into()));
        let refused = || Err(ProviderError::Refused { what: "no".into(), missing: None });
        assert_eq!(tries(3, &[away(), away(), Ok(7)]), (Ok(7), 3));
        assert_eq!(tries(3, &[away(), refused(), Ok(7)]), (refused(), 2));
        let last = Err(ProviderError::Unreachable("away (2 attempts)".into()));
        assert_eq!(tries(2, &[away(), away(), Ok(7)]), (last, 2));
    }
}
