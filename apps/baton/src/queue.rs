//! `baton queue`.

use baton_api::ProblemCode;
use baton_api::fleet::QueueView;
use baton_api::manage::ActionRequest;
use baton_model::{Label, QueueName, Timestamp};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;
use crate::text;

#[derive(Subcommand)]
pub(crate) enum Queue {
    /// All queues with what waits in them.
    List,
    /// Give out no more tasks of a queue; what runs goes on.
    Pause(Change),
    /// Give out tasks of a paused queue again.
    Resume(Change),
}

#[derive(Args)]
pub(crate) struct Change {
    /// The queue.
    queue: QueueName,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Queue {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List => {
                let mut queues = Vec::new();
                let mut cursor = None;
                loop {
                    let page = client.queues(cursor.as_deref(), None).await?;
                    queues.extend(page.items);
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "items": queues }));
                }
                table(context, &queues)
            }
            Self::Pause(change) => {
                let known = client.queue(&change.queue).await;
                let new = known.is_err_and(|error| error.code() == Some(ProblemCode::QueueNotFound));
                let queue = client.pause_queue(&change.queue, &change.action()).await?;
                if new {
                    let name = &change.queue;
                    context.out.note(&format!(
                        "queue {name} is new: no task has ever named it; if the name is wrong, take it off the list with \
                         `baton queue resume {name}`"
                    ));
                }
                told(context, &queue, "paused: it gives out no task; resume it with `baton queue resume`")
            }
            Self::Resume(change) => {
                let queue = client.resume_queue(&change.queue, &change.action()).await?;
                let what = if queue.used {
                    "resumed"
                } else {
                    "not paused, and no task has ever named it: it is gone from the list; check its name"
                };
                told(context, &queue, what)
            }
        }
    }
}

impl Change {
    fn action(&self) -> ActionRequest {
        ActionRequest { by: self.by.clone(), reason: self.reason.clone() }
    }
}

fn told(context: &Context, queue: &QueueView, what: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(queue);
    }
    context.out.note(&format!("queue {} is {what}", queue.name));
    table(context, std::slice::from_ref(queue))
}

/// Whether a queue gives out tasks; if not, since when, by whom and why.
fn state(queue: &QueueView, now: Timestamp) -> String {
    let Some(pause) = &queue.pause else { return "open".to_owned() };
    let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let unused = if queue.used { "" } else { ", never used" };
    let why = pause.reason.as_ref().map(|why| format!(": {}", text::short(why, 60))).unwrap_or_default();
    format!("paused {}{by}{unused}{why}", text::ago(pause.since, now))
}

pub(crate) fn table(context: &Context, queues: &[QueueView]) -> Result<(), Failure> {
    let mut rows =
        Rows::new(&["QUEUE", "STATE", "READY", "LATER", "RUNNING", "OLDEST", "WAIT P50", "RUN P50"]);
    let now = context.now();
    for queue in queues {
        let half = |of: baton_api::fleet::PercentilesView| match of.count {
            0 => "-".to_owned(),
            _ => text::seconds(of.p50_seconds),
        };
        rows.add(vec![
            queue.name.to_string(),
            state(queue, now),
            queue.queued.saturating_sub(queue.scheduled).to_string(),
            queue.scheduled.to_string(),
            queue.running.to_string(),
            queue.oldest_ready_seconds.map_or_else(|| "-".to_owned(), text::seconds),
            half(queue.wait),
            half(queue.run),
        ]);
    }
    context.out.table(rows, "no queue yet: a queue comes about with its first task")
}
