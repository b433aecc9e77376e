//! `tandem run`: only its arguments; main boots.

use std::path::PathBuf;

use clap::Args;

/// Run the appliance in the foreground
///
/// Checks the configuration, then takes the ports and answers calls until SIGTERM. SIGTERM drains: no new calls, those
/// in progress go on until node.drain_s has passed, then get a BYE; a second SIGTERM ends the calls at once. SIGHUP opens the
/// file of call-detail records anew, for log rotation. Logs go to standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem run
  tandem run --config ./lab.toml

Exit codes: 0 after a drain; 1 if the configuration is wrong or a port cannot be taken.")]
pub struct Run {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "/etc/tandem/tandem.toml")]
    pub config: PathBuf,
}
