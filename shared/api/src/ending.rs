//! What `complete-task` is asked and answers where several attempts end by one request.

use baton_model::limits::Limits;
use baton_model::{Expected, TaskId, WorkerId, limits};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::claim::{ClaimRequest, ClaimView};
use crate::complete::{CompleteRequest, CompletedView, EndedView, FailRequest, ReleaseRequest};
use crate::fields::{Fields, ReadFields, elements, parsed, read_object};
use crate::problem::{FieldError, Problem};

/// The end of one attempt: its task, and one of `completion`, `failure` and `release`, each as the body of the route that ends
/// this attempt alone.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Ending)]
pub struct EndingRequest {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// How its attempt ends.
    #[serde(flatten)]
    pub end: EndRequest,
}

/// How an attempt ends.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = End)]
pub enum EndRequest {
    /// With an output, as the body of `complete`; it has no `claim`.
    Completion(Box<CompleteRequest>),
    /// It failed, as the body of `fail`.
    Failure(Box<FailRequest>),
    /// The task is given back, as the body of `release`.
    Release(Box<ReleaseRequest>),
}

impl EndingRequest {
    /// The worker that holds the attempt.
    pub fn worker(&self) -> &WorkerId {
        match &self.end {
            EndRequest::Completion(request) => &request.worker_id,
            EndRequest::Failure(request) => &request.worker_id,
            EndRequest::Release(request) => &request.worker_id,
        }
    }
}

impl ReadFields for EndingRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let task = f.required("task_id", parsed);
        let given = ["completion", "failure", "release"].map(|name| f.has(name));
        let completion = f.optional_object::<CompleteRequest>("completion", limits);
        let failure = f.optional_object::<FailRequest>("failure", limits);
        let release = f.optional_object::<ReleaseRequest>("release", &());
        if given.iter().filter(|given| **given).count() != 1 {
            f.refuse(
                "completion",
                Expected::new("one of completion, failure and release", "none or several"),
            );
            return None;
        }
        let completion = completion?;
        if completion.as_ref().is_some_and(|completion| completion.claim.is_some()) {
            f.refuse("completion.claim", Expected::new("no claim along with one of several ends", "a claim"));
        }
        let completion = completion.map(|completion| EndRequest::Completion(Box::new(completion)));
        let failure = failure?.map(|failure| EndRequest::Failure(Box::new(failure)));
        let release = release?.map(|release| EndRequest::Release(Box::new(release)));
        Some(Self { task_id: task?, end: completion.or(failure).or(release)? })
    }
}

/// Ends several attempts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EndAttempts)]
pub struct EndingsRequest {
    /// The ends, 1 to 1,000.
    pub endings: Vec<EndingRequest>,
    /// A claim for what comes next, answered along with them. It does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRequest>,
}

/// The same as it was read: each end, or what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct EndingsRead {
    /// The ends, in order.
    pub endings: Vec<Result<EndingRequest, Vec<FieldError>>>,
    /// A claim for what comes next.
    pub claim: Option<ClaimRequest>,
}

impl ReadFields for EndingsRead {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let endings = f.required("endings", |raw| elements(raw, 1..=limits::ENDINGS));
        let claim = f.optional_object::<ClaimRequest>("claim", &());
        if let Some(Some(claim)) = &claim
            && claim.wait_seconds.is_some_and(|wait| !wait.is_zero())
        {
            f.refuse("claim.wait_seconds", Expected::new("no waiting along with ends", "a wait"));
        }
        let read = |(index, raw): (usize, &RawValue)| {
            let mut errors = Vec::new();
            let ending = read_object(&format!("endings[{index}]"), raw, limits, &mut errors);
            ending.ok_or(errors)
        };
        Some(Self { endings: endings?.into_iter().enumerate().map(read).collect(), claim: claim? })
    }
}

/// What became of several ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EndingsAnswer)]
pub struct EndingsView {
    /// How many were taken, now or by the same request before.
    pub accepted: u32,
    /// How many were refused, or could not be done.
    pub refused: u32,
    /// One entry for each, in order.
    pub items: Vec<EndingView>,
    /// What the claim found that came along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ClaimView>,
    /// Why the claim that came along failed; the ends stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_problem: Option<Problem>,
}

/// What became of one of them: one of `completed`, `ended` and `problem` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EndingAnswer)]
pub struct EndingView {
    /// Its place in the request, from 0.
    pub index: u32,
    /// The completion, if it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<CompletedView>,
    /// The failure or the release, if it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedView>,
    /// Why it was not, as the route says it that ends one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
