//! Workers: who claims tasks, and what their heartbeats tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alone::Alone;
use crate::id::{Label, ProjectId, SessionId, TaskId, WorkerId};
use crate::lease::LeasePolicy;
use crate::owner::Owner;
use crate::session::Superseded;
use crate::takes::{Taker, Takes};
use crate::time::Timestamp;

/// What is known of a worker. What it holds is not stored here: that is what the tasks' leases say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The worker's name.
    pub id: WorkerId,
    /// Whose the name is: other callers that are bound cannot use it. None if a version wrote the record that kept no more
    /// of it than that it is no project's; who uses it next, if not of a project, makes it theirs.
    pub owner: Option<Owner>,
    /// Its latest start, if it names its starts.
    pub session: Option<SessionId>,
    /// Earlier starts whose place was taken, the latest last; at most [`Worker::SUPERSEDED_SESSIONS`].
    pub superseded: Vec<Superseded>,
    /// When it last showed that two starts of this name live; none if it never did.
    pub contested_at: Option<Timestamp>,
    /// When Baton first heard of this session.
    pub started_at: Timestamp,
    /// Its last heartbeat; none if it has only claimed.
    pub last_beat_at: Option<Timestamp>,
    /// How many heartbeats under this name were recorded, those of earlier starts included: they count in the order of their
    /// arrival, whatever the clock told at each.
    #[serde(default)]
    pub beats: u64,
    /// How many tasks it takes at once, by its own word.
    pub capacity: Option<u32>,
    /// What it says it runs, as of the last heartbeat; none if it does not say.
    pub running: Option<Vec<Running>>,
    /// Its latest readings, such as `vram_used_mb`.
    pub readings: BTreeMap<String, f64>,
    /// Free words about it, such as host, version or GPU.
    pub labels: BTreeMap<String, String>,
    /// What an operator has asked of it.
    pub directive: Directive,
    /// Since when that stands, by whom and why; none of `Run`, and of what versions asked that kept none of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directed: Option<Directed>,
    /// When it said that it ends, with its last heartbeat. A claim, a later heartbeat or a new start takes that back.
    pub ended_at: Option<Timestamp>,
    /// How it is tied to a task that is given out alone, as of its last claim; the task tells whether it still is.
    pub alone: Option<Alone>,
    /// What its claims take, the latest last; at most [`Takes::KEPT`].
    #[serde(default)]
    pub takes: Vec<Takes>,
}

/// One task that a worker says it is running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The task.
    pub task: TaskId,
    /// The attempt that its claim was given.
    pub attempt: u32,
    /// How far it has come, from 0.0 to 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What it is doing, in the worker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an operator asks of a worker. It holds for one session: a new start of the worker begins with `Run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Claim and run.
    #[default]
    Run,
    /// Claim nothing more, finish what runs, then exit.
    Drain,
    /// Give everything back and exit now.
    Stop,
}

impl Directive {
    /// Every directive.
    pub const ALL: [Self; 3] = [Self::Run, Self::Drain, Self::Stop];

    /// The directive's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }
}

/// That a worker was asked to drain or to stop: since when, by whom, and why. Of several requests for the same in a row the first
/// one counts: since then it stands. But somebody who is named takes the place of nobody, such as a rule for readings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directed {
    /// Since when.
    pub since: Timestamp,
    /// Who asked, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What stands that is asked of a worker, as its record was read: who acts on that alone asks only while it is still so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// What is asked of it.
    pub directive: Directive,
    /// Since when, by whom and why.
    pub directed: Option<Directed>,
}

/// A worker's state as it is shown: derived from its record and the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// It beats, and may claim.
    Active,
    /// It beats, and was asked to drain.
    Draining,
    /// It was asked to stop.
    Stopping,
    /// It has not beaten for longer than the heartbeat timeout, and has not said that it ends.
    Lost,
    /// It has said that it ends.
    Gone,
    /// It has claimed, but never beaten: a client with fixed leases, or one too young to have beaten.
    Silent,
}

impl WorkerStatus {
    /// The state to show at `now` of a worker that ended, beat last and is asked so.
    pub fn of(
        (ended_at, last_beat_at, directive): (Option<Timestamp>, Option<Timestamp>, Directive),
        policy: &LeasePolicy,
        now: Timestamp,
    ) -> Self {
        if ended_at.is_some() {
            return Self::Gone;
        }
        match (last_beat_at, directive) {
            (None, _) => Self::Silent,
            (Some(beat), _) if now.since(beat) > policy.heartbeat_timeout => Self::Lost,
            (Some(_), Directive::Run) => Self::Active,
            (Some(_), Directive::Drain) => Self::Draining,
            (Some(_), Directive::Stop) => Self::Stopping,
        }
    }

    /// The status's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Lost => "lost",
            Self::Gone => "gone",
            Self::Silent => "silent",
        }
    }
}

impl Worker {
    /// The label that it has while it cannot start its program: why, how often, since when.
    pub const CANNOT_START: &'static str = "cannot_start";

    /// The label that names the machine on which it runs.
    pub const MACHINE: &'static str = "machine";

    /// A worker that is heard of for the first time.
    pub fn new(id: WorkerId, owner: Owner, session: Option<SessionId>, now: Timestamp) -> Self {
        Self {
            id,
            owner: Some(owner),
            session,
            superseded: Vec::new(),
            contested_at: None,
            started_at: now,
            last_beat_at: None,
            beats: 0,
            capacity: None,
            running: None,
            readings: BTreeMap::new(),
            labels: BTreeMap::new(),
            directive: Directive::Run,
            directed: None,
            ended_at: None,
            alone: None,
            takes: Vec::new(),
        }
    }

    /// The project that it works for, if its name belongs to one.
    pub fn project(&self) -> Option<&ProjectId> {
        self.owner.as_ref().and_then(Owner::project)
    }

    /// Whether a caller may use the name, which is theirs from then on if it was nobody's.
    pub fn admit(&mut self, caller: &Owner) -> bool {
        let admitted = caller.may_use(self.owner.as_ref());
        if admitted && self.owner.is_none() {
            self.owner = Some(caller.clone());
        }
        admitted
    }

    /// What stands that is asked of it.
    pub fn stands(&self) -> Stands {
        Stands { directive: self.directive, directed: self.directed.clone() }
    }

    /// Asks something of it. False if that stands already, which then changes nothing. Somebody who is named takes the place of nobody:
    /// else what a rule has asked would be the rule's to take back, whoever has asked for the same since.
    pub fn direct(&mut self, directive: Directive, asked: Directed) -> bool {
        let of_nobody = self.directed.as_ref().is_some_and(|directed| directed.by.is_none());
        if self.directive == directive && !(of_nobody && asked.by.is_some()) {
            return false;
        }
        self.directive = directive;
        self.directed = (directive != Directive::Run).then_some(asked);
        true
    }

    /// The state to show at `now`.
    pub fn status(&self, policy: &LeasePolicy, now: Timestamp) -> WorkerStatus {
        WorkerStatus::of((self.ended_at, self.last_beat_at, self.directive), policy, now)
    }

    /// The worker as far as it matters for who takes a task.
    pub fn taker(&self, policy: &LeasePolicy, now: Timestamp) -> Taker {
        Taker {
            worker: self.id.clone(),
            status: self.status(policy, now),
            directive: self.directive,
            heard_at: Taker::heard_at(self.started_at, self.last_beat_at, &self.takes),
            takes: self.takes.clone(),
        }
    }
}
