//! `baton debug workers`.

use std::collections::BTreeSet;

use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{Timestamp, WorkerId};
use baton_verdict::{Finding, attempts, counted, failing_worker};
use serde_json::json;

use super::ended::{ended_since, failed_since};
use super::{Asked, judged, tell_found, verdict};
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};

/// How many histories are asked for at once.
const AT_ONCE: usize = 8;

/// Of how many failed tasks the attempts are looked at, at most: each is a request.
const TASKS: u32 = 200;

/// Of how many workers that failed attempts, those with the most first, it is asked whether they mostly do.
const WORKERS: usize = 20;

pub(super) async fn workers(context: &Context, client: &Client, asked: Asked) -> Result<(), Failure> {
    use futures::{StreamExt as _, TryStreamExt as _};
    let now = context.now();
    let since = asked.since(now);
    let limit = asked.limit.min(TASKS);
    let (failed, more) = failed_since(client, since, limit).await?;
    let histories: Vec<_> = futures::stream::iter(failed.iter().map(|task| task.id))
        .map(|id| async move {
            match crate::task::whole_history(client, id).await {
                // It was removed meanwhile.
                Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => {
                    Ok((id, Vec::new()))
                }
                other => other.map(|history| (id, history)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let each = histories.iter().flat_map(|(id, history)| {
        attempts(history).into_iter().filter(|one| one.ended_at.is_some_and(|at| at >= since)).filter_map(
            |one| {
                let cause = one.cause()?;
                let worker = one.worker_id?;
                Some(((worker, cause), id.to_string()))
            },
        )
    });
    let causes = counted(each);
    let found = failing(client, causes.iter().map(|one| &one.what.0), since, asked).await?;
    let stats = client.stats().await?.workers;
    if context.out.is_json() {
        let causes = causes.iter().map(|one| {
            json!({"worker_id": one.what.0, "cause": one.what.1, "attempts": one.tasks, "example": one.example})
        });
        let causes: Vec<_> = causes.collect();
        let verdict = verdict(&found);
        context.out.json(
            &json!({"verdict": verdict, "findings": found, "workers": stats, "failures": causes, "more": more}),
        )?;
        return judged(&found);
    }
    asked.shown.begin(context);
    context.out.line(&format!(
        "{} alive ({} busy, {} idle), {} silent, {} lost, {} gone",
        stats.alive, stats.busy, stats.idle, stats.silent, stats.lost, stats.gone
    ))?;
    tell_found(context, &found)?;
    context.out.line("")?;
    let mut rows = Rows::of(&[
        Column::new("WORKER").cut(),
        Column::new("ATTEMPTS"),
        Column::new("CAUSE").cut(),
        Column::new("SUCH AS"),
    ]);
    for one in causes {
        let (worker, cause) = one.what;
        rows.add(vec![worker.to_string(), one.tasks.to_string(), cause, one.example]);
    }
    context
        .out
        .table(rows, &format!("no task that failed in {} tells of a failed attempt", asked.period()))?;
    if more {
        context.out.note(&format!("of the newest {limit} failed tasks"));
    }
    judged(&found)
}

/// Of the workers that failed attempts, those that fail more than they complete, the gravest first.
async fn failing<'a>(
    client: &Client,
    workers: impl Iterator<Item = &'a WorkerId>,
    since: Timestamp,
    asked: Asked,
) -> Result<Vec<Finding>, ClientError> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for worker in workers.filter(|worker| seen.insert(*worker)).take(WORKERS) {
        let of_worker = TaskQuery { worker: Some(worker.clone()), ..TaskQuery::default() };
        let ended = ended_since(client, of_worker, since, asked.limit).await?;
        found.extend(failing_worker(worker.as_str(), ended, &asked.period()));
    }
    found.sort_by_key(|one| one.weight);
    Ok(found)
}
