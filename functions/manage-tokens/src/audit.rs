//! The audit log.

use axum::extract::State;
use baton_api::task::Page;
use baton_api::token::{AuditView, ChangeView};
use baton_http::auth::Rules;
use baton_http::{ApiResult, App, Caller, QueryFields, ok, wire};
use baton_model::Expected;
use baton_store::{AuditEntry, AuditFilter};

/// List what operators did
///
/// Each request that changed tasks' fate, queues, workers or tokens, the newest first; kept for 400 days.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "tokens",
    params(
        ("token" = Option<String>, Query, description = "Made with the token of this id"),
        ("action" = Option<String>, Query, description = "Of this operation, such as cancel_task"),
        ("from" = Option<String>, Query, description = "Asked for at this time (RFC 3339) or later"),
        ("before" = Option<String>, Query, description = "Asked for before this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<AuditView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    let action = query.text("action");
    let rules = Rules::of_baton();
    let actions = || rules.all().iter().filter(|rule| rule.audited).map(|rule| rule.operation);
    // Of a dialect's operations its own table knows; their names begin with the dialect's and a full stop.
    let is_known = |action: &String| action.contains('.') || actions().any(|known| known == *action);
    if let Some(unknown) = action.as_ref().filter(|action| !is_known(action)) {
        let expected = format!("one of {}", actions().collect::<Vec<_>>().join(", "));
        query.refuse("action", Expected::text(expected, unknown));
    }
    let filter = AuditFilter {
        token: query.one("token"),
        action,
        from: query.one("from"),
        before: query.one("before"),
    };
    let page = query.page();
    query.finish()?;
    ok(&wire::page(app.store.audit(filter, page).await?, view))
}

fn view(entry: AuditEntry) -> AuditView {
    AuditView {
        id: entry.id,
        at: entry.at,
        action: entry.action,
        target: entry.target,
        token_id: entry.token,
        token_name: entry.token_name,
        request_id: entry.request_id,
        by: entry.by,
        reason: entry.reason,
        outcome: entry.outcome,
        change: entry.change.map(|change| ChangeView { from: change.from, to: change.to }),
    }
}
