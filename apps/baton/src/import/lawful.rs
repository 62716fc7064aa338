//! A task of another system made a lawful one.
//!
//! Its history is what Baton's own rules make of what is known: each step goes through [`decide`], so that no task comes in by an import
//! that could not have come to be here. Attempts before the latest are counted, and have no entries: nobody knows when they were.
//! The same row gives the same task, to the last byte: it is known again when it is imported again.

use baton_model::task::{Failure, RunAfter, TaskState};
use baton_model::transition::{Command, Decision, decide};
use baton_model::{
    Event, EventDetail, EventKind, Expected, Expiry, Fence, Generation, GenerationId, Head, Label,
    LeaseTerms, Loss, LossReason, Output, Payload, Task, TaskId, TaskSpec, Timestamp, WorkerId, limits,
};
use baton_store::transfer::TaskRecord;

use super::old::{Change, OldState, OldTask};

/// Who is said to have created the task and called it off, and to have run it where nobody knows who did.
const IMPORTED: &str = "imported";

/// The most attempts that are taken over, so that there may be one more.
const MOST_ATTEMPTS: u32 = limits::MAX_ATTEMPTS - 1;

/// A task on its way through the steps of its life.
struct Life {
    head: Head,
    history: Vec<Event>,
    error: Option<Failure>,
    worker: WorkerId,
    claimed_at: Option<Timestamp>,
}

impl Life {
    /// Takes a step.
    fn step(&mut self, command: &Command, at: Timestamp) -> Result<(), Expected> {
        let decision = decide(&self.head, command, at);
        let change = match decision {
            Ok(Decision::Apply(change)) => change,
            Ok(Decision::Repeat) => return Ok(()),
            Err(refusal) => return Err(Expected::new("a task that can be so", refusal.to_string())),
        };
        self.history.push(Event {
            seq: change.head.events,
            at,
            kind: change.kind,
            from: Some(change.from),
            to: change.head.state.state(),
            attempt: change.head.attempt,
            detail: change.detail,
        });
        if let Some(error) = change.error {
            self.error = error;
        }
        self.head = change.head;
        Ok(())
    }

    fn claim(&mut self, at: Timestamp) -> Result<(), Expected> {
        if self.head.state == TaskState::Blocked {
            // What was run did not wait for others any more.
            self.step(&Command::Unblock, at)?;
        }
        self.claimed_at = Some(at);
        let worker = self.worker.clone();
        let terms = LeaseTerms::Heartbeats;
        self.step(&Command::Claim { worker, session: None, terms, request: None, beats: None }, at)
    }

    fn fence(&self) -> Fence {
        Fence { attempt: self.head.attempt, worker: self.worker.clone() }
    }
}

/// The times of a task's life in their order.
struct Times {
    created: Timestamp,
    started: Timestamp,
    ended: Timestamp,
}

fn times(old: &mut OldTask) -> Times {
    let created = old.created_at;
    let latest = old.finished_at.or(old.updated_at);
    let started = old.started_at.or(latest).unwrap_or(created).max(created);
    let ended = latest.unwrap_or(started).max(started);
    let in_order = old.started_at.is_none_or(|at| at == started) && latest.is_none_or(|at| at == ended);
    if !in_order {
        let told = |at: Option<Timestamp>| at.map_or("none".to_owned(), |at| at.to_string());
        let got = format!("created {created}, started {}, ended {}", told(old.started_at), told(latest));
        old.changes.push((Change::OrderedTimes, got));
    }
    Times { created, started, ended }
}

/// Cuts what is longer than Baton keeps.
fn shorten(old: &mut OldTask) {
    if let Some(text) = &mut old.description
        && let Some((at, _)) = text.char_indices().nth(limits::DESCRIPTION_CHARS)
    {
        old.changes.push((Change::ShortDescription, format!("{} bytes", text.len())));
        text.truncate(at);
    }
    if let Some(failure) = &mut old.error
        && failure.message.len() > limits::ERROR_BYTES
    {
        let length = failure.message.len();
        old.changes.push((Change::ShortError, format!("{length} bytes")));
        // The end of a message tells the cause.
        let from = (length - limits::ERROR_BYTES..=length).find(|at| failure.message.is_char_boundary(*at));
        failure.message.drain(..from.unwrap_or(length));
    }
    if let Some(location) = old.output.location.take_if(|location| location.len() > limits::LOCATION_BYTES) {
        old.changes.push((Change::LongLocation, format!("{} bytes", location.len())));
        old.output.result.get_or_insert_with(|| Payload::from_value(&location.into()));
    }
}

/// Counts the attempts that the task's state asks for.
fn count(old: &mut OldTask) {
    if old.attempts > MOST_ATTEMPTS {
        old.changes.push((Change::FewerAttempts, old.attempts.to_string()));
        old.attempts = MOST_ATTEMPTS;
    }
    let had_one = matches!(old.state, OldState::Running | OldState::Completed | OldState::Failed);
    if had_one && old.attempts == 0 {
        if old.state != OldState::Running {
            old.changes.push((Change::CountedAttempt, old.word.clone()));
        }
        old.attempts = 1;
    }
    old.max_attempts = old.max_attempts.clamp(1, limits::MAX_ATTEMPTS);
    let goes_on = matches!(old.state, OldState::Running | OldState::Queued | OldState::Held);
    if goes_on && old.attempts >= old.max_attempts {
        old.changes.push((Change::OneMoreAttempt, format!("{} of {}", old.attempts, old.max_attempts)));
        old.max_attempts = old.attempts + 1;
    }
}

/// The id of the record of what a task has put out: it sorts by its time, and is the same each time.
fn generation_id(task: TaskId, at: Timestamp) -> GenerationId {
    let mut id = *TaskId::of_name("imported generation", &task.to_string()).as_bytes();
    id[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
    // UUIDv7, RFC 9562 §5.7.
    id[6] = id[6] & 0x0f | 0x70;
    GenerationId::from_bytes(id)
}

/// The failure of an attempt of which nobody knows why it ended.
fn unknown(old: &OldTask) -> Failure {
    let message = format!("it was `{}` when it was taken over; why is not known", old.word);
    old.error.clone().unwrap_or(Failure { message, code: None, details: None })
}

/// Makes it a lawful task, and says what was changed for that.
///
/// # Errors
/// If no task of Baton's can be so.
pub(crate) fn lawful(mut old: OldTask) -> Result<(TaskRecord, Vec<(Change, String)>), Expected> {
    shorten(&mut old);
    count(&mut old);
    let times = times(&mut old);
    let (mut life, spec) = begin(&old, &times);
    let generation = live(&mut life, &mut old, &times)?;
    let finished_at = life.head.state.state().is_final().then_some(times.ended);
    let updated_at = life.history.last().map_or(times.created, |event| event.at);
    let ran = life.claimed_at.is_some();
    let task = Task {
        head: life.head,
        project: spec.project,
        queue: spec.queue,
        task_type: spec.task_type,
        priority: spec.priority,
        params: spec.params,
        description: spec.description,
        domain: spec.domain,
        drift_score: spec.drift_score,
        assigned_by: spec.assigned_by,
        created_at: times.created,
        updated_at,
        finished_at,
        error: life.error,
        retention: None,
        concurrency_key: None,
        affinity: spec.affinity,
        unique: None,
        depends_on: spec.depends_on,
        if_dependency_fails: spec.if_dependency_fails,
        batch: None,
        trace: None,
    };
    let record = TaskRecord {
        task,
        history: life.history,
        generation,
        worker: ran.then_some(life.worker),
        claimed_at: life.claimed_at,
        content: None,
        place: None,
    };
    Ok((record, old.changes))
}

/// The task as it was created.
fn begin(old: &OldTask, times: &Times) -> (Life, TaskSpec) {
    let waits = matches!(old.state, OldState::Queued | OldState::Held) && old.attempts == 0;
    let run_after = match old.state {
        OldState::Held => Timestamp::MAX,
        // What has begun may be claimed for the steps that follow.
        _ if !waits => times.created,
        _ => old.run_after.unwrap_or(times.created),
    };
    let spec = TaskSpec {
        id_chosen: true,
        project: old.project.clone(),
        queue: old.queue.clone(),
        priority: old.priority,
        params: old.params.clone(),
        description: old.description.clone(),
        domain: old.domain.clone(),
        drift_score: old.drift_score,
        assigned_by: old.assigned_by.clone(),
        affinity: old.affinity.clone(),
        run_after: RunAfter::At(run_after),
        max_attempts: old.max_attempts,
        timeout: old.timeout,
        backoff: old.backoff,
        expiry: None::<Expiry>,
        depends_on: old.depends_on.clone(),
        if_dependency_fails: old.if_dependency_fails,
        ..TaskSpec::new(old.id, old.task_type.clone())
    };
    let mut head = spec.first_head(times.created);
    head.attempt = old.attempts.saturating_sub(1);
    let by = Label::from_stored(IMPORTED);
    let mut detail = EventDetail::created(Some(&by), run_after, times.created);
    detail.reason = Some(format!("taken over as `{}`; its id there was {}", old.word, old.name));
    let created = Event {
        seq: 1,
        at: times.created,
        kind: EventKind::Created,
        from: None,
        to: head.state.state(),
        attempt: head.attempt,
        detail,
    };
    let worker = old.worker.clone().unwrap_or_else(|| WorkerId::from_stored(IMPORTED));
    (Life { head, history: vec![created], error: None, worker, claimed_at: None }, spec)
}

/// Takes the steps to the state that it was in.
fn live(life: &mut Life, old: &mut OldTask, times: &Times) -> Result<Option<Generation>, Expected> {
    let Times { started, ended, .. } = *times;
    if old.attempts > 0 {
        life.claim(started)?;
    }
    let fence = life.fence();
    match old.state {
        OldState::Queued | OldState::Held if old.attempts == 0 => {
            if old.state == OldState::Held {
                old.changes.push((Change::Held, old.word.clone()));
            }
        }
        OldState::Queued | OldState::Held => {
            let due =
                if old.state == OldState::Held { Timestamp::MAX } else { old.run_after.unwrap_or(ended) };
            let (failure, retry_after) = (unknown(old), Some(due.since(ended)));
            life.step(&Command::Fail { fence, failure, retryable: true, retry_after }, ended)?;
        }
        OldState::Running => {
            old.changes.push((Change::Requeued, old.word.clone()));
            let loss = Loss { reason: LossReason::HeartbeatMissed, with_worker: false };
            life.step(&Command::LoseLease { attempt: life.head.attempt, loss }, ended)?;
        }
        OldState::Failed => {
            let failure = unknown(old);
            life.step(&Command::Fail { fence, failure, retryable: false, retry_after: None }, ended)?;
        }
        OldState::Cancelled => {
            let (by, reason) =
                (Some(Label::from_stored(IMPORTED)), old.error.take().map(|error| error.message));
            life.step(&Command::Cancel { by, reason, with: None }, ended)?;
        }
        OldState::Completed => {
            let id = generation_id(old.id, ended);
            let output = std::mem::take(&mut old.output);
            let complete = Command::Complete { fence, generation: id, output: output.fingerprint() };
            life.step(&complete, ended)?;
            return Ok(Some(generation(life, old, times, (id, output))));
        }
    }
    Ok(None)
}

fn generation(life: &Life, old: &OldTask, times: &Times, (id, output): (GenerationId, Output)) -> Generation {
    Generation {
        id,
        task: old.id,
        project: old.project.clone(),
        queue: old.queue.clone(),
        task_type: old.task_type.clone(),
        attempt: life.head.attempt,
        worker: life.worker.clone(),
        output,
        created_at: times.created,
        started_at: times.started,
        finished_at: times.ended,
        ran: None,
    }
}
