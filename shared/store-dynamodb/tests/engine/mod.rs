#![allow(dead_code, reason = "each test uses a part of it")]
//! The engine that tests run on: one in this process, or, at `BATON_TEST_DYNAMODB_ENDPOINT`, any that is there.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, TableOptions};

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
        let (endpoint, server) = match std::env::var("BATON_TEST_DYNAMODB_ENDPOINT") {
            Ok(endpoint) => (endpoint, None),
            Err(_) => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let endpoint = format!("http://{}", listener.local_addr().unwrap());
                let db = dynoxide::Database::memory().unwrap();
                (endpoint, Some(tokio::spawn(dynoxide::server::serve_on(listener, db))))
            }
        };
        let client = local(&endpoint, http_client());
        let table = made(&client).await;
        Self { client, table, endpoint, server }
    }

    /// Another table in the same engine.
    pub(crate) async fn another(&self) -> String {
        made(&self.client).await
    }
}

async fn made(client: &Client) -> String {
    let number = TABLES.fetch_add(1, Ordering::Relaxed);
    let table = format!("baton-test-{}-{number}", std::process::id());
    table::create(client, &table, TableOptions::default()).await.unwrap();
    table
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
