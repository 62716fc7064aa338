//! Tasks that are kept although they have ended, because others need them: what an unfinished task depends on has no end
//! (`ends.rs`), so that its output can be read when the dependant starts. `docs/decisions/0022-tasks-that-wait.md` has why.
//!
//! A task that is kept has a mark (`dd`), and an item of a list that purges go down. It is marked *before* its dependant is
//! created, and its own end sets no end on it while it has the mark. A purge that finds all of its dependants finished gives it
//! the end that it would have had, and takes the mark off. Each marking has a number (`kn`), which is left on what loses its end
//! by it: so that a slow purge of before dates nothing that is kept anew.

use std::collections::BTreeSet;

use baton_model::{TaskId, TaskState, Timestamp};
use baton_store::StoreError;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::attr::{Fields, Item, key, n, s, time};
use crate::db::Query;
use crate::ends::{ENDS, KEPT};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// The mark of a task that is kept for others.
pub(crate) const MARK: &str = "dd";

/// How many kept tasks one purge looks at.
const PAGE: i32 = 64;

/// How many dependants are looked at together.
const DEPENDANTS: i32 = 100;

/// How many tasks are marked at the same time.
const AT_ONCE: usize = 16;

/// How long it takes at most from marking a task to creating its dependant: far more than a request and its repetitions, and
/// than clocks differ.
const CREATED_WITHIN_MS: i64 = 3_600_000;

/// How far purges are in the list of kept tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    part: u64,
    after: String,
}

impl Stored {
    /// The condition that an ended task is as it was read: a retry adds an event, whoever comes to depend on it counts that, and an id
    /// may have been created again.
    pub(crate) fn as_read(&self) -> Expression {
        Expression::new()
            .when("ev", "=", n(self.head.events))
            .when("ca", "=", time(self.created_at))
            .when_still(KEPT, (self.keepings > 0).then(|| n(self.keepings)))
    }
}

impl Inner {
    /// An item of the list of kept tasks.
    fn kept_item(&self, id: TaskId, now: Timestamp) -> Item {
        let mut item = key(&keys::kept(keys::hash(id.as_bytes()) % self.spread), &id.to_string());
        item.insert("at".to_owned(), time(now));
        item
    }

    /// Lists tasks that are created with the mark.
    pub(crate) async fn list_kept(
        &self,
        ids: impl IntoIterator<Item = TaskId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.put_all(ids.into_iter().map(|id| self.kept_item(id, now)).collect()).await
    }

    /// Marks tasks that others are about to depend on; says which of them are not there any more.
    pub(crate) async fn keep_all(
        &self,
        dependencies: BTreeSet<TaskId>,
        now: Timestamp,
    ) -> Result<BTreeSet<TaskId>, StoreError> {
        let mut marks = Vec::with_capacity(dependencies.len());
        for id in dependencies {
            marks.push(async move { (id, self.keep(id, now).await) });
        }
        let mut marks = futures::stream::iter(marks).buffer_unordered(AT_ONCE);
        let mut gone = BTreeSet::new();
        while let Some((id, kept)) = marks.next().await {
            if !kept? {
                gone.insert(id);
            }
        }
        Ok(gone)
    }

    /// Marks a task that others are about to depend on. False: it is not there, or is being removed.
    async fn keep(&self, id: TaskId, now: Timestamp) -> Result<bool, StoreError> {
        // First, so that no mark is without it.
        unconditional(self.db.put(self.kept_item(id, now), Expression::new()).await)?;
        let Some(task) = self.mark_kept(id).await? else { return Ok(false) };
        if !task.is_final() {
            return Ok(true);
        }
        // It may have had an end: so has, then, all that belongs to it.
        let undated = Expression::new()
            .when_present("pk")
            .when_absent_or(KEPT, "<", n(task.keepings))
            .remove(ENDS)
            .set(KEPT, n(task.keepings));
        if let TaskState::Completed { generation, .. } = task.head.state {
            let place = self.generation_key(generation);
            match self.db.update(place.clone(), &undated).await {
                Ok(_) => {}
                // Kept by another since, or gone.
                Err(WriteError::Condition(_)) => {
                    if self.db.get(place).await?.is_none() {
                        return Ok(false);
                    }
                }
                Err(WriteError::Failed(error)) => return Err(error),
            }
            self.write_owned(&keys::apart(&generation), &undated).await?;
        }
        if task.has_apart() {
            self.write_owned(&keys::apart(&id), &undated).await?;
            self.write_each(task.edges().collect(), &undated).await?;
        }
        Ok(true)
    }

    /// Marks a task and takes its end off it; none if it is not there, or is being removed.
    async fn mark_kept(&self, id: TaskId) -> Result<Option<Stored>, StoreError> {
        for _ in 0..ROUNDS {
            let Some(before) = self.find(id).await? else { return Ok(None) };
            // As it was read: an end that is taken off is to leave the counts of ends.
            let mark = Expression::new()
                .when("ca", "=", time(before.created_at))
                .when_still(ENDS, before.ends.map(n))
                .set(MARK, n(1))
                .remove(ENDS)
                .add(KEPT, n(1));
            match self.db.update(self.task_key(id), &mark).await {
                Ok(item) => {
                    let (task, state) = (Stored::read(&item)?, before.head.state.state());
                    self.stats.lock().end(&before.queue, &before.task_type, state, before.ends, -1);
                    return Ok(Some(task).filter(|task| !task.purged));
                }
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("a task that others depend on"))
    }

    /// Looks at some of the tasks that are kept, and gives an end to those that nobody unfinished depends on.
    pub(crate) async fn let_go_of_kept(
        &self,
        place: &mut Option<Place>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.keeping.finished().is_none() && !self.is_archived() {
            // Nothing ends here.
            return Ok(());
        }
        // By chance, so that none is left out however long another is.
        let minute = now.as_millis() / 60_000;
        let Place { part, after } = place.take().unwrap_or_else(|| Place {
            part: keys::hash(&minute.to_be_bytes()) % self.spread,
            after: String::new(),
        });
        let partition = keys::kept(part);
        let query = Query {
            start: (!after.is_empty()).then(|| key(&partition, &after)),
            limit: Some(PAGE),
            consistent: false,
            ..Query::table(&partition)
        };
        let page = self.db.query(&query).await?;
        for item in &page.items {
            self.look_at_kept(item, now, CREATED_WITHIN_MS).await?;
        }
        if let (Some(_), Some(last)) = (&page.next, page.items.last()) {
            *place = Some(Place { part, after: Fields(last).text("sk")?.to_owned() });
        }
        Ok(())
    }

    /// Looks at all of them, also at those whose dependants may be about to be created: for tests, where none are.
    #[cfg(feature = "faults")]
    pub(crate) async fn let_go_of_all_kept(&self, now: Timestamp) -> Result<(), StoreError> {
        for part in 0..self.spread {
            for item in self.db.query_whole(Query::table(keys::kept(part))).await?.items {
                self.look_at_kept(&item, now, i64::MIN).await?;
            }
        }
        Ok(())
    }

    async fn look_at_kept(&self, item: &Item, now: Timestamp, patience: i64) -> Result<(), StoreError> {
        let fields = Fields(item);
        let (text, at) = (fields.text("sk")?, fields.time("at")?);
        let id: TaskId =
            text.parse().map_err(|_| damaged(format!("expected the id of a kept task, got {text}")))?;
        if now.as_millis().saturating_sub(at.as_millis()) < patience {
            // A dependant may be about to be created.
            return Ok(());
        }
        let place = key(fields.text("pk")?, text);
        let same = || Expression::new().when("at", "=", time(at));
        let Some(task) = self.find(id).await? else {
            return if_still(self.db.delete(place, &same()).await);
        };
        if !task.is_final() {
            return Ok(());
        }
        let seen = fields.maybe_text("fr")?.unwrap_or_default().to_owned();
        let (free, reached) = self.all_finished(id, seen.clone(), now).await?;
        if !free {
            if reached != seen {
                if_still(self.db.update(place, &same().set("fr", s(reached))).await)?;
            }
            return Ok(());
        }
        if task.waited_for && self.is_archived() {
            // From then on its archiver finds it.
            match self.db.update(self.task_key(id), &task.as_read().remove(MARK)).await {
                Ok(_) => {}
                // It is kept anew, or lives again.
                Err(WriteError::Condition(_)) => return Ok(()),
                Err(WriteError::Failed(error)) => return Err(error),
            }
        } else if task.waited_for {
            let unmarked = Stored { waited_for: false, ..task };
            if !self.date(unmarked, self.keeping.finished(), now).await? {
                // It is kept anew, or lives again.
                return Ok(());
            }
        }
        if_still(self.db.delete(place, &same()).await)
    }

    /// Removes an entry of the index of dependants that names no task, unless it was just made.
    async fn drop_entry(&self, item: &Item, now: Timestamp) -> Result<(), StoreError> {
        let fields = Fields(item);
        let before = Timestamp::from_millis(now.as_millis().saturating_sub(CREATED_WITHIN_MS));
        let old = Expression::new().when("at", "<=", time(before));
        if_still(self.db.delete(key(fields.text("pk")?, fields.text("sk")?), &old).await)
    }

    /// Whether all that depend on a task are finished, after those that were by an earlier look; and how far this one came.
    async fn all_finished(
        &self,
        id: TaskId,
        mut after: String,
        now: Timestamp,
    ) -> Result<(bool, String), StoreError> {
        let partition = keys::dependants(id);
        loop {
            let query = Query {
                start: (!after.is_empty()).then(|| key(&partition, &after)),
                limit: Some(DEPENDANTS),
                ..Query::table(&partition)
            };
            let page = self.db.query(&query).await?;
            let ids: Vec<TaskId> = page.items.iter().map(dependant).collect::<Result<_, _>>()?;
            let found = self.tasks_by_id(ids.iter().copied().collect()).await?;
            for (item, one) in page.items.iter().zip(ids) {
                match found.get(&one).filter(|task| task.depends_on(id)) {
                    Some(task) if !task.is_final() => return Ok((false, after)),
                    Some(_) => {}
                    // It was never created, or is gone, and its entry with it soon.
                    None => self.drop_entry(item, now).await?,
                }
                after = one.to_string();
            }
            if page.next.is_none() {
                return Ok((true, after));
            }
        }
    }
}

/// A write to an item as it was read: if it is another by now, it stands.
pub(crate) fn if_still<T>(written: Result<T, WriteError>) -> Result<(), StoreError> {
    match written {
        Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
        Err(WriteError::Failed(error)) => Err(error),
    }
}

/// The task that an item of the index of dependants names.
pub(crate) fn dependant(item: &Item) -> Result<TaskId, StoreError> {
    let text = Fields(item).text("sk")?;
    text.parse().map_err(|_| damaged(format!("expected a task's id, got {text}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_store::{Cancel, TaskStore};

    use super::*;
    use crate::Options;
    use crate::testing::{created_large, store};

    /// A purge may be slow to date what nobody needed when it looked, and somebody needs it by then.
    #[tokio::test]
    async fn a_slow_purge_dates_nothing_that_is_kept_anew() {
        let keep_finished = Some(Duration::from_secs(86_400));
        let store = store(Options { keep_finished, ..Options::seeded(1) }).await;
        let (now, inner) = (Timestamp::from_millis(1_800_000_000_000), &store.inner);
        let task = created_large(&store, now).await;
        let ended = async || {
            let apart = inner.db.query_whole(Query::table(keys::apart(&task))).await.unwrap();
            let found = inner.known(task).await.unwrap();
            (found.ends.is_some(), apart.items.iter().all(|item| item.contains_key(ENDS)))
        };
        store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
        assert_eq!(ended().await, (true, true));
        let keep = || inner.keep_all([task].into(), now);
        assert_eq!(keep().await.unwrap(), BTreeSet::new());
        assert_eq!(ended().await, (false, false));
        let seen = inner.known(task).await.unwrap();
        assert_eq!(keep().await.unwrap(), BTreeSet::new());
        let unmarked = Stored { waited_for: false, ..seen };
        assert!(!inner.date(unmarked, keep_finished, now).await.unwrap());
        assert_eq!(ended().await, (false, false), "it is kept anew");
        let unmarked = Stored { waited_for: false, ..inner.known(task).await.unwrap() };
        assert!(inner.date(unmarked, keep_finished, now).await.unwrap());
        assert_eq!(ended().await, (true, true));
    }
}
