//! `baton task stats`: what the newest tasks are, what became of them day by day, and which need a look.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::task::TaskView;
use baton_client::{Client, TaskQuery};
use baton_model::{Status, Timestamp};
use baton_verdict::cause;
use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::task::filters::Filters;
use crate::text;
use crate::when::{Paged, Times};

/// How many tasks one request asks for.
const PAGE: u32 = 500;

/// How many types, domains and tasks that need a look are told.
const TOLD: usize = 10;

/// How many days are told.
const DAYS: usize = 7;

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Args)]
#[command(after_help = "Examples:
  baton task stats
  baton task stats --queue task-table --running-for 1h
  baton task stats --since 7d --json")]
pub(crate) struct Stats {
    #[command(flatten)]
    filters: Filters,
    /// How many tasks are looked at, the newest first.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// For how long a task must have run to be told.
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = text::parse_span)]
    running_for: Duration,
    /// How many attempts a task must have used to be told.
    #[arg(long, value_name = "N", default_value_t = 3)]
    attempts: u32,
    #[command(flatten)]
    shown: Paged,
}

impl Stats {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let now = context.now();
        let mut looked = Looked::default();
        let filters = self.filters;
        let query = TaskQuery {
            statuses: filters.status.clone(),
            task_type: filters.task_type,
            queue: filters.queue,
            project: filters.project,
            domain: filters.domain,
            assigned_by: filters.assigned_by,
            worker: filters.worker,
            created_from: filters.since.map(|since| now.minus(since)),
            ..TaskQuery::default()
        };
        looked.more = each(client, &query, self.limit, |task| looked.count(task, self.attempts)).await?;
        // What has run for long may be older than all that was looked at.
        if filters.status.is_empty() || filters.status.contains(&Status::Running) {
            let running = TaskQuery { statuses: vec![Status::Running], ..query };
            let since = now.minus(self.running_for);
            each(client, &running, self.limit, |task| looked.note_running(task, since)).await?;
        }
        looked.put_in_order();
        if context.out.is_json() {
            return context.out.json(&looked.json(now));
        }
        let times = self.shown.begin(context);
        looked.show(context, &times, now)
    }
}

/// Hands on each task of a list, up to so many; says whether there are more.
async fn each(
    client: &Client,
    query: &TaskQuery,
    most: u32,
    mut with: impl FnMut(TaskView),
) -> Result<bool, Failure> {
    let (mut cursor, mut left) = (None, most);
    loop {
        let page = TaskQuery { cursor, limit: Some(left.min(PAGE)), ..query.clone() };
        let page = client.tasks(&page).await?;
        for task in page.items {
            left = left.saturating_sub(1);
            with(task);
        }
        match page.next_cursor {
            None => return Ok(false),
            Some(_) if left == 0 => return Ok(true),
            next => cursor = next,
        }
    }
}

/// Tasks that were made on one day.
#[derive(Default)]
struct Made {
    all: u64,
    completed: u64,
    failed: u64,
}

/// What was seen of tasks.
#[derive(Default)]
struct Looked {
    tasks: u64,
    /// Whether there are older tasks.
    more: bool,
    statuses: BTreeMap<String, u64>,
    types: BTreeMap<String, u64>,
    domains: BTreeMap<String, u64>,
    /// By the day of their creation, in UTC.
    days: BTreeMap<String, Made>,
    /// Those that have run for long, the longest first.
    long: Vec<TaskView>,
    /// Those with many attempts, the last changed first.
    tried: Vec<TaskView>,
}

impl Looked {
    fn count(&mut self, task: TaskView, attempts: u32) {
        self.tasks += 1;
        *self.statuses.entry(task.status.to_string()).or_default() += 1;
        *self.types.entry(task.task_type.to_string()).or_default() += 1;
        if let Some(domain) = &task.domain {
            *self.domains.entry(domain.to_string()).or_default() += 1;
        }
        let made = self.days.entry(day(task.created_at)).or_default();
        made.all += 1;
        made.completed += u64::from(task.status == Status::Completed);
        made.failed += u64::from(task.status == Status::Failed);
        if task.attempts_used >= attempts {
            self.tried.push(task);
            if self.tried.len() >= 10 * TOLD {
                self.put_in_order();
            }
        }
    }

    fn note_running(&mut self, task: TaskView, since: Timestamp) {
        if claimed_at(&task).is_some_and(|at| at <= since) {
            self.long.push(task);
            if self.long.len() >= 10 * TOLD {
                self.put_in_order();
            }
        }
    }

    /// Puts first what is told, and lets go of the rest.
    fn put_in_order(&mut self) {
        self.long.sort_by_key(claimed_at);
        self.tried.sort_by_key(|task| std::cmp::Reverse(task.updated_at));
        self.long.truncate(TOLD);
        self.tried.truncate(TOLD);
    }

    /// The last days, the latest first, also those on which nothing was made.
    fn last_days(&self, now: Timestamp) -> Vec<(String, &Made)> {
        const NONE: &Made = &Made { all: 0, completed: 0, failed: 0 };
        let days = (0..DAYS).map(|back| day(now.minus(DAY * u32::try_from(back).unwrap_or(0))));
        days.map(|day| (day.clone(), self.days.get(&day).unwrap_or(NONE))).collect()
    }

    fn json(&self, now: Timestamp) -> Value {
        let days = self.last_days(now).into_iter().map(|(date, made)| {
            json!({"date": date, "created_count": made.all, "completed_count": made.completed, "failed_count": made.failed})
        });
        let long = self.long.iter().map(|task| {
            json!({"id": task.id, "type": task.task_type, "locked_by": task.lease.as_ref().map(|lease| &lease.worker_id),
                "locked_at": claimed_at(task), "attempts": task.attempts_used})
        });
        let tried = self.tried.iter().map(|task| {
            json!({"id": task.id, "type": task.task_type, "attempts": task.attempts_used,
                "error": task.error.as_ref().map(|error| &error.message), "updated_at": task.updated_at})
        });
        json!({
            "tasks": self.tasks,
            "more": self.more,
            "status_counts": self.statuses,
            "type_counts": most(&self.types).into_iter().collect::<BTreeMap<_, _>>(),
            "domain_counts": most(&self.domains).into_iter().collect::<BTreeMap<_, _>>(),
            "recent_activity": days.collect::<Vec<_>>(),
            "long_running": long.collect::<Vec<_>>(),
            "high_attempts": tried.collect::<Vec<_>>(),
        })
    }

    fn show(&self, context: &Context, times: &Times, now: Timestamp) -> Result<(), Failure> {
        let out = &context.out;
        for (title, counts) in
            [("STATUS", sorted(&self.statuses)), ("TYPE", most(&self.types)), ("DOMAIN", most(&self.domains))]
        {
            if counts.is_empty() {
                continue;
            }
            let mut rows = Rows::of(&[Column::new(title).cut(), Column::new("TASKS")]);
            for (name, tasks) in counts {
                rows.add(vec![name.to_owned(), tasks.to_string()]);
            }
            out.table(rows, "no tasks")?;
            out.line("")?;
        }
        let mut rows = Rows::new(&["DAY (UTC)", "CREATED", "COMPLETED", "FAILED"]);
        for (date, made) in self.last_days(now) {
            rows.add(vec![date, made.all.to_string(), made.completed.to_string(), made.failed.to_string()]);
        }
        out.table(rows, "no days")?;
        if !self.long.is_empty() {
            out.line("")?;
            let columns = ["RUNS LONG", "TYPE", "WORKER", "CLAIMED", "TRIES"];
            out.table(
                self.rows(&columns, &self.long, |task| {
                    let worker = task.lease.as_ref().map(|lease| lease.worker_id.to_string());
                    let claimed = claimed_at(task).map_or_else(none, |at| times.ago(at));
                    vec![worker.unwrap_or_else(none), claimed, tries(task)]
                }),
                "none",
            )?;
        }
        if !self.tried.is_empty() {
            out.line("")?;
            let columns = ["TRIED OFTEN", "TYPE", "TRIES", "CHANGED", "ERROR"];
            out.table(
                self.rows(&columns, &self.tried, |task| {
                    let error = task.error.as_ref().map_or_else(none, cause);
                    vec![tries(task), times.ago(task.updated_at), error]
                }),
                "none",
            )?;
        }
        if self.more {
            out.note(&format!("of the newest {} tasks; --limit looks at more", self.tasks));
        }
        Ok(())
    }

    fn rows(
        &self,
        columns: &[&'static str],
        tasks: &[TaskView],
        rest: impl Fn(&TaskView) -> Vec<String>,
    ) -> Rows {
        let mut rows = Rows::of(&columns.iter().map(|name| Column::new(name).cut()).collect::<Vec<_>>());
        for task in tasks {
            let mut row = vec![task.id.to_string(), task.task_type.to_string()];
            row.extend(rest(task));
            rows.add(row);
        }
        rows
    }
}

fn none() -> String {
    "-".to_owned()
}

fn tries(task: &TaskView) -> String {
    format!("{}/{}", task.attempts_used, task.max_attempts)
}

fn claimed_at(task: &TaskView) -> Option<Timestamp> {
    task.lease.as_ref().map(|lease| lease.claimed_at)
}

/// The day of a time in UTC, such as 2026-01-31.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn sorted(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut counts: Vec<_> = counts.iter().map(|(name, tasks)| (name.as_str(), *tasks)).collect();
    counts.sort_by_key(|(_, tasks)| std::cmp::Reverse(*tasks));
    counts
}

/// Those with the most tasks.
fn most(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    sorted(counts).into_iter().take(TOLD).collect()
}
