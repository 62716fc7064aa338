//! Batches: tasks that were handed in together, and what is to follow once they have ended.
//!
//! A batch is open until it is sealed: so long, tasks may be added to it. What has become of its tasks are counts that the store keeps
//! in step with their states, each task counting once. Whether its `then` is due is a pure function of these counts ([`Batch::is_due`]);
//! the id of that task is given to the batch when it is made, so that whoever creates it creates the same one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::expected::Expected;
use crate::id::{BatchId, Label, ProjectId, TaskId};
use crate::payload::Payload;
use crate::task::{State, TaskSpec};
use crate::time::Timestamp;

/// How many failures of a batch are told.
pub const FIRST_FAILURES: usize = 10;

/// What the `then` of a batch waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThenOn {
    /// That all tasks have ended, however.
    #[default]
    Ended,
    /// That all tasks are completed.
    Completed,
    /// That a task has failed, the first of them.
    Failed,
}

impl ThenOn {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Ended, Self::Completed, Self::Failed];

    /// The choice's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for ThenOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ThenOn {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || Expected::text(format!("one of {}", Self::ALL.map(Self::as_str).join(", ")), text);
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(expected)
    }
}

/// A task that follows a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Then {
    /// What it waits for.
    pub on: ThenOn,
    /// The task, without its id. Its params are an object, to which the outcome comes as `batch`.
    pub task: TaskSpec,
}

/// The task that was created for a `then`, or that holds the unique key which it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The task.
    pub task: TaskId,
    /// When it was created.
    pub at: Timestamp,
}

/// How many tasks a batch has, and how many of them have ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// All of them.
    pub tasks: u64,
    /// Those that are completed.
    pub completed: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
}

impl BatchCounts {
    /// Those that have ended.
    pub const fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }

    /// Those that have not.
    pub const fn unfinished(&self) -> u64 {
        self.tasks.saturating_sub(self.ended())
    }

    /// The number of a final state; none of another one.
    pub fn of_mut(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Completed => Some(&mut self.completed),
            State::Failed => Some(&mut self.failed),
            State::Cancelled => Some(&mut self.cancelled),
            State::Blocked | State::Queued | State::Running => None,
        }
    }
}

/// How a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchState {
    /// Tasks may be added to it.
    Open,
    /// It is sealed, and some of its tasks have not ended.
    Running,
    /// All of its tasks are completed.
    Completed,
    /// All have ended, and some have failed or were cancelled.
    Failed,
}

impl BatchState {
    /// The state's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// What is asked of a batch that may be new.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// The batch.
    pub id: BatchId,
    /// The project of all its tasks.
    pub project: ProjectId,
    /// What it is called, for people.
    pub name: Option<Label>,
    /// What is to follow.
    pub then: Option<Then>,
}

/// A batch as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The batch.
    pub id: BatchId,
    /// The project of all its tasks.
    pub project: ProjectId,
    /// What it is called, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    /// What is to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Label>,
    /// Since when no task may be added to it; none while some may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<Timestamp>,
    /// When all of its tasks had ended for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What was created for its `then`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// The first tasks that failed and have not been retried since, at most [`FIRST_FAILURES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TaskId>,
    /// What has become of its tasks. Kept beside the rest, where the store counts.
    #[serde(default)]
    pub counts: BatchCounts,
}

impl Batch {
    /// A new batch without tasks.
    pub fn new(new: NewBatch, now: Timestamp, by: Option<Label>) -> Self {
        Self {
            id: new.id,
            project: new.project,
            name: new.name,
            then: new.then,
            created_at: now,
            created_by: by,
            sealed_at: None,
            ended_at: None,
            made: None,
            failures: Vec::new(),
            counts: BatchCounts::default(),
        }
    }

    /// Whether what is asked of it is what it is: what is not said fits.
    pub fn fits(&self, asked: &NewBatch) -> bool {
        // One that was written down says what was read back: of a number, JSON may lose the last bit.
        let is_same = |then: &Then| {
            let read_back = || serde_json::to_string(then).and_then(|text| serde_json::from_str(&text));
            self.then.as_ref() == Some(then) || read_back().is_ok_and(|then: Then| self.then == Some(then))
        };
        self.project == asked.project
            && asked.name.as_ref().is_none_or(|name| self.name.as_ref() == Some(name))
            && asked.then.as_ref().is_none_or(is_same)
    }

    /// How it stands.
    pub const fn state(&self) -> BatchState {
        let counts = &self.counts;
        if self.sealed_at.is_none() {
            BatchState::Open
        } else if counts.unfinished() > 0 {
            BatchState::Running
        } else if counts.completed == counts.tasks {
            BatchState::Completed
        } else {
            BatchState::Failed
        }
    }

    /// Whether all of its tasks have ended, and none is to come.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state(), BatchState::Completed | BatchState::Failed)
    }

    /// Whether the task that is to follow it is to be created now.
    pub fn is_due(&self) -> bool {
        let Some(then) = self.then.as_ref().filter(|_| self.made.is_none()) else { return false };
        match then.on {
            ThenOn::Ended => self.has_ended(),
            ThenOn::Completed => self.state() == BatchState::Completed,
            ThenOn::Failed => self.counts.failed > 0,
        }
    }

    /// Whether something of it is to be noted: that it has ended, or that what follows is due.
    pub fn is_unsettled(&self) -> bool {
        self.is_due() || (self.has_ended() && self.ended_at.is_none())
    }

    /// The id of the task that follows it: it begins with the time of the batch's making.
    pub fn then_id(&self) -> TaskId {
        let made_at = self.created_at.as_millis().to_be_bytes();
        TaskId::derived(self.created_at, &[b"then", self.id.as_bytes(), &made_at])
    }

    /// The task that follows it, with the outcome among its params.
    pub fn then_task(&self) -> Option<TaskSpec> {
        let then = self.then.as_ref()?;
        let mut params = then.task.params.to_value();
        if let Some(fields) = params.as_object_mut() {
            fields.insert("batch".to_owned(), self.outcome());
        }
        Some(TaskSpec {
            id: self.then_id(),
            id_chosen: true,
            project: self.project.clone(),
            params: Payload::from_value(&params),
            ..then.task.clone()
        })
    }

    fn outcome(&self) -> serde_json::Value {
        let counts = &self.counts;
        let mut failures: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        failures.sort();
        json!({
            "id": self.id.to_string(),
            "name": self.name.as_ref().map(Label::as_str),
            "state": self.state().as_str(),
            "tasks": counts.tasks,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "unfinished": counts.unfinished(),
            "first_failures": failures,
        })
    }

    /// Who creates the task that follows, as its first event says.
    pub fn by(&self) -> Label {
        Label::from_stored(match &self.name {
            Some(name) => format!("batch {name}"),
            None => format!("batch {}", self.id),
        })
    }

    /// When it will probably end: if its tasks go on ending as fast as they have since it was made. None if it is open, has ended, or
    /// nothing of it has.
    pub fn ends_probably(&self, now: Timestamp) -> Option<Timestamp> {
        let (ended, left) = (self.counts.ended(), self.counts.unfinished());
        if self.state() != BatchState::Running || ended == 0 {
            return None;
        }
        let each = now.since(self.created_at).as_secs_f64() / ended as f64;
        Duration::try_from_secs_f64(each * left as f64).ok().map(|rest| now.plus(rest))
    }

    /// Takes note of a task that came to another state, or was added with its first one.
    pub fn follow(&mut self, task: TaskId, from: Option<State>, to: State) {
        match from {
            Some(from) => {
                if let Some(number) = self.counts.of_mut(from) {
                    *number = number.saturating_sub(1);
                }
            }
            None => self.counts.tasks += 1,
        }
        if let Some(number) = self.counts.of_mut(to) {
            *number += 1;
        }
        self.note_failure(task, to == State::Failed);
    }

    /// Takes note that a task has failed, or lives again. Says whether that changes what is told of it.
    pub fn note_failure(&mut self, task: TaskId, failed: bool) -> bool {
        let place = self.failures.iter().position(|one| *one == task);
        match (place, failed) {
            (None, true) if self.failures.len() < FIRST_FAILURES => self.failures.push(task),
            (Some(place), false) => drop(self.failures.remove(place)),
            (None, _) | (Some(_), true) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn batch(on: ThenOn) -> Batch {
        let task = TaskSpec {
            params: Payload::parse(r#"{"to":"ada"}"#).unwrap(),
            ..TaskSpec::new(TaskId::unset(), "report".parse().unwrap())
        };
        let new = NewBatch {
            id: BatchId::from_bytes([7; 16]),
            project: "film".parse().unwrap(),
            name: Some("frames".parse().unwrap()),
            then: Some(Then { on, task }),
        };
        Batch::new(new, at(0), None)
    }

    fn task(n: u8) -> TaskId {
        TaskId::from_bytes([n; 16])
    }

    #[test]
    fn what_follows_is_due_by_what_it_waits_for() {
        for (on, ends, due) in [
            (ThenOn::Ended, [State::Completed, State::Failed], [false, true]),
            (ThenOn::Ended, [State::Cancelled, State::Completed], [false, true]),
            (ThenOn::Completed, [State::Completed, State::Completed], [false, true]),
            (ThenOn::Completed, [State::Completed, State::Cancelled], [false, false]),
            (ThenOn::Failed, [State::Failed, State::Completed], [true, true]),
            (ThenOn::Failed, [State::Cancelled, State::Completed], [false, false]),
        ] {
            let mut batch = batch(on);
            batch.follow(task(1), None, State::Queued);
            batch.follow(task(2), None, State::Queued);
            batch.sealed_at = Some(at(1));
            for (n, (end, due)) in (1..).zip(ends.into_iter().zip(due)) {
                batch.follow(task(n), Some(State::Running), end);
                assert_eq!(batch.is_due(), due, "{on} after {n} of {ends:?}");
            }
            batch.made = Some(Made { task: batch.then_id(), at: at(2) });
            assert!(!batch.is_due(), "once");
        }
    }

    #[test]
    fn an_open_batch_has_not_ended_and_a_failure_counts_all_the_same() {
        let mut batch = batch(ThenOn::Ended);
        batch.follow(task(1), None, State::Queued);
        batch.follow(task(1), Some(State::Queued), State::Cancelled);
        assert_eq!((batch.state(), batch.is_due()), (BatchState::Open, false));
        batch.then = batch.then.map(|then| Then { on: ThenOn::Failed, ..then });
        batch.follow(task(2), None, State::Queued);
        batch.follow(task(2), Some(State::Running), State::Failed);
        assert!(batch.is_due());
    }

    #[test]
    fn the_task_that_follows_is_told_the_outcome_and_keeps_its_own_params() {
        let mut batch = batch(ThenOn::Ended);
        batch.follow(task(1), None, State::Queued);
        batch.follow(task(1), Some(State::Running), State::Failed);
        batch.sealed_at = Some(at(1));
        let then = batch.then_task().unwrap();
        assert_eq!((then.id, then.id_chosen), (batch.then_id(), true));
        assert_eq!(then.project, batch.project);
        let params = then.params.to_value();
        assert_eq!(params["to"], "ada");
        assert_eq!((&params["batch"]["state"], &params["batch"]["failed"]), (&json!("failed"), &json!(1)));
        assert_eq!(params["batch"]["first_failures"], json!([task(1).to_string()]));
        assert_eq!(batch.then_id().as_bytes()[6] >> 4, 7, "a UUIDv7");
    }

    #[test]
    fn the_end_is_reckoned_from_what_has_ended_so_far() {
        let mut batch = batch(ThenOn::Ended);
        (1..=4).for_each(|n| batch.follow(task(n), None, State::Queued));
        assert_eq!(batch.ends_probably(at(10)), None, "it is open");
        batch.sealed_at = Some(at(0));
        assert_eq!(batch.ends_probably(at(10)), None, "nothing has ended");
        batch.follow(task(1), Some(State::Running), State::Completed);
        assert_eq!(batch.ends_probably(at(10)), Some(at(40)));
        (2..=4).for_each(|n| batch.follow(task(n), Some(State::Running), State::Completed));
        assert_eq!(batch.ends_probably(at(40)), None, "it has ended");
    }

    #[test]
    fn a_batch_comes_back_from_json_and_fits_what_made_it() {
        let batch = batch(ThenOn::Completed);
        let back: Batch = serde_json::from_str(&serde_json::to_string(&batch).unwrap()).unwrap();
        assert_eq!(back, batch);
        let asked = NewBatch { id: batch.id, project: batch.project.clone(), name: None, then: None };
        assert!(batch.fits(&asked), "what is not said fits");
        assert!(!batch.fits(&NewBatch { name: Some("other".parse().unwrap()), ..asked.clone() }));
        assert!(!batch.fits(&NewBatch { project: "game".parse().unwrap(), ..asked }));
    }

    proptest! {
        /// Whatever happens to its tasks, the counts are those of their states, and the failures told are failed tasks.
        #[test]
        fn the_counts_are_those_of_the_states(steps in proptest::collection::vec((0_u8..6, 0_usize..6), 0..60)) {
            const STATES: [State; 6] = [
                State::Blocked, State::Queued, State::Running, State::Completed, State::Failed, State::Cancelled,
            ];
            let mut batch = batch(ThenOn::Ended);
            let mut states = std::collections::BTreeMap::new();
            for (n, to) in steps {
                let to = STATES[to];
                batch.follow(task(n), states.get(&n).copied(), to);
                states.insert(n, to);
            }
            let of = |state| states.values().filter(|one| **one == state).count() as u64;
            let counts = BatchCounts {
                tasks: states.len() as u64,
                completed: of(State::Completed),
                failed: of(State::Failed),
                cancelled: of(State::Cancelled),
            };
            prop_assert_eq!(batch.counts, counts);
            prop_assert!(batch.failures.iter().all(|id| states[&id.as_bytes()[0]] == State::Failed));
            prop_assert_eq!(batch.failures.len() as u64, counts.failed.min(FIRST_FAILURES as u64));
        }
    }
}
