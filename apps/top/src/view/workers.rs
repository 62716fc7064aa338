//! Workers: their table, and what is told of one, with the tasks that it holds.

use baton_api::fleet::{HeldView, WorkerView};
use baton_model::{Timestamp, WorkerStatus};
use baton_verdict::words::{ago, span};

use super::pen::{Cell, Column, Ink, Line, Width};
use crate::rows::workers;
use crate::state::{Place, State};
use crate::text::{number, progress, safe, short};

pub(super) fn facts(worker: &WorkerView, now: Timestamp) -> Vec<Line> {
    let life = worker.life.as_ref();
    let told = life.map_or_else(
        || worker.status.as_str().to_owned(),
        |life| {
            let since = life.since.map(|since| format!(" ({})", ago(since, now))).unwrap_or_default();
            format!("{}{since}: {}", safe(&life.state), safe(&life.why))
        },
    );
    let mut lines = vec![Line::fact("life", ink(worker), told)];
    let beat = worker.last_beat_at.map_or_else(|| "never".to_owned(), |at| ago(at, now));
    lines.push(Line::fact(
        "heard",
        Ink::Plain,
        format!("{beat}; started {}; asked to {}", ago(worker.started_at, now), worker.directive.as_str()),
    ));
    if let Some(at) = worker.contested_at {
        let told = format!("two workers had this name {}: give each its own", ago(at, now));
        lines.push(Line::fact("contested", Ink::Bad, told));
    }
    let pairs = |pairs: Vec<String>| pairs.join("  ");
    let readings = worker.readings.iter().map(|(name, value)| format!("{} {}", safe(name), number(*value)));
    if !worker.readings.is_empty() {
        lines.push(Line::fact("readings", Ink::Plain, pairs(readings.collect())));
    }
    let labels = worker.labels.iter().map(|(name, value)| format!("{} {}", safe(name), safe(value)));
    if !worker.labels.is_empty() {
        lines.push(Line::fact("labels", Ink::Plain, pairs(labels.collect())));
    }
    let of = worker.capacity.map(|capacity| format!(" of {capacity}")).unwrap_or_default();
    lines.push(Line::fact("holds", Ink::Plain, format!("{}{of} tasks", worker.active)));
    lines
}

fn ink(worker: &WorkerView) -> Ink {
    let life = worker.life.as_ref().map(|life| &*life.state);
    match (worker.status, life) {
        (WorkerStatus::Lost, _) | (_, Some("failed")) => Ink::Bad,
        (WorkerStatus::Draining | WorkerStatus::Stopping, _) => Ink::Odd,
        (WorkerStatus::Gone, _) => Ink::Dim,
        (WorkerStatus::Active, _) => Ink::Good,
        (WorkerStatus::Silent, _) => Ink::Plain,
    }
}

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::left("WORKER", Width::Share(4)),
        Column::left("LIFE", Width::Fixed(11)),
        Column::right("SINCE", 6),
        Column::right("BEAT", 6),
        Column::right("TASKS", 6),
        Column::left("RUNS", Width::Share(4)),
        Column::left("READINGS", Width::Share(3)),
    ]
}

pub(super) fn rows(state: &State) -> Vec<Vec<Cell>> {
    let now = state.server_now();
    let row = |worker: &&WorkerView| {
        let life = worker.life.as_ref();
        let since = life.and_then(|life| life.since).unwrap_or(worker.started_at);
        let first = worker.tasks.first().map(|held| {
            let done = held.progress.map(|done| format!(" {}", progress(done))).unwrap_or_default();
            let more = match worker.active.saturating_sub(1) {
                0 => String::new(),
                more => format!(" +{more}"),
            };
            format!("{}{done}{more}", short(held.task_id))
        });
        let readings =
            worker.readings.iter().map(|(name, value)| format!("{} {}", safe(name), number(*value)));
        let of = worker.capacity.map(|capacity| format!("/{capacity}")).unwrap_or_default();
        vec![
            Cell::plain(safe(worker.id.as_str())),
            Cell::new(
                ink(worker),
                life.map_or_else(|| worker.status.as_str().to_owned(), |life| safe(&life.state)),
            ),
            Cell::plain(span(now.since(since))),
            Cell::plain(worker.last_beat_at.map(|at| span(now.since(at))).unwrap_or_default()),
            Cell::plain(format!("{}{of}", worker.active)),
            Cell::plain(first.unwrap_or_default()),
            Cell::plain(readings.collect::<Vec<_>>().join("  ")),
        ]
    };
    workers(state).iter().map(row).collect()
}

pub(super) fn held_columns() -> Vec<Column> {
    vec![
        Column::left("TASK", Width::Fixed(36)),
        Column::right("ATTEMPT", 7),
        Column::right("DONE", 5),
        Column::left("", Width::Share(1)),
    ]
}

pub(super) fn held_rows(state: &State) -> Vec<Vec<Cell>> {
    let Place::Worker(id) = &state.stay().place else { return Vec::new() };
    let worker = state.known.worker.iter().filter(|worker| worker.id == *id);
    let row = |held: &HeldView| {
        vec![
            Cell::plain(held.task_id.to_string()),
            Cell::plain(held.attempt.to_string()),
            Cell::plain(held.progress.map(progress).unwrap_or_default()),
            Cell::default(),
        ]
    };
    worker.flat_map(|worker| &worker.tasks).map(row).collect()
}
