//! The oracle's tasks that wait for others.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::dependency::outlook;
use baton_model::transition::Command;
use baton_model::{
    Dependency, FirstFailure, Generation, IfDependencyFails, Outlook, Payload, State, Task, TaskId, TaskSpec,
    TaskState, Timestamp, limits,
};

use super::{Inner, Kept};
use crate::batch::{Item, refusals};
use crate::*;

impl Inner {
    /// What a task's dependencies mean to it.
    fn outlook(&self, task: &Task) -> Outlook {
        let dependency = |id: &TaskId| {
            let standing = self.tasks.get(id).map(|kept| &kept.task);
            let state = standing.map(|task| task.head.state.state());
            let first = standing.zip(state).filter(|(_, state)| state.is_final());
            let first = first.map(|(task, state)| FirstFailure::of(*id, state, task.error.as_ref()));
            Dependency { task: *id, state, first }
        };
        outlook(task.if_dependency_fails, task.depends_on.iter().map(dependency))
    }

    fn dependants(&self, id: TaskId) -> Vec<TaskId> {
        let of = self.tasks.iter().filter(|(_, kept)| kept.task.depends_on.contains(&id));
        of.map(|(id, _)| *id).collect()
    }

    /// Does what the dependencies of a blocked task ask for.
    fn settle(&mut self, id: TaskId, now: Timestamp) {
        let task = &self.tasks[&id].task;
        if task.head.state != TaskState::Blocked {
            return;
        }
        let command = match self.outlook(task) {
            Outlook::Unmet => return,
            Outlook::Met => Command::Unblock,
            Outlook::Failed(first) => Command::DependencyFailed {
                first,
                fails: task.if_dependency_fails == IfDependencyFails::Fail,
            },
        };
        let (after, _) = self.apply(id, &command, now).expect("a blocked task can be let go of");
        if after.head.state == TaskState::Queued {
            self.unblocked.push(after);
        }
    }

    /// A task has ended: those that wait for it hear of it.
    pub(super) fn ended(&mut self, id: TaskId, now: Timestamp) {
        for dependant in self.dependants(id) {
            self.settle(dependant, now);
        }
    }

    /// Refuses the tasks of a batch that depend on what they cannot depend on.
    pub(super) fn refuse_dependants(
        &self,
        specs: &[TaskSpec],
        items: &mut [Result<Accepted, ItemRefusal>],
        fresh: &mut BTreeMap<TaskId, Kept>,
    ) {
        let kinds: Vec<Item> = items
            .iter()
            .map(|item| match item {
                Ok(accepted) if accepted.new => Item::New,
                Ok(_) => Item::Standing,
                Err(_) => Item::Refused,
            })
            .collect();
        let project_of = |id| self.tasks.get(&id).map(|kept| kept.task.project.clone());
        for (place, refusal) in refusals(specs, &kinds, project_of) {
            fresh.remove(&specs[place].id);
            items[place] = Err(refusal);
        }
    }

    /// Lets go of those tasks of a batch whose dependencies are met, or have failed, already.
    pub(super) fn let_go(&mut self, specs: &[TaskSpec], now: Timestamp) {
        for spec in specs.iter().filter(|spec| !spec.depends_on.is_empty()) {
            if self.tasks.contains_key(&spec.id) {
                self.settle(spec.id, now);
            }
        }
        // The creation rings for them itself.
        self.unblocked.clear();
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Result<Task, StoreError> {
        let state = self.kept(cancel.task)?.task.head.state.state();
        if cancel.with_dependants
            && matches!(state, State::Blocked | State::Queued | State::Running | State::Cancelled)
        {
            let mut order = Vec::new();
            self.unfinished_dependants(cancel.task, &mut BTreeSet::new(), &mut order);
            for id in order {
                self.apply(id, &cancel.command(Some(cancel.task)), cancel.now)?;
            }
        }
        Ok(self.apply(cancel.task, &cancel.command(None), cancel.now)?.0)
    }

    /// The unfinished tasks that depend on one, the furthest first.
    fn unfinished_dependants(&self, id: TaskId, seen: &mut BTreeSet<TaskId>, order: &mut Vec<TaskId>) {
        for dependant in self.dependants(id) {
            let unfinished = !self.tasks[&dependant].task.head.state.state().is_final();
            if unfinished && seen.insert(dependant) {
                self.unfinished_dependants(dependant, seen, order);
                order.push(dependant);
            }
        }
    }

    /// Retries a task; gives it, and all that came into their queues.
    pub(super) fn retry(&mut self, retry: &Retry) -> Result<(Task, Vec<Task>), StoreError> {
        let before = self.kept(retry.task)?.task.clone();
        let unfinished = !before.head.state.state().is_final();
        let mut rung = Vec::new();
        if !(retry.with_dependants && unfinished) {
            let holder = self.key_holder(&before, retry.now);
            let command = retry.command(self.outlook(&before), holder, None);
            let (task, _) = self.apply(retry.task, &command, retry.now)?;
            self.take_key_again(&task);
            rung.push(task);
        }
        let mut next = if retry.with_dependants { self.dependants(retry.task) } else { Vec::new() };
        while let Some(id) = next.pop() {
            let task = self.tasks[&id].task.clone();
            let followed =
                task.head.state.state().is_final() && FirstFailure::named(task.error.as_ref()).is_some();
            let outlook = self.outlook(&task);
            let is_free = self.key_holder(&task, retry.now).is_none();
            if followed && is_free && !matches!(outlook, Outlook::Failed(_)) {
                let command = retry.command(outlook, None, Some(retry.task));
                let (after, _) = self.apply(id, &command, retry.now)?;
                self.take_key_again(&after);
                rung.push(after);
                next.extend(self.dependants(id));
            }
        }
        Ok((self.kept(retry.task)?.task.clone(), rung))
    }

    pub(super) fn linked(&self, id: TaskId) -> Option<Linked> {
        let task = &self.tasks.get(&id)?.task;
        let mut dependants = self.dependants(id);
        let more_dependants = dependants.len() > Linked::DEPENDANTS;
        dependants.truncate(Linked::DEPENDANTS);
        Some(Linked {
            id,
            project: task.project.clone(),
            queue: task.queue.clone(),
            task_type: task.task_type.clone(),
            state: task.head.state.state(),
            attempt: task.head.attempt,
            run_after: task.head.run_after,
            created_at: task.created_at,
            claimed_at: self.tasks[&id].claimed_at,
            finished_at: task.finished_at,
            depends_on: task.depends_on.clone(),
            if_dependency_fails: task.if_dependency_fails,
            dependants,
            more_dependants,
        })
    }

    pub(super) fn input(&self, id: TaskId) -> Option<Input> {
        let task = &self.tasks.get(&id)?.task;
        let generation = match &task.head.state {
            TaskState::Completed { generation, .. } => Some(self.generations[generation].clone()),
            _ => None,
        };
        let mut input = Input::of(id, task.task_type.clone(), task.head.state.state());
        input.generation = generation;
        if let Some(Generation { output, .. }) = &mut input.generation {
            let is_large = |one: &Payload| one.size() > limits::INPUT_BYTES;
            input.omitted.metadata = output.metadata.take_if(|one| is_large(one)).is_some();
            input.omitted.result = output.result.take_if(|one| is_large(one)).is_some();
        }
        Some(input)
    }

    /// Whether an unfinished task depends on this one.
    pub(super) fn is_waited_for(&self, id: TaskId) -> bool {
        self.dependants(id).iter().any(|one| !self.tasks[one].task.head.state.state().is_final())
    }
}
