//! How much of the log lines that workers ship is kept: what one heartbeat, one worker in a minute and one project in a
//! minute may bring. What is over is dropped, counted, and told in the log of the task or worker that it was of; a
//! heartbeat counts as one, whatever becomes of its lines.
//!
//! A share is a bucket that holds a minute's worth and fills at an even pace, so that a burst is kept whole after a quiet
//! minute. Why not counted in the store: the sum over the kept lines of a minute would be a query at each heartbeat, and a
//! number in a row of the project's would have all of its workers write to one place. Each process counts for itself; of a
//! worker that several processes hear, the store's record tells how much it has shipped in all ([`LogShares::heard`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_api::heartbeat::LogsDropped;
use baton_model::{Level, LogLine, Owner, TaskId, Timestamp, WorkerId, limits};

const MINUTE: Duration = Duration::from_secs(60);

/// The most tasks of one worker whose dropped lines are counted apart between two tellings; those of further ones count
/// with the worker's own. It bounds the lines that tell, which no share bounds: 17 a minute and worker.
const TOLD_APART: usize = 16;

/// The shares of all workers that were heard within the last minutes.
#[derive(Debug)]
pub struct LogShares {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shares: limits::LogShares,
    /// By whose the callers' workers are: one of another project cannot use up the share of a worker by its name.
    projects: HashMap<Owner, OfProject>,
    swept_at: Timestamp,
}

#[derive(Debug, Default)]
struct OfProject {
    bucket: Bucket,
    workers: HashMap<WorkerId, OfWorker>,
}

#[derive(Debug, Default)]
struct OfWorker {
    bucket: Bucket,
    heard_at: Timestamp,
    /// What it has shipped in all, by the store's record or what was kept here since.
    shipped: Option<u64>,
    /// What was dropped and is not yet told.
    dropped: Dropped,
    told_at: Option<Timestamp>,
}

/// What was dropped, by the task that it was about; none for the worker's own lines.
type Dropped = BTreeMap<Option<TaskId>, LogsDropped>;

/// How much of a share is used; a new one is full.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    used: u64,
    at: Timestamp,
}

impl Bucket {
    /// Lets it fill until `now`. A clock that was set back fills nothing, and shuts nobody out for longer than a minute.
    fn fill(&mut self, share: Option<u64>, now: Timestamp) {
        let millis = now.since(self.at).min(MINUTE).as_millis();
        let filled = u128::from(share.unwrap_or(0)) * millis / MINUTE.as_millis();
        // A time too short for a byte is kept for the next look.
        if filled > 0 || self.at > now || self.used == 0 || share.is_none() {
            self.used = self.used.saturating_sub(u64::try_from(filled).unwrap_or(u64::MAX));
            self.at = now;
        }
    }

    fn has_room(&self, share: Option<u64>, bytes: u64) -> bool {
        share.is_none_or(|share| self.used.saturating_add(bytes) <= share)
    }

    fn charge(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }
}

/// What is kept of a heartbeat's lines, and what was counted for it.
#[derive(Debug)]
pub struct Shipment {
    /// The lines to keep, and those that tell of dropped ones.
    pub lines: Vec<LogLine>,
    /// What was dropped of this heartbeat's lines, if anything was.
    pub dropped: Option<LogsDropped>,
    counted: Counted,
}

/// What was counted for a heartbeat: taken back if its store refuses it.
#[derive(Debug)]
pub struct Counted {
    worker: WorkerId,
    owner: Owner,
    bytes: u64,
    dropped: Dropped,
    told: Option<Dropped>,
}

impl Shipment {
    /// Its lines, for the store; what was dropped, for the answer; what was counted, for [`LogShares::heard`] or
    /// [`LogShares::refused`].
    pub fn parts(self) -> (Vec<LogLine>, Option<LogsDropped>, Counted) {
        (self.lines, self.dropped, self.counted)
    }
}

impl LogShares {
    /// Shares of these sizes, all full.
    pub fn new(shares: limits::LogShares) -> Self {
        Self { state: Mutex::new(State { shares, ..State::default() }) }
    }

    /// Has the shares be of these sizes from now on; what is used of them stays used.
    pub fn go_by(&self, shares: limits::LogShares) {
        self.state().shares = shares;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A bucket and a count are whole after each statement that writes them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes of a heartbeat's lines those that its shares have room for. `ending`: the worker's last heartbeat.
    pub fn take(
        &self,
        worker: &WorkerId,
        owner: &Owner,
        lines: Vec<LogLine>,
        ending: bool,
        now: Timestamp,
    ) -> Shipment {
        let mut counted = Counted {
            worker: worker.clone(),
            owner: owner.clone(),
            bytes: 0,
            dropped: Dropped::new(),
            told: None,
        };
        let mut state = self.state();
        sweep(&mut state, now);
        let shares = state.shares;
        if lines.is_empty() {
            // The usual heartbeat finds its worker in no map, and makes no entry.
            let known = state.projects.get_mut(&counted.owner).and_then(|of| of.workers.get_mut(worker));
            let lines = known.map_or_else(Vec::new, |known| {
                known.heard_at = now;
                let told = known.tell(worker, ending, shares, now, &mut counted);
                known.charge(&counted);
                told
            });
            return Shipment { lines, dropped: None, counted };
        }
        let of_project = state.projects.entry(counted.owner.clone()).or_default();
        of_project.bucket.fill(shares.project_minute, now);
        let of_worker = of_project.workers.entry(worker.clone()).or_default();
        of_worker.bucket.fill(shares.worker_minute, now);
        of_worker.heard_at = now;
        let mut kept = Vec::with_capacity(lines.len());
        let mut all = LogsDropped::default();
        for line in lines {
            let bytes = line.bytes();
            let beat = counted.bytes.saturating_add(bytes);
            if shares.beat.is_none_or(|share| beat <= share)
                && of_worker.bucket.has_room(shares.worker_minute, beat)
                && of_project.bucket.has_room(shares.project_minute, beat)
            {
                counted.bytes = beat;
                kept.push(line);
            } else {
                all.add(LogsDropped { lines: 1, bytes });
                of_worker.drop_line(line.task, bytes, &mut counted.dropped);
            }
        }
        kept.extend(of_worker.tell(worker, ending, shares, now, &mut counted));
        of_worker.charge(&counted);
        of_project.bucket.charge(counted.bytes);
        Shipment { lines: kept, dropped: (all.lines > 0).then_some(all), counted }
    }

    /// The store has taken the heartbeat. `shipped`: how much the worker has shipped in all, if the store keeps that: what
    /// other processes took counts here, too, from the second heartbeat on that this one hears.
    pub fn heard(&self, counted: &Counted, shipped: Option<u64>) {
        let Some(shipped) = shipped else { return };
        let mut state = self.state();
        let share = state.shares.worker_minute;
        let Some(of_project) = state.projects.get_mut(&counted.owner) else { return };
        let Some(of_worker) = of_project.workers.get_mut(&counted.worker) else { return };
        if let Some(known) = of_worker.shipped {
            let elsewhere = shipped.saturating_sub(known);
            of_worker.bucket.charge(elsewhere);
            // A long time unheard is no debt: no more is owed than what the share fills in a minute.
            let most = share.unwrap_or(0).saturating_mul(2);
            of_worker.bucket.used = of_worker.bucket.used.min(most);
        }
        of_worker.shipped = of_worker.shipped.max(Some(shipped));
    }

    /// The store has not taken the heartbeat, whose lines will come again: it has used up nothing.
    pub fn refused(&self, counted: Counted) {
        let mut state = self.state();
        let Some(of_project) = state.projects.get_mut(&counted.owner) else { return };
        of_project.bucket.used = of_project.bucket.used.saturating_sub(counted.bytes);
        let Some(of_worker) = of_project.workers.get_mut(&counted.worker) else { return };
        of_worker.bucket.used = of_worker.bucket.used.saturating_sub(counted.bytes);
        of_worker.shipped = of_worker.shipped.map(|shipped| shipped.saturating_sub(counted.bytes));
        if let Some(told) = counted.told {
            of_worker.told_at = None;
            for (owner, dropped) in told {
                of_worker.dropped.entry(owner).or_default().add(dropped);
            }
        }
        for (owner, dropped) in counted.dropped {
            if let Some(kept) = of_worker.dropped.get_mut(&owner) {
                kept.lines = kept.lines.saturating_sub(dropped.lines);
                kept.bytes = kept.bytes.saturating_sub(dropped.bytes);
            }
        }
        of_worker.dropped.retain(|_, dropped| dropped.lines > 0);
    }
}

impl OfWorker {
    fn drop_line(&mut self, task: Option<TaskId>, bytes: u64, of_beat: &mut Dropped) {
        let apart = self.dropped.contains_key(&task) || self.dropped.len() < TOLD_APART;
        let owner = task.filter(|_| apart);
        for dropped in [&mut self.dropped, of_beat] {
            dropped.entry(owner).or_default().add(LogsDropped { lines: 1, bytes });
        }
    }

    /// The lines that tell what was dropped, if there is anything and the last telling is a minute ago.
    fn tell(
        &mut self,
        worker: &WorkerId,
        ending: bool,
        shares: limits::LogShares,
        now: Timestamp,
        counted: &mut Counted,
    ) -> Vec<LogLine> {
        let waits = |told: Timestamp| told <= now && now.since(told) < MINUTE;
        if self.dropped.is_empty() || (!ending && self.told_at.is_some_and(waits)) {
            return Vec::new();
        }
        self.told_at = Some(now);
        let dropped = std::mem::take(&mut self.dropped);
        let tell = |(&task, &dropped): (&Option<TaskId>, &LogsDropped)| LogLine {
            at: now,
            received_at: now,
            worker: worker.clone(),
            task,
            level: Level::Warn,
            source: "baton".to_owned(),
            message: words(task, dropped, shares),
            metadata: None,
        };
        let lines: Vec<LogLine> = dropped.iter().map(tell).collect();
        let all = sum(&dropped);
        tracing::warn!(worker_id = %worker, lines = all.lines, bytes = all.bytes,
            "log lines over the share were dropped");
        counted.bytes += lines.iter().map(LogLine::bytes).sum::<u64>();
        counted.told = Some(dropped);
        lines
    }

    fn charge(&mut self, counted: &Counted) {
        self.bucket.charge(counted.bytes);
        self.shipped = self.shipped.map(|shipped| shipped.saturating_add(counted.bytes));
    }
}

fn sum(dropped: &Dropped) -> LogsDropped {
    dropped.values().fold(LogsDropped::default(), |mut all, one| {
        all.add(*one);
        all
    })
}

/// Forgets, once a minute, who has not been heard for two: its shares are full again.
fn sweep(state: &mut State, now: Timestamp) {
    if now.since(state.swept_at) < MINUTE && state.swept_at <= now {
        return;
    }
    state.swept_at = now;
    state.projects.retain(|_, of_project| {
        of_project.workers.retain(|worker, of| {
            let stays = of.heard_at <= now && now.since(of.heard_at) < 2 * MINUTE;
            if !stays && !of.dropped.is_empty() {
                let LogsDropped { lines, bytes } = sum(&of.dropped);
                tracing::warn!(worker_id = %worker, lines, bytes,
                    "log lines over the share were dropped, and the worker was not heard since");
            }
            stays
        });
        !of_project.workers.is_empty()
    });
}

/// What the log of a task or worker says of dropped lines, with what to do.
fn words(
    task: Option<TaskId>,
    LogsDropped { lines, bytes }: LogsDropped,
    shares: limits::LogShares,
) -> String {
    let what = if lines == 1 { "log line" } else { "log lines" };
    let whose = if task.is_some() { "task" } else { "worker" };
    let say =
        |share: Option<u64>| share.map_or_else(|| "no bound".to_owned(), |bytes| format!("{bytes} bytes"));
    format!(
        "{lines} {what} of this {whose}, {bytes} bytes, were dropped: over the share of a heartbeat ({}), of the worker ({} a \
         minute) or of its project ({} a minute); log less, or raise limits.log_beat_bytes, \
         limits.log_worker_bytes_per_minute or limits.log_project_bytes_per_minute of the server",
        say(shares.beat),
        say(shares.worker_minute),
        say(shares.project_minute),
    )
}

#[cfg(test)]
mod tests;
