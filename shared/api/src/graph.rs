//! Tasks that wait for others, as they are shown: a task's graph, and what its dependencies have put out.

use baton_model::{
    GenerationId, IfDependencyFails, Payload, QueueName, State, Status, TaskId, TaskType, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All that a task waits for and all that waits for it, however far, the nearest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Graph)]
pub struct GraphView {
    /// The tasks, up to 1,000; the one that was asked for is the first.
    pub nodes: Vec<NodeView>,
    /// Which task waits for which, of those that are shown.
    pub edges: Vec<EdgeView>,
    /// Whether there are more tasks than are shown.
    pub more: bool,
    /// The tasks that the time goes by, the first one first: from each, back to the dependency that ended last, where one that
    /// has not ended counts as later than any that has.
    pub critical_path: CriticalPathView,
}

/// A task of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub id: TaskId,
    /// Its queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// Its status, as of the answer's time.
    #[schema(value_type = String)]
    pub status: Status,
    /// How often it has been claimed.
    pub attempt: u32,
    /// What becomes of it when a dependency fails: `cancel`, `fail` or `run`.
    #[schema(value_type = String)]
    pub if_dependency_fails: IfDependencyFails,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When its latest attempt was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub claimed_at: Option<Timestamp>,
    /// When it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub finished_at: Option<Timestamp>,
}

/// That one task waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Edge)]
pub struct EdgeView {
    /// The task that is waited for.
    #[schema(value_type = String, format = "uuid")]
    pub from: TaskId,
    /// The task that waits.
    #[schema(value_type = String, format = "uuid")]
    pub to: TaskId,
}

/// The tasks that the time goes by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CriticalPath)]
pub struct CriticalPathView {
    /// The tasks, the first one first.
    #[schema(value_type = Vec<String>)]
    pub tasks: Vec<TaskId>,
    /// For how long they have been at it: from the creation of the first to the end of the last, or to now.
    pub age_seconds: f64,
}

/// What a dependency of a claimed task has put out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Input)]
pub struct InputView {
    /// The dependency.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// What kind of work it was.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// How it ended: `completed`, or what `if_dependency_fails: run` has let pass.
    #[schema(value_type = String)]
    pub state: State,
    /// Its output, if it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<InputGenerationView>,
}

/// The output of a dependency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = InputGeneration)]
pub struct InputGenerationView {
    /// The record; `GET /v1/generations/{id}` gives all of it.
    #[schema(value_type = String, format = "uuid")]
    pub id: GenerationId,
    /// Where the output lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What kind of output it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// More about it, if it has no more than 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// The output itself, if it has no more than 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Payload>,
    /// What was left out as it is larger, or as the inputs of one answer come to more than a megabyte: `location`, `kind`,
    /// `metadata`, `result`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}
