//! Leases: who may finish a task, and when that right is lost.
//!
//! A lease is judged from facts that the store holds (the lease, the worker's last heartbeat, the clock) and from
//! nothing else: no ping, no process list.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{RequestKey, SessionId, TaskId, WorkerId};
use crate::time::Timestamp;
use crate::watch::Watch;
use crate::worker::{Running, Worker};

/// What a worker presents to act on a task that it holds: its own name and the attempt that its claim was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The attempt that the claim answered with.
    pub attempt: u32,
    /// The worker that claimed.
    pub worker: WorkerId,
}

/// A worker's right to finish one attempt of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The worker that holds the task.
    pub worker: WorkerId,
    /// The start of the worker that claimed, if it named one.
    pub session: Option<SessionId>,
    /// When the task was claimed.
    pub claimed_at: Timestamp,
    /// When a fixed lease ends; none while heartbeats keep it alive.
    pub expires_at: Option<Timestamp>,
    /// When the attempt has run past the task's own timeout.
    pub timeout_at: Option<Timestamp>,
    /// The claim request that took it, to answer the same request again.
    pub request: Option<RequestKey>,
    /// How many heartbeats of the worker had been recorded when it claimed ([`Worker::beats`]): only later ones can have
    /// forgotten the task. None if it was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beats: Option<u64>,
}

/// How the lease of a claim is kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseTerms {
    /// By the worker's heartbeats.
    Heartbeats,
    /// Not at all: it ends after a fixed time, for clients that do not beat.
    Fixed(Duration),
}

/// The times that decide when a lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePolicy {
    /// A worker that has not beaten for longer than this has lost its leases.
    pub heartbeat_timeout: Duration,
    /// How often workers are asked to beat.
    pub heartbeat_interval: Duration,
    /// A heartbeat that does not list a task says nothing about a task claimed less than this before it: the claim's
    /// answer may still be on its way.
    pub forget_grace: Duration,
}

impl Default for LeasePolicy {
    /// Lost after 60 s, beats every 20 s, 10 s of grace.
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(20),
            forget_grace: Duration::from_secs(10),
        }
    }
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The worker has not beaten for longer than the heartbeat timeout.
    HeartbeatMissed,
    /// The fixed lease has run out.
    LeaseExpired,
    /// The attempt has run past the task's own timeout.
    TimedOut,
    /// The worker has started anew since it claimed.
    SessionEnded,
    /// The worker's heartbeat lists what it runs, and this task is not on the list.
    Forgotten,
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::HeartbeatMissed, Self::LeaseExpired, Self::TimedOut, Self::SessionEnded, Self::Forgotten];

    /// The reason's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HeartbeatMissed => "heartbeat_missed",
            Self::LeaseExpired => "lease_expired",
            Self::TimedOut => "timed_out",
            Self::SessionEnded => "session_ended",
            Self::Forgotten => "forgotten",
        }
    }

    /// What has happened, for people.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::HeartbeatMissed => "the worker missed its heartbeats",
            Self::LeaseExpired => "the fixed lease ran out",
            Self::TimedOut => "the attempt ran past the task's timeout",
            Self::SessionEnded => "the worker started anew",
            Self::Forgotten => "the worker's heartbeat no longer listed the task",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A lease that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// Whether the worker itself was lost, as far as can be told, and not only its right to this task.
    pub with_worker: bool,
}

impl Loss {
    /// What has happened, for people.
    pub const fn explain(self) -> &'static str {
        match self {
            Self { reason: LossReason::SessionEnded, with_worker: false } => {
                "another start took the worker's name while this one still lived"
            }
            Self { reason, .. } => reason.explain(),
        }
    }
}

impl Lease {
    /// Says whether, and why, this lease of `attempt` of `task` is lost, given what is known of its worker (`None`:
    /// nothing, as when its record was removed) and of the time.
    ///
    /// A lease that is lost stays the worker's until the reaper takes the task back: time alone is no transition, so
    /// a completion that arrives before the reaper still counts. Until workers could be heard for a whole heartbeat
    /// timeout nothing is lost by time alone: who finished while nobody could listen is to say so first.
    pub fn lost(
        &self,
        task: TaskId,
        attempt: u32,
        worker: Option<&Worker>,
        policy: &LeasePolicy,
        watch: &Watch,
    ) -> Option<Loss> {
        let loss = |reason, with_worker| Some(Loss { reason, with_worker });
        let held_for = watch.elapsed(self.claimed_at);
        let all_heard = watch.heard_for() >= policy.heartbeat_timeout;
        let is_over = |at: Timestamp| all_heard && held_for >= at.since(self.claimed_at);
        if let Some(timeout_at) = self.timeout_at.filter(|at| is_over(*at)) {
            let over_for = held_for.saturating_sub(timeout_at.since(self.claimed_at));
            return loss(LossReason::TimedOut, self.is_unheard(over_for, worker, watch));
        }
        if let Some(expires_at) = self.expires_at {
            // It says nothing of the worker: a name with fixed leases may stand for many clients.
            return if is_over(expires_at) { loss(LossReason::LeaseExpired, false) } else { None };
        }
        if let (Some(session), Some(worker)) = (self.session, worker)
            && worker.session != Some(session)
        {
            return superseded(session, worker, policy, watch);
        }
        let beat = worker.and_then(|worker| Some((worker, watch.elapsed(worker.last_beat_at?))));
        let silent_for = match beat {
            // The clock that heard the claim may be ahead of the one that hears the beats.
            Some((worker, beat)) if self.beats.is_some_and(|beats| worker.beats > beats) => beat,
            // A claim is a sign of life, too.
            Some((_, beat)) => beat.min(held_for),
            None => held_for,
        };
        if silent_for.min(watch.heard_for()) > policy.heartbeat_timeout + watch.patience {
            return loss(LossReason::HeartbeatMissed, true);
        }
        let forgotten = beat.is_some_and(|(worker, beat)| {
            // Which came first is told by the number: the two may have been heard by different clocks.
            let beaten_since = self.beats.is_none_or(|beats| worker.beats > beats);
            let in_grace = held_for <= beat + policy.forget_grace;
            let listed =
                |running: &Vec<Running>| running.iter().any(|r| r.task == task && r.attempt == attempt);
            beaten_since && !in_grace && worker.running.as_ref().is_some_and(|running| !listed(running))
        });
        // A worker that does not name its starts shows only so that it has started anew.
        if forgotten { loss(LossReason::Forgotten, self.session.is_none()) } else { None }
    }

    /// Whether nothing was heard, for so long, of a worker that is to beat.
    fn is_unheard(&self, length: Duration, worker: Option<&Worker>, watch: &Watch) -> bool {
        let heard = worker.is_some_and(|worker| {
            let same = self.session.is_none() || worker.session == self.session;
            let since_claim = self.beats.is_none_or(|beats| worker.beats > beats);
            same && since_claim && worker.last_beat_at.is_some_and(|beat| watch.elapsed(beat) <= length)
        });
        self.expires_at.is_none() && !heard
    }
}

/// Judges a lease of an earlier start of its worker.
fn superseded(session: SessionId, worker: &Worker, policy: &LeasePolicy, watch: &Watch) -> Option<Loss> {
    let loss = |with_worker| Some(Loss { reason: LossReason::SessionEnded, with_worker });
    match worker.superseded(session) {
        Some(earlier) if earlier.heard => loss(false),
        // Two starts share this name: that a later one took its place says nothing of this one, and its own word is
        // worth waiting for. Without a contest nobody waits: nearly always the worker was just started anew.
        Some(earlier)
            if worker.is_contested(watch)
                && watch.elapsed(earlier.at).min(watch.heard_for()) <= policy.heartbeat_timeout =>
        {
            None
        }
        _ => loss(true),
    }
}
