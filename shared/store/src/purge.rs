//! Removing what is past its keeping: the command and its answer.

use std::time::Duration;

use baton_model::Timestamp;

use crate::token::AUDIT_KEPT;

/// Removes what is past its keeping.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    /// The time.
    pub now: Timestamp,
    /// How many of each kind to remove at most.
    pub limit: u32,
    /// For about how long a store whose other commands wait meanwhile may be at it (see
    /// [`crate::Capabilities::sliced_purges`]); none for as long as the limit allows.
    pub slice: Option<Duration>,
    /// How long finished tasks are kept; none for ever.
    pub keep_finished: Option<Duration>,
    /// How long log lines are kept.
    pub keep_logs: Duration,
    /// How long the record of a worker that no longer beats is kept.
    pub keep_workers: Duration,
    /// How long idempotency keys are kept.
    pub keep_idempotency: Duration,
    /// How long the names of claim requests are kept.
    pub keep_claims: Duration,
    /// How long tokens are kept that have expired or were revoked.
    pub keep_tokens: Duration,
    /// How long entries of the audit log are kept.
    pub keep_audit: Duration,
}

impl Purge {
    /// The default times: finished tasks 30 days, log lines 48 hours, workers 7 days, idempotency keys 24 hours,
    /// claim requests 15 minutes, ended tokens 30 days, the audit log 400 days.
    pub fn at(now: Timestamp) -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        Self {
            now,
            limit: 1_000,
            slice: None,
            keep_finished: Some(hours(30 * 24)),
            keep_logs: hours(48),
            keep_workers: hours(7 * 24),
            keep_idempotency: hours(24),
            keep_claims: Duration::from_secs(15 * 60),
            keep_tokens: hours(30 * 24),
            keep_audit: AUDIT_KEPT,
        }
    }
}

/// The answer to [`Purge`]: how many of each kind were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Finished tasks, with history and generation.
    pub tasks: u64,
    /// Log lines.
    pub logs: u64,
    /// Workers.
    pub workers: u64,
    /// Idempotency keys.
    pub idempotency_keys: u64,
    /// Claim requests.
    pub claim_requests: u64,
    /// Tokens.
    pub tokens: u64,
    /// Entries of the audit log.
    pub audit_entries: u64,
    /// Whether a limit was reached or the slice was over, so that there may be more.
    pub more: bool,
    /// How far behind the removing is, where there may be more and the store can tell.
    pub overdue: Option<Overdue>,
}

/// How far past its keeping the oldest thing of each kind is that has not been removed; zero where none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Finished tasks.
    pub tasks: Duration,
    /// Log lines.
    pub logs: Duration,
    /// Workers.
    pub workers: Duration,
    /// Idempotency keys.
    pub idempotency_keys: Duration,
    /// Claim requests.
    pub claim_requests: Duration,
    /// Tokens.
    pub tokens: Duration,
    /// Entries of the audit log.
    pub audit_entries: Duration,
}

impl Overdue {
    /// Each kind by its name.
    pub fn each(&self) -> [(&'static str, Duration); 7] {
        [
            ("tasks", self.tasks),
            ("logs", self.logs),
            ("workers", self.workers),
            ("idempotency_keys", self.idempotency_keys),
            ("claim_requests", self.claim_requests),
            ("tokens", self.tokens),
            ("audit_entries", self.audit_entries),
        ]
    }

    /// The longest of all.
    pub fn longest(&self) -> Duration {
        self.each().map(|(_, overdue)| overdue).into_iter().max().unwrap_or_default()
    }

    /// Whether some kind is further behind than it was.
    pub fn is_further_than(&self, earlier: &Self) -> bool {
        self.each().iter().zip(earlier.each()).any(|((_, now), (_, then))| *now > then)
    }
}
