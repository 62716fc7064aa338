//! Waiting claims of one process, and the ring that wakes them.
//!
//! Nobody sleeps through work: a claim joins the line *before* it looks into the store, so that a task committed after
//! its look rings it. A ring for one task wakes one claim, the one that has waited longest. That claim owes the wake:
//! it either looks into the store and learns that the task is its own or gone, or, if it goes away before (its client
//! hung up, its worker is at its cap), the wake goes to the next in the line. A wake too many costs one look; a wake
//! too few would strand a task until the next look.
//!
//! A claim that is bound to a project may look and find nothing although there is a task, one of another project. It
//! hands its wake to those behind it. Wakes travel towards the end of the line only, so that claims of two projects do
//! not hand a third one's task to and fro.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_model::{QueueName, TaskType, WorkerId};
use baton_store::{Doorbell, Ready};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::supplied::Supplied;

/// The doorbell of one process.
pub struct LocalDoorbell {
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
    joined: Notify,
    supplied: Supplied,
}

impl LocalDoorbell {
    /// A doorbell at which nobody waits yet. It asks `clock` whether what it hears of is due.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            line: Mutex::new(Line::default()),
            joined: Notify::new(),
            supplied: Supplied::default(),
        })
    }

    /// Puts a claim of `worker` at the end of the line: for tasks of `queues`, and of `types` unless empty.
    pub fn wait(self: &Arc<Self>, worker: &WorkerId, queues: &[QueueName], types: &[TaskType]) -> Waiting {
        let bell = Arc::new(Notify::new());
        let id = self.line().join(Waiter {
            worker: worker.clone(),
            queues: queues.into(),
            types: types.into(),
            listening: false,
            woken: None,
            in_hand: None,
            bell: Arc::clone(&bell),
        });
        self.joined.notify_waiters();
        Waiting { doorbell: Arc::clone(self), id, bell }
    }

    /// Wakes the waiting claims of one worker: what held it back (its cap, a directive) may have changed.
    pub fn ring_worker(&self, worker: &WorkerId) {
        self.line().wake_worker(worker);
    }

    /// The queues with a supply that claims have come to.
    pub const fn supplied(&self) -> &Supplied {
        &self.supplied
    }

    /// How many claims wait.
    pub fn waiting(&self) -> usize {
        self.line().waiters.len()
    }

    /// Waits until a claim waits.
    pub async fn someone_waits(&self) {
        loop {
            // Made before the look, it hears of whoever joins after it.
            let joined = self.joined.notified();
            if self.waiting() > 0 {
                return;
            }
            joined.await;
        }
    }

    /// Whether a ring of this queue, and of this type if any, would reach a waiting claim.
    pub fn concerns(&self, queue: &QueueName, task_type: Option<&TaskType>) -> bool {
        self.line().lanes.get(queue).is_some_and(|lane| match task_type {
            Some(task_type) => lane.first(task_type, 0).is_some(),
            None => !lane.is_empty(),
        })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is consistent between its methods' statements even if one of them were to panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LocalDoorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalDoorbell").field("waiting", &self.waiting()).finish()
    }
}

impl Doorbell for LocalDoorbell {
    fn ring(&self, ready: Ready) {
        let due = ready.run_after <= self.clock.now();
        let mut line = self.line();
        match (ready.task_type, due) {
            (Some(task_type), true) => {
                line.wake_first(&Task { queue: ready.queue, task_type }, ready.count);
            }
            (task_type, _) => line.wake_all(&ready.queue, task_type.as_ref()),
        }
    }

    fn ring_early(&self, ready: &Ready) -> Option<u32> {
        let task_type = ready.task_type.clone().filter(|_| ready.run_after <= self.clock.now())?;
        Some(self.line().wake_first(&Task { queue: ready.queue.clone(), task_type }, ready.count))
    }

    fn asked(&self, queue: &QueueName) {
        self.supplied.note(queue);
    }
}

/// A claim's place in the line. Dropping it leaves the line and passes on a wake that was not used.
pub struct Waiting {
    doorbell: Arc<LocalDoorbell>,
    id: u64,
    bell: Arc<Notify>,
}

impl Waiting {
    /// To be called before each look into the store: from here on every ring counts, and the wake that led to this
    /// look, if any, is held until [`Waiting::settle`].
    pub fn listen(&self) {
        self.doorbell.line().listen(self.id);
    }

    /// The look has either taken tasks or shown that none is ready, so the wake that led to it is used.
    pub fn settle(&self) {
        self.doorbell.line().settle(self.id);
    }

    /// The look has found nothing, but others may see more than this claim does: hands the wake that led to it, if any, to
    /// the next behind it in the line, and goes on listening.
    pub fn pass_by(&self) {
        self.doorbell.line().pass_by(self.id);
    }

    /// The worker may not take tasks for now, ready or not: passes the wake on, and hears [`LocalDoorbell::ring_worker`]
    /// alone until it listens again.
    pub fn stand_aside(&self) {
        self.doorbell.line().stand_aside(self.id);
    }

    /// Waits for a ring since the last [`Waiting::listen`].
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.doorbell.line().leave(self.id);
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("place", &self.id).finish()
    }
}

/// One task's worth of a ring: what a woken claim owes to the next in the line if it does not look.
#[derive(Clone, Debug)]
struct Task {
    queue: QueueName,
    task_type: TaskType,
}

struct Waiter {
    worker: WorkerId,
    queues: Box<[QueueName]>,
    types: Box<[TaskType]>,
    /// Whether it stands in the lanes. A woken waiter does not, so that the next ring goes to the next in the line.
    listening: bool,
    /// The wake since the last listen, if it was for one task.
    woken: Option<Task>,
    /// The wake that led to the present look.
    in_hand: Option<Task>,
    bell: Arc<Notify>,
}

/// The listening waiters of one queue, by what they take; the smallest number has waited longest.
#[derive(Default)]
struct Lane {
    any: BTreeSet<u64>,
    typed: HashMap<TaskType, BTreeSet<u64>>,
}

impl Lane {
    /// The longest waiting that takes this type, not before `from`.
    fn first(&self, task_type: &TaskType, from: u64) -> Option<u64> {
        let first = |places: &BTreeSet<u64>| places.range(from..).next().copied();
        let typed = self.typed.get(task_type).and_then(first);
        first(&self.any).into_iter().chain(typed).min()
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.typed.is_empty()
    }
}

#[derive(Default)]
struct Line {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    lanes: HashMap<QueueName, Lane>,
    workers: HashMap<WorkerId, BTreeSet<u64>>,
}

impl Line {
    fn join(&mut self, waiter: Waiter) -> u64 {
        let id = self.next;
        self.next += 1;
        self.workers.entry(waiter.worker.clone()).or_default().insert(id);
        self.waiters.insert(id, waiter);
        id
    }

    fn listen(&mut self, id: u64) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        let unsettled = waiter.woken.take().and_then(|task| waiter.in_hand.replace(task));
        if !waiter.listening {
            self.start_listening(id);
        }
        // The look before this one neither settled nor stood aside: it failed, and the next in the line may do better.
        self.pass_on([unsettled, None]);
    }

    fn start_listening(&mut self, id: u64) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        waiter.listening = true;
        for queue in &waiter.queues {
            let lane = self.lanes.entry(queue.clone()).or_default();
            if waiter.types.is_empty() {
                lane.any.insert(id);
            }
            for task_type in &waiter.types {
                lane.typed.entry(task_type.clone()).or_default().insert(id);
            }
        }
    }

    fn settle(&mut self, id: u64) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.in_hand = None;
        }
    }

    fn pass_by(&mut self, id: u64) {
        let owed = self.waiters.get_mut(&id).and_then(|waiter| waiter.in_hand.take());
        if let Some(task) = owed {
            self.wake_from(&task, id + 1);
        }
    }

    fn stand_aside(&mut self, id: u64) {
        self.stop_listening(id);
        if let Some(waiter) = self.waiters.get_mut(&id) {
            let owed = [waiter.in_hand.take(), waiter.woken.take()];
            self.pass_on(owed);
        }
    }

    fn leave(&mut self, id: u64) {
        self.stop_listening(id);
        let Some(waiter) = self.waiters.remove(&id) else { return };
        if let Some(places) = self.workers.get_mut(&waiter.worker) {
            places.remove(&id);
            if places.is_empty() {
                self.workers.remove(&waiter.worker);
            }
        }
        self.pass_on([waiter.in_hand, waiter.woken]);
    }

    fn pass_on(&mut self, owed: [Option<Task>; 2]) {
        for task in owed.into_iter().flatten() {
            self.wake_first(&task, 1);
        }
    }

    fn stop_listening(&mut self, id: u64) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        if !std::mem::take(&mut waiter.listening) {
            return;
        }
        for queue in &waiter.queues {
            let Some(lane) = self.lanes.get_mut(queue) else { continue };
            lane.any.remove(&id);
            for task_type in &waiter.types {
                if let Some(places) = lane.typed.get_mut(task_type) {
                    places.remove(&id);
                    if places.is_empty() {
                        lane.typed.remove(task_type);
                    }
                }
            }
            if lane.is_empty() {
                self.lanes.remove(queue);
            }
        }
    }

    fn wake(&mut self, id: u64, owed: Option<Task>) {
        self.stop_listening(id);
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.woken = owed;
            waiter.bell.notify_one();
        }
    }

    /// Wakes the longest waiting, up to so many; says how many there were.
    fn wake_first(&mut self, task: &Task, count: u32) -> u32 {
        for woken in 0..count {
            if !self.wake_from(task, 0) {
                return woken;
            }
        }
        count
    }

    /// Wakes the longest waiting that is not before `from`; says whether there was one.
    fn wake_from(&mut self, task: &Task, from: u64) -> bool {
        let first = self.lanes.get(&task.queue).and_then(|lane| lane.first(&task.task_type, from));
        if let Some(id) = first {
            self.wake(id, Some(task.clone()));
        }
        first.is_some()
    }

    fn wake_all(&mut self, queue: &QueueName, task_type: Option<&TaskType>) {
        let Some(lane) = self.lanes.get(queue) else { return };
        let typed = lane.typed.iter().filter(|(of, _)| task_type.is_none_or(|wanted| wanted == *of));
        let all: BTreeSet<u64> =
            lane.any.iter().chain(typed.flat_map(|(_, places)| places)).copied().collect();
        for id in all {
            self.wake(id, None);
        }
    }

    fn wake_worker(&mut self, worker: &WorkerId) {
        let Some(places) = self.workers.get(worker) else { return };
        for id in places {
            if let Some(waiter) = self.waiters.get(id) {
                waiter.bell.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests;
