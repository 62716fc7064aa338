//! A batch of tasks: all or nothing, or each by itself.

use axum::extract::{Request, State};
use baton_api::create::{BatchAnswer, BatchItem, ItemProblem};
use baton_api::create::{CreateBatch, CreateTask};
use baton_api::fields::{BodyError, boolean, elements, read_object};
use baton_api::{FieldError, Fields, ProblemCode, ReadFields};
use baton_http::{ApiError, ApiResult, App, BodyLimit, Caller, IdempotencyKey, body, created, ok};
use baton_model::{Digest, Fingerprint, Limits, TaskSpec, limits};
use baton_store::{Accepted, Create, ItemRefusal};
use serde_json::value::RawValue;

use crate::told::Told;
use crate::{id_conflict, replay, spec, view};

const ROUTE: &str = "POST /v1/tasks/batch";

/// Create up to 1,000 tasks
///
/// With `atomic` (the default) one task that does not fit or is refused refuses all. Without it each task stands by
/// itself, and the answer tells what became of each, in the order of the request.
#[utoipa::path(
    post,
    path = "/v1/tasks/batch",
    tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "The caller's name for this request")),
    request_body = CreateBatch,
    responses(
        (status = 201, description = "All tasks exist (`atomic`)", body = BatchAnswer,
            headers(("Idempotency-Replayed" = String, description = "`true` if an earlier request created them"))),
        (status = 200, description = "What became of each task (not `atomic`)", body = BatchAnswer),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create_batch(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    request: Request,
) -> ApiResult {
    let bytes = body::required(request, BodyLimit::Batch.bytes(&app.limits)).await?;
    let batch = Batch::read_text(body::utf8(&bytes)?, &app.limits)?;
    let idempotency = key.scoped(ROUTE, &caller, || fingerprint(&bytes));
    drop(bytes);
    let atomic = batch.atomic;
    let (slots, specs) = batch.split(&app, &caller)?;
    let told: Vec<Told> = specs.iter().map(Told::of).collect();
    let (outcomes, replayed) = if specs.is_empty() {
        (Vec::new(), false)
    } else {
        let create = Create { now: app.now(), tasks: specs, atomic, idempotency, by: caller.name() };
        let answer = app.store.create(create).await?;
        (answer.items, answer.replayed)
    };
    for (told, outcome) in told.iter().zip(&outcomes) {
        if let Ok(accepted) = outcome {
            told.log(accepted);
        }
    }
    let answer = gather(&caller, slots, outcomes);
    Ok(replay(if atomic { created(&answer)? } else { ok(&answer)? }, replayed))
}

/// What was asked, whatever its spelling.
pub(crate) fn fingerprint(body: &[u8]) -> Fingerprint {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) => Fingerprint::of(&value),
        Err(_) => Digest::of_bytes(body).into(),
    }
}

/// A batch as it was read: each task, or what is wrong with it.
pub(crate) struct Batch {
    pub(crate) atomic: bool,
    tasks: Vec<Result<CreateTask, Vec<FieldError>>>,
}

impl ReadFields for Batch {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let atomic = f.optional("atomic", boolean);
        let tasks = f.required("tasks", |raw| elements(raw, 1..=limits::BATCH_TASKS))?;
        let read = |(index, raw): (usize, &RawValue)| {
            let mut errors = Vec::new();
            let task = read_object(&format!("tasks[{index}]"), raw, limits, &mut errors);
            task.ok_or(errors)
        };
        let tasks = tasks.into_iter().enumerate().map(read).collect();
        Some(Self { atomic: atomic?.unwrap_or(true), tasks })
    }
}

impl Batch {
    fn read_text(text: &str, limits: &Limits) -> Result<Self, ApiError> {
        Self::from_json(text, limits).map_err(|error: BodyError| error.into())
    }

    /// The tasks for the store, and for each task of the request whether the store's next answer is its own, or what
    /// is wrong with it. All or nothing: what does not fit is told before what reaches beyond the caller's bounds.
    pub(crate) fn split(self, app: &App, caller: &Caller) -> Result<(Vec<Slot>, Vec<TaskSpec>), ApiError> {
        if self.atomic {
            let errors: Vec<FieldError> =
                self.tasks.iter().filter_map(|task| task.as_ref().err()).flatten().cloned().collect();
            if !errors.is_empty() {
                return Err(ApiError::fields(errors));
            }
        }
        let mut specs = Vec::with_capacity(self.tasks.len());
        let mut beyond = Vec::new();
        let slots = self.tasks.into_iter().enumerate().map(|(index, task)| match task {
            Ok(task) => match spec(app, caller, &format!("tasks[{index}]."), task) {
                Ok(spec) => {
                    specs.push(spec);
                    Slot::Stored
                }
                Err(errors) => {
                    beyond.extend_from_slice(&errors);
                    Slot::Beyond(errors)
                }
            },
            Err(errors) => Slot::Invalid(errors),
        });
        let slots = slots.collect();
        if self.atomic && !beyond.is_empty() {
            return Err(caller.beyond(beyond));
        }
        Ok((slots, specs))
    }
}

pub(crate) enum Slot {
    Stored,
    Invalid(Vec<FieldError>),
    Beyond(Vec<FieldError>),
}

fn gather(caller: &Caller, slots: Vec<Slot>, outcomes: Vec<Result<Accepted, ItemRefusal>>) -> BatchAnswer {
    let mut outcomes = outcomes.into_iter();
    let mut answer = BatchAnswer { accepted: 0, refused: 0, items: Vec::with_capacity(slots.len()) };
    for (index, slot) in (0..).zip(slots) {
        let problem = match slot {
            Slot::Stored => match outcomes.next() {
                Some(Ok(accepted)) => {
                    answer.accepted += 1;
                    answer.items.push(BatchItem { index, task: Some(view(&accepted)), problem: None });
                    continue;
                }
                Some(Err(refusal)) => id_conflict(format!("tasks[{index}].id"), &refusal),
                None => ApiError::new(ProblemCode::Internal, "the store gave no answer; send the task again"),
            },
            Slot::Invalid(errors) => ApiError::fields(errors),
            Slot::Beyond(errors) => caller.beyond(errors),
        };
        let problem = problem.into_problem();
        let problem = ItemProblem { code: problem.code, detail: problem.detail, errors: problem.errors };
        answer.refused += 1;
        answer.items.push(BatchItem { index, task: None, problem: Some(problem) });
    }
    answer
}
