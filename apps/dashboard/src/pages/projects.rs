//! The projects with their owners.

use askama::Template;
use axum::response::Response;
use baton_api::limit::ProjectView;
use baton_api::task::Page;
use baton_http::ApiError;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, plain};

#[derive(Template)]
#[template(path = "projects.html")]
struct Projects {
    shell: Shell,
    projects: Vec<Row>,
    next: Option<String>,
}

struct Row {
    name: String,
    href: String,
    owner: String,
    by: String,
    reason: String,
    changed: Option<When>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<ProjectView> = visit.get(&["v1", "projects"], &list_query(&visit, &[])).await?;
    let rows = page.items.iter().map(|project| Row {
        href: crate::address::path(&["ui", "tasks"], &[("project", project.name.as_str())]),
        name: project.name.to_string(),
        owner: project.owner.as_ref().map_or_else(String::new, |owner| plain(owner.as_str(), NAMES)),
        by: project.changed_by.as_ref().map_or_else(String::new, |by| plain(by.as_str(), NAMES)),
        reason: project.reason.as_ref().map_or_else(String::new, |reason| plain(reason, LINES)),
        changed: project.changed_at.map(|at| When::new(at, visit.now)),
    });
    answer::ok(&Projects {
        shell: Shell::new(&visit, "Projects", "/ui/projects"),
        projects: rows.collect(),
        next: next_page(&visit, &["ui", "projects"], page.next_cursor.as_deref()),
    })
}
