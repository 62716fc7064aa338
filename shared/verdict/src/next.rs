//! What to do next about a reason for which a task waits.

use baton_api::why::{ReasonView, WhyView};
use baton_model::WorkerStatus;
use baton_model::why::word;

use crate::words::quoted;

/// What to do about a reason, as a command.
pub fn next(why: &WhyView, reason: &ReasonView) -> Option<String> {
    let id = why.task_id;
    match reason.reason.as_str() {
        word::BLOCKED => Some(format!("see: baton task graph {id}")),
        word::PAUSED => Some(format!("to go on: baton queue resume {}", why.queue)),
        word::AT_LIMIT => {
            let limit = reason.limit.as_ref()?.to_string();
            Some(format!("see: baton limit show {}", quoted(&limit)))
        }
        word::ONLY_ALONE => Some(format!("see: baton task history {id}")),
        word::NO_WORKER => Some(match (reason.worker_status, &reason.worker_id) {
            (Some(WorkerStatus::Draining | WorkerStatus::Stopping), Some(worker)) => {
                format!("to go on: baton worker resume {worker}")
            }
            _ => format!("to go on: baton worker run --queue {} -- COMMAND", why.queue),
        }),
        _ => None,
    }
}
