//! Batches in a random history.

use baton_model::{Batch, BatchId, Payload, Task, TaskId, TaskSpec, ThenOn};

use super::{History, PROJECTS, QUEUES, Shape, Trace, same};
use crate::conformance::batches::{adding, plain, then};
use crate::conformance::kit::*;
use crate::{BatchDetail, BatchStore, SealBatch};

/// How many batches there are.
const BATCHES: u64 = 8;

fn id(n: u64) -> BatchId {
    BatchId::from_bytes(counted_id(9_500_000 + n))
}

/// Of several that fail in one round of the reaper, which is the first is the store's choice.
fn in_order(mut batch: Batch) -> Batch {
    batch.failures.sort();
    batch
}

/// What is promised of a task. One that follows a batch tells of its first failures; of several that fail in one command (a round of the
/// reaper, an expiry, a cancellation that goes on), which comes first is the store's choice: how many are told is not.
pub(super) fn promised(mut task: Task) -> Task {
    let mut params = task.params.to_value();
    if let Some(failures) = params.pointer_mut("/batch/first_failures") {
        *failures = failures.as_array().map_or(0, Vec::len).into();
        task.params = Payload::from_value(&params);
    }
    task
}

impl History {
    /// Adds tasks to a batch, or seals one.
    pub(super) async fn batch(&mut self, shape: &Shape, trace: &mut Trace) {
        let n = self.random.below(BATCHES);
        if self.ids.len() >= shape.tasks || self.random.once_in(4) {
            let seal = SealBatch { now: self.now, batch: id(n) };
            trace.command = format!("{seal:?}");
            let (real, model) = (self.real.seal_batch(seal).await, self.model.seal_batch(seal).await);
            same(real.map(in_order), model.map(in_order));
        } else {
            let create = self.new_tasks();
            let mut batch = plain(id(n), PROJECTS[(n % 3) as usize]);
            if !n.is_multiple_of(4) {
                let on = ThenOn::ALL[(n % 4 - 1) as usize];
                let spec = TaskSpec::new(TaskId::unset(), name("bake"));
                batch.then = then(on, spec.queue(QUEUES[(n % 2) as usize]));
            }
            let add = adding(batch, self.random.once_in(3), create);
            trace.command = format!("{add:?}");
            let answer = same(self.real.add_to_batch(add.clone()).await, self.model.add_to_batch(add).await);
            let taken = answer.iter().flat_map(|answer| answer.items.iter().flatten());
            self.ids.extend(taken.filter(|one| one.new).map(|one| one.id));
        }
        self.note_made().await;
    }

    /// Takes note of the tasks that have followed batches.
    async fn note_made(&mut self) {
        for n in 0..BATCHES {
            if let Ok(detail) = self.model.batch(id(n)).await {
                self.ids.extend(detail.batch.made.map(|made| made.task));
            }
        }
        self.ids.sort();
        self.ids.dedup();
    }

    /// The batches are the same, as far as both are still there. The numbers of one that was made anew while tasks of an earlier one with
    /// its id were still there are promised to nobody.
    pub(super) async fn agree_on_batches(&self) {
        for n in 0..BATCHES {
            let sorted = |mut detail: BatchDetail| {
                detail.failures.sort_by_key(|one| one.task);
                BatchDetail { batch: in_order(detail.batch), ..detail }
            };
            if self.model.is_reused(id(n)) {
                continue;
            }
            let (real, model) = (self.real.batch(id(n)).await, self.model.batch(id(n)).await);
            if let (Ok(real), Ok(model)) = (real, model) {
                assert_eq!(sorted(real), sorted(model));
            }
        }
    }
}
