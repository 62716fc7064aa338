//! What a claim goes by where there are limits, and what it has met: tasks that it has passed over, picked and put aside.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use baton_model::{LimitBook, LimitOn, QueueName, TaskId, Timestamp};
use baton_store::{Nothing, StoreError};

use super::lock;
use crate::look::Candidate;
use crate::queue::StoredQueue;

/// How many tasks that limits have let go of one claim passes over while the limits are full; further ones are put aside again, so
/// that no claim reads without bound.
const MOST_PASSED_OVER: usize = 64;

/// How many tasks one claim puts aside; then it is to come again.
const MOST_PUT_ASIDE: usize = 400;

/// What a claim goes by.
#[derive(Default)]
pub(crate) struct Limiting {
    pub(crate) book: Arc<LimitBook>,
    /// Whether a limit may concern its queues, or may have.
    is_on: bool,
    /// Tasks that it has passed over.
    passed: Mutex<HashSet<TaskId>>,
    /// Those of them that it has passed over as they were not as the index told.
    stale: Mutex<HashSet<TaskId>>,
    /// Tasks that it has picked, while it looks for more, and whose they are where their queue is fair.
    picked: Mutex<HashMap<TaskId, Option<LimitOn>>>,
    /// Tasks that it has passed over and left where claims look, by the limit that has let go of them and is full.
    standing: Mutex<HashMap<LimitOn, Vec<TaskId>>>,
    /// The first limit that it has met.
    stopped: Mutex<Option<(LimitOn, Option<Timestamp>)>>,
    moved: Mutex<Moved>,
}

/// What a claim has put aside.
#[derive(Default)]
struct Moved {
    count: usize,
    /// At limits that were to be full once the claim had taken what it was about to take.
    unsure: BTreeSet<LimitOn>,
}

impl Limiting {
    pub(crate) fn of(book: Arc<LimitBook>) -> Self {
        Self { book, is_on: true, ..Self::default() }
    }

    /// The same, having met nothing yet.
    pub(crate) fn anew(&self) -> Self {
        Self { book: Arc::clone(&self.book), is_on: self.is_on, ..Self::default() }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether the claim has passed a task over, or has picked it.
    pub(crate) fn has_passed(&self, task: TaskId) -> bool {
        self.is_on && (lock(&self.passed).contains(&task) || lock(&self.picked).contains_key(&task))
    }

    /// Whether the tasks of some key of a queue are given out one after the other, so that a claim has to know what comes before what it
    /// takes.
    pub(crate) fn gives_in_sequence(&self, queue: &QueueName) -> bool {
        self.is_on && self.book.has_sequences(queue)
    }

    /// The same, of any of these queues.
    pub(crate) fn gives_in_sequence_of(&self, queues: &[&StoredQueue]) -> bool {
        queues.iter().any(|queue| self.gives_in_sequence(&queue.name))
    }

    /// Whether the claim has passed a task over as it was not as the index told: it may wait for all that.
    pub(crate) fn was_stale(&self, task: TaskId) -> bool {
        lock(&self.stale).contains(&task)
    }

    /// Notes what the claim has picked.
    pub(super) fn pick(&self, picked: &[Candidate<'_>]) -> Result<(), StoreError> {
        let mut all = HashMap::with_capacity(picked.len());
        for Candidate { entry, .. } in picked {
            all.insert(entry.head.id, self.book.turn_on(entry.shared()?));
        }
        *lock(&self.picked) = all;
        Ok(())
    }

    /// How many tasks of one of those between whom a queue is fair the claim has picked.
    pub(crate) fn picked_of(&self, on: &LimitOn) -> u32 {
        let picked = lock(&self.picked);
        u32::try_from(picked.values().filter(|one| one.as_ref() == Some(on)).count()).unwrap_or(u32::MAX)
    }

    /// Has the claim look at a task no more.
    pub(super) fn skip(&self, task: TaskId) {
        lock(&self.passed).insert(task);
    }

    /// The same, of one that is not as the index tells.
    pub(super) fn skip_stale(&self, task: TaskId) {
        lock(&self.stale).insert(task);
        self.skip(task);
    }

    pub(super) fn pass(&self, task: TaskId, on: &LimitOn, next_at: Option<Timestamp>) {
        self.skip(task);
        self.stop(on, next_at);
    }

    pub(super) fn stop(&self, on: &LimitOn, next_at: Option<Timestamp>) {
        lock(&self.stopped).get_or_insert_with(|| (on.clone(), next_at));
    }

    /// Notes that a task is passed over and stays where claims look; says whether it is, or there were too many of them.
    pub(super) fn pass_over(&self, task: TaskId, on: &LimitOn) -> bool {
        let mut standing = lock(&self.standing);
        let is_one = standing.values().map(Vec::len).sum::<usize>() < MOST_PASSED_OVER;
        if is_one {
            standing.entry(on.clone()).or_default().push(task);
        }
        is_one
    }

    /// The limits of what it has passed over and left where claims look.
    pub(super) fn passed_over_at(&self) -> Vec<LimitOn> {
        lock(&self.standing).keys().cloned().collect()
    }

    /// Has the claim look again at what it has passed over at a limit.
    pub(super) fn reconsider(&self, on: &LimitOn) {
        let mut passed = lock(&self.passed);
        for task in lock(&self.standing).remove(on).into_iter().flatten() {
            passed.remove(&task);
        }
    }

    /// Notes that a task was put aside.
    pub(super) fn note_moved(&self, on: &LimitOn, is_sure: bool) {
        let mut moved = lock(&self.moved);
        moved.count += 1;
        if !is_sure {
            moved.unsure.insert(on.clone());
        }
    }

    /// The limits that were to be full once the claim had taken what it was about to take; they are noted no longer.
    pub(super) fn take_unsure(&self) -> BTreeSet<LimitOn> {
        std::mem::take(&mut lock(&self.moved).unsure)
    }

    /// Whether the claim has put aside as much as one does. It is told to come again at once, then.
    pub(super) fn has_moved_enough(&self, now: Timestamp) -> bool {
        let is_enough = lock(&self.moved).count >= MOST_PUT_ASIDE;
        if is_enough && let Some((_, next_at)) = &mut *lock(&self.stopped) {
            *next_at = Some(now);
        }
        is_enough
    }

    /// Why the claim is given nothing, if it is for a limit.
    pub(crate) fn nothing(&self) -> Option<Nothing> {
        lock(&self.stopped).clone().map(|(limit, next_at)| Nothing::AtLimit { limit, next_at })
    }
}
