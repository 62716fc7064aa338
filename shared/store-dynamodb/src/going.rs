//! A task that goes to another queue: its entry in the index moves to where that queue's claims look, by the same write as any change of
//! it. What lies elsewhere and hangs on the queue goes along: its unique key, in one transaction with it; and the place of a limit that it
//! holds while it waits for its next attempt, which is taken before the write and given back after it.
//!
//! Cut off in between, nothing counts twice: a place counts only where the task waits ([`crate::limit`]), and a key is held only by a
//! task of its queue ([`crate::unique`]).

use baton_model::transition::Change;
use baton_model::{LimitOn, QueueName, TaskId, Timestamp};
use baton_store::{ChangeTask, StoreError};

use crate::attr::texts;
use crate::error::{TransactError, WriteError};
use crate::row::{Rest, Stored};
use crate::store::Inner;
use crate::transition::is_marked;
use crate::unique::Seen;

/// Where a task is about to go.
pub(crate) struct Going<'a> {
    to: &'a QueueName,
    /// The key that it holds, as it was found there; none if it holds none.
    key: Option<Seen>,
}

impl Going<'_> {
    /// Another task that holds its key there.
    pub(crate) fn holder(&self, id: TaskId) -> Option<TaskId> {
        self.key.as_ref().and_then(|seen| seen.other_holder(id))
    }
}

impl Inner {
    /// Where a change has a task go; none if it stays in its queue.
    pub(crate) async fn going<'a>(
        &self,
        change: &'a ChangeTask,
        before: &Stored,
    ) -> Result<Option<Going<'a>>, StoreError> {
        let Some(to) = change.moves_from(&before.queue) else { return Ok(None) };
        let key = self.see_key_in(before, to, change.now).await?;
        Ok(Some(Going { to, key }))
    }

    /// Writes that a task goes to another queue; gives the task after it.
    ///
    /// # Errors
    /// As [`Inner::write`]; also with the task as it was read, if its key was given to another there meanwhile.
    pub(crate) async fn write_going(
        &self,
        before: &Stored,
        change: &Change,
        going: &Going<'_>,
        now: Timestamp,
        mark: u64,
    ) -> Result<Stored, WriteError> {
        let places = self.hold_places_in(before, going.to, now).await?;
        let written = self.write_with(before, change, going, (&places, mark), now).await;
        if let Err(WriteError::Condition(standing)) = &written {
            let stands = standing.as_ref().map(Stored::read).transpose()?;
            if stands.is_none_or(|stands| stands.queue != *going.to) {
                self.give_back_places(before.head.id, &places, now).await;
            }
        }
        written
    }

    async fn write_with(
        &self,
        before: &Stored,
        change: &Change,
        going: &Going<'_>,
        (places, mark): (&[LimitOn], u64),
        now: Timestamp,
    ) -> Result<Stored, WriteError> {
        let id = before.head.id;
        let names = || places.iter().map(ToString::to_string);
        let mut update = self.update_of(before, change, now, mark).await?;
        if !places.is_empty() {
            // Who takes the task out of there again finds by this what it holds.
            update = update.add("lu", texts(names()));
        }
        let Some(seen) = &going.key else {
            return match self.db.update(self.task_key(id), &update).await {
                Err(WriteError::Condition(Some(item))) if !is_marked(&item, mark)? => {
                    Err(WriteError::Condition(Some(item)))
                }
                Ok(item) | Err(WriteError::Condition(Some(item))) => Ok(Stored::read(&item)?),
                Err(other) => Err(other),
            };
        };
        let mut writes = vec![self.db.update_write(self.task_key(id), &update)?];
        writes.extend(self.take_key_write(before, (going.to, seen), change.head.events, mark)?);
        // By a name of its own each time: the task may be as it was, and the key not.
        match self.db.transact(writes, &format!("going#{id}#{}", self.db.draw())).await {
            Ok(()) => {}
            Err(TransactError::Failed(error)) => return Err(error.into()),
            Err(TransactError::Conditions(told)) => {
                let marked =
                    told.iter().filter_map(|(_, item)| item.as_ref()).map(|item| is_marked(item, mark));
                let is_written = marked.collect::<Result<Vec<_>, StoreError>>()?.contains(&true);
                match told.into_iter().next() {
                    _ if is_written => {}
                    Some((true, task)) => return Err(WriteError::Condition(task)),
                    // Its key was given to another there meanwhile.
                    _ => return Err(WriteError::Condition(self.db.get(self.task_key(id)).await?)),
                }
            }
        }
        let mut rest: Rest = before.rest()?.clone();
        rest.limits.extend(names());
        rest.waits = None;
        Ok(Stored { head: change.head.clone(), queue: going.to.clone(), rest: Some(rest), ..before.clone() })
    }

    /// Follows a task that has gone to another queue; the task as it is to be told.
    pub(crate) async fn follow_gone(
        &self,
        before: &Stored,
        after: Stored,
        going: &Going<'_>,
    ) -> Result<Stored, StoreError> {
        if going.key.is_none() {
            return Ok(after);
        }
        self.tidy_key_left(before).await;
        Ok(self.find(after.head.id).await?.unwrap_or(after))
    }
}
