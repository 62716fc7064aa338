//! What `claim-task` is asked and answers.

use std::str::FromStr;
use std::time::Duration;

use baton_model::{
    Directive, Expected, Label, LimitOn, QueueName, RequestKey, SessionId, TaskType, Timestamp, Wants, Warm,
    WorkerId, limits,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, as_seconds, integer, list, own_name, parsed, span};
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
    /// What the worker has warm, by the names that tasks give as their `affinity`, up to 32; nothing if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub warm: Vec<Label>,
    /// What it makes of that: `any` (the default; tasks come in their order, whatever is warm), `prefer` (of one priority, tasks for what
    /// is warm go first) or `only` (it is given no others).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub affinity: Option<AffinityWord>,
    /// For how long a task may be passed over for what is warm, from the time on from which it may be claimed, 0 to 2,592,000; 300 if
    /// left out. Only with `prefer`.
    #[serde(
        rename = "pass_over_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub pass_over: Option<Duration>,
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
            warm: Vec::new(),
            affinity: None,
            pass_over: None,
            max_tasks: None,
            capacity: None,
            lease_seconds: None,
            wait_seconds: None,
            request_id: None,
        }
    }

    /// What it says that the worker has warm, and wants.
    pub fn warmth(&self) -> Warm {
        let wants = match self.affinity.unwrap_or_default() {
            AffinityWord::Any => Wants::Any,
            AffinityWord::Prefer => Wants::Prefer { pass_over: self.pass_over.unwrap_or(Warm::PASS_OVER) },
            AffinityWord::Only => Wants::Only,
        };
        Warm { names: self.warm.clone(), wants }
    }
}

/// What a worker makes of what it has warm, as a claim says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AffinityWord {
    /// Nothing.
    #[default]
    Any,
    /// Tasks for it go first.
    Prefer,
    /// It is given no others.
    Only,
}

impl AffinityWord {
    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Prefer => "prefer",
            Self::Only => "only",
        }
    }
}

impl FromStr for AffinityWord {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "any" => Ok(Self::Any),
            "prefer" => Ok(Self::Prefer),
            "only" => Ok(Self::Only),
            _ => Err(Expected::text("one of any, prefer, only", text)),
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
        let warm = f.optional("warm", list(0..=limits::CLAIM_NAMES, own_name));
        let affinity = f.optional("affinity", parsed);
        let pass_over = f.optional("pass_over_seconds", span(Duration::ZERO, limits::LONGEST_SPAN));
        let max_tasks = f.optional("max_tasks", integer(1..=limits::CLAIM_TASKS));
        let capacity = f.optional("capacity", integer(1..=limits::WORKER_CAPACITY));
        let lease_seconds = f.optional("lease_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let wait_seconds = f.optional("wait_seconds", span(Duration::ZERO, limits::CLAIM_WAIT));
        let request_id = f.optional("request_id", parsed);
        let warm = warm.map(Option::unwrap_or_default);
        if let Some(affinity) = affinity {
            let affinity: AffinityWord = affinity.unwrap_or_default();
            if affinity == AffinityWord::Only && warm.as_ref().is_some_and(Vec::is_empty) {
                f.refuse("warm", Expected::new("at least one name, as affinity is only", "none"));
            }
            if affinity != AffinityWord::Prefer && matches!(pass_over, Some(Some(_))) {
                let got = format!("a value, and affinity {}", affinity.as_str());
                f.refuse("pass_over_seconds", Expected::new("nothing unless affinity is prefer", got));
            }
        }
        Some(Self {
            worker_id: worker_id?,
            session_id: session_id?,
            queues: queues?.unwrap_or_default(),
            types: types?.unwrap_or_default(),
            warm: warm?,
            affinity: affinity?,
            pass_over: pass_over?,
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
    /// `none_queued`, `scheduled`, `not_warm`, `at_cap`, `runs_alone`, `makes_room`, `only_alone`, `at_limit`, `paused`,
    /// `directed` or `request_spent`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::BodyError;

    fn wrong(fields: &str) -> Vec<String> {
        match ClaimRequest::from_json(&format!("{{\"worker_id\": \"w\", {fields}}}"), &()) {
            Ok(_) => Vec::new(),
            Err(BodyError::Fields(errors)) => errors.iter().map(ToString::to_string).collect(),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn a_claim_says_what_is_warm_and_what_it_makes_of_that() {
        let read = |fields: &str| {
            let body = format!("{{\"worker_id\": \"w\"{fields}}}");
            ClaimRequest::from_json(&body, &()).unwrap().warmth()
        };
        let names = vec!["sdxl".parse().unwrap()];
        assert_eq!(read(""), Warm::default());
        assert_eq!(read(r#", "warm": ["sdxl"]"#), Warm { names: names.clone(), wants: Wants::Any });
        let prefers = |seconds| Wants::Prefer { pass_over: Duration::from_secs(seconds) };
        assert_eq!(read(r#", "affinity": "prefer""#), Warm { names: Vec::new(), wants: prefers(300) });
        assert_eq!(
            read(r#", "warm": ["sdxl"], "affinity": "prefer", "pass_over_seconds": 60"#),
            Warm { names: names.clone(), wants: prefers(60) }
        );
        assert_eq!(
            read(r#", "warm": ["sdxl"], "affinity": "only""#),
            Warm { names: names.clone(), wants: Wants::Only }
        );
        let request = ClaimRequest {
            warm: names,
            affinity: Some(AffinityWord::Prefer),
            pass_over: Some(Duration::from_secs(60)),
            ..ClaimRequest::new("w".parse().unwrap())
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(ClaimRequest::from_json(&json, &()), Ok(request), "{json}");
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_its_field() {
        for (fields, told) in [
            (r#""affinity": "only""#, "warm: expected at least one name, as affinity is only, got none"),
            (r#""affinity": "only", "warm": []"#, "warm: expected at least one name"),
            (r#""affinity": "always""#, "affinity: expected one of any, prefer, only, got \"always\""),
            (
                r#""affinity": "only", "warm": ["a"], "pass_over_seconds": 1"#,
                "pass_over_seconds: expected nothing unless affinity is prefer, got a value, and affinity only",
            ),
            (r#""pass_over_seconds": 1"#, "pass_over_seconds: expected nothing unless affinity is prefer"),
            (r#""affinity": "prefer", "pass_over_seconds": -1"#, "pass_over_seconds: expected"),
            (r#""affinity": "prefer", "pass_over_seconds": 2592001"#, "pass_over_seconds: expected"),
            (r#""warm": ["a", "*"]"#, "warm: expected another text than *"),
            (r#""warm": "a""#, "warm: expected a list of 0 to 32"),
        ] {
            let errors = wrong(fields);
            assert!(errors.len() == 1 && errors[0].starts_with(told), "{fields}: {errors:?}");
        }
        let many: Vec<String> = (0..=limits::CLAIM_NAMES).map(|n| format!("\"m{n}\"")).collect();
        assert!(wrong(&format!("\"warm\": [{}]", many.join(", ")))[0].ends_with("got a list of 33"));
    }
}
