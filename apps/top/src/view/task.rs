//! One task: its state and why it waits, its attempts, its latest events and log lines, what went wrong and what came out.

use baton_api::fleet::LogView;
use baton_api::task::{EventView, GenerationView, TaskDetailView};
use baton_api::why::WhyView;
use baton_model::{Level, Timestamp};
use baton_verdict::words::{ago, mebibytes, span};
use baton_verdict::{Attempt, attempts, dated, next};
use ratatui::layout::Rect;

use super::pen::{Ink, Line, Pen};
use crate::ask::{OneTask, Refusal, Slot};
use crate::state::{Place, State};
use crate::text::{progress, safe};

/// How many events are shown.
const EVENTS: usize = 30;

/// How many lines of an error are shown.
const ERROR_LINES: usize = 8;

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, state: &mut State) {
    let Place::Task(id) = state.stay().place else { return };
    let known = state.known.task.as_ref().filter(|task| task.detail.task.id == id);
    let lines = match (known, state.refused.get(&Slot::Task)) {
        (Some(task), _) => lines(task, state.server_now()),
        (None, Some(refusal)) => vec![Line::text(Ink::Odd, safe(&refusal.told))],
        (None, None) => vec![Line::text(Ink::Dim, format!("asking for task {id}"))],
    };
    let scroll = pen.page(area, &lines, state.stay().scroll);
    state.stay_mut().scroll = scroll;
}

fn lines(one: &OneTask, now: Timestamp) -> Vec<Line> {
    let mut lines = facts(&one.detail, now);
    match &one.why {
        Ok(why) => lines.extend(waits(why)),
        Err(refusal) => lines.push(not_told("waits", refusal)),
    }
    if let Some(generation) = &one.detail.generation {
        lines.push(Line::fact("output", Ink::Good, output(generation)));
    }
    if let Some(error) = &one.detail.task.error {
        let code = error.code.as_ref().map(|code| format!("{}: ", safe(code))).unwrap_or_default();
        let mut told = error.message.trim().lines();
        lines.push(Line::fact("error", Ink::Bad, format!("{code}{}", safe(told.next().unwrap_or_default()))));
        lines.extend(told.take(ERROR_LINES - 1).map(|line| Line::fact("", Ink::Bad, safe(line))));
    }
    let tried = attempts(&one.detail.history);
    if !tried.is_empty() {
        lines.push(Line::text(Ink::Head, "attempts, the latest first"));
        lines.extend(tried.iter().rev().map(|tried| attempt(tried, now)));
    }
    lines.push(Line::text(Ink::Head, "log lines, the latest first"));
    match &one.lines {
        Ok(told) if told.is_empty() => lines.push(Line::below(Ink::Dim, "none")),
        Ok(told) => lines.extend(told.iter().map(log_line)),
        Err(refusal) => lines.push(Line::below(Ink::Odd, safe(&refusal.told))),
    }
    lines.push(Line::text(Ink::Head, "events, the latest first"));
    lines.extend(one.detail.history.iter().rev().take(EVENTS).map(|happened| event(happened, now)));
    lines
}

fn not_told(name: &'static str, refusal: &Refusal) -> Line {
    Line::fact(name, Ink::Odd, safe(&refusal.told))
}

fn facts(detail: &TaskDetailView, now: Timestamp) -> Vec<Line> {
    let task = &detail.task;
    let state = super::tasks::status(task.status);
    let mut lines = vec![
        Line::fact("task", Ink::Head, task.id.to_string()),
        Line::fact(
            "state",
            state.ink,
            format!(
                "{} for {}; {} of {} attempts used; priority {}",
                state.text,
                span(now.since(task.updated_at)),
                task.attempts_used,
                task.max_attempts,
                task.priority.as_str()
            ),
        ),
        Line::fact(
            "is",
            Ink::Plain,
            format!(
                "of type {} in queue {}, project {}; created {}",
                safe(task.task_type.as_str()),
                safe(task.queue.as_str()),
                safe(task.project.as_str()),
                ago(task.created_at, now)
            ),
        ),
    ];
    if let Some(text) = task.description.as_ref().filter(|text| !text.trim().is_empty()) {
        lines.push(Line::fact("about", Ink::Plain, safe(text)));
    }
    if let Some(lease) = &task.lease {
        let ends = [("lease ends", lease.expires_at), ("timeout", lease.timeout_at)];
        let ends = ends.iter().filter_map(|(what, at)| Some(format!("; {what} {}", ago((*at)?, now))));
        let told = format!(
            "attempt {} by {}, claimed {}{}",
            task.attempt,
            safe(lease.worker_id.as_str()),
            ago(lease.claimed_at, now),
            ends.collect::<String>()
        );
        lines.push(Line::fact("runs", Ink::Plain, told));
    }
    if let Some(said) = &detail.progress {
        let done = said.progress.map(progress).unwrap_or_default();
        let message = said.message.as_deref().map(safe).unwrap_or_default();
        lines.push(Line::fact("progress", Ink::Plain, format!("{done} {message}").trim().to_owned()));
    }
    lines
}

/// Why it waits, each reason with what to do about it.
fn waits(why: &WhyView) -> Vec<Line> {
    if !why.waits {
        return Vec::new();
    }
    let mut lines = vec![Line::fact("waits", Ink::Odd, safe(&why.message))];
    for reason in &why.reasons {
        lines.push(Line::fact("", Ink::Plain, format!("- {}", safe(&reason.message))));
        lines.extend(
            next(why, reason).map(|next| Line::fact("", Ink::Dim, format!("  {}", safe(&next.to_string())))),
        );
    }
    lines
}

fn output(generation: &GenerationView) -> String {
    let mut told = Vec::new();
    if let Some(location) = &generation.location {
        told.push(format!("at {}", safe(location)));
    }
    if let Some(kind) = &generation.kind {
        told.push(safe(kind));
    }
    told.extend(generation.result.as_ref().map(|result| format!("result of {} bytes", result.size())));
    if !generation.files.is_empty() {
        let bytes = generation.files.iter().map(|file| file.size).sum();
        told.push(format!("{} files of {}", generation.files.len(), mebibytes(bytes)));
    }
    told.push(format!("ran {}", baton_verdict::words::seconds(generation.run_seconds)));
    told.join(", ")
}

fn attempt(tried: &Attempt, now: Timestamp) -> Line {
    let took = match tried.ended_at {
        Some(ended) => format!("took {}", span(ended.since(tried.claimed_at))),
        None => format!("runs for {}", span(now.since(tried.claimed_at))),
    };
    let worker = tried.worker_id.as_ref().map_or_else(|| "-".to_owned(), |worker| safe(worker.as_str()));
    let failure = tried.failure().map(|failure| format!(": {}", safe(&failure))).unwrap_or_default();
    let ink = if tried.error.is_some() { Ink::Odd } else { Ink::Plain };
    let end = tried.end.unwrap_or("running");
    Line::below(ink, format!("#{} {} {worker} {took} {end}{failure}", tried.attempt, clock(tried.claimed_at)))
}

fn log_line(line: &LogView) -> Line {
    let ink = match line.level {
        Level::Error => Ink::Bad,
        Level::Warn => Ink::Odd,
        _ => Ink::Plain,
    };
    let (level, source) = (line.level.as_str(), safe(&line.source));
    let message = safe(line.message.trim_end());
    let dated = dated(line).map(|at| format!(" (dated {at})")).unwrap_or_default();
    Line::below(ink, format!("{}{dated} {level} {source}: {message}", clock(line.received_at)))
}

fn event(happened: &EventView, now: Timestamp) -> Line {
    let mut told =
        format!("{} {} (attempt {})", clock(happened.at), happened.kind.as_str(), happened.attempt);
    if let Some(worker) = &happened.worker_id {
        told.push_str(&format!(" by {}", safe(worker.as_str())));
    } else if let Some(by) = &happened.by {
        told.push_str(&format!(" by {}", safe(&by.to_string())));
    }
    if let Some(loss) = happened.loss {
        told.push_str(&format!(": {}", loss.explain()));
    } else if let Some(error) = &happened.error {
        told.push_str(&format!(": {}", safe(&baton_verdict::cause(error))));
    } else if let Some(reason) = &happened.reason {
        told.push_str(&format!(": {}", safe(reason)));
    }
    told.push_str(&format!(", {}", ago(happened.at, now)));
    Line::below(Ink::Plain, told)
}

/// The time of day, in UTC.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}
