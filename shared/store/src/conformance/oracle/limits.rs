//! The oracle's limits: each question is answered by looking at all tasks. Nothing is shared with [`baton_model::LimitBook`] or
//! [`baton_model::Rate`] but the settings themselves.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use baton_model::why::{FullLimit, Holder};
use baton_model::{Limit, LimitBook, LimitOn, LimitRules, State, Task, TaskId, Timestamp, Watch, Which, Why};

use super::lists::page;
use super::{Inner, Oracle};
use crate::{
    Changed, LimitStatus, LimitStore, OwnedProject, Page, PageRequest, Ready, SetLimit, SetOwner, StoreError,
};

/// What stands under one limit.
#[derive(Clone, Copy, Default)]
pub(super) struct Under {
    running: u32,
    held: u32,
}

/// What stands under all limits, as a claim goes on.
pub(super) type AllUnder = BTreeMap<LimitOn, Under>;

impl Inner {
    /// The limits of a task by the names of what they hold for, with what they say.
    fn limits_of(&self, task: &Task) -> Vec<(LimitOn, LimitRules)> {
        let mut found = Vec::new();
        let mut look = |named: LimitOn, each: Option<LimitOn>| {
            let limit = match (self.limits.get(&named), each) {
                (Some(limit), _) => limit,
                (None, Some(each)) if self.limits.contains_key(&each) => &self.limits[&each],
                (None, _) => return,
            };
            if !limit.rules.exempt_types.contains(&task.task_type) {
                found.push((named, limit.rules.clone()));
            }
        };
        if let Some(key) = &task.concurrency_key {
            let named = LimitOn::Key(task.queue.clone(), Which::This(key.clone()));
            look(named, Some(LimitOn::Key(task.queue.clone(), Which::Each)));
        }
        let named = LimitOn::ProjectIn(task.queue.clone(), Which::This(task.project.clone()));
        look(named, Some(LimitOn::ProjectIn(task.queue.clone(), Which::Each)));
        look(LimitOn::Queue(task.queue.clone()), None);
        look(LimitOn::Project(Which::This(task.project.clone())), Some(LimitOn::Project(Which::Each)));
        if let Some(owned) = self.owned.get(&task.project) {
            look(LimitOn::Owner(Which::This(owned.owner.clone())), Some(LimitOn::Owner(Which::Each)));
        }
        found
    }

    /// Whether a task that is queued has a place while it waits for its next attempt.
    fn has_place(task: &Task) -> bool {
        use baton_model::Ended::{Failed, Lost, Released};
        let head = &task.head;
        let end = head.ended.as_ref().map(|end| end.how);
        head.state.state() == State::Queued
            && match end {
                Some(Released | Lost(_)) => true,
                Some(Failed) => head.attempt > head.forgiven,
                _ => false,
            }
    }

    /// What stands under every limit that anything stands under.
    pub(super) fn all_under(&self) -> AllUnder {
        let mut all = AllUnder::new();
        if self.limits.is_empty() {
            return all;
        }
        for task in self.tasks.values().map(|kept| &kept.task) {
            let runs = task.head.state.state() == State::Running;
            if !runs && !Self::has_place(task) {
                continue;
            }
            for (on, rules) in self.limits_of(task) {
                let under = all.entry(on).or_default();
                under.running += u32::from(runs);
                under.held += u32::from(!runs && rules.holds_retries);
            }
        }
        all
    }

    /// The first limit that does not let a task start, and when its rate does if it is only that.
    pub(super) fn stopped_by(
        &self,
        under: &AllUnder,
        task: &Task,
        now: Timestamp,
    ) -> Option<(LimitOn, Option<Timestamp>)> {
        let limits = self.limits_of(task).into_iter();
        limits
            .filter_map(|(on, rules)| Some((on.clone(), self.stop_at(under, task, (&on, &rules), now)?)))
            .next()
    }

    /// Whether a limit does not let a task start, and when its rate does if it is only that.
    fn stop_at(
        &self,
        under: &AllUnder,
        task: &Task,
        (on, rules): (&LimitOn, &LimitRules),
        now: Timestamp,
    ) -> Option<Option<Timestamp>> {
        let Under { running, held } = under.get(on).copied().unwrap_or_default();
        if let Some(most) = rules.max_running {
            let has_place = rules.holds_retries && Self::has_place(task);
            let taken = if has_place { running } else { running + held };
            if taken >= most {
                return Some(None);
            }
        }
        let (rate, arrival) = (rules.rate?, self.arrivals.get(on)?);
        // The first whole millisecond at which a start is no more than the burst ahead of its even time.
        let even = even(rate);
        let first = arrival - even * (i128::from(rate.burst) - 1);
        let first = first.div_euclid(1_000) + i128::from(first.rem_euclid(1_000) > 0);
        let is_early = i128::from(now.as_millis()) < first;
        is_early.then(|| i64::try_from(first).ok().map(Timestamp::from_millis))
    }

    /// Every limit that does not let a task start.
    pub(super) fn full_limits(&self, task: &Task, now: Timestamp) -> Vec<FullLimit> {
        let under = self.all_under();
        let mut full = Vec::new();
        for (on, rules) in self.limits_of(task) {
            let Some(next_at) = self.stop_at(&under, task, (&on, &rules), now) else { continue };
            let Under { running, held } = under.get(&on).copied().unwrap_or_default();
            let counts = |one: &&Task| {
                let runs = one.head.state.state() == State::Running;
                (runs || rules.holds_retries && Self::has_place(one))
                    && self.limits_of(one).iter().any(|(other, _)| *other == on)
            };
            let holders = self.tasks.values().map(|kept| &kept.task).filter(counts).take(FullLimit::HOLDERS);
            let holders = holders.map(|one| Holder {
                task: one.head.id,
                queue: one.queue.clone(),
                project: one.project.clone(),
                worker: Why::worker_of(&one.head.state),
            });
            let (taken, holders) = (running + held, holders.collect());
            full.push(FullLimit { on, max_running: rules.max_running, taken, next_at, holders });
        }
        full
    }

    /// Counts a start, so that what a claim is given next goes by it.
    pub(super) fn count_start(&mut self, under: &mut AllUnder, id: TaskId, now: Timestamp) {
        let task = self.tasks[&id].task.clone();
        for (on, rules) in self.limits_of(&task) {
            let here = under.entry(on.clone()).or_default();
            here.running += 1;
            here.held -= u32::from(rules.holds_retries && Self::has_place(&task));
            if let Some(rate) = rules.rate {
                let now = i128::from(now.as_millis()) * 1_000;
                let arrival = self.arrivals.entry(on).or_insert(now);
                *arrival = (*arrival).max(now) + even(rate);
            }
        }
    }

    /// Dates the arrivals anew by a clock that was set back.
    pub(super) fn redate_arrivals(&mut self, watch: &Watch) {
        let now = i128::from(watch.now.as_millis()) * 1_000;
        let rules: Vec<_> = self.limits.iter().map(|(on, limit)| (on.clone(), limit.rules.clone())).collect();
        for (on, arrival) in &mut self.arrivals {
            let each = on.for_each();
            let named = rules.iter().find(|(one, _)| one == on);
            let found = named.or_else(|| rules.iter().find(|(one, _)| *one == each));
            if let Some(rate) = found.and_then(|(_, rules)| rules.rate) {
                *arrival = (*arrival).min(now + even(rate) * i128::from(rate.burst));
            }
        }
    }
}

impl Oracle {
    /// Where something is limited, an end may have made room: rings for all that waits.
    pub(super) fn ring_freed(&self, inner: &Inner, now: Timestamp) {
        if inner.limits.is_empty() {
            return;
        }
        let tasks = inner.tasks.values().map(|kept| &kept.task);
        let waiting: BTreeSet<_> = tasks
            .filter(|task| task.head.state.state() == State::Queued && task.head.run_after <= now)
            .map(|task| task.queue.clone())
            .collect();
        for queue in waiting {
            self.doorbell.ring(Ready { queue, task_type: None, count: 1, run_after: now });
        }
    }
}

/// How far apart even starts are, in microseconds, rounded up.
fn even(rate: baton_model::Rate) -> i128 {
    (i128::from(rate.seconds) * 1_000_000 + i128::from(rate.starts) - 1) / i128::from(rate.starts)
}

#[async_trait]
impl LimitStore for Oracle {
    async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError> {
        let mut inner = self.lock();
        if set.rules.is_some() && !inner.limits.contains_key(&set.on) && inner.limits.len() >= LimitBook::MOST
        {
            return Err(StoreError::TooManyLimits { what: "limits", most: LimitBook::MOST });
        }
        let from = inner.limits.remove(&set.on);
        let to = set.rules.map(|rules| Limit {
            on: set.on.clone(),
            rules,
            changed_by: set.by,
            reason: set.reason,
            changed_at: set.now,
        });
        if let Some(limit) = to.clone() {
            inner.limits.insert(set.on, limit);
        }
        self.ring_freed(&inner, set.now);
        Ok(Changed { from, to })
    }

    async fn limits(&self, asked: PageRequest) -> Result<Page<LimitStatus>, StoreError> {
        let inner = self.lock();
        let under = inner.all_under();
        let status = |limit: &Limit| {
            let here = under.get(&limit.on).copied().unwrap_or_default();
            let by_name = !limit.on.is_each();
            LimitStatus {
                limit: limit.clone(),
                running: by_name.then_some(here.running),
                held: by_name.then_some(here.held),
            }
        };
        let limits = inner.limits.values().map(|limit| (limit.on.to_string(), status(limit)));
        page("m:", limits.collect(), false, &asked)
    }

    async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError> {
        let mut inner = self.lock();
        if set.owner.is_some()
            && !inner.owned.contains_key(&set.project)
            && inner.owned.len() >= LimitBook::MOST
        {
            return Err(StoreError::TooManyLimits { what: "owned projects", most: LimitBook::MOST });
        }
        let from = inner.owned.remove(&set.project);
        let to = set.owner.map(|owner| OwnedProject {
            project: set.project.clone(),
            owner,
            changed_by: set.by,
            reason: set.reason,
            changed_at: set.now,
        });
        if let Some(owned) = to.clone() {
            inner.owned.insert(set.project, owned);
        }
        self.ring_freed(&inner, set.now);
        Ok(Changed { from, to })
    }

    async fn owned_projects(&self, asked: PageRequest) -> Result<Page<OwnedProject>, StoreError> {
        let inner = self.lock();
        let owned = inner.owned.iter().map(|(project, owned)| (project.to_string(), owned.clone()));
        page("p:", owned.collect(), false, &asked)
    }
}
