//! Is this process alive, and should it be sent calls? The slow path writes, the HTTP thread reads.
//!
//! Alive: the slow path's loop has come round lately. Ready: alive and no reason stands against it; it starts with one,
//! so that nothing is sent before boot is done.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::base::{Time, clock::Monotonic};

/// The slow path's loop comes round at least once a second; silent for longer than this, it hangs.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(5);

const STARTING: &str = "start";

#[derive(Debug)]
pub struct Health {
    clock: Monotonic,
    last_beat_us: AtomicU64,
    /// What stands against readiness, by subject.
    reasons: Mutex<BTreeMap<String, String>>,
    /// Why this process has to be restarted.
    failed: Mutex<Option<String>>,
}

impl Health {
    /// `clock` is the one whose times `beat` is called with.
    pub fn new(clock: Monotonic) -> Self {
        let reasons = BTreeMap::from([(STARTING.to_owned(), "tandem is starting".to_owned())]);
        Health {
            last_beat_us: AtomicU64::new(clock.now().as_micros()),
            clock,
            reasons: Mutex::new(reasons),
            failed: Mutex::default(),
        }
    }

    /// Boot is done.
    pub fn started(&self) {
        self.clear(STARTING);
    }

    /// The slow path's loop came round.
    pub fn beat(&self, now: Time) {
        self.last_beat_us.store(now.as_micros(), Ordering::Relaxed);
    }

    /// `reason` stands against readiness until `clear` is called with the same subject: `port edge`, `drain`.
    /// True if nothing stood under this subject before.
    pub fn object(&self, subject: &str, reason: &str) -> bool {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.insert(subject.to_owned(), reason.to_owned()).is_none()
    }

    /// This process cannot recover: it should be restarted.
    pub fn fail(&self, reason: &str) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub fn clear(&self, subject: &str) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }

    /// Ok, or why this process should be restarted.
    pub fn alive(&self) -> Result<(), String> {
        self.alive_at(self.clock.now())
    }

    fn alive_at(&self, now: Time) -> Result<(), String> {
        if let Some(reason) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(reason);
        }
        let silent = now.since(Time::from_micros(self.last_beat_us.load(Ordering::Relaxed)));
        if silent <= SILENCE_LIMIT {
            return Ok(());
        }
        Err(format!("the slow path has not come round for {} s", silent.as_secs()))
    }

    /// Everything that stands against sending calls here; empty if nothing does.
    pub fn objections(&self) -> Vec<String> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        self.alive().err().into_iter().chain(reasons.iter().map(|(subject, why)| format!("{subject}: {why}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_after_start_and_while_nothing_objects() {
        let health = Health::new(Monotonic::start());
        assert_eq!(health.objections(), ["start: tandem is starting"]);
        health.started();
        assert!(health.objections().is_empty());
        health.object("port edge", "the link is down");
        health.object("port edge", "the link is still down");
        health.object("drain", "no new calls");
        assert_eq!(health.objections(), ["drain: no new calls", "port edge: the link is still down"]);
        health.clear("port edge");
        health.clear("drain");
        assert!(health.objections().is_empty());
    }

    #[test]
    fn alive_while_the_slow_path_comes_round() {
        let health = Health::new(Monotonic::start());
        health.beat(Time::from_secs(10));
        assert_eq!(health.alive_at(Time::from_secs(15)), Ok(()));
        assert_eq!(
            health.alive_at(Time::from_secs(15) + Duration::from_millis(1)),
            Err("the slow path has not come round for 5 s".into())
        );
        health.beat(Time::from_secs(16));
        assert_eq!(health.alive_at(Time::from_secs(16)), Ok(()));
    }
}
