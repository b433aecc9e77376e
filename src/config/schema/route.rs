//! `[[route]]`: one rule of the dial plan. Read once, on the main thread; `sip::route` compiles it.

use serde::{Deserialize, Serialize};

use super::one_or_more;

/// The longest prefix of the called number wins; emergency numbers go before everything else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Leading characters of the called number; empty matches all. With `emergency`, the whole number.
    pub prefix: String,
    /// Only calls from these trunks; absent: from any.
    #[serde(default, deserialize_with = "one_or_more")]
    pub from: Vec<String>,
    /// Only at these times, as in `mon-fri 08:00-18:00`; absent: at all times.
    #[serde(default)]
    pub times: Vec<String>,
    /// Where the clock of `times` hangs, by IANA name; absent: `sip.timezone`.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Matched before all other rules, and free from limits.
    #[serde(default)]
    pub emergency: bool,
    /// What becomes of the called number.
    #[serde(default)]
    pub called: Rewrite,
    /// What becomes of the calling number.
    #[serde(default)]
    pub calling: Rewrite,
    /// Trunks in order of preference.
    pub to: Vec<String>,
}

/// Takes characters from the front of a number, then puts others there; or writes another number in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// Characters taken; a `+` is one.
    pub strip: u8,
    pub prepend: String,
    /// Written in its place; absent: the number stays.
    pub number: Option<String>,
}
