//! Why a task waits, as it is shown.

use baton_model::{
    Label, LimitOn, ProjectId, QueueName, Status, TaskId, TaskType, Timestamp, WorkerId, WorkerStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fleet::PauseView;

/// A task, and why it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// Its queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// Its project.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// What its worker had best have loaded already: workers that want only other things do not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub affinity: Option<Label>,
    /// Its status, as of the answer's time.
    #[schema(value_type = String)]
    pub status: Status,
    /// How often it has been claimed.
    pub attempt: u32,
    /// Who runs it, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
    /// Whether it waits: it is neither running nor finished.
    pub waits: bool,
    /// All of it in one sentence, for people.
    pub message: String,
    /// Every reason that holds now, in the order in which they must be lifted. None of a task that does not wait, or that is next.
    pub reasons: Vec<ReasonView>,
}

/// A reason for which a task waits. Which fields are there follows from its word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Reason)]
pub struct ReasonView {
    /// `expired`, `blocked`, `scheduled`, `paused`, `at_limit`, `only_alone`, `no_worker` or `behind`; more may come. Where a claim that finds
    /// nothing says why, it uses the same words.
    pub reason: String,
    /// Whether no claim at all is given the task while it holds; else the task waits for a worker or for its turn only.
    pub keeps: bool,
    /// The same for people.
    pub message: String,
    /// The tasks that it waits for, for `blocked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<WaitedView>,
    /// When it is due, for `scheduled`; when the limit's rate lets it start, for `at_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next_at: Option<Timestamp>,
    /// Since when its queue is paused, by whom and why, for `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
    /// The limit that does not let it start, for `at_limit`: what it holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub limit: Option<LimitOn>,
    /// How many tasks the limit lets run at once, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// How many tasks it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u32>,
    /// The first of these, up to 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<HolderView>,
    /// The worker that is given nothing more until it is empty, to run the task then, for `only_alone`; the one that took such
    /// tasks and was heard of last, for `no_worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
    /// The status of the latter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_status: Option<WorkerStatus>,
    /// When it was heard of last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_heard_at: Option<Timestamp>,
    /// About how many tasks come before it, for `behind`. Not told to tokens that are bound to a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// Whether there may be more than is told: more tasks for `behind`, more workers than were looked at for `no_worker`, more
    /// tasks than the token reaches for `blocked` and `at_limit`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A task that another one waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WaitedFor)]
pub struct WaitedView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// Its status, as of the answer's time.
    #[schema(value_type = String)]
    pub status: Status,
}

/// A task that counts against a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Holder)]
pub struct HolderView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The worker that runs it; none while it keeps its place and waits for its next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
}
