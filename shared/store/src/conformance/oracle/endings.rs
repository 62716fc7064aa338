//! How the oracle ends attempts: one after the other, each by the command that it is alone.

use baton_model::transition::Command;
use baton_model::{Bounds, Fence, Generation, Task, TaskId, TaskState, Timestamp};

use super::{Inner, Oracle};
use crate::*;

impl Oracle {
    pub(super) fn completion(&self, complete: Complete) -> Result<Completion, StoreError> {
        let mut inner = self.lock();
        inner.reach(complete.task, &complete.caller, &complete.fence)?;
        let before = inner.kept(complete.task)?.task.clone();
        let command = Command::Complete {
            fence: complete.fence.clone(),
            generation: complete.generation,
            output: complete.output.fingerprint(),
        };
        let (task, repeated) = inner.apply(complete.task, &command, complete.now)?;
        self.ring_unblocked(&mut inner);
        let domain = task.domain.clone();
        if let TaskState::Running(lease) = before.head.state {
            let generation = Generation {
                id: complete.generation,
                task: task.head.id,
                project: task.project,
                queue: task.queue,
                task_type: task.task_type,
                attempt: task.head.attempt,
                worker: lease.worker,
                output: complete.output,
                created_at: task.created_at,
                started_at: lease.claimed_at.max(task.created_at),
                finished_at: task.updated_at,
                ran: complete.ran,
            };
            inner.runs.push((generation.queue.clone(), complete.now, generation.run_time()));
            inner.generations.insert(generation.id, generation);
        }
        let TaskState::Completed { generation, .. } = task.head.state else {
            return Err(StoreError::Internal { what: "completing".to_owned(), cause: None });
        };
        self.ring_freed(&inner, complete.now);
        Ok(Completion { generation: inner.generations[&generation].clone(), domain, repeated })
    }

    pub(super) fn failure(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        let command = Command::Fail {
            fence: fail.fence.clone(),
            failure: fail.failure,
            retryable: fail.retryable,
            retry_after: fail.retry_after,
        };
        self.back((fail.task, &fail.caller, &fail.fence), &command, fail.now)
    }

    pub(super) fn given_back(&self, release: Release) -> Result<FailAnswer, StoreError> {
        let command =
            Command::Release { fence: release.fence.clone(), delay: release.delay, reason: release.reason };
        self.back((release.task, &release.caller, &release.fence), &command, release.now)
    }

    fn back(
        &self,
        (task, caller, fence): (TaskId, &Bounds, &Fence),
        command: &Command,
        now: Timestamp,
    ) -> Result<FailAnswer, StoreError> {
        let mut inner = self.lock();
        inner.reach(task, caller, fence)?;
        let (task, repeated): (Task, bool) = inner.apply(task, command, now)?;
        self.ring_freed(&inner, now);
        self.ring(&task);
        self.ring_unblocked(&mut inner);
        Ok(FailAnswer { task, repeated })
    }

    pub(super) fn end_each(&self, endings: Vec<Ending>, next: Option<Claim>) -> EndAnswer {
        let end = |ending| match ending {
            Ending::Complete(complete) => self.completion(complete).map(EndedAs::from),
            Ending::Fail(fail) => self.failure(fail).map(EndedAs::from),
            Ending::Release(release) => self.given_back(release).map(EndedAs::from),
        };
        let items = endings.into_iter().map(end).collect();
        EndAnswer { items, next: next.map(|claim| self.lock().claim(&claim)) }
    }
}

impl Inner {
    /// Lets the end of an attempt pass that its caller may ask for.
    fn reach(&self, id: TaskId, caller: &Bounds, fence: &Fence) -> Result<(), StoreError> {
        let task = &self.kept(id)?.task;
        match Reach::of(caller, fence, (&task.head, &task.queue, &task.project)) {
            Reach::Beyond => Err(StoreError::TaskNotFound(id)),
            Reach::ByName => Reach::by_name(caller, fence, self.workers.get(&fence.worker)),
            Reach::Within => Ok(()),
        }
    }
}
