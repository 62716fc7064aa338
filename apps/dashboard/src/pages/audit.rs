//! What operators did.

use askama::Template;
use axum::response::Response;
use baton_api::task::Page;
use baton_api::token::AuditView;
use baton_http::ApiError;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{Clock, LINES, NAMES, plain};

/// What entries may be looked for by.
const FIELDS: &[&str] = &["token", "action", "from", "before"];

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    shell: Shell,
    entries: Vec<Row>,
    next: Option<String>,
    action: String,
}

struct Row {
    at: Clock,
    action: String,
    target: String,
    who: String,
    reason: String,
    change: Option<String>,
    outcome: String,
    refused: bool,
}

/// Shows it.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<AuditView> = visit.get(&["v1", "audit"], &list_query(&visit, FIELDS)).await?;
    let rows = page.items.iter().map(|entry| {
        let token = entry.token_name.as_ref().map(|name| plain(name.as_str(), NAMES));
        let by = entry.by.as_ref().map(|by| plain(by.as_str(), NAMES));
        let who = match (by, token) {
            (Some(by), Some(token)) if by != token => format!("{by} (token {token})"),
            (Some(by), _) => by,
            (None, Some(token)) => token,
            (None, None) => "no token".to_owned(),
        };
        let text = |text: &Option<String>| {
            text.as_ref().map_or_else(|| "nothing".to_owned(), |text| plain(text, NAMES))
        };
        Row {
            at: Clock(entry.at),
            action: plain(&entry.action, NAMES),
            target: plain(&entry.target, NAMES),
            who,
            reason: entry.reason.as_ref().map_or_else(String::new, |reason| plain(reason, LINES)),
            change: entry
                .change
                .as_ref()
                .map(|change| format!("{} → {}", text(&change.from), text(&change.to))),
            outcome: entry.outcome.map_or_else(|| "not known".to_owned(), |outcome| outcome.to_string()),
            refused: entry.outcome.is_some_and(|outcome| outcome >= 400),
        }
    });
    answer::ok(&Audit {
        shell: Shell::new(&visit, "Audit", "/ui/audit"),
        entries: rows.collect(),
        next: next_page(&visit, &["ui", "audit"], page.next_cursor.as_deref()),
        action: visit.asked("action").unwrap_or_default().to_owned(),
    })
}
