//! The records of bulk commands.

use async_trait::async_trait;
use baton_model::transition::Refusal;
use baton_model::{Bulk, BulkId, BulkState, TaskId};

use super::lists::page;
use super::{Inner, Oracle};
use crate::{BulkStore, Page, PageRequest, StoreError};

#[async_trait]
impl BulkStore for Oracle {
    async fn create_bulk(&self, bulk: Bulk) -> Result<(), StoreError> {
        self.lock().bulks.entry(bulk.id).or_insert(bulk);
        Ok(())
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        Ok(self.lock().bulks.get(&id).cloned())
    }

    async fn put_bulk(&self, bulk: Bulk) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        let Some(standing) = inner.bulks.get_mut(&bulk.id) else { return Ok(false) };
        if standing.version + 1 == bulk.version {
            *standing = bulk;
            return Ok(true);
        }
        Ok(*standing == bulk)
    }

    async fn bulks(&self, asked: PageRequest) -> Result<Page<Bulk>, StoreError> {
        let inner = self.lock();
        page(
            "b:",
            inner.bulks.values().map(|bulk| (bulk.id.to_string(), bulk.clone())).collect(),
            true,
            &asked,
        )
    }

    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError> {
        let inner = self.lock();
        let open = inner.bulks.values().filter(|bulk| bulk.state == BulkState::Running);
        Ok(open.map(|bulk| bulk.id).collect())
    }
}

impl Inner {
    /// Removes a task that has ended.
    pub(super) fn remove_ended(&mut self, task: TaskId) -> Result<(), StoreError> {
        let state = self.kept(task)?.task.head.state.state();
        let refusal = match state.is_final() {
            false => Refusal::Unfinished { state },
            true if self.is_waited_for(task) => Refusal::WaitedFor,
            true => {
                self.tasks.remove(&task);
                self.generations.retain(|_, generation| generation.task != task);
                return Ok(());
            }
        };
        Err(StoreError::Refused { task, refusal })
    }
}
