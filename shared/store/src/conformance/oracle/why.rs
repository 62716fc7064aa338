//! Why tasks of the oracle wait: each question is answered by looking at all tasks and workers. Nothing is shared with
//! [`baton_model::why::reasons`] but the shape of the answer.

use baton_model::takes::{Takers, Wanted};
use baton_model::why::{Ahead, Waited, WaitedStanding};
use baton_model::{LeasePolicy, Reason, State, Task, TaskId, TaskState, Timestamp, Why};

use super::Inner;
use crate::StoreError;

impl Inner {
    pub(super) fn why(&self, id: TaskId, policy: &LeasePolicy, now: Timestamp) -> Result<Why, StoreError> {
        let task = &self.kept(id)?.task;
        Ok(Why {
            task: id,
            queue: task.queue.clone(),
            project: task.project.clone(),
            task_type: task.task_type.clone(),
            affinity: task.affinity.clone(),
            status: task.status(now),
            attempt: task.head.attempt,
            worker: Why::worker_of(&task.head.state),
            reasons: self.reasons(task, policy, now),
        })
    }

    fn reasons(&self, task: &Task, policy: &LeasePolicy, now: Timestamp) -> Vec<Reason> {
        let is_blocked = task.head.state == TaskState::Blocked;
        if !is_blocked && task.head.state != TaskState::Queued {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        reasons.extend(task.head.expired(now).map(|at| Reason::Expired { at }));
        if is_blocked {
            reasons.push(Reason::Blocked { by: self.unmet(task, now) });
        }
        if task.head.run_after > now {
            reasons.push(Reason::Scheduled { at: task.head.run_after });
        }
        let pause = self.queues.get(&task.queue).and_then(|lane| lane.pause.clone());
        reasons.extend(pause.map(Reason::Paused));
        let full = self.full_limits(task, now);
        let is_at_limit = !full.is_empty();
        reasons.extend(full.into_iter().map(Reason::AtLimit));
        if task.head.runs_alone() {
            let makes_room = |tie: baton_model::Alone| tie.task() == task.head.id && tie.makes_room_at(now);
            let worker = self.workers.values().find(|worker| worker.alone.is_some_and(makes_room));
            reasons.push(Reason::OnlyAlone { makes_room: worker.map(|worker| worker.id.clone()) });
        }
        let workers = self.workers.values().map(|worker| worker.taker(policy, now));
        let wanted = Wanted {
            queue: &task.queue,
            task_type: &task.task_type,
            project: &task.project,
            affinity: task.affinity.as_ref(),
        };
        if let Takers::None { last, unseen } = Takers::among(workers, false, &wanted, now) {
            reasons.push(Reason::NoWorker { last, unseen });
        }
        let ahead = self.ahead(task, is_at_limit, now);
        if !is_blocked && ahead.tasks > 0 {
            reasons.push(Reason::Behind(ahead));
        }
        reasons
    }

    /// What a blocked task still waits for.
    fn unmet(&self, task: &Task, now: Timestamp) -> Vec<Waited> {
        let mut unmet = Vec::new();
        for id in &task.depends_on {
            let Some(kept) = self.tasks.get(id) else { continue };
            // One that has failed or was cancelled is waited for no longer, whatever that does to the task.
            if !kept.task.head.state.state().is_final() {
                let standing = WaitedStanding {
                    status: kept.task.status(now),
                    queue: kept.task.queue.clone(),
                    project: kept.task.project.clone(),
                };
                unmet.push(Waited { task: *id, standing: Some(standing) });
            }
        }
        unmet
    }

    /// How many tasks are claimed before one, by the order of claims alone. Those that limits keep are passed over, unless it is
    /// kept by one itself.
    fn ahead(&self, task: &Task, is_at_limit: bool, now: Timestamp) -> Ahead {
        let due = task.head.run_after.max(now);
        let place = |one: &Task| (self.level(one, due), one.head.run_after, one.head.id);
        let under = self.all_under();
        let comes_before = |one: &&Task| {
            one.queue == task.queue
                && one.head.state.state() == State::Queued
                && self.whose(one) == self.whose(task)
                && one.head.run_after <= due
                && place(one) < place(task)
                && (is_at_limit || self.stopped_by(&under, one, now).is_none())
        };
        let before = self.tasks.values().map(|kept| &kept.task).filter(comes_before).count();
        Ahead::counted(before as u64, Ahead::COUNTED)
    }
}
