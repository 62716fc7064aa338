//! What an import has done: counts, and of each kind of mistake and change how many and the first of them.

use baton_model::Expected;
use baton_store::transfer::Verdict;
use serde_json::{Value, json};

use super::old::Change;
use crate::context::Context;
use crate::exit::Failure;

/// How many of a kind are shown.
const SHOWN: usize = 3;
/// How many kinds of mistakes are told apart; what comes after them is counted alone.
const KINDS: usize = 100;

/// A mistake: in which line, of which field, what was expected there and what came.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    pub(crate) line: u64,
    pub(crate) field: String,
    pub(crate) wrong: Expected,
}

/// One kind: how many there are, and the first of them.
#[derive(Debug)]
struct Kind<K> {
    kind: K,
    count: u64,
    first: Vec<(u64, String)>,
}

/// The kinds in the order in which they came.
#[derive(Debug)]
struct Kinds<K> {
    kinds: Vec<Kind<K>>,
    more: u64,
}

impl<K> Default for Kinds<K> {
    fn default() -> Self {
        Self { kinds: Vec::new(), more: 0 }
    }
}

impl<K: PartialEq> Kinds<K> {
    fn add(&mut self, kind: K, line: u64, got: String) {
        if let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) {
            known.count += 1;
            if known.first.len() < SHOWN {
                known.first.push((line, got));
            }
        } else if self.kinds.len() < KINDS {
            self.kinds.push(Kind { kind, count: 1, first: vec![(line, got)] });
        } else {
            self.more += 1;
        }
    }
}

/// The report.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Rows that were read.
    rows: u64,
    /// Rows with mistakes; none of them became a task.
    wrong: u64,
    /// Tasks that were new.
    new: u64,
    /// Tasks that went on from what stood there.
    later: u64,
    /// Tasks that stood there.
    same: u64,
    /// Tasks that what stands there refuses.
    refused: Kinds<String>,
    mistakes: Kinds<(String, String)>,
    changes: Kinds<Change>,
}

impl Report {
    /// Counts a row that became a task, with what was changed of it.
    pub(crate) fn row(&mut self, line: u64, changes: Vec<(Change, String)>) {
        self.rows += 1;
        for (change, got) in changes {
            self.changes.add(change, line, got);
        }
    }

    /// Counts a row that did not.
    pub(crate) fn row_with(&mut self, mistakes: Vec<Mistake>) {
        self.rows += 1;
        self.wrong += 1;
        for Mistake { line, field, wrong } in mistakes {
            self.mistakes.add((field, wrong.expected), line, wrong.got);
        }
    }

    /// Counts what became of a task in the store.
    pub(crate) fn taken(&mut self, line: u64, taken: Result<Verdict, String>) {
        match taken {
            Ok(Verdict::New) => self.new += 1,
            Ok(Verdict::Later) => self.later += 1,
            Ok(Verdict::Same) => self.same += 1,
            Err(why) => {
                let (task, why) = why.split_once(": ").unwrap_or(("", &why));
                self.refused.add(why.to_owned(), line, task.to_owned());
            }
        }
    }

    /// Rows that were read.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    fn refused(&self) -> u64 {
        self.refused.kinds.iter().map(|kind| kind.count).sum::<u64>() + self.refused.more
    }

    /// Tells all of it, and fails if a row did not come in.
    ///
    /// # Errors
    /// If there were mistakes, or what stands there refused tasks.
    pub(crate) fn tell(&self, context: &Context, source: &str, target: Option<&str>) -> Result<(), Failure> {
        if context.out.is_json() {
            context.out.json(&self.json(source, target))?;
        } else {
            self.lines(source, target).iter().try_for_each(|line| context.out.line(line))?;
        }
        let (wrong, refused) = (self.wrong, self.refused());
        if wrong > 0 {
            return Err(Failure::failed(format!(
                "{wrong} of {} rows of {source} are no tasks, as told above; mend them, or the map, and run the same command \
                 again: what is there is known again",
                self.rows
            )));
        }
        if refused > 0 {
            return Err(Failure::Conflict(format!(
                "{refused} tasks were refused, as told above; what stands there was left as it is"
            )));
        }
        Ok(())
    }

    fn lines(&self, source: &str, target: Option<&str>) -> Vec<String> {
        let mut lines = Vec::new();
        for kind in &self.mistakes.kinds {
            let (field, expected) = &kind.kind;
            lines.push(format!("{} rows: {field}: expected {expected}", kind.count));
            lines.extend(kind.first.iter().map(|(line, got)| format!("  line {line}: got {got}")));
        }
        if self.mistakes.more > 0 {
            lines.push(format!("{} more mistakes of other kinds", self.mistakes.more));
        }
        for kind in &self.changes.kinds {
            lines.push(format!("{} tasks changed: {}", kind.count, kind.kind.explain()));
            lines.extend(kind.first.iter().map(|(line, got)| format!("  line {line}: {got}")));
        }
        for kind in &self.refused.kinds {
            lines.push(format!("{} tasks refused: {}", kind.count, kind.kind));
            lines.extend(kind.first.iter().map(|(line, task)| format!("  line {line}: {task}")));
        }
        let Self { rows, wrong, new, later, same, .. } = self;
        lines.push(match target {
            None => format!("{source}: {rows} rows read, {} would be taken in, {wrong} would not; nothing was written", rows - wrong),
            Some(target) => format!(
                "{source} to {target}: {rows} rows read, {new} tasks new, {later} brought up to date, {same} found as they are, \
                 {} refused, {wrong} rows with mistakes",
                self.refused()
            ),
        });
        lines
    }

    fn json(&self, source: &str, target: Option<&str>) -> Value {
        fn examples(first: &[(u64, String)]) -> Vec<Value> {
            first.iter().map(|(line, got)| json!({ "line": line, "got": got })).collect()
        }
        let mistake = |kind: &Kind<(String, String)>| {
            let (field, expected) = &kind.kind;
            json!({ "field": field, "expected": expected, "count": kind.count, "first": examples(&kind.first) })
        };
        let change = |kind: &Kind<Change>| json!({ "what": kind.kind.explain(), "count": kind.count, "first": examples(&kind.first) });
        let refusal = |kind: &Kind<String>| json!({ "why": kind.kind, "count": kind.count, "first": examples(&kind.first) });
        json!({
            "from": source,
            "to": target,
            "dry_run": target.is_none(),
            "rows": self.rows,
            "with_mistakes": self.wrong,
            "new": self.new,
            "later": self.later,
            "same": self.same,
            "refused": self.refused(),
            "mistakes": self.mistakes.kinds.iter().map(mistake).collect::<Vec<_>>(),
            "more_mistakes": self.mistakes.more,
            "changes": self.changes.kinds.iter().map(change).collect::<Vec<_>>(),
            "refusals": self.refused.kinds.iter().map(refusal).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_one_kind_are_counted_and_the_first_are_shown() {
        let mut report = Report::default();
        for line in 1..=10 {
            let wrong = Expected::text("a number", "x");
            report.row_with(vec![Mistake { line, field: "attempts".to_owned(), wrong }]);
        }
        report.row(11, vec![(Change::Requeued, "running".to_owned())]);
        let lines = report.lines("x.csv", None);
        assert_eq!(lines[0], "10 rows: attempts: expected a number");
        assert_eq!(lines[1..4], ["  line 1: got \"x\"", "  line 2: got \"x\"", "  line 3: got \"x\""]);
        assert!(lines[4].starts_with("1 tasks changed: it ran, and nobody holds a lease"), "{lines:?}");
        assert!(
            lines.last().unwrap().contains("11 rows read, 1 would be taken in, 10 would not"),
            "{lines:?}"
        );
    }

    #[test]
    fn kinds_have_a_bound() {
        let mut report = Report::default();
        for line in 0..1_000 {
            let wrong = Expected::new(format!("kind {line}"), "x");
            report.row_with(vec![Mistake { line, field: "f".to_owned(), wrong }]);
        }
        assert_eq!((report.mistakes.kinds.len(), report.mistakes.more), (KINDS, 900));
    }
}
