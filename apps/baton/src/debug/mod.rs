//! `baton debug`: what is wrong, why, since when, and what to do about it. It asks the same routes as every other command, and its exit
//! code tells the verdict.

mod config;
mod ended;
mod health;
mod reaper;
mod task;
mod tasks;
mod worker;
mod workers;

use std::time::Duration;

use baton_client::{Client, ClientError};
use baton_model::{Timestamp, WorkerId};
use baton_verdict::{Facts, Finding, HOURS, Weight};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::when::Shown;
use crate::{ids, text};

/// Find out what is wrong, and what to do about it.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  baton debug health                 what is wrong, the gravest first
  baton debug task 01980a6e-5b7c     one task: why it waits or has failed
  baton debug worker gpu-1 --check-logging
  baton debug tasks --hours 24 --json

Exit codes: 0 nothing is wrong, or warnings alone; 1 something is; 6 the task has failed or was
cancelled; all others as everywhere. Of tasks and workers it is wrong if a type or a worker failed
five or more of its newest tasks that ended in the time, and more than it completed.")]
pub(crate) enum Debug {
    /// One verdict, then what is wrong, the gravest first, each with the command that shows or mends it.
    Health(Health),
    /// One task: why it waits or has failed, its attempts beside each other, what happened and what to do next.
    Task(OneTask),
    /// One worker: whether it lives, what it holds, what it says.
    Worker(OneWorker),
    /// Attempts that failed or were lost of late, by worker and cause.
    Workers(Asked),
    /// Tasks of late: how many an hour, how long they take, and which fail with what.
    Tasks(Asked),
    /// The reaper: whether it lives and keeps up, when its next round is due, and what the last ones did.
    Reaper(Asked),
    /// Every setting of a server that is started here: its value, where that comes from, what it does.
    Config(config::Config),
}

/// How far back, and how much.
#[derive(Args, Clone, Copy)]
pub(crate) struct Asked {
    /// How many hours back.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    hours: u32,
    /// How many tasks are looked at, at most; the newest.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    shown: Shown,
}

impl Asked {
    /// From when on.
    fn since(self, now: Timestamp) -> Timestamp {
        now.minus(Duration::from_secs(u64::from(self.hours) * 3_600))
    }

    /// The time that is looked at, in words.
    fn period(self) -> String {
        match self.hours {
            1 => "the last hour".to_owned(),
            hours => format!("the last {hours} hours"),
        }
    }
}

/// Asks for all that the verdict of now is judged from, with the failures of the last hour.
pub(crate) async fn facts(
    now: impl Fn() -> Timestamp,
    client: &Client,
    patience: Duration,
) -> Result<Facts, ClientError> {
    health::facts(now, client, 1, patience).await
}

/// The verdict in a word. Findings come the gravest first.
fn verdict(found: &[Finding]) -> &'static str {
    found.first().map_or("ok", |one| one.weight.as_str())
}

/// Tells findings, each with the command that mends it or shows more.
fn tell_found(context: &Context, found: &[Finding]) -> Result<(), Failure> {
    for one in found {
        context.out.line(&format!("{}: {}", one.weight.as_str(), one.message))?;
        for command in std::iter::once(&one.next).chain(&one.more) {
            context.out.line(&format!("   {command}"))?;
        }
    }
    Ok(())
}

/// The verdict as an exit code: warnings are none.
fn judged(found: &[Finding]) -> Result<(), Failure> {
    match found.first().map(|one| one.weight) {
        Some(Weight::Error) => Err(Failure::Found),
        Some(Weight::Warning) | None => Ok(()),
    }
}

#[derive(Args)]
pub(crate) struct Health {
    /// How long ready tasks may wait before it is asked why.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = text::parse_span)]
    patience: Duration,
    /// How many hours back failures are counted, from the beginning of an hour on: statistics tell of 24.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(HOURS)))]
    hours: u32,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct OneTask {
    /// The task's id, or the beginning of it.
    id: String,
    /// How many log lines are shown, at most; the newest.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct OneWorker {
    /// The worker.
    id: WorkerId,
    /// Whether it logs at all: the exit code is 1 if no line came of late.
    #[arg(long)]
    check_logging: bool,
    /// What it said in the first minutes since it started.
    #[arg(long, conflicts_with = "check_logging")]
    startup: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Debug {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Health(asked) => health::health(context, &context.client()?, asked).await,
            Self::Task(one) => {
                let client = context.client()?;
                let id = ids::resolve(&client, &one.id).await?;
                task::task(context, &client, id, one).await
            }
            Self::Worker(one) => worker::worker(context, &context.client()?, one).await,
            Self::Workers(asked) => workers::workers(context, &context.client()?, asked).await,
            Self::Tasks(asked) => tasks::tasks(context, &context.client()?, asked).await,
            Self::Reaper(asked) => reaper::reaper(context, &context.client()?, asked).await,
            Self::Config(config) => config.run(context).await,
        }
    }
}
