//! What every task store can do, said as commands and queries over tasks and not as rows.
//!
//! The store is the one truth: a queue message, a notification or a worker's belief is a hint, and losing or repeating
//! one can delay a task but never lose, duplicate or strand it. Every rule of [`TaskStore`] is a test of the
//! `conformance` module (feature `conformance`), which each store runs whole.

pub mod archive;
pub mod batch;
mod batches;
pub mod bulk;
mod change;
pub mod command;
pub mod commits;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod document;
pub mod doorbell;
pub mod ending;
pub mod error;
#[cfg(feature = "faults")]
pub mod faulty;
pub mod graph;
pub mod health;
pub mod histogram;
mod idempotency;
pub mod limit;
pub mod lost;
pub mod name;
pub mod purge;
pub mod query;
#[cfg(feature = "faults")]
pub mod ran;
pub mod schedule;
pub mod supply;
pub mod timeline;
pub mod token;
pub mod transfer;
pub mod unique;
mod waiting;

use async_trait::async_trait;
use baton_model::{
    Event, Generation, GenerationId, LogLine, QueueDefaults, QueueName, QueueOrder, RoundNote, Task, TaskId,
    WorkerId,
};

pub use archive::{
    Archive, ArchiveError, ArchiveStore, Archived, Archiver, ArchivingError, Past, REMOVED_AT_ONCE,
};
pub use batches::{
    AddToBatch, BatchDetail, BatchFailure, BatchFilter, BatchStore, SealBatch, TendBatches, TendedBatches,
    follow_up,
};
pub use bulk::BulkStore;
pub use change::{ChangeTask, Remove};
pub use command::{
    Accepted, Beat, BeatAnswer, Cancel, Claim, ClaimAnswer, Complete, CompleteAnswer, Create, CreateAnswer,
    DependencyProblem, Direct, Expire, Expired, Fail, FailAnswer, Idempotency, ItemRefusal, Nothing,
    OrderQueue, PauseQueue, Reap, ReapReport, Redate, Redated, Release, Retry, SetDefaults, Taken,
};
pub use commits::Commits;
pub use config::{ConfigStore, Keeping, SetSetting, SettingsChanged};
pub use document::{Document, DocumentChange, DocumentChanges, DocumentStore, Hold};
pub use doorbell::{Doorbell, NoDoorbell, Ready};
pub use ending::{Completion, EndAnswer, EndedAs, Ending, Reach};
pub use error::{ErrorKind, StoreError};
pub use graph::{Graph, Input, Linked, Mend, Mended, Omitted};
pub use health::{Health, Sizes};
pub use idempotency::{KeepKey, KeptKey, KeyStore};
pub use limit::{Changed, LimitStatus, LimitStore, OwnedProject, SetLimit, SetOwner};
pub use lost::{LeaseProblem, LostLease};
pub use name::NameNotice;
pub use purge::{Overdue, Purge, PurgeReport};
pub use query::{
    Count, Cursor, GenerationFilter, HourCounts, Hours, LogFilter, Page, PageRequest, Percentiles,
    QueueStats, StatesOfQueues, Stats, TaskDetail, TaskFilter, Tasks, Waits, WorkerCounts, WorkerDetail,
    events_after, page_of_events, sum_of_states,
};
pub use schedule::{Occur, Occurred, RunReport, ScheduleFilter, ScheduleStore, SetSchedule, run_due};
pub use supply::{
    Refill, Refilled, SetSupply, SupplyReport, SupplyStore, refill_all, refill_queue, refill_some,
};
pub use timeline::{FeedPage, Fetched, Merge, TimelineStore, without_feed};
pub use token::{AuditEntry, AuditFilter, AuditStore, SettingChange, Settled, StoredToken, TokenStore};
pub use transfer::Transfer;
pub use waiting::Waiting;

/// What a store can and cannot promise beyond the rules that hold for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A worker's cap on active tasks holds exactly, also under claims that overlap.
    pub exact_worker_cap: bool,
    /// Lists and statistics show every write that was answered before they were asked.
    pub fresh_lists: bool,
    /// Claims follow priority, run_after and id over the whole queue, and not only within a part of it.
    pub total_claim_order: bool,
    /// Lists of tasks by status go by creation, as all lists of tasks do; else they go by when the tasks came to that
    /// status: were due, claimed, or ended.
    pub lists_by_creation: bool,
    /// How many tokens it holds at most, those that have ended and are still kept included.
    pub tokens: usize,
    /// A purge ends with its [`Purge::slice`], and says how far behind it is ([`PurgeReport::overdue`]); else it goes on to its
    /// limit.
    pub sliced_purges: bool,
    /// What has an end goes by itself: finished tasks, log lines, idempotency keys, names of claims and audit entries. Their
    /// keeping is the store's own, set when it is opened, and not a purge's; they may be seen for a while after it. A purge
    /// does not report them, and says how far behind their going is ([`PurgeReport::overdue`]).
    pub removes_by_itself: bool,
    /// Statistics follow each removal as they follow each change; else what goes by itself is counted until its day is over.
    pub counts_removals: bool,
    /// A list may be read in parts ([`PageRequest::in_parts`]) at about the cost of reading it at once.
    pub lists_in_parts: bool,
    /// Whoever ends a task lets go of those that wait for it in the same commit; else they follow it, and [`TaskStore::mend`]
    /// makes sure.
    pub releases_at_once: bool,
    /// All that happens to tasks has one order, in which it can be told ([`TimelineStore::feed`]), and so has all else that
    /// the time line tells. One process works with the store at a time.
    pub feed: bool,
    /// All that happens to tasks is told by a stream of the store's own, which a function follows (`docs/lambda.md`).
    pub streams: bool,
}

/// How long it takes at most until all processes that use a store go by a queue's defaults as they are set.
pub const DEFAULTS_SETTLE: std::time::Duration = std::time::Duration::from_secs(10);

/// All that a whole Baton needs of its store.
pub trait Store:
    TaskStore
    + TokenStore
    + AuditStore
    + LimitStore
    + ScheduleStore
    + SupplyStore
    + BulkStore
    + BatchStore
    + TimelineStore
    + DocumentStore
    + ConfigStore
    + KeyStore
{
}

impl<S> Store for S where
    S: TaskStore
        + TokenStore
        + AuditStore
        + LimitStore
        + ScheduleStore
        + SupplyStore
        + BulkStore
        + BatchStore
        + TimelineStore
        + DocumentStore
        + ConfigStore
        + KeyStore
{
}

/// A store of tasks.
///
/// Every command is one atomic commit: when its answer comes, what it says has been stored durably; when an error
/// comes, nothing was changed, unless the error is [`ErrorKind::Unknown`]. Commands carry the time and every id that
/// they need, so that a store draws on no clock and no randomness.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// What this store promises beyond the common rules.
    fn capabilities(&self) -> Capabilities;

    /// Creates tasks, each with its first event.
    ///
    /// What a task leaves out, its queue gives ([`TaskStore::set_defaults`]).
    ///
    /// A task with dependencies is created blocked, and let go of by the same commit (or soon after it, see
    /// [`Capabilities::releases_at_once`]) if they are all met. It may depend on tasks of its own project that exist, and on
    /// others of the same batch, in any order; anything else is refused.
    ///
    /// A task whose chosen id exists with the same content counts as created before; with other content it is refused.
    /// A task with a unique key that another task holds ([`baton_model::unique`]) is not created and answered with that one,
    /// whatever else it asks for; of several in a batch the first one is created. What was to wait for it in the batch waits
    /// for that one.
    ///
    /// With [`Create::atomic`], one refusal refuses all. With an idempotency key, the answer is kept with it, and the
    /// same key with the same digest gives that answer again and creates nothing.
    ///
    /// # Errors
    /// [`StoreError::BatchRefused`] for an atomic batch, [`StoreError::IdempotencyConflict`] for a key that was used
    /// with another digest, and the store's own failures.
    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError>;

    /// Gives a worker up to [`Claim::max_tasks`] ready tasks: by the orders of their queues, which usually are priority, run_after, id;
    /// and by what the worker has warm, if it says so ([`baton_model::order::Place`]).
    ///
    /// A claim for a project gets its tasks only, also under a request key, and is told of no others when it finds none.
    ///
    /// The leases that name the worker never come to more than its cap. The same request key of the same worker gives
    /// the leases that it gave before, as far as they still hold, and never others, for at least 15 minutes.
    ///
    /// A task that was lost with its worker twice in a row is given out alone: only to a worker that holds nothing, which is
    /// given nothing else until that attempt has ended. Its turn is that of its place in the order; a worker that holds
    /// others makes room for one whose turn has been for [`baton_model::alone::PATIENCE`], at most one worker for one
    /// task.
    ///
    /// A task that has expired ([`baton_model::Head::expired`]) is given to nobody. A claim that finds some fails them, a bounded
    /// number; if more are in its way, it is told that it may ask again at once.
    ///
    /// A worker's name belongs to callers of the bounds that its first claim or heartbeat had ([`Claim::caller`]), until its
    /// record is removed; a bound caller of other bounds is refused, one without bounds never is.
    ///
    /// # Errors
    /// [`StoreError::SessionSuperseded`] if the session is not the worker's latest, [`StoreError::WorkerOfOther`].
    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError>;

    /// Completes a task and writes its generation, in one commit. The same completion sent again gives the first
    /// answer. With `next`, and if the completion was taken, claims for the worker as [`TaskStore::claim`] does; its
    /// outcome stands by itself in the answer and never undoes the completion.
    ///
    /// A task beyond the caller's bounds is as if it did not exist, and an attempt under a name that belongs to callers of other
    /// bounds is not theirs to end ([`Reach`]); so it is with all that end attempts.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason, [`StoreError::TaskNotFound`], [`StoreError::WorkerOfOther`].
    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError>;

    /// Ends an attempt that failed: back to the queue after the backoff, or failed for good.
    ///
    /// # Errors
    /// As [`TaskStore::complete`].
    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError>;

    /// Gives a task back unharmed; the attempt does not count.
    ///
    /// # Errors
    /// As [`TaskStore::complete`].
    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError>;

    /// Ends several attempts, as [`TaskStore::complete`], [`TaskStore::fail`] and [`TaskStore::release`] would one after the
    /// other: each is its own commit and has its own outcome, which undoes and hides no other. Of two about one task the
    /// second finds what the first has left. So the whole may be sent again. `next` claims for a worker after them, whatever
    /// became of them, as [`TaskStore::claim`] does; its outcome stands by itself, too.
    ///
    /// # Errors
    /// The store's own failures, if nothing of it was done or it is not known what ([`ErrorKind::Unknown`]); refusals are
    /// among the outcomes.
    async fn end(&self, endings: Vec<Ending>, next: Option<Claim>) -> Result<EndAnswer, StoreError>;

    /// Records a worker's heartbeat, its readings and log lines, and tells it which of its leases are gone and what is
    /// asked of it. Changes no task. One that says that the worker ends has it shown as gone, and not as lost, until it is
    /// heard of again; its leases end as those of any other.
    ///
    /// # Errors
    /// [`StoreError::SessionSuperseded`] if the session is not the worker's latest, [`StoreError::WorkerOfOther`].
    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError>;

    /// Calls a task off; a worker that runs it loses its lease. A cancelled task stays as it is and answers as then. With
    /// [`Cancel::with_dependants`], its unfinished dependants are cancelled before it, those that are furthest from it first.
    ///
    /// However a task ends, those that wait for it hear of it: see [`TaskStore::mend`].
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the task is completed or failed, [`StoreError::TaskNotFound`].
    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError>;

    /// Puts a failed or cancelled task back into its queue, with a fresh set of attempts; if it waits for other tasks, it is
    /// blocked again. With [`Retry::with_dependants`], the tasks that ended because it did not complete are put back, too,
    /// unless another dependency of theirs has not completed either, or their unique key is another's; also when the task itself was retried before.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the task is in another state, or another task has come to hold its unique key;
    /// [`StoreError::TaskNotFound`].
    async fn retry(&self, retry: Retry) -> Result<Task, StoreError>;

    /// Changes how a task that waits (it is ready, for later, or blocked) is to be run, in one commit with an event that says what it
    /// was and what it is. From then on it has the place that its new priority and time give it, as if it had come by them. Asked for
    /// what is so already, nothing changes, and the answer is the task.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the task runs, has ended or expired, or the change does not fit it;
    /// [`StoreError::TaskNotFound`].
    async fn change(&self, change: ChangeTask) -> Result<Task, StoreError>;

    /// Removes a task that has ended with all that belongs to it, as a purge would later. What an unfinished task depends on is kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it has not ended, or unfinished ones depend on it; [`StoreError::TaskNotFound`], also if it was
    /// removed before.
    async fn remove(&self, remove: Remove) -> Result<(), StoreError>;

    /// Takes back tasks whose lease is lost by [`baton_model::Lease::lost`], and no others. Where that is asked of all workers and queues, a store
    /// with [`Capabilities::feed`] notes for the time line, once each time, which workers have fallen silent that held nothing.
    ///
    /// # Errors
    /// The store's own failures; what was taken before them stays taken.
    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError>;

    /// Fails tasks that have expired, whether they are ready, for later or blocked; a bounded number.
    ///
    /// # Errors
    /// The store's own failures; what was done before them stays done.
    async fn expire(&self, expire: Expire) -> Result<Expired, StoreError>;

    /// Looks at some blocked tasks and does what the end of their dependencies asks for, where that has not been done.
    ///
    /// A task is blocked if and only if one of its dependencies has not been met ([`baton_model::dependency`]). When the last
    /// one is met it comes into its queue, and its turn counts from then; when one fails or is cancelled, it is cancelled or
    /// fails with it, unless it is to run all the same, and so do those that depend on it, each naming the first failure. A
    /// store that [releases at once](Capabilities::releases_at_once) does so in the commit that ends the dependency; for the
    /// others, and for tasks that were moved from one, this makes sure.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], and the store's own failures; what was done before them stays done.
    async fn mend(&self, mend: Mend) -> Result<Mended, StoreError>;

    /// The tasks of these ids that exist, with what depends on them, in the order of the ids.
    ///
    /// # Errors
    /// The store's own failures.
    async fn linked(&self, ids: Vec<TaskId>) -> Result<Vec<Linked>, StoreError>;

    /// The tasks of these ids that exist, with what they have put out, as it comes along with a task that depends on them.
    ///
    /// # Errors
    /// The store's own failures.
    async fn inputs(&self, ids: Vec<TaskId>) -> Result<Vec<Input>, StoreError>;

    /// The note of the last round of the reaper, as [`TaskStore::note_round`] wrote it.
    ///
    /// # Errors
    /// The store's own failures.
    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError>;

    /// Keeps the note of a round of the reaper, for whoever makes the next one.
    ///
    /// # Errors
    /// The store's own failures.
    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError>;

    /// After the clock was set back: has tasks that wait for a time that was reckoned by the clock as it was, and that still
    /// lies ahead, wait as if it had been reckoned by the clock as it is; and so dates workers. Changes a bounded number of
    /// tasks. No history tells of it, as nothing has happened to them.
    ///
    /// A task that was made to wait, for a time or for a while, and was not tried yet, is left: its time may have been named
    /// by a clock that was right.
    ///
    /// # Errors
    /// The store's own failures; what was changed before them stays changed.
    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError>;

    /// Removes what is past its keeping: finished tasks with all that belongs to them, idempotency keys, log lines,
    /// workers long gone. Each call removes a bounded number. Where what has an end goes by itself, it does what is left
    /// ([`Capabilities::removes_by_itself`]).
    ///
    /// # Errors
    /// The store's own failures; what was removed before them stays removed.
    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError>;

    /// Pauses or resumes a queue; a paused queue gives out no task. Pausing an unknown queue makes it known; once it is
    /// resumed, a queue that no task has ever named is unknown again.
    ///
    /// # Errors
    /// The store's own failures.
    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError>;

    /// Says in which order a queue gives out its ready tasks; the next claim goes by it. A queue that no task has named is known as
    /// long as its order is not the usual one. Answers with the order before and since.
    ///
    /// # Errors
    /// The store's own failures.
    async fn order_queue(&self, order: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError>;

    /// Changes what a queue gives to tasks that do not say ([`baton_model::defaults`]). Tasks that are created after the answer have
    /// it, by whoever creates them; another process that uses the store may take [`DEFAULTS_SETTLE`] to hear of it. A queue that
    /// no task has named is known as long as it has defaults. Answers with the defaults before and since.
    ///
    /// # Errors
    /// The store's own failures.
    async fn set_defaults(&self, set: SetDefaults) -> Result<(QueueDefaults, QueueDefaults), StoreError>;

    /// Sets what is asked of a worker: drain, stop, or run on. What is bound to a condition ([`Direct::only_if`]) is decided with the
    /// write; the answer tells what stands then.
    ///
    /// # Errors
    /// [`StoreError::WorkerNotFound`].
    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError>;

    /// A task with the latest of its history and, if it is completed, its generation.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`].
    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError>;

    /// A task's history by pages, the first event first. A page may be shorter than asked while it names a next one: it has
    /// about [`TaskDetail::EVENT_BYTES`] at most.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`], [`StoreError::BadCursor`].
    async fn history(&self, id: TaskId, page: PageRequest) -> Result<Page<Event>, StoreError>;

    /// Tasks by filter, the newest first (see [`Capabilities::lists_by_creation`]). A page may be shorter than asked, even empty, while it names a next one.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn tasks(&self, filter: TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError>;

    /// The ids that begin with `prefix` (hexadecimal digits, hyphens where a UUID has them), at most `limit`.
    ///
    /// # Errors
    /// The store's own failures.
    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError>;

    /// One generation.
    ///
    /// # Errors
    /// [`StoreError::GenerationNotFound`].
    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError>;

    /// Generations by filter, the newest first. A page may be shorter than asked while it names a next one.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn generations(
        &self,
        filter: GenerationFilter,
        page: PageRequest,
    ) -> Result<Page<Generation>, StoreError>;

    /// One worker with the leases that name it.
    ///
    /// # Errors
    /// [`StoreError::WorkerNotFound`].
    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError>;

    /// Workers by name.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn workers(&self, page: PageRequest) -> Result<Page<WorkerDetail>, StoreError>;

    /// One queue as of `now`.
    ///
    /// # Errors
    /// [`StoreError::QueueNotFound`] if no task ever named it and it is not paused.
    async fn queue(&self, name: &QueueName, now: baton_model::Timestamp) -> Result<QueueStats, StoreError>;

    /// Queues by name, as of `now`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn queues(
        &self,
        now: baton_model::Timestamp,
        page: PageRequest,
    ) -> Result<Page<QueueStats>, StoreError>;

    /// Counts, ages and percentiles as of `now`, in time that does not depend on the number of tasks.
    ///
    /// # Errors
    /// The store's own failures.
    async fn stats(&self, now: baton_model::Timestamp) -> Result<Stats, StoreError>;

    /// How long the task has waited that has been ready longest, over all queues, paused ones included; at a bounded
    /// cost, so that it may be asked every minute.
    ///
    /// # Errors
    /// The store's own failures.
    async fn waiting(&self, now: baton_model::Timestamp) -> Result<Waiting, StoreError>;

    /// Why a task waits: every reason that holds now, in the order in which they must be lifted. A claim may be given the task if
    /// and only if none of them [keeps](baton_model::Reason::keeps) it. At a cost that does not depend on the number of tasks.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`].
    async fn why(&self, id: TaskId, now: baton_model::Timestamp) -> Result<baton_model::Why, StoreError>;

    /// Log lines that workers shipped, the newest first. A page may be shorter than asked while it names a next one.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn logs(&self, filter: LogFilter, page: PageRequest) -> Result<Page<LogLine>, StoreError>;

    /// Says whether the store can be read and written now, by doing both. A store that is out of room cannot be written, also
    /// if some small change would still fit; one that has met damage is damaged until it is opened again.
    async fn health(&self) -> Health;

    /// How large the store is; none if it cannot tell.
    ///
    /// # Errors
    /// The store's own failures.
    async fn sizes(&self) -> Result<Option<Sizes>, StoreError>;

    /// What was counted of the commits of this opening of it; none if it does not count them.
    fn commits(&self) -> Option<&Commits> {
        None
    }
}
