//! The least that a function can be which creates tasks: the event's body is read, the store called, an answer written.
//! No routes, no callers, no limits, no log, no metrics. What the real function costs beyond it is measured against this
//! one; `docs/lambda.md` has the figures.

use std::error::Error;
use std::sync::Arc;

use baton_api::create::CreateTask;
use baton_api::fields::ReadFields;
use baton_model::{Limits, RunAfter, TaskSpec, Unsaid, limits};
use baton_runtime::{Clock, Ids, RandomIds, SystemClock};
use baton_store::{Create, NoDoorbell, TaskStore};
use baton_store_dynamodb::client::{self, Roots};
use baton_store_dynamodb::{DynamoStore, Options};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};

type Failed = Box<dyn Error + Send + Sync>;

/// A request of API Gateway, as far as it is read here.
#[derive(Deserialize)]
struct Event {
    body: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let http = client::http_client_with(Roots::from_environment()?);
    let client = client::local(&std::env::var("AWS_ENDPOINT_URL")?, http);
    let options = Options { flush_every: None, ..Options::seeded(1) };
    let store = DynamoStore::open(client, "baton-tasks", options, Arc::new(NoDoorbell)).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Event>| create(&store, event.payload))).await
}

async fn create(store: &DynamoStore, event: Event) -> Result<Value, Failed> {
    let request =
        CreateTask::from_json(&event.body, &Limits::default()).map_err(|refused| format!("{refused:?}"))?;
    let run_after = request.run_after.map_or(RunAfter::Now, RunAfter::At);
    let spec = TaskSpec {
        id: request.id.unwrap_or_else(|| RandomIds.task()),
        id_chosen: request.id.is_some(),
        project: request.project.unwrap_or_default(),
        queue: request.queue.unwrap_or_default(),
        task_type: request.task_type,
        priority: request.priority.unwrap_or_default(),
        params: request.params.unwrap_or_default(),
        description: request.description,
        domain: request.domain,
        drift_score: request.drift_score,
        assigned_by: request.assigned_by,
        concurrency_key: request.concurrency_key,
        affinity: request.affinity,
        expiry: None,
        unique: None,
        run_after,
        max_attempts: request.max_attempts.unwrap_or(limits::DEFAULT_ATTEMPTS),
        timeout: request.timeout,
        backoff: request.backoff,
        depends_on: Vec::new(),
        retention: request.retention,
        unsaid: Unsaid::default(),
        if_dependency_fails: request.if_dependency_fails.unwrap_or_default(),
        batch: None,
        trace: None,
    };
    let create =
        Create { now: SystemClock.now(), tasks: vec![spec], atomic: false, idempotency: None, by: None };
    let mut answer = store.create(create).await?;
    store.flush().await?;
    let accepted = answer.items.remove(0).map_err(|refusal| format!("{refusal:?}"))?;
    let body =
        json!({ "id": accepted.id, "created_at": accepted.created_at, "run_after": accepted.run_after });
    Ok(json!({
        "statusCode": 201,
        "headers": { "content-type": "application/json" },
        "body": body.to_string(),
        "isBase64Encoded": false,
    }))
}
