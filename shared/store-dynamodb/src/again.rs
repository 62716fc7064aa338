//! Histories that are to be told again, when what the stream told was lost: read from the table, which has all of them.

use baton_model::{TaskId, Timestamp};
use baton_store::{Cursor, StoreError};
use futures::StreamExt;

use crate::attr::Fields;
use crate::keys::{self, Kind, ODD, ODD_PARTS};
use crate::row::Stored;
use crate::store::Inner;
use crate::stream::{TaskEvent, told_of};

/// How many tasks one page looks at.
const PAGE: usize = 500;

/// How many histories are read at once.
const AT_ONCE: usize = 16;

/// A page of histories.
#[derive(Debug, Default)]
pub struct Histories {
    /// The events of each task that has changed since the time asked for, the first event first; or, where an item is
    /// damaged, the task's id as the key has it, and what is wrong.
    pub tasks: Vec<Result<Vec<TaskEvent>, (String, StoreError)>>,
    /// How many tasks were looked at.
    pub looked: usize,
    /// Where the next page begins; none behind the last.
    pub next: Option<Cursor>,
}

/// Where a page begins: a day, and the key behind which.
fn place(after: Option<&Cursor>) -> Result<(i64, String), StoreError> {
    let Some(Cursor(text)) = after else { return Ok((i64::MIN, String::new())) };
    let (day, key) = text.split_once('|').ok_or(StoreError::BadCursor)?;
    Ok((day.parse().map_err(|_| StoreError::BadCursor)?, key.to_owned()))
}

impl Inner {
    /// The whole history of a task.
    pub(crate) async fn history_of(&self, id: TaskId) -> Result<Vec<TaskEvent>, StoreError> {
        let item = self.db.get(self.task_key(id)).await?;
        let stored = item.as_ref().map(Stored::read).transpose()?.filter(|stored| !stored.purged);
        self.told_again(&stored.ok_or(StoreError::TaskNotFound(id))?).await
    }

    /// The histories of tasks that have changed at a time or later. A task's last change is in no index, so that every
    /// task of the table is looked at, half a read unit each started 4 KB; only those that fit are read whole.
    pub(crate) async fn histories(
        &self,
        since: Timestamp,
        after: Option<&Cursor>,
    ) -> Result<Histories, StoreError> {
        let (from, key) = place(after)?;
        let days = self.days(Kind::Task).await?;
        let Some(day) = days.iter().copied().find(|day| *day >= from) else {
            return Ok(Histories::default());
        };
        let key = if day == from { key } else { String::new() };
        let parts = if day == ODD { ODD_PARTS } else { self.spread };
        let partitions = (0..parts).map(|part| keys::partition(Kind::Task, day, part)).collect();
        let merged = self.merged(false, partitions, &key, PAGE).await?;
        let name = |item| Fields(item).text("sk").unwrap_or_default().to_owned();
        let reads = merged.items.iter().map(|item| async move {
            let read = || -> Result<Option<Stored>, StoreError> {
                let stored = Stored::read(item)?;
                let fits = !stored.purged && stored.rest()?.updated_at >= since;
                Ok(fits.then_some(stored))
            };
            let told = match read() {
                Ok(None) => return None,
                Ok(Some(stored)) => self.told_again(&stored).await,
                Err(error) => Err(error),
            };
            Some(told.map_err(|error| (name(item), error)))
        });
        let read: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).collect().await;
        let next = match merged.items.last() {
            Some(last) if merged.more => Some(Cursor(format!("{day}|{}", name(last)))),
            _ => days.iter().find(|next| **next > day).map(|next| Cursor(format!("{next}|"))),
        };
        Ok(Histories { looked: merged.items.len(), tasks: read.into_iter().flatten().collect(), next })
    }

    async fn told_again(&self, stored: &Stored) -> Result<Vec<TaskEvent>, StoreError> {
        let events = self.db.history(&stored.kept()?).await?;
        Ok(told_of(stored, events))
    }
}
