//! `baton task list`.

use std::time::Duration;

use baton_api::task::TaskView;
use baton_client::{Client, TaskQuery};
use baton_model::{Label, ProjectId, QueueName, Status, TaskType, Timestamp, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{self, Rows};
use crate::text;

#[derive(Args)]
#[command(after_help = "Examples:
  baton task list --status failed --since 1h
  baton task list --queue images --type resize --limit 500
  baton task list --status queued,retry -o json")]
pub(crate) struct List {
    /// created, queued, retry, running, completed, failed, cancelled; several with commas.
    #[arg(long, value_delimiter = ',')]
    status: Vec<Status>,
    /// Only tasks of this type.
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<TaskType>,
    /// Only tasks of this queue.
    #[arg(long)]
    queue: Option<QueueName>,
    /// Only tasks of this project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Only tasks of this domain.
    #[arg(long)]
    domain: Option<Label>,
    /// Only tasks assigned by this one.
    #[arg(long, value_name = "NAME")]
    assigned_by: Option<Label>,
    /// Only tasks that this worker holds, or held last.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only tasks created not longer ago than this, such as 1h.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let now = context.now();
        let query = TaskQuery {
            statuses: self.status,
            task_type: self.task_type,
            queue: self.queue,
            project: self.project,
            domain: self.domain,
            assigned_by: self.assigned_by,
            worker: self.worker,
            created_from: self.since.map(|since| now.minus(since)),
            ..TaskQuery::default()
        };
        let (tasks, more) = first(client, query, self.limit as usize).await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": tasks, "more": more }));
        }
        table(context, &tasks, now)?;
        if more {
            context.out.note(&format!("these are the newest {}; --limit shows more", tasks.len()));
        }
        Ok(())
    }
}

/// The newest `limit` tasks, over as many pages as it takes, and whether there are more.
pub(crate) async fn first(
    client: &Client,
    mut query: TaskQuery,
    limit: usize,
) -> Result<(Vec<TaskView>, bool), Failure> {
    let mut tasks = Vec::new();
    while tasks.len() < limit {
        query.limit = Some(u32::try_from(limit - tasks.len()).unwrap_or(u32::MAX).min(1_000));
        let page = client.tasks(&query).await?;
        tasks.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok((tasks, query.cursor.is_some()))
}

fn table(context: &Context, tasks: &[TaskView], now: Timestamp) -> Result<(), Failure> {
    // An id takes 36 columns and must stay whole to be copied; a wide terminal has room for more besides.
    let wide = out::width() >= 120;
    let mut rows = if wide {
        Rows::new(&["ID", "STATUS", "TYPE", "QUEUE", "PRIORITY", "TRIES", "WORKER", "CREATED"])
    } else {
        Rows::new(&["ID", "STATUS", "TYPE", "TRIES", "CREATED"])
    };
    for task in tasks {
        let worker = task.lease.as_ref().map_or_else(|| "-".to_owned(), |lease| lease.worker_id.to_string());
        let mut row =
            vec![task.id.to_string(), task.status.to_string(), text::short(task.task_type.as_str(), 16)];
        if wide {
            row.extend([task.queue.to_string(), task.priority.as_str().to_owned()]);
        }
        row.push(format!("{}/{}", task.attempts_used, task.max_attempts));
        if wide {
            row.push(worker);
        }
        row.push(text::ago(task.created_at, now));
        rows.add(row);
    }
    context.out.table(rows, "no tasks fit")
}
