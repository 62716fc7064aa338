//! What ran at the same time, held against limits: for tests. Neither the stores nor the oracle have a part in it.

use std::collections::BTreeMap;

use baton_model::{LimitBook, LimitOn, Shared, TaskId, Timestamp};

/// A span in which an attempt ran for certain: its claim was answered before, and its end was asked for after. All times of a history are
/// by one clock, or by clocks of which those that date ends are behind.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// What says which limits it falls under.
    pub shared: Shared<'a>,
    /// By when it had been claimed.
    pub from: Timestamp,
    /// Until when it had not ended.
    pub until: Timestamp,
}

/// Says of each limit that was exceeded at some moment by how many attempts, and by which, where they were the most. The limits are to
/// have stood as they are for as long as anything ran.
pub fn over_limits(book: &LimitBook, ran: &[Ran<'_>]) -> Vec<String> {
    let mut under: BTreeMap<LimitOn, (u32, Vec<Ran<'_>>)> = BTreeMap::new();
    for one in ran.iter().filter(|one| one.from < one.until) {
        for (on, rules) in book.of(one.shared) {
            if let Some(most) = rules.max_running {
                under.entry(on).or_insert_with(|| (most, Vec::new())).1.push(*one);
            }
        }
    }
    let exceeded = |(on, (most, spans)): (LimitOn, (u32, Vec<Ran<'_>>))| {
        let together = most_at_once(spans);
        let names: Vec<_> = together.iter().map(|one| format!("{} ({})", one.task, one.attempt)).collect();
        let is_over = together.len() > most as usize;
        is_over.then(|| {
            format!("the limit {on} lets {most} run at once, {} ran: {}", together.len(), names.join(", "))
        })
    };
    under.into_iter().filter_map(exceeded).collect()
}

/// Those that ran at the moment at which most did.
fn most_at_once(mut spans: Vec<Ran<'_>>) -> Vec<Ran<'_>> {
    spans.sort_by_key(|one| one.from);
    let (mut running, mut most): (Vec<Ran<'_>>, Vec<Ran<'_>>) = (Vec::new(), Vec::new());
    for one in spans {
        running.retain(|other| other.until > one.from);
        running.push(one);
        if running.len() > most.len() {
            most.clone_from(&running);
        }
    }
    most
}
