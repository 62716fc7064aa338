//! Creates tasks, one or a batch, and seals batches. A request may be repeated safely, by its `Idempotency-Key` or by task ids that the
//! producer chose. They come over HTTP or through the queue `submissions`.

mod batch;
mod graph;
mod of_batch;
mod submission;
mod told;

use axum::extract::State;
use baton_api::create::CreateTask;
use baton_api::create::CreatedTask;
use baton_http::idempotency::replay;
use baton_http::spec::task_spec;
use baton_http::{ApiError, ApiResult, App, Caller, IdempotencyKey, JsonBody, created, ok, routes};
use baton_model::{State as TaskState, Status};
use baton_store::{Accepted, Create, Idempotency};
use utoipa_axum::router::OpenApiRouter;

use told::Told;

pub use batch::create_each;
pub use submission::submit;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create_task))
        .routes(routes!(batch::create_batch))
        .routes(routes!(of_batch::seal))
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
        (status = 200, description = "Nothing was created: this task holds the unique key (`deduplicated`)",
            body = CreatedTask),
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
    let idempotency = key.scoped("POST /v1/tasks", &caller, || request.fingerprint());
    let Made { task, replayed } = create_one(&app, &caller, request, idempotency).await?;
    Ok(replay(if task.deduplicated { ok(&task)? } else { created(&task)? }, replayed))
}

/// A task that was asked for.
#[derive(Clone, Debug)]
pub struct Made {
    /// It, or the one that holds its unique key.
    pub task: CreatedTask,
    /// Whether an earlier request has created it.
    pub replayed: bool,
}

/// Creates a task for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn create_one(
    app: &App,
    caller: &Caller,
    request: CreateTask,
    idempotency: Option<Idempotency>,
) -> Result<Made, ApiError> {
    let depends_on = graph::alone(&request)?;
    let spec = task_spec(app, caller, "", request, depends_on).map_err(|errors| caller.beyond(errors))?;
    if let Some((_, refusal)) = graph::unseen(app, caller, std::slice::from_ref(&spec)).await?.first() {
        return Err(ApiError::task_refused("", refusal));
    }
    let told = Told::of(&spec);
    let blocked = !spec.depends_on.is_empty();
    let create = Create { now: app.now(), tasks: vec![spec], atomic: false, idempotency, by: caller.name() };
    let answer = app.store.create(create).await?;
    match answer.items.into_iter().next() {
        Some(Ok(accepted)) => {
            told.log(&app.meters, &accepted);
            let task = view(&accepted, blocked);
            let replayed = answer.replayed || !(accepted.new || task.deduplicated);
            Ok(Made { task, replayed })
        }
        Some(Err(refusal)) => Err(ApiError::task_refused("", &refusal)),
        // A store answers each task of the command.
        None => {
            Err(baton_store::StoreError::Internal { what: "no answer to a task".into(), cause: None }.into())
        }
    }
}

fn view(accepted: &Accepted, blocked: bool) -> CreatedTask {
    let state = if blocked { TaskState::Blocked } else { TaskState::Queued };
    let at_first = || Status::derive(state, 0, accepted.run_after, accepted.created_at);
    CreatedTask {
        id: accepted.id,
        status: accepted.deduplicated.unwrap_or_else(at_first),
        created_at: accepted.created_at,
        run_after: accepted.run_after,
        deduplicated: accepted.deduplicated.is_some(),
    }
}
