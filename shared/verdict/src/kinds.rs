//! Failures counted by what they have in common.

use std::collections::BTreeMap;

use baton_api::task::TaskView;
use serde::Serialize;

use crate::likeness::likeness;
use crate::words::short;

/// How many of one kind stand together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Counted<K> {
    /// What they have in common.
    pub what: K,
    /// How many there are.
    pub tasks: usize,
    /// One of them, to look at.
    pub example: String,
}

/// Counts by a key, the most first; of equal ones, the first by key.
pub fn counted<K: Ord>(each: impl IntoIterator<Item = (K, String)>) -> Vec<Counted<K>> {
    let mut counts: BTreeMap<K, (usize, String)> = BTreeMap::new();
    for (key, example) in each {
        counts.entry(key).or_insert((0, example)).0 += 1;
    }
    let mut counts: Vec<_> =
        counts.into_iter().map(|(what, (tasks, example))| Counted { what, tasks, example }).collect();
    counts.sort_by_key(|one| std::cmp::Reverse(one.tasks));
    counts
}

/// What a task failed with: the code, if there is one, and the kind of the message.
pub fn kind_of(task: &TaskView) -> String {
    let Some(error) = &task.error else { return "no error was told".to_owned() };
    coded(error.code.as_deref(), &likeness(&cause(error)))
}

/// What went wrong, behind its code if it has one.
pub fn coded(code: Option<&str>, text: &str) -> String {
    code.map_or_else(|| text.to_owned(), |code| format!("{code}: {text}"))
}

/// A failure in one line: its last, as programs tell the cause last; but a timeout's first, as what follows there is
/// only what the command was saying.
pub fn cause(error: &baton_model::Failure) -> String {
    let timed_out = error.code.as_deref() == Some("timed_out");
    let mut lines = error.message.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = if timed_out { lines.next() } else { lines.next_back() };
    short(line.unwrap_or_default(), 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_comes_first_with_one_of_them() {
        let each = [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")].map(|(key, id)| (key, id.to_owned()));
        let counts = counted(each);
        let told: Vec<_> = counts.iter().map(|one| (one.what, one.tasks, one.example.as_str())).collect();
        assert_eq!(told, [("b", 2, "2"), ("a", 1, "1"), ("c", 1, "4")]);
    }
}
