//! `complete_task`: sets the task's status and writes its record, in one commit, in each of the forms of its body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_files::{FileError, StoredFile, sha256, sha256_of};
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
use crate::ending::{self, Handed};
use crate::generation::output_of;
use crate::keep::{self, Came, Found, KeepError};
use crate::origin::Origin;
use crate::path::Path;
use crate::row::id_of;
use crate::storage;
use crate::words::{Answer, Object, Said, coded, no_task, ok, task_id, text, whole};

/// How the name begins of the folder of an attempt after the first.
const ATTEMPT: &str = "attempt-";

/// How much of a file's digest its folder is called by, where another of its name lies already.
const DIGITS: usize = 16;

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
            // Whoever has completed it may not have come so far.
            storage::adopt(edge, id, &standing).await?;
            standing
        }
        None if matches!(task.head.state, TaskState::Running(_)) => {
            let attempt = match body.get("attempts") {
                None | Some(Value::Null) => None,
                Some(value) => Some(whole(value).ok_or_else(|| invalid("attempts must be a number"))?),
            };
            if let Some(why) = ending::stale(&task, attempt, text(&body, "worker_id")) {
                return Err(coded(409, "task_not_in_progress", &why).into());
            }
            if has_zombie {
                refuse_earlier(&task, &body)?;
            }
            ending::reach(edge, caller, &task).await?;
            let handed = handed(edge, caller, origin, &task, body).await?;
            ending::complete(edge, caller, &task, handed).await?
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
        "output_location": output_of(generation),
        "thumbnail_url": metadata.get("thumbnail_url").unwrap_or(&Value::Null),
        "generation_id": generation.id,
        "follow_up": { "status": "ok", "issues": [] },
        "message": "Task completed",
    }))
}

/// Whether what is handed over is what the task was completed with, as its record tells it: by now its project may have another owner, and
/// other files may lie where its own did.
async fn is_same(edge: &Edge, task: &Task, standing: &Generation, body: &mut Object) -> Result<bool, Said> {
    let location = standing.output.location.as_deref();
    let own = text(body, "output_location").map(str::to_owned);
    // Who hands over a file may name its address as well.
    if own.is_some() && own != output_of(standing) && own.as_deref() != location {
        return Ok(false);
    }
    if let Some(Value::String(encoded)) = body.remove("file_data") {
        let Some(name) = text(body, "filename") else {
            return Err(invalid("filename is required with file_data"));
        };
        let digest = sha256(&decoded(&encoded, "file_data")?);
        let read_at = location.and_then(Origin::path_of);
        if own.is_none() && read_at.as_ref().and_then(|path| path.parts().last()) != Some(base(name)) {
            return Ok(false);
        }
        return match digests(standing) {
            Some(digests) => Ok(digests.contains(&digest)),
            None => is_old(edge, read_at.as_ref(), &digest).await,
        };
    }
    let Some(path) = text(body, "storage_path") else {
        // It hands over nothing more that could be lost.
        return Ok(true);
    };
    let Ok(path) = path.parse::<Path>() else { return Ok(false) };
    Ok(match own {
        None => location.is_some_and(|location| Origin::is_of(location, &path)),
        Some(_) => digests(standing).is_none() || tells_of(standing, task, &path),
    })
}

/// The digests of the files that a record tells of; none if it tells of no files, as those of earlier versions.
fn digests(record: &Generation) -> Option<Vec<String>> {
    let own = record.output.files.iter().map(|file| file.sha256.clone());
    let all: Vec<String> =
        own.chain(storage::files_beside(record).into_iter().map(|(_, digest)| digest)).collect();
    (!all.is_empty()).then_some(all)
}

/// Whether a record tells of the file of a path, whoever its user was then.
fn tells_of(record: &Generation, task: &Task, path: &Path) -> bool {
    let beside: Vec<_> = storage::files_beside(record).into_iter().map(|(name, _)| name).collect();
    let in_task = path.in_task().and_then(|(of, rest)| {
        let name = Path::name_in(rest, task_id(of), task.project.clone()).ok()?;
        Some(name.path().to_owned())
    });
    let is_in_task = |told: &str| in_task.as_deref() == Some(told);
    record.output.files.iter().any(|file| is_in_task(&file.path))
        || beside
            .iter()
            .any(|name| is_in_task(name.path()) || path.loose_name().is_ok_and(|loose| loose == *name))
}

/// Whether the file that an earlier version has handed over has this digest.
async fn is_old(edge: &Edge, path: Option<&Path>, digest: &str) -> Result<bool, Said> {
    let Some(path) = path else { return Ok(false) };
    Ok(match keep::find(edge, path).await.map_err(storage::failed)? {
        Some(Found::Here(file)) => file.sha256 == digest,
        Some(Found::Old(file)) => {
            let read = sha256_of(file.bytes).await;
            let read = read.map_err(|cause| storage::failed(KeepError::Old(std::io::Error::other(cause))))?;
            read == digest
        }
        None => false,
    })
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
    let mut handed = Handed::default();
    if body.get("file_data").is_some_and(|data| !data.is_null()) {
        let file = keep(edge, origin, task, &mut body, ("file_data", "filename"), false).await?;
        let frame =
            keep(edge, origin, task, &mut body, ("first_frame_data", "first_frame_filename"), true).await?;
        handed.location = file.as_ref().map(|(address, _)| address.clone());
        handed.told = own.filter(|own| Some(own) != handed.location.as_ref());
        handed.thumbnail = frame.as_ref().map(|(address, _)| address.clone());
        handed.files = [file, frame].into_iter().flatten().map(|(_, file)| file).collect();
        return Ok(handed);
    }
    let Some(path) = text(&body, "storage_path") else {
        if let Some(address) = &own {
            handed.files.extend(storage::at_address(edge, caller, Some(origin), task, address).await?);
        }
        return Ok(Handed { location: own, ..handed });
    };
    let (address, file) = existing(edge, caller, origin, task, path).await?;
    handed.files.push(file);
    if let Some(path) = text(&body, "thumbnail_storage_path") {
        let (address, file) = existing(edge, caller, origin, task, path).await?;
        handed.files.push(file);
        handed.thumbnail = Some(address);
    }
    // A text of the worker's own is what its task has as its output: it tells more about the file. The record goes by the address.
    handed.told = own.filter(|own| *own != address);
    Ok(Handed { location: Some(address), ..handed })
}

/// Keeps a file that came along, and says where it is read. It takes no other's place, which another completion may be handing over at
/// this moment: one of the same name lies beside it, in a folder that its digest names.
async fn keep(
    edge: &Edge,
    origin: &Origin,
    task: &Task,
    body: &mut Object,
    (data, name): (&str, &str),
    is_thumbnail: bool,
) -> Result<Option<(String, StoredFile)>, Said> {
    let Some(Value::String(encoded)) = body.remove(data) else {
        return if is_thumbnail { Ok(None) } else { Err(invalid("file_data must be base64")) };
    };
    let Some(name) = text(body, name) else {
        return if is_thumbnail { Ok(None) } else { Err(invalid("filename is required with file_data")) };
    };
    let bytes = Bytes::from(decoded(&encoded, data)?);
    let digest = sha256(&bytes);
    let mut path = task_path(edge, task, name).await?;
    let mut file = keep_new(edge, &path, &bytes, &digest).await?;
    if file.is_none() {
        path = path.apart(&digest[..DIGITS]).map_err(|error| invalid(&format!("filename: {error}")))?;
        file = keep_new(edge, &path, &bytes, &digest).await?;
    }
    match file {
        Some(file) => Ok(Some((origin.public(&path), file))),
        None => Err(coded(409, "storage_conflict", "another file lies where this one is to be").into()),
    }
}

/// Keeps a file where none is, or the same one; none if another one is there.
async fn keep_new(edge: &Edge, path: &Path, bytes: &Bytes, digest: &str) -> Result<Option<StoredFile>, Said> {
    let bytes = stream::once(std::future::ready(Ok(bytes.clone()))).boxed();
    match keep::put(edge, path, Came { bytes, content_type: None, replace: false }).await {
        Ok(file) => Ok(Some(file)),
        Err(KeepError::Files(FileError::Exists(_))) => {
            match keep::find(edge, path).await.map_err(storage::failed)? {
                Some(Found::Here(file)) if file.sha256 == digest => Ok(Some(file)),
                _ => Ok(None),
            }
        }
        Err(error) => Err(storage::failed(error)),
    }
}

fn decoded(encoded: &str, field: &str) -> Result<Vec<u8>, Said> {
    // Some clients send a whole data URL.
    let encoded = encoded.rsplit_once(";base64,").map_or(encoded, |(_, rest)| rest);
    STANDARD.decode(encoded.trim()).map_err(|_| invalid(&format!("{field} must be base64")))
}

/// Where the file of this name lies of the attempt that runs, or is to come: each has a folder of its own, so that none touches another's.
pub(crate) async fn task_path(edge: &Edge, task: &Task, name: &str) -> Result<Path, Said> {
    let attempt = task.head.attempt;
    let folder = if attempt > 1 { format!("{ATTEMPT}{attempt}/") } else { String::new() };
    let user = edge.folder_of(&task.project).await?;
    let path = format!("{user}/tasks/{}/{folder}{}", id_of(task), base(name));
    path.parse().map_err(|error| invalid(&format!("filename: {error}")))
}

/// A file's name: what comes before its last slash is of the machine that it was made on.
fn base(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// A file that is there already, which this task may hand over.
async fn existing(
    edge: &Edge,
    caller: &Caller,
    origin: &Origin,
    task: &Task,
    path: &str,
) -> Result<(String, StoredFile), Said> {
    let path: Path = path.parse().map_err(|error| invalid(&format!("storage_path: {error}")))?;
    let parts: Vec<&str> = path.parts().collect();
    let own = id_of(task);
    let of_other = matches!(parts.as_slice(), [_, "tasks", of, _, ..] if *of != own);
    if of_other && !task.task_type.as_str().contains("orchestrator") {
        return Err(coded(403, "storage_forbidden", "storage_path lies in another task's folder").into());
    }
    if caller.is_bound()
        && (path.user() != edge.folder_of(&task.project).await?
            || !storage::reaches_task(edge, caller, &path).await?)
    {
        return Err(coded(403, "storage_forbidden", "storage_path lies in another user's folder").into());
    }
    match keep::to_hand_over(edge, &path).await.map_err(storage::failed)? {
        Some(file) => Ok((origin.public(&path), file)),
        None => Err(storage::absent()),
    }
}
