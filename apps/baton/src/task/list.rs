//! `baton task list`.

use baton_api::ProblemCode;
use baton_api::task::TaskView;
use baton_client::{Client, TaskQuery};
use baton_model::{QueueName, Status, WorkerId};
use baton_verdict::cause;
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::task::filters::Filters;
use crate::when::{Paged, Times};
use crate::{names, pages};

#[derive(Args)]
#[command(after_help = "Examples:
  baton task list --status failed --since 1h
  baton task list --queue images --type resize --limit 500
  baton task list --status queued,retry -o json")]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only these columns, with commas, in this order: those that are shown, and project, domain, assigned_by, due,
    /// finished, description, error.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

impl List {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let mut rows = rows();
        rows.choose(&self.columns).map_err(Failure::usage)?;
        let filters = self.filters;
        let query = TaskQuery {
            statuses: filters.status,
            task_type: filters.task_type,
            queue: filters.queue,
            project: filters.project,
            domain: filters.domain,
            assigned_by: filters.assigned_by,
            worker: filters.worker,
            created_from: filters.since.map(|since| context.now().minus(since)),
            ..TaskQuery::default()
        };
        let (queue, worker) = (query.queue.clone(), query.worker.clone());
        let (tasks, more) = pages::first(self.limit as usize, async |cursor, most| {
            client.tasks(&TaskQuery { cursor, limit: Some(most), ..query.clone() }).await
        })
        .await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": tasks, "more": more }));
        }
        let times = self.shown.begin(context);
        for task in &tasks {
            rows.add(row(task, &times));
        }
        context.out.table(rows, "no tasks fit")?;
        if tasks.is_empty() {
            tell_nearest(context, client, queue, worker).await;
        }
        if more {
            context.out.note(&format!("these are the newest {}; --limit shows more", tasks.len()));
        }
        Ok(())
    }
}

/// Says which queue or worker may have been meant, if that which was named does not exist.
async fn tell_nearest(
    context: &Context,
    client: &Client,
    queue: Option<QueueName>,
    worker: Option<WorkerId>,
) {
    if let Some(queue) = queue
        && client.queue(&queue).await.is_err_and(|error| error.code() == Some(ProblemCode::QueueNotFound))
        && let Some(near) = names::queue_like(client, queue.as_str()).await
    {
        context.out.note(&format!("there is no queue {queue}; the nearest is {near}"));
    }
    if let Some(worker) = worker
        && client.worker(&worker).await.is_err_and(|error| error.code() == Some(ProblemCode::WorkerNotFound))
        && let Some(near) = names::worker_like(client, worker.as_str()).await
    {
        context.out.note(&format!("there is no worker {worker}; the nearest is {near}"));
    }
}

/// An id takes 36 columns and must stay whole to be copied, so that not all fits on a terminal of 80.
fn rows() -> Rows {
    Rows::of(&[
        Column::new("ID"),
        Column::new("STATUS"),
        Column::new("TYPE").cut(),
        Column::new("QUEUE").cut().spare(),
        Column::new("TRIES"),
        Column::new("WORKER").cut().spare(),
        Column::new("PRIORITY").spare(),
        Column::new("CREATED"),
        Column::new("PROJECT").cut().asked(),
        Column::new("DOMAIN").cut().asked(),
        Column::new("ASSIGNED BY").cut().asked(),
        Column::new("DUE").asked(),
        Column::new("FINISHED").asked(),
        Column::new("DESCRIPTION").cut().asked(),
        Column::new("ERROR").cut().asked(),
    ])
}

fn row(task: &TaskView, times: &Times) -> Vec<String> {
    let none = || "-".to_owned();
    let waits = task.finished_at.is_none() && task.lease.is_none();
    vec![
        task.id.to_string(),
        match task.status {
            // With the time that it waits for.
            Status::Created | Status::Retry => format!("{} {}", task.status, times.ago(task.run_after)),
            status => status.to_string(),
        },
        task.task_type.to_string(),
        task.queue.to_string(),
        format!("{}/{}", task.attempts_used, task.max_attempts),
        task.lease.as_ref().map_or_else(none, |lease| lease.worker_id.to_string()),
        task.priority.as_str().to_owned(),
        times.ago(task.created_at),
        task.project.to_string(),
        task.domain.as_ref().map_or_else(none, ToString::to_string),
        task.assigned_by.as_ref().map_or_else(none, ToString::to_string),
        if waits { times.ago(task.run_after) } else { none() },
        task.finished_at.map_or_else(none, |at| times.ago(at)),
        task.description.clone().unwrap_or_else(none),
        task.error.as_ref().map_or_else(none, cause),
    ]
}
