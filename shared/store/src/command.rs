//! The commands that change a store, and their answers. Each carries the time and the ids that it needs.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::transition::Command;
use baton_model::why::word;
use baton_model::{
    Bounds, DefaultsChange, Directed, Directive, Failure, Fence, Fingerprint, Generation, GenerationId,
    Label, LeaseTerms, LimitOn, LogLine, LossReason, Outlook, Output, Owner, QueueName, QueueOrder,
    RequestKey, Running, SessionId, Stands, State, Status, Takes, Task, TaskId, TaskSpec, TaskType,
    Timestamp, Warm, Watch, Worker, WorkerId, limits,
};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::lost::LostLease;

/// Creates tasks.
#[derive(Clone, Debug)]
pub struct Create {
    /// The time.
    pub now: Timestamp,
    /// The tasks, at most [`baton_model::limits::BATCH_TASKS`].
    pub tasks: Vec<TaskSpec>,
    /// Whether one refusal refuses all.
    pub atomic: bool,
    /// How to recognise the same request, if the caller named it.
    pub idempotency: Option<Idempotency>,
    /// Who creates them, if known: goes into the first event.
    pub by: Option<Label>,
}

/// A caller's name for a request that may be sent more than once. Kept for 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The name, within the callers that share names.
    pub key: String,
    /// What was asked.
    pub fingerprint: Fingerprint,
}

/// The answer to [`Create`]: one entry for each task, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateAnswer {
    /// What became of each task.
    pub items: Vec<Result<Accepted, ItemRefusal>>,
    /// Whether this is the kept answer to an earlier request of the same key.
    pub replayed: bool,
}

impl CreateAnswer {
    /// How many tasks this very request created.
    pub fn created(&self) -> u32 {
        let new = self.items.iter().filter(|item| matches!(item, Ok(accepted) if accepted.new)).count();
        u32::try_from(new).unwrap_or(u32::MAX)
    }
}

/// A task that exists, created now or by the same request before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The task.
    pub id: TaskId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it could first be claimed.
    pub run_after: Timestamp,
    /// Whether this very request created it.
    pub new: bool,
    /// The status of the task that holds the unique key which this request asked for, if it is that one's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicated: Option<Status>,
}

/// Why one task of a batch was not created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemRefusal {
    /// The chosen id is taken by a task with other content.
    IdConflict {
        /// The id.
        id: TaskId,
    },
    /// It depends on a task that it cannot depend on.
    Dependency {
        /// The place in [`TaskSpec::depends_on`], from 0.
        place: usize,
        /// The id there.
        id: TaskId,
        /// What is in the way.
        problem: DependencyProblem,
    },
}

/// Why a task cannot depend on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyProblem {
    /// There is no such task in its project; whether there is one in another, nobody is told.
    Unknown,
    /// That task depends on this one, or is this one.
    Cycle,
    /// That task is one of the same batch and was refused.
    Refused,
}

/// Asks for tasks to run.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The time.
    pub now: Timestamp,
    /// Who asks.
    pub worker: WorkerId,
    /// The worker's start, if it names its starts.
    pub session: Option<SessionId>,
    /// The bounds of who asks: it gets tasks of its project only, and may use its own names; see
    /// [`StoreError::WorkerOfOther`].
    pub caller: Owner,
    /// From which queues; at least one.
    pub queues: Vec<QueueName>,
    /// Which types; all if empty.
    pub types: Vec<TaskType>,
    /// What the worker has warm, and what it wants.
    pub warm: Warm,
    /// How many at most.
    pub max_tasks: u32,
    /// How many tasks the worker may hold at once, these included.
    pub cap: u32,
    /// The capacity that the worker states of itself, to be shown.
    pub capacity: Option<u32>,
    /// How the leases are kept alive.
    pub terms: LeaseTerms,
    /// The claim's own name, to get the same answer again. One that the completion gives it which it comes with
    /// ([`RequestKey::of_completion`]) is this claim's alone.
    pub request: Option<RequestKey>,
}

impl Claim {
    /// A claim of one task of any type from the default queue, kept by heartbeats, for a worker without bounds that may hold as
    /// many as one claim may bring.
    pub fn new(worker: WorkerId, now: Timestamp) -> Self {
        Self {
            now,
            worker,
            session: None,
            caller: Owner::Unbound,
            queues: vec![QueueName::default()],
            types: Vec::new(),
            warm: Warm::default(),
            max_tasks: 1,
            cap: limits::CLAIM_TASKS,
            capacity: None,
            terms: LeaseTerms::Heartbeats,
            request: None,
        }
    }

    /// What it takes, to be noted with its worker.
    pub fn takes(&self) -> Takes {
        Takes::of(&self.queues, &self.types, self.caller.project(), &self.warm, self.now)
    }
}

/// The answer to [`Claim`].
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimAnswer {
    /// Tasks that the worker now holds; each is running and has its lease.
    Leased(Vec<Task>),
    /// None, and why.
    Nothing(Nothing),
}

/// Why a claim found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// No task of these queues (of these types, of this project) is ready or for later. Those that wait for others do not count.
    NoneQueued,
    /// Such tasks wait, but for later.
    Scheduled {
        /// When the next one is due.
        next_at: Timestamp,
    },
    /// Such tasks wait, but none of them for what the worker has warm, and it wants no others.
    NotWarm,
    /// The worker holds as many tasks as it may.
    AtCap {
        /// How many it holds.
        active: u32,
        /// How many it may hold.
        cap: u32,
    },
    /// All of the queues are paused; or such tasks wait in those of them that are, and none in the others.
    Paused {
        /// Those that are paused.
        queues: Vec<QueueName>,
    },
    /// The worker was asked to drain or stop.
    Directed {
        /// What it was asked.
        directive: Directive,
    },
    /// The worker runs a task that is given out alone, and is given nothing else until that attempt has ended.
    RunsAlone,
    /// A task that is given out alone waits for this worker to hold nothing; until then it is given nothing.
    MakesRoom,
    /// Only tasks wait that are given out alone, and this worker holds others.
    OnlyAlone,
    /// Tasks wait, and their limits let none of them start now.
    AtLimit {
        /// The limit of the one that would be first.
        limit: LimitOn,
        /// When a start is due, if it is only the rate that has it wait.
        next_at: Option<Timestamp>,
    },
    /// This request key has had its answer, and its leases are gone since.
    RequestSpent,
}

impl Nothing {
    /// The word that it goes by: where it is a reason for which a task waits, that of [`baton_model::Reason`].
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoneQueued => "none_queued",
            Self::Scheduled { .. } => word::SCHEDULED,
            Self::NotWarm => "not_warm",
            Self::AtCap { .. } => "at_cap",
            Self::Paused { .. } => word::PAUSED,
            Self::Directed { .. } => "directed",
            Self::RunsAlone => "runs_alone",
            Self::MakesRoom => "makes_room",
            Self::OnlyAlone => word::ONLY_ALONE,
            Self::AtLimit { .. } => word::AT_LIMIT,
            Self::RequestSpent => "request_spent",
        }
    }
}

/// Completes a task.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// The worker's right to complete it.
    pub fence: Fence,
    /// The bounds of who asks; see [`Reach`](crate::Reach).
    pub caller: Bounds,
    /// The id that its generation gets.
    pub generation: GenerationId,
    /// The output.
    pub output: Output,
    /// How long the work took by the worker's word, if it says, to the millisecond. No part of what makes two completions the
    /// same.
    pub ran: Option<Duration>,
}

/// The answer to [`Complete`].
#[derive(Debug)]
pub struct CompleteAnswer {
    /// The generation that stands.
    pub generation: Generation,
    /// The task's domain, which a generation does not repeat.
    pub domain: Option<Label>,
    /// Whether the same completion had been taken before.
    pub repeated: bool,
    /// What the claim for the next task found, if one came along.
    pub next: Option<Result<ClaimAnswer, StoreError>>,
}

/// Fails an attempt.
#[derive(Clone, Debug)]
pub struct Fail {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// The worker's right to fail it.
    pub fence: Fence,
    /// The bounds of who asks; see [`Reach`](crate::Reach).
    pub caller: Bounds,
    /// What went wrong.
    pub failure: Failure,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// How long to wait before it, instead of the backoff.
    pub retry_after: Option<Duration>,
}

/// Gives a task back.
#[derive(Clone, Debug)]
pub struct Release {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// The worker's right to give it back.
    pub fence: Fence,
    /// The bounds of who asks; see [`Reach`](crate::Reach).
    pub caller: Bounds,
    /// How long it is to rest before it may be claimed.
    pub delay: Duration,
    /// Why, if it said.
    pub reason: Option<String>,
}

/// The answer to [`Fail`] and [`Release`].
#[derive(Clone, Debug, PartialEq)]
pub struct FailAnswer {
    /// The task as it is now.
    pub task: Task,
    /// Whether the same request had been taken before.
    pub repeated: bool,
}

/// A worker's heartbeat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The time.
    pub now: Timestamp,
    /// The worker.
    pub worker: WorkerId,
    /// Its start, if it names its starts.
    pub session: Option<SessionId>,
    /// The bounds of who beats; see [`StoreError::WorkerOfOther`].
    pub caller: Owner,
    /// What it runs, if it says; then what is not listed is forgotten.
    pub running: Option<Vec<Running>>,
    /// How many tasks it takes at once.
    pub capacity: Option<u32>,
    /// Readings, such as `vram_used_mb`; they replace the earlier ones.
    pub readings: BTreeMap<String, f64>,
    /// Words about it; they replace the earlier ones unless empty.
    pub labels: BTreeMap<String, String>,
    /// Whether it is the last one, as the worker ends.
    pub ending: bool,
    /// Log lines, at most [`baton_model::limits::LOG_LINES`].
    pub logs: Vec<LogLine>,
}

impl Beat {
    /// A heartbeat of a worker without bounds that says nothing but that it lives.
    pub fn new(worker: WorkerId, now: Timestamp) -> Self {
        Self {
            now,
            worker,
            session: None,
            caller: Owner::Unbound,
            running: None,
            capacity: None,
            readings: BTreeMap::new(),
            labels: BTreeMap::new(),
            ending: false,
            logs: Vec::new(),
        }
    }
}

/// The answer to [`Beat`].
#[derive(Clone, Debug, PartialEq)]
pub struct BeatAnswer {
    /// The listed attempts that are no longer the worker's to finish.
    pub lost: Vec<LostLease>,
    /// What is asked of the worker.
    pub directive: Directive,
    /// How many bytes of log lines the worker has shipped in all, this beat's included, as [`LogLine::bytes`] counts them; for
    /// a store that several processes hear one worker for, each of which knows only its part. None of one that a single
    /// process holds.
    pub shipped: Option<u64>,
}

/// Cancels a task.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// Whether all unfinished tasks that depend on it, however far, are cancelled first, whatever they say about failed
    /// dependencies.
    pub with_dependants: bool,
}

impl Cancel {
    /// What it asks of one task: of its own, or of one that is cancelled with that.
    pub fn command(&self, with: Option<TaskId>) -> Command {
        Command::Cancel { by: self.by.clone(), reason: self.reason.clone(), with }
    }
}

/// Retries a finished task.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// How long it is to rest before it may be claimed.
    pub delay: Duration,
    /// Whether the tasks that ended because it did not complete, however far, wait for it again.
    pub with_dependants: bool,
}

impl Retry {
    /// What it asks of one task, of its own or of one that is retried with that: given what its dependencies mean to it, and who
    /// else holds its unique key.
    pub fn command(&self, outlook: Outlook, holder: Option<TaskId>, with: Option<TaskId>) -> Command {
        let (by, reason) = (self.by.clone(), self.reason.clone());
        Command::Retry { by, reason, delay: self.delay, outlook, holder, with }
    }
}

/// Takes back lost leases.
#[derive(Clone, Debug)]
pub struct Reap {
    /// The time as whoever judges knows it.
    pub watch: Watch,
    /// How many tasks to take back at most.
    pub limit: u32,
    /// Only those of this worker, if named.
    pub worker: Option<WorkerId>,
    /// Only those of this queue, if named.
    pub queue: Option<QueueName>,
}

/// The answer to [`Reap`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReapReport {
    /// What was taken back.
    pub taken: Vec<Taken>,
    /// Whether the limit was reached, so that there may be more.
    pub more: bool,
}

/// One task taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub task_type: TaskType,
    /// Its domain.
    pub domain: Option<Label>,
    /// The attempt that was lost.
    pub attempt: u32,
    /// The worker that lost it.
    pub worker: WorkerId,
    /// Whether that worker had said that it ends: then its silence alarms nobody.
    pub worker_gone: bool,
    /// Why.
    pub reason: LossReason,
    /// The state it went to: queued, or failed with its attempts used up.
    pub to: State,
}

/// Fails tasks that were not started in time.
#[derive(Clone, Copy, Debug)]
pub struct Expire {
    /// The time.
    pub now: Timestamp,
    /// How many tasks to look at at most.
    pub limit: u32,
}

/// The answer to [`Expire`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many tasks failed.
    pub tasks: u64,
    /// Whether the limit was reached, so that there may be more.
    pub more: bool,
}

/// Brings times that lie ahead to the clock as it is, after it was set back.
#[derive(Clone, Debug)]
pub struct Redate {
    /// The time, and how the clock was set.
    pub watch: Watch,
    /// How many tasks to change at most.
    pub limit: u32,
}

/// The answer to [`Redate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redated {
    /// Tasks that wait no longer for the time that they had, but for an earlier one.
    pub tasks: u64,
    /// Workers whose times lay ahead.
    pub workers: u64,
    /// Whether the limit was reached, so that there may be more.
    pub more: bool,
}

/// Pauses or resumes a queue.
#[derive(Clone, Debug)]
pub struct PauseQueue {
    /// The time.
    pub now: Timestamp,
    /// The queue.
    pub queue: QueueName,
    /// Whether it is to be paused.
    pub paused: bool,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// Says in which order a queue gives out its ready tasks.
#[derive(Clone, Debug)]
pub struct OrderQueue {
    /// The time.
    pub now: Timestamp,
    /// The queue.
    pub queue: QueueName,
    /// The order.
    pub order: QueueOrder,
}

/// Changes what a queue gives to tasks that do not say.
#[derive(Clone, Debug)]
pub struct SetDefaults {
    /// The time.
    pub now: Timestamp,
    /// The queue.
    pub queue: QueueName,
    /// What is to be changed.
    pub change: DefaultsChange,
}

/// Asks something of a worker.
#[derive(Clone, Debug)]
pub struct Direct {
    /// The time.
    pub now: Timestamp,
    /// The worker.
    pub worker: WorkerId,
    /// What is asked.
    pub directive: Directive,
    /// Who asks, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// What must still stand, for one who acts on that alone: else nothing is asked, and the answer tells what stands.
    pub only_if: Option<Stands>,
}

impl Direct {
    /// Asks it of a worker's record, as far as it still holds. False if that changes nothing.
    pub fn of(&self, worker: &mut Worker) -> bool {
        let still = self.only_if.as_ref().is_none_or(|stands| *stands == worker.stands());
        still && worker.direct(self.directive, self.directed())
    }

    /// What is kept of it with the worker.
    pub fn directed(&self) -> Directed {
        Directed { since: self.now, by: self.by.clone(), reason: self.reason.clone() }
    }
}
