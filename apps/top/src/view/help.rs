//! What each key does, as it is shown.

use ratatui::layout::Rect;

use super::pen::{Ink, Line, Pen};

/// The keys, and what they do.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("1 2 3 4, Tab", "queues, workers, tasks, what is wrong"),
    ("↑ ↓ j k", "choose, or scroll; PgUp PgDn Home End g G, too"),
    ("Enter →", "look into what is chosen"),
    ("Esc ← ⌫", "back; a filter is lifted first"),
    ("/", "show only what contains a text; a queue's, worker's or task's whole name finds it"),
    ("s  S", "sort by the next column; turn the order round"),
    ("t", "list other tasks: running, failed, waiting, all"),
    ("c", "cancel the task that is chosen or looked into"),
    ("r", "put a failed or cancelled task back into its queue"),
    ("p", "pause the queue, or resume it"),
    ("d", "drain the worker, or have it go on"),
    ("Ctrl-L", "draw anew"),
    ("q Ctrl-C", "quit"),
];

pub(crate) fn draw(pen: &mut Pen<'_>, area: Rect) {
    let mut lines = Vec::new();
    for (keys, what) in KEYS {
        lines.push(Line { name: keys, text: super::pen::Cell::plain(*what), indent: 15 });
    }
    lines.push(Line::text(Ink::Plain, ""));
    lines.push(Line::text(
        Ink::Dim,
        "What changes something asks first. late: the oldest ready task has waited for more than 30 s, from when on the verdict asks \
         why. lease: how long the attempt may still take, or when its worker was last heard.",
    ));
    pen.page(area, &lines, 0);
}
