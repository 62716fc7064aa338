//! The schedules.

use askama::Template;
use axum::response::Response;
use baton_api::schedule::ScheduleView;
use baton_api::task::Page;
use baton_http::ApiError;
use baton_model::Timestamp;

use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{When, count, span};

#[derive(Template)]
#[template(path = "schedules.html")]
struct Schedules {
    shell: Shell,
    schedules: Vec<Row>,
    next: Option<String>,
    changes: bool,
}

struct Row {
    name: String,
    project: String,
    act: String,
    rhythm: String,
    paused: bool,
    upcoming: Option<When>,
    last: Option<(When, String)>,
    created: String,
    skipped: String,
    missed: Option<When>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let page: Page<ScheduleView> = visit.get(&["v1", "schedules"], &list_query(&visit, &["project"])).await?;
    answer::ok(&Schedules {
        shell: Shell::new(&visit, "Schedules", "/ui/schedules").live(),
        schedules: page.items.iter().map(|schedule| Row::new(schedule, visit.now)).collect(),
        next: next_page(&visit, &["ui", "schedules"], page.next_cursor.as_deref()),
        changes: visit.rights.may("pause_schedule"),
    })
}

impl Row {
    fn new(schedule: &ScheduleView, now: Timestamp) -> Self {
        let (name, project) = (schedule.name.to_string(), schedule.project.to_string());
        let rhythm = match (&schedule.cron, &schedule.time_zone, schedule.every_seconds) {
            (Some(cron), Some(zone), _) => format!("{cron} ({zone})"),
            (Some(cron), None, _) => cron.to_string(),
            (None, _, Some(every)) => format!("every {}", span(every)),
            (None, _, None) => String::new(),
        };
        Self {
            act: crate::address::path(&["ui", "schedules", &project, &name], &[]),
            rhythm,
            paused: schedule.paused,
            upcoming: schedule.next.first().map(|at| When::new(*at, now)),
            last: schedule.last.as_ref().map(|last| (When::new(last.at, now), last.task_id.to_string())),
            created: count(schedule.created),
            skipped: count(schedule.skipped),
            missed: schedule.missed_at.map(|at| When::new(at, now)),
            name,
            project,
        }
    }
}
