//! `baton batch`.

use baton_api::batch::BatchView;
use baton_model::{BatchId, ProjectId};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::pages;
use crate::text;
use crate::when::{Paged, Shown, Times};

#[derive(Subcommand)]
pub(crate) enum Batch {
    /// Batches, the newest first.
    List(List),
    /// How many tasks of one are in which state, its first failures, and when it will probably end.
    Show(One),
    /// Let no more tasks be added to one: once all have ended, so has it.
    Seal(Seal),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only those of this project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct One {
    /// Its id.
    id: BatchId,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Seal {
    /// Its id.
    id: BatchId,
}

impl Batch {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => {
                let mut rows = rows();
                rows.choose(&list.columns).map_err(Failure::usage)?;
                let (batches, more) =
                    pages::first(list.limit as usize, async |cursor: Option<String>, most| {
                        client.batches(list.project.as_ref(), cursor.as_deref(), Some(most)).await
                    })
                    .await?;
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "items": batches, "more": more }));
                }
                let times = list.shown.begin(context);
                batches.iter().for_each(|batch| rows.add(row(batch, &times)));
                context.out.table(rows, "no batch; tasks that are handed in with `batch` are one")
            }
            Self::Show(One { id, shown }) => {
                let batch = client.batch(id).await?;
                if context.out.is_json() {
                    return context.out.json(&batch);
                }
                show(context, &batch, &shown.begin(context))
            }
            Self::Seal(Seal { id }) => {
                let batch = client.seal_batch(id).await?;
                if context.out.is_json() {
                    return context.out.json(&batch);
                }
                let tasks = batch.tasks;
                context
                    .out
                    .note(&format!("batch {id} is sealed: {tasks} tasks, {} unfinished", batch.unfinished));
                Ok(())
            }
        }
    }
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("ID"),
        Column::new("NAME").cut(),
        Column::new("PROJECT").cut().spare(),
        Column::new("STATE"),
        Column::new("TASKS"),
        Column::new("UNFINISHED"),
        Column::new("COMPLETED").spare(),
        Column::new("FAILED"),
        Column::new("CANCELLED").spare(),
        Column::new("CREATED"),
        Column::new("ENDS"),
    ])
}

fn row(batch: &BatchView, times: &Times) -> Vec<String> {
    let ends = batch.ended_at.or(batch.ends_probably_at);
    vec![
        batch.id.to_string(),
        batch.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        batch.project.to_string(),
        batch.state.clone(),
        batch.tasks.to_string(),
        batch.unfinished.to_string(),
        batch.completed.to_string(),
        batch.failed.to_string(),
        batch.cancelled.to_string(),
        times.ago(batch.created_at),
        ends.map_or_else(|| "-".to_owned(), |at| times.ago(at)),
    ]
}

fn show(context: &Context, batch: &BatchView, times: &Times) -> Result<(), Failure> {
    let more = if batch.doing.is_some_and(|doing| doing.at_least) { "+" } else { "" };
    let doing = batch.doing.map(|doing| {
        format!(
            "{}{more} queued, {}{more} running, {}{more} blocked",
            doing.queued, doing.running, doing.blocked
        )
    });
    let by = batch.created_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let then = batch.then.as_ref().map(|then| {
        let made = match (then.task_id, then.created_at) {
            (Some(task), Some(at)) => format!("task {task}, created {}", times.ago(at)),
            _ => "not yet".to_owned(),
        };
        format!("once {}: {} in queue {} ({made})", then.on, then.task_type, then.queue)
    });
    let rest = batch.rest(context.now()).map(|rest| format!("in about {}", text::span(rest)));
    let ended =
        format!("{} completed, {} failed, {} cancelled", batch.completed, batch.failed, batch.cancelled);
    let facts = [
        ("batch", Some(batch.id.to_string())),
        ("name", batch.name.as_ref().map(ToString::to_string)),
        ("project", Some(batch.project.to_string())),
        ("state", Some(batch.state.clone())),
        ("tasks", Some(batch.tasks.to_string())),
        ("ended", Some(ended)),
        ("unfinished", (batch.unfinished > 0).then(|| batch.unfinished.to_string())),
        ("doing", doing),
        ("created", Some(format!("{}{by}", times.full(batch.created_at)))),
        ("sealed", batch.sealed_at.map(|at| times.full(at))),
        ("ends", rest),
        ("ended at", batch.ended_at.map(|at| times.full(at))),
        ("then", then),
    ];
    context.out.facts(facts.into_iter().filter_map(|(name, value)| Some((name, value?))))?;
    for failure in &batch.first_failures {
        let why = failure.error.as_ref().map_or("failed", |error| error.message.as_str());
        let told = format!(
            "{} {} {}: {}",
            failure.task_id,
            failure.task_type,
            times.ago(failure.failed_at),
            text::short(why, 100)
        );
        context.out.lines(&told, 2)?;
    }
    Ok(())
}
