//! Why a task waits: whether it may be claimed now, as one pure function of stored facts with its reasons kept.
//!
//! The rules themselves are those that claims go by: what dependencies mean ([`crate::dependency`]), what a limit lets start
//! ([`crate::LimitRules::stop`]), who takes what ([`crate::takes`]). A claim that is given nothing says so by the same words
//! ([`word`]).

use crate::dependency::{Dependency, Outlook};
use crate::id::{Label, ProjectId, QueueName, TaskId, TaskType, WorkerId};
use crate::queue::Pause;
use crate::share::{LimitOn, LimitRules, Standing};
use crate::takes::{Taker, Takers};
use crate::task::{IfDependencyFails, State, Status, TaskState};
use crate::time::Timestamp;

/// The words that reasons go by, in this program's answers and for good.
pub mod word {
    /// It was not started in time.
    pub const EXPIRED: &str = "expired";
    /// It waits for other tasks.
    pub const BLOCKED: &str = "blocked";
    /// It is for later.
    pub const SCHEDULED: &str = "scheduled";
    /// Its queue is paused.
    pub const PAUSED: &str = "paused";
    /// A limit lets it not start.
    pub const AT_LIMIT: &str = "at_limit";
    /// It is given out alone.
    pub const ONLY_ALONE: &str = "only_alone";
    /// No live worker takes it.
    pub const NO_WORKER: &str = "no_worker";
    /// Others come before it.
    pub const BEHIND: &str = "behind";
}

/// Why a task waits. The order of the variants is that in which they must be lifted: it does not help to resume a queue for a
/// task that still waits for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was not started in time, and is about to fail.
    Expired {
        /// Until when it was to be started.
        at: Timestamp,
    },
    /// It waits for other tasks.
    Blocked {
        /// Those that have not ended yet; none if it is about to be let go of.
        by: Vec<Waited>,
    },
    /// It is for later.
    Scheduled {
        /// When it is due.
        at: Timestamp,
    },
    /// Its queue gives out nothing.
    Paused(Pause),
    /// A limit that it falls under does not let it start.
    AtLimit(FullLimit),
    /// It was lost with its workers before, and is given to a worker that holds nothing.
    OnlyAlone {
        /// The worker that is given nothing more until it is empty, to run it then.
        makes_room: Option<WorkerId>,
    },
    /// No live worker takes such tasks.
    NoWorker {
        /// The one that did and was heard of last.
        last: Option<Taker>,
        /// Whether there are workers that were not looked at.
        unseen: bool,
    },
    /// Other tasks of its queue come before it.
    Behind(Ahead),
}

impl Reason {
    /// The word that it goes by.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Expired { .. } => word::EXPIRED,
            Self::Blocked { .. } => word::BLOCKED,
            Self::Scheduled { .. } => word::SCHEDULED,
            Self::Paused(_) => word::PAUSED,
            Self::AtLimit(_) => word::AT_LIMIT,
            Self::OnlyAlone { .. } => word::ONLY_ALONE,
            Self::NoWorker { .. } => word::NO_WORKER,
            Self::Behind(_) => word::BEHIND,
        }
    }

    /// Whether no claim at all is given the task while it holds. The others say what is to come by itself: a worker, or its turn.
    pub const fn keeps(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::Blocked { .. }
            | Self::Scheduled { .. }
            | Self::Paused(_)
            | Self::AtLimit(_) => true,
            Self::OnlyAlone { .. } | Self::NoWorker { .. } | Self::Behind(_) => false,
        }
    }
}

/// A task that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The task.
    pub task: TaskId,
    /// How it stands; none if it was removed.
    pub standing: Option<WaitedStanding>,
}

/// How a task stands that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitedStanding {
    /// Its status.
    pub status: Status,
    /// Its queue.
    pub queue: QueueName,
    /// Its project.
    pub project: ProjectId,
}

/// A limit that does not let a task start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullLimit {
    /// What it holds for.
    pub on: LimitOn,
    /// How many tasks it lets run at once, if it says.
    pub max_running: Option<u32>,
    /// How many run under it, and how many hold their place while they wait for their next attempt.
    pub taken: u32,
    /// When its rate lets the task start, if it is only that.
    pub next_at: Option<Timestamp>,
    /// The first [`FullLimit::HOLDERS`] of those that it counts, by id.
    pub holders: Vec<Holder>,
}

impl FullLimit {
    /// How many of those that hold a limit are named.
    pub const HOLDERS: usize = 20;
}

/// A task that counts against a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its project.
    pub project: ProjectId,
    /// The worker that runs it; none while it holds its place and waits for its next attempt.
    pub worker: Option<WorkerId>,
}

/// How many tasks of its queue come before a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// How many.
    pub tasks: u64,
    /// Whether there may be more.
    pub at_least: bool,
}

impl Ahead {
    /// Up to how many are counted.
    pub const COUNTED: u64 = 1_000;

    /// What was counted by a count that ends at `bound`.
    pub fn counted(tasks: u64, bound: u64) -> Self {
        Self { tasks: tasks.min(bound), at_least: tasks >= bound }
    }
}

/// A limit that a task falls under, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderLimit {
    /// What it holds for.
    pub on: LimitOn,
    /// What it says.
    pub rules: LimitRules,
    /// What counts against it.
    pub standing: Standing,
    /// Whether the task holds a place of it.
    pub holds_place: bool,
    /// The first of those that it counts, by id; need not be there where it lets the task start.
    pub holders: Vec<Holder>,
}

impl UnderLimit {
    /// Whether it does not let the task start.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.rules.stop(self.standing, self.holds_place, now).is_some()
    }

    fn full(&self, now: Timestamp) -> Option<FullLimit> {
        let stop = self.rules.stop(self.standing, self.holds_place, now)?;
        Some(FullLimit {
            on: self.on.clone(),
            max_running: self.rules.max_running,
            taken: self.standing.running + self.standing.held,
            next_at: stop.next_at,
            holders: self.holders.clone(),
        })
    }
}

/// What is known of a task that waits, at a point in time.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// Until when it was to be started, if that has come and it was not.
    pub expired: Option<Timestamp>,
    /// Whether it is blocked.
    pub is_blocked: bool,
    /// From when on it may be claimed.
    pub run_after: Timestamp,
    /// Its dependencies.
    pub waited: Vec<Waited>,
    /// What becomes of it if one of them fails.
    pub choice: IfDependencyFails,
    /// Why its queue is paused, if it is.
    pub pause: Option<Pause>,
    /// The limits that it falls under, the narrowest first.
    pub limits: Vec<UnderLimit>,
    /// Whether it is given out alone.
    pub runs_alone: bool,
    /// The worker that makes room for it.
    pub makes_room: Option<WorkerId>,
    /// Whether anybody takes such tasks.
    pub takers: Takers,
    /// How many come before it; need not be known of a blocked task, which has no place yet.
    pub ahead: Ahead,
}

/// Every reason that holds now, in the order in which they must be lifted. None: it is next, and is only to be claimed.
pub fn reasons(facts: Facts) -> Vec<Reason> {
    let Facts { now, is_blocked, run_after, waited, choice, pause, limits, .. } = facts;
    let mut reasons = Vec::new();
    reasons.extend(facts.expired.map(|at| Reason::Expired { at }));
    if is_blocked {
        let unmet = |one: &Waited| {
            let state = one.standing.as_ref().map(|standing| standing.status.state());
            Dependency { task: one.task, state, first: None }.outlook(choice) == Outlook::Unmet
        };
        reasons.push(Reason::Blocked { by: waited.into_iter().filter(unmet).collect() });
    }
    if run_after > now {
        reasons.push(Reason::Scheduled { at: run_after });
    }
    reasons.extend(pause.map(Reason::Paused));
    reasons.extend(limits.iter().filter_map(|limit| limit.full(now)).map(Reason::AtLimit));
    if facts.runs_alone {
        reasons.push(Reason::OnlyAlone { makes_room: facts.makes_room });
    }
    if let Takers::None { last, unseen } = facts.takers {
        reasons.push(Reason::NoWorker { last, unseen });
    }
    if !is_blocked && facts.ahead.tasks > 0 {
        reasons.push(Reason::Behind(facts.ahead));
    }
    reasons
}

/// A task, and why it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its project.
    pub project: ProjectId,
    /// Its type.
    pub task_type: TaskType,
    /// What its worker had best have warm.
    pub affinity: Option<Label>,
    /// Its status.
    pub status: Status,
    /// How often it has been claimed.
    pub attempt: u32,
    /// Who runs it, if it runs.
    pub worker: Option<WorkerId>,
    /// Why it waits, in the order in which it must be lifted. Empty if it does not wait, or is next.
    pub reasons: Vec<Reason>,
}

impl Why {
    /// Whether the task waits, for whatever reason.
    pub const fn waits(&self) -> bool {
        matches!(self.status.state(), State::Blocked | State::Queued)
    }

    /// Whether no claim at all is given the task now.
    pub fn is_kept(&self) -> bool {
        self.reasons.iter().any(Reason::keeps)
    }

    /// Who runs a task in this state.
    pub fn worker_of(state: &TaskState) -> Option<WorkerId> {
        match state {
            TaskState::Running(lease) => Some(lease.worker.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate::{Arrival, Rate};
    use crate::share::Which;
    use crate::worker::{Directive, WorkerStatus};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn id(n: u8) -> TaskId {
        TaskId::from_bytes([n; 16])
    }

    fn free() -> Facts {
        Facts {
            now: at(0),
            expired: None,
            is_blocked: false,
            run_after: at(0),
            waited: Vec::new(),
            choice: IfDependencyFails::Cancel,
            pause: None,
            limits: Vec::new(),
            runs_alone: false,
            makes_room: None,
            takers: Takers::Live,
            ahead: Ahead::default(),
        }
    }

    fn waited(n: u8, status: Status) -> Waited {
        let standing = WaitedStanding { status, queue: QueueName::default(), project: ProjectId::default() };
        Waited { task: id(n), standing: Some(standing) }
    }

    fn limit(running: u32, held: u32, rules: LimitRules) -> UnderLimit {
        UnderLimit {
            on: LimitOn::Project(Which::This("film".parse().unwrap())),
            rules,
            standing: Standing { running, held, arrival: None },
            holds_place: false,
            holders: Vec::new(),
        }
    }

    fn words(facts: Facts) -> Vec<&'static str> {
        reasons(facts).iter().map(Reason::word).collect()
    }

    #[test]
    fn a_task_that_is_next_has_no_reason() {
        assert_eq!(reasons(free()), []);
    }

    #[test]
    fn every_reason_is_told_in_the_order_in_which_it_must_be_lifted() {
        let full = LimitRules { max_running: Some(1), ..LimitRules::default() };
        let facts = Facts {
            expired: Some(at(0)),
            is_blocked: true,
            run_after: at(1),
            waited: vec![
                waited(2, Status::Completed),
                waited(3, Status::Running),
                waited(4, Status::Created),
            ],
            pause: Some(Pause { since: at(0), by: None, reason: None }),
            limits: vec![limit(1, 0, full.clone()), limit(0, 0, full)],
            runs_alone: true,
            takers: Takers::None { last: None, unseen: false },
            ..free()
        };
        let all = reasons(facts.clone());
        let words: Vec<_> = all.iter().map(Reason::word).collect();
        assert_eq!(
            words,
            ["expired", "blocked", "scheduled", "paused", "at_limit", "only_alone", "no_worker"]
        );
        assert_eq!(
            all[1],
            Reason::Blocked { by: vec![waited(3, Status::Running), waited(4, Status::Created)] }
        );
        let keeps: Vec<_> = all.iter().map(Reason::keeps).collect();
        assert_eq!(keeps, [true, true, true, true, true, false, false]);
        let let_go = Facts { is_blocked: false, ahead: Ahead { tasks: 3, at_least: false }, ..facts };
        let last = reasons(let_go).pop();
        assert_eq!(last, Some(Reason::Behind(Ahead { tasks: 3, at_least: false })));
    }

    #[test]
    fn a_failed_dependency_is_waited_for_by_nobody() {
        let blocked = |choice| Facts {
            is_blocked: true,
            choice,
            waited: vec![waited(2, Status::Failed), Waited { task: id(3), standing: None }],
            ..free()
        };
        for choice in IfDependencyFails::ALL {
            assert_eq!(reasons(blocked(choice)), [Reason::Blocked { by: Vec::new() }]);
        }
    }

    #[test]
    fn a_limit_stops_by_its_places_or_its_rate() {
        let rules = LimitRules { max_running: Some(2), ..LimitRules::default() };
        let told = |limit: UnderLimit| words(Facts { limits: vec![limit], ..free() });
        assert_eq!(told(limit(1, 0, rules.clone())), [""; 0]);
        assert_eq!(told(limit(1, 1, rules.clone())), ["at_limit"]);
        assert_eq!(told(UnderLimit { holds_place: true, ..limit(1, 1, rules) }), [""; 0]);
        let rate =
            LimitRules { rate: Some(Rate { starts: 1, seconds: 10, burst: 1 }), ..LimitRules::default() };
        let next_at = at(7);
        let mut timed = limit(0, 0, rate);
        timed.standing.arrival = Some(Arrival(next_at.as_millis() * 1_000));
        let told = reasons(Facts { limits: vec![timed.clone()], ..free() });
        assert!(matches!(&told[..], [Reason::AtLimit(full)] if full.next_at == Some(next_at)), "{told:?}");
        assert_eq!(words(Facts { limits: vec![timed], now: next_at, ..free() }), [""; 0]);
    }

    #[test]
    fn a_worker_that_makes_room_and_one_that_did_take_it_are_named() {
        let worker: WorkerId = "w1".parse().unwrap();
        let last = Taker {
            worker: worker.clone(),
            status: WorkerStatus::Lost,
            directive: Directive::Run,
            heard_at: at(0),
            takes: Vec::new(),
        };
        let facts = Facts {
            runs_alone: true,
            makes_room: Some(worker.clone()),
            takers: Takers::None { last: Some(last.clone()), unseen: true },
            ..free()
        };
        let expected = [
            Reason::OnlyAlone { makes_room: Some(worker) },
            Reason::NoWorker { last: Some(last), unseen: true },
        ];
        assert_eq!(reasons(facts), expected);
    }
}
