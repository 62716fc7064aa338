//! Purging what is past its keeping. DynamoDB removes by itself what has an end (`ends.rs`): finished tasks with all that belongs
//! to them, log lines, claim requests, idempotency keys, audit entries. A purge does what is left: tokens, whose number is
//! counted; workers, which hold tasks; days that lists go down and that are empty; and dating what has no end yet
//! (`dating.rs`). An idle table and a full one cost it the same.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::Timestamp;
use baton_store::{Overdue, Purge, PurgeReport, StoreError};
use serde::{Deserialize, Serialize};

use crate::archive::ARCHIVED;
use crate::attr::{Fields, Item, json, n, s, time};
use crate::dating::{PATIENCE, Walk};
use crate::db::{Query, Range, numbers};
use crate::ends::{DATED, ENDS, end_of};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::kept::Place;
use crate::keys::{self, DAY_MS, Kind};
use crate::queue::unconditional;
use crate::store::Inner;

/// The least time that the record of a worker is kept.
const WORKERS_KEPT: Duration = Duration::from_secs(2 * 3_600);

/// The most days of a kind that one call looks at to strike them off.
const DAYS: usize = 32;

/// How long it takes at most from making a day known to adding to it: far more than a request and its repetitions.
const ADDED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// How often workers and days are looked at, and a probe is laid out.
const NOW_AND_THEN: Duration = Duration::from_secs(3_600);

/// Until how far removing is behind a further probe is laid out.
const PROBED: Duration = Duration::from_secs(30 * 86_400);

/// What purges note for those after them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// When workers and days were looked at last, in milliseconds since 1970.
    looked: Option<i64>,
    /// The last day on which the counts of processes were rid of what had gone.
    settled: Option<i64>,
    /// For how many milliseconds finished tasks are kept by their ends; none for ever.
    keep: Option<u64>,
    /// The dating of tasks that have another end, or none, if that is to be done.
    walk: Option<Walk>,
    /// When the last such walk came to its end, in milliseconds since 1970.
    walked: Option<i64>,
    /// Whether tasks are to be looked at once more, a day after the walk that has taken their ends off them: a process that was opened
    /// before may have dated some behind it.
    #[serde(default)]
    again: bool,
    /// Whether tasks were archived when the last purge looked.
    #[serde(default)]
    archived: bool,
    /// Until when, in milliseconds since 1970, the queue is emptied of what was removed by hand while tasks were archived.
    #[serde(default)]
    queued: Option<i64>,
    /// How far the list of tasks is gone down that are kept for others.
    kept: Option<Place>,
}

fn millis(keep: Duration) -> u64 {
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    pub(crate) async fn purge(&self, purge: &Purge) -> Result<PurgeReport, StoreError> {
        let (now, limit) = (purge.now, purge.limit as usize);
        let (table, item) = self.as_noted().await?;
        if let Some(table) = &table {
            // Somebody may have begun or ended archiving since this process has opened the table.
            self.note_archived(Fields(table).has(ARCHIVED));
        }
        let noted: Option<Note> = match &item {
            // One that is damaged is made anew.
            Some(item) => self.db.read_one(item, |item| Fields(item).maybe_json("tx")).flatten(),
            None => None,
        };
        let mut note = match &noted {
            Some(note) => note.clone(),
            None => self.first_note(purge, table.as_ref(), item.is_some()),
        };
        let before = |keep| now.minus(keep);
        let tokens = self.purge_tokens(before(purge.keep_tokens), limit).await?;
        let mut workers = 0;
        // A time ahead was noted before the clock was set back.
        let lately = |at: &i64| {
            let at = Timestamp::from_millis(*at);
            at <= now && now.since(at) < NOW_AND_THEN
        };
        let overdue = self.overdue(now).await?;
        if !note.looked.as_ref().is_some_and(lately) {
            // A claim renews its worker's record by the hour only: a younger one may be in use.
            workers = self.purge_workers(before(purge.keep_workers.max(WORKERS_KEPT)), limit).await?;
            if let Some(keep) = self.keeping.finished() {
                for kind in [Kind::Task, Kind::Generation] {
                    self.strike_off_days(kind, before(keep), now).await?;
                }
            }
            self.strike_off_days(Kind::Log, before(purge.keep_logs), now).await?;
            self.settle_counts(&mut note, now).await?;
            // They tell of a table that does not remove by their age, and not by their number.
            if overdue < PROBED {
                self.lay_out_probe(now).await?;
            }
            // What is left of the workers is the next call's.
            note.looked = Some(now.as_millis()).filter(|_| workers < limit as u64);
        }
        self.keep_dated(&mut note, purge).await?;
        self.empty_queue(&mut note, now).await?;
        self.let_go_of_kept(&mut note.kept, now).await?;
        if noted.as_ref() != Some(&note) {
            self.write_note(item.and_then(|mut item| item.remove("tx")), &note).await?;
        }
        let more = [workers, tokens].contains(&u64::from(purge.limit));
        let overdue = Some(Overdue { tasks: overdue, ..Overdue::default() });
        Ok(PurgeReport { workers, tokens, more, overdue, ..PurgeReport::default() })
    }

    /// The table's settings, and what purges have noted: both as they were a moment ago, for the price of one as of now. A note that is
    /// older than the last one is not written over that.
    async fn as_noted(&self) -> Result<(Option<Item>, Option<Item>), StoreError> {
        let (mut table, mut note) = (None, None);
        for item in self.db.get_all_lately(vec![keys::meta("table"), keys::meta("purge")]).await? {
            let is_table = Fields(&item).text("sk")? == "table";
            *(if is_table { &mut table } else { &mut note }) = Some(item);
        }
        Ok((table, note))
    }

    /// The note of a table that has none: in one that is new, each task was dated as it ended. `lost`: there was one.
    fn first_note(&self, purge: &Purge, table: Option<&Item>, lost: bool) -> Note {
        if self.is_archived() {
            let walk = Some(Walk::begun_at(purge.now));
            return Note { walk, again: true, archived: true, ..Note::default() };
        }
        let dated = table.is_some_and(|table| table.contains_key(DATED)) && !lost;
        let later = purge.now.plus(PATIENCE);
        let walk = (!dated).then(|| Walk::begun_at(later));
        if walk.is_some() {
            tracing::info!("tasks that ended before they were given an end get one, beginning in a day");
        }
        // Who had noted that something is queued is not known any more.
        let queued = (!dated).then(|| later.as_millis());
        Note { keep: self.dated_by().map(millis), walk, queued, ..Note::default() }
    }

    /// By which keeping ended tasks are dated: by none where they are archived.
    fn dated_by(&self) -> Option<Duration> {
        self.keeping.finished().filter(|_| !self.is_archived())
    }

    /// Empties the queue of what was removed by hand where tasks are archived no more: at once, and for a day, as a process that does not
    /// know it yet goes on queueing.
    async fn empty_queue(&self, note: &mut Note, now: Timestamp) -> Result<(), StoreError> {
        if self.is_archived() {
            (note.archived, note.queued) = (true, None);
            return Ok(());
        }
        let latest = now.plus(PATIENCE).as_millis();
        if std::mem::take(&mut note.archived) {
            note.queued = Some(latest);
        }
        let Some(until) = note.queued.map(|until| until.min(latest)) else { return Ok(()) };
        let is_empty = self.remove_queued(now).await?;
        note.queued = Some(until).filter(|until| !is_empty || *until > now.as_millis());
        Ok(())
    }

    /// Has all ended tasks be dated by the keeping as it is set.
    async fn keep_dated(&self, note: &mut Note, purge: &Purge) -> Result<(), StoreError> {
        let keep = self.dated_by();
        // Tasks may have ends of a keeping of their own where all are kept for ever.
        if self.is_archived() && (note.keep.is_some() || !note.archived) {
            tracing::info!(
                "finished tasks are archived from now on: the ends by which the table would remove them are taken off them"
            );
            (note.keep, note.walk, note.again) = (None, Some(Walk::begun_at(purge.now)), true);
        } else if !self.is_archived() && (note.keep != keep.map(millis) || note.archived) {
            tracing::warn!(
                kept_seconds = note.keep.map(|keep| keep / 1_000),
                now_seconds = keep.map(|keep| keep.as_secs()),
                "finished tasks are kept for another time than before: those that have ended are dated anew, beginning in a \
                 day, if all processes on this table have the same setting by then"
            );
            (note.keep, note.again) = (keep.map(millis), false);
            note.walk = Some(Walk::begun_at(purge.now.plus(PATIENCE)));
        }
        // A clock that was ahead puts nothing off for longer.
        let latest = purge.now.plus(PATIENCE).as_millis();
        note.walk.iter_mut().for_each(|walk| walk.begins = walk.begins.min(latest));
        let Some(walk) = note.walk.take_if(|walk| Timestamp::from_millis(walk.begins) <= purge.now) else {
            return Ok(());
        };
        let dated = walk.dated;
        note.walk = self.walk(walk, keep, purge.now).await?;
        if note.walk.is_none() {
            note.walked = Some(purge.now.as_millis());
            if std::mem::take(&mut note.again) {
                note.walk = Some(Walk::begun_at(purge.now.plus(PATIENCE)));
            }
            tracing::info!(dated, "all tasks that have ended have their end");
        }
        Ok(())
    }

    /// Writes the note, unless another purge was faster: its note is as good.
    async fn write_note(&self, before: Option<AttributeValue>, note: &Note) -> Result<(), StoreError> {
        let text = json("the note of a purge", note).map(s)?;
        let update = Expression::new().when_still("tx", before).set("tx", text);
        match self.db.update(keys::meta("purge"), &update).await {
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Takes what DynamoDB has removed off the counts that processes keep, once a day.
    async fn settle_counts(&self, note: &mut Note, now: Timestamp) -> Result<(), StoreError> {
        let today = now.as_millis() / DAY_MS;
        if note.settled == Some(today) || self.stats.by_stream(&self.db).await? {
            return Ok(());
        }
        for queue in self.all_queues().await? {
            self.db.settle_ended(&queue.name, now).await?;
        }
        note.settled = Some(today);
        Ok(())
    }

    /// Lays out an item that ends at once: how long it lies there tells how far DynamoDB is behind with removing, or that it does
    /// not remove at all. It itself says that only as a number of removed items.
    async fn lay_out_probe(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut probe = keys::probe(now);
        probe.insert(ENDS.to_owned(), n(end_of(now, Duration::ZERO)));
        unconditional(self.db.put(probe, Expression::new()).await)
    }

    /// How long the oldest probe has been past its end.
    async fn overdue(&self, now: Timestamp) -> Result<Duration, StoreError> {
        let (first, last) = keys::probes();
        let range = Range::Within(first, last);
        let probes = Query { range, limit: Some(1), consistent: false, ..Query::table("M") };
        let Some(oldest) = self.db.query(&probes).await?.items.pop() else { return Ok(Duration::ZERO) };
        let ended = self.db.read_one(&oldest, |probe| Fields(probe).number::<i64>(ENDS));
        let ended = ended.map(|second| Timestamp::from_millis(second.saturating_mul(1_000)));
        Ok(ended.map_or(Duration::ZERO, |ended| now.since(ended)))
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
}
