//! The oracle's unique keys.

use std::collections::BTreeMap;

use baton_model::{Label, ProjectId, QueueName, Task, TaskId, TaskSpec, Timestamp};

use super::{Inner, Kept};
use crate::unique::{First, after_firsts, firsts, held_by};
use crate::*;

impl Inner {
    /// Takes those of a batch's new tasks out whose keys others hold; gives the batch as it is then.
    pub(super) fn keep_unique(
        &self,
        create: &Create,
        items: &mut [Result<Accepted, ItemRefusal>],
        fresh: &mut BTreeMap<TaskId, Kept>,
    ) -> (Vec<TaskSpec>, BTreeMap<usize, First>) {
        let is_new = |place: usize| items[place].as_ref().is_ok_and(|accepted| accepted.new);
        let holder = |place: usize| {
            let spec = &create.tasks[place];
            let unique = spec.unique.as_ref()?;
            let id = self.keys.get(&(spec.project.clone(), spec.queue.clone(), unique.key.clone()))?;
            let task = &self.tasks.get(id)?.task;
            let is_its = is_key_of(task, (&spec.project, &spec.queue, &unique.key));
            (is_its && holds(task, create.now)).then(|| held_by(&task.head, task.created_at, create.now))
        };
        let firsts = firsts(&create.tasks, is_new, holder);
        let specs = after_firsts(&create.tasks, &firsts);
        // A second one of the same id, which is refused, is not the task.
        let new = specs.iter().enumerate().filter(|(place, _)| is_new(*place));
        for (_, spec) in new {
            if let Some(kept) = fresh.get_mut(&spec.id) {
                kept.task.depends_on.clone_from(&spec.depends_on);
            }
        }
        for (place, first) in &firsts {
            fresh.remove(&specs[*place].id);
            items[*place] = match first {
                First::Standing(accepted) => Ok(accepted.clone()),
                // It stands for the first one, whose outcome it is given in the end.
                First::Sibling(_) => {
                    items[*place].clone().map(|accepted| Accepted { new: false, ..accepted })
                }
            };
        }
        (specs, firsts)
    }

    /// Gives a task the key that it asked for.
    pub(super) fn hold_key(&mut self, task: &Task) {
        if let Some(unique) = &task.unique {
            let key = (task.project.clone(), task.queue.clone(), unique.key.clone());
            self.keys.insert(key, task.head.id);
        }
    }

    /// Gives a task its key again that lives again.
    pub(super) fn take_key_again(&mut self, task: &Task) {
        if task.unique.as_ref().is_some_and(|unique| unique.follows_state()) {
            self.hold_key(task);
        }
    }

    /// The other task that holds, in a queue that a task is to wait in, the key that it holds itself.
    pub(super) fn key_holder_in(&self, task: &Task, queue: &QueueName, now: Timestamp) -> Option<TaskId> {
        let unique = task.unique.as_ref().filter(|_| holds(task, now))?;
        let there = self.tasks.values().map(|kept| &kept.task).filter(|other| other.head.id != task.head.id);
        let key = (&task.project, queue, &unique.key);
        // Of several of a key only the one that it was given to last keeps others from it.
        let last = self.keys.get(&(task.project.clone(), queue.clone(), unique.key.clone()))?;
        let mut holders = there.filter(|other| is_key_of(other, key) && holds(other, now));
        holders.find(|other| other.head.id == *last).map(|other| other.head.id)
    }

    /// What follows from a task's coming into another queue: the queue is known, and it holds its key there.
    pub(super) fn arrived(&mut self, task: &Task, now: Timestamp) {
        self.queues.entry(task.queue.clone()).or_default().used = true;
        if holds(task, now) {
            self.hold_key(task);
        }
    }

    /// The other task that holds the key which a task needs to live again.
    pub(super) fn key_holder(&self, task: &Task, now: Timestamp) -> Option<TaskId> {
        let unique = task.unique.as_ref().filter(|unique| unique.follows_state())?;
        let key = (task.project.clone(), task.queue.clone(), unique.key.clone());
        let other = self.keys.get(&key).filter(|id| **id != task.head.id)?;
        let is_its = |task: &Task| is_key_of(task, (&key.0, &key.1, &key.2));
        let holder = self.tasks.get(other).filter(|kept| is_its(&kept.task) && holds(&kept.task, now));
        holder.map(|kept| kept.task.head.id)
    }
}

fn holds(task: &Task, now: Timestamp) -> bool {
    let state = task.head.state.state();
    task.unique.as_ref().is_some_and(|unique| unique.holds(state, task.created_at, now))
}

/// Whether a key is a task's own: the task that had it may be gone, and another one of its id be there.
fn is_key_of(task: &Task, key: (&ProjectId, &QueueName, &Label)) -> bool {
    task.unique.as_ref().is_some_and(|unique| (&task.project, &task.queue, &unique.key) == key)
}
