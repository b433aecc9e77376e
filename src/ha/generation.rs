//! Which of two hosts that both believe to be active is right: the one with the higher generation, and among equal ones
//! the one whose name sorts later. A host takes a higher generation than any it has heard of, and has it on disk before it
//! sends its first packet as active.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Totally ordered: first by number, then by the node's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    pub number: u64,
    pub node: String,
}

impl Generation {
    /// The one that `node` takes over with, having heard of `self`.
    #[must_use]
    pub fn next(&self, node: &str) -> Generation {
        Generation { number: self.number.saturating_add(1), node: node.to_owned() }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_by_number_and_then_by_name() {
        let of = |number, node: &str| Generation { number, node: node.into() };
        assert!(of(2, "a") > of(1, "b"));
        assert!(of(2, "b") > of(2, "a"));
        assert!(of(1, "b").next("a") > of(1, "b"));
        assert_eq!(of(7, "a").next("b").to_string(), "8/b");
    }
}
