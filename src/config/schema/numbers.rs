//! `[trunk.numbers]`: how a trunk writes telephone numbers, and how it wants them written. Read once, on the main thread.

use serde::{Deserialize, Serialize};

use super::one_or_more;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Numbers {
    /// The country calling code of numbers in national form, digits only; empty: there are none.
    pub country: String,
    /// What stands before a country calling code; an empty one: nothing does.
    #[serde(deserialize_with = "one_or_more")]
    pub international: Vec<String>,
    /// What stands before a national number; an empty one: nothing does.
    #[serde(deserialize_with = "one_or_more")]
    pub national: Vec<String>,
    /// A number of fewer digits is a short code: it stays as it was dialled.
    pub shortest: u8,
    pub format: NumberFormat,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            country: String::new(),
            international: Vec::new(),
            national: Vec::new(),
            shortest: 7,
            format: NumberFormat::AsDialled,
        }
    }
}

/// How called and calling numbers are written towards a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// As the caller wrote them; what a rule rewrote, as the rule did.
    AsDialled,
    /// `+49301234567`.
    PlusE164,
    /// `49301234567`.
    E164,
    /// With this trunk's own prefixes: `0301234567` at home, `0044…` abroad.
    National,
}
