//! `trunk.reliable_provisionals`: whether provisional responses are acknowledged with this trunk (RFC 3262).

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReliableProvisionals {
    /// 100rel is not spoken.
    Off,
    /// Where the peer supports it.
    #[default]
    Accept,
    /// A peer that does not support it is refused, and does not get a call that it would not acknowledge.
    Require,
}
