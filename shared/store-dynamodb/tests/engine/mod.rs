#![allow(dead_code, reason = "each test uses a part of it")]
//! The engine that tests run on: one in this process, or, at `BATON_TEST_DYNAMODB_ENDPOINT`, any that is there.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, KeptBy, TableOptions};
use dynoxide::Database;
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;

static TABLES: AtomicU64 = AtomicU64::new(0);

/// A table of its own, in an engine of its own or in the one named.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) endpoint: String,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        match std::env::var("BATON_TEST_DYNAMODB_ENDPOINT") {
            Ok(endpoint) => {
                let client = local(&endpoint, http_client());
                let table = made(&client, KeptBy::Processes).await;
                Self { client, table, endpoint, server: None }
            }
            Err(_) => Self::with_stream(KeptBy::Processes).await.0,
        }
    }

    /// An engine in this process, and the stream of its table.
    pub(crate) async fn with_stream(statistics: KeptBy) -> (Self, Stream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let db = Database::memory().unwrap();
        let server = Some(tokio::spawn(dynoxide::server::serve_on(listener, db.clone())));
        let client = local(&endpoint, http_client());
        let table = made(&client, statistics).await;
        let stream = Stream::of(db, &table);
        (Self { client, table, endpoint, server }, stream)
    }

    /// Another table in the same engine.
    pub(crate) async fn another(&self) -> String {
        made(&self.client, KeptBy::Processes).await
    }
}

async fn made(client: &Client, statistics: KeptBy) -> String {
    let number = TABLES.fetch_add(1, Ordering::Relaxed);
    let table = format!("baton-test-{}-{number}", std::process::id());
    let options = TableOptions { statistics, ..TableOptions::default() };
    table::create(client, &table, options).await.unwrap();
    table
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
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

    /// The engine itself, to be filled without asking it over HTTP.
    pub(crate) fn engine(&self) -> &Database {
        &self.db
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
