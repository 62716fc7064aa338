//! The reaper. The index names the suspects, worker by worker; each is judged anew on the table before it is taken
//! back, and the write holds only if the task is still as it was judged.

use baton_model::transition::Command;
use baton_model::{Loss, TaskState, Watch, WorkerId};
use baton_store::{Reap, ReapReport, StoreError, Taken};
use futures::StreamExt;

use crate::db::Query;
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::Outcome;
use crate::worker::StoredWorker;

/// How many tasks are taken back at the same time.
const AT_ONCE: usize = 16;

/// How many workers are looked at at the same time.
const WORKERS_AT_ONCE: usize = 16;

impl Inner {
    pub(crate) async fn reap(&self, reap: &Reap) -> Result<ReapReport, StoreError> {
        if reap.worker.is_none()
            && reap.queue.is_none()
            && let Err(error) = self.stats.tick(&self.db, reap.watch.now).await
        {
            tracing::warn!(%error, "the tick could not be written; statistics may look older than they are");
        }
        let now = reap.watch.now;
        if reap.worker.is_none()
            && reap.queue.is_none()
            && let Err(error) = Box::pin(self.tend_limits(now)).await
        {
            tracing::warn!(
                error = error.report(),
                "limits could not be looked after; the next round does it"
            );
        }
        // Whether anybody is heard is asked only where there is patience.
        let mut all = match &reap.worker {
            Some(_) if reap.watch.patience.is_zero() => Vec::new(),
            _ => {
                let mut all = self.all_workers().await?;
                self.sightings.look(all.iter_mut(), now);
                all
            }
        };
        let beats = all.iter().filter_map(|worker| worker.worker.last_beat_at);
        let last_beat = beats.map(|at| reap.watch.elapsed(at)).min();
        let watch = reap.watch.clone().hearing(last_beat, &self.options.policy);
        let workers = match &reap.worker {
            // A worker without record may still be named by a lease.
            Some(id) => {
                let mut worker = self.stored_worker(id).await?;
                worker.iter_mut().for_each(|worker| self.sightings.look_at(worker, now));
                vec![(id.clone(), worker)]
            }
            None => all.drain(..).map(|worker| (worker.worker.id.clone(), Some(worker))).collect(),
        };
        let most = reap.limit as usize + 1;
        let mut looks = Vec::with_capacity(workers.len());
        for (id, worker) in &workers {
            looks.push(self.suspects(reap, &watch, id, worker.as_ref(), most));
        }
        let mut looks = futures::stream::iter(looks).buffered(WORKERS_AT_ONCE);
        let mut suspects = Vec::new();
        while let Some(found) = looks.next().await {
            suspects.extend(found?);
            if suspects.len() >= most {
                break;
            }
        }
        let more = suspects.len() > reap.limit as usize;
        suspects.truncate(reap.limit as usize);
        let mut takes = Vec::with_capacity(suspects.len());
        for suspect in &suspects {
            takes.push(self.take_back(suspect, &watch));
        }
        let outcomes: Vec<_> = futures::stream::iter(takes).buffered(AT_ONCE).collect().await;
        let mut report = ReapReport { taken: Vec::new(), more };
        let mut failed = None;
        for (outcome, suspect) in outcomes.into_iter().zip(&suspects) {
            match self.db.unless_damaged(&format!("task {}", suspect.head.id), outcome) {
                Ok(taken) => report.taken.extend(taken.flatten()),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // What was taken back is told; the rest is found again by the next call.
            Some(error) if !report.taken.is_empty() => {
                tracing::warn!(%error, "the reaper could not take back every lost task");
                Ok(ReapReport { more: true, ..report })
            }
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    /// The tasks of a worker whose lease looks lost, up to `most`.
    async fn suspects(
        &self,
        reap: &Reap,
        watch: &Watch,
        id: &WorkerId,
        worker: Option<&StoredWorker>,
        most: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut suspects = Vec::new();
        let mut query = Query::index(keys::held(id));
        loop {
            let page = self.db.query(&query).await?;
            for item in &page.items {
                let Some(mut entry) = self.db.read_one(item, Stored::read) else { continue };
                // The index does not tell how often the worker had beaten when it claimed: it is a suspect as if it never had,
                // and the item tells.
                if let TaskState::Running(lease) = &mut entry.head.state {
                    lease.beats = Some(0);
                }
                let asked = reap.queue.as_ref().is_none_or(|queue| *queue == entry.queue);
                if asked && self.lost(&entry, worker, watch).is_some() {
                    suspects.push(entry);
                    if suspects.len() >= most {
                        return Ok(suspects);
                    }
                }
            }
            match page.next {
                None => return Ok(suspects),
                next => query.start = next,
            }
        }
    }

    fn lost(&self, task: &Stored, worker: Option<&StoredWorker>, watch: &Watch) -> Option<Loss> {
        let TaskState::Running(lease) = &task.head.state else { return None };
        let (id, attempt) = (task.head.id, task.head.attempt);
        let worker = worker.map(|worker| worker.judged(id, attempt));
        lease.lost(id, attempt, worker.as_ref(), &self.options.policy, watch)
    }

    /// Takes a suspect back if its lease is lost indeed.
    async fn take_back(&self, suspect: &Stored, watch: &Watch) -> Result<Option<Taken>, StoreError> {
        let TaskState::Running(lease) = &suspect.head.state else { return Ok(None) };
        let mut worker = self.stored_worker(&lease.worker).await?;
        worker.iter_mut().for_each(|worker| self.sightings.look_at(worker, watch.now));
        let Some(task) = self.find(suspect.head.id).await? else { return Ok(None) };
        if task.head.attempt != suspect.head.attempt {
            return Ok(None);
        }
        let Some(loss) = self.lost(&task, worker.as_ref(), watch) else { return Ok(None) };
        let command = Command::LoseLease { attempt: suspect.head.attempt, loss };
        match self.apply_to(task, &command, watch.now).await {
            Ok(Outcome::Applied(after)) => {
                self.follow(&after, watch.now).await;
                Ok(Some(Taken {
                    task: after.head.id,
                    queue: after.queue.clone(),
                    task_type: after.task_type.clone(),
                    domain: after.rest.as_ref().and_then(|rest| rest.domain.clone()),
                    attempt: suspect.head.attempt,
                    worker: lease.worker.clone(),
                    worker_gone: worker.is_some_and(|stored| stored.worker.ended_at.is_some()),
                    reason: loss.reason,
                    to: after.head.state.state(),
                }))
            }
            // Its worker, another reaper or an operator was faster.
            Ok(Outcome::Repeated(_)) | Err(StoreError::Refused { .. } | StoreError::TaskNotFound(_)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
