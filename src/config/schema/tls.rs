//! `[sip.tls]`: what tandem shows of itself over TLS; `[trunk.tls]`: what a trunk's peers have to show. Values only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM: our certificate, then those between it and the peers' root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    #[serde(default)]
    pub min_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// With forward secrecy and authenticated encryption only: what RFC 9325 §4.2 recommends.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkTls {
    /// PEM: the roots that certificates of this trunk come from; absent: those of this machine.
    pub ca: Option<PathBuf>,
    /// What its destinations' certificates must name; absent: the host of the destination.
    pub server_name: Option<String>,
    /// A peer that connects must show a certificate that names one of these; empty: none is asked for.
    pub peer_names: Vec<String>,
    /// Whether a certificate's `*.example.com` names hosts of example.com.
    pub wildcards: bool,
    /// PEM, shown to destinations that ask for it; absent: that of `sip.tls`.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl TrunkTls {
    /// Whether calls from the trunk come over TLS with a certificate, or not at all.
    pub fn demands_certificate(&self) -> bool {
        !self.peer_names.is_empty()
    }
}
