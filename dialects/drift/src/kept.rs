//! What of a simulation's task is kept where in Baton, and the task as clients read it.
//!
//! It waits in the queue `drift`. Its params are the fields that a client is given. Its timeout is the horizon of its simulation, as
//! the old deadline was; a failed attempt is followed by three others at once.

use std::time::Duration;

use baton_api::ReadFields as _;
use baton_api::create::CreateTask;
use baton_api::task::TaskView;
use baton_http::{ApiError, App};
use baton_model::{QueueName, Task, TaskId, TaskState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The queue of all tasks of this dialect.
pub(crate) fn queue() -> QueueName {
    QueueName::from_stored("drift")
}

/// The type of its tasks.
const TYPE: &str = "simulation";

/// Attempts of a task: the first, and three retries.
const ATTEMPTS: u32 = 4;

/// How many particles a task of a template has, and of a batch that does not say.
pub(crate) const PARTICLES: u64 = 10;

/// The horizon of a simulation that names none, in hours.
pub(crate) const HORIZON: f64 = 1.0;

/// A task's params.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) simulation_id: String,
    pub(crate) particle_count: u64,
    #[serde(default)]
    pub(crate) parameters: Map<String, Value>,
    #[serde(default)]
    pub(crate) input_data: String,
    /// It is carried along; the queue is first in, first out.
    #[serde(default = "usual")]
    pub(crate) priority: i64,
}

fn usual() -> i64 {
    1
}

impl Kept {
    /// What is kept of a task. One that another producer has put into the queue goes by its own id.
    pub(crate) fn of(id: TaskId, params: &str) -> Self {
        serde_json::from_str(params).unwrap_or_else(|_| Self {
            simulation_id: id.to_string(),
            particle_count: 0,
            parameters: serde_json::from_str(params).unwrap_or_default(),
            input_data: String::new(),
            priority: usual(),
        })
    }

    /// A task of a queue's template: a part of a simulation of the Gulf that nobody has asked for.
    pub(crate) fn of_template(simulation: &str) -> Self {
        let parameters = json!({
            "time_horizon": HORIZON,
            "spatial_bounds": { "min_lat": 18.0, "max_lat": 31.0, "min_lon": -98.0, "max_lon": -80.0 },
            "current_strength": 0.5,
            "wind_speed": 10.0,
            "auto_created": true,
        });
        Self {
            simulation_id: simulation.to_owned(),
            particle_count: PARTICLES,
            parameters: parameters.as_object().cloned().unwrap_or_default(),
            input_data: String::new(),
            priority: usual(),
        }
    }

    /// The task as Baton is asked for it. It is read as the route for new tasks reads it, so that no other rule holds.
    pub(crate) fn create(
        &self,
        app: &App,
        id: Option<TaskId>,
        queue: Option<QueueName>,
    ) -> Result<CreateTask, ApiError> {
        let horizon = self.parameters.get("time_horizon").and_then(Value::as_f64).unwrap_or(HORIZON);
        let mut task = json!({
            "type": TYPE,
            "params": self,
            "max_attempts": ATTEMPTS,
            "timeout_seconds": horizon * 3_600.0,
            "backoff": { "base_seconds": 0.001, "factor": 1.0, "max_seconds": 0.001, "jitter": 0.0 },
        });
        if let Some(id) = id {
            task["id"] = json!(id);
        }
        if let Some(queue) = queue {
            task["queue"] = json!(queue);
        }
        CreateTask::from_json(&task.to_string(), &app.limits()).map_err(ApiError::from)
    }
}

/// When an attempt that runs is over, or, of a task that does not run, would be if it had begun with the task.
fn deadline(timeout_at: Option<Timestamp>, created_at: Timestamp, timeout: Option<Duration>) -> String {
    let horizon = timeout.unwrap_or(Duration::from_secs_f64(HORIZON * 3_600.0));
    timeout_at.unwrap_or_else(|| created_at.plus(horizon)).isoformat()
}

/// A task's deadline.
pub(crate) fn deadline_of(task: &Task) -> String {
    let timeout_at = match &task.head.state {
        TaskState::Running(lease) => lease.timeout_at,
        _ => None,
    };
    deadline(timeout_at, task.created_at, task.head.timeout)
}

/// A task as it is given to a client.
pub(crate) fn given(task: &TaskView) -> Value {
    let kept = Kept::of(task.id, task.params.as_str());
    let timeout = task.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    json!({
        "task_id": task.id,
        "simulation_id": kept.simulation_id,
        "particle_count": kept.particle_count,
        "parameters": kept.parameters,
        "input_data": kept.input_data,
        "deadline": deadline(task.lease.as_ref().and_then(|lease| lease.timeout_at), task.created_at, timeout),
        "priority": kept.priority,
    })
}

/// How many attempts of a task have failed.
pub(crate) fn retries(task: &Task) -> u32 {
    let running = matches!(task.head.state, TaskState::Running(_) | TaskState::Completed { .. });
    task.head.attempts_used().saturating_sub(u32::from(running))
}
