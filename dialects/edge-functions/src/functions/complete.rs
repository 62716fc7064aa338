//! `complete_task`: sets the task's status and writes its record, in one commit, in each of the forms of its body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_http::Caller;
use baton_model::{Generation, Task, TaskState};
use baton_store::TaskDetail;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::cascade;
use crate::edge::Edge;
use crate::ending;
use crate::origin::Origin;
use crate::row::id_of;
use crate::shelf::{Path, Terms};
use crate::storage;
use crate::words::{Answer, Object, Said, coded, no_task, ok, task_id, text};

/// What a completion hands over.
struct Handed {
    location: Option<String>,
    thumbnail: Option<String>,
}

/// Refuses a body of parts, as the platform does: no client sends one.
pub(crate) fn refuse_parts(headers: &HeaderMap) -> Result<(), Said> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/") {
        return Err(coded(400, "invalid_request_body", "multipart uploads are not taken; send JSON").into());
    }
    Ok(())
}

fn invalid(message: &str) -> Said {
    coded(400, "invalid_request_body", message).into()
}

/// Completes a task.
pub(crate) async fn complete(edge: &Edge, caller: &Caller, origin: &Origin, body: Object) -> Answer {
    let id = task_id(text(&body, "task_id").ok_or_else(|| invalid("task_id is required"))?);
    let Some(detail) = edge.task(caller, id).await? else { return Err(no_task().into()) };
    let TaskDetail { task, generation, .. } = detail;
    let generation = match generation {
        Some(standing) => standing,
        None if matches!(task.head.state, TaskState::Running(_)) => {
            let Handed { location, thumbnail } = handed(edge, caller, origin, &task, body).await?;
            ending::complete(edge, caller, &task, location, thumbnail).await?
        }
        None => return Err(ending::too_late(&task)),
    };
    // Also when it was completed before: what follows from it may not have been done then.
    cascade::after_completion(edge, caller, &task, generation.output.location.as_deref()).await?;
    told(&generation)
}

fn told(generation: &Generation) -> Answer {
    let metadata =
        generation.output.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_default();
    let location = &generation.output.location;
    ok(&json!({
        "success": true,
        "public_url": location,
        "output_location": location,
        "thumbnail_url": metadata.get("thumbnail_url").unwrap_or(&Value::Null),
        "generation_id": generation.id,
        "follow_up": { "status": "ok", "issues": [] },
        "message": "Task completed",
    }))
}

async fn handed(
    edge: &Edge,
    caller: &Caller,
    origin: &Origin,
    task: &Task,
    mut body: Object,
) -> Result<Handed, Said> {
    let own = text(&body, "output_location").map(str::to_owned);
    if body.get("file_data").is_some_and(|data| !data.is_null()) {
        let file = keep(edge, origin, task, &mut body, ("file_data", "filename"), false).await?;
        let frame =
            keep(edge, origin, task, &mut body, ("first_frame_data", "first_frame_filename"), true).await?;
        return Ok(Handed { location: own.or(file), thumbnail: frame });
    }
    let Some(path) = text(&body, "storage_path") else {
        return Ok(Handed { location: own, thumbnail: None });
    };
    let file = existing(edge, caller, origin, task, path).await?;
    let thumbnail = match text(&body, "thumbnail_storage_path") {
        Some(path) => Some(existing(edge, caller, origin, task, path).await?),
        None => None,
    };
    // A text of the worker's own goes before the address: it tells more about the file.
    Ok(Handed { location: own.or(Some(file)), thumbnail })
}

/// Keeps a file that came along, and says where it is read.
async fn keep(
    edge: &Edge,
    origin: &Origin,
    task: &Task,
    body: &mut Object,
    (data, name): (&str, &str),
    is_thumbnail: bool,
) -> Result<Option<String>, Said> {
    let Some(Value::String(encoded)) = body.remove(data) else {
        return if is_thumbnail { Ok(None) } else { Err(invalid("file_data must be base64")) };
    };
    let Some(name) = text(body, name) else {
        return if is_thumbnail { Ok(None) } else { Err(invalid("filename is required with file_data")) };
    };
    // Some clients send a whole data URL.
    let encoded = encoded.rsplit_once(";base64,").map_or(encoded.as_str(), |(_, rest)| rest);
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| invalid(&format!("{data} must be base64")))?;
    let path = task_path(edge, task, name).await?;
    let terms = Terms { most: edge.settings.file_bytes, replace: true };
    let piece = stream::once(std::future::ready(Ok(Bytes::from(bytes)))).boxed();
    edge.shelf.put(&path, piece, terms).await.map_err(storage::failed)?;
    Ok(Some(origin.public(&path)))
}

/// Where a task's file of this name lies.
pub(crate) async fn task_path(edge: &Edge, task: &Task, name: &str) -> Result<Path, Said> {
    let user = edge.user_of(&task.project).await?;
    // What comes before its last slash is of the machine that it was made on.
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let path = format!("{}/tasks/{}/{name}", user.replace('/', "_"), id_of(task));
    path.parse().map_err(|error| invalid(&format!("filename: {error}")))
}

/// A file that is there already, which this task may hand over.
async fn existing(
    edge: &Edge,
    caller: &Caller,
    origin: &Origin,
    task: &Task,
    path: &str,
) -> Result<String, Said> {
    let path: Path = path.parse().map_err(|error| invalid(&format!("storage_path: {error}")))?;
    let parts: Vec<&str> = path.parts().collect();
    let own = id_of(task);
    let of_other = matches!(parts.as_slice(), [_, "tasks", of, _, ..] if *of != own);
    if of_other && !task.task_type.as_str().contains("orchestrator") {
        return Err(coded(403, "storage_forbidden", "storage_path lies in another task's folder").into());
    }
    if caller.is_bound() {
        let user = edge.user_of(&task.project).await?.replace('/', "_");
        if parts.first().is_some_and(|first| *first != user) {
            return Err(coded(403, "storage_forbidden", "storage_path lies in another user's folder").into());
        }
    }
    match edge.shelf.size(&path).await.map_err(storage::failed)? {
        Some(_) => Ok(origin.public(&path)),
        None => Err(coded(404, "storage_not_found", "Referenced file not found in storage").into()),
    }
}
