//! `[sip.overload]`: what the slow path does when it is late. Values only.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overload {
    /// New calls are refused as far as messages or timers are later than this; 0: never.
    pub late_ms: u32,
    /// When a caller who was refused may come again.
    pub retry_after_s: u32,
}

impl Default for Overload {
    fn default() -> Self {
        Overload { late_ms: 50, retry_after_s: 5 }
    }
}
