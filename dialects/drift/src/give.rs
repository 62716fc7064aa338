//! Giving tasks to clients, and taking those back that no client has.

use baton_api::ProblemCode;
use baton_api::claim::{ClaimRequest, ClaimView};
use baton_api::complete::ReleaseRequest;
use baton_api::task::TaskView;
use baton_claim_task::claim_tasks;
use baton_complete_task::release_task;
use baton_http::ApiError;
use baton_model::{TaskId, TaskState};
use baton_store::{StoreError, refill_queue};

use crate::client::Client;
use crate::drift::Drift;
use crate::kept::queue;
use crate::numbers;
use crate::present::CLIENT_RUNS;
use crate::watch;

/// Gives a client one task that it does not have; none if there is none for it.
pub(crate) async fn give(drift: &Drift, client: &Client) -> Result<Option<TaskView>, ApiError> {
    let most = numbers::read(drift).await?.max_tasks_per_client;
    let mut refilled = false;
    // Also below the cap: a task whose answer was lost would keep its lease by the client's every request, and never be run.
    free(drift, client).await?;
    loop {
        let ClaimView { tasks, nothing } = claim(drift, client, most).await?;
        if let Some(task) = tasks.into_iter().next() {
            watch::begin(drift, client);
            if drift.present.gives(&client.id, task.id, drift.app.now()) {
                return Ok(Some(task));
            }
            // Its lease was lost, and it runs the task all the same: now it has a lease again, and is told nothing.
            tracing::info!(task_id = %task.id, client = %client.alias(), "a client has its task back that it never left");
            continue;
        }
        let reason = nothing.map(|nothing| nothing.reason).unwrap_or_default();
        match reason.as_str() {
            "at_cap" | "directed" | "paused" => return Ok(None),
            _ if !refilled => {
                refilled = true;
                // Whoever refilled: another may have been faster between the claim and this.
                refill_queue(&*drift.app.store, &queue(), || drift.app.now()).await?;
            }
            _ => return Ok(None),
        }
    }
}

async fn claim(drift: &Drift, client: &Client, most: u32) -> Result<ClaimView, ApiError> {
    let request =
        ClaimRequest { queues: vec![queue()], capacity: Some(most), ..ClaimRequest::new(client.id.clone()) };
    claim_tasks(&drift.app, &client.caller, request).await
}

/// Takes those tasks back from a client that it cannot be running any more: it calls each off by itself after 30 minutes, so that of
/// older ones its word was lost, or the answer that gave them.
async fn free(drift: &Drift, client: &Client) -> Result<(), ApiError> {
    let before = drift.app.now().minus(CLIENT_RUNS);
    for (id, attempt) in leases(drift, client).await? {
        let task = match drift.app.store.task(id).await {
            Ok(detail) => detail.task,
            Err(StoreError::TaskNotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let TaskState::Running(lease) = &task.head.state else { continue };
        if lease.claimed_at <= before && task.queue == queue() {
            drift.present.ends(&client.id, id);
            give_back(drift, client, (id, attempt), "the client runs no task for so long").await?;
        }
    }
    Ok(())
}

/// What a client holds, with the attempts.
async fn leases(drift: &Drift, client: &Client) -> Result<Vec<(TaskId, u32)>, StoreError> {
    match drift.app.store.worker(&client.id).await {
        Ok(detail) => Ok(detail.leases),
        Err(StoreError::WorkerNotFound(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Gives back what a client holds. Says whether it still held it.
pub(crate) async fn give_back(
    drift: &Drift,
    client: &Client,
    (task, attempt): (TaskId, u32),
    reason: &str,
) -> Result<bool, ApiError> {
    let request = ReleaseRequest {
        worker_id: client.id.clone(),
        attempt,
        delay_seconds: None,
        reason: Some(reason.to_owned()),
    };
    match release_task(&drift.app, &client.caller, task, request).await {
        Ok(_) => Ok(true),
        Err(error) if has_ended(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives back all that a client holds.
pub(crate) async fn give_all_back(drift: &Drift, client: &Client, reason: &str) -> Result<(), ApiError> {
    loop {
        let mut any = false;
        for lease in leases(drift, client).await? {
            any |= give_back(drift, client, lease, reason).await?;
        }
        if !any {
            return Ok(());
        }
    }
}

/// Whether something is refused as the attempt is not the client's, or has ended.
pub(crate) fn has_ended(error: &ApiError) -> bool {
    matches!(
        error.code(),
        ProblemCode::LeaseLost
            | ProblemCode::StaleAttempt
            | ProblemCode::WrongWorker
            | ProblemCode::CompletedDifferently
            | ProblemCode::TransitionRefused
            | ProblemCode::TaskNotFound
    )
}
