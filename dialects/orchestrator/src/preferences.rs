//! Providers and preferences: settings that clients store, and what is chosen for a task by them.

use axum::extract::Request;
use baton_model::Label;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::kept::Kept;
use crate::no::{No, Told, told};
use crate::records;
use crate::workers;
use crate::wrong::Wrong;

const PREFERENCES: &str = "preferences";
const PROVIDERS: &str = "providers";

/// Whose preferences are meant where no user is named.
const ANYBODY: &str = "default";

/// Who does the work where no provider was stored: whichever worker claims the task.
const WORKERS: &str = "baton";

/// A provider, as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Provider {
    name: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default = "worker")]
    mode: String,
    #[serde(default = "worker")]
    provider_type: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    available_models: Vec<String>,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    available: bool,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    status_details: Value,
}

fn worker() -> String {
    "worker".to_owned()
}

fn yes() -> bool {
    true
}

/// What a user prefers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Preferences {
    user_id: String,
    #[serde(default)]
    preferred_provider: Option<String>,
    #[serde(default)]
    preferred_model: Option<String>,
    #[serde(default)]
    full_access_preferred: bool,
    #[serde(default)]
    role_preferences: Map<String, Value>,
}

fn label(name: &str) -> Label {
    Label::from_stored(name)
}

/// The providers that are stored, the first to be taken first; none if none are.
async fn stored(ask: &Ask<'_>) -> Result<Vec<Provider>, No> {
    let stored = records::setting(ask, PROVIDERS, &label(PROVIDERS)).await?;
    Ok(stored.and_then(|task| serde_json::from_str(task.params.as_str()).ok()).unwrap_or_default())
}

/// `GET /api/providers`.
pub(crate) async fn providers(ask: &Ask<'_>, _: Request) -> Told {
    let mut providers = stored(ask).await?;
    if providers.is_empty() {
        providers.push(of_workers(ask).await?);
    }
    for provider in &mut providers {
        let name = &provider.name;
        provider.display_name.get_or_insert_with(|| name.clone());
    }
    told(&providers)
}

async fn of_workers(ask: &Ask<'_>) -> Result<Provider, No> {
    let fleet = workers::fleet(ask).await?;
    Ok(Provider {
        name: WORKERS.to_owned(),
        display_name: Some("Baton's workers".to_owned()),
        mode: worker(),
        provider_type: worker(),
        model: None,
        available_models: Vec::new(),
        description: "Whichever worker claims the task".to_owned(),
        available: fleet.active() > 0,
        capabilities: vec!["tasks".to_owned()],
        status_details: json!({ "workers_active": fleet.active() }),
    })
}

/// `POST /api/providers`: the whole list, in the place of the one before.
pub(crate) async fn set_providers(ask: &Ask<'_>, request: Request) -> Told {
    let read = serde_json::from_str::<Vec<Provider>>(&ask.body(request).await?);
    let providers = read.map_err(|error| {
        let detail =
            format!("expected a list of providers, each with its name; got one that is not: {error}");
        No::Said(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    records::settle(ask, PROVIDERS, &label(PROVIDERS), &providers).await?;
    told(&json!({ "message": "Providers stored", "total_providers": providers.len() }))
}

/// The preferences of a user, as they were stored or as they are before that.
async fn preferred(ask: &Ask<'_>, user: &Label) -> Result<Preferences, No> {
    let stored = records::setting(ask, PREFERENCES, user).await?;
    let stored = stored.and_then(|task| serde_json::from_str(task.params.as_str()).ok());
    Ok(stored.unwrap_or_else(|| Preferences {
        user_id: user.to_string(),
        preferred_provider: None,
        preferred_model: None,
        full_access_preferred: false,
        role_preferences: Map::new(),
    }))
}

fn user(place: &str, name: &str) -> Result<Label, No> {
    let mut wrong = Wrong::default();
    let read: Result<Label, _> = name.parse();
    if let Err(expected) = &read {
        wrong.add((place, "user_id"), ("value_error", &expected.to_string()), &name.into());
    }
    Ok(wrong.none_or(read.unwrap_or_else(|_| label(ANYBODY)))?)
}

/// `GET /api/preferences`.
pub(crate) async fn get(ask: &Ask<'_>, _: Request) -> Told {
    let user = user("query", ask.query.text("user_id").unwrap_or(ANYBODY))?;
    told(&preferred(ask, &user).await?)
}

/// `POST /api/preferences`: what is left out becomes as it is before anything is stored.
pub(crate) async fn set(ask: &Ask<'_>, request: Request) -> Told {
    let mut fields = ask.fields(request).await?;
    let named = fields.text_or_none("user_id");
    let mut preferences = Preferences {
        user_id: String::new(),
        preferred_provider: fields.text_or_none("preferred_provider"),
        preferred_model: fields.text_or_none("preferred_model"),
        full_access_preferred: fields.flag("full_access_preferred").unwrap_or(false),
        role_preferences: fields.object("role_preferences").unwrap_or_default(),
    };
    preferences = fields.none_or(preferences)?;
    let name = named.as_deref().or_else(|| ask.query.text("user_id")).unwrap_or(ANYBODY);
    let user = user("body", name)?;
    preferences.user_id = user.to_string();
    // They are told as they came, in no more than a task's params may have.
    ask.caller.keep_room_for_tasks(ask.app, 1).await?;
    records::settle(ask, PREFERENCES, &user, &preferences).await?;
    told(&preferences)
}

/// The provider and model of a task.
#[derive(Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) provider: String,
    pub(crate) model: Option<String>,
}

/// What is chosen for a task: what it names itself, else what is preferred for its role, else what is preferred, else the first
/// provider that is available.
pub(crate) async fn choose(ask: &Ask<'_>, kept: &Kept) -> Result<Chosen, No> {
    Ok(chosen(kept, &preferred(ask, &label(ANYBODY)).await?, &stored(ask).await?))
}

fn chosen(kept: &Kept, preferences: &Preferences, providers: &[Provider]) -> Chosen {
    let of_role = preferences.role_preferences.get(&kept.role);
    let of_role = |names: [&str; 2]| match of_role {
        Some(Value::String(provider)) if names[0] == "provider" => Some(provider.clone()),
        Some(Value::Object(wished)) => {
            names.iter().find_map(|name| wished.get(*name)).and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let available =
        || providers.iter().find(|provider| provider.available).map(|provider| provider.name.clone());
    let provider = (kept.provider_override.clone())
        .or_else(|| of_role(["provider", "preferred_provider"]))
        .or_else(|| preferences.preferred_provider.clone())
        .or_else(available)
        .unwrap_or_else(|| WORKERS.to_owned());
    // The preferred model is one of the preferred provider's.
    let preferred_model = || {
        let fits = preferences.preferred_provider.as_ref().is_none_or(|preferred| *preferred == provider);
        preferences.preferred_model.clone().filter(|_| fits)
    };
    let own =
        || providers.iter().find(|listed| listed.name == provider).and_then(|listed| listed.model.clone());
    let role_model =
        if kept.provider_override.is_none() { of_role(["model", "preferred_model"]) } else { None };
    let model = kept.model.clone().or(role_model).or_else(preferred_model).or_else(own);
    Chosen { provider, model }
}
