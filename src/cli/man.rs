//! `tandem man`: the manual pages, made from the same definition as the help.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Arguments, CliError, Outcome};

/// Print the manual page, or write the pages of all commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem man | man -l -
  tandem man --to /usr/local/share/man/man1")]
pub struct Man {
    /// Write tandem.1 and a page for each command into this folder [default: print tandem.1]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Man {
    pub fn execute(&self) -> Result<Outcome, CliError> {
        let Some(folder) = &self.to else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            return Ok(Outcome::done(String::from_utf8_lossy(&page).into_owned()));
        };
        clap_mangen::generate_to(Arguments::command(), folder)
            .map_err(|source| CliError::Pages { folder: folder.clone(), source })?;
        Ok(Outcome::done(String::new()))
    }
}
