//! A queue of deadlines: at most one per key, moved and removed in O(log n). Slow-path thread.
//!
//! Owners keep their timers as plain fields and tell the queue the earliest; so nothing here must be kept in step with
//! a machine's inside.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::base::Time;

#[derive(Clone, Debug)]
pub struct Deadlines<K: Copy + Ord + Hash> {
    queue: BTreeSet<(Time, K)>,
    at: HashMap<K, Time>,
}

impl<K: Copy + Ord + Hash> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { queue: BTreeSet::new(), at: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Deadlines<K> {
    /// Sets, moves or (None) removes the deadline of `key`.
    pub fn set(&mut self, key: K, at: Option<Time>) {
        let old = match at {
            Some(at) => self.at.insert(key, at),
            None => self.at.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, key));
        }
        if let Some(at) = at {
            self.queue.insert((at, key));
        }
    }

    pub fn get(&self, key: &K) -> Option<Time> {
        self.at.get(key).copied()
    }

    pub fn next(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the earliest key that is due; its owner sets it anew.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.at.remove(&key);
        Some(key)
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline_which_moves() {
        let mut d = Deadlines::default();
        d.set(1u8, Some(Time::from_secs(5)));
        d.set(2, Some(Time::from_secs(3)));
        d.set(1, Some(Time::from_secs(2)));
        assert_eq!((d.next(), d.len()), (Some(Time::from_secs(2)), 2));
        assert_eq!(d.pop_due(Time::from_secs(4)), Some(1));
        assert_eq!(d.pop_due(Time::from_secs(4)), Some(2));
        assert_eq!(d.pop_due(Time::from_secs(4)), None);
        assert!(d.is_empty());
    }

    #[test]
    fn removal_leaves_nothing_and_equal_times_keep_both() {
        let mut d = Deadlines::default();
        d.set(1u8, Some(Time::from_secs(1)));
        d.set(2, Some(Time::from_secs(1)));
        d.set(1, None);
        d.set(3, None);
        assert_eq!(d.pop_due(Time::from_secs(1)), Some(2));
        assert_eq!(d.next(), None);
    }
}
