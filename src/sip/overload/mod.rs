//! Overload control: how many of the new calls are taken while the slow path is late (RFC 5390 says why; RFC 7339 is the
//! idea of a share that follows the load). Pure; slow-path thread; fed with the time and with how late things are.
//!
//! - `glance`: what a datagram is, without reading it; and the refusal of a new call from what was seen.
//!
//! Always holds: one stall does not refuse a call. Lateness counts only if it stands: if in a whole window not one look
//! found the slow path in time, as CoDel (RFC 8289 §3) looks at a queue's minimum. What is in dialogs is never refused here.

pub mod glance;

use std::time::Duration;

use crate::{base::Time, config};

/// How long lateness must stand before the share of calls that are taken changes.
const WINDOW: Duration = Duration::from_millis(50);
/// Looks in a window, at least: fewer are a stall, not a load.
const LOOKS: u32 = 3;
/// What is left of the share after a window that was late throughout.
const DOWN: f64 = 0.85;
/// How the share grows after a window that was in time for a moment: from the least to all in 23 windows, 1.2 s.
const UP_BY: f64 = 1.15;
const UP_AT_LEAST: f64 = 0.005;
const LEAST: f64 = 0.01;

#[derive(Clone, Debug)]
pub struct Overload {
    /// What may be late; None: nothing is ever refused.
    bound: Option<Duration>,
    /// Of the new calls, what is taken.
    share: f64,
    /// Of the next call, what has been saved up.
    credit: f64,
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    end: Time,
    least: Duration,
    looks: u32,
}

impl Overload {
    pub fn new(config: &config::Overload) -> Self {
        let bound = (config.late_ms > 0).then(|| Duration::from_millis(u64::from(config.late_ms)));
        Overload { bound, share: 1.0, credit: 0.0, window: None }
    }

    /// How late the slow path is now: what has waited longest for it, a message or a timer.
    pub fn note(&mut self, now: Time, late: Duration) {
        let Some(bound) = self.bound else { return };
        let fresh = Window { end: now + WINDOW, least: late, looks: 1 };
        let Some(window) = &mut self.window else {
            self.window = Some(fresh);
            return;
        };
        window.least = window.least.min(late);
        window.looks += 1;
        if now < window.end || window.looks < LOOKS {
            return;
        }
        if window.least > bound {
            self.share = (self.share * DOWN).max(LEAST);
        } else if window.least <= bound / 2 {
            self.share = (self.share * UP_BY + UP_AT_LEAST).min(1.0);
        }
        self.window = None;
    }

    /// Of the new calls, what is taken now: 1 is all.
    pub fn share(&self) -> f64 {
        self.share
    }

    pub fn sheds(&self) -> bool {
        self.share < 1.0
    }

    /// A call that has waited so long is not worth taking any more: its caller has repeated itself by then.
    pub fn too_old(&self, waited: Duration) -> bool {
        self.bound.is_some_and(|bound| waited > bound * 4)
    }

    /// Whether the next new call is taken. Evenly spread: with a share of a quarter, every fourth.
    pub fn admits(&mut self) -> bool {
        if !self.sheds() {
            return true;
        }
        self.credit += self.share;
        let taken = self.credit >= 1.0;
        if taken {
            self.credit -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fresh() -> Overload {
        Overload::new(&config::Overload::default())
    }

    /// A slow path that takes `per_second` new calls, offered more or fewer, in steps of a millisecond. Returns the
    /// longest wait of a call, and what was taken in the last second.
    struct Plant {
        overload: Overload,
        now: Time,
        queue: std::collections::VecDeque<Time>,
        owed: f64,
        offered: f64,
        waited: Duration,
        taken: u32,
        refused: u32,
        most_queued: usize,
    }

    impl Plant {
        fn new() -> Plant {
            Plant {
                overload: fresh(),
                now: Time::from_secs(1),
                queue: Default::default(),
                owed: 0.0,
                offered: 0.0,
                waited: Duration::ZERO,
                taken: 0,
                refused: 0,
                most_queued: 0,
            }
        }

        fn run(&mut self, ms: u32, offered_per_second: f64, per_second: f64) {
            (self.taken, self.refused, self.waited) = (0, 0, Duration::ZERO);
            for _ in 0..ms {
                self.now += MS;
                self.offered += offered_per_second / 1e3;
                while self.offered >= 1.0 {
                    self.offered -= 1.0;
                    if self.overload.admits() { self.queue.push_back(self.now) } else { self.refused += 1 }
                }
                self.most_queued = self.most_queued.max(self.queue.len());
                self.owed = (self.owed + per_second / 1e3).min(per_second / 1e3 + 1.0);
                while self.owed >= 1.0 {
                    let Some(came) = self.queue.pop_front() else { break };
                    if self.overload.too_old(self.now - came) {
                        self.refused += 1;
                        continue;
                    }
                    self.owed -= 1.0;
                    self.waited = self.waited.max(self.now - came);
                    self.taken += 1;
                }
                let late = self.queue.front().map_or(Duration::ZERO, |came| self.now - *came);
                self.overload.note(self.now, late);
            }
        }
    }

    #[test]
    fn a_load_that_fits_is_never_refused() {
        let mut plant = Plant::new();
        plant.run(10_000, 900.0, 1_000.0);
        assert_eq!((plant.refused, plant.overload.sheds()), (0, false));
    }

    #[test]
    fn a_stall_refuses_nobody() {
        let mut overload = fresh();
        let mut now = Time::from_secs(1);
        for _ in 0..20 {
            for _ in 0..200 {
                now += MS;
                overload.note(now, MS);
            }
            // The machine stood still for 300 ms, and works off what waits within 30.
            now += Duration::from_millis(300);
            for late in (0..30).rev() {
                now += MS;
                overload.note(now, MS * late * 10);
            }
            assert!(!overload.sheds());
        }
    }

    #[test]
    fn ten_times_the_load_is_taken_as_far_as_it_goes() {
        let mut plant = Plant::new();
        plant.run(1_000, 10_000.0, 1_000.0);
        for _ in 0..10 {
            plant.run(1_000, 10_000.0, 1_000.0);
            assert!(plant.taken > 800, "{} of 1000 that fit", plant.taken);
            assert!(plant.refused > 8_500);
            assert!(plant.waited <= MS * 200, "{:?}", plant.waited);
        }
        assert!(plant.most_queued < 2_000, "{}", plant.most_queued);
    }

    #[test]
    fn it_has_recovered_within_two_seconds() {
        let mut plant = Plant::new();
        plant.run(10_000, 30_000.0, 100.0);
        assert!(plant.overload.share() < 0.05);
        plant.run(2_000, 500.0, 1_000.0);
        assert!(!plant.overload.sheds(), "{}", plant.overload.share());
        plant.run(2_000, 500.0, 1_000.0);
        assert_eq!(plant.refused, 0);
    }

    #[test]
    fn zero_switches_it_off() {
        let mut overload = Overload::new(&config::Overload { late_ms: 0, ..config::Overload::default() });
        for ms in 0..10_000 {
            overload.note(Time::from_millis(1_000 + ms), Duration::from_secs(5));
        }
        assert!(!overload.sheds() && overload.admits() && !overload.too_old(Duration::from_secs(100)));
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let mut overload = fresh();
        overload.share = 0.25;
        let taken: String = (0..12).map(|_| if overload.admits() { 'x' } else { '.' }).collect();
        assert_eq!(taken, "...x...x...x");
    }
}
