//! Claims that are sent again under their request key.
//!
//! A claim with a key writes down which tasks it is about to take, with their attempts, before it takes them. Whoever
//! sends the same claim finds this plan and carries it out: each task is taken at most once for it, as the attempt
//! names the one state that it may be taken from. So a claim cut off in the middle is finished by its repetition, and
//! no transaction holds plan and tasks together. Only who carries out what another sending has planned takes each task together with
//! a mark of the plan: that one may have found nothing to take by then, and have planned anew in its place.
//!
//! Nobody reads a plan before: nearly every claim is sent once, and a read as of now costs as much as a fifth of the plan. A
//! repetition that finds tasks has its own plan refused by the one that stands; one that finds none looks for it.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::watch::AHEAD;
use baton_model::{TaskId, Timestamp};
use baton_store::{Claim, ClaimAnswer, Nothing, StoreError};

use crate::attr::{Fields, Item, n, s, time};
use crate::claim::{Entered, holds};
use crate::db::list;
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;

/// How long the name of a claim request is remembered: an hour, in seconds.
pub(crate) const KEPT_S: i64 = 3_600;

/// The attribute of a generation that says when the claim was planned that came with its completion.
const CARRIED_AT: &str = "pt";

/// Tasks and their attempts, as items have them.
fn planned(tasks: &[(TaskId, u32)]) -> AttributeValue {
    list(tasks.iter().map(|(id, attempt)| s(format!("{id}#{attempt}"))))
}

/// A claim request that was sent before: its record's key, its version, and what it was to take.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    key: Item,
    version: u64,
    /// The time by the clock of who planned it.
    at: Timestamp,
    pub(crate) tasks: Vec<(TaskId, u32)>,
    /// Whether it is known that something was taken for it: under a limit, or in the store that it was moved from.
    pub(crate) answered: bool,
}

impl Plan {
    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        Self::read_of(item, Fields(item).time("ca")?)
    }

    /// What a claim was to take that came with a completion, as the generation's item tells it; none if there was no such claim.
    pub(crate) fn read_carried(item: &Item) -> Result<Option<Self>, StoreError> {
        let at = Fields(item).maybe_time(CARRIED_AT)?;
        at.map(|at| Self::read_of(item, at)).transpose()
    }

    /// The plan of a claim that comes with the completion of this generation.
    pub(crate) fn carried(generation: Item, at: Timestamp, tasks: Vec<(TaskId, u32)>) -> Self {
        Self { key: generation, version: 1, at, tasks, answered: false }
    }

    /// Puts it into the item of its generation.
    pub(crate) fn put_carried(at: Timestamp, tasks: &[(TaskId, u32)], item: &mut Item) {
        item.insert("vn".to_owned(), n(1));
        item.insert("pl".to_owned(), planned(tasks));
        item.insert(CARRIED_AT.to_owned(), time(at));
    }

    fn read_of(item: &Item, at: Timestamp) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let mut tasks = Vec::new();
        for text in fields.texts("pl")? {
            let planned = text.split_once('#').and_then(|(id, n)| Some((id.parse().ok()?, n.parse().ok()?)));
            tasks.push(planned.ok_or_else(|| damaged(format!("expected a planned task, got {text}")))?);
        }
        let key = crate::attr::key(fields.text("pk")?, fields.text("sk")?);
        Ok(Self { key, version: fields.number("vn")?, at, tasks, answered: fields.has("aw") })
    }

    /// What is written to it together with a task that is taken for it, if it stands; see [`Spent`]. One of the two writes is refused
    /// if another plan stands in place of this one.
    pub(crate) fn spent(&self) -> (Item, Expression) {
        (self.key.clone(), Expression::new().when("vn", "=", n(self.version)).set("aw", n(1)))
    }

    /// What is written to the plan of a generation that was found void, if it still stands so: nobody finds it afterwards, and who has
    /// read it before takes nothing for it under a limit.
    pub(crate) fn retired(&self) -> (Item, Expression) {
        let stands = Expression::new().when("vn", "=", n(self.version)).when_absent("aw");
        (self.key.clone(), stands.set("vn", n(self.version + 1)).remove(CARRIED_AT))
    }

    /// Whether it is past its keeping, and only not removed yet.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.at.as_millis() / 1_000 + KEPT_S <= now.as_millis() / 1_000
    }
}

/// When a plan is written to together with each task that is taken for it.
#[derive(Clone, Copy)]
pub(crate) enum Spent<'a> {
    /// By the sending that has written it, right afterwards: only under a limit, which may have stopped the task and let it start by
    /// now. Else the task is as it was before the plan was there, and no sending has found it void.
    UnderLimits(&'a Plan),
    /// By a sending that has read it: another may have found it void since and have planned anew, and its tasks be free nevertheless.
    /// One that was changed or retried is, for whom its write was refused.
    Always(&'a Plan),
}

impl<'a> Spent<'a> {
    pub(crate) fn plan(self) -> &'a Plan {
        match self {
            Self::UnderLimits(plan) | Self::Always(plan) => plan,
        }
    }

    pub(crate) fn always(self) -> bool {
        matches!(self, Self::Always(_))
    }
}

/// What became of a request that was sent before.
pub(crate) enum Replay {
    /// It has its answer.
    Answer(ClaimAnswer),
    /// Nothing of what it planned was ever its own.
    Void,
}

impl Inner {
    /// What was planned for a claim before, if that is remembered.
    pub(crate) async fn planned(&self, claim: &Claim) -> Result<Option<Plan>, StoreError> {
        let Some(request) = &claim.request else { return Ok(None) };
        let item = self.db.get(keys::request(&claim.worker, request)).await?;
        let plan = item.as_ref().map(Plan::read).transpose()?;
        Ok(plan.filter(|plan| !plan.is_forgotten(claim.now)))
    }

    /// Writes down what a claim is about to take, in place of what is `known` to be planned for it. If another sending of the
    /// same claim was faster, gives its plan.
    pub(crate) async fn plan(
        &self,
        claim: &Claim,
        known: &mut Option<Plan>,
        tasks: Vec<(TaskId, u32)>,
    ) -> Result<Option<Plan>, StoreError> {
        let Some(request) = &claim.request else { return Ok(None) };
        // A void plan is replaced where it lies: the same name must not have two.
        let (key, version, condition) = match known.as_ref() {
            None => {
                let forgotten = n(claim.now.as_millis() / 1_000);
                let key = keys::request(&claim.worker, request);
                (key, 1, Expression::new().when_absent_or("xp", "<=", forgotten))
            }
            Some(void) => {
                let stands = Expression::new().when("vn", "=", n(void.version)).when_absent("aw");
                (void.key.clone(), void.version + 1, stands)
            }
        };
        let mark = self.mark(&(claim.now, &tasks));
        let mut item = key.clone();
        item.insert("vn".to_owned(), n(version));
        item.insert("pl".to_owned(), planned(&tasks));
        item.insert("ca".to_owned(), time(claim.now));
        item.insert("nc".to_owned(), n(mark));
        item.insert("xp".to_owned(), n(claim.now.as_millis() / 1_000 + KEPT_S));
        match self.db.put(item, condition).await {
            Ok(()) => {}
            Err(WriteError::Condition(Some(item))) if crate::transition::is_marked(&item, mark)? => {}
            Err(WriteError::Condition(Some(item))) => return Plan::read(&item).map(Some),
            // Purged between the look and the write.
            Err(WriteError::Condition(None)) => return Err(crate::error::contended("the claim's name")),
            Err(WriteError::Failed(error)) => return Err(error),
        }
        *known = Some(Plan { key, version, at: claim.now, tasks, answered: false });
        Ok(None)
    }

    /// Whether a request has had something of what was planned for it, also if its worker has ended that by now.
    pub(crate) async fn is_spent(&self, claim: &Claim, plan: &Plan) -> Result<bool, StoreError> {
        if plan.answered {
            return Ok(true);
        }
        let found = self.db.get_all(plan.tasks.iter().map(|(id, _)| self.task_key(*id)).collect()).await?;
        let had = |task: &Stored| {
            let planned = plan.tasks.iter().find(|(id, _)| *id == task.head.id);
            planned.is_some_and(|(_, attempt)| {
                task.head.attempt >= *attempt && !is_anothers(task, claim, *attempt)
            })
        };
        Ok(found.iter().filter_map(|item| self.db.read_one(item, Stored::read)).any(|task| had(&task)))
    }

    /// Carries out what was planned for a request, as far as that is still open, and answers with what it holds.
    pub(crate) async fn replay(&self, claim: &Entered<'_>, plan: &Plan) -> Result<Replay, StoreError> {
        // What was due when it was planned is due, too, by a clock that is behind: else two processes that hear one claim at
        // once would give it two sets of tasks.
        let planned_at = Some(plan.at).filter(|at| *at <= claim.now.plus(AHEAD));
        let later =
            Claim { now: planned_at.map_or(claim.now, |at| at.max(claim.now)), ..claim.claim.clone() };
        let limits = claim.limits.anew();
        let claim =
            &Entered { claim: &later, beats: claim.beats, active: claim.active, limits, begun: claim.begun };
        let keys = plan.tasks.iter().map(|(id, _)| self.task_key(*id)).collect();
        let items = self.db.get_all(keys).await?;
        let mut stored: Vec<Stored> =
            items.iter().filter_map(|item| self.db.read_one(item, Stored::read)).collect();
        let mut held = Vec::new();
        let mut had = plan.answered;
        for (id, attempt) in &plan.tasks {
            let Some(place) = stored.iter().position(|task| task.head.id == *id) else {
                had = true;
                continue;
            };
            let task = stored.swap_remove(place);
            // The first answer may have been to a caller that reaches more.
            if claim.caller.project().is_some_and(|project| task.project != *project) {
                had = true;
                continue;
            }
            if holds(&task, claim, *attempt) {
                held.extend(self.whole_task(task).await?);
            } else if task.head.attempt + 1 == *attempt && due(&task, claim.now) {
                held.extend(self.take(claim, Some(Spent::Always(plan)), task, None).await?);
            } else if task.head.attempt >= *attempt {
                had |= !is_anothers(&task, claim, *attempt);
            }
        }
        if held.is_empty() && !had {
            return Ok(Replay::Void);
        }
        held.sort_by_key(|task| (task.priority, task.head.run_after, task.head.id));
        Ok(Replay::Answer(if held.is_empty() {
            ClaimAnswer::Nothing(Nothing::RequestSpent)
        } else {
            ClaimAnswer::Leased(held)
        }))
    }
}

fn due(task: &Stored, now: Timestamp) -> bool {
    task.head.state == baton_model::TaskState::Queued && task.head.run_after <= now
}

/// Whether a planned attempt is for sure not the request's: of a later one it is not told any more whose it was.
fn is_anothers(task: &Stored, claim: &Claim, attempt: u32) -> bool {
    if task.head.attempt != attempt {
        return false;
    }
    match &task.head.state {
        baton_model::TaskState::Running(lease) => {
            lease.worker != claim.worker || lease.request != claim.request
        }
        _ => task.head.ended.as_ref().is_some_and(|end| end.worker != claim.worker),
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{Bounds, Fence, GenerationId, Output, RunAfter, TaskSpec};
    use baton_store::{Complete, Create, TaskStore as _};

    use super::*;
    use crate::testing::{store, task};
    use crate::{DynamoStore, Options};

    /// Two tasks wait, and a claim with a name is on its way.
    async fn two_waiting() -> (DynamoStore, Claim, [TaskId; 2]) {
        let store = store(Options::seeded(1)).await;
        let (now, first) = (Timestamp::from_millis(1_800_000_000_000), task(1, RunAfter::Now));
        let second = TaskSpec { id: task(2, RunAfter::Now).id, ..first.clone() };
        let ids = [first.id, second.id];
        let create = Create { now, tasks: vec![first, second], atomic: true, idempotency: None, by: None };
        store.create(create).await.unwrap();
        let claim = Claim {
            queues: vec!["a".parse().unwrap()],
            request: Some("r".parse().unwrap()),
            ..Claim::new("w".parse().unwrap(), now)
        };
        (store, claim, ids)
    }

    /// A server writes down what it is about to take, and stalls; the same claim is sent to another one, and its worker ends the task.
    #[tokio::test]
    async fn what_another_sending_was_given_makes_a_claim_spent_also_once_that_has_ended() {
        let (store, claim, [first, _]) = two_waiting().await;
        let planned = vec![(first, 1)];
        let mut known = None;
        assert!(store.inner.plan(&claim, &mut known, planned).await.unwrap().is_none());
        let plan = known.expect("it is written down");
        assert!(!store.inner.is_spent(&claim, &plan).await.unwrap(), "nothing is taken yet");

        let ClaimAnswer::Leased(given) = store.claim(claim.clone()).await.unwrap() else {
            panic!("given nothing")
        };
        assert_eq!(given.iter().map(|task| task.head.id).collect::<Vec<_>>(), [plan.tasks[0].0]);
        assert!(store.inner.is_spent(&claim, &plan).await.unwrap());
        let complete = Complete {
            now: claim.now,
            task: given[0].head.id,
            fence: Fence { worker: claim.worker.clone(), attempt: 1 },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes([9; 16]),
            output: Output::default(),
            ran: None,
        };
        store.complete(complete, None).await.unwrap();
        assert!(store.inner.is_spent(&claim, &plan).await.unwrap(), "it was had");
    }

    /// A sending plans a task that is changed before it takes it, and so plans another one in its place. Meanwhile another sending has read
    /// the first plan, and the task waits still.
    #[tokio::test]
    async fn a_plan_that_another_stands_in_place_of_is_carried_out_by_nobody() {
        let (store, claim, [first, second]) = two_waiting().await;
        let (one, other) = (vec![(first, 1)], vec![(second, 1)]);
        let mut known = None;
        assert!(store.inner.plan(&claim, &mut known, one).await.unwrap().is_none());
        let read = store.inner.planned(&claim).await.unwrap().expect("it is written down");
        assert!(store.inner.plan(&claim, &mut known, other.clone()).await.unwrap().is_none());
        assert!(matches!(store.inner.replay_anew(&claim, &read).await.unwrap(), Replay::Void));

        let ClaimAnswer::Leased(given) = store.claim(claim.clone()).await.unwrap() else {
            panic!("given nothing")
        };
        assert_eq!(given.iter().map(|task| (task.head.id, task.head.attempt)).collect::<Vec<_>>(), other);
        assert!(matches!(store.inner.replay_anew(&claim, &read).await.unwrap(), Replay::Void));
        assert_eq!(store.inner.active(&claim, &[]).await.unwrap(), 1, "one set of leases");
    }
}
