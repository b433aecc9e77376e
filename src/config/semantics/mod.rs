//! What types cannot say: names that must exist, ranges that must not meet, families that must agree. Every check runs,
//! whatever the others found; a check whose ground is missing (`Holes`) stays silent.

mod account;
mod calls;
mod dialplan;
mod ha;
mod ha_ec2;
mod machine;
mod network;
mod ng;
mod protection;
mod tls;
mod trunks;

use std::collections::HashMap;

use super::{
    Config,
    document::{Document, Step},
    problem::{Problem, Severity},
    shape::{Holes, nearest},
};
use crate::host::Host;

pub fn check(document: &Document<'_>, config: &Config, host: &Host, holes: &Holes) -> Vec<Problem> {
    let mut checker = Checker { document, config, host, holes, problems: Vec::new() };
    machine::check(&mut checker);
    network::check(&mut checker);
    calls::check(&mut checker);
    protection::check(&mut checker);
    tls::check(&mut checker);
    dialplan::check(&mut checker);
    ha::check(&mut checker);
    ha_ec2::check(&mut checker);
    ng::check(&mut checker);
    checker.problems
}

struct Checker<'a> {
    document: &'a Document<'a>,
    config: &'a Config,
    host: &'a Host,
    holes: &'a Holes,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn error(&mut self, path: &[Step], found: impl Into<String>, allowed: impl Into<String>) {
        self.problems.push(self.document.problem(Severity::Error, path, found.into(), allowed.into()));
    }

    fn warn(&mut self, path: &[Step], found: impl Into<String>, allowed: impl Into<String>) {
        self.problems.push(self.document.problem(Severity::Warning, path, found.into(), allowed.into()));
    }

    /// Whether everything under these keys was kept, so that its absence means something.
    fn whole(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| !self.holes.contains(key))
    }

    /// A name must be one of `names`, which stand in tables called `table`.
    fn must_exist(&mut self, path: &[Step], name: &str, names: &[&str], table: &'static str) {
        if names.contains(&name) || !self.whole(&[table]) {
            return;
        }
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        let allowed = match nearest(name, names) {
            Some(near) => format!("the name of a [[{table}]]: {known} (did you mean {near:?}?)"),
            None => format!("the name of a [[{table}]]: {known}"),
        };
        self.error(path, format!("{name:?}"), allowed);
    }

    /// No two entries of `table` may have the same `key`.
    fn unique<'v>(&mut self, table: &'static str, key: &'static str, values: impl Iterator<Item = &'v str>) {
        let mut first_seen: HashMap<&str, usize> = HashMap::new();
        for (index, value) in values.enumerate() {
            if let Some(first) = first_seen.get(value) {
                let first = first + 1;
                let path = [Step::Key(table), Step::At(index), Step::Key(key)];
                self.error(
                    &path,
                    format!("{value:?} again"),
                    format!("a {key} of its own; [[{table}]] number {first} has it"),
                );
            } else {
                first_seen.insert(value, index);
            }
        }
    }
}
