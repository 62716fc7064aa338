//! `update-worker-model`: what a worker has loaded.

use baton_http::Caller;
use baton_model::WorkerId;
use baton_store::{Beat, StoreError};
use serde_json::json;

use crate::edge::Edge;
use crate::row::time;
use crate::words::{Answer, Object, coded, ok, text};

/// The label of a worker that says which model it has loaded.
pub(crate) const CURRENT_MODEL: &str = "current_model";

/// Notes which model a worker has loaded. The worker itself says so: it is a sign of life.
pub(crate) async fn update(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let (Some(worker), Some(model)) = (text(body, "worker_id"), text(body, CURRENT_MODEL)) else {
        return Err(coded(400, "invalid_request_body", "worker_id and current_model are required").into());
    };
    if caller.is_bound() {
        return Err(coded(403, "authentication_failed", "a service key is needed").into());
    }
    let worker: WorkerId =
        worker.parse().map_err(|error| coded(400, "invalid_request_body", &format!("worker_id: {error}")))?;
    let (mut labels, readings, action) = match edge.app.store.worker(&worker).await {
        Ok(detail) => (detail.worker.labels, detail.worker.readings, "updated"),
        Err(StoreError::WorkerNotFound(_)) => (Default::default(), Default::default(), "created"),
        Err(error) => return Err(error.into()),
    };
    labels.insert(CURRENT_MODEL.to_owned(), model.to_owned());
    let now = edge.app.now();
    // Readings are kept as they stand.
    let beat = Beat { caller: caller.owner(), labels, readings, ..Beat::new(worker.clone(), now) };
    edge.app.store.heartbeat(beat).await?;
    ok(&json!({
        "success": true,
        "worker_id": worker,
        "current_model": model,
        "last_heartbeat": time(now),
        "action": action,
    }))
}
