//! SQS, for the commands that reach queues of the AWS shape by themselves.

use crate::exit::Failure;

/// SQS by the environment, in the region that the URL of a queue names.
#[cfg(feature = "sqs")]
pub(crate) async fn client(queue: &str) -> Result<baton_aws::queues::Sqs, Failure> {
    baton_aws::queues::Sqs::of_queue(queue).await.map_err(|error| {
        Failure::usage(format!("cannot use the queue {queue}: {}", baton_model::with_causes(&error)))
    })
}

/// That this program cannot reach queues, and how to build one that can. `asked`: the flag or name that asks for it.
#[cfg(not(feature = "sqs"))]
pub(crate) fn missing(asked: &str) -> Failure {
    Failure::usage(format!(
        "{asked}: this baton was built without SQS; build one with it: cargo install --path apps/baton --features sqs (or cargo \
         build --package baton --features sqs)"
    ))
}
