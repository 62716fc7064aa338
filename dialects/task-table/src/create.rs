//! `POST /api/v1/tasks`.

use axum::extract::Request;
use baton_api::ReadFields as _;
use baton_api::create::CreateTask;
use baton_create_task::create_one;
use baton_http::{ApiError, BodyLimit, body, fastapi, ok};
use baton_model::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Answer, Ask, No, TaskRead, UNTIL_RUN, queue};
use crate::asked::NewTask;

/// A task as Baton is asked for it. Its text is read as the route for new tasks reads it, so that no other rule holds.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(rename = "type")]
    task_type: &'a str,
    queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    drift_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_after: Option<Timestamp>,
}

pub(crate) async fn create(ask: &Ask<'_>, request: Request) -> Answer {
    let bytes = body::of_any_kind(request, BodyLimit::Params.bytes(&ask.app.limits())).await?;
    let asked = NewTask::read(body::utf8(&bytes)?)?;
    let queue = queue();
    let text = serde_json::to_string(&Asked {
        task_type: &asked.task_type,
        queue: queue.as_str(),
        description: asked.description.as_deref().filter(|text| !text.is_empty()),
        params: asked.params.as_deref(),
        domain: asked.domain.as_deref().filter(|text| !text.is_empty()),
        drift_score: asked.drift_score,
        run_after: (!asked.run_immediately).then_some(UNTIL_RUN),
    });
    let text = text.map_err(|_| ApiError::internal())?;
    let new = CreateTask::from_json(&text, &ask.app.limits())
        .map_err(|error| No::Wrong(fastapi::Wrong::of_fields(ApiError::from(error).problem())))?;
    let made = create_one(ask.app, ask.caller, new, None).await?;
    let detail = ask.app.store.task(made.task.id).await?;
    Ok(ok(&TaskRead::new(&detail.task, detail.generation.as_ref(), ask.app.now()))?)
}
