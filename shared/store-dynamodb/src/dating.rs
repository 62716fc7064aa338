//! Dating tasks that have ended: those of before tasks were dated at their end, those that were moved here, and all of them when
//! the keeping was changed. Each task is looked at once, a slice in each round of the purge; how far it is stands in the table.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{State, TaskState, Timestamp};
use baton_store::StoreError;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::attr::{key, n};
use crate::codes::Code;
use crate::db::{Found, Query};
use crate::ends::{DATED, ENDS, dated, end_of, generation_has_apart};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::kept::MARK;
use crate::keys::{self, Kind, ODD, ODD_PARTS};
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;

/// How long to wait before tasks are dated: programs of a former version, or with the former setting, that are replaced
/// meanwhile would end tasks behind the walk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(86_400);

/// How many items a page has: what a function with 0.14 of a core dates in some seconds.
const PAGE: i32 = 250;

/// How many pages one slice reads at most: 8,000 tasks, a million in two hours of a round a minute.
const PAGES: u32 = 32;

/// How long a slice may take before it begins no further page: the round that it is part of is cut off at its end, and what was
/// not noted by then is looked at again.
const SLICE: Duration = Duration::from_secs(10);

/// How long DynamoDB removes what has ended: what ended more than five years ago stands. Less than that.
const STILL_REMOVED: i64 = 4 * 365 * 86_400;

/// What ends within so many seconds is left to go where tasks are archived from now on: an end may come while it is taken off, and clocks
/// differ. The archiver is sooner as a rule.
const GOES_SOON: i64 = 600;

/// How many tasks are dated at the same time.
const AT_ONCE: usize = 32;

/// How far the dating of all tasks is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walk {
    /// No earlier than this, in milliseconds since 1970.
    pub(crate) begins: i64,
    /// The day that is gone through, and its partition.
    day: i64,
    part: u64,
    /// The last task that was looked at there.
    after: Option<String>,
    /// How many were dated.
    pub(crate) dated: u64,
}

impl Walk {
    /// A walk over all days.
    pub(crate) fn begun_at(begins: Timestamp) -> Self {
        Self { begins: begins.as_millis(), day: ODD, ..Self::default() }
    }
}

/// The states of a task that has ended.
pub(crate) fn finals() -> Vec<AttributeValue> {
    [State::Completed, State::Failed, State::Cancelled].map(|state| n(state.code())).into()
}

/// The tasks of a partition that have ended, behind one of them.
pub(crate) fn of_ended(partition: &str, after: Option<&str>) -> Query {
    Query {
        filter: Some(Expression::new().when_in("st", finals())),
        consistent: false,
        start: after.map(|after| key(partition, after)),
        ..Query::table(partition)
    }
}

/// Behind which of a partition the next page begins, if there is one.
pub(crate) fn last_of(page: &Found) -> Option<String> {
    page.next.as_ref().and_then(|next| next.get("sk")?.as_s().ok()).cloned()
}

impl Inner {
    /// Over how many partitions the tasks of a day are spread.
    pub(crate) const fn parts_of(&self, day: i64) -> u64 {
        if day == ODD { ODD_PARTS } else { self.spread }
    }

    /// Has a purge date what was moved here. Moving itself does not: what was past its keeping would go while it is still
    /// compared with where it came from.
    pub(crate) async fn date_later(&self) -> Result<(), StoreError> {
        let update = Expression::new().remove(DATED);
        unconditional(self.db.update(keys::meta("table"), &update).await)?;
        unconditional(self.db.delete(keys::meta("purge"), &Expression::new()).await)
    }

    /// Goes on with a walk; none when it has come to its end.
    pub(crate) async fn walk(
        &self,
        mut walk: Walk,
        keep: Option<Duration>,
        now: Timestamp,
    ) -> Result<Option<Walk>, StoreError> {
        let days = self.days(Kind::Task).await?;
        let began = Instant::now();
        for page in 0..PAGES {
            if page > 0 && began.elapsed() >= SLICE {
                break;
            }
            let Some(day) = days.iter().copied().find(|day| *day >= walk.day) else { return Ok(None) };
            if day > walk.day {
                walk = Walk { day, part: 0, after: None, ..walk };
            }
            let partition = keys::partition(Kind::Task, day, walk.part);
            let query = Query { limit: Some(PAGE), ..of_ended(&partition, walk.after.as_deref()) };
            let page = self.db.query(&query).await?;
            let mut dates = Vec::with_capacity(page.items.len());
            for item in &page.items {
                dates.extend(self.db.read_one(item, Stored::read).map(|task| self.date(task, keep, now)));
            }
            let mut dates = futures::stream::iter(dates).buffer_unordered(AT_ONCE);
            while let Some(dated) = dates.next().await {
                walk.dated += u64::from(dated?);
            }
            walk.after = last_of(&page);
            if walk.after.is_none() {
                walk.part += 1;
                if walk.part >= self.parts_of(day) {
                    walk = Walk { day: day + 1, part: 0, ..walk };
                }
            }
        }
        Ok(Some(walk))
    }

    /// Gives an ended task, its generation and what they keep apart the end that they are to have; says whether the task had
    /// another. The task comes last, so that what is cut off is done again.
    pub(crate) async fn date(
        &self,
        task: Stored,
        keep: Option<Duration>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Nothing is dated before the present, so that DynamoDB does not let it stand for its age.
        let present = end_of(now, Duration::ZERO);
        let ends = match (task.purged, task.keeping(keep)) {
            (true, _) => Some(present),
            // Others need it, for as long as a purge finds them unfinished.
            (false, _) if task.waited_for => None,
            // Its archiver removes it. What may be going has lost some of its items perhaps: without its end it would stay so for ever.
            (false, _) if self.is_archived() => task.ends.filter(|at| *at <= present + GOES_SOON),
            (false, Some(keep)) => Some(end_of(task.kept_since(), keep).max(present)),
            (false, None) => None,
        };
        // What is about to go already would only stay for longer.
        let goes = |at: &i64| ends == Some(present) && (present - STILL_REMOVED..present).contains(at);
        if task.ends == ends || task.ends.as_ref().is_some_and(goes) {
            return Ok(false);
        }
        if let TaskState::Completed { generation, .. } = task.head.state {
            let of = (u32::MAX, task.keepings);
            match self.db.update(self.generation_key(generation), &dated(ends, of)).await {
                Ok(item) if generation_has_apart(&item) => {
                    self.date_owned(&keys::apart(&generation), ends, of).await?;
                }
                // It is gone, and the task is about to go by the end that it has.
                Err(WriteError::Condition(None)) if ends.is_none() => return Ok(false),
                // It is gone already, or was kept anew.
                Ok(_) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        if task.has_apart() {
            let of = (task.head.events, task.keepings);
            self.date_owned(&keys::apart(&task.head.id), ends, of).await?;
            self.write_each(task.edges().collect(), &dated(ends, of)).await?;
        }
        let mut as_read = task.as_read().put(ENDS, ends.map(n));
        if !task.waited_for {
            as_read = as_read.remove(MARK);
        }
        match self.db.update(self.task_key(task.head.id), &as_read).await {
            Ok(_) => {}
            // It lives again, was kept anew, or is gone.
            Err(WriteError::Condition(_)) => return Ok(false),
            Err(WriteError::Failed(error)) => return Err(error),
        }
        let mut stats = self.stats.lock();
        let state = task.head.state.state();
        stats.end(&task.queue, &task.task_type, state, task.ends, -1);
        stats.end(&task.queue, &task.task_type, state, ends, 1);
        drop(stats);
        Ok(true)
    }
}
