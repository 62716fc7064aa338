//! Batches as objects: what is said of one as its tasks are handed in, and what is told of it.

use std::time::Duration;

use baton_model::{
    Batch, BatchId, Expected, Failure, Label, Limits, NewBatch, Payload, ProjectId, QueueName, TaskId,
    TaskSpec, TaskType, Then, ThenOn, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::create::CreateTask;
use crate::fields::{Fields, ReadFields, boolean, parsed};
use crate::task::FailureSchema;
use crate::template;

/// The fields of a task that one which follows a batch cannot have either.
const BEYOND: &[&str] = &["project", "unique"];

/// Several tasks to create, 1 to 1,000. Each task is read by itself, so that one misfit need not refuse the rest:
/// the function `create-task` reads the list with [`crate::fields::read_object`].
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CreateBatch {
    /// The batch as an object of its own, which is counted, sealed and followed by a task. Left out, the tasks have nothing else in
    /// common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRequest>,
    /// Whether one refused task refuses all (`true`, the default) or each stands by itself (`false`). Only a batch that stands or
    /// falls together may have tasks that depend on each other by their `ref`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atomic: Option<bool>,
    /// The tasks.
    pub tasks: Vec<CreateTask>,
}

/// The batch that tasks are handed in as. It is made by the first request that names its id; later ones add to it until it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = BatchToCreate)]
pub struct BatchRequest {
    /// Its id, if the producer chooses it, as who adds in several requests does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub id: Option<BatchId>,
    /// The project of all its tasks, also of those that name none; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// What it is called, for people. Of one that exists, it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Label>,
    /// The task that is to follow. Of one that exists, it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<ThenRequest>,
    /// Whether these are its last tasks, as is usual. With `false` it stays open: more requests may add to it, and it does not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<bool>,
}

/// The most bytes of params of a task that follows a batch.
pub const MOST_THEN_PARAMS: usize = 64 << 10;

/// A task that follows a batch, created exactly once.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ThenToCreate)]
pub struct ThenRequest {
    /// When: `ended` (the default: all tasks have ended, however), `completed` (all are completed) or `failed` (the first has failed).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on: Option<ThenOn>,
    /// The task, as `POST /v1/tasks` takes it, without `id`, `project`, `run_after`, `expires_at`, `unique`, `depends_on`,
    /// `if_dependency_fails`, `ref` and `traceparent`. Its params are an object of 65,536 bytes at most; the outcome comes to them as `batch`.
    pub task: CreateTask,
}

impl ReadFields for ThenRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let on = f.optional("on", parsed);
        let task = template::task(f, limits, BEYOND, "the task is created when the batch says so");
        if let Some(task) = &task
            && task.params.as_ref().is_some_and(|params| !params.as_str().trim_start().starts_with('{'))
        {
            let expected = "an object, to which the outcome comes as `batch`";
            f.refuse("task.params", Expected::new(expected, "another value"));
        }
        // It lies in the batch's record, which each end of a task of the batch reads.
        if let Some(bytes) = task.as_ref().and_then(|task| task.params.as_ref()).map(Payload::size)
            && bytes > MOST_THEN_PARAMS
        {
            let expected = format!("params of {MOST_THEN_PARAMS} bytes at most for what follows a batch");
            f.refuse("task.params", Expected::new(expected, format!("{bytes} bytes")));
        }
        Some(Self { on: on?, task: task? })
    }
}

impl ReadFields for BatchRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let id = f.optional("id", parsed);
        let project = f.optional("project", parsed);
        let name = f.optional("name", parsed);
        let then = f.optional_object::<ThenRequest>("then", limits);
        let seal = f.optional("seal", boolean);
        Some(Self { id: id?, project: project?, name: name?, then: then?, seal: seal? })
    }
}

impl BatchRequest {
    /// The batch as the store takes it, with the task that follows it.
    pub fn batch(&self, id: BatchId, project: ProjectId, task: Option<TaskSpec>) -> NewBatch {
        let on = self.then.as_ref().and_then(|then| then.on).unwrap_or_default();
        let then =
            task.map(|task| Then { on, task: TaskSpec { id: TaskId::unset(), id_chosen: false, ..task } });
        NewBatch { id, project, name: self.name.clone(), then }
    }
}

/// A batch as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: BatchId,
    /// The project of all its tasks.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Label>,
    /// `open` (tasks may be added), `running`, or once all of its tasks have ended: `completed` if all are, else `failed`.
    pub state: String,
    /// How many tasks it has.
    pub tasks: u64,
    /// How many of them have not ended.
    pub unfinished: u64,
    /// How many are completed.
    pub completed: u64,
    /// How many have failed.
    pub failed: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// What those do that have not ended; only of one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<DoingView>,
    /// The first failures, at most ten; only of one batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_failures: Vec<BatchFailureView>,
    /// When it was made.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// Who made it: the name of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub created_by: Option<Label>,
    /// Since when no task may be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub sealed_at: Option<Timestamp>,
    /// When it will probably end, if its tasks go on ending as fast as so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ends_probably_at: Option<Timestamp>,
    /// When all of its tasks had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ended_at: Option<Timestamp>,
    /// What is to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<ThenView>,
}

/// What those tasks of a batch do that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchDoing)]
pub struct DoingView {
    /// How many wait for other tasks.
    pub blocked: u64,
    /// How many wait to be claimed, now or later.
    pub queued: u64,
    /// How many a worker holds.
    pub running: u64,
    /// Whether there are more, as only some were looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

/// A task of a batch that has failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchFailure)]
pub struct BatchFailureView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// When it failed.
    #[schema(value_type = String, format = "date-time")]
    pub failed_at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FailureSchema>)]
    pub error: Option<Failure>,
}

/// What is to follow a batch, or has followed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchThen)]
pub struct ThenView {
    /// When: `ended`, `completed` or `failed`.
    #[schema(value_type = String)]
    pub on: ThenOn,
    /// The task's type.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// Its queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The task, once it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub task_id: Option<TaskId>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub created_at: Option<Timestamp>,
}

impl BatchView {
    /// A batch at a time, without what is told of one alone.
    pub fn new(batch: Batch, now: Timestamp) -> Self {
        let (counts, state) = (batch.counts, batch.state());
        let ends_probably_at = batch.ends_probably(now);
        let then = batch.then.map(|then| ThenView {
            on: then.on,
            task_type: then.task.task_type,
            queue: then.task.queue,
            task_id: batch.made.map(|made| made.task),
            created_at: batch.made.map(|made| made.at),
        });
        Self {
            id: batch.id,
            project: batch.project,
            name: batch.name,
            state: state.as_str().to_owned(),
            tasks: counts.tasks,
            unfinished: counts.unfinished(),
            completed: counts.completed,
            failed: counts.failed,
            cancelled: counts.cancelled,
            doing: None,
            first_failures: Vec::new(),
            created_at: batch.created_at,
            created_by: batch.created_by,
            sealed_at: batch.sealed_at,
            ends_probably_at,
            ended_at: batch.ended_at,
            then,
        }
    }

    /// How long it will probably take from `now` on.
    pub fn rest(&self, now: Timestamp) -> Option<Duration> {
        self.ends_probably_at.map(|at| at.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<BatchRequest, BodyError> {
        BatchRequest::from_json(json, &Limits::default())
    }

    #[test]
    fn a_batch_comes_back_as_a_client_sends_it() {
        for json in [
            "{}",
            r#"{"id":"01980a6e-5b7c-7cc3-98c4-dc0c0c07398f","project":"film","name":"frames","seal":false}"#,
            r#"{"then":{"on":"completed","task":{"type":"report","params":{"to":"ada"}}}}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field_and_what_would_fit() {
        let no_field = "no such field, as the task is created when the batch says so";
        for (json, field, expected, got) in [
            (
                r#"{"then":{"on":"never","task":{"type":"a"}}}"#,
                "then.on",
                "one of ended, completed, failed",
                r#""never""#,
            ),
            (r#"{"then":{}}"#, "then.task", "the task to create", "nothing"),
            (r#"{"then":{"task":{"type":"a","project":"film"}}}"#, "then.task.project", no_field, "one"),
            (r#"{"then":{"task":{"type":"a","ref":"x"}}}"#, "then.task.ref", no_field, "one"),
            (
                r#"{"then":{"task":{"type":"a","params":[1]}}}"#,
                "then.task.params",
                "an object, to which the outcome comes as `batch`",
                "another value",
            ),
            (r#"{"seal":"no"}"#, "seal", "true or false", r#""no""#),
        ] {
            let wrong = FieldError { field: field.into(), expected: expected.into(), got: got.into() };
            assert_eq!(read(json), Err(BodyError::Fields(vec![wrong])), "{json}");
        }
    }
}
