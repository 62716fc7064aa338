//! Webhooks: shown, set, taken away, and asked to be told something anew.

use axum::extract::State;
use baton_alerts::{Delivery, Event, EventName, HookStanding, SecretText, Webhook, message_id};
use baton_api::ProblemCode;
use baton_api::manage::ActionRequest;
use baton_api::webhook::{
    MessageView, RedeliverRequest, SetWebhook, WebhookDetailView, WebhookView, WebhooksView,
};
use baton_http::notices::{self, HOOK, KEPT, Origin, WAITING_ALERTS, WEBHOOK};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, OptionalBody, PathId, QueryFields, ok};
use baton_model::GroupName;
use baton_store::{Capabilities, DocumentChanges, StoreError};
use serde_json::json;

/// How many bytes a secret has that is made here.
const SECRET: usize = 32;

/// How many documents one commit removes.
const REMOVED: u32 = 1_000;

pub(crate) async fn list(State(app): State<App>, caller: Caller, query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    query.finish()?;
    let mut items = Vec::new();
    for (webhook, from) in app.notices.webhooks(&*app.store).await? {
        items.push(view(&app, &webhook, from).await?);
    }
    ok(&WebhooksView { items })
}

pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
) -> ApiResult {
    caller.reach_everything()?;
    let (webhook, from) = known(&app, &name).await?;
    let shown = |messages: Vec<Delivery>| messages.into_iter().map(MessageView::from);
    let waiting = notices::messages(&*app.store, &notices::waiting(&name), KEPT as u32).await?;
    // Some more than are kept may be there for a while.
    let over = notices::messages(&*app.store, &notices::over(&name), 4 * KEPT as u32).await?;
    ok(&WebhookDetailView {
        webhook: view(&app, &webhook, from).await?,
        waiting_messages: shown(waiting).collect(),
        messages: shown(over).rev().take(KEPT).collect(),
    })
}

pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
    JsonBody(request): JsonBody<SetWebhook>,
) -> ApiResult {
    caller.reach_everything()?;
    not_of_settings(&app, &name)?;
    let _turn = app.notices.turn().await;
    let all = app.store.documents(WEBHOOK, None, Webhook::MOST as u32).await?;
    let before = all.iter().find(|document| document.name == name.as_str());
    if before.is_none() && all.len() >= Webhook::MOST {
        return Err(StoreError::TooManyLimits { what: "webhooks", most: Webhook::MOST }.into());
    }
    let before = before.map(|document| notices::read::<Webhook>("a webhook", &document.value)).transpose()?;
    let (secret, made) = match (&request.secret, &before) {
        (Some(secret), _) => (secret.clone(), None),
        (None, Some(before)) => (before.secret.clone(), None),
        (None, None) => {
            let secret = new_secret()?;
            (secret.clone(), Some(secret.reveal().to_owned()))
        }
    };
    let webhook = request.webhook(name, secret);
    let Capabilities { feed, streams, .. } = app.store.capabilities();
    if webhook.hears_of_tasks() && !feed && !streams {
        return Err(StoreError::NotTold {
            what: "events: webhooks hear of tasks by the table's stream, which nobody follows".to_owned(),
            instead: "name alert.fired and alert.ended alone, or have the stream followed (docs/alerts.md)"
                .to_owned(),
        }
        .into());
    }
    caller.has_changed(before.as_ref().map(told), Some(told(&webhook)));
    let mut changes = DocumentChanges::default();
    changes.put(WEBHOOK, webhook.name.as_str(), notices::write("a webhook", &webhook)?);
    if before.is_none() {
        // What was written of one of its name while that was taken away is not its own.
        clear(&app, &webhook.name, DocumentChanges::default()).await?;
        let standing = HookStanding::born(app.ids.uuid().to_string());
        changes.put(HOOK, webhook.name.as_str(), notices::write("how a webhook stands", &standing)?);
    }
    app.store.change_documents(changes).await?;
    app.notices.changed();
    tracing::info!(webhook = %webhook.name, "webhook set");
    let view = view(&app, &webhook, Origin::Api).await?;
    ok(&WebhookView { secret: made, ..view })
}

pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
) -> ApiResult {
    caller.reach_everything()?;
    not_of_settings(&app, &name)?;
    let (webhook, from) = known(&app, &name).await?;
    let view = view(&app, &webhook, from).await?;
    caller.has_changed(Some(told(&webhook)), None);
    let _turn = app.notices.turn().await;
    let mut changes = DocumentChanges::default();
    changes.remove(WEBHOOK, name.as_str());
    changes.remove(HOOK, name.as_str());
    clear(&app, &name, changes).await?;
    app.notices.changed();
    tracing::info!(webhook = %name, "webhook taken away");
    ok(&view)
}

pub(crate) async fn enable(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    caller.asks(request.by, request.reason.as_deref());
    let (webhook, from) = known(&app, &name).await?;
    let enabled = app.notices.stand(&app, &name, |standing| {
        standing.enable();
        Ok(DocumentChanges::default())
    });
    if enabled.await?.is_none() {
        return Err(unknown(&name));
    }
    app.notices.due();
    ok(&view(&app, &webhook, from).await?)
}

pub(crate) async fn redeliver(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
    JsonBody(request): JsonBody<RedeliverRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    known(&app, &name).await?;
    let _turn = app.notices.turn().await;
    let (waiting, over) = (notices::waiting(&name), notices::over(&name));
    let mut kept = app.store.document(&over, &request.id).await?;
    if kept.is_none() {
        kept = app.store.document(&waiting, &request.id).await?;
    }
    let Some(kept) = kept else {
        let id = request.id;
        return Err(ApiError::new(
            ProblemCode::MessageNotFound,
            format!(
                "no message {id:?} is kept for webhook {name}; GET /v1/webhooks/{name} lists those that are"
            ),
        ));
    };
    let message: Delivery = notices::read("a message", &kept)?;
    let message = message.anew(app.now());
    let mut changes = DocumentChanges::default();
    changes.remove(&over, &message.id);
    notices::put_message(&mut changes, &name, &message)?;
    app.store.change_documents(changes).await?;
    app.notices.due();
    ok(&MessageView::from(message))
}

pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<GroupName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let by = caller.asks(request.by, request.reason.as_deref());
    known(&app, &name).await?;
    let waiting = app.store.count_documents(&notices::waiting(&name)).await?;
    if waiting >= u64::from(WAITING_ALERTS) {
        let detail = format!("{WAITING_ALERTS} messages wait for webhook {name}, and no more may");
        return Err(ApiError::new(ProblemCode::TooManyLimits, detail));
    }
    let now = app.now();
    let id = message_id(now, &[name.as_str(), &app.ids.uuid().to_string()]);
    let event = Event {
        name: EventName::WebhookTest,
        timestamp: now,
        data: json!({"webhook": name.as_str(), "by": by}),
    };
    let message = Delivery::new(id, EventName::WebhookTest, notices::write("a message", &event)?, now);
    let mut changes = DocumentChanges::default();
    notices::put_message(&mut changes, &name, &message)?;
    app.store.change_documents(changes).await?;
    app.notices.due();
    ok(&MessageView::from(message))
}

async fn known(app: &App, name: &GroupName) -> Result<(Webhook, Origin), ApiError> {
    let all = app.notices.webhooks(&*app.store).await?;
    all.into_iter().find(|(webhook, _)| webhook.name == *name).ok_or_else(|| unknown(name))
}

fn unknown(name: &GroupName) -> ApiError {
    let name = name.as_str();
    ApiError::new(
        ProblemCode::WebhookNotFound,
        format!("there is no webhook {name:?}; GET /v1/webhooks lists those that there are"),
    )
}

/// Makes changes, and removes all messages that are kept for a webhook.
async fn clear(app: &App, name: &GroupName, mut changes: DocumentChanges) -> Result<(), StoreError> {
    for kind in [notices::waiting(name), notices::over(name)] {
        loop {
            let some = app.store.documents(&kind, None, REMOVED).await?;
            some.iter().for_each(|document| changes.remove(&kind, &document.name));
            if !changes.is_empty() {
                app.store.change_documents(std::mem::take(&mut changes)).await?;
            }
            if some.len() < REMOVED as usize {
                break;
            }
        }
    }
    Ok(())
}

async fn view(app: &App, webhook: &Webhook, from: Origin) -> Result<WebhookView, ApiError> {
    let standing = notices::hook_standing(&*app.store, &webhook.name).await?;
    let waiting = app.store.count_documents(&notices::waiting(&webhook.name)).await?;
    Ok(WebhookView::of(webhook, from.as_str(), &standing, waiting))
}

/// What the audit log tells of a webhook: no secret, and no path.
fn told(webhook: &Webhook) -> String {
    let events: Vec<&str> = webhook.events.iter().map(|name| name.as_str()).collect();
    format!("{} ({})", webhook.url.place(), events.join(", "))
}

fn new_secret() -> Result<SecretText, ApiError> {
    let mut bytes = [0; SECRET];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        ApiError::internal()
    })?;
    Ok(SecretText::of(&bytes))
}

fn not_of_settings(app: &App, name: &GroupName) -> Result<(), ApiError> {
    if app.notices.webhook_of_settings(name).is_none() {
        return Ok(());
    }
    let name = name.as_str();
    Err(ApiError::new(
        ProblemCode::SetInSettings,
        format!(
            "webhook {name:?} stands in the settings ([[webhooks]]); change it there, or choose another name"
        ),
    ))
}
