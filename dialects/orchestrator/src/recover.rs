//! `POST /api/tasks/{id}/recover`: a task that has ended badly is tried again; any other is as it is.

use axum::extract::Request;
use baton_api::ProblemCode;
use baton_api::manage::RetryRequest;
use baton_model::State;
use serde_json::json;

use crate::ask::Ask;
use crate::entry::word;
use crate::kept::Kept;
use crate::no::{Told, told};
use crate::read;

/// Recovers a task.
pub(crate) async fn recover(ask: &Ask<'_>, _: Request) -> Told {
    let mut detail = read::found(ask).await?;
    let kept = Kept::of(&detail.task);
    let mut message = "Task is as it was stored; there is nothing to recover";
    if matches!(detail.task.head.state.state(), State::Failed | State::Cancelled) {
        let request = RetryRequest { reason: Some("recovered".to_owned()), ..RetryRequest::default() };
        match baton_manage_tasks::retry_task(ask.app, ask.caller, detail.task.head.id, request).await {
            Ok(task) => {
                (detail.task, message) = (task, "Task recovered successfully");
            }
            // Somebody else has recovered it meanwhile; else Baton's reason is told.
            Err(error) if error.code() == ProblemCode::TransitionRefused => {
                detail = read::found(ask).await?;
                if detail.task.head.state.state().is_final() {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    told(&json!({
        "message": message,
        "task_id": kept.id,
        "restored_state": word(&detail.task, detail.progress.as_ref()).as_str(),
    }))
}
