//! `[sip.session_timer]`: how long a call may go without a sign of life from its peers (RFC 4028).

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionTimerMode {
    /// Session timers are not spoken.
    Off,
    /// Where the peer asks for one.
    #[default]
    Accept,
    /// tandem asks for one in each call.
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionTimer {
    pub mode: SessionTimerMode,
    /// The session interval that tandem asks for. RFC 4028 §4 recommends 1800 s.
    pub expires_s: u32,
    /// The shortest interval that tandem takes; RFC 4028 §5 allows none below 90 s.
    pub min_se_s: u32,
}

impl Default for SessionTimer {
    fn default() -> Self {
        SessionTimer { mode: SessionTimerMode::Accept, expires_s: 1_800, min_se_s: 90 }
    }
}
