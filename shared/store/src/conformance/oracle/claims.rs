//! The oracle's claims.

use std::collections::BTreeSet;

use baton_model::alone::{Place, Turn, turn};
use baton_model::transition::Command;
use baton_model::{Alone, Directive, QueueName, Task, TaskId, TaskState, WorkerId};

use super::Inner;
use crate::*;

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
        let mut under = self.all_under();
        for Place { run_after, id, .. } in chosen {
            // What was taken before it may have filled a limit of its.
            if self.stopped_by(&under, &self.tasks[&id].task, claim.now).is_some() {
                continue;
            }
            self.count_start(&mut under, id, claim.now);
            let command = Command::Claim {
                worker: claim.worker.clone(),
                session: claim.session,
                terms: claim.terms,
                request: claim.request.clone(),
                beats: Some(beats),
            };
            let (task, _) = self.apply(id, &command, claim.now)?;
            let ready = run_after.max(task.created_at);
            self.waits.push((task.queue.clone(), claim.now, claim.now.since(ready)));
            tasks.push(task);
            if tasks.len() >= most as usize {
                break;
            }
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

    /// What a claim is given, or why it is given nothing.
    fn chosen(&mut self, claim: &Claim, active: u32) -> Result<Vec<Place>, Nothing> {
        let open = |queue: &QueueName| self.queues.get(queue).is_none_or(|lane| lane.pause.is_none());
        if !claim.queues.iter().any(&open) {
            return Err(Nothing::Paused { queues: claim.queues.clone() });
        }
        let fitting = |task: &&Task| {
            task.head.state == TaskState::Queued
                && task.head.expired(claim.now).is_none()
                && claim.queues.contains(&task.queue)
                && open(&task.queue)
                && claim.caller.project().is_none_or(|project| *project == task.project)
                && (claim.types.is_empty() || claim.types.contains(&task.task_type))
        };
        let waiting = self.tasks.values().map(|kept| &kept.task).filter(fitting);
        let under = self.all_under();
        let stopped = |task: &Task| {
            let due = task.head.run_after <= claim.now;
            due.then(|| self.stopped_by(&under, task, claim.now)).flatten()
        };
        let (stopped, waiting): (Vec<_>, Vec<_>) =
            waiting.map(|task| (stopped(task), task)).partition(|(stopped, _)| stopped.is_some());
        let first_stopped = stopped.into_iter().min_by_key(|(_, task)| Place::of(task));
        let waiting = waiting.into_iter().map(|(_, task)| task);
        let mut waiting: Vec<_> = waiting.map(|task| (Place::of(task), task.head.runs_alone())).collect();
        waiting.sort();
        let due = |alone: bool| -> Vec<Place> {
            let due = waiting
                .iter()
                .filter(|(place, runs_alone)| place.run_after <= claim.now && *runs_alone == alone);
            due.map(|(place, _)| *place).collect()
        };
        let (plain, alone) = (due(false), due(true));
        let awaited = |task: TaskId| {
            let ties = self.workers.values().filter_map(|worker| worker.alone);
            ties.into_iter().any(|tie| tie.task() == task && tie.makes_room_at(claim.now))
        };
        match turn(active == 0, plain.first().copied(), &alone, awaited, claim.now) {
            Turn::Plain => {}
            Turn::Alone(id) => {
                let attempt = self.tasks[&id].task.head.attempt + 1;
                self.tie(&claim.worker, Some(Alone::Runs { task: id, attempt }));
                return Ok(alone.into_iter().filter(|place| place.id == id).collect());
            }
            Turn::MakeRoom(id) => {
                self.tie(&claim.worker, Some(Alone::makes_room(id, claim.now)));
                return Err(Nothing::MakesRoom);
            }
        }
        if !plain.is_empty() {
            return Ok(plain);
        }
        Err(match waiting.iter().map(|(place, _)| place.run_after).min() {
            Some(_) if !alone.is_empty() => Nothing::OnlyAlone,
            _ if let Some((Some((limit, next_at)), _)) = first_stopped => Nothing::AtLimit { limit, next_at },
            None => Nothing::NoneQueued,
            Some(next_at) => Nothing::Scheduled { next_at },
        })
    }

    /// Why a worker that is tied to a task that is given out alone is given nothing, if it still is.
    fn tied(&mut self, claim: &Claim, active: u32) -> Option<Nothing> {
        let alone = self.workers[&claim.worker].alone?;
        let head = self.tasks.get(&alone.task()).map(|kept| &kept.task.head);
        if !alone.stands(&claim.worker, active, head, claim.now) {
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
