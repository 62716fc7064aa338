//! Facts, which are no tasks: the old shell's commands for them are told that none are kept here.

use axum::extract::Request;
use baton_http::{fastapi, ok};
use http::StatusCode;
use serde_json::json;

use crate::answer::{Answer, Ask, No};

pub(crate) async fn list(_: &Ask<'_>, _: Request) -> Answer {
    Ok(ok(&json!({ "items": [], "total": 0 }))?)
}

pub(crate) async fn create(_: &Ask<'_>, _: Request) -> Answer {
    let said = "Facts are not kept by this server, which holds tasks alone; keep them where they were";
    Err(No::Said(StatusCode::NOT_IMPLEMENTED, said.to_owned()))
}

pub(crate) async fn delete(_: &Ask<'_>, request: Request) -> Answer {
    let id = fastapi::part_of_path(request.uri().path().rsplit('/').next().unwrap_or_default());
    Err(No::Said(StatusCode::NOT_FOUND, format!("Fact '{id}' not found")))
}
