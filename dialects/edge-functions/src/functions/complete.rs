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
use crate::shelf::{Path, ShelfError, Terms};
use crate::storage;
use crate::words::{Answer, Object, Said, coded, no_task, ok, task_id, text};

/// How the name begins of the folder of an attempt after the first.
const ATTEMPT: &str = "attempt-";

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
pub(crate) async fn complete(edge: &Edge, caller: &Caller, origin: &Origin, mut body: Object) -> Answer {
    let id = task_id(text(&body, "task_id").ok_or_else(|| invalid("task_id is required"))?);
    let Some(detail) = edge.task(caller, id).await? else { return Err(no_task().into()) };
    let has_zombie = ending::has_zombie(&detail);
    let TaskDetail { task, generation, .. } = detail;
    let generation = match generation {
        // An orchestrator that has ended with its last child stands, whatever its worker says of it then.
        Some(standing) if edge.types.is_orchestrator(&task.task_type) => standing,
        Some(standing) => {
            if !is_same(edge, &task, &standing, &mut body).await? {
                return Err(ending::completed_otherwise());
            }
            standing
        }
        None if matches!(task.head.state, TaskState::Running(_)) => {
            let attempt = match body.get("attempts") {
                None | Some(Value::Null) => None,
                Some(value) => Some(value.as_u64().ok_or_else(|| invalid("attempts must be a number"))?),
            };
            if let Some(why) = ending::stale(&task, attempt, text(&body, "worker_id")) {
                return Err(coded(409, "task_not_in_progress", &why).into());
            }
            if has_zombie {
                refuse_earlier(&task, &body)?;
            }
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

/// Whether what is handed over is what the task was completed with.
async fn is_same(edge: &Edge, task: &Task, standing: &Generation, body: &mut Object) -> Result<bool, Said> {
    let location = standing.output.location.as_deref();
    if let Some(own) = text(body, "output_location") {
        return Ok(location == Some(own));
    }
    let lies_at = |path: &Path| location.is_some_and(|location| Origin::is_of(location, path));
    if let Some(Value::String(encoded)) = body.remove("file_data") {
        let Some(name) = text(body, "filename") else {
            return Err(invalid("filename is required with file_data"));
        };
        let path = path_of(edge, task, standing.attempt, name).await?;
        if !lies_at(&path) {
            return Ok(false);
        }
        let bytes = decoded(&encoded, "file_data")?;
        let Some(kept) = edge.shelf.get(&path).await.map_err(storage::failed)? else { return Ok(false) };
        if kept.size != bytes.len() as u64 {
            return Ok(false);
        }
        let (mut pieces, mut rest) = (kept.bytes, bytes.as_slice());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| storage::failed(ShelfError::Unavailable(error)))?;
            match rest.strip_prefix(piece.as_ref()) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
        return Ok(rest.is_empty());
    }
    match text(body, "storage_path").map(str::parse::<Path>) {
        Some(Ok(path)) => Ok(lies_at(&path)),
        Some(Err(_)) => Ok(false),
        // It hands over nothing that could be lost.
        None => Ok(true),
    }
}

/// Refuses a file of an earlier attempt than that which runs, whose worker was given up.
fn refuse_earlier(task: &Task, body: &Object) -> Result<(), Said> {
    let own = id_of(task);
    for key in ["storage_path", "thumbnail_storage_path"] {
        let path: Option<Path> = text(body, key).and_then(|path| path.parse().ok());
        let parts: Vec<&str> = path.iter().flat_map(Path::parts).collect();
        let attempt = match parts.as_slice() {
            [_, "tasks", of, folder, _, ..] if *of == own => {
                folder.strip_prefix(ATTEMPT).and_then(|number| number.parse().ok()).unwrap_or(1)
            }
            [_, "tasks", of, _] if *of == own => 1,
            _ => continue,
        };
        if attempt < task.head.attempt {
            let message = format!(
                "{key} is of attempt {attempt} of the task, which was given up; attempt {} runs",
                task.head.attempt
            );
            return Err(coded(409, "task_not_in_progress", &message).into());
        }
    }
    Ok(())
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
    let bytes = decoded(&encoded, data)?;
    let path = task_path(edge, task, name).await?;
    let terms = Terms { most: edge.settings.file_bytes, replace: true };
    let piece = stream::once(std::future::ready(Ok(Bytes::from(bytes)))).boxed();
    edge.shelf.put(&path, piece, terms).await.map_err(storage::failed)?;
    Ok(Some(origin.public(&path)))
}

fn decoded(encoded: &str, field: &str) -> Result<Vec<u8>, Said> {
    // Some clients send a whole data URL.
    let encoded = encoded.rsplit_once(";base64,").map_or(encoded, |(_, rest)| rest);
    STANDARD.decode(encoded.trim()).map_err(|_| invalid(&format!("{field} must be base64")))
}

/// Where the file of this name lies of the attempt that runs, or is to come.
pub(crate) async fn task_path(edge: &Edge, task: &Task, name: &str) -> Result<Path, Said> {
    path_of(edge, task, task.head.attempt, name).await
}

/// Where an attempt's file of this name lies: each has a folder of its own, so that none touches another's.
async fn path_of(edge: &Edge, task: &Task, attempt: u32, name: &str) -> Result<Path, Said> {
    let user = edge.user_of(&task.project).await?;
    // What comes before its last slash is of the machine that it was made on.
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let folder = if attempt > 1 { format!("{ATTEMPT}{attempt}/") } else { String::new() };
    let path = format!("{}/tasks/{}/{folder}{name}", user.replace('/', "_"), id_of(task));
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
