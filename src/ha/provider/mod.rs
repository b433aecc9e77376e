//! What moves the floating addresses to the host that is to be active. A provider runs on a thread of its own, where it
//! may wait for a network; the pair thread asks it and takes its answer when it comes.
//!
//! Claim, then confirm, else yield: the EC2 API is asynchronous and the last writer wins, so having asked for an address
//! is not having it. Several addresses do not move at once: some of them moved is a state of its own, tried again.

#[cfg(feature = "ec2")]
pub mod ec2;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::generation::Generation;

/// One floating address: its name in the configuration, and what it is on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floating {
    /// Name of the `[[address]]`.
    pub name: String,
    pub local: IpAddr,
    /// What peers are told where it differs: an Elastic IP.
    pub advertise: Option<IpAddr>,
}

/// Where one floating address is, as far as the provider knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Here,
    /// On another host: whatever the provider calls it (an interface, an instance).
    Elsewhere(String),
    /// On none.
    Nowhere,
}

/// Where each of them is, in the order in which they were given.
pub type Places = Vec<(Floating, Place)>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderError {
    /// It will not work however often it is tried; `missing` names the permission where that is the reason.
    #[error("{what}{}", missing.as_ref().map(|m| format!(" (the permission {m} is missing)")).unwrap_or_default())]
    Refused { what: String, missing: Option<String> },
    /// No answer in time, or an answer that says to try again.
    #[error("{0}")]
    Unreachable(String),
    /// Some addresses are here, others are not; the reason of the first that is not.
    #[error("{moved} of {all} addresses are here: {what}")]
    Partial { moved: usize, all: usize, what: String },
}

/// All calls may block for as long as the provider's own time-outs say. Each is idempotent.
pub trait Provider: Send {
    /// As in the configuration: `none`, `garp`, `ec2`.
    fn name(&self) -> &'static str;

    /// Takes every floating address for this host. `generation` is for the provider's log and, where it has one, for
    /// the record that an operator sees.
    fn claim(&mut self, generation: &Generation) -> Result<(), ProviderError>;

    /// Where the addresses are.
    fn confirm(&mut self) -> Result<Places, ProviderError>;

    /// Whether a claim would work, without making one: a standby is ready only if this succeeded lately.
    fn rehearse(&mut self) -> Result<(), ProviderError>;

    /// What the provider itself knows of who has the addresses: providers without a witness know nothing, and a host
    /// that lost its peer must not take their silence for a confirmation.
    fn is_witness(&self) -> bool;
}
