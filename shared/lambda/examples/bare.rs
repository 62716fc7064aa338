//! A function without Baton's surroundings, to measure these against: it takes the body of a request as a task, and has
//! the same store create it. No router, no checks of fields, no log, no metrics. `cold-start` (`docs/lambda.md`) runs both.

use std::sync::Arc;

use baton_model::{Payload, Priority, ProjectId, QueueName, Schedule, TaskSpec, limits};
use baton_runtime::{Clock, Ids, RandomIds, SystemClock};
use baton_store::{Create, NoDoorbell, TaskStore};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::{DynamoStore, Options};
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = local(&std::env::var("AWS_ENDPOINT_URL")?, http_client());
    let options = Options { flush_every: None, ..Options::seeded(1) };
    let store = DynamoStore::open(client, "baton-tasks", options, Arc::new(NoDoorbell)).await?;
    let store = &store;
    let handle = |event: LambdaEvent<Value>| async move {
        let body: Value = serde_json::from_str(event.payload["body"].as_str().unwrap_or_default())?;
        let spec = TaskSpec {
            id: RandomIds.task(),
            id_chosen: false,
            project: ProjectId::default(),
            queue: body["queue"].as_str().map_or_else(QueueName::default, QueueName::from_stored),
            task_type: baton_model::TaskType::from_stored(body["type"].as_str().unwrap_or_default()),
            priority: Priority::default(),
            params: Payload::from_stored(body["params"].to_string())?,
            description: None,
            domain: None,
            drift_score: None,
            assigned_by: None,
            schedule: Schedule::Now,
            max_attempts: limits::DEFAULT_ATTEMPTS,
            timeout: None,
            backoff: None,
        };
        let create =
            Create { now: SystemClock.now(), tasks: vec![spec], atomic: false, idempotency: None, by: None };
        let answer = store.create(create).await?;
        store.flush().await?;
        let id = answer.items.into_iter().flatten().next().map(|accepted| accepted.id);
        Ok::<Value, Error>(json!({"statusCode": 201, "body": json!({ "id": id }).to_string()}))
    };
    Runtime::new(service_fn(handle)).run().await
}
