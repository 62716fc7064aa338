//! The ends of attempts, as clients tell them: by the task alone, without an attempt.
//!
//! The attempt is that which the client holds, as the store has it; who holds none is refused. What a client hands over is stored with
//! the task's end in one commit.

use std::time::Duration;

use baton_api::complete::{CompleteRequest, ErrorFields, FailRequest};
use baton_complete_task::{complete_task, fail_task};
use baton_http::ApiError;
use baton_model::{Payload, Task, TaskId, TaskState, limits};
use baton_store::{StoreError, TaskDetail, refill_queue};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::drift::Drift;
use crate::give::has_ended;
use crate::hex;
use crate::kept::{Kept, queue};

/// What a client says that a task has come to.
pub(crate) struct Done {
    pub(crate) task: String,
    /// In hexadecimal digits.
    pub(crate) result: String,
    /// In seconds.
    pub(crate) execution_time: Option<f64>,
    pub(crate) metadata: Map<String, Value>,
}

/// What is in a result's digits.
enum Inside {
    /// What is to be stored.
    Output(Payload),
    /// The simulation has failed.
    Failure(String),
}

/// Reads a result; none if it is not hexadecimal. What is no JSON is kept as the digits that it came in.
fn inside(text: &str) -> Option<Inside> {
    let bytes = hex::decode(text)?;
    let json = String::from_utf8(bytes).ok().and_then(|text| Payload::parse(&text).ok());
    let Some(output) = json else {
        return Some(Inside::Output(Payload::from_value(&json!({ "hex": text }))));
    };
    let value = output.to_value();
    if value.get("success") != Some(&Value::Bool(false)) {
        return Some(Inside::Output(output));
    }
    let error = value.get("error").and_then(Value::as_str).filter(|error| !error.is_empty());
    Some(Inside::Failure(error.unwrap_or("the simulation has failed").to_owned()))
}

/// A result in the digits that it came in.
pub(crate) fn outside(output: &Payload) -> String {
    match output.to_value() {
        Value::Object(object) if object.len() == 1 && object.contains_key("hex") => {
            object["hex"].as_str().unwrap_or_default().to_owned()
        }
        _ => hex::encode(output.as_str().as_bytes()),
    }
}

/// Takes what a client says it has done. Says whether it was the client's to say, and can be stored.
pub(crate) async fn complete(drift: &Drift, client: &Client, done: &Done) -> Result<bool, ApiError> {
    let Some((task, attempt)) = attempt(drift, client, &done.task).await? else { return Ok(false) };
    let id = task.head.id;
    drift.present.ends(&client.id, id);
    let output = match inside(&done.result) {
        Some(Inside::Output(output)) => output,
        Some(Inside::Failure(error)) => return fail_attempt(drift, client, (id, attempt), &error).await,
        None => {
            return refuse(drift, client, (id, attempt), "the result is no text of hexadecimal digits").await;
        }
    };
    let kept = Kept::of(id, task.params.as_str());
    let mut metadata = done.metadata.clone();
    metadata.insert("simulation_id".to_owned(), kept.simulation_id.into());
    metadata.insert("execution_time".to_owned(), json!(done.execution_time));
    let metadata = Payload::from_value(&Value::Object(metadata));
    let most = drift.app.limits().result_bytes;
    if output.size() > most || metadata.size() > most {
        return refuse(
            drift,
            client,
            (id, attempt),
            &format!("the result has more than {most} bytes, which is the most that a result may have"),
        )
        .await;
    }
    let ran = done.execution_time.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let request = CompleteRequest {
        worker_id: client.id.clone(),
        attempt,
        location: None,
        kind: None,
        metadata: Some(metadata),
        result: Some(output),
        files: Vec::new(),
        run_seconds: ran,
        claim: None,
    };
    let taken = taken(complete_task(&drift.app, &client.caller, id, request).await.map(|_| ()))?;
    if taken && let Err(error) = refill_queue(&*drift.app.store, &queue(), || drift.app.now()).await {
        // The next look refills; the result is stored.
        tracing::warn!(error = error.report(), "the queue could not be refilled after a completion");
    }
    Ok(taken)
}

/// Ends an attempt whose result cannot be stored: the client takes it for done, so that it is not to count as held.
async fn refuse(drift: &Drift, client: &Client, attempt: (TaskId, u32), why: &str) -> Result<bool, ApiError> {
    fail_attempt(drift, client, attempt, why).await?;
    Ok(false)
}

/// Takes a client's word that its attempt has failed. Says whether it was the client's to say.
pub(crate) async fn fail(drift: &Drift, client: &Client, task: &str, error: &str) -> Result<bool, ApiError> {
    let Some((task, attempt)) = attempt(drift, client, task).await? else { return Ok(false) };
    drift.present.ends(&client.id, task.head.id);
    fail_attempt(drift, client, (task.head.id, attempt), error).await
}

async fn fail_attempt(
    drift: &Drift,
    client: &Client,
    (task, attempt): (TaskId, u32),
    error: &str,
) -> Result<bool, ApiError> {
    let code = error.starts_with("Task cancelled").then(|| "cancelled".to_owned());
    let error = ErrorFields { message: end_of(error), code, details: None };
    let request = FailRequest {
        worker_id: client.id.clone(),
        attempt,
        error,
        retryable: Some(true),
        retry_after_seconds: Some(Duration::ZERO),
    };
    taken(fail_task(&drift.app, &client.caller, task, request).await.map(|_| ()))
}

/// The end of a message that is too long: it tells the cause.
fn end_of(message: &str) -> String {
    let mut from = message.len().saturating_sub(limits::ERROR_BYTES);
    while !message.is_char_boundary(from) {
        from += 1;
    }
    if message.is_empty() { "no reason was given".to_owned() } else { message[from..].to_owned() }
}

fn taken(outcome: Result<(), ApiError>) -> Result<bool, ApiError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if has_ended(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The attempt of a task that a client holds, or that it has completed and tells once more.
async fn attempt(drift: &Drift, client: &Client, id: &str) -> Result<Option<(Task, u32)>, ApiError> {
    let Ok(id) = id.parse::<TaskId>() else { return Ok(None) };
    let TaskDetail { task, generation, .. } = match drift.app.store.task(id).await {
        Ok(detail) if client.caller.sees(&detail.task) && detail.task.queue == queue() => detail,
        Ok(_) | Err(StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let attempt = match (&task.head.state, &generation) {
        (TaskState::Running(lease), _) if lease.worker == client.id => Some(task.head.attempt),
        (_, Some(standing)) if standing.worker == client.id => Some(standing.attempt),
        _ => None,
    };
    if attempt.is_none() {
        // It may have run what it no longer holds: it has ended that now.
        drift.present.ends(&client.id, id);
        tracing::info!(task_id = %id, client = %client.alias(), "a client's word of a task that it does not hold was refused");
    }
    Ok(attempt.map(|attempt| (task, attempt)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Inside> {
        inside(&hex::encode(text.as_bytes()))
    }

    #[test]
    fn a_result_is_what_its_digits_say() {
        let told = r#"{"success": true, "particle_count": 10}"#;
        let Some(Inside::Output(output)) = read(told) else { panic!("an output") };
        assert_eq!(output.as_str(), told);
        assert_eq!(outside(&output), hex::encode(told.as_bytes()));
        let Some(Inside::Output(output)) = inside("00FFee") else { panic!("an output") };
        assert_eq!((output.to_value(), outside(&output)), (json!({"hex": "00FFee"}), "00FFee".to_owned()));
        assert!(inside("0").is_none() && inside("not hex").is_none());
    }

    #[test]
    fn a_simulation_that_failed_is_a_failure_however_it_is_sent() {
        let failed = [
            (r#"{"success": false, "error": "no wind"}"#, "no wind"),
            (r#"{"success": false}"#, "the simulation has failed"),
        ];
        for (text, message) in failed {
            let Some(Inside::Failure(error)) = read(text) else { panic!("a failure") };
            assert_eq!(error, message);
        }
    }

    #[test]
    fn of_a_long_message_the_end_is_kept() {
        let long = format!("{}cause", "ö".repeat(limits::ERROR_BYTES));
        assert!(end_of(&long).len() <= limits::ERROR_BYTES && end_of(&long).ends_with("cause"));
        assert_eq!(end_of(""), "no reason was given");
    }
}
