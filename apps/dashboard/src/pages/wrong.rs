//! What is wrong, the gravest first, from what the routes answer.

use baton_api::fleet::{QueueView, StatsView};
use baton_api::health::ReadinessView;

use crate::words::{bytes, count, span};

/// How long ready work may wait before a page says so.
const LONG: f64 = 300.0;
/// How little room is worth a word.
const LITTLE_ROOM: u64 = 512 << 20;

/// Something that is wrong, with where to look.
pub(crate) struct Wrong {
    /// `bad` or `odd`.
    pub(crate) weight: &'static str,
    pub(crate) text: String,
    pub(crate) href: String,
    pub(crate) link: &'static str,
}

fn bad(text: String, href: &str, link: &'static str) -> Wrong {
    Wrong { weight: "bad", text, href: href.to_owned(), link }
}

fn odd(text: String, href: &str, link: &'static str) -> Wrong {
    Wrong { weight: "odd", text, href: href.to_owned(), link }
}

/// What is wrong with the store.
pub(crate) fn of_store(ready: &ReadinessView, found: &mut Vec<Wrong>) {
    for (what, ability) in [("read", &ready.store.read), ("changed", &ready.store.write)] {
        if !matches!(ability.status.as_str(), "ok" | "untried") {
            let detail = ability.detail.as_deref().unwrap_or(&ability.status);
            found.push(bad(format!("What is stored cannot be {what}: {detail}"), "/readyz", "Readiness"));
        }
    }
    if let Some(room) = ready.store.room_bytes.filter(|room| *room < LITTLE_ROOM) {
        found.push(odd(format!("The store has room for {} more.", bytes(room)), "/readyz", "Readiness"));
    }
}

/// What is wrong by the statistics.
pub(crate) fn of_stats(stats: &StatsView, found: &mut Vec<Wrong>) {
    let workers = &stats.workers;
    let waiting: u64 = stats.queues.iter().map(|queue| queue.queued).sum();
    if workers.alive + workers.silent == 0 && waiting > 0 {
        let text = format!("No worker is alive, and {}.", wait(waiting));
        found.push(bad(text, "/ui/workers", "Workers"));
    }
    if workers.lost > 0 {
        let text = match workers.lost {
            1 => "1 worker was not heard of for longer than it may.".to_owned(),
            more => format!("{} workers were not heard of for longer than they may.", count(more)),
        };
        found.push(bad(text, "/ui/workers", "Workers"));
    }
    stats.queues.iter().filter_map(of_queue).for_each(|wrong| found.push(wrong));
    if workers.silent > 0 {
        let text = format!("{} workers claim and do not beat.", count(workers.silent));
        found.push(odd(text, "/ui/workers", "Workers"));
    }
    // In order of weight; within one, as found.
    found.sort_by_key(|wrong| wrong.weight != "bad");
}

/// So many tasks that wait, in words.
fn wait(tasks: u64) -> String {
    if tasks == 1 { "1 task waits".to_owned() } else { format!("{} tasks wait", count(tasks)) }
}

fn of_queue(queue: &QueueView) -> Option<Wrong> {
    let name = queue.name.as_str();
    let href = crate::ask::path(&["ui", "tasks"], &[("queue", name), ("status", "queued")]);
    if queue.paused && queue.waiting > 0 {
        let text = format!("The queue {name} is paused, and {} in it.", wait(queue.waiting));
        return Some(odd(text, "/ui/queues", "Queues"));
    }
    let waits = queue.oldest_ready_seconds.filter(|seconds| *seconds > LONG && !queue.paused)?;
    let text = format!("In the queue {name} a task has been ready for {}.", span(waits));
    let wrong = if queue.running == 0 { bad } else { odd };
    Some(wrong(text, &href, "Ready tasks"))
}
