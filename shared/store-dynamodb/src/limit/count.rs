//! Counting what runs, and what holds its place, against limits that were set or came to concern it since. It may be done again at
//! any time: what is in its set already stays there.

use std::collections::{BTreeSet, HashMap};

use baton_model::{LimitBook, LimitOn, LimitRules, TaskId, TaskState, holds_place};
use baton_store::StoreError;

use super::standing::{StoredStanding, changing, lease_of};
use crate::attr::{n, texts};
use crate::db::Query;
use crate::error::WriteError;
use crate::expression::Expression;
use crate::row::Stored;
use crate::store::Inner;

/// How many tasks are looked at together.
const TOGETHER: usize = 100;

/// Which limits are in question.
type Concerns<'a> = &'a (dyn Fn(&LimitOn) -> bool + Sync);

/// How a task stands under a limit.
#[derive(Clone, Copy)]
enum Stands {
    Runs,
    HoldsPlace,
}

impl Stands {
    fn of(task: &Stored, rules: &LimitRules) -> Option<Self> {
        match &task.head.state {
            TaskState::Running(_) => Some(Self::Runs),
            _ if rules.holds_retries && holds_place(&task.head) => Some(Self::HoldsPlace),
            _ => None,
        }
    }

    /// The change that adds a task to its set and takes it out of the other, or takes it out of both.
    fn change(self, on: &LimitOn, task: &Stored, is_in: bool) -> Expression {
        let lease = texts([lease_of(task.head.id, task.head.attempt)]);
        let id = texts([task.head.id.to_string()]);
        match (self, is_in) {
            (Self::Runs, true) => changing(on).add("ls", lease).take_out("hd", id),
            (Self::HoldsPlace, true) => changing(on).add("hd", id),
            (_, false) => changing(on).take_out("ls", lease).take_out("hd", id),
        }
    }

    /// Whether a task is in its set and no other.
    fn is_in(self, standing: &StoredStanding, task: &Stored) -> bool {
        let held = standing.held.contains(&task.head.id.to_string());
        match self {
            Self::Runs => !held && standing.leases.contains(&lease_of(task.head.id, task.head.attempt)),
            Self::HoldsPlace => held,
        }
    }
}

impl Inner {
    /// Has everything that runs or holds its place be in the sets of the limits in question, as far as the index shows it.
    pub(super) async fn count_anew(&self, concerns: Concerns<'_>) -> Result<(), StoreError> {
        let book = self.known_book().await?;
        if book.is_empty() {
            return Ok(());
        }
        let ids: Vec<TaskId> = self.to_count(&book, concerns).await?.into_iter().collect();
        self.count_these(&book, &ids, concerns).await
    }

    /// Has a task that was taken in from another store, or put back after its end, be in the sets of the limits that are set by then. Those
    /// of later ones are filled when they come.
    pub(crate) async fn count_now(&self, id: TaskId) -> Result<(), StoreError> {
        let book = self.known_book().await?;
        if book.is_empty() { Ok(()) } else { self.count_these(&book, &[id], &|_| true).await }
    }

    async fn count_these(
        &self,
        book: &LimitBook,
        ids: &[TaskId],
        concerns: Concerns<'_>,
    ) -> Result<(), StoreError> {
        for ids in ids.chunks(TOGETHER) {
            let tasks = self.tasks_by_id(ids.iter().copied().collect()).await?;
            let mut ons = Vec::new();
            for task in tasks.values() {
                let falls = book.of(task.shared()?).into_iter().map(|(on, _)| on);
                ons.extend(falls.filter(|on| concerns(on)));
            }
            let standings = self.standings(&ons).await?;
            for task in tasks.values() {
                self.count_task(book, concerns, task, &standings).await?;
            }
        }
        Ok(())
    }

    /// What may stand under the limits in question.
    async fn to_count(
        &self,
        book: &LimitBook,
        concerns: Concerns<'_>,
    ) -> Result<BTreeSet<TaskId>, StoreError> {
        let mut ids = BTreeSet::new();
        for worker in self.all_workers().await? {
            let held = self.held_by(&worker.worker.id, usize::MAX).await?;
            ids.extend(held.iter().map(|entry| entry.head.id));
        }
        let holding = book.limits.values().filter(|limit| limit.rules.holds_retries);
        // That for each key has been asked for where one of them is.
        let holding = holding.filter(|limit| limit.on.is_each() || concerns(&limit.on));
        let queues: BTreeSet<_> = holding.filter_map(|limit| limit.on.queue()).collect();
        if queues.is_empty() {
            return Ok(ids);
        }
        for queue in self.all_queues().await?.iter().filter(|queue| queues.contains(&queue.name)) {
            for partition in queue.partitions() {
                let tried = Expression::new().when("at", ">", n(0));
                let page =
                    self.db.query_whole(Query { filter: Some(tried), ..Query::index(partition) }).await?;
                let entries = page.items.iter().filter_map(|item| self.db.read_one(item, Stored::read));
                ids.extend(entries.map(|entry| entry.head.id));
            }
        }
        Ok(ids)
    }

    async fn count_task(
        &self,
        book: &LimitBook,
        concerns: Concerns<'_>,
        task: &Stored,
        standings: &HashMap<LimitOn, StoredStanding>,
    ) -> Result<(), StoreError> {
        let falls = book.of(task.shared()?);
        let noted = &task.rest()?.limits;
        for text in noted {
            let Some(on) = self.noted_limit(&task.head, text) else { continue };
            let is_set = concerns(&on) && book.rules_of(&on).is_some();
            if is_set && !falls.iter().any(|(one, _)| *one == on) {
                self.uncount(task, &on).await?;
            }
        }
        for (on, rules) in falls.into_iter().filter(|(on, _)| concerns(on)) {
            let Some(stands) = Stands::of(task, rules) else { continue };
            let is_noted = noted.contains(&on.to_string());
            if !(is_noted && standings.get(&on).is_some_and(|standing| stands.is_in(standing, task))) {
                self.count_one(task, &on, stands).await?;
            }
        }
        Ok(())
    }

    /// Takes a task out of what stands under a limit that does not concern it any more.
    async fn uncount(&self, task: &Stored, on: &LimitOn) -> Result<(), StoreError> {
        self.change_standing(on, &Stands::Runs.change(on, task, false)).await?;
        let noted = Expression::new().take_out("lu", texts([on.to_string()])).when_present("pk");
        match self.db.update(self.task_key(task.head.id), &noted).await {
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    async fn count_one(&self, task: &Stored, on: &LimitOn, stands: Stands) -> Result<(), StoreError> {
        let head = &task.head;
        self.change_standing(on, &stands.change(on, task, true)).await?;
        // That it has not ended meanwhile is the condition; who ends it later finds this.
        let noted = Expression::new().add("lu", texts([on.to_string()])).when("ev", "=", n(head.events));
        match self.db.update(self.task_key(head.id), &noted).await {
            Ok(_) => Ok(()),
            // It has ended meanwhile, and whoever ended it did not know.
            Err(WriteError::Condition(_)) => {
                self.change_standing(on, &stands.change(on, task, false)).await.map(drop)
            }
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}
