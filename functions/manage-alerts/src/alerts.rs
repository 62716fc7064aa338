//! Rules of alerts: shown, set and taken away.

use axum::extract::State;
use baton_alerts::{Kind, Rule};
use baton_api::ProblemCode;
use baton_api::alert::{AlertView, AlertsView, SetAlert};
use baton_http::notices::{self, Origin, RULE};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, PathId, QueryFields, ok};
use baton_model::GroupName;
use baton_store::{DocumentChanges, StoreError};

pub(crate) async fn list(State(app): State<App>, caller: Caller, query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    query.finish()?;
    let mut items = Vec::new();
    for (rule, from) in app.notices.rules(&*app.store).await? {
        items.push(view(&app, rule, from).await?);
    }
    ok(&AlertsView { items })
}

pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
) -> ApiResult {
    caller.reach_everything()?;
    let rules = app.notices.rules(&*app.store).await?;
    let Some((rule, from)) = rules.into_iter().find(|(rule, _)| rule.name == name) else {
        return Err(unknown(&name));
    };
    ok(&view(&app, rule, from).await?)
}

pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
    JsonBody(request): JsonBody<SetAlert>,
) -> ApiResult {
    caller.reach_everything()?;
    not_of_settings(&app, &name)?;
    let rule = request.rule(name).map_err(|(field, problem)| ApiError::field(field, problem))?;
    // Who lives for a request alone has neither a disk nor workers beside it.
    let is_told = !matches!(rule.kind, Kind::DiskLow | Kind::GroupFailed);
    if !is_told && !app.timekeeper.hears_itself() {
        return Err(StoreError::NotTold {
            what: format!("kind: a function cannot tell the figure of {}", rule.kind.as_str()),
            instead: "set the rule at a server on the table, which looks at it (docs/alerts.md)".to_owned(),
        }
        .into());
    }
    // One after the other, so that there are never more than there may be.
    let _turn = app.notices.turn().await;
    let known = app.store.documents(RULE, None, Rule::MOST as u32).await?;
    let before = known.iter().find(|document| document.name == rule.name.as_str());
    if before.is_none() && known.len() >= Rule::MOST {
        return Err(StoreError::TooManyLimits { what: "rules of alerts", most: Rule::MOST }.into());
    }
    let text = notices::write("a rule of alerts", &rule)?;
    caller.has_changed(before.map(|document| document.value.clone()), Some(text.clone()));
    let mut changes = DocumentChanges::default();
    changes.put(RULE, rule.name.as_str(), text);
    app.store.change_documents(changes).await?;
    tracing::info!(alert = %rule.name, "rule of alerts set");
    ok(&view(&app, rule, Origin::Api).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
) -> ApiResult {
    caller.reach_everything()?;
    not_of_settings(&app, &name)?;
    let Some(before) = app.store.document(RULE, name.as_str()).await? else { return Err(unknown(&name)) };
    let rule: Rule = notices::read("a rule of alerts", &before)?;
    caller.has_changed(Some(before), None);
    let mut changes = DocumentChanges::default();
    changes.remove(RULE, name.as_str());
    app.store.change_documents(changes).await?;
    tracing::info!(alert = %name, "rule of alerts taken away");
    // What still fires is ended by the next look, which tells of it.
    ok(&view(&app, rule, Origin::Api).await?)
}

async fn view(app: &App, rule: Rule, from: Origin) -> Result<AlertView, ApiError> {
    let standing = notices::standing(&*app.store, &rule.name).await?;
    Ok(AlertView::of(rule, from.as_str(), &standing))
}

fn not_of_settings(app: &App, name: &GroupName) -> Result<(), ApiError> {
    if app.notices.rule_of_settings(name).is_none() {
        return Ok(());
    }
    let name = name.as_str();
    Err(ApiError::new(
        ProblemCode::SetInSettings,
        format!(
            "alert {name:?} stands in the settings ([[alerts]]); change it there, or choose another name"
        ),
    ))
}

fn unknown(name: &GroupName) -> ApiError {
    let name = name.as_str();
    ApiError::new(
        ProblemCode::AlertNotFound,
        format!("there is no alert {name:?}; GET /v1/alerts lists those that there are"),
    )
}
