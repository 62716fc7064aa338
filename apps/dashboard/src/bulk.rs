//! One command for all tasks that a filter finds: counted and confirmed first, then followed.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_api::bulk::{BulkCountView, BulkView};
use baton_http::ApiError;
use baton_model::BulkState;
use serde_json::{Map, Value, json};

use crate::address::path;
use crate::answer;
use crate::form::{Act, Fields};
use crate::pages::tasks::{FIELDS, filter};
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, count, plain};

#[derive(Template)]
#[template(path = "bulk_confirm.html")]
struct Confirm {
    shell: Shell,
    action: &'static str,
    matches: String,
    none: bool,
    more: bool,
    filter: Vec<(String, String)>,
    shown: Vec<(String, String)>,
    back: String,
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct Standing {
    shell: Shell,
    id: String,
    action: String,
    state: &'static str,
    running: bool,
    looked_at: String,
    changed: String,
    skipped: Vec<(String, String)>,
    filter: Vec<(String, String)>,
    made: When,
    ended: Option<When>,
    by: Option<String>,
    reason: Option<String>,
    aborts: bool,
}

/// What is done to each task.
fn action(fields: &Fields) -> Result<&'static str, ApiError> {
    match fields.one("do") {
        Some("cancel") => Ok("cancel"),
        Some("retry") => Ok("retry"),
        _ => Err(ApiError::new(ProblemCode::RouteNotFound, "the dashboard has no such action")),
    }
}

/// The command for the route.
fn command(fields: &Fields, dry_run: bool) -> Result<Map<String, Value>, ApiError> {
    let mut tasks = Map::new();
    for (key, value) in fields.all().filter(|(key, _)| FIELDS.contains(key)) {
        if key == "status" {
            let statuses = tasks.entry(key).or_insert_with(|| json!([]));
            let all = value.split(',').map(|status| json!(status));
            statuses.as_array_mut().into_iter().for_each(|list| list.extend(all.clone()));
        } else {
            tasks.insert(key.to_owned(), json!(value));
        }
    }
    let mut body = Map::from_iter([
        ("do".to_owned(), json!(action(fields)?)),
        ("filter".to_owned(), Value::Object(tasks)),
    ]);
    if dry_run {
        body.insert("dry_run".to_owned(), json!(true));
    } else if let Some(reason) = fields.one("reason") {
        body.insert("reason".to_owned(), json!(reason));
    }
    Ok(body)
}

/// Says how many tasks it would be about, and asks whether it is meant.
pub(crate) async fn confirm(act: Act) -> Result<Response, ApiError> {
    let fields: Vec<_> = act.fields.all().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let filter = filter(&fields);
    let BulkCountView { matches, more, .. } =
        act.visit.post(&["v1", "tasks", "bulk"], &command(&act.fields, true)?).await?;
    let pairs: Vec<(&str, &str)> = filter.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let action = action(&act.fields)?;
    let title = format!("{} tasks?", if action == "cancel" { "Cancel" } else { "Retry" });
    answer::ok(&Confirm {
        shell: Shell::new(&act.visit, &title, "/ui/tasks"),
        action,
        matches: count(matches),
        none: matches == 0,
        more,
        back: path(&["ui", "tasks"], &pairs),
        shown: filter.iter().map(|(key, value)| (key.replace('_', " "), plain(value, NAMES))).collect(),
        filter,
    })
}

/// Makes the command.
pub(crate) async fn begin(act: Act) -> Result<Response, ApiError> {
    let bulk: BulkView = act.visit.post(&["v1", "tasks", "bulk"], &command(&act.fields, false)?).await?;
    Ok(answer::see(&format!("/ui/bulk/{}", bulk.id)))
}

/// Shows how far it is.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, ApiError> {
    let bulk: BulkView = visit.get(&["v1", "bulk", &id], &[]).await?;
    let running = bulk.state == BulkState::Running;
    let filter = bulk.filter.as_ref().and_then(|filter| serde_json::to_value(filter).ok());
    let fields = filter.as_ref().and_then(Value::as_object).into_iter().flatten();
    let fields = fields.filter(|(_, value)| !value.is_null() && **value != json!([]));
    let written = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let shell = Shell::new(&visit, &format!("Bulk {}", bulk.action), "/ui/tasks");
    answer::ok(&Standing {
        shell: if running { shell.live() } else { shell },
        id: bulk.id.to_string(),
        action: bulk.action.clone(),
        state: bulk.state.as_str(),
        running,
        looked_at: count(bulk.looked_at),
        changed: count(bulk.changed),
        skipped: bulk
            .skipped
            .iter()
            .map(|(why, tasks)| (plain(&why.replace('_', " "), NAMES), count(*tasks)))
            .collect(),
        filter: fields.map(|(key, value)| (key.replace('_', " "), plain(&written(value), NAMES))).collect(),
        made: When::new(bulk.created_at, visit.now),
        ended: bulk.ended_at.map(|at| When::new(at, visit.now)),
        by: bulk.by.as_ref().map(|by| plain(by.as_str(), NAMES)),
        reason: bulk.reason.as_ref().map(|reason| plain(reason, LINES)),
        aborts: running && visit.rights.may("abort_bulk"),
    })
}

/// Calls it off.
pub(crate) async fn abort(Path(id): Path<String>, act: Act) -> Result<Response, ApiError> {
    act.visit.post::<Value>(&["v1", "bulk", &id, "abort"], &Map::new()).await?;
    Ok(answer::see(&path(&["ui", "bulk", &id], &[("did", "aborted")])))
}
