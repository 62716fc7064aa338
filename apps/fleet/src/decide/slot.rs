//! One worker of a group: its number stays, its processes come and go.

use std::collections::VecDeque;
use std::time::Duration;

use baton_runtime::settings::RestartWhen;

use super::{Now, Run, Told, Turn};
use crate::plan::Plan;
use crate::words::Beat;

/// How long a worker that was told to stop has until it is killed: its commands have 5 s of that, and what is left is for
/// telling the server.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(15);
/// The same of one that is hung: should it live after all, it hears of its end.
pub(crate) const KILL_HUNG_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked whether a name is free.
pub(crate) const NAME_AGAIN: Duration = Duration::from_millis(250);

/// One worker of a group.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// Since when.
    pub(crate) since: Now,
    /// How many restarts in a row no healthy life has come between.
    pub(super) streak: u32,
    /// When it was started again, within the window.
    pub(super) recent: VecDeque<Now>,
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// Why another start is to take its place once it is its turn.
    pub(super) due: Option<Due>,
    /// Whether an earlier start was ended for the sake of this one, and this one has not said yet that it lives.
    pub(super) renewing: bool,
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// It is started at a time.
    Waiting { until: Now, wait: Wait },
    /// It has a process.
    Live(Live),
    /// It was asked to end, and has.
    Stopped,
    /// It has ended by itself, and is not to be started again.
    Done,
    /// It has used up its restarts.
    Failed,
}

/// What a worker's start waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing.
    Turn,
    /// A pause after it has ended by itself.
    Pause,
    /// Another process has its name.
    Name,
}

/// A worker's process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Live {
    pub(crate) run: Run,
    /// When it was last heard; at first, when it was started.
    pub(crate) heard: Now,
    /// Whether it was heard at all.
    pub(crate) ready: bool,
    pub(crate) beat: Beat,
    pub(crate) ending: Option<Ending>,
}

/// A worker's end that has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) why: Why,
    pub(crate) told: Told,
    /// When it was told so.
    pub(crate) at: Now,
}

/// Why a worker is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not wanted any more.
    Unwanted,
    /// Another start is to take its place.
    Renewal,
    /// It is hung.
    Hung,
}

/// Why another start is to take a worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// It has done or held enough.
    Recycle,
    /// A rolling restart has not come to it yet.
    Rolling,
}

/// What becomes of a worker that has ended by itself.
pub(super) enum Fate {
    Again(Duration),
    Failed,
    Done,
}

impl Slot {
    pub(super) fn new(now: Now) -> Self {
        Self {
            state: State::Waiting { until: now, wait: Wait::Turn },
            since: now,
            streak: 0,
            recent: VecDeque::new(),
            restarts: 0,
            due: None,
            renewing: false,
        }
    }

    pub(super) fn set(&mut self, state: State, now: Now) {
        self.state = state;
        self.since = now;
    }

    /// Has it start now, with nothing held against it.
    pub(super) fn revive(&mut self, now: Now) {
        self.streak = 0;
        self.recent.clear();
        self.set(State::Waiting { until: now, wait: Wait::Turn }, now);
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Live(live) => Some(live),
            _ => None,
        }
    }

    pub(super) fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Live(live) => Some(live),
            _ => None,
        }
    }

    /// Whether it has said that it lives, and is to go on.
    pub(crate) fn works(&self) -> bool {
        self.live().is_some_and(|live| live.ready && live.ending.is_none())
    }

    /// Whether nothing more is expected of it.
    pub(super) fn rests(&self) -> bool {
        matches!(self.state, State::Stopped | State::Done | State::Failed)
    }

    /// Whether another start is just taking its place.
    pub(super) fn is_renewed(&self) -> bool {
        self.renewing
            || self.live().and_then(|live| live.ending).is_some_and(|ending| ending.why == Why::Renewal)
    }

    /// Whether it has done or held enough.
    pub(super) fn is_used_up(&self, plan: &Plan, now: Now) -> bool {
        let Some(live) = self.live() else { return false };
        let over = |most: Option<u64>, has: u64| most.is_some_and(|most| has >= most);
        over(plan.recycle_tasks, live.beat.tasks)
            || over(plan.recycle_bytes, live.beat.bytes)
            || plan.recycle_after.is_some_and(|most| now >= self.since + most)
    }

    /// Judges its end, which nobody asked for.
    pub(super) fn fate(&mut self, clean: bool, plan: &Plan, turn: &mut Turn<'_>) -> Fate {
        let now = turn.now;
        let again = match plan.restart {
            RestartWhen::Always => true,
            RestartWhen::OnFailure => !clean,
            RestartWhen::Never => false,
        };
        if !again {
            return Fate::Done;
        }
        if self.live().is_some_and(|live| live.ready) && now >= self.since + plan.healthy_after {
            self.streak = 0;
        }
        while self.recent.front().is_some_and(|at| *at + plan.restart_window <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() >= plan.max_restarts as usize {
            return Fate::Failed;
        }
        let bound = pause(plan, self.streak);
        self.streak = self.streak.saturating_add(1);
        self.recent.push_back(now);
        self.restarts += 1;
        Fate::Again(turn.jittered(bound))
    }

    /// When time alone makes something due.
    pub(super) fn next_at(&self, plan: &Plan) -> Option<Now> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Live(live) => {
                let silent = live.heard + plan.silence;
                match live.ending {
                    None => {
                        let aged = plan.recycle_after.filter(|_| self.due.is_none());
                        Some(aged.map_or(silent, |most| silent.min(self.since + most)))
                    }
                    Some(Ending { told: Told::Drain, at, .. }) => Some(silent.min(at + plan.stop_grace)),
                    Some(Ending { told: Told::Stop, at, why }) => Some(at + patience(why)),
                    Some(Ending { told: Told::Kill, .. }) => None,
                }
            }
            State::Stopped | State::Done | State::Failed => None,
        }
    }
}

/// How long a worker that was told to stop has.
pub(super) fn patience(why: Why) -> Duration {
    if why == Why::Hung { KILL_HUNG_AFTER } else { KILL_AFTER }
}

/// The bound of the pause after so many restarts in a row.
pub(super) fn pause(plan: &Plan, streak: u32) -> Duration {
    let doubled = 2u32.checked_pow(streak).and_then(|times| plan.restart_pause.checked_mul(times));
    doubled.unwrap_or(plan.longest_pause).min(plan.longest_pause)
}
