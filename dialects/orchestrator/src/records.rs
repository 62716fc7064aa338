//! What Baton has no place for: outputs that are appended to a task, and settings that clients store.
//!
//! A task's params never change in Baton. So each such thing is a task of its own in a queue of its own, for a time that never comes:
//! it is never given out, lies where tasks lie, moves with them, and belongs to its maker's project. An output is called off as soon
//! as it is made, so that it is removed as finished tasks are; a setting waits on until the next one takes its place.
//!
//! Why not files beside the database: each server would have its own, and a moved or restored store would come without them. Why not log
//! lines of the task: they are gone after two days, and may be dropped where a worker ships many.

use baton_api::create::CreateTask;
use baton_api::manage::CancelRequest;
use baton_api::{ProblemCode, ReadFields as _};
use baton_http::ApiError;
use baton_model::{Label, ProjectId, QueueName, Status, Task, TaskId, TaskType, Timestamp};
use baton_store::{PageRequest, TaskFilter};
use serde::Serialize;
use serde_json::json;

use crate::ask::Ask;
use crate::no::No;

/// The queue of all of them.
pub(crate) fn queue() -> QueueName {
    QueueName::from_stored("autodev-records")
}

/// How many of them one request looks at, about how many bytes they have, and how many are read at once.
const LOOKED_AT: usize = 10_000;
const BYTES: usize = 16 << 20;
const PAGE: u32 = 50;

/// How many seconds after it was made a record ends by itself that is to be called off at once: were the server killed in between, it is
/// removed all the same, as all that is over.
const ENDS: u32 = 10;

/// Makes a record of a kind about something; in the caller's project, or in this one. It ends by itself after so many seconds, if at all.
async fn make(
    ask: &Ask<'_>,
    kind: &str,
    about: &Label,
    project: Option<&ProjectId>,
    params: &impl Serialize,
    ends: Option<u32>,
) -> Result<TaskId, No> {
    let mut request = json!({
        "type": kind,
        "queue": queue(),
        "project": project,
        "domain": about,
        "params": params,
        "run_after": Timestamp::MAX,
    });
    if let Some(seconds) = ends {
        request["expires_after_seconds"] = seconds.into();
    }
    let request = CreateTask::from_json(&request.to_string(), &ask.app.limits()).map_err(ApiError::from)?;
    Ok(baton_create_task::create_one(ask.app, ask.caller, request, None).await?.task.id)
}

async fn call_off(ask: &Ask<'_>, id: TaskId) -> Result<(), No> {
    let off = CancelRequest { reason: Some("it is a record".to_owned()), ..CancelRequest::default() };
    baton_manage_tasks::cancel_task(ask.app, ask.caller, id, off).await?;
    Ok(())
}

/// Appends a record to those about a task.
pub(crate) async fn append(ask: &Ask<'_>, kind: &str, of: &Task, params: &impl Serialize) -> Result<(), No> {
    let about = Label::from_stored(of.head.id.to_string());
    let id = make(ask, kind, &about, Some(&of.project), params, Some(ENDS)).await?;
    match call_off(ask, id).await {
        // It has ended by itself meanwhile, which keeps it as well.
        Err(No::Refused(error)) if error.code() == ProblemCode::TransitionRefused => Ok(()),
        called_off => called_off,
    }
}

/// The records about something, the newest first; whether there are others.
pub(crate) async fn about(
    ask: &Ask<'_>,
    about: &Label,
    kind: Option<&str>,
    statuses: &[Status],
) -> Result<(Vec<Task>, bool), No> {
    let mut filter = TaskFilter {
        statuses: statuses.to_vec(),
        queue: Some(queue()),
        task_type: kind.map(TaskType::from_stored),
        domain: Some(about.clone()),
        now: ask.now,
        ..TaskFilter::default()
    };
    ask.caller.narrow(&mut filter.project, &mut filter.queue)?;
    let mut page = PageRequest::first(PAGE);
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let found = ask.app.store.tasks(filter.clone(), page).await?;
        for task in found.items {
            if ask.caller.sees(&task) {
                bytes += task.params.size();
                records.push(task);
            }
        }
        match found.next {
            None => return Ok((records, false)),
            Some(_) if records.len() >= LOOKED_AT || bytes >= BYTES => return Ok((records, true)),
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(PAGE) },
        }
    }
}

/// A setting of a kind and name as it was stored last; none if it never was, or the caller is bound to other queues.
pub(crate) async fn setting(ask: &Ask<'_>, kind: &str, name: &Label) -> Result<Option<Task>, No> {
    if !ask.caller.covers_queue(&queue()) {
        return Ok(None);
    }
    let project = ask.caller.project().cloned().unwrap_or_default();
    let (stored, _) = about(ask, name, Some(kind), &[Status::Created]).await?;
    Ok(stored.into_iter().find(|task| task.project == project))
}

/// Stores a setting in the place of what was stored before.
pub(crate) async fn settle(
    ask: &Ask<'_>,
    kind: &str,
    name: &Label,
    params: &impl Serialize,
) -> Result<(), No> {
    let id = make(ask, kind, name, None, params, None).await?;
    let project = ask.caller.project().cloned().unwrap_or_default();
    let (stored, _) = about(ask, name, Some(kind), &[Status::Created]).await?;
    for earlier in stored {
        if earlier.head.id != id && earlier.project == project {
            call_off(ask, earlier.head.id).await?;
        }
    }
    Ok(())
}
