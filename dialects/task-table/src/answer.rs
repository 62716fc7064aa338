//! What all routes share: who asks, how it is said that something is not so, and a task in the old API's words.

use std::collections::HashMap;

use axum::response::Response;
use baton_http::fastapi::{Wrong, detail};
use baton_http::{ApiError, ApiResult, App, Caller};
use baton_model::{Generation, Label, Payload, QueueName, Status, Task, TaskId, Timestamp};
use baton_store::StoreError;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::words::{self, Said};

/// How many tasks the store is asked at once for what they put out.
const AT_ONCE: usize = 100;

/// How many bytes of large results a list reads, about.
const RESULT_BYTES: usize = 16 << 20;

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct TaskTable {
    pub(crate) app: App,
    /// Whether a new task whose client does not say runs at once.
    pub(crate) late: bool,
}

/// Who asks for what.
pub(crate) struct Ask<'a> {
    pub(crate) app: &'a App,
    pub(crate) late: bool,
    pub(crate) caller: &'a Caller,
}

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum No {
    /// Its fields do not fit.
    Wrong(Wrong),
    /// The old API's own words for it.
    Said(StatusCode, String),
    /// Baton's machinery refuses it.
    Refused(ApiError),
}

impl No {
    pub(crate) fn answer(self) -> ApiResult {
        match self {
            Self::Wrong(wrong) => wrong.answer(),
            Self::Said(status, text) => detail(status, &text),
            Self::Refused(error) => Err(error),
        }
    }

    pub(crate) fn no_task(id: &str) -> Self {
        Self::Said(StatusCode::NOT_FOUND, format!("Task '{id}' not found"))
    }
}

impl From<ApiError> for No {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Wrong> for No {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// What a route answers.
pub(crate) type Answer = Result<Response, No>;

/// The queue of all tasks of this dialect.
pub fn queue() -> QueueName {
    QueueName::from_stored("task-table")
}

/// From when on a task may be claimed that nobody has asked to run: never by itself. It shows as `created`.
pub(crate) const UNTIL_RUN: Timestamp = Timestamp::MAX;

/// A task as the old API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct TaskRead {
    id: TaskId,
    #[serde(rename = "type")]
    task_type: String,
    description: String,
    params: Box<RawValue>,
    domain: Option<String>,
    drift_score: f64,
    status: &'static str,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    created_at: String,
    updated_at: String,
}

/// The old word for a status. A task that waits for others has been created, and is not queued yet.
pub(crate) const fn word(status: Status) -> &'static str {
    match status {
        Status::Blocked => "created",
        other => other.as_str(),
    }
}

/// A task's fields in its client's words.
fn said(task: &Task) -> Said {
    let domain = task.domain.as_ref().map(Label::as_str);
    let said =
        words::said(task.task_type.as_str(), task.description.as_deref(), domain, task.params.as_str());
    said.unwrap_or_else(|| Said {
        task_type: task.task_type.to_string(),
        description: task.description.clone(),
        domain: domain.map(str::to_owned),
        params: task.params.as_str().to_owned(),
    })
}

fn raw(text: &str) -> Box<RawValue> {
    // A payload is JSON.
    RawValue::from_string(text.to_owned()).unwrap_or_default()
}

/// A result as an object: the old API has no other.
fn object(text: &str) -> Box<RawValue> {
    if text.trim_start().starts_with('{') { raw(text) } else { raw(&format!("{{\"result\":{text}}}")) }
}

impl TaskRead {
    pub(crate) fn new(task: &Task, generation: Option<&Generation>, now: Timestamp) -> Self {
        let said = said(task);
        Self {
            id: task.head.id,
            task_type: said.task_type,
            description: said.description.unwrap_or_default(),
            params: raw(&said.params),
            domain: said.domain,
            drift_score: task.drift_score.unwrap_or_default(),
            status: word(task.status(now)),
            result: generation
                .and_then(|output| output.output.result.as_ref())
                .map(|text| object(text.as_str())),
            error: task.error.as_ref().map(|error| error.message.clone()),
            created_at: task.created_at.isoformat(),
            updated_at: task.updated_at.isoformat(),
        }
    }
}

/// Tasks with what the completed ones have put out. Beyond `RESULT_BYTES` in all, a result that does not come along with its
/// fellows is left out: it is shown with its task alone.
pub(crate) async fn shown(ask: &Ask<'_>, tasks: &[Task]) -> Result<Vec<TaskRead>, No> {
    let now = ask.app.now();
    let done: Vec<TaskId> =
        tasks.iter().filter(|task| task.status(now) == Status::Completed).map(|task| task.head.id).collect();
    let mut outputs = HashMap::with_capacity(done.len());
    let mut room = RESULT_BYTES;
    for part in done.chunks(AT_ONCE) {
        for input in ask.app.store.inputs(part.to_vec()).await? {
            let whole = match input.omitted.result && room > 0 {
                true => result_alone(ask, input.task).await?,
                false => input.generation,
            };
            let Some(generation) = whole else { continue };
            let size = generation.output.result.as_ref().map_or(0, Payload::size);
            room = room.saturating_sub(size);
            outputs.insert(input.task, generation);
        }
    }
    Ok(tasks.iter().map(|task| TaskRead::new(task, outputs.get(&task.head.id), now)).collect())
}

/// What a task has put out that is too large to be read along with others; none if the task is gone.
async fn result_alone(ask: &Ask<'_>, id: TaskId) -> Result<Option<Generation>, No> {
    match ask.app.store.task(id).await {
        Ok(detail) => Ok(detail.generation),
        Err(StoreError::TaskNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
