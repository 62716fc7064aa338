//! Heartbeats. One write of the worker's record, whatever it runs; one query of what it holds, to tell it what it has
//! lost; and an item for each log line.

use std::collections::HashSet;

use baton_model::{Digest, LogLine, Owner, Running, TaskId, Timestamp, WorkerId};
use baton_store::{Beat, BeatAnswer, LostLease, StoreError};

use crate::attr::{Fields, Item, b, json, key, n, s, time};
use crate::codes::Code;
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::keys::{self, DAY_MS, Kind};
use crate::listed::Listed;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::ROUNDS;
use crate::worker::StoredWorker;

impl Inner {
    pub(crate) async fn heartbeat(&self, beat: &Beat) -> Result<BeatAnswer, StoreError> {
        let held: Vec<_> = match &beat.running {
            Some(running) if !running.is_empty() => {
                let held = self.held_by(&beat.worker, usize::MAX).await?;
                held.iter().map(|task| (task.head.id, task.head.attempt)).collect()
            }
            _ => Vec::new(),
        };
        let listed = beat.running.as_ref().map(|running| Listed::new(running, &held));
        let record = self.beat(beat, listed).await?;
        self.log(beat).await?;
        let held: HashSet<_> = held.into_iter().collect();
        let unsure = beat.running.iter().flatten().filter(|one| !held.contains(&(one.task, one.attempt)));
        let lost = self.problems(&beat.worker, unsure.collect()).await?;
        Ok(BeatAnswer { lost, directive: record.worker.directive, shipped: Some(record.shipped) })
    }

    /// Writes the beat into the worker's record.
    async fn beat(&self, beat: &Beat, listed: Option<Listed>) -> Result<StoredWorker, StoreError> {
        let readings = (!beat.readings.is_empty()).then(|| json("readings", &beat.readings)).transpose()?;
        let labels = (!beat.labels.is_empty()).then(|| json("labels", &beat.labels)).transpose()?;
        // In the same write, so that it costs nothing; and only with lines, so that a worker that ships none has none.
        let shipped: u64 = beat.logs.iter().map(LogLine::bytes).sum();
        let mut update = Expression::new()
            .when_present("pk")
            // Why not the one with the latest time: where the clocks of two processes differ, or one was set back, the
            // worker's list would stay as it was, and the reaper would take what it claims for forgotten.
            .add("bn", n(1))
            .set("lb", time(beat.now))
            .set("sn", time(beat.now))
            .put("ru", listed.as_ref().map(|listed| b(listed.encode())))
            .put("rd", readings.map(s))
            .put("ed", beat.ending.then(|| time(beat.now)))
            .maybe("la", labels.map(s))
            .maybe("cp", beat.capacity.map(n));
        if shipped > 0 {
            update = update.add("lg", n(shipped));
        }
        let caller = &beat.caller;
        update = match caller {
            Owner::Unbound => update,
            Owner::Project(project) => update.when("pj", "=", s(project.as_str())),
            Owner::Queues(digest) => update.when("ow", "=", b(*digest.as_bytes())),
        };
        if let Some(session) = beat.session {
            update = update.when("se", "=", b(*session.as_bytes()));
        }
        let mut standing = match self.db.update(keys::worker(&beat.worker), &update).await {
            Ok(item) => return StoredWorker::read(&item),
            Err(WriteError::Condition(standing)) => standing.as_ref().map(StoredWorker::read).transpose()?,
            Err(WriteError::Failed(error)) => return Err(error),
        };
        // A worker that is new, or a session that is; or another's worker.
        for _ in 0..ROUNDS {
            let mut record = standing
                .clone()
                .unwrap_or_else(|| StoredWorker::new(&beat.worker, caller, beat.session, beat.now));
            let takeover = match record.enter(caller, beat.session, beat.now)? {
                Ok(takeover) => takeover,
                Err(late) => return Err(self.note_late(standing.unwrap_or(record), late, beat.now).await),
            };
            let worker = &mut record.worker;
            worker.last_beat_at = Some(beat.now);
            worker.beats += 1;
            worker.running = listed.as_ref().map(|listed| listed.shown.clone());
            worker.readings = beat.readings.clone();
            worker.ended_at = beat.ending.then_some(beat.now);
            worker.capacity = beat.capacity.or(worker.capacity);
            if !beat.labels.is_empty() {
                worker.labels = beat.labels.clone();
            }
            record.listed = listed.clone();
            record.shipped = record.shipped.saturating_add(shipped);
            record.seen_at = beat.now;
            if self.save_worker(standing.as_ref(), &record).await? {
                self.tell_taken(&record.worker, takeover);
                return Ok(record);
            }
            standing = self.stored_worker(&beat.worker).await?;
        }
        Err(contended("the worker"))
    }

    /// What has become of attempts that a worker lists and the index does not show as its own.
    async fn problems(&self, worker: &WorkerId, listed: Vec<&Running>) -> Result<Vec<LostLease>, StoreError> {
        let ids: HashSet<TaskId> = listed.iter().map(|one| one.task).collect();
        let items = self.db.get_all(ids.into_iter().map(|id| self.task_key(id)).collect()).await?;
        let (mut tasks, mut damaged) = (Vec::new(), HashSet::new());
        for item in &items {
            match self.db.read_one(item, Stored::read) {
                Some(task) => tasks.push(task),
                // What became of it cannot be told, and so is not: its worker goes on.
                None => damaged.extend(Fields(item).maybe_text("sk")?.map(str::to_owned)),
            }
        }
        let readable = |one: &&Running| !damaged.contains(&one.task.to_string());
        let lost = listed.into_iter().filter(readable).filter_map(|one| {
            let task = tasks.iter().find(|task| task.head.id == one.task);
            LostLease::of(one, worker, task.map(|task| &task.head))
        });
        Ok(lost.collect())
    }

    /// Writes a beat's log lines, each an item with an end.
    async fn log(&self, beat: &Beat) -> Result<(), StoreError> {
        if beat.logs.is_empty() {
            return Ok(());
        }
        let expires = (beat.now.as_millis() + millis(self.keeping.logs())) / 1_000;
        self.notes.know_day(&self.db, Kind::Log, beat.now.as_millis() / DAY_MS, beat.now).await?;
        let mut items = Vec::with_capacity(beat.logs.len());
        for (place, line) in beat.logs.iter().enumerate() {
            items.push(log_item(line, beat.now, place, expires)?);
        }
        self.db.put_all(items).await.map_err(|error| match error {
            // The beat itself was taken.
            StoreError::Unavailable(cause) => StoreError::Unknown(cause),
            other => other,
        })
    }
}

pub(crate) fn millis(length: std::time::Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2)
}

/// A log line's item. Its key names its content, so that a beat sent again writes it once.
/// Why not by the line's own time: one that is dated far ahead would be the newest for ever.
pub(crate) fn log_item(
    line: &LogLine,
    received_at: Timestamp,
    place: usize,
    expires: i64,
) -> Result<Item, StoreError> {
    let metadata = line.metadata.as_ref().map(baton_model::Payload::as_str);
    let content =
        json("a log line", &(&line.at, &line.level, &line.source, &line.message, metadata, &line.task))?;
    let digest: String =
        Digest::of_bytes(content.as_bytes()).as_bytes()[..6].iter().map(|b| format!("{b:02x}")).collect();
    let part = keys::hash(line.worker.as_str().as_bytes()) % keys::LOG_PARTS;
    let partition = keys::partition(Kind::Log, received_at.as_millis() / DAY_MS, part);
    let mut item =
        key(&partition, &format!("{}#{place:03}#{}#{digest}", keys::sortable(received_at), line.worker));
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("wa", time(line.at));
    put("wk", s(line.worker.as_str()));
    put("lv", n(line.level.code()));
    put("so", s(&line.source));
    put("tx", s(&line.message));
    put("xp", n(expires));
    if let Some(task) = line.task {
        put("tk", s(task.to_string()));
    }
    if let Some(metadata) = metadata {
        put("md", s(metadata));
    }
    Ok(item)
}
