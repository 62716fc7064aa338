//! A task in the old server's words, and what of it is kept where in Baton.
//!
//! It waits in the queue `assistant`. Its params are the request's own fields: `task` as it came, `assigned_by`, `batch_id` and the
//! two flags. What else is in that queue, as a schedule's tasks, has its params as its `task`.

use std::collections::BTreeMap;

use baton_model::{QueueName, Status, Task, TaskType, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The queue of all tasks of this dialect.
pub fn queue() -> QueueName {
    QueueName::from_stored("assistant")
}

/// The type of a task that has no single action which can be one's name.
pub(crate) const PLAIN: &str = "task";

/// The type of the tasks that hold what was thought of others: called off as soon as they are made, they are never given out.
pub(crate) const REFLECTION: &str = "reflection";

/// Whether a task is one that clients have asked for.
pub(crate) fn is_asked_for(task: &Task) -> bool {
    task.queue == queue() && task.task_type.as_str() != REFLECTION
}

/// The type of a task with these actions.
pub fn type_of(actions: &[String]) -> String {
    let one = match actions {
        [one] if one != REFLECTION => one.parse::<TaskType>().ok(),
        _ => None,
    };
    one.map_or_else(|| PLAIN.to_owned(), |one| one.to_string())
}

/// A task's params.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) task: Box<RawValue>,
    pub(crate) assigned_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_id: Option<String>,
    #[serde(default)]
    pub(crate) execute_immediately: bool,
    #[serde(default)]
    pub(crate) self_destruct: bool,
}

impl Kept {
    /// What is kept of a task.
    pub(crate) fn of(task: &Task) -> Self {
        serde_json::from_str(task.params.as_str()).unwrap_or_else(|_| Self {
            task: RawValue::from_string(task.params.as_str().to_owned()).unwrap_or_default(),
            assigned_by: task.assigned_by.as_ref().map(ToString::to_string).unwrap_or_default(),
            batch_id: None,
            execute_immediately: false,
            self_destruct: false,
        })
    }
}

/// What was thought of a task, the first thought first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thoughts {
    all: Vec<Thought>,
    is_final: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Thought {
    reflection: String,
    action: Option<String>,
    is_final: bool,
    timestamp: String,
}

/// The params of a task that holds a thought.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptThought {
    pub(crate) task_id: String,
    pub(crate) action: Option<String>,
    pub(crate) reflection: String,
    pub(crate) is_final: bool,
}

impl Thoughts {
    /// Adds one; the same words twice are one thought.
    pub(crate) fn add(&mut self, kept: KeptThought, at: Timestamp) {
        self.is_final |= kept.is_final;
        if self.all.iter().any(|thought| thought.reflection == kept.reflection) {
            return;
        }
        let KeptThought { task_id: _, action, reflection, is_final } = kept;
        self.all.push(Thought { reflection, action, is_final, timestamp: at.isoformat() });
    }

    /// Those of all tasks, by task.
    pub(crate) fn by_task(mut held: Vec<Task>) -> BTreeMap<String, Self> {
        held.sort_by_key(|task| task.created_at);
        let mut by_task: BTreeMap<String, Self> = BTreeMap::new();
        for task in held {
            if let Ok(kept) = serde_json::from_str::<KeptThought>(task.params.as_str()) {
                by_task.entry(kept.task_id.clone()).or_default().add(kept, task.created_at);
            }
        }
        by_task
    }
}

/// A task as clients read it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    task_id: String,
    task: Box<RawValue>,
    assigned_by: String,
    timestamp: String,
    batch_id: Option<String>,
    status: &'static str,
    reflections: Vec<Thought>,
    is_reflection_final: bool,
    execute_immediately: bool,
    self_destruct: bool,
}

impl Entry {
    /// A task with what was thought of it, and with what came of it if it is over.
    pub(crate) fn new(
        task: &Task,
        now: Timestamp,
        thoughts: Option<&Thoughts>,
        result: Option<Value>,
    ) -> Self {
        let kept = Kept::of(task);
        let thoughts = thoughts.cloned().unwrap_or_default();
        Self {
            task_id: task.head.id.to_string(),
            task: with_result(&kept.task, result),
            assigned_by: kept.assigned_by,
            timestamp: task.created_at.isoformat(),
            batch_id: kept.batch_id,
            status: word(task.status(now)),
            reflections: thoughts.all,
            is_reflection_final: thoughts.is_final,
            execute_immediately: kept.execute_immediately,
            self_destruct: kept.self_destruct,
        }
    }
}

/// A task's own object, with its result in the place where clients look for it.
pub(crate) fn with_result(task: &RawValue, result: Option<Value>) -> Box<RawValue> {
    let with = |result: Value| {
        let mut members: serde_json::Map<String, Value> = serde_json::from_str(task.get()).ok()?;
        members.insert("execution_result".to_owned(), result);
        serde_json::value::to_raw_value(&members).ok()
    };
    result.and_then(with).unwrap_or_else(|| task.to_owned())
}

/// The old server's word for a status.
pub(crate) const fn word(status: Status) -> &'static str {
    match status {
        Status::Blocked | Status::Created | Status::Queued | Status::Retry => "received",
        Status::Running => "processing",
        Status::Completed => "completed",
        Status::Failed => "error",
        Status::Cancelled => "cancelled",
    }
}

/// The statuses of a task that is not over.
pub(crate) const ACTIVE: [Status; 5] =
    [Status::Blocked, Status::Created, Status::Queued, Status::Retry, Status::Running];

/// The statuses of one that is.
pub(crate) const FINISHED: [Status; 3] = [Status::Completed, Status::Failed, Status::Cancelled];
