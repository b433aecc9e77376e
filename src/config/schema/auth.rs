//! `[trunk.auth]`: the account that tandem and a trunk share (RFC 3261 §22). Values only.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// A text that is read and never shown: neither by `Debug` nor when the configuration is written out.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// The text itself. Whoever asks for it hashes it, and lets it go.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkAuth {
    pub username: String,
    /// This or `password_file`, whose first line the loader puts here.
    #[serde(default)]
    pub password: Option<Secret>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The one realm whose challenges are answered; absent: any that the trunk's servers name.
    #[serde(default)]
    pub realm: Option<String>,
    /// The trunk's own requests must show this account, and are challenged in the name of this realm; absent: they need
    /// not.
    #[serde(default)]
    pub challenge: Option<String>,
}
