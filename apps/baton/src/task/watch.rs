//! `baton task watch`.

use std::time::Duration;

use baton_api::task::EventView;
use baton_client::Client;
use baton_model::{State, Status};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::Failure;
use crate::ids;
use crate::task::show::particulars;
use crate::text;

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
}

impl Watch {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let id = ids::resolve(client, &self.id).await?;
        let client = client.with_deadline(PATIENCE);
        let begun = Instant::now();
        let mut seen = 0;
        let mut progress = None;
        loop {
            let detail = client.task(id).await?;
            for event in detail.history.iter().filter(|event| event.seq > seen) {
                tell(context, event)?;
            }
            seen = detail.history.last().map_or(seen, |event| event.seq);
            if detail.progress != progress {
                if let Some(now) = &detail.progress {
                    let share = now.progress.map(|share| format!("{:3.0}% ", share * 100.0));
                    let message = now.message.as_deref().unwrap_or_default();
                    context.out.note(&format!("  {}{message}", share.unwrap_or_default()));
                }
                progress = detail.progress;
            }
            match detail.task.status {
                Status::Completed => return Ok(()),
                Status::Failed | Status::Cancelled => {
                    if let Some(error) = detail.task.error.filter(|_| detail.task.status == Status::Failed) {
                        context.out.error(&format!("the task failed: {}", error.message.trim()));
                    } else {
                        context.out.error("the task was cancelled");
                    }
                    context.out.note(&format!("put it back with `baton task retry {id}`"));
                    return Err(Failure::TaskFailed);
                }
                Status::Created | Status::Queued | Status::Retry | Status::Running => {}
            }
            if self.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
                let status = detail.task.status;
                return Err(Failure::failed(format!(
                    "task {id} is still {status}; watch on, or see `baton task show`"
                )));
            }
            sleep(EVERY).await;
        }
    }
}

fn tell(context: &Context, event: &EventView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json_line(event);
    }
    let attempt = match event.to {
        State::Queued if event.attempt == 0 => String::new(),
        _ => format!(" attempt {}", event.attempt),
    };
    let more = particulars(event);
    let more = if more.is_empty() { more } else { format!(" ({more})") };
    context.out.line(&format!("{} {}{attempt}{more}", event.at, event.kind.as_str()))
}
