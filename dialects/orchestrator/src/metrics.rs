//! Counts: as JSON, and as Prometheus reads them. They are of the tasks that are kept, by the store's own counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::counts::counts;
use crate::entry::word;
use crate::no::{Told, told};
use crate::query::Wanted;
use crate::read::walk;
use crate::word::Word;
use crate::workers;

fn repository(ask: &Ask<'_>) -> Value {
    let path = &ask.settings.repository;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    json!({ "name": name, "path": path, "branch": ask.settings.branch })
}

/// `GET /api/metrics`.
pub(crate) async fn json_of(ask: &Ask<'_>, _: Request) -> Told {
    let counts = counts(ask).await?;
    told(&json!({
        "repository": repository(ask),
        "tasks_enqueued": counts.all(),
        "tasks_started": counts.started(),
        "tasks_succeeded": counts.passed,
        "tasks_failed": counts.failed,
        "commits_made": counts.commits,
        "prs_opened": 0,
    }))
}

/// `GET /metrics`, with and without a slash at its end.
pub(crate) async fn prometheus(ask: &Ask<'_>, _: Request) -> Told {
    ask.caller.reach_everything()?;
    let counts = counts(ask).await?;
    let fleet = workers::fleet(ask).await?;
    let left: u64 = workers::left(ask, &fleet).await?.iter().map(|(_, tasks)| tasks).sum();
    let number = |count: usize| count as u64;
    let mut text = String::new();
    for (kind, name, help, value) in [
        ("counter", "autodev_tasks_enqueued_total", "Tasks that were submitted", counts.all()),
        ("counter", "autodev_tasks_started_total", "Tasks that were started", counts.started()),
        ("counter", "autodev_tasks_succeeded_total", "Tasks that passed", counts.passed),
        ("counter", "autodev_tasks_failed_total", "Tasks that failed", counts.failed),
        ("counter", "autodev_commits_total", "Commits that outputs tell of", counts.commits),
        ("counter", "autodev_prs_opened_total", "Pull requests that were opened", 0),
        ("gauge", "workers_active", "Workers that are there", number(fleet.active())),
        ("gauge", "workers_idle", "Of these, those that hold no task", number(fleet.idle())),
        ("gauge", "workers_busy", "Of these, those that hold one", number(fleet.busy())),
        ("gauge", "worker_restarts", "Starts that took an earlier one's place", number(fleet.restarts())),
        ("gauge", "tasks_in_queue", "Tasks that wait", counts.waiting),
        ("gauge", "tasks_running", "Tasks that workers hold", counts.running),
        ("gauge", "tasks_without_worker", "Tasks that wait and that no live worker takes, up to 200", left),
    ] {
        // To write to a string never fails.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /api/persistence/stats`.
pub(crate) async fn stats(ask: &Ask<'_>, _: Request) -> Told {
    let counts = counts(ask).await?;
    let found = walk(ask, &Wanted::all()).await?;
    let mut states: BTreeMap<&str, u64> = Word::ALL.iter().map(|word| (word.as_str(), 0)).collect();
    let mut entries = 0;
    for task in &found.tasks {
        entries += u64::from(task.head.events);
        *states.entry(word(task, found.said.of(task)).as_str()).or_default() += 1;
    }
    let total = if found.more { counts.all() } else { found.total as u64 };
    told(&json!({
        "total_tasks": total,
        "tasks_by_state": states,
        "total_history_entries": entries,
        "total_commits": counts.commits,
        // Beyond so many, the newest are counted by state.
        "more": found.more,
    }))
}

/// `GET /merge/status`: Baton merges nothing.
pub(crate) async fn merges(_: &Ask<'_>, _: Request) -> Told {
    told(&json!({ "status": "idle", "queue": [], "queue_length": 0 }))
}

/// `GET /api/repositories`: the one that the settings name.
pub(crate) async fn repositories(ask: &Ask<'_>, _: Request) -> Told {
    told(&json!([repository(ask)]))
}
