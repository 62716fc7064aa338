//! A list: what stands above it, its rows, or why it has none.

use ratatui::layout::Rect;

use super::pen::{Ink, Line, Pen, height};
use super::{queues, tasks, workers};
use crate::ask::Slot;
use crate::state::{Place, State};
use crate::text::safe;

/// Draws the list of where its user is.
pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, state: &mut State) {
    let above = above(state);
    let height = height(&above, area.width).min(area.height / 2);
    pen.page(Rect { height, ..area }, &above, 0);
    let area = Rect { y: area.y + height, height: area.height - height, ..area };
    let (columns, rows, slot) = match &state.stay().place {
        Place::Queues => (queues::columns(area.width), queues::rows(state, area.width), Slot::Stats),
        Place::Workers => (workers::columns(), workers::rows(state), Slot::Workers),
        Place::Worker(_) => (workers::held_columns(), workers::held_rows(state), Slot::Worker),
        _ => (tasks::columns(state, area.width), tasks::rows(state, area.width), Slot::Tasks),
    };
    if rows.is_empty() {
        let (ink, told) = nothing(state, slot);
        pen.page(area, &[Line::text(ink, told)], 0);
        return;
    }
    let shown = usize::from(area.height.saturating_sub(1)).max(1);
    let stay = state.stay();
    let at = stay.at.min(rows.len() - 1);
    // The chosen row is shown, and the list moves no further than it must.
    let top = stay.scroll.clamp((at + 1).saturating_sub(shown), at).min(rows.len().saturating_sub(shown));
    pen.table(area, &columns, &rows, (top, Some(at)));
    state.stay_mut().scroll = top;
    state.page = shown;
}

/// Why a list has no rows.
fn nothing(state: &State, slot: Slot) -> (Ink, String) {
    let slot = match (slot, state.refused.contains_key(&Slot::Queues)) {
        (Slot::Stats, true) => Slot::Queues,
        (slot, _) => slot,
    };
    let denied_stats = slot == Slot::Stats && state.known.queues.is_some();
    if let Some(refusal) = state.refused.get(&slot).filter(|_| !denied_stats) {
        return (Ink::Odd, safe(&refusal.told));
    }
    let known = match slot {
        Slot::Stats | Slot::Queues => state.known.stats.is_some() || state.known.queues.is_some(),
        Slot::Workers => state.known.workers.is_some(),
        Slot::Worker => state.known.worker.is_some(),
        _ => state.known.tasks.as_ref().map(|(of, _)| of) == state.tasks_here().as_ref(),
    };
    let what = match (slot, state.stay().filter.is_empty()) {
        _ if !known => "asking the server",
        (_, false) => "nothing contains that; Esc shows all",
        (Slot::Stats | Slot::Queues, true) => "no queue has tasks",
        (Slot::Workers, true) => "no worker was ever heard of",
        (Slot::Worker, true) => "it holds no task",
        _ => "no such task; t lists others",
    };
    (Ink::Dim, what.to_owned())
}

/// What is told above a list.
fn above(state: &State) -> Vec<Line> {
    let now = state.server_now();
    match &state.stay().place {
        Place::Queue(name) => {
            let known = state.known.queue.as_ref().filter(|queue| queue.name == *name);
            known.map(|queue| queues::facts(state, queue, now)).unwrap_or_default()
        }
        Place::Worker(id) => {
            let known = state.known.worker.as_ref().filter(|worker| worker.id == *id);
            known.map(|worker| workers::facts(worker, now)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}
