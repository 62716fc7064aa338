//! `baton dead-letters`: messages that were given up, by the queues in which they lie.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::when::Paged;

#[derive(Subcommand)]
#[command(after_help = "Examples:
  baton dead-letters list submissions
  baton dead-letters list completions --reason stale_attempt -o json
  baton dead-letters redrive submissions --reason invalid_fields
  baton dead-letters redrive https://sqs.eu-west-1.amazonaws.com/1/x-dead --to URL --all
  baton dead-letters drop completions 5f1d7e84-…

QUEUE is submissions, completions, task-events and so on, of the stack that --stack
names, or the URL of a dead-letter queue. Region and credentials are those of AWS's
own tools. A look at a letter hides it from others for two minutes at most.")]
pub(crate) enum DeadLetters {
    /// The letters of a queue with the reasons why they were given up.
    List(List),
    /// Send letters back to the queue that they came from: each is sent first and removed after, so that none is lost.
    ///
    /// One whose removal fails is there twice; whoever reads it knows the second as what it is. Mend what the reason says
    /// before, or it comes back.
    Redrive(Redrive),
    /// Remove letters for good.
    Drop(Drop),
}

#[derive(Args)]
pub(crate) struct Queue {
    /// The queue whose letters these are, such as submissions; or the URL of a dead-letter queue.
    queue: String,
    /// The stack that the queue belongs to, by its name.
    #[arg(long, value_name = "NAME", default_value = "baton")]
    stack: String,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Chosen {
    /// The letters with these ids, whole.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "reason"])]
    ids: Vec<String>,
    /// Only letters given up for this reason, by its code; none for those without one, which failed too often. May be
    /// given again.
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// All letters.
    #[arg(long, conflicts_with = "reason")]
    all: bool,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    queue: Queue,
    /// Only letters given up for this reason, by its code; none for those without one. May be given again.
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    queue: Queue,
    #[command(flatten)]
    chosen: Chosen,
    /// The URL of the queue to send to, if it is not the one of the same name without -dead.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Args)]
pub(crate) struct Drop {
    #[command(flatten)]
    queue: Queue,
    #[command(flatten)]
    chosen: Chosen,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl DeadLetters {
    #[cfg(not(feature = "sqs"))]
    pub(crate) async fn run(self, _: &Context) -> Result<(), Failure> {
        let (Self::List(List { queue, .. })
        | Self::Redrive(Redrive { queue, .. })
        | Self::Drop(Drop { queue, .. })) = self;
        Err(crate::sqs::missing(&queue.queue))
    }

    #[cfg(feature = "sqs")]
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => letters::list(context, list).await,
            Self::Redrive(redrive) => letters::redrive(context, redrive).await,
            Self::Drop(dropped) => letters::dropped(context, dropped).await,
        }
    }
}

#[cfg(feature = "sqs")]
mod letters;
