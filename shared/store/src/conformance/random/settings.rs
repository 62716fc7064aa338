//! What a random history sets and changes: limits and owners, the orders of queues, and schedules.

use baton_model::schedule::Said;
use baton_model::{FairBy, QueueOrder, Schedule, ScheduleKey, Supply};

use super::{History, PROJECTS, QUEUES, Shape, Trace, same};
use crate::conformance::drawn::{defaults_change, order, rules, schedule_change, supply_change};
use crate::conformance::kit::*;
use crate::conformance::schedules::key;
use crate::{
    LimitStore, OrderQueue, PageRequest, Refill, ScheduleFilter, ScheduleStore, SetDefaults, SetLimit,
    SetOwner, SetSchedule, SetSupply, Store, StoreError, SupplyStore, TaskStore, run_due,
};

const LIMITS: [&str; 13] = [
    "queue/a",
    "queue/b",
    "queue/a/key/*",
    "queue/b/key/*",
    "queue/a/key/k",
    "queue/a/key/*k",
    "queue/a/project/*",
    "queue/b/project/film",
    "project/*",
    "project/film",
    "project/default",
    "owner/*",
    "owner/acme",
];

/// Those that hold for a queue as a whole, or for one tenant of a queue that is fair between keys.
const OF_KEYS: [&str; 6] =
    ["queue/a", "queue/b", "queue/a/key/*", "queue/b/key/*", "queue/a/key/k", "queue/a/key/*k"];

pub(super) async fn all_schedules(store: &dyn Store) -> Vec<Schedule> {
    let page = store.schedules(ScheduleFilter::default(), PageRequest::first(100)).await;
    page.expect("schedules are listed").items
}

pub(super) async fn all_supplies(store: &dyn Store) -> Vec<Supply> {
    store.supplies(PageRequest::first(100)).await.expect("supplies are listed").items
}

impl History {
    /// Fair between keys in some histories, and between projects in the others: whose turn it is among several tenants that wait at one
    /// limit is promised to nobody (`docs/order.md`), and limits of projects and owners hold for several keys.
    fn drawn_order(&mut self) -> QueueOrder {
        let drawn = order(&mut self.random);
        let by = if self.by_key { FairBy::Key } else { FairBy::Project };
        QueueOrder { fair: drawn.fair.map(|_| by), ..drawn }
    }

    /// Sets a limit or an owner, or takes one away.
    pub(super) async fn limit(&mut self, trace: &mut Trace) {
        let (now, random) = (self.now, &mut self.random);
        if random.once_in(4) {
            let project = name(PROJECTS[random.below(3) as usize]);
            let owner = (!random.once_in(3)).then(|| name(["acme", "bolt"][random.below(2) as usize]));
            let set = SetOwner { now, project, owner, by: None, reason: None };
            trace.command = format!("{set:?}");
            same(self.real.set_owner(set.clone()).await, self.model.set_owner(set).await);
            return;
        }
        if random.once_in(3) {
            let queue = name(QUEUES[random.below(2) as usize]);
            let order = self.drawn_order();
            let order = OrderQueue { now, queue, order };
            trace.command = format!("{order:?}");
            same(self.real.order_queue(order.clone()).await, self.model.order_queue(order).await);
            return;
        }
        if random.once_in(3) {
            let queue = name(QUEUES[random.below(2) as usize]);
            let set = SetDefaults { now, queue, change: defaults_change(random) };
            trace.command = format!("{set:?}");
            same(self.real.set_defaults(set.clone()).await, self.model.set_defaults(set).await);
            return;
        }
        let on =
            name(random.pick(if self.by_key { &OF_KEYS[..] } else { &LIMITS[..] }).expect("some limits"));
        let rules = (!random.once_in(3)).then(|| rules(random, &on));
        let set = SetLimit { now, on, rules, by: None, reason: None };
        trace.command = format!("{set:?}");
        same(self.real.set_limit(set.clone()).await, self.model.set_limit(set).await);
    }

    /// Changes a schedule, or has happen what is due.
    pub(super) async fn schedule(&mut self, shape: &Shape, trace: &mut Trace) {
        let (now, random) = (self.now, &mut self.random);
        if self.ids.len() < shape.tasks && random.once_in(2) {
            trace.command = format!("what is due at {now}");
            self.bench.settle().await;
            let tell = |key: &ScheduleKey, error: &StoreError| panic!("{key}: {error}");
            let real = run_due(&*self.real, now, || false, tell).await;
            same(real, run_due(&self.model, now, || false, tell).await);
            for schedule in all_schedules(&self.model).await {
                self.ids.extend(schedule.last.map(|last| last.task));
            }
            self.ids.sort();
            self.ids.dedup();
            return;
        }
        let key = key(PROJECTS[random.below(2) as usize], ["early", "late"][random.below(2) as usize]);
        let spec = self.bench.spec(["render", "bake"][random.below(2) as usize]);
        let spec = spec.queue(QUEUES[random.below(2) as usize]);
        let change = schedule_change(random, spec, now);
        let set = SetSchedule { key, change, said: Said { now, by: None, reason: None } };
        trace.command = format!("{set:?}");
        same(self.real.set_schedule(set.clone()).await, self.model.set_schedule(set).await);
    }

    /// Changes the supply of a queue, or refills it.
    pub(super) async fn supply(&mut self, shape: &Shape, trace: &mut Trace) {
        let (now, random) = (self.now, &mut self.random);
        let queue = name(QUEUES[random.below(2) as usize]);
        if self.ids.len() < shape.tasks && random.once_in(2) {
            let refill = Refill { now, queue };
            trace.command = format!("{refill:?}");
            self.bench.settle().await;
            let before = self.model.supply(&refill.queue).await.ok();
            same(self.real.refill(refill.clone()).await, self.model.refill(refill.clone()).await);
            if let (Some(before), Ok(after)) = (before, self.model.supply(&refill.queue).await) {
                let new = (before.next_index..after.next_index).map(|index| after.task_id(index, now));
                self.ids.extend(new);
            }
            return;
        }
        let project = PROJECTS[random.below(3) as usize];
        let task = |task_type: &str| {
            let spec = self.bench.spec(task_type);
            baton_model::TaskSpec { project: name(project), ..spec }
        };
        let change = supply_change(random, ["render", "bake"].map(task));
        let set = SetSupply { queue, change, said: Said { now, by: None, reason: None } };
        trace.command = format!("{set:?}");
        same(self.real.set_supply(set.clone()).await, self.model.set_supply(set).await);
    }
}
