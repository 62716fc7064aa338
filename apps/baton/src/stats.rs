//! `baton stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;
use crate::queue;
use crate::text;
use crate::when::Shown;

/// Counts that are no older than this are as good as of now.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    shown: Shown,
}

impl Stats {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let stats = context.client()?.stats().await?;
        if context.out.is_json() {
            return context.out.json(&stats);
        }
        let times = self.shown.begin(context);
        context.out.line(&format!("tasks    {}", told(&stats.states)))?;
        let workers = stats.workers;
        context.out.line(&format!(
            "workers  {} alive ({} busy, {} idle), {} silent, {} lost, {} gone",
            workers.alive, workers.busy, workers.idle, workers.silent, workers.lost, workers.gone
        ))?;
        match stats.counted_at {
            // Counts that are as new as the answer need no word.
            Some(at) if stats.at.since(at) < FRESH => {}
            Some(at) => {
                let ago = text::ago(at, stats.at);
                context.out.line(&format!("counted  {ago}, at {}", times.at(at)))?;
            }
            None => context
                .out
                .line("counted  nothing yet: relay-events has told nothing of the table's stream")?,
        }
        if !stats.queues.is_empty() {
            context.out.line("")?;
            queue::table(context, &stats.queues)?;
        }
        if let Some(others) = &stats.other_queues {
            let word = if others.queues == 1 { "queue" } else { "queues" };
            context.out.line(&format!(
                "and {} {word} more with fewer tasks at work: {}; `baton queue list` shows all",
                others.queues,
                told(&others.states)
            ))?;
        }
        if !stats.counts.is_empty() {
            context.out.line("")?;
            let mut rows = Rows::new(&["QUEUE", "TYPE", "STATE", "TASKS"]);
            for count in stats.counts.iter().filter(|count| count.tasks > 0) {
                let task_type = match count.beyond {
                    Some(most) => format!("{} (all types beyond {most})", count.task_type),
                    None => count.task_type.to_string(),
                };
                rows.add(vec![
                    count.queue.to_string(),
                    task_type,
                    count.state.clone(),
                    count.tasks.to_string(),
                ]);
            }
            context.out.table(rows, "no tasks")?;
        }
        if let Some(others) = &stats.other_counts {
            let (rows, tasks) = (others.rows, others.tasks);
            let (row, task) =
                (if rows == 1 { "row" } else { "rows" }, if tasks == 1 { "task" } else { "tasks" });
            context.out.line(&format!("and {rows} {row} more, of {tasks} {task}"))?;
        }
        Ok(())
    }
}

/// Tasks by what they do, in words.
fn told(states: &BTreeMap<String, u64>) -> String {
    let count = |state: &str| states.get(state).copied().unwrap_or_default();
    let states = ["waiting", "running", "completed", "failed", "cancelled"];
    states.map(|state| format!("{} {state}", count(state))).join(", ")
}
