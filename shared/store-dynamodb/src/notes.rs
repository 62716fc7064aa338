//! What a process remembers so as not to write, read or try it again: queues and days that are known, tasks that it has
//! just claimed or is about to, and what those it gave out were like. All of it only saves requests; none of it decides
//! anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use baton_model::{Priority, QueueDefaults, QueueName, RequestKey, TaskId, Timestamp, Wants, WorkerId};
use baton_store::{Claim, ClaimAnswer, Nothing, StoreError};

use crate::crowd::Crowds;
use crate::db::{Db, numbers};
use crate::defaults::KNOWN;
use crate::expression::Expression;
use crate::keys::{self, Kind};
use crate::lane::Lane;
use crate::queue::unconditional;
use crate::row::Stored;

/// How many claimed tasks are remembered. The index trails by a second at most as a rule.
const CLAIMED: usize = 16_384;

/// How many tasks that were given out are remembered as they were then.
const GIVEN_OUT: usize = 2_048;

/// How long it is remembered in which lane tasks lie.
const LANE: Duration = Duration::from_millis(LANE_MS);
const LANE_MS: u64 = 600_000;

/// Of how many lanes it is remembered; then all are forgotten, and asked for again.
const LANES: usize = 16_384;

/// How long it is remembered that who claims the like finds nothing, in milliseconds.
const IN_VAIN_MS: u64 = 1_000;

/// Of how many kinds of claims; then all are forgotten.
const CLAIMS: usize = 1_024;

/// What is remembered.
#[derive(Default)]
pub(crate) struct Notes {
    given_out: Mutex<GivenOut>,
    queues: Mutex<HashSet<QueueName>>,
    crowds: Mutex<Crowds>,
    lanes: Mutex<HashMap<Pair, KnownLane>>,
    /// Queues that are fair by key.
    fair_by_key: Mutex<HashSet<QueueName>>,
    defaults: Mutex<HashMap<QueueName, (QueueDefaults, Instant)>>,
    days: Mutex<HashSet<(Kind, i64)>>,
    kinds: Mutex<HashSet<String>>,
    taken: Mutex<Taken>,
    requests: Mutex<HashMap<(WorkerId, RequestKey), Weak<Gate>>>,
    /// When claims found nothing last, by what they asked for.
    in_vain: Mutex<HashMap<u64, Timestamp>>,
}

/// A pair of project and type in a queue, by the lane that is its own.
type Pair = (QueueName, Priority, Lane);

/// The lane where a pair's tasks lie, and when that was written down: by the commands' clock, and by this process's.
type KnownLane = (Lane, Timestamp, Instant);

/// What lets one sending of a claim pass at a time.
pub(crate) type Gate = tokio::sync::Mutex<()>;

/// How many gates are kept before those that nobody stands at are cleared away.
const GATES: usize = 256;

/// Tasks that this process's claims have taken or are taking, with the number of events that they had before.
#[derive(Default)]
struct Taken {
    events: HashMap<Name, u32>,
    order: VecDeque<Name>,
}

/// Tasks as this process gave them out.
#[derive(Default)]
struct GivenOut {
    tasks: HashMap<TaskId, Stored>,
    order: VecDeque<TaskId>,
}

/// A task by its id and the time of its creation, as a purged id may be created again.
pub(crate) type Name = (TaskId, Timestamp);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is worse for a thread that panicked while it held it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a claim asks for, whoever asks.
fn asked(claim: &Claim) -> u64 {
    let warm = (claim.warm.wants == Wants::Only).then_some(&claim.warm.names);
    let mut hasher = DefaultHasher::new();
    (&claim.queues, &claim.types, claim.caller.project(), warm).hash(&mut hasher);
    hasher.finish()
}

/// A task that a claim of this process is about to try. Given back when dropped, whatever has become of the claim,
/// unless it is known that the entry holds no more.
pub(crate) struct Reserved<'a> {
    notes: &'a Notes,
    task: Name,
    events: u32,
    open: bool,
}

impl Reserved<'_> {
    /// The task has been taken, or is no longer as the entry told: no claim need try it again.
    pub(crate) fn spend(mut self) {
        self.open = false;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.open {
            self.notes.put_back(self.task, self.events);
        }
    }
}

impl Notes {
    /// Among how many of the first tasks for each wanted one a claim of these queues picks.
    pub(crate) fn crowd<'a>(&self, queues: impl Iterator<Item = &'a QueueName>, now: Timestamp) -> usize {
        lock(&self.crowds).among(queues, now)
    }

    /// Notes how many of so many writes for tasks of a queue were refused, as other processes were faster.
    pub(crate) fn note_writes(&self, queue: &QueueName, writes: usize, refused: usize, now: Timestamp) {
        lock(&self.crowds).note(queue, writes, refused, now);
    }

    pub(crate) fn knows_queue(&self, queue: &QueueName) -> bool {
        lock(&self.queues).contains(queue)
    }

    pub(crate) fn note_queue(&self, queue: &QueueName) {
        lock(&self.queues).insert(queue.clone());
    }

    /// Whether a kind of documents is written down.
    pub(crate) fn knows_kind(&self, kind: &str) -> bool {
        lock(&self.kinds).contains(kind)
    }

    pub(crate) fn note_kind(&self, kind: &str) {
        lock(&self.kinds).insert(kind.to_owned());
    }

    /// Whether a queue is fair by key, as this process saw it last.
    pub(crate) fn is_fair_by_key(&self, queue: &QueueName) -> bool {
        lock(&self.fair_by_key).contains(queue)
    }

    /// Notes whether a queue is fair by key.
    pub(crate) fn note_fair_by_key(&self, queue: &QueueName, is_so: bool) {
        let mut fair = lock(&self.fair_by_key);
        match is_so {
            true => drop(fair.insert(queue.clone())),
            false => drop(fair.remove(queue)),
        }
    }

    /// What a queue gives to tasks that do not say, if that is known of late.
    pub(crate) fn defaults(&self, queue: &QueueName) -> Option<QueueDefaults> {
        let defaults = lock(&self.defaults);
        let (known, noted) = defaults.get(queue)?;
        (noted.elapsed() < KNOWN).then_some(*known)
    }

    /// Notes what a queue gives, as its record was just read.
    pub(crate) fn note_defaults(&self, queue: &QueueName, is: QueueDefaults) {
        let mut defaults = lock(&self.defaults);
        if defaults.len() >= LANES {
            defaults.clear();
        }
        defaults.insert(queue.clone(), (is, Instant::now()));
    }

    /// In which lane tasks lie that would have this one of their own, if that is known of late.
    pub(crate) fn lane(
        &self,
        queue: &QueueName,
        priority: Priority,
        own: Lane,
        now: Timestamp,
    ) -> Option<Lane> {
        let lanes = lock(&self.lanes);
        let (lane, at, noted) = lanes.get(&(queue.clone(), priority, own))?;
        // By whichever clock goes faster: commands may tell a time that stands still, or was set back.
        let fresh = now.as_millis().abs_diff(at.as_millis()) <= LANE_MS && noted.elapsed() <= LANE;
        fresh.then_some(*lane)
    }

    pub(crate) fn note_lane(
        &self,
        queue: &QueueName,
        priority: Priority,
        own: Lane,
        lane: Lane,
        now: Timestamp,
    ) {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= LANES {
            lanes.clear();
        }
        lanes.insert((queue.clone(), priority, own), (lane, now, Instant::now()));
    }

    /// Reserves a task for a claim to try, as an entry with `events` tells of it; none if another claim of this process
    /// has it, or had it since.
    pub(crate) fn reserve(&self, task: Name, events: u32) -> Option<Reserved<'_>> {
        let mut taken = lock(&self.taken);
        if taken.events.get(&task).is_some_and(|known| *known >= events) {
            return None;
        }
        if taken.events.insert(task, events).is_none() {
            taken.order.push_back(task);
        }
        if taken.order.len() > CLAIMED
            && let Some(oldest) = taken.order.pop_front()
        {
            taken.events.remove(&oldest);
        }
        Some(Reserved { notes: self, task, events, open: true })
    }

    /// Whether a claim of this process has a task as an entry with `events` tells of it, or had it since.
    pub(crate) fn is_taken(&self, task: Name, events: u32) -> bool {
        lock(&self.taken).events.get(&task).is_some_and(|known| *known >= events)
    }

    /// Remembers a task as it was given out, so that its end need not read it.
    pub(crate) fn remember(&self, task: Stored) {
        let mut given = lock(&self.given_out);
        let id = task.head.id;
        if given.tasks.insert(id, task).is_none() {
            given.order.push_back(id);
        }
        if given.order.len() > GIVEN_OUT
            && let Some(oldest) = given.order.pop_front()
        {
            given.tasks.remove(&oldest);
        }
    }

    /// Whether a task is remembered as it was given out.
    pub(crate) fn remembers(&self, id: TaskId) -> bool {
        lock(&self.given_out).tasks.contains_key(&id)
    }

    /// A task as it was given out, once. Others may have changed it since: only a write on its condition tells.
    pub(crate) fn recall(&self, id: TaskId) -> Option<Stored> {
        let mut given = lock(&self.given_out);
        let task = given.tasks.remove(&id)?;
        given.order.retain(|one| *one != id);
        Some(task)
    }

    /// Notes that a claim was given nothing, if others that ask for the like would be given nothing either.
    pub(crate) fn note_answer(&self, claim: &Claim, answer: &ClaimAnswer) {
        use Nothing::{AtLimit, NoneQueued, NotWarm, OnlyAlone, Paused, Scheduled};
        if let ClaimAnswer::Nothing(
            NoneQueued | Scheduled { .. } | NotWarm | Paused { .. } | OnlyAlone | AtLimit { .. },
        ) = answer
        {
            self.note_in_vain(claim);
        }
    }

    /// Notes that a look for what a claim asks for was in vain.
    pub(crate) fn note_in_vain(&self, claim: &Claim) {
        let (mut in_vain, asked) = (lock(&self.in_vain), asked(claim));
        if in_vain.len() >= CLAIMS && !in_vain.contains_key(&asked) {
            in_vain.clear();
        }
        in_vain.insert(asked, claim.now);
    }

    /// Whether a look for what a claim asks for was in vain a moment ago.
    pub(crate) fn was_in_vain(&self, claim: &Claim) -> bool {
        let at = lock(&self.in_vain).get(&asked(claim)).copied();
        // A clock may have been set back since.
        at.is_some_and(|at| claim.now.as_millis().abs_diff(at.as_millis()) < IN_VAIN_MS)
    }

    fn put_back(&self, task: Name, events: u32) {
        let mut taken = lock(&self.taken);
        if taken.events.get(&task) == Some(&events) {
            taken.events.remove(&task);
            taken.order.retain(|one| *one != task);
        }
    }

    /// The gate of a claim request: of the same claim sent several times at once to this process, one after the other
    /// passes, so that none takes what another has reserved for nothing.
    pub(crate) fn gate(&self, worker: &WorkerId, request: &RequestKey) -> Arc<Gate> {
        let mut gates = lock(&self.requests);
        if gates.len() > GATES {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let name = (worker.clone(), request.clone());
        if let Some(gate) = gates.get(&name).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(Gate::default());
        gates.insert(name, Arc::downgrade(&gate));
        gate
    }

    /// Makes a day known to lists before something lies in it. Written once by each process for each day; but each time
    /// for a day that is over, which a purge may have struck off since.
    pub(crate) async fn know_day(
        &self,
        db: &Db,
        kind: Kind,
        day: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if keys::is_over(day, now) {
            return self.know_past_day(db, kind, day).await;
        }
        if lock(&self.days).contains(&(kind, day)) {
            return Ok(());
        }
        let update = Expression::new().add("d", numbers([day]));
        unconditional(db.update(keys::days(kind), &update).await)?;
        lock(&self.days).insert((kind, day));
        Ok(())
    }

    /// The same for a day that may be over: written each time, so that a purge that has seen the day empty looks again.
    pub(crate) async fn know_past_day(&self, db: &Db, kind: Kind, day: i64) -> Result<(), StoreError> {
        let update = Expression::new().add("d", numbers([day])).remove(&keys::seen_empty(day));
        unconditional(db.update(keys::days(kind), &update).await).map(drop)
    }
}
