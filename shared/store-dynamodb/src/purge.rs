//! Purging what is past its keeping. DynamoDB removes log lines, claim requests, idempotency keys and
//! audit entries by itself, some
//! time after their end; a purge removes them exactly, and finished tasks, which carry no end of their own as their
//! keeping is the operator's to change.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use baton_model::{State, TaskState, Timestamp};
use baton_store::{Purge, PurgeReport, StoreError};
use futures::StreamExt;

use crate::attr::{Fields, Item, key, n, time};
use crate::codes::Code;
use crate::db::{Query, Range, numbers, unbuilt};
use crate::error::{TransactError, WriteError};
use crate::expression::Expression;
use crate::keys::{self, DAY_MS, Kind, ODD, ODD_PARTS};
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;

/// How far back claim requests are looked for when no purge has noted where it stood: what is older, DynamoDB has
/// removed.
const REQUEST_SPANS: i64 = 96;

/// How many partitions are looked at at the same time.
const LOOKS_AT_ONCE: usize = 16;

/// The least time that the record of a worker is kept.
const WORKERS_KEPT: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);

/// The most pages that one call reads in search of finished tasks.
const PAGES: u32 = 500;

/// The most days of a kind that one call looks at to strike them off.
const DAYS: usize = 32;

/// How long it takes at most from making a day known to adding to it: far more than a request and its repetitions.
const ADDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(15 * 60);

impl Inner {
    pub(crate) async fn purge(&self, purge: &Purge) -> Result<PurgeReport, StoreError> {
        let before = |keep| purge.now.minus(keep);
        let limit = purge.limit as usize;
        let tasks = match purge.keep_finished {
            Some(keep) => self.purge_tasks(before(keep), limit).await?,
            None => 0,
        };
        let report = PurgeReport {
            tasks,
            logs: self.purge_logs(before(purge.keep_logs), limit).await?,
            // A claim renews its worker's record by the hour only: a younger one may be in use.
            workers: self.purge_workers(before(purge.keep_workers.max(WORKERS_KEPT)), limit).await?,
            idempotency_keys: self.purge_keys(before(purge.keep_idempotency), limit).await?,
            claim_requests: self.purge_requests(before(purge.keep_claims), limit).await?,
            tokens: self.purge_tokens(before(purge.keep_tokens), limit).await?,
            audit_entries: self.purge_audit(before(purge.keep_audit), limit).await?,
            more: false,
            overdue: None,
        };
        if let Some(keep) = purge.keep_finished {
            for kind in [Kind::Task, Kind::Generation] {
                self.strike_off_days(kind, before(keep), purge.now).await?;
            }
        }
        self.strike_off_days(Kind::Log, before(purge.keep_logs), purge.now).await?;
        let removed = [
            report.tasks,
            report.logs,
            report.workers,
            report.idempotency_keys,
            report.claim_requests,
            report.tokens,
            report.audit_entries,
        ];
        Ok(PurgeReport { more: removed.contains(&u64::from(purge.limit)), ..report })
    }

    /// Goes through the days from the oldest and removes the tasks that finished before a time.
    async fn purge_tasks(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let mut removed = 0;
        let mut pages = 0;
        for day in self.days(Kind::Task).await? {
            // A task cannot have finished before it was made; a chosen id may name a later day than that.
            if day != ODD && day > before.as_millis() / DAY_MS + 1 {
                break;
            }
            let parts = if day == ODD { ODD_PARTS } else { self.spread };
            for part in 0..parts {
                let finals = [State::Completed, State::Failed, State::Cancelled].map(|state| n(state.code()));
                let filter = Expression::new().when("ua", "<", time(before)).when_in("st", finals.into());
                let mut query = Query {
                    filter: Some(filter),
                    consistent: false,
                    limit: Some(1_000),
                    ..Query::table(keys::partition(Kind::Task, day, part))
                };
                loop {
                    let page = self.db.query(&query).await?;
                    pages += 1;
                    for item in &page.items {
                        removed += u64::from(self.remove_task(&Stored::read(item)?).await?);
                        if removed >= limit as u64 {
                            return Ok(removed);
                        }
                    }
                    if page.next.is_none() {
                        break;
                    }
                    if pages >= PAGES {
                        return Ok(removed);
                    }
                    query.start = page.next;
                }
            }
        }
        Ok(removed)
    }

    /// Removes a finished task with all that belongs to it; false if it is no longer as it was read.
    ///
    /// A task and its generation go together. What is kept apart goes before them, so that nothing is left that nobody
    /// names; and before that the task is marked, so that nobody revives it meanwhile, and the next call goes on where
    /// this one may be cut off.
    async fn remove_task(&self, task: &Stored) -> Result<bool, StoreError> {
        let id = task.head.id;
        let generation = match task.head.state {
            TaskState::Completed { generation, .. } => Some(generation),
            _ => None,
        };
        let mut apart = self.kept_apart(&keys::apart(&id)).await?;
        if let Some(generation) = generation {
            apart.extend(self.kept_apart(&keys::apart(&generation)).await?);
        }
        let mut events = task.head.events;
        if !apart.is_empty() {
            if !task.purged {
                let mark = Expression::new()
                    .when("ev", "=", n(events))
                    .when("ca", "=", time(task.created_at))
                    .set("ev", n(events + 1))
                    .set("pg", n(1));
                match self.db.update(self.task_key(id), &mark).await {
                    Ok(_) => events += 1,
                    Err(WriteError::Condition(_)) => return Ok(false),
                    Err(WriteError::Failed(error)) => return Err(error),
                }
            }
            self.db.delete_all(apart).await?;
        }
        let condition = Expression::new().when("ev", "=", n(events)).when("ca", "=", time(task.created_at));
        let removed = match generation {
            Some(generation) => {
                let first = Delete::builder()
                    .table_name(&self.db.table)
                    .set_key(Some(self.task_key(id)))
                    .set_condition_expression(condition.condition())
                    .set_expression_attribute_names(condition.names())
                    .set_expression_attribute_values(condition.values());
                let second = Delete::builder()
                    .table_name(&self.db.table)
                    .set_key(Some(self.generation_key(generation)));
                let writes = vec![
                    TransactWriteItem::builder().delete(first.build().map_err(unbuilt)?).build(),
                    TransactWriteItem::builder().delete(second.build().map_err(unbuilt)?).build(),
                ];
                match self.db.transact(writes, &format!("purge#{id}#{}", self.db.draw())).await {
                    Ok(()) => true,
                    Err(TransactError::Conditions(_)) => false,
                    Err(TransactError::Failed(error)) => return Err(error),
                }
            }
            None => match self.db.delete(self.task_key(id), &condition).await {
                Ok(()) => true,
                Err(WriteError::Condition(_)) => false,
                Err(WriteError::Failed(error)) => return Err(error),
            },
        };
        if removed {
            self.stats.lock().tally(&task.queue, &task.task_type, task.head.state.state(), -1);
        }
        Ok(removed)
    }

    /// The keys of what is kept apart from a task or a generation.
    async fn kept_apart(&self, partition: &str) -> Result<Vec<Item>, StoreError> {
        let found = self.db.query_whole(Query::table(partition)).await?;
        found.items.iter().map(key_of).collect()
    }

    async fn purge_logs(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let mut old = Vec::new();
        for day in self.days(Kind::Log).await? {
            if day > before.as_millis() / DAY_MS {
                break;
            }
            for part in 0..keys::LOG_PARTS {
                let room = limit - old.len();
                if room == 0 {
                    break;
                }
                let query = Query {
                    range: Range::Below(keys::sortable(before)),
                    limit: i32::try_from(room).ok(),
                    ..Query::table(keys::partition(Kind::Log, day, part))
                };
                for item in self.db.query(&query).await?.items {
                    old.push(key_of(&item)?);
                }
            }
        }
        let removed = old.len() as u64;
        self.db.delete_all(old).await?;
        Ok(removed)
    }

    /// Strikes days off the list of days in use that are past their keeping and empty, so that lists do not ask them for
    /// ever.
    ///
    /// Who adds to a day that is over makes it known first, each time, which takes away the note that it was seen
    /// empty. A day is struck off only if it is empty some time after that note was made, and the note still stands:
    /// so nobody is about to add to it.
    async fn strike_off_days(&self, kind: Kind, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let Some(item) = self.db.get(keys::days(kind)).await? else { return Ok(()) };
        let mut days = Fields(&item).numbers("d")?;
        // Clocks may differ by a day.
        days.retain(|day| keys::is_over(*day, before) && keys::is_over(*day + 1, now));
        days.sort_unstable();
        for day in days.into_iter().take(DAYS) {
            if !self.is_empty(kind, day).await? {
                continue;
            }
            let note = keys::seen_empty(day);
            let seen = Fields(&item).maybe_time(&note)?;
            let update = match seen {
                None => Expression::new().when_absent(&note).set(&note, time(now)),
                // A time ahead was noted before the clock was set back: it is noted anew.
                Some(seen) if seen > now => {
                    Expression::new().when(&note, "=", time(seen)).set(&note, time(now))
                }
                Some(seen) if now.since(seen) < ADDED_WITHIN => continue,
                Some(seen) => {
                    let update = Expression::new().when(&note, "=", time(seen));
                    update.take_out("d", numbers([day])).remove(&note)
                }
            };
            match self.db.update(keys::days(kind), &update).await {
                // Somebody adds to it, or another purge was faster.
                Ok(_) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn is_empty(&self, kind: Kind, day: i64) -> Result<bool, StoreError> {
        let parts = if kind == Kind::Log { keys::LOG_PARTS } else { self.spread };
        for part in 0..parts {
            let query = Query { limit: Some(1), ..Query::table(keys::partition(kind, day, part)) };
            if !self.db.query(&query).await?.items.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the records of workers long gone that hold nothing. A claim renews a record before it takes a task, and
    /// the removal holds only for a record that was not renewed: so no task is held by a worker that is not listed.
    async fn purge_workers(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let mut removed = 0;
        for worker in self.all_workers().await? {
            if worker.seen_at >= before {
                continue;
            }
            if removed >= limit as u64 {
                break;
            }
            if !self.held_by(&worker.worker.id, 1).await?.is_empty() {
                continue;
            }
            let condition = Expression::new().when("sn", "=", time(worker.seen_at));
            match self.db.delete(keys::worker(&worker.worker.id), &condition).await {
                Ok(()) => removed += 1,
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn purge_keys(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let mut old = Vec::new();
        for part in 0..keys::IDEMPOTENCY_PARTS {
            let room = limit - old.len();
            if room == 0 {
                break;
            }
            let query = Query {
                range: Range::Below(keys::sortable(before)),
                limit: i32::try_from(room).ok(),
                ..Query::index(keys::idempotency_index(part))
            };
            for item in self.db.query(&query).await?.items {
                old.push((key_of(&item)?, Fields(&item).time("ca")?));
            }
        }
        let mut removed = 0;
        for (key, created_at) in old {
            // The name may have been purged and used anew since the index was written.
            match self.db.delete(key, &Expression::new().when("ca", "=", time(created_at))).await {
                Ok(()) => removed += 1,
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn purge_requests(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let last = keys::request_span(before);
        let note = keys::meta("requests");
        let noted = self.db.get(note.clone()).await?;
        let noted = noted.as_ref().map_or(Ok(None), |item| Fields(item).maybe_number::<i64>("sp"))?;
        let mut old = Vec::new();
        let first = noted.unwrap_or(0).clamp(last - REQUEST_SPANS, last);
        let mut reached = first;
        // Where none has noted how far it came, there are hundreds of places to look at: the reaper waits meanwhile.
        let places = (first..=last).flat_map(|span| (0..keys::REQUEST_PARTS).map(move |part| (span, part)));
        let looks = places.map(|(span, part)| async move {
            let filter = Expression::new().when("ca", "<", time(before));
            let query = Query { filter: Some(filter), ..Query::table(keys::request_partition(span, part)) };
            Ok::<_, StoreError>((span, self.db.query_whole(query).await?))
        });
        let mut looks = futures::stream::iter(looks).buffered(LOOKS_AT_ONCE);
        while old.len() < limit
            && let Some(look) = looks.next().await
        {
            let (span, found) = look?;
            for item in found.items.iter().take(limit - old.len()) {
                old.push(key_of(item)?);
            }
            // The next purge begins with this very span.
            reached = span;
        }
        drop(looks);
        let removed = old.len() as u64;
        self.db.delete_all(old).await?;
        if noted.is_none_or(|noted| noted < reached) {
            unconditional(self.db.update(note, &Expression::new().set("sp", n(reached))).await)?;
        }
        Ok(removed)
    }
}

fn key_of(item: &Item) -> Result<Item, StoreError> {
    let fields = Fields(item);
    Ok(key(fields.text("pk")?, fields.text("sk")?))
}
