//! A batch of tasks: all or nothing, or each by itself.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use baton_api::batch::{BatchRequest, CreateBatch};
use baton_api::create::{BatchAnswer, BatchItem, CreateTask, CreatedTask, ItemProblem};
use baton_api::fields::{BodyError, boolean, elements, read_object};
use baton_api::{FieldError, Fields, ProblemCode, ReadFields};
use baton_http::idempotency::replay;
use baton_http::spec::task_spec;
use baton_http::{ApiError, ApiResult, App, BodyLimit, Caller, IdempotencyKey, body, created, ok, room};
use baton_model::{BatchId, Digest, Expected, Fingerprint, Limits, TaskId, TaskSpec, limits, trace};
use baton_store::{Accepted, Create, CreateAnswer, Idempotency, ItemRefusal, StoreError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::of_batch::{OfBatch, in_project};
use crate::told::Told;

use crate::{graph, view};

const ROUTE: &str = "POST /v1/tasks/batch";

/// Create up to 1,000 tasks
///
/// With `atomic` (the default) one task that does not fit or is refused refuses all. Without it each task stands by
/// itself, and the answer tells what became of each, in the order of the request.
///
/// With `batch`, the tasks are a batch that is shown by `GET /v1/batches/{id}`, may be added to by further requests, and may be
/// followed by a task.
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
    let limits = app.limits();
    let bytes = body::required(request, BodyLimit::Batch.bytes(&limits)).await?;
    let batch = Batch::read_text(body::utf8(&bytes)?, &limits)?;
    let idempotency = key.scoped(ROUTE, &caller, || fingerprint(&bytes));
    drop(bytes);
    caller.keep_room(&app, room::of_items(&batch.tasks)).await?;
    let atomic = batch.atomic;
    let created_batch = create_batch_of(&app, &caller, batch, idempotency).await?;
    let answer = gather(created_batch.batch_id, created_batch.answers);
    Ok(replay(if atomic { created(&answer)? } else { ok(&answer)? }, created_batch.replayed))
}

/// What became of a batch.
struct CreatedBatch {
    /// The batch, if it is one with a record of its own.
    batch_id: Option<BatchId>,
    /// What became of each task, in the order of the request.
    answers: Vec<Result<CreatedTask, ApiError>>,
    /// Whether an earlier request has created them.
    replayed: bool,
}

async fn create_batch_of(
    app: &App,
    caller: &Caller,
    batch: Batch,
    idempotency: Option<Idempotency>,
) -> Result<CreatedBatch, ApiError> {
    let atomic = batch.atomic;
    let of_batch = match &batch.batch {
        Some(request) => {
            let name = idempotency.as_ref().map(|idempotency| idempotency.key.as_str());
            Some(OfBatch::of(app, caller, request, name)?)
        }
        None => None,
    };
    let (mut slots, mut specs) = batch.split(app, caller)?;
    let unseen = graph::unseen(app, caller, &specs).await?;
    if atomic && !unseen.is_empty() {
        return Err(StoreError::BatchRefused { refusals: unseen }.into());
    }
    leave_out(unseen, &mut slots, &mut specs);
    let of_batch = of_batch.filter(|_| !specs.is_empty());
    let batch_id = of_batch.as_ref().map(OfBatch::id);
    let blocked: Vec<bool> = specs.iter().map(|spec| !spec.depends_on.is_empty()).collect();
    let told: Vec<Told> = specs.iter().map(Told::of).collect();
    let (outcomes, replayed) = if specs.is_empty() {
        (Vec::new(), false)
    } else {
        let create = Create { now: app.now(), tasks: specs, atomic, idempotency, by: caller.name() };
        let answer = hand_in(app, of_batch, create).await?;
        (answer.items, answer.replayed)
    };
    for (told, outcome) in told.iter().zip(&outcomes) {
        if let Ok(accepted) = outcome {
            told.log(&app.meters, accepted);
        }
    }
    let answers = answers(caller, slots, outcomes.into_iter().zip(blocked));
    Ok(CreatedBatch { batch_id, answers, replayed })
}

/// Creates up to 1,000 tasks for a caller, each by itself, as the route does without `atomic`. Gives what became of each.
///
/// # Errors
/// The store's own failures.
pub async fn create_each(
    app: &App,
    caller: &Caller,
    tasks: Vec<CreateTask>,
) -> Result<Vec<Result<CreatedTask, ApiError>>, ApiError> {
    let batch = Batch { atomic: false, batch: None, tasks: tasks.into_iter().map(Ok).collect() };
    create_batch_of(app, caller, batch, None).await.map(|created| created.answers)
}

/// Hands tasks in, as a batch of their own or not.
pub(crate) async fn hand_in(
    app: &App,
    of_batch: Option<OfBatch>,
    create: Create,
) -> Result<CreateAnswer, StoreError> {
    match of_batch {
        Some(of_batch) => of_batch.add(app, create).await,
        None => app.store.create(create).await,
    }
}

/// What was asked, whatever its spelling and its traces.
pub(crate) fn fingerprint(body: &[u8]) -> Fingerprint {
    match serde_json::from_slice::<&RawValue>(body) {
        // Most bodies name no trace, and are not taken apart.
        Ok(value) if value.get().contains(trace::TRACEPARENT) => match Untraced::batch(value) {
            Some(untraced) => Fingerprint::of(&untraced),
            None => Fingerprint::of(&value),
        },
        Ok(value) => Fingerprint::of(&value),
        Err(_) => Digest::of_bytes(body).into(),
    }
}

/// A task or a batch of them without their traces: a request that is sent again has spans of its own.
#[derive(Serialize)]
#[serde(transparent)]
struct Untraced<'a>(BTreeMap<String, Part<'a>>);

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Said(&'a RawValue),
    Tasks(Vec<Untraced<'a>>),
}

impl<'a> Untraced<'a> {
    /// A body, whose tasks are taken apart, too. What lies deeper is not: a body may nest as often as its bytes allow.
    fn batch(value: &'a RawValue) -> Option<Self> {
        let part = |(name, value): (String, &'a RawValue)| {
            let tasks =
                (name == "tasks").then(|| serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()).flatten();
            let tasks = tasks.and_then(|tasks| tasks.into_iter().map(Self::task).collect());
            (name, tasks.map_or(Part::Said(value), Part::Tasks))
        };
        Some(Self(fields(value)?.map(part).collect()))
    }

    fn task(value: &'a RawValue) -> Option<Self> {
        Some(Self(fields(value)?.map(|(name, value)| (name, Part::Said(value))).collect()))
    }
}

/// The fields of an object but for those of its trace.
fn fields(value: &RawValue) -> Option<impl Iterator<Item = (String, &RawValue)>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
    let is_trace = |name: &str| name == trace::TRACEPARENT || name == trace::TRACESTATE;
    Some(fields.into_iter().filter(move |(name, _)| !is_trace(name)))
}

/// A batch as it was read: each task, or what is wrong with it.
pub(crate) struct Batch {
    pub(crate) atomic: bool,
    /// The batch that they are, if that is an object of its own.
    pub(crate) batch: Option<BatchRequest>,
    tasks: Vec<Result<CreateTask, Vec<FieldError>>>,
}

impl ReadFields for Batch {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let atomic = f.optional("atomic", boolean);
        let batch = f.optional_object::<BatchRequest>("batch", limits);
        let tasks = f.required("tasks", |raw| elements(raw, 1..=limits::BATCH_TASKS))?;
        let read = |(index, raw): (usize, &RawValue)| {
            let mut errors = Vec::new();
            let task = read_object(&format!("tasks[{index}]"), raw, limits, &mut errors);
            task.ok_or(errors)
        };
        let tasks = tasks.into_iter().enumerate().map(read).collect();
        Some(Self { atomic: atomic?.unwrap_or(true), batch: batch?, tasks })
    }
}

impl Batch {
    fn read_text(text: &str, limits: &Limits) -> Result<Self, ApiError> {
        Self::from_json(text, limits).map_err(|error: BodyError| error.into())
    }

    /// The tasks for the store, and for each task of the request whether the store's next answer is its own, or what
    /// is wrong with it. All or nothing: what does not fit is told before what reaches beyond the caller's bounds.
    pub(crate) fn split(
        mut self,
        app: &App,
        caller: &Caller,
    ) -> Result<(Vec<Slot>, Vec<TaskSpec>), ApiError> {
        self.put_in_project(caller);
        let tasks = if self.atomic { self.linked(app)? } else { self.apart()? };
        let mut specs = Vec::with_capacity(tasks.len());
        let mut beyond = Vec::new();
        let mut slots = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.into_iter().enumerate() {
            let Read { id, depends_on, task } = match task {
                Ok(task) => task,
                Err(errors) => {
                    slots.push(Slot::Invalid(errors));
                    continue;
                }
            };
            slots.push(match task_spec(app, caller, &format!("tasks[{index}]."), task, depends_on) {
                Ok(spec) => {
                    specs.push(TaskSpec { id: id.unwrap_or(spec.id), ..spec });
                    Slot::Stored
                }
                Err(errors) => {
                    beyond.extend_from_slice(&errors);
                    Slot::Beyond(errors)
                }
            });
        }
        if self.atomic && !beyond.is_empty() {
            return Err(caller.beyond(beyond));
        }
        Ok((slots, specs))
    }

    /// Gives the tasks the project of their batch, if that is an object of its own.
    fn put_in_project(&mut self, caller: &Caller) {
        let Some(request) = &self.batch else { return };
        let project = request.project.clone().or_else(|| caller.project().cloned()).unwrap_or_default();
        for (index, slot) in self.tasks.iter_mut().enumerate() {
            if let Ok(task) = slot
                && let Err(errors) = in_project(&project, index, task)
            {
                *slot = Err(errors);
            }
        }
    }

    /// The tasks of a batch that stands or falls together, with the ids that are theirs and in the place of their refs.
    fn linked(&mut self, app: &App) -> Result<Vec<Result<Read, Vec<FieldError>>>, ApiError> {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        let mut errors = Vec::new();
        for task in std::mem::take(&mut self.tasks) {
            match task {
                Ok(task) => tasks.push(task),
                Err(wrong) => errors.extend(wrong),
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::fields(errors));
        }
        let resolved = graph::resolve(&tasks, || app.ids.task()).map_err(ApiError::fields)?;
        let read = |((id, depends_on), task)| Ok(Read { id: Some(id), depends_on, task });
        Ok(resolved.into_iter().zip(tasks).map(read).collect())
    }

    /// The tasks of a batch whose tasks stand each for itself: none can name another.
    fn apart(&mut self) -> Result<Vec<Result<Read, Vec<FieldError>>>, ApiError> {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for task in std::mem::take(&mut self.tasks) {
            let task = match task {
                Ok(task) => task,
                Err(errors) => {
                    tasks.push(Err(errors));
                    continue;
                }
            };
            let (Ok(depends_on), None) = (graph::ids(&task), &task.reference) else {
                let expected = "true, as tasks of the batch name each other by their ref";
                return Err(ApiError::field("atomic", Expected::new(expected, "false")));
            };
            tasks.push(Ok(Read { id: None, depends_on, task }));
        }
        Ok(tasks)
    }
}

/// A task as it was read.
struct Read {
    /// The id that others of its batch know it by.
    id: Option<TaskId>,
    depends_on: Vec<TaskId>,
    task: CreateTask,
}

/// Takes those tasks out of what the store is asked for that are refused already, by their places there.
fn leave_out(refused: Vec<(usize, ItemRefusal)>, slots: &mut [Slot], specs: &mut Vec<TaskSpec>) {
    let stored: Vec<usize> =
        slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Stored)).map(|(at, _)| at).collect();
    for (place, refusal) in refused.into_iter().rev() {
        specs.remove(place);
        slots[stored[place]] = Slot::Refused(refusal);
    }
}

pub(crate) enum Slot {
    Stored,
    Refused(ItemRefusal),
    Invalid(Vec<FieldError>),
    Beyond(Vec<FieldError>),
}

fn answers(
    caller: &Caller,
    slots: Vec<Slot>,
    mut outcomes: impl Iterator<Item = (Result<Accepted, ItemRefusal>, bool)>,
) -> Vec<Result<CreatedTask, ApiError>> {
    let answer = |(index, slot): (u32, Slot)| match slot {
        Slot::Stored => match outcomes.next() {
            Some((Ok(accepted), blocked)) => Ok(view(&accepted, blocked)),
            Some((Err(refusal), _)) => Err(ApiError::task_refused(&format!("tasks[{index}]."), &refusal)),
            None => {
                Err(ApiError::new(ProblemCode::Internal, "the store gave no answer; send the task again"))
            }
        },
        Slot::Refused(refusal) => Err(ApiError::task_refused(&format!("tasks[{index}]."), &refusal)),
        Slot::Invalid(errors) => Err(ApiError::fields(errors)),
        Slot::Beyond(errors) => Err(caller.beyond(errors)),
    };
    (0..).zip(slots).map(answer).collect()
}

fn gather(batch_id: Option<BatchId>, answers: Vec<Result<CreatedTask, ApiError>>) -> BatchAnswer {
    let mut answer =
        BatchAnswer { batch_id, accepted: 0, refused: 0, items: Vec::with_capacity(answers.len()) };
    for (index, outcome) in (0..).zip(answers) {
        let (task, problem) = match outcome {
            Ok(task) => {
                answer.accepted += 1;
                (Some(task), None)
            }
            Err(error) => {
                answer.refused += 1;
                let problem = error.into_problem();
                let problem =
                    ItemProblem { code: problem.code, detail: problem.detail, errors: problem.errors };
                (None, Some(problem))
            }
        };
        answer.items.push(BatchItem { index, task, problem });
    }
    answer
}
