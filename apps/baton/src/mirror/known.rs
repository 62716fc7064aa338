//! The unfinished tasks as the mirror has written them, so that only what changed is written again.

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

    /// Takes notice of a task that is there and unfinished; whether it is to be written.
    pub(super) fn notice(&mut self, task: &TaskView) -> bool {
        let Some((seen, round)) = self.tasks.get_mut(&task.id) else { return true };
        *round = self.round;
        is_news(Some(*seen), task)
    }

    /// Takes notice of rows that were written.
    pub(super) fn written(&mut self, rows: &[Row]) {
        for Row { id, events, status, .. } in rows {
            if is_unfinished(status) {
                self.tasks.insert(*id, (Seen { events: *events, status }, self.round));
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

/// Whether a reading tells more than what is written. Its status may be another without an event: time passes.
pub(super) fn is_news(seen: Option<Seen>, task: &TaskView) -> bool {
    seen.is_none_or(|seen| {
        task.events > seen.events || (task.events == seen.events && word(task.status) != seen.status)
    })
}
