//! What was used of late, held in memory: a bounded number of rows that the writing thread has just written, and would read again.
//!
//! It is a copy of what the database holds, so that whoever writes such a row otherwise has it forgotten, and an undone transaction has all
//! forgotten. In debug builds each use reads the row, too, and compares: so does every test.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// How many entries a generation has; there are two.
const GENERATION: usize = 2_048;

/// A map that forgets what has not been put in for [`GENERATION`] entries or more.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Holds a value.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        } else if !self.old.is_empty() {
            self.old.remove(&key);
        }
        self.young.insert(key, value);
    }

    /// The value of a key, if it is held.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The value of a key, which is held no longer.
    pub(crate) fn take<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = if self.old.is_empty() { None } else { self.old.remove(key) };
        self.young.remove(key).or(old)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_held_and_no_more_than_two_generations() {
        let mut recent = Recent::default();
        for n in 0..10 * GENERATION {
            recent.put(n, n);
            assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        }
        let last = 10 * GENERATION - 1;
        assert_eq!(recent.get(&last), Some(&last));
        assert_eq!(recent.get(&(last - GENERATION)), Some(&(last - GENERATION)));
        assert_eq!(recent.get(&0), None);
    }

    #[test]
    fn a_key_has_one_value() {
        let mut recent = Recent::default();
        recent.put(0, "first");
        for n in 1..=GENERATION {
            recent.put(n, "other");
        }
        // The first is of the old generation now.
        recent.put(0, "second");
        assert_eq!(recent.take(&0), Some("second"));
        assert_eq!(recent.take(&0), None);
        recent.put(0, "third");
        recent.clear();
        assert_eq!(recent.get(&0), None);
    }
}
