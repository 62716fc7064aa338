//! New tasks, from what callers ask to what the store takes.

use baton_api::FieldError;
use baton_api::create::CreateTask;
use baton_model::{Expiry, RunAfter, TaskId, TaskSpec, Unsaid, limits};

use crate::app::App;
use crate::auth::Caller;

/// A new task as the store takes it; the id is made here unless the producer chose it, and it stands in the trace that it names, else
/// in that of the request. `path` leads to the task's fields.
///
/// # Errors
/// The fields that reach beyond the caller's bounds.
pub fn task_spec(
    app: &App,
    caller: &Caller,
    path: &str,
    request: CreateTask,
    depends_on: Vec<TaskId>,
) -> Result<TaskSpec, Vec<FieldError>> {
    let trace = request.trace().or_else(|| caller.trace().cloned());
    let (project, queue) = caller.place(path, request.project, request.queue)?;
    let run_after = match (request.run_after, request.delay) {
        (Some(at), _) => RunAfter::At(at),
        (None, Some(delay)) if !delay.is_zero() => RunAfter::In(delay),
        (None, _) => RunAfter::Now,
    };
    let expiry = match (request.expires_at, request.expires_after) {
        (Some(at), _) => Some(Expiry::At(at)),
        (None, after) => after.map(Expiry::In),
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
        concurrency_key: request.concurrency_key,
        affinity: request.affinity,
        expiry,
        unique: request.unique.map(Into::into),
        run_after,
        max_attempts: request.max_attempts.unwrap_or(limits::DEFAULT_ATTEMPTS),
        timeout: request.timeout,
        backoff: request.backoff,
        retention: request.retention,
        unsaid: Unsaid { max_attempts: request.max_attempts.is_none(), priority: request.priority.is_none() },
        depends_on,
        if_dependency_fails: request.if_dependency_fails.unwrap_or_default(),
        batch: None,
        trace,
    })
}

/// The task of a template, which makes tasks of their own again and again: in nobody's trace.
///
/// # Errors
/// As [`task_spec`].
pub fn template_spec(
    app: &App,
    caller: &Caller,
    path: &str,
    request: CreateTask,
) -> Result<TaskSpec, Vec<FieldError>> {
    let spec = task_spec(app, caller, path, request, Vec::new())?;
    Ok(TaskSpec { trace: None, ..spec })
}
