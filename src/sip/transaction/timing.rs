//! The durations of RFC 3261's timers, all derived from T1. Slow-path thread; a value, never a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// RFC 3261 §17.1.1.1 and appendix A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Estimate of the round-trip time; configured (`sip.t1_ms`).
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest time a message stays in the network.
    pub t4: Duration,
}

impl Timing {
    pub const fn new(t1: Duration) -> Self {
        Timing { t1, t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }

    /// 64·T1: timers B, F, H, J, L and M, and how long a 2xx is repeated or a CANCEL waited for.
    pub const fn give_up(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timer D: at least 32 s (RFC 3261 §17.1.1.2), and no shorter than the peer's timer H would be with our T1.
    pub fn timer_d(&self) -> Duration {
        self.give_up().max(Duration::from_secs(32))
    }

    /// The next interval of a retransmission that doubles up to T2.
    pub fn doubled(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Timing::new(Duration::from_millis(500))
    }
}
