//! The overview: what is wrong first, then how much there is of everything.

use askama::Template;
use axum::response::Response;
use baton_api::fleet::{HourView, QueueView, StatsView, WorkerCountsView};
use baton_api::task::{Page, TaskView};
use baton_http::ApiError;

use super::task_row::TaskRow;
use super::wrong::{self, Wrong};
use crate::answer;
use crate::charts::{Course, Hour, Part, bar, courses, hours};
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{bytes, count, span};

/// How many queues are drawn: the others have fewer tasks, and a page of their own.
const QUEUES: usize = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    wrong: Vec<Wrong>,
    /// Whether the statistics are told to whoever asks.
    told: bool,
    states: Vec<(&'static str, String, String)>,
    bar: Vec<Part>,
    workers: Vec<(&'static str, String)>,
    done: Vec<(&'static str, &'static str, String, String)>,
    hours: Vec<Hour>,
    /// The most that was done in one of them.
    most: String,
    /// What waited and ran over the last minutes, if the server has noted it.
    courses: Vec<Course>,
    queues: Vec<QueueBar>,
    more_queues: u64,
    failed: Vec<TaskRow>,
    running: Vec<TaskRow>,
    store: Vec<(&'static str, String)>,
    lists: bool,
}

struct QueueBar {
    name: String,
    href: String,
    paused: bool,
    bar: Vec<Part>,
    waiting: String,
    running: String,
    wait: String,
    run: String,
}

/// Shows it.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let (stood, version) = wrong::store(&visit).await?;
    let query = [("minutes", "1")];
    let stats: Option<StatsView> = visit.get_if_allowed("get_stats", &["v1", "stats"], &query).await?;
    let failed = latest(&visit, "failed").await?;
    let running = latest(&visit, "running").await?;
    let wrong = match &stats {
        Some(stats) => wrong::wrong(&visit, &stood, stats).await?,
        None => Vec::new(),
    };
    let sizes =
        [("Database", stood.file_bytes), ("Write-ahead log", stood.log_bytes), ("Room", stood.room_bytes)];
    let sizes = sizes.into_iter().filter_map(|(what, size)| Some((what, bytes(size?))));
    let store = version.map(|version| ("Version", version)).into_iter().chain(sizes).collect();
    let lists = visit.rights.may("list_tasks");
    let mut page = Overview {
        shell: Shell::new(&visit, "Overview", "/ui").live(),
        wrong,
        told: stats.is_some(),
        states: Vec::new(),
        bar: Vec::new(),
        workers: Vec::new(),
        done: Vec::new(),
        hours: Vec::new(),
        most: String::new(),
        courses: Vec::new(),
        queues: Vec::new(),
        more_queues: 0,
        failed,
        running,
        store,
        lists,
    };
    if let Some(stats) = stats {
        page.count(stats);
    }
    answer::ok(&page)
}

/// The newest tasks of a status, for those who may list any.
async fn latest(visit: &Visit, status: &str) -> Result<Vec<TaskRow>, ApiError> {
    let query = [("status", status), ("limit", "8")];
    let page: Option<Page<TaskView>> = visit.get_if_allowed("list_tasks", &["v1", "tasks"], &query).await?;
    let tasks = page.map(|page| page.items).unwrap_or_default();
    Ok(tasks.into_iter().map(|task| TaskRow::new(task, visit.now)).collect())
}

impl Overview {
    /// Writes the statistics down.
    fn count(&mut self, stats: StatsView) {
        let of = |state: &str| stats.states.get(state).copied().unwrap_or_default();
        let states = [
            ("blocked", of("blocked"), "blocked"),
            ("waiting", of("waiting"), "created,queued,retry"),
            ("running", of("running"), "running"),
            ("completed", of("completed"), "completed"),
            ("failed", of("failed"), "failed"),
            ("cancelled", of("cancelled"), "cancelled"),
        ];
        let numbers: Vec<_> = states.iter().map(|&(state, tasks, _)| (state, tasks)).collect();
        self.bar = bar(&numbers, numbers.iter().map(|(_, tasks)| tasks).sum());
        let href = |statuses: &str| crate::address::path(&["ui", "tasks"], &[("status", statuses)]);
        self.states =
            states.iter().map(|&(state, tasks, statuses)| (state, count(tasks), href(statuses))).collect();
        self.workers = workers(stats.workers);
        self.done = done(&stats.hours);
        let (drawn, most) = hours(&stats.hours, stats.at);
        (self.hours, self.most) = (drawn, count(most));
        self.courses = stats.minutes.as_ref().map(courses).unwrap_or_default();
        self.more_queues = stats.other_queues.as_ref().map_or(0, |other| other.queues);
        let mut queues = stats.queues;
        queues.sort_by_key(|queue| std::cmp::Reverse(queue.waiting + queue.running));
        self.more_queues += queues.len().saturating_sub(QUEUES) as u64;
        queues.truncate(QUEUES);
        let most = queues.iter().map(|queue| queue.waiting + queue.running).max().unwrap_or_default();
        self.queues = queues.iter().map(|queue| QueueBar::new(queue, most)).collect();
    }
}

fn workers(counts: WorkerCountsView) -> Vec<(&'static str, String)> {
    let WorkerCountsView { alive: _, busy, idle, silent, lost, gone } = counts;
    [("busy", busy), ("idle", idle), ("silent", silent), ("lost", lost), ("gone", gone)]
        .map(|(what, workers)| (what, count(workers)))
        .to_vec()
}

/// What was done in the last 24 hours.
fn done(hours: &[HourView]) -> Vec<(&'static str, &'static str, String, String)> {
    let rate = |tasks: u64| format!("{:.1} a minute", tasks as f64 / 1_440.0);
    let claimed = hours.iter().map(|hour| hour.claimed).sum();
    let completed = hours.iter().map(|hour| hour.completed).sum();
    let failed = hours.iter().map(|hour| hour.failed).sum();
    [
        ("claimed", "claimed", claimed),
        ("completed", "completed", completed),
        ("failed", "attempts failed", failed),
    ]
    .map(|(class, words, tasks)| (class, words, count(tasks), rate(tasks)))
    .to_vec()
}

impl QueueBar {
    fn new(queue: &QueueView, most: u64) -> Self {
        let name = queue.name.to_string();
        let percentiles = |of: &baton_api::fleet::PercentilesView| match of.count {
            0 => "none yet".to_owned(),
            _ => format!("{} / {}", span(of.p50_seconds), span(of.p95_seconds)),
        };
        Self {
            href: crate::address::path(&["ui", "tasks"], &[("queue", &name)]),
            paused: queue.paused,
            bar: bar(&[("running", queue.running), ("waiting", queue.waiting)], most),
            waiting: count(queue.waiting),
            running: count(queue.running),
            wait: percentiles(&queue.wait),
            run: percentiles(&queue.run),
            name,
        }
    }
}
