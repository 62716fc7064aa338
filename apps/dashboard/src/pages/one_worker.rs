//! One worker: what it runs, its readings, and what it may be asked.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use baton_api::fleet::{LogView, WorkerView};
use baton_api::task::Page;
use baton_http::ApiError;
use baton_verdict::dated;

use super::worker_row::WorkerRow;
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{Clock, LINES, NAMES, plain};

#[derive(Template)]
#[template(path = "worker.html")]
struct OneWorker {
    shell: Shell,
    worker: WorkerRow,
    lines: Vec<Line>,
    logs: bool,
    directs: bool,
}

struct Line {
    at: Clock,
    /// The time that it bears, if that is another.
    dated: Option<Clock>,
    level: &'static str,
    text: String,
}

/// Shows it.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, ApiError> {
    let worker: WorkerView = visit.get(&["v1", "workers", &id], &[("lately", "1")]).await?;
    let query = [("worker", id.as_str()), ("limit", "50")];
    let logs: Option<Page<LogView>> = visit.get_if_allowed("list_logs", &["v1", "logs"], &query).await?;
    let has_logs = logs.is_some();
    let lines = logs.map(|logs| logs.items).unwrap_or_default();
    let lines = lines.iter().map(|line| Line {
        at: Clock(line.received_at),
        dated: dated(line).map(Clock),
        level: line.level.as_str(),
        text: format!("{}: {}", plain(&line.source, NAMES), plain(&line.message, LINES)),
    });
    let title = format!("Worker {id}", id = plain(&id, NAMES));
    answer::ok(&OneWorker {
        shell: Shell::new(&visit, &title, "/ui/workers").live(),
        worker: WorkerRow::new(worker, visit.now),
        lines: lines.collect(),
        logs: has_logs,
        directs: visit.rights.may("drain_worker"),
    })
}
