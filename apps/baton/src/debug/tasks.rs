//! `baton debug tasks`.

use std::collections::BTreeMap;

use baton_api::fleet::{PercentilesView, QueueView};
use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{TaskType, Timestamp};
use baton_verdict::{Counted, Finding, counted, failing_type, kind_of};
use serde::Serialize;
use serde_json::json;

use super::ended::{completed_since, ended_at, ended_since, failed_since};
use super::{Asked, judged, tell_found, verdict};
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::{pages, text};

/// How many hours are told one by one.
const HOURS: usize = 24;

/// How many kinds of failures are told, and of how many types that failed it is asked whether they mostly do.
const KINDS: usize = 20;

/// What happened within an hour.
#[derive(Clone, Copy, Default, Serialize)]
struct Hour {
    created: usize,
    completed: usize,
    failed: usize,
    /// Attempts that failed, those of tasks that were tried again included, of all queues that statistics list.
    attempts_failed: u64,
}

pub(super) async fn tasks(context: &Context, client: &Client, asked: Asked) -> Result<(), Failure> {
    let stats = client.stats().await?;
    let since = asked.since(stats.at);
    let created = pages::first(asked.limit as usize, async |cursor, most| -> Result<_, ClientError> {
        let query =
            TaskQuery { created_from: Some(since), cursor, limit: Some(most), ..TaskQuery::default() };
        client.tasks(&query).await
    });
    let completed = completed_since(client, since, asked.limit);
    let (created, completed, failed) =
        tokio::try_join!(created, completed, failed_since(client, since, asked.limit))?;
    let more = created.1 || completed.1 || failed.1;
    let mut hours: BTreeMap<String, Hour> = BTreeMap::new();
    for task in &created.0 {
        hours.entry(hour(task.created_at)).or_default().created += 1;
    }
    for generation in &completed.0 {
        hours.entry(hour(generation.finished_at)).or_default().completed += 1;
    }
    for task in &failed.0 {
        hours.entry(hour(ended_at(task))).or_default().failed += 1;
    }
    for told in stats.hours.iter().filter(|told| told.failed > 0 && hour(told.from) >= hour(since)) {
        hours.entry(hour(told.from)).or_default().attempts_failed = told.failed;
    }
    let example = |task: &baton_api::task::TaskView| task.id.to_string();
    let types = counted(failed.0.iter().map(|task| (task.task_type.clone(), example(task))));
    let found = failing(client, &types, since, asked).await?;
    let errors =
        counted(failed.0.iter().map(|task| ((task.task_type.to_string(), kind_of(task)), example(task))));
    if context.out.is_json() {
        let durations: BTreeMap<_, _> = stats
            .queues
            .iter()
            .map(|queue| (queue.name.to_string(), json!({"wait": queue.wait, "run": queue.run})))
            .collect();
        let errors: Vec<_> = errors
            .iter()
            .map(|one| json!({"type": one.what.0, "error": one.what.1, "tasks": one.tasks, "example": one.example}))
            .collect();
        let types: BTreeMap<_, _> = types.iter().map(|one| (&one.what, one.tasks)).collect();
        context.out.json(&json!({
            "verdict": verdict(&found), "findings": found, "hours": hours, "durations": durations,
            "failed_by_type": types, "failed_by_error": errors, "more": more,
        }))?;
        return judged(&found);
    }
    asked.shown.begin(context);
    tell_found(context, &found)?;
    if !found.is_empty() {
        context.out.line("")?;
    }
    let mut rows = Rows::new(&["HOUR (UTC)", "CREATED", "COMPLETED", "FAILED", "ATTEMPTS FAILED"]);
    for (hour, counts) in hours.iter().rev().take(HOURS) {
        let Hour { created, completed, failed, attempts_failed } = counts;
        let numbers = [*created, *completed, *failed].map(|tasks| tasks.to_string());
        rows.add([hour.clone()].into_iter().chain(numbers).chain([attempts_failed.to_string()]).collect());
    }
    context.out.table(rows, &format!("nothing happened in {}", asked.period()))?;
    durations(context, &stats.queues)?;
    if !errors.is_empty() {
        context.out.line("")?;
        let columns = [
            Column::new("FAILED"),
            Column::new("TYPE").cut(),
            Column::new("ERROR").cut(),
            Column::new("SUCH AS"),
        ];
        let mut rows = Rows::of(&columns);
        for one in errors.into_iter().take(KINDS) {
            let (task_type, error) = one.what;
            rows.add(vec![one.tasks.to_string(), task_type, error, one.example]);
        }
        context.out.table(rows, "none")?;
    }
    if more {
        context.out.note(&format!("of the newest {} tasks of each kind; --limit looks at more", asked.limit));
    }
    judged(&found)
}

/// Of the types that failed, those that fail more than they complete, the gravest first.
async fn failing(
    client: &Client,
    types: &[Counted<TaskType>],
    since: Timestamp,
    asked: Asked,
) -> Result<Vec<Finding>, ClientError> {
    let mut found = Vec::new();
    for one in types.iter().take(KINDS) {
        let of_type = TaskQuery { task_type: Some(one.what.clone()), ..TaskQuery::default() };
        let ended = ended_since(client, of_type, since, asked.limit).await?;
        found.extend(failing_type(one.what.as_str(), ended, &asked.period()));
    }
    found.sort_by_key(|one| one.weight);
    Ok(found)
}

fn durations(context: &Context, queues: &[QueueView]) -> Result<(), Failure> {
    let told: Vec<_> = queues.iter().filter(|queue| queue.wait.count > 0 || queue.run.count > 0).collect();
    if told.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    let mut rows = Rows::of(&[
        Column::new("QUEUE (24 HOURS)").cut(),
        Column::new("WAIT P50"),
        Column::new("P95"),
        Column::new("P99"),
        Column::new("RUN P50"),
        Column::new("P95"),
        Column::new("P99"),
    ]);
    for queue in told {
        let mut row = vec![queue.name.to_string()];
        row.extend(percentiles(queue.wait).into_iter().chain(percentiles(queue.run)));
        rows.add(row);
    }
    context.out.table(rows, "none")
}

fn percentiles(of: PercentilesView) -> [String; 3] {
    match of.count {
        0 => [(); 3].map(|()| "-".to_owned()),
        _ => [of.p50_seconds, of.p95_seconds, of.p99_seconds].map(text::seconds),
    }
}

/// The hour of a time in UTC, such as 2026-01-31T08.
fn hour(at: Timestamp) -> String {
    at.to_string().chars().take(13).collect()
}
