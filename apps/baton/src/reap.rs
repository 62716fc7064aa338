//! `baton reap`.

use baton_api::reap::ReapRequest;
use baton_model::{QueueName, WorkerId};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;

#[derive(Args)]
#[command(after_help = "The server does this by itself, every few seconds (setting
reaper.interval_seconds). A task is taken back only if its lease is lost: its
worker missed its heartbeats, started anew or forgot the task, or the time of
the task or its lease is up.")]
pub(crate) struct Reap {
    /// Only tasks of this worker.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only tasks of this queue.
    #[arg(long)]
    queue: Option<QueueName>,
    /// How many at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl Reap {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = ReapRequest { worker_id: self.worker, queue: self.queue, limit: self.limit };
        let report = context.client()?.reap(&request).await;
        let report = report.map_err(|error| Failure::from(error).by_flags(&[("limit", "--limit")]))?;
        if context.out.is_json() {
            return context.out.json(&report);
        }
        let mut rows = Rows::new(&["TASK", "ATTEMPT", "WORKER", "REASON", "NOW"]);
        for taken in &report.taken {
            rows.add(vec![
                taken.task_id.to_string(),
                taken.attempt.to_string(),
                taken.worker_id.to_string(),
                taken.reason.to_string(),
                taken.to.to_string(),
            ]);
        }
        context.out.table(rows, "no lease is lost: nothing to take back")?;
        if report.more {
            context.out.note("the limit was reached: run it again for more");
        }
        Ok(())
    }
}
