//! The functions of a stack as their callers reach them, with all that is billed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

use baton_lambda::queues::BATCH;
use baton_lambda::{Host, Invocation};
use baton_store_dynamodb::table::KeptBy;
use serde_json::{Value, json};

use super::bill::{Bill, assumed};
use super::template::Template;
use crate::world::{Stream, World, admin, again, bearer, messages, question, request, seconds};

/// The functions of a world, as their callers reach them.
pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) template: Template,
    authorize: Host,
    pub(super) create: Host,
    pub(super) claim: Host,
    pub(super) complete: Host,
    heartbeat: Host,
    pub(super) reap: Host,
    relay: Host,
    stream: Stream,
    /// Records of the stream that nobody has taken yet.
    records: Vec<Value>,
    /// Whether tasks come evenly over a month, and the time of what is done now then, in seconds since the first.
    pub(super) evenly: bool,
    pub(super) at: f64,
    /// The time of all that is done in a burst, as that of what is done evenly.
    burst: u64,
    /// The task that runs, where each completion claims the next.
    running: Option<String>,
    /// The tasks that run, where they end by batches.
    pub(super) held: Vec<String>,
    /// Requests to the API, and bytes of its log of them.
    asked: usize,
    accessed: usize,
    /// Routes whose verdict API Gateway still keeps.
    kept: BTreeSet<String>,
    /// Claims, which are told apart by their numbers.
    claims: usize,
}

/// How many ways of spreading tasks over the stream's shards are tried.
const DRAWS: usize = 101;

/// Bytes that were logged and not billed yet.
static LOGGED: AtomicU64 = AtomicU64::new(0);

/// Counts the bytes of the log lines of one thread.
#[derive(Clone)]
pub(super) struct Lines(pub(super) ThreadId);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::thread::current().id() == self.0 {
            LOGGED.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An invocation as Lambda makes it: with an id and a trace, which is not sampled.
fn invocation() -> Invocation {
    Invocation {
        request_id: "8f507cfc-xmpl-4697-b07a-ac58fc914c95".to_owned(),
        trace_id: Some(
            "Root=1-5e1b4151-43a0913a12345678abcdefaa;Parent=07a1b2c3d4e5f607;Sampled=0".to_owned(),
        ),
        deadline: None,
    }
}

impl Fleet {
    /// The functions over a table of their own, which have done once what a fleet does once.
    pub(super) async fn warm() -> Self {
        let mut fleet = Self::new().await;
        fleet.warm_up().await;
        fleet
    }

    async fn new() -> Self {
        let world = World::with_statistics(KeptBy::Stream).await;
        let [authorize, create, claim, complete, heartbeat, reap, relay] = [
            "authorize",
            "create-task",
            "claim-task",
            "complete-task",
            "heartbeat-worker",
            "reap-stale-workers",
            "relay-events",
        ]
        .map(|name| world.function(name));
        Self {
            world,
            template: Template::read(),
            authorize,
            create,
            claim,
            complete,
            heartbeat,
            reap,
            relay,
            stream: Stream::default(),
            records: Vec::new(),
            evenly: false,
            at: 0.0,
            burst: 0,
            running: None,
            held: Vec::new(),
            asked: 0,
            accessed: 0,
            kept: BTreeSet::new(),
            claims: 0,
        }
    }

    /// Has a function take an event.
    pub(super) async fn run(&self, function: &Host, event: &Value) -> Value {
        self.world.calls.spend(|spent| {
            spent.invocations += 1;
            spent.logged += self.template.logged_by_lambda;
        });
        let answer = function.handle(&event.to_string(), &invocation()).await.unwrap();
        serde_json::to_value(answer).unwrap()
    }

    /// A request through API Gateway: the authorizer is asked first, unless its verdict is still kept.
    pub(super) async fn ask(
        &mut self,
        of: fn(&Self) -> &Host,
        path: &str,
        route: &str,
        body: Value,
    ) -> Value {
        self.asked += 1;
        self.accessed += self.template.access_line(route);
        if !self.kept.contains(route) {
            self.judge(route).await;
        }
        let mut event = request("POST", path, &body);
        event["requestContext"]["requestId"] = json!("JKJaXmPLvHcESHA=");
        let answer = self.run(of(self), &event).await;
        assert!(answer["statusCode"].as_u64().unwrap() < 300, "{answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    /// Has the authorizer judge a request.
    pub(super) async fn judge(&mut self, route: &str) {
        let verdict = self.run(&self.authorize, &question(route, Some(&bearer(&admin().1)))).await;
        assert_eq!(verdict["isAuthorized"], true);
        if self.template.token_cache_seconds > 0.0 {
            self.kept.insert(route.to_owned());
        }
    }

    pub(super) async fn create(&mut self, tasks: usize) {
        let params = json!({"scene": "x".repeat(180)});
        if tasks == 1 {
            let task = json!({"type": "render", "params": params});
            self.ask(|fleet| &fleet.create, "/v1/tasks", "POST /v1/tasks", task).await;
            return;
        }
        let batch = vec![json!({"type": "render", "params": params}); tasks];
        let batch = json!({"tasks": batch, "atomic": false});
        let answer = self.ask(|fleet| &fleet.create, "/v1/tasks/batch", "POST /v1/tasks/batch", batch).await;
        assert_eq!(answer["accepted"], tasks);
    }

    pub(super) fn claim_fields(&mut self, tasks: usize) -> Value {
        self.claims += 1;
        json!({"worker_id": "w", "max_tasks": tasks, "capacity": 1_000, "request_id": format!("request-{}", self.claims)})
    }

    /// The ids of the tasks that a claim brings. It does not wait: one that may wait asks the doorbell only if it must.
    pub(super) async fn claim(&mut self, tasks: usize) -> Vec<String> {
        let claim = self.claim_fields(tasks);
        let answer = self.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim).await;
        ids(&answer["tasks"], tasks)
    }

    /// Has a worker find nothing, and so tell that it waits; it is not billed.
    pub(super) async fn find_nothing(&mut self) {
        let claim = json!({"worker_id": "idle", "types": ["nothing"], "max_tasks": 1, "capacity": 1});
        let answer = self.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim).await;
        assert_eq!(answer["tasks"], json!([]));
        self.world.clock.advance(seconds(2));
        self.bill(1);
    }

    pub(super) fn completion() -> Value {
        json!({"worker_id": "w", "attempt": 1, "result": {"text": "x".repeat(180)}})
    }

    pub(super) async fn complete(&mut self, task: &str) {
        self.complete_with(task, Self::completion()).await;
    }

    /// Has a task run, for [`Fleet::complete_and_claim`]; it is not billed.
    pub(super) async fn begin(&mut self) {
        self.create(1).await;
        self.running = Some(self.claim(1).await.remove(0));
        self.relay().await;
        self.bill(1);
    }

    /// Completes what runs and claims the next by the same request.
    pub(super) async fn complete_and_claim(&mut self) {
        let task = self.running.take().expect("a task runs");
        let mut completion = Self::completion();
        completion["claim"] = self.claim_fields(1);
        // As `baton worker run` does: the completion names the claim.
        completion["claim"]["request_id"] = json!(format!("{task}@1"));
        let answer = self.complete_with(&task, completion).await;
        self.running = Some(ids(&answer["next"]["tasks"], 1).remove(0));
    }

    /// Completes what runs; it is not billed.
    pub(super) async fn end(&mut self) {
        if let Some(task) = self.running.take() {
            self.complete(&task).await;
            self.relay().await;
            self.bill(1);
        }
        if !self.held.is_empty() {
            self.end_batch(None).await;
            self.relay().await;
            self.bill(1);
        }
    }

    async fn complete_with(&mut self, task: &str, completion: Value) -> Value {
        let (path, route) = (format!("/v1/tasks/{task}/complete"), "POST /v1/tasks/{id}/complete");
        self.ask(|fleet| &fleet.complete, &path, route, completion).await
    }

    /// Messages that come to a function by its queue, so many at once: who sent them, and Lambda itself, pay for theirs.
    pub(super) async fn deliver(&mut self, of: fn(&Self) -> &Host, bodies: &[Value], at_once: usize) {
        for batch in bodies.chunks(at_once.min(BATCH)) {
            self.claims += 1;
            let place = self.claims;
            let named = batch.iter().enumerate().map(|(i, body)| (format!("{place}-{i}"), body.to_string()));
            let event = messages(&named.collect::<Vec<_>>());
            assert_eq!(again(&self.run(of(self), &event).await), Vec::<String>::new());
            // Sent, received and deleted.
            self.world.calls.spend(|spent| spent.messages += 3);
        }
    }

    /// What a command has changed is in the stream.
    pub(super) async fn changed(&mut self) {
        let records = self.stream.records(&self.world).into_iter();
        // As the filter of the template lets through: tasks.
        let tasks = records.filter(|record| {
            let partition = record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap();
            partition.starts_with("T#") || partition.starts_with("X#")
        });
        // In a burst all of it comes within a second.
        let second = if self.evenly { self.at as u64 } else { self.burst };
        self.records.extend(tasks.map(|mut record| {
            record["dynamodb"]["ApproximateCreationDateTime"] = json!(1_770_000_000 + second);
            record
        }));
    }

    /// What is in the stream is taken from there, as much at once as an invocation takes.
    pub(super) async fn relay(&mut self) {
        self.changed().await;
        for batch in std::mem::take(&mut self.records).chunks(assumed::RECORDS) {
            self.relay_batch(batch).await;
        }
    }

    /// What is in the stream is taken from there shard by shard, with what comes within the mapping's window. How many
    /// invocations that takes.
    pub(super) async fn relay_as_it_comes(&mut self) -> f64 {
        self.changed().await;
        let records = std::mem::take(&mut self.records);
        // Which tasks share a shard hangs on their ids, which are drawn by chance: this is the mean of many draws, and the draw
        // next to it is what is run.
        let mut draws: Vec<_> = (0..DRAWS).map(|draw| self.batches(&records, draw)).collect();
        let mean = draws.iter().map(Vec::len).sum::<usize>() as f64 / DRAWS as f64;
        draws.sort_by(|one, other| {
            (one.len() as f64 - mean).abs().total_cmp(&(other.len() as f64 - mean).abs())
        });
        for batch in &draws[0] {
            self.relay_batch(batch).await;
        }
        mean
    }

    /// The records as invocations get them, by one draw of shards.
    fn batches(&self, records: &[Value], draw: usize) -> Vec<Vec<Value>> {
        let mut shards: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for record in records {
            let partition = record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap();
            let mut hasher = DefaultHasher::new();
            (draw, partition).hash(&mut hasher);
            shards.entry(hasher.finish() % assumed::STREAM_SHARDS as u64).or_default().push(record.clone());
        }
        let at = |record: &Value| record["dynamodb"]["ApproximateCreationDateTime"].as_u64().unwrap();
        let mut batches = Vec::new();
        for mut records in shards.into_values() {
            records.sort_by_key(at);
            while let Some(first) = records.first().map(at) {
                let within =
                    |record: &&Value| at(record) as f64 <= first as f64 + self.template.stream_window_seconds;
                let several = records.iter().take_while(within).count().min(assumed::RECORDS);
                batches.push(records.drain(..several).collect());
            }
        }
        batches
    }

    /// Has so many ended tasks go, as the table removes them: for nothing, but the stream tells of each. `at`: when each goes.
    pub(super) async fn go(&mut self, tasks: usize, at: impl Fn(usize) -> f64) {
        let items = self.world.items().await;
        let of_tasks = items.iter().filter(|((pk, _), _)| pk.starts_with("T#") && pk != "T#tick");
        // The index has all that have not ended.
        let ended = of_tasks.filter(|(_, item)| item.get("ip").is_none()).map(|(key, _)| key);
        for (number, (pk, sk)) in ended.take(tasks).enumerate() {
            self.at = at(number);
            self.world.remove(pk, sk).await;
            self.changed().await;
        }
    }

    async fn relay_batch(&self, batch: &[Value]) {
        let answer = self.run(&self.relay, &json!({"Records": batch})).await;
        assert_eq!(again(&answer), Vec::<String>::new());
    }

    /// What something costs, of several that are done.
    pub(super) fn bill(&mut self, several: usize) -> Bill {
        let (asked, accessed) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.accessed));
        let mut spent = self.world.calls.bill();
        spent.logged += LOGGED.swap(0, Ordering::Relaxed);
        Bill::of(asked, accessed, &spent, several)
    }

    /// Bytes of tasks, their generations and what belongs to them in the table, and how many items these are.
    pub(super) async fn stored(&self) -> f64 {
        let items = self.world.items().await;
        let tasks = items.iter().filter(|((partition, _), _)| {
            ["T#", "X#", "G#", "P#"].iter().any(|kind| partition.starts_with(kind)) && partition != "T#tick"
        });
        tasks.map(|(_, item)| bytes(item) + assumed::STORED_AN_ITEM).sum()
    }

    /// The custom metrics that were told so far: each name, by its dimensions.
    pub(super) fn custom_metrics(&self) -> BTreeSet<(Vec<String>, String)> {
        let mut names = BTreeSet::new();
        for line in self.world.metrics.lock().unwrap().iter() {
            for declared in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
                let by = declared["Dimensions"][0].as_array().unwrap().iter();
                let by: Vec<String> = by.map(|name| line[name.as_str().unwrap()].to_string()).collect();
                let metrics = declared["Metrics"].as_array().unwrap();
                names.extend(metrics.iter().map(|metric| (by.clone(), metric["Name"].to_string())));
            }
        }
        names
    }

    /// Lets pass what a fleet does once.
    async fn warm_up(&mut self) {
        self.create(3).await;
        for task in self.claim(3).await {
            self.complete(&task).await;
        }
        self.begin().await;
        self.end().await;
        self.beat(&[]).await;
        self.relay().await;
        self.bill(1);
        // A while before what is measured: how much room is left for the names of what has been counted is no chance then.
        self.burst = 3_600;
    }

    pub(super) async fn beat(&mut self, running: &[String]) {
        let running = running.iter().map(|task| json!({"task_id": task, "attempt": 1, "progress": 0.5}));
        let body = json!({"running": running.collect::<Vec<_>>(), "capacity": 10});
        let (path, route) = ("/v1/workers/w/heartbeat", "POST /v1/workers/{worker}/heartbeat");
        self.ask(|fleet| &fleet.heartbeat, path, route, body).await;
    }
}

pub(super) fn ids(tasks: &Value, count: usize) -> Vec<String> {
    let ids: Vec<String> =
        tasks.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), count);
    ids
}

/// The bytes of an item or a value of one, by DynamoDB's rules:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
fn bytes(item: &Value) -> f64 {
    let named = |map: &serde_json::Map<String, Value>| -> f64 {
        map.iter().map(|(name, value)| name.len() as f64 + value_bytes(value)).sum()
    };
    named(item.as_object().unwrap())
}

fn value_bytes(value: &Value) -> f64 {
    let (kind, inner) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => inner.as_str().unwrap().len() as f64,
        "N" => (inner.as_str().unwrap().len() as f64 / 2.0).ceil() + 1.0,
        "B" => inner.as_str().unwrap().len() as f64 * 0.75,
        "L" => 3.0 + inner.as_array().unwrap().iter().map(|one| value_bytes(one) + 1.0).sum::<f64>(),
        "M" => 3.0 + bytes(inner) + inner.as_object().unwrap().len() as f64,
        _ => inner.to_string().len() as f64,
    }
}
