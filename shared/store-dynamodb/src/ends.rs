//! When what has ended is removed: DynamoDB does it by itself, for nothing, some time after the second that stands in an
//! item's `xp`. `docs/decisions/0013-removed-by-the-table.md` has the reasons and the figures.
//!
//! A finished task and its generation are dated by the very write that ends the task, so that this costs nothing. What the
//! task keeps apart is dated after it, and loses its end *before* the task lives again: whatever is cut off in between,
//! nothing that lives has an end. A retry leaves its number on what it has undated, so that a slow writer of the end before it
//! does not date that again.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::Timestamp;
use baton_store::StoreError;
use futures::StreamExt;

use crate::attr::{Fields, Item, key, n};
use crate::db::Query;
use crate::error::WriteError;
use crate::expression::Expression;
use crate::history::INLINE_HISTORY;
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;

/// The attribute by which DynamoDB removes items by itself: seconds since 1970.
pub(crate) const ENDS: &str = "xp";

/// The attribute of the table's settings that says that each task there was dated when it ended.
pub(crate) const DATED: &str = "xt";

/// The attribute of what is kept apart that says by which of the task's events it lost its end.
const UNDATED_BY: &str = "r";

/// The attribute of a task, and of what belongs to it, that numbers how often others were about to depend on it (`kept.rs`).
pub(crate) const KEPT: &str = "kn";

/// The attribute of a task that says for how many milliseconds it is kept, if not as long as all.
pub(crate) const OWN_KEEPING: &str = "kf";

/// The most bytes that the entry of an end adds to a history.
const ENTRY: u32 = 512;

/// How many items of one owner are dated at the same time.
const AT_ONCE: usize = 8;

/// The second from which something is to be gone that ended at a time: the first after its keeping.
pub(crate) fn end_of(at: Timestamp, keep: Duration) -> i64 {
    let millis = at.plus(keep).as_millis();
    millis / 1_000 + i64::from(millis % 1_000 > 0)
}

impl Inner {
    /// The second from which DynamoDB removes this task if it ends at a time; what is kept for others has no end. That time is no
    /// earlier than any other of the task, so that a clock that is behind makes no keeping shorter than it was from the creation,
    /// the claim or the last event. Where tasks are archived, none has one.
    pub(crate) fn ends_of(&self, task: &Stored, at: Timestamp) -> Option<i64> {
        let keep = task.keeping(self.keeping.finished());
        keep.filter(|_| !task.waited_for && !self.is_archived()).map(|keep| end_of(at, keep))
    }

    /// Dates what a task keeps apart that has ended. The end itself stands: what could not be dated is told to the log, and
    /// stays in the table.
    pub(crate) async fn date_what_is_apart(&self, task: &Stored) {
        if task.ends.is_none() {
            return;
        }
        let dated = async {
            let keys = self.keys_apart(task).await?;
            self.write_each(keys, &dated(task.ends, (task.head.events, task.keepings))).await
        };
        if let Err(error) = dated.await {
            tracing::warn!(
                task_id = %task.head.id,
                error = error.report(),
                "what the ended task keeps apart has no end and stays in the table"
            );
        }
    }

    /// Dates the params of a task that has ended, if they are kept apart.
    pub(crate) async fn date_params(&self, task: &Stored) -> Result<(), StoreError> {
        let Some(ends) = task.ends else { return Ok(()) };
        let keys = task.rest()?.params.keys(&keys::apart(&task.head.id));
        self.write_each(keys, &dated(Some(ends), (task.head.events, task.keepings))).await
    }

    /// Takes the end off what a task keeps apart, before the task lives again.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`] if some of it has gone already, and the task is about to.
    pub(crate) async fn undate_what_is_apart(&self, task: &Stored) -> Result<(), StoreError> {
        if !task.has_apart() {
            return Ok(());
        }
        let event = task.head.events + 1;
        let undated = Expression::new()
            .when_present("pk")
            .when_absent_or(UNDATED_BY, "<=", n(event))
            .remove(ENDS)
            .set(UNDATED_BY, n(event));
        self.write_each(self.keys_apart(task).await?, &undated).await?;
        self.db.history(&task.kept()?).await?;
        self.db.known_task(task.clone()).await.map(drop)
    }

    /// Dates what lies in an owner's partition, or takes the end off it, as of an event and a keeping of the owner.
    pub(crate) async fn date_owned(
        &self,
        owner: &str,
        ends: Option<i64>,
        of: (u32, u32),
    ) -> Result<(), StoreError> {
        self.write_owned(owner, &dated(ends, of)).await
    }

    /// Writes the same to all that lies in an owner's partition.
    pub(crate) async fn write_owned(&self, owner: &str, update: &Expression) -> Result<(), StoreError> {
        self.write_each(self.kept_apart(owner).await?, update).await
    }

    /// Writes the same to items as far as its condition holds.
    pub(crate) async fn write_each(&self, keys: Vec<Item>, update: &Expression) -> Result<(), StoreError> {
        let mut writes = Vec::with_capacity(keys.len());
        for key in keys {
            writes.push(self.db.update(key, update));
        }
        let mut writes = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
        while let Some(written) = writes.next().await {
            match written {
                // It is gone, or was written of a later event.
                Ok(_) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The keys of what a task keeps apart: of params alone they are known from the task, so that the params need not be read.
    async fn keys_apart(&self, task: &Stored) -> Result<Vec<Item>, StoreError> {
        let owner = keys::apart(&task.head.id);
        // A long history may have been archived by the very write that the task is told after.
        let mut keys = match task.has_apart_history() || task.history_bytes + ENTRY > INLINE_HISTORY {
            true => self.kept_apart(&owner).await?,
            false => task.rest()?.params.keys(&owner),
        };
        keys.extend(task.edges());
        Ok(keys)
    }

    /// The keys of what lies in an owner's partition.
    pub(crate) async fn kept_apart(&self, partition: &str) -> Result<Vec<Item>, StoreError> {
        let found = self.db.query_whole(Query::table(partition)).await?;
        found.items.iter().map(key_of).collect()
    }
}

/// An end, as of an event and a keeping of the task: what has lost its end by a later one stays without.
pub(crate) fn dated(ends: Option<i64>, (event, keeping): (u32, u32)) -> Expression {
    Expression::new()
        .when_present("pk")
        .when_absent_or(UNDATED_BY, "<", n(event))
        .when_absent_or(KEPT, "<=", n(keeping))
        .put(ENDS, ends.map(n))
}

/// Whether a generation's item names something that is kept apart from it.
pub(crate) fn generation_has_apart(item: &Item) -> bool {
    ["mx", "rx"].into_iter().any(|name| matches!(item.get(name), Some(AttributeValue::S(_))))
}

fn key_of(item: &Item) -> Result<Item, StoreError> {
    let fields = Fields(item);
    Ok(key(fields.text("pk")?, fields.text("sk")?))
}

#[cfg(test)]
mod tests {
    use baton_store::{Cancel, Retry, TaskStore};

    use super::*;
    use crate::Options;
    use crate::testing::{created_large, store};

    /// Whoever ended a task may be slow to date what it keeps apart, and the task lives again by then.
    #[tokio::test]
    async fn a_slow_writer_of_an_end_dates_nothing_that_lives_again() {
        let store = store(Options::seeded(1)).await;
        let (now, inner) = (Timestamp::from_millis(1_800_000_000_000), &store.inner);
        let task = created_large(&store, now).await;
        let ends = async || {
            let found = inner.db.query_whole(Query::table(keys::apart(&task))).await.unwrap();
            found.items.iter().map(|item| item.contains_key(ENDS)).collect::<Vec<_>>()
        };
        store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
        assert_eq!(ends().await, [true]);
        let ended = inner.known(task).await.unwrap();
        let retry =
            Retry { now, task, by: None, reason: None, delay: Duration::ZERO, with_dependants: false };
        store.retry(retry).await.unwrap();
        assert_eq!(ends().await, [false]);
        inner.date_what_is_apart(&ended).await;
        assert_eq!(ends().await, [false], "it lives again");
        store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
        assert_eq!(ends().await, [true], "and has ended again");
    }

    #[test]
    fn an_end_is_the_first_second_that_is_not_within_the_keeping() {
        let day = Duration::from_secs(86_400);
        for (millis, second) in [(0, 86_400), (1, 86_401), (999, 86_401), (1_000, 86_401), (1_001, 86_402)] {
            assert_eq!(end_of(Timestamp::from_millis(millis), day), second, "{millis}");
        }
        assert!(end_of(Timestamp::MAX, Duration::MAX) > 0, "no sum is too large");
    }
}
