//! `baton task`.

pub(crate) mod bulk;
mod change;
mod create;
mod filters;
pub(crate) mod flags;
mod graph;
mod import;
mod list;
mod show;
mod stats;
mod watch;
mod why;

pub(crate) use flags::TaskFlags;
pub(crate) use show::{facts, particulars, whole_history};

use std::time::Duration;

use baton_api::bulk::Do;
use baton_api::manage::{CancelRequest, RetryRequest};
use baton_api::task::TaskView;
use baton_model::{Label, Status};
use clap::{Args, Subcommand};

use self::bulk::Matching;
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
    /// What the newest tasks are, what became of them day by day, and which need a look.
    Stats(Box<stats::Stats>),
    /// One task, with its history and its output.
    Show(One),
    /// What a task waits for and what waits for it, and the path that the time goes by.
    Graph(One),
    /// Why a task waits: every reason that holds now, in the order in which they must be lifted.
    Why(Asked),
    /// What happened to one task.
    History(One),
    /// Call a task off, or all that fit a filter; a worker that runs it is told to end it.
    Cancel(Box<Change>),
    /// Put a failed or cancelled task back into its queue, or all that fit a filter.
    Retry(Box<Retry>),
    /// Change a task that waits, or all that fit a filter: priority, when it may be claimed, timeout, attempts.
    Change(Box<change::Change>),
    /// Remove tasks that have ended, with all that belongs to them.
    Delete(Box<bulk::Delete>),
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
    /// The task's id, or the beginning of it; none to name many tasks by filters.
    id: Option<String>,
    /// Who asks, for the history.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With all that depends on it: cancel what has not ended, however far; retry what ended because it did not complete.
    #[arg(long)]
    with_dependants: bool,
    #[command(flatten)]
    matching: Matching,
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
            Self::Stats(stats) => stats.run(context, &client).await,
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
                let Change { id, by, reason, with_dependants, matching } = *change;
                let Some(id) = id else {
                    alone("--with-dependants", with_dependants)?;
                    return matching.run(context, &client, (Do::Cancel, None), (by, reason)).await;
                };
                matching.beside_an_id(context)?;
                let id = ids::resolve(&client, &id).await?;
                let action = CancelRequest { by, reason, with_dependants };
                let asked = client.cancel(id, &action).await;
                told(context, &names::of_task(&client, id, asked).await?)
            }
            Self::Retry(retry) => {
                let Retry { change: Change { id, by, reason, with_dependants, matching }, delay } = *retry;
                let Some(id) = id else {
                    alone("--with-dependants", with_dependants)?;
                    alone("--delay", delay.is_some())?;
                    return matching.run(context, &client, (Do::Retry, None), (by, reason)).await;
                };
                matching.beside_an_id(context)?;
                let id = ids::resolve(&client, &id).await?;
                let retry = RetryRequest { by, reason, delay_seconds: delay, with_dependants };
                let asked = client.retry(id, &retry).await;
                let task = names::of_task(&client, id, asked).await;
                let flags = &[("delay_seconds", "--delay"), ("by", "--by"), ("reason", "--reason")];
                told(context, &task.map_err(|failure| failure.by_flags(flags))?)
            }
            Self::Change(change) => change.run(context, &client).await,
            Self::Delete(delete) => delete.run(context, &client).await,
            Self::Watch(watch) => watch.run(context, &client).await,
        }
    }
}

/// Refuses an option that is for one task, where there are many.
fn alone(option: &str, is_there: bool) -> Result<(), Failure> {
    match is_there {
        false => Ok(()),
        true => Err(Failure::usage(format!("expected a task's id with {option}, got none"))),
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
