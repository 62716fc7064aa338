//! One task: its state and why it waits, its attempts, its history with the log lines, what went in and what came out.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use baton_api::fleet::LogView;
use baton_api::graph::GraphView;
use baton_api::task::{EventView, GenerationView, OutputFileView, Page, TaskDetailView, TaskView};
use baton_api::why::WhyView;
use baton_http::ApiError;
use baton_model::{EventKind, Status, Timestamp};
use baton_verdict::dated;

use crate::graph::{Drawing, draw};
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{Clock, LINES, NAMES, Pill, When, bytes, plain, pretty, short, span};
use crate::{answer, files};

/// How many log lines stand in the history.
const LINES_SHOWN: &str = "60";
/// How many events do.
const EVENTS_SHOWN: usize = 60;
/// How many files are listed.
const FILES_SHOWN: usize = 50;
/// Of how many small files the text is shown: each is a request.
const TEXTS_SHOWN: usize = 4;

#[derive(Template)]
#[template(path = "task.html")]
struct OneTask {
    shell: Shell,
    id: String,
    short: String,
    task_type: String,
    pill: Pill,
    description: Option<String>,
    facts: Vec<Fact>,
    moving: Moving,
    attempts: Vec<Attempt>,
    params: String,
    output: Option<Output>,
    graph: Option<Drawing>,
    cancels: bool,
    retries: bool,
    has_dependants: bool,
}

/// What changes while a task runs without an event that tells of it: its progress and the lines of its log, with what stands in the same
/// parts of the page.
struct Moving {
    /// Why it waits.
    why: Option<(String, Vec<(bool, String)>)>,
    progress: Option<(String, Option<String>)>,
    error: Option<Trouble>,
    history: Vec<Entry>,
    /// How many events and lines there are that do not show.
    earlier_events: u32,
    earlier_lines: bool,
    logs: bool,
}

/// These parts of the page alone.
#[derive(Template)]
#[template(path = "task_moving.html")]
struct MovingAlone {
    moving: Moving,
    every: u32,
    at: String,
}

/// A fact about the task; a link where another page tells more.
struct Fact {
    name: &'static str,
    value: String,
    href: Option<String>,
    when: Option<When>,
}

struct Trouble {
    code: Option<String>,
    message: String,
    details: Option<String>,
}

struct Attempt {
    number: u32,
    worker: String,
    claimed: Clock,
    took: String,
    end: String,
    bad: bool,
}

/// An event, or a line of the log, in the order in which they happened and were received.
struct Entry {
    at: Clock,
    /// The time that a line bears, if that is another.
    dated: Option<Clock>,
    is_log: bool,
    kind: String,
    /// Its colour.
    weight: &'static str,
    text: String,
}

struct Output {
    kind: Option<String>,
    location: Option<String>,
    result: Option<String>,
    metadata: Option<String>,
    files: Vec<File>,
    more_files: usize,
}

struct File {
    path: String,
    href: String,
    kind: String,
    size: String,
    image: bool,
    video: bool,
    /// Its text, if it is a small one.
    text: Option<String>,
    /// Why that cannot be shown.
    refused: Option<String>,
}

/// Shows it; or, of a task that runs, what moves alone, if that is asked for.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, ApiError> {
    let TaskDetailView { task, events, history, generation, progress } =
        visit.get(&["v1", "tasks", &id], &[]).await?;
    let waits = matches!(task.status, Status::Blocked | Status::Created | Status::Queued | Status::Retry);
    let why: Option<WhyView> =
        if waits { Some(visit.get(&["v1", "tasks", &id, "why"], &[]).await?) } else { None };
    let query = [("task_id", id.as_str()), ("limit", LINES_SHOWN)];
    let logs: Option<Page<LogView>> = visit.get_if_allowed("list_logs", &["v1", "logs"], &query).await?;
    let shown_from = history.len().saturating_sub(EVENTS_SHOWN);
    let moving = Moving {
        why: why.map(|why| {
            let reasons = why.reasons.iter().map(|reason| (reason.keeps, plain(&reason.message, LINES)));
            (plain(&why.message, LINES), reasons.collect())
        }),
        progress: progress.map(|told| {
            let done = told.progress.map(|done| format!("{:.0}", done.clamp(0.0, 1.0) * 100.0));
            (done.unwrap_or_default(), told.message.map(|message| plain(&message, LINES)))
        }),
        error: task.error.as_ref().map(|error| Trouble {
            code: error.code.as_ref().map(|code| plain(code, NAMES)),
            message: plain(&error.message, 4 * LINES),
            details: error.details.as_ref().map(pretty),
        }),
        earlier_events: events.saturating_sub((history.len() - shown_from) as u32),
        earlier_lines: logs.as_ref().is_some_and(|logs| logs.next_cursor.is_some()),
        history: merged(&history[shown_from..], logs.as_ref()),
        logs: logs.is_some(),
    };
    let every = if task.status == Status::Running { visit.ui.source.moving() } else { 0 };
    if every > 0 && visit.asked("part") == Some("moving") {
        return answer::ok(&MovingAlone { moving, every, at: visit.now.to_string() });
    }
    let graph: GraphView = visit.get(&["v1", "tasks", &id, "graph"], &[]).await?;
    let own_id = task.id;
    let output = match &generation {
        Some(generation) => Some(output(&visit, generation).await),
        None => None,
    };
    let page = OneTask {
        shell: Shell::new(&visit, &format!("Task {}", short(&task.id)), "/ui/tasks")
            .live_of(&[("task_id", &task.id.to_string())])
            .moving(every),
        id: task.id.to_string(),
        short: short(&task.id),
        task_type: task.task_type.to_string(),
        pill: Pill(task.status),
        description: task.description.as_ref().map(|text| plain(text, LINES)),
        facts: facts(&task, visit.now),
        moving,
        attempts: attempts(&history, visit.now),
        params: pretty(&task.params),
        output,
        has_dependants: graph.edges.iter().any(|edge| edge.from == own_id),
        graph: draw(&graph),
        cancels: visit.rights.may("cancel_task") && (waits || task.status == Status::Running),
        retries: visit.rights.may("retry_task") && matches!(task.status, Status::Failed | Status::Cancelled),
    };
    answer::ok(&page)
}

fn facts(task: &TaskView, now: Timestamp) -> Vec<Fact> {
    let mut facts = Vec::new();
    let text = |name, value: String| Fact { name, value, href: None, when: None };
    let listed = |name, field: &str, value: String| {
        let href = crate::address::path(&["ui", "tasks"], &[(field, &value)]);
        Fact { name, value, href: Some(href), when: None }
    };
    let moment = |name, at| Fact { name, value: String::new(), href: None, when: Some(When::new(at, now)) };
    facts.push(listed("Queue", "queue", task.queue.to_string()));
    facts.push(listed("Project", "project", task.project.to_string()));
    facts.push(text("Priority", task.priority.as_str().to_owned()));
    facts.push(text(
        "Attempt",
        format!("{} ({} of {} count)", task.attempt, task.attempts_used, task.max_attempts),
    ));
    facts.push(moment("Created", task.created_at));
    facts.push(moment("Changed", task.updated_at));
    facts.extend(task.finished_at.map(|at| moment("Finished", at)));
    if task.run_after > now && task.finished_at.is_none() {
        facts.push(moment("Due", task.run_after));
    }
    if let Some(lease) = &task.lease {
        let id = lease.worker_id.to_string();
        let href = crate::address::path(&["ui", "workers", &id], &[]);
        facts.push(Fact { name: "Worker", value: id, href: Some(href), when: None });
        facts.push(moment("Claimed", lease.claimed_at));
        facts.extend(lease.timeout_at.map(|at| moment("Times out", at)));
        facts.extend(lease.expires_at.map(|at| moment("Lease ends", at)));
    }
    facts.extend(task.timeout_seconds.map(|seconds| text("Timeout", span(seconds))));
    facts.extend(task.expires_at.map(|at| moment("Expires", at)));
    facts.extend(task.domain.as_ref().map(|domain| listed("Domain", "domain", domain.to_string())));
    facts.extend(task.assigned_by.as_ref().map(|by| listed("Assigned by", "assigned_by", by.to_string())));
    facts.extend(task.drift_score.map(|score| text("Drift score", crate::words::number(score))));
    facts
        .extend(task.concurrency_key.as_ref().map(|key| text("Concurrency key", plain(key.as_str(), NAMES))));
    facts.extend(task.affinity.as_ref().map(|affinity| text("Affinity", plain(affinity.as_str(), NAMES))));
    facts.extend(task.unique.as_ref().map(|unique| text("Unique key", plain(unique.key.as_str(), NAMES))));
    facts.extend(task.traceparent.map(|parent| text("Trace", parent.to_string())));
    facts.extend(task.batch_id.map(|batch| text("Batch", batch.to_string())));
    facts
}

/// Each attempt with how it ended, as the history tells.
fn attempts(history: &[EventView], now: Timestamp) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for (at, event) in history.iter().enumerate().filter(|(_, event)| event.kind == EventKind::Claimed) {
        let ends = |other: &&EventView| {
            other.attempt == event.attempt
                && matches!(
                    other.kind,
                    EventKind::Completed
                        | EventKind::AttemptFailed
                        | EventKind::Released
                        | EventKind::LeaseLost
                        | EventKind::Cancelled
                )
        };
        let end = history[at + 1..].iter().find(ends);
        let until = end.map_or(now, |end| end.at);
        attempts.push(Attempt {
            number: event.attempt,
            worker: event.worker_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            claimed: Clock(event.at),
            took: span(until.since(event.at).as_secs_f64()),
            end: end.map_or_else(|| "running".to_owned(), |end| said(end, LINES)),
            bad: end.is_some_and(|end| matches!(end.kind, EventKind::AttemptFailed | EventKind::LeaseLost)),
        });
    }
    attempts.reverse();
    attempts
}

/// What an event says, in one line.
fn said(event: &EventView, most: usize) -> String {
    let mut text = event.kind.as_str().replace('_', " ");
    if let Some(loss) = event.loss {
        text.push_str(&format!(": {}", loss.explain()));
    }
    if let Some(error) = &event.error {
        text.push_str(&format!(": {}", plain(&error.message, most)));
    }
    if let Some(reason) = &event.reason {
        text.push_str(&format!(": {}", plain(reason, most)));
    }
    text
}

/// Events by when they happened and log lines by when they were received, the latest first.
fn merged(history: &[EventView], logs: Option<&Page<LogView>>) -> Vec<Entry> {
    let mut entries: Vec<(Timestamp, Entry)> = Vec::new();
    for event in history {
        let mut text = said(event, LINES);
        if let Some(worker) = &event.worker_id {
            text.push_str(&format!(" · worker {worker}"));
        }
        if let Some(by) = &event.by {
            text.push_str(&format!(" · by {}", plain(by.as_str(), NAMES)));
        }
        if let Some(at) = event.run_after {
            text.push_str(&format!(" · due {at}"));
        }
        if event.uncounted {
            text.push_str(" · does not count");
        }
        let weight = match event.kind {
            EventKind::AttemptFailed
            | EventKind::LeaseLost
            | EventKind::DependencyFailed
            | EventKind::Expired => "error",
            EventKind::Completed => "good",
            _ => "event",
        };
        let kind = format!("#{}", event.seq);
        entries
            .push((event.at, Entry { at: Clock(event.at), dated: None, is_log: false, kind, weight, text }));
    }
    for line in logs.into_iter().flat_map(|logs| logs.items.iter().rev()) {
        let text = format!("{}: {}", plain(&line.source, NAMES), plain(&line.message, LINES));
        let kind = line.level.as_str().to_owned();
        let weight = line.level.as_str();
        let (at, dated) = (Clock(line.received_at), dated(line).map(Clock));
        entries.push((line.received_at, Entry { at, dated, is_log: true, kind, weight, text }));
    }
    // What came first stays first where times are the same: both are sorted in themselves.
    entries.sort_by_key(|(at, _)| *at);
    entries.into_iter().rev().map(|(_, entry)| entry).collect()
}

async fn output(visit: &Visit, generation: &GenerationView) -> Output {
    let project = generation.project.to_string();
    let mut listed = Vec::new();
    let mut texts = 0;
    for file in generation.files.iter().take(FILES_SHOWN) {
        let kind = file.content_type.as_str();
        let mut shown = File {
            href: files::address(&project, &file.path),
            path: plain(&file.path, NAMES),
            kind: plain(kind, NAMES),
            size: bytes(file.size),
            image: matches!(kind, "image/png" | "image/jpeg" | "image/gif" | "image/webp"),
            video: matches!(kind, "video/mp4" | "video/webm"),
            text: None,
            refused: None,
        };
        if texts < TEXTS_SHOWN && is_small_text(file) {
            texts += 1;
            match files::text(visit, &project, &file.path).await {
                Ok(text) => shown.text = Some(plain(&text, usize::MAX / 8)),
                // It is gone, or out of this caller's reach: the task shows all the same.
                Err(error) => shown.refused = Some(plain(&error.problem().title, LINES)),
            }
        }
        listed.push(shown);
    }
    Output {
        kind: generation.kind.as_ref().map(|kind| plain(kind, NAMES)),
        location: generation.location.as_ref().map(|location| plain(location, LINES)),
        result: generation.result.as_ref().map(pretty),
        metadata: generation.metadata.as_ref().map(pretty),
        files: listed,
        more_files: generation.files.len().saturating_sub(FILES_SHOWN),
    }
}

/// Whether a file is text that a page has room for.
fn is_small_text(file: &OutputFileView) -> bool {
    let kind = file.content_type.as_str();
    let is_text = matches!(
        kind,
        "text/plain" | "application/json" | "application/x-ndjson" | "text/csv" | "text/markdown"
    );
    is_text && (1..=files::PREVIEWED).contains(&file.size)
}
