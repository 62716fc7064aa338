//! The storage routes: files are put, with a token or at an address that was signed, and read.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use baton_http::Caller;
use baton_model::{State, Task, TaskId, Timestamp};
use baton_store::StoreError;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::edge::Edge;
use crate::generation::kind_of;
use crate::origin::BUCKET;
use crate::shelf::{Content, Path, ShelfError, Terms};
use crate::words::{Answer, Said, json_of, ok};

fn refused(status: u16, error: &str, message: &str) -> Said {
    json_of(status, &json!({ "statusCode": status.to_string(), "error": error, "message": message })).into()
}

/// Why something could not be done with a file, as an answer.
pub(crate) fn failed(error: ShelfError) -> Said {
    match &error {
        ShelfError::TooLarge { .. } => refused(413, "Payload too large", &error.to_string()),
        // No client sends it again: it is none of the codes that may pass.
        ShelfError::NoPlace => refused(501, "NotImplemented", &error.to_string()),
        ShelfError::Exists => refused(409, "Duplicate", &error.to_string()),
        ShelfError::CutOff(_) => refused(400, "InvalidRequest", &error.to_string()),
        ShelfError::Unavailable(cause) => {
            tracing::error!(%cause, "files cannot be read or written");
            refused(503, "Unavailable", &error.to_string())
        }
    }
}

fn path_in(bucket: &str, path: &str) -> Result<Path, Said> {
    if bucket != BUCKET {
        return Err(refused(404, "Bucket not found", "Bucket not found"));
    }
    path.parse().map_err(|error| refused(400, "InvalidKey", &format!("Invalid key: {error}")))
}

/// HMAC-SHA-256 (RFC 2104) of a text.
fn mac(secret: &[u8; 32], text: &str) -> [u8; 32] {
    let keyed = |pad: u8| {
        let mut key = [pad; 64];
        key.iter_mut().zip(secret).for_each(|(key, secret)| *key ^= secret);
        key
    };
    let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(keyed(0x5c)).chain_update(inner).finalize().into()
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

async fn signature(edge: &Edge, path: &Path, good: &Good) -> Result<String, Said> {
    let secret = edge.shelf.secret().await.map_err(failed)?;
    let mac = mac(&secret, &format!("PUT\n{BUCKET}/{}\n{}", path.as_str(), good.written()));
    Ok(mac.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The attempt of a task that files may be put for: that which runs, and 0 of one that nobody has begun. None of one that has ended,
/// or whose attempt was given up.
fn open_attempt(task: &Task) -> Option<u32> {
    match (task.head.state.state(), task.head.attempt) {
        (State::Running, attempt) => Some(attempt),
        (State::Queued | State::Blocked, 0) => Some(0),
        _ => None,
    }
}

/// What lets whoever has it put this file, until then, and while the task is in the attempt that it is in.
pub(crate) async fn sign(edge: &Edge, path: &Path, task: &Task, until: Timestamp) -> Result<String, Said> {
    let good = Good {
        until: until.as_millis(),
        task: task.head.id,
        // What has ended is signed for an attempt that it will not be in again.
        attempt: open_attempt(task).unwrap_or(task.head.attempt),
    };
    Ok(format!("{}.{}", good.written(), signature(edge, path, &good).await?))
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
    let (good, presented) = token.rsplit_once('.').ok_or_else(invalid)?;
    let good = Good::read(good).ok_or_else(invalid)?;
    let expected = signature(edge, &path, &good).await?;
    let is_good = bool::from(expected.as_bytes().ct_eq(presented.as_bytes()));
    if !is_good || edge.app.now().as_millis() >= good.until {
        return Err(invalid());
    }
    let open = match edge.app.store.task(good.task).await {
        Ok(detail) => open_attempt(&detail.task),
        Err(StoreError::TaskNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if open != Some(good.attempt) {
        let message = "the attempt that the upload was prepared for has ended; nothing was stored";
        return Err(refused(409, "Conflict", message));
    }
    // Whoever has the address may send again what was cut off.
    keep(edge, &path, request, true).await
}

/// Puts a file with a token: a service key anywhere, another one into the folder of its own project's user.
pub(crate) async fn put(edge: &Edge, caller: &Caller, bucket: &str, path: &str, request: Request) -> Answer {
    let path = path_in(bucket, path)?;
    if caller.is_bound() {
        let own = match caller.project() {
            Some(project) => Some(edge.user_of(project).await?.replace('/', "_")),
            None => None,
        };
        if path.parts().next() != own.as_deref() {
            return Err(refused(403, "Unauthorized", "new row violates row-level security policy"));
        }
    }
    let replace = request.headers().get("x-upsert").is_some_and(|upsert| upsert == "true");
    keep(edge, &path, request, replace).await
}

async fn keep(edge: &Edge, path: &Path, request: Request, replace: bool) -> Answer {
    let most = edge.settings.file_bytes;
    if stated(request.headers()).is_some_and(|size| size > most) {
        return Err(failed(ShelfError::TooLarge { most }));
    }
    let bytes = request.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
    let size = edge.shelf.put(path, bytes, Terms { most, replace }).await.map_err(failed)?;
    tracing::info!(path = path.as_str(), size, "file stored");
    ok(&json!({ "Key": format!("{BUCKET}/{}", path.as_str()), "Id": null, "path": path.as_str() }))
}

fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a file.
pub(crate) async fn get(edge: &Edge, bucket: &str, path: &str) -> Answer {
    let path = path_in(bucket, path)?;
    let Some(Content { size, bytes }) = edge.shelf.get(&path).await.map_err(failed)? else {
        return Err(refused(404, "not_found", "Object not found"));
    };
    let mut response = Response::new(Body::from_stream(bytes));
    let (content_type, shown) = kind(path.as_str());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !shown {
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    Ok(response)
}

/// What a file is by its name, and whether a browser may show it: nothing that it would run.
fn kind(path: &str) -> (&'static str, bool) {
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    let known = match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "avif" => "image/avif",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "json" => return ("application/json", false),
        _ => return ("application/octet-stream", false),
    };
    (known, kind_of(path).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_the_standard() {
        // RFC 4231, test case 2, whose key is shorter than a block; the rest of it counts as zeros.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let told: String =
            mac(&key, "what do ya want for nothing?").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(told, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn what_a_browser_would_run_is_downloaded() {
        assert_eq!(kind("a/b.PNG"), ("image/png", true));
        assert_eq!(kind("a/b.html"), ("application/octet-stream", false));
        assert_eq!(kind("a/b.svg"), ("application/octet-stream", false));
    }
}
