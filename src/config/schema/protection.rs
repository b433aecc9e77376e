//! `[sip.protection]`: how much signalling those may send who are no trunk, and when a source is shut out.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protection {
    /// `false`: nothing is limited, no scanner is looked for, nobody is banned.
    pub enabled: bool,
    /// Messages per second of one source that is no trunk: an IPv4 address or an IPv6 /64.
    pub source_per_s: u32,
    /// Messages that such a source may send at once, after a pause.
    pub source_burst: u32,
    /// Messages per second of all sources together that are no trunk.
    pub strangers_per_s: u32,
    /// Messages per second of one address of a trunk; 0: no limit.
    pub trunk_per_s: u32,
    /// Offences within `ban_window_s` after which a source that is no trunk is banned; 0: never.
    pub ban_after: u32,
    pub ban_window_s: u32,
    /// How long a ban lasts.
    pub ban_s: u32,
    /// What scanners write into User-Agent, From, To or Contact; compared without case.
    pub scanners: Vec<String>,
}

/// Tools that look for open PBXs, as they name themselves.
const SCANNERS: [&str; 12] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sipscan",
    "sipsak",
    "sundayddr",
    "pplsip",
    "VaxSIPUserAgent",
    "VaxIPUserAgent",
    "siparmyknife",
];

impl Default for Protection {
    fn default() -> Self {
        Protection {
            enabled: true,
            source_per_s: 10,
            source_burst: 40,
            strangers_per_s: 1_000,
            trunk_per_s: 0,
            ban_after: 20,
            ban_window_s: 60,
            ban_s: 3_600,
            scanners: SCANNERS.map(str::to_owned).to_vec(),
        }
    }
}
