//! Functions that share a table and queues, as on AWS, in this process: each has a store, a doorbell and a host of its
//! own, and a clock that the test moves.

mod asking;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use baton_archive::ObjectArchive;
use baton_files::{Files, ObjectFiles, Objects};
use baton_lambda::stub::MemoryQueues;
use baton_lambda::{Function, QueueDoorbell, Queues};
use baton_lambda::{Host, Services};
use baton_manage_alerts::AlertRounds;
use baton_model::{Place, Timestamp, Token, TokenSecret};
use baton_reap_stale_workers::ArchiveRounds;
use baton_relay_events::Notifier;
use baton_runtime::settings::QueueSettings;
use baton_runtime::{Clock, ManualClock, RandomIds, Settings, Sources};
use baton_store::{Archive, Archiver, StoredToken, TokenStore};
use baton_store_dynamodb::aws_sdk_dynamodb::config::SharedHttpClient;
use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, KeptBy, TableOptions};
use baton_store_dynamodb::{DynamoStore, Meter, Options, aws_sdk_dynamodb};
use baton_store_sqlite::SqliteStore;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::asking::{
    admin, again, bearer, invocation, invoke, messages, question, request, seconds, send, token, vouched,
};
use crate::bucket::{Bucket, RecordedFiles};
use crate::calls::{Calls, REWRITE, Recorded, RecordedArchive, Recorder, rewriting};
use crate::stream::{self, TableStream};

/// The queues, by what stands for their URLs: `https://queues/` and the queue's name.
pub(crate) const READY: &str = "https://queues/ready";
pub(crate) const SUBMISSIONS_DEAD: &str = "https://queues/submissions-dead";
pub(crate) const COMPLETIONS_DEAD: &str = "https://queues/completions-dead";
pub(crate) const TASK_EVENTS: &str = "https://queues/task-events";
pub(crate) const RELAY_DEAD: &str = "https://queues/relay-dead";

const TABLE: &str = "baton-tasks";

fn stored((token, secret): (Token, TokenSecret)) -> StoredToken {
    StoredToken { token, digest: secret.digest() }
}

pub(crate) struct World {
    pub(crate) queues: Arc<MemoryQueues>,
    pub(crate) clock: Arc<ManualClock>,
    /// What the functions' invocations have measured.
    pub(crate) metrics: Arc<Mutex<Vec<Value>>>,
    /// What the functions have asked of AWS.
    pub(crate) calls: Arc<Calls>,
    /// Whether there is no queue `task-events`.
    pub(crate) untold: bool,
    /// The pools of queues that functions opened from now on are told of, as BATON_SCALING has them.
    pub(crate) pools: Mutex<String>,
    /// Where the reaper archives finished tasks that is opened from now on; nowhere if there is none.
    pub(crate) archive: Mutex<Option<Arc<dyn Archive>>>,
    /// Where files lie for functions that are opened from now on; nowhere if there is no place.
    pub(crate) files: Mutex<Option<Arc<dyn Files>>>,
    client: aws_sdk_dynamodb::Client,
    /// Where the table's engine is.
    endpoint: String,
    /// The table's engine itself.
    pub(crate) db: dynoxide::Database,
    /// A store in a file that all functions share instead of the table.
    file: Option<File>,
    seeds: AtomicU64,
    engine: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct File {
    store: Arc<SqliteStore>,
    doorbell: Arc<QueueDoorbell>,
    _dir: Arc<tempfile::TempDir>,
}

/// Where a function archives tasks and keeps files, if it does.
type Keeps = (Option<Arc<dyn Archive>>, Option<Arc<dyn Files>>);

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_statistics(KeptBy::Processes).await
    }

    /// A world whose table's statistics are kept so.
    pub(crate) async fn with_statistics(statistics: KeptBy) -> Self {
        Self::over(http_client(), statistics).await
    }

    /// A world whose table is reached through an HTTP client of a test's own.
    pub(crate) async fn over(http_client: SharedHttpClient, statistics: KeptBy) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let db = stream::engine();
        let engine = tokio::spawn(dynoxide::server::serve_on(listener, db.clone()));
        let client = local(&endpoint, http_client);
        let options = TableOptions { statistics, ..TableOptions::default() };
        table::create(&client, TABLE, options).await.unwrap();
        let world = Self {
            queues: Arc::default(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_770_000_000_000))),
            metrics: Arc::default(),
            calls: Arc::default(),
            untold: false,
            pools: Mutex::default(),
            archive: Mutex::default(),
            files: Mutex::default(),
            client,
            endpoint,
            db,
            file: None,
            seeds: AtomicU64::new(1),
            engine,
        };
        world.keep(admin()).await;
        world
    }

    /// Has the table know a token.
    pub(crate) async fn keep(&self, token: (Token, TokenSecret)) {
        self.store().await.create_token(stored(token)).await.unwrap();
    }

    /// Has the reaper that is opened from now on archive finished tasks in a folder; gives what is to be read there.
    pub(crate) fn archives_in(&self, folder: &std::path::Path) -> ObjectArchive {
        let archive = ObjectArchive::new(Objects::open(&Place::Folder(folder.to_owned())).unwrap());
        *self.archive.lock().unwrap() = Some(Arc::new(archive.clone()));
        archive
    }

    /// Has functions that are opened from now on keep files in a folder, which stands for the bucket; what has more than `through` bytes is
    /// fetched there and put there.
    pub(crate) fn keeps_files_in(&self, folder: &std::path::Path, through: u64) {
        let objects = Objects::open(&Place::Folder(folder.to_owned())).unwrap();
        let files: Arc<dyn Files> = Arc::new(ObjectFiles::addressed(objects, Arc::new(Bucket), through));
        *self.files.lock().unwrap() = Some(files);
    }

    /// Ends the table's engine: nothing can be asked any more.
    pub(crate) fn end_engine(&self) {
        self.engine.abort();
    }

    /// A world whose store is a file.
    pub(crate) async fn on_file() -> Self {
        let mut world = Self::new().await;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let queues = Arc::clone(&world.queues) as Arc<dyn Queues>;
        let doorbell =
            QueueDoorbell::new(Arc::clone(&world.clock) as _, Some(queues), Some(READY.to_owned()));
        let options = baton_store_sqlite::Options::default();
        let store = SqliteStore::open(&dir.path().join("baton.db"), options, Arc::clone(&doorbell) as _);
        let store = store.unwrap();
        store.create_token(stored(admin())).await.unwrap();
        world.file = Some(File { store: Arc::new(store), doorbell, _dir: dir });
        world
    }

    /// The functions as their binaries describe them.
    fn described(name: &str) -> Function {
        match name {
            "create-task" => Function::new("create-task", baton_create_task::router).messages(
                |queues| queues.submissions_dead.clone(),
                |app, message| async move { baton_create_task::submit(&app, &message).await },
            ),
            "claim-task" => {
                Function::new("claim-task", baton_claim_task::router).slow(baton_claim_task::SLOW)
            }
            "complete-task" => Function::new("complete-task", baton_complete_task::router).messages(
                |queues| queues.completions_dead.clone(),
                |app, message| async move { baton_complete_task::end(&app, &message).await },
            ),
            "reap-stale-workers" => {
                let rounds = Arc::new(ArchiveRounds::default());
                Function::new("reap-stale-workers", baton_reap_stale_workers::router).schedule(move |tick| {
                    let rounds = Arc::clone(&rounds);
                    async move {
                        let archive = tick.archiver.as_ref().map(|archiver| (archiver, &*rounds));
                        baton_reap_stale_workers::scheduled(&tick.app, tick.budget, archive).await
                    }
                })
            }
            // Its webhooks lead to this machine, where tests listen.
            "manage-alerts" => {
                let rounds = Arc::new(AlertRounds::new(true));
                Function::new("manage-alerts", baton_manage_alerts::router).schedule(move |tick| {
                    let rounds = Arc::clone(&rounds);
                    async move { baton_manage_alerts::scheduled(&tick.app, tick.budget, &rounds).await }
                })
            }
            "heartbeat-worker" => Function::new("heartbeat-worker", baton_heartbeat_worker::router),
            "manage-tasks" => Function::new("manage-tasks", baton_manage_tasks::router),
            "manage-tokens" => Function::new("manage-tokens", baton_manage_tokens::router),
            "authorize" => {
                Function::new("authorize", OpenApiRouter::default).authorizer(|by, asked| async move {
                    baton_authorize::authorize(&by, &asked.route_key, &asked.headers).await
                })
            }
            "manage-files" => Function::new("manage-files", baton_manage_files::router)
                .schedule(|tick| async move { baton_manage_files::scheduled(&tick.app, tick.budget).await }),
            "query-tasks" => Function::new("query-tasks", baton_query_tasks::router),
            "edge-functions" => Function::speaking("edge-functions", baton_edge_functions::dialect),
            "relay-events" => Function::new("relay-events", OpenApiRouter::default)
                .stream(
                    |store, record| async move { baton_relay_events::relay(&store, &record).await },
                    baton_relay_events::cloud_event,
                )
                .notifying(Notifier::default())
                .releasing(|store, record, now| async move {
                    baton_relay_events::release(&store, &record, now).await
                })
                .counting(|store, records| async move { baton_relay_events::count(&store, &records).await }),
            other => panic!("no function {other}"),
        }
    }

    /// A function as it is; what it asks of AWS is recorded.
    pub(crate) fn function(&self, name: &'static str) -> Host {
        self.function_at(name, Arc::clone(&self.clock) as _)
    }

    /// A function as it is, with a clock of its own.
    pub(crate) fn function_at(&self, name: &'static str, clock: Arc<dyn Clock>) -> Host {
        let recorder = Recorder::new(name, Arc::clone(&self.calls));
        let config = self.client.config().to_builder().interceptor(recorder.clone());
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        let archive = self.archive.lock().unwrap().clone().filter(|_| name == "reap-stale-workers");
        let archive = archive
            .map(|archive| Arc::new(RecordedArchive::new(archive, recorder.clone())) as Arc<dyn Archive>);
        let keeps = ["manage-files", "complete-task", "edge-functions"].contains(&name);
        let files = self.files.lock().unwrap().clone().filter(|_| keeps);
        let files =
            files.map(|files| Arc::new(RecordedFiles::new(files, recorder.clone())) as Arc<dyn Files>);
        let queues = Arc::new(Recorded::new(Arc::clone(&self.queues), recorder));
        self.opened_by(Self::described(name), client, queues, clock, (archive, files))
    }

    /// The same over a connection to the table of its own.
    pub(crate) fn function_over(&self, name: &'static str, http_client: SharedHttpClient) -> Host {
        let clock = Arc::clone(&self.clock) as _;
        let client = local(&self.endpoint, http_client);
        self.opened_by(Self::described(name), client, Arc::clone(&self.queues) as _, clock, (None, None))
    }

    /// A function of a test's own.
    pub(crate) fn host(&self, function: Function) -> Host {
        let clock = Arc::clone(&self.clock) as _;
        self.opened_by(function, self.client.clone(), Arc::clone(&self.queues) as _, clock, (None, None))
    }

    fn opened_by(
        &self,
        function: Function,
        client: aws_sdk_dynamodb::Client,
        queues: Arc<dyn Queues>,
        clock: Arc<dyn Clock>,
        (archive, files): Keeps,
    ) -> Host {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        let (file, untold) = (self.file.clone(), self.untold);
        let pools = self.pools.lock().unwrap().clone();
        let meter = Arc::clone(&self.calls) as Arc<dyn Meter>;
        let opening = {
            let clock = Arc::clone(&clock);
            move || {
                let (client, queues, clock) = (client.clone(), Arc::clone(&queues), Arc::clone(&clock));
                let (file, meter, pools) = (file.clone(), Arc::clone(&meter), pools.clone());
                let (archive, files) = (archive.clone(), files.clone());
                Box::pin(async move {
                    let mut services = services(client, file, queues, clock, seed, meter).await?;
                    if let (Some(archive), Some(store)) = (archive, &services.dynamo) {
                        store.begin_archiving().await?;
                        services.archiver = Some(Archiver { store: Arc::clone(store) as _, archive });
                    }
                    services.files = files;
                    let environment = vec![("BATON_SCALING".to_owned(), pools)];
                    let settings = Settings::load(&Sources { environment, ..Sources::default() });
                    services.settings.scaling = settings.unwrap().scaling;
                    if untold {
                        services.settings.queues.task_events = None;
                    }
                    Ok(services)
                }) as _
            }
        };
        let (metrics, calls) = (Arc::clone(&self.metrics), Arc::clone(&self.calls));
        Host::new(function, clock, Box::new(opening)).on_table(TABLE).metrics_to(move |line| {
            calls.spend(|spent| spent.logged += line.len() as u64 + 1);
            metrics.lock().unwrap().push(serde_json::from_str(line).unwrap());
        })
    }

    pub(crate) async fn store(&self) -> DynamoStore {
        let options = Options { flush_every: None, ..Options::seeded(0) };
        DynamoStore::open(self.client.clone(), TABLE, options, Arc::new(baton_store::NoDoorbell))
            .await
            .unwrap()
    }

    /// Writes an item into the table as it is: these texts and numbers.
    pub(crate) async fn put(&self, texts: &[(&str, &str)], numbers: &[(&str, i64)]) {
        let mut put = self.client.put_item().table_name(TABLE);
        for (name, text) in texts {
            put = put.item(*name, AttributeValue::S((*text).to_owned()));
        }
        for (name, number) in numbers {
            put = put.item(*name, AttributeValue::N(number.to_string()));
        }
        put.send().await.unwrap();
    }

    /// Removes an item, as the table does by itself once it is past its keeping.
    pub(crate) async fn remove(&self, pk: &str, sk: &str) {
        let delete = self.client.delete_item().table_name(TABLE);
        let delete = delete.key("pk", AttributeValue::S(pk.to_owned()));
        delete.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap();
    }

    /// Has an attribute of a task be of no type that it may have.
    pub(crate) async fn spoil(&self, task: &str, attribute: &str) {
        let items = self.items().await;
        let (pk, sk) = items.keys().find(|(pk, sk)| sk == task && pk.starts_with("T#")).unwrap();
        let update = self.client.update_item().table_name(TABLE);
        let update = update.key("pk", AttributeValue::S(pk.clone())).key("sk", AttributeValue::S(sk.clone()));
        let update = update.update_expression("SET #a = :v").expression_attribute_names("#a", attribute);
        update.expression_attribute_values(":v", AttributeValue::Bool(true)).send().await.unwrap();
    }

    /// Makes the table one of before what has ended was given an end, and in which no log line is left.
    pub(crate) async fn age(&self) {
        for (pk, sk) in self.items().await.into_keys() {
            let key = (AttributeValue::S(pk.clone()), AttributeValue::S(sk));
            if ["T#", "G#", "P#"].iter().any(|kind| pk.starts_with(kind)) {
                let update = self.client.update_item().table_name(TABLE).key("pk", key.0).key("sk", key.1);
                update.update_expression("REMOVE xp").send().await.unwrap();
            } else if pk.starts_with("L#") {
                let delete = self.client.delete_item().table_name(TABLE).key("pk", key.0).key("sk", key.1);
                delete.send().await.unwrap();
            }
        }
    }

    /// Everything in the table, by its keys, in the JSON of stream records.
    pub(crate) async fn items(&self) -> HashMap<(String, String), Value> {
        let mut items = HashMap::new();
        let mut start = None;
        loop {
            let page =
                self.client.scan().table_name(TABLE).consistent_read(true).set_exclusive_start_key(start);
            let page = page.send().await.unwrap();
            for item in page.items.unwrap_or_default() {
                let text = |name: &str| item[name].as_s().unwrap().clone();
                items.insert((text("pk"), text("sk")), image(&item));
            }
            match page.last_evaluated_key {
                None => return items,
                next => start = next,
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.engine.abort();
        if !std::thread::panicking() && !rewriting() {
            let unrecorded = self.calls.unrecorded();
            assert!(
                unrecorded.is_empty(),
                "expected functions to ask AWS for what infra/actions.json has, got {unrecorded:#?}; have the test \
                 `permissions` do the same, and then: {REWRITE}"
            );
        }
    }
}

async fn services(
    client: aws_sdk_dynamodb::Client,
    file: Option<File>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    seed: u64,
    meter: Arc<dyn Meter>,
) -> Result<Services, baton_store::StoreError> {
    let mut settings = Settings::defaults().unwrap();
    settings.queues = QueueSettings {
        ready: Some(READY.to_owned()),
        submissions_dead: Some(SUBMISSIONS_DEAD.to_owned()),
        completions_dead: Some(COMPLETIONS_DEAD.to_owned()),
        task_events: Some(TASK_EVENTS.to_owned()),
        relay_dead: Some(RELAY_DEAD.to_owned()),
        ..QueueSettings::default()
    };
    let ids = Arc::new(RandomIds);
    if let Some(File { store, doorbell, .. }) = file {
        let (dynamo, queues) = (None, Some(queues));
        return Ok(Services {
            settings,
            store,
            dynamo,
            doorbell,
            queues,
            clock,
            ids,
            archiver: None,
            files: None,
        });
    }
    let doorbell =
        QueueDoorbell::new(Arc::clone(&clock), Some(Arc::clone(&queues)), settings.queues.ready.clone());
    let options = Options {
        flush_every: None,
        health_writes: false,
        tells_waiting: true,
        meter: Some(meter),
        ..Options::seeded(seed)
    };
    let dynamo = DynamoStore::open(client, TABLE, options, Arc::clone(&doorbell) as _).await?;
    let dynamo = Arc::new(dynamo);
    Ok(Services {
        settings,
        store: Arc::clone(&dynamo) as _,
        dynamo: Some(dynamo),
        doorbell,
        queues: Some(queues),
        clock,
        ids,
        archiver: None,
        files: None,
    })
}

/// A value in the JSON of stream records.
fn value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(digits) => json!({"N": digits}),
        AttributeValue::B(blob) => json!({"B": base64(blob.as_ref())}),
        AttributeValue::Bs(set) => {
            json!({"BS": set.iter().map(|blob| base64(blob.as_ref())).collect::<Vec<_>>()})
        }
        AttributeValue::Ns(set) => json!({"NS": set}),
        AttributeValue::Ss(set) => json!({"SS": set}),
        AttributeValue::Bool(is) => json!({"BOOL": is}),
        AttributeValue::L(list) => json!({"L": list.iter().map(self::value).collect::<Vec<_>>()}),
        AttributeValue::M(map) => json!({"M": image(map)}),
        other => panic!("no item has {other:?}"),
    }
}

fn image(item: &HashMap<String, AttributeValue>) -> Value {
    Value::Object(item.iter().map(|(name, one)| (name.clone(), value(one))).collect::<Map<_, _>>())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]);
            text.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

/// The stream of the table: what has changed in it since it was last asked, from its beginning.
#[derive(Default)]
pub(crate) struct Stream(Option<TableStream>);

impl Stream {
    /// The records of what has changed, as Lambda hands them over.
    pub(crate) fn records(&mut self, world: &World) -> Vec<Value> {
        let stream = self.0.get_or_insert_with(|| TableStream::of(&world.db));
        let mut records = Vec::new();
        loop {
            let more = stream.read();
            if more.is_empty() {
                return records;
            }
            records.extend(more.into_iter().map(|mut record| {
                // By the clock of the world.
                record["dynamodb"]["ApproximateCreationDateTime"] = json!(1_770_000_000);
                record
            }));
        }
    }
}
