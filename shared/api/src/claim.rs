//! What `claim-task` is asked and answers.

use std::time::Duration;

use baton_model::{
    Directive, LimitOn, QueueName, RequestKey, SessionId, TaskType, Timestamp, WorkerId, limits,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, as_seconds, integer, list, parsed, span};
use crate::task::TaskView;

/// Asks for work.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ClaimRequest {
    /// The worker that asks.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The worker's present start, if it names its starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// The queues to take from, 1 to 32; `["default"]` if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// The types to take, up to 32; all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub types: Vec<TaskType>,
    /// How many tasks at most, 1 to 100; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tasks: Option<u32>,
    /// How many tasks the worker takes at once, 1 to 10,000; the server's default cap, 1,000, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// A lease of fixed length, for clients that do not beat. If left out, heartbeats keep the lease alive.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub lease_seconds: Option<Duration>,
    /// How long to wait for work, 0 to 20; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub wait_seconds: Option<Duration>,
    /// The claim's own name: the same name gives the same leases again, if the first answer was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request_id: Option<RequestKey>,
}

impl ClaimRequest {
    /// One task from the default queue.
    pub fn new(worker_id: WorkerId) -> Self {
        Self {
            worker_id,
            session_id: None,
            queues: Vec::new(),
            types: Vec::new(),
            max_tasks: None,
            capacity: None,
            lease_seconds: None,
            wait_seconds: None,
            request_id: None,
        }
    }
}

impl ReadFields for ClaimRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let session_id = f.optional("session_id", parsed);
        let queues = f.optional("queues", list(1..=limits::CLAIM_NAMES, parsed));
        let types = f.optional("types", list(1..=limits::CLAIM_NAMES, parsed));
        let max_tasks = f.optional("max_tasks", integer(1..=limits::CLAIM_TASKS));
        let capacity = f.optional("capacity", integer(1..=limits::WORKER_CAPACITY));
        let lease_seconds = f.optional("lease_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let wait_seconds = f.optional("wait_seconds", span(Duration::ZERO, limits::CLAIM_WAIT));
        let request_id = f.optional("request_id", parsed);
        Some(Self {
            worker_id: worker_id?,
            session_id: session_id?,
            queues: queues?.unwrap_or_default(),
            types: types?.unwrap_or_default(),
            max_tasks: max_tasks?,
            capacity: capacity?,
            lease_seconds: lease_seconds?,
            wait_seconds: wait_seconds?,
            request_id: request_id?,
        })
    }
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClaimAnswer)]
pub struct ClaimView {
    /// The tasks that the worker now holds, each with its params, attempt and lease.
    pub tasks: Vec<TaskView>,
    /// Why there are none, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing: Option<NothingView>,
}

/// Why a claim found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Nothing)]
pub struct NothingView {
    /// `none_queued`, `scheduled`, `at_cap`, `runs_alone`, `makes_room`, `only_alone`, `at_limit`, `paused`, `directed` or
    /// `request_spent`.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// The limit that lets none of the tasks start that wait, for `at_limit`: what it holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub limit: Option<LimitOn>,
    /// When the next task is due, for `scheduled`; when the limit's rate has the next one start, for `at_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next_at: Option<Timestamp>,
    /// What the worker was asked, for `directed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub directive: Option<Directive>,
}
