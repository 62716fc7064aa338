//! The queue `ready`, at which a worker's claims wait for work.

use std::sync::Arc;

use baton_client::ReadyQueue;

use crate::exit::Failure;

/// Opens the queue at a URL. Whether it is there shows when it is heard: a worker that cannot hear it works all the same.
#[cfg(feature = "sqs")]
pub(crate) async fn open(queue: &str) -> Result<Arc<dyn ReadyQueue>, Failure> {
    let opened = baton_client::SqsReady::open(queue).await.map_err(|error| {
        Failure::usage(format!("cannot use the queue {queue}: {}", baton_model::with_causes(&error)))
    })?;
    Ok(Arc::new(opened))
}

/// Says how to build a program that can.
#[cfg(not(feature = "sqs"))]
pub(crate) async fn open(queue: &str) -> Result<Arc<dyn ReadyQueue>, Failure> {
    Err(crate::sqs::missing(&format!("--ready-queue (or BATON_QUEUES_READY): {queue}")))
}
