//! Workers that are alike: how many there are, and which of them ends next.

use std::collections::BTreeMap;

use baton_model::GroupName;

use super::slot::{Due, Ending, Fate, NAME_AGAIN, Why, patience};
use super::{Action, Event, Live, Note, Now, Order, Run, Slot, State, Told, Turn, Wait};
use crate::plan::Plan;
use crate::words::Beat;

/// Workers that are alike.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    plan: Plan,
    /// How many workers there are to be.
    wanted: u32,
    /// Whether an operator has stopped it.
    stopped: bool,
    /// Whether the settings name it no more.
    removed: bool,
    /// Whether all workers are to be started anew once this is heard: one after the other, or all at once.
    anew: Option<bool>,
    /// Whether those that do not run are to be started.
    revive: bool,
    slots: BTreeMap<u32, Slot>,
}

/// How a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    /// One after the other is started anew.
    Restarting,
    /// Some have failed.
    Degraded,
    /// All have failed.
    Failed,
    Stopping,
    Stopped,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Group {
    pub(super) fn new(plan: Plan) -> Self {
        let wanted = plan.count;
        let slots = BTreeMap::new();
        Self { plan, wanted, stopped: false, removed: false, anew: None, revive: false, slots }
    }

    /// Takes what the settings say now. What an operator has set by `scale` stays unless the settings' number changes.
    pub(super) fn change(&mut self, plan: Plan, anew: bool) {
        if plan.count != self.plan.count {
            self.wanted = plan.count;
        }
        self.plan = plan;
        if self.removed {
            self.removed = false;
            self.revive = true;
        }
        if anew {
            self.anew = Some(true);
        }
    }

    pub(super) fn remove(&mut self) {
        self.removed = true;
    }

    /// Whether it is no more named, and all of it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.removed && self.live() == 0
    }

    pub(super) fn has(&self, run: Run) -> bool {
        self.number(run).is_some()
    }

    fn number(&self, run: Run) -> Option<u32> {
        self.slots.iter().find(|(_, slot)| slot.live().is_some_and(|live| live.run == run)).map(|(at, _)| *at)
    }

    /// How many processes it has.
    pub(crate) fn live(&self) -> usize {
        self.slots.values().filter(|slot| slot.live().is_some()).count()
    }

    pub(crate) fn wanted(&self) -> u32 {
        self.wanted
    }

    pub(crate) fn slots(&self) -> &BTreeMap<u32, Slot> {
        &self.slots
    }

    pub(crate) fn status(&self) -> Status {
        let failed = self.slots.values().filter(|slot| slot.state == State::Failed).count();
        if self.stopped || self.removed {
            return if self.live() > 0 { Status::Stopping } else { Status::Stopped };
        }
        if failed > 0 {
            return if failed == self.slots.len() { Status::Failed } else { Status::Degraded };
        }
        let rolls = |slot: &Slot| slot.due == Some(Due::Rolling) || slot.is_renewed();
        if self.slots.values().any(rolls) { Status::Restarting } else { Status::Running }
    }

    /// Whether a worker of this number is to run.
    fn wants(&self, number: u32, turn: &Turn<'_>) -> bool {
        !turn.shutdown && !self.stopped && !self.removed && number <= self.wanted
    }

    pub(super) fn hear(&mut self, name: &GroupName, event: &Event, turn: &mut Turn<'_>) {
        match event {
            Event::Order(_, order) => self.obey(*order),
            Event::Beat(run, beat) => self.beat(*run, *beat, turn.now),
            Event::Exited { run, clean } => self.ended(name, *run, *clean, turn),
            Event::NotStarted(run) => self.ended(name, *run, false, turn),
            Event::NameHeld(run) => {
                if let Some(slot) = self.number(*run).and_then(|number| self.slots.get_mut(&number)) {
                    let until = turn.now + NAME_AGAIN;
                    slot.set(State::Waiting { until, wait: Wait::Name }, turn.now);
                }
            }
            Event::Tick | Event::Groups(_) | Event::Shutdown | Event::Hasten => {}
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start => {
                self.stopped = false;
                self.revive = true;
            }
            Order::Stop => self.stopped = true,
            Order::Restart { rolling } => {
                self.stopped = false;
                self.anew = Some(rolling);
            }
            Order::Scale(count) => self.wanted = count,
        }
    }

    fn beat(&mut self, run: Run, beat: Beat, now: Now) {
        let Some(slot) = self.number(run).and_then(|number| self.slots.get_mut(&number)) else { return };
        slot.renewing = false;
        if let Some(live) = slot.live_mut() {
            live.heard = now;
            live.ready = true;
            live.beat = beat;
        }
    }

    /// A process has ended, or could not be started.
    fn ended(&mut self, name: &GroupName, run: Run, clean: bool, turn: &mut Turn<'_>) {
        let Some(number) = self.number(run) else { return };
        let wanted = self.wants(number, turn);
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let now = turn.now;
        let why = slot.live().and_then(|live| live.ending).map(|ending| ending.why);
        if !wanted {
            slot.renewing = false;
            slot.due = None;
            return slot.set(State::Stopped, now);
        }
        if matches!(why, Some(Why::Unwanted | Why::Renewal)) {
            slot.renewing = why == Some(Why::Renewal);
            return slot.set(State::Waiting { until: now, wait: Wait::Turn }, now);
        }
        let clean = clean && why.is_none();
        let (state, note) = match slot.fate(clean, &self.plan, turn) {
            Fate::Again(pause) => {
                (State::Waiting { until: now + pause, wait: Wait::Pause }, Note::Restarts { pause })
            }
            Fate::Failed => (State::Failed, Note::Failed),
            Fate::Done => (State::Done, Note::Done),
        };
        turn.actions.push(Action::Note { group: name.clone(), number, note });
        let broken = slot.renewing && note == Note::Failed;
        slot.renewing &= matches!(note, Note::Restarts { .. });
        slot.set(state, now);
        if broken {
            // What the renewed one could not live with would end the others, too: a rolling restart ends here.
            for slot in self.slots.values_mut().filter(|slot| slot.due == Some(Due::Rolling)) {
                slot.due = None;
            }
        }
    }

    /// Does what time, and what has been heard, make due.
    pub(super) fn advance(&mut self, name: &GroupName, hasten: bool, turn: &mut Turn<'_>) {
        let now = turn.now;
        for number in 1..=self.wanted {
            if self.wants(number, turn) {
                self.slots.entry(number).or_insert_with(|| Slot::new(now));
            }
        }
        if std::mem::take(&mut self.revive) {
            self.revive_all(turn);
        }
        if let Some(rolling) = self.anew.take() {
            self.renew_all(rolling, turn);
        }
        for number in self.slots.keys().copied().collect::<Vec<_>>() {
            let wanted = self.wants(number, turn);
            if let Some(slot) = self.slots.get_mut(&number) {
                keep(name, number, slot, &self.plan, wanted, hasten, turn);
            }
        }
        self.renew_next(name, turn);
        let wanted = self.wanted;
        self.slots.retain(|number, slot| *number <= wanted || slot.live().is_some());
    }

    fn revive_all(&mut self, turn: &Turn<'_>) {
        for slot in self.slots.values_mut() {
            let waits = matches!(slot.state, State::Waiting { wait: Wait::Pause, .. });
            if slot.rests() || waits {
                slot.revive(turn.now);
            }
        }
    }

    /// Has all start anew: those that do not run at once, the others in their turn or all together.
    fn renew_all(&mut self, rolling: bool, turn: &mut Turn<'_>) {
        self.revive_all(turn);
        for slot in self.slots.values_mut() {
            let Some(live) = slot.live_mut().filter(|live| live.ending.is_none()) else { continue };
            if rolling {
                slot.due = Some(Due::Rolling);
            } else {
                end(live, Why::Renewal, Told::Drain, turn);
            }
        }
    }

    /// Has the next one end in whose place another start is to come: one at a time, so that the others go on.
    fn renew_next(&mut self, name: &GroupName, turn: &mut Turn<'_>) {
        if self.slots.values().any(Slot::is_renewed) {
            return;
        }
        let next = |due| {
            let is_next =
                |slot: &Slot| slot.due == Some(due) && slot.live().is_some_and(|live| live.ending.is_none());
            self.slots.iter().find(|(_, slot)| is_next(slot)).map(|(number, _)| *number)
        };
        let all_others_work = |number: u32| {
            self.slots.iter().all(|(other, slot)| *other == number || slot.works() || slot.rests())
        };
        let rolling = next(Due::Rolling).filter(|number| all_others_work(*number));
        let Some(number) = next(Due::Recycle).or(rolling) else { return };
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.due = None;
        if let Some(live) = slot.live_mut() {
            end(live, Why::Renewal, Told::Drain, turn);
            turn.actions.push(Action::Note { group: name.clone(), number, note: Note::Renewed });
        }
    }

    pub(super) fn next_at(&self) -> Option<Now> {
        self.slots.values().filter_map(|slot| slot.next_at(&self.plan)).min()
    }
}

/// Tells a worker's process to end.
fn end(live: &mut Live, why: Why, told: Told, turn: &mut Turn<'_>) {
    live.ending = Some(Ending { why, told, at: turn.now });
    turn.actions.push(Action::Tell { run: live.run, told });
}

/// Does what is due of one worker.
fn keep(
    name: &GroupName,
    number: u32,
    slot: &mut Slot,
    plan: &Plan,
    wanted: bool,
    hasten: bool,
    turn: &mut Turn<'_>,
) {
    let now = turn.now;
    let note = |note| Action::Note { group: name.clone(), number, note };
    if slot.due.is_none() && slot.is_used_up(plan, now) {
        slot.due = Some(Due::Recycle);
    }
    match &mut slot.state {
        State::Waiting { .. } if !wanted => {
            slot.renewing = false;
            slot.set(State::Stopped, now);
        }
        State::Waiting { until, .. } if *until <= now => {
            let run = turn.run();
            slot.due = None;
            let live = Live { run, heard: now, ready: false, beat: Beat::default(), ending: None };
            slot.set(State::Live(live), now);
            turn.actions.push(Action::Start { group: name.clone(), number, run });
        }
        State::Live(live) => {
            let silent = now >= live.heard + plan.silence;
            if live.ending.is_none() && silent {
                turn.actions.push(note(Note::Hung));
                end(live, Why::Hung, Told::Stop, turn);
            }
            if live.ending.is_none() && !wanted {
                end(live, Why::Unwanted, Told::Drain, turn);
            }
            if let Some(Ending { why, told: Told::Drain, at }) = live.ending
                && (hasten || silent || now >= at + plan.stop_grace)
            {
                if !hasten && plan.stop_grace > std::time::Duration::ZERO {
                    turn.actions.push(note(Note::Overdue(Told::Drain)));
                }
                end(live, why, Told::Stop, turn);
            }
            if let Some(Ending { why, told: Told::Stop, at }) = live.ending
                && now >= at + patience(why)
            {
                turn.actions.push(note(Note::Overdue(Told::Stop)));
                end(live, why, Told::Kill, turn);
            }
        }
        State::Waiting { .. } | State::Stopped | State::Done | State::Failed => {}
    }
}
