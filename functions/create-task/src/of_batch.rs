//! Tasks that are handed in as a batch, which is an object of its own; and sealing it.

use axum::extract::State;
use baton_api::FieldError;
use baton_api::batch::{BatchRequest, BatchView};
use baton_api::create::CreateTask;
use baton_http::spec::template_spec;
use baton_http::{ApiError, ApiResult, App, Caller, PathId, ok};
use baton_model::{BatchId, Expected, NewBatch, ProjectId, TaskSpec};
use baton_store::{AddToBatch, Create, CreateAnswer, SealBatch, StoreError};

/// The batch that a request is about, as the store takes it.
pub(crate) struct OfBatch {
    batch: NewBatch,
    seal: bool,
}

impl OfBatch {
    /// The batch that a request names, within the caller's bounds. Where it chooses no id, that derives from the request's own
    /// name, so that the same request again is about the same batch.
    ///
    /// # Errors
    /// 403 if the caller is bound to queues, or what follows reaches beyond its bounds.
    pub(crate) fn of(
        app: &App,
        caller: &Caller,
        request: &BatchRequest,
        name: Option<&str>,
    ) -> Result<Self, ApiError> {
        caller.reach_all_queues()?;
        let project = project_of(caller, request)?;
        let task = match &request.then {
            None => None,
            Some(then) => {
                let task = CreateTask { project: Some(project.clone()), ..then.task.clone() };
                let spec = template_spec(app, caller, "batch.then.task.", task);
                Some(spec.map_err(|errors| caller.beyond(errors))?)
            }
        };
        let id = request.id.or_else(|| name.map(BatchId::of_name)).unwrap_or_else(|| app.ids.batch());
        Ok(Self { batch: request.batch(id, project, task), seal: request.seal.unwrap_or(true) })
    }

    pub(crate) const fn id(&self) -> BatchId {
        self.batch.id
    }

    /// Hands its tasks in.
    ///
    /// # Errors
    /// As [`baton_store::BatchStore::add_to_batch`].
    pub(crate) async fn add(self, app: &App, create: Create) -> Result<CreateAnswer, StoreError> {
        let of_it = |spec: TaskSpec| TaskSpec { batch: Some(self.batch.id), ..spec };
        let tasks = create.tasks.into_iter().map(of_it).collect();
        let Self { batch, seal } = self;
        app.store.add_to_batch(AddToBatch { batch, seal, create: Create { tasks, ..create } }).await
    }
}

/// The project of a batch.
///
/// # Errors
/// 403 if the caller is bound to another one.
fn project_of(caller: &Caller, request: &BatchRequest) -> Result<ProjectId, ApiError> {
    let named = caller.place("batch.", request.project.clone(), None);
    named.map(|(project, _)| project).map_err(|errors| caller.beyond(errors))
}

/// Gives the tasks of a batch its project, if they name none.
///
/// # Errors
/// The task that names another one, by its place.
pub(crate) fn in_project(
    project: &ProjectId,
    index: usize,
    task: &mut CreateTask,
) -> Result<(), Vec<FieldError>> {
    match &task.project {
        None => task.project = Some(project.clone()),
        Some(own) if own == project => {}
        Some(own) => {
            let problem = Expected::text(format!("the batch's project, {project}"), own.as_str());
            let field = format!("tasks[{index}].project");
            return Err(vec![FieldError { field, expected: problem.expected, got: problem.got }]);
        }
    }
    Ok(())
}

/// Seal a batch
///
/// No task is added to it from then on, and once all of its tasks have ended, so has it. One that is sealed stays as it is.
#[utoipa::path(
    post,
    path = "/v1/batches/{id}/seal",
    operation_id = "seal_batch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch")),
    responses(
        (status = 200, description = "The batch is sealed", body = BatchView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn seal(State(app): State<App>, caller: Caller, PathId(id): PathId<BatchId>) -> ApiResult {
    caller.reach_all_queues()?;
    if caller.is_bound() && !caller.covers_project(&app.store.batch(id).await?.batch.project) {
        return Err(StoreError::BatchNotFound(id).into());
    }
    let now = app.now();
    let batch = app.store.seal_batch(SealBatch { now, batch: id }).await?;
    tracing::info!(batch = %id, tasks = batch.counts.tasks, "batch sealed");
    ok(&BatchView::new(batch, now))
}
