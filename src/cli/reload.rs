//! `tandem reload`: certificates and keys are read again.

use clap::Args;

use super::{CliError, Client, Outcome};
use crate::{
    observe::admin::{AdminRequest, Answer, CertificateRow, Listing},
    tls::files::date,
};

/// Read certificates and keys again
///
/// New connections are set up with what the files say now; those in progress go on. If anything is wrong with the files,
/// the certificates from before stay in use, and this says why. The same happens on SIGHUP, which also opens the file of
/// call records anew. The configuration itself is read at start only.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem reload                              after the certificates were renewed

Exit codes: 0 done; 1 the old ones stay in use; 3 no tandem answers.")]
pub struct Reload {}

impl Reload {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match client.ask(&AdminRequest::TlsReload {})? {
            Answer::Certificates(listing) => Outcome::show(json, &listing, text),
            _ => Err(client.foreign().into()),
        }
    }
}

pub(super) fn text(listing: &Listing<CertificateRow>) -> String {
    if listing.rows.is_empty() {
        return "nothing to load: no listener has TLS\n".into();
    }
    let line = |row: &CertificateRow| {
        let until = date(row.expires_unix_s);
        format!("loaded {}, valid until {until}\n", row.file.display())
    };
    listing.rows.iter().map(line).collect()
}
