//! Batches.

use async_trait::async_trait;
use baton_model::{Batch, BatchId, Made, State, TaskId, TaskState, Timestamp};

use super::lists::page;
use super::{Inner, Oracle};
use crate::{
    AddToBatch, BatchDetail, BatchFailure, BatchFilter, BatchStore, CreateAnswer, Page, PageRequest,
    SealBatch, StoreError, TendBatches, TendedBatches, follow_up,
};

impl Inner {
    /// A task of a batch has come to a state, or came to be.
    pub(super) fn follow_in_batch(&mut self, task: TaskId, from: Option<State>, now: Timestamp) {
        let task = &self.tasks[&task].task;
        let Some(id) = task.batch else { return };
        let (task, to) = (task.head.id, task.head.state.state());
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.follow(task, from, to);
            self.settle_batch(id, now);
        }
    }

    /// Notes that a batch has ended, and creates what follows it if that is due.
    fn settle_batch(&mut self, id: BatchId, now: Timestamp) {
        let batch = self.batches.get_mut(&id).expect("a batch that is known");
        batch.ended_at = batch.has_ended().then(|| batch.ended_at.unwrap_or(now));
        if !batch.is_due() {
            return;
        }
        let batch = batch.clone();
        let create = follow_up(&batch, now).expect("a batch with a then");
        let (answer, ready) = self.create(create).expect("what follows is created");
        let made = answer.items[0].as_ref().expect("what follows is taken").id;
        self.unblocked.extend(ready);
        self.batches.insert(id, Batch { made: Some(Made { task: made, at: now }), ..batch });
    }

    fn add_to_batch(&mut self, add: AddToBatch) -> Result<CreateAnswer, StoreError> {
        let AddToBatch { batch: asked, seal, create } = add;
        let (id, now) = (asked.id, create.now);
        let kept = create.idempotency.as_ref().is_some_and(|one| self.answers.contains_key(&one.key));
        if kept {
            return Ok(self.create(create)?.0);
        }
        let is_of_it = |task: &TaskId| self.tasks.get(task).is_some_and(|kept| kept.task.batch == Some(id));
        let standing = self.batches.get(&id);
        match standing {
            Some(batch) if !batch.fits(&asked) => return Err(StoreError::BatchExists(id)),
            Some(batch)
                if batch.sealed_at.is_some() && !create.tasks.iter().all(|spec| is_of_it(&spec.id)) =>
            {
                return Err(StoreError::BatchSealed(id));
            }
            _ => {}
        }
        let is_new = standing.is_none();
        if is_new {
            if self.tasks.values().any(|kept| kept.task.batch == Some(id)) {
                self.reused.insert(id);
            }
            self.batches.insert(id, Batch::new(asked, now, create.by.clone()));
        }
        match self.create(create) {
            Ok((answer, ready)) => {
                self.unblocked.extend(ready);
                if seal {
                    self.seal(id, now)?;
                }
                Ok(answer)
            }
            Err(error) => {
                if is_new {
                    self.batches.remove(&id);
                }
                Err(error)
            }
        }
    }

    fn seal(&mut self, id: BatchId, now: Timestamp) -> Result<Batch, StoreError> {
        let batch = self.batches.get_mut(&id).ok_or(StoreError::BatchNotFound(id))?;
        if batch.sealed_at.is_none() {
            batch.sealed_at = Some(now);
            self.settle_batch(id, now);
        }
        Ok(self.batches[&id].clone())
    }
}

impl Oracle {
    /// Whether a batch was made anew while tasks of an earlier one with its id were still there.
    pub(in crate::conformance) fn is_reused(&self, id: BatchId) -> bool {
        self.lock().reused.contains(&id)
    }
}

#[async_trait]
impl BatchStore for Oracle {
    async fn add_to_batch(&self, add: AddToBatch) -> Result<CreateAnswer, StoreError> {
        let mut inner = self.lock();
        let answer = inner.add_to_batch(add)?;
        self.ring_unblocked(&mut inner);
        Ok(answer)
    }

    async fn seal_batch(&self, seal: SealBatch) -> Result<Batch, StoreError> {
        let mut inner = self.lock();
        let batch = inner.seal(seal.batch, seal.now)?;
        self.ring_unblocked(&mut inner);
        Ok(batch)
    }

    async fn batch(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        let inner = self.lock();
        let batch = inner.batches.get(&id).cloned().ok_or(StoreError::BatchNotFound(id))?;
        let count = |state| {
            let is_so =
                |one: &&super::Kept| one.task.batch == Some(id) && one.task.head.state.state() == state;
            inner.tasks.values().filter(is_so).count() as u64
        };
        let failures = batch.failures.iter().filter_map(|id| {
            let task = &inner.tasks.get(id).filter(|kept| kept.task.head.state == TaskState::Failed)?.task;
            Some(BatchFailure {
                task: *id,
                task_type: task.task_type.clone(),
                failed_at: task.updated_at,
                error: task.error.clone(),
            })
        });
        Ok(BatchDetail {
            blocked: count(State::Blocked),
            queued: count(State::Queued),
            running: count(State::Running),
            at_least: false,
            failures: failures.collect(),
            batch,
        })
    }

    async fn batches(&self, filter: BatchFilter, asked: PageRequest) -> Result<Page<Batch>, StoreError> {
        let inner = self.lock();
        let fits = |batch: &&Batch| filter.project.as_ref().is_none_or(|project| batch.project == *project);
        let found = inner.batches.values().filter(fits);
        page("b:", found.map(|batch| (batch.id.to_string(), batch.clone())).collect(), true, &asked)
    }

    async fn tend_batches(&self, _: TendBatches) -> Result<TendedBatches, StoreError> {
        Ok(TendedBatches::default())
    }
}
