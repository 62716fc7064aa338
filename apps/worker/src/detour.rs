//! Another way for outcomes while the server is out of reach, such as the queue that feeds `complete-task`.

use std::time::Duration;

use async_trait::async_trait;
use baton_model::TaskId;
use serde::Serialize;
use serde_json::value::RawValue;

/// How long the server is tried before the detour is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long the detour may take to say that it has a message, before the server is tried again.
pub(crate) const SENDING: Duration = Duration::from_secs(5);

/// Takes outcomes on behalf of the server, and hands them over once it can.
///
/// An outcome that was sent several times or both ways is one outcome: the server knows the second as a repetition of
/// the first. So what was taken is also told to the server itself, once it can be reached.
#[async_trait]
pub trait Detour: Send + Sync {
    /// Takes a message durably: `{"task_id": …}` with a `completion`, a `failure` or a `release`, each as the body of
    /// the request that it stands for.
    ///
    /// # Errors
    /// Why it could not be taken; the worker goes on trying both ways.
    async fn send(&self, message: String) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// The message for an outcome.
#[derive(Serialize)]
pub(crate) struct Message {
    pub(crate) task_id: TaskId,
    #[serde(flatten)]
    pub(crate) outcome: Sent,
}

/// An outcome as the body of its request.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sent {
    Completion(Box<RawValue>),
    Failure(Box<RawValue>),
    Release(Box<RawValue>),
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn a_message_names_the_task_and_how_its_attempt_ended() {
        let task_id = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let body = to_raw_value(&serde_json::json!({"worker_id": "gpu-7", "attempt": 1})).unwrap();
        let message = Message { task_id, outcome: Sent::Completion(body) };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"task_id":"01980a6e-5b7c-7cc3-98c4-dc0c0c07398f","completion":{"attempt":1,"worker_id":"gpu-7"}}"#
        );
    }
}
