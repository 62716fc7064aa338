//! Tasks of other systems as tasks that Baton could have: their past is played through Baton's own state machine.

use baton_model::transition::{Change, Command, Decision, Refusal, decide};
use baton_model::{
    Event, EventDetail, EventKind, Expected, Failure, Fence, Generation, GenerationId, LeaseTerms, Loss,
    LossReason, Output, State, Status, Task, TaskId, TaskSpec, TaskState, Timestamp, WorkerId, limits,
};
use baton_store::transfer::TaskRecord;

/// What another system says of a task.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    pub(crate) spec: TaskSpec,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    pub(crate) worker: WorkerId,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) run_after: Option<Timestamp>,
    pub(crate) error: Option<Failure>,
    pub(crate) output: Output,
}

/// What was changed of a task, so that it is lawful.
pub(crate) const REQUEUED: &str = "ran without a lease: it is queued again, and its attempt counts once";
pub(crate) const ATTEMPT_ADDED: &str = "ended without an attempt: one is counted";
pub(crate) const ATTEMPTS_RAISED: &str = "used more attempts than it was given: it is given as many as it needs";
pub(crate) const TOO_MANY: &str = "counts more attempts than a task may have: the most that it may have are kept";

/// A task under way through its past.
struct Past {
    record: TaskRecord,
    worker: WorkerId,
}

impl Old {
    /// The task with a history that leads to where it is, and what was changed.
    ///
    /// # Errors
    /// That no such history is.
    pub(crate) fn record(mut self) -> Result<(TaskRecord, Vec<&'static str>), Expected> {
        let changed = self.made_lawful();
        let mut past = Past::begun(&self);
        let refused = |refusal: Refusal| Expected::new("a lawful past", format!("{refusal:?}"));
        if past.is_blocked() && (self.attempts > 0 || self.status.state().is_final()) {
            past.goes(Command::Unblock, self.created_at).map_err(refused)?;
        }
        for _ in 1..self.attempts {
            past.claimed(self.created_at).map_err(refused)?;
            past.failed(&self, true, self.created_at).map_err(refused)?;
        }
        if self.attempts > 0 {
            past.claimed(self.started_at).map_err(refused)?;
            past.last_ended(&self).map_err(refused)?;
        }
        if self.status == Status::Cancelled {
            let command = Command::Cancel { by: None, reason: None, with: None };
            past.goes(command, self.updated_at).map_err(refused)?;
        }
        Ok((past.record, changed))
    }

    fn made_lawful(&mut self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        self.started_at = self.started_at.max(self.created_at);
        self.updated_at = self.updated_at.max(self.started_at);
        if self.status == Status::Running {
            changed.push(REQUEUED);
        }
        if self.attempts == 0 && matches!(self.status, Status::Running | Status::Completed | Status::Failed) {
            self.attempts = 1;
            if self.status != Status::Running {
                changed.push(ATTEMPT_ADDED);
            }
        }
        if self.attempts >= limits::MAX_ATTEMPTS {
            self.attempts = limits::MAX_ATTEMPTS - 1;
            changed.push(TOO_MANY);
        }
        let goes_on = !matches!(self.status.state(), State::Completed | State::Failed);
        let needed = self.attempts + u32::from(goes_on);
        if self.spec.max_attempts < needed {
            self.spec.max_attempts = needed;
            changed.push(ATTEMPTS_RAISED);
        }
        changed
    }
}

impl Past {
    fn begun(old: &Old) -> Self {
        let spec = old.spec.clone();
        let mut head = spec.first_head(old.created_at);
        if old.attempts == 0
            && let Some(run_after) = old.run_after
        {
            head.run_after = run_after;
        }
        let created = Event {
            seq: 1,
            at: old.created_at,
            kind: EventKind::Created,
            from: None,
            to: head.state.state(),
            attempt: 0,
            detail: EventDetail::created(spec.assigned_by.as_ref(), head.run_after, old.created_at),
        };
        let task = Task {
            head,
            project: spec.project,
            queue: spec.queue,
            task_type: spec.task_type,
            priority: spec.priority,
            params: spec.params,
            description: spec.description,
            domain: spec.domain,
            drift_score: spec.drift_score,
            assigned_by: spec.assigned_by,
            created_at: old.created_at,
            updated_at: old.created_at,
            finished_at: None,
            error: None,
            retention: spec.retention,
            concurrency_key: spec.concurrency_key,
            affinity: spec.affinity,
            unique: spec.unique,
            depends_on: spec.depends_on,
            if_dependency_fails: spec.if_dependency_fails,
            batch: None,
        };
        let record = TaskRecord {
            task,
            history: vec![created],
            generation: None,
            worker: None,
            claimed_at: None,
            content: None,
        };
        Self { record, worker: old.worker.clone() }
    }

    fn is_blocked(&self) -> bool {
        self.record.task.head.state == TaskState::Blocked
    }

    fn fence(&self) -> Fence {
        Fence { attempt: self.record.task.head.attempt, worker: self.worker.clone() }
    }

    fn claimed(&mut self, at: Timestamp) -> Result<(), Refusal> {
        let at = at.max(self.record.task.head.run_after);
        let command = Command::Claim {
            worker: self.worker.clone(),
            session: None,
            terms: LeaseTerms::Heartbeats,
            request: None,
            beats: None,
        };
        self.goes(command, at)?;
        self.record.worker = Some(self.worker.clone());
        self.record.claimed_at = Some(self.record.task.updated_at);
        Ok(())
    }

    fn failed(&mut self, old: &Old, retryable: bool, at: Timestamp) -> Result<(), Refusal> {
        let failure = old.error.clone().unwrap_or_else(|| Failure {
            message: "failed in the system that it came from".to_owned(),
            code: None,
            details: None,
        });
        let due = old.run_after.unwrap_or(at).since(at);
        let command = Command::Fail { fence: self.fence(), failure, retryable, retry_after: Some(due) };
        self.goes(command, at)
    }

    /// How the latest attempt ended.
    fn last_ended(&mut self, old: &Old) -> Result<(), Refusal> {
        let at = old.updated_at;
        match old.status {
            Status::Completed => self.completed(old),
            Status::Failed => self.failed(old, false, at),
            Status::Running => {
                let attempt = self.record.task.head.attempt;
                let loss = Loss { reason: LossReason::LeaseExpired, with_worker: false };
                self.goes(Command::LoseLease { attempt, loss }, at)
            }
            Status::Blocked | Status::Created | Status::Queued | Status::Retry | Status::Cancelled => {
                self.failed(old, true, at)
            }
        }
    }

    fn completed(&mut self, old: &Old) -> Result<(), Refusal> {
        let task = &self.record.task;
        let id = GenerationId::from_bytes(
            *TaskId::of_name("generation of an imported task", &task.head.id.to_string()).as_bytes(),
        );
        let started_at = self.record.claimed_at.unwrap_or(old.started_at);
        let mut generation = Generation {
            id,
            task: task.head.id,
            project: task.project.clone(),
            queue: task.queue.clone(),
            task_type: task.task_type.clone(),
            attempt: task.head.attempt,
            worker: self.worker.clone(),
            output: old.output.clone(),
            created_at: task.created_at,
            started_at,
            finished_at: old.updated_at,
            ran: None,
        };
        let output = generation.output.fingerprint();
        self.goes(Command::Complete { fence: self.fence(), generation: id, output }, old.updated_at)?;
        generation.finished_at = self.record.task.updated_at;
        self.record.generation = Some(generation);
        Ok(())
    }

    /// Does what a store does about a command.
    fn goes(&mut self, command: Command, at: Timestamp) -> Result<(), Refusal> {
        let task = &mut self.record.task;
        let at = Change::dated(at, task.updated_at);
        let Decision::Apply(change) = decide(&task.head, &command, at)? else { return Ok(()) };
        let Change { head, kind, from, detail, error, .. } = *change;
        let to = head.state.state();
        self.record.history.push(Event {
            seq: head.events,
            at,
            kind,
            from: Some(from),
            to,
            attempt: head.attempt,
            detail,
        });
        task.head = head;
        task.updated_at = at;
        task.finished_at = to.is_final().then_some(at);
        if let Some(error) = error {
            task.error = error;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(status: Status, attempts: u32) -> Old {
        let at = Timestamp::from_millis(1_769_847_300_000);
        Old {
            spec: TaskSpec::new(TaskId::of_name("test", "a"), "render".parse().unwrap()),
            status,
            attempts,
            worker: "old-worker".parse().unwrap(),
            created_at: at,
            started_at: at,
            updated_at: at,
            run_after: None,
            error: None,
            output: Output::default(),
        }
    }

    #[test]
    fn each_status_becomes_a_state_with_a_history_without_gaps() {
        for status in Status::ALL {
            for attempts in [0, 1, 2, 3, 7] {
                let (record, _) = old(status, attempts).record().unwrap();
                let expected = match status {
                    Status::Running | Status::Blocked => State::Queued,
                    other => other.state(),
                };
                assert_eq!(record.task.head.state.state(), expected, "{status} {attempts}");
                assert_eq!(record.task.head.events as usize, record.history.len());
                assert_eq!(record.generation.is_some(), status == Status::Completed);
                for (event, next) in record.history.iter().zip(&record.history[1..]) {
                    assert_eq!((next.seq, next.from), (event.seq + 1, Some(event.to)));
                }
            }
        }
    }

    #[test]
    fn a_running_task_is_queued_again_and_its_attempts_count_once() {
        let (record, changed) = old(Status::Running, 2).record().unwrap();
        assert_eq!((record.task.head.attempt, changed.as_slice()), (2, [REQUEUED].as_slice()));
    }
}
