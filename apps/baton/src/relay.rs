//! `baton relay`: histories of tasks, sent to the queue `task-events` once more.

use std::path::PathBuf;

use baton_model::{TaskId, Timestamp};
use baton_runtime::settings::StoreLocation;
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{flag, load};
use crate::{text, when};

#[derive(Args)]
#[command(after_help = "Examples:
  baton relay --store dynamodb:baton-tasks --events-queue URL --task ID
  baton relay --store dynamodb:baton-tasks --events-queue URL --since 6h
  baton relay --store dynamodb:baton-tasks --events-queue URL --since 2026-11-26T08:00:00Z -o json

For readers of task-events that have missed some: because records of the table's
stream were given up, or by a fault of their own. Each event has the id that it
had the first time, so that a reader knows what it has seen. What was cut off
says by which --after it goes on. The output EventsQueue of the stack is the URL.")]
pub(crate) struct Relay {
    /// The task whose history is sent, by its whole id; may be given again.
    #[arg(long = "task", value_name = "ID", required_unless_present = "since", conflicts_with = "since")]
    tasks: Vec<TaskId>,
    /// Send the histories of all tasks that changed at this time or later: a time, or how long ago, such as 6h. Reads the
    /// whole table.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Where a run with --since goes on that was cut off, as it said.
    #[arg(long, value_name = "PLACE", requires = "since")]
    after: Option<String>,
    /// The URL of the queue task-events.
    #[arg(long, value_name = "URL")]
    events_queue: Option<String>,
    /// The table: dynamodb: and its name.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Since when tasks have changed.
#[derive(Clone, Copy, Debug)]
enum Since {
    At(Timestamp),
    Ago(std::time::Duration),
}

fn parse_since(text: &str) -> Result<Since, String> {
    match text::parse_span(text) {
        Ok(span) => Ok(Since::Ago(span)),
        Err(_) => when::parse_time(text)
            .map(Since::At)
            .map_err(|error| format!("{error}; or how long ago, such as 6h")),
    }
}

impl Relay {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = load(
            self.config,
            [
                flag("--store", "store.url", self.store),
                flag("--events-queue", "queues.task_events", self.events_queue),
            ],
        )?;
        let StoreLocation::Dynamodb(table) = settings.store.location.clone() else {
            return Err(Failure::usage(format!(
                "--store (or store.url): expected a table such as dynamodb:baton-tasks, got {}; a server on a file tells no \
                 events to a queue",
                settings.store.location
            )));
        };
        let Some(queue) = settings.queues.task_events.clone() else {
            return Err(Failure::usage(
                "--events-queue (or BATON_QUEUES_TASK_EVENTS): expected the URL of the queue task-events, got none; the \
                 output EventsQueue of the stack has it",
            ));
        };
        let asked = match self.since {
            None => Asked::Tasks(self.tasks),
            Some(Since::At(at)) => Asked::Since { at, after: self.after },
            Some(Since::Ago(span)) => Asked::Since { at: context.now().minus(span), after: self.after },
        };
        relay(context, &settings, &table, &queue, asked).await
    }
}

/// Which histories are sent.
#[cfg_attr(
    not(all(feature = "dynamodb", feature = "sqs")),
    expect(dead_code, reason = "nothing is sent without the store and SQS")
)]
enum Asked {
    Tasks(Vec<TaskId>),
    Since { at: Timestamp, after: Option<String> },
}

#[cfg(not(all(feature = "dynamodb", feature = "sqs")))]
async fn relay(
    _: &Context,
    settings: &baton_runtime::Settings,
    _: &str,
    queue: &str,
    _: Asked,
) -> Result<(), Failure> {
    Err(Failure::usage(format!(
        "{} and {queue}: this baton was built without DynamoDB or without SQS; build one with both: cargo install --path \
         apps/baton --features dynamodb,sqs (or cargo build --package baton --features dynamodb,sqs)",
        settings.store.location
    )))
}

#[cfg(all(feature = "dynamodb", feature = "sqs"))]
use sending::relay;

#[cfg(all(feature = "dynamodb", feature = "sqs"))]
mod sending {
    use std::sync::Arc;

    use baton_aws::queues::{Outgoing, Queues as _, Sqs};
    use baton_relay_events::cloud_event;
    use baton_runtime::Settings;
    use baton_store::{Cursor, NoDoorbell, StoreError};
    use baton_store_dynamodb::{DynamoStore, TaskEvent};
    use serde_json::{Value, json};

    use super::*;
    use crate::progress::Teller;
    use crate::signals::Signals;
    use crate::sqs::client;
    use crate::store::dynamodb::open;

    /// How far it has come.
    #[derive(Default)]
    struct Sent {
        tasks: u64,
        events: u64,
        looked: u64,
        /// Tasks whose items are damaged.
        damaged: Vec<(String, String)>,
    }

    /// Sends what is asked for, and says what was sent.
    pub(super) async fn relay(
        context: &Context,
        settings: &Settings,
        table: &str,
        queue: &str,
        asked: Asked,
    ) -> Result<(), Failure> {
        let store = open(table, settings, Arc::new(NoDoorbell)).await?;
        let sqs = client(queue).await?;
        let mut sent = Sent::default();
        match asked {
            Asked::Tasks(tasks) => {
                for id in tasks {
                    let history = store.history_of(id).await.map_err(|error| of_store(table, &error))?;
                    send(&sqs, queue, vec![history], &mut sent).await?;
                }
            }
            Asked::Since { at, after } => since(&store, &sqs, (table, queue), at, after, &mut sent).await?,
        }
        told(context, table, &sent)
    }

    async fn since(
        store: &DynamoStore,
        sqs: &Sqs,
        (table, queue): (&str, &str),
        at: Timestamp,
        after: Option<String>,
        sent: &mut Sent,
    ) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let mut teller = Teller::new();
        let mut place = after.map(Cursor);
        loop {
            let page = async {
                let page =
                    store.histories(at, place.as_ref()).await.map_err(|error| of_store(table, &error))?;
                sent.looked += page.looked as u64;
                let mut histories = Vec::new();
                for task in page.tasks {
                    match task {
                        Ok(history) => histories.push(history),
                        Err((task, error)) => sent.damaged.push((task, error.report())),
                    }
                }
                send(sqs, queue, histories, sent).await?;
                Ok::<_, Failure>(page.next)
            };
            let next = tokio::select! {
                next = page => next,
                _ = signals.next() => Err(Failure::failed("interrupted")),
            };
            match next {
                Ok(None) => break,
                Ok(next) => place = next,
                Err(failure) => {
                    teller.end();
                    return Err(goes_on(failure, at, place.as_ref()));
                }
            }
            teller.tell(|| {
                format!("{} tasks looked at, {} events of {} sent", sent.looked, sent.events, sent.tasks)
            });
        }
        teller.end();
        Ok(())
    }

    /// Says by which command what was cut off goes on. What is sent twice does no harm.
    fn goes_on(failure: Failure, at: Timestamp, place: Option<&Cursor>) -> Failure {
        let after = place.map(|Cursor(place)| format!(" --after '{place}'")).unwrap_or_default();
        match failure {
            Failure::Failed(what) => {
                Failure::Failed(format!("{what}; run it again with --since {at}{after} to go on"))
            }
            other => other,
        }
    }

    /// Sends the events of some histories, in their order.
    async fn send(
        sqs: &Sqs,
        queue: &str,
        histories: Vec<Vec<TaskEvent>>,
        sent: &mut Sent,
    ) -> Result<(), Failure> {
        sent.tasks += histories.len() as u64;
        let events = histories.into_iter().flatten().map(cloud_event);
        // Names, numbers, and what was JSON before, always serialise.
        let body = |event| serde_json::to_string(&event).unwrap_or_default();
        let messages: Vec<Outgoing> = events.map(|event| Outgoing::of_json(body(event))).collect();
        let outcomes = sqs.send(queue, &messages).await;
        sent.events += outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        match outcomes.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(error) => Err(Failure::failed(format!(
                "{queue} did not take an event: {error}; {} events were sent before",
                sent.events
            ))),
        }
    }

    fn of_store(table: &str, error: &StoreError) -> Failure {
        match error {
            StoreError::TaskNotFound(id) => Failure::NotFound(format!(
                "expected a task of the table {table}, got {id}, which it does not have"
            )),
            StoreError::BadCursor => Failure::usage(
                "--after: expected the place at which an earlier run with --since stopped, as it said, got another text",
            ),
            error => Failure::failed(format!("{table}: {}", error.report())),
        }
    }

    fn told(context: &Context, table: &str, sent: &Sent) -> Result<(), Failure> {
        if context.out.is_json() {
            let damaged = |(task, error): &(String, String)| json!({ "task": task, "error": error });
            let damaged: Vec<Value> = sent.damaged.iter().map(damaged).collect();
            context.out.json(&json!({ "tasks": sent.tasks, "events": sent.events, "damaged": damaged }))?;
        } else {
            for (task, error) in &sent.damaged {
                context.out.line(&format!("damaged  {task}  {error}"))?;
            }
        }
        context
            .out
            .note(&format!("{} events of {} tasks of {table} were sent again", sent.events, sent.tasks));
        match sent.damaged.len() {
            0 => Ok(()),
            some => Err(Failure::failed(format!(
                "{some} tasks could not be read, and were passed over; see above which"
            ))),
        }
    }
}
