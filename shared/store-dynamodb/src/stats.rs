//! Counts and durations, read in a few requests however many tasks there are. No change of a task pays for them.
//!
//! Who keeps them is noted with the table's settings (`epoch`):
//!
//! - the table's stream, each record counted exactly once (`relayed`), from what its images say (`news`), and made anew
//!   by a rebuild while everything runs (`rebuild`);
//! - or, where nothing reads the stream, the processes: each adds up what it has done and writes it about once a second,
//!   one write for each queue. That is an estimate: what a process had not yet written when it died is missing for good.
//!
//! `docs/dynamodb.md` says more.

pub(crate) mod ended;
pub(crate) mod epoch;
pub(crate) mod names;
pub(crate) mod news;
pub(crate) mod rebuild;
pub(crate) mod relayed;
pub(crate) mod types;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{QueueName, State, TaskType, Timestamp};
use baton_store::Hours;
use baton_store::histogram::{What, bucket};
use baton_store::{ErrorKind, StoreError};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::attr::{Fields, Item, key, n};
use crate::codes::Code;
use crate::db::{BATCH_GET, Db, Query, Range};
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::stats::epoch::{Epoch, Epochs};
use crate::stats::names::Names;
use crate::stats::types::Types;

/// The sort key of a queue's counts, as processes keep them.
pub(crate) const COUNTS: &str = "C";

/// The attribute that says as of when the stream's counts are.
pub(crate) const AS_OF: &str = "at";

/// How long a process believes that it is the processes who count.
const BELIEVED: Duration = Duration::from_secs(60);

/// How often the tick is written at most.
const TICK_EVERY: Duration = Duration::from_secs(30);

/// The most attributes that one write adds to; an expression may have 4 KB.
const ADDS: usize = 60;

/// How many requests for the counts of queues are on their way at the same time.
const BATCHES_AT_ONCE: usize = 8;

/// How many counts of an item are zero before they are removed: that is a write of its own.
pub(crate) const ZEROS: usize = 50;

/// The attribute that counts the tasks of a type, or of all types that are not counted by name, in a state.
pub(crate) fn attribute(state: State, task_type: Option<&TaskType>) -> String {
    format!("{}:{}", state.code(), task_type.map_or("", TaskType::as_str))
}

/// What is counted in an item of a queue's.
#[derive(Clone, Debug)]
enum Tallied {
    Tasks(TaskType, State),
    Durations(i64, What, i64),
    /// Tasks that have ended, by the day on which they go.
    Ends(TaskType, State, i64),
}

/// What is added to an item of a queue's in one write.
struct Bundle {
    queue: QueueName,
    sort: String,
    adds: Vec<(Tallied, i64)>,
}

impl Bundle {
    /// The attributes that it adds to; of tasks, by the types that are counted by name.
    fn attributes(&self, named: &HashSet<TaskType>) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for (what, change) in &self.adds {
            let name = match what {
                Tallied::Tasks(task_type, state) | Tallied::Ends(task_type, state, _) => {
                    attribute(*state, named.get(task_type))
                }
                Tallied::Durations(_, what, bucket) => format!("{}{bucket}", what_letter(*what)),
            };
            *sums.entry(name).or_default() += change;
        }
        sums
    }

    fn types(&self) -> BTreeSet<TaskType> {
        let of = |(what, _): &(Tallied, i64)| match what {
            Tallied::Tasks(task_type, _) | Tallied::Ends(task_type, ..) => Some(task_type.clone()),
            Tallied::Durations(..) => None,
        };
        self.adds.iter().filter_map(of).collect()
    }

    /// Counts it again.
    fn give_back(self, pending: &mut Pending) {
        for (what, change) in self.adds {
            match what {
                Tallied::Tasks(task_type, state) => pending.tally(&self.queue, &task_type, state, change),
                Tallied::Durations(hour, what, bucket) if !pending.by_stream => {
                    *pending.durations.entry((self.queue.clone(), hour, what, bucket)).or_default() += change;
                }
                Tallied::Ends(task_type, state, day) if !pending.by_stream => {
                    *pending.ends.entry((self.queue.clone(), task_type, state, day)).or_default() += change;
                }
                Tallied::Durations(..) | Tallied::Ends(..) => {}
            }
        }
    }
}

/// What has been counted and not yet written; nothing if the stream keeps the counts.
#[derive(Default)]
pub(crate) struct Pending {
    counts: HashMap<(QueueName, TaskType, State), i64>,
    durations: HashMap<(QueueName, i64, What, i64), i64>,
    /// Tasks that have ended, by the day on which DynamoDB removes them.
    ends: HashMap<(QueueName, TaskType, State, i64), i64>,
    by_stream: bool,
}

impl Pending {
    /// Counts tasks that entered a state or, negative, left it.
    pub(crate) fn tally(&mut self, queue: &QueueName, task_type: &TaskType, state: State, change: i64) {
        if self.by_stream {
            return;
        }
        *self.counts.entry((queue.clone(), task_type.clone(), state)).or_default() += change;
    }

    /// Counts a duration.
    pub(crate) fn duration(&mut self, queue: &QueueName, what: What, now: Timestamp, length: Duration) {
        if self.by_stream {
            return;
        }
        let hour = now.as_millis() / 3_600_000;
        *self.durations.entry((queue.clone(), hour, what, bucket(length))).or_default() += 1;
    }

    /// Counts a task that has got an end or, negative, lost it.
    pub(crate) fn end(
        &mut self,
        queue: &QueueName,
        task_type: &TaskType,
        state: State,
        ends: Option<i64>,
        change: i64,
    ) {
        let Some(ends) = ends.filter(|_| !self.by_stream) else { return };
        let key = (queue.clone(), task_type.clone(), state, ended::day_of(ends));
        *self.ends.entry(key).or_default() += change;
    }

    /// Whether the stream keeps the counts.
    pub(crate) fn is_by_stream(&self) -> bool {
        self.by_stream
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.durations.is_empty() && self.ends.is_empty()
    }
}

/// The counting of one process.
pub(crate) struct Statistics {
    pending: Mutex<Pending>,
    /// Held while pending counts are written, so that who reads them waits until they are.
    writing: tokio::sync::Mutex<()>,
    /// When it was last read who counts.
    looked: Mutex<Instant>,
    /// The time of the last tick that this process has written.
    ticked: Mutex<Timestamp>,
    /// Which types of each queue are counted by name.
    pub(crate) types: Types,
    /// Which records of the stream are counted.
    pub(crate) names: Names,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in these is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Statistics {
    /// The counting of a process that has just read who counts.
    pub(crate) fn new(epochs: &Epochs) -> Self {
        let pending = Pending { by_stream: epochs.current.is_some(), ..Pending::default() };
        Self {
            pending: Mutex::new(pending),
            writing: tokio::sync::Mutex::default(),
            looked: Mutex::new(Instant::now()),
            ticked: Mutex::default(),
            types: Types::default(),
            names: Names::default(),
        }
    }

    /// Whether the stream keeps the counts. A process that was opened before a rebuild gave them to the stream learns of
    /// it within a minute.
    pub(crate) async fn by_stream(&self, db: &Db) -> Result<bool, StoreError> {
        if self.lock().by_stream || locked(&self.looked).elapsed() < BELIEVED {
            return Ok(self.lock().by_stream);
        }
        let by_stream = db.epochs().await?.current.is_some();
        *locked(&self.looked) = Instant::now();
        if by_stream {
            *self.lock() = Pending { by_stream, ..Pending::default() };
        }
        Ok(by_stream)
    }

    /// Tells the stream that nothing has happened up to now, if it keeps the counts and if that was not told just now.
    pub(crate) async fn tick(&self, db: &Db, now: Timestamp) -> Result<(), StoreError> {
        // Either way: a clock that was set back must not stop the tick.
        let ticked = *locked(&self.ticked);
        let lately = now.since(ticked).max(ticked.since(now)) < TICK_EVERY;
        if lately || !self.by_stream(db).await? {
            return Ok(());
        }
        db.tick(now, None).await?;
        *locked(&self.ticked) = now;
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Pending> {
        locked(&self.pending)
    }

    /// Writes what has been counted.
    pub(crate) async fn flush(&self, db: &Db) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        if self.lock().is_empty() || self.by_stream(db).await? {
            return Ok(());
        }
        let (counts, durations, ended) = {
            let pending = &mut *self.lock();
            let counts = std::mem::take(&mut pending.counts);
            (counts, std::mem::take(&mut pending.durations), std::mem::take(&mut pending.ends))
        };
        let mut sums: BTreeMap<(QueueName, String), Vec<(Tallied, i64)>> = BTreeMap::new();
        for ((queue, task_type, state), change) in counts {
            if change != 0 {
                let what = Tallied::Tasks(task_type, state);
                sums.entry((queue, COUNTS.to_owned())).or_default().push((what, change));
            }
        }
        for ((queue, hour, what, bucket), count) in durations {
            let what = Tallied::Durations(hour, what, bucket);
            sums.entry((queue, format!("H{hour:08}"))).or_default().push((what, count));
        }
        for ((queue, task_type, state, day), change) in ended {
            if change != 0 {
                let what = Tallied::Ends(task_type, state, day);
                sums.entry((queue, ended::sort_key(day))).or_default().push((what, change));
            }
        }
        let mut unwritten = Unwritten { statistics: self, bundles: Vec::new() };
        for ((queue, sort), adds) in sums {
            let bundle = |adds| Bundle { queue: queue.clone(), sort: sort.clone(), adds };
            unwritten.bundles.extend(chunks(adds, ADDS).into_iter().map(bundle));
        }
        let mut failed = None;
        while let Some(bundle) = unwritten.bundles.last() {
            let types = bundle.types();
            let named = Box::pin(self.types.named(db, &bundle.queue, types::OF_PROCESSES, &types)).await;
            let Some(bundle) = unwritten.bundles.pop() else { break };
            let written = match named {
                Ok(named) => Box::pin(write(db, &bundle, &named)).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => {}
                // An item that is full or damaged will not take it another time either, and holds nothing else up.
                Err(error) if error.kind() == ErrorKind::Internal => {
                    db.leave_uncounted(&keys::statistics(&bundle.queue), &bundle.sort, &error);
                }
                Err(error) => {
                    // What may have been written is not counted twice.
                    if error.kind() == ErrorKind::Unavailable {
                        bundle.give_back(&mut self.lock());
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Adds a bundle to its item.
async fn write(db: &Db, bundle: &Bundle, named: &HashSet<TaskType>) -> Result<(), StoreError> {
    let item = || key(&keys::statistics(&bundle.queue), &bundle.sort);
    // By its mark a bundle is known when it is sent again, unless another process has written in between.
    let mark = n(db.draw());
    let mut update = Expression::new().when_absent_or("nc", "<>", mark.clone()).set("nc", mark);
    for (attribute, change) in bundle.attributes(named) {
        update = update.add(&attribute, n(change));
    }
    if let Some(hour) = bundle.sort.strip_prefix('H').and_then(|hour| hour.parse::<i64>().ok()) {
        update = update.set("xp", n(ends(hour)));
    }
    if let Some(day) = ended::day_of_sort(&bundle.sort) {
        update = update.set("xp", n(ended::kept_until(day)));
    }
    let after = match db.update(item(), &update).await {
        Ok(after) => after,
        Err(WriteError::Condition(_)) => return Ok(()),
        Err(WriteError::Failed(error)) => return Err(error),
    };
    remove_zeros(db, &bundle.queue, &bundle.sort, &after).await;
    Ok(())
}

/// Removes the counts that are zero from an item of a queue's, if these are many.
async fn remove_zeros(db: &Db, queue: &QueueName, sort: &str, counts: &Item) {
    let zero = n(0);
    let zeros: Vec<_> = counts.iter().filter(|(_, value)| **value == zero).map(|(name, _)| name).collect();
    if zeros.len() < ZEROS {
        return;
    }
    for zeros in zeros.chunks(ADDS) {
        let remove = zeros.iter().fold(Expression::new(), |all, name| all.when(name, "=", n(0)).remove(name));
        match db.update(key(&keys::statistics(queue), sort), &remove).await {
            // Some of them count again; the others are removed another time.
            Ok(_) | Err(WriteError::Condition(_)) => {}
            Err(WriteError::Failed(error)) => {
                tracing::warn!(%queue, error = error.report(), "counts that are zero could not be removed");
            }
        }
    }
}

/// Counts on their way to the table; those that are left when the way is cut off are counted again.
struct Unwritten<'a> {
    statistics: &'a Statistics,
    bundles: Vec<Bundle>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        for bundle in std::mem::take(&mut self.bundles) {
            bundle.give_back(&mut self.statistics.lock());
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
    /// By type; those of no type are of all that are not counted by name.
    pub(crate) states: BTreeMap<(Option<TaskType>, State), i64>,
    pub(crate) waits: BTreeMap<i64, u64>,
    pub(crate) runs: BTreeMap<i64, u64>,
    /// The same by hour.
    pub(crate) hours: Hours,
    /// The time of the newest change that is in the counts, where the stream keeps them.
    pub(crate) as_of: Option<Timestamp>,
}

impl Counted {
    pub(crate) fn of(&self, wanted: State) -> u64 {
        let all: i64 =
            self.states.iter().filter(|((_, state), _)| *state == wanted).map(|(_, tasks)| tasks).sum();
        u64::try_from(all).unwrap_or(0)
    }

    /// The rows of counts: type, state and how many.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Option<&TaskType>, State, u64)> {
        self.states.iter().filter_map(|((task_type, state), tasks)| {
            let tasks = u64::try_from(*tasks).ok().filter(|tasks| *tasks > 0)?;
            Some((task_type.as_ref(), *state, tasks))
        })
    }

    /// How many are in each state.
    pub(crate) fn by_state(&self) -> BTreeMap<State, u64> {
        State::ALL.into_iter().map(|state| (state, self.of(state))).filter(|(_, tasks)| *tasks > 0).collect()
    }

    fn read(&mut self, item: &Item) -> Result<(), StoreError> {
        let fields = Fields(item);
        let sort = fields.text("sk")?;
        let counts = sort.starts_with(COUNTS);
        self.as_of = self.as_of.max(fields.maybe_time(AS_OF)?);
        for name in item.keys().filter(|name| !matches!(name.as_str(), "pk" | "sk" | "xp" | "nc" | AS_OF)) {
            let number: i64 = fields.number(name)?;
            let unknown = || damaged(format!("expected a count, got {name}"));
            if counts {
                let (state, task_type) = name.split_once(':').ok_or_else(unknown)?;
                let state = State::of(state.parse().map_err(|_| unknown())?)?;
                let task_type = (!task_type.is_empty()).then(|| TaskType::from_stored(task_type));
                *self.states.entry((task_type, state)).or_default() += number;
            } else {
                let bucket = name.get(1..).and_then(|digits| digits.parse().ok()).ok_or_else(unknown)?;
                let tasks = u64::try_from(number).unwrap_or(0);
                let kind = |what: &What| name.starts_with(what_letter(*what));
                let what = What::ALL.into_iter().find(kind).ok_or_else(unknown)?;
                match what {
                    What::Wait => *self.waits.entry(bucket).or_default() += tasks,
                    What::Run => *self.runs.entry(bucket).or_default() += tasks,
                    // They are counted by the hour, and no percentiles told of them.
                    What::Failed => {}
                }
                let hour = sort.get(1..9).and_then(|digits| digits.parse().ok());
                self.hours.add(hour.ok_or_else(unknown)?, what, tasks);
            }
        }
        Ok(())
    }
}

impl Db {
    /// What has been counted of queues by state, in the epoch that is read or as the processes count them. 10,000 queues are
    /// 100 requests, or 400 where the stream counts.
    pub(crate) async fn counted_states(
        &self,
        queues: &[QueueName],
        epoch: Option<Epoch>,
    ) -> Result<HashMap<QueueName, Counted>, StoreError> {
        let sorts = match epoch {
            None => vec![COUNTS.to_owned()],
            Some(epoch) => (0..keys::COUNT_PARTS).map(|part| keys::counts(epoch.number, part)).collect(),
        };
        let keys = queues.iter().flat_map(|queue| {
            let partition = keys::statistics(queue);
            sorts.iter().map(move |sort| key(&partition, sort)).collect::<Vec<_>>()
        });
        let batches = chunks(keys.collect(), BATCH_GET).into_iter().map(|keys| self.get_all(keys));
        let batches: Vec<_> = futures::stream::iter(batches).buffered(BATCHES_AT_ONCE).try_collect().await?;
        let mut counted: HashMap<QueueName, Counted> = HashMap::new();
        for item in batches.iter().flatten() {
            let partition = Fields(item).text("pk")?;
            let name = keys::counted_queue(partition)
                .ok_or_else(|| damaged(format!("expected the counts of a queue, got {partition}")))?;
            let counted = counted.entry(name).or_default();
            self.read_one(item, |item| counted.read(item));
        }
        Ok(counted)
    }

    /// Adds the durations of a queue's last 24 hours to what was counted of it.
    pub(crate) async fn counted_durations(
        &self,
        queue: &QueueName,
        counted: &mut Counted,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let first = now.minus(Duration::from_secs(24 * 3_600)).as_millis() / 3_600_000;
        let range = Range::Within(format!("H{first:08}"), "H~".to_owned());
        let found = self.query_whole(Query { range, ..Query::table(keys::statistics(queue)) }).await?;
        for item in &found.items {
            self.read_one(item, |item| counted.read(item));
        }
        Ok(())
    }

    /// The epochs, and as of when the stream's counts are at least, in one read.
    pub(crate) async fn counting(&self) -> Result<(Epochs, Option<Timestamp>), StoreError> {
        let (mut epochs, mut as_of) = (Epochs::default(), None);
        for item in self.get_all(vec![keys::meta("table"), keys::meta("counted")]).await? {
            match Fields(&item).text("sk")? {
                "table" => epochs = Epochs::read(&item)?,
                _ => as_of = Fields(&item).maybe_time(AS_OF)?,
            }
        }
        Ok((epochs, as_of))
    }

    /// Writes the tick: its record says that the stream was read up to it. `epoch`: a rebuild waits to hear of it.
    pub(crate) async fn tick(&self, now: Timestamp, epoch: Option<u32>) -> Result<(), StoreError> {
        let mut update = Expression::new().set(AS_OF, crate::attr::time(now));
        if let Some(epoch) = epoch {
            update = update.when_absent_or(epoch::TOUCHED, "<", n(epoch)).set(epoch::TOUCHED, n(epoch));
        }
        match self.update(keys::tick(), &update).await {
            // This very write, sent before; or a rebuild that began later, which takes over.
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}

/// When DynamoDB removes an hour's durations, in seconds: they are of no use after a day.
pub(crate) fn ends(hour: i64) -> i64 {
    (hour + 26) * 3_600
}

/// The letter that stands for a kind of duration in the table.
pub(crate) const fn what_letter(what: What) -> char {
    match what {
        What::Wait => 'w',
        What::Run => 'r',
        What::Failed => 'f',
    }
}

#[cfg(test)]
mod tests {
    use baton_model::RunAfter;
    use baton_store::{Create, Reap, TaskStore, Tasks, Waits};

    use super::*;
    use crate::Options;
    use crate::stats::epoch::attribute;
    use crate::testing::{store, task};

    #[tokio::test]
    async fn a_count_of_what_waits_ends_at_its_bound_and_says_so() {
        let store = store(Options::seeded(1)).await;
        let now = Timestamp::from_millis(1_800_000_000_000);
        let create = async |numbers: std::ops::Range<u8>, due: u64| {
            let due = RunAfter::At(now.plus(Duration::from_secs(due)));
            let tasks = numbers.map(|n| task(n, due)).collect();
            store.create(Create { now, tasks, atomic: false, idempotency: None, by: None }).await.unwrap();
        };
        let waits = async |queued, bound| {
            let queue = store.inner.stored_queue(&"a".parse().unwrap()).await.unwrap().unwrap();
            store.inner.waits(&queue, queued, now, bound).await.unwrap()
        };
        let (exactly, at_least) = (Tasks::exactly, |tasks| Tasks { tasks, at_least: true });
        create(0..25, 60).await;
        let all = Waits { ready: exactly(0), created: exactly(25), retry: exactly(0) };
        assert_eq!(waits(25, 26).await, all);
        let many = Waits { ready: exactly(0), created: at_least(10), retry: at_least(0) };
        assert_eq!(waits(25, 10).await, many, "none is taken for ready, however many are for later");
        create(25..28, 0).await;
        assert_eq!(waits(28, 10).await, Waits { ready: exactly(3), ..many });
        create(28..48, 0).await;
        assert_eq!(waits(48, 10).await, Waits { ready: at_least(10), ..many });
    }

    #[tokio::test]
    async fn a_process_learns_within_a_minute_that_the_stream_keeps_the_counts() {
        let store = store(Options::seeded(1)).await;
        let (db, stats) = (&store.inner.db, &store.inner.stats);
        let (queue, task_type): (QueueName, TaskType) = ("a".parse().unwrap(), "render".parse().unwrap());
        let counts = || db.get(key(&keys::statistics(&queue), COUNTS));
        let queued = || async { counts().await.unwrap().map(|item| item["0:render"].clone()) };

        stats.lock().tally(&queue, &task_type, State::Queued, 2);
        store.flush().await.unwrap();
        assert_eq!(queued().await, Some(n(2)));
        let switch = Expression::new().set(attribute::CURRENT, n(1)).set(attribute::CURRENT_SINCE, n(0));
        db.update(keys::meta("table"), &switch).await.unwrap();
        stats.lock().tally(&queue, &task_type, State::Queued, 3);
        store.flush().await.unwrap();
        assert_eq!(queued().await, Some(n(5)), "it believes what it has read");

        *locked(&stats.looked) = Instant::now().checked_sub(BELIEVED).unwrap();
        stats.lock().tally(&queue, &task_type, State::Queued, 4);
        store.flush().await.unwrap();
        stats.lock().tally(&queue, &task_type, State::Queued, 4);
        store.flush().await.unwrap();
        assert_eq!(queued().await, Some(n(5)), "it counts no more");
        let now = Timestamp::from_millis(1_800_000_000_000);
        store
            .reap(Reap { watch: baton_model::Watch::at(now), limit: 1, worker: None, queue: None })
            .await
            .unwrap();
        assert_eq!(db.get(keys::tick()).await.unwrap().unwrap()[AS_OF], crate::attr::time(now));
    }
}
