//! Does the file have the shape of the schema: known keys, right types, values in range, nothing missing? Finds every
//! such problem in one pass over the tree, and takes what is wrong out of it, so that the rest can still be checked.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use ipnet::IpNet;
use toml::{
    Spanned,
    de::{DeArray, DeInteger, DeTable, DeValue},
};

use super::{
    document::{Document, entry_label},
    keys::{Key, Kind, Need, keys_of},
    problem::Problem,
};

/// Paths (without indices) of keys that lost a value or an entry somewhere: what hangs on them cannot be judged.
pub type Holes = BTreeSet<&'static str>;

/// Checks the document's tree and leaves its sound part in it.
pub fn check(document: &mut Document<'_>) -> (Vec<Problem>, Holes) {
    let mut sound = document.whole().as_table().cloned().unwrap_or_default();
    let mut shape = Shape { document, problems: Vec::new(), holes: Holes::new() };
    shape.table(&mut sound, 0..0, "", "");
    let (problems, holes) = (shape.problems, shape.holes);
    document.set_sound(sound);
    (problems, holes)
}

struct Shape<'d, 't> {
    document: &'d Document<'t>,
    problems: Vec<Problem>,
    holes: Holes,
}

impl Shape<'_, '_> {
    /// Checks one table whose keys stand in the reference under `path`, and which is shown as `shown`. False if a
    /// required key is missing or wrong, so that the table cannot be kept.
    fn table(&mut self, table: &mut DeTable<'_>, span: Range<usize>, path: &'static str, shown: &str) -> bool {
        self.unknown_keys(table, path, shown);
        let mut complete = true;
        for key in keys_of(path) {
            let shown = join(shown, key.name());
            let sound = match table.remove(key.name()) {
                Some(mut value) => self.value(&mut value, key, &shown).then_some(value),
                None if key.need == Need::Required => {
                    self.report(span.start, shown, "nothing".into(), key.kind.describe());
                    None
                }
                None => continue,
            };
            if sound.is_none() {
                self.holes.insert(key.path);
            }
            let required = key.need == Need::Required;
            match sound.or_else(|| required.then(|| stand_in(key)).flatten()) {
                Some(value) => {
                    table.insert(Spanned::new(value.span(), key.name().into()), value);
                }
                None => complete &= !required,
            }
        }
        complete
    }

    /// Reports unknown keys and takes them out.
    fn unknown_keys(&mut self, table: &mut DeTable<'_>, path: &str, shown: &str) {
        let known: Vec<&str> = keys_of(path).map(Key::name).collect();
        let unknown: Vec<(String, Range<usize>)> = table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .map(|key| (key.get_ref().to_string(), key.span()))
            .collect();
        for (name, span) in unknown {
            table.remove(name.as_str());
            let allowed = match nearest(&name, &known) {
                Some(near) => format!("{near} (did you mean that?), or another of {}", known.join(", ")),
                None => known.join(", "),
            };
            self.report(span.start, join(shown, &name), "an unknown key".into(), allowed);
        }
    }

    /// Checks one value. False if it must go.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, key: &'static Key, shown: &str) -> bool {
        let span = value.span();
        match (key.kind, value.get_mut()) {
            (Kind::Table, DeValue::Table(table)) => self.table(table, span, key.path, shown),
            (Kind::Tables { min, max }, DeValue::Array(array)) => {
                self.length(array, span, key, (min, max), shown);
                self.entries(array, key, shown);
                true
            }
            (Kind::TextsOrTables { min, max }, DeValue::Array(array)) => {
                let in_bounds = self.length(array, span, key, (min, max), shown);
                self.texts_or_tables(array, key, shown) && in_bounds
            }
            (Kind::List { of, min, max }, DeValue::Array(array)) => {
                let in_bounds = self.length(array, span, key, (min, max), shown);
                let mut sound = true;
                for (index, item) in array.iter().enumerate() {
                    let shown = format!("{shown}[{}]", index + 1);
                    sound &= self.scalar(item.get_ref(), item.span(), of, shown);
                }
                in_bounds && sound
            }
            (Kind::OneOrMore { of, min }, DeValue::Array(array)) => {
                let mut sound = self.length(array, span, key, (min, usize::MAX), shown);
                for (index, item) in array.iter().enumerate() {
                    let shown = format!("{shown}[{}]", index + 1);
                    sound &= self.scalar(item.get_ref(), item.span(), of, shown);
                }
                sound
            }
            (_, other) => self.scalar(other, span, &key.kind, shown.to_owned()),
        }
    }

    /// Checks the tables of an array and drops the broken ones. An entry that is no table is broken.
    fn entries(&mut self, array: &mut DeArray<'_>, key: &'static Key, shown: &str) {
        let before = array.len();
        let mut kept = DeArray::new();
        for (index, entry) in array.iter().enumerate() {
            let mut entry = entry.clone();
            let shown = format!("{shown}{}", entry_label(index, Some(entry.get_ref())));
            let span = entry.span();
            let sound = match entry.get_mut() {
                DeValue::Table(table) => self.table(table, span, key.path, &shown),
                other => self.scalar(other, span, &Kind::Table, shown),
            };
            if sound {
                kept.push(entry);
            }
        }
        if kept.len() < before {
            self.holes.insert(key.path);
        }
        *array = kept;
    }

    /// Checks the entries of such a list; one that is wrong takes the list with it, whose order means something.
    fn texts_or_tables(&mut self, array: &mut DeArray<'_>, key: &'static Key, shown: &str) -> bool {
        let mut sound = true;
        for (index, item) in array.iter_mut().enumerate() {
            let (shown, span) = (format!("{shown}[{}]", index + 1), item.span());
            sound &= match item.get_mut() {
                DeValue::Table(table) => self.table(table, span, key.path, &shown),
                other => self.scalar(other, span, &Kind::Text(false), shown),
            };
        }
        sound
    }

    fn length(
        &mut self,
        array: &DeArray<'_>,
        span: Range<usize>,
        key: &Key,
        (min, max): (usize, usize),
        shown: &str,
    ) -> bool {
        let fits = (min..=max).contains(&array.len());
        if !fits {
            self.report(span.start, shown.to_owned(), format!("{} of them", array.len()), key.kind.describe());
        }
        fits
    }

    fn scalar(&mut self, value: &DeValue<'_>, span: Range<usize>, kind: &Kind, shown: String) -> bool {
        let fits = fits(kind, value);
        if !fits {
            let found = match kind {
                Kind::Secret => "something that is not shown".to_owned(),
                _ => self.found(value, span.clone()),
            };
            self.report(span.start, shown, found, kind.describe());
        }
        fits
    }

    /// What stands there, with its type where the text alone does not tell.
    fn found(&self, value: &DeValue<'_>, span: Range<usize>) -> String {
        match value {
            DeValue::Table(_) => "a table".into(),
            DeValue::Array(array) if array.iter().all(|entry| entry.get_ref().is_table()) && !array.is_empty() => {
                "an array of tables".into()
            }
            _ => self.document.excerpt(&span),
        }
    }

    fn report(&mut self, offset: usize, key: String, found: String, allowed: String) {
        self.problems.push(self.document.problem_at(offset, key, found, allowed));
    }
}

/// Whether one value is of this kind.
fn fits(kind: &Kind, value: &DeValue<'_>) -> bool {
    match (kind, value) {
        (Kind::Integer { min, max }, DeValue::Integer(integer)) => {
            number(integer).is_some_and(|number| (*min..=*max).contains(&number))
        }
        (Kind::Boolean, DeValue::Boolean(_)) => true,
        (Kind::Text(may_be_empty), DeValue::String(text)) => *may_be_empty || !text.is_empty(),
        (Kind::Secret, DeValue::String(text)) => !text.is_empty(),
        (Kind::OneOf(words), DeValue::String(text)) => words.contains(&text.as_ref()),
        (Kind::Ip, DeValue::String(text)) => text.parse::<IpAddr>().is_ok(),
        (Kind::Network, DeValue::String(text)) => text.parse::<IpNet>().is_ok(),
        (Kind::Socket, DeValue::String(text)) => text.parse::<SocketAddr>().is_ok(),
        (Kind::Path, DeValue::String(text)) => !text.is_empty(),
        (Kind::OneOrMore { of, .. }, value) => fits(of, value),
        _ => false,
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

fn number(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// An empty value for a required key, so that the tables beside it can still be checked: only where the schema can
/// hold one.
fn stand_in<'t>(key: &'static Key) -> Option<Spanned<DeValue<'t>>> {
    let value = match key.kind {
        Kind::Tables { .. } => DeValue::Array(DeArray::new()),
        Kind::Table => {
            let mut table = DeTable::new();
            for inner in keys_of(key.path).filter(|inner| inner.need == Need::Required) {
                table.insert(Spanned::new(0..0, inner.name().into()), stand_in(inner)?);
            }
            DeValue::Table(table)
        }
        _ => return None,
    };
    Some(Spanned::new(0..0, value))
}

/// The word that `name` may be a slip for: at most a third of it differs.
pub fn nearest<'w>(name: &str, words: &[&'w str]) -> Option<&'w str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&name.to_lowercase(), word);
    let best = words.iter().copied().min_by_key(|word| distance(word))?;
    (distance(best) <= (name.chars().count() / 3).max(1)).then_some(best)
}
