//! Tasks that are to be started by a time.
//!
//! A claim hears of it from the sort key of a task's entry in the index. For the reaper a note lies in a list by time, which is
//! written before the task: whatever a process does not live to do, no task is without its note. Once its time has come, its task
//! is looked at. One that has not expired may be on its way, and its note in the table before it: so it is looked at once more,
//! when whoever was about to write it has done so or never will.

use std::time::Duration;

use baton_model::transition::Command;
use baton_model::{TaskId, Timestamp};
use baton_store::{Expire, Expired, StoreError};
use futures::StreamExt;

use crate::attr::{Fields, Item, key, n};
use crate::db::{Query, Range};
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::notes::Reserved;
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::Outcome;

/// Over how many partitions the notes are spread. One takes 1,000 a second.
const PARTS: u64 = 2;

/// How much later a task is looked at once more: no invocation on AWS Lambda takes longer than 15 minutes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const AGAIN_AFTER: Duration = Duration::from_secs(16 * 60);

/// Marks the note of a second look.
const AGAIN: &str = "ag";

/// How many tasks are failed at the same time.
const AT_ONCE: usize = 16;

fn partition(part: u64) -> String {
    format!("EX#{part:x}")
}

/// The key of the note of when a task expires.
fn note_key(id: TaskId, at: Timestamp) -> Item {
    key(&partition(keys::hash(id.as_bytes()) % PARTS), &keys::place(at, id))
}

impl Inner {
    /// Removes what lies in lists for a task that has ended, so that nothing of it stays. What could not be removed is told to the
    /// log: a note goes when its time has come, and a key's item when the key is used again.
    pub(crate) async fn tidy_ended(&self, ended: &Stored) {
        if !ended.is_final() {
            return;
        }
        self.tidy_key(ended).await;
        if let Some(at) = ended.head.expires_at
            && let Err(error) =
                unconditional(self.db.delete(note_key(ended.head.id, at), &Expression::new()).await)
        {
            tracing::warn!(
                task_id = %ended.head.id,
                error = error.report(),
                "the note of when an ended task expires stays until then"
            );
        }
    }

    /// Notes when a task expires, before it is there or waits again.
    pub(crate) async fn note_expiry(&self, id: TaskId, at: Option<Timestamp>) -> Result<(), StoreError> {
        match at {
            Some(at) => unconditional(self.db.put(self.note(id, at), Expression::new()).await),
            None => Ok(()),
        }
    }

    fn note(&self, id: TaskId, at: Timestamp) -> Item {
        let mut note = note_key(id, at);
        note.insert("nc".to_owned(), n(self.mark(&(id, at))));
        note
    }

    /// Fails what has expired by the notes.
    pub(crate) async fn expire(&self, expire: &Expire) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        let mut left = i32::try_from(expire.limit).unwrap_or(i32::MAX);
        for part in 0..PARTS {
            let range = Range::Below(keys::sortable(Timestamp::from_millis(
                expire.now.as_millis().saturating_add(1),
            )));
            // What is a moment old is found by the next round.
            let limit = Some(left.max(1));
            let query = Query { range, limit, consistent: false, ..Query::table(partition(part)) };
            let found = self.db.query(&query).await?;
            expired.more |= found.next.is_some();
            left -= i32::try_from(found.items.len()).unwrap_or(left);
            let mut looks = Vec::with_capacity(found.items.len());
            for item in &found.items {
                looks.push(self.settle_note(item, expire.now));
            }
            let mut looks = futures::stream::iter(looks).buffered(AT_ONCE);
            while let Some(failed) = looks.next().await {
                expired.tasks += u64::from(failed?);
            }
            if left <= 0 && part + 1 < PARTS {
                expired.more = true;
                break;
            }
        }
        Ok(expired)
    }

    /// Looks at the task of a note whose time has come, and removes the note; leaves one for a second look if this was the first.
    async fn settle_note(&self, item: &Item, now: Timestamp) -> Result<bool, StoreError> {
        let fields = Fields(item);
        let (partition, sort) = (fields.text("pk")?, fields.text("sk")?);
        let id = sort.split_once('#').and_then(|(_, id)| id.parse().ok());
        let id: TaskId = id.ok_or_else(|| damaged(format!("expected a task's id in a note, got {sort}")))?;
        // Its end removes the note.
        if self.fail_expired(id, now).await? {
            return Ok(true);
        }
        if !item.contains_key(AGAIN) {
            let mut note = self.note(id, now.plus(AGAIN_AFTER));
            note.insert(AGAIN.to_owned(), n(1));
            unconditional(self.db.put(note, Expression::new()).await)?;
        }
        // One that was given back since has written it anew.
        let written = Expression::new().when("nc", "=", n(fields.number::<u64>("nc")?));
        match self.db.delete(key(partition, sort), &written).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Fails a task if it has expired; says whether it had.
    async fn fail_expired(&self, id: TaskId, now: Timestamp) -> Result<bool, StoreError> {
        let Some(task) = self.find(id).await? else { return Ok(false) };
        if task.head.expired(now).is_none() {
            return Ok(false);
        }
        match self.apply_to(task, &Command::Expire, now).await {
            Ok(Outcome::Applied(after)) => {
                self.follow(&after, now).await;
                Ok(true)
            }
            // Others were faster.
            Ok(Outcome::Repeated(_)) | Err(StoreError::Refused { .. } | StoreError::TaskNotFound(_)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Fails what a claim has met and not taken as it had expired.
    pub(crate) async fn fail_met(&self, met: Vec<Stored>, now: Timestamp) -> Result<(), StoreError> {
        let mut ends = Vec::with_capacity(met.len());
        for entry in &met {
            ends.push(self.fail_entry(entry, now));
        }
        let mut ends = futures::stream::iter(ends).buffer_unordered(AT_ONCE);
        while let Some(ended) = ends.next().await {
            ended?;
        }
        Ok(())
    }

    async fn fail_entry(&self, entry: &Stored, now: Timestamp) -> Result<(), StoreError> {
        let reserved = self.notes.reserve((entry.head.id, entry.created_at), entry.head.events);
        self.fail_expired(entry.head.id, now).await?;
        // Its entry may stay in the index for a moment.
        reserved.into_iter().for_each(Reserved::spend);
        Ok(())
    }
}
