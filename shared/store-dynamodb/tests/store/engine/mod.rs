//! The engine that tests run on: one in this process, or, at `BATON_TEST_DYNAMODB_ENDPOINT`, any that is there.

pub(crate) mod heard;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use baton_model::{TaskId, Timestamp};
use baton_store::NoDoorbell;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::faults::Faults;
use baton_store_dynamodb::table::{self, KeptBy, TableOptions};
use baton_store_dynamodb::{DynamoStore, Options};
use dynoxide::Database;
use dynoxide::actions::create_table::StreamSpecification;
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use dynoxide::actions::update_table::UpdateTableRequest;
use dynoxide::storage_backend::{Clock, SystemClock};

/// The engine's clock: the system's, but for what removes items.
#[derive(Default)]
struct Told(AtomicU64);

impl Clock for Told {
    fn now_unix_secs(&self) -> u64 {
        match self.0.load(Ordering::SeqCst) {
            0 => SystemClock.now_unix_secs(),
            told => told,
        }
    }

    fn now_unix_secs_f64(&self) -> f64 {
        match self.0.load(Ordering::SeqCst) {
            0 => SystemClock.now_unix_secs_f64(),
            told => told as f64,
        }
    }
}

static TABLES: AtomicU64 = AtomicU64::new(0);

/// The time so many seconds into a test.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

/// A UUIDv7 of the test's time.
pub(crate) fn timed(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(1_800_000_000_000_u64 + number).to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[8] = 0x80;
    bytes
}

/// An item as DynamoDB gives it.
pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// An attribute's value as the engine has it.
fn within_engine(value: AttributeValue) -> dynoxide::AttributeValue {
    match value {
        AttributeValue::S(text) => dynoxide::AttributeValue::S(text),
        AttributeValue::N(digits) => dynoxide::AttributeValue::N(digits),
        AttributeValue::B(bytes) => dynoxide::AttributeValue::B(bytes.into_inner()),
        AttributeValue::L(list) => dynoxide::AttributeValue::L(list.into_iter().map(within_engine).collect()),
        other => panic!("expected no such attribute: {other:?}"),
    }
}

/// A table of its own, in an engine of its own or in the one named.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) table: String,
    http: SharedHttpClient,
    within: Option<(Database, Arc<Told>)>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        match std::env::var("BATON_TEST_DYNAMODB_ENDPOINT") {
            Ok(endpoint) => {
                let http = http_client();
                let client = local(&endpoint, http.clone());
                let table = made(&client, KeptBy::Processes).await;
                Self { client, table, http, within: None }
            }
            Err(_) => {
                let engine = Self::within(KeptBy::Processes).await;
                let (db, _) = engine.within.as_ref().unwrap();
                // Nobody reads it, and for each record of a stream the engine looks through all of it.
                let off = StreamSpecification { stream_enabled: false, stream_view_type: None };
                let table_name = engine.table.clone();
                let without =
                    UpdateTableRequest { table_name, stream_specification: Some(off), ..Default::default() };
                db.update_table(without).unwrap();
                engine
            }
        }
    }

    /// An engine in this process, and the stream of its table.
    pub(crate) async fn with_stream(statistics: KeptBy) -> (Self, Stream) {
        let engine = Self::within(statistics).await;
        let (db, _) = engine.within.as_ref().unwrap();
        let stream = Stream::of(db.clone(), &engine.table);
        (engine, stream)
    }

    async fn within(statistics: KeptBy) -> Self {
        let clock = Arc::new(Told::default());
        let db = Database::memory_with_clock(Arc::clone(&clock) as _).unwrap();
        let http = within::http_client(db.clone());
        let client = within::client(http.clone());
        let table = made(&client, statistics).await;
        Self { client, table, http, within: Some((db, clock)) }
    }

    /// A store on the table. It writes what it has counted when it is told to.
    pub(crate) async fn store(&self, options: Options) -> DynamoStore {
        self.store_over(self.client.clone(), options).await
    }

    /// The same, over a connection of which one request in `one_in` fails once faults are switched on, none if that is 0; and what
    /// else is to go wrong on it.
    pub(crate) async fn failing(&self, seed: u64, one_in: u64, options: Options) -> (DynamoStore, Faults) {
        let faults = Faults::new(self.http.clone(), seed, one_in);
        faults.switch(false);
        let config = self.client.config().to_builder().http_client(faults.client());
        (self.store_over(Client::from_conf(config.build()), options).await, faults)
    }

    /// The same, over a client of its own.
    pub(crate) async fn store_over(&self, client: Client, options: Options) -> DynamoStore {
        let options = Options { flush_every: None, ..options };
        DynamoStore::open(client, self.table.clone(), options, Arc::new(NoDoorbell)).await.unwrap()
    }

    /// Puts items, many at a time: straight into the engine where it is in this process, as puts of its debug build are slow.
    pub(crate) async fn put_all(&self, items: Vec<Item>) {
        if let Some((db, _)) = &self.within {
            let count = items.len();
            let options = dynoxide::ImportOptions { record_streams: false, set_cached_at: false };
            let of =
                |item: Item| item.into_iter().map(|(name, value)| (name, within_engine(value))).collect();
            let imported =
                db.import_items(&self.table, items.into_iter().map(of).collect(), options).unwrap();
            assert_eq!(imported.items_imported, count);
            return;
        }
        for items in items.chunks(25) {
            let puts: Vec<_> = items
                .iter()
                .map(|item| PutRequest::builder().set_item(Some(item.clone())).build().unwrap())
                .map(|put| WriteRequest::builder().put_request(put).build())
                .collect();
            let answer =
                self.client.batch_write_item().request_items(&self.table, puts).send().await.unwrap();
            assert!(answer.unprocessed_items.is_none_or(|left| left.is_empty()));
        }
    }

    /// Has copies of a task that waits lie in the partitions where such lie, under other ids and due then.
    pub(crate) async fn copy_task(&self, ids: impl Iterator<Item = TaskId>, due: i64) {
        let items = self.items().await;
        let tasks: Vec<_> = items.iter().filter(|item| letter(item) == 'T').collect();
        let partitions: BTreeSet<&String> = tasks.iter().map(|item| item["pk"].as_s().unwrap()).collect();
        let copies = ids.zip(partitions.iter().cycle()).map(|(id, partition)| {
            let mut copy = tasks[0].clone();
            let mut set = |name: &str, text: String| copy.insert(name.to_owned(), AttributeValue::S(text));
            set("pk", (*partition).clone());
            set("sk", id.to_string());
            set("is", format!("{due:015}#{id}"));
            copy.insert("ra".to_owned(), AttributeValue::N(due.to_string()));
            copy
        });
        self.put_all(copies.collect()).await;
    }

    /// All items of the table.
    pub(crate) async fn items(&self) -> Vec<Item> {
        let scan = self.client.scan().table_name(&self.table).into_paginator().items().send();
        scan.collect::<Result<_, _>>().await.unwrap()
    }

    /// Removes what has ended by a time, as DynamoDB does by itself, and says how many items of each kind went: by the first
    /// letter of their partition.
    pub(crate) async fn pass(&self, now: Timestamp) -> BTreeMap<char, u64> {
        let Some((db, clock)) = &self.within else { return self.remove_ended(now, |_| true).await };
        let second = second_of(now);
        let mut gone = BTreeMap::new();
        for item in self.items().await.iter().filter(|item| ends(item).is_some_and(|ends| ends < second)) {
            *gone.entry(letter(item)).or_default() += 1;
        }
        clock.0.store(second, Ordering::SeqCst);
        let swept = db.sweep_ttl().unwrap();
        clock.0.store(0, Ordering::SeqCst);
        assert_eq!(swept as u64, gone.values().sum::<u64>());
        gone
    }

    /// Removes those of the items that have ended by a time, each as long as it has that end, as DynamoDB does, and says how many
    /// of each kind went.
    pub(crate) async fn remove_ended(
        &self,
        now: Timestamp,
        of: impl Fn(&Item) -> bool,
    ) -> BTreeMap<char, u64> {
        let second = second_of(now);
        let mut gone = BTreeMap::new();
        for item in self.items().await.iter().filter(|item| of(item)) {
            if ends(item).is_some_and(|ends| ends < second) {
                let delete = self.client.delete_item().table_name(&self.table);
                let delete = delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
                let still = delete
                    .condition_expression("xp = :xp")
                    .expression_attribute_values(":xp", item["xp"].clone());
                *gone.entry(letter(item)).or_default() += u64::from(still.send().await.is_ok());
            }
        }
        gone
    }

    /// Another table in the same engine.
    pub(crate) async fn another(&self) -> String {
        made(&self.client, KeptBy::Processes).await
    }
}

fn second_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() / 1_000).unwrap()
}

/// The second from which an item is removed, if it has an end.
pub(crate) fn ends(item: &Item) -> Option<u64> {
    item.get("xp").map(|ends| ends.as_n().unwrap().parse().unwrap())
}

/// The first letter of an item's partition, which tells its kind.
pub(crate) fn letter(item: &Item) -> char {
    item["pk"].as_s().unwrap().chars().next().unwrap()
}

async fn made(client: &Client, statistics: KeptBy) -> String {
    let number = TABLES.fetch_add(1, Ordering::Relaxed);
    let table = format!("baton-test-{}-{number}", std::process::id());
    let options = TableOptions { statistics, ..TableOptions::default() };
    table::create(client, &table, options).await.unwrap();
    table
}

/// The stream of a table, from its beginning.
pub(crate) struct Stream {
    db: Database,
    iterator: String,
}

impl Stream {
    fn of(db: Database, table: &str) -> Self {
        let all = ListStreamsRequest { table_name: Some(table.to_owned()), ..ListStreamsRequest::default() };
        let stream_arn = db.list_streams(all).unwrap().streams.remove(0).stream_arn;
        let described = DescribeStreamRequest { stream_arn: stream_arn.clone(), ..Default::default() };
        let shard_id = db.describe_stream(described).unwrap().stream_description.shards.remove(0).shard_id;
        let shard_iterator_type = "TRIM_HORIZON".to_owned();
        let begin =
            GetShardIteratorRequest { stream_arn, shard_id, shard_iterator_type, sequence_number: None };
        let iterator = db.get_shard_iterator(begin).unwrap().shard_iterator.unwrap();
        Self { db, iterator }
    }

    /// The records that have come since it was last asked, as Lambda hands them over, each with its item's partition.
    pub(crate) fn read(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        loop {
            let asked = GetRecordsRequest { shard_iterator: self.iterator.clone(), limit: None };
            let answer = self.db.get_records(asked).unwrap();
            self.iterator = answer.next_shard_iterator.unwrap();
            if answer.records.is_empty() {
                return all;
            }
            for record in answer.records {
                let json = serde_json::to_value(&record).unwrap();
                let partition = json["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().to_owned();
                all.push((partition, json.to_string()));
            }
        }
    }
}
