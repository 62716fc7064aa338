//! Counts and durations: gathered in the process, written in bundles, read in a few requests however many tasks there
//! are.
//!
//! They are an estimate. No change of a task pays for them: each process adds up what it has done and writes it about
//! once a second, one write for each queue. What a process had not yet written when it died is missing from the
//! counts for good. `docs/dynamodb.md` says more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{QueueName, State, TaskType, Timestamp};
use baton_store::{ErrorKind, StoreError};

use crate::attr::{Fields, Item, key, n};
use crate::codes::Code;
use crate::db::{Db, Query, Range};
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use baton_store::histogram::{What, bucket};

/// The sort key of a queue's counts.
pub(crate) const COUNTS: &str = "C";

/// The most attributes that one write adds to; an expression may have 4 KB.
const ADDS: usize = 60;

/// What is added to one attribute: its name, how much, and what to count again if that fails.
type Add = (String, i64, Pending);

/// What has been counted and not yet written.
#[derive(Default)]
pub(crate) struct Pending {
    counts: HashMap<(QueueName, TaskType, State), i64>,
    durations: HashMap<(QueueName, i64, What, i64), i64>,
}

impl Pending {
    /// Counts tasks that entered a state or, negative, left it.
    pub(crate) fn tally(&mut self, queue: &QueueName, task_type: &TaskType, state: State, change: i64) {
        *self.counts.entry((queue.clone(), task_type.clone(), state)).or_default() += change;
    }

    /// Counts a duration.
    pub(crate) fn duration(&mut self, queue: &QueueName, what: What, now: Timestamp, length: Duration) {
        let hour = now.as_millis() / 3_600_000;
        *self.durations.entry((queue.clone(), hour, what, bucket(length))).or_default() += 1;
    }

    fn take_in(&mut self, other: Self) {
        for (key, change) in other.counts {
            *self.counts.entry(key).or_default() += change;
        }
        for (key, change) in other.durations {
            *self.durations.entry(key).or_default() += change;
        }
    }
}

/// The counting of one process.
#[derive(Default)]
pub(crate) struct Statistics {
    pending: Mutex<Pending>,
    /// Held while pending counts are written, so that who reads them waits until they are.
    writing: tokio::sync::Mutex<()>,
}

impl Statistics {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Pending> {
        // A count is whole after each statement.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what has been counted.
    pub(crate) async fn flush(&self, db: &Db) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        let Pending { counts, durations } = std::mem::take(&mut *self.lock());
        let mut bundles: BTreeMap<(QueueName, String), Vec<Add>> = BTreeMap::new();
        for ((queue, task_type, state), change) in counts {
            if change != 0 {
                let attribute = format!("{}:{task_type}", state.code());
                let back = Pending {
                    counts: [((queue.clone(), task_type, state), change)].into(),
                    ..Pending::default()
                };
                bundles.entry((queue, COUNTS.to_owned())).or_default().push((attribute, change, back));
            }
        }
        for ((queue, hour, what, bucket), count) in durations {
            let attribute = format!("{}{bucket}", what_letter(what));
            let back = Pending {
                durations: [((queue.clone(), hour, what, bucket), count)].into(),
                ..Pending::default()
            };
            bundles.entry((queue, format!("H{hour:08}"))).or_default().push((attribute, count, back));
        }
        let mut unwritten = Unwritten { statistics: self, bundles: Vec::new() };
        for (place, adds) in bundles {
            unwritten.bundles.extend(chunks(adds, ADDS).into_iter().map(|adds| (place.clone(), adds)));
        }
        let mut failed = None;
        while let Some(((queue, sort), adds)) = unwritten.bundles.pop() {
            // By its mark a bundle is known when it is sent again, unless another process has written in between.
            let mark = n(db.draw());
            let mut update = Expression::new().when_absent_or("nc", "<>", mark.clone()).set("nc", mark);
            for (attribute, change, _) in &adds {
                update = update.add(attribute, n(change));
            }
            if let Some(hour) = sort.strip_prefix('H').and_then(|hour| hour.parse::<i64>().ok()) {
                // An hour's durations are of no use after a day.
                update = update.set("xp", n((hour + 26) * 3_600));
            }
            match db.update(key(&keys::statistics(&queue), &sort), &update).await {
                Ok(_) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => {
                    // What may have been written is not counted twice.
                    if error.kind() == ErrorKind::Unavailable {
                        adds.into_iter().for_each(|(_, _, back)| self.lock().take_in(back));
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Counts on their way to the table; those that are left when the way is cut off are counted again.
struct Unwritten<'a> {
    statistics: &'a Statistics,
    bundles: Vec<((QueueName, String), Vec<Add>)>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        for (_, adds) in std::mem::take(&mut self.bundles) {
            adds.into_iter().for_each(|(_, _, back)| self.statistics.lock().take_in(back));
        }
    }
}

fn chunks<T>(all: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    for one in all {
        match chunks.last_mut() {
            Some(last) if last.len() < size => last.push(one),
            _ => chunks.push(vec![one]),
        }
    }
    chunks
}

/// What has been counted of a queue.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) states: BTreeMap<(TaskType, State), i64>,
    pub(crate) waits: BTreeMap<i64, u64>,
    pub(crate) runs: BTreeMap<i64, u64>,
}

impl Counted {
    pub(crate) fn of(&self, wanted: State) -> u64 {
        let all: i64 =
            self.states.iter().filter(|((_, state), _)| *state == wanted).map(|(_, tasks)| tasks).sum();
        u64::try_from(all).unwrap_or(0)
    }

    fn read(&mut self, item: &Item) -> Result<(), StoreError> {
        let fields = Fields(item);
        let counts = fields.text("sk")? == COUNTS;
        for name in item.keys().filter(|name| !matches!(name.as_str(), "pk" | "sk" | "xp" | "nc")) {
            let number: i64 = fields.number(name)?;
            let unknown = || damaged(format!("expected a count, got {name}"));
            if counts {
                let (state, task_type) = name.split_once(':').ok_or_else(unknown)?;
                let state = State::of(state.parse().map_err(|_| unknown())?)?;
                self.states.insert((TaskType::from_stored(task_type), state), number);
            } else {
                let bucket = name.get(1..).and_then(|digits| digits.parse().ok()).ok_or_else(unknown)?;
                let times =
                    if name.starts_with(what_letter(What::Wait)) { &mut self.waits } else { &mut self.runs };
                *times.entry(bucket).or_default() += u64::try_from(number).unwrap_or(0);
            }
        }
        Ok(())
    }
}

impl Db {
    /// What has been counted of a queue: its states, and the durations of the last 24 hours.
    pub(crate) async fn counted(&self, queue: &QueueName, now: Timestamp) -> Result<Counted, StoreError> {
        let first = now.minus(Duration::from_secs(24 * 3_600)).as_millis() / 3_600_000;
        let mut counted = Counted::default();
        let partition = keys::statistics(queue);
        if let Some(item) = self.get(key(&partition, COUNTS)).await? {
            counted.read(&item)?;
        }
        let range = Range::AtLeast(format!("H{first:08}"));
        for item in self.query_whole(Query { range, ..Query::table(partition) }).await?.items {
            counted.read(&item)?;
        }
        Ok(counted)
    }
}

/// The letter that stands for a kind of duration in the table.
const fn what_letter(what: What) -> char {
    match what {
        What::Wait => 'w',
        What::Run => 'r',
    }
}
