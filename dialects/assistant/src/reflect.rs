//! `POST /tasks/reflect`: what was thought of a task.
//!
//! A task's params never change in Baton. So a thought is a task of its own, called off as soon as it is made: it is kept and removed
//! as tasks are, moves with them, and is never given out. Its id is made of what it says, so that the same thought twice is one.

use axum::extract::Request;
use baton_api::create::CreateTask;
use baton_api::manage::CancelRequest;
use baton_api::{ProblemCode, ReadFields as _};
use baton_http::ApiError;
use baton_model::{Task, TaskId, Timestamp};
use serde_json::json;

use crate::ask::{Ask, No, Told};
use crate::asked::Reflect;
use crate::entry::{KeptThought, REFLECTION, queue};
use crate::log::{Kind, Suffix};
use crate::read;

/// Keeps a thought, and shows its task.
pub(crate) async fn reflect(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    let asked = Reflect::read(&ask.body(request).await?)?;
    let detail = read::found(ask, &asked.task_id).await?;
    let is_final = asked.is_final;
    keep(ask, &detail.task, asked).await?;
    let entry = read::entry(ask, &detail).await?;
    let updated = json!({ "task_id": detail.task.head.id.to_string(), "is_final": is_final });
    ask.note(Kind::TaskUpdated, &updated, Suffix { status: Some("success"), ..Suffix::default() });
    Told::whole(&json!({
        "status": "success",
        "task": entry,
        "message": if is_final { "Final reflection added" } else { "Reflection added" },
        "timestamp": ask.app.now().isoformat(),
    }))
}

async fn keep(ask: &Ask<'_>, of: &Task, asked: Reflect) -> Result<(), No> {
    let Reflect { task_id, action, reflection, is_final } = asked;
    let words = format!("{}\n{is_final}\n{reflection}", of.head.id);
    let id = TaskId::of_name("assistant reflection", &words);
    let kept = KeptThought { task_id, action, reflection, is_final };
    let request = json!({
        "id": id,
        "type": REFLECTION,
        "queue": queue(),
        "project": of.project,
        "domain": of.head.id,
        "params": kept,
        // Were the server killed between the two commands, no worker would be given it.
        "run_after": Timestamp::MAX,
        // And it would end by this, so that it is removed as all that is over.
        "expires_after_seconds": 10,
    });
    let request = CreateTask::from_json(&request.to_string(), &ask.app.limits()).map_err(ApiError::from)?;
    match baton_create_task::create_one(ask.app, ask.caller, request, None).await {
        Ok(_) => {}
        // The same words with another action: they are kept.
        Err(error) if error.code() == ProblemCode::TaskIdConflict => {}
        Err(error) => return Err(error.into()),
    }
    let off = CancelRequest { reason: Some("it is a record".to_owned()), ..CancelRequest::default() };
    match baton_manage_tasks::cancel_task(ask.app, ask.caller, id, off).await {
        Ok(_) => Ok(()),
        // It has expired meanwhile, which keeps it as well.
        Err(error) if error.code() == ProblemCode::TransitionRefused => Ok(()),
        Err(error) => Err(error.into()),
    }
}
