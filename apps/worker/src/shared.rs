//! What the parts of one worker share: what it runs, its log lines, its counts, and whether it may go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_api::claim::{AffinityWord, ClaimRequest};
use baton_api::complete::ReleaseRequest;
use baton_api::heartbeat::RunningFields;
use baton_api::{Problem, ProblemCode};
use baton_client::Client;
use baton_model::{Directive, Label, Level, Limits, Payload, RequestKey, SessionId, TaskId, Wants, limits};
use baton_processes::cgroup::Cgroup;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::family::Family;
use crate::guard::Guard;
pub(crate) use crate::lock::lock;
use crate::logs::{self, LogBuffer};
use crate::options::{Summary, WorkerError, WorkerOptions};
use crate::outputs::Outputs;
use crate::reach::Reach;
use crate::starts::Starts;
use crate::stop::{Phase, Stop};

/// How many affinities of tasks that it ran last count as warm.
const RAN_LAST: usize = 4;

/// Puts an affinity last, and drops what is too much.
fn remember(last: &mut Vec<Label>, affinity: &Label) {
    last.retain(|one| one != affinity);
    last.push(affinity.clone());
    if last.len() > RAN_LAST {
        last.remove(0);
    }
}

/// How far an end comes by what an operator asks.
fn phase(directive: Directive) -> Phase {
    match directive {
        Directive::Run => Phase::Run,
        Directive::Drain => Phase::Drain,
        Directive::Stop => Phase::Stop,
    }
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) options: WorkerOptions,
    pub(crate) session: SessionId,
    pub(crate) stop: Stop,
    /// All that its commands have started.
    pub(crate) family: Arc<Family>,
    pub(crate) guard: Mutex<Guard>,
    /// Where programs leave files.
    pub(crate) outputs: Outputs,
    /// One permit for each task that may run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Something is to be told by the next heartbeat.
    pub(crate) news: Notify,
    /// Whether the server has taken a heartbeat of this session.
    pub(crate) known: watch::Sender<bool>,
    /// Whether the last heartbeat has been asked for.
    pub(crate) over: watch::Sender<bool>,
    /// How heartbeats and claims fare.
    pub(crate) beats: Reach,
    pub(crate) claims: Reach,
    /// How the starts of programs go.
    pub(crate) starts: Starts,
    pub(crate) logs: Mutex<LogBuffer>,
    running: Mutex<BTreeMap<(TaskId, u32), Entry>>,
    /// Each waits for the server's word on an outcome that went by the detour.
    followers: Mutex<JoinSet<()>>,
    counts: Mutex<Summary>,
    error: Mutex<Option<WorkerError>>,
    claim_number: AtomicU64,
    /// The affinities of the tasks that it ran last, where these are what it has warm; the latest last.
    ran_last: Mutex<Vec<Label>>,
    /// The most bytes of JSON that the server takes as a result, as far as it has said.
    result_bytes: AtomicUsize,
    /// How many claims may have been granted whose answer was lost.
    unheard: AtomicU64,
}

/// A claim that may have been granted and whose answer was lost: until it is sent again, the worker does not know all that
/// it holds.
pub(crate) struct UnheardClaim(Arc<Shared>);

impl Drop for UnheardClaim {
    fn drop(&mut self) {
        self.0.unheard.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One attempt that the worker holds, from its claim's answer to its own.
struct Entry {
    progress: Option<f64>,
    message: Option<String>,
    lost: watch::Sender<Option<String>>,
}

/// An attempt's place on the list that heartbeats tell; it leaves the list when this is dropped.
pub(crate) struct Listed {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    lost: watch::Receiver<Option<String>>,
    shared: Arc<Shared>,
}

impl Listed {
    /// Waits until the server has said that the attempt is no longer this worker's; the answer is why.
    pub(crate) async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // The sender lives on the list as long as `self`.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.shared.running).remove(&(self.task, self.attempt));
    }
}

impl Shared {
    pub(crate) fn new(
        client: Client,
        options: WorkerOptions,
        stop: Stop,
        guard: Guard,
        outputs: Outputs,
    ) -> Self {
        let session = SessionId::from_uuid(options.ids.uuid());
        Self {
            client,
            session,
            stop,
            family: Family::new(session, options.alone),
            guard: Mutex::new(guard),
            outputs,
            slots: Arc::new(Semaphore::new(options.concurrency as usize)),
            news: Notify::new(),
            known: watch::Sender::new(false),
            over: watch::Sender::new(false),
            beats: Reach::new(&options.id, "heartbeats"),
            claims: Reach::new(&options.id, "claims"),
            starts: Starts::default(),
            logs: Mutex::default(),
            running: Mutex::default(),
            followers: Mutex::default(),
            counts: Mutex::default(),
            error: Mutex::default(),
            claim_number: AtomicU64::new(0),
            ran_last: Mutex::default(),
            result_bytes: AtomicUsize::new(Limits::default().result_bytes),
            unheard: AtomicU64::new(0),
            options,
        }
    }

    /// Has the guard know what it is to end if this process is killed, and puts all of that into a control group where
    /// the system lets it.
    pub(crate) fn gather(&self) -> Option<Cgroup> {
        let mut guard = lock(&self.guard);
        self.family.set_guard(guard.id());
        guard.know(self.session);
        // What only the guard makes use of; and a process that is not the worker's alone is not its to move.
        if !self.options.alone || guard.id().is_none() {
            return None;
        }
        match Cgroup::enter(&format!("baton-worker-{}", self.session)) {
            Ok(cgroup) => {
                guard.know_cgroup(cgroup.path());
                tracing::debug!(path = %cgroup.path().display(), "the worker has a control group of its own");
                Some(cgroup)
            }
            Err(error) => {
                tracing::debug!(%error, "the worker makes no control group of its own");
                None
            }
        }
    }

    /// A claim of its own name for up to `max_tasks`, which does not wait.
    pub(crate) fn claim_request(&self, max_tasks: u32) -> ClaimRequest {
        let number = self.claim_number.fetch_add(1, Ordering::Relaxed);
        let (affinity, pass_over) = match self.options.warm.wants {
            Wants::Any => (None, None),
            Wants::Prefer { pass_over } => (Some(AffinityWord::Prefer), Some(pass_over)),
            Wants::Only => (Some(AffinityWord::Only), None),
        };
        ClaimRequest {
            session_id: Some(self.session),
            queues: self.options.queues.clone(),
            types: self.options.types.clone(),
            warm: if self.learns() { lock(&self.ran_last).clone() } else { self.options.warm.names.clone() },
            affinity,
            pass_over,
            max_tasks: Some(max_tasks.min(limits::CLAIM_TASKS)),
            capacity: Some(self.options.concurrency),
            request_id: Some(RequestKey::from_stored(format!("{}.{number}", self.session))),
            ..ClaimRequest::new(self.options.id.clone())
        }
    }

    /// Whether what it ran last is what it has warm.
    fn learns(&self) -> bool {
        self.options.warm.names.is_empty() && matches!(self.options.warm.wants, Wants::Prefer { .. })
    }

    /// Notes the affinity of a task that a program has completed.
    pub(crate) fn has_run(&self, affinity: Option<&Label>) {
        let Some(affinity) = affinity.filter(|_| self.learns()) else { return };
        remember(&mut lock(&self.ran_last), affinity);
    }

    /// The most bytes of JSON that the server takes as a result.
    pub(crate) fn result_bytes(&self) -> usize {
        self.result_bytes.load(Ordering::Relaxed)
    }

    /// Hears from the server how large a result may be.
    pub(crate) fn set_result_bytes(&self, bytes: usize) {
        self.result_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Puts an attempt on the list; the answer holds its place.
    pub(crate) fn list(self: &Arc<Self>, task: TaskId, attempt: u32) -> Listed {
        let (sender, lost) = watch::channel(None);
        lock(&self.running).insert((task, attempt), Entry { progress: None, message: None, lost: sender });
        Listed { task, attempt, lost, shared: Arc::clone(self) }
    }

    pub(crate) fn progress(&self, listed: &Listed, progress: Option<f64>, message: Option<String>) {
        if let Some(entry) = lock(&self.running).get_mut(&(listed.task, listed.attempt)) {
            entry.progress = progress.or(entry.progress);
            if let Some(message) = message {
                entry.message = Some(logs::printable(&message).chars().take(1_000).collect());
            }
        }
        self.news.notify_one();
    }

    /// Notes that a claim may have been granted whose answer was lost, for as long as the answer lives.
    pub(crate) fn unheard_claim(self: &Arc<Self>) -> UnheardClaim {
        self.unheard.fetch_add(1, Ordering::Relaxed);
        UnheardClaim(Arc::clone(self))
    }

    /// Whether the worker knows all that it holds.
    pub(crate) fn knows_all(&self) -> bool {
        self.unheard.load(Ordering::Relaxed) == 0
    }

    /// What a heartbeat tells of what runs.
    pub(crate) fn running(&self) -> Vec<RunningFields> {
        let told = |(&(task_id, attempt), entry): (&(TaskId, u32), &Entry)| RunningFields {
            task_id,
            attempt,
            progress: entry.progress,
            message: entry.message.clone(),
        };
        lock(&self.running).iter().map(told).collect()
    }

    /// What a heartbeat tells of the worker in words.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let trouble = self
            .starts
            .told()
            .map(|told| (baton_model::Worker::CANNOT_START.to_owned(), told.chars().take(1_000).collect()));
        self.options.labels.iter().map(|(name, value)| (name.clone(), value.clone())).chain(trouble).collect()
    }

    /// Notes that a program was started.
    pub(crate) fn started(&self) {
        if self.starts.worked(self.options.concurrency, Instant::now()) {
            tracing::info!(worker_id = %self.options.id, "programs can be started again");
            self.news.notify_one();
        }
    }

    /// Hears from the server that an attempt is no longer this worker's.
    pub(crate) fn lose(&self, task: TaskId, attempt: u32, reason: &str) {
        if let Some(entry) = lock(&self.running).get(&(task, attempt)) {
            entry.lost.send_replace(Some(reason.to_owned()));
        }
    }

    /// Keeps a line for the next heartbeat.
    pub(crate) fn log(
        &self,
        level: Level,
        source: &str,
        task: Option<TaskId>,
        message: &str,
        metadata: Option<Payload>,
    ) {
        let mut line = logs::line(self.options.clock.now(), level, source, task, message);
        line.metadata = metadata;
        lock(&self.logs).push(line);
        self.news.notify_one();
    }

    pub(crate) fn count(&self, counted: impl FnOnce(&mut Summary)) {
        counted(&mut lock(&self.counts));
    }

    pub(crate) fn summary(&self) -> Summary {
        *lock(&self.counts)
    }

    /// The worker cannot go on; it ends what it runs.
    pub(crate) fn give_up(&self, error: WorkerError) {
        tracing::error!(worker_id = %self.options.id, %error, "the worker cannot go on");
        lock(&self.error).get_or_insert(error);
        self.stop.stop();
    }

    pub(crate) fn superseded(&self) -> WorkerError {
        WorkerError::Superseded { worker: self.options.id.clone(), session: self.session }
    }

    /// Whether the worker had to give up, and why.
    pub(crate) fn verdict(&self) -> Result<(), WorkerError> {
        lock(&self.error).take().map_or(Ok(()), Err)
    }

    /// Hears of a claim what an operator asks of the worker. Claims have several ways, and one that was answered earlier may be heard
    /// later: that an end is called off is for heartbeats to say, of which one goes at a time.
    pub(crate) fn obey(&self, directive: Directive) {
        self.stop.ask_further(phase(directive));
    }

    /// Does what an operator asks of the worker by the word of the latest heartbeat.
    pub(crate) fn heed(&self, directive: Directive) {
        let (before, asked) = (self.stop.phase(), phase(directive));
        self.stop.ask(asked);
        let worker_id = &self.options.id;
        match (before, self.stop.phase()) {
            (before, now) if before == now => {}
            (_, Phase::Run) => {
                tracing::info!(%worker_id, "an operator has called it off: the worker goes on")
            }
            _ => tracing::info!(%worker_id, directive = directive.as_str(), "asked by an operator"),
        }
    }

    /// Takes the last heartbeat back: the worker goes on.
    pub(crate) fn begin_beats_again(&self) {
        self.over.send_replace(false);
    }

    /// Whether the worker is to take more tasks, for as long as it can run them.
    pub(crate) fn may_claim(&self) -> bool {
        self.stop.phase() == Phase::Run
    }

    /// Whether a completion is to bring the next task along.
    pub(crate) fn claims_along(&self) -> bool {
        // After programs could not be started, the claims say when the next task is taken.
        self.may_claim() && self.starts.most().is_none()
    }

    /// Waits until nothing runs any more. Nor does anything begin to while the answer lives: what a completion has brought along, and
    /// what is placed late, waits for a slot.
    pub(crate) async fn idle(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.slots.acquire_many(self.options.concurrency).await.ok()
    }

    /// Hears that the claim has failed that came along with an end.
    pub(crate) fn next_failed(&self, problem: &Problem) {
        if ProblemCode::by_name(&problem.code) == Some(ProblemCode::SessionSuperseded) {
            self.give_up(self.superseded());
        } else {
            tracing::warn!(code = %problem.code, detail = %problem.detail, "the claim for the next task failed");
        }
    }

    /// Has a follower run until it ends or [`Shared::end_followers`].
    pub(crate) fn follow(&self, follower: impl Future<Output = ()> + Send + 'static) {
        let mut followers = lock(&self.followers);
        // Those that have ended make room. A panic in one has been printed; its outcome went its way before.
        while followers.try_join_next().is_some() {}
        followers.spawn(follower);
    }

    /// Ends the followers: after the last heartbeat, which is to list what they follow.
    pub(crate) fn end_followers(&self) {
        drop(std::mem::take(&mut *lock(&self.followers)));
    }

    pub(crate) fn finish_beats(&self) {
        self.over.send_replace(true);
    }

    /// Gives back what a claim has brought whose answer was no longer waited for. Sent once more under its own name, it gets
    /// the same leases; and if the server hears the first sending only after this one, that brings nothing any more.
    // Why not a look at what the worker holds: it may be answered before the claim is heard.
    pub(crate) async fn give_back_claimed(&self, request: ClaimRequest) {
        let request = ClaimRequest { wait_seconds: None, ..request };
        match self.client.with_deadline(Duration::ZERO).claim(&request).await {
            Ok(answer) => {
                for task in answer.tasks {
                    self.give_back(task.id, task.attempt).await;
                }
            }
            Err(error) => tracing::warn!(worker_id = %self.options.id, %error,
                "the claim that was under way could not be settled; what it has brought comes back when its leases run out"),
        }
    }

    /// Gives back what the server thinks this worker holds, but of which it knows nothing, as it has heard of it from no
    /// answer.
    pub(crate) async fn give_back_strays(&self) {
        if lock(&self.error).is_some() {
            return;
        }
        let Ok(worker) = self.client.with_deadline(Duration::ZERO).worker(&self.options.id).await else {
            return;
        };
        for held in worker.tasks {
            if !lock(&self.running).contains_key(&(held.task_id, held.attempt)) {
                self.give_back(held.task_id, held.attempt).await;
            }
        }
    }

    async fn give_back(&self, task: TaskId, attempt: u32) {
        let release = ReleaseRequest {
            worker_id: self.options.id.clone(),
            attempt,
            delay_seconds: None,
            reason: Some("the worker ends".to_owned()),
        };
        match self.client.release(task, &release).await {
            Ok(_) => {
                self.count(|counts| counts.released += 1);
                tracing::info!(task_id = %task, attempt, worker_id = %self.options.id,
                    "gave back a task whose claim was still under way");
            }
            Err(error) => tracing::warn!(task_id = %task, attempt, worker_id = %self.options.id, %error,
                "could not give the task back; its lease will run out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_four_affinities_are_kept_each_once() {
        let mut last = Vec::new();
        for name in ["a", "b", "a", "c", "d", "c", "e"] {
            remember(&mut last, &name.parse().unwrap());
        }
        let names: Vec<_> = last.iter().map(Label::as_str).collect();
        assert_eq!(names, ["a", "d", "c", "e"]);
    }
}
