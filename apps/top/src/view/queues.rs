//! Queues: their table, and what is told of one.

use baton_api::fleet::{PercentilesView, QueueView};
use baton_model::Timestamp;
use baton_verdict::words::{ago, seconds};

use super::pen::{Cell, Column, Ink, Line, WIDE, Width};
use crate::rows::{blocked, failed, queues};
use crate::state::State;
use crate::text::{count, rate, safe, spark};

pub(super) fn facts(state: &State, queue: &QueueView, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if queue.paused {
        let pause = queue.pause.as_ref().map(|pause| {
            let by = pause.by.as_ref().map(|by| format!(" by {}", safe(&by.to_string()))).unwrap_or_default();
            let why = pause.reason.as_ref().map(|why| format!(": {}", safe(why))).unwrap_or_default();
            format!(" {}{by}{why}", ago(pause.since, now))
        });
        lines.push(Line::fact("paused", Ink::Odd, format!("it was paused{}", pause.unwrap_or_default())));
    }
    let late = if state.known.late.contains(&queue.name) { ", which is late" } else { "" };
    let oldest = queue.oldest_ready_seconds.map(|age| format!("; the oldest for {}{late}", seconds(age)));
    let oldest = oldest.unwrap_or_default();
    lines.push(Line::fact(
        "waiting",
        if late.is_empty() { Ink::Plain } else { Ink::Odd },
        format!(
            "{} ready{oldest}; {} for later, {} to try again, {} blocked",
            bounded(queue, "queued", queue.queued),
            bounded(queue, "created", queue.created),
            bounded(queue, "retry", queue.retry),
            count(blocked(state, queue)),
        ),
    ));
    let longest = queue.oldest_running_seconds.map(|age| format!("; the longest for {}", seconds(age)));
    let rates = state.known.rates.of(&queue.name);
    let rates = rates.map(|of| format!("; in {} a second, out {}", rate(of.into), rate(of.out)));
    lines.push(Line::fact(
        "running",
        Ink::Plain,
        format!("{}{}{}", count(queue.running), longest.unwrap_or_default(), rates.unwrap_or_default()),
    ));
    lines.push(Line::fact(
        "of a day",
        Ink::Plain,
        format!("waited {}; ran {}", percentiles(&queue.wait), percentiles(&queue.run)),
    ));
    lines
}

fn percentiles(of: &PercentilesView) -> String {
    match of.count {
        0 => "none yet".to_owned(),
        _ => format!("{} at half, {} at 95 of 100", seconds(of.p50_seconds), seconds(of.p95_seconds)),
    }
}

/// A number of tasks, with a mark where their count has ended before they did.
fn bounded(queue: &QueueView, field: &str, tasks: u64) -> String {
    let more = if queue.at_least.iter().any(|named| named == field) { "+" } else { "" };
    format!("{}{more}", count(tasks))
}

pub(super) fn columns(width: u16) -> Vec<Column> {
    let mut columns = vec![
        Column::left("QUEUE", Width::Share(1)),
        Column::left("STATE", Width::Fixed(6)),
        Column::right("READY", 7),
        Column::right("LATER", 6),
    ];
    if width >= WIDE {
        columns.push(Column::right("BLOCKED", 7));
    }
    columns.extend([
        Column::right("RUN", 6),
        Column::right("FAILED", 6),
        Column::right("OLDEST", 6),
        Column::right("IN/s", 5),
        Column::right("OUT/s", 5),
    ]);
    if width >= WIDE {
        columns.extend([Column::right("WAIT95", 6), Column::right("RUN95", 6)]);
    }
    columns.push(Column::left("TREND", Width::Fixed(if width >= WIDE { 20 } else { 8 })));
    columns
}

pub(super) fn rows(state: &State, width: u16) -> Vec<Vec<Cell>> {
    let row = |queue: &&QueueView| {
        let late = state.known.late.contains(&queue.name);
        let stands = match (queue.paused, late) {
            (true, _) => Cell::new(Ink::Odd, "paused"),
            (false, true) => Cell::new(Ink::Odd, "late"),
            (false, false) => Cell::default(),
        };
        let held = blocked(state, queue);
        let later = queue.created + queue.retry;
        let field = if queue.at_least.iter().any(|named| named == "retry") { "retry" } else { "created" };
        let rates = state.known.rates.of(&queue.name);
        let failed = failed(state, queue);
        let percentile = |of: &PercentilesView| match of.count {
            0 => Cell::default(),
            _ => Cell::plain(seconds(of.p95_seconds)),
        };
        let wide = width >= WIDE;
        let mut row = vec![
            Cell::plain(safe(queue.name.as_str())),
            stands,
            Cell::plain(bounded(queue, "queued", queue.queued)),
            Cell::plain(bounded(queue, field, if wide { later } else { later + held })),
        ];
        if wide {
            row.push(Cell::plain(count(held)));
        }
        row.extend([
            Cell::plain(count(queue.running)),
            Cell::new(
                if failed.unwrap_or_default() > 0 { Ink::Odd } else { Ink::Plain },
                failed.map(count).unwrap_or_default(),
            ),
            Cell::new(
                if late { Ink::Odd } else { Ink::Plain },
                queue.oldest_ready_seconds.map(seconds).unwrap_or_default(),
            ),
            Cell::plain(rates.map(|rates| rate(rates.into)).unwrap_or_default()),
            Cell::plain(rates.map(|rates| rate(rates.out)).unwrap_or_default()),
        ]);
        if wide {
            row.extend([percentile(&queue.wait), percentile(&queue.run)]);
        }
        let trend = state.known.rates.trend(&queue.name, if wide { 20 } else { 8 });
        row.push(Cell::new(Ink::Good, spark(&trend)));
        row
    };
    queues(state).iter().map(row).collect()
}
