//! A task as the row that the platform has of it.

use std::collections::{BTreeMap, BTreeSet};

use baton_http::ApiError;
use baton_model::{Generation, Lease, State, Task, TaskId, TaskState, Timestamp, WorkerId, limits};
use baton_store::StoreError;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::beside::written_beat;
use crate::edge::Edge;
use crate::generation::output_of;
use crate::words::{Object, Word, task_id};

/// How many outputs are held at once.
pub(crate) const OUTPUTS: usize = 16;

/// The id that a task is known by: its own, or the name that its client gave it.
pub(crate) fn id_of(task: &Task) -> String {
    match &task.description {
        Some(name) if task_id(name) == task.head.id => name.clone(),
        _ => task.head.id.to_string(),
    }
}

/// What stands before the key that its client made a task with, as the task's description.
const KEY: &str = "idempotency_key: ";

/// A task's description that has the key which its client made it with; none if there is no room for it.
pub fn described(key: &str) -> Option<String> {
    Some(format!("{KEY}{key}")).filter(|text| text.chars().count() <= limits::DESCRIPTION_CHARS)
}

/// The key that its client made a task with, where that gave it no name of its own.
fn key_of(task: &Task) -> Option<&str> {
    task.description.as_deref().and_then(|text| text.strip_prefix(KEY))
}

/// When a task was begun that runs: it was claimed, or said to be in progress since.
pub(crate) fn started(edge: &Edge, task: &Task, lease: &Lease) -> Timestamp {
    edge.said(task).and_then(|words| words.started).unwrap_or(lease.claimed_at)
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

/// What a task has put out, as clients look for it: while it runs what was last said, and of one that failed or was cancelled why.
fn output(
    task: &Task,
    generation: Option<&Generation>,
    said: Option<String>,
    why: Option<&str>,
) -> Option<String> {
    match Word::of(task.head.state.state()) {
        Word::Complete => generation.and_then(output_of),
        Word::InProgress => said,
        Word::Failed | Word::Cancelled => why.map(str::to_owned),
        Word::Queued => None,
    }
}

/// Which columns are wanted of rows.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// All.
    All,
    /// These.
    These(BTreeSet<String>),
}

impl Wanted {
    fn has(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(columns) => columns.contains(column),
        }
    }

    fn any(&self, columns: &[&str]) -> bool {
        columns.iter().any(|column| self.has(column))
    }
}

/// What rows tell beyond their tasks, as far as it was looked up.
#[derive(Default)]
pub(crate) struct Beside {
    beats: BTreeMap<WorkerId, Option<Timestamp>>,
    names: BTreeMap<TaskId, String>,
    reasons: BTreeMap<TaskId, String>,
}

impl Beside {
    /// Looks up the last signs of life of the workers that tasks run with: a task that runs was touched with each. One that has no
    /// heartbeats, as the orchestrator of services, says in its row that it lives.
    async fn look_for_beats(&mut self, edge: &Edge, tasks: &[Task]) -> Result<(), ApiError> {
        for task in tasks {
            let TaskState::Running(lease) = &task.head.state else { continue };
            if self.beats.contains_key(&lease.worker) {
                continue;
            }
            let beat = match edge.app.store.worker(&lease.worker).await {
                Ok(detail) => detail.worker.last_beat_at,
                Err(StoreError::WorkerNotFound(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let beat = match beat {
                Some(beat) => Some(beat),
                None => written_beat(edge, &lease.worker).await?,
            };
            self.beats.insert(lease.worker.clone(), beat);
        }
        Ok(())
    }

    /// Looks up the names of what tasks depend on, where it may have any.
    pub(crate) async fn look_for_names(&mut self, edge: &Edge, tasks: &[Task]) -> Result<(), ApiError> {
        for id in tasks.iter().flat_map(|task| &task.depends_on) {
            if !may_be_made_of_name(*id) || self.names.contains_key(id) {
                continue;
            }
            let name = match edge.app.store.task(*id).await {
                Ok(detail) => id_of(&detail.task),
                Err(StoreError::TaskNotFound(_)) => id.to_string(),
                Err(error) => return Err(error.into()),
            };
            self.names.insert(*id, name);
        }
        Ok(())
    }

    /// Looks up why those of some tasks were cancelled that were.
    async fn look_for_reasons(&mut self, edge: &Edge, tasks: &[Task]) -> Result<(), ApiError> {
        let is_cancelled = |task: &&Task| matches!(task.head.state, TaskState::Cancelled);
        let ids: Vec<TaskId> = tasks.iter().filter(is_cancelled).map(|task| task.head.id).collect();
        let found = try_join_all(ids.iter().map(|id| reason(edge, *id))).await?;
        self.reasons = ids.into_iter().zip(found).filter_map(|(id, why)| Some((id, why?))).collect();
        Ok(())
    }

    /// Why a task failed or was cancelled; of one that goes on, why its last attempt failed.
    fn why<'a>(&'a self, task: &'a Task) -> Option<&'a str> {
        let own = self.reasons.get(&task.head.id).map(String::as_str);
        own.or_else(|| task.error.as_ref().map(|error| error.message.as_str()))
    }

    /// The ids that a task depends on, as its clients know them.
    pub(crate) fn dependencies(&self, task: &Task) -> Vec<String> {
        let known = |id: &TaskId| self.names.get(id).cloned().unwrap_or_else(|| id.to_string());
        task.depends_on.iter().map(known).collect()
    }
}

/// Why a task was cancelled, as its history tells: no error is kept with it.
async fn reason(edge: &Edge, id: TaskId) -> Result<Option<String>, StoreError> {
    let history = match edge.app.store.task(id).await {
        Ok(detail) => detail.history,
        // It was removed since.
        Err(StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let end = history.into_iter().rev().find(|event| event.to == State::Cancelled);
    Ok(end.and_then(|event| event.detail.reason.or(event.detail.error.map(|error| error.message))))
}

/// Whether an id may be made of a name: it is a UUIDv8 then.
fn may_be_made_of_name(id: TaskId) -> bool {
    id.to_string().as_bytes().get(14) == Some(&b'8')
}

/// When a task was last touched: while it runs also by its worker's signs of life and by words on it, as orchestrators put back what
/// was not touched for long.
fn touched(task: &Task, said: Option<Timestamp>, beside: &Beside) -> Timestamp {
    let beat = match &task.head.state {
        TaskState::Running(lease) => beside.beats.get(&lease.worker).copied().flatten(),
        _ => None,
    };
    task.updated_at.max(beat.unwrap_or(task.updated_at)).max(said.unwrap_or(task.updated_at))
}

/// The wanted columns of the row of a task.
fn row(
    edge: &Edge,
    task: &Task,
    generation: Option<&Generation>,
    (wanted, beside): (&Wanted, &Beside),
) -> Value {
    let (worker, started) = match &task.head.state {
        TaskState::Running(lease) => (Some(lease.worker.to_string()), Some(started(edge, task, lease))),
        TaskState::Completed { .. } => {
            let worker = task.head.ended.as_ref().map(|end| end.worker.to_string());
            (worker, generation.map(|generation| generation.started_at))
        }
        TaskState::Failed | TaskState::Cancelled => {
            (task.head.ended.as_ref().map(|end| end.worker.to_string()), None)
        }
        TaskState::Blocked | TaskState::Queued => (None, None),
    };
    let word = Word::of(task.head.state.state());
    let said = edge.said(task);
    let found = said.as_ref().and_then(|words| words.result.as_ref());
    let mut row = Object::new();
    let mut put = |column: &str, value: &dyn Fn() -> Value| {
        if wanted.has(column) {
            row.insert(column.to_owned(), value());
        }
    };
    put("id", &|| id_of(task).into());
    put("task_type", &|| json!(task.task_type));
    put("params", &|| task.params.to_value());
    put("status", &|| word.as_str().into());
    put("project_id", &|| json!(task.project));
    put("dependant_on", &|| match beside.dependencies(task) {
        depends if depends.is_empty() => Value::Null,
        depends => json!(depends),
    });
    put("output_location", &|| {
        json!(output(
            task,
            generation,
            said.as_ref().and_then(|words| words.output.clone()),
            beside.why(task)
        ))
    });
    put("worker_id", &|| json!(worker));
    put("attempts", &|| attempts(task).into());
    put("error_message", &|| json!(beside.why(task)));
    put("result_data", &|| {
        let result = generation.and_then(|one| one.output.result.as_ref()).or(found);
        json!(result.map(|result| result.to_value()))
    });
    put("created_at", &|| time(task.created_at).into());
    put("updated_at", &|| time(touched(task, said.as_ref().map(|words| words.at), beside)).into());
    put("generation_started_at", &|| json!(started.map(time)));
    put("generation_processed_at", &|| json!(task.finished_at.filter(|_| word == Word::Complete).map(time)));
    put("generation_created", &|| generation.is_some_and(|one| !is_hidden(one)).into());
    put("idempotency_key", &|| json!(key_of(task)));
    Value::Object(row)
}

/// Whether a record is none of the platform's.
pub(crate) fn is_hidden(generation: &Generation) -> bool {
    let metadata = generation.output.metadata.as_ref().map(|metadata| metadata.to_value());
    metadata.is_some_and(|metadata| metadata["hidden"] == true)
}

/// The rows of tasks, with what they have put out.
pub(crate) async fn rows(edge: &Edge, tasks: &[Task]) -> Result<Vec<Value>, ApiError> {
    rows_of(edge, tasks, &Wanted::All, &mut Beside::default()).await
}

/// The row of a task.
pub(crate) async fn row_of(edge: &Edge, task: &Task) -> Result<Value, ApiError> {
    Ok(rows(edge, std::slice::from_ref(task)).await?.pop().unwrap_or_default())
}

/// The wanted columns of the rows of tasks. What must be looked up for no column is not.
pub(crate) async fn rows_of(
    edge: &Edge,
    tasks: &[Task],
    wanted: &Wanted,
    beside: &mut Beside,
) -> Result<Vec<Value>, ApiError> {
    let by_generation = ["output_location", "result_data", "generation_started_at", "generation_created"];
    if wanted.has("updated_at") {
        beside.look_for_beats(edge, tasks).await?;
    }
    if wanted.has("dependant_on") {
        beside.look_for_names(edge, tasks).await?;
    }
    let mut rows = Vec::with_capacity(tasks.len());
    for few in tasks.chunks(OUTPUTS) {
        let generations =
            if wanted.any(&by_generation) { generations(edge, few).await? } else { BTreeMap::new() };
        if wanted.any(&["output_location", "error_message"]) {
            beside.look_for_reasons(edge, few).await?;
        }
        let beside = &*beside;
        let told = few.iter().map(|task| row(edge, task, generations.get(&task.head.id), (wanted, beside)));
        rows.extend(told);
    }
    Ok(rows)
}

/// What those of the tasks have put out that are completed, whole.
pub(crate) async fn generations(
    edge: &Edge,
    tasks: &[Task],
) -> Result<BTreeMap<TaskId, Generation>, ApiError> {
    let completed = |task: &&Task| matches!(task.head.state, TaskState::Completed { .. });
    let ids: Vec<TaskId> = tasks.iter().filter(completed).map(|task| task.head.id).collect();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(limits::BATCH_TASKS) {
        for input in edge.app.store.inputs(ids.to_vec()).await? {
            let Some(generation) = input.generation else { continue };
            // What is large does not come along.
            if !input.omitted.metadata && !input.omitted.result {
                found.insert(input.task, generation);
                continue;
            }
            match edge.app.store.generation(generation.id).await {
                Ok(whole) => found.insert(input.task, whole),
                // It was removed since, with its task.
                Err(StoreError::GenerationNotFound(_)) => None,
                Err(error) => return Err(error.into()),
            };
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
