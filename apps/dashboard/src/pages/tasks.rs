//! The list of tasks: filters in the address, pages by cursor, and bulk commands for what a filter finds.

use askama::Template;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_api::task::{IdsView, Page, TaskView};
use baton_http::ApiError;
use baton_model::Status;
use http::StatusCode;

use super::task_row::TaskRow;
use super::{list_query, next_page};
use crate::address::path;
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{NAMES, plain};

/// What tasks may be looked for by.
pub(crate) const FIELDS: &[&str] = &[
    "status",
    "type",
    "queue",
    "project",
    "domain",
    "assigned_by",
    "worker",
    "created_from",
    "created_before",
];
/// Of these, the ones that are written into, with what is written beside them and an example.
const WRITTEN: &[(&str, &str, &str)] = &[
    ("type", "Type", ""),
    ("queue", "Queue", ""),
    ("project", "Project", ""),
    ("domain", "Domain", ""),
    ("assigned_by", "Assigned by", ""),
    ("worker", "Worker", ""),
    ("created_from", "Created from", "2026-01-31T08:00:00Z"),
    ("created_before", "Created before", "2026-01-31T09:00:00Z"),
];

#[derive(Template)]
#[template(path = "tasks.html")]
struct Tasks {
    shell: Shell,
    statuses: Vec<(&'static str, bool)>,
    written: Vec<Written>,
    wrong: Vec<(String, String)>,
    tasks: Vec<TaskRow>,
    next: Option<String>,
    first: Option<String>,
    /// The fields of the filter, for what is done to all that it finds; empty if it finds everything.
    filter: Vec<(String, String)>,
    bulk: bool,
    /// Whether fields beyond the first are filled in.
    open: bool,
}

struct Written {
    name: &'static str,
    label: &'static str,
    example: &'static str,
    value: String,
}

/// Shows it.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let filter: Vec<(String, String)> = filter(&visit.query);
    let (page, wrong) = match visit.get::<Page<TaskView>>(&["v1", "tasks"], &list_query(&visit, FIELDS)).await
    {
        Ok(page) => (page, Vec::new()),
        Err(error) if error.code() == ProblemCode::InvalidFields => {
            let wrong = error.problem().errors.iter().map(|error| {
                (
                    plain(&error.field, NAMES),
                    format!("expected {}, got {}", error.expected, plain(&error.got, NAMES)),
                )
            });
            (Page { items: Vec::new(), next_cursor: None }, wrong.collect())
        }
        Err(error) => return Err(error),
    };
    let chosen: Vec<&str> = visit
        .query
        .iter()
        .filter(|(key, _)| key == "status")
        .flat_map(|(_, value)| value.split(','))
        .collect();
    let written = WRITTEN.iter().map(|&(name, label, example)| Written {
        name,
        label,
        example,
        value: visit.asked(name).unwrap_or_default().to_owned(),
    });
    let pairs: Vec<(&str, &str)> = filter.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let shown = Tasks {
        shell: Shell::new(&visit, "Tasks", "/ui/tasks").live(),
        statuses: Status::ALL
            .iter()
            .map(|status| (status.as_str(), chosen.contains(&status.as_str())))
            .collect(),
        open: WRITTEN.iter().skip(2).any(|(name, ..)| visit.asked(name).is_some()),
        written: written.collect(),
        wrong,
        tasks: page.items.into_iter().map(|task| TaskRow::new(task, visit.now)).collect(),
        next: next_page(&visit, &["ui", "tasks"], page.next_cursor.as_deref()),
        first: visit.asked("cursor").map(|_| path(&["ui", "tasks"], &pairs)),
        bulk: visit.rights.may("bulk_tasks"),
        filter,
    };
    answer::page(status, &shown)
}

/// The fields of a filter among others.
pub(crate) fn filter(fields: &[(String, String)]) -> Vec<(String, String)> {
    fields.iter().filter(|(key, _)| FIELDS.contains(&key.as_str())).cloned().collect()
}

/// Leads to the task whose id begins as was asked for; to a list if several do.
pub(crate) async fn find(visit: Visit) -> Result<Response, ApiError> {
    let prefix = visit.asked("id").unwrap_or_default().trim().to_ascii_lowercase();
    let found: IdsView = visit.get(&["v1", "task-ids"], &[("prefix", &prefix)]).await?;
    if let [only] = found.ids.as_slice() {
        return Ok(answer::see(&format!("/ui/tasks/{only}")));
    }
    let status = if found.ids.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let shown = Found {
        shell: Shell::new(&visit, "Find a task", "/ui/tasks"),
        prefix: plain(&prefix, NAMES),
        ids: found.ids.iter().map(ToString::to_string).collect(),
    };
    answer::page(status, &shown)
}

#[derive(Template)]
#[template(path = "found.html")]
struct Found {
    shell: Shell,
    prefix: String,
    ids: Vec<String>,
}
