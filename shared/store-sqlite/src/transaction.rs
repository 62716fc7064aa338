//! One transaction of the writing thread, with what the commands of a group share: the tallies that they change and
//! the rings that they cause.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use baton_model::lease::LeasePolicy;
use baton_model::transition::{Change, Command, Decision, Refusal, decide};
use baton_model::{
    EventDetail, EventKind, QueueName, State as TaskStateTag, TaskId, TaskState, TaskType, Timestamp,
    WorkerId,
};
use baton_store::{Doorbell, NameNotice, Ready, StoreError};
use rusqlite::{Connection, params};
use tokio::sync::watch;

use crate::batches;
use crate::codes::Code;
use crate::defaults;
use crate::error::Failure;
use crate::expiry;
use crate::feed;
use crate::held::Statements;
use crate::kept;
use crate::limit::{self, Limits};
use crate::links::{keep, mark_waited_for, note_blocked};
use crate::recent::Recent;
use crate::rows::{EVENT_BITS, Stored, StoredWorker, dependencies_of, to_json};
use crate::supply::Supplied;
use crate::token::{TokenChange, Tokens};
use crate::unique;
use baton_store::histogram::{What, bucket};

/// The number that stands for a kind of duration in the database.
pub(crate) const fn what_code(what: What) -> i64 {
    match what {
        What::Wait => 0,
        What::Run => 1,
        What::Failed => 2,
    }
}

/// How many queues the writing thread remembers.
const KNOWN_QUEUES: usize = 10_000;

/// What the writing thread remembers between transactions.
#[derive(Debug)]
pub(crate) struct State {
    /// When leases are lost.
    pub(crate) policy: LeasePolicy,
    /// Queues that are known to be used, up to [`KNOWN_QUEUES`]: a cache of what is there for ever, to save a write.
    /// Emptied when a transaction is undone, as its queues are then unknown again.
    pub(crate) queues: HashSet<QueueName>,
    /// The tokens as they are in memory; changed after a commit only.
    pub(crate) tokens: Arc<Tokens>,
    /// How many tokens there may be.
    pub(crate) most_tokens: usize,
    /// How long the last group took, without what it removed.
    pub(crate) last_group: Duration,
    /// How much of the present group's time has gone into removing.
    pub(crate) purging: Duration,
    /// The last kept task that purges have looked at; 0 at the beginning of a turn.
    pub(crate) kept_after: i64,
    /// How many purges there were.
    pub(crate) purges: usize,
    /// From which queue on counts are to be looked through for those of nothing.
    pub(crate) counts_swept: Option<String>,
    /// The limits that are set, with what stands under them.
    pub(crate) limits: Limits,
    /// When the next task expires.
    pub(crate) expiring: expiry::Next,
    /// The queues that have a supply.
    pub(crate) supplied: Supplied,
    /// What queues give to tasks that do not say.
    pub(crate) defaults: defaults::Known,
    /// The position of the next event, if it is known.
    pub(crate) feed_next: Option<i64>,
    /// Up to which position the order of events was looked through for those of tasks that are gone.
    pub(crate) feed_swept: i64,
    /// How many tasks were removed since.
    pub(crate) removed_tasks: usize,
    /// Tells the position of the last event, after each commit.
    pub(crate) fed: watch::Sender<u64>,
    /// Tasks that were claimed of late, as their rows are: an attempt that ends need not read its own.
    pub(crate) leased: Recent<TaskId, Stored>,
    /// Workers that were heard of late, as their records are.
    pub(crate) workers: Recent<WorkerId, StoredWorker>,
    /// The last of all keys of generations, or one behind it.
    pub(crate) last_generation: Option<i64>,
    /// Whether tasks are removed once they are archived, and not before (`archive.rs`).
    pub(crate) archived: bool,
}

impl State {
    /// Nothing is remembered yet.
    pub(crate) fn new(policy: LeasePolicy, tokens: Arc<Tokens>, most_tokens: usize) -> Self {
        Self {
            policy,
            queues: HashSet::new(),
            tokens,
            most_tokens,
            last_group: Duration::ZERO,
            purging: Duration::ZERO,
            kept_after: 0,
            purges: 0,
            counts_swept: None,
            limits: Limits::default(),
            expiring: expiry::Next::default(),
            supplied: Supplied::default(),
            defaults: None,
            feed_next: None,
            feed_swept: 0,
            removed_tasks: 0,
            fed: watch::Sender::new(0),
            leased: Recent::default(),
            workers: Recent::default(),
            last_generation: None,
            archived: false,
        }
    }
}

/// What is to be done once a transaction is committed.
pub(crate) struct AfterCommit {
    /// What became claimable.
    pub(crate) rings: Vec<Ready>,
    /// What became of tokens.
    pub(crate) tokens: Vec<TokenChange>,
    /// What was learnt of workers' names.
    pub(crate) names: Vec<NameNotice>,
    /// The queues with a supply that claims have come to.
    pub(crate) asked: BTreeSet<QueueName>,
    /// The position of the last event, if there was one.
    pub(crate) fed: Option<i64>,
}

/// An open transaction.
pub(crate) struct Transaction<'a> {
    pub(crate) db: &'a Connection,
    /// The statements that each task needs.
    pub(crate) held: &'a dyn Statements,
    pub(crate) state: &'a mut State,
    /// How many tasks were put aside at limits.
    pub(crate) put_aside: usize,
    tallies: HashMap<(QueueName, TaskType, TaskStateTag), i64>,
    durations: HashMap<(QueueName, What, i64, i64), i64>,
    rings: Vec<Ready>,
    tokens: Vec<TokenChange>,
    names: Vec<NameNotice>,
    asked: BTreeSet<QueueName>,
    /// The events by their keys and times, for the one order of all.
    events: Vec<(i64, i64)>,
    /// Whether a part of that order was taken in from another store.
    pub(crate) feed_is_moved: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(db: &'a Connection, held: &'a dyn Statements, state: &'a mut State) -> Self {
        Self {
            db,
            held,
            state,
            put_aside: 0,
            tallies: HashMap::new(),
            durations: HashMap::new(),
            rings: Vec::new(),
            tokens: Vec::new(),
            names: Vec::new(),
            asked: BTreeSet::new(),
            events: Vec::new(),
            feed_is_moved: false,
        }
    }

    /// Writes what the commands have gathered, before the commit; gives what to do after it.
    pub(crate) fn finish(self) -> Result<AfterCommit, Failure> {
        for ((queue, task_type, state), change) in self.tallies.into_iter().filter(|(_, change)| *change != 0)
        {
            self.held.execute(
                "INSERT INTO tally (queue, task_type, state, tasks) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
                params![queue.as_str(), task_type.as_str(), state.code(), change],
            )?;
        }
        for ((queue, what, hour, bucket), count) in self.durations {
            self.held.execute(
                "INSERT INTO histogram (hour, queue, what, bucket, tasks) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
                params![hour, queue.as_str(), what_code(what), bucket, count],
            )?;
        }
        let mut fed = feed::append(self.db, &mut self.state.feed_next, &self.events)?;
        if self.feed_is_moved {
            fed = Some(feed::head(self.db)?);
        }
        Ok(AfterCommit { rings: self.rings, tokens: self.tokens, names: self.names, asked: self.asked, fed })
    }

    /// Counts tasks that entered a state (or, negative, left it).
    pub(crate) fn tally(
        &mut self,
        queue: &QueueName,
        task_type: &TaskType,
        state: TaskStateTag,
        change: i64,
    ) {
        *self.tallies.entry((queue.clone(), task_type.clone(), state)).or_default() += change;
    }

    /// Counts a duration for the percentiles.
    pub(crate) fn duration(&mut self, queue: &QueueName, what: What, now: Timestamp, length: Duration) {
        let hour = now.as_millis() / 3_600_000;
        *self.durations.entry((queue.clone(), what, hour, bucket(length))).or_default() += 1;
    }

    /// Notes what became of a token; shows in memory after the commit.
    pub(crate) fn token(&mut self, change: TokenChange) {
        self.tokens.push(change);
    }

    /// Notes what was learnt of a worker's name; goes into the log after the commit.
    pub(crate) fn tell(&mut self, notice: impl Into<Option<NameNotice>>) {
        self.names.extend(notice.into());
    }

    /// Notes that claims have come to queues that have a supply; tells so after the commit.
    pub(crate) fn asked(&mut self, queues: impl IntoIterator<Item = QueueName>) {
        self.asked.extend(queues);
    }

    /// Notes that a task has become claimable, now or later; rings at the commit.
    pub(crate) fn ring(&mut self, queue: &QueueName, task_type: &TaskType, run_after: Timestamp) {
        let same = |ready: &&mut Ready| {
            ready.queue == *queue
                && ready.task_type.as_ref() == Some(task_type)
                && ready.run_after == run_after
        };
        match self.rings.last_mut().filter(|ready| same(ready)) {
            Some(ready) => ready.count += 1,
            None => self.rings.push(Ready {
                queue: queue.clone(),
                task_type: Some(task_type.clone()),
                count: 1,
                run_after,
            }),
        }
    }

    /// Notes that all of a queue has become claimable.
    pub(crate) fn ring_queue(&mut self, queue: &QueueName, now: Timestamp) {
        self.rings.push(Ready { queue: queue.clone(), task_type: None, count: u32::MAX, run_after: now });
    }

    /// Notes that one task of a queue has become claimable, whichever it is.
    pub(crate) fn ring_one(&mut self, queue: &QueueName, now: Timestamp) {
        self.rings.push(Ready { queue: queue.clone(), task_type: None, count: 1, run_after: now });
    }

    /// Rings before the commit whom that helps. Gives how many claims it has woken.
    pub(crate) fn ring_early(&mut self, doorbell: &dyn Doorbell) -> usize {
        let mut woken = 0;
        self.rings.retain(|ready| match doorbell.ring_early(ready) {
            Some(claims) => {
                woken += claims as usize;
                false
            }
            None => true,
        });
        woken
    }

    /// Decides a command about a stored task and writes what it changes. `None`: it was done before, by the same
    /// request.
    ///
    /// # Errors
    /// The refusal, before anything is written.
    pub(crate) fn transition(
        &mut self,
        stored: &Stored,
        command: &Command,
        now: Timestamp,
    ) -> Result<Option<Stored>, Failure> {
        let refused = |refusal: Refusal| StoreError::Refused { task: stored.head.id, refusal };
        match decide(&stored.head, command, now).map_err(refused)? {
            Decision::Repeat => Ok(None),
            Decision::Apply(change) => self.write(stored, *change, now).map(Some),
        }
    }

    /// Writes a change on the condition that the task is still as it was read: head, event, failure, tallies.
    pub(crate) fn write(
        &mut self,
        before: &Stored,
        change: Change,
        now: Timestamp,
    ) -> Result<Stored, Failure> {
        let at = Change::dated(now, before.updated_at);
        let head = &change.head;
        self.state.leased.take(&head.id);
        let changed = match &head.state {
            TaskState::Running(lease) => self
                .held
                .execute(
                    "UPDATE task SET state = 1, attempt = ?4, events = ?5, worker = ?6, session = ?7, \
                     claimed_at = ?8, expires_at = ?9, timeout_at = ?10, request = ?11, ended = NULL, updated_at = ?12, \
                     beats = ?13 \
                     WHERE n = ?1 AND state = ?2 AND attempt = ?3",
                    params![
                    before.n,
                    before.state_code(),
                    before.head.attempt,
                    head.attempt,
                    head.events,
                    lease.worker.as_str(),
                    lease.session.as_ref().map(baton_model::SessionId::as_bytes),
                    lease.claimed_at.as_millis(),
                    lease.expires_at.map(Timestamp::as_millis),
                    lease.timeout_at.map(Timestamp::as_millis),
                    lease.request.as_ref().map(baton_model::RequestKey::as_str),
                    at.as_millis(),
                    lease.beats,
                ])?,
            state => {
                let (generation, output) = match state {
                    TaskState::Completed { generation, output } => (Some(generation.as_bytes()), Some(output.as_bytes())),
                    _ => (None, None),
                };
                self.held
                    .execute(
                        "UPDATE task SET state = ?4, forgiven = ?5, events = ?6, run_after = ?7, ended = ?8, \
                         generation = ?9, output = ?10, updated_at = ?11, finished_at = ?12, worker_losses = ?13, start_by = ?14 \
                         WHERE n = ?1 AND state = ?2 AND attempt = ?3",
                    params![
                        before.n,
                        before.state_code(),
                        before.head.attempt,
                        state.state().code(),
                        head.forgiven,
                        head.events,
                        head.run_after.as_millis(),
                        head.ended.as_ref().map(|end| end.how.code()),
                        generation,
                        output,
                        at.as_millis(),
                        (state.state().is_final() && !before.links.waited_for && before.retention.is_none())
                            .then_some(at.as_millis()),
                        head.worker_losses,
                        head.expires_at.map(Timestamp::as_millis),
                    ])?
            }
        };
        if changed != 1 {
            // The one writer has read the row in this very transaction.
            return Err(Failure::Refused(StoreError::Internal {
                what: format!("task {} changed under its only writer", head.id),
                cause: None,
            }));
        }
        let to = head.state.state();
        self.event(
            before.n,
            head.events,
            at,
            change.kind,
            Some(change.from),
            to,
            head.attempt,
            &change.detail,
        )?;
        match change.error {
            Some(Some(failure)) => {
                self.db
                    .prepare_cached("INSERT OR REPLACE INTO task_error (n, error) VALUES (?1, ?2)")?
                    .execute(params![before.n, to_json("a failure", &failure)?])?;
            }
            // The first attempt has no failure before it.
            Some(None) if head.attempt != 1 => {
                self.db.prepare_cached("DELETE FROM task_error WHERE n = ?1")?.execute([before.n])?;
            }
            Some(None) | None => {}
        }
        if let TaskState::Running(lease) = &before.head.state
            && matches!(change.kind, EventKind::AttemptFailed | EventKind::LeaseLost)
        {
            self.duration(&before.queue, What::Failed, now, now.since(lease.claimed_at));
        }
        if change.from == TaskStateTag::Blocked {
            note_blocked(self.db, before.n, false)?;
        }
        if before.unique.is_some() && to.is_final() {
            unique::tidy(self.db, before)?;
        }
        if before.retention.is_some() {
            kept::follow(self.db, before, to, at)?;
        }
        if before.links.waited_for && to.is_final() {
            keep(self.db, before.n)?;
        }
        if before.links.waits && change.from.is_final() && !to.is_final() {
            // It lives again, and needs what it depends on.
            self.state.leased.clear();
            mark_waited_for(self.db, &dependencies_of(self.db, before.n)?)?;
        }
        if to == TaskStateTag::Blocked {
            note_blocked(self.db, before.n, true)?;
        }
        let queue = change.queue.as_ref().unwrap_or(&before.queue);
        self.tally(&before.queue, &before.task_type, change.from, -1);
        self.tally(queue, &before.task_type, to, 1);
        if to == TaskStateTag::Queued {
            self.ring(queue, &before.task_type, head.run_after);
        }
        if to != TaskStateTag::Running && !to.is_final() {
            self.state.expiring.note(head.expires_at);
        }
        let (worker, claimed_at) = match &head.state {
            TaskState::Running(lease) => (Some(lease.worker.clone()), Some(lease.claimed_at)),
            _ => (before.worker.clone(), before.claimed_at),
        };
        let mut after = Stored {
            finished_at: to.is_final().then_some(at),
            updated_at: at,
            worker,
            claimed_at,
            head: change.head,
            at_limit: None,
            ..before.clone()
        };
        if let Some(queue) = change.queue {
            after.queue = queue;
        }
        if before.at_limit.is_some() {
            self.db.prepare_cached("UPDATE task SET waits_at = NULL WHERE n = ?1")?.execute([before.n])?;
        }
        if !self.state.limits.is_empty() {
            limit::follow(self, before, &after, now)?;
        }
        if let Some(batch) = before.batch {
            batches::follow(self, (batch, after.head.id), (Some(change.from), to), now)?;
        }
        Ok(after)
    }

    /// Appends an event to a task's history.
    #[expect(clippy::too_many_arguments, reason = "one argument a column, at two callers")]
    pub(crate) fn event(
        &mut self,
        n: i64,
        seq: u32,
        at: Timestamp,
        kind: EventKind,
        from: Option<TaskStateTag>,
        to: TaskStateTag,
        attempt: u32,
        detail: &EventDetail,
    ) -> Result<(), Failure> {
        let rest = EventDetail { worker: None, session: None, ..detail.clone() };
        let rest = if rest == EventDetail::default() { None } else { Some(to_json("an event", &rest)?) };
        self.held.execute(
            "INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker, session, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                n << EVENT_BITS | i64::from(seq),
                at.as_millis(),
                kind.code(),
                from.map(Code::code),
                to.code(),
                attempt,
                detail.worker.as_ref().map(WorkerId::as_str),
                detail.session.as_ref().map(baton_model::SessionId::as_bytes),
                rest,
            ],
        )?;
        self.events.push((n << EVENT_BITS | i64::from(seq), at.as_millis()));
        Ok(())
    }

    /// How many events the commit has until now.
    pub(crate) fn told(&self) -> usize {
        self.events.len()
    }

    /// Leaves the events that came behind so many out of the one order of all: they happened before, and elsewhere.
    pub(crate) fn tell_no_more_than(&mut self, told: usize) {
        self.events.truncate(told);
    }

    /// Makes a queue known that a task names.
    pub(crate) fn know_queue(&mut self, queue: &QueueName, now: Timestamp) -> Result<(), Failure> {
        if self.state.queues.contains(queue) {
            return Ok(());
        }
        self.db
            .prepare_cached(
                "INSERT INTO queue (name, paused, changed_at, used) VALUES (?1, 0, ?2, 1) \
                 ON CONFLICT DO UPDATE SET used = 1 WHERE used = 0",
            )?
            .execute(params![queue.as_str(), now.as_millis()])?;
        if self.state.queues.len() < KNOWN_QUEUES {
            self.state.queues.insert(queue.clone());
        }
        Ok(())
    }
}
