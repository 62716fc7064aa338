//! `baton timeline`.

mod follow;

use std::time::Duration;

use baton_api::timeline::TimelineView;
use baton_client::{Client, TimelineQuery};
use baton_model::{Level, ProjectId, QueueName, ScheduleName, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::when::{Shown, Times};
use crate::{ids, pages, text};

/// How far the further lines of a message are put in, so that none can pass for an entry of its own.
const CONTINUED: usize = 4;

#[derive(Args)]
#[command(after_help = "Examples:
  baton timeline --task 01980a6e-5b7c
  baton timeline --since 10m --level warn
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
    /// Only what is at least this grave: debug, info, warn or error.
    #[arg(long)]
    level: Option<Level>,
    /// Only what is not older than this, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many entries at most: the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on with what happens from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
}

impl Timeline {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let task_id = match &self.task {
            Some(text) => Some(ids::resolve(&client, text).await?),
            None => None,
        };
        let query = TimelineQuery {
            task_id,
            worker: self.worker,
            queue: self.queue,
            project: self.project,
            schedule: self.schedule,
            level: self.level,
            from: self.since.map(|since| context.now().minus(since)),
            ..TimelineQuery::default()
        };
        if self.follow {
            let times = self.shown.without_pager(context);
            return follow::run(context, &client, &query, self.limit as usize, |entry| {
                match context.out.is_json() {
                    true => context.out.json_line(entry),
                    false => tell(context, entry, &times),
                }
            })
            .await;
        }
        let entries = newest(&client, &query, self.limit as usize).await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": entries }));
        }
        let times = self.shown.begin(context);
        if entries.is_empty() {
            context.out.note("nothing that fits has happened, or it is past its keeping");
        }
        entries.iter().try_for_each(|entry| tell(context, entry, &times))
    }
}

fn tell(context: &Context, entry: &TimelineView, times: &Times) -> Result<(), Failure> {
    let about = [
        entry.task_id.map(|task| format!(" task {task}")),
        // An event says itself whose it is.
        entry
            .worker_id
            .as_ref()
            .filter(|_| entry.source != baton_model::Source::Event)
            .map(|worker| format!(" {worker}")),
        entry.queue.as_ref().map(|queue| format!(" in {queue}")),
    ];
    let about = about.into_iter().flatten().collect::<String>();
    let (at, level, source) = (times.at(entry.at), entry.level.as_str(), entry.source.as_str());
    context.out.lines(&format!("{at} {level:5} {source:6}{about}: {}", entry.message), CONTINUED)
}

/// The newest `limit` entries that fit, the newest last, over as many pages as it takes.
async fn newest(client: &Client, query: &TimelineQuery, limit: usize) -> Result<Vec<TimelineView>, Failure> {
    let (mut entries, _) = pages::first(limit, async |cursor, most| {
        client.timeline(&TimelineQuery { cursor, limit: Some(most), ..query.clone() }).await
    })
    .await?;
    entries.reverse();
    Ok(entries)
}
