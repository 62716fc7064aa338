//! One change of a task: decided on the head that was read, written on the condition that it is still so.
//!
//! The number of its events names every state that a task is ever in, as each change adds one and none takes any away;
//! together with the time of creation (an id may be created again after its purge) it is the condition of every write.
//! Each write leaves a mark of its own, so that a write whose answer was lost is known again when its second sending
//! finds the condition broken.

use baton_model::transition::{Change, Command, Decision, decide};
use baton_model::{Bounds, Ended, EventKind, Fence, SessionId, State, TaskId, TaskState, Timestamp};
use baton_store::{Ready, StoreError};

use crate::attr::{Item, b, n, s, time};
use crate::batches::BATCH;
use crate::codes::Code;
use crate::ends::{ENDS, OWN_KEEPING};
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::history::{INLINE_HISTORY, entry_of};
use crate::kept::MARK;
use crate::keys::{self, Kind};
use crate::lane::Lane;
use crate::limit::{PLACE, WAITS_AT};
use crate::row::Stored;
use crate::store::Inner;
use baton_store::histogram::What;

/// How often a command is decided anew because others changed its task under it.
pub(crate) const ROUNDS: u32 = 32;

/// What became of a command about a task.
pub(crate) enum Outcome {
    /// It was written: the task after it.
    Applied(Box<Stored>),
    /// It was done before by the same request.
    Repeated(Box<Stored>),
}

impl Inner {
    pub(crate) fn task_key(&self, id: TaskId) -> Item {
        keys::by_id(Kind::Task, id.as_bytes(), &id, self.spread)
    }

    /// A mark for a write: drawn, and made of what is written, so that even processes that were given the same seed do
    /// not take each other's writes for their own.
    pub(crate) fn mark(&self, of: &impl std::fmt::Debug) -> u64 {
        self.db.draw() ^ keys::hash(format!("{of:?}").as_bytes())
    }

    /// A task's item as of now, if the task exists.
    pub(crate) async fn find(&self, id: TaskId) -> Result<Option<Stored>, StoreError> {
        let stored = self.db.get(self.task_key(id)).await?.as_ref().map(Stored::read).transpose()?;
        Ok(stored.filter(|stored| !stored.purged))
    }

    /// A task as it was a moment ago, at half the price: good for a change, whose write tells, but for no refusal.
    pub(crate) async fn find_lately(&self, id: TaskId) -> Result<Option<Stored>, StoreError> {
        let stored = self.db.get_lately(self.task_key(id)).await?.as_ref().map(Stored::read).transpose()?;
        Ok(stored.filter(|stored| !stored.purged))
    }

    /// A task that must be there.
    pub(crate) async fn known(&self, id: TaskId) -> Result<Stored, StoreError> {
        self.find(id).await?.ok_or(StoreError::TaskNotFound(id))
    }

    /// A task as it is remembered, if a command changes it so. That may be old: it is good for a change, whose write tells, but for no
    /// refusal.
    pub(crate) fn to_change(&self, id: TaskId, command: &Command, now: Timestamp) -> Option<Stored> {
        let given = self.notes.recall(id)?;
        matches!(decide(&given.head, command, now), Ok(Decision::Apply(_))).then_some(given)
    }

    /// Carries out a command about one task, anything but a completion.
    pub(crate) async fn apply(
        &self,
        id: TaskId,
        command: &Command,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let before = match self.to_change(id, command, now) {
            Some(given) => given,
            None => self.known(id).await?,
        };
        self.apply_to(before, command, now).await
    }

    /// Carries out a command about a task as it was read or is remembered.
    pub(crate) async fn apply_to(
        &self,
        before: Stored,
        command: &Command,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.apply_within(before, None, command, now).await
    }

    /// As [`Self::apply_to`], by a caller who was found to reach the task as it was read, and is judged anew by each other state of it.
    pub(crate) async fn apply_within(
        &self,
        mut before: Stored,
        caller: Option<(&Bounds, &Fence)>,
        command: &Command,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let id = before.head.id;
        let mark = self.mark(&(command, now));
        for _ in 0..ROUNDS {
            let change = match decide(&before.head, command, now) {
                Err(refusal) => return Err(StoreError::Refused { task: id, refusal }),
                Ok(Decision::Repeat) => return Ok(Outcome::Repeated(Box::new(before))),
                Ok(Decision::Apply(change)) => change,
            };
            if before.is_final() {
                // Before the task lives again: nothing of what lives may have an end. Also where the task has none: a walk
                // that was cut off has dated what is apart first.
                self.undate_what_is_apart(&before).await?;
            }
            match self.write(&before, &change, now, mark).await {
                Ok(item) => {
                    let after = Stored::read(&item)?;
                    self.changed(&before, &after, now);
                    self.date_what_is_apart(&after).await;
                    self.leave(&before, &after, now).await;
                    self.tidy_ended(&after).await;
                    self.note_in_batch(&after, before.head.state.state(), now).await;
                    return Ok(Outcome::Applied(Box::new(after)));
                }
                Err(WriteError::Condition(None)) => return Err(StoreError::TaskNotFound(id)),
                Err(WriteError::Condition(Some(item))) => {
                    before = Stored::standing(&item)?;
                    if let Some((caller, fence)) = caller {
                        self.reach(&before, caller, fence).await?;
                    }
                }
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the task"))
    }

    /// Writes a change; the answer is the item after it.
    ///
    /// # Errors
    /// [`WriteError::Condition`] with the item as it stands, if the task is no longer as it was read.
    pub(crate) async fn write(
        &self,
        before: &Stored,
        change: &Change,
        now: Timestamp,
        mark: u64,
    ) -> Result<Item, WriteError> {
        let task = || self.task_key(before.head.id);
        let update = self.update_of(before, change, now, mark).await?;
        match self.db.update(task(), &update).await {
            Err(WriteError::Condition(Some(item))) if is_marked(&item, mark)? => Ok(item),
            // It is as it was read, but was changed later than an entry of the index tells.
            Err(WriteError::Condition(Some(item))) if before.rest.is_none() && is_still(&item, before)? => {
                let standing = Stored::standing(&item)?;
                let change = decided_by_item(change, before, &standing);
                let update = self.update_of(&standing, &change, now, mark).await?;
                match self.db.update(task(), &update).await {
                    Err(WriteError::Condition(Some(item))) if is_marked(&item, mark)? => Ok(item),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// The update of a task's item that a change asks for. Writes what is kept apart from the item.
    pub(crate) async fn update_of(
        &self,
        before: &Stored,
        change: &Change,
        now: Timestamp,
        mark: u64,
    ) -> Result<Expression, StoreError> {
        let head = &change.head;
        let id = head.id;
        let at = Change::dated(now, before.changed_at());
        let written = entry_of(change, at)?;
        if let Some((text, whole)) = &written.apart {
            self.db.write_text(&keys::apart(&id), text, whole, None).await?;
        }
        let mut update = Expression::new()
            .when("ev", "=", n(before.head.events))
            .when("ca", "=", time(before.created_at))
            .set("ev", n(head.events))
            .set("st", n(head.state.state().code()))
            .set("ua", time(at))
            .set("nc", n(mark));
        if before.rest.is_none() {
            update = update.when("ua", "<=", time(at));
        }

        let grown = before.history_bytes + u32::try_from(written.entry.len()).unwrap_or(u32::MAX);
        if grown <= INLINE_HISTORY {
            update = update.append("hl", s(&written.entry)).set("hb", n(grown));
        } else {
            self.spill(before).await?;
            update = update
                .set("hl", crate::db::list([s(&written.entry)].into_iter()))
                .set("hb", n(written.entry.len()))
                .set("hs", n(before.head.events));
        }
        match &change.error {
            Some(Some(_)) => update = update.set("es", n(head.events)),
            Some(None) => update = update.remove("es"),
            None => {}
        }
        if head.forgiven != before.head.forgiven {
            update = update.set("fg", n(head.forgiven));
        }
        if head.worker_losses != before.head.worker_losses {
            update = update.put("wl", (head.worker_losses > 0).then(|| n(head.worker_losses)));
        }
        if head.expires_at != before.head.expires_at {
            update = update.put("xa", head.expires_at.map(time));
        }
        if head.run_after != before.head.run_after {
            update = update.set("ra", time(head.run_after));
        }
        if change.kind == EventKind::Changed {
            update = update
                .maybe("pr", change.priority.map(|priority| n(priority.code())))
                .maybe("qu", change.queue.as_ref().map(|queue| s(queue.as_str())))
                .put("to", head.timeout.map(|timeout| n(timeout.as_millis())))
                .set("mx", n(head.max_attempts));
        }
        // An end is the latest one's only. Also one that a retry by a former version has left on the task goes.
        let is_final = head.state.state().is_final();
        let ends = if is_final { self.ends_of(before, at) } else { None };
        if is_final && !before.waited_for {
            // Who ends a task hears of those that depend on it; that costs nothing where there are none.
            update = update.when_absent(MARK);
        }
        update = update.put(ENDS, ends.map(n));
        if is_final && before.rest.is_none() {
            // An entry of the index does not tell that the task is kept for a time of its own, or is one of a batch: then it is read.
            update = update.when_absent(OWN_KEEPING).when_absent(BATCH);
        }
        // Where it waits at a limit, it does so no longer.
        update = update.remove(WAITS_AT).remove(PLACE);
        let was_running = matches!(before.head.state, TaskState::Running(_));
        Ok(match &head.state {
            TaskState::Running(lease) => update
                .set("at", n(head.attempt))
                .set("wk", s(lease.worker.as_str()))
                .set("cl", time(lease.claimed_at))
                .put("ss", lease.session.map(|session: SessionId| b(*session.as_bytes())))
                .put("ex", lease.expires_at.map(time))
                .put("tm", lease.timeout_at.map(time))
                .put("rq", lease.request.as_ref().map(|request| s(request.as_str())))
                .put("bt", lease.beats.map(n))
                .remove("en")
                .set("ip", s(keys::held(&lease.worker)))
                .set("is", s(keys::place(lease.claimed_at, id))),
            state => {
                if was_running {
                    update = update.remove("ss").remove("ex").remove("tm").remove("rq").remove("bt");
                }
                update = update.put("en", head.ended.as_ref().map(|end| n(Ended::code(end.how))));
                match state {
                    TaskState::Queued => {
                        if was_running && head.attempts_used() == 0 {
                            self.note_expiry(id, head.expires_at).await?;
                        }
                        let partition = self.partition_for(before, change, now).await?;
                        update.set("ip", s(partition)).set("is", s(keys::waiting_place(head)))
                    }
                    TaskState::Completed { generation, output } => update
                        .set("gn", b(*generation.as_bytes()))
                        .set("od", b(*output.as_bytes()))
                        .remove("ip")
                        .remove("is"),
                    TaskState::Running(_) => update,
                    // It lies where it lay, by when it came to be blocked.
                    TaskState::Blocked if change.from == State::Blocked => {
                        if let Some(queue) = &change.queue {
                            self.know_queue(queue, now).await?;
                        }
                        update
                    }
                    TaskState::Blocked => {
                        let part = keys::hash(id.as_bytes()) % self.spread;
                        update.set("ip", s(keys::blocked(part))).set("is", s(keys::place(at, id)))
                    }
                    TaskState::Failed | TaskState::Cancelled => {
                        let part = keys::hash(id.as_bytes()) % self.spread;
                        update
                            .set("ip", s(keys::given_up(state.state(), part)))
                            .set("is", s(keys::place(at, id)))
                    }
                }
            }
        })
    }

    /// The partition of the index where a task is to wait again, with another priority and in another queue if the change says so.
    async fn partition_for(
        &self,
        stored: &Stored,
        change: &Change,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let read;
        let rest = match &stored.rest {
            Some(rest) => rest,
            None => {
                read = self.known(stored.head.id).await?;
                read.rest()?
            }
        };
        let pair = (&stored.project, &stored.task_type);
        let own = Lane::of(pair, rest.concurrency_key.as_ref(), rest.affinity.as_ref());
        let priority = change.priority.unwrap_or(rest.priority);
        let queue = change.queue.as_ref().unwrap_or(&stored.queue);
        let lane = self.lane_for(queue, priority, own, now).await?;
        let shard = keys::shard(stored.head.id, self.options.shards_of(queue));
        Ok(keys::ready(queue, priority, shard, lane))
    }

    /// Keeps the history so far apart from its task, whose item is about to let go of it.
    async fn spill(&self, before: &Stored) -> Result<(), StoreError> {
        let id = before.head.id;
        let read;
        let rest = match &before.rest {
            Some(rest) => rest,
            None => {
                read = self.known(id).await?;
                // Changed since: the condition of the write that follows will not hold.
                if read.head.events != before.head.events {
                    return Ok(());
                }
                read.rest()?
            }
        };
        self.db.archive((id, before.created_at), rest.spilled + 1, &rest.history).await
    }

    /// What follows from a change that was written: counts, and the bell.
    pub(crate) fn changed(&self, before: &Stored, after: &Stored, now: Timestamp) {
        let (from, to) = (before.head.state.state(), after.head.state.state());
        let mut stats = self.stats.lock();
        stats.tally(&before.queue, &after.task_type, from, -1);
        stats.tally(&after.queue, &after.task_type, to, 1);
        stats.end(&before.queue, &after.task_type, from, before.ends, -1);
        stats.end(&after.queue, &after.task_type, to, after.ends, 1);
        match to {
            State::Running => {
                // A task may have been due before it was created; it has waited from then on only.
                let ready_since = before.head.run_after.max(before.created_at);
                stats.duration(&after.queue, What::Wait, now, now.since(ready_since));
            }
            State::Queued | State::Failed
                if after.head.ended.as_ref().is_some_and(|end| end.how.is_failure()) =>
            {
                if let TaskState::Running(lease) = &before.head.state {
                    stats.duration(&before.queue, What::Failed, now, now.since(lease.claimed_at));
                }
            }
            // How long a completed attempt ran, its generation tells.
            State::Completed | State::Blocked | State::Queued | State::Failed | State::Cancelled => {}
        }
        drop(stats);
        if to == State::Queued {
            self.doorbell.ring(Ready {
                queue: after.queue.clone(),
                task_type: Some(after.task_type.clone()),
                count: 1,
                run_after: after.head.run_after,
            });
        }
    }
}

/// Whether a task's item is in the very state that was read before.
fn is_still(item: &Item, before: &Stored) -> Result<bool, StoreError> {
    let stored = Stored::read(item)?;
    let same = stored.head.events == before.head.events && stored.created_at == before.created_at;
    Ok(same && !stored.purged)
}

/// A change that was decided by an entry of the index, as the item would have it: an entry does not tell how often the task was lost with its
/// workers, so that a change by it, as a claim is, leaves that as it is.
pub(crate) fn decided_by_item(change: &Change, entry: &Stored, item: &Stored) -> Change {
    let mut change = change.clone();
    if change.head.worker_losses == entry.head.worker_losses {
        change.head.worker_losses = item.head.worker_losses;
    }
    change
}

/// Whether an item's latest write is the one with this mark.
pub(crate) fn is_marked(item: &Item, mark: u64) -> Result<bool, StoreError> {
    Ok(crate::attr::Fields(item).maybe_number("nc")? == Some(mark))
}
