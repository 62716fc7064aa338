//! `baton debug health`: asks for the facts, and tells the verdict.

use std::time::Duration;

use baton_api::alert::AlertView;
use baton_api::fleet::{QueueView, StatsView};
use baton_api::health::StoreView;
use baton_api::limit::LimitView;
use baton_api::reap::ReaperView;
use baton_api::why::WhyView;
use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{Status, TaskId, Timestamp};
use baton_verdict::{Facts, Finding, Late, NAMED, at_limit, failures_from, findings, headline, late};
use serde_json::json;

use super::ended::failed_since;
use super::{Health, judged, verdict};
use crate::context::Context;
use crate::exit::Failure;
use crate::pages;

/// How many workers and schedules are looked at.
const LISTED: usize = 1_000;

pub(super) async fn health(context: &Context, client: &Client, asked: Health) -> Result<(), Failure> {
    let facts = facts(|| context.now(), client, asked.hours, asked.patience).await?;
    let found = findings(&facts);
    if context.out.is_json() {
        context.out.json(&json!({"at": facts.stats.at, "verdict": verdict(&found), "findings": found}))?;
    } else {
        asked.shown.begin(context);
        tell(context, &found, &facts)?;
    }
    judged(&found)
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
    // Of a store that cannot be read it is not known.
    let standing = if facts.store.read.status == "ok" { format!("; {standing}") } else { String::new() };
    context.out.line(&format!("{}{standing}", headline(found)))?;
    for (place, one) in found.iter().enumerate() {
        context.out.line(&format!("{}. {}: {}", place + 1, one.weight.as_str(), one.message))?;
        for command in std::iter::once(&one.next).chain(&one.more) {
            context.out.line(&format!("   {command}"))?;
        }
    }
    Ok(())
}

/// The rules of alerts; none of a store that keeps none, or of an older server.
async fn alerts(client: &Client) -> Result<Vec<AlertView>, ClientError> {
    match client.alerts().await {
        Ok(alerts) => Ok(alerts.items),
        Err(ClientError::Problem(problem)) if matches!(problem.status, 404 | 501) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Asks for all that the verdict is judged from; failures are told of so many hours. Where the store cannot be read, for as much as it
/// tells: then that is what is wrong.
pub(super) async fn facts(
    now: impl Fn() -> Timestamp,
    client: &Client,
    hours: u32,
    patience: Duration,
) -> Result<Facts, ClientError> {
    let store = store(client).await?;
    let facts = beside(&store, &now, client, hours, patience).await;
    match facts {
        Err(_) if store.read.status != "ok" => Ok(Facts::of_store(store, now())),
        facts => facts,
    }
}

/// Asks for all else than the store's health.
async fn beside(
    store: &StoreView,
    now: &impl Fn() -> Timestamp,
    client: &Client,
    hours: u32,
    patience: Duration,
) -> Result<Facts, ClientError> {
    let before = now();
    let stats = client.stats().await?;
    let after = now();
    let from = failures_from(stats.at, hours);
    let workers = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    });
    let schedules = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.schedules(None, cursor.as_deref(), Some(most)).await
    });
    let failed = failed_since(client, from, NAMED);
    let (workers, schedules, failed) = tokio::try_join!(workers, schedules, failed)?;
    let waiting = waiting(client, &stats, patience).await?;
    let tokens = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.tokens(cursor.as_deref(), Some(most)).await
    });
    let (tokens, reaper) = tokio::try_join!(tokens, reaper(client))?;
    let limits = if at_limit(&waiting) { limits(client).await? } else { Vec::new() };
    Ok(Facts {
        store: store.clone(),
        stats,
        asked: (before, after),
        workers: workers.0,
        waiting,
        patience,
        from,
        limits,
        failed: failed.0,
        schedules: schedules.0,
        alerts: alerts(client).await?,
        reaper,
        tokens: tokens.0,
    })
}

async fn limits(client: &Client) -> Result<Vec<LimitView>, ClientError> {
    let limits = pages::first(LISTED, async |cursor: Option<String>, most| {
        client.limits(cursor.as_deref(), Some(most)).await
    });
    Ok(limits.await?.0)
}

/// How the reaper is; nothing of a server that has no such route.
async fn reaper(client: &Client) -> Result<Option<ReaperView>, ClientError> {
    match client.reaper().await {
        Ok(view) => Ok(Some(view)),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    }
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
    stats: &StatsView,
    patience: Duration,
) -> Result<Vec<(QueueView, WhyView)>, ClientError> {
    let mut told = Vec::new();
    for Late { queue, created_before } in late(stats, patience) {
        let Some(task) = oldest(client, queue, created_before).await? else { continue };
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
async fn oldest(
    client: &Client,
    queue: &QueueView,
    created_before: Timestamp,
) -> Result<Option<TaskId>, ClientError> {
    let of_queue = TaskQuery {
        statuses: vec![Status::Queued],
        queue: Some(queue.name.clone()),
        limit: Some(1),
        ..TaskQuery::default()
    };
    for query in [TaskQuery { created_before: Some(created_before), ..of_queue.clone() }, of_queue] {
        if let Some(task) = client.tasks(&query).await?.items.first() {
            return Ok(Some(task.id));
        }
    }
    Ok(None)
}
