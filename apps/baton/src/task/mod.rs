//! `baton task`.

mod create;
mod flags;
mod graph;
mod import;
mod list;
mod show;
mod watch;
mod why;

pub(crate) use flags::TaskFlags;

use std::time::Duration;

use baton_api::manage::{CancelRequest, RetryRequest};
use baton_api::task::TaskView;
use baton_model::{Label, Status};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::when::{Shown, Times};
use crate::{ids, names, text};

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Create a task, or many from a file.
    Create(Box<create::Create>),
    /// Tasks by status, type and so on, the newest first.
    List(Box<list::List>),
    /// One task, with its history and its output.
    Show(One),
    /// What a task waits for and what waits for it, and the path that the time goes by.
    Graph(One),
    /// Why a task waits: every reason that holds now, in the order in which they must be lifted.
    Why(Asked),
    /// What happened to one task.
    History(One),
    /// Call a task off; a worker that runs it is told to end it.
    Cancel(Change),
    /// Put a failed or cancelled task back into its queue.
    Retry(Retry),
    /// Print what happens to a task until it has ended.
    Watch(watch::Watch),
}

#[derive(Args)]
pub(crate) struct One {
    /// The task's id, or the beginning of it.
    id: String,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Asked {
    /// The task's id, or the beginning of it.
    id: String,
}

#[derive(Args)]
pub(crate) struct Change {
    /// The task's id, or the beginning of it.
    id: String,
    /// Who asks, for the history.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With all that depends on it: cancel what has not ended, however far; retry what ended because it did not complete.
    #[arg(long)]
    with_dependants: bool,
}

#[derive(Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    change: Change,
    /// How long it is to rest before, such as 30s.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    delay: Option<Duration>,
}

impl Task {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::Create(create) => create.run(context, &client).await,
            Self::List(list) => list.run(context, &client).await,
            Self::Show(one) => {
                let id = ids::resolve(&client, &one.id).await?;
                show::show(context, &client, id, one.shown).await
            }
            Self::Graph(one) => {
                let id = ids::resolve(&client, &one.id).await?;
                graph::graph(context, &client, id, one.shown).await
            }
            Self::Why(asked) => {
                let id = ids::resolve(&client, &asked.id).await?;
                why::why(context, &client, id).await
            }
            Self::History(one) => {
                let id = ids::resolve(&client, &one.id).await?;
                show::history(context, &client, id, one.shown).await
            }
            Self::Cancel(change) => {
                let id = ids::resolve(&client, &change.id).await?;
                let with_dependants = change.with_dependants;
                let action = CancelRequest { by: change.by, reason: change.reason, with_dependants };
                let asked = client.cancel(id, &action).await;
                told(context, &names::of_task(&client, id, asked).await?)
            }
            Self::Retry(Retry { change, delay }) => {
                let id = ids::resolve(&client, &change.id).await?;
                let Change { by, reason, with_dependants, .. } = change;
                let retry = RetryRequest { by, reason, delay_seconds: delay, with_dependants };
                let asked = client.retry(id, &retry).await;
                let task = names::of_task(&client, id, asked).await;
                let flags = &[("delay_seconds", "--delay"), ("by", "--by"), ("reason", "--reason")];
                told(context, &task.map_err(|failure| failure.by_flags(flags))?)
            }
            Self::Watch(watch) => watch.run(context, &client).await,
        }
    }
}

/// Shows a task after it was changed.
fn told(context: &Context, task: &TaskView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(task);
    }
    let status = match task.status {
        Status::Created | Status::Retry => {
            let until = Times::new(context.now(), false).full(task.run_after);
            context.out.note(&format!("task {} is {} until {until}", task.id, task.status));
            return Ok(());
        }
        Status::Blocked => "blocked",
        Status::Queued => "queued",
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    };
    context.out.note(&format!("task {} is {status}", task.id));
    Ok(())
}
