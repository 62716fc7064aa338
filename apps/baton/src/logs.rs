//! `baton logs`.

mod follow;

use std::time::Duration;

use baton_api::fleet::LogView;
use baton_client::{Client, LogQuery};
use baton_model::{Level, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::when::{Shown, Times};
use crate::{ids, pages, text};

/// How far the further lines of a message are put in, so that none can pass for a log line of its own.
const CONTINUED: usize = 4;

/// How far the time that a line bears may be from when it was received: a heartbeat brings it within seconds, or after the
/// server was out of reach for a while.
const PLAUSIBLE: Duration = Duration::from_secs(600);

#[derive(Args)]
#[command(after_help = "Examples:
  baton logs --since 10m --level warn
  baton logs --task 01980a6e-5b7c --limit 500
  baton logs --worker w1 --follow --limit 10

--follow asks each second, until it is ended (Ctrl-C). Lines travel with
heartbeats, and are shown in the order in which they arrive.
With -o json, --follow writes each log line as one line of JSON.")]
pub(crate) struct Logs {
    /// Only lines about this task (its id, or the beginning of it).
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only lines of this worker.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only lines at least this grave: debug, info, warn or error.
    #[arg(long)]
    level: Option<Level>,
    /// Only lines not older than this, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many lines at most: the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on with the lines that come from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let task_id = match &self.task {
            Some(text) => Some(ids::resolve(&client, text).await?),
            None => None,
        };
        let query = LogQuery {
            task_id,
            worker: self.worker,
            level: self.level,
            from: self.since.map(|since| context.now().minus(since)),
            ..LogQuery::default()
        };
        if self.follow {
            let times = self.shown.without_pager(context);
            return follow::run(context, &client, &query, self.limit as usize, |line| {
                match context.out.is_json() {
                    true => context.out.json_line(line),
                    false => tell(context, line, &times),
                }
            })
            .await;
        }
        let lines = newest(&client, query, self.limit as usize).await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": lines }));
        }
        let times = self.shown.begin(context);
        if lines.is_empty() {
            context.out.note("no log lines fit; new ones come with a worker's next heartbeat");
        }
        lines.iter().try_for_each(|line| tell(context, line, &times))
    }
}

pub(crate) fn tell(context: &Context, line: &LogView, times: &Times) -> Result<(), Failure> {
    let about = line.task_id.map(|task| format!(" {task}")).unwrap_or_default();
    let (level, worker) = (line.level.as_str(), &line.worker_id);
    let at = dated(line, times);
    context.out.lines(&format!("{at} {level:5} {worker}{about} {}: {}", line.source, line.message), CONTINUED)
}

/// When a line was written, if that can be; else when it was received, with the time that it bears beside it.
fn dated(line: &LogView, times: &Times) -> String {
    let apart = line.at.as_millis().abs_diff(line.received_at.as_millis());
    if u128::from(apart) <= PLAUSIBLE.as_millis() {
        return times.at(line.at);
    }
    format!("{} (dated {})", times.at(line.received_at), times.at(line.at))
}

/// The newest `limit` lines that fit, the newest last, over as many pages as it takes.
pub(crate) async fn newest(client: &Client, query: LogQuery, limit: usize) -> Result<Vec<LogView>, Failure> {
    let (mut lines, _) = pages::first(limit, async |cursor, most| {
        client.logs(&LogQuery { cursor, limit: Some(most), ..query.clone() }).await
    })
    .await?;
    lines.reverse();
    Ok(lines)
}
