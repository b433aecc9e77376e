//! Makes changes and undoes them. Everything that touches the machine goes through `Hands`, so that a test has a machine of
//! its own.

use std::{fs, io, path::Path, process::Command};

use super::{
    TuneError,
    change::{Action, Change},
    journal::Journal,
};

/// Most that a command may say in an error.
const WORDS: usize = 300;

/// What reaches the machine.
pub trait Hands {
    fn write(&mut self, path: &str, text: &str) -> io::Result<()>;
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// An error holds the command's own words.
    fn run(&mut self, program: &str, arguments: &[String]) -> io::Result<()>;
}

/// This machine.
#[derive(Debug, Default)]
pub struct Own;

impl Hands for Own {
    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        if path.starts_with("/etc/")
            && let Some(folder) = Path::new(path).parent()
        {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn run(&mut self, program: &str, arguments: &[String]) -> io::Result<()> {
        let output = Command::new(program).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let words: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(WORDS).collect();
        Err(io::Error::other(format!("{}: {words}", output.status)))
    }
}

/// What came of a change.
#[derive(Debug)]
pub struct Done {
    pub what: String,
    pub result: Result<(), TuneError>,
    /// A failure is told, and is none of the whole.
    pub may_fail: bool,
}

impl Done {
    pub fn failed(&self) -> bool {
        self.result.is_err() && !self.may_fail
    }
}

fn act(hands: &mut impl Hands, action: &Action) -> Result<(), TuneError> {
    let file =
        |path: &String, result: io::Result<()>| result.map_err(|source| TuneError::File { path: path.clone(), source });
    match action {
        Action::Write { path, text } => file(path, hands.write(path, text)),
        Action::Remove { path } => match hands.remove(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => file(path, result),
        },
        Action::Run { program, arguments } => hands.run(program, arguments).map_err(|e| TuneError::Command {
            command: format!("{program} {}", arguments.join(" ")).trim_end().to_owned(),
            cause: e.to_string(),
        }),
    }
}

/// Makes the changes in their order. One that fails keeps no other from being made; `tell` hears of each before.
pub fn apply(
    hands: &mut impl Hands,
    changes: &[Change],
    journal_path: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Done>, TuneError> {
    let mut journal = Journal::read(journal_path)?;
    let mut done = Vec::with_capacity(changes.len());
    for change in changes {
        tell(&change.what);
        journal.note(change);
        journal.write(journal_path)?;
        let result = change.does.iter().try_for_each(|action| act(hands, action));
        done.push(Done { what: change.what.clone(), result, may_fail: change.may_fail });
    }
    Ok(done)
}

/// Takes back what the journal holds, the last first. What fails stays in the journal.
pub fn undo(hands: &mut impl Hands, journal_path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Vec<Done>, TuneError> {
    let mut journal = Journal::read(journal_path)?;
    let mut done = Vec::with_capacity(journal.entries.len());
    let mut left = Vec::new();
    while let Some(entry) = journal.entries.pop() {
        tell(&entry.what);
        // All steps are tried: a driver that is gone already must not keep the override in place.
        let results: Vec<_> = entry.undoes.iter().map(|action| act(hands, action)).collect();
        let result = results.into_iter().collect::<Result<(), _>>();
        // An interrupt may be gone, with the driver that had asked for it.
        let may_fail = entry.key.starts_with("interrupt ");
        if result.is_err() && !may_fail {
            left.push(entry.clone());
        }
        done.push(Done { what: entry.what, result, may_fail });
        let rest = journal.entries.iter().chain(left.iter().rev()).cloned();
        Journal::of(rest.collect()).write(journal_path)?;
    }
    Ok(done)
}
