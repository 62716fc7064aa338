//! Claiming: one read of the records that decide whether the worker may, one look at what it holds, one query for
//! what is ready, and one conditional write for each task taken.
//!
//! What the index tells is a hint: it may trail behind the table. Only the write decides, whose condition is the task
//! as the entry tells it.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

use baton_model::transition::{Command, Decision, decide};
use baton_model::{Directive, QueueName, Task, TaskState, Timestamp, Wants, Worker};
use baton_store::{Claim, ClaimAnswer, Nothing, StoreError};
use futures::StreamExt;
use tokio::time::Instant;

use crate::attr::{Fields, Item};
use crate::db::Query;
use crate::ending::Attempt;
use crate::error::WriteError;
use crate::keys;
use crate::lane::Choice;
use crate::limit::{Limiting, Taking};
use crate::look::{Candidate, Look, narrowed};
use crate::notes::Reserved;
use crate::queue::StoredQueue;
use crate::request::{Plan, Replay, Spent};
use crate::row::Stored;
use crate::store::Inner;
use crate::worker::StoredWorker;

/// How many tasks of one claim are written at the same time.
pub(crate) const AT_ONCE: usize = 16;

/// How often a claim looks anew because others took what it had found. Of the later ones each picks among hundreds of
/// tasks, so that none of so many rounds is ever the last one, unless the index trails far behind.
const ROUNDS: u32 = 16;

/// How many tasks of one place are looked at for whether others wait.
const PAGE: i32 = 100;

/// How often a claim looks again after it has found that tasks which wait at limits may start.
const AGAIN: u32 = 3;

/// From which round on a claim pauses before it looks anew.
const PAUSES: u32 = 3;

/// How long after it has read its queues' records a claim looks for more: a limit that was set since concerns what it takes, too.
pub(crate) const STALE: std::time::Duration = std::time::Duration::from_secs(10);

/// That a claim goes by limits.
struct Limited;

/// A claim of a worker that may claim.
pub(crate) struct Entered<'a> {
    pub(crate) claim: &'a Claim,
    /// How many heartbeats of the worker are recorded.
    pub(crate) beats: u64,
    /// How many tasks it holds.
    pub(crate) active: u32,
    /// The limits that it goes by.
    pub(crate) limits: Limiting,
    /// When it read the records of its queues.
    pub(crate) begun: Instant,
}

impl Deref for Entered<'_> {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        self.claim
    }
}

impl Entered<'_> {
    /// What it does to a task that it takes.
    pub(crate) fn command(&self) -> Command {
        Command::Claim {
            worker: self.worker.clone(),
            session: self.session,
            terms: self.terms,
            request: self.request.clone(),
            beats: Some(self.beats),
        }
    }
}

impl Inner {
    /// Claims for a worker. `ended` are attempts that the same request has just ended: the index may still tell that the worker
    /// holds them.
    pub(crate) async fn claim(&self, claim: &Claim, ended: &[Attempt]) -> Result<ClaimAnswer, StoreError> {
        let answer = self.claim_once(claim, ended).await?;
        self.notes.note_answer(claim, &answer);
        self.tell_waiting(&claim.queues, &answer, claim.now).await;
        Ok(answer)
    }

    async fn claim_once(&self, claim: &Claim, ended: &[Attempt]) -> Result<ClaimAnswer, StoreError> {
        let gate = claim.request.as_ref().map(|request| self.notes.gate(&claim.worker, request));
        let _passed = match &gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        let _under_way = self.limits.under_way.read().await;
        let begun = Instant::now();
        let (worker, queues) = self.records(claim).await?;
        let worker = self.enter_session(worker, claim).await?;
        let limits = self.limiting(&queues).await?;
        let mut claim = Entered { claim, beats: worker.beats, active: 0, limits, begun };
        let answer = self.claim_anew(&mut claim, worker, &queues, ended).await?;
        self.tell_supplied(&claim, &queues, &answer);
        // Sent before, it may hold what it asked for, and so find no more.
        let finds_nothing = match &answer {
            ClaimAnswer::Nothing(Nothing::RequestSpent) | ClaimAnswer::Leased(_) => false,
            ClaimAnswer::Nothing(_) => true,
        };
        if finds_nothing
            && let Some(planned) = self.planned(&claim).await?
            && let Replay::Answer(answer) = self.replay(&claim, &planned).await?
        {
            return Ok(answer);
        }
        Ok(answer)
    }

    /// Claims what is found now, unless it turns out that the claim was sent before.
    async fn claim_anew(
        &self,
        claim: &mut Entered<'_>,
        Worker { directive, alone, takes, .. }: Worker,
        queues: &[StoredQueue],
        ended: &[Attempt],
    ) -> Result<ClaimAnswer, StoreError> {
        if directive != Directive::Run {
            return Ok(ClaimAnswer::Nothing(Nothing::Directed { directive }));
        }
        let active = self.active(claim, ended).await?;
        claim.active = active;
        let claim = &*claim;
        if active >= claim.cap {
            return Ok(ClaimAnswer::Nothing(Nothing::AtCap { active, cap: claim.cap }));
        }
        if let Some(nothing) = self.tied(claim, (alone, &takes)).await? {
            return Ok(ClaimAnswer::Nothing(nothing));
        }
        let paused: HashSet<_> =
            queues.iter().filter(|queue| queue.pause.is_some()).map(|queue| &queue.name).collect();
        if claim.queues.iter().all(|name| paused.contains(name)) {
            return Ok(ClaimAnswer::Nothing(Nothing::Paused { queues: claim.queues.clone() }));
        }
        let (mut open, closed): (Vec<_>, Vec<_>) = queues.iter().partition(|queue| queue.pause.is_none());
        if claim.limits.is_on() {
            // On the heap, as all that only limits ask for: a claim without them is as small as it was.
            Box::pin(self.let_due_go(claim, &open)).await?;
            open = Box::pin(self.open_within(claim, open)).await?;
        }
        let most = claim.max_tasks.min(claim.cap - active) as usize;
        let choice = Choice::of(claim);
        for queue in &open {
            self.note_claimed(queue, &choice).await;
        }

        let mut answer = self.claim_open(claim, &open, most).await?;
        if claim.limits.is_on() {
            Box::pin(self.settle_unsure(claim)).await;
            for _ in 0..AGAIN {
                if !Box::pin(self.may_look_again(claim, &open, &answer)).await? {
                    break;
                }
                answer = self.claim_open(claim, &open, most).await?;
            }
            if let (ClaimAnswer::Nothing(Nothing::NoneQueued | Nothing::Scheduled { .. }), Some(nothing)) =
                (&answer, claim.limits.nothing())
            {
                answer = ClaimAnswer::Nothing(nothing);
            }
        }
        if claim.warm.wants == Wants::Only
            && matches!(answer, ClaimAnswer::Nothing(Nothing::NoneQueued))
            && self.others_wait(claim, &open).await?
        {
            answer = ClaimAnswer::Nothing(Nothing::NotWarm);
        }
        // It asks of these what it would ask of them if they were open.
        if matches!(answer, ClaimAnswer::Nothing(Nothing::NoneQueued))
            && self.waits_in(claim, &closed).await?
        {
            let queues = claim.queues.iter().filter(|name| paused.contains(name)).cloned().collect();
            answer = ClaimAnswer::Nothing(Nothing::Paused { queues });
        }
        Ok(answer)
    }

    /// Whether tasks wait that a claim would be given if it did not want only what it has warm.
    async fn others_wait(&self, claim: &Claim, queues: &[&StoredQueue]) -> Result<bool, StoreError> {
        let choice = Choice::new(claim.caller.project(), &claim.types);
        let partitions = queues.iter().flat_map(|queue| queue.partitions_of(&choice)).collect();
        self.any_waits(claim, partitions).await
    }

    /// Whether tasks wait in queues that a claim would be given if these were open.
    async fn waits_in(&self, claim: &Claim, queues: &[&StoredQueue]) -> Result<bool, StoreError> {
        let choice = Choice::of(claim);
        let mut partitions: Vec<_> = queues.iter().flat_map(|queue| queue.partitions_of(&choice)).collect();
        if claim.warm.wants == Wants::Only {
            // What is put aside does not tell there what it wants to be warm.
            partitions.retain(|partition| !keys::is_put_aside(partition));
        }
        self.any_waits(claim, partitions).await
    }

    /// Whether tasks that a claim could be given wait in one of these partitions.
    async fn any_waits(&self, claim: &Claim, partitions: Vec<String>) -> Result<bool, StoreError> {
        let asked: Vec<_> = partitions
            .into_iter()
            .map(|partition| async move {
                let query = Query { filter: narrowed(claim), ..Query::index(partition) };
                let query = Query { count: true, limit: Some(PAGE), ..query };
                self.db.query(&query).await.map(|found| found.count > 0)
            })
            .collect();
        let mut waits = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some(found) = waits.next().await {
            if found? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Claims from queues that are open.
    async fn claim_open(
        &self,
        claim: &Entered<'_>,
        open: &[&StoredQueue],
        most: usize,
    ) -> Result<ClaimAnswer, StoreError> {
        match &claim.request {
            Some(_) => self.claim_planned(claim, open, most).await,
            None => self.claim_found(claim, open, most).await,
        }
    }

    /// Takes what is found until there is enough, or nothing more.
    async fn claim_found(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<ClaimAnswer, StoreError> {
        let mut leased: Vec<Task> = Vec::new();
        let mut next_at = None;
        for round in 0.. {
            if round == ROUNDS || round == PAUSES && !leased.is_empty() || claim.begun.elapsed() >= STALE {
                next_at = Some(claim.now);
                break;
            }
            self.pause_before(round).await;
            let room = most - leased.len();
            let look = match self.look_unless_limited(claim, queues, room).await {
                Err(Limited) => Box::pin(self.look_within(claim, queues, room, leased.is_empty())).await,
                Ok(Ok(look)) if leased.is_empty() => {
                    self.tidy(queues, &look.empty, claim.now).await;
                    let look = self.without_expired(claim, look).await?;
                    self.turn_of(claim, look).await
                }
                Ok(look) => look.map(Ok),
            };
            let (wanted, taken) = match look {
                Ok(Err(nothing)) => return Ok(ClaimAnswer::Nothing(nothing)),
                Ok(Ok(look)) => {
                    next_at = look.next_at;
                    (look.due.len(), self.take_all(claim, None, look.due).await)
                }
                Err(error) => (0, Err(error)),
            };
            match taken {
                Ok(taken) => {
                    let lost = wanted - taken.len();
                    leased.extend(taken);
                    // Without a rival there is nothing more to find.
                    if leased.len() >= most || lost == 0 {
                        break;
                    }
                }
                // What was taken is the worker's, and it must learn of it.
                Err(error) if !leased.is_empty() => {
                    tracing::warn!(worker = %claim.worker, %error, "a claim was given less than it could have");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answer_of(claim, leased, next_at))
    }

    /// A look of a claim that no limit concerns.
    async fn look_unless_limited<'a>(
        &'a self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<Result<Look<'a>, StoreError>, Limited> {
        if claim.limits.is_on() { Err(Limited) } else { Ok(self.look(claim, queues, most).await) }
    }

    /// Fails what a look has met that has expired.
    pub(crate) async fn without_expired<'a>(
        &self,
        claim: &Entered<'_>,
        mut look: Look<'a>,
    ) -> Result<Look<'a>, StoreError> {
        let expired = std::mem::take(&mut look.expired);
        if !expired.is_empty() {
            Box::pin(self.fail_met(expired, claim.now)).await?;
        }
        Ok(look)
    }

    /// Writes down what is found before it is taken, and takes that and no more.
    async fn claim_planned(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<ClaimAnswer, StoreError> {
        // What is planned for it, as far as that is known here.
        let mut known = None;
        let mut next_at = None;
        for round in 0.. {
            if round == ROUNDS || claim.begun.elapsed() >= STALE {
                next_at = Some(claim.now);
                break;
            }
            self.pause_before(round).await;
            let look = match self.look_unless_limited(claim, queues, most).await {
                Ok(look) => {
                    let look = self.without_expired(claim, look?).await?;
                    self.turn_of(claim, look).await?
                }
                Err(Limited) => Box::pin(self.look_within(claim, queues, most, true)).await?,
            };
            let look = match look {
                Ok(look) => look,
                Err(nothing) => return Ok(ClaimAnswer::Nothing(nothing)),
            };
            next_at = look.next_at;
            if look.due.is_empty() {
                break;
            }
            // The plan before the takes: cut off between the two, a repetition finds it and takes what is still free of it. In the other order
            // it would not know what it has taken, and take as much again.
            let tasks = look.due.iter().map(|one| (one.entry.head.id, one.entry.head.attempt + 1)).collect();
            if let Some(standing) = self.plan(claim, &mut known, tasks).await? {
                drop(look);
                match self.replay(claim, &standing).await? {
                    Replay::Answer(answer) => return Ok(answer),
                    Replay::Void => known = Some(standing),
                }
                continue;
            }
            let leased = self.take_all(claim, known.as_ref(), look.due).await?;
            if !leased.is_empty() {
                return Ok(ClaimAnswer::Leased(leased));
            }
            // Another sending of the same claim may have taken what was planned, and its worker have ended it by now: then the claim has
            // had its answer, and is given nothing more.
            if let Some(plan) = &known
                && self.is_spent(claim, plan).await?
                && let Replay::Answer(answer) = self.replay(claim, plan).await?
            {
                return Ok(answer);
            }
        }
        Ok(answer_of(claim, Vec::new(), next_at))
    }

    /// Lets others finish what they are at, once a claim has lost to them several times.
    async fn pause_before(&self, round: u32) {
        if round >= PAUSES {
            self.db.pause((round - PAUSES).min(3)).await;
        }
    }

    /// The worker's record and the queues', in one read.
    pub(crate) async fn records(
        &self,
        claim: &Claim,
    ) -> Result<(Option<StoredWorker>, Vec<StoredQueue>), StoreError> {
        let mut names: Vec<&QueueName> = claim.queues.iter().collect();
        names.sort();
        names.dedup();
        let worker_key = keys::worker(&claim.worker);
        let mut wanted = vec![worker_key.clone()];
        wanted.extend(names.iter().map(|name| keys::queue(name)));
        let (mut worker, mut queues) = (None, Vec::new());
        for item in self.db.get_all(wanted).await? {
            match Fields(&item).text("pk")?.as_bytes().first() {
                Some(b'W') => worker = Some(StoredWorker::read(&item)?),
                // Its tasks wait; those of the other queues do not.
                _ => {
                    let queue = self.db.read_one(&item, StoredQueue::read);
                    if let Some(queue) = &queue {
                        self.notes.note_defaults(&queue.name, queue.defaults);
                    }
                    queues.extend(queue);
                }
            }
        }
        Ok((worker, queues))
    }

    /// How many tasks the worker holds: the leases that name it, and no stored number.
    pub(crate) async fn active(&self, claim: &Claim, ended: &[Attempt]) -> Result<u32, StoreError> {
        let active = if ended.is_empty() {
            let query = Query { count: true, ..Query::index(keys::held(&claim.worker)) };
            self.db.query_whole(query).await?.count
        } else {
            let ended: HashSet<&Attempt> = ended.iter().collect();
            let held = self.held_by(&claim.worker, usize::MAX).await?;
            held.iter().filter(|task| !ended.contains(&(task.head.id, task.head.attempt))).count() as u64
        };
        Ok(u32::try_from(active).unwrap_or(u32::MAX))
    }

    /// Takes tasks for a worker, each by a write of its own; those that others were faster at are left out. `plan`: what the claim
    /// has planned to take.
    pub(crate) async fn take_all(
        &self,
        claim: &Entered<'_>,
        plan: Option<&Plan>,
        candidates: Vec<Candidate<'_>>,
    ) -> Result<Vec<Task>, StoreError> {
        let mut takes = Vec::with_capacity(candidates.len());
        let mut of_queues = Vec::with_capacity(candidates.len());
        for Candidate { entry, reserved, .. } in candidates {
            of_queues.push(entry.queue.clone());
            takes.push(self.take(claim, plan.map(Spent::UnderLimits), entry, Some(reserved)));
        }
        // Of tasks that share a limit, one after the other: their writes would stand in each other's way.
        let at_once = if claim.limits.is_on() { 1 } else { AT_ONCE };
        let outcomes: Vec<_> = futures::stream::iter(takes).buffered(at_once).collect().await;
        let mut taken = Vec::new();
        let mut failed = None;
        let mut writes: HashMap<QueueName, (usize, usize)> = HashMap::new();
        for (queue, outcome) in of_queues.into_iter().zip(outcomes) {
            let (all, refused) = writes.entry(queue).or_default();
            *all += 1;
            match outcome {
                Ok(Some(task)) => taken.push(task),
                Ok(None) => *refused += 1,
                Err(error) => failed = Some(error),
            }
        }
        for (queue, (all, refused)) in writes {
            self.notes.note_writes(&queue, all, refused, claim.now);
        }
        match failed {
            // What was taken is the worker's, and it must learn of it.
            Some(error) if !taken.is_empty() => {
                tracing::warn!(worker = %claim.worker, %error, "a claim was given less than it could have");
                Ok(taken)
            }
            Some(error) => Err(error),
            None => Ok(taken),
        }
    }

    /// Takes one task, if it is still as the entry tells. `plan`: what is written to together with it; see [`Plan::spent`].
    pub(crate) async fn take(
        &self,
        claim: &Entered<'_>,
        plan: Option<Spent<'_>>,
        entry: Stored,
        reserved: Option<Reserved<'_>>,
    ) -> Result<Option<Task>, StoreError> {
        let spend = || {
            if let Some(reserved) = reserved {
                reserved.spend();
            }
        };
        let Ok(Decision::Apply(change)) = decide(&entry.head, &claim.command(), claim.now) else {
            spend();
            return Ok(None);
        };
        if claim.limits.is_on() || plan.is_some_and(Spent::always) {
            match Box::pin(self.take_within(claim, plan, &entry, &change)).await? {
                Taking::Unlimited => {}
                // It is as it was, and another claim may take it.
                Taking::Full => return Ok(None),
                Taking::Refused => {
                    spend();
                    return Ok(None);
                }
                Taking::Taken(after) => {
                    spend();
                    self.notes.remember((*after).clone());
                    return self.whole_task(*after).await;
                }
            }
        }
        match self.write(&entry, &change, claim.now, self.mark(&change)).await {
            Ok(item) => {
                spend();
                let Some(after) = self.db.read_one(&item, Stored::read) else { return Ok(None) };
                self.changed(&entry, &after, claim.now);
                self.notes.remember(after.clone());
                self.whole_task(after).await
            }
            // Another sending of the same request may have taken it for the same worker.
            Err(WriteError::Condition(Some(item))) => {
                spend();
                match self.held_by_request(&item, claim, change.head.attempt)? {
                    Some(held) => self.whole_task(held).await,
                    None => Ok(None),
                }
            }
            Err(WriteError::Condition(None)) => {
                spend();
                Ok(None)
            }
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    fn held_by_request(
        &self,
        item: &Item,
        claim: &Claim,
        attempt: u32,
    ) -> Result<Option<Stored>, StoreError> {
        let stored = Stored::read(item)?;
        Ok(holds(&stored, claim, attempt).then_some(stored))
    }

    /// A task of several that are given out; none if what belongs to it is damaged. Its worker does not hear of it then, so
    /// that it is taken back as one that was forgotten, and fails for good when its attempts are used up.
    pub(crate) async fn whole_task(&self, stored: Stored) -> Result<Option<Task>, StoreError> {
        let what = format!("task {}", stored.head.id);
        self.db.unless_damaged(&what, Box::pin(self.known_task(stored)).await)
    }

    pub(crate) async fn known_task(&self, stored: Stored) -> Result<Task, StoreError> {
        self.db.known_task(stored).await
    }
}

/// Whether a task runs this attempt for this very request.
pub(crate) fn holds(stored: &Stored, claim: &Claim, attempt: u32) -> bool {
    match &stored.head.state {
        TaskState::Running(lease) => {
            stored.head.attempt == attempt
                && lease.worker == claim.worker
                && lease.request.is_some()
                && lease.request == claim.request
        }
        _ => false,
    }
}

/// What a claim is answered. Tasks that are ready, but which others took each time, are "next" at once: it is no answer
/// that nothing waits.
fn answer_of(claim: &Entered<'_>, leased: Vec<Task>, next_at: Option<Timestamp>) -> ClaimAnswer {
    if let Some(nothing) = claim.limits.nothing().filter(|_| leased.is_empty()) {
        return ClaimAnswer::Nothing(nothing);
    }
    match (leased.is_empty(), next_at) {
        (false, _) => ClaimAnswer::Leased(leased),
        (true, Some(next_at)) => ClaimAnswer::Nothing(Nothing::Scheduled { next_at }),
        (true, None) => ClaimAnswer::Nothing(Nothing::NoneQueued),
    }
}
