//! Whole lifecycles beside what else a server is asked: lists, figures, heartbeats, and somebody who listens to all events.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::bench::Until;
use crate::bench::client::Client;
use crate::bench::phases::{Setup, WHOLE, lifecycle};
use crate::bench::report::PhaseReport;
use crate::exit::Failure;

/// How often the page of an operator asks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many workers beat, and how often each does.
const BEATING: u32 = 100;
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// What somebody who looks on asks for.
const LISTS: [&str; 4] =
    ["/v1/tasks?limit=50", "/v1/tasks?limit=50&status=completed", "/v1/stats", "/v1/workers?limit=100"];

/// Measures lifecycles while others ask.
pub(crate) async fn beside_others(
    setup: &Setup,
    name: &str,
    until: Arc<Until>,
) -> Result<PhaseReport, Failure> {
    let others = Arc::new(Until::told());
    let mut asking = JoinSet::new();
    let mut number = setup.clients;
    for path in LISTS {
        asking.spawn(look(setup.client(number, WHOLE).await?, path, Arc::clone(&others)));
        number += 1;
    }
    asking.spawn(beat(setup.client(number, WHOLE).await?, Arc::clone(&others)));
    asking.spawn(listen(setup.client(number + 1, WHOLE).await?, Arc::clone(&others)));
    measured_beside(lifecycle(setup, name, until), &others, asking).await
}

/// Measures lifecycles while somebody looks at the list of tasks.
pub(crate) async fn beside_a_list(
    setup: &Setup,
    name: &str,
    until: Arc<Until>,
) -> Result<PhaseReport, Failure> {
    let others = Arc::new(Until::told());
    let mut asking = JoinSet::new();
    asking.spawn(look(setup.client(setup.clients, WHOLE).await?, LISTS[0], Arc::clone(&others)));
    measured_beside(lifecycle(setup, name, until), &others, asking).await
}

async fn measured_beside(
    measuring: impl Future<Output = Result<PhaseReport, Failure>>,
    others: &Until,
    mut asking: JoinSet<Result<Client, Failure>>,
) -> Result<PhaseReport, Failure> {
    let measured = measuring.await;
    others.end();
    let mut clients = Vec::new();
    while let Some(asked) = asking.join_next().await {
        clients.push(asked.map_err(|error| Failure::failed(error.to_string()))??);
    }
    Ok(measured?.beside(&clients))
}

async fn look(mut client: Client, path: &str, until: Arc<Until>) -> Result<Client, Failure> {
    while until.go_on() {
        client.look(path).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(client)
}

async fn beat(mut client: Client, until: Arc<Until>) -> Result<Client, Failure> {
    let pause = BEAT_EVERY / BEATING;
    let mut number = 0;
    while until.go_on() {
        client.beat(number).await?;
        number = (number + 1) % BEATING;
        tokio::time::sleep(pause).await;
    }
    Ok(client)
}

/// Takes what happens by long polls, each from where the last one ended.
async fn listen(mut client: Client, until: Arc<Until>) -> Result<Client, Failure> {
    let mut after = None;
    while until.go_on() {
        after = client.listen(after).await?;
    }
    Ok(client)
}
