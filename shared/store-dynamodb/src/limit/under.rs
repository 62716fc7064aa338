//! The limits that a task falls under, as they stand, and who holds those that are full.

use std::collections::BTreeSet;

use baton_model::why::{FullLimit, Holder, UnderLimit};
use baton_model::{LimitOn, LimitRules, TaskId, Timestamp, Why};
use baton_store::StoreError;

use super::standing::{StoredStanding, may_hold, task_of};
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;

impl Inner {
    /// The limits that a task of this queue falls under. What a crash has left under one that is full does not count, as far as its
    /// holders are looked at: the next claim that finds it full sees to that, too.
    pub(crate) async fn falls_under(
        &self,
        task: &Stored,
        queue: &StoredQueue,
        now: Timestamp,
    ) -> Result<Vec<UnderLimit>, StoreError> {
        let limiting = self.limiting(std::slice::from_ref(queue)).await?;
        let falls: Vec<(LimitOn, &LimitRules)> = limiting.book.of(task.shared()?);
        if falls.is_empty() {
            return Ok(Vec::new());
        }
        let ons: Vec<LimitOn> = falls.iter().map(|(on, _)| on.clone()).collect();
        let standings = self.standings(&ons).await?;
        let mut found = Vec::new();
        for (on, rules) in falls {
            let standing = standings.get(&on).cloned().unwrap_or_default();
            let mut under = UnderLimit {
                standing: standing.counts_by(Some(rules)),
                holds_place: rules.holds_retries && standing.held.contains(&task.head.id.to_string()),
                rules: rules.clone(),
                holders: Vec::new(),
                on,
            };
            if under.is_full(now) {
                self.name_holders(&mut under, &standing).await?;
            }
            found.push(under);
        }
        Ok(found)
    }

    /// Names the first of those that a limit counts, and counts none of them that it counts by mistake.
    async fn name_holders(
        &self,
        under: &mut UnderLimit,
        standing: &StoredStanding,
    ) -> Result<(), StoreError> {
        let leases: BTreeSet<_> = standing.leases.iter().filter_map(|lease| task_of(lease)).collect();
        let held: BTreeSet<TaskId> = match under.rules.holds_retries {
            true => standing.held.iter().filter_map(|id| id.parse().ok()).collect(),
            false => BTreeSet::new(),
        };
        let ids: BTreeSet<TaskId> = leases.iter().map(|(id, _)| *id).chain(held.iter().copied()).collect();
        let ids: BTreeSet<TaskId> = ids.into_iter().take(FullLimit::HOLDERS).collect();
        let tasks = self.tasks_by_id(ids.clone()).await?;
        for (id, attempt) in leases.into_iter().filter(|(id, _)| ids.contains(id)) {
            match tasks.get(&id).filter(|task| task.runs(attempt)) {
                Some(task) => under.holders.push(holder(task)?),
                None => under.standing.running = under.standing.running.saturating_sub(1),
            }
        }
        for id in held.into_iter().filter(|id| ids.contains(id)) {
            match tasks.get(&id).filter(|task| may_hold(&under.on, task)) {
                Some(task) => under.holders.push(holder(task)?),
                None => under.standing.held = under.standing.held.saturating_sub(1),
            }
        }
        under.holders.sort_by_key(|holder| holder.task);
        Ok(())
    }
}

fn holder(task: &Stored) -> Result<Holder, StoreError> {
    Ok(Holder {
        task: task.head.id,
        queue: task.queue.clone(),
        project: task.project.clone(),
        worker: Why::worker_of(&task.head.state),
    })
}
