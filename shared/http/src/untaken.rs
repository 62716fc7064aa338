//! Queues with work that no live worker takes, as the server has found them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_model::QueueName;

/// The queues that are known to have such work, each with why.
#[derive(Debug, Default)]
pub struct Untaken(Mutex<BTreeMap<QueueName, String>>);

impl Untaken {
    /// Takes note of what a look has found. Gives what has changed by it: queues that came to it, with why, and those that
    /// are over it.
    pub fn turn(&self, found: BTreeMap<QueueName, String>) -> Vec<(QueueName, Option<String>)> {
        let mut known = self.known();
        let over =
            known.keys().filter(|queue| !found.contains_key(*queue)).map(|queue| (queue.clone(), None));
        let come = found.iter().filter(|(queue, _)| !known.contains_key(*queue));
        let changes = over.chain(come.map(|(queue, why)| (queue.clone(), Some(why.clone())))).collect();
        *known = found;
        changes
    }

    /// The queues.
    pub fn queues(&self) -> Vec<QueueName> {
        self.known().keys().cloned().collect()
    }

    /// The queues, each with why.
    pub fn all(&self) -> BTreeMap<QueueName, String> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<QueueName, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_is_told_when_it_comes_and_when_it_is_over() {
        let untaken = Untaken::default();
        let found =
            |names: &[&str]| names.iter().map(|name| (name.parse().unwrap(), "why".to_owned())).collect();
        let told = |changes: Vec<(QueueName, Option<String>)>| -> Vec<(String, bool)> {
            changes.into_iter().map(|(queue, why)| (queue.to_string(), why.is_some())).collect()
        };
        let is = |name: &str, come: bool| (name.to_owned(), come);
        assert_eq!(told(untaken.turn(found(&["a", "b"]))), [is("a", true), is("b", true)]);
        assert_eq!(told(untaken.turn(found(&["a", "b"]))), []);
        assert_eq!(told(untaken.turn(found(&["b", "c"]))), [is("a", false), is("c", true)]);
        assert_eq!(untaken.queues().len(), 2);
        assert_eq!(told(untaken.turn(found(&[]))), [is("b", false), is("c", false)]);
    }
}
