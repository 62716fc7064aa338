//! Endings of several attempts in one request: each by the write that it is alone, many of them under way at a time.
//!
//! Why not several in one transaction, which takes up to a hundred writes: it would cost the same units, and each that is refused
//! would have all of them written again (`docs/decisions/0030-ends-in-batches.md`). What is shared is the reading of what another
//! process gave out.

use std::collections::{HashMap, HashSet};

use baton_model::transition::Command;
use baton_model::{TaskId, Timestamp};
use baton_store::{Claim, EndAnswer, EndedAs, Ending, Fail, Release, StoreError};
use futures::StreamExt;

use crate::keys::{self, Kind};
use crate::row::Stored;
use crate::store::Inner;

/// How many attempts of one request are ended at the same time: as many as tasks of a batch are created.
const AT_ONCE: usize = 32;

/// An attempt, as an index may still tell that it runs.
pub(crate) type Attempt = (TaskId, u32);

impl Inner {
    /// Ends attempts, and claims after them.
    pub(crate) async fn end_all(&self, endings: &[Ending], next: Option<&Claim>) -> EndAnswer {
        if endings.len() > 1 {
            self.prepare(endings).await;
        }
        // Of one task one after the other, in their order.
        let mut place_of: HashMap<TaskId, usize> = HashMap::with_capacity(endings.len());
        let mut turns: Vec<Vec<usize>> = Vec::with_capacity(endings.len());
        for (place, ending) in endings.iter().enumerate() {
            let turn = *place_of.entry(ending.task()).or_insert(turns.len());
            match turns.get_mut(turn) {
                Some(turn) => turn.push(place),
                None => turns.push(vec![place]),
            }
        }
        let turns: Vec<_> = turns.into_iter().map(|turn| self.end_in_turn(endings, turn)).collect();
        let mut ended: Vec<(usize, Result<EndedAs, StoreError>)> =
            futures::stream::iter(turns).buffer_unordered(AT_ONCE).concat().await;
        ended.sort_unstable_by_key(|(place, _)| *place);
        let items: Vec<_> = ended.into_iter().map(|(_, item)| item).collect();
        let next = match next {
            Some(next) => {
                let gone: Vec<Attempt> = endings
                    .iter()
                    .zip(&items)
                    .filter(|(_, item)| item.is_ok())
                    .map(|(one, _)| (one.task(), one.fence().attempt))
                    .collect();
                Some(self.claim(next, &gone).await)
            }
            None => None,
        };
        EndAnswer { items, next }
    }

    async fn end_in_turn(
        &self,
        endings: &[Ending],
        turn: Vec<usize>,
    ) -> Vec<(usize, Result<EndedAs, StoreError>)> {
        let mut ended = Vec::with_capacity(turn.len());
        for place in turn {
            if let Some(ending) = endings.get(place) {
                ended.push((place, Box::pin(self.end_one(ending)).await));
            }
        }
        ended
    }

    async fn end_one(&self, ending: &Ending) -> Result<EndedAs, StoreError> {
        match ending {
            Ending::Complete(complete) => self.completion(complete, None).await.map(EndedAs::from),
            Ending::Fail(fail) => self.fail(fail.clone()).await.map(EndedAs::from),
            Ending::Release(release) => self.release(release.clone()).await.map(EndedAs::from),
        }
    }

    /// Does once what each would do for itself. It only saves requests: what fails is done again, and told, by those whose it is.
    async fn prepare(&self, endings: &[Ending]) {
        let days: HashMap<i64, Timestamp> = endings
            .iter()
            .filter_map(|ending| match ending {
                Ending::Complete(one) => Some((keys::day_of(one.generation.as_bytes()), one.now)),
                Ending::Fail(_) | Ending::Release(_) => None,
            })
            .collect();
        for (day, now) in days {
            if let Err(error) = self.notes.know_day(&self.db, Kind::Generation, day, now).await {
                tracing::debug!(error = error.report(), "a day is made known by each of several ends");
            }
        }
        if let Err(error) = self.remember_lately(endings).await {
            tracing::debug!(error = error.report(), "tasks to be ended are read one by one");
        }
    }

    /// Reads those tasks together that this process has not given out itself.
    async fn remember_lately(&self, endings: &[Ending]) -> Result<(), StoreError> {
        let unknown: HashSet<TaskId> =
            endings.iter().map(Ending::task).filter(|id| !self.notes.remembers(*id)).collect();
        if unknown.len() < 2 {
            return Ok(());
        }
        let keys = unknown.into_iter().map(|id| self.task_key(id)).collect();
        let items = self.db.get_all_lately(keys).await?;
        // What is damaged is told of by the end that it is about.
        let tasks = items.iter().flat_map(Stored::read).filter(|task| !task.purged);
        tasks.for_each(|task| self.notes.remember(task));
        Ok(())
    }

    pub(crate) async fn fail(&self, fail: Fail) -> Result<baton_store::FailAnswer, StoreError> {
        let command = Command::Fail {
            fence: fail.fence.clone(),
            failure: fail.failure,
            retryable: fail.retryable,
            retry_after: fail.retry_after,
        };
        self.end_reached((fail.task, &fail.caller, &fail.fence), &command, fail.now).await
    }

    pub(crate) async fn release(&self, release: Release) -> Result<baton_store::FailAnswer, StoreError> {
        let command =
            Command::Release { fence: release.fence.clone(), delay: release.delay, reason: release.reason };
        self.end_reached((release.task, &release.caller, &release.fence), &command, release.now).await
    }
}
