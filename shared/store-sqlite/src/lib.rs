//! The task store on SQLite: one file, one writing thread with group commit (`writer.rs`), readers beside it.
//!
//! The write-ahead log is synced before a command is answered (`synchronous = FULL`), so that what was answered
//! survives the loss of power. `docs/sqlite.md` tells of the file format and of what was measured.

mod alone;
mod archive;
mod audit;
mod batches;
mod bulk;
mod change;
mod claim;
mod codes;
mod config;
mod create;
mod defaults;
mod dependency;
mod document;
mod ending;
mod error;
mod events;
mod expiry;
mod feed;
mod finish;
mod health;
mod held;
mod hold;
mod idempotency;
mod kept;
mod limit;
mod links;
mod list;
mod open;
mod order;
mod purge;
mod queue;
mod reader;
mod reap;
mod recent;
mod refusal;
mod round;
mod rows;
mod schedule;
mod stats;
mod supply;
mod timeline;
mod token;
mod transaction;
mod transfer;
mod unique;
mod why;
mod worker;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::lease::LeasePolicy;
use baton_model::{
    AuditId, Event, Generation, GenerationId, Limit, LogLine, QueueDefaults, QueueName, QueueOrder,
    RoundNote, Task, TaskId, TaskState, Timestamp, Token, TokenId, Watch, Why, Worker, WorkerId,
};
use baton_store::token::TOKENS;
use baton_store::{
    AuditEntry, AuditFilter, AuditStore, Beat, BeatAnswer, Cancel, Capabilities, ChangeTask, Changed, Claim,
    ClaimAnswer, Commits, Complete, CompleteAnswer, Create, CreateAnswer, Cursor, Direct, Doorbell,
    EndAnswer, Ending, Expire, Expired, Fail, FailAnswer, GenerationFilter, Health, Input, LimitStatus,
    LimitStore, Linked, LogFilter, Mend, Mended, OrderQueue, OwnedProject, Page, PageRequest, PauseQueue,
    Purge, PurgeReport, QueueStats, Reap, ReapReport, Redate, Redated, Release, Remove, Retry, SetDefaults,
    SetLimit, SetOwner, Settled, Sizes, Stats, StoreError, StoredToken, TaskDetail, TaskFilter, TaskStore,
    TokenStore, Waiting, WorkerDetail, events_after, page_of_events,
};
use rusqlite::{Connection, params};
use tokio::sync::watch;

use crate::error::Failure;
use crate::health::{Condition, Side};
use crate::hold::Hold;
use crate::reader::Readers;
use crate::rows::{Stored, select_generation, select_task, select_worker, worker_by_id};
use crate::token::Tokens;
use crate::transaction::Transaction;
use crate::writer::Writer;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// When leases are lost.
    pub policy: LeasePolicy,
    /// What an answered command survives.
    pub durability: Durability,
    /// How many queries run at once; 1 or more.
    pub readers: usize,
    /// The size in bytes that the file may grow to, apart from its write-ahead log; none for as far as the disk goes.
    /// At this size the store answers as it does on a full disk.
    pub max_bytes: Option<u64>,
    /// How many tokens there may be; all of them are held in memory, at about 1 KiB each.
    pub max_tokens: usize,
    /// How far apart commits are that are made for heartbeats alone; those that come meanwhile wait for the next, whoever's it is. Zero for a
    /// commit at once.
    pub beats_apart: Duration,
    /// Whether tasks that have ended are removed by [`baton_store::ArchiveStore::remove_archived`] alone.
    pub archived: bool,
}

impl Default for Options {
    /// The default policy, full durability, two readers, no limit of size, [`TOKENS`] tokens, and no wait for heartbeats.
    fn default() -> Self {
        Self {
            policy: LeasePolicy::default(),
            durability: Durability::Full,
            readers: 2,
            max_bytes: None,
            max_tokens: TOKENS,
            beats_apart: Duration::ZERO,
            archived: false,
        }
    }
}

/// What an answered command survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power: each group commit is synced.
    #[default]
    Full,
    /// The end of the process; the loss of power may take the last commits with it, though never half of one.
    Normal,
}

/// A task store in an SQLite file. Dropping it runs what was sent, and closes the file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    policy: LeasePolicy,
    tokens: Arc<Tokens>,
    max_tokens: usize,
    max_bytes: Option<u64>,
    /// The position of the last event.
    fed: watch::Receiver<u64>,
    /// The time behind which it is not known yet which workers, heard last there, have fallen silent; none before the first look.
    silence_known: Mutex<Option<Timestamp>>,
    /// Holds the file. Declared last, so that it is let go of after the connections.
    condition: Arc<Condition>,
}

impl SqliteStore {
    /// Opens the file, making it if it is missing and bringing its schema up to date. `doorbell` hears of tasks that
    /// become claimable.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; [`StoreError::CannotOpen`] if the file cannot be opened, is not a Baton database, or
    /// is open in another Baton, under whatever name: one process writes, so that waiting claims are woken and groups are
    /// committed whole. What was made for it is removed again.
    pub fn open(path: &Path, options: Options, doorbell: Arc<dyn Doorbell>) -> Result<Self, StoreError> {
        let hold = Arc::new(Hold::take(path)?);
        let db = open::for_writing(&hold, options)?;
        let Options { policy, max_tokens, archived, .. } = options;
        let tokens = Arc::new(Tokens::load(&db)?);
        let state = transaction::State {
            archived,
            ..transaction::State::new(policy, Arc::clone(&tokens), max_tokens)
        };
        let condition = Arc::new(Condition::new(Arc::clone(&hold)));
        let readers = Readers::open(&hold, &condition, options.readers)?;
        let fed = state.fed.subscribe();
        fed_head(&db, &state.fed)?;
        let writer = Writer::start(db, state, Arc::clone(&condition), doorbell, options.beats_apart)?;
        hold.finished();
        let max_bytes = options.max_bytes;
        let silence_known = Mutex::default();
        Ok(Self { writer, readers, policy, tokens, max_tokens, max_bytes, fed, silence_known, condition })
    }

    /// Waits until the file is no longer there, or is another one: from then on nothing is answered but that
    /// ([`StoreError::Gone`]), and the program that has the store should end. It is looked for with each commit and each query.
    pub async fn gone(&self) -> StoreError {
        self.condition.until_gone().await
    }

    /// Notes for the time line which workers have fallen silent since the last look.
    async fn note_silent(&self, watch: Watch) -> Result<(), StoreError> {
        // What is in it is whole after each statement.
        let known = || self.silence_known.lock().unwrap_or_else(PoisonError::into_inner);
        let (policy, before, judged) = (self.policy, *known(), watch.clone());
        let (workers, since) = self.readers.run(move |db| reap::silent(db, &policy, &judged, before)).await?;
        if !workers.is_empty() {
            self.writer.run((workers, watch), reap::note_silent).await?;
        }
        *known() = since;
        Ok(())
    }
}

#[async_trait]
impl TaskStore for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact_worker_cap: true,
            fresh_lists: true,
            total_claim_order: true,
            lists_by_creation: true,
            tokens: self.max_tokens,
            sliced_purges: true,
            removes_by_itself: false,
            counts_removals: true,
            lists_in_parts: true,
            releases_at_once: true,
            feed: true,
            streams: false,
        }
    }

    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        self.writer.run(create, create::create).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.writer.run(claim, claim::claim).await
    }

    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError> {
        let output = complete.output.fingerprint();
        self.writer.run((complete, output, next), finish::complete).await
    }

    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        self.writer.run(fail, finish::fail).await
    }

    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError> {
        self.writer.run(release, finish::release).await
    }

    async fn end(&self, endings: Vec<Ending>, next: Option<Claim>) -> Result<EndAnswer, StoreError> {
        self.end_all(endings, next).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        self.writer.run_patiently(beat, worker::heartbeat).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError> {
        self.writer.run(cancel, finish::cancel).await
    }

    async fn retry(&self, retry: Retry) -> Result<Task, StoreError> {
        self.writer.run(retry, finish::retry).await
    }

    async fn change(&self, change: ChangeTask) -> Result<Task, StoreError> {
        self.writer.run(change, change::change).await
    }

    async fn remove(&self, remove: Remove) -> Result<(), StoreError> {
        self.writer.run(remove, change::remove).await
    }

    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError> {
        let (policy, limit) = (self.policy, reap.limit as usize);
        let of_all = reap.worker.is_none() && reap.queue.is_none();
        let (mut suspects, watch) = self.readers.run(move |db| reap::suspects(db, &policy, &reap)).await?;
        let more = suspects.len() > limit;
        suspects.truncate(limit);
        let report = match suspects.is_empty() {
            true => ReapReport::default(),
            false => self.writer.run((suspects, watch.clone()), reap::take_back).await?,
        };
        // Behind all that was taken back, which tells of its workers itself.
        if of_all
            && !more
            && let Err(error) = self.note_silent(watch).await
        {
            // What was taken back is to be told of all the same; the next round looks again.
            tracing::warn!(error = error.report(), "it could not be noted which workers have fallen silent");
        }
        Ok(ReapReport { more, ..report })
    }

    async fn expire(&self, expire: Expire) -> Result<Expired, StoreError> {
        let now = expire.now;
        if self.readers.run(move |db| expiry::is_due(db, now)).await? {
            self.writer.run(expire, expiry::expire).await
        } else {
            Ok(Expired::default())
        }
    }

    async fn mend(&self, mend: Mend) -> Result<Mended, StoreError> {
        let now = mend.now;
        let (overdue, next) = self.readers.run(move |db| dependency::overdue(db, &mend)).await?;
        if overdue.is_empty() {
            return Ok(Mended { next, ..Mended::default() });
        }
        let report = self.writer.run((overdue, now), dependency::mend).await?;
        Ok(Mended { next, ..report })
    }

    async fn linked(&self, ids: Vec<TaskId>) -> Result<Vec<Linked>, StoreError> {
        self.readers.run(move |db| dependency::linked(db, &ids)).await
    }

    async fn inputs(&self, ids: Vec<TaskId>) -> Result<Vec<Input>, StoreError> {
        self.readers.run(move |db| dependency::inputs(db, &ids)).await
    }

    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        self.readers.run(round::last).await
    }

    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError> {
        self.writer.run(note, round::note).await
    }

    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError> {
        let wanted = redate.clone();
        let tasks = self.readers.run(move |db| round::ahead(db, &wanted)).await?;
        self.writer.run((tasks, redate), round::redate).await
    }

    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError> {
        self.writer.run(purge, purge::purge).await
    }

    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        let (queue, now) = (pause.queue.clone(), pause.now);
        self.writer.run(pause, pause_queue).await?;
        match self.queue(&queue, now).await {
            Err(StoreError::QueueNotFound(queue)) => Ok(QueueStats::unknown(queue, Some(now))),
            stats => stats,
        }
    }

    async fn order_queue(&self, set: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError> {
        let changed = self.writer.run(set, order::order_queue).await?;
        // Between these, others have their turn.
        while self.writer.run((), order::note_some).await? {}
        Ok(changed)
    }

    async fn set_defaults(&self, set: SetDefaults) -> Result<(QueueDefaults, QueueDefaults), StoreError> {
        self.writer.run(set, defaults::set_defaults).await
    }

    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError> {
        let id = direct.worker.clone();
        self.writer.run(direct, worker::direct).await?;
        self.worker(&id).await
    }

    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        self.readers.run(move |db| task_detail(db, id)).await
    }

    async fn history(&self, id: TaskId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        let after = events_after(&page)?;
        self.readers.run(move |db| history(db, id, after, page.limit)).await
    }

    async fn tasks(&self, filter: TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        self.readers.run(move |db| list::tasks(db, &filter, &page)).await
    }

    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let Some((first, last)) = TaskId::range_of_prefix(prefix) else { return Ok(Vec::new()) };
        self.readers
            .run(move |db| {
                let mut statement =
                    db.prepare_cached("SELECT id FROM task WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3")?;
                let ids = statement
                    .query_map(params![first, last, limit], |row| row.get(0).map(TaskId::from_bytes))?;
                Ok(ids.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError> {
        self.readers
            .run(move |db| {
                let mut statement = db.prepare_cached(select_generation!("WHERE id = ?1"))?;
                let mut rows = statement.query([id.as_bytes()])?;
                match rows.next()? {
                    Some(row) => Ok(rows::generation(row)?.1),
                    None => Err(StoreError::GenerationNotFound(id).into()),
                }
            })
            .await
    }

    async fn generations(
        &self,
        filter: GenerationFilter,
        page: PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        self.readers.run(move |db| list::generations(db, &filter, &page)).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        let id = id.clone();
        self.readers
            .run(move |db| match worker_by_id(db, &id)? {
                Some(stored) => worker_detail(db, stored.worker),
                None => Err(StoreError::WorkerNotFound(id.clone()).into()),
            })
            .await
    }

    async fn workers(&self, page: PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        let after = page.after.as_ref().map_or(String::new(), |cursor| cursor.0.clone());
        if page.after.is_some() && after.parse::<WorkerId>().is_err() {
            return Err(StoreError::BadCursor);
        }
        self.readers
            .run(move |db| {
                let mut statement =
                    db.prepare_cached(select_worker!("WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
                let mut rows = statement.query(params![after, i64::from(page.limit) + 1])?;
                let mut items = Vec::new();
                while let Some(row) = rows.next()? {
                    items.push(worker_detail(db, rows::worker(row)?.worker)?);
                }
                let more = items.len() > page.limit as usize;
                items.truncate(page.limit as usize);
                let next = items.last().filter(|_| more).map(|last| Cursor(last.worker.id.to_string()));
                Ok(Page { items, next })
            })
            .await
    }

    async fn queue(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats, StoreError> {
        let name = name.clone();
        self.readers.run(move |db| stats::queue(db, &name, now)).await
    }

    async fn queues(&self, now: Timestamp, page: PageRequest) -> Result<Page<QueueStats>, StoreError> {
        self.readers.run(move |db| stats::queues(db, now, &page)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let timeout = self.policy.heartbeat_timeout;
        self.readers.run(move |db| stats::stats(db, now, timeout)).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        self.readers.run(move |db| stats::waiting(db, now)).await
    }

    async fn why(&self, id: TaskId, now: Timestamp) -> Result<Why, StoreError> {
        let limits = match self.readers.run(limit::are_set).await? {
            true => self.writer.run((id, now), limit::falls_under).await?,
            false => Vec::new(),
        };
        let policy = self.policy;
        self.readers.run(move |db| why::why(db, id, limits, &policy, now)).await
    }

    async fn logs(&self, filter: LogFilter, page: PageRequest) -> Result<Page<LogLine>, StoreError> {
        self.readers.run(move |db| list::logs(db, &filter, &page)).await
    }

    async fn health(&self) -> Health {
        let (hold, most) = (Arc::clone(self.condition.hold()), self.max_bytes);
        let sizes = self.sizes().await;
        // Others may wait before it for whoever holds the file, each as long as for one.
        let pulse = tokio::time::timeout(health::PULSE, self.writer.run((), health::pulse)).await;
        let write = pulse.unwrap_or_else(|_| Err(health::no_pulse())).and_then(|()| match &sizes {
            Ok(Some(sizes)) => health::room_for_changes(sizes, &hold, most),
            _ => Ok(()),
        });
        let read = self.readers.run(health::look_into_all).await;
        Health {
            read: read.and_then(|()| self.condition.is_whole(Side::Reading)),
            write: Some(write.and_then(|()| self.condition.is_whole(Side::Writing))),
            sizes: sizes.ok().flatten(),
        }
    }

    async fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        let (hold, most) = (Arc::clone(self.condition.hold()), self.max_bytes);
        self.readers.run(move |db| health::sizes(db, &hold, most)).await.map(Some)
    }

    fn commits(&self) -> Option<&Commits> {
        Some(&self.condition.commits)
    }
}

#[async_trait]
impl LimitStore for SqliteStore {
    async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError> {
        self.writer.run(set, limit::set_limit).await
    }

    async fn limits(&self, page: PageRequest) -> Result<Page<LimitStatus>, StoreError> {
        self.writer.run(page, limit::limits).await
    }

    async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError> {
        self.writer.run(set, limit::set_owner).await
    }

    async fn owned_projects(&self, page: PageRequest) -> Result<Page<OwnedProject>, StoreError> {
        self.readers.run(move |db| limit::owned_projects(db, &page)).await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError> {
        self.writer.run(token, token::create).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        Ok(self.tokens.get(id))
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<Token>, StoreError> {
        self.tokens.page(&page)
    }

    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        self.writer.run((id, now), token::revoke).await
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.writer.run((id, at), token::used).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.writer.run(entry, audit::record).await
    }

    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError> {
        self.writer.run((id, settled), audit::settle).await
    }

    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        self.readers.run(move |db| list::audit(db, &filter, &page)).await
    }
}

/// Says where the order of all events ends as the file is opened.
fn fed_head(db: &Connection, fed: &watch::Sender<u64>) -> Result<(), StoreError> {
    let head = feed::head(db).map_err(error::store_error)?;
    fed.send_replace(head as u64);
    Ok(())
}

fn pause_queue(transaction: &mut Transaction<'_>, pause: &PauseQueue) -> Result<(), Failure> {
    let changed = params![
        pause.queue.as_str(),
        pause.by.as_ref().map(baton_model::Label::as_str),
        pause.reason,
        pause.now.as_millis(),
    ];
    if pause.paused {
        let sql = "INSERT INTO queue (name, paused, changed_by, reason, changed_at) VALUES (?1, 1, ?2, ?3, ?4) \
                   ON CONFLICT DO UPDATE SET paused = 1, changed_by = ?2, reason = ?3, changed_at = ?4";
        transaction.db.prepare_cached(sql)?.execute(changed)?;
        return Ok(());
    }
    // Nothing in memory names a queue that is not used: those that the writing thread remembers are.
    let sql = "UPDATE queue SET paused = 0, changed_by = ?2, reason = ?3, changed_at = ?4 WHERE name = ?1";
    transaction.db.prepare_cached(sql)?.execute(changed)?;
    queue::forget_unused(transaction.db, &pause.queue)?;
    transaction.ring_queue(&pause.queue, pause.now);
    Ok(())
}

fn history(db: &Connection, id: TaskId, after: u32, limit: u32) -> Result<Page<Event>, Failure> {
    let moment = db.unchecked_transaction()?;
    let stored = Stored::known(&moment, id)?;
    Ok(page_of_events(events::events_after(&moment, stored.n, after, limit)?, stored.head.events))
}

fn task_detail(db: &Connection, id: TaskId) -> Result<TaskDetail, Failure> {
    // One read transaction, so that task, history and generation are of one moment.
    let moment = db.unchecked_transaction()?;
    let stored = Stored::known(&moment, id)?;
    let n = stored.n;
    let task = stored.into_task(&moment)?;
    let progress = match &task.head.state {
        TaskState::Running(lease) => worker_by_id(&moment, &lease.worker)?
            .and_then(|stored| stored.worker.running)
            .into_iter()
            .flatten()
            .find(|running| running.task == id && running.attempt == task.head.attempt),
        _ => None,
    };
    Ok(TaskDetail {
        history: events::latest_events(&moment, n, TaskDetail::EVENTS)?,
        generation: rows::generation_of(&moment, n)?,
        progress,
        task,
    })
}

fn worker_detail(db: &Connection, worker: Worker) -> Result<WorkerDetail, Failure> {
    let active = db
        .prepare_cached("SELECT count(*) FROM task INDEXED BY task_leased WHERE worker = ?1 AND state = 1")?
        .query_row([worker.id.as_str()], |row| row.get(0))?;
    let mut statement = db.prepare_cached(select_task!(
        "INDEXED BY task_leased WHERE worker = ?1 AND state = 1 ORDER BY claimed_at, id LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![worker.id.as_str(), WorkerDetail::LEASES as i64])?;
    let mut leases = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        leases.push((stored.head.id, stored.head.attempt));
    }
    Ok(WorkerDetail { worker, active, leases })
}
