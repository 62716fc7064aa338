//! The one thread that writes, and its group commit.
//!
//! Commands arrive through a bounded channel. The thread takes all that wait, up to [`GROUP`], runs them in one
//! transaction, and answers them after its commit, so that many commands share one sync of the disk: 3.5 times as many
//! lifecycles a second at 8 callers as with a commit each, 8.8 times at 64.
//!
//! Each command keeps its own outcome. A refusal has written nothing ([`Failure::Refused`]), so its neighbours stand.
//! If SQLite itself fails ([`Failure::Broken`]), the group is undone and run again, each command by itself: none has
//! been answered yet, and only the one that fails alone is told so. A savepoint a command would do the same at the price
//! of a copy of every page that it touches.
//!
//! A claim that waits is woken before the commit of what it waits for, and takes part in it ([`commit`]). Heartbeats, which nobody
//! waits for, go with others' groups ([`Patient`]).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton_store::{Doorbell, StoreError};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::Failure;
use crate::expiry::Next;
use crate::health::{Condition, Side};
use crate::held::{Held, Statements};
use crate::transaction::{State, Transaction};

/// The most commands in one commit.
pub(crate) const GROUP: usize = 256;

/// How long a group that is smaller than the one before it waits for more: about as long as half a sync of the disk.
const GATHERING: Duration = Duration::from_micros(100);

/// How long a group waits for the claims that it has woken: a waiting claim is there after 50 us or so.
const LATE: Duration = Duration::from_micros(200);

/// The most commands that wait before senders do.
const WAITING: usize = 4_096;

/// A command on its way to the writing thread.
trait Job: Send {
    /// Runs the command within a transaction that may yet be undone; keeps the outcome.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError>;
    /// Answers with the kept outcome.
    fn answer(self: Box<Self>);
    /// Answers with a failure instead.
    fn fail(self: Box<Self>, failure: StoreError);
}

struct Command<C, R> {
    command: C,
    apply: fn(&mut Transaction<'_>, &C) -> Result<R, Failure>,
    outcome: Option<Result<R, StoreError>>,
    reply: oneshot::Sender<Result<R, StoreError>>,
}

impl<C: Send, R: Send> Job for Command<C, R> {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.outcome = Some(match (self.apply)(transaction, &self.command) {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Broken(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| {
            Err(StoreError::Internal { what: "a command was answered before it ran".to_owned(), cause: None })
        });
        // A caller that has gone away does not change what was committed.
        drop(self.reply.send(outcome));
    }

    fn fail(self: Box<Self>, failure: StoreError) {
        drop(self.reply.send(Err(failure)));
    }
}

/// The way to the writing thread. Dropping the last one ends the thread, after it has run what still waited.
pub(crate) struct Writer {
    sender: Option<mpsc::Sender<Sent>>,
    patient: Arc<Patient>,
    thread: Option<JoinHandle<()>>,
}

/// A command, or nothing but that commands which wait in [`Patient`] are due.
type Sent = Option<Box<dyn Job>>;

/// Commands that nobody waits for: they go with the next group, whoever's it is, and make one of their own no more often than
/// [`Patient::apart`].
struct Patient {
    apart: Duration,
    waiting: Mutex<PatientJobs>,
}

struct PatientJobs {
    jobs: VecDeque<Box<dyn Job>>,
    /// When some were last taken.
    taken: Instant,
    /// Whether somebody is about to tell the thread that some are due: one at a time, so that they make no more groups than that.
    told: bool,
    /// Whether the thread has ended, however it has.
    closed: bool,
}

impl Patient {
    fn new(apart: Duration) -> Self {
        let waiting =
            PatientJobs { jobs: VecDeque::new(), taken: Instant::now(), told: false, closed: false };
        Self { apart, waiting: Mutex::new(waiting) }
    }

    fn waiting(&self) -> MutexGuard<'_, PatientJobs> {
        // The queue is whole between its methods' statements even if one of them were to panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a command wait; gives from when on it is due if nobody is about to tell that. It comes back if too many wait, or the thread has
    /// ended.
    fn add(&self, job: Box<dyn Job>) -> Result<Option<Instant>, Box<dyn Job>> {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.jobs.len() >= WAITING {
            return Err(job);
        }
        waiting.jobs.push_back(job);
        let first = !std::mem::replace(&mut waiting.told, true);
        Ok(first.then(|| waiting.taken + self.apart))
    }

    /// Adds those that have waited longest to a group, until it has `most` commands. Says whether some are left.
    fn take(&self, group: &mut Vec<Box<dyn Job>>, most: usize) -> bool {
        if self.apart.is_zero() {
            return false;
        }
        let mut waiting = self.waiting();
        let room = most.saturating_sub(group.len()).min(waiting.jobs.len());
        if room > 0 {
            group.extend(waiting.jobs.drain(..room));
            waiting.taken = Instant::now();
        }
        !waiting.jobs.is_empty()
    }
}

/// Says so when nobody is about to tell the thread any more, whatever has become of who was.
struct Telling(Arc<Patient>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.waiting().told = false;
    }
}

/// Has nobody wait for a thread that has ended: those who do hear that they do not know.
struct Closing<'a>(&'a Patient);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.closed = true;
        waiting.jobs.clear();
    }
}

impl Writer {
    /// Starts the thread on a connection of its own. Patient commands make groups of their own no more often than `apart`.
    pub(crate) fn start(
        db: Connection,
        state: State,
        condition: Arc<Condition>,
        doorbell: Arc<dyn Doorbell>,
        apart: Duration,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let patient = Arc::new(Patient::new(apart));
        let waiting = Arc::clone(&patient);
        let thread = std::thread::Builder::new()
            .name("baton-writer".to_owned())
            .spawn(move || {
                {
                    let _closing = Closing(&waiting);
                    let held = Held::new(&db);
                    let desk = Desk { db: &db, held: &held, condition: &condition, doorbell: &*doorbell };
                    run(&desk, state, &waiting, receiver);
                }
                // The condition holds the file, which is let go of after the connection.
                drop(db);
                drop(condition);
            })
            .map_err(|error| StoreError::Internal {
                what: "cannot start the writing thread".to_owned(),
                cause: Some(error.into()),
            })?;
        Ok(Self { sender: Some(sender), patient, thread: Some(thread) })
    }

    /// Runs a command on the writing thread and gives its outcome once it is committed. Waits while too many wait.
    pub(crate) async fn run<C: Send + 'static, R: Send + 'static>(
        &self,
        command: C,
        apply: fn(&mut Transaction<'_>, &C) -> Result<R, Failure>,
    ) -> Result<R, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Box::new(Command { command, apply, outcome: None, reply })).await?;
        answered(answer).await
    }

    /// As [`Self::run`], of a command whose caller can wait for a moment: it shares the commit of others.
    pub(crate) async fn run_patiently<C: Send + 'static, R: Send + 'static>(
        &self,
        command: C,
        apply: fn(&mut Transaction<'_>, &C) -> Result<R, Failure>,
    ) -> Result<R, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Command { command, apply, outcome: None, reply });
        if self.patient.apart.is_zero() {
            self.send(job).await?;
            return answered(answer).await;
        }
        match self.patient.add(job) {
            Ok(Some(due)) => self.tell_at(due),
            // Another has the thread told.
            Ok(None) => {}
            Err(job) => self.send(job).await?,
        }
        answered(answer).await
    }

    async fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let sender = self.sender.as_ref().ok_or(StoreError::Busy)?;
        sender.send(Some(job)).await.map_err(|_| StoreError::Busy)
    }

    /// Has the thread look for what waits patiently, once that is due.
    fn tell_at(&self, due: Instant) {
        let telling = Telling(Arc::clone(&self.patient));
        // Not by the caller's own waiting, as it may go away.
        let Some(sender) = self.sender.as_ref().map(mpsc::Sender::downgrade) else { return };
        tokio::spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            // Before it is told: who comes from here on may be too late for that.
            drop(telling);
            if let Some(sender) = sender.upgrade() {
                // Where there is no room, a group comes anyway; a thread that has ended has looked.
                drop(sender.try_send(None));
            }
        });
    }
}

async fn answered<R>(answer: oneshot::Receiver<Result<R, StoreError>>) -> Result<R, StoreError> {
    answer
        .await
        .unwrap_or_else(|_| Err(StoreError::Unknown("the writing thread ended before it answered".into())))
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writing thread of the task store panicked");
        }
    }
}

/// What the writing thread works with.
struct Desk<'a> {
    db: &'a Connection,
    held: &'a dyn Statements,
    condition: &'a Condition,
    doorbell: &'a dyn Doorbell,
}

fn run(desk: &Desk<'_>, mut state: State, patient: &Patient, mut receiver: mpsc::Receiver<Sent>) {
    let mut group: Vec<Box<dyn Job>> = Vec::with_capacity(GROUP);
    let mut expected = 1;
    let mut more = false;
    let mut open = true;
    while open || more {
        if more {
            // What others' groups had no room for goes first, and leaves room for others.
            patient.take(&mut group, GROUP / 2);
        } else {
            match receiver.blocking_recv() {
                Some(first) => group.extend(first),
                None => open = false,
            }
        }
        let patients = if more { group.len() } else { 0 };
        let wanted = if more { 0 } else { expected };
        gather(&mut receiver, &mut group, wanted, GATHERING);
        expected = group.len() - patients;
        more = patient.take(&mut group, GROUP);
        if !group.is_empty() {
            more |= run_group(desk, &mut state, &mut receiver, &mut group);
        }
    }
    // Fold the log into the file, so that a copy of the file alone is whole. If that fails, the next start does it.
    if let Err(error) = desk.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "could not fold the write-ahead log into the database at closing");
    }
}

/// Runs a group and answers it; leaves it empty. Says whether it has heard meanwhile that patient commands are due.
fn run_group(
    desk: &Desk<'_>,
    state: &mut State,
    receiver: &mut mpsc::Receiver<Sent>,
    group: &mut Vec<Box<dyn Job>>,
) -> bool {
    let condition = desk.condition;
    let mut told = false;
    let began = Instant::now();
    let committed = commit(desk, state, Some((receiver, &mut told)), group);
    let took = began.elapsed();
    state.last_group = took.saturating_sub(std::mem::take(&mut state.purging));
    if committed.is_ok() {
        condition.commits.count(group.len(), took);
    }
    match committed {
        Ok(()) => group.drain(..).for_each(|job| job.answer()),
        Err(StoreError::Gone { .. }) => group.drain(..).for_each(|job| job.fail(condition.gone())),
        // Another program holds the file: each command alone would wait as long again.
        Err(StoreError::Unavailable(cause)) => {
            tracing::warn!(%cause, commands = group.len(), "the database cannot be written");
            let cause = cause.to_string();
            group.drain(..).for_each(|job| job.fail(StoreError::Unavailable(cause.clone().into())));
        }
        Err(error) => {
            let error = error.report();
            tracing::warn!(
                error,
                commands = group.len(),
                "a group commit failed: running its commands singly"
            );
            let mut alone = Vec::with_capacity(1);
            for job in group.drain(..) {
                alone.push(job);
                let committed = commit(desk, state, None, &mut alone);
                if let Err(error) = &committed {
                    condition.note(Side::Writing, error);
                }
                if let Some(job) = alone.pop() {
                    match committed {
                        Ok(()) => job.answer(),
                        Err(error) => job.fail(error),
                    }
                }
            }
        }
    }
    told
}

/// Takes what waits, and gives the senders of the group before a moment to come back: callers that wait for their answers
/// are all there again shortly after it, and one commit for all of them costs half of two. Says whether it has heard that patient
/// commands are due.
fn gather(
    receiver: &mut mpsc::Receiver<Sent>,
    group: &mut Vec<Box<dyn Job>>,
    expected: usize,
    patience: Duration,
) -> bool {
    let began = Instant::now();
    let mut told = false;
    loop {
        while group.len() < GROUP
            && let Ok(job) = receiver.try_recv()
        {
            told |= job.is_none();
            group.extend(job);
        }
        if group.len() >= expected.min(GROUP) || began.elapsed() >= patience {
            return told;
        }
        std::thread::yield_now();
    }
}

/// Runs a group in one transaction, and with it the claims that it wakes, if there is where they come in; notes there whether that told
/// of patient commands. On an error, nothing of it was changed.
fn commit(
    desk: &Desk<'_>,
    state: &mut State,
    late: Option<(&mut mpsc::Receiver<Sent>, &mut bool)>,
    group: &mut Vec<Box<dyn Job>>,
) -> Result<(), StoreError> {
    let Desk { db, held, condition, doorbell } = *desk;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<_, StoreError> {
        condition.is_there()?;
        held.execute("BEGIN IMMEDIATE", [])?;
        state.limits.ensure_loaded(db)?;
        let mut transaction = Transaction::new(db, held, &mut *state);
        for job in group.iter_mut() {
            job.run(&mut transaction)?;
        }
        if let Some((late, told)) = late {
            // Who waits for what this group has created is woken before its commit and not after it: the claim comes while the
            // group can still take it along, and what it is given is answered with the sync of the disk that the task itself needs.
            let woken = transaction.ring_early(doorbell);
            if woken > 0 {
                let ran = group.len();
                *told |= gather(late, group, ran + woken, LATE);
                for job in &mut group[ran..] {
                    job.run(&mut transaction)?;
                }
            }
        }
        let after = transaction.finish()?;
        held.execute("COMMIT", [])?;
        // After the commit and before its answers: nobody is told of what went into a file that was no longer there.
        condition.look()?;
        Ok(after)
    }));
    match outcome {
        Ok(Ok(after)) => {
            state.tokens.apply(after.tokens);
            if let Some(fed) = after.fed {
                state.fed.send_replace(fed as u64);
            }
            after.names.iter().for_each(|notice| notice.log(&state.policy));
            for ready in after.rings {
                doorbell.ring(ready);
            }
            after.asked.iter().for_each(|queue| doorbell.asked(queue));
            Ok(())
        }
        Ok(Err(error)) => {
            roll_back(db, state);
            Err(error)
        }
        Err(_) => {
            roll_back(db, state);
            Err(StoreError::Internal { what: "a database command panicked".to_owned(), cause: None })
        }
    }
}

fn roll_back(db: &Connection, state: &mut State) {
    state.queues.clear();
    state.limits.forget();
    state.expiring = Next::Unknown;
    state.supplied.forget();
    state.defaults = None;
    state.feed_next = None;
    state.leased.clear();
    state.workers.clear();
    if !db.is_autocommit()
        && let Err(error) = db.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "could not roll back");
    }
}
