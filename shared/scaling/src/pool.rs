//! A pool over time: what is decided turn by turn, and what of it must be remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::{Directive, Money, Timestamp};

use crate::decision::{Action, Because, Decision, HeldBack, Turn};
use crate::demand::{Counts, Wanted};
use crate::machine::{SeenMachine, Standing};
use crate::policy::Policy;

/// How long after a machine was to be ended that is asked for again, if it is still there.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// What is seen of a pool at a time.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The time.
    pub now: Timestamp,
    /// Its tasks.
    pub counts: Counts,
    /// Its machines, those that have stopped left out.
    pub machines: &'a [SeenMachine],
}

/// A pool with what is remembered of it. Most follows from facts: whoever takes over begins with an empty memory, waits `idle` anew
/// for machines that run nothing, and forgets failures, no more.
#[derive(Clone, Debug)]
pub struct Pool {
    policy: Policy,
    /// When each machine was seen first.
    first_seen: BTreeMap<String, Timestamp>,
    /// Since when each has run nothing.
    idle_since: BTreeMap<String, Timestamp>,
    /// Those that were started here and have no live worker yet, with when that was.
    spawned: BTreeMap<String, Timestamp>,
    /// Those that were to be ended, with when that was asked for.
    ended: BTreeMap<String, Timestamp>,
    failures: u32,
    paused_until: Option<Timestamp>,
}

impl Pool {
    /// A pool of which nothing is remembered.
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            first_seen: BTreeMap::new(),
            idle_since: BTreeMap::new(),
            spawned: BTreeMap::new(),
            ended: BTreeMap::new(),
            failures: 0,
            paused_until: None,
        }
    }

    /// What is set for it.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many starts in a row have failed.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes that a machine was started.
    pub fn spawned(&mut self, machine: String, now: Timestamp) {
        self.spawned.insert(machine, now);
    }

    /// Notes that a machine could not be started.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.paused_until = Some(now.plus(self.policy.pause_after(self.failures)));
    }

    /// Remembers what is seen, and decides nothing.
    pub fn watch(&mut self, seen: &Seen<'_>) {
        self.look(seen);
    }

    /// Decides what is to be done now.
    pub fn turn(&mut self, seen: &Seen<'_>) -> Turn {
        let standings = self.look(seen);
        let mut decisions = self.ends(seen, &standings);
        let alive: Vec<(&SeenMachine, u32)> = (seen.machines.iter().zip(&standings))
            .filter_map(|(machine, standing)| match standing {
                Standing::Active(holds) => Some((machine, *holds)),
                _ => None,
            })
            .collect();
        let listed: BTreeSet<&str> = seen.machines.iter().map(|machine| machine.id.as_str()).collect();
        let unlisted = count(self.spawned.keys().filter(|id| !listed.contains(id.as_str())));
        let starting = unlisted + count(standings.iter().filter(|standing| **standing == Standing::Starting));
        let mut have = count(alive.iter()) + starting;
        let paid = count(seen.machines.iter()) + unlisted;
        let listed_cost: Money = seen.machines.iter().map(|machine| machine.price_per_hour).sum();
        let cost: Money = [listed_cost, self.policy.price_per_hour.times(unlisted.into())].into_iter().sum();
        let wanted = Wanted::of(&self.policy, &seen.counts);
        let drains = self.drains(seen.now, alive, have, wanted.machines);
        have -= count(drains.iter());
        let (spawn, held_back) = match wanted.machines.checked_sub(have) {
            Some(missing) if missing > 0 && drains.is_empty() => {
                self.room(seen.now, missing, starting, paid, cost)
            }
            _ => (0, None),
        };
        decisions.extend(drains);
        if spawn > 0 {
            let because = Because::TooFew { have, wanted, counts: seen.counts };
            decisions.push(Decision { action: Action::Spawn { machines: spawn }, because });
        }
        Turn { wanted, have, starting, paid, cost, decisions, held_back }
    }

    /// What each machine does; what is remembered is brought up to it.
    fn look(&mut self, seen: &Seen<'_>) -> Vec<Standing> {
        let Seen { now, machines, .. } = *seen;
        let listed: BTreeSet<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
        self.first_seen.retain(|id, _| listed.contains(id.as_str()));
        self.ended.retain(|id, _| listed.contains(id.as_str()));
        let mut standings = Vec::with_capacity(machines.len());
        for machine in machines {
            let first_seen = *self.first_seen.entry(machine.id.clone()).or_insert(now);
            let first_seen = self.spawned.get(&machine.id).map_or(first_seen, |at| (*at).min(first_seen));
            let standing = machine.standing(first_seen, self.policy.spawn_timeout, now);
            let is_ending = self.ended.get(&machine.id).is_some_and(|at| now.since(*at) < ASKED_AGAIN);
            let standing = if is_ending { Standing::Stopping } else { standing };
            if let Standing::Active(_) = standing
                && self.spawned.remove(&machine.id).is_some()
            {
                self.failures = 0;
                self.paused_until = None;
            }
            standings.push(standing);
        }
        let idle = |id: &str| {
            machines.iter().zip(&standings).any(|(one, what)| one.id == id && *what == Standing::Active(0))
        };
        self.idle_since.retain(|id, _| idle(id));
        for (machine, standing) in machines.iter().zip(&standings) {
            if *standing == Standing::Active(0) {
                self.idle_since.entry(machine.id.clone()).or_insert(now);
            }
        }
        standings
    }

    /// The machines that are of no use any more, and hold nothing.
    fn ends(&mut self, seen: &Seen<'_>, standings: &[Standing]) -> Vec<Decision> {
        let (now, timeout) = (seen.now, self.policy.spawn_timeout);
        let mut ends = Vec::new();
        for (machine, standing) in seen.machines.iter().zip(standings) {
            let because = match standing {
                Standing::Drained => Because::Drained,
                Standing::Failed => Because::NoWorker(timeout),
                Standing::Lost => Because::WorkerLost(timeout),
                Standing::Active(_) | Standing::Starting | Standing::Held | Standing::Stopping => continue,
            };
            ends.push((machine.id.clone(), because));
        }
        let listed = |id: &str| seen.machines.iter().any(|machine| machine.id == id);
        // What its provider does not tell of may still come, and be paid for.
        let overdue = self.spawned.iter().filter(|(id, at)| !listed(id) && now.since(**at) >= timeout);
        ends.extend(overdue.map(|(id, _)| (id.clone(), Because::NoWorker(timeout))));
        let mut decisions = Vec::with_capacity(ends.len());
        for (id, because) in ends {
            let is_first = self.ended.insert(id.clone(), now).is_none();
            self.spawned.remove(&id);
            if is_first && matches!(because, Because::NoWorker(_)) {
                self.failed(now);
            }
            decisions.push(Decision { action: Action::Terminate { machine: id }, because });
        }
        decisions
    }

    /// The machines that are to claim nothing more, of those whose workers live, by what they hold.
    fn drains(
        &self,
        now: Timestamp,
        mut alive: Vec<(&SeenMachine, u32)>,
        have: u32,
        wanted: u32,
    ) -> Vec<Decision> {
        let idle_for = |machine: &SeenMachine| {
            self.idle_since.get(&machine.id).map_or(Duration::ZERO, |since| now.since(*since))
        };
        // Those first that cost nothing to lose: what holds least, has been idle longest, and is dearest.
        alive.sort_by(|(a, a_holds), (b, b_holds)| {
            (a_holds.cmp(b_holds))
                .then_with(|| idle_for(b).cmp(&idle_for(a)))
                .then_with(|| b.price_per_hour.cmp(&a.price_per_hour))
                .then_with(|| a.id.cmp(&b.id))
        });
        let mut left = have;
        let mut cost: Money = alive.iter().map(|(machine, _)| machine.price_per_hour).sum();
        let mut drains = Vec::new();
        for (machine, _) in alive {
            let idle = idle_for(machine);
            let because = match self.policy.budget_per_hour {
                _ if left > self.policy.most => Because::OverMost { most: self.policy.most },
                Some(budget) if cost > budget => Because::OverBudget { budget },
                _ if left > wanted
                    && self.idle_since.contains_key(&machine.id)
                    && idle >= self.policy.idle =>
                {
                    Because::Idle(idle)
                }
                _ => continue,
            };
            left -= 1;
            cost =
                Money::from_billionths(cost.billionths().saturating_sub(machine.price_per_hour.billionths()));
            let may_claim =
                |worker: &&crate::SeenWorker| worker.is_alive && worker.directive == Directive::Run;
            let workers = machine.workers.iter().filter(may_claim).map(|worker| worker.id.clone()).collect();
            drains.push(Decision { action: Action::Drain { machine: machine.id.clone(), workers }, because });
        }
        drains
    }

    /// How many of the missing machines may be started, and what keeps the rest.
    fn room(
        &self,
        now: Timestamp,
        missing: u32,
        starting: u32,
        paid: u32,
        cost: Money,
    ) -> (u32, Option<HeldBack>) {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return (0, Some(HeldBack::Pause { until, failures: self.failures }));
        }
        let mut spawn = missing;
        let mut held_back = None;
        let mut keep = |most: u32, by: HeldBack| {
            if spawn > most {
                spawn = most;
                held_back = Some(by);
            }
        };
        if self.failures > 0 {
            keep(1_u32.saturating_sub(starting), HeldBack::Probing);
        }
        keep(self.policy.most.saturating_sub(paid), HeldBack::Most);
        if let Some(affordable) = self.policy.affordable(cost) {
            keep(affordable, HeldBack::Budget);
        }
        (spawn, held_back)
    }
}

fn count<T>(of: impl Iterator<Item = T>) -> u32 {
    u32::try_from(of.count()).unwrap_or(u32::MAX)
}
