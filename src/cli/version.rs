//! `tandem version`: what this binary is.

use clap::Args;
use serde::Serialize;

use super::{CliError, Outcome};

/// Say which version this is, and whether it can drive DPDK ports
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem version
  tandem --json version | jq -r .version")]
pub struct Version {}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    /// DPDK's version; None if this build has none.
    dpdk: Option<&'static str>,
}

impl Version {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        let dpdk = Some(env!("TANDEM_DPDK_VERSION")).filter(|version| !version.is_empty());
        let facts = Facts { version: env!("TANDEM_VERSION"), dpdk };
        Outcome::show(json, &facts, |facts| match facts.dpdk {
            Some(dpdk) => format!("tandem {}, with DPDK {dpdk}\n", facts.version),
            None => format!("tandem {}, without DPDK\n", facts.version),
        })
    }
}
