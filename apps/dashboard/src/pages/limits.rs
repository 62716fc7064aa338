//! The limits, with how much of each is taken.

use askama::Template;
use axum::response::Response;
use baton_api::limit::LimitView;
use baton_api::task::Page;
use baton_http::ApiError;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, plain};

#[derive(Template)]
#[template(path = "limits.html")]
struct Limits {
    shell: Shell,
    limits: Vec<Row>,
    next: Option<String>,
}

struct Row {
    on: String,
    running: String,
    most: String,
    rate: String,
    held: String,
    full: bool,
    changed: When,
    by: String,
    reason: String,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<LimitView> = visit.get(&["v1", "limits"], &list_query(&visit, &[])).await?;
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let rows = page.items.iter().map(|limit| Row {
        on: plain(&limit.on.to_string(), NAMES),
        running: number(limit.running),
        most: number(limit.max_running),
        rate: limit.rate.as_ref().map_or_else(String::new, |rate| {
            format!("{} in {} s, {} at once", rate.starts, rate.seconds, rate.burst)
        }),
        held: number(limit.held),
        full: limit.running.zip(limit.max_running).is_some_and(|(running, most)| running >= most),
        changed: When::new(limit.changed_at, visit.now),
        by: limit.changed_by.as_ref().map_or_else(String::new, |by| plain(by.as_str(), NAMES)),
        reason: limit.reason.as_ref().map_or_else(String::new, |reason| plain(reason, LINES)),
    });
    answer::ok(&Limits {
        shell: Shell::new(&visit, "Limits", "/ui/limits").live(),
        limits: rows.collect(),
        next: next_page(&visit, &["ui", "limits"], page.next_cursor.as_deref()),
    })
}
