//! `baton debug worker`.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::fleet::{LogView, WorkerView};
use baton_client::{Client, LogQuery};
use baton_model::WorkerStatus;
use serde_json::json;

use super::OneWorker;
use crate::context::Context;
use crate::exit::Failure;
use crate::{logs, names};

/// How long a worker's start is.
const STARTUP: Duration = Duration::from_secs(300);

/// How many of its last lines are shown.
const LINES: usize = 20;

pub(super) async fn worker(context: &Context, client: &Client, asked: OneWorker) -> Result<(), Failure> {
    let found = client.worker(&asked.id).await;
    let worker = names::of_worker(client, &asked.id, found).await?;
    let of_worker = LogQuery { worker: Some(worker.id.clone()), ..LogQuery::default() };
    let query = if asked.startup {
        let (from, before) = (Some(worker.started_at), Some(worker.started_at.plus(STARTUP)));
        LogQuery { from, before, ..of_worker }
    } else {
        LogQuery { from: Some(asked.asked.since(context.now())), ..of_worker }
    };
    let lines = logs::newest(client, query, asked.asked.limit as usize).await?;
    let wrong = wrong(&worker, &lines, &asked);
    if context.out.is_json() {
        context
            .out
            .json(&json!({"worker": worker, "log_levels": levels(&lines), "logs": lines, "wrong": wrong}))?;
    } else {
        crate::worker::show(context, &worker, asked.asked.shown)?;
        tell_lines(context, &lines, &asked)?;
        if !wrong.is_empty() {
            context.out.line("")?;
        }
        wrong.iter().try_for_each(|one| context.out.line(&format!("error: {one}")))?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Found) }
}

fn tell_lines(context: &Context, lines: &[LogView], asked: &OneWorker) -> Result<(), Failure> {
    let times = asked.asked.shown.begin(context);
    let levels: Vec<String> = levels(lines).iter().map(|(level, lines)| format!("{lines} {level}")).collect();
    let when = match asked.startup {
        true => "its first five minutes".to_owned(),
        false => asked.asked.period(),
    };
    let told = match (lines.last(), levels.is_empty()) {
        (Some(last), false) => format!("{}, the last {}", levels.join(", "), times.ago(last.received_at)),
        _ => "none".to_owned(),
    };
    context.out.line("")?;
    context.out.line(&format!("log lines of {when}: {told}"))?;
    let from = if asked.startup { 0 } else { lines.len().saturating_sub(LINES) };
    lines[from..].iter().try_for_each(|line| logs::tell(context, line, &times))
}

/// How many lines are of each level.
fn levels(lines: &[LogView]) -> BTreeMap<&'static str, usize> {
    let mut levels = BTreeMap::new();
    for line in lines {
        *levels.entry(line.level.as_str()).or_default() += 1;
    }
    levels
}

/// What is wrong with it, in sentences.
fn wrong(worker: &WorkerView, lines: &[LogView], asked: &OneWorker) -> Vec<String> {
    let mut wrong = Vec::new();
    match worker.status {
        WorkerStatus::Lost => {
            wrong.push("it no longer beats: look whether its process and its machine live".to_owned())
        }
        WorkerStatus::Silent => wrong.push(
            "it has claimed and never beaten: it does not send heartbeats, or they do not reach the server"
                .to_owned(),
        ),
        _ => {}
    }
    if let Some(why) = worker.labels.get(baton_model::Worker::CANNOT_START) {
        wrong.push(format!("it cannot start its command: {why}"));
    }
    if worker.contested_at.is_some() {
        wrong.push("two workers share its name: give each one of its own (--id)".to_owned());
    }
    if asked.check_logging && lines.is_empty() {
        wrong.push(format!(
            "it sent no log line in {}: lines travel with heartbeats, and what a command writes to stdout and stderr is sent by \
             `baton worker run`",
            asked.asked.period()
        ));
    }
    wrong
}
