//! In which order a queue gives out its ready tasks: by priority, by whose turn it is, and by how long they have waited.
//!
//! The order is derived from stored facts and the clock when a claim looks; nothing is written while a task waits.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::affinity::{Fit, Warm};
use crate::id::{Label, ProjectId, TaskId};
use crate::task::Priority;
use crate::time::Timestamp;

/// What an operator has said about the order of a queue. The usual: by priority, then by the time from when on a task may be claimed,
/// then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueueOrder {
    /// Between whom it is fair; none if only tasks count, and not whose they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair: Option<FairBy>,
    /// For how many seconds a task waits until it counts as one of the next higher priority, and for how many more until the one after
    /// that; none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_after_seconds: Option<u32>,
}

/// Between whom a queue is fair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FairBy {
    /// Between projects.
    Project,
    /// Between the `concurrency_key`s that tasks carry; tasks without one count as their project's.
    Key,
}

impl FairBy {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Project, Self::Key];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Key => "key",
        }
    }

    /// Whose a task is.
    pub fn tenant(self, project: &ProjectId, key: Option<&Label>) -> Tenant {
        match (self, key) {
            (Self::Key, Some(key)) => Tenant::Key(key.clone()),
            _ => Tenant::Project(project.clone()),
        }
    }
}

/// One of those between whom a queue is fair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenant {
    /// The tasks with this key.
    Key(Label),
    /// This project's tasks; where a queue is fair by key, those without one.
    Project(ProjectId),
}

impl QueueOrder {
    /// The shortest and the longest time after which a task may count as of a higher priority: a second, and 30 days.
    pub const AGE_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 1..=30 * 86_400;

    /// Whether it is the usual order.
    pub const fn is_usual(&self) -> bool {
        self.fair.is_none() && self.age_after_seconds.is_none()
    }

    /// As of which priority a task counts that may be claimed from `run_after` on: one higher for each `age_after_seconds` since.
    pub fn level(&self, priority: Priority, run_after: Timestamp, now: Timestamp) -> Priority {
        let Some(seconds) = self.age_after_seconds.filter(|seconds| *seconds > 0) else { return priority };
        let steps = now.since(run_after).as_millis() / Duration::from_secs(u64::from(seconds)).as_millis();
        let all = Priority::ALL;
        let place = all.iter().position(|one| *one == priority).unwrap_or(0);
        let risen = usize::try_from(steps).unwrap_or(usize::MAX);
        all.get(place.saturating_sub(risen)).copied().unwrap_or(priority)
    }

    /// Which tasks of a priority count as of `level` or a higher one at `at`: those that could be claimed by this time; none if none
    /// does.
    fn reached(&self, priority: Priority, level: Priority, at: Timestamp) -> Option<Timestamp> {
        let steps = (priority as u64).saturating_sub(level as u64);
        match (steps, self.age_after_seconds) {
            (0, _) => Some(at),
            (_, None | Some(0)) => None,
            (_, Some(seconds)) => Some(at.minus(Duration::from_secs(u64::from(seconds) * steps))),
        }
    }

    /// Which tasks of a priority come before one that has `own` priority and may be claimed from `run_after` on, at `now`, or once it
    /// is due.
    pub fn ahead(
        &self,
        priority: Priority,
        (own, run_after): (Priority, Timestamp),
        now: Timestamp,
    ) -> Before {
        let at = run_after.max(now);
        let level = self.level(own, run_after, at);
        let higher = (level as usize).checked_sub(1).and_then(|higher| Priority::ALL.get(higher));
        let above = higher.and_then(|higher| self.reached(priority, *higher, at));
        let beside = self.reached(priority, level, at);
        match (above, beside) {
            (Some(above), _) if above >= run_after => Before::Until(above),
            (_, Some(beside)) if beside >= run_after => Before::Own,
            (_, Some(beside)) => Before::Until(beside),
            (Some(above), None) => Before::Until(above),
            (None, None) => Before::None,
        }
    }
}

/// Which tasks of one priority come before another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// None.
    None,
    /// Those that may be claimed from this time on, or from an earlier one.
    Until(Timestamp),
    /// Those that may be claimed from an earlier time on than that task, or from the same on and with a lower id.
    Own,
}

/// Where a ready task stands among those of its queue, and among those of other queues that a claim names, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The place of its queue in the claim.
    pub queue: usize,
    /// As of which priority it counts.
    pub level: Priority,
    /// How it stands to what the worker has warm.
    pub fit: Fit,
    /// How many tasks of its tenant run, where its queue is fair; else 0.
    pub running: u32,
    /// From when on it may be claimed.
    pub run_after: Timestamp,
    /// The task.
    pub id: TaskId,
}

impl Place {
    /// Whether it is claimed before another one, behind it, or is the same. Whose turn it is counts within a queue only: what runs of
    /// a fair queue says nothing about the tasks of another.
    // No order of all places, hence no `Ord`: of three in two queues, each may come before the next.
    pub fn before(&self, other: &Self) -> Ordering {
        let running =
            if self.queue == other.queue { self.running.cmp(&other.running) } else { Ordering::Equal };
        let (mine, theirs) = (self.across(), other.across());
        (mine.0, mine.1)
            .cmp(&(theirs.0, theirs.1))
            .then(running)
            .then((mine.2, mine.3).cmp(&(theirs.2, theirs.3)))
    }

    /// What decides between tasks of different queues.
    pub const fn across(&self) -> (Priority, Fit, Timestamp, TaskId) {
        (self.level, self.fit, self.run_after, self.id)
    }
}

/// A ready task, as far as its place among others goes.
pub trait Ready {
    /// The place of its queue in the claim.
    fn queue(&self) -> usize;
    /// Its own priority.
    fn priority(&self) -> Priority;
    /// From when on it may be claimed.
    fn run_after(&self) -> Timestamp;
    /// The task.
    fn id(&self) -> TaskId;
    /// Its project and key.
    fn whose(&self) -> (&ProjectId, Option<&Label>);
    /// What its worker had best have warm.
    fn affinity(&self) -> Option<&Label>;
}

/// The order of ready tasks of several queues, as a claim goes through them.
#[derive(Debug)]
pub struct Line<'a, T> {
    orders: &'a [QueueOrder],
    warm: &'a Warm,
    now: Timestamp,
    /// Of each queue, the tasks of each tenant in their order, the last one first.
    waiting: Vec<Vec<Theirs<T>>>,
}

/// The tasks of one tenant.
#[derive(Debug)]
struct Theirs<T> {
    running: u32,
    /// The first to be claimed is the last one here.
    tasks: Vec<T>,
}

impl<'a, T: Ready> Line<'a, T> {
    /// Puts ready tasks in line: for each tenant its first ones will do, and its first ones of those for what the worker has warm.
    /// `orders` are those of the claim's queues, and `running` says how many tasks of a tenant of a fair queue run.
    pub fn new(
        orders: &'a [QueueOrder],
        warm: &'a Warm,
        tasks: impl IntoIterator<Item = T>,
        now: Timestamp,
        running: impl Fn(usize, &Tenant) -> u32,
    ) -> Self {
        let mut by_tenant: Vec<BTreeMap<Option<Tenant>, Theirs<T>>> =
            orders.iter().map(|_| BTreeMap::new()).collect();
        for task in tasks {
            let queue = task.queue();
            let Some(order) = orders.get(queue) else { continue };
            let (project, key) = task.whose();
            let tenant = order.fair.map(|fair| fair.tenant(project, key));
            let running =
                |tenant: &Option<Tenant>| tenant.as_ref().map_or(0, |tenant| running(queue, tenant));
            let of_queue = &mut by_tenant[queue];
            match of_queue.get_mut(&tenant) {
                Some(theirs) => theirs.tasks.push(task),
                None => {
                    let running = running(&tenant);
                    of_queue.insert(tenant, Theirs { running, tasks: vec![task] });
                }
            }
        }
        let waiting = by_tenant.into_iter().map(|all| all.into_values().collect());
        let mut line = Self { orders, warm, now, waiting: waiting.collect() };
        let mut waiting = std::mem::take(&mut line.waiting);
        for theirs in waiting.iter_mut().flatten() {
            theirs.tasks.sort_by_cached_key(|task| std::cmp::Reverse(line.place_of(task, 0).across()));
        }
        line.waiting = waiting;
        line
    }

    fn place_of(&self, task: &T, running: u32) -> Place {
        let (queue, run_after) = (task.queue(), task.run_after());
        let order = self.orders.get(queue).copied().unwrap_or_default();
        Place {
            queue,
            level: order.level(task.priority(), run_after, self.now),
            fit: self.warm.fit(task.affinity(), run_after, self.now),
            running,
            run_after,
            id: task.id(),
        }
    }

    fn place(&self, theirs: &Theirs<T>) -> Option<Place> {
        theirs.tasks.last().map(|task| self.place_of(task, theirs.running))
    }

    /// The tenant whose turn it is in a queue.
    fn turn_in(&self, queue: usize) -> Option<(Place, usize)> {
        let all = self.waiting.get(queue)?.iter().enumerate();
        let places = all.filter_map(|(at, theirs)| Some((self.place(theirs)?, at)));
        places.min_by(|(one, _), (other, _)| one.before(other))
    }

    /// The place of the task that is next.
    pub fn peek(&self) -> Option<Place> {
        let turns = (0..self.waiting.len()).filter_map(|queue| self.turn_in(queue));
        turns.map(|(place, _)| place).min_by(Place::before)
    }
}

impl<T: Ready> Iterator for Line<'_, T> {
    type Item = T;

    /// The next task; that it is taken counts from then on.
    fn next(&mut self) -> Option<T> {
        let turns = (0..self.waiting.len()).filter_map(|queue| self.turn_in(queue));
        let (place, at) = turns.min_by(|(one, _), (other, _)| one.before(other))?;
        let theirs = self.waiting.get_mut(place.queue)?.get_mut(at)?;
        theirs.running = theirs.running.saturating_add(1);
        theirs.tasks.pop()
    }
}
