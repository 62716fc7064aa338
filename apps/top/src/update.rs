//! What becomes of the state when something happens, and what is to be asked then. Nothing is done here: the same events give the same
//! state and the same requests.

use std::time::Duration;

use crate::ask::{Answer, Ask, Refusal, Slot, Why};
use crate::event::{Event, Moment};
use crate::keys;
use crate::rows::rows;
use crate::state::{Asked, Place, State};

/// How often the verdict is asked for, at most: it is judged from some twenty requests.
const VERDICT: Duration = Duration::from_secs(10);

/// How often it is tried again what the token may not.
const DENIED: Duration = Duration::from_secs(30);

/// How long it stays below what was said.
const SAID: Duration = Duration::from_secs(20);

/// Takes an event in; the answer is what to ask now.
pub(crate) fn update(state: &mut State, event: Event, now: Moment) -> Vec<Ask> {
    state.now = now;
    let mut asks = Vec::new();
    match event {
        Event::Key(key) => asks.extend(keys::press(state, key)),
        Event::Pasted(text) => keys::paste(state, &text),
        Event::Tick => {}
        Event::Answered(ask, outcome) => answered(state, &ask, outcome),
    }
    if state.told.as_ref().is_some_and(|told| now.since.saturating_sub(told.since) > SAID) {
        state.told = None;
    }
    settle(state);
    for ask in &asks {
        sent(state, ask);
    }
    for (ask, every) in wanted(state) {
        if is_due(state, &ask, every) {
            sent(state, &ask);
            asks.push(ask);
        }
    }
    asks
}

fn sent(state: &mut State, ask: &Ask) {
    let asked = Asked { ask: ask.clone(), since: state.now.since, answered: false };
    let before = state.asked.insert(ask.slot(), asked);
    // What was refused was another thing.
    if before.is_some_and(|before| before.ask != *ask) {
        state.refused.remove(&ask.slot());
    }
}

/// What is to be known where its user is, and how fresh.
fn wanted(state: &State) -> Vec<(Ask, Duration)> {
    let often = state.setup.interval;
    let mut wanted = vec![(Ask::Stats, often), (Ask::Verdict, often.max(VERDICT))];
    if denied(state, Slot::Stats) {
        wanted.push((Ask::Queues, often));
    }
    let stay = state.stay();
    match &stay.place {
        Place::Queues => {
            // A queue that is not among those with the most tasks is found by its whole name.
            wanted.extend(stay.filter.parse().ok().map(|name| (Ask::Queue(name), often)));
        }
        Place::Workers => {
            wanted.push((Ask::Workers, often));
            wanted.extend(stay.filter.parse().ok().map(|name| (Ask::Worker(name), often)));
        }
        // How far tasks have come is told with their workers.
        Place::Tasks => wanted.push((Ask::Workers, often)),
        Place::Queue(queue) => wanted.extend([(Ask::Queue(queue.clone()), often), (Ask::Workers, often)]),
        Place::Worker(worker) => wanted.push((Ask::Worker(worker.clone()), often)),
        Place::Task(task) => wanted.push((Ask::Task(*task), often)),
        Place::Wrong => {}
    }
    wanted.extend(state.tasks_here().map(|tasks| (Ask::Tasks(tasks), often)));
    // Nothing is asked for a name that is still being written.
    wanted.retain(|(ask, _)| !(state.writing && matches!(ask.slot(), Slot::Queue | Slot::Worker)));
    wanted
}

fn denied(state: &State, slot: Slot) -> bool {
    state.refused.get(&slot).is_some_and(|refusal| refusal.why == Why::Denied)
}

/// Whether it is time: never while the same is still under way.
fn is_due(state: &State, ask: &Ask, every: Duration) -> bool {
    let Some(asked) = state.asked.get(&ask.slot()) else { return true };
    if asked.ask != *ask {
        return true;
    }
    let every = if denied(state, ask.slot()) { every.max(DENIED) } else { every };
    asked.answered && state.now.since.saturating_sub(asked.since) >= every
}

fn answered(state: &mut State, ask: &Ask, outcome: Result<Answer, Refusal>) {
    let slot = ask.slot();
    match state.asked.get_mut(&slot) {
        Some(asked) if asked.ask == *ask => asked.answered = true,
        // Its user has gone elsewhere since.
        _ => return,
    }
    let silent = matches!(&outcome, Err(refusal) if refusal.why == Why::NoAnswer);
    if !silent {
        state.heard = state.now.since;
    }
    match outcome {
        Ok(answer) => {
            state.refused.remove(&slot);
            state.take(ask, answer);
        }
        Err(refusal) if slot == Slot::Change => {
            if let Ask::Change(change) = ask {
                state.tell(false, format!("could not {}: {}", change.what(), refusal.told));
            }
        }
        Err(refusal) => {
            forget(state, slot, &refusal);
            state.refused.insert(slot, refusal);
        }
    }
    if slot == Slot::Change {
        // Whatever came of it, what is shown is asked for anew.
        state.asked.retain(|slot, asked| !asked.answered || *slot == Slot::Change);
    }
}

/// What is gone, or not for this token, is no longer shown; without an answer, what was known last is.
fn forget(state: &mut State, slot: Slot, refusal: &Refusal) {
    if refusal.why == Why::NoAnswer {
        return;
    }
    let known = &mut state.known;
    match slot {
        Slot::Stats => known.stats = None,
        Slot::Queues => known.queues = None,
        Slot::Queue => known.queue = None,
        Slot::Workers => known.workers = None,
        Slot::Worker => known.worker = None,
        Slot::Tasks => known.tasks = None,
        Slot::Task => known.task = None,
        Slot::Verdict | Slot::Change => {}
    }
}

/// Keeps the chosen row where it is in the list, or takes the one in its place.
pub(crate) fn settle(state: &mut State) {
    let rows = rows(state);
    let stay = state.stay_mut();
    if let Some(place) = stay.chosen.as_ref().and_then(|chosen| rows.iter().position(|row| row == chosen)) {
        stay.at = place;
        return;
    }
    stay.at = stay.at.min(rows.len().saturating_sub(1));
    // A list that is not there yet chooses nothing: what was chosen may be in it.
    if !rows.is_empty() {
        stay.chosen = rows.get(stay.at).cloned();
    }
}
