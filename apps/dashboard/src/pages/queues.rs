//! The queues.

use askama::Template;
use axum::response::Response;
use baton_api::fleet::{PercentilesView, QueueView};
use baton_api::task::Page;
use baton_http::ApiError;
use baton_model::Timestamp;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, When, count, plain, span};

#[derive(Template)]
#[template(path = "queues.html")]
struct Queues {
    shell: Shell,
    queues: Vec<QueueRow>,
    next: Option<String>,
    pauses: bool,
    resumes: bool,
}

struct QueueRow {
    name: String,
    href: String,
    act: String,
    paused: Option<Paused>,
    ready: String,
    later: String,
    running: String,
    oldest_ready: String,
    oldest_running: String,
    wait: String,
    run: String,
}

struct Paused {
    since: Option<When>,
    by: Option<String>,
    reason: Option<String>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<QueueView> = visit.get(&["v1", "queues"], &list_query(&visit, &[])).await?;
    let rows = page.items.into_iter().map(|queue| QueueRow::new(&queue, visit.now)).collect();
    answer::ok(&Queues {
        shell: Shell::new(&visit, "Queues", "/ui/queues").live(),
        queues: rows,
        next: next_page(&visit, &["ui", "queues"], page.next_cursor.as_deref()),
        pauses: visit.rights.may("pause_queue"),
        resumes: visit.rights.may("resume_queue"),
    })
}

impl QueueRow {
    fn new(queue: &QueueView, now: Timestamp) -> Self {
        let name = queue.name.to_string();
        // Where a count has ended before the tasks did.
        let bounded = |field: &str, tasks: u64| {
            let more = if queue.at_least.iter().any(|named| named == field) { "+" } else { "" };
            format!("{}{more}", count(tasks))
        };
        let later = queue.created + queue.retry;
        let later_field =
            if queue.at_least.iter().any(|named| named == "retry") { "retry" } else { "created" };
        let age = |seconds: Option<f64>| seconds.map_or_else(String::new, span);
        Self {
            href: crate::address::path(&["ui", "tasks"], &[("queue", &name)]),
            act: crate::address::path(&["ui", "queues", &name], &[]),
            paused: queue.paused.then(|| Paused {
                since: queue.pause.as_ref().map(|pause| When::new(pause.since, now)),
                by: queue.pause.as_ref().and_then(|pause| pause.by.as_ref()).map(ToString::to_string),
                reason: queue
                    .pause
                    .as_ref()
                    .and_then(|pause| pause.reason.as_ref())
                    .map(|reason| plain(reason, LINES)),
            }),
            ready: bounded("queued", queue.queued),
            later: bounded(later_field, later),
            running: count(queue.running),
            oldest_ready: age(queue.oldest_ready_seconds),
            oldest_running: age(queue.oldest_running_seconds),
            wait: percentiles(&queue.wait),
            run: percentiles(&queue.run),
            name,
        }
    }
}

fn percentiles(of: &PercentilesView) -> String {
    match of.count {
        0 => String::new(),
        _ => format!("{} / {} / {}", span(of.p50_seconds), span(of.p95_seconds), span(of.p99_seconds)),
    }
}
