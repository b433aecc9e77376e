//! Which values have changed since somebody last asked: what a journal is made of. Nothing is noted, and nothing costs
//! anything, unless somebody asks.

use std::{collections::HashSet, hash::Hash};

#[derive(Clone, Debug)]
pub struct Marks<K> {
    asked: bool,
    keys: HashSet<K>,
}

impl<K> Default for Marks<K> {
    fn default() -> Self {
        Marks { asked: false, keys: HashSet::new() }
    }
}

impl<K: Eq + Hash> Marks<K> {
    /// From now on, or no longer. What was noted is forgotten.
    pub fn ask(&mut self, asked: bool) {
        self.asked = asked;
        self.keys.clear();
    }

    #[inline]
    pub fn note(&mut self, key: K) {
        if self.asked {
            self.keys.insert(key);
        }
    }

    /// For keys that cost something to make.
    #[inline]
    pub fn note_with(&mut self, key: impl FnOnce() -> K) {
        if self.asked {
            self.keys.insert(key());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Each key once, in no order; then they are forgotten.
    pub fn take(&mut self) -> std::collections::hash_set::Drain<'_, K> {
        self.keys.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_noted_once_and_only_when_somebody_asks() {
        let mut marks = Marks::default();
        marks.note(1);
        assert!(marks.is_empty());
        marks.ask(true);
        marks.note(2);
        marks.note_with(|| 2);
        assert_eq!(marks.take().collect::<Vec<_>>(), [2]);
        assert!(marks.is_empty());
        marks.note(3);
        marks.ask(false);
        assert!(marks.is_empty());
    }
}
