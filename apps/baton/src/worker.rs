//! `baton worker`: what is seen and asked of workers; running one is in `worker_run`.

use baton_api::fleet::WorkerView;
use baton_api::manage::ActionRequest;
use baton_model::{Directive, Label, WorkerId};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Paged, Shown};
use crate::{names, pages, worker_run};

#[derive(Subcommand)]
pub(crate) enum Worker {
    /// Run a worker: a command for each task.
    Run(Box<worker_run::Run>),
    /// All workers with what they hold.
    List(List),
    /// One worker.
    Show(One),
    /// Ask a worker to claim no more, finish what it runs, and end.
    Drain(Change),
    /// Ask a worker to give everything back and end now.
    Stop(Change),
    /// Take back a drain or a stop, as long as the worker has not ended.
    Resume(Change),
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
    /// The worker.
    id: WorkerId,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Change {
    /// The worker.
    id: WorkerId,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Worker {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(context).await,
            Self::List(asked) => list(context, asked).await,
            Self::Show(one) => {
                let client = context.client()?;
                let asked = client.worker(&one.id).await;
                show(context, &names::of_worker(&client, &one.id, asked).await?, one.shown)
            }
            Self::Drain(change) => direct(context, change, Directive::Drain).await,
            Self::Stop(change) => direct(context, change, Directive::Stop).await,
            Self::Resume(change) => direct(context, change, Directive::Run).await,
        }
    }
}

async fn direct(context: &Context, change: Change, directive: Directive) -> Result<(), Failure> {
    let action = ActionRequest { by: change.by, reason: change.reason };
    let client = context.client()?;
    let asked = client.direct(&change.id, directive, &action).await;
    let worker = names::of_worker(&client, &change.id, asked).await?;
    let ended = worker.ended_at.filter(|_| directive == Directive::Run);
    if context.out.is_json() {
        context.out.json(&worker)?;
    }
    // The store has given its end and this an order: nobody need guess which came first.
    if let Some(ended) = ended {
        return Err(Failure::failed(format!(
            "worker {} had ended before, at {ended}: it is too late to take that back; start it anew",
            worker.id
        )));
    }
    if context.out.is_json() {
        return Ok(());
    }
    let asked = directive.as_str();
    let undo = match directive {
        Directive::Run => String::new(),
        Directive::Drain | Directive::Stop => {
            format!("; until it has ended, `baton worker resume {}` takes that back", worker.id)
        }
    };
    context.out.note(&format!(
        "worker {} is asked to {asked}; it learns so with its next heartbeat{undo}",
        worker.id
    ));
    Ok(())
}

async fn list(context: &Context, asked: List) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("WORKER").cut(),
        Column::new("STATUS"),
        Column::new("LIFE"),
        Column::new("HOLDS"),
        Column::new("LAST BEAT"),
        Column::new("STARTED"),
        Column::new("ABOUT").cut().spare(),
    ]);
    rows.choose(&asked.columns).map_err(Failure::usage)?;
    let client = context.client()?;
    let (workers, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    })
    .await?;
    if context.out.is_json() {
        return context.out.json(&serde_json::json!({ "items": workers }));
    }
    let times = asked.shown.begin(context);
    for worker in &workers {
        let capacity = worker.capacity.map_or_else(|| "?".to_owned(), |capacity| capacity.to_string());
        rows.add(vec![
            worker.id.to_string(),
            worker.status.as_str().to_owned(),
            worker.life.as_ref().map_or_else(String::new, |life| life.state.clone()),
            format!("{}/{capacity}", worker.active),
            worker.last_beat_at.map_or_else(|| "never".to_owned(), |at| times.ago(at)),
            times.ago(worker.started_at),
            about(worker),
        ]);
    }
    context.out.table(rows, "no worker yet: start one with `baton worker run -- COMMAND`")
}

/// Where a worker is, and what is wrong with it.
fn about(worker: &WorkerView) -> String {
    let host = worker.labels.get("host").map(String::as_str).unwrap_or_default();
    match worker.labels.get(baton_model::Worker::CANNOT_START) {
        Some(why) => format!("{host} cannot start: {why}").trim_start().to_owned(),
        None => host.to_owned(),
    }
}

pub(crate) fn show(context: &Context, worker: &WorkerView, shown: Shown) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(worker);
    }
    let times = shown.begin(context);
    let life = worker.life.as_ref().map(|life| {
        let since = life.since.map(|at| format!(" since {}", times.full(at))).unwrap_or_default();
        ("life", format!("{}{since}: {}", life.state, life.why))
    });
    let mut facts = vec![
        ("worker", worker.id.to_string()),
        ("status", format!("{}, asked to {}", worker.status.as_str(), worker.directive.as_str())),
        ("started", times.full(worker.started_at)),
    ];
    facts.extend(life);
    facts.extend(worker.last_beat_at.map(|at| ("last beat", times.full(at))));
    facts.extend(worker.ended_at.map(|at| ("ended", times.full(at))));
    facts.extend(worker.session_id.map(|session| ("session", session.to_string())));
    facts.extend(worker.contested_at.map(|at| {
        let ago = times.ago(at);
        ("contested", format!("{at} ({ago}): two workers share this name; give each one of its own (--id)"))
    }));
    let capacity = worker.capacity.map(|capacity| format!(" of {capacity}")).unwrap_or_default();
    facts.push(("holds", format!("{}{capacity}", worker.active)));
    context.out.facts(facts)?;
    context.out.facts(worker.labels.iter().map(|(name, value)| (name.as_str(), value.clone())))?;
    context.out.facts(worker.readings.iter().map(|(name, value)| (name.as_str(), value.to_string())))?;
    if worker.tasks.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    let mut rows = Rows::new(&["TASK", "ATTEMPT", "PROGRESS"]);
    for held in &worker.tasks {
        let progress = held.progress.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0));
        rows.add(vec![held.task_id.to_string(), held.attempt.to_string(), progress]);
    }
    context.out.table(rows, "")
}
