//! `baton task watch`.

use std::time::Duration;

use baton_api::task::{EventView, TaskDetailView};
use baton_client::Client;
use baton_model::{State, Status, TaskId};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::harmless;
use crate::task::show::{self, particulars};
use crate::when::Times;
use crate::{ids, names, text};

/// How often the server is asked.
const EVERY: Duration = Duration::from_millis(300);
/// How long a server that is restarting is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(after_help = "Ends when the task does: with exit code 0 if it is completed, 6 if it failed
or was cancelled. With -o json, each event is one line of JSON.")]
pub(crate) struct Watch {
    /// The task's id, or the beginning of it.
    id: String,
    /// Give up after this long, such as 10m, with exit code 1.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    timeout: Option<Duration>,
    /// Show times in UTC instead of this machine's time zone.
    #[arg(long)]
    utc: bool,
}

impl Watch {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let id = ids::resolve(client, &self.id).await?;
        let times = Times::new(context.now(), self.utc);
        let ended = follow(context, client, id, self.timeout, |event| tell(context, event, &times)).await?;
        ended.told(context)
    }
}

/// How a task has ended that was watched.
pub(crate) struct Ended {
    pub(crate) detail: TaskDetailView,
}

impl Ended {
    /// Says on stderr why the task did not complete, and what can be done.
    pub(crate) fn told(&self, context: &Context) -> Result<(), Failure> {
        let task = &self.detail.task;
        match (task.status, &task.error) {
            (Status::Completed, _) => return Ok(()),
            (Status::Failed, Some(error)) => {
                let message = harmless::behind(error.message.trim(), 2);
                context.out.error(&format!("the task failed: {message}"));
            }
            (Status::Failed, None) => context.out.error("the task failed"),
            _ => context.out.error("the task was cancelled"),
        }
        context.out.note(&format!("put it back with `baton task retry {}`", task.id));
        Err(Failure::TaskFailed)
    }
}

/// Follows a task until it has ended, and tells each event.
///
/// # Errors
/// As asking for the task and telling; [`Failure::Failed`] if it has not ended in time.
pub(crate) async fn follow(
    context: &Context,
    client: &Client,
    id: TaskId,
    timeout: Option<Duration>,
    tell: impl Fn(&EventView) -> Result<(), Failure>,
) -> Result<Ended, Failure> {
    let patient = client.with_deadline(PATIENCE);
    let begun = Instant::now();
    let mut seen = 0;
    let mut progress = None;
    loop {
        let asked = patient.task(id).await;
        let detail = names::of_task(client, id, asked).await?;
        let shown_from = detail.history.first().map_or(1, |event| event.seq);
        if shown_from > seen + 1 {
            // More has happened than is shown with the task.
            let whole = show::whole_history(&patient, id).await?;
            whole.iter().filter(|event| (seen + 1..shown_from).contains(&event.seq)).try_for_each(&tell)?;
        }
        detail.history.iter().filter(|event| event.seq > seen).try_for_each(&tell)?;
        seen = detail.history.last().map_or(seen, |event| event.seq);
        if detail.progress != progress {
            if let Some(now) = &detail.progress {
                let share = now.progress.map(|share| format!("{:3.0}% ", share * 100.0));
                let message = harmless::line(now.message.as_deref().unwrap_or_default());
                let told = format!("{}{message}", share.unwrap_or_default());
                if !told.trim().is_empty() {
                    context.out.note(&format!("  {told}"));
                }
            }
            progress = detail.progress.clone();
        }
        if detail.task.status.state().is_final() {
            return Ok(Ended { detail });
        }
        if timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            let status = detail.task.status;
            return Err(Failure::failed(format!(
                "task {id} is still {status}; watch on, or see `baton task show`"
            )));
        }
        sleep(EVERY).await;
    }
}

fn tell(context: &Context, event: &EventView, times: &Times) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json_line(event);
    }
    context.out.line(&words_of(event, times))
}

/// An event in one line.
pub(crate) fn words_of(event: &EventView, times: &Times) -> String {
    let attempt = match event.to {
        State::Queued if event.attempt == 0 => String::new(),
        _ => format!(" attempt {}", event.attempt),
    };
    let more = particulars(event, times);
    let more = if more.is_empty() { more } else { format!(" ({more})") };
    format!("{} {}{attempt}{more}", times.at(event.at), event.kind.as_str())
}
