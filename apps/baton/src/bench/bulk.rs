//! Whole lifecycles beside a bulk command that cancels what waits in another queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::bulk::{BulkRequest, Do, FilterRequest};
use baton_model::bulk::BulkState;
use baton_model::{Expected, QueueName};

use crate::bench::Until;
use crate::bench::phases::{BACK, Setup, lifecycle};
use crate::bench::report::PhaseReport;
use crate::exit::Failure;

/// How often it is looked how far the command is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Cancels the tasks that [`crate::bench::phases::preload`] has created, measures lifecycles until that is done, and says how long it
/// took.
pub(crate) async fn beside_cancel(setup: &Setup, tasks: u64) -> Result<(PhaseReport, Duration), Failure> {
    let client = baton_client::Client::builder(&setup.url);
    let client = match &setup.token {
        Some(token) => client.token(token.clone()),
        None => client,
    };
    let client = client.build()?;
    let queue: QueueName =
        setup.queue(BACK).parse().map_err(|problem: Expected| Failure::failed(problem.to_string()))?;
    let until = Arc::new(Until::told());
    let bulk = async {
        let begun = Instant::now();
        let filter = FilterRequest { queue: Some(queue), ..FilterRequest::default() };
        let cancel = BulkRequest {
            action: Do::Cancel,
            with: None,
            filter: Some(filter),
            ids: Vec::new(),
            dry_run: false,
            by: None,
            reason: None,
        };
        let mut last = client.bulk(&cancel).await?;
        while last.state == BulkState::Running {
            tokio::time::sleep(LOOK_EVERY).await;
            last = client.get_bulk(last.id).await?;
        }
        if last.changed != tasks {
            return Err(Failure::failed(format!("expected {tasks} cancelled tasks, got {}", last.changed)));
        }
        Ok(begun.elapsed())
    };
    let bulk = async {
        let took = bulk.await;
        until.end();
        took
    };
    let (measured, took) = tokio::join!(lifecycle(setup, "beside bulk", Arc::clone(&until)), bulk);
    Ok((measured?, took?))
}
