//! `tandem completions`: a script for the shell, on standard output.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Outcome};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem completions bash > /usr/share/bash-completion/completions/tandem
  tandem completions zsh > \"${fpath[1]}/_tandem\"
  tandem completions fish > ~/.config/fish/completions/tandem.fish")]
pub struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn execute(&self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "tandem", &mut script);
        Outcome::done(String::from_utf8_lossy(&script).into_owned())
    }
}
