//! The groups of workers that the server supervises: how each worker is, how its last process ended and what that said.

use askama::Template;
use axum::response::Response;
use baton_api::supervised::{GroupView, GroupsView, SupervisedView};
use baton_http::ApiError;
use baton_model::Timestamp;

use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, bytes, count, plain};

/// The most characters of what a process has said last: a page of a hundred workers stays light.
const SAID: usize = 800;

/// How many workers of a group are shown; the others are alike, and `baton fleet list` lists all.
const WORKERS: usize = 100;

#[derive(Template)]
#[template(path = "groups.html")]
struct Groups {
    shell: Shell,
    groups: Vec<Group>,
    directs: bool,
}

struct Group {
    name: String,
    act: String,
    status: String,
    colour: &'static str,
    stopped: bool,
    count: u32,
    facts: Vec<(&'static str, String)>,
    command: String,
    workers: Vec<Worker>,
    more: usize,
}

struct Worker {
    id: String,
    href: String,
    state: String,
    colour: &'static str,
    since: When,
    running: u32,
    tasks: String,
    restarts: String,
    memory: String,
    pid: String,
    starts: Option<When>,
    exit: Option<String>,
    said: Option<String>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let groups: GroupsView = visit.get(&["v1", "fleet"], &[]).await?;
    let groups = groups.items.into_iter().map(|group| Group::new(group, visit.now));
    answer::ok(&Groups {
        groups: groups.collect(),
        directs: visit.rights.may("scale_group"),
        shell: Shell::new(&visit, "Groups", "/ui/groups").live(),
    })
}

/// The colour of a state, as the other pages have it.
fn colour(state: &str) -> &'static str {
    match state {
        "running" | "active" => "active",
        "failed" => "failed",
        "degraded" | "pausing" | "waiting" => "silent",
        "restarting" | "spawning" | "draining" | "terminating" | "stopping" => "draining",
        _ => "stopped",
    }
}

impl Group {
    fn new(mut group: GroupView, now: Timestamp) -> Self {
        let name = group.name.to_string();
        let more = group.workers.len().saturating_sub(WORKERS);
        group.workers.truncate(WORKERS);
        Self {
            act: crate::address::path(&["ui", "groups", &name], &[]),
            name,
            colour: colour(&group.status),
            stopped: matches!(group.status.as_str(), "stopped" | "stopping"),
            status: plain(&group.status, NAMES),
            count: group.count,
            facts: vec![
                ("Live", format!("{} of {}", group.active, group.count)),
                ("Busy", count(u64::from(group.busy))),
                ("Idle", count(u64::from(group.idle))),
                ("Failed", count(u64::from(group.failed))),
                ("Restarts", count(group.restarts)),
            ],
            command: plain(&group.command.join(" "), LINES),
            workers: group.workers.into_iter().map(|worker| Worker::new(worker, now)).collect(),
            more,
        }
    }
}

impl Worker {
    fn new(worker: SupervisedView, now: Timestamp) -> Self {
        let id = worker.id.to_string();
        Self {
            href: crate::address::path(&["ui", "workers", &id], &[]),
            id,
            colour: colour(&worker.state),
            state: plain(&worker.state, NAMES),
            since: When::new(worker.since, now),
            running: worker.running,
            tasks: count(worker.tasks),
            restarts: count(worker.restarts),
            memory: if worker.memory_bytes == 0 { String::new() } else { bytes(worker.memory_bytes) },
            pid: worker.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            starts: worker.starts_at.map(|at| When::new(at, now)),
            exit: worker.last_exit.map(|exit| plain(&exit, LINES)),
            said: worker
                .last_output
                .map(|said| plain(end(&said), SAID))
                .filter(|said| !said.trim().is_empty()),
        }
    }
}

/// The end of a text, from the beginning of a line on if one is near.
fn end(text: &str) -> &str {
    let from = text.char_indices().rev().nth(SAID - 1).map_or(0, |(at, _)| at);
    let rest = &text[from..];
    match (from, rest.split_once('\n')) {
        (1.., Some((_, whole))) if whole.len() * 2 > rest.len() => whole,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_process_said_the_end_is_shown_from_a_whole_line_on() {
        let lines: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
        let shown = end(&lines);
        assert!(
            shown.starts_with("line ") && shown.ends_with("line 999\n") && shown.len() <= SAID,
            "{shown}"
        );
        assert_eq!(end("short"), "short");
        assert_eq!(end(&"ü".repeat(2_000)).chars().count(), SAID);
    }
}
