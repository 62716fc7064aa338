//! Random histories over a connection that fails: whatever is lost, throttled, repeated or old, no acknowledged task is
//! lost, none is completed twice, and a generation exists if and only if its task is completed.
//!
//! A failure names its seed; `BATON_SEED=<number>` draws the same commands and faults again (how they overlap is the
//! machine's choice), and `BATON_SEEDS=<count>` runs more of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

mod engine;

use std::collections::HashMap;
use std::sync::Arc;

use baton_store::NoDoorbell;
use baton_store::conformance::history::{Load, run, seeds};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::{DynamoStore, Options};
use engine::Engine;
use futures::StreamExt;

async fn history(seed: u64) -> HashMap<Fault, u64> {
    let engine = Engine::start().await;
    let faults = Faults::new(http_client(), seed, 6);
    faults.switch(false);
    let client = local(&engine.endpoint, faults.client());
    let options = Options { flush_every: None, ..Options::seeded(seed) };
    let store = DynamoStore::open(client, engine.table.clone(), options, Arc::new(NoDoorbell)).await.unwrap();
    faults.switch(true);
    run(Arc::new(store), seed, Load::default(), || faults.switch(false)).await;
    faults.injected()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_a_connection_that_fails() {
    let mut all: HashMap<Fault, u64> = HashMap::new();
    // Most of their time they wait to try again.
    let mut histories = futures::stream::iter(seeds(10).into_iter().map(history)).buffer_unordered(4);
    while let Some(injected) = histories.next().await {
        for (fault, count) in injected {
            *all.entry(fault).or_default() += count;
        }
    }
    println!("{all:?}");
    assert_eq!(all.len(), Fault::ALL.len(), "every fault was met");
}
