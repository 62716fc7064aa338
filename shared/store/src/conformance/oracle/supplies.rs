//! Supply.

use async_trait::async_trait;
use baton_model::supply::{MOST_SUPPLIES, changed};
use baton_model::takes::Takers;
use baton_model::{QueueName, Supply, TaskState, Timestamp};

use super::lists::page;
use super::{Inner, Oracle};
use crate::{
    Changed, Claim, ClaimAnswer, Create, Page, PageRequest, Refill, Refilled, SetSupply, StoreError,
    SupplyStore,
};

impl Inner {
    /// How many tasks of a queue are ready, whoever created them.
    fn ready(&self, queue: &QueueName, now: Timestamp) -> u32 {
        let tasks = self.tasks.values().map(|kept| &kept.task);
        let ready = tasks.filter(|task| {
            task.queue == *queue && task.head.state == TaskState::Queued && task.head.run_after <= now
        });
        ready.count() as u32
    }
}

impl Oracle {
    /// Claims, and tells of the queues that have a supply.
    pub(super) fn claimed(&self, claim: &Claim) -> Result<ClaimAnswer, StoreError> {
        let mut inner = self.lock();
        let supplied = claim.queues.iter().filter(|queue| inner.supplies.contains_key(*queue));
        supplied.for_each(|queue| self.doorbell.asked(queue));
        inner.claim(claim)
    }
}

#[async_trait]
impl SupplyStore for Oracle {
    async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError> {
        let SetSupply { queue, change, said } = set;
        let mut inner = self.lock();
        let from = inner.supplies.get(&queue).cloned();
        let to = changed(&queue, from.as_ref(), &change, &said);
        match to.clone() {
            Some(_) if from.is_none() && inner.supplies.len() as u64 >= MOST_SUPPLIES => {
                return Err(StoreError::too_many_supplies());
            }
            Some(supply) => {
                inner.queues.entry(queue.clone()).or_default();
                inner.supplies.insert(queue.clone(), supply);
                self.doorbell.asked(&queue);
            }
            None => {
                inner.supplies.remove(&queue);
                inner.forget_unused(&queue);
            }
        }
        Ok(Changed { from, to })
    }

    async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError> {
        let found = self.lock().supplies.get(queue).cloned();
        found.ok_or_else(|| StoreError::SupplyNotFound(queue.clone()))
    }

    async fn supplies(&self, asked: PageRequest) -> Result<Page<Supply>, StoreError> {
        let inner = self.lock();
        let named = |(queue, supply): (&QueueName, &Supply)| (queue.to_string(), supply.clone());
        page("u:", inner.supplies.iter().map(named).collect(), false, &asked)
    }

    async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError> {
        let Refill { now, queue } = refill;
        let mut inner = self.lock();
        let Some(supply) = inner.supplies.get(&queue).cloned() else { return Ok(Refilled::NoSupply) };
        let Some(missing) = supply.missing(inner.ready(&queue, supply.as_of(now)), now) else {
            return Ok(Refilled::Enough);
        };
        let is_taken = |wanted| {
            let takers = inner.workers.values().map(|worker| worker.taker(&self.policy, now));
            Takers::among(takers, false, &wanted, now) == Takers::Live
        };
        if supply.plan.while_asked && !supply.plan.wanted(&queue).any(is_taken) {
            return Ok(Refilled::NotAsked);
        }
        let (more, by) = (missing.after.filling, Some(supply.by()));
        let create = Create { now, tasks: missing.tasks, atomic: false, idempotency: None, by };
        let (answer, ready) = inner.create(create)?;
        ready.iter().for_each(|task| self.ring(task));
        inner.supplies.insert(queue, missing.after);
        Ok(Refilled::Created { tasks: answer.created(), more })
    }
}
