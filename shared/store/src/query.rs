//! What can be asked of a store, and the answers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use baton_model::queue::Pause;
use baton_model::{
    Event, Generation, Label, Level, ProjectId, QueueDefaults, QueueName, QueueOrder, Running, State, Status,
    Task, TaskId, TaskType, Timestamp, Worker, WorkerId, WorkerStatus, limits,
};

use crate::StoreError;
use crate::histogram::What;

/// Where a page ends and the next begins. Its text means something only to the store that gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({:?})", self.0)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The end of the page before; none for the first page.
    pub after: Option<Cursor>,
    /// How many entries at most: 1 to [`baton_model::limits::PAGE`].
    pub limit: u32,
    /// Whether the caller asks for one part after the other, as [`Capabilities::lists_in_parts`](crate::Capabilities) allows: a
    /// part ends once its entries' payloads come to [`PageRequest::PART_BYTES`], where a page may have 4 MiB.
    pub in_parts: bool,
}

impl PageRequest {
    /// The most entries of a part.
    pub const PART: u32 = 250;

    /// How many bytes of payload make a part full.
    pub const PART_BYTES: usize = 128 * 1024;

    /// The first page of up to `limit` entries.
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit, in_parts: false }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end of the list.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// All entries of a list, over as many pages as it takes: of one that is known to be short enough to be held.
    ///
    /// # Errors
    /// The first failure of a page.
    pub async fn all<F>(mut ask: impl FnMut(PageRequest) -> F) -> Result<Vec<T>, StoreError>
    where
        F: Future<Output = Result<Self, StoreError>>,
    {
        let (mut all, mut next) = (Vec::new(), Some(PageRequest::first(limits::PAGE)));
        while let Some(request) = next.take() {
            let page = ask(request).await?;
            all.extend(page.items);
            next =
                page.next.map(|after| PageRequest { after: Some(after), ..PageRequest::first(limits::PAGE) });
        }
        Ok(all)
    }
}

/// Which tasks are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// One of these statuses, as of [`TaskFilter::now`]; any if empty.
    pub statuses: Vec<Status>,
    /// Of this type.
    pub task_type: Option<TaskType>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this domain.
    pub domain: Option<Label>,
    /// Assigned by this one.
    pub assigned_by: Option<Label>,
    /// Held, or last held, by this worker.
    pub worker: Option<WorkerId>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// The time that statuses are derived at.
    pub now: Timestamp,
}

/// Which generations are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct GenerationFilter {
    /// Of this task.
    pub task: Option<TaskId>,
    /// Of this task type.
    pub task_type: Option<TaskType>,
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Completed by this worker.
    pub worker: Option<WorkerId>,
    /// Finished at this time or later.
    pub finished_from: Option<Timestamp>,
    /// Finished before this time.
    pub finished_before: Option<Timestamp>,
}

/// Which log lines are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// About this task.
    pub task: Option<TaskId>,
    /// From this worker.
    pub worker: Option<WorkerId>,
    /// At least this grave.
    pub level: Option<Level>,
    /// Received at this time or later.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub before: Option<Timestamp>,
}

/// A task with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDetail {
    /// The task.
    pub task: Task,
    /// The latest events of its history, up to [`TaskDetail::EVENTS`] and about [`TaskDetail::EVENT_BYTES`], in their order.
    /// How many there are of all is [`baton_model::Head::events`]; [`crate::TaskStore::history`] gives them by pages.
    pub history: Vec<Event>,
    /// Its output record; there if and only if the task is completed.
    pub generation: Option<Generation>,
    /// What its worker last said of it, while it runs.
    pub progress: Option<Running>,
}

impl TaskDetail {
    /// How many events are shown with a task: a task that is tried again and again has up to 65,535.
    pub const EVENTS: u32 = 100;
    /// How many bytes of events are shown with a task, or on a page of its history, unless a single event is larger. A
    /// failure may be of 16 KB, and an answer of a function is of 6 MB at most.
    pub const EVENT_BYTES: usize = 1 << 20;
}

/// Where a page of a history begins: behind the event of this number.
///
/// # Errors
/// [`StoreError::BadCursor`].
pub fn events_after(page: &PageRequest) -> Result<u32, StoreError> {
    match &page.after {
        None => Ok(0),
        Some(Cursor(text)) => text.parse().map_err(|_| StoreError::BadCursor),
    }
}

/// A page of a history that has `all` events.
pub fn page_of_events(items: Vec<Event>, all: u32) -> Page<Event> {
    let next = items.last().filter(|last| last.seq < all).map(|last| Cursor(last.seq.to_string()));
    Page { items, next }
}

/// A worker with the leases that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerDetail {
    /// The worker.
    pub worker: Worker,
    /// How many leases name it.
    pub active: u32,
    /// The first [`WorkerDetail::LEASES`] of these tasks with their attempts, the oldest claim first.
    pub leases: Vec<(TaskId, u32)>,
}

impl WorkerDetail {
    /// How many leases are listed with a worker.
    pub const LEASES: usize = 100;
}

/// Statistics of the whole store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// When it was asked for; what is not counted (ages, workers, tasks for later) is as of then.
    pub at: Timestamp,
    /// As of when counts and percentiles are, as [`QueueStats::counted_at`] says.
    pub counted_at: Option<Timestamp>,
    /// All tasks by state, whatever the bounds of the lists below. A state that no task is in may be left out.
    pub states: BTreeMap<State, u64>,
    /// Tasks by queue, type and state, by these: of the queues that are listed, the rows with the most tasks.
    pub counts: Vec<Count>,
    /// How many further rows of counts there are, those of queues that are not listed included, and of how many tasks.
    pub other_counts: (u64, u64),
    /// The queues with the most tasks that wait or run, by name.
    pub queues: Vec<QueueStats>,
    /// How many further queues there are.
    pub other_queues: u64,
    /// Their tasks by state.
    pub other_states: BTreeMap<State, u64>,
    /// The workers.
    pub workers: WorkerCounts,
    /// What was done in each of the last 24 hours in the queues that are listed, the earliest first. Hours in which nothing was are
    /// left out.
    pub hours: Vec<HourCounts>,
}

/// What was done in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourCounts {
    /// When it began.
    pub from: Timestamp,
    /// How many tasks were claimed.
    pub claims: u64,
    /// How many were completed.
    pub completions: u64,
    /// How many attempts failed: their workers failed them, or they were lost.
    pub failures: u64,
}

/// Claims, completions and failures by the hour of their time, as they are gathered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours(BTreeMap<i64, [u64; What::ALL.len()]>);

impl Hours {
    const MILLIS: i64 = 3_600_000;

    /// The hour of a time.
    pub fn of(at: Timestamp) -> i64 {
        at.as_millis().div_euclid(Self::MILLIS)
    }

    /// Adds what was done in an hour: a claim tells how long its task has waited, a completion and a failure how long it has run.
    pub fn add(&mut self, hour: i64, what: What, tasks: u64) {
        let [claims, completions, failures] = self.0.entry(hour).or_default();
        *match what {
            What::Wait => claims,
            What::Run => completions,
            What::Failed => failures,
        } += tasks;
    }

    /// Adds those of another queue.
    pub fn and(&mut self, other: &Self) {
        for (hour, counts) in &other.0 {
            for (what, tasks) in What::ALL.into_iter().zip(counts) {
                self.add(*hour, what, *tasks);
            }
        }
    }

    /// The last 24 hours, the one that `now` is in included.
    pub fn last_day(&self, now: Timestamp) -> Vec<HourCounts> {
        let first = Self::of(now) - 23;
        let counts = |(hour, &[claims, completions, failures]): (&i64, &[u64; What::ALL.len()])| HourCounts {
            from: Timestamp::from_millis(hour * Self::MILLIS),
            claims,
            completions,
            failures,
        };
        let hours = self.0.range(first..=Self::of(now));
        hours.filter(|(_, done)| done.iter().any(|tasks| *tasks > 0)).map(counts).collect()
    }
}

impl Stats {
    /// How many queues statistics list at most: each costs some reads. All of them are listed by pages.
    pub const QUEUES: usize = 100;
    /// How many rows of counts statistics hold at most.
    pub const ROWS: usize = 1_000;
    /// How many types of a queue are counted by name at least; a store may count those beyond together.
    pub const TYPES: usize = 500;

    /// The queues to list, by name, of all with their tasks by state.
    pub fn foremost(queues: StatesOfQueues) -> StatesOfQueues {
        let mut queues: Vec<_> = queues.into_iter().collect();
        let open = |states: &BTreeMap<State, u64>| {
            [State::Queued, State::Running].iter().filter_map(|state| states.get(state)).sum::<u64>()
        };
        queues.sort_by(|(one, mine), (other, its)| open(its).cmp(&open(mine)).then_with(|| one.cmp(other)));
        queues.truncate(Self::QUEUES);
        queues.into_iter().collect()
    }

    /// Statistics whose lists are within their bounds, and whose rests say what the lists do not. How many queues and rows
    /// there are and `states` are of all; `listed` and `counts` are of the queues that are listed.
    pub fn bounded(
        at: Timestamp,
        (all_queues, all_rows): (u64, u64),
        (states, listed): (BTreeMap<State, u64>, BTreeMap<State, u64>),
        mut counts: Vec<Count>,
        queues: Vec<QueueStats>,
        workers: WorkerCounts,
    ) -> Self {
        let left = |(state, tasks): (&State, &u64)| {
            (*state, tasks.saturating_sub(listed.get(state).copied().unwrap_or_default()))
        };
        let other_states = states.iter().map(left).filter(|(_, tasks)| *tasks > 0).collect();
        counts.retain(|count| count.tasks > 0);
        counts.sort_by(|one, other| other.tasks.cmp(&one.tasks).then_with(|| one.kind().cmp(&other.kind())));
        counts.truncate(Self::ROWS);
        counts.sort_by(|one, other| one.kind().cmp(&other.kind()));
        let shown: u64 = counts.iter().map(|count| count.tasks).sum();
        let tasks: u64 = states.values().sum();
        let other_counts = (all_rows.saturating_sub(counts.len() as u64), tasks.saturating_sub(shown));
        let other_queues = all_queues.saturating_sub(queues.len() as u64);
        Self {
            at,
            counted_at: Some(at),
            states,
            counts,
            other_counts,
            queues,
            other_queues,
            other_states,
            workers,
            hours: Vec::new(),
        }
    }
}

/// The tasks of queues by state.
pub type StatesOfQueues = BTreeMap<QueueName, BTreeMap<State, u64>>;

/// The tasks by state of these queues together.
pub fn sum_of_states(queues: &StatesOfQueues) -> BTreeMap<State, u64> {
    let mut sum = BTreeMap::new();
    for (state, tasks) in queues.values().flatten() {
        *sum.entry(*state).or_default() += tasks;
    }
    sum
}

/// How many tasks of one kind are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The queue.
    pub queue: QueueName,
    /// The type; none if they are of all the types that the store does not count by name, as the queue has more than
    /// [`Stats::TYPES`].
    pub task_type: Option<TaskType>,
    /// The state.
    pub state: State,
    /// How many.
    pub tasks: u64,
}

impl Count {
    fn kind(&self) -> (&QueueName, bool, &Option<TaskType>, State) {
        // What is of no type comes last.
        (&self.queue, self.task_type.is_none(), &self.task_type, self.state)
    }
}

/// How many tasks there are, or at least are: a count that has a bound says so when it has reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// How many.
    pub tasks: u64,
    /// Whether there may be more.
    pub at_least: bool,
}

impl Tasks {
    /// So many.
    pub fn exactly(tasks: u64) -> Self {
        Self { tasks, at_least: false }
    }

    /// What was counted by a count that ends at `bound`.
    pub fn counted(tasks: u64, bound: u64) -> Self {
        Self { tasks: tasks.min(bound), at_least: tasks >= bound }
    }
}

/// A queue at a point in time.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStats {
    /// The queue's name.
    pub queue: QueueName,
    /// Why claims pass it by; none if they do not.
    pub pause: Option<Pause>,
    /// In which order it gives out its ready tasks.
    pub order: QueueOrder,
    /// What it gives to tasks that do not say.
    pub defaults: QueueDefaults,
    /// Whether a task has ever named it. One that no task has named is known only as long as it is paused, or has an order of its own or defaults.
    pub used: bool,
    /// Tasks in the state queued: ready now or later.
    pub queued: u64,
    /// Of these, how many are of which status.
    pub waits: Waits,
    /// Tasks that a worker holds.
    pub running: u64,
    /// How long the task that is first due has been ready; none if none is.
    pub oldest_ready: Option<Duration>,
    /// How long the longest-held attempt has been running; none if none is.
    pub oldest_running: Option<Duration>,
    /// From ready to claimed, of the claims of the last 24 hours.
    pub wait: Percentiles,
    /// From claimed to completed, of the completions of the last 24 hours.
    pub run: Percentiles,
    /// As of when `queued`, `running` and the percentiles are: a store that counts apart from its commits trails behind
    /// them. None if such a store has counted nothing yet.
    pub counted_at: Option<Timestamp>,
}

impl QueueStats {
    /// A queue that is not known: no task has named it, and it is not paused.
    pub fn unknown(queue: QueueName, counted_at: Option<Timestamp>) -> Self {
        Self {
            queue,
            pause: None,
            order: QueueOrder::default(),
            defaults: QueueDefaults::default(),
            used: false,
            queued: 0,
            waits: Waits::default(),
            running: 0,
            oldest_ready: None,
            oldest_running: None,
            wait: Percentiles::default(),
            run: Percentiles::default(),
            counted_at,
        }
    }
}

/// The tasks in the state queued by their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Ready now: [`Status::Queued`].
    pub ready: Tasks,
    /// For later, and never claimed: [`Status::Created`].
    pub created: Tasks,
    /// For later, and claimed before: [`Status::Retry`].
    pub retry: Tasks,
}

impl Waits {
    /// Up to how many tasks are counted of each, so that the count's cost has a bound.
    pub const COUNTED: u64 = 10_000;

    /// Of `queued` tasks, of which all that are for later were counted.
    pub fn of_all(queued: u64, created: u64, retry: u64) -> Self {
        let ready = queued.saturating_sub(created).saturating_sub(retry);
        Self { ready: Tasks::exactly(ready), created: Tasks::exactly(created), retry: Tasks::exactly(retry) }
    }

    /// Of `queued` tasks, of which more are for later than are counted; those that are ready were counted, too. Of three
    /// numbers and their sum, any three tell the fourth.
    pub fn of_many(queued: u64, created: u64, retry: Tasks, ready: Tasks) -> Self {
        let known = !ready.at_least && !retry.at_least;
        let rest = queued.saturating_sub(ready.tasks).saturating_sub(retry.tasks);
        let created = Tasks { tasks: if known { rest } else { created }, at_least: !known };
        Self { ready, created, retry }
    }

    /// How many are for later.
    pub fn later(&self) -> Tasks {
        let Self { created, retry, .. } = self;
        Tasks {
            tasks: created.tasks.saturating_add(retry.tasks),
            at_least: created.at_least || retry.at_least,
        }
    }
}

/// Percentiles of durations, read from a histogram whose buckets are within 5% of what fell into them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many durations were counted.
    pub count: u64,
    /// Half were no longer than this.
    pub p50: Duration,
    /// 95 of 100 were no longer than this.
    pub p95: Duration,
    /// 99 of 100 were no longer than this.
    pub p99: Duration,
}

/// Workers by their status ([`baton_model::WorkerStatus`]). Each worker that is known is alive, silent, lost or gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Alive by their heartbeats: active, draining or stopping.
    pub alive: u64,
    /// Of these, those that hold a task.
    pub busy: u64,
    /// They have claimed, but not beaten since they started.
    pub silent: u64,
    /// Not heard of for longer than the heartbeat timeout.
    pub lost: u64,
    /// They have said that they end.
    pub gone: u64,
}

impl WorkerCounts {
    /// Counts a worker of this status.
    pub fn add(&mut self, status: WorkerStatus, busy: bool) {
        match status {
            WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping => {
                self.alive += 1;
                self.busy += u64::from(busy);
            }
            WorkerStatus::Silent => self.silent += 1,
            WorkerStatus::Lost => self.lost += 1,
            WorkerStatus::Gone => self.gone += 1,
        }
    }
}
