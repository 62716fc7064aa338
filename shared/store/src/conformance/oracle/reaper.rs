//! What the reaper does: leases that are lost, times that lie ahead, and what is past its keeping.

use std::time::Duration;

use baton_model::task::redated;
use baton_model::transition::Command;
use baton_model::{Task, TaskState, Timestamp};

use super::lists::fits;
use super::{Inner, Oracle};
use crate::*;

impl Oracle {
    /// Takes back the leases that are lost.
    pub(super) fn take_back(&self, reap: &Reap) -> Result<ReapReport, StoreError> {
        let mut inner = self.lock();
        let beats = inner.workers.values().filter_map(|worker| worker.last_beat_at);
        let last_beat = beats.map(|at| reap.watch.elapsed(at)).min();
        let watch = reap.watch.clone().hearing(last_beat, &self.policy);
        let lost: Vec<_> = inner
            .tasks
            .values()
            .filter_map(|kept| {
                let head = &kept.task.head;
                let TaskState::Running(lease) = &head.state else { return None };
                let asked =
                    fits(&reap.worker, Some(&lease.worker)) && fits(&reap.queue, Some(&kept.task.queue));
                let worker = inner.workers.get(&lease.worker);
                let loss = lease.lost(head.id, head.attempt, worker, &self.policy, &watch)?;
                let gone = worker.is_some_and(|worker| worker.ended_at.is_some());
                asked.then(|| (head.id, head.attempt, (lease.worker.clone(), gone), loss))
            })
            .take(reap.limit as usize)
            .collect();
        let mut report = ReapReport { taken: Vec::new(), more: lost.len() == reap.limit as usize };
        for (id, attempt, (worker, worker_gone), loss) in lost {
            let (task, _) = inner.apply(id, &Command::LoseLease { attempt, loss }, reap.watch.now)?;
            self.ring(&task);
            self.ring_unblocked(&mut inner);
            report.taken.push(Taken {
                task: id,
                queue: task.queue,
                task_type: task.task_type,
                domain: task.domain,
                attempt,
                worker,
                worker_gone,
                reason: loss.reason,
                to: task.head.state.state(),
            });
        }
        inner.note_losses(&report.taken, reap.watch.now);
        if reap.worker.is_none() && reap.queue.is_none() && !report.more {
            inner.note_silent(&watch, &self.policy);
        }
        self.ring_freed(&inner, reap.watch.now);
        Ok(report)
    }

    /// Fails what was not started in time.
    pub(super) fn expire_due(&self, expire: &Expire) -> Result<Expired, StoreError> {
        let mut inner = self.lock();
        let expired = inner.fail_expired(expire.now, expire.limit as usize, |_| true)?;
        self.ring_unblocked(&mut inner);
        Ok(expired)
    }

    /// Dates anew what lies ahead, by a clock that was set back.
    pub(super) fn date_anew(&self, redate: &Redate) -> Redated {
        let mut inner = self.lock();
        let Redate { watch, limit } = redate;
        let limit = *limit as usize;
        inner.redate_arrivals(watch);
        let mut ready = Vec::new();
        let waiting = inner.tasks.values_mut().map(|kept| &mut kept.task);
        for task in waiting.filter(|task| task.head.state == TaskState::Queued) {
            if let Some(run_after) = redated(&task.head, task.created_at, task.updated_at, watch)
                && ready.len() < limit
            {
                task.head.run_after = run_after;
                ready.push(task.clone());
            }
        }
        let mut workers = 0;
        for worker in inner.workers.values_mut() {
            let ahead = worker.last_beat_at.max(Some(worker.started_at)) > Some(watch.now);
            workers += u64::from(ahead);
            worker.started_at = watch.dated(worker.started_at);
            worker.last_beat_at = worker.last_beat_at.map(|at| watch.dated(at));
            worker.ended_at = worker.ended_at.map(|at| watch.dated(at));
        }
        ready.iter().for_each(|task| self.ring(task));
        Redated { tasks: ready.len() as u64, workers, more: ready.len() == limit }
    }
}

impl Inner {
    /// Fails tasks that were not started in time, up to so many.
    pub(super) fn fail_expired(
        &mut self,
        now: Timestamp,
        most: usize,
        fits: impl Fn(&Task) -> bool,
    ) -> Result<Expired, StoreError> {
        let tasks = self.tasks.values().map(|kept| &kept.task);
        let due = tasks.filter(|task| task.head.expired(now).is_some() && fits(task));
        let due: Vec<_> = due.map(|task| task.head.id).collect();
        let mut expired = Expired { tasks: 0, more: due.len() > most };
        for id in due.into_iter().take(most) {
            // The end of another may have ended it.
            if self.tasks[&id].task.head.expired(now).is_some() {
                self.apply(id, &Command::Expire, now)?;
                expired.tasks += 1;
            }
        }
        Ok(expired)
    }

    /// Removes what is past its keeping.
    pub(super) fn purge(&mut self, purge: &Purge) -> PurgeReport {
        let limit = purge.limit as usize;
        let old = |at: Timestamp, keep: Duration| purge.now.since(at) > keep;

        let tasks: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, kept)| match (kept.task.finished_at, kept.task.retention.or(purge.keep_finished)) {
                (Some(at), Some(keep)) => old(at, keep) && !self.is_waited_for(kept.task.head.id),
                _ => false,
            })
            .map(|(id, _)| *id)
            .take(limit)
            .collect();
        for id in &tasks {
            self.tasks.remove(id);
            self.generations.retain(|_, generation| generation.task != *id);
        }
        if let Some(keep) = purge.keep_finished {
            self.batches
                .retain(|_, batch| !(batch.has_ended() && batch.ended_at.is_some_and(|at| old(at, keep))));
        }
        let answers: Vec<_> = self
            .answers
            .iter()
            .filter(|(_, (at, _, _))| old(*at, purge.keep_idempotency))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect();
        answers.iter().for_each(|key| drop(self.answers.remove(key)));
        let requests: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, (at, _))| old(*at, purge.keep_claims))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect();
        requests.iter().for_each(|key| drop(self.requests.remove(key)));
        let workers: Vec<_> = self
            .workers
            .values()
            .filter(|worker| old(worker.last_beat_at.unwrap_or(worker.started_at), purge.keep_workers))
            .filter(|worker| self.held_by(&worker.id).next().is_none())
            .map(|worker| worker.id.clone())
            .take(limit)
            .collect();
        workers.iter().for_each(|id| drop(self.workers.remove(id)));
        let mut logs = 0;
        self.logs.retain(|line| {
            let goes = logs < limit && old(line.received_at, purge.keep_logs);
            logs += usize::from(goes);
            !goes
        });
        let tokens: Vec<_> = self
            .tokens
            .iter()
            .filter(|(_, kept)| kept.token.ends_at().is_some_and(|end| old(end, purge.keep_tokens)))
            .map(|(id, _)| *id)
            .take(limit)
            .collect();
        tokens.iter().for_each(|id| drop(self.tokens.remove(id)));
        let entries: Vec<_> = self
            .audit
            .values()
            .filter(|entry| old(entry.at, purge.keep_audit))
            .map(|entry| entry.id)
            .take(limit)
            .collect();
        entries.iter().for_each(|id| drop(self.audit.remove(id)));
        let removed =
            [tasks.len(), logs, workers.len(), answers.len(), requests.len(), tokens.len(), entries.len()];
        PurgeReport {
            tasks: removed[0] as u64,
            logs: removed[1] as u64,
            workers: removed[2] as u64,
            idempotency_keys: removed[3] as u64,
            claim_requests: removed[4] as u64,
            tokens: removed[5] as u64,
            audit_entries: removed[6] as u64,
            more: removed.contains(&limit),
            overdue: None,
        }
    }
}
