//! What each key does.

use baton_api::task::TaskView;
use baton_model::{Directive, QueueName, Status, TaskId, WorkerId};

use crate::ask::{Ask, Change, Slot};
use crate::event::Key;
use crate::rows::{orders, rows};
use crate::state::{Place, Row, State, Stay};
use crate::text::{safe, short};

/// The longest filter.
const FILTER: usize = 128;

/// How deep one can look into things from within others.
const DEEP: usize = 32;

/// Does what a key asks for; the answer is what is to be asked at once.
pub(crate) fn press(state: &mut State, key: Key) -> Option<Ask> {
    if key == Key::Interrupt {
        state.over = true;
    } else if state.question.is_some() {
        return answer(state, key);
    } else if state.writing {
        write(state, key);
    } else if state.help {
        state.help = false;
        // Whoever wants to leave the help with it does not want to leave the program.
    } else {
        go(state, key);
    }
    None
}

/// Takes pasted text in, where a name is being written; elsewhere it is no keys.
pub(crate) fn paste(state: &mut State, text: &str) {
    if !state.writing {
        state.tell(false, "text that is pasted is not taken for keys; press / before");
        return;
    }
    let stay = state.stay_mut();
    stay.filter.extend(text.trim().chars().filter(|c| !c.is_control()));
    stay.filter = stay.filter.chars().take(FILTER).collect();
}

/// Answers the question whether a change is meant.
fn answer(state: &mut State, key: Key) -> Option<Ask> {
    match key {
        Key::Char('y' | 'Y') => {
            let change = state.question.take()?;
            state.tell(true, format!("asked the server to {}", change.what()));
            Some(Ask::Change(change))
        }
        Key::Char('n' | 'N' | 'q') | Key::Escape | Key::Backspace => {
            state.question = None;
            state.tell(true, "nothing was done");
            None
        }
        // Another key is no answer.
        _ => None,
    }
}

/// Writes a filter.
fn write(state: &mut State, key: Key) {
    let stay = state.stay_mut();
    match key {
        Key::Char(c) if stay.filter.chars().count() < FILTER => stay.filter.push(c),
        // Where nothing is left to take away, it ends.
        Key::Backspace => state.writing = stay.filter.pop().is_some(),
        Key::Escape => {
            stay.filter.clear();
            state.writing = false;
        }
        Key::Enter => {
            state.writing = false;
            if let Ok(task) = state.stay().filter.parse::<TaskId>() {
                state.stay_mut().filter.clear();
                look_into(state, Place::Task(task));
            }
        }
        Key::Up | Key::Down | Key::PageUp | Key::PageDown => step(state, key),
        _ => {}
    }
}

/// Goes somewhere, or begins a change.
fn go(state: &mut State, key: Key) {
    match key {
        Key::Char('q') => state.over = true,
        Key::Char('?') => state.help = true,
        Key::Char(c @ '1'..='4') => {
            state.within.clear();
            state.tab = c as usize - '1' as usize;
        }
        Key::Tab | Key::BackTab => {
            let tabs = state.tabs.len();
            state.within.clear();
            state.tab = (state.tab + if key == Key::Tab { 1 } else { tabs - 1 }) % tabs;
        }
        Key::Escape | Key::Backspace | Key::Left => back(state),
        Key::Enter | Key::Right => enter(state),
        Key::Char('/') => {
            if orders(&state.stay().place).is_empty() {
                state.tell(false, "there is no list here to look through");
            } else {
                state.writing = true;
            }
        }
        Key::Char('s') => sort(state, false),
        Key::Char('S') => sort(state, true),
        Key::Char('t') => {
            if state.tasks_here().is_some() {
                let stay = state.stay_mut();
                stay.which = stay.which.next();
                (stay.chosen, stay.at) = (None, 0);
            } else {
                state.tell(false, "t shows other tasks in the lists of tasks: press 3, or Enter on a queue");
            }
        }
        Key::Char('c') => of_task(state, "c cancels", cancel),
        Key::Char('r') => of_task(state, "r retries", retry),
        Key::Char('p') => pause(state),
        Key::Char('d') => drain(state),
        _ => step(state, key),
    }
}

/// Goes back to where its user came from; a filter is lifted first.
fn back(state: &mut State) {
    if !state.stay().filter.is_empty() {
        state.stay_mut().filter.clear();
    } else {
        state.within.pop();
    }
}

/// Looks into what is chosen.
fn enter(state: &mut State) {
    let place = match &state.stay().chosen {
        Some(Row::Queue(queue)) => Place::Queue(queue.clone()),
        Some(Row::Worker(worker)) => Place::Worker(worker.clone()),
        Some(Row::Task(task)) => Place::Task(*task),
        None => return,
    };
    look_into(state, place);
}

fn look_into(state: &mut State, place: Place) {
    if state.within.len() == DEEP {
        state.within.remove(0);
    }
    state.within.push(Stay::new(place));
}

fn sort(state: &mut State, turn: bool) {
    let orders = orders(&state.stay().place);
    if orders.is_empty() {
        state.tell(false, "there is no list here to sort");
        return;
    }
    let stay = state.stay_mut();
    if turn {
        stay.turned = !stay.turned;
    } else {
        (stay.order, stay.turned) = ((stay.order + 1) % orders.len(), false);
    }
    let (order, turned) = (orders[stay.order], stay.turned);
    state.tell(true, format!("sorted by {order}{}", if turned { ", turned round" } else { "" }));
}

/// Moves in a list, or in lines.
fn step(state: &mut State, key: Key) {
    let page = state.page.max(1);
    let lines = matches!(state.stay().place, Place::Task(_) | Place::Wrong);
    let rows = rows(state);
    let stay = state.stay_mut();
    let (at, last) = if lines { (stay.scroll, usize::MAX) } else { (stay.at, rows.len().saturating_sub(1)) };
    let to = match key {
        Key::Up | Key::Char('k') => at.saturating_sub(1),
        Key::Down | Key::Char('j') => at.saturating_add(1),
        Key::PageUp => at.saturating_sub(page),
        Key::PageDown => at.saturating_add(page),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => last,
        _ => return,
    };
    if lines {
        // The drawing holds it within what there is.
        stay.scroll = to;
    } else {
        stay.at = to.min(last);
        stay.chosen = rows.get(stay.at).cloned();
    }
}

/// Asks whether a change is meant, if one may be made now.
fn ask(state: &mut State, change: Change) {
    if state.setup.read_only {
        state.tell(false, format!("will not {}: baton top was started with --read-only", change.what()));
    } else if state.asked.get(&Slot::Change).is_some_and(|asked| !asked.answered) {
        state.tell(false, "the server has not answered the last change yet");
    } else {
        state.question = Some(change);
    }
}

/// The task that is chosen, or looked into.
fn task_here(state: &State) -> Option<TaskId> {
    match (&state.stay().place, &state.stay().chosen) {
        (Place::Task(task), _) | (_, Some(Row::Task(task))) => Some(*task),
        _ => None,
    }
}

/// What is known of a task.
fn known_task(state: &State, id: TaskId) -> Option<&TaskView> {
    let one = state.known.task.as_ref().map(|task| &task.detail.task).filter(|task| task.id == id);
    let listed = state.known.tasks.iter().flat_map(|(_, tasks)| &tasks.items);
    one.or_else(|| listed.into_iter().find(|task| task.id == id))
}

fn of_task(
    state: &mut State,
    what: &str,
    change: impl FnOnce(TaskId, Option<Status>) -> Result<Change, String>,
) {
    let Some(id) = task_here(state) else {
        state.tell(false, format!("{what} a task: choose one, such as in 3"));
        return;
    };
    // What a worker holds, runs.
    let held = matches!(state.stay().place, Place::Worker(_)).then_some(Status::Running);
    let status = held.or_else(|| known_task(state, id).map(|task| task.status));
    match change(id, status) {
        Ok(change) => ask(state, change),
        Err(told) => state.tell(false, told),
    }
}

fn cancel(id: TaskId, status: Option<Status>) -> Result<Change, String> {
    match status {
        Some(ended @ (Status::Completed | Status::Failed | Status::Cancelled)) => {
            Err(format!("task {} is {}: there is nothing to cancel", short(id), ended.as_str()))
        }
        _ => Ok(Change::Cancel(id)),
    }
}

fn retry(id: TaskId, status: Option<Status>) -> Result<Change, String> {
    match status {
        Some(Status::Failed | Status::Cancelled) | None => Ok(Change::Retry(id)),
        Some(other) => Err(format!(
            "task {} is {}: expected a failed or cancelled one to retry",
            short(id),
            other.as_str()
        )),
    }
}

/// Pauses the queue that is chosen or looked into, or resumes it.
fn pause(state: &mut State) {
    let queue: QueueName = match (&state.stay().place, &state.stay().chosen) {
        (Place::Queue(queue), _) | (_, Some(Row::Queue(queue))) => queue.clone(),
        _ => return state.tell(false, "p pauses or resumes a queue: choose one in 1"),
    };
    let listed = crate::rows::queues(state).into_iter().find(|listed| listed.name == queue);
    let known = listed.or(state.known.queue.as_ref().filter(|known| known.name == queue));
    match known.map(|known| known.paused) {
        Some(true) => ask(state, Change::Resume(queue)),
        Some(false) => ask(state, Change::Pause(queue)),
        None => state.tell(false, format!("nothing is known of queue {} yet", safe(queue.as_str()))),
    }
}

/// Drains the worker that is chosen or looked into, or has it go on.
fn drain(state: &mut State) {
    let id: WorkerId = match (&state.stay().place, &state.stay().chosen) {
        (Place::Worker(worker), _) | (_, Some(Row::Worker(worker))) => worker.clone(),
        _ => return state.tell(false, "d drains a worker: choose one in 2"),
    };
    let listed = state.known.workers.iter().flat_map(|workers| &workers.items);
    let known = listed.chain(&state.known.worker).find(|worker| worker.id == id);
    match known.map(|worker| worker.directive) {
        Some(Directive::Run) => ask(state, Change::Drain(id)),
        Some(Directive::Drain | Directive::Stop) => ask(state, Change::Run(id)),
        None => state.tell(false, format!("nothing is known of worker {} yet", safe(id.as_str()))),
    }
}
