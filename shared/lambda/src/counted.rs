//! A store that counts what it does, for metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use baton_model::{
    AuditId, Generation, GenerationId, LogLine, QueueName, RoundNote, State, Task, TaskId, Timestamp, Token,
    TokenId, WorkerId,
};
use baton_store::{
    AuditEntry, AuditFilter, AuditStore, Beat, BeatAnswer, Cancel, Capabilities, Claim, ClaimAnswer,
    Complete, CompleteAnswer, Create, CreateAnswer, Direct, Fail, FailAnswer, GenerationFilter, Health,
    LogFilter, Page, PageRequest, PauseQueue, Purge, PurgeReport, QueueStats, Reap, ReapReport, Redate,
    Redated, Release, Retry, Settled, Sizes, Stats, Store, StoreError, StoredToken, TaskDetail, TaskFilter,
    TaskStore, TokenStore, Waiting, WorkerDetail,
};

/// What was done since it was last asked. Repetitions, which change nothing, do not count.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; NAMES.len()]);

/// The metrics, by their names in CloudWatch.
const NAMES: [&str; 8] =
    ["Created", "Claimed", "Completed", "AttemptsFailed", "TasksFailed", "Reaped", "DeadLettered", "Relayed"];

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Tasks created.
    Created,
    /// Tasks given to workers.
    Claimed,
    /// Tasks completed.
    Completed,
    /// Attempts that their workers failed.
    AttemptsFailed,
    /// Tasks that failed for good, by their workers or taken back from them.
    TasksFailed,
    /// Tasks taken back from workers.
    Reaped,
    /// Messages that can never succeed.
    DeadLettered,
    /// Events put into the queue `task-events`.
    Relayed,
}

impl Counts {
    /// Counts some more.
    pub fn add(&self, what: Count, some: u64) {
        self.0[what as usize].fetch_add(some, Ordering::Relaxed);
    }

    /// The counts by the metrics' names, and begins anew.
    pub fn take(&self) -> BTreeMap<&'static str, u64> {
        NAMES.into_iter().zip(&self.0).map(|(name, count)| (name, count.swap(0, Ordering::Relaxed))).collect()
    }
}

/// A store, and the counts of what it did.
pub struct Counted {
    store: Arc<dyn Store>,
    counts: Arc<Counts>,
}

impl Counted {
    /// Counts what `store` does.
    pub fn new(store: Arc<dyn Store>, counts: Arc<Counts>) -> Self {
        Self { store, counts }
    }

    fn claimed(&self, answer: &ClaimAnswer) {
        if let ClaimAnswer::Leased(tasks) = answer {
            self.counts.add(Count::Claimed, tasks.len() as u64);
        }
    }
}

#[async_trait]
impl TaskStore for Counted {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        let answer = self.store.create(create).await?;
        let new = answer.items.iter().flatten().filter(|accepted| accepted.new).count();
        if !answer.replayed {
            self.counts.add(Count::Created, new as u64);
        }
        Ok(answer)
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        let answer = self.store.claim(claim).await?;
        self.claimed(&answer);
        Ok(answer)
    }

    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError> {
        let answer = self.store.complete(complete, next).await?;
        self.counts.add(Count::Completed, u64::from(!answer.repeated));
        if let Some(Ok(next)) = &answer.next {
            self.claimed(next);
        }
        Ok(answer)
    }

    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        let answer = self.store.fail(fail).await?;
        if !answer.repeated {
            self.counts.add(Count::AttemptsFailed, 1);
            let ended = answer.task.head.state.state() == State::Failed;
            self.counts.add(Count::TasksFailed, u64::from(ended));
        }
        Ok(answer)
    }

    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError> {
        self.store.release(release).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        self.store.heartbeat(beat).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError> {
        self.store.cancel(cancel).await
    }

    async fn retry(&self, retry: Retry) -> Result<Task, StoreError> {
        self.store.retry(retry).await
    }

    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError> {
        let report = self.store.reap(reap).await?;
        self.counts.add(Count::Reaped, report.taken.len() as u64);
        let failed = report.taken.iter().filter(|taken| taken.to == State::Failed).count();
        self.counts.add(Count::TasksFailed, failed as u64);
        Ok(report)
    }

    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        self.store.last_round().await
    }

    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError> {
        self.store.note_round(note).await
    }

    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError> {
        self.store.redate(redate).await
    }

    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError> {
        self.store.purge(purge).await
    }

    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        self.store.pause_queue(pause).await
    }

    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError> {
        self.store.direct_worker(direct).await
    }

    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        self.store.task(id).await
    }

    async fn tasks(&self, filter: TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        self.store.tasks(filter, page).await
    }

    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.store.task_ids_by_prefix(prefix, limit).await
    }

    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError> {
        self.store.generation(id).await
    }

    async fn generations(
        &self,
        filter: GenerationFilter,
        page: PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        self.store.generations(filter, page).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        self.store.worker(id).await
    }

    async fn workers(&self, page: PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        self.store.workers(page).await
    }

    async fn queue(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats, StoreError> {
        self.store.queue(name, now).await
    }

    async fn queues(&self, now: Timestamp, page: PageRequest) -> Result<Page<QueueStats>, StoreError> {
        self.store.queues(now, page).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.store.stats(now).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        self.store.waiting(now).await
    }

    async fn logs(&self, filter: LogFilter, page: PageRequest) -> Result<Page<LogLine>, StoreError> {
        self.store.logs(filter, page).await
    }

    async fn health(&self) -> Health {
        self.store.health().await
    }

    async fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        self.store.sizes().await
    }
}

#[async_trait]
impl TokenStore for Counted {
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError> {
        self.store.create_token(token).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        self.store.token(id).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<Token>, StoreError> {
        self.store.tokens(page).await
    }

    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        self.store.revoke_token(id, now).await
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.store.token_used(id, at).await
    }
}

#[async_trait]
impl AuditStore for Counted {
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.store.record(entry).await
    }

    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError> {
        self.store.settle(id, settled).await
    }

    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        self.store.audit(filter, page).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_its_name_and_is_taken_once() {
        let counts = Counts::default();
        counts.add(Count::Created, 2);
        counts.add(Count::Relayed, 3);
        let taken = counts.take();
        assert_eq!((taken["Created"], taken["Relayed"], taken["Claimed"]), (2, 3, 0));
        assert_eq!(counts.take().values().sum::<u64>(), 0);
    }
}
