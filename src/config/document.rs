//! A configuration file as text and tree, so that every problem can name its line and key. Used once, while loading.
//!
//! Two trees are held: `whole` as the file says it, and `sound`, from which `shape` took what the schema cannot hold,
//! so that later checks still run on the rest. Keys are always shown as they stand in `whole`.

use std::{ops::Range, path::PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Severity, excerpt, place_of};

/// One step of the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Key(&'static str),
    /// Index in an array of the sound tree, from 0.
    At(usize),
}

impl From<&'static str> for Step {
    fn from(key: &'static str) -> Self {
        Step::Key(key)
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::At(index)
    }
}

/// `at!["port", i, "routes"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => {
        &[$($crate::config::document::Step::from($step)),*][..]
    };
}
pub(super) use at;

pub struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    whole: DeValue<'t>,
    sound: DeValue<'t>,
}

impl<'t> Document<'t> {
    /// The tree of `text`, or every syntax error in it.
    pub fn parse(file: PathBuf, text: &'t str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(syntax_problems(&file, text, &errors));
        }
        let whole = DeValue::Table(table.into_inner());
        Ok(Document { file, text, sound: whole.clone(), whole })
    }

    pub fn whole(&self) -> &DeValue<'t> {
        &self.whole
    }

    /// A copy of the sound tree.
    pub fn sound(&self) -> DeTable<'t> {
        self.sound.as_table().cloned().unwrap_or_default()
    }

    pub fn set_sound(&mut self, sound: DeTable<'t>) {
        self.sound = DeValue::Table(sound);
    }

    pub fn text(&self) -> &'t str {
        self.text
    }

    pub fn excerpt(&self, span: &Range<usize>) -> String {
        excerpt(self.text, span)
    }

    /// A problem at a byte of the file.
    pub fn problem_at(&self, offset: usize, key: String, found: String, allowed: String) -> Problem {
        let place = Some(place_of(self.text, offset));
        Problem { severity: Severity::Error, file: self.file.clone(), place, key, found, allowed }
    }

    /// A problem with the value that `path` leads to in the sound tree. Where the file leaves it to its default, the
    /// place is that of the nearest table around it.
    pub fn problem(&self, severity: Severity, path: &[Step], found: String, allowed: String) -> Problem {
        let (span, key) = self.locate(path);
        Problem { severity, ..self.problem_at(span.start, key, found, allowed) }
    }

    /// Whether the sound tree has a value there.
    pub fn has<'d>(&'d self, path: &[Step]) -> bool {
        let into = |value: &'d DeValue<'t>, step: &Step| match *step {
            Step::Key(name) => value.get(name).map(|next| next.get_ref()),
            Step::At(index) => value.get(index).map(|next| next.get_ref()),
        };
        path.iter().try_fold(&self.sound, into).is_some()
    }

    fn locate(&self, path: &[Step]) -> (Range<usize>, String) {
        let mut span = 0..0;
        let mut key = String::new();
        let (mut sound, mut whole) = (Some(&self.sound), Some(&self.whole));
        for step in path {
            match *step {
                Step::Key(name) => {
                    if !key.is_empty() {
                        key.push('.');
                    }
                    key.push_str(name);
                    let next = sound.and_then(|value| value.get(name));
                    span = next.map_or(span, |next| next.span());
                    sound = next.map(|next| next.get_ref());
                    whole = whole.and_then(|value| value.get(name)).map(|next| next.get_ref());
                }
                Step::At(index) => {
                    let next = sound.and_then(|value| value.get(index));
                    span = next.map_or(span, |next| next.span());
                    sound = next.map(|next| next.get_ref());
                    // Elements before this one may have been taken out: siblings have spans of their own.
                    let siblings = whole.and_then(|value| value.as_array());
                    let index = siblings.and_then(|all| all.iter().position(|one| one.span() == span)).unwrap_or(index);
                    whole = siblings.and_then(|all| all.get(index)).map(|next| next.get_ref());
                    key.push_str(&entry_label(index, whole));
                }
            }
        }
        (span, key)
    }
}

/// How an entry of an array is shown: by its name if it has one, else by its number from 1.
pub fn entry_label(index: usize, value: Option<&DeValue<'_>>) -> String {
    match value.and_then(|value| value.get("name")).and_then(|name| name.get_ref().as_str()) {
        Some(name) if !name.is_empty() => format!("[{name}]"),
        _ => format!("[{}]", index + 1),
    }
}

/// One problem per line, and not many lines: what follows is often an echo of the first.
fn syntax_problems(file: &std::path::Path, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut found: Vec<(Place, &str)> = errors
        .iter()
        .map(|error| (place_of(text, error.span().map_or(text.len(), |span| span.start)), error.message()))
        .collect();
    found.sort_by_key(|(place, _)| *place);
    found.dedup_by_key(|(place, _)| place.line);
    found.truncate(10);
    let problem = |(place, message): (Place, &str)| {
        let (found, allowed) = match message.split_once(", expected ") {
            Some((found, expected)) => (found, expected),
            None if message == "duplicate key" => (message, "each key once in its table"),
            None => (message, "what TOML allows, https://toml.io"),
        };
        Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            place: Some(place),
            key: "syntax".into(),
            found: found.into(),
            allowed: allowed.into(),
        }
    };
    found.into_iter().map(problem).collect()
}
