//! Settings that change while servers run.

use axum::extract::State;
use baton_api::config::{
    ConfigView, PassedOverView, SetSetting as SetSettingRequest, SettingChangeView, SettingDetailView,
    SettingView,
};
use baton_api::manage::ActionRequest;
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, OptionalBody, PathId, Taken, ok};
use baton_model::Expected;
use baton_model::schedule::Said;
use baton_runtime::settings::{Misfit, PassedOver, RunningSetting, check_running, running_key};
use baton_store::SetSetting;

/// A key in a path. Which ones there are is looked up by the handler, as what is in the way is told by each in its own words.
pub(crate) struct Key(String);

impl std::str::FromStr for Key {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if (1..=100).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Expected::text("the key of a setting, such as log.level", text))
    }
}

/// List the settings that may change while servers run
///
/// Each with the value that is in force at the server that answers, the layer that sets it, and what the store keeps of it, in force or
/// not: flags win over the environment, that over the file, that over the store, that over the default.
#[utoipa::path(
    get,
    path = "/v1/config",
    operation_id = "list_config",
    tag = "operations",
    responses(
        (status = 200, description = "The settings", body = ConfigView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> ApiResult {
    caller.reach_everything()?;
    let taken = looked(&app).await?;
    let passed_over = taken.passed_over.iter().map(|PassedOver { key, value, why }| PassedOverView {
        key: key.clone(),
        value: value.clone(),
        why: why.clone(),
    });
    ok(&ConfigView {
        version: taken.stored.version,
        items: taken.settings.running(&taken.stored).into_iter().map(view).collect(),
        passed_over: passed_over.collect(),
    })
}

/// Get a setting that may change while servers run
///
/// With those of its changes that are remembered: the store keeps the last 100 changes of all settings.
#[utoipa::path(
    get,
    path = "/v1/config/{key}",
    operation_id = "get_config",
    tag = "operations",
    params(("key" = String, Path, description = "Its key, such as log.level")),
    responses(
        (status = 200, description = "The setting", body = SettingDetailView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(State(app): State<App>, caller: Caller, PathId(Key(key)): PathId<Key>) -> ApiResult {
    caller.reach_everything()?;
    let key = running_key(&key).map_err(refused)?;
    let taken = looked(&app).await?;
    let setting = setting(&taken, key).ok_or_else(ApiError::internal)?;
    let history = taken.stored.history_of(key).cloned().map(Into::into).collect();
    ok(&SettingDetailView { setting, history })
}

/// Set a setting while servers run
///
/// The store keeps it; the server that answers goes by it at once, all others that use the store within 5 seconds. It takes the place of
/// what was set before, whoever set that: of two at once the later one stands, and the history tells of both. Where the file, the
/// environment or a flag sets it, these win, and the answer says so. To set what is set already changes nothing.
#[utoipa::path(
    put,
    path = "/v1/config/{key}",
    operation_id = "set_config",
    tag = "operations",
    params(("key" = String, Path, description = "Its key, such as log.level")),
    request_body = SetSettingRequest,
    responses(
        (status = 200, description = "The setting is kept", body = SettingChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    PathId(Key(key)): PathId<Key>,
    JsonBody(request): JsonBody<SetSettingRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let value = request.value.trim().to_owned();
    check_running(&key, &value).map_err(refused)?;
    change(&app, &caller, key, Some(value), ActionRequest { by: request.by, reason: request.reason }).await
}

/// Unset a setting
///
/// What the store has kept of it is gone, and what is under it holds again. Also of what this server does not know, if the store keeps
/// it. To unset what is not set changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/config/{key}",
    operation_id = "unset_config",
    tag = "operations",
    params(("key" = String, Path, description = "Its key, such as log.level")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The store keeps nothing of it", body = SettingChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn unset(
    State(app): State<App>,
    caller: Caller,
    PathId(Key(key)): PathId<Key>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    if let Err(misfit) = running_key(&key)
        && !looked(&app).await?.stored.values.contains_key(&key)
    {
        return Err(refused(misfit));
    }
    change(&app, &caller, key, None, request).await
}

async fn change(
    app: &App,
    caller: &Caller,
    key: String,
    to: Option<String>,
    request: ActionRequest,
) -> ApiResult {
    let by = caller.asks(request.by, request.reason.as_deref());
    let said = Said { now: app.now(), by: by.clone(), reason: request.reason.clone() };
    let changed = app.store.set_setting(SetSetting { key: key.clone(), to: to.clone(), said }).await?;
    let from = changed.from.values.get(&key).map(|stored| stored.value.clone());
    caller.has_changed(from.clone(), to.clone());
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(key, by, reason = request.reason, from, to, "setting changed in the store");
    let version = changed.to.version;
    app.go_by(changed.to);
    let setting = setting(&app.in_force.taken(), &key);
    ok(&SettingChangeView { key, from, to, version, setting })
}

/// The settings as they stand after a look into the store: who asks sees what another server has just set.
async fn looked(app: &App) -> Result<std::sync::Arc<Taken>, ApiError> {
    app.look_at_settings().await?;
    Ok(app.in_force.taken())
}

fn setting(taken: &Taken, key: &str) -> Option<SettingView> {
    taken.settings.running(&taken.stored).into_iter().find(|one| one.key == key).map(view)
}

fn view(one: RunningSetting) -> SettingView {
    SettingView {
        key: one.key.to_owned(),
        value: one.value,
        layer: one.layer.as_str().to_owned(),
        from: one.origin,
        default: one.default,
        unit: Some(one.unit.to_owned()).filter(|unit| !unit.is_empty()),
        expects: one.expects,
        what: one.what,
        stored: one.stored.map(Into::into),
        not_in_force: one.not_in_force,
    }
}

fn refused(misfit: Misfit) -> ApiError {
    match misfit {
        Misfit::Key(problem) => ApiError::field("key", problem),
        Misfit::Value(problem) => ApiError::field("value", problem),
    }
}
