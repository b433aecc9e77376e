//! What was changed and how to undo it: `/var/lib/tandem/tune.json`, written before each change is made, so that a run that is
//! cut off can be undone as well.

use std::{fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    TuneError,
    change::{Action, Change},
};

const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    version: u32,
    /// In the order in which they were made.
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub key: String,
    pub what: String,
    pub undoes: Vec<Action>,
}

impl Default for Journal {
    fn default() -> Self {
        Journal { version: VERSION, entries: Vec::new() }
    }
}

impl Journal {
    pub fn of(entries: Vec<Entry>) -> Journal {
        Journal { entries, ..Journal::default() }
    }

    /// An empty one if there is none.
    pub fn read(path: &Path) -> Result<Journal, TuneError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Journal::default()),
            Err(source) => return Err(TuneError::File { path: path.display().to_string(), source }),
        };
        let wrong = |cause: String| TuneError::Journal { path: path.display().to_string(), cause };
        let journal: Journal = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if journal.version != VERSION {
            return Err(wrong(format!("version {}", journal.version)));
        }
        Ok(journal)
    }

    /// The former file stays whole until the new one is.
    pub fn write(&self, path: &Path) -> Result<(), TuneError> {
        let wrong = |source| TuneError::File { path: path.display().to_string(), source };
        let text = serde_json::to_string_pretty(self).map_err(|e| wrong(e.into()))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(wrong)?;
        }
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(wrong)?;
        fs::rename(&new, path).map_err(wrong)
    }

    /// The first state that was found is the one to go back to: a change that is made again, as after each start, keeps the
    /// entry that it has.
    pub fn note(&mut self, change: &Change) {
        if !change.undoes.is_empty() && !self.entries.iter().any(|entry| entry.key == change.key) {
            let Change { key, what, undoes, .. } = change.clone();
            self.entries.push(Entry { key, what, undoes });
        }
    }
}
