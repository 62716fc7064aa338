//! Why a task waits: its item, its queue's, the workers', those of what it waits for or of who holds its limits, and counts of what
//! lies before it in the index. Each is bounded; `docs/dynamodb.md` says by how many units.

use std::collections::VecDeque;

use baton_model::order::Before;
use baton_model::takes::{Takers, Wanted};
use baton_model::why::{Ahead, Facts, Waited, WaitedStanding, reasons};
use baton_model::{FairBy, Priority, State, TaskId, TaskState, Tenant, Timestamp, Why, Worker};
use baton_store::StoreError;

use crate::db::{Query, Range};
use crate::keys;
use crate::lane::{Choice, Lane};
use crate::look::of_project;
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;
use crate::worker::StoredWorker;

/// How many places of a queue are counted in: there may be hundreds, and a count asks each.
const COUNTED_IN: usize = 64;

/// How many of them are asked at the same time.
const AT_ONCE: usize = 16;

impl Inner {
    pub(crate) async fn why(&self, id: TaskId, now: Timestamp) -> Result<Why, StoreError> {
        let task = self.known(id).await?;
        let reasons = match task.head.state.state() {
            State::Blocked | State::Queued => reasons(self.facts(&task, now).await?),
            _ => Vec::new(),
        };
        Ok(Why {
            task: id,
            queue: task.queue.clone(),
            project: task.project.clone(),
            task_type: task.task_type.clone(),
            affinity: task.rest()?.affinity.clone(),
            status: task.head.status(now),
            attempt: task.head.attempt,
            worker: Why::worker_of(&task.head.state),
            reasons,
        })
    }

    async fn facts(&self, task: &Stored, now: Timestamp) -> Result<Facts, StoreError> {
        let rest = task.rest()?;
        let is_blocked = task.head.state == TaskState::Blocked;
        let (queue, (workers, unseen)) =
            futures::future::try_join(self.stored_queue(&task.queue), self.some_workers()).await?;
        let limits = match &queue {
            Some(queue) => Box::pin(self.falls_under(task, queue, now)).await?,
            None => Vec::new(),
        };
        let is_at_limit = limits.iter().any(|limit| limit.is_full(now));
        let ahead = match &queue {
            Some(queue) if !is_blocked => self.ahead(task, queue, is_at_limit, now).await?,
            _ => Ahead::default(),
        };
        let makes_room = |worker: &&Worker| {
            worker.alone.is_some_and(|tie| tie.task() == task.head.id && tie.makes_room_at(now))
        };
        let takers = workers.iter().map(|worker| worker.taker(&self.options.policy, now));
        let wanted = Wanted {
            queue: &task.queue,
            task_type: &task.task_type,
            project: &task.project,
            affinity: rest.affinity.as_ref(),
        };
        Ok(Facts {
            now,
            is_blocked,
            expired: task.head.expired(now),
            run_after: task.head.run_after,
            waited: if is_blocked { self.waited(task, now).await? } else { Vec::new() },
            choice: rest.if_dependency_fails,
            pause: queue.and_then(|queue| queue.pause),
            limits,
            runs_alone: task.head.runs_alone(),
            makes_room: workers.iter().find(makes_room).map(|worker| worker.id.clone()),
            takers: Takers::among(takers, unseen, &wanted, now),
            ahead,
        })
    }

    async fn waited(&self, task: &Stored, now: Timestamp) -> Result<Vec<Waited>, StoreError> {
        let depends_on = &task.rest()?.depends_on;
        let found = self.tasks_by_id(depends_on.iter().copied().collect()).await?;
        let mut waited = Vec::with_capacity(depends_on.len());
        for id in depends_on {
            let standing = found.get(id).map(|one| WaitedStanding {
                status: one.head.status(now),
                queue: one.queue.clone(),
                project: one.project.clone(),
            });
            waited.push(Waited { task: *id, standing });
        }
        Ok(waited)
    }

    /// Up to [`Takers::LOOKED_AT`] workers, as they were a moment ago, by name; and whether there are more.
    pub(crate) async fn some_workers(&self) -> Result<(Vec<Worker>, bool), StoreError> {
        let each = i32::try_from(Takers::LOOKED_AT as u64 / keys::NAME_PARTS).unwrap_or(i32::MAX);
        let parts = (0..keys::NAME_PARTS).map(|part| {
            let query = Query::table(keys::worker_partition(part));
            let query = Query { consistent: false, limit: Some(each), ..query };
            async move { self.db.query(&query).await }
        });
        let (mut workers, mut unseen) = (Vec::new(), false);
        for found in futures::future::try_join_all(parts).await? {
            let read = found.items.iter().filter_map(|item| self.db.read_one(item, StoredWorker::read));
            workers.extend(read.map(|stored| stored.worker));
            unseen |= found.next.is_some();
        }
        workers.sort_by(|one, other| one.id.cmp(&other.id));
        Ok((workers, unseen))
    }

    /// About how many come before a task, as the index tells. Those that claims pass over count only for one that waits at a limit
    /// itself.
    async fn ahead(
        &self,
        task: &Stored,
        queue: &StoredQueue,
        is_at_limit: bool,
        now: Timestamp,
    ) -> Result<Ahead, StoreError> {
        let rest = task.rest()?;
        let own = (rest.priority, task.head.run_after);
        // Of a tenant alone, as far as its tasks lie by themselves or can be told from others.
        let tenant = queue.order.fair.map(|fair| fair.tenant(&task.project, rest.concurrency_key.as_ref()));
        let lanes = Lane::of((&task.project, &task.task_type), rest.concurrency_key.as_ref(), None);
        let may_have = |lane: Lane| match &tenant {
            None => true,
            Some(Tenant::Project(_)) if queue.order.fair == Some(FairBy::Project) => {
                Choice::new(Some(&task.project), []).may_lie_in(lane)
            }
            Some(_) => lane.is_of_tenant(lanes.turn),
        };
        let filter = match &tenant {
            Some(Tenant::Project(project)) => Some(of_project(project)),
            _ => None,
        };
        let mut places = Vec::new();
        for priority in Priority::ALL {
            let range = match queue.order.ahead(priority, own, now) {
                Before::None => continue,
                Before::Own => Range::Below(keys::waiting_place(&task.head)),
                Before::Until(at) => {
                    Range::Below(keys::sortable(Timestamp::from_millis(at.as_millis().saturating_add(1))))
                }
            };
            let lanes = queue.lanes.iter().filter(|(of, lane)| *of == priority && may_have(*lane));
            let ready = lanes.flat_map(|(_, lane)| {
                (0..queue.shards).map(|shard| keys::ready(&queue.name, priority, shard, *lane))
            });
            let is_told_apart = !matches!(tenant, Some(Tenant::Key(_)));
            let aside = queue.put_aside_of(priority).filter(|_| is_at_limit && is_told_apart);
            places.extend(ready.chain(aside).map(|partition| {
                let (range, filter) = (range.clone(), filter.clone());
                Query { range, filter, count: true, ..Query::index(partition) }
            }));
        }
        let mut at_least = places.len() > COUNTED_IN;
        places.truncate(COUNTED_IN);
        let (mut tasks, mut left): (u64, VecDeque<_>) = (0, places.into());
        // Each wave counts as many as are left to count, evenly; a place that has more comes again.
        while tasks < Ahead::COUNTED && !left.is_empty() {
            let wave: Vec<Query> = left.drain(..left.len().min(AT_ONCE)).collect();
            let each = ((Ahead::COUNTED - tasks) / wave.len() as u64).max(1);
            let counts = wave.into_iter().map(|query| async move {
                let query = Query { limit: i32::try_from(each).ok(), ..query };
                self.db.query(&query).await.map(|found| (query, found))
            });
            for (query, found) in futures::future::try_join_all(counts).await? {
                tasks += found.count;
                left.extend(found.next.map(|next| Query { start: Some(next), ..query }));
            }
        }
        at_least |= !left.is_empty();
        Ok(Ahead { tasks: tasks.min(Ahead::COUNTED), at_least })
    }
}
