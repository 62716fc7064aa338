//! `baton debug task`.

use baton_api::fleet::LogView;
use baton_api::task::{EventView, TaskDetailView};
use baton_api::why::WhyView;
use baton_client::{Client, LogQuery};
use baton_model::{Status, TaskId, Timestamp};
use baton_verdict::{Attempt, attempts};
use serde_json::json;

use super::OneTask;
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::process::quoted;
use crate::when::Times;
use crate::{logs, names, text};

pub(super) async fn task(
    context: &Context,
    client: &Client,
    id: TaskId,
    asked: OneTask,
) -> Result<(), Failure> {
    let detail = client.task(id).await;
    let detail = names::of_task(client, id, detail).await?;
    let why = names::of_task(client, id, client.why(id).await).await?;
    let history = names::of_task(client, id, crate::task::whole_history(client, id).await).await?;
    let of_task = LogQuery { task_id: Some(id), ..LogQuery::default() };
    let lines = logs::newest(client, of_task, asked.limit as usize).await?;
    let attempts = attempts(&history);
    let next = next(&detail, &why, &attempts);
    if context.out.is_json() {
        context.out.json(&json!({
            "task": detail, "why": why, "attempts": attempts, "history": history, "logs": lines, "next": next,
        }))?;
    } else {
        let times = asked.shown.begin(context);
        tell(context, &detail, &why, &times)?;
        tell_attempts(context, &attempts, &times)?;
        tell_what_happened(context, &history, &lines, &times)?;
        if !next.is_empty() {
            context.out.line("")?;
            context.out.line("next:")?;
            next.iter().try_for_each(|command| context.out.line(&format!("  {command}")))?;
        }
    }
    match detail.task.status {
        Status::Failed | Status::Cancelled => Err(Failure::TaskFailed),
        // A task that is for later, or behind others, waits as it should.
        _ if why.reasons.iter().any(is_wrong) => Err(Failure::Found),
        _ => Ok(()),
    }
}

fn is_wrong(reason: &baton_api::why::ReasonView) -> bool {
    use baton_model::why::word;
    matches!(reason.reason.as_str(), word::NO_WORKER | word::PAUSED | word::EXPIRED)
}

fn tell(context: &Context, detail: &TaskDetailView, why: &WhyView, times: &Times) -> Result<(), Failure> {
    context.out.facts(crate::task::facts(detail, times))?;
    context.out.line("")?;
    context.out.line(&why.message)?;
    why.reasons.iter().try_for_each(|reason| context.out.line(&format!("- {}", reason.message)))
}

fn tell_attempts(context: &Context, attempts: &[Attempt], times: &Times) -> Result<(), Failure> {
    if attempts.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    let mut rows = Rows::of(&[
        Column::new("ATTEMPT"),
        Column::new("WORKER").cut(),
        Column::new("CLAIMED"),
        Column::new("TOOK"),
        Column::new("END"),
        Column::new("ERROR").cut(),
    ]);
    for one in attempts {
        let took = one.ended_at.map(|at| text::span(at.since(one.claimed_at)));
        rows.add(vec![
            one.attempt.to_string(),
            one.worker_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            times.at(one.claimed_at),
            took.unwrap_or_else(|| "-".to_owned()),
            one.end.unwrap_or("running").to_owned(),
            one.failure().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    context.out.table(rows, "no attempts")
}

/// The history and the log lines, in the order in which events happened and lines were received.
fn tell_what_happened(
    context: &Context,
    history: &[EventView],
    lines: &[LogView],
    times: &Times,
) -> Result<(), Failure> {
    context.out.line("")?;
    let events = history.iter().map(|event| {
        let particulars = crate::task::particulars(event, times);
        let (at, kind) = (times.at(event.at), event.kind.as_str());
        let told = format!("{at}  {kind} (attempt {}) {particulars}", event.attempt);
        (event.at, told.trim_end().to_owned())
    });
    let said = lines.iter().map(|line| {
        let (at, level, worker) = (logs::dated(line, times), line.level.as_str(), &line.worker_id);
        (line.received_at, format!("{at}  {level:5} {worker} {}: {}", line.source, line.message))
    });
    let mut all: Vec<(Timestamp, String)> = events.chain(said).collect();
    // What came first stays first where times are the same: both are sorted in themselves.
    all.sort_by_key(|(at, _)| *at);
    all.iter().try_for_each(|(_, told)| context.out.lines(told, 4))
}

/// What to do next, as commands.
fn next(detail: &TaskDetailView, why: &WhyView, attempts: &[Attempt]) -> Vec<String> {
    let (task, mut next) = (&detail.task, Vec::new());
    let id = task.id;
    let worker = attempts.last().and_then(|last| last.worker_id.as_ref());
    let debug_worker = worker.map(|worker| format!("baton debug worker {}", quoted(&worker.to_string())));
    match task.status {
        Status::Failed => {
            next.push(format!("baton task retry {id}"));
            next.push(format!("baton logs --task {id} --level warn"));
            next.extend(debug_worker);
        }
        Status::Cancelled => next.push(format!("baton task retry {id}")),
        Status::Running => {
            next.push(format!("baton logs --task {id} --follow"));
            next.extend(debug_worker);
            next.push(format!("baton task cancel {id}"));
        }
        Status::Completed => {
            next.extend(detail.generation.as_ref().map(|one| format!("baton generation show {}", one.id)));
        }
        _ => next
            .extend(why.reasons.iter().filter_map(|reason| Some(baton_verdict::next(why, reason)?.command))),
    }
    next
}
