//! In which order a queue gives out its ready tasks: by priority, by whose turn it is, and by how long they have waited.
//!
//! The order is derived from stored facts and the clock when a claim looks; nothing is written while a task waits.

use std::cmp::{Ordering, Reverse};
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
        let risen = (priority as usize).saturating_sub(usize::try_from(steps).unwrap_or(usize::MAX));
        Priority::ALL.get(risen).copied().unwrap_or(priority)
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
        let least = (self.level, self.fit).cmp(&(other.level, other.fit));
        least.then(running).then((self.run_after, self.id).cmp(&(other.run_after, other.id)))
    }

    /// What decides between tasks of different queues.
    pub const fn across(&self) -> (Priority, Fit, Timestamp, TaskId) {
        (self.level, self.fit, self.run_after, self.id)
    }
}

/// A ready task, as far as its place among others goes.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The place of its queue in the claim.
    pub queue: usize,
    /// Its own priority.
    pub priority: Priority,
    /// From when on it may be claimed.
    pub run_after: Timestamp,
    /// The task.
    pub id: TaskId,
    /// Its project.
    pub project: &'a ProjectId,
    /// Its `concurrency_key`.
    pub key: Option<&'a Label>,
    /// What its worker had best have warm.
    pub affinity: Option<&'a Label>,
}

/// What a store has of a ready task.
pub trait Ready {
    /// What its place follows from.
    fn facts(&self) -> Facts<'_>;
}

/// What a claim puts ready tasks in line by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The orders of its queues.
    pub orders: &'a [QueueOrder],
    /// What its worker has warm, and wants.
    pub warm: &'a Warm,
    /// The time.
    pub now: Timestamp,
    /// How many tasks run of a tenant of the fair queue at a place in the claim.
    pub running: &'a dyn Fn(usize, &Tenant) -> u32,
}

impl Rules<'_> {
    fn order(&self, queue: usize) -> QueueOrder {
        self.orders.get(queue).copied().unwrap_or_default()
    }

    fn tenant(&self, task: &Facts<'_>) -> Option<Tenant> {
        self.order(task.queue).fair.map(|fair| fair.tenant(task.project, task.key))
    }

    fn running(&self, queue: usize, tenant: Option<&Tenant>) -> u32 {
        tenant.map_or(0, |tenant| (self.running)(queue, tenant))
    }

    /// Where a task stands.
    pub fn place(&self, task: &Facts<'_>) -> Place {
        self.place_beside(task, self.running(task.queue, self.tenant(task).as_ref()))
    }

    /// Where a task stands if so many of its tenant run.
    fn place_beside(&self, task: &Facts<'_>, running: u32) -> Place {
        Place {
            queue: task.queue,
            level: self.order(task.queue).level(task.priority, task.run_after, self.now),
            fit: self.warm.fit(task.affinity, task.run_after, self.now),
            running,
            run_after: task.run_after,
            id: task.id,
        }
    }
}

/// The order of ready tasks of several queues, as a claim goes through them.
pub struct Line<'a, T> {
    rules: Rules<'a>,
    /// Of each queue, the tasks of each tenant in their order, the last one first.
    waiting: Vec<Vec<Theirs<T>>>,
}

/// The tasks of one tenant.
struct Theirs<T> {
    running: u32,
    /// The first to be claimed is the last one here.
    tasks: Vec<T>,
}

impl<'a, T: Ready> Line<'a, T> {
    /// Puts ready tasks in line: for each tenant its first ones will do, and its first ones of those for what the worker has warm.
    pub fn new(rules: Rules<'a>, tasks: impl IntoIterator<Item = T>) -> Self {
        let mut by_tenant: Vec<BTreeMap<Option<Tenant>, Theirs<T>>> =
            rules.orders.iter().map(|_| BTreeMap::new()).collect();
        for task in tasks {
            let facts = task.facts();
            let (queue, tenant) = (facts.queue, rules.tenant(&facts));
            let Some(of_queue) = by_tenant.get_mut(queue) else { continue };
            let theirs = of_queue.entry(tenant).or_insert_with_key(|tenant| Theirs {
                running: rules.running(queue, tenant.as_ref()),
                tasks: Vec::new(),
            });
            theirs.tasks.push(task);
        }
        let mut waiting: Vec<Vec<_>> = by_tenant.into_iter().map(|all| all.into_values().collect()).collect();
        for theirs in waiting.iter_mut().flatten() {
            let place = |task: &T| Reverse(rules.place_beside(&task.facts(), 0).across());
            theirs.tasks.sort_by_cached_key(place);
        }
        Self { rules, waiting }
    }

    /// The tenant whose turn it is in a queue, by its place there.
    fn turn_in(&self, queue: &[Theirs<T>]) -> Option<(Place, usize)> {
        let first = |theirs: &Theirs<T>| {
            let task = theirs.tasks.last()?;
            Some(self.rules.place_beside(&task.facts(), theirs.running))
        };
        let firsts = queue.iter().enumerate().filter_map(|(at, theirs)| Some((first(theirs)?, at)));
        firsts.min_by(|(one, _), (other, _)| one.before(other))
    }
}

impl<T: Ready> Iterator for Line<'_, T> {
    type Item = T;

    /// The next task; that it is taken counts from then on.
    fn next(&mut self) -> Option<T> {
        let turns = self.waiting.iter().filter_map(|queue| self.turn_in(queue));
        let (place, at) = turns.min_by(|(one, _), (other, _)| one.before(other))?;
        let theirs = self.waiting.get_mut(place.queue)?.get_mut(at)?;
        theirs.running = theirs.running.saturating_add(1);
        theirs.tasks.pop()
    }
}
