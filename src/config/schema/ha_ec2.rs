//! `[ha.ec2]`: how floating addresses move by the EC2 API. Values only; whether this build can do it is a semantic check.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaEc2 {
    /// Absent: that of the instance.
    #[serde(default)]
    pub region: Option<String>,
    /// URL of the EC2 API; absent: that of the region.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// URL of the instance metadata service; absent: the link-local one.
    #[serde(default)]
    pub metadata: Option<String>,
    /// How long one attempt at a call may take.
    #[serde(default = "default_attempt_ms")]
    pub attempt_ms: u32,
    /// Attempts at a call that gets no answer, or is told to come again.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// How each floating address moves.
    #[serde(rename = "address")]
    pub addresses: Vec<Ec2Address>,
}

fn default_attempt_ms() -> u32 {
    1_000
}

fn default_attempts() -> u32 {
    4
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ec2Address {
    /// Name of a floating `[[address]]`.
    pub name: String,
    pub by: Ec2Way,
    /// Network interface of this host that takes it (`eni-…`); absent: that of the address's port, found by its MAC.
    #[serde(default)]
    pub interface: Option<String>,
    /// With `elastic`: which Elastic IP (`eipalloc-…`).
    #[serde(default)]
    pub allocation: Option<String>,
    /// With `route`: the route tables (`rtb-…`) in which it is replaced.
    #[serde(default)]
    pub tables: Vec<String>,
    /// With `route`: destination of the route; absent: the address alone.
    #[serde(default)]
    pub destination: Option<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ec2Way {
    /// A secondary private address moves between two interfaces of one subnet.
    Secondary,
    /// An Elastic IP moves from one host's private address to the other's, across zones.
    Elastic,
    /// A route to an address that is in no subnet changes its target.
    Route,
}

impl Ec2Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Ec2Way::Secondary => "secondary",
            Ec2Way::Elastic => "elastic",
            Ec2Way::Route => "route",
        }
    }
}
