//! `[ha]`: the pair. Values only.

use serde::{Deserialize, Serialize};

use super::ha_ec2::HaEc2;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ha {
    pub provider: HaProvider,
    /// With `provider = "ec2"`.
    pub ec2: Option<HaEc2>,
}

/// What moves the floating addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HaProvider {
    #[default]
    None,
    Garp,
    Ec2,
}
