//! `trunk.transfer` and `trunk.requests`: what a trunk may ask for beside calls of its own (RFC 3515, RFC 3428, RFC 6665).

use serde::{Deserialize, Serialize};

/// What becomes of a REFER from the trunk, and of an INVITE with Replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// 405; the extensions are not spoken. A carrier is not to send calls elsewhere at somebody else's cost.
    #[default]
    Refuse,
    /// tandem calls the target, by the dial plan as for a call of this trunk, and joins it with the other side.
    Local,
    /// The other side is asked, and calls the target itself.
    Pass,
}

/// What becomes of MESSAGE, SUBSCRIBE and PUBLISH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requests {
    /// 405.
    #[default]
    Refuse,
    /// They go on by the dial plan, to trunks that pass them too.
    Pass,
}
