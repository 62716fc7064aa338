//! What tasks cost on AWS: units measured here, at public prices. The figures of `docs/cost.md` are written by this test, and
//! held against it.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::ThreadId;

use baton_lambda::Host;
use baton_lambda::queues::BATCH;
use baton_model::{LeasePolicy, limits};
use baton_runtime::settings::Settings;
use baton_runtime::telemetry;
use baton_store_dynamodb::table::KeptBy;
use serde_json::{Value, json};

use crate::calls::{Calls, Spent, rewriting};
use crate::world::{Stream, World, admin, again, bearer, invoke, messages, question, request, seconds};

/// How the page's figures are written anew.
const REWRITE: &str = "UPDATE=1 cargo test -p baton-tests --test lambda cost";

/// Public prices of us-east-1 in dollars, without free tiers and discounts.
mod price {
    /// A request to an HTTP API: <https://aws.amazon.com/api-gateway/pricing/>.
    pub(super) const API: f64 = 1.00e-6;
    /// An invocation, and a second of a gigabyte on ARM: <https://aws.amazon.com/lambda/pricing/>.
    pub(super) const INVOCATION: f64 = 0.20e-6;
    pub(super) const GIGABYTE_SECOND: f64 = 0.000_013_333_4;
    /// Units on demand: <https://aws.amazon.com/dynamodb/pricing/on-demand/>.
    pub(super) const WRITE: f64 = 0.625e-6;
    pub(super) const READ: f64 = 0.125e-6;
    /// A request to a standard queue: <https://aws.amazon.com/sqs/pricing/>.
    pub(super) const MESSAGE: f64 = 0.40e-6;
    /// A gigabyte of logs, taken in: <https://aws.amazon.com/cloudwatch/pricing/>.
    pub(super) const LOGGED: f64 = 0.50e-9;
    /// A transition of a standard workflow: <https://aws.amazon.com/step-functions/pricing/>.
    pub(super) const TRANSITION: f64 = 25.0e-6;
    /// A write to S3 and a read from it: <https://aws.amazon.com/s3/pricing/>.
    pub(super) const OBJECT_PUT: f64 = 5.0e-6;
    pub(super) const OBJECT_GET: f64 = 0.40e-6;
}

/// What cannot be measured here, and is assumed.
mod assumed {
    /// How long a function waits for one request to the table or a queue.
    pub(super) const MILLIS_A_REQUEST: f64 = 5.0;
    /// How long it runs besides.
    pub(super) const MILLIS_A_RUN: f64 = 1.0;
    /// Memory of a function, as `infra/template.yaml` sets it.
    pub(super) const GIGABYTES: f64 = 0.25;
    /// What Lambda itself logs of an invocation.
    pub(super) const LOGGED_A_RUN: f64 = 300.0;
    /// How many records of the stream one invocation gets when there is much to do.
    pub(super) const RECORDS: usize = 100;
    /// How many long polls of 20 s Lambda has open at each queue that feeds a function.
    pub(super) const POLLERS: f64 = 5.0;
}

/// What is billed for something, on average of several.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    api: f64,
    runs: f64,
    /// Seconds that functions run.
    seconds: f64,
    reads: f64,
    writes: f64,
    messages: f64,
    /// Bytes.
    logged: f64,
}

impl Bill {
    fn of(api: usize, spent: &Spent, several: usize) -> Self {
        let by = 1.0 / several as f64;
        let runs = spent.invocations as f64;
        let waits = (spent.requests + spent.messages) as f64;
        Self {
            api: api as f64 * by,
            runs: runs * by,
            seconds: (runs * assumed::MILLIS_A_RUN + waits * assumed::MILLIS_A_REQUEST) / 1e3 * by,
            reads: spent.reads * by,
            writes: spent.writes * by,
            messages: spent.messages as f64 * by,
            logged: (spent.logged as f64 + runs * assumed::LOGGED_A_RUN) * by,
        }
    }

    fn times(self, by: f64) -> Self {
        let Self { api, runs, seconds, reads, writes, messages, logged } = self;
        Self {
            api: api * by,
            runs: runs * by,
            seconds: seconds * by,
            reads: reads * by,
            writes: writes * by,
            messages: messages * by,
            logged: logged * by,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            api: self.api + other.api,
            runs: self.runs + other.runs,
            seconds: self.seconds + other.seconds,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            messages: self.messages + other.messages,
            logged: self.logged + other.logged,
        }
    }

    /// Dollars, by who gets them.
    fn dollars(&self) -> [(&'static str, f64); 5] {
        let lambda =
            self.runs * price::INVOCATION + self.seconds * assumed::GIGABYTES * price::GIGABYTE_SECOND;
        [
            ("API Gateway", self.api * price::API),
            ("Lambda", lambda),
            ("DynamoDB", self.writes * price::WRITE + self.reads * price::READ),
            ("SQS", self.messages * price::MESSAGE),
            ("logs", self.logged * price::LOGGED),
        ]
    }

    fn whole(&self) -> f64 {
        self.dollars().iter().map(|(_, dollars)| dollars).sum()
    }
}

/// The functions of a world, as their callers reach them.
struct Fleet {
    world: World,
    authorize: Host,
    create: Host,
    claim: Host,
    complete: Host,
    heartbeat: Host,
    reap: Host,
    relay: Host,
    stream: Stream,
    /// Records of the stream that nobody has taken yet.
    records: Vec<Value>,
    /// Requests to the API.
    asked: usize,
    /// Claims, which are told apart by their numbers.
    claims: usize,
}

/// Counts the bytes of the log lines of one thread.
#[derive(Clone)]
struct Lines(Arc<Calls>, ThreadId);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::thread::current().id() == self.1 {
            self.0.spend(|spent| spent.logged += bytes.len() as u64);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fleet {
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
        let stream = Stream::default();
        Self {
            world,
            authorize,
            create,
            claim,
            complete,
            heartbeat,
            reap,
            relay,
            stream,
            records: Vec::new(),
            asked: 0,
            claims: 0,
        }
    }

    /// A request through API Gateway: the authorizer is asked first.
    async fn ask(&mut self, of: fn(&Self) -> &Host, path: &str, route: &str, body: Value) -> Value {
        self.asked += 1;
        let verdict = invoke(&self.authorize, &question(route, Some(&bearer(&admin().1)))).await;
        assert_eq!(verdict["isAuthorized"], true);
        let answer = invoke(of(self), &request("POST", path, &body)).await;
        assert!(answer["statusCode"].as_u64().unwrap() < 300, "{answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    async fn create(&mut self, tasks: usize) {
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

    /// The ids of the tasks that a claim brings. It does not wait: one that may wait asks the doorbell only if it must.
    async fn claim(&mut self, tasks: usize) -> Vec<String> {
        self.claims += 1;
        let claim = json!({"worker_id": "w", "max_tasks": tasks, "capacity": 1_000,
            "request_id": format!("request-{}", self.claims)});
        let answer = self.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim).await;
        let ids = answer["tasks"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), tasks);
        ids
    }

    fn completion() -> Value {
        json!({"worker_id": "w", "attempt": 1, "result": {"text": "x".repeat(180)}})
    }

    async fn complete(&mut self, task: &str) {
        let (path, route) = (format!("/v1/tasks/{task}/complete"), "POST /v1/tasks/{id}/complete");
        self.ask(|fleet| &fleet.complete, &path, route, Self::completion()).await;
    }

    /// Messages that come to a function by its queue, in batches: who sent them, and Lambda itself, pay for theirs.
    async fn deliver(&mut self, of: fn(&Self) -> &Host, bodies: &[Value]) {
        for (place, batch) in bodies.chunks(BATCH).enumerate() {
            let named = batch.iter().enumerate().map(|(i, body)| (format!("{place}-{i}"), body.to_string()));
            let event = messages(&named.collect::<Vec<_>>());
            assert_eq!(again(&invoke(of(self), &event).await), Vec::<String>::new());
            // Sent, received and deleted.
            self.world.calls.spend(|spent| spent.messages += 3);
        }
    }

    /// What a command has changed is in the stream.
    async fn changed(&mut self) {
        let records = self.stream.records(&self.world).await.into_iter();
        // As the filter of the template lets through: tasks.
        let tasks = records.filter(|record| {
            let partition = record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap();
            partition.starts_with("T#") || partition.starts_with("X#")
        });
        self.records.extend(tasks);
    }

    /// What is in the stream is taken from there.
    async fn relay(&mut self) {
        self.changed().await;
        for batch in std::mem::take(&mut self.records).chunks(assumed::RECORDS) {
            assert_eq!(again(&invoke(&self.relay, &json!({"Records": batch})).await), Vec::<String>::new());
        }
    }

    /// What something costs, of several that are done.
    fn bill(&mut self, several: usize) -> Bill {
        Bill::of(std::mem::take(&mut self.asked), &self.world.calls.bill(), several)
    }

    /// Lets pass what a fleet does once.
    async fn warm(&mut self) {
        self.create(2).await;
        for task in self.claim(2).await {
            self.complete(&task).await;
        }
        self.beat(&[]).await;
        self.relay().await;
        self.bill(1);
    }

    async fn beat(&mut self, running: &[String]) {
        let running = running.iter().map(|task| json!({"task_id": task, "attempt": 1, "progress": 0.5}));
        let body = json!({"running": running.collect::<Vec<_>>(), "capacity": 10});
        let (path, route) = ("/v1/workers/w/heartbeat", "POST /v1/workers/{worker}/heartbeat");
        self.ask(|fleet| &fleet.heartbeat, path, route, body).await;
    }
}

/// How many tasks each way is tried with.
const TASKS: usize = 50;

/// Every step of every task is a request of its own.
async fn one_by_one(fleet: &mut Fleet) -> Bill {
    for _ in 0..TASKS {
        fleet.create(1).await;
        fleet.changed().await;
        let task = fleet.claim(1).await.remove(0);
        fleet.changed().await;
        fleet.complete(&task).await;
        fleet.changed().await;
    }
    fleet.relay().await;
    fleet.bill(TASKS)
}

/// Tasks are created 50 at once and claimed 10 at once; each is completed by a request of its own.
async fn several_at_once(fleet: &mut Fleet) -> Bill {
    fleet.create(TASKS).await;
    fleet.changed().await;
    for _ in 0..TASKS / 10 {
        let tasks = fleet.claim(10).await;
        fleet.changed().await;
        for task in tasks {
            fleet.complete(&task).await;
            fleet.changed().await;
        }
    }
    fleet.relay().await;
    fleet.bill(TASKS)
}

/// Tasks and completions come through the queues, 10 a message batch; only claims are requests, of 10 tasks each.
async fn through_queues(fleet: &mut Fleet) -> Bill {
    let params = json!({"scene": "x".repeat(180)});
    let tasks: Vec<Value> = vec![json!({"type": "render", "params": params}); TASKS];
    // Each submission has an id of its own in the queue, by which a repetition is known.
    fleet.deliver(|fleet| &fleet.create, &tasks).await;
    fleet.changed().await;
    for _ in 0..TASKS / 10 {
        let tasks = fleet.claim(10).await;
        fleet.changed().await;
        let ends: Vec<Value> =
            tasks.iter().map(|task| json!({"task_id": task, "completion": Fleet::completion()})).collect();
        fleet.deliver(|fleet| &fleet.complete, &ends).await;
        fleet.changed().await;
    }
    fleet.relay().await;
    fleet.bill(TASKS)
}

/// Seconds of a month, of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// A month of a worker that runs ten tasks: its heartbeats.
async fn heartbeats(fleet: &mut Fleet) -> Bill {
    fleet.create(10).await;
    let tasks = fleet.claim(10).await;
    fleet.relay().await;
    fleet.bill(1);
    fleet.beat(&tasks).await;
    let beat = fleet.bill(1);
    for task in tasks {
        fleet.complete(&task).await;
    }
    fleet.relay().await;
    fleet.bill(1);
    let every = LeasePolicy::default().heartbeat_interval;
    beat.times(MONTH / every.as_secs_f64())
}

/// A month of a worker that waits at the queue `ready`: each 20 s one claim, which does not wait, and one long poll.
async fn waiting_at_the_queue(fleet: &mut Fleet) -> Bill {
    let claim = json!({"worker_id": "w", "max_tasks": 1, "capacity": 10, "request_id": "waiting"});
    // Twice, as the first may have what is done once.
    for _ in 0..2 {
        fleet.bill(1);
        let answer = fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
        assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(0));
    }
    let listens = Bill { messages: 1.0, ..Bill::default() };
    fleet.bill(1).and(listens).times(MONTH / limits::CLAIM_WAIT.as_secs_f64())
}

/// A month of a worker that waits at the API: claims of 20 s, one after the other.
async fn waiting(fleet: &mut Fleet) -> Bill {
    const WAIT: f64 = limits::CLAIM_WAIT.as_secs() as f64;
    let claim = json!({"worker_id": "w", "max_tasks": 1, "capacity": 10});
    fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
    fleet.bill(1);
    fleet.ask(|fleet| &fleet.claim, "/v1/claims", "POST /v1/claims", claim.clone()).await;
    let asked = fleet.bill(1);
    invoke(&fleet.claim, &request("POST", "/v1/claims", &claim)).await;
    let look = fleet.bill(1);
    // It looks at once and then from time to time, and hears the doorbell meanwhile, by one long poll.
    let looks = (WAIT / baton_claim_task::LOOK_EVERY.as_secs_f64()).floor();
    let again = Bill { runs: 0.0, seconds: 0.0, logged: 0.0, ..look.times(looks) };
    let heard = Bill { messages: 1.0, seconds: WAIT, ..Bill::default() };
    asked.and(again).and(heard).times(MONTH / WAIT)
}

/// A month of a stack that has nothing to do.
async fn idle(fleet: &mut Fleet) -> Bill {
    let schedule = json!({"source": "aws.scheduler", "detail": {}});
    // Until it believes the time and has removed what is past its keeping.
    for _ in 0..4 {
        while invoke(&fleet.reap, &schedule).await["removed"] != 0 {}
        fleet.world.clock.advance(seconds(1_800));
    }
    for _ in 0..3 {
        invoke(&fleet.reap, &schedule).await;
        fleet.bill(1);
        fleet.world.clock.advance(seconds(60));
    }
    invoke(&fleet.reap, &schedule).await;
    let round = fleet.bill(1);
    // The queues `submissions` and `completions`, each by long polls of 20 s.
    let polls = Bill { messages: 2.0 * assumed::POLLERS * 3.0, ..Bill::default() };
    round.and(polls).times(MONTH / 60.0)
}

/// A figure as people read it.
fn figure(number: f64) -> String {
    if number >= 100.0 {
        return format!("{number:.0}");
    }
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn row(table: &mut String, name: &str, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(table, "| {name} | {} |", cells.join(" | ")).unwrap();
}

/// One figure of a bill.
type Measure = fn(&Bill) -> f64;

/// A table of bills: what is used, divided by `used_by`, and what so many cost.
fn table(first: &str, bills: &[(&str, Bill)], used_by: f64, by: f64) -> String {
    let mut table = String::new();
    row(&mut table, first, bills.iter().map(|(name, _)| (*name).to_owned()));
    writeln!(table, "|---|{}", "---|".repeat(bills.len())).unwrap();
    let used: [(&str, Measure); 7] = [
        ("requests to the API", |bill| bill.api),
        ("invocations", |bill| bill.runs),
        ("their time, s", |bill| bill.seconds),
        ("write units", |bill| bill.writes),
        ("read units", |bill| bill.reads),
        ("requests to queues", |bill| bill.messages),
        ("log, kB", |bill| bill.logged / 1e3),
    ];
    for (name, what) in used {
        row(&mut table, name, bills.iter().map(|(_, bill)| figure(what(bill) / used_by)));
    }
    for place in 0..bills[0].1.dollars().len() {
        let name = format!("{}, $", bills[0].1.dollars()[place].0);
        row(&mut table, &name, bills.iter().map(|(_, bill)| figure(bill.dollars()[place].1 * by)));
    }
    row(&mut table, "**together, $**", bills.iter().map(|(_, bill)| figure(bill.whole() * by)));
    table
}

/// A million tasks elsewhere: what each takes, and its dollars.
fn elsewhere(ways: &[(&str, Bill)]) -> String {
    const HTC_GRID: f64 = 13.0;
    let mut table = String::from("| a million tasks | $ | of it for |\n|---|---|---|\n");
    for (name, bill) in ways {
        row(&mut table, &format!("Baton, {name}"), [figure(bill.whole() * 1e6), "all above".to_owned()]);
    }
    let units = HTC_GRID * price::WRITE * 1e6;
    let queue = 3.0 * price::MESSAGE * 1e6;
    let objects = 2.0 * (price::OBJECT_PUT + price::OBJECT_GET) * 1e6;
    let told = format!(
        "its table, {HTC_GRID} write units ({}); its queue, 3 requests ({}); input and output in S3 ({})",
        figure(units),
        figure(queue),
        figure(objects)
    );
    row(&mut table, "HTC-Grid", [figure(units + queue + objects), told]);
    for (states, told) in [
        (1.0, "one transition, if only the state of the task counts"),
        (3.0, "three, as a start, a task and an end are counted"),
    ] {
        row(
            &mut table,
            "Step Functions, standard",
            [figure(states * price::TRANSITION * 1e6), told.to_owned()],
        );
    }
    table
}

/// Whether two pages say the same. Log lines have times in them, so that their lengths differ by a little.
fn alike(page: &str, fresh: &str) -> bool {
    let (one, other) = (page.split_whitespace(), fresh.split_whitespace());
    let number = |word: &str| word.parse::<f64>().ok();
    let close = |(one, other): (&str, &str)| match (number(one), number(other)) {
        (Some(one), Some(other)) => (one - other).abs() <= 0.02 + 0.02 * one.abs(),
        _ => one == other,
    };
    one.clone().count() == other.clone().count() && one.zip(other).all(close)
}

#[tokio::test]
async fn the_page_has_the_figures_that_are_measured() {
    let mut fleet = Fleet::new().await;
    let lines = Lines(Arc::clone(&fleet.world.calls), std::thread::current().id());
    let log = Settings::defaults().unwrap().log;
    // For all threads: what logs first decides by its own thread's subscriber whether anybody ever hears it.
    let subscriber = telemetry::subscriber(&log, true, false, move || lines.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    fleet.warm().await;
    let ways = [
        ("one by one", one_by_one(&mut fleet).await),
        ("several at once", several_at_once(&mut fleet).await),
        ("through the queues", through_queues(&mut fleet).await),
    ];
    let standing = [
        ("a worker at work", heartbeats(&mut fleet).await),
        ("a worker that waits at the API", waiting(&mut fleet).await),
        ("a worker that waits at `ready`", waiting_at_the_queue(&mut fleet).await),
        ("an idle stack", idle(&mut fleet).await),
    ];
    let figures = [
        ("tasks", table("thousand tasks; $ for a million", &ways, 1e-3, 1e6)),
        ("standing", table("a month; all but dollars in thousands", &standing, 1e3, 1.0)),
        ("elsewhere", elsewhere(&ways)),
    ];
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cost.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut fresh = page.clone();
    for (name, table) in figures {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = fresh.find(&begin).unwrap_or_else(|| panic!("docs/cost.md lacks {begin}")) + begin.len();
        let to = from + fresh[from..].find(&end).unwrap_or_else(|| panic!("docs/cost.md lacks {end}"));
        fresh.replace_range(from..to, &table);
    }
    if rewriting() {
        std::fs::write(&path, fresh).unwrap();
    } else {
        assert!(
            alike(&page, &fresh),
            "docs/cost.md is stale; to write it anew: {REWRITE}; expected\n{fresh}"
        );
    }
}
