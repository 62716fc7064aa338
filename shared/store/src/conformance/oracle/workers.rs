//! The oracle's workers: what they hold, and what they are told when they beat.

use baton_model::{Happened, LogLine, Task, TaskState, Timestamp, WorkerId};

use super::Inner;
use crate::*;

impl Inner {
    pub(super) fn held_by<'a>(
        &'a self,
        worker: &'a WorkerId,
    ) -> impl Iterator<Item = (&'a Task, Timestamp)> + 'a {
        self.tasks.values().filter_map(move |kept| match &kept.task.head.state {
            TaskState::Running(lease) if lease.worker == *worker => Some((&kept.task, lease.claimed_at)),
            _ => None,
        })
    }

    pub(super) fn worker_detail(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        let worker = self.workers.get(id).ok_or_else(|| StoreError::WorkerNotFound(id.clone()))?;
        let mut held: Vec<_> =
            self.held_by(id).map(|(task, since)| (since, task.head.id, task.head.attempt)).collect();
        held.sort();
        Ok(WorkerDetail {
            worker: worker.clone(),
            active: u32::try_from(held.len()).unwrap_or(u32::MAX),
            leases: held.into_iter().take(WorkerDetail::LEASES).map(|(_, id, n)| (id, n)).collect(),
        })
    }

    pub(super) fn heartbeat(&mut self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        let worker = self.meet(&beat.worker, &beat.caller, beat.session, beat.now)?;
        worker.last_beat_at = Some(beat.now);
        worker.beats += 1;
        worker.running = beat.running.clone();
        worker.capacity = beat.capacity.or(worker.capacity);
        worker.readings = beat.readings;
        let ends = beat.ending && worker.ended_at.is_none();
        worker.ended_at = beat.ending.then_some(beat.now);
        if !beat.labels.is_empty() {
            worker.labels = beat.labels;
        }
        let directive = worker.directive;
        if ends {
            self.happened.push((beat.now, Happened::WorkerEnded { worker: beat.worker.clone() }));
        }
        self.logs.extend(beat.logs.into_iter().map(|line| LogLine { received_at: beat.now, ..line }));
        let lost = beat
            .running
            .iter()
            .flatten()
            .filter_map(|listed| {
                let task = self.tasks.get(&listed.task).map(|kept| &kept.task.head);
                LostLease::of(listed, &beat.worker, task)
            })
            .collect();
        Ok(BeatAnswer { lost, directive, shipped: None })
    }
}
