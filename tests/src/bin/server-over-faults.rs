//! A server on a DynamoDB table whose connection fails, for the chaos harness: all that `baton serve` has besides its
//! store. What goes wrong is drawn from a seed.
//!
//! Environment: `CHAOS_ENDPOINT` and `CHAOS_TABLE` name the table, `CHAOS_SEED` the faults, and `CHAOS_ONE_IN` how rare
//! they are: one request in so many, 0 for none. `CHAOS_BEHIND_MS` says by how much the server's clock is behind. Settings
//! are the server's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's program ends where it is surprised")]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use baton_runtime::{Clock, LocalDoorbell, RandomIds, Reading, Settings, Sources, WatchedClock, telemetry};
use baton_server::Server;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::faults::Faults;
use baton_store_dynamodb::{DynamoStore, Options};

fn variable(name: &str) -> String {
    std::env::var(name).expect(name)
}

/// A clock that is behind.
struct Behind(WatchedClock, Duration);

impl Clock for Behind {
    fn reading(&self) -> Reading {
        let reading = self.0.reading();
        Reading { now: reading.now.minus(self.1), ..reading }
    }
}

#[tokio::main]
async fn main() {
    let settings = Settings::load(&Sources::from_environment()).expect("the settings fit");
    let _logs = telemetry::start(&settings.log).expect("logging starts");
    let number = |name| variable(name).parse::<u64>().expect("a number");
    let seed = number("CHAOS_SEED");
    let faults = Faults::new(http_client(), seed, number("CHAOS_ONE_IN"));
    let client = local(&variable("CHAOS_ENDPOINT"), faults.client());

    let behind = Duration::from_millis(number("CHAOS_BEHIND_MS"));
    let (clock, ids) = (Arc::new(Behind(WatchedClock::new(), behind)), Arc::new(RandomIds));
    let doorbell = LocalDoorbell::new(clock.clone());
    let options = Options { policy: settings.leases, ..Options::seeded(seed) };
    // A server that cannot open its store ends and is started again; that is not what is tested.
    faults.switch(false);
    let store = DynamoStore::open(client, variable("CHAOS_TABLE"), options, Arc::clone(&doorbell) as _).await;
    faults.switch(true);
    let store = Arc::new(store.expect("the store opens"));
    let running = Server::start(&settings, store, doorbell, clock, ids).await.expect("the server starts");

    let ready = serde_json::json!({ "url": format!("http://{}", running.addr()) });
    writeln!(std::io::stdout(), "{ready}").expect("stdout is open");
    running.ended().await;
}
