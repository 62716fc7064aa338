//! `baton task change`.

use std::time::Duration;

use baton_api::bulk::{Do, WithRequest};
use baton_api::change::ChangeRequest;
use baton_client::Client;
use baton_model::{Label, Priority, QueueName, Timeout, Timestamp};
use clap::Args;

use super::bulk::Matching;
use super::told;
use crate::context::Context;
use crate::exit::Failure;
use crate::{ids, names, text, when};

/// Which field of the request an option is.
const FLAGS: &[(&str, &str)] = &[
    ("priority", "--priority"),
    ("queue", "--to-queue"),
    ("run_after", "--run-after"),
    ("delay_seconds", "--delay"),
    ("timeout_seconds", "--timeout"),
    ("max_attempts", "--max-attempts"),
    ("by", "--by"),
    ("reason", "--reason"),
];

/// The same in a command for many tasks.
const MANY: &[(&str, &str)] = &[
    ("with.priority", "--priority"),
    ("with.queue", "--to-queue"),
    ("with.run_after", "--run-after"),
    ("with.delay_seconds", "--delay"),
    ("with.timeout_seconds", "--timeout"),
    ("with.max_attempts", "--max-attempts"),
];

/// What is to be changed of tasks that wait.
#[derive(Args)]
pub(crate) struct To {
    /// critical, high, normal or low.
    #[arg(long)]
    priority: Option<Priority>,
    /// The queue that it is to wait in.
    #[arg(long, value_name = "QUEUE")]
    to_queue: Option<QueueName>,
    /// When it may be claimed, such as 2026-01-31T08:15:00Z; without an offset in this machine's time zone.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "delay")]
    run_after: Option<Timestamp>,
    /// The same as a while from now, such as 2h; 0s for at once.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    delay: Option<Duration>,
    /// How long one attempt may run, such as 10m; none for as long as it likes.
    #[arg(long, value_name = "SPAN|none", value_parser = parse_timeout)]
    timeout: Option<Timeout>,
    /// How many attempts it is given: more than were counted already.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
}

fn parse_timeout(given: &str) -> Result<Timeout, String> {
    match given {
        "none" => Ok(Timeout::Never),
        span => text::parse_span(span).map(Timeout::After).map_err(|error| error.to_string()),
    }
}

impl To {
    /// The request that asks for it.
    fn request(self, by: Option<Label>, reason: Option<String>) -> ChangeRequest {
        let Self { priority, to_queue: queue, run_after, delay, timeout, max_attempts } = self;
        let (delay_seconds, timeout_seconds) = (delay, timeout);
        ChangeRequest { priority, queue, run_after, delay_seconds, timeout_seconds, max_attempts, by, reason }
    }
}

#[derive(Args)]
pub(crate) struct Change {
    /// The task's id, or the beginning of it; none to name many tasks by filters.
    id: Option<String>,
    #[command(flatten)]
    to: To,
    /// Who asks, for the history.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    matching: Matching,
}

impl Change {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let Self { id, to, by, reason, matching } = self;
        let request = to.request(by.clone(), reason.clone());
        if request.change().is_empty() {
            let what = "--priority, --to-queue, --run-after, --delay, --timeout and --max-attempts";
            return Err(Failure::usage(format!("expected at least one of {what}, got none")));
        }
        let Some(id) = id else {
            let with = Some(WithRequest(ChangeRequest { by: None, reason: None, ..request }));
            let done = matching.run(context, client, (Do::Change, with), (by, reason)).await;
            return done.map_err(|failure| failure.by_flags(MANY));
        };
        matching.beside_an_id(context)?;
        let id = ids::resolve(client, &id).await?;
        let asked = client.change(id, &request).await;
        let task = names::of_task(client, id, asked).await;
        told(context, &task.map_err(|failure| failure.by_flags(FLAGS))?)
    }
}
