//! Draws what is known. The same state gives the same frame.

pub(crate) mod help;
mod lists;
mod pen;
mod queues;
mod task;
mod tasks;
mod top;
mod workers;

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::rows::{orders, rows};
use crate::state::{Place, State};
use crate::text::{count, safe};
use pen::{Cell, Ink, Pen};

/// The smallest terminal that all of it fits on.
pub(crate) const LEAST: (u16, u16) = (80, 24);

/// Draws a frame. What it learns of the room that there is goes into the state: how long a page is, and where it begins.
pub(crate) fn draw(state: &mut State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut pen = Pen::new(frame.buffer_mut(), state.setup.colours);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return too_small(&mut pen, area);
    }
    let line = |y| Rect { y, height: 1, ..area };
    top::head(&mut pen, line(area.y), state);
    top::wrong(&mut pen, line(area.y + 1), state);
    top::totals(&mut pen, line(area.y + 2), state);
    tabs(&mut pen, line(area.y + 3), state);
    let body = Rect { y: area.y + 4, height: area.height - 6, ..area };
    state.page = usize::from(body.height - 1);
    if state.help {
        help::draw(&mut pen, body);
    } else {
        match state.stay().place {
            Place::Wrong => top::all_wrong(&mut pen, body, state),
            Place::Task(_) => task::draw(&mut pen, body, state),
            _ => lists::draw(&mut pen, body, state),
        }
    }
    below(&mut pen, line(area.bottom() - 2), state);
    hints(&mut pen, line(area.bottom() - 1), state);
}

fn too_small(pen: &mut Pen<'_>, area: Rect) {
    let (width, height) = LEAST;
    let told = [
        format!(
            "baton top needs {width} × {height}, and this terminal has {} × {}:",
            area.width, area.height
        ),
        "make it larger; q quits".to_owned(),
    ];
    for (text, y) in told.iter().zip(area.y..area.bottom()) {
        pen.put(area.x, y, area.width, &Cell::plain(text.as_str()));
    }
}

/// The places that have a number, where its user is, and what the list there shows.
fn tabs(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let mut x = area.x;
    for (number, name) in ["queues", "workers", "tasks", "wrong"].into_iter().enumerate() {
        let begins = x;
        x = pen.put(x, area.y, area.width, &Cell::plain(format!(" {} {name} ", number + 1)));
        if number == state.tab {
            pen.choose(Rect { x: begins, width: x - begins, ..area });
        }
        x += 1;
    }
    for stay in &state.within[state.within.len().saturating_sub(1)..] {
        let named = match &stay.place {
            Place::Queue(queue) => format!("queue {}", safe(queue.as_str())),
            Place::Worker(worker) => format!("worker {}", safe(worker.as_str())),
            Place::Task(task) => format!("task {}", crate::text::short(*task)),
            Place::Queues | Place::Workers | Place::Tasks | Place::Wrong => continue,
        };
        let deeper = if state.within.len() > 1 { "… › " } else { "› " };
        x = pen.put(x, area.y, area.right() - x, &Cell::new(Ink::Head, format!("{deeper}{named}")));
    }
    let about = Cell::new(Ink::Dim, about(state));
    let left = area.right().saturating_sub(x + 1);
    if left > 8 {
        pen.put_right(x + 1, area.y, left, &about);
    }
}

/// What the list shows, of how many, and in what order.
fn about(state: &State) -> String {
    let stay = state.stay();
    let Some(order) = orders(&stay.place).get(stay.order) else { return String::new() };
    let shown = rows(state).len();
    let of = match &stay.place {
        Place::Queues => {
            let (further, exact) = crate::rows::further_queues(state);
            match further {
                0 => String::new(),
                more if exact => format!(", {} more by /name", count(more)),
                _ => ", more by /name".to_owned(),
            }
        }
        Place::Workers => {
            more(", more by /name", state.known.workers.as_ref().is_some_and(|workers| workers.more))
        }
        _ => more(", newest of more", state.known.tasks.as_ref().is_some_and(|(_, tasks)| tasks.more)),
    };
    let which = match state.tasks_here() {
        Some(tasks) => format!("{} ", tasks.which.as_str()),
        None => String::new(),
    };
    let turned = if stay.turned { "↑" } else { "" };
    format!("{shown} {which}by {order}{turned}{of}")
}

fn more(told: &str, more: bool) -> String {
    if more { told.to_owned() } else { String::new() }
}

/// What is asked, written or was said.
fn below(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let stay = state.stay();
    let cell = if let Some(change) = &state.question {
        Cell::new(Ink::Bad, format!("{} y/n", safe(&change.question())))
    } else if state.writing {
        Cell::new(Ink::Head, format!("/{}▏", safe(&stay.filter)))
    } else if let Some(told) = &state.told {
        Cell::new(if told.good { Ink::Good } else { Ink::Odd }, safe(&told.text))
    } else if !stay.filter.is_empty() {
        Cell::new(Ink::Dim, format!("/{} (Esc shows all)", safe(&stay.filter)))
    } else {
        return;
    };
    pen.put(area.x, area.y, area.width, &cell);
}

/// Which keys do something here.
fn hints(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let changes = !state.setup.read_only;
    let keys = if state.question.is_some() {
        "y does it   n or Esc does not"
    } else if state.writing {
        "Enter keeps it   Esc shows all   a whole task's id looks into the task"
    } else {
        match (&state.stay().place, changes) {
            (Place::Queues, true) => "↑↓ choose  Enter look into  / filter  s sort  p pause  ? help  q quit",
            (Place::Workers, true) => "↑↓ choose  Enter look into  / filter  s sort  d drain  ? help  q quit",
            (Place::Tasks, true) => {
                "↑↓ choose  Enter look into  t others  / filter  c cancel  r retry  ? help"
            }
            (Place::Queue(_), true) => {
                "↑↓ choose  Enter  t others  c cancel  r retry  p pause  Esc back  ? help"
            }
            (Place::Worker(_), true) => {
                "↑↓ choose  Enter look into  c cancel  d drain  Esc back  ? help  q quit"
            }
            (Place::Task(_), true) => "↑↓ scroll  c cancel  r retry  Esc back  ? help  q quit",
            (Place::Wrong, _) => "↑↓ scroll  ? help  q quit",
            (Place::Task(_), false) => "↑↓ scroll  Esc back  ? help  q quit",
            (_, false) => "↑↓ choose  Enter look into  / filter  s sort  Esc back  ? help  q quit",
        }
    };
    pen.put(area.x, area.y, area.width, &Cell::new(Ink::Dim, keys));
    if state.setup.read_only {
        pen.put_right(area.x, area.y, area.width, &Cell::new(Ink::Dim, "read-only"));
    }
}
