//! Claiming: one read of the records that decide whether the worker may, one look at what it holds, one query for
//! what is ready, and one conditional write for each task taken.
//!
//! What the index tells is a hint: it may trail behind the table. Only the write decides, whose condition is the task
//! as the entry tells it.

use std::collections::HashSet;
use std::ops::Deref;

use baton_model::transition::{Command, Decision, decide};
use baton_model::{Directive, Priority, ProjectId, QueueName, Task, TaskId, TaskState, Timestamp, Worker};
use baton_store::{Claim, ClaimAnswer, Nothing, StoreError};
use futures::StreamExt;

use crate::attr::{Fields, Item, s};
use crate::db::{Query, Range};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::notes::Reserved;
use crate::queue::StoredQueue;
use crate::request::{Asked, Replay};
use crate::row::Stored;
use crate::store::Inner;
use crate::worker::StoredWorker;

/// How many tasks of one claim are written at the same time.
pub(crate) const AT_ONCE: usize = 16;

/// How often a claim looks anew because others took what it had found.
const ROUNDS: u32 = 16;

/// How many entries beyond those wanted the first page of a query reads, in case some are taken.
const SPARE: usize = 4;

/// How many entries further pages read, and those of claims by type.
const PAGE: i32 = 200;

/// A ready task that a claim is about to try.
pub(crate) struct Candidate<'a> {
    pub(crate) entry: Stored,
    pub(crate) priority: Priority,
    pub(crate) reserved: Reserved<'a>,
}

/// The ready tasks that a look has found.
#[derive(Default)]
pub(crate) struct Look<'a> {
    /// In the order in which they are to be claimed.
    pub(crate) due: Vec<Candidate<'a>>,
    /// Those before or among them that are given out alone, and their priorities.
    pub(crate) alone: Vec<(Priority, Stored)>,
    /// When the first of those for later is due.
    pub(crate) next_at: Option<Timestamp>,
}

/// What a look at one partition has found.
#[derive(Default)]
struct Seen {
    found: Vec<Stored>,
    alone: Vec<Stored>,
    next_at: Option<Timestamp>,
}

impl Look<'_> {
    /// Adds what a partition has, but for the entries that are still to be reserved.
    fn add(&mut self, lane: &Lane, seen: Seen) -> Vec<Stored> {
        self.next_at = earlier(self.next_at, seen.next_at);
        self.alone.extend(seen.alone.into_iter().map(|entry| (lane.priority, entry)));
        seen.found
    }
}

/// A claim of a worker that may claim.
pub(crate) struct Entered<'a> {
    pub(crate) claim: &'a Claim,
    /// How many heartbeats of the worker are recorded.
    pub(crate) beats: u64,
    /// How many tasks it holds.
    pub(crate) active: u32,
}

impl Deref for Entered<'_> {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        self.claim
    }
}

/// A partition of ready tasks.
struct Lane {
    priority: Priority,
    partition: String,
}

impl Inner {
    /// Claims for a worker. `ended` is a task that the same request has just completed: the index may still tell that
    /// the worker holds it.
    pub(crate) async fn claim(
        &self,
        claim: &Claim,
        ended: Option<TaskId>,
    ) -> Result<ClaimAnswer, StoreError> {
        let gate = claim.request.as_ref().map(|request| self.notes.gate(&claim.worker, request));
        let _passed = match &gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        let (worker, queues, asked) = self.records(claim).await?;
        let Worker { directive, beats, alone, .. } = self.enter_session(worker, claim).await?;
        let mut claim = Entered { claim, beats, active: 0 };
        if let Some(known) = asked.as_ref().and_then(|asked| asked.known.clone()) {
            match self.replay(&claim, &known).await? {
                Replay::Answer(answer) => return Ok(answer),
                // What was planned then went to others before it was taken: the request has had no answer.
                Replay::Void => {}
            }
        }
        if directive != Directive::Run {
            return Ok(ClaimAnswer::Nothing(Nothing::Directed { directive }));
        }
        let active = self.active(&claim, ended).await?;
        claim.active = active;
        let claim = &claim;
        if active >= claim.cap {
            return Ok(ClaimAnswer::Nothing(Nothing::AtCap { active, cap: claim.cap }));
        }
        if let Some(nothing) = self.tied(claim, alone).await? {
            return Ok(ClaimAnswer::Nothing(nothing));
        }
        let paused: HashSet<_> =
            queues.iter().filter(|queue| queue.pause.is_some()).map(|queue| &queue.name).collect();
        if claim.queues.iter().all(|name| paused.contains(name)) {
            return Ok(ClaimAnswer::Nothing(Nothing::Paused { queues: claim.queues.clone() }));
        }
        let open: Vec<_> = queues.iter().filter(|queue| queue.pause.is_none()).collect();
        let most = claim.max_tasks.min(claim.cap - active) as usize;

        match asked {
            Some(asked) => self.claim_planned(claim, asked, &open, most).await,
            None => self.claim_found(claim, &open, most).await,
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
        for round in 0..ROUNDS {
            let look = match self.look(claim, queues, most - leased.len(), round > 0).await {
                Ok(look) if leased.is_empty() => self.turn_of(claim, look).await,
                look => look.map(Ok),
            };
            let (wanted, taken) = match look {
                Ok(Err(nothing)) => return Ok(ClaimAnswer::Nothing(nothing)),
                Ok(Ok(look)) => {
                    next_at = look.next_at;
                    (look.due.len(), self.take_all(claim, look.due).await)
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
        Ok(answer_of(leased, next_at))
    }

    /// Writes down what is found before it is taken, and takes that and no more.
    async fn claim_planned(
        &self,
        claim: &Entered<'_>,
        mut asked: Asked,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<ClaimAnswer, StoreError> {
        let mut next_at = None;
        for round in 0..ROUNDS {
            let look = self.look(claim, queues, most, round > 0).await?;
            let look = match self.turn_of(claim, look).await? {
                Ok(look) => look,
                Err(nothing) => return Ok(ClaimAnswer::Nothing(nothing)),
            };
            next_at = look.next_at;
            if look.due.is_empty() {
                break;
            }
            let tasks = look.due.iter().map(|one| (one.entry.head.id, one.entry.head.attempt + 1)).collect();
            if let Some(standing) = self.plan(claim, &mut asked, tasks).await? {
                drop(look);
                match self.replay(claim, &standing).await? {
                    Replay::Answer(answer) => return Ok(answer),
                    Replay::Void => asked.known = Some(standing),
                }
                continue;
            }
            let leased = self.take_all(claim, look.due).await?;
            if !leased.is_empty() {
                return Ok(ClaimAnswer::Leased(leased));
            }
        }
        Ok(answer_of(Vec::new(), next_at))
    }

    /// The worker's record, the queues' and the request's, in one read.
    async fn records(
        &self,
        claim: &Claim,
    ) -> Result<(Option<StoredWorker>, Vec<StoredQueue>, Option<Asked>), StoreError> {
        let mut names: Vec<&QueueName> = claim.queues.iter().collect();
        names.sort();
        names.dedup();
        let worker_key = keys::worker(&claim.worker);
        let mut wanted = vec![worker_key.clone()];
        wanted.extend(names.iter().map(|name| keys::queue(name)));
        let mut asked = claim.request.as_ref().map(|_| Asked::default());
        if let Some(request) = &claim.request {
            let span = keys::request_span(claim.now);
            wanted.push(keys::request(&claim.worker, request, span));
            // Later in a span, the names of the one before are all old enough to be forgotten.
            if claim.now.as_millis() % keys::REQUEST_SPAN_MS < keys::REQUEST_KEPT_MS {
                wanted.push(keys::request(&claim.worker, request, span - 1));
            }
        }
        let (mut worker, mut queues) = (None, Vec::new());
        for item in self.db.get_all(wanted).await? {
            match Fields(&item).text("pk")?.as_bytes().first() {
                Some(b'W') => worker = Some(StoredWorker::read(&item)?),
                Some(b'Q') => queues.push(StoredQueue::read(&item)?),
                _ => {
                    if let Some(asked) = &mut asked {
                        asked.found(&item)?;
                    }
                }
            }
        }
        Ok((worker, queues, asked))
    }

    /// How many tasks the worker holds: the leases that name it, and no stored number.
    async fn active(&self, claim: &Claim, ended: Option<TaskId>) -> Result<u32, StoreError> {
        let active = match ended {
            None => {
                let query = Query { count: true, ..Query::index(keys::held(&claim.worker)) };
                self.db.query_whole(query).await?.count
            }
            Some(ended) => {
                let held = self.held_by(&claim.worker, usize::MAX).await?;
                held.iter().filter(|task| task.head.id != ended).count() as u64
            }
        };
        Ok(u32::try_from(active).unwrap_or(u32::MAX))
    }

    /// Finds up to `most` tasks that are ready, and reserves them among the claims of this process. `again`: an
    /// earlier look's were lost to others.
    async fn look(
        &self,
        claim: &Claim,
        queues: &[&StoredQueue],
        most: usize,
        again: bool,
    ) -> Result<Look<'_>, StoreError> {
        let mut look = Look::default();
        for priority in Priority::ALL {
            let mut lanes = Vec::new();
            for queue in queues.iter().filter(|queue| queue.priorities.contains(&priority)) {
                let lane = |shard| Lane { priority, partition: keys::ready(&queue.name, priority, shard) };
                lanes.extend((0..queue.shards).map(lane));
            }
            let total = queues.iter().all(|queue| queue.shards == 1);
            if total {
                self.in_order(claim, lanes, most, again, &mut look).await?;
            } else {
                self.in_any_order(claim, lanes, most, again, &mut look).await?;
            }
            if look.due.len() >= most {
                break;
            }
        }
        Ok(look)
    }

    /// Looks at all lanes and merges what they have.
    async fn in_order<'a>(
        &'a self,
        claim: &Claim,
        lanes: Vec<Lane>,
        most: usize,
        again: bool,
        look: &mut Look<'a>,
    ) -> Result<(), StoreError> {
        // Entries that rivals of this process reserve between the look and the taking leave the look short; so it is
        // repeated until it finds none that is free.
        loop {
            let missing = most - look.due.len();
            let looks = lanes.iter().map(|lane| self.lane(claim, lane, missing, again));
            let mut found: Vec<_> = Vec::new();
            for (lane, seen) in lanes.iter().zip(futures::future::try_join_all(looks).await?) {
                found.extend(look.add(lane, seen));
            }
            if found.is_empty() {
                return Ok(());
            }
            found.sort_by_key(|entry| (entry.head.run_after, entry.head.id));
            found.truncate(missing);
            let lost = self.reserve(found, lanes[0].priority, missing, look);
            if !lost || look.due.len() >= most {
                return Ok(());
            }
        }
    }

    /// Looks at the lanes one after the other, from a random one on, until there is enough; and of each takes some of
    /// its first, so that claims at once do not all want the same task.
    async fn in_any_order<'a>(
        &'a self,
        claim: &Claim,
        mut lanes: Vec<Lane>,
        most: usize,
        again: bool,
        look: &mut Look<'a>,
    ) -> Result<(), StoreError> {
        if lanes.is_empty() {
            return Ok(());
        }
        let first = usize::try_from(self.db.draw() % lanes.len() as u64).unwrap_or(0);
        lanes.rotate_left(first);
        for lane in &lanes {
            let missing = most - look.due.len();
            let among = missing.max(self.options.pick_among);
            let mut entries = look.add(lane, self.lane(claim, lane, among, again).await?);
            for place in (1..entries.len()).rev() {
                let other = usize::try_from(self.db.draw() % (place as u64 + 1)).unwrap_or(0);
                entries.swap(place, other);
            }
            self.reserve(entries, lane.priority, missing, look);
            if look.due.len() >= most {
                break;
            }
        }
        Ok(())
    }

    /// Adds entries to a look as far as no other claim of this process has them; says whether one had.
    fn reserve<'a>(
        &'a self,
        entries: Vec<Stored>,
        priority: Priority,
        missing: usize,
        look: &mut Look<'a>,
    ) -> bool {
        let (mut lost, mut added) = (false, 0);
        for entry in entries {
            if added == missing {
                break;
            }
            match self.notes.reserve((entry.head.id, entry.created_at), entry.head.events) {
                Some(reserved) => {
                    look.due.push(Candidate { entry, priority, reserved });
                    added += 1;
                }
                None => lost = true,
            }
        }
        lost
    }

    /// Up to `most` entries of a lane that are due, wanted and free, and when the first is due that is not yet.
    async fn lane(&self, claim: &Claim, lane: &Lane, most: usize, again: bool) -> Result<Seen, StoreError> {
        let mut query = Query { range: Range::All, ..Query::index(&lane.partition) };
        query.filter = narrowed(claim);
        // A project's tasks are expected to lie in a queue of its own.
        query.limit = Some(if claim.types.is_empty() && !again {
            i32::try_from(most + SPARE).unwrap_or(PAGE)
        } else {
            PAGE
        });
        let mut seen = Seen::default();
        loop {
            let page = self.db.query(&query).await?;
            for item in &page.items {
                let entry = Stored::read(item)?;
                if entry.head.run_after > claim.now {
                    seen.next_at = Some(entry.head.run_after);
                    return Ok(seen);
                }
                if !self.notes.is_taken((entry.head.id, entry.created_at), entry.head.events) {
                    if entry.head.runs_alone() {
                        seen.alone.push(entry);
                    } else {
                        seen.found.push(entry);
                    }
                }
                if seen.found.len() >= most {
                    return Ok(seen);
                }
            }
            if page.next.is_none() {
                return Ok(seen);
            }
            query.start = page.next;
            query.limit = Some(PAGE);
        }
    }

    /// Takes tasks for a worker, each by a write of its own; those that others were faster at are left out.
    pub(crate) async fn take_all(
        &self,
        claim: &Entered<'_>,
        candidates: Vec<Candidate<'_>>,
    ) -> Result<Vec<Task>, StoreError> {
        let mut takes = Vec::with_capacity(candidates.len());
        for Candidate { entry, reserved, .. } in candidates {
            takes.push(self.take(claim, entry, Some(reserved)));
        }
        let outcomes: Vec<_> = futures::stream::iter(takes).buffered(AT_ONCE).collect().await;
        let mut taken = Vec::new();
        let mut failed = None;
        for outcome in outcomes {
            match outcome {
                Ok(Some(task)) => taken.push(task),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
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

    /// Takes one task, if it is still as the entry tells.
    pub(crate) async fn take(
        &self,
        claim: &Entered<'_>,
        entry: Stored,
        reserved: Option<Reserved<'_>>,
    ) -> Result<Option<Task>, StoreError> {
        let command = Command::Claim {
            worker: claim.worker.clone(),
            session: claim.session,
            terms: claim.terms,
            request: claim.request.clone(),
            beats: Some(claim.beats),
        };
        let spend = || {
            if let Some(reserved) = reserved {
                reserved.spend();
            }
        };
        let Ok(Decision::Apply(change)) = decide(&entry.head, &command, claim.now) else {
            spend();
            return Ok(None);
        };
        match self.write(&entry, &change, claim.now, self.mark(&change)).await {
            Ok(item) => {
                spend();
                let after = Stored::read(&item)?;
                self.changed(&entry, &after, claim.now);
                self.notes.remember(after.clone());
                self.known_task(after).await.map(Some)
            }
            // Another sending of the same request may have taken it for the same worker.
            Err(WriteError::Condition(Some(item))) => {
                spend();
                match self.held_by_request(&item, claim, change.head.attempt)? {
                    Some(held) => self.known_task(held).await.map(Some),
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

    pub(crate) async fn known_task(&self, stored: Stored) -> Result<Task, StoreError> {
        self.db.known_task(stored).await
    }
}

/// What a claim's tasks must be, where it does not take all.
fn narrowed(claim: &Claim) -> Option<Expression> {
    let mut filter = Expression::new();
    if !claim.types.is_empty() {
        filter = filter.when_in("ty", claim.types.iter().map(|one| s(one.as_str())).collect());
    }
    if let Some(project) = claim.caller.project() {
        // A task of the default project does not name it.
        let named = (*project != ProjectId::default()).then(|| s(project.as_str()));
        filter = filter.when_still("pj", named);
    }
    filter.condition().is_some().then_some(filter)
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

fn answer_of(leased: Vec<Task>, next_at: Option<Timestamp>) -> ClaimAnswer {
    match (leased.is_empty(), next_at) {
        (false, _) => ClaimAnswer::Leased(leased),
        (true, Some(next_at)) => ClaimAnswer::Nothing(Nothing::Scheduled { next_at }),
        (true, None) => ClaimAnswer::Nothing(Nothing::NoneQueued),
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
