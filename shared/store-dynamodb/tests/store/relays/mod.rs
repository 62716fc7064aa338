//! The table's stream as Lambda hands it to functions: in shards, in order, and again after every failure, cut anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use baton_model::{EventKind, State, Task, TaskState, Timestamp};
use baton_store::{PageRequest, Stats, TaskFilter, TaskStore};
use baton_store_dynamodb::faults::Faults;
use baton_store_dynamodb::{DynamoStore, Options, PassedOver};

use crate::engine::{Engine, Stream};

/// Over how many shards the table's partitions lie.
const SHARDS: u64 = 3;

/// Randomness from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

#[derive(Default)]
struct Shard {
    records: Vec<String>,
    /// All before it are done, as far as Lambda knows.
    checkpoint: usize,
}

/// Functions that count a table's stream, each by a store and a connection of its own.
pub(crate) struct Relays {
    stream: Stream,
    shards: Vec<Shard>,
    functions: Vec<(Arc<DynamoStore>, Faults)>,
    random: Random,
    /// How many seconds apart the records are, if they are not of the time at which they came.
    pub(crate) apart: Option<f64>,
    /// How many have come.
    came: usize,
}

impl Relays {
    /// Two functions over connections that fail once in `one_in` requests, or never if that is 0.
    pub(crate) async fn new(engine: &Engine, stream: Stream, seed: u64, one_in: u64) -> Self {
        let mut functions = Vec::new();
        for number in 0..2 {
            let options = Options::seeded(seed * 31 + 1_000 + number);
            let (store, faults) = engine.failing(seed + number, one_in, options).await;
            functions.push((Arc::new(store), faults.clone()));
            faults.switch(one_in > 0);
        }
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { stream, shards, functions, random: Random(seed), apart: None, came: 0 }
    }

    /// Takes over what has come into the stream; the records of a partition always go to the same shard.
    fn poll(&mut self) {
        for (partition, mut record) in self.stream.read() {
            if let Some(apart) = self.apart {
                let mut of: serde_json::Value = serde_json::from_str(&record).unwrap();
                let at = 1_800_000_000.0 + (self.came as f64 * apart).floor();
                of["dynamodb"]["ApproximateCreationDateTime"] = at.into();
                record = of.to_string();
            }
            self.came += 1;
            let hash = partition.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
            self.shards[(hash % SHARDS) as usize].records.push(record);
        }
    }

    /// Whether all is done that has come so far.
    fn done(&self) -> bool {
        self.shards.iter().all(|shard| shard.checkpoint == shard.records.len())
    }

    /// Hands a batch of each shard to a function, all at the same time, and lets much of it go wrong.
    pub(crate) async fn round(&mut self) {
        self.poll();
        let mut deliveries = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let random = &mut self.random;
            let checkpoint = shard.checkpoint;
            let end = (checkpoint + 1 + random.below(90)).min(shard.records.len());
            let store = |which: usize| Arc::clone(&self.functions[which % 2].0);
            let which = random.below(2);
            // What another function does that was handed some of it before, and was thought dead.
            let zombie = (random.below(4) == 0).then(|| {
                let begin = checkpoint.saturating_sub(random.below(60));
                let stop = (begin + random.below(120)).min(shard.records.len());
                (store(which + 1), shard.records[begin..stop.max(begin)].to_vec())
            });
            // A function that is killed after it has counted some, so that nobody hears of it.
            let killed = (random.below(4) == 0).then(|| random.below(end - checkpoint + 1));
            let batch = shard.records[checkpoint..end].to_vec();
            let store = store(which);
            deliveries.push(async move {
                let counted = async {
                    match killed {
                        Some(some) => {
                            store.count(&batch[..some]).await;
                            0
                        }
                        None => store.count(&batch).await.records,
                    }
                };
                let zombie = async {
                    if let Some((store, batch)) = zombie {
                        store.count(&batch).await;
                    }
                };
                let (counted, ()) = futures::join!(counted, zombie);
                (number, counted)
            });
        }
        for (number, counted) in futures::future::join_all(deliveries).await {
            self.shards[number].checkpoint += counted;
        }
    }

    /// Goes on until the stream is read to its end.
    pub(crate) async fn drain(&mut self) {
        self.poll();
        while !self.done() {
            self.round().await;
            self.poll();
        }
    }

    /// Goes on until it is told to stop.
    pub(crate) async fn run(mut self, mut stop: tokio::sync::watch::Receiver<bool>) -> Self {
        while !*stop.borrow_and_update() {
            self.round().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self
    }

    /// Everything that has ever come, also what was counted long ago, once more.
    pub(crate) async fn replay(&mut self) {
        self.functions.iter().for_each(|(_, faults)| faults.switch(false));
        for shard in &self.shards {
            let cut = self.random.below(shard.records.len());
            for part in [&shard.records[cut..], &shard.records[..cut]] {
                let counted = self.functions[0].0.count(part).await;
                assert!(counted.failed.is_none() && counted.records == part.len(), "{counted:?}");
            }
        }
    }

    /// What the functions have passed over since they were last asked.
    pub(crate) fn passed_over(&self) -> PassedOver {
        let all = self.functions.iter().map(|(store, _)| store.take_passed_over());
        all.fold(PassedOver::default(), |all, some| PassedOver {
            damaged: all.damaged + some.damaged,
            uncounted: all.uncounted + some.uncounted,
        })
    }

    /// All records so far.
    pub(crate) fn records(&self) -> impl Iterator<Item = &String> {
        self.shards.iter().flat_map(|shard| &shard.records)
    }
}

/// All tasks of a store.
pub(crate) async fn tasks(store: &DynamoStore, now: Timestamp) -> Vec<Task> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let filter = TaskFilter { now, ..TaskFilter::default() };
        let page = store.tasks(filter, PageRequest { after, limit: 500, in_parts: false }).await.unwrap();
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

type Counts = BTreeMap<(String, String, State), u64>;

/// What statistics tell of tasks, and what the tasks themselves do.
pub(crate) async fn told_and_true(store: &DynamoStore, now: Timestamp) -> (Counts, Counts) {
    let told = store.stats(now).await.unwrap().counts.into_iter().filter(|count| count.tasks > 0);
    let told = told.map(|count| {
        (
            (
                count.queue.to_string(),
                count.task_type.map_or("other".to_owned(), |one| one.to_string()),
                count.state,
            ),
            count.tasks,
        )
    });
    let mut counted = Counts::new();
    for task in tasks(store, now).await {
        let key = (task.queue.to_string(), task.task_type.to_string(), task.head.state.state());
        *counted.entry(key).or_default() += 1;
    }
    (told.collect(), counted)
}

/// Asserts that statistics equal a count of all tasks; gives them.
pub(crate) async fn exact(store: &DynamoStore, now: Timestamp) -> Stats {
    let (told, counted) = told_and_true(store, now).await;
    assert_eq!(told, counted, "the counts equal a recount");
    let stats = store.stats(now).await.unwrap();
    let mut of_queues: HashMap<_, (u64, u64)> = HashMap::new();
    for task in tasks(store, now).await {
        let numbers = of_queues.entry(task.queue.clone()).or_default();
        match task.head.state {
            TaskState::Queued => numbers.0 += 1,
            TaskState::Running(_) => numbers.1 += 1,
            _ => {}
        }
    }
    for queue in &stats.queues {
        let counted = of_queues.remove(&queue.queue).unwrap_or_default();
        assert_eq!((queue.queued, queue.running), counted, "{}", queue.queue);
    }
    stats
}

/// How many claims and completions the histories of all tasks tell.
pub(crate) async fn claims_and_completions(store: &DynamoStore, now: Timestamp) -> (u64, u64) {
    let (mut claims, mut completions) = (0, 0);
    for task in tasks(store, now).await {
        for event in store.task(task.head.id).await.unwrap().history {
            claims += u64::from(event.kind == EventKind::Claimed);
            completions += u64::from(event.kind == EventKind::Completed);
        }
    }
    (claims, completions)
}
