//! What a supervisor decides: a pure function of what it knows, what has happened, and the time. It starts nothing and asks no
//! clock, so that its laws can be tried on any history.

mod group;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::GroupName;

pub(crate) use group::Group;
#[cfg(test)]
pub(crate) use group::Status;
pub(crate) use slot::{Live, Slot, State, Wait};

use crate::plan::Plan;
use crate::words::Beat;

/// A time: how long the supervisor has run.
pub(crate) type Now = Duration;

/// One start of a worker; no two of a supervisor are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run(pub(crate) u64);

/// What a worker is told, from the mildest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Take no more tasks, finish what runs, end.
    Drain,
    /// End what runs, give it back, end.
    Stop,
    /// Nothing more: it is killed.
    Kill,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// A worker has told that it lives, and how it does.
    Beat(Run, Beat),
    /// A worker's process has ended; whether with exit code 0.
    Exited { run: Run, clean: bool },
    /// A worker's process could not be started.
    NotStarted(Run),
    /// Another process has the worker's name, which an earlier supervisor has started.
    NameHeld(Run),
    /// Somebody asks something of a group.
    Order(GroupName, Order),
    /// The groups are these from now on; whether a group's workers have to be started anew to be as it says.
    Groups(Vec<(GroupName, Plan, bool)>),
    /// All workers are to end, and none is started any more.
    Shutdown,
    /// Those that are to end are to hurry.
    Hasten,
}

/// What can be asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start all workers that do not run, those that have failed included.
    Start,
    /// End all workers, and start none.
    Stop,
    /// Start all workers anew.
    Restart {
        /// One after the other, each once all others work.
        rolling: bool,
    },
    /// Have so many workers.
    Scale(u32),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Start a worker of a group, by its number.
    Start { group: GroupName, number: u32, run: Run },
    /// Tell a worker something.
    Tell { run: Run, told: Told },
    /// Note for the operator.
    Note { group: GroupName, number: u32, note: Note },
}

/// What an operator is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// It has ended by itself and is started again after a pause.
    Restarts { pause: Duration },
    /// It has used up its restarts.
    Failed,
    /// It has ended by itself and is not to be started again.
    Done,
    /// It has been silent for too long.
    Hung,
    /// It has not ended when it was told to.
    Overdue(Told),
    /// It has done or held enough, or is to be as the settings say, and another start takes its place.
    Renewed,
}

/// All groups of a supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    groups: BTreeMap<GroupName, Group>,
    shutdown: bool,
    next_run: u64,
    chance: Chance,
}

/// Where numbers by chance come from: SplitMix64, as that is reproducible and small.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    /// A number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What one event leads to.
pub(crate) struct Turn<'a> {
    now: Now,
    actions: Vec<Action>,
    next_run: &'a mut u64,
    chance: &'a mut Chance,
    shutdown: bool,
}

impl<'a> Turn<'a> {
    const fn begin(now: Now, next_run: &'a mut u64, chance: &'a mut Chance, shutdown: bool) -> Self {
        Self { now, actions: Vec::new(), next_run, chance, shutdown }
    }

    fn run(&mut self) -> Run {
        *self.next_run += 1;
        Run(*self.next_run)
    }

    /// A pause of a half to the whole of `bound`: workers that failed together do not come back together.
    fn jittered(&mut self, bound: Duration) -> Duration {
        bound.mul_f64(0.5 + self.chance.next() / 2.0)
    }
}

impl Core {
    /// No groups yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { groups: BTreeMap::new(), shutdown: false, next_run: 0, chance: Chance(seed) }
    }

    /// Hears of an event, and says what is to be done.
    pub(crate) fn hear(&mut self, event: Event, now: Now) -> Vec<Action> {
        let hasten = event == Event::Hasten;
        match event {
            Event::Tick | Event::Hasten => {}
            Event::Shutdown => self.shutdown = true,
            Event::Groups(groups) => self.set_groups(groups),
            event => {
                let mut turn = Turn::begin(now, &mut self.next_run, &mut self.chance, self.shutdown);
                let group = match &event {
                    Event::Order(name, _) => self.groups.get_mut_key(name),
                    Event::Beat(run, _)
                    | Event::Exited { run, .. }
                    | Event::NotStarted(run)
                    | Event::NameHeld(run) => self
                        .groups
                        .iter_mut()
                        .find(|(_, group)| group.has(*run))
                        .map(|(name, group)| (name.clone(), group)),
                    Event::Tick | Event::Hasten | Event::Shutdown | Event::Groups(_) => None,
                };
                if let Some((name, group)) = group {
                    group.hear(&name, &event, &mut turn);
                }
                let mut actions = turn.actions;
                actions.extend(self.advance(now, false));
                return actions;
            }
        }
        self.advance(now, hasten)
    }

    /// Does what time, and what has been heard, make due.
    fn advance(&mut self, now: Now, hasten: bool) -> Vec<Action> {
        let mut turn = Turn::begin(now, &mut self.next_run, &mut self.chance, self.shutdown);
        for (name, group) in &mut self.groups {
            group.advance(name, hasten, &mut turn);
        }
        let actions = turn.actions;
        self.groups.retain(|_, group| !group.is_over());
        actions
    }

    fn set_groups(&mut self, groups: Vec<(GroupName, Plan, bool)>) {
        for (name, group) in &mut self.groups {
            if !groups.iter().any(|(kept, ..)| kept == name) {
                group.remove();
            }
        }
        for (name, plan, anew) in groups {
            match self.groups.get_mut(&name) {
                Some(group) => group.change(plan, anew),
                None => drop(self.groups.insert(name, Group::new(plan))),
            }
        }
    }

    /// When time alone makes something due; never, if nothing waits for it.
    pub(crate) fn next_at(&self) -> Option<Now> {
        self.groups.values().filter_map(Group::next_at).min()
    }

    /// Whether no worker is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.groups.values().all(|group| group.live() == 0)
    }

    /// The groups by name.
    pub(crate) fn groups(&self) -> &BTreeMap<GroupName, Group> {
        &self.groups
    }
}

/// A group with its name.
trait Named {
    fn get_mut_key(&mut self, name: &GroupName) -> Option<(GroupName, &mut Group)>;
}

impl Named for BTreeMap<GroupName, Group> {
    fn get_mut_key(&mut self, name: &GroupName) -> Option<(GroupName, &mut Group)> {
        self.get_mut(name).map(|group| (name.clone(), group))
    }
}
