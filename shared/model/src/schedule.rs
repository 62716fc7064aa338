//! Schedules: tasks that the clock creates.
//!
//! What a schedule makes has an id that derives from the schedule and the time that it is for, and the schedule goes forward by
//! one write whose precondition is where it stood ([`Schedule::revision`]). So any number of servers, reapers and retries create
//! each occurrence once, and none of them leads.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults::Unsaid;
use crate::id::{Label, ProjectId, ScheduleName, TaskId};
use crate::rhythm::Rhythm;
use crate::task::{RunAfter, TaskSpec};
use crate::template::Filling;
use crate::time::{Timestamp, seconds};

/// How many tasks one step of a schedule creates at most: as many as fit into one transaction of DynamoDB, each with a unique key.
pub const STEP_TASKS: usize = 40;

/// The most missed occurrences that a schedule may make up for.
pub const MOST_MISSED: u32 = 32;

/// The most schedules of one store.
pub const MOST_SCHEDULES: u64 = 20_000;

/// The shortest interval.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval: ten years.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(3_650 * 86_400);

/// How late an occurrence may come before it counts as missed, unless the schedule says otherwise.
pub const LATE_AFTER: Duration = Duration::from_secs(300);

/// The shortest such time: on AWS the reaper comes once a minute.
pub const SHORTEST_LATE: Duration = Duration::from_secs(60);

/// Which schedule: its name within its project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScheduleKey {
    /// The project, whose tasks it creates.
    pub project: ProjectId,
    /// Its name.
    pub name: ScheduleName,
}

impl fmt::Display for ScheduleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// What becomes of occurrences whose time has passed by more than [`Plan::late_after`], as nothing ran then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfMissed {
    /// They are left out.
    Skip,
    /// The latest of them is made up for.
    #[default]
    Once,
    /// The latest so many of them are, at most [`MOST_MISSED`].
    All(u32),
}

impl IfMissed {
    /// How many are made up for.
    const fn most(self) -> usize {
        match self {
            Self::Skip => 0,
            Self::Once => 1,
            Self::All(most) => most as usize,
        }
    }

    /// The policy's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All(_) => "all",
        }
    }
}

/// What becomes of an occurrence while the task of the one before it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfRunning {
    /// It is left out.
    #[default]
    Skip,
    /// It is created all the same.
    Allow,
    /// It is created, and the task before it is cancelled.
    Cancel,
}

impl IfRunning {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Skip, Self::Allow, Self::Cancel];

    /// The choice's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
            Self::Cancel => "cancel",
        }
    }
}

/// What a schedule says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// When it recurs.
    pub rhythm: Rhythm,
    /// What becomes of missed occurrences.
    pub if_missed: IfMissed,
    /// How late an occurrence may come before it counts as missed.
    #[serde(with = "seconds")]
    pub late_after: Duration,
    /// What becomes of an occurrence while the one before it has not ended.
    pub if_running: IfRunning,
    /// Before this time there is no occurrence; intervals are counted from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// After this time there is no occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Whether it creates nothing for now.
    pub paused: bool,
    /// The task to create. Its id, and when it is to run, are the occurrence's.
    pub task: TaskSpec,
}

impl Plan {
    /// Whether a schedule says this. One that was written down says what was read back: of a number, JSON may lose the last bit.
    fn is_said_by(&self, standing: &Schedule) -> bool {
        let read_back = || serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        let is_same = |mut plan: Self| {
            // One of before queues had defaults does not tell what was left out.
            if standing.plan.task.unsaid.is_none() {
                plan.task.unsaid = Unsaid::default();
            }
            plan == standing.plan
        };
        is_same(self.clone()) || read_back().is_ok_and(is_same)
    }

    /// Whether it has no occurrence from `now` on.
    pub fn never_occurs(&self, now: Timestamp) -> bool {
        self.next(now, self.starts_at.unwrap_or(now)).is_none()
    }

    /// The first occurrence after `after`; none if the schedule ends before.
    fn next(&self, after: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        let before_start = self.starts_at.map(|at| at.minus(Duration::from_millis(1)));
        let after = before_start.map_or(after, |start| after.max(start));
        self.rhythm.next(after, anchor).filter(|at| self.ends_at.is_none_or(|end| *at <= end))
    }
}

/// An occurrence for which a task was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The time that it is for.
    pub at: Timestamp,
    /// Its task.
    pub task: TaskId,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Which it is.
    pub key: ScheduleKey,
    /// What it says.
    pub plan: Plan,
    /// What the ids of its tasks derive from, besides their times: nobody who knows its name can take them first.
    pub seed: [u8; 16],
    /// What intervals are counted from.
    pub anchor: Timestamp,
    /// The first occurrence for which nothing has been done; none if it has ended.
    pub next_at: Option<Timestamp>,
    /// The latest occurrence for which a task was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Occurrence>,
    /// For how many occurrences tasks were created.
    pub created: u64,
    /// How many were left out because the one before had not ended.
    pub skipped: u64,
    /// The latest occurrence that was missed and not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_at: Option<Timestamp>,
    /// How often it has been written: the precondition of the next write.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When somebody changed it last.
    pub changed_at: Timestamp,
    /// Who did, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody wants of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleChange {
    /// That there be one that says this. The same again changes nothing; another of the name is in the way, unless it is to be
    /// replaced.
    Set {
        /// What it is to say.
        plan: Box<Plan>,
        /// What its tasks' ids derive from, if it is new.
        seed: [u8; 16],
        /// Whether it may take the place of what another of the name says.
        replace: bool,
    },
    /// That it create nothing for now.
    Pause,
    /// That it go on, with the first occurrence from now on.
    Resume,
    /// That it be gone.
    Remove,
}

/// Why a schedule was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleProblem {
    /// There is none of the name.
    Unknown,
    /// Another of the name says something else.
    Exists,
}

/// Who changes a schedule, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub now: Timestamp,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// What a change makes of a schedule, or of there being none: what stands then, if there is one.
///
/// # Errors
/// If there is none, or another that is not to be replaced.
pub fn changed(
    key: &ScheduleKey,
    standing: Option<&Schedule>,
    change: &ScheduleChange,
    said: &Said,
) -> Result<Option<Schedule>, ScheduleProblem> {
    match change {
        ScheduleChange::Remove => standing.map(|_| None).ok_or(ScheduleProblem::Unknown),
        ScheduleChange::Pause | ScheduleChange::Resume => {
            let standing = standing.ok_or(ScheduleProblem::Unknown)?;
            let paused = *change == ScheduleChange::Pause;
            let plan = Plan { paused, ..standing.plan.clone() };
            Ok(Some(standing.replaced(plan, said)))
        }
        ScheduleChange::Set { plan, seed, replace } => match standing {
            None => Ok(Some(Schedule::new(key.clone(), (**plan).clone(), *seed, said))),
            Some(standing) if *replace || plan.is_said_by(standing) => {
                Ok(Some(standing.replaced((**plan).clone(), said)))
            }
            Some(_) => Err(ScheduleProblem::Exists),
        },
    }
}

/// What is to be done about a schedule that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The tasks to create, the earliest occurrence first.
    pub tasks: Vec<TaskSpec>,
    /// The task to cancel before, if it has not ended yet.
    pub cancel: Option<TaskId>,
    /// The schedule as it is once that is done.
    pub after: Schedule,
}

impl Schedule {
    /// A new one.
    fn new(key: ScheduleKey, plan: Plan, seed: [u8; 16], said: &Said) -> Self {
        let anchor = plan.starts_at.unwrap_or(said.now);
        Self {
            next_at: plan.next(said.now, anchor),
            key,
            plan,
            seed,
            anchor,
            last: None,
            created: 0,
            skipped: 0,
            missed_at: None,
            revision: 1,
            created_at: said.now,
            changed_at: said.now,
            changed_by: said.by.clone(),
            reason: said.reason.clone(),
        }
    }

    /// The same with another plan. What is due and not done stays due, unless it recurs otherwise or was paused till now.
    fn replaced(&self, plan: Plan, said: &Said) -> Self {
        if plan.is_said_by(self) {
            return self.clone();
        }
        let moved = plan.rhythm != self.plan.rhythm || plan.starts_at != self.plan.starts_at;
        let anchor = if moved { plan.starts_at.unwrap_or(said.now) } else { self.anchor };
        let resumed = self.plan.paused && !plan.paused;
        let next_at = match self.next_at {
            Some(at) if !moved && !resumed => plan.ends_at.is_none_or(|end| at <= end).then_some(at),
            _ => plan.next(self.passed(said.now), anchor),
        };
        Self {
            anchor,
            next_at,
            plan,
            revision: self.revision + 1,
            changed_at: said.now,
            changed_by: said.by.clone(),
            reason: said.reason.clone(),
            ..self.clone()
        }
    }

    /// Whether `standing` is this very step: not another's of the same revision.
    pub fn is(&self, standing: &Self) -> bool {
        let step = |one: &Self| (one.seed, one.revision, one.next_at, one.last, one.created, one.skipped);
        step(self) == step(standing)
    }

    /// Whether it is the next that `standing` came to be: the precondition of the write that moves a schedule on.
    pub fn follows(&self, standing: &Self) -> bool {
        self.seed == standing.seed && self.revision == standing.revision + 1
    }

    /// When it is due: what the reaper looks for. None while it is paused, and once it has ended.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.next_at.filter(|_| !self.plan.paused)
    }

    /// Up to when all has passed for which a task may have been created, also by a clock that was set back.
    fn passed(&self, now: Timestamp) -> Timestamp {
        self.last.map_or(now, |last| last.at.max(now))
    }

    /// The next occurrences, the first one first. While it is paused, those that it would have if it were resumed at `now`.
    pub fn upcoming(&self, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let later = |at: &Timestamp| self.plan.next(*at, self.anchor);
        let first = if self.plan.paused { later(&self.passed(now)) } else { self.next_at };
        std::iter::successors(first, later).take(most).collect()
    }

    /// The task that an occurrence has: its id begins with the time.
    pub fn task_id(&self, at: Timestamp) -> TaskId {
        TaskId::derived(at, &[&self.seed, &at.as_millis().to_be_bytes()])
    }

    /// What is to be done at `now`; none if nothing is due. `last_runs`: the task of the last occurrence has not ended.
    pub fn due(&self, now: Timestamp, last_runs: bool) -> Option<Due> {
        let first = self.due_at().filter(|at| *at <= now)?;
        let in_time_from = now.minus(self.plan.late_after);
        let mut due = self.missed(first, in_time_from);
        let missed_at = match self.plan.rhythm.previous(in_time_from, self.anchor) {
            Some(latest) if latest >= first && due.is_empty() => Some(latest),
            _ => self.missed_at,
        };
        let mut at = match first >= in_time_from {
            true => Some(first),
            false => self.plan.next(in_time_from.minus(Duration::from_millis(1)), self.anchor),
        };
        while let Some(time) = at.filter(|at| *at <= now && due.len() < STEP_TASKS) {
            due.push(time);
            at = self.plan.next(time, self.anchor);
        }
        let found = due.len();
        match self.plan.if_running {
            IfRunning::Allow => {}
            IfRunning::Skip => due.truncate(usize::from(!last_runs)),
            IfRunning::Cancel => drop(due.drain(..found.saturating_sub(1))),
        }
        let cancels = self.plan.if_running == IfRunning::Cancel && last_runs && !due.is_empty();
        let latest = due.last().map(|at| Occurrence { at: *at, task: self.task_id(*at) });
        let tasks: Vec<TaskSpec> = due.iter().map(|at| self.task(*at)).collect();
        let after = Self {
            next_at: at,
            last: latest.or(self.last),
            created: self.created + tasks.len() as u64,
            skipped: self.skipped + (found - tasks.len()) as u64,
            missed_at,
            revision: self.revision + 1,
            ..self.clone()
        };
        Some(Due { tasks, cancel: self.last.filter(|_| cancels).map(|last| last.task), after })
    }

    /// The missed occurrences that are made up for, from `first` on and before `until`.
    fn missed(&self, first: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let earlier =
            |before: &Timestamp| self.plan.rhythm.previous(*before, self.anchor).filter(|at| *at >= first);
        let last = self.plan.ends_at.map_or(until, |end| until.min(end.plus(Duration::from_millis(1))));
        let mut missed: Vec<Timestamp> =
            std::iter::successors(earlier(&last), earlier).take(self.plan.if_missed.most()).collect();
        missed.reverse();
        missed
    }

    /// The task of an occurrence.
    fn task(&self, at: Timestamp) -> TaskSpec {
        let filling = Filling { at, date: self.plan.rhythm.zone().date(at), index: None };
        let template = &self.plan.task;
        TaskSpec {
            id: self.task_id(at),
            id_chosen: true,
            project: self.key.project.clone(),
            params: filling.fill(&template.params),
            run_after: RunAfter::At(at),
            ..template.clone()
        }
    }
}
