//! Work over HTTP: a task to run, and what has come of it.

use axum::extract::Request;
use baton_http::BodyLimit;
use baton_http::fastapi::{Must, number};
use http::StatusCode;
use serde_json::json;

use crate::ask::{Ask, No, Told, told};
use crate::end::{self, Done};
use crate::give::give;
use crate::kept::given;

/// `GET /api/v1/tasks/available` and `POST /api/v1/tasks/request`: a task, or `null`.
pub(crate) async fn available(ask: &Ask<'_>, _: Request) -> Told {
    let client = ask.client().await?;
    told(&give(ask.drift, &client).await?.map(|task| given(&task)))
}

/// `POST /api/v1/tasks/complete`.
pub(crate) async fn complete(ask: &Ask<'_>, request: Request) -> Told {
    let client = ask.client().await?;
    let mut fields = ask.fields(request, BodyLimit::Output).await?;
    let (task, result) = (fields.text("task_id"), fields.text("result_data"));
    let execution_time = fields.maybe("execution_time", Must::BeNumber, number);
    let metadata = fields.object("metadata").unwrap_or_default();
    let done = task.zip(result).map(|(task, result)| Done { task, result, execution_time, metadata });
    let done = fields.none_or(done)?;
    if !end::complete(ask.drift, &client, &done).await? {
        return Err(No::Said(StatusCode::BAD_REQUEST, "Failed to complete task"));
    }
    told(&json!({ "status": "success", "message": "Task completed", "task_id": done.task }))
}

/// `POST /api/v1/tasks/fail`.
pub(crate) async fn fail(ask: &Ask<'_>, request: Request) -> Told {
    let client = ask.client().await?;
    let mut fields = ask.fields(request, BodyLimit::Params).await?;
    let (task, error) = (fields.text("task_id"), fields.text("error_message"));
    fields.object("metadata");
    let (task, error) = fields.none_or(task.zip(error))?;
    if !end::fail(ask.drift, &client, &task, &error).await? {
        return Err(No::Said(StatusCode::BAD_REQUEST, "Failed to mark task as failed"));
    }
    told(&json!({ "status": "success", "message": "Task marked as failed", "task_id": task }))
}
