//! What others than a worker write down about it: labels of a record beside the worker's own.

use std::collections::BTreeMap;

use baton_model::{Timestamp, WorkerId};
use baton_store::StoreError;

use crate::edge::Edge;
use crate::words::{Said, read_time, table_error};

/// How the name of such a record begins.
pub(crate) const BESIDE: &str = "row:";

/// What is written down in the record of this name.
pub(crate) async fn written(
    edge: &Edge,
    name: &WorkerId,
) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    match edge.app.store.worker(name).await {
        Ok(detail) => Ok(Some(detail.worker.labels)),
        Err(StoreError::WorkerNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// When the orchestrator of services has last said that it lives: it beats by writing its own row. Of other workers that is others' word.
pub(crate) async fn written_beat(edge: &Edge, worker: &WorkerId) -> Result<Option<Timestamp>, StoreError> {
    // A name that has no room for a record beside it has none.
    let Ok(name) = beside_name(worker) else { return Ok(None) };
    let labels = written(edge, &name).await?.unwrap_or_default();
    if labels.get("instance_type").map(String::as_str) != Some("api") {
        return Ok(None);
    }
    let beat = labels.get("last_heartbeat").and_then(|text| read_time(text));
    // By the orchestrator's own clock.
    Ok(beat.map(|beat| beat.min(edge.app.now())))
}

/// The name of the record beside a worker's own.
pub(crate) fn beside_name(worker: &WorkerId) -> Result<WorkerId, Said> {
    let name = format!("{BESIDE}{worker}").parse();
    name.map_err(|error| table_error(400, "22023", &format!("id: {error}"), None).into())
}
