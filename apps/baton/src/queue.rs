//! `baton queue`.

use baton_api::ProblemCode;
use baton_api::fleet::QueueView;
use baton_api::manage::ActionRequest;
use baton_model::{Label, QueueName};
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
                    context.out.note(&format!("queue {name} is new: it has held no task; check its name"));
                }
                told(context, &queue, "paused: it gives out no task; resume it with `baton queue resume`")
            }
            Self::Resume(change) => {
                let queue = client.resume_queue(&change.queue, &change.action()).await?;
                told(context, &queue, "resumed")
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

pub(crate) fn table(context: &Context, queues: &[QueueView]) -> Result<(), Failure> {
    let mut rows =
        Rows::new(&["QUEUE", "STATE", "READY", "LATER", "RUNNING", "OLDEST", "WAIT P50", "RUN P50"]);
    for queue in queues {
        let half = |of: baton_api::fleet::PercentilesView| match of.count {
            0 => "-".to_owned(),
            _ => text::seconds(of.p50_seconds),
        };
        rows.add(vec![
            queue.name.to_string(),
            if queue.paused { "paused" } else { "open" }.to_owned(),
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
