//! `baton debug health`: asks for the facts, and tells the verdict.

use std::time::Duration;

use baton_api::fleet::QueueView;
use baton_api::health::StoreView;
use baton_api::why::WhyView;
use baton_client::{Client, ClientError, GenerationQuery, TaskQuery};
use baton_model::Status;
use baton_verdict::{Facts, Finding, Weight, findings};
use serde_json::json;

use super::Asked;
use super::failures::failed_since;
use crate::context::Context;
use crate::exit::Failure;
use crate::pages;

/// Of how many queues whose tasks wait for long it is asked why.
const QUEUES: usize = 10;

/// How many workers and schedules are looked at.
const LISTED: usize = 1_000;

pub(super) async fn health(
    context: &Context,
    client: &Client,
    asked: Asked,
    patience: Duration,
) -> Result<(), Failure> {
    let facts = facts(context, client, asked, patience).await?;
    let found = findings(&facts);
    let verdict = match found.first().map(|one| one.weight) {
        None => "ok",
        Some(Weight::Warning) => "warning",
        Some(Weight::Error) => "error",
    };
    if context.out.is_json() {
        context.out.json(&json!({"at": facts.stats.at, "verdict": verdict, "findings": found}))?;
    } else {
        tell(context, &found, &facts)?;
    }
    match verdict {
        "error" => Err(Failure::Found),
        _ => Ok(()),
    }
}

fn tell(context: &Context, found: &[Finding], facts: &Facts) -> Result<(), Failure> {
    let workers = facts.stats.workers;
    let count = |state: &str| facts.stats.states.get(state).copied().unwrap_or_default();
    let (waiting, running) = (count("waiting"), count("running"));
    let alive = if workers.alive == 1 { "worker" } else { "workers" };
    let standing = format!(
        "{waiting} waiting, {running} running, {} {alive} alive ({} busy)",
        workers.alive, workers.busy
    );
    let grave = found.iter().filter(|one| one.weight == Weight::Error).count();
    let verdict = match (grave, found.len()) {
        (0, 0) => "ok: nothing is wrong".to_owned(),
        (0, 1) => "warning: one thing to look at".to_owned(),
        (0, more) => format!("warning: {more} things to look at"),
        (1, 1) => "error: one thing is wrong".to_owned(),
        (grave, all) if grave == all => format!("error: {all} things are wrong"),
        (grave, all) => format!("error: {grave} wrong, {} more to look at", all - grave),
    };
    context.out.line(&format!("{verdict}; {standing}"))?;
    for (place, one) in found.iter().enumerate() {
        let weight = match one.weight {
            Weight::Error => "error",
            Weight::Warning => "warning",
        };
        context.out.line(&format!("{}. {weight}: {}", place + 1, one.message))?;
        if let Some(next) = &one.next {
            context.out.line(&format!("   {next}"))?;
        }
    }
    Ok(())
}

async fn facts(
    context: &Context,
    client: &Client,
    asked: Asked,
    patience: Duration,
) -> Result<Facts, Failure> {
    let store = store(client).await?;
    let before = context.now();
    let stats = client.stats().await?;
    let after = context.now();
    let since = asked.since(stats.at);
    let workers = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    });
    let schedules = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.schedules(None, cursor.as_deref(), Some(most)).await
    });
    let completed = pages::first(asked.limit as usize, async |cursor, most| {
        let query = GenerationQuery {
            finished_from: Some(since),
            cursor,
            limit: Some(most),
            ..GenerationQuery::default()
        };
        client.generations(&query).await
    });
    let failed = failed_since(client, since, asked.limit);
    let (workers, schedules, completed, failed) = tokio::try_join!(workers, schedules, completed, failed)?;
    let waiting = waiting(client, &stats.queues, patience).await?;
    Ok(Facts {
        store,
        stats,
        asked: (before, after),
        workers: workers.0,
        waiting,
        patience,
        failed: failed.0,
        completed: completed.0.len(),
        schedules: schedules.0,
        period: asked.period(),
    })
}

/// What the store can do. A server that cannot work says so by a problem that holds it.
async fn store(client: &Client) -> Result<StoreView, ClientError> {
    match client.readyz().await {
        Ok(ready) => Ok(ready.store),
        Err(ClientError::Problem(mut problem)) => match problem.store.take() {
            Some(store) => Ok(*store),
            None => Err(ClientError::Problem(problem)),
        },
        Err(error) => Err(error),
    }
}

/// The queues whose ready tasks wait for longest, each with the reasons of its oldest.
async fn waiting(
    client: &Client,
    queues: &[QueueView],
    patience: Duration,
) -> Result<Vec<(QueueView, WhyView)>, ClientError> {
    let age = |queue: &&QueueView| queue.oldest_ready_seconds.unwrap_or_default();
    let mut long: Vec<&QueueView> =
        queues.iter().filter(|queue| !queue.paused && age(queue) > patience.as_secs_f64()).collect();
    long.sort_by(|one, other| age(other).total_cmp(&age(one)));
    let mut told = Vec::new();
    for queue in long.into_iter().take(QUEUES) {
        let Some(task) = oldest(client, queue).await? else { continue };
        match client.why(task).await {
            Ok(why) if why.waits => told.push((queue.clone(), why)),
            // It was taken meanwhile.
            Ok(_) => {}
            Err(ClientError::Problem(problem)) if problem.status == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// A ready task of a queue: one of the oldest, if it can be told by when it was created.
async fn oldest(client: &Client, queue: &QueueView) -> Result<Option<baton_model::TaskId>, ClientError> {
    let age = Duration::try_from_secs_f64(queue.oldest_ready_seconds.unwrap_or_default()).unwrap_or_default();
    let stats = client.stats().await?;
    let of_queue = TaskQuery {
        statuses: vec![Status::Queued],
        queue: Some(queue.name.clone()),
        limit: Some(1),
        ..TaskQuery::default()
    };
    // A second more, as the age was told a moment ago.
    let before = stats.at.minus(age.saturating_sub(Duration::from_secs(1)));
    let old = TaskQuery { created_before: Some(before), ..of_queue.clone() };
    let first =
        async |query: &TaskQuery| Ok::<_, ClientError>(client.tasks(query).await?.items.into_iter().next());
    let task = match first(&old).await? {
        Some(task) => Some(task),
        None => first(&of_queue).await?,
    };
    Ok(task.map(|task| task.id))
}
