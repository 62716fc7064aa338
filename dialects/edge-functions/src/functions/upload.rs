//! `generate-upload-url`.

use std::time::Duration;

use baton_http::Caller;
use serde_json::{Value, json};

use super::complete::task_path;
use crate::edge::Edge;
use crate::origin::Origin;
use crate::row::time;
use crate::storage;
use crate::words::{Answer, Object, json_of, no_task, ok, task_id, text};

/// For how long an upload may begin.
const GOOD_FOR: Duration = Duration::from_secs(3_600);

/// Says where a file of a task may be put, without a token.
pub(crate) async fn prepare(edge: &Edge, caller: &Caller, origin: &Origin, body: &Object) -> Answer {
    let (Some(id), Some(name), Some(_)) =
        (text(body, "task_id"), text(body, "filename"), text(body, "content_type"))
    else {
        let missing = json!({ "error": "task_id, filename and content_type are required" });
        return Err(json_of(400, &missing).into());
    };
    let Some(detail) = edge.task(caller, task_id(id)).await? else { return Err(no_task().into()) };
    let until = edge.app.now().plus(GOOD_FOR);
    let path = task_path(edge, &detail.task, name).await?;
    let signed = storage::sign(edge, origin, &path, &detail.task, GOOD_FOR).await?;
    let mut told = json!({
        "upload_url": signed.address,
        "storage_path": path.as_str(),
        "token": signed.token,
        "expires_at": time(until),
    });
    if body.get("generate_thumbnail_url").is_some_and(|wanted| *wanted == true) {
        let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        let fresh: String = edge.app.ids.uuid().simple().to_string().chars().rev().take(6).collect();
        let name = format!("{folder}/thumbnails/thumb_{}_{fresh}.jpg", edge.app.now().as_millis());
        let path =
            name.parse().map_err(|error| json_of(400, &json!({ "error": format!("filename: {error}") })))?;
        let signed = storage::sign(edge, origin, &path, &detail.task, GOOD_FOR).await?;
        told["thumbnail_upload_url"] = Value::String(signed.address);
        told["thumbnail_storage_path"] = path.as_str().into();
        told["thumbnail_token"] = Value::String(signed.token);
    }
    ok(&told)
}
