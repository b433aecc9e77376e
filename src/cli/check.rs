//! `tandem check`: what is wrong with a configuration, before anything is touched.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;

use super::{CliError, EXIT_FAILED, Outcome, table::Table};
use crate::{
    config::{
        self, Problem, Severity,
        keys::{KEYS, Need},
    },
    host::Host,
};

/// Say what is wrong with a configuration file
///
/// Prints every problem on a line of its own: file, line and column, key, what was found, what is allowed. Entries of a
/// list are shown by name, `trunk[carrier]`, or by number from 1. An error keeps tandem from starting, a warning does
/// not. CPUs are compared with those of this machine. Nothing is touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem check /etc/tandem/tandem.toml
  tandem check --strict ./lab.toml && tandem run --config ./lab.toml
  tandem check --keys                        every key, what it may hold, its default

Exit codes: 0 sound; 1 something is wrong.")]
pub struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", default_value = "/etc/tandem/tandem.toml")]
    file: PathBuf,

    /// Treat warnings as errors [default: off]
    #[arg(long)]
    strict: bool,

    /// List every key of the configuration instead [default: off]
    #[arg(long)]
    keys: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    sound: bool,
    problems: &'a [Problem],
}

impl Check {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        if self.keys {
            return keys(json);
        }
        let problems = config::read(&self.file, &Host::read()).problems;
        let sound = !problems.iter().any(|problem| self.strict || problem.severity == Severity::Error);
        let mut outcome = Outcome::show(json, &Report { sound, problems: &problems }, |report| self.sentence(report))?;
        if !sound {
            outcome.code = ExitCode::from(EXIT_FAILED);
        }
        Ok(outcome)
    }

    fn sentence(&self, report: &Report<'_>) -> String {
        let lines: String = report.problems.iter().map(|problem| format!("{problem}\n")).collect();
        let warnings = report.problems.iter().filter(|problem| problem.severity == Severity::Warning).count();
        let errors = report.problems.len() - warnings;
        let verdict = match (errors, warnings) {
            (0, 0) => "sound".to_owned(),
            (0, warnings) => format!("sound, {}", plural(warnings, "warning")),
            (errors, 0) => plural(errors, "error"),
            (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        };
        format!("{lines}{}: {verdict}\n", self.file.display())
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[derive(Serialize)]
struct KeyRow {
    key: &'static str,
    allowed: String,
    /// None: it must be set.
    default: Option<&'static str>,
    meaning: &'static str,
}

fn keys(json: bool) -> Result<Outcome, CliError> {
    let rows: Vec<KeyRow> = KEYS
        .iter()
        .map(|key| KeyRow {
            key: key.path,
            allowed: key.kind.describe(),
            default: match key.need {
                Need::Required => None,
                Need::Default(default) => Some(default),
            },
            meaning: key.meaning,
        })
        .collect();
    Outcome::show(json, &rows, |rows| {
        let mut table = Table::new(&["KEY", "ALLOWED", "DEFAULT", "MEANING"]);
        for row in rows {
            let default = row.default.unwrap_or("(required)");
            table.row([row.key.into(), row.allowed.clone(), default.into(), row.meaning.into()]);
        }
        table.render()
    })
}
