//! `baton timeline`.

use baton_api::timeline::TimelineView;
use baton_client::{Client, TimelineQuery};
use baton_model::{ProjectId, QueueName, ScheduleName, Source, Timestamp, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::follow::{Entry, Recent};
use crate::when::Times;
use crate::{ids, when};

/// How far the further lines of a message are put in, so that none can pass for an entry of its own.
const CONTINUED: usize = 4;

#[derive(Args)]
#[command(after_help = "Examples:
  baton timeline --task 01980a6e-5b7c
  baton timeline --since 10m --level warn
  baton timeline --since 2d --until 2026-02-02T03:50
  baton timeline --queue gpu --follow
  baton timeline --schedule nightly --limit 500 -o json

Tells what happened, the newest last: events of tasks, log lines of workers,
starts, ends and losses of workers, what operators asked for, what the reaper
took back, starts and ends of servers. --follow asks each second, until it is
ended (Ctrl-C); with -o json it writes each entry as one line of JSON.
On DynamoDB by --task, or the log lines of a --worker.")]
pub(crate) struct Timeline {
    /// Only what is about this task (its id, or the beginning of it).
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only what is of this worker.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only what is about this queue, or tasks that are in it now.
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// Only what is of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectId>,
    /// Only what is of this schedule, or of tasks that it created.
    #[arg(long, value_name = "NAME")]
    schedule: Option<ScheduleName>,
    /// Only what happened before this time: RFC 3339, or without an offset in this machine's zone.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "follow")]
    until: Option<Timestamp>,
    #[command(flatten)]
    recent: Recent,
}

impl Timeline {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let query = TimelineQuery {
            task_id: ids::resolve_if(&client, self.task.as_deref()).await?,
            worker: self.worker,
            queue: self.queue,
            project: self.project,
            schedule: self.schedule,
            level: self.recent.level,
            before: self.until,
            ..TimelineQuery::default()
        };
        let ask = async |client: &Client, (from, cursor, most)| {
            client.timeline(&TimelineQuery { from, cursor, limit: Some(most), ..query.clone() }).await
        };
        let none = "nothing that fits has happened, or it is past its keeping";
        self.recent.show(context, &client, ask, |entry, times| tell(context, entry, times), none).await
    }
}

impl Entry for TimelineView {
    fn came_at(&self) -> Timestamp {
        self.at
    }

    fn identity(&self) -> String {
        let task = self.task_id.map(|task| task.to_string()).unwrap_or_default();
        let what = match self.source {
            Source::Event => self.details["seq"].to_string(),
            // A request is noted before it is answered.
            Source::Audit => format!("{} {}", self.details["request_id"], self.details["target"]),
            _ => format!("{:?} {} {}", self.worker_id, self.message, self.details),
        };
        format!("{} {task} {what}", self.source.as_str())
    }
}

fn tell(context: &Context, entry: &TimelineView, times: &Times) -> Result<(), Failure> {
    let about = [
        entry.task_id.map(|task| format!(" task {task}")),
        // An event says itself whose it is.
        entry.worker_id.as_ref().filter(|_| entry.source != Source::Event).map(|worker| format!(" {worker}")),
        entry.queue.as_ref().map(|queue| format!(" in {queue}")),
    ];
    let about = about.into_iter().flatten().collect::<String>();
    let (at, level, source) = (times.at(entry.at), entry.level.as_str(), entry.source.as_str());
    context.out.lines(&format!("{at} {level:5} {source:6}{about}: {}", entry.message), CONTINUED)
}
