//! The unfinished tasks as the mirror has written them, so that only what changed is written again.

use std::cmp::Ordering;
use std::collections::HashMap;

use baton_api::task::TaskView;
use baton_model::TaskId;

use super::row::{Row, is_unfinished, word};
use super::statements::Seen;

/// The unfinished tasks, each with the number of the round that saw it last.
#[derive(Debug, Default)]
pub(super) struct Known {
    tasks: HashMap<TaskId, (Seen, u64)>,
    round: u64,
}

impl Known {
    pub(super) fn new(tasks: HashMap<TaskId, Seen>) -> Self {
        Self { tasks: tasks.into_iter().map(|(id, seen)| (id, (seen, 0))).collect(), round: 0 }
    }

    /// Begins a round.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// Takes notice of a task that is there and unfinished; what its reading is to what is written. `None` if no unfinished one is
    /// written.
    pub(super) fn notice(&mut self, task: &TaskView) -> Option<Reading> {
        let (seen, round) = self.tasks.get_mut(&task.id)?;
        *round = self.round;
        Some(Reading::of(Some(*seen), task))
    }

    /// Takes notice of rows that were written.
    pub(super) fn written(&mut self, rows: &[Row]) {
        for Row { id, events, status, updated_at, .. } in rows {
            if is_unfinished(status) {
                let seen = Seen { events: *events, status, updated_at: Some(*updated_at) };
                self.tasks.insert(*id, (seen, self.round));
            } else {
                self.tasks.remove(id);
            }
        }
    }

    pub(super) fn forget(&mut self, gone: &[TaskId]) {
        for id in gone {
            self.tasks.remove(id);
        }
    }

    /// What is written of a task, if it is unfinished.
    pub(super) fn of(&self, id: TaskId) -> Option<Seen> {
        self.tasks.get(&id).map(|(seen, _)| *seen)
    }

    /// The tasks that this round has not seen.
    pub(super) fn unseen(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, (_, round))| *round < self.round).map(|(id, _)| *id).collect()
    }
}

/// What a reading of a task is to what is written of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It tells more, or something else.
    News,
    /// It tells what is written.
    Same,
    /// Its task had fewer events then: it was overtaken by another reading, or the store was put back to an earlier time.
    Older,
}

impl Reading {
    /// The status may be another without an event: time passes. As many events at another time are those of another history, as after
    /// a store was put back to an earlier time.
    pub(super) fn of(seen: Option<Seen>, task: &TaskView) -> Self {
        let Some(seen) = seen else { return Self::News };
        let same = word(task.status) == seen.status && Some(task.updated_at.as_millis()) == seen.updated_at;
        match task.events.cmp(&seen.events) {
            Ordering::Greater => Self::News,
            Ordering::Equal if !same => Self::News,
            Ordering::Equal => Self::Same,
            Ordering::Less => Self::Older,
        }
    }
}
