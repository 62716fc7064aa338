//! Claims that come with a completion and are named by it ([`RequestKey::of_completion`]).
//!
//! The plan of such a claim needs no item of its own. What it is about to take is looked for before the completion, and written down
//! with the generation, in the transaction that is made anyway: a request and a write unit less. Who sends the completion again
//! finds the generation, and the plan with it. No other claim may have such a name, so that nobody looks for it elsewhere.
//!
//! Where the look finds nothing, or takes too long, or more than a plain look is needed, the claim is made once the completion stands,
//! and its plan lies where those of all other claims do. So a repetition looks there first: what stands there came after the plan of
//! the generation had brought nothing, and was taken back. Where a look is likely to be in vain, none is made.
//! `docs/decisions/0066-claims-named-by-completions.md`

use std::time::Duration;

use baton_model::{Directive, GenerationId, RequestKey, TaskId, Timestamp, Worker};
use baton_store::{Claim, ClaimAnswer, Complete, Ready, StoreError};
use tokio::sync::RwLockReadGuard;
use tokio::time::Instant;

use crate::attr::Item;
use crate::claim::{Entered, STALE};
use crate::ending::Attempt;
use crate::error::{WriteError, contended};
use crate::lane::Choice;
use crate::look::Candidate;
use crate::queue::StoredQueue;
use crate::request::{Plan, Replay};
use crate::store::Inner;

/// How long a completion is kept by what its claim looks for: its attempt may be lost meanwhile, and its output with it.
const WITHIN: Duration = Duration::from_millis(500);

/// How many tasks a plan with a generation has at most: 350 bytes, so that most generations take no write unit more for it.
const MOST_TASKS: u32 = 8;

/// How often the plan of a generation is carried out by one claim: once more if it was written to while it was found void.
const ROUNDS: u32 = 2;

/// What a claim is about to take once the completion stands that it comes with.
pub(crate) struct Ahead<'a> {
    claim: Entered<'a>,
    queues: Vec<StoredQueue>,
    found: Found<'a>,
    /// A limit that is set meanwhile waits for it, as for every claim.
    under_way: RwLockReadGuard<'a, ()>,
}

impl Ahead<'_> {
    fn tasks(&self) -> Vec<(TaskId, u32)> {
        self.found.due.iter().map(|one| (one.entry.head.id, one.entry.head.attempt + 1)).collect()
    }

    /// Writes it down with the generation.
    pub(crate) fn put(&self, generation: &mut Item) {
        Plan::put_carried(self.claim.now, &self.tasks(), generation);
    }
}

/// What was found, and is reserved among the claims of this process. Some may have passed it over and wait by now: if it is dropped
/// untaken, they are woken.
struct Found<'a> {
    inner: &'a Inner,
    due: Vec<Candidate<'a>>,
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        let given_back = |Candidate { entry, reserved, .. }: Candidate<'_>| {
            drop(reserved);
            let (queue, task_type) = (entry.queue, Some(entry.task_type));
            Ready { queue, task_type, count: 1, run_after: entry.head.run_after }
        };
        let free: Vec<Ready> = self.due.drain(..).map(given_back).collect();
        free.into_iter().for_each(|ready| self.inner.doorbell.ring(ready));
    }
}

/// Whether a claim is named by the completion that it comes with.
pub(crate) fn is_carried(complete: &Complete, claim: &Claim) -> bool {
    let fence = &complete.fence;
    claim.worker == fence.worker
        && claim.request == Some(RequestKey::of_completion(complete.task, fence.attempt))
}

impl Inner {
    /// Looks for what a claim is to take before the completion is written that it comes with. None: the claim is made
    /// afterwards, as any other.
    pub(crate) async fn look_ahead<'a>(&'a self, claim: &'a Claim, ended: &[Attempt]) -> Option<Ahead<'a>> {
        if !self.is_worth_a_look(claim) {
            return None;
        }
        // Neither an error nor a table that does not answer may keep the completion; the claim that follows tells its caller if it is
        // still so. To give up at any point is safe: nothing is taken yet, and what is reserved is given back.
        match tokio::time::timeout(WITHIN, self.find_ahead(claim, ended)).await {
            Ok(Ok(ahead)) => return ahead,
            Ok(Err(error)) => {
                tracing::debug!(worker = %claim.worker, %error, "a claim found nothing ahead of its completion");
            }
            Err(error) => {
                tracing::debug!(worker = %claim.worker, %error, "a look ahead of a completion took too long");
            }
        }
        self.notes.note_in_vain(claim);
        None
    }

    /// Whether a look for what a claim is to take is likely to bring a plan that is carried: else it would be paid for twice.
    fn is_worth_a_look(&self, claim: &Claim) -> bool {
        claim.max_tasks.min(claim.cap) <= MOST_TASKS && !self.knows_limits() && !self.notes.was_in_vain(claim)
    }

    async fn find_ahead<'a>(
        &'a self,
        claim: &'a Claim,
        ended: &[Attempt],
    ) -> Result<Option<Ahead<'a>>, StoreError> {
        let under_way = self.limits.under_way.read().await;
        let begun = Instant::now();
        let (worker, queues) = self.records(claim).await?;
        // What a claim changes of its worker, such as its start, is not to come before the completion.
        let Some(worker) = worker.filter(|worker| worker.is_as_claimed(claim)) else { return Ok(None) };
        let Worker { directive, alone, beats, .. } = worker.worker;
        if directive != Directive::Run || alone.is_some() {
            return Ok(None);
        }
        let limits = self.limiting(&queues).await?;
        if limits.is_on() {
            self.notes.note_in_vain(claim);
            return Ok(None);
        }
        let active = self.active(claim, ended).await?;
        let claim = Entered { claim, beats, active, limits, begun };
        if active >= claim.cap {
            return Ok(None);
        }
        let open: Vec<&StoredQueue> = queues.iter().filter(|queue| queue.pause.is_none()).collect();
        let choice = Choice::of(&claim);
        for queue in &open {
            self.note_claimed(queue, &choice).await;
        }
        let most = claim.max_tasks.min(claim.cap - active) as usize;
        let look = self.look(&claim, &open, most).await?;
        // What has expired and what is given out alone has a claim write, which is not to be given up halfway.
        if !look.expired.is_empty() || !look.alone.is_empty() {
            self.notes.note_in_vain(&claim);
            return Ok(None);
        }
        let mut due = look.due;
        // The index may still tell of what is about to end as of one that waits.
        due.retain(|one| !ended.iter().any(|(id, _)| *id == one.entry.head.id));
        if due.is_empty() {
            return Ok(None);
        }
        Ok(Some(Ahead { claim, queues, found: Found { inner: self, due }, under_way }))
    }

    /// Takes what a claim has found before the completion of this generation, which stands by now. None: others were faster.
    pub(crate) async fn take_ahead(
        &self,
        ahead: Ahead<'_>,
        generation: GenerationId,
    ) -> Result<Option<ClaimAnswer>, StoreError> {
        let tasks = ahead.tasks();
        let Ahead { claim, queues, mut found, under_way: _under_way } = ahead;
        let plan = Plan::carried(self.generation_key(generation), claim.now, tasks);
        if claim.begun.elapsed() >= STALE {
            // A limit may have been set since, in another process.
            return Ok(None);
        }
        let leased = self.take_all(&claim, Some(&plan), std::mem::take(&mut found.due)).await?;
        if leased.is_empty() {
            return Ok(None);
        }
        let answer = ClaimAnswer::Leased(leased);
        self.tell_supplied(&claim, &queues, &answer);
        Ok(Some(answer))
    }

    /// What a claim is given whose completion stands already: what was planned for it, or, if none of that was ever its own, what is
    /// found now.
    pub(crate) async fn claim_again(
        &self,
        claim: &Claim,
        generation: GenerationId,
        ended: &[Attempt],
    ) -> Result<ClaimAnswer, StoreError> {
        match self.carried_out(claim, generation).await? {
            Some(answer) => Ok(answer),
            None => self.claim(claim, ended).await,
        }
    }

    /// Carries out what was planned for a claim with the generation. None: there is no such plan, or no longer one, and the claim plans
    /// under its own name.
    async fn carried_out(
        &self,
        claim: &Claim,
        generation: GenerationId,
    ) -> Result<Option<ClaimAnswer>, StoreError> {
        if self.planned(claim).await?.is_some() {
            return Ok(None);
        }
        for _ in 0..ROUNDS {
            let Some(plan) = self.carried(generation, claim.now).await? else { return Ok(None) };
            if let Replay::Answer(answer) = self.replay_anew(claim, &plan).await? {
                return Ok(Some(answer));
            }
            if self.retire(&plan).await? {
                return Ok(None);
            }
        }
        Err(contended("the claim's plan"))
    }

    /// Takes back a plan that was found void, before another is made: one sending of the claim would carry out the one, and another
    /// the other. False if it has been written to since it was read.
    async fn retire(&self, plan: &Plan) -> Result<bool, StoreError> {
        let (key, retired) = plan.retired();
        match self.db.update(key, &retired).await {
            Ok(_) => Ok(true),
            Err(WriteError::Condition(_)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// What was planned for the claim that came with the completion of a generation, if that is remembered.
    async fn carried(&self, generation: GenerationId, now: Timestamp) -> Result<Option<Plan>, StoreError> {
        let item = self.db.get(self.generation_key(generation)).await?;
        let plan = item.as_ref().map(Plan::read_carried).transpose()?.flatten();
        Ok(plan.filter(|plan| !plan.is_forgotten(now)))
    }

    pub(crate) async fn replay_anew(&self, claim: &Claim, plan: &Plan) -> Result<Replay, StoreError> {
        let _under_way = self.limits.under_way.read().await;
        let begun = Instant::now();
        let (worker, queues) = self.records(claim).await?;
        let worker = self.enter_session(worker, claim).await?;
        let limits = self.limiting(&queues).await?;
        let claim = Entered { claim, beats: worker.beats, active: 0, limits, begun };
        self.replay(&claim, plan).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use baton_model::{Bounds, Fence, LimitRules, Output, RunAfter, TaskSpec, TaskState};
    use baton_store::{
        CompleteAnswer, Create, Doorbell, LimitStore as _, NoDoorbell, Nothing, SetLimit, TaskStore as _,
    };

    use super::*;
    use crate::testing::{store_with, task};
    use crate::{DynamoStore, Options};

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn claim() -> Claim {
        Claim { queues: vec!["a".parse().unwrap()], ..Claim::new("w".parse().unwrap(), now()) }
    }

    /// A store in which the worker `w` runs the first of five tasks; its completion, and the claim that this names.
    async fn running() -> (DynamoStore, Complete, Claim) {
        running_heard_by(Arc::new(NoDoorbell)).await
    }

    async fn running_heard_by(doorbell: Arc<dyn Doorbell>) -> (DynamoStore, Complete, Claim) {
        let store = store_with(Options::seeded(1), doorbell).await;
        let first = task(1, RunAfter::Now);
        let others = (2..=5).map(|number| TaskSpec { id: task(number, RunAfter::Now).id, ..first.clone() });
        let tasks = [first.clone()].into_iter().chain(others).collect();
        store.create(Create { now: now(), tasks, atomic: true, idempotency: None, by: None }).await.unwrap();
        let given = leased(store.claim(claim()).await.unwrap());
        let complete = Complete {
            now: now(),
            task: given[0],
            fence: Fence { worker: claim().worker, attempt: 1 },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes([9; 16]),
            output: Output::default(),
            ran: None,
        };
        let next = Claim { request: Some(RequestKey::of_completion(given[0], 1)), ..claim() };
        (store, complete, next)
    }

    fn leased(answer: ClaimAnswer) -> Vec<TaskId> {
        match answer {
            ClaimAnswer::Leased(tasks) => tasks.iter().map(|task| task.head.id).collect(),
            other => panic!("expected tasks, got {other:?}"),
        }
    }

    fn brought(answer: CompleteAnswer) -> ClaimAnswer {
        answer.next.expect("a claim came along").unwrap()
    }

    /// The completion with what its claim has found, and nothing after it, as by a process that dies then.
    async fn cut_off(inner: &Inner, complete: &Complete, next: &Claim) -> Vec<TaskId> {
        let ahead = inner.find_ahead(next, &[(complete.task, 1)]).await.unwrap();
        let ahead = ahead.expect("something is found");
        let planned = ahead.tasks().into_iter().map(|(task, _)| task).collect();
        assert!(!inner.completion(complete, Some(&ahead)).await.unwrap().repeated);
        planned
    }

    #[tokio::test]
    async fn what_was_found_ahead_is_taken_by_the_repetition_if_its_process_has_died() {
        let (store, complete, next) = running().await;
        let planned = cut_off(&store.inner, &complete, &next).await;
        assert_eq!(planned.len(), 1);
        for _ in 0..2 {
            let answer = store.complete(complete.clone(), Some(next.clone())).await.unwrap();
            assert!(answer.repeated);
            assert_eq!(leased(brought(answer)), planned);
        }
        assert_eq!(store.inner.active(&next, &[]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_plan_that_others_were_faster_at_gives_way_to_one_under_the_claims_own_name() {
        let (store, complete, next) = running().await;
        let planned = cut_off(&store.inner, &complete, &next).await;
        let other = Claim { worker: "other".parse().unwrap(), ..claim() };
        assert_eq!(leased(store.claim(other).await.unwrap()), planned);
        let answer = store.complete(complete.clone(), Some(next.clone())).await.unwrap();
        let given = leased(brought(answer));
        assert_ne!(given, planned);
        assert!(store.inner.planned(&next).await.unwrap().is_some());
        let again = store.complete(complete, Some(next)).await.unwrap();
        assert_eq!(leased(brought(again)), given);
    }

    #[tokio::test]
    async fn a_claim_that_its_completion_does_not_name_plans_by_itself() {
        let (store, complete, next) = running().await;
        let named = Claim { request: Some("r".parse().unwrap()), ..next.clone() };
        assert!(is_carried(&complete, &next));
        assert!(!is_carried(&complete, &named));
        assert!(!is_carried(&complete, &Claim { worker: "other".parse().unwrap(), ..next.clone() }));
        let answer = store.complete(complete.clone(), Some(named.clone())).await.unwrap();
        assert_eq!(leased(brought(answer)).len(), 1);
        assert!(store.inner.planned(&named).await.unwrap().is_some());
        assert!(store.inner.carried(complete.generation, now()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_plan_is_remembered_as_long_as_a_claims_name() {
        let (store, complete, next) = running().await;
        cut_off(&store.inner, &complete, &next).await;
        let later = |seconds| now().plus(std::time::Duration::from_secs(seconds));
        assert!(store.inner.carried(complete.generation, later(3_599)).await.unwrap().is_some());
        assert!(store.inner.carried(complete.generation, later(3_600)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_is_looked_for_ahead_where_the_claim_changes_its_worker() {
        let (store, complete, next) = running().await;
        let session = Some(baton_model::SessionId::from_bytes([3; 16]));
        let anew = Claim { session, ..next };
        assert!(store.inner.look_ahead(&anew, &[(complete.task, 1)]).await.is_none());
        let queues = store.inner.records(&anew).await.unwrap().1;
        assert_eq!(queues.len(), 1, "the worker's record is what keeps it");
        let nothing = Claim { queues: vec!["b".parse().unwrap()], session: None, ..anew };
        let answer = store.complete(complete, Some(nothing)).await.unwrap();
        assert_eq!(brought(answer), ClaimAnswer::Nothing(Nothing::NoneQueued));
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_keep_the_completion() {
        let (store, complete, next) = running().await;
        let hangs = store.inner.limits.under_way.write().await;
        let completed = async {
            loop {
                let task = store.task(complete.task).await.unwrap().task;
                if matches!(task.head.state, TaskState::Completed { .. }) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(hangs);
        };
        let both = futures::future::join(store.complete(complete.clone(), Some(next)), completed);
        let (answer, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it completes");
        assert_eq!(leased(brought(answer.unwrap())).len(), 1);
    }

    /// A server dies after the completion, and a limit is set and full. A second sending of it is told that its claim has nothing, and a
    /// third comes before the second has planned anew.
    #[tokio::test]
    async fn a_void_plan_is_taken_back_before_another_is_made() {
        let (store, complete, next) = running().await;
        let other = Claim { worker: "other".parse().unwrap(), ..claim() };
        assert_eq!(leased(store.claim(other).await.unwrap()).len(), 1);
        let planned = cut_off(&store.inner, &complete, &next).await;
        let plan = store.inner.carried(complete.generation, now()).await.unwrap().unwrap();
        assert_eq!(plan.tasks, [(planned[0], 1)]);
        let limit = |most| SetLimit {
            now: now(),
            on: "project/default".parse().unwrap(),
            rules: Some(LimitRules { max_running: Some(most), ..LimitRules::default() }),
            by: None,
            reason: None,
        };
        store.set_limit(limit(1)).await.unwrap();
        assert_eq!(store.inner.carried_out(&next, complete.generation).await.unwrap(), None);
        assert!(store.inner.carried(complete.generation, now()).await.unwrap().is_none());

        store.set_limit(limit(10)).await.unwrap();
        // Who has read the plan before finds that it stands no longer.
        assert!(matches!(store.inner.replay_anew(&next, &plan).await.unwrap(), Replay::Void));
        let third = store.complete(complete.clone(), Some(next.clone())).await.unwrap();
        assert!(third.repeated);
        let given = leased(brought(third));
        assert_eq!(given.len(), 1);
        assert_eq!(leased(store.inner.claim(&next, &[]).await.unwrap()), given, "the second goes on");
        assert_eq!(leased(brought(store.complete(complete, Some(next.clone())).await.unwrap())), given);
        assert_eq!(store.inner.active(&next, &[]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_plan_of_which_something_was_taken_is_not_taken_back() {
        let (store, complete, next) = running().await;
        let planned = cut_off(&store.inner, &complete, &next).await;
        let plan = store.inner.carried(complete.generation, now()).await.unwrap().unwrap();
        let (key, spent) = plan.spent();
        store.inner.db.update(key, &spent).await.map_err(drop).unwrap();
        assert!(!store.inner.retire(&plan).await.unwrap());
        let again = store.complete(complete, Some(next)).await.unwrap();
        assert_eq!(leased(brought(again)), planned);
    }

    #[tokio::test]
    async fn a_completion_does_not_plan_its_own_task_by_an_old_entry() {
        let (store, complete, next) = running().await;
        let second = task(2, RunAfter::Now).id;
        // As if the index told that it waits.
        let ended = [(complete.task, 1), (second, 1)];
        let two = Claim { max_tasks: 2, ..next.clone() };
        let ahead = store.inner.find_ahead(&two, &ended).await.unwrap().expect("another is ready");
        assert_eq!(ahead.tasks(), [(task(3, RunAfter::Now).id, 1)]);
        drop(ahead);
        assert!(store.inner.find_ahead(&next, &ended).await.unwrap().is_none());
    }

    #[derive(Default)]
    struct Rings(Mutex<Vec<Ready>>);

    impl Rings {
        /// For how many tasks of which queue was rung since the last look.
        fn take(&self) -> Vec<(String, u32)> {
            let heard = std::mem::take(&mut *self.0.lock().unwrap());
            heard.into_iter().map(|ready| (ready.queue.as_str().to_owned(), ready.count)).collect()
        }
    }

    impl Doorbell for Rings {
        fn ring(&self, ready: Ready) {
            self.0.lock().unwrap().push(ready);
        }
    }

    #[tokio::test]
    async fn what_a_refused_completion_had_found_is_free_again_and_those_who_wait_are_told() {
        let rings = Arc::new(Rings::default());
        let (store, complete, next) = running_heard_by(Arc::<Rings>::clone(&rings)).await;
        let fence = Fence { attempt: 2, ..complete.fence.clone() };
        let never = Complete { fence, ..complete };
        let along = Claim { request: Some(RequestKey::of_completion(never.task, 2)), ..next };
        let ahead = store.inner.find_ahead(&along, &[(never.task, 2)]).await.unwrap().unwrap();
        let found = ahead.tasks();
        assert!(!rings.take().is_empty(), "for what was created");
        drop(ahead);
        assert_eq!(rings.take(), [("a".to_owned(), 1)]);
        assert!(matches!(store.complete(never, Some(along)).await, Err(StoreError::Refused { .. })));
        assert_eq!(rings.take(), [("a".to_owned(), 1)]);
        assert_eq!(leased(store.claim(claim()).await.unwrap()), [found[0].0]);
        assert!(rings.take().is_empty(), "what is taken is nobody's");
    }

    #[tokio::test]
    async fn no_look_is_made_that_is_likely_to_be_in_vain() {
        let (store, _, next) = running().await;
        let most = |max_tasks| Claim { max_tasks, ..next.clone() };
        assert!(store.inner.is_worth_a_look(&most(8)));
        assert!(!store.inner.is_worth_a_look(&most(9)), "such a plan is not carried");
        assert!(store.inner.is_worth_a_look(&Claim { cap: 8, ..most(9) }));

        let others = Claim { worker: "other".parse().unwrap(), max_tasks: 4, ..claim() };
        assert_eq!(leased(store.claim(others.clone()).await.unwrap()).len(), 4);
        assert!(store.inner.is_worth_a_look(&next));
        assert_eq!(store.claim(others).await.unwrap(), ClaimAnswer::Nothing(Nothing::NoneQueued));
        assert!(!store.inner.is_worth_a_look(&next), "there was nothing a moment ago");
        assert!(store.inner.is_worth_a_look(&Claim { queues: vec!["b".parse().unwrap()], ..next.clone() }));
        let later = Claim { now: now().plus(Duration::from_secs(1)), ..next.clone() };
        assert!(store.inner.is_worth_a_look(&later));

        let limit = SetLimit {
            now: now(),
            on: "project/film".parse().unwrap(),
            rules: Some(LimitRules { max_running: Some(1), ..LimitRules::default() }),
            by: None,
            reason: None,
        };
        store.set_limit(limit.clone()).await.unwrap();
        assert!(!store.inner.is_worth_a_look(&later), "under limits it is not carried");
        store.set_limit(SetLimit { rules: None, ..limit }).await.unwrap();
        assert!(store.inner.is_worth_a_look(&later));
    }
}
