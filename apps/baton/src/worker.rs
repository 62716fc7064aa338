//! `baton worker`: what is seen and asked of workers; running one is in `worker_run`.

use baton_api::fleet::WorkerView;
use baton_api::manage::ActionRequest;
use baton_model::{Directive, Label, WorkerId};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;
use crate::{text, worker_run};

#[derive(Subcommand)]
pub(crate) enum Worker {
    /// Run a worker: a command for each task.
    Run(Box<worker_run::Run>),
    /// All workers with what they hold.
    List,
    /// One worker.
    Show(One),
    /// Ask a worker to claim no more, finish what it runs, and end.
    Drain(Change),
    /// Ask a worker to give everything back and end now.
    Stop(Change),
    /// Take back a drain or a stop that the worker has not seen yet.
    Resume(Change),
}

#[derive(Args)]
pub(crate) struct One {
    /// The worker.
    id: WorkerId,
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
            Self::List => list(context).await,
            Self::Show(one) => show(context, &context.client()?.worker(&one.id).await?),
            Self::Drain(change) => direct(context, change, Directive::Drain).await,
            Self::Stop(change) => direct(context, change, Directive::Stop).await,
            Self::Resume(change) => direct(context, change, Directive::Run).await,
        }
    }
}

async fn direct(context: &Context, change: Change, directive: Directive) -> Result<(), Failure> {
    let action = ActionRequest { by: change.by, reason: change.reason };
    let worker = context.client()?.direct(&change.id, directive, &action).await?;
    if context.out.is_json() {
        return context.out.json(&worker);
    }
    let asked = directive.as_str();
    context
        .out
        .note(&format!("worker {} is asked to {asked}; it learns so with its next heartbeat", worker.id));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let mut workers = Vec::new();
    let mut cursor = None;
    loop {
        let page = client.workers(cursor.as_deref(), None).await?;
        workers.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if context.out.is_json() {
        return context.out.json(&serde_json::json!({ "items": workers }));
    }
    let now = context.now();
    let mut rows = Rows::new(&["WORKER", "STATUS", "HOLDS", "LAST BEAT", "STARTED", "ABOUT"]);
    for worker in &workers {
        let capacity = worker.capacity.map_or_else(|| "?".to_owned(), |capacity| capacity.to_string());
        rows.add(vec![
            worker.id.to_string(),
            worker.status.as_str().to_owned(),
            format!("{}/{capacity}", worker.active),
            worker.last_beat_at.map_or_else(|| "never".to_owned(), |at| text::ago(at, now)),
            text::ago(worker.started_at, now),
            about(worker),
        ]);
    }
    context.out.table(rows, "no worker yet: start one with `baton worker run -- COMMAND`")
}

/// Where a worker is, and what is wrong with it.
fn about(worker: &WorkerView) -> String {
    let host = worker.labels.get("host").map(String::as_str).unwrap_or_default();
    match worker.labels.get(baton_worker::CANNOT_START) {
        Some(why) => format!("{host} cannot start: {why}").trim_start().to_owned(),
        None => host.to_owned(),
    }
}

fn show(context: &Context, worker: &WorkerView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(worker);
    }
    let now = context.now();
    let mut facts = vec![
        ("worker", worker.id.to_string()),
        ("status", format!("{}, asked to {}", worker.status.as_str(), worker.directive.as_str())),
        ("started", format!("{} ({})", worker.started_at, text::ago(worker.started_at, now))),
    ];
    facts.extend(worker.last_beat_at.map(|at| ("last beat", format!("{at} ({})", text::ago(at, now)))));
    facts.extend(worker.ended_at.map(|at| ("ended", format!("{at} ({})", text::ago(at, now)))));
    facts.extend(worker.session_id.map(|session| ("session", session.to_string())));
    facts.extend(worker.contested_at.map(|at| {
        let ago = text::ago(at, now);
        ("contested", format!("{at} ({ago}): two workers share this name; give each one of its own (--id)"))
    }));
    let capacity = worker.capacity.map(|capacity| format!(" of {capacity}")).unwrap_or_default();
    facts.push(("holds", format!("{}{capacity}", worker.active)));
    for (name, value) in facts {
        context.out.line(&format!("{name:<12} {value}"))?;
    }
    for (name, value) in &worker.labels {
        context.out.line(&format!("{name:<12} {value}"))?;
    }
    for (name, value) in &worker.readings {
        context.out.line(&format!("{name:<12} {value}"))?;
    }
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
