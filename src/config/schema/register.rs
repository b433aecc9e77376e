//! `[trunk.register]`: where and how tandem registers with a trunk (RFC 3261 §10). Values only.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkRegister {
    /// Where REGISTER goes, as a destination is written.
    pub registrar: String,
    /// What is registered: `sip:USER@DOMAIN`.
    pub aor: String,
    /// The user part of the Contact, which calls then come to; absent: that of `aor`.
    #[serde(default)]
    pub contact_user: Option<String>,
    /// The lifetime that is asked for.
    #[serde(default = "expires_s")]
    pub expires_s: u32,
    /// The registration is renewed after this part of its lifetime, or up to a tenth of it earlier.
    #[serde(default = "refresh_percent")]
    pub refresh_percent: u32,
    /// After a failure it is tried again within this time, which doubles with each further one, up to `retry_max_s`.
    #[serde(default = "retry_s")]
    pub retry_s: u32,
    #[serde(default = "retry_max_s")]
    pub retry_max_s: u32,
    /// While it is not registered, the trunk's destinations count as down.
    #[serde(default)]
    pub required: bool,
}

fn expires_s() -> u32 {
    3_600
}

fn refresh_percent() -> u32 {
    90
}

fn retry_s() -> u32 {
    30
}

fn retry_max_s() -> u32 {
    1_800
}
