//! Creates tasks, one or a batch. A request may be repeated safely, by its `Idempotency-Key` or by task ids that the
//! producer chose. They come over HTTP or through the queue `submissions`.

mod batch;
mod submission;
mod told;

use axum::extract::State;
use axum::response::Response;
use baton_api::create::CreateTask;
use baton_api::create::CreatedTask;
use baton_api::{FieldError, ProblemCode};
use baton_http::{ApiError, ApiResult, App, Caller, IdempotencyKey, JsonBody, created, idempotency, routes};
use baton_model::{Fingerprint, Schedule, State as TaskState, Status, TaskSpec, limits};
use baton_store::{Accepted, Create, ItemRefusal};
use http::HeaderValue;
use utoipa_axum::router::OpenApiRouter;

use told::Told;

pub use submission::submit;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(create_task)).routes(routes!(batch::create_batch))
}

/// Create a task
///
/// The answer comes when the task is stored durably. Sent again with the same `Idempotency-Key` within 24 hours, or with
/// the same chosen id and content, the request creates nothing and answers as the first time.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "The caller's name for this request")),
    request_body = CreateTask,
    responses(
        (status = 201, description = "The task exists", body = CreatedTask,
            headers(("Idempotency-Replayed" = String, description = "`true` if an earlier request created it"))),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn create_task(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    JsonBody(request): JsonBody<CreateTask>,
) -> ApiResult {
    let idempotency = key.scoped("POST /v1/tasks", &caller, || Fingerprint::of(&request));
    let spec = spec(&app, &caller, "", request).map_err(|errors| caller.beyond(errors))?;
    let told = Told::of(&spec);
    let create = Create { now: app.now(), tasks: vec![spec], atomic: false, idempotency, by: caller.name() };
    let answer = app.store.create(create).await?;
    match answer.items.into_iter().next() {
        Some(Ok(accepted)) => {
            told.log(&accepted);
            let replayed = answer.replayed || !accepted.new;
            Ok(replay(created(&view(&accepted))?, replayed))
        }
        Some(Err(refusal)) => Err(id_conflict("id".to_owned(), &refusal)),
        // A store answers each task of the command.
        None => {
            Err(baton_store::StoreError::Internal { what: "no answer to a task".into(), cause: None }.into())
        }
    }
}

fn replay(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn id_conflict(field: String, refusal: &ItemRefusal) -> ApiError {
    let ItemRefusal::IdConflict { id } = refusal;
    let detail = format!(
        "task {id} exists with other content; choose another id, or leave it out to have one made, or send the same \
         content to repeat a request"
    );
    ApiError::new(ProblemCode::TaskIdConflict, detail)
        .with_errors(vec![baton_http::error::taken(field, refusal)])
}

/// The store's form of a request; the id is made here unless the producer chose it. `path` leads to the task's fields.
///
/// # Errors
/// The fields that reach beyond the caller's bounds.
fn spec(app: &App, caller: &Caller, path: &str, request: CreateTask) -> Result<TaskSpec, Vec<FieldError>> {
    let (project, queue) = caller.place(path, request.project, request.queue)?;
    let schedule = match (request.run_after, request.delay) {
        (Some(at), _) => Schedule::At(at),
        (None, Some(delay)) if !delay.is_zero() => Schedule::In(delay),
        (None, _) => Schedule::Now,
    };
    Ok(TaskSpec {
        id: request.id.unwrap_or_else(|| app.ids.task()),
        id_chosen: request.id.is_some(),
        project,
        queue,
        task_type: request.task_type,
        priority: request.priority.unwrap_or_default(),
        params: request.params.unwrap_or_default(),
        description: request.description,
        domain: request.domain,
        drift_score: request.drift_score,
        assigned_by: request.assigned_by,
        schedule,
        max_attempts: request.max_attempts.unwrap_or(limits::DEFAULT_ATTEMPTS),
        timeout: request.timeout,
        backoff: request.backoff,
    })
}

fn view(accepted: &Accepted) -> CreatedTask {
    CreatedTask {
        id: accepted.id,
        status: Status::derive(TaskState::Queued, 0, accepted.run_after, accepted.created_at),
        created_at: accepted.created_at,
        run_after: accepted.run_after,
    }
}
