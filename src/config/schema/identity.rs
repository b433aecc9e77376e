//! `[trunk.identity]` and `[trunk.headers]`: whom a trunk is told of, and which header fields cross.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Whether the trunk is in our trust domain (RFC 3324 §2.3): its P-Asserted-Identity is believed, and it is told
    /// identities that callers keep private from others.
    pub trust: bool,
}

/// Names of header fields, beyond and out of those that usually cross.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkHeaders {
    /// Cross to and from this trunk too.
    pub pass: Vec<String>,
    /// Cross neither to nor from this trunk; wins over `pass` of either trunk.
    pub drop: Vec<String>,
}
