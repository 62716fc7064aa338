//! The task store on DynamoDB: one table, one sparse index whose key is the state, no scans, and a cost that is
//! designed. `docs/dynamodb.md` has the table of access patterns with their requests and units.
//!
//! - A task lies in the table by the day of its id, so that the table itself is the list of tasks; see [`Options`] and
//!   [`table::TableOptions`] for how far hot spots are spread.
//! - The index holds what someone is to find: a queued task where claims look for it, a running one with its worker.
//!   A completed task is in no index: its generation names it.
//! - A change of a task is one conditional write. Only a completion is a transaction (task and generation), and a
//!   creation that must stand or fall as one.
//! - The index may trail behind the table, and every answer may be lost: only conditions decide.

mod again;
mod alone;
mod archive;
mod aside;
mod attr;
mod audit;
mod batch;
mod batches;
mod bulk;
mod by_hand;
mod by_status;
mod carried;
mod change;
mod claim;
pub mod client;
mod codes;
mod config;
mod create;
mod crowd;
mod dating;
mod db;
mod defaults;
mod dependency;
mod descent;
mod document;
mod ending;
mod ends;
#[cfg(feature = "environment")]
pub mod environment;
mod error;
mod expiry;
mod expression;
#[cfg(feature = "faults")]
pub mod faults;
mod finish;
mod generation;
mod going;
mod heartbeat;
mod history;
mod hold;
mod idempotency;
mod kept;
mod keys;
mod lane;
mod limit;
mod list;
mod listed;
mod look;
mod merged;
mod meter;
mod newest;
mod notes;
mod order;
mod planned;
mod purge;
mod query;
mod queue;
mod random;
mod reap;
mod request;
mod round;
mod row;
mod schedule;
mod sightings;
mod stats;
mod store;
mod stream;
mod supply;
pub mod table;
#[cfg(test)]
mod testing;
mod text;
mod tidy;
mod timeline;
mod token;
mod transact;
mod transfer;
mod transition;
mod unique;
mod waited;
mod waiting;
mod why;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use baton_model::{
    AuditId, Event, Generation, GenerationId, Limit, LogLine, QueueDefaults, QueueName, QueueOrder,
    RoundNote, Schedule, ScheduleKey, Supply, Task, TaskId, Timestamp, Token, TokenId, Why, WorkerId,
};
use baton_store::{
    AuditEntry, AuditFilter, AuditStore, Beat, BeatAnswer, Cancel, Capabilities, ChangeTask, Changed, Claim,
    ClaimAnswer, Commits, Complete, CompleteAnswer, Create, CreateAnswer, Cursor, Direct, Doorbell,
    EndAnswer, Ending, Expire, Expired, Fail, FailAnswer, GenerationFilter, Health, Input, LimitStatus,
    LimitStore, Linked, LogFilter, Mend, Mended, Occur, Occurred, OrderQueue, OwnedProject, Page,
    PageRequest, PauseQueue, Purge, PurgeReport, QueueStats, Reap, ReapReport, Redate, Redated, Refill,
    Refilled, Release, Remove, Retry, ScheduleFilter, ScheduleStore, SetDefaults, SetLimit, SetOwner,
    SetSchedule, SetSupply, Settled, Sizes, Stats, StoreError, StoredToken, SupplyStore, TaskDetail,
    TaskFilter, TaskStore, TokenStore, Waiting, WorkerDetail,
};

/// The AWS SDK's client crate, in the version that the store is made with.
pub use aws_sdk_dynamodb;

pub use crate::again::Histories;
pub use crate::aside::PassedOver;
pub use crate::meter::{Meter, Request};
pub use crate::stats::rebuild::{Rebuild, RebuildError, RebuildProgress, Rebuilt};
pub use crate::stats::relayed::RecordsCounted;
pub use crate::store::Options;
pub use crate::stream::TaskEvent;

use crate::store::Inner;

/// A task store in a DynamoDB table.
pub struct DynamoStore {
    inner: Arc<Inner>,
}

impl DynamoStore {
    /// Opens a table that [`table::create`] has made. `doorbell` hears of tasks that become claimable by this process.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::Internal`] if there is no such table, and [`StoreError::Unavailable`]
    /// or [`StoreError::Unknown`] if it cannot be reached.
    pub async fn open(
        client: aws_sdk_dynamodb::Client,
        table: impl Into<String>,
        options: Options,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner::open(client, table.into(), options, doorbell).await?);
        if let Some(every) = inner.options.flush_every {
            let weak = Arc::downgrade(&inner);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    let Some(inner) = weak.upgrade() else { return };
                    if let Err(error) = inner.stats.flush(&inner.db).await {
                        tracing::warn!(%error, "counts could not be written; statistics may be off");
                    }
                }
            });
        }
        Ok(Self { inner })
    }

    /// Writes the counts that this process has gathered, as it should before it ends or is frozen.
    ///
    /// # Errors
    /// The store's own failures; what was not written is tried again by the next call.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.stats.flush(&self.inner.db).await
    }

    /// What this process has passed over since it was last asked: items that are damaged, and counts that cannot be written.
    /// The log names each.
    pub fn take_passed_over(&self) -> PassedOver {
        self.inner.db.aside.take()
    }

    /// Whether somebody waits for tasks of a queue, as a claim has told that found nothing in the last five minutes. It is a
    /// hint, and may be a second old.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn is_waited_for(&self, queue: &QueueName, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.is_waited_for(queue, now).await
    }

    /// Gives all tasks that nobody needs any more their end, as purges do by and by; for tests, in which no dependant is about to
    /// be created.
    ///
    /// # Errors
    /// The store's own failures.
    #[cfg(feature = "faults")]
    pub async fn let_go_of_all_kept(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.let_go_of_all_kept(now).await
    }

    /// Has those follow that wait for the task of a record of the table's stream, given as its JSON, if the record is of the
    /// task's end.
    ///
    /// # Errors
    /// The store's: the record is to come again.
    pub async fn released_by(&self, record: &str, now: Timestamp) -> Result<(), StoreError> {
        self.inner.released_by(record, now).await
    }

    /// The events that a record of the table's stream brings, in their order, from the record's JSON as Lambda hands it
    /// over. Of all records of a table, each event of each history is in exactly one; a record may come again.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the record cannot be read, and the store's own failures: an event that is large is
    /// read from where it is kept apart.
    pub async fn events_of(&self, record: &str) -> Result<Vec<TaskEvent>, StoreError> {
        self.inner.events_of(record).await
    }

    /// The whole history of a task, as its events were told when they happened.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`], and the store's own failures.
    pub async fn history_of(&self, id: TaskId) -> Result<Vec<TaskEvent>, StoreError> {
        self.inner.history_of(id).await
    }

    /// The whole histories of the tasks that have changed at a time or later, page by page, the tasks of the oldest day
    /// first. Each page looks at some hundred tasks, whether they fit or not.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], and the store's own failures. What is wrong with one task alone is told with it.
    pub async fn histories(&self, since: Timestamp, after: Option<&Cursor>) -> Result<Histories, StoreError> {
        self.inner.histories(since, after).await
    }

    /// Whether the table's finished tasks are archived, as this process knows it from its opening or its last purge: then DynamoDB removes
    /// none of them by itself.
    pub fn is_archived(&self) -> bool {
        self.inner.is_archived()
    }

    /// Has the table say that its finished tasks are archived: whoever opens it from then on, or purges it, gives none of them an end by
    /// which DynamoDB removes it by itself, and purges take off those that there are, at once and again a day later.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn begin_archiving(&self) -> Result<(), StoreError> {
        self.inner.mark_archived(true).await
    }

    /// Has DynamoDB remove finished tasks by itself again, unwritten. Processes that are open learn of it by their next purge, and go on as
    /// they were opened if they make none. What has ended is dated by purges, beginning in a day; what was removed by hand goes with the next.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn end_archiving(&self) -> Result<(), StoreError> {
        self.inner.mark_archived(false).await
    }

    /// Counts records of the table's stream, each as its JSON as Lambda hands it over, if the stream keeps the statistics.
    ///
    /// A record counts exactly once, however often it is given, in whatever batches, and by how many at the same time; a
    /// task's records must be given in their order, and none may be left out.
    ///
    /// All records before the first that cannot be counted are counted; the answer says how many these are.
    pub async fn count<R: AsRef<str> + Sync>(&self, records: &[R]) -> RecordsCounted {
        let records: Vec<&str> = records.iter().map(AsRef::as_ref).collect();
        self.inner.count(&records).await
    }

    /// Makes the statistics anew while everything runs, and has the stream keep them from now on. Somebody must read the
    /// stream and [`DynamoStore::count`] its records meanwhile. Readers see the former statistics until the new ones are
    /// whole. `tell` hears how far it is.
    ///
    /// It may be run at any time, and as often as one likes. Each run takes over from one that is cut off, or still at work.
    ///
    /// # Errors
    /// [`RebuildError`]; the former statistics stand then.
    pub async fn rebuild_statistics(
        &self,
        rebuild: &Rebuild<'_>,
        tell: impl FnMut(RebuildProgress) + Send,
    ) -> Result<Rebuilt, RebuildError> {
        self.inner.rebuild(rebuild, tell).await
    }
}

#[async_trait]
impl TaskStore for DynamoStore {
    fn capabilities(&self) -> Capabilities {
        let by_stream = self.inner.stats.lock().is_by_stream();
        Capabilities {
            exact_worker_cap: false,
            fresh_lists: false,
            total_claim_order: self.inner.options.shards.values().all(|shards| *shards <= 1),
            lists_by_creation: false,
            tokens: self.inner.options.max_tokens,
            sliced_purges: false,
            removes_by_itself: true,
            counts_removals: by_stream,
            lists_in_parts: false,
            releases_at_once: false,
            feed: false,
            streams: by_stream,
        }
    }

    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        self.inner.create(&create).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.inner.claim(&claim, &[]).await
    }

    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError> {
        self.inner.complete(&complete, next.as_ref()).await
    }

    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        self.inner.fail(fail).await
    }

    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError> {
        self.inner.release(release).await
    }

    async fn end(&self, endings: Vec<Ending>, next: Option<Claim>) -> Result<EndAnswer, StoreError> {
        Ok(self.inner.end_all(&endings, next.as_ref()).await)
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        self.inner.heartbeat(&beat).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError> {
        self.inner.cancel(&cancel).await
    }

    async fn retry(&self, retry: Retry) -> Result<Task, StoreError> {
        self.inner.retry(&retry).await
    }

    async fn change(&self, change: ChangeTask) -> Result<Task, StoreError> {
        self.inner.change(&change).await
    }

    async fn remove(&self, remove: Remove) -> Result<(), StoreError> {
        self.inner.remove(remove).await
    }

    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError> {
        self.inner.reap(&reap).await
    }

    async fn expire(&self, expire: Expire) -> Result<Expired, StoreError> {
        self.inner.expire(&expire).await
    }

    async fn mend(&self, mend: Mend) -> Result<Mended, StoreError> {
        self.inner.mend(&mend).await
    }

    async fn linked(&self, ids: Vec<TaskId>) -> Result<Vec<Linked>, StoreError> {
        self.inner.linked(&ids).await
    }

    async fn inputs(&self, ids: Vec<TaskId>) -> Result<Vec<Input>, StoreError> {
        self.inner.inputs(&ids).await
    }

    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        self.inner.last_round().await
    }

    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError> {
        self.inner.note_round(&note).await
    }

    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError> {
        self.inner.redate(&redate).await
    }

    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError> {
        self.inner.purge(&purge).await
    }

    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        self.inner.pause(pause).await
    }

    async fn order_queue(&self, order: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError> {
        self.inner.order(order).await
    }

    async fn set_defaults(&self, set: SetDefaults) -> Result<(QueueDefaults, QueueDefaults), StoreError> {
        self.inner.set_defaults(&set).await
    }

    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError> {
        self.inner.direct(&direct).await
    }

    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        self.inner.task_detail(id).await
    }

    async fn history(&self, id: TaskId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.inner.history(id, &page).await
    }

    async fn tasks(&self, filter: TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        self.inner.tasks(&filter, &page).await
    }

    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.inner.ids_by_prefix(prefix, limit).await
    }

    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError> {
        self.inner.generation(id).await?.ok_or(StoreError::GenerationNotFound(id))
    }

    async fn generations(
        &self,
        filter: GenerationFilter,
        page: PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        self.inner.generations(&filter, &page).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        match self.inner.stored_worker(id).await? {
            Some(stored) => self.inner.worker_detail(stored).await,
            None => Err(StoreError::WorkerNotFound(id.clone())),
        }
    }

    async fn workers(&self, page: PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        self.inner.workers(&page).await
    }

    async fn queue(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats, StoreError> {
        match self.inner.stored_queue(name).await? {
            Some(queue) => self.inner.queue_stats(queue, now).await,
            None => Err(StoreError::QueueNotFound(name.clone())),
        }
    }

    async fn queues(&self, now: Timestamp, page: PageRequest) -> Result<Page<QueueStats>, StoreError> {
        self.inner.queues(now, &page).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.inner.statistics(now).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        self.inner.waiting(now).await
    }

    async fn why(&self, id: TaskId, now: Timestamp) -> Result<Why, StoreError> {
        self.inner.why(id, now).await
    }

    async fn logs(&self, filter: LogFilter, page: PageRequest) -> Result<Page<LogLine>, StoreError> {
        self.inner.logs(&filter, &page).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    /// A table has no end, and AWS counts what it holds every six hours only.
    async fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        Ok(None)
    }

    /// Its transactions; a write of a single item is none.
    fn commits(&self) -> Option<&Commits> {
        Some(&self.inner.db.commits)
    }
}

#[async_trait]
impl LimitStore for DynamoStore {
    async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError> {
        self.inner.set_limit(set).await
    }

    async fn limits(&self, page: PageRequest) -> Result<Page<LimitStatus>, StoreError> {
        self.inner.limits(&page).await
    }

    async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError> {
        self.inner.set_owner(set).await
    }

    async fn owned_projects(&self, page: PageRequest) -> Result<Page<OwnedProject>, StoreError> {
        self.inner.owned_projects(&page).await
    }
}

#[async_trait]
impl ScheduleStore for DynamoStore {
    async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError> {
        self.inner.set_schedule(set).await
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, StoreError> {
        self.inner.schedule(key).await
    }

    async fn schedules(
        &self,
        filter: ScheduleFilter,
        page: PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        self.inner.schedules(&filter, &page).await
    }

    async fn due_schedules(&self, now: Timestamp, page: PageRequest) -> Result<Page<Schedule>, StoreError> {
        self.inner.due_schedules(now, &page).await
    }

    async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError> {
        self.inner.occur(occur).await
    }
}

#[async_trait]
impl SupplyStore for DynamoStore {
    async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError> {
        self.inner.set_supply(set).await
    }

    async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError> {
        self.inner.supply(queue).await
    }

    async fn supplies(&self, page: PageRequest) -> Result<Page<Supply>, StoreError> {
        self.inner.supplies(&page).await
    }

    async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError> {
        self.inner.refill(refill).await
    }
}

#[async_trait]
impl TokenStore for DynamoStore {
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError> {
        self.inner.create_token(&token).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        self.inner.stored_token(id).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<Token>, StoreError> {
        self.inner.tokens(&page).await
    }

    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        self.inner.revoke_token(id, now).await
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.inner.token_used(id, at).await
    }
}

#[async_trait]
impl AuditStore for DynamoStore {
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.inner.record(&entry).await
    }

    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError> {
        self.inner.settle(id, &settled).await
    }

    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        self.inner.audit(&filter, &page).await
    }
}
