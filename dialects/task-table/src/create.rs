//! `POST /api/v1/tasks`.

use axum::extract::Request;
use baton_api::ReadFields as _;
use baton_api::create::CreateTask;
use baton_create_task::create_one;
use baton_http::fastapi::{Must, Wrong};
use baton_http::{ApiError, BodyLimit, body, ok};
use baton_model::{Label, TaskType, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Answer, Ask, No, TaskRead, UNTIL_RUN, queue};
use crate::asked::NewTask;
use crate::words::{self, Kept};

/// A task as Baton is asked for it. Its text is read as the route for new tasks reads it, so that no other rule holds.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(rename = "type")]
    task_type: &'a TaskType,
    queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    params: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a Label>,
    drift_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_after: Option<Timestamp>,
}

pub(crate) async fn create(ask: &Ask<'_>, request: Request) -> Answer {
    let bytes = body::of_any_kind(request, BodyLimit::Params.bytes(&ask.app.limits())).await?;
    let asked = NewTask::read(body::utf8(&bytes)?)?;
    let queue = queue();
    let params = asked.params.as_deref().map_or("{}", RawValue::get);
    let kept = words::keep(&asked.task_type, asked.description.as_deref(), asked.domain.as_deref(), params);
    fits(ask, &asked, params, &kept)?;
    let text = serde_json::to_string(&Asked {
        task_type: &kept.task_type,
        queue: queue.as_str(),
        description: kept.description.as_deref(),
        params: serde_json::from_str(&kept.params).map_err(|_| ApiError::internal())?,
        domain: kept.domain.as_ref(),
        drift_score: asked.drift_score,
        run_after: (!asked.run_immediately.unwrap_or(ask.late)).then_some(UNTIL_RUN),
    });
    let text = text.map_err(|_| ApiError::internal())?;
    let new = CreateTask::from_json(&text, &ask.app.limits())
        .map_err(|error| No::Wrong(Wrong::of_fields(ApiError::from(error).problem())))?;
    let made = create_one(ask.app, ask.caller, new, None).await?;
    let detail = ask.app.store.task(made.task.id).await?;
    Ok(ok(&TaskRead::new(&detail.task, detail.generation.as_ref(), ask.app.now()))?)
}

/// That the words which are kept with the params leave room for these; else the one that is too long is told, and not the params.
fn fits(ask: &Ask<'_>, asked: &NewTask, params: &str, kept: &Kept) -> Result<(), Wrong> {
    let most = ask.app.limits().params_bytes;
    if params.len() > most || kept.params.len() <= most {
        return Ok(());
    }
    let length = |text: Option<&str>| text.map_or(0, str::len);
    let words = [
        ("type", asked.task_type.len()),
        ("description", length(asked.description.as_deref())),
        ("domain", length(asked.domain.as_deref())),
    ];
    let (name, bytes) = words.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or(("type", 0));
    let mut wrong = Wrong::default();
    let rule = "expected a text that is, together with the params, no longer than params may be";
    wrong.add(Must::Fit(rule), &[name.into()], &format!("a text of {bytes} bytes").into());
    Err(wrong)
}
