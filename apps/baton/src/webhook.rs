//! `baton webhook`.

use std::path::PathBuf;

use baton_alerts::{EventName, SecretText, WebhookUrl};
use baton_api::manage::ActionRequest;
use baton_api::webhook::{MessageView, RedeliverRequest, SetWebhook, WebhookDetailView, WebhookView};
use baton_model::{GroupName, Label, ProjectId, QueueName};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Paged, Shown, Times};

#[derive(Subcommand)]
pub(crate) enum Webhooks {
    /// All webhooks, and how they stand.
    List(List),
    /// One webhook, with its messages and what came of them.
    Show(One),
    /// Set a webhook; its secret is made, and shown once, unless a file holds one.
    Set(Box<Set>),
    /// Take a webhook away, with what waits for it.
    Delete(Name),
    /// Send a message that says nothing, to see whether it comes.
    Test(Asked),
    /// Send a message anew.
    Redeliver(Redeliver),
    /// Take up a webhook that was given up.
    Enable(Asked),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct One {
    /// The webhook.
    name: GroupName,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Name {
    /// The webhook.
    name: GroupName,
}

#[derive(Args)]
pub(crate) struct Asked {
    /// The webhook.
    name: GroupName,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct Redeliver {
    /// The webhook.
    name: GroupName,
    /// The message's id, as `baton webhook show` has it.
    id: String,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton webhook set chat --url https://hooks.example/x --event alert.fired --event alert.ended
  baton webhook set film --url https://film.example/in --event task.failed --project film

Events: alert.fired, alert.ended, task.created, task.claimed, task.completed,
task.attempt_failed, task.failed, task.cancelled, task.retried. Without any, it
hears of the alerts whose rules name it.")]
pub(crate) struct Set {
    /// The webhook's name.
    name: GroupName,
    /// Where messages are sent.
    #[arg(long)]
    url: WebhookUrl,
    /// What it hears of; may be given several times.
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<EventName>,
    /// A queue whose tasks it hears of; may be given several times. All if left out.
    #[arg(long = "queue", value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// The project whose tasks it hears of; all if left out.
    #[arg(long)]
    project: Option<ProjectId>,
    /// A file that holds the secret that messages are signed with.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Webhooks {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => {
                let mut rows = rows();
                rows.choose(&list.columns).map_err(Failure::usage)?;
                let webhooks = client.webhooks().await?;
                if context.out.is_json() {
                    return context.out.json(&webhooks);
                }
                let times = list.shown.begin(context);
                webhooks.items.iter().for_each(|webhook| rows.add(row(webhook, &times)));
                let empty = "no webhook; set one with `baton webhook set`, or as [[webhooks]]";
                context.out.table(rows, empty)
            }
            Self::Show(One { name, shown }) => {
                let detail = client.webhook(&name).await?;
                if context.out.is_json() {
                    return context.out.json(&detail);
                }
                show(context, &detail, &shown.begin(context))
            }
            Self::Set(set) => set.run(context).await,
            Self::Delete(Name { name }) => {
                let webhook = client.delete_webhook(&name).await?;
                done(context, &webhook, &format!("webhook {name} is gone"))
            }
            Self::Test(asked) => {
                let (name, action) = asked.action();
                let message = client.test_webhook(&name, &action).await?;
                sent(context, &name, &message)
            }
            Self::Redeliver(Redeliver { name, id }) => {
                let message = client.redeliver(&name, &RedeliverRequest { id }).await?;
                sent(context, &name, &message)
            }
            Self::Enable(asked) => {
                let (name, action) = asked.action();
                let webhook = client.enable_webhook(&name, &action).await?;
                done(context, &webhook, &format!("webhook {name} is taken up"))
            }
        }
    }
}

impl Asked {
    fn action(self) -> (GroupName, ActionRequest) {
        (self.name, ActionRequest { by: self.by, reason: self.reason })
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name, url, events, queues, project, secret_file } = self;
        let secret = secret_file.map(|file| -> Result<SecretText, Failure> {
            let wrong = |why: String| Failure::usage(format!("--secret-file {}: {why}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
            text.trim().parse().map_err(|problem: baton_model::Expected| wrong(problem.to_string()))
        });
        let set = SetWebhook { url, secret: secret.transpose()?, events, queues, project };
        let webhook = context.client()?.set_webhook(&name, &set).await?;
        if context.out.is_json() {
            return context.out.json(&webhook);
        }
        context.out.note(&format!("webhook {name} is set"));
        if let Some(secret) = &webhook.secret {
            context.out.note("its messages are signed with this secret, which is shown only now:");
            context.out.line(secret)?;
        }
        Ok(())
    }
}

fn done(context: &Context, webhook: &WebhookView, what: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(webhook);
    }
    context.out.note(what);
    Ok(())
}

fn sent(context: &Context, name: &GroupName, message: &MessageView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(message);
    }
    context.out.line(&message.id)?;
    context.out.note(&format!("it is sent; `baton webhook show {name}` tells what comes of it"));
    Ok(())
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("WEBHOOK").cut(),
        Column::new("URL").cut(),
        Column::new("STATE"),
        Column::new("WAITING"),
        Column::new("DELIVERED"),
        Column::new("GIVEN-UP").spare(),
        Column::new("EVENTS").cut().spare(),
        Column::new("FROM").spare(),
    ])
}

/// How it stands, in words.
fn state(webhook: &WebhookView, times: &Times) -> String {
    let since = webhook.disabled_at.or(webhook.failing_since);
    since.map_or_else(|| webhook.status.clone(), |at| format!("{} since {}", webhook.status, times.ago(at)))
}

fn events(webhook: &WebhookView) -> String {
    let names: Vec<&str> = webhook.events.iter().map(|name| name.as_str()).collect();
    if names.is_empty() { "alerts that name it".to_owned() } else { names.join(", ") }
}

fn row(webhook: &WebhookView, times: &Times) -> Vec<String> {
    vec![
        webhook.name.to_string(),
        webhook.url.clone(),
        state(webhook, times),
        webhook.waiting.to_string(),
        webhook.delivered.to_string(),
        (webhook.given_up + webhook.dropped).to_string(),
        events(webhook),
        webhook.from.clone(),
    ]
}

fn show(context: &Context, detail: &WebhookDetailView, times: &Times) -> Result<(), Failure> {
    let webhook = &detail.webhook;
    let queues: Vec<&str> = webhook.queues.iter().map(QueueName::as_str).collect();
    let mut facts = vec![
        ("webhook", webhook.name.to_string()),
        ("url", webhook.url.clone()),
        ("state", state(webhook, times)),
        ("events", events(webhook)),
        ("set", webhook.from.clone()),
        ("waiting", webhook.waiting.to_string()),
        ("delivered", webhook.delivered.to_string()),
        ("given up", webhook.given_up.to_string()),
        ("dropped", webhook.dropped.to_string()),
    ];
    facts.extend((!queues.is_empty()).then(|| ("queues", queues.join(", "))));
    facts.extend(webhook.project.as_ref().map(|project| ("project", project.to_string())));
    facts.extend(webhook.disabled_why.as_ref().map(|why| ("why", why.clone())));
    context.out.facts(facts)?;
    let mut rows = Rows::of(&[
        Column::new("MESSAGE"),
        Column::new("EVENT"),
        Column::new("STATE"),
        Column::new("TRIES"),
        Column::new("CREATED"),
        Column::new("LAST").cut(),
    ]);
    for message in detail.waiting_messages.iter().chain(&detail.messages) {
        rows.add(vec![
            message.id.clone(),
            message.event.as_str().to_owned(),
            message.status.clone(),
            message.tries.to_string(),
            times.ago(message.created_at),
            message.last.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    context.out.table(rows, "no message yet; `baton webhook test` sends one")
}
