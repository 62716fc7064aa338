//! Supply: where one stands and what it says lie apart ([`crate::planned`]), as each refill writes the former anew together with its tasks.
//! The queue's record says that there is one: a claim reads that anyway.
//!
//! The index of ready tasks may trail behind the table, so that a count of it alone would create twice what it does not show yet.
//! Therefore the item names the tasks that its refills have created and that were ready when they were counted last: of these the ones
//! that the index does not show are read as they are. No more are named than the target, 16 bytes each.

use std::collections::BTreeSet;

use baton_model::supply::{MOST_SUPPLIES, changed};
use baton_model::takes::Takers;
use baton_model::{Label, QueueName, Supply, SupplyPlan, TaskId, TaskState, Timestamp};
use baton_store::transfer::{ImportError, Verdict, supply_onto};
use baton_store::{
    Changed, Claim, ClaimAnswer, Create, Cursor, Nothing, Page, PageRequest, Refill, Refilled, SetSupply,
    StoreError,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::attr::{Fields, Item, b, json, n, s, time};
use crate::create::Batch;
use crate::db::{Query, Range};
use crate::error::{contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::planned::{PLANNED, Planned};
use crate::queue::{SUPPLIED, StoredQueue};
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::{ROUNDS, is_marked};

/// How many places of a queue are looked at at the same time.
const AT_ONCE: usize = 16;

/// Where a supply stands: all of it but its plan.
#[derive(Serialize, Deserialize)]
struct Place {
    next_index: u64,
    filling: bool,
    refilled_at: Option<Timestamp>,
    created_at: Timestamp,
    changed_at: Timestamp,
    changed_by: Option<Label>,
    reason: Option<String>,
}

/// A supply as the table has it.
pub(crate) struct StoredSupply {
    pub(crate) supply: Supply,
    /// The revision that wrote the plan.
    planned: u64,
    /// Tasks that its refills have created and that were ready when they were counted last.
    made: Vec<TaskId>,
}

impl Planned for StoredSupply {
    const WHAT: &'static str = "the supply";
    const STATES: &'static str = "SU";
    const PLANS: &'static str = "SU#p";
    const COUNTED: &'static str = "supplies";
    const MOST: u64 = MOST_SUPPLIES;

    fn too_many() -> StoreError {
        StoreError::too_many_supplies()
    }

    fn read(state: &Item, plan: &Item) -> Result<Self, StoreError> {
        let (fields, said) = (Fields(state), Fields(plan));
        let lacks = |what: &str| damaged(format!("a supply lacks {what}"));
        let place: Place = fields.maybe_json("st")?.ok_or_else(|| lacks("where it stands"))?;
        let plan: SupplyPlan = said.maybe_json("pl")?.ok_or_else(|| lacks("its plan"))?;
        let made = fields.maybe_bytes("mt")?.unwrap_or_default().as_chunks::<16>().0;
        let supply = Supply {
            queue: QueueName::from_stored(fields.text("sk")?),
            plan,
            seed: fields.maybe_sixteen("sd")?.ok_or_else(|| lacks("its seed"))?,
            next_index: place.next_index,
            filling: place.filling,
            refilled_at: place.refilled_at,
            revision: fields.number("rv")?,
            created_at: place.created_at,
            changed_at: place.changed_at,
            changed_by: place.changed_by,
            reason: place.reason,
        };
        let made = made.iter().map(|id| TaskId::from_bytes(*id)).collect();
        Ok(Self { supply, planned: fields.number(PLANNED)?, made })
    }

    fn planned(&self) -> u64 {
        self.planned
    }

    fn state_item(&self, mark: u64) -> Result<Item, StoreError> {
        let supply = &self.supply;
        let place = Place {
            next_index: supply.next_index,
            filling: supply.filling,
            refilled_at: supply.refilled_at,
            created_at: supply.created_at,
            changed_at: supply.changed_at,
            changed_by: supply.changed_by.clone(),
            reason: supply.reason.clone(),
        };
        let mut item = Self::state_key(supply.queue.as_str());
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("st", s(json("where a supply stands", &place)?));
        put("sd", b(supply.seed));
        put("rv", n(supply.revision));
        put(PLANNED, n(self.planned));
        put("nc", n(mark));
        if !self.made.is_empty() {
            put("mt", b(self.made.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>()));
        }
        Ok(item)
    }

    fn plan_item(&self) -> Result<Item, StoreError> {
        let mut item = Self::plan_key(self.supply.queue.as_str());
        item.insert("pl".to_owned(), s(json("a supply's plan", &self.supply.plan)?));
        item.insert(PLANNED.to_owned(), n(self.planned));
        Ok(item)
    }

    fn as_read(&self) -> Expression {
        Expression::new().when("rv", "=", n(self.supply.revision)).when("sd", "=", b(self.supply.seed))
    }
}

/// What is ready of a queue.
struct Counted {
    ready: u32,
    /// Those that refills have created.
    made: Vec<TaskId>,
}

impl Inner {
    async fn stored_supply(&self, queue: &QueueName) -> Result<Option<StoredSupply>, StoreError> {
        self.db.planned(queue.as_str()).await
    }

    pub(crate) async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError> {
        let found = self.stored_supply(queue).await?;
        found.map(|stored| stored.supply).ok_or_else(|| StoreError::SupplyNotFound(queue.clone()))
    }

    pub(crate) async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError> {
        let SetSupply { queue, change, said } = set;
        for _ in 0..ROUNDS {
            let before = self.stored_supply(&queue).await?;
            let from = before.as_ref().map(|stored| stored.supply.clone());
            let to = changed(&queue, from.as_ref(), &change, &said);
            let changes = from.as_ref().map(|from| from.revision) != to.as_ref().map(|to| to.revision);
            if !changes || self.write_supply(&queue, before.as_ref(), to.as_ref(), said.now).await? {
                match &to {
                    Some(_) => self.doorbell.asked(&queue),
                    None => drop(self.forget_unused(&queue).await?),
                }
                return Ok(Changed { from, to });
            }
        }
        Err(contended("the supply"))
    }

    /// Writes a supply in the place of what was read, or removes it. Says whether it still stood so.
    async fn write_supply(
        &self,
        queue: &QueueName,
        before: Option<&StoredSupply>,
        to: Option<&Supply>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let stored = to.map(|to| {
            let same = before.filter(|before| before.supply.plan == to.plan).map(|before| before.planned);
            StoredSupply {
                supply: to.clone(),
                planned: same.unwrap_or(to.revision),
                made: before.map(|before| before.made.clone()).unwrap_or_default(),
            }
        });
        let told = match (before, to) {
            (None, Some(_)) => Some(Expression::new().set_if_absent("ca", time(now)).set(SUPPLIED, n(1))),
            (Some(_), None) => Some(Expression::new().remove(SUPPLIED)),
            _ => None,
        };
        let told = told.map(|told| self.db.update_write(keys::queue(queue), &told)).transpose()?;
        self.db.put_planned(queue.as_str(), before, stored.as_ref(), told).await
    }

    /// Supplies by queue.
    pub(crate) async fn supplies(&self, page: &PageRequest) -> Result<Page<Supply>, StoreError> {
        let from = match &page.after {
            None => " ".to_owned(),
            Some(Cursor(after)) if after.parse::<QueueName>().is_ok() => format!("{after}\u{1}"),
            Some(_) => return Err(StoreError::BadCursor),
        };
        let range = Range::AtLeast(from);
        let (states, next) =
            self.page_of(Query { range, ..Query::table(StoredSupply::STATES) }, page.limit, "sk").await?;
        let found: Vec<StoredSupply> = self.db.planned_at(&states).await?;
        Ok(Page { items: found.into_iter().map(|stored| stored.supply).collect(), next })
    }

    pub(crate) async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError> {
        let Refill { now, queue } = refill;
        let Some(before) = self.stored_supply(&queue).await? else { return Ok(Refilled::NoSupply) };
        let supply = &before.supply;
        if supply.plan.paused {
            return Ok(Refilled::Enough);
        }
        let Some(counted) = self.count_ready(&before, now).await? else { return Ok(Refilled::Enough) };
        let Some(missing) = supply.missing(counted.ready, now) else { return Ok(Refilled::Enough) };
        if supply.plan.while_asked && !self.is_asked(supply, now).await? {
            return Ok(Refilled::NotAsked);
        }
        let (more, by, wanted) = (missing.after.filling, Some(supply.by()), missing.tasks.len());
        let mut made = counted.made;
        made.extend(missing.tasks.iter().map(|task| task.id));
        let mark = self.db.draw();
        let stored = StoredSupply { supply: missing.after, planned: before.planned, made };
        let write = self.db.put_write(stored.state_item(mark)?, &before.as_read())?;
        let create = Create { now, tasks: missing.tasks, atomic: false, idempotency: None, by };
        match self.create_along(&create, Batch::default(), Some(write)).await? {
            Ok(answer) => Ok(Refilled::Created { tasks: answer.created(), more }),
            // The first sending of this very write went through, and its answer was lost.
            Err(Some(standing)) if is_marked(&standing, mark)? => {
                Ok(Refilled::Created { tasks: u32::try_from(wanted).unwrap_or(u32::MAX), more })
            }
            Err(_) => Ok(Refilled::Superseded),
        }
    }

    /// Counts the ready tasks of a queue: those that the index shows, and those that refills have created and it does not show, if they
    /// are ready. None if the index shows enough of them.
    async fn count_ready(
        &self,
        stored: &StoredSupply,
        now: Timestamp,
    ) -> Result<Option<Counted>, StoreError> {
        let StoredSupply { supply, made, .. } = stored;
        let now = supply.as_of(now);
        let queue = self.stored_queue(&supply.queue).await?;
        let shown = match &queue {
            Some(queue) => self.shown_ready(queue, now, supply.plan.target).await?,
            None => BTreeSet::new(),
        };
        let mut ready = u32::try_from(shown.len()).unwrap_or(u32::MAX);
        if !supply.is_short(ready) {
            return Ok(None);
        }
        let (mut still, unshown): (Vec<TaskId>, Vec<TaskId>) = made.iter().partition(|id| shown.contains(id));
        let keys = unshown.into_iter().map(|id| self.task_key(id)).collect();
        for item in self.db.get_all(keys).await? {
            let Some(task) = self.db.read_one(&item, Stored::read) else { continue };
            // One that has gone to a later time was there for long: the index will show it then. An id may have been another's.
            let is_ready = task.head.state == TaskState::Queued && task.head.run_after <= now;
            if is_ready && task.queue == supply.queue {
                still.push(task.head.id);
                ready = ready.saturating_add(1);
            }
        }
        Ok(Some(Counted { ready, made: still }))
    }

    /// The ready tasks of a queue that the index shows, about up to `most`.
    async fn shown_ready(
        &self,
        queue: &StoredQueue,
        now: Timestamp,
        most: u32,
    ) -> Result<BTreeSet<TaskId>, StoreError> {
        let due = Range::Below(keys::sortable(Timestamp::from_millis(now.as_millis().saturating_add(1))));
        let limit = Some(i32::try_from(most).unwrap_or(i32::MAX));
        let looks = queue.partitions().into_iter().map(|partition| {
            let query = Query { range: due.clone(), limit, ..Query::index(partition) };
            self.shown_in(query, most)
        });
        let mut looks = futures::stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut shown = BTreeSet::new();
        while let Some(found) = looks.next().await {
            shown.extend(found?);
            if shown.len() >= most as usize {
                break;
            }
        }
        Ok(shown)
    }

    async fn shown_in(&self, mut query: Query, most: u32) -> Result<Vec<TaskId>, StoreError> {
        let mut shown = Vec::new();
        loop {
            let found = self.db.query(&query).await?;
            let ids =
                found.items.iter().filter_map(|item| Fields(item).text("sk").ok()?.parse::<TaskId>().ok());
            shown.extend(ids);
            match found.next {
                Some(next) if shown.len() < most as usize => query.start = Some(next),
                _ => return Ok(shown),
            }
        }
    }

    /// Whether a live worker takes such tasks as a supply creates; those that were not looked at may.
    async fn is_asked(&self, supply: &Supply, now: Timestamp) -> Result<bool, StoreError> {
        let (workers, unseen) = self.some_workers().await?;
        let takers: Vec<_> = workers.iter().map(|worker| worker.taker(&self.options.policy, now)).collect();
        let is_taken = |wanted| {
            !matches!(Takers::among(takers.clone(), unseen, &wanted, now), Takers::None { unseen: false, .. })
        };
        Ok(supply.plan.wanted(&supply.queue).any(is_taken))
    }

    /// Tells that a claim has come to queues that have a supply. Of one that was given nothing as its worker may have no more, nothing
    /// follows.
    pub(crate) fn tell_supplied(&self, claim: &Claim, queues: &[StoredQueue], answer: &ClaimAnswer) {
        use Nothing::{NoneQueued, NotWarm, Paused, Scheduled};
        let closed: &[QueueName] = match answer {
            ClaimAnswer::Leased(_) | ClaimAnswer::Nothing(NoneQueued | NotWarm | Scheduled { .. }) => &[],
            ClaimAnswer::Nothing(Paused { queues }) => queues,
            ClaimAnswer::Nothing(_) => return,
        };
        let is_asked = |name: &QueueName| claim.queues.contains(name) && !closed.contains(name);
        let supplied = queues.iter().filter(|queue| queue.supplied && is_asked(&queue.name));
        supplied.for_each(|queue| self.doorbell.asked(&queue.name));
    }

    /// Takes in a supply that another store has read out.
    pub(crate) async fn import_supply(&self, record: &Supply) -> Result<Verdict, ImportError> {
        let before = self.stored_supply(&record.queue).await?;
        let verdict = supply_onto(record, before.as_ref().map(|stored| &stored.supply))?;
        let (queue, now) = (&record.queue, record.changed_at);
        if verdict != Verdict::Same && !self.write_supply(queue, before.as_ref(), Some(record), now).await? {
            return Err(contended("the supply").into());
        }
        Ok(verdict)
    }
}
