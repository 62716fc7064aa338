//! `baton logs`.

use baton_api::fleet::LogView;
use baton_client::{Client, ClientError, LogQuery};
use baton_model::{Timestamp, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::follow::{Entry, Recent};
use crate::when::Times;
use crate::{ids, pages};

/// How far the further lines of a message are put in, so that none can pass for a log line of its own.
const CONTINUED: usize = 4;

#[derive(Args)]
#[command(after_help = "Examples:
  baton logs --since 10m --level warn
  baton logs --task 01980a6e-5b7c --limit 500
  baton logs --worker w1 --follow --limit 10

--follow asks each second, until it is ended (Ctrl-C). Lines travel with
heartbeats, and are shown in the order and at the time in which they arrive,
with the worker's own time (dated) beside that if it is another by more than
a second.
With -o json, --follow writes each log line as one line of JSON.")]
pub(crate) struct Logs {
    /// Only lines about this task (its id, or the beginning of it).
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only lines of this worker.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    #[command(flatten)]
    recent: Recent,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let task_id = ids::resolve_if(&client, self.task.as_deref()).await?;
        let query =
            LogQuery { task_id, worker: self.worker, level: self.recent.level, ..LogQuery::default() };
        let ask = async |client: &Client, (from, cursor, most)| {
            client.logs(&LogQuery { from, cursor, limit: Some(most), ..query.clone() }).await
        };
        let none = "no log lines fit; new ones come with a worker's next heartbeat";
        self.recent.show(context, &client, ask, |line, times| tell(context, line, times), none).await
    }
}

impl Entry for LogView {
    fn came_at(&self) -> Timestamp {
        self.received_at
    }

    fn identity(&self) -> String {
        let task = self.task_id.map(|task| task.to_string());
        let metadata = self.metadata.as_ref().map(|metadata| metadata.as_str());
        let (worker, level) = (self.worker_id.as_str(), self.level.as_str());
        format!("{:?}", (self.at, worker, task, level, &self.source, &self.message, metadata))
    }
}

pub(crate) fn tell(context: &Context, line: &LogView, times: &Times) -> Result<(), Failure> {
    let about = line.task_id.map(|task| format!(" {task}")).unwrap_or_default();
    let (level, worker) = (line.level.as_str(), &line.worker_id);
    let at = dated(line, times);
    context.out.lines(&format!("{at} {level:5} {worker}{about} {}: {}", line.source, line.message), CONTINUED)
}

/// When a line was received, with the time that it bears beside it if that is another.
pub(crate) fn dated(line: &LogView, times: &Times) -> String {
    let received = times.at(line.received_at);
    match baton_verdict::dated(line) {
        Some(at) => format!("{received} (dated {})", times.at(at)),
        None => received,
    }
}

/// The newest `limit` lines that fit, the newest last, over as many pages as it takes.
pub(crate) async fn newest(
    client: &Client,
    query: LogQuery,
    limit: usize,
) -> Result<Vec<LogView>, ClientError> {
    pages::newest(limit, async |cursor, most| {
        client.logs(&LogQuery { cursor, limit: Some(most), ..query.clone() }).await
    })
    .await
}
