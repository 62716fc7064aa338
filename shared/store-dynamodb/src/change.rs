//! Removing tasks that have ended, and changing those that wait: one conditional write, which moves the task's entry in the index to the
//! place of its new priority, queue and time.
//!
//! A task that waits at a limit comes out of its list by it, and lies where claims look: the next one that meets it puts it aside again,
//! at its new place ([`Inner::leave`] lets another go in its stead).

use std::time::Duration;

use baton_model::change::Standing;
use baton_model::transition::{Decision, Refusal, decide};
use baton_model::{Task, TaskState, Timestamp};
use baton_store::{ChangeTask, Remove, StoreError};

use crate::attr::n;
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::ROUNDS;

impl Inner {
    /// Changes a task that waits.
    pub(crate) async fn change(&self, change: &ChangeTask) -> Result<Task, StoreError> {
        let (id, now) = (change.task, change.now);
        let mut before = self.known(id).await?;
        let mark = self.mark(change);
        for _ in 0..ROUNDS {
            if !change.reaches(&before.queue) {
                return Err(StoreError::TaskNotFound(id));
            }
            // Its priority and queue are asked of the item each time, as another change may have come between.
            let going = Box::pin(self.going(change, &before)).await?;
            let holder = going.as_ref().and_then(|going| going.holder(id));
            let priority = before.rest()?.priority;
            let command = change.command(Standing { priority, queue: before.queue.clone(), holder });
            let decided = match decide(&before.head, &command, now) {
                Err(refusal) => return Err(StoreError::Refused { task: id, refusal }),
                Ok(Decision::Repeat) => return self.db.known_task(before).await,
                Ok(Decision::Apply(decided)) => decided,
            };
            let written = match &going {
                Some(going) => Box::pin(self.write_going(&before, &decided, going, now, mark)).await,
                None => {
                    let written = self.write(&before, &decided, now, mark).await;
                    written.and_then(|item| Ok(Stored::read(&item)?))
                }
            };
            match written {
                Ok(mut after) => {
                    self.changed(&before, &after, now);
                    self.leave(&before, &after, now).await;
                    if let Some(going) = &going {
                        after = Box::pin(self.follow_gone(&before, after, going)).await?;
                    }
                    return self.db.known_task(after).await;
                }
                Err(WriteError::Condition(None)) => return Err(StoreError::TaskNotFound(id)),
                Err(WriteError::Condition(Some(item))) => before = Stored::standing(&item)?,
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the task"))
    }
}

impl Inner {
    /// Removes a task that has ended, unless unfinished ones depend on it: from then on it is there for nobody. DynamoDB removes the
    /// items by itself, soon after. Where tasks are archived, it is queued for that.
    pub(crate) async fn remove(&self, remove: Remove) -> Result<(), StoreError> {
        let (id, now) = (remove.task, remove.now);
        for _ in 0..ROUNDS {
            let before = self.known(id).await?;
            let state = before.head.state.state();
            let refused = |refusal| StoreError::Refused { task: id, refusal };
            if !before.is_final() {
                return Err(refused(Refusal::Unfinished { state }));
            }
            if !self.unfinished(&before).await?.is_empty() {
                return Err(refused(Refusal::WaitedFor));
            }
            if self.is_archived() {
                // It stays as it is until it is written.
                return self.queue_by_hand(&before).await;
            }
            if let Some(removed) = self.mark_removed(&before).await? {
                self.follow_removal(&removed, now).await;
                return Ok(());
            }
        }
        Err(contended("the task"))
    }

    /// Removes an ended task as it was read: from then on it is there for nobody. None: it is another by now, or is gone.
    pub(crate) async fn mark_removed(&self, task: &Stored) -> Result<Option<Stored>, StoreError> {
        let removal = task.as_read().when_absent("pg").set("pg", n(1)).remove("ip").remove("is");
        match self.db.update(self.task_key(task.head.id), &removal).await {
            Ok(item) => {
                self.count_removed(task);
                Stored::read(&item).map(Some)
            }
            Err(WriteError::Condition(_)) => Ok(None),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Takes a removed task off the counts that this process keeps.
    pub(crate) fn count_removed(&self, removed: &Stored) {
        let state = removed.head.state.state();
        let mut stats = self.stats.lock();
        stats.tally(&removed.queue, &removed.task_type, state, -1);
        stats.end(&removed.queue, &removed.task_type, state, removed.ends, -1);
    }

    /// Has the items of a removed task go. The task itself is gone: what could not be done is told to the log.
    async fn follow_removal(&self, removed: &Stored, now: Timestamp) {
        self.date_removed(removed, now).await;
        if let TaskState::Completed { generation, .. } = removed.head.state {
            let deleted = self.db.delete(self.generation_key(generation), &Expression::new()).await;
            if let Err(error) = unconditional(deleted) {
                tracing::warn!(task_id = %removed.head.id, error = error.report(),
                    "the generation of a removed task stays in the table until its own end");
            }
        }
        self.tidy_ended(removed).await;
    }

    /// Has DynamoDB remove the items of a removed task soon.
    pub(crate) async fn date_removed(&self, removed: &Stored, now: Timestamp) {
        if let Err(error) = self.date(removed.clone(), Some(Duration::ZERO), now).await {
            tracing::warn!(task_id = %removed.head.id, error = error.report(),
                "what belongs to a removed task stays in the table until its own end");
        }
    }
}
