//! The oracle's claims.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::affinity::Fit;
use baton_model::alone::{Turn, turn};
use baton_model::order::Place;
use baton_model::transition::Command;
use baton_model::{
    Alone, Directive, FairBy, Label, LimitOn, Priority, ProjectId, QueueName, QueueOrder, State, Task,
    TaskId, TaskState, Timestamp, Wants, Warm, Worker, WorkerId,
};

use super::Inner;
use crate::*;

/// The limit that does not let a task start, and when its rate does if it is only that.
type Stopped = (LimitOn, Option<Timestamp>);

impl Inner {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<ClaimAnswer, StoreError> {
        let worker = self.meet(&claim.worker, &claim.caller, claim.session, claim.now)?;
        worker.capacity = claim.capacity.or(worker.capacity);
        worker.ended_at = None;
        worker.note_takes(claim.takes());
        let (directive, beats) = (worker.directive, worker.beats);
        if let Some(answer) = self.repeated(claim) {
            return Ok(answer);
        }
        if directive != Directive::Run {
            return Ok(ClaimAnswer::Nothing(Nothing::Directed { directive }));
        }
        let active = u32::try_from(self.held_by(&claim.worker).count()).unwrap_or(u32::MAX);
        if active >= claim.cap {
            return Ok(ClaimAnswer::Nothing(Nothing::AtCap { active, cap: claim.cap }));
        }
        if let Some(nothing) = self.tied(claim, active) {
            return Ok(ClaimAnswer::Nothing(nothing));
        }
        let most = claim.max_tasks.min(claim.cap - active);
        self.fail_expired(claim.now, usize::MAX, |task| claim.queues.contains(&task.queue))?;
        let chosen = match self.chosen(claim, active) {
            Ok(chosen) => chosen,
            Err(nothing) => return Ok(ClaimAnswer::Nothing(nothing)),
        };
        let mut tasks = Vec::new();
        let mut next = Some(chosen);
        while let Some(id) = next {
            let mut under = self.all_under();
            self.count_start(&mut under, id, claim.now);
            let command = Command::Claim {
                worker: claim.worker.clone(),
                session: claim.session,
                terms: claim.terms,
                request: claim.request.clone(),
                beats: Some(beats),
            };
            let (task, _) = self.apply(id, &command, claim.now)?;
            let ready = task.head.run_after.max(task.created_at);
            self.waits.push((task.queue.clone(), claim.now, claim.now.since(ready)));
            let alone = task.head.runs_alone();
            tasks.push(task);
            // What was taken may have filled a limit, and it may be another's turn now.
            let more = !alone && tasks.len() < most as usize;
            next = if more { self.first_plain(claim).map(|place| place.id) } else { None };
        }
        if let Some(request) = claim.request.clone() {
            let leases = tasks.iter().map(|task| (task.head.id, task.head.attempt)).collect();
            self.requests.insert((claim.worker.clone(), request), (claim.now, leases));
        }
        Ok(ClaimAnswer::Leased(tasks))
    }

    /// The answer to a request that was answered before.
    fn repeated(&self, claim: &Claim) -> Option<ClaimAnswer> {
        let request = (claim.worker.clone(), claim.request.clone()?);
        let (_, leases) = self.requests.get(&request)?;
        let held: BTreeSet<_> = self
            .held_by(&claim.worker)
            .filter(|(task, _)| claim.caller.project().is_none_or(|project| *project == task.project))
            .map(|(task, _)| (task.head.id, task.head.attempt))
            .collect();
        let still: Vec<_> = leases.iter().filter(|lease| held.contains(lease)).map(|(id, _)| *id).collect();
        Some(if still.is_empty() {
            ClaimAnswer::Nothing(Nothing::RequestSpent)
        } else {
            ClaimAnswer::Leased(still.iter().map(|id| self.tasks[id].task.clone()).collect())
        })
    }

    /// The tasks that wait for such a claim, now or for later, with the limit that does not let one start that is due.
    fn waiting(&self, claim: &Claim) -> Vec<(&Task, Option<Stopped>)> {
        let under = self.all_under();
        let fitting = self.fitting(claim).into_iter().filter(|task| self.is_open(&task.queue));
        let stopped = |task: &Task| {
            let due = task.head.run_after <= claim.now;
            due.then(|| self.stopped_by(&under, task, claim.now)).flatten()
        };
        fitting.map(|task| (task, stopped(task))).collect()
    }

    /// The same, also in queues that are paused.
    fn fitting(&self, claim: &Claim) -> Vec<&Task> {
        let fitting = self.tasks.values().map(|kept| &kept.task).filter(|task| {
            task.head.state == TaskState::Queued
                && task.head.expired(claim.now).is_none()
                && claim.queues.contains(&task.queue)
                && claim.caller.project().is_none_or(|project| *project == task.project)
                && (claim.types.is_empty() || claim.types.contains(&task.task_type))
                && (claim.warm.wants != Wants::Only || Self::is_warm(claim, task))
        });
        fitting.collect()
    }

    fn is_open(&self, queue: &QueueName) -> bool {
        self.queues.get(queue).is_none_or(|lane| lane.pause.is_none())
    }

    /// As of which priority a task counts by the order of its queue: 0 is the highest.
    pub(super) fn level(&self, task: &Task, now: Timestamp) -> usize {
        let (mut level, mut waited) = (task.priority as usize, now.since(task.head.run_after));
        while let Some(seconds) = self.order_of(&task.queue).age_after_seconds
            && level > 0
            && let Some(left) = waited.checked_sub(Duration::from_secs(seconds.into()))
        {
            (level, waited) = (level - 1, left);
        }
        level
    }

    /// Whose a task is, by the order of its queue: a key's or a project's, where it is fair.
    pub(super) fn whose<'a>(&self, task: &'a Task) -> (Option<&'a Label>, Option<&'a ProjectId>) {
        match (self.order_of(&task.queue).fair, &task.concurrency_key) {
            (None, _) => (None, None),
            (Some(FairBy::Key), Some(key)) => (Some(key), None),
            (Some(_), _) => (None, Some(&task.project)),
        }
    }

    fn order_of(&self, queue: &QueueName) -> QueueOrder {
        self.queues.get(queue).map(|lane| lane.order).unwrap_or_default()
    }

    /// Whether a task is for what the claim's worker has warm.
    fn is_warm(claim: &Claim, task: &Task) -> bool {
        claim.warm.names.iter().any(|name| Some(name) == task.affinity.as_ref())
    }

    /// Where a task stands by the order of its queue.
    fn place(&self, claim: &Claim, task: &Task) -> Place {
        let is_fair = self.order_of(&task.queue).fair.is_some();
        let runs = |one: &&Task| {
            is_fair
                && one.head.state.state() == State::Running
                && one.queue == task.queue
                && self.whose(one) == self.whose(task)
        };
        let running = self.tasks.values().map(|kept| &kept.task).filter(runs).count();
        Place {
            queue: claim.queues.iter().position(|queue| *queue == task.queue).unwrap_or_default(),
            level: Priority::ALL[self.level(task, claim.now)],
            fit: match claim.warm.wants {
                Wants::Prefer { pass_over } if claim.now.since(task.head.run_after) < pass_over => {
                    if Self::is_warm(claim, task) {
                        Fit::Warm
                    } else {
                        Fit::Cold
                    }
                }
                _ => Fit::Even,
            },
            running: u32::try_from(running).unwrap_or(u32::MAX),
            run_after: task.head.run_after,
            id: task.head.id,
        }
    }

    /// The first of places: of each queue by its own order, and among the queues by level and waiting alone.
    fn first(places: impl IntoIterator<Item = Place>) -> Option<Place> {
        let mut of_queues: BTreeMap<usize, Place> = BTreeMap::new();
        let within = |place: &Place| (place.level, place.fit, place.running, place.run_after, place.id);
        for place in places {
            let first = of_queues.entry(place.queue).or_insert(place);
            if within(&place) < within(first) {
                *first = place;
            }
        }
        of_queues.into_values().min_by_key(Place::across)
    }

    /// The place of the task that is given out next, of those that need not be given out alone.
    fn first_plain(&self, claim: &Claim) -> Option<Place> {
        let due = |task: &Task| task.head.run_after <= claim.now && !task.head.runs_alone();
        let waiting = self.waiting(claim).into_iter();
        let ready = waiting.filter(|(task, stopped)| stopped.is_none() && due(task));
        Self::first(ready.map(|(task, _)| self.place(claim, task)))
    }

    /// What a claim is given first, or why it is given nothing.
    fn chosen(&mut self, claim: &Claim, active: u32) -> Result<TaskId, Nothing> {
        if !claim.queues.iter().any(|queue| self.is_open(queue)) {
            return Err(Nothing::Paused { queues: claim.queues.clone() });
        }
        let (stopped, waiting): (Vec<_>, Vec<_>) =
            self.waiting(claim).into_iter().partition(|(_, stopped)| stopped.is_some());
        let first_stopped = Self::first(stopped.iter().map(|(task, _)| self.place(claim, task)));
        let first_stopped = first_stopped.and_then(|first| {
            let mut stopped = stopped.into_iter();
            stopped.find(|(task, _)| task.head.id == first.id).and_then(|(_, stopped)| stopped)
        });
        let next_at = waiting.iter().map(|(task, _)| task.head.run_after).min();
        let alone =
            waiting.iter().filter(|(task, _)| task.head.runs_alone() && task.head.run_after <= claim.now);
        let mut alone: Vec<Place> = alone.map(|(task, _)| self.place(claim, task)).collect();
        alone.sort_by_key(Place::across);
        let plain = self.first_plain(claim);
        let awaited = |task: TaskId| {
            let ties = self.workers.values().filter_map(|worker| worker.alone);
            ties.into_iter().any(|tie| tie.task() == task && tie.makes_room_at(claim.now))
        };
        match turn(active == 0, plain, &alone, awaited, claim.now) {
            Turn::Plain => {}
            Turn::Alone(id) => {
                let attempt = self.tasks[&id].task.head.attempt + 1;
                self.tie(&claim.worker, Some(Alone::Runs { task: id, attempt }));
                return Ok(id);
            }
            Turn::MakeRoom(id) => {
                self.tie(&claim.worker, Some(Alone::makes_room(id, claim.now)));
                return Err(Nothing::MakesRoom);
            }
        }
        if let Some(plain) = plain {
            return Ok(plain.id);
        }
        Err(match next_at {
            Some(_) if !alone.is_empty() => Nothing::OnlyAlone,
            _ if let Some((limit, next_at)) = first_stopped => Nothing::AtLimit { limit, next_at },
            None if self.others_wait(claim) => Nothing::NotWarm,
            // Not in an open one.
            None if !self.fitting(claim).is_empty() => {
                let queues = claim.queues.iter().filter(|queue| !self.is_open(queue));
                Nothing::Paused { queues: queues.cloned().collect() }
            }
            None => Nothing::NoneQueued,
            Some(next_at) => Nothing::Scheduled { next_at },
        })
    }

    /// Whether tasks wait that the claim would be given if it did not want only what it has warm.
    fn others_wait(&self, claim: &Claim) -> bool {
        !self.waiting(&Claim { warm: Warm::default(), ..claim.clone() }).is_empty()
    }

    /// Why a worker that is tied to a task that is given out alone is given nothing, if it still is.
    fn tied(&mut self, claim: &Claim, active: u32) -> Option<Nothing> {
        let Worker { alone, takes, .. } = &self.workers[&claim.worker];
        let alone = (*alone)?;
        let task = self.tasks.get(&alone.task()).map(|kept| (&kept.task.head, &kept.task.queue));
        if !alone.stands((&claim.worker, takes), active, task, claim.now) {
            self.tie(&claim.worker, None);
            return None;
        }
        if alone.is_to_be_renewed(claim.now) {
            self.tie(&claim.worker, Some(Alone::makes_room(alone.task(), claim.now)));
        }
        Some(match alone {
            Alone::Runs { .. } => Nothing::RunsAlone,
            Alone::MakesRoom { .. } => Nothing::MakesRoom,
        })
    }

    fn tie(&mut self, worker: &WorkerId, alone: Option<Alone>) {
        self.workers.entry(worker.clone()).and_modify(|worker| worker.alone = alone);
    }
}
