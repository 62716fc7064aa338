//! The tokens, without their secrets, which are kept nowhere.

use askama::Template;
use axum::response::Response;
use baton_api::task::Page;
use baton_api::token::TokenView;
use baton_http::ApiError;
use baton_model::TokenStatus;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{NAMES, When, plain, short};

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    shell: Shell,
    tokens: Vec<Row>,
    next: Option<String>,
    revokes: bool,
}

struct Row {
    id: String,
    short: String,
    name: String,
    status: &'static str,
    active: bool,
    scopes: String,
    bounds: String,
    created: When,
    used: Option<When>,
    expires: Option<When>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<TokenView> = visit.get(&["v1", "tokens"], &list_query(&visit, &[])).await?;
    let rows = page.items.iter().map(|token| {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        let project = token.project.iter().map(|project| format!("project {project}"));
        let bounds: Vec<String> =
            project.chain(token.queues.iter().map(|queue| format!("queue {queue}"))).collect();
        Row {
            id: token.id.to_string(),
            short: short(&token.id),
            name: plain(token.name.as_str(), NAMES),
            status: token.status.as_str(),
            active: token.status == TokenStatus::Active,
            scopes: scopes.join(", "),
            bounds: bounds.join(", "),
            created: When::new(token.created_at, visit.now),
            used: token.last_used_at.map(|at| When::new(at, visit.now)),
            expires: token.expires_at.map(|at| When::new(at, visit.now)),
        }
    });
    answer::ok(&Tokens {
        shell: Shell::new(&visit, "Tokens", "/ui/tokens"),
        tokens: rows.collect(),
        next: next_page(&visit, &["ui", "tokens"], page.next_cursor.as_deref()),
        revokes: visit.rights.may("revoke_token"),
    })
}
