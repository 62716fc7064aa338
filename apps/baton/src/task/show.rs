//! `baton task show` and `baton task history`.

use baton_api::task::{EventView, GenerationView, TaskDetailView, TaskView};
use baton_client::Client;
use baton_model::{TaskId, Timestamp};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::Rows;
use crate::text;

pub(crate) async fn show(context: &Context, client: &Client, id: TaskId) -> Result<(), Failure> {
    let detail = client.task(id).await?;
    if context.out.is_json() {
        return context.out.json(&detail);
    }
    let now = context.now();
    for (name, value) in facts(&detail, now) {
        context.out.line(&format!("{name:<12} {value}"))?;
    }
    context.out.line("")?;
    table(context, &detail.history, now)
}

pub(crate) async fn history(context: &Context, client: &Client, id: TaskId) -> Result<(), Failure> {
    let page = client.history(id).await?;
    if context.out.is_json() {
        return context.out.json(&page);
    }
    table(context, &page.items, context.now())
}

fn facts(detail: &TaskDetailView, now: Timestamp) -> Vec<(&'static str, String)> {
    let TaskView { id, status, .. } = &detail.task;
    let task = &detail.task;
    let mut facts = vec![
        ("task", id.to_string()),
        ("status", status.to_string()),
        ("type", task.task_type.to_string()),
        ("queue", format!("{}, priority {}", task.queue, task.priority.as_str())),
        ("attempts", attempts(task)),
        ("created", when(task.created_at, now)),
    ];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("due", (task.finished_at.is_none() && task.run_after > now).then(|| when(task.run_after, now)));
    add("finished", task.finished_at.map(|at| when(at, now)));
    add("description", task.description.clone());
    add("domain", task.domain.as_ref().map(ToString::to_string));
    add("drift score", task.drift_score.map(|score| score.to_string()));
    add("assigned by", task.assigned_by.as_ref().map(ToString::to_string));
    add("timeout", task.timeout_seconds.map(text::seconds));
    add("params", Some(task.params.as_str().to_owned()).filter(|params| params != "{}"));
    if let Some(lease) = &task.lease {
        add("worker", Some(format!("{} since {}", lease.worker_id, when(lease.claimed_at, now))));
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
        facts.extend(output(generation));
    }
    facts
}

fn attempts(task: &TaskView) -> String {
    let used = format!("{} of {} used", task.attempts_used, task.max_attempts);
    match task.worker_losses {
        0 => used,
        1 => format!("{used}; lost with its worker"),
        times => format!("{used}; lost with its worker {times} times in a row"),
    }
}

fn output(generation: &GenerationView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("generation", generation.id.to_string()),
        (
            "made by",
            format!(
                "{}, attempt {}, in {}",
                generation.worker_id,
                generation.attempt,
                text::seconds(generation.run_seconds)
            ),
        ),
    ];
    let payload =
        |payload: &Option<baton_model::Payload>| payload.as_ref().map(|json| json.as_str().to_owned());
    let more = [
        ("location", generation.location.clone()),
        ("kind", generation.kind.clone()),
        ("metadata", payload(&generation.metadata)),
        ("result", payload(&generation.result)),
    ];
    facts.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    facts
}

fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{at} ({})", text::ago(at, now))
}

fn table(context: &Context, events: &[EventView], now: Timestamp) -> Result<(), Failure> {
    let mut rows = Rows::new(&["#", "WHEN", "EVENT", "ATTEMPT", "STATE", "DETAIL"]);
    for event in events {
        rows.add(vec![
            event.seq.to_string(),
            text::ago(event.at, now),
            event.kind.as_str().to_owned(),
            event.attempt.to_string(),
            event.to.to_string(),
            text::short(&particulars(event), 200),
        ]);
    }
    context.out.table(rows, "no history")
}

/// A failure in one line: its last, as programs tell the cause last; but a timeout's first, as what follows there is
/// only what the command was saying.
pub(crate) fn cause(error: &baton_model::Failure) -> String {
    let timed_out = error.code.as_deref() == Some("timed_out");
    let mut lines = error.message.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = if timed_out { lines.next() } else { lines.next_back() };
    text::short(line.unwrap_or_default(), 120)
}

/// What there is to say about an event besides its kind.
pub(crate) fn particulars(event: &EventView) -> String {
    let said = [
        event.worker_id.as_ref().map(|worker| format!("worker {worker}")),
        event.by.as_ref().map(|by| format!("by {by}")),
        event.reason.clone(),
        event.loss.map(|loss| loss.explain().to_owned()),
        event.uncounted.then(|| "does not count".to_owned()),
        event.worker_losses.filter(|times| *times > 1).map(|times| format!("{times} times in a row")),
        // A lost lease's error only repeats the loss.
        event.error.as_ref().filter(|_| event.loss.is_none()).map(cause),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
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
