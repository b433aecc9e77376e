//! What is wrong with a configuration, told so that the reader can mend it: file, line, column, key, what was found,
//! what is allowed. Always one line per problem.

use std::{fmt, ops::Range, path::PathBuf};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// tandem does not start.
    Error,
    /// tandem starts, and something will not work as its author may think.
    Warning,
}

/// Line and column, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub file: PathBuf,
    /// None where the file could not be read at all.
    pub place: Option<Place>,
    /// The full key, `trunk[carrier].destinations[2]`: an entry is known by its name, else by its number from 1.
    pub key: String,
    pub found: String,
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(place) = self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, " {severity}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)
    }
}

/// Where byte `offset` of `text` lies.
pub fn place_of(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// The source text of `span` on one line, cut where it is long.
pub fn excerpt(text: &str, span: &Range<usize>) -> String {
    const LONGEST: usize = 60;
    let source = text.get(span.clone()).unwrap_or_default();
    let one_line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.chars().count() <= LONGEST {
        return one_line;
    }
    one_line.chars().take(LONGEST).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = "a = 1\nμ = 'ü' x\n";
        assert_eq!(place_of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(place_of(text, text.find('x').unwrap()), Place { line: 2, column: 9 });
        assert_eq!(place_of(text, text.len()), Place { line: 3, column: 1 });
    }

    #[test]
    fn a_long_or_broken_excerpt_stays_one_line() {
        assert_eq!(excerpt("[1,\n  2]", &(0..8)), "[1, 2]");
        assert_eq!(excerpt(&"x".repeat(100), &(0..100)), format!("{}…", "x".repeat(60)));
    }
}
