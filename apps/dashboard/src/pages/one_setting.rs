//! One setting that may change while servers run: how it stands, what it was, and its change, which is asked about first.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use baton_api::config::{PastSettingView, SettingDetailView, SettingView};
use baton_http::ApiError;
use baton_model::Timestamp;
use baton_runtime::settings::LayerName;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::act::because;
use crate::address::path;
use crate::answer;
use crate::form::Act;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, plain};

#[derive(Template)]
#[template(path = "setting.html")]
struct OneSetting {
    shell: Shell,
    setting: Shown,
    past: Vec<Past>,
    /// Whether it is offered to change it.
    sets: bool,
    /// What stands in the form: what was refused, or what is in force. As it is, and not as it is shown: it is what would be set.
    typed: String,
    reason: String,
    /// Why what was asked for was refused.
    refused: Option<String>,
}

#[derive(Template)]
#[template(path = "setting_confirm.html")]
struct Confirm {
    shell: Shell,
    setting: Shown,
    /// What it is to be; none: nothing that the store keeps.
    to: Option<To>,
    reason: String,
}

/// A value that is asked about.
struct To {
    value: String,
    shown: String,
}

struct Shown {
    key: String,
    here: String,
    value: String,
    from: String,
    /// Whether what the store keeps is in force.
    from_store: bool,
    default: String,
    expects: String,
    what: String,
    stored: Option<Stored>,
    note: Option<String>,
}

struct Stored {
    value: String,
    at: When,
    by: Option<String>,
    reason: Option<String>,
}

struct Past {
    at: When,
    by: String,
    from: String,
    to: String,
    reason: String,
}

/// Shows it.
pub(crate) async fn show(visit: Visit, Path(key): Path<String>) -> Result<Response, ApiError> {
    let detail = detail(&visit, &key).await?;
    let typed = detail.setting.value.clone();
    answer::ok(&page(&visit, detail, typed, String::new(), None))
}

/// Says what would become of it, and asks whether that is meant. What does not fit is refused on the page, with what was typed.
pub(crate) async fn confirm(Path(key): Path<String>, act: Act) -> Result<Response, ApiError> {
    let detail = detail(&act.visit, &key).await?;
    let reason = act.reason().unwrap_or_default().to_owned();
    let to = match act.fields.one("do") {
        Some("unset") => None,
        _ => Some(act.fields.one("value").unwrap_or_default().to_owned()),
    };
    // By the very check of the route: nothing is asked about that it would refuse.
    if let Some(value) = &to
        && let Err(misfit) = baton_runtime::settings::check_running(&key, value)
    {
        let refused = Some(plain(&misfit.to_string(), LINES));
        return answer::page(
            StatusCode::UNPROCESSABLE_ENTITY,
            &page(&act.visit, detail, value.clone(), reason, refused),
        );
    }
    answer::ok(&Confirm {
        shell: Shell::new(&act.visit, &format!("Change {key}?"), "/ui/settings"),
        setting: shown(&detail.setting, act.visit.now),
        to: to.map(|value| To { shown: plain(&value, LINES), value }),
        reason,
    })
}

/// Changes it.
pub(crate) async fn change(Path(key): Path<String>, act: Act) -> Result<Response, ApiError> {
    let mut body = because(&act);
    let method = match act.fields.one("do") {
        Some("unset") => Method::DELETE,
        _ => {
            body.insert("value".to_owned(), json!(act.fields.one("value").unwrap_or_default()));
            Method::PUT
        }
    };
    let changed = act.visit.ask::<Value>(method, &["v1", "config", &key], &body).await;
    match changed {
        Ok(_) => Ok(answer::see(&path(&["ui", "settings", &key], &[("did", "set")]))),
        // A form that was made otherwise, or another version of the server meanwhile.
        Err(error) if error.code() == baton_api::ProblemCode::InvalidFields => {
            let detail = detail(&act.visit, &key).await?;
            let typed = act.fields.one("value").unwrap_or_default().to_owned();
            let (reason, refused) =
                (act.reason().unwrap_or_default().to_owned(), Some(error.problem().detail.clone()));
            answer::page(StatusCode::UNPROCESSABLE_ENTITY, &page(&act.visit, detail, typed, reason, refused))
        }
        Err(error) => Err(error),
    }
}

async fn detail(visit: &Visit, key: &str) -> Result<SettingDetailView, ApiError> {
    visit.get(&["v1", "config", key], &[]).await
}

fn page(
    visit: &Visit,
    detail: SettingDetailView,
    typed: String,
    reason: String,
    refused: Option<String>,
) -> OneSetting {
    OneSetting {
        shell: Shell::new(visit, &detail.setting.key, "/ui/settings"),
        setting: shown(&detail.setting, visit.now),
        past: detail.history.iter().map(|one| past(one, visit.now)).collect(),
        sets: visit.rights.may("set_config"),
        typed,
        reason,
        refused,
    }
}

fn shown(one: &SettingView, now: Timestamp) -> Shown {
    Shown {
        here: path(&["ui", "settings", &one.key], &[]),
        key: one.key.clone(),
        value: plain(&one.value, LINES),
        from: plain(one.from.as_deref().unwrap_or("the default"), LINES),
        from_store: one.layer == LayerName::Store.as_str(),
        default: one.default.clone(),
        expects: one.expects.clone(),
        what: one.what.clone(),
        stored: one.stored.as_ref().map(|stored| Stored {
            value: plain(&stored.value, LINES),
            at: When::new(stored.set_at, now),
            by: stored.set_by.as_ref().map(|by| plain(by.as_str(), NAMES)),
            reason: stored.reason.as_ref().map(|reason| plain(reason, LINES)),
        }),
        note: one.not_in_force.as_ref().map(|note| plain(note, LINES)),
    }
}

fn past(one: &PastSettingView, now: Timestamp) -> Past {
    let value =
        |value: &Option<String>| value.as_ref().map_or("unset".to_owned(), |value| plain(value, LINES));
    Past {
        at: When::new(one.at, now),
        by: one.by.as_ref().map(|by| plain(by.as_str(), NAMES)).unwrap_or_default(),
        from: value(&one.from),
        to: value(&one.to),
        reason: one.reason.as_ref().map(|reason| plain(reason, LINES)).unwrap_or_default(),
    }
}
