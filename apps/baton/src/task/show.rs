//! `baton task show` and `baton task history`.

use baton_api::change::ChangesView;
use baton_api::task::{EventView, Page, TaskDetailView, TaskView};
use baton_api::unique::UniqueView;
use baton_client::{Client, ClientError};
use baton_model::{Status, TaskId, UniqueWhile};
use baton_verdict::cause;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Shown, Times};
use crate::{generation, names, pages, text};

pub(crate) async fn show(
    context: &Context,
    client: &Client,
    id: TaskId,
    shown: Shown,
) -> Result<(), Failure> {
    let asked = client.task(id).await;
    let detail = names::of_task(client, id, asked).await?;
    if context.out.is_json() {
        return context.out.json(&detail);
    }
    let times = shown.begin(context);
    context.out.facts(facts(&detail, &times))?;
    context.out.line("")?;
    table(context, &detail.history, &times)?;
    let earlier = (detail.events as usize).saturating_sub(detail.history.len());
    if earlier > 0 {
        let all = detail.events;
        context.out.line(&format!(
            "{earlier} events came before these; `baton task history {id}` shows all {all}"
        ))?;
    }
    Ok(())
}

pub(crate) async fn history(
    context: &Context,
    client: &Client,
    id: TaskId,
    shown: Shown,
) -> Result<(), Failure> {
    let asked = whole_history(client, id).await;
    let events = names::of_task(client, id, asked).await?;
    if context.out.is_json() {
        return context.out.json(&Page { items: events, next_cursor: None });
    }
    let times = shown.begin(context);
    table(context, &events, &times)
}

/// A task's history, over as many pages as it takes.
pub(crate) async fn whole_history(client: &Client, id: TaskId) -> Result<Vec<EventView>, ClientError> {
    let page = async |cursor: Option<String>, most| client.history(id, cursor.as_deref(), most).await;
    Ok(pages::first(pages::ALL, page).await?.0)
}

/// All there is to say about a task, each fact by its name.
pub(crate) fn facts(detail: &TaskDetailView, times: &Times) -> Vec<(&'static str, String)> {
    let task = &detail.task;
    let id = task.id;
    let mut facts = vec![
        ("task", id.to_string()),
        ("status", waiting(task, times)),
        ("type", task.task_type.to_string()),
        ("queue", format!("{}, priority {}", task.queue, task.priority.as_str())),
        ("attempts", attempts(task)),
        ("created", times.full(task.created_at)),
    ];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("finished", task.finished_at.map(|at| times.full(at)));
    add("description", task.description.clone());
    add("domain", task.domain.as_ref().map(ToString::to_string));
    add("drift score", task.drift_score.map(|score| score.to_string()));
    add("assigned by", task.assigned_by.as_ref().map(ToString::to_string));
    add("shares", task.concurrency_key.as_ref().map(ToString::to_string));
    add("affinity", task.affinity.as_ref().map(ToString::to_string));
    add("expires", task.expires_at.map(|at| times.full(at)));
    add("unique", task.unique.as_ref().map(unique));
    add("timeout", task.timeout_seconds.map(text::seconds));
    add("backoff", task.backoff.map(backoff));
    add("kept for", task.retention_seconds.map(text::seconds));
    add(
        "trace",
        task.traceparent.map(|parent| match &task.tracestate {
            Some(state) => format!("{parent}, with {}", state.as_str()),
            None => parent.to_string(),
        }),
    );
    add("params", Some(task.params.as_str().to_owned()).filter(|params| params != "{}"));
    let waits_for = |ids: &[TaskId]| {
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    add("depends on", (!task.depends_on.is_empty()).then(|| waits_for(&task.depends_on)));
    add("if one fails", task.if_dependency_fails.map(|choice| choice.as_str().to_owned()));
    if let Some(lease) = &task.lease {
        add("worker", Some(format!("{} since {}", lease.worker_id, times.full(lease.claimed_at))));
    }
    if let Some(progress) = &detail.progress {
        let share = progress.progress.map(|share| format!("{:.0}%", share * 100.0));
        add(
            "progress",
            Some([share, progress.message.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        );
    }
    if let Some(error) = &task.error {
        let code = error.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
        add("error", Some(format!("{code}{}", error.message.trim())));
    }
    if let Some(generation) = &detail.generation {
        facts.extend(generation::facts(generation));
    }
    facts
}

/// A task's status, with the time that it waits for.
fn waiting(task: &TaskView, times: &Times) -> String {
    match task.status {
        Status::Created | Status::Retry => format!("{} until {}", task.status, times.full(task.run_after)),
        status => status.to_string(),
    }
}

fn attempts(task: &TaskView) -> String {
    let used = format!("{} of {} used", task.attempts_used, task.max_attempts);
    match task.worker_losses {
        0 => used,
        1 => format!("{used}; lost with its worker"),
        times => format!("{used}; lost with its worker {times} times in a row"),
    }
}

fn table(context: &Context, events: &[EventView], times: &Times) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("#"),
        Column::new("WHEN"),
        Column::new("AT").room(),
        Column::new("EVENT"),
        Column::new("ATTEMPT"),
        Column::new("STATUS"),
        Column::new("DETAIL").cut(),
    ]);
    for event in events {
        rows.add(vec![
            event.seq.to_string(),
            times.ago(event.at),
            times.at(event.at),
            event.kind.as_str().to_owned(),
            event.attempt.to_string(),
            event.status.to_string(),
            text::short(&particulars(event, times), 200),
        ]);
    }
    context.out.table(rows, "no history")
}

/// How long a task waits between attempts, where that is not the usual.
fn backoff(backoff: baton_model::Backoff) -> String {
    let (base, max) = (text::span(backoff.base), text::span(backoff.max));
    format!("{base}, times {} up to {max}", backoff.factor)
}

/// What there is to say about an event besides its kind.
pub(crate) fn particulars(event: &EventView, times: &Times) -> String {
    let waits = matches!(event.status, Status::Created | Status::Retry);
    let said = [
        event.run_after.filter(|_| waits).map(|until| format!("until {}", times.at(until))),
        event.worker_id.as_ref().map(|worker| format!("worker {worker}")),
        event.by.as_ref().map(|by| format!("by {by}")),
        event.reason.clone(),
        event.changes.as_ref().map(|changes| changed(changes, times)),
        event.dependency.filter(|_| event.error.is_none()).map(|task| format!("with task {task}")),
        event.loss.map(|loss| loss.explain().to_owned()),
        event.uncounted.then(|| "does not count".to_owned()),
        event.worker_losses.filter(|times| *times > 1).map(|times| format!("{times} times in a row")),
        // A lost lease's error only repeats the loss.
        event.error.as_ref().filter(|_| event.loss.is_none()).map(cause),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a change has changed, and from what.
fn changed(changes: &ChangesView, times: &Times) -> String {
    let timeout = |seconds: Option<f64>| seconds.map_or_else(|| "none".to_owned(), text::seconds);
    let said = [
        changes.priority.map(|one| format!("priority {} → {}", one.from.as_str(), one.to.as_str())),
        changes.queue.as_ref().map(|one| format!("queue {} → {}", one.from, one.to)),
        changes.run_after.map(|one| format!("run after {} → {}", times.at(one.from), times.at(one.to))),
        changes.timeout_seconds.map(|one| format!("timeout {} → {}", timeout(one.from), timeout(one.to))),
        changes.max_attempts.map(|one| format!("attempts {} → {}", one.from, one.to)),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The unique key of a task, and for how long it holds it.
fn unique(unique: &UniqueView) -> String {
    let held = match unique.held {
        UniqueWhile::Queued => "while queued".to_owned(),
        UniqueWhile::Unfinished => "while unfinished".to_owned(),
        UniqueWhile::For(span) => format!("for {}", text::seconds(span.as_secs_f64())),
    };
    format!("{}, {held}", unique.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_last_line_and_a_timeout_by_its_first() {
        let error = |code: &str, message: &str| baton_model::Failure {
            message: message.to_owned(),
            code: Some(code.to_owned()),
            details: None,
        };
        assert_eq!(
            cause(&error("exit_1", "Traceback:\n  line 7\nValueError: no page\n\n")),
            "ValueError: no page"
        );
        assert_eq!(
            cause(&error("timed_out", "past its timeout of 5 s\nstill here")),
            "past its timeout of 5 s"
        );
        assert_eq!(cause(&error("exit_1", "")), "");
    }
}
