//! The storage routes: files are put, with a token or at an address that was signed, and read.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use baton_files::{Cause, FileError, FileName, StoredFile};
use baton_http::Caller;
use baton_http::arrivals::{is_under_way, open_attempt};
use baton_model::{Generation, Task, TaskId};
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use crate::edge::Edge;
use crate::keep::{self, Came, Found, KeepError};
use crate::origin::Origin;
use crate::path::{BUCKET, Path};
use crate::words::{Answer, Said, coded, json_of, ok};

/// What tells the tags of upload addresses from others that are made with the same key.
const UPLOAD: &str = "edge-functions upload";

fn refused(status: u16, error: &str, message: &str) -> Said {
    json_of(status, &json!({ "statusCode": status.to_string(), "error": error, "message": message })).into()
}

/// Why something could not be done with a file, as an answer.
pub(crate) fn failed(error: KeepError) -> Said {
    let file = match error {
        // No client sends it again: it is none of the codes that may pass.
        KeepError::NoPlace => return refused(501, "NotImplemented", &error.to_string()),
        KeepError::Name(_) => return refused(400, "InvalidKey", &error.to_string()),
        KeepError::Store(error) => return error.into(),
        KeepError::Ended => return refused(409, "Conflict", &error.to_string()),
        KeepError::Old(_) => {
            tracing::error!(error = baton_model::with_causes(&error), "files cannot be read");
            return refused(503, "Unavailable", "files cannot be read or written");
        }
        KeepError::Files(error) => error,
    };
    match &file {
        FileError::TooLarge { .. } | FileError::OverQuota { .. } => {
            refused(413, "Payload too large", &file.to_string())
        }
        FileError::Exists(_) => refused(409, "Duplicate", "The resource already exists"),
        FileError::NotFound(_) => refused(404, "not_found", "Object not found"),
        FileError::CutOff(_) => refused(400, "InvalidRequest", &file.to_string()),
        FileError::OutOfRange { .. } => refused(416, "InvalidRange", &file.to_string()),
        FileError::Unavailable { .. } | FileError::Unasked(_) => {
            tracing::error!(error = baton_model::with_causes(&file), "files cannot be read or written");
            refused(503, "Unavailable", "files cannot be read or written")
        }
    }
}

fn path_in(bucket: &str, path: &str) -> Result<Path, Said> {
    if bucket != BUCKET {
        return Err(refused(404, "Bucket not found", "Bucket not found"));
    }
    path.parse().map_err(|error| refused(400, "InvalidKey", &format!("Invalid key: {error}")))
}

/// What an upload's address is good for: until when, and for which task's attempt.
struct Good {
    until: i64,
    task: TaskId,
    attempt: u32,
}

impl Good {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (until, task, attempt) = (parts.next()?, parts.next()?, parts.next()?);
        let good =
            Self { until: until.parse().ok()?, task: task.parse().ok()?, attempt: attempt.parse().ok()? };
        parts.next().is_none().then_some(good)
    }

    fn written(&self) -> String {
        format!("{}.{}.{}", self.until, self.task, self.attempt)
    }
}

/// What is signed of an upload's address.
fn signed(path: &Path, good: &str) -> String {
    format!("{}\n{good}", path.as_str())
}

async fn key(edge: &Edge) -> Result<baton_files::Key, Said> {
    let files = keep::files(edge).map_err(failed)?;
    files.key().await.map_err(|error| failed(error.into()))
}

/// What a file may be put with.
pub(crate) struct Signed {
    /// Where.
    pub(crate) address: String,
    /// What lets whoever has it put this file, until its time is over, and while the task is in the attempt that it is in.
    pub(crate) token: String,
}

/// Signs for a file of a task that it may be put for so long: where the files lie, or here, if they go through the server.
pub(crate) async fn sign(
    edge: &Edge,
    origin: &Origin,
    path: &Path,
    task: &Task,
    time: Duration,
) -> Result<Signed, Said> {
    // What has ended is signed for an attempt that it will not be in again.
    let attempt = open_attempt(task.head.state.state(), task.head.attempt).unwrap_or(task.head.attempt);
    let good = Good { until: edge.app.now().plus(time).as_millis(), task: task.head.id, attempt };
    let good = good.written();
    let tag = key(edge).await?.tag(UPLOAD, &signed(path, &good));
    let token = format!("{good}.{tag}");
    let direct = keep::put_at(edge, path, (task.head.id, attempt), time).await.map_err(failed)?;
    Ok(Signed { address: direct.unwrap_or_else(|| origin.upload(path, &token)), token })
}

/// Puts a file where an upload was prepared for it.
pub(crate) async fn put_signed(edge: &Edge, bucket: &str, path: &str, request: Request) -> Answer {
    let path = path_in(bucket, path)?;
    let query = request.uri().query().unwrap_or_default();
    let token =
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token").map(|(_, token)| token);
    let invalid = || {
        refused(400, "InvalidSignature", "the upload's token is not good for this file, or its time is over")
    };
    let token = token.ok_or_else(invalid)?;
    let (written, tag) = token.rsplit_once('.').ok_or_else(invalid)?;
    let good = Good::read(written).ok_or_else(invalid)?;
    let is_good = key(edge).await?.is_tag(UPLOAD, &signed(&path, written), tag);
    if !is_good || edge.app.now().as_millis() >= good.until {
        return Err(invalid());
    }
    if !is_under_way(&edge.app, good.task, good.attempt).await? {
        return Err(failed(KeepError::Ended));
    }
    // Whoever has the address may send again what was cut off.
    keep(edge, &path, request, true).await
}

/// Puts a file with a token: a service key anywhere, another one into the folder of its own project's user, and of its own tasks there.
pub(crate) async fn put(edge: &Edge, caller: &Caller, bucket: &str, path: &str, request: Request) -> Answer {
    let path = path_in(bucket, path)?;
    keep::files(edge).map_err(failed)?;
    if caller.is_bound() {
        let own = match caller.project() {
            Some(project) => Some(edge.folder_of(project).await?),
            None => None,
        };
        let is_own = path.parts().next() == own.as_deref() && reaches_task(edge, caller, &path).await?;
        if !is_own {
            return Err(refused(403, "Unauthorized", "new row violates row-level security policy"));
        }
    }
    let replace = request.headers().get("x-upsert").is_some_and(|upsert| upsert == "true");
    keep(edge, &path, request, replace).await
}

/// Whether the folder that a path lies in is of no task, or of one that the caller sees.
pub(crate) async fn reaches_task(edge: &Edge, caller: &Caller, path: &Path) -> Result<bool, Said> {
    if !caller.is_bound() {
        return Ok(true);
    }
    let Some(task) = keep::task_of(edge, path).await.map_err(failed)? else { return Ok(true) };
    Ok(caller.covers(&task.queue, &task.project))
}

async fn keep(edge: &Edge, path: &Path, request: Request, replace: bool) -> Answer {
    let most = edge.settings.file_bytes.min(edge.app.file_bounds().file_bytes);
    if stated(request.headers()).is_some_and(|size| size > most) {
        return Err(failed(FileError::TooLarge { most }.into()));
    }
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let bytes = request.into_body().into_data_stream().map_err(|error| Box::new(error) as Cause).boxed();
    let file = keep::put(edge, path, Came { bytes, content_type, replace }).await.map_err(failed)?;
    tracing::info!(path = path.as_str(), file = %file.name, bytes = file.size, content_type = file.content_type, "file taken in");
    ok(&json!({ "Key": format!("{BUCKET}/{}", path.as_str()), "Id": null, "path": path.as_str() }))
}

/// That a file which is handed over is not there.
pub(crate) fn absent() -> Said {
    coded(404, "storage_not_found", "Referenced file not found in storage").into()
}

/// The file that an address means, which the task hands over by it; none if it is another server's. One that is within the caller's bounds
/// and not there is refused, if its address is certainly this server's: nobody could read the output.
pub(crate) async fn at_address(
    edge: &Edge,
    caller: &Caller,
    origin: Option<&Origin>,
    task: &Task,
    address: &str,
) -> Result<Option<StoredFile>, Said> {
    let Some(path) = Origin::path_of(address) else { return Ok(None) };
    if edge.app.files.is_none() {
        return Ok(None);
    }
    if caller.is_bound()
        && (path.user() != edge.folder_of(&task.project).await? || !reaches_task(edge, caller, &path).await?)
    {
        return Ok(None);
    }
    let found = match keep::to_hand_over(edge, &path).await {
        // The paths of other servers are theirs.
        Err(KeepError::Name(_)) => None,
        found => found.map_err(failed)?,
    };
    if found.is_none() && origin.is_some_and(|origin| origin.is_own(address)) {
        return Err(absent());
    }
    Ok(found)
}

/// What a record tells of files that are not in its task's project, and of their digests.
pub(crate) fn files_beside(record: &Generation) -> Vec<(FileName, String)> {
    let metadata = record.output.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_default();
    let files = metadata["files"].as_array().into_iter().flatten();
    files
        .filter_map(|file| {
            Some((file["name"].as_str()?.parse::<FileName>().ok()?, file["sha256"].as_str()?.to_owned()))
        })
        .collect()
}

/// Has the files that a record tells of, and that no task had, be kept as long as its task. It is done once the record is there, and
/// again whenever its completion comes again, so that what was not handed over stays as it was.
pub(crate) async fn adopt(edge: &Edge, task: TaskId, record: &Generation) -> Result<(), Said> {
    if edge.app.files.is_none() {
        return Ok(());
    }
    // Those in the folders of tasks are of these.
    for (name, _) in files_beside(record).iter().filter(|(name, _)| name.project().as_str() == BUCKET) {
        keep::adopt(edge, name, task).await.map_err(failed)?;
    }
    Ok(())
}

fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a file.
pub(crate) async fn get(edge: &Edge, bucket: &str, path: &str, verb: &Method, headers: &HeaderMap) -> Answer {
    let path = path_in(bucket, path)?;
    match keep::find(edge, &path).await.map_err(failed)? {
        Some(Found::Here(file)) => Ok(baton_manage_files::give_known(&edge.app, &file, verb, headers).await?),
        Some(Found::Old(file)) => {
            let mut response = Response::new(Body::from_stream(file.bytes));
            let headers = response.headers_mut();
            // What it is was not looked at when it came.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(file.size));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            Ok(response)
        }
        None => Err(refused(404, "not_found", "Object not found")),
    }
}
