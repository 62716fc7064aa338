//! What people and the reaper do in a random history besides its usual commands: bulk commands to their ends, removals, expiries, and
//! a clock that is set back.

use baton_model::{Bulk, BulkAction, BulkFilter, BulkTasks, Priority, Status, Step, Watch};

use super::{History, KEPT, PROJECTS, QUEUES, Shape, Trace, same};
use crate::conformance::bulk::{bulk_id, finish};
use crate::conformance::change::to_priority;
use crate::conformance::kit::*;
use crate::{BulkStore, Expire, Purge, Redate, Remove, TaskStore};

impl History {
    /// One of these.
    pub(super) async fn by_hand(&mut self, shape: &Shape, trace: &mut Trace) {
        match self.random.below(5) {
            0..2 => self.bulk(trace).await,
            2 => self.remove(trace).await,
            // What becomes of the next time of a rate when a clock is set back is left to the rules on rates.
            3 if !shape.limits && self.ids.len() < shape.tasks => self.set_back(trace).await,
            _ => {
                let expire = Expire { now: self.now, limit: 1_000 };
                trace.command = format!("{expire:?}");
                self.bench.settle().await;
                same(self.real.expire(expire).await, self.model.expire(expire).await);
            }
        }
    }

    /// Carries out a bulk command to its end.
    async fn bulk(&mut self, trace: &mut Trace) {
        self.expire().await;
        let (now, random) = (self.now, &mut self.random);
        let action = match random.below(4) {
            0 => BulkAction::Cancel,
            1 => BulkAction::Retry,
            2 => BulkAction::Change(to_priority(Priority::ALL[random.below(4) as usize])),
            _ => BulkAction::Delete,
        };
        // What is cancelled or put back may let go of another task of the command, or take its key: so these are done one by one, in an
        // order that both know. A list by status may have another one (`Capabilities::lists_by_creation`).
        let in_order = matches!(action, BulkAction::Cancel | BulkAction::Retry);
        let size = if in_order { 1 } else { 1_000 };
        let by_filter = random.once_in(2) && (!in_order || self.real.capabilities().lists_by_creation);
        let tasks = if by_filter {
            BulkTasks::Filter(BulkFilter {
                queue: Some(name(QUEUES[random.below(2) as usize])),
                project: (!random.once_in(3)).then(|| name(PROJECTS[random.below(3) as usize])),
                task_type: random.once_in(2).then(|| name(["render", "bake"][random.below(2) as usize])),
                statuses: if random.once_in(3) { Status::ALL.to_vec() } else { Vec::new() },
                ..BulkFilter::default()
            })
        } else {
            let mut ids = Vec::new();
            for _ in 0..1 + self.random.below(6) {
                let id = self.id();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            BulkTasks::Ids(ids)
        };
        let random = &mut self.random;
        let project = random.once_in(5).then(|| name(PROJECTS[random.below(3) as usize]));
        let queues = random.once_in(5).then(|| name(QUEUES[random.below(2) as usize])).into_iter().collect();
        let reason = random.once_in(2).then(|| "it is drawn".to_owned());
        self.bulks += 1;
        let bulk = Bulk::new(bulk_id(self.bulks), now, action, tasks);
        let bulk = Bulk { project, queues, reason, ..bulk };
        trace.command = format!("{bulk:?}");
        self.bench.settle().await;
        same(self.real.create_bulk(bulk.clone()).await, self.model.create_bulk(bulk.clone()).await);
        // The pages are the store's own.
        let counts =
            |done: Bulk| (done.state, done.looked_at, done.changed, done.skipped, done.ended_at, done.action);
        let real = counts(finish(&*self.real, bulk.id, size, now).await);
        let model = counts(finish(&self.model, bulk.id, size, now).await);
        assert_eq!(real, model);
        if model.5 == BulkAction::Delete {
            self.let_go(model.2).await;
        }
    }

    /// Removes a task, most often one that was completed.
    async fn remove(&mut self, trace: &mut Trace) {
        let completed = self.random.pick(&self.completions).map(|complete| complete.task);
        let task = match completed {
            Some(task) if !self.random.once_in(3) => task,
            _ => self.id(),
        };
        let remove = Remove { now: self.now, task };
        trace.command = format!("{remove:?}");
        let removed = same(self.real.remove(remove).await, self.model.remove(remove).await);
        self.let_go(u64::from(removed.is_some())).await;
    }

    /// Has tasks that were removed by hand go from a store where what has an end goes by itself: until then nobody may take their ids
    /// again. What is past its keeping by then goes, too.
    async fn let_go(&mut self, removed: u64) {
        if removed == 0 || !self.real.capabilities().removes_by_itself {
            return;
        }
        self.first = self.first.plus(secs(1));
        let purge = Purge { keep_finished: Some(KEPT), ..Purge::at(self.first) };
        let gone = self.bench.purge(purge).await.tasks;
        let model = self.model.purge(purge).await.expect("a purge is taken").tasks;
        assert_eq!(gone, model + removed, "those that were removed, and those past their keeping");
    }

    /// Creates tasks by a clock that is up to a minute ahead and is then set back, and has them dated anew.
    async fn set_back(&mut self, trace: &mut Trace) {
        let ahead = self.first.plus(secs(1 + self.random.below(60)));
        self.now = ahead;
        let create = self.new_tasks();
        self.send(create, trace).await;
        self.now = self.first;
        let steps = vec![Step { before: ahead, after: self.first }];
        let redate = Redate { watch: Watch { steps, ..Watch::at(self.first) }, limit: 1_000 };
        trace.command = format!("{redate:?}");
        self.bench.settle().await;
        // Workers are dated by what a store has noted of them besides their heartbeats, too.
        let tasks = |redated: crate::Redated| (redated.tasks, redated.more);
        let real = self.real.redate(redate.clone()).await.map(tasks);
        same(real, self.model.redate(redate).await.map(tasks));
    }
}
