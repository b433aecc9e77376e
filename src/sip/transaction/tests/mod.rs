//! The machines' timers at exact times, from RFC 3261's table 4 and its state machines with T1 = 500 ms.

mod invite;
mod other;
mod table;

use super::{Step, Transmit, Up};
use crate::base::Time;

const T0: Time = Time::from_secs(100);

/// `ms` after the start.
fn at(ms: u64) -> Time {
    Time::from_micros(T0.as_micros() + ms * 1_000)
}

/// Lets a machine's timers fire until it has none left; what happened, at which millisecond after the start.
macro_rules! run {
    ($machine:expr, $timing:expr) => {{
        let mut log = Vec::new();
        while let Some(due) = $machine.next_deadline() {
            assert!(log.len() < 100, "the timers never end");
            // A microsecond early, nothing happens.
            let early = Time::from_micros(due.as_micros() - 1);
            assert_eq!($machine.fire(early, $timing), Step::NOTHING);
            let step = $machine.fire(due, $timing);
            log.push(((due - T0).as_millis() as u64, step));
        }
        log
    }};
}
use run;

fn resend(at_ms: &[u64], what: Transmit) -> Vec<(u64, Step)> {
    at_ms.iter().map(|&ms| (ms, Step { transmit: what, up: None })).collect()
}

fn told(ms: u64, up: Up) -> (u64, Step) {
    (ms, Step { transmit: Transmit::Nothing, up: Some(up) })
}

fn quiet(ms: u64) -> (u64, Step) {
    (ms, Step::NOTHING)
}
