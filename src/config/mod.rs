//! One schema, read from one TOML file. `schema` holds the types that every room uses; the rest reads and checks, so
//! that a configuration is either sound or refused with every reason at once, before anything is touched.
//!
//! The order: `document` parses, `shape` compares the tree with `keys`, serde builds the types, `secrets` reads
//! what stands in files of its own, `semantics` checks what types cannot say. All of it runs once, on the main thread.

pub mod destination;
pub mod keys;
mod named;
pub mod problem;
pub mod schema;
pub mod window;

mod document;
mod secrets;
mod semantics;
mod shape;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, de::Deserializer};

pub use destination::Destination;
pub use named::NamedDestination;
pub use problem::{Place, Problem, Severity};
pub use schema::*;
pub use window::{Window, WindowError};

use crate::host::Host;
use document::Document;

/// A configuration file as read: what was wrong with it, and the configuration if nothing grave was.
#[derive(Debug)]
pub struct Reading {
    /// None if there is an error among the problems.
    pub config: Option<Config>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl Config {
    /// The configuration in `path`, or everything that is wrong with it. Warnings alone do not refuse it; `read`
    /// returns those as well.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let reading = read(path, &Host::read());
        reading.config.ok_or(reading.problems)
    }
}

/// Reads and checks the file at `path` for a machine like `host`.
pub fn read(path: &Path, host: &Host) -> Reading {
    let unreadable = |found: String, allowed: &str| Reading {
        config: None,
        problems: vec![Problem {
            severity: Severity::Error,
            file: path.to_owned(),
            place: None,
            key: String::new(),
            found,
            allowed: allowed.into(),
        }],
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(error.to_string(), "a file that can be read"),
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(path, text, host),
        Err(error) => unreadable(format!("a byte that is not UTF-8, at offset {}", error.valid_up_to()), "UTF-8 text"),
    }
}

/// Checks `text` as if it were the content of the file at `path`.
pub fn parse(path: &Path, text: &str, host: &Host) -> Reading {
    let mut document = match Document::parse(path.to_owned(), text) {
        Ok(document) => document,
        Err(problems) => return Reading { config: None, problems },
    };
    let (mut problems, holes) = shape::check(&mut document);
    match build(&document) {
        Ok(mut config) => {
            problems.extend(secrets::read(&document, path, &mut config));
            problems.extend(semantics::check(&document, &config, host, &holes));
            problems.sort_by_key(|problem| problem.place);
            let grave = problems.iter().any(|problem| problem.severity == Severity::Error);
            Reading { config: (!grave).then_some(config), problems }
        }
        Err(problem) => {
            // A table that cannot be kept, for which `shape` has given the reason; else `keys` and `schema` disagree.
            if problems.is_empty() {
                problems.push(*problem);
            }
            Reading { config: None, problems }
        }
    }
}

fn build(document: &Document<'_>) -> Result<Config, Box<Problem>> {
    let root = Spanned::new(0..document.text().len(), document.sound());
    Config::deserialize(Deserializer::from(root)).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let found = document.excerpt(&span);
        Box::new(document.problem_at(span.start, "configuration".into(), found, error.message().to_owned()))
    })
}
