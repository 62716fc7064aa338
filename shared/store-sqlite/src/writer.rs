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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
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
    sender: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(
        db: Connection,
        state: State,
        condition: Arc<Condition>,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("baton-writer".to_owned())
            .spawn(move || {
                run(&db, state, &condition, &*doorbell, receiver);
                // The condition holds the file, which is let go of after the connection.
                drop(db);
                drop(condition);
            })
            .map_err(|error| StoreError::Internal {
                what: "cannot start the writing thread".to_owned(),
                cause: Some(error.into()),
            })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Runs a command on the writing thread and gives its outcome once it is committed. Waits while too many wait.
    pub(crate) async fn run<C: Send + 'static, R: Send + 'static>(
        &self,
        command: C,
        apply: fn(&mut Transaction<'_>, &C) -> Result<R, Failure>,
    ) -> Result<R, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Command { command, apply, outcome: None, reply });
        let sender = self.sender.as_ref().ok_or(StoreError::Busy)?;
        sender.send(job).await.map_err(|_| StoreError::Busy)?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Unknown("the writing thread ended before it answered".into()))
        })
    }
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

fn run(
    db: &Connection,
    mut state: State,
    condition: &Condition,
    doorbell: &dyn Doorbell,
    mut receiver: mpsc::Receiver<Box<dyn Job>>,
) {
    let mut group: Vec<Box<dyn Job>> = Vec::with_capacity(GROUP);
    let held = Held::new(db);
    let held: &dyn Statements = &held;
    let mut expected = 1;
    while let Some(first) = receiver.blocking_recv() {
        group.push(first);
        gather(&mut receiver, &mut group, expected);
        expected = group.len();
        let began = Instant::now();
        let committed = commit(db, held, &mut state, condition, doorbell, &mut group);
        state.last_group = began.elapsed().saturating_sub(std::mem::take(&mut state.purging));
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
                for mut job in group.drain(..) {
                    match commit(db, held, &mut state, condition, doorbell, std::slice::from_mut(&mut job)) {
                        Ok(()) => job.answer(),
                        Err(error) => {
                            condition.note(Side::Writing, &error);
                            job.fail(error);
                        }
                    }
                }
            }
        }
    }
    // Fold the log into the file, so that a copy of the file alone is whole. If that fails, the next start does it.
    if let Err(error) = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "could not fold the write-ahead log into the database at closing");
    }
}

/// Takes what waits, and gives the senders of the group before a moment to come back: callers that wait for their answers
/// are all there again shortly after it, and one commit for all of them costs half of two.
fn gather(receiver: &mut mpsc::Receiver<Box<dyn Job>>, group: &mut Vec<Box<dyn Job>>, expected: usize) {
    let began = Instant::now();
    loop {
        while group.len() < GROUP
            && let Ok(job) = receiver.try_recv()
        {
            group.push(job);
        }
        if group.len() >= expected || began.elapsed() >= GATHERING {
            return;
        }
        std::thread::yield_now();
    }
}

/// Runs a group in one transaction. On an error, nothing of it was changed.
fn commit(
    db: &Connection,
    held: &dyn Statements,
    state: &mut State,
    condition: &Condition,
    doorbell: &dyn Doorbell,
    group: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<_, StoreError> {
        condition.is_there()?;
        held.execute("BEGIN IMMEDIATE", [])?;
        state.limits.ensure_loaded(db)?;
        let mut transaction = Transaction::new(db, held, &mut *state);
        for job in group {
            job.run(&mut transaction)?;
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
            after.rings.into_iter().for_each(|ready| doorbell.ring(ready));
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
