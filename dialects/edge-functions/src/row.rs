//! A task as the row that the platform has of it.

use std::collections::BTreeMap;

use baton_http::ApiError;
use baton_model::{Generation, Task, TaskId, TaskState, Timestamp, limits};
use serde_json::{Value, json};

use crate::edge::Edge;
use crate::words::{Word, task_id};

/// The id that a task is known by: its own, or the name that its client gave it.
pub(crate) fn id_of(task: &Task) -> String {
    match &task.description {
        Some(name) if task_id(name) == task.head.id => name.clone(),
        _ => task.head.id.to_string(),
    }
}

/// The attempts that came before the one that runs, or before the one that is to come. A client that puts a task back sends one more
/// than its claim was told: the number of its own attempt.
pub(crate) fn attempts(task: &Task) -> u32 {
    match task.head.state {
        TaskState::Running(_) => task.head.attempt.saturating_sub(1),
        _ => task.head.attempt,
    }
}

/// A time as the platform writes it.
pub(crate) fn time(at: Timestamp) -> String {
    micros(at, 0)
}

/// A time with so many microseconds on it.
pub(crate) fn micros(at: Timestamp, micros: u32) -> String {
    let text = at.to_string();
    // `2026-01-31T08:15:00.250Z`, to the millisecond.
    let text = text.strip_suffix('Z').unwrap_or(&text);
    format!("{text}{:03}+00:00", micros.min(999))
}

/// What a task has put out, as clients look for it: while it runs what was last said, and of one that failed why.
fn output(task: &Task, generation: Option<&Generation>, said: Option<String>) -> Option<String> {
    match Word::of(task.head.state.state()) {
        Word::Complete => generation.and_then(|generation| generation.output.location.clone()),
        Word::InProgress => said,
        Word::Failed | Word::Cancelled => task.error.as_ref().map(|error| error.message.clone()),
        Word::Queued => None,
    }
}

/// The row of a task.
pub(crate) fn row(edge: &Edge, task: &Task, generation: Option<&Generation>) -> Value {
    let (worker, started) = match &task.head.state {
        TaskState::Running(lease) => (Some(lease.worker.to_string()), Some(lease.claimed_at)),
        TaskState::Completed { .. } => {
            let worker = task.head.ended.as_ref().map(|end| end.worker.to_string());
            (worker, generation.map(|generation| generation.started_at))
        }
        TaskState::Failed | TaskState::Cancelled => {
            (task.head.ended.as_ref().map(|end| end.worker.to_string()), None)
        }
        TaskState::Blocked | TaskState::Queued => (None, None),
    };
    let depends: Vec<String> = task.depends_on.iter().map(ToString::to_string).collect();
    let shown = generation.is_some_and(|generation| !is_hidden(generation));
    let word = Word::of(task.head.state.state());
    json!({
        "id": id_of(task),
        "task_type": task.task_type,
        "params": task.params.to_value(),
        "status": word.as_str(),
        "project_id": task.project,
        "dependant_on": if depends.is_empty() { Value::Null } else { json!(depends) },
        "output_location": output(task, generation, edge.said(task)),
        "worker_id": worker,
        "attempts": attempts(task),
        "error_message": task.error.as_ref().map(|error| error.message.as_str()),
        "result_data": generation.and_then(|generation| generation.output.result.as_ref()).map(|result| result.to_value()),
        "created_at": time(task.created_at),
        "updated_at": time(task.updated_at),
        "generation_started_at": started.map(time),
        "generation_processed_at": task.finished_at.filter(|_| word == Word::Complete).map(time),
        "generation_created": shown,
        "idempotency_key": Value::Null,
    })
}

/// Whether a record is none of the platform's.
pub(crate) fn is_hidden(generation: &Generation) -> bool {
    let metadata = generation.output.metadata.as_ref().map(|metadata| metadata.to_value());
    metadata.is_some_and(|metadata| metadata["hidden"] == true)
}

/// The rows of tasks, with what they have put out.
pub(crate) async fn rows(edge: &Edge, tasks: &[Task]) -> Result<Vec<Value>, ApiError> {
    let generations = generations(edge, tasks).await?;
    Ok(tasks.iter().map(|task| row(edge, task, generations.get(&task.head.id))).collect())
}

/// What those of the tasks have put out that are completed.
pub(crate) async fn generations(
    edge: &Edge,
    tasks: &[Task],
) -> Result<BTreeMap<TaskId, Generation>, ApiError> {
    let completed = |task: &&Task| matches!(task.head.state, TaskState::Completed { .. });
    let ids: Vec<TaskId> = tasks.iter().filter(completed).map(|task| task.head.id).collect();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(limits::BATCH_TASKS) {
        for input in edge.app.store.inputs(ids.to_vec()).await? {
            found.extend(input.generation.map(|generation| (input.task, generation)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_microseconds_and_an_offset() {
        let at = Timestamp::from_millis(1_769_847_300_250);
        assert_eq!(time(at), "2026-01-31T08:15:00.250000+00:00");
        assert_eq!(micros(at, 7), "2026-01-31T08:15:00.250007+00:00");
        // As the platform's tools cut it.
        assert_eq!(&time(at)[11..19], "08:15:00");
    }
}
