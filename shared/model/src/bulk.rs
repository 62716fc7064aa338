//! Bulk commands: one command for all tasks of a filter, carried out a page at a time.
//!
//! The record of a bulk command holds all that it takes to go on: how far its list is gone down, and the page that is under way. It
//! is written before the page's tasks are touched, and again with what became of them, each time on the condition that it is as it
//! was read; so whoever comes next goes on where the last one stopped, and several at once do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::TaskChange;
use crate::id::{BulkId, Label, ProjectId, QueueName, TaskId, TaskType, WorkerId};
use crate::task::{RunAfter, Status};
use crate::time::Timestamp;

/// What a bulk command does to each task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Calls it off.
    Cancel,
    /// Puts it back into its queue.
    Retry,
    /// Changes how it is to be run.
    Change(TaskChange),
    /// Removes it, if it has ended.
    Delete,
}

impl BulkAction {
    /// Its stable name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Change(_) => "change",
            Self::Delete => "delete",
        }
    }

    /// The statuses of the tasks that it may be done to: those that are looked at if the filter names none.
    pub const fn statuses(&self) -> &'static [Status] {
        const WAITING: &[Status] = &[Status::Blocked, Status::Created, Status::Queued, Status::Retry];
        match self {
            Self::Cancel => {
                &[Status::Blocked, Status::Created, Status::Queued, Status::Retry, Status::Running]
            }
            Self::Retry => &[Status::Failed, Status::Cancelled],
            Self::Change(_) => WAITING,
            Self::Delete => &[Status::Completed, Status::Failed, Status::Cancelled],
        }
    }

    /// The same with times instead of spans, as of `now`: done again to a task, it asks for what is so already.
    pub fn resolved(self, now: Timestamp) -> Self {
        match self {
            Self::Change(change) => Self::Change(TaskChange {
                run_after: change.run_after.map(|schedule| RunAfter::At(schedule.resolve(now))),
                ..change
            }),
            other => other,
        }
    }
}

/// Which tasks a bulk command is about: those that fit every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkFilter {
    /// One of these statuses, as of the command's making.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<Status>,
    /// Of this type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// In this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Of this project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Of this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Label>,
    /// Assigned by this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_by: Option<Label>,
    /// Held, or last held, by this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Created at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

impl BulkFilter {
    /// Whether it is about all tasks.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which tasks a bulk command is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkTasks {
    /// Those of a filter that were there when the command was made.
    Filter(BulkFilter),
    /// These, up to [`Bulk::IDS`].
    Ids(Vec<TaskId>),
}

/// How far a bulk command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// It goes on.
    Running,
    /// It has come to its end.
    Done,
    /// Someone has called it off; what it had done stands.
    Aborted,
}

impl BulkState {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }
}

/// What became of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkOutcome {
    /// It was done.
    Changed,
    /// It was not, for this reason.
    Skipped(&'static str),
}

/// A bulk command, with how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bulk {
    /// Its id: UUIDv7.
    pub id: BulkId,
    /// When it was made. No task is touched that was created later.
    pub created_at: Timestamp,
    /// What it does, with times and no spans.
    pub action: BulkAction,
    /// To which tasks.
    pub tasks: BulkTasks,
    /// Only to tasks of these queues, by the bounds of who asked; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub queues: BTreeSet<QueueName>,
    /// Only to tasks of this project, by the bounds of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Who, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far it is.
    pub state: BulkState,
    /// How often the record was written after its making: the condition of each write.
    pub version: u64,
    /// The number of the page that is under way, or was last.
    pub page: u64,
    /// What is left of that page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<TaskId>,
    /// Until when whoever has begun with the page is left alone with it. A hint: it saves work done twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_until: Option<Timestamp>,
    /// Where the next page begins, in the store's own words; none before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the page is the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last: bool,
    /// Whether it goes down its list again from the beginning, in another store than it began in: see [`Bulk::down_again`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// How many tasks were looked at.
    pub looked_at: u64,
    /// How many of these were changed.
    pub changed: u64,
    /// How many were not, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl Bulk {
    /// How many tasks one page has: few enough that who holds the writing of a store lets others in after some milliseconds.
    pub const PAGE: u32 = 100;

    /// The most ids that a bulk command may name.
    pub const IDS: usize = 1_000;

    /// How long whoever has begun with a page is left alone with it.
    pub const BUSY: Duration = Duration::from_secs(10);

    /// How long a record is kept after its end.
    pub const KEPT: Duration = Duration::from_secs(30 * 86_400);

    /// A bulk command of which nothing is done yet. Its page size is [`Bulk::PAGE`].
    pub fn new(id: BulkId, created_at: Timestamp, action: BulkAction, tasks: BulkTasks) -> Self {
        Self {
            id,
            created_at,
            action: action.resolved(created_at),
            tasks,
            queues: BTreeSet::new(),
            project: None,
            by: None,
            reason: None,
            state: BulkState::Running,
            version: 0,
            page: 0,
            pending: Vec::new(),
            busy_until: None,
            after: None,
            is_last: false,
            again: false,
            looked_at: 0,
            changed: 0,
            skipped: BTreeMap::new(),
            ended_at: None,
        }
    }

    /// The record for a store whose lists are in another order: of a filter, it goes down its list again from the beginning. What it has
    /// changed counts, is known by the histories and is left; what it has skipped is looked at and counted anew. A page that is under
    /// way comes first, as some of it may be changed and not counted.
    pub fn down_again(self) -> Self {
        if self.state != BulkState::Running || matches!(self.tasks, BulkTasks::Ids(_)) {
            return self;
        }
        Self {
            again: true,
            after: None,
            is_last: false,
            looked_at: self.changed,
            skipped: BTreeMap::new(),
            ..self
        }
    }

    /// Whether its page comes from the store that it began in. The list will tell those tasks again that are skipped now.
    fn is_carried(&self) -> bool {
        self.again && self.after.is_none() && !self.is_last
    }

    /// Whether it reaches a task, by the bounds of who asked for it.
    pub fn covers(&self, queue: &QueueName, project: &ProjectId) -> bool {
        (self.queues.is_empty() || self.queues.contains(queue))
            && self.project.as_ref().is_none_or(|bound| bound == project)
    }

    /// The queues that its tasks are in; any, if there are none. One that has left them since it was listed is not its own any more.
    pub fn within(&self) -> BTreeSet<QueueName> {
        match &self.tasks {
            BulkTasks::Filter(BulkFilter { queue: Some(queue), .. }) => BTreeSet::from([queue.clone()]),
            _ => self.queues.clone(),
        }
    }

    /// What each event of it says first of why: by this the tasks are known that it has changed.
    pub fn mark(&self) -> String {
        format!("bulk command {}", self.id)
    }

    /// What each event of it says of why.
    pub fn note(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.mark()),
            None => self.mark(),
        }
    }

    /// Whether someone is at its page.
    pub fn is_busy(&self, now: Timestamp) -> bool {
        // A time further ahead was noted by another clock, or before this one was set back.
        self.busy_until.is_some_and(|until| until > now && until <= now.plus(Self::BUSY))
    }

    /// The record once a page has been begun with. A list may tell a task twice that moves while it is read: it is one task of the page.
    /// A page without a task, as a store gives where it has looked at many that the filter leaves out, keeps nobody busy.
    pub fn begun(&self, page: Vec<TaskId>, after: Option<String>, is_last: bool, now: Timestamp) -> Self {
        let mut seen = BTreeSet::new();
        let pending: Vec<_> = page.into_iter().filter(|id| seen.insert(*id)).collect();
        let begun = Self {
            version: self.version + 1,
            page: self.page + 1,
            after,
            is_last,
            busy_until: (!pending.is_empty()).then(|| now.plus(Self::BUSY)),
            pending,
            ..self.clone()
        };
        begun.ended_if_over(now)
    }

    /// The record once what is left of its page has been begun with again.
    pub fn begun_again(&self, now: Timestamp) -> Self {
        Self { version: self.version + 1, busy_until: Some(now.plus(Self::BUSY)), ..self.clone() }
    }

    /// The record once these tasks of its page are done; each counts once, however often it is told.
    pub fn noted(&self, outcomes: &BTreeMap<TaskId, BulkOutcome>, now: Timestamp) -> Self {
        let mut noted = Self { version: self.version + 1, busy_until: None, ..self.clone() };
        noted.pending.retain(|id| !outcomes.contains_key(id));
        for outcome in self.pending.iter().filter_map(|id| outcomes.get(id)) {
            match outcome {
                BulkOutcome::Changed => noted.changed += 1,
                BulkOutcome::Skipped(_) if self.is_carried() => continue,
                BulkOutcome::Skipped(reason) => *noted.skipped.entry((*reason).to_owned()).or_default() += 1,
            }
            noted.looked_at += 1;
        }
        noted.ended_if_over(now)
    }

    /// The record once it is called off.
    pub fn aborted(&self, now: Timestamp) -> Self {
        let ended_at = Some(now.max(self.created_at));
        Self { version: self.version + 1, state: BulkState::Aborted, ended_at, ..self.clone() }
    }

    fn ended_if_over(mut self, now: Timestamp) -> Self {
        if self.state == BulkState::Running && self.is_last && self.pending.is_empty() {
            (self.state, self.busy_until) = (BulkState::Done, None);
            self.ended_at = Some(now.max(self.created_at));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_a_list_tells_twice_counts_once() {
        let now = Timestamp::from_millis(1_000);
        let of_none = BulkTasks::Ids(Vec::new());
        let bulk = Bulk::new(BulkId::from_bytes([1; 16]), now, BulkAction::Cancel, of_none);
        let [one, other] = [1, 2].map(|n| TaskId::from_bytes([n; 16]));
        let begun = bulk.begun(vec![one, other, one], None, true, now);
        assert_eq!(begun.pending, [one, other]);
        let outcomes = [one, other].map(|id| (id, BulkOutcome::Changed)).into();
        let done = begun.noted(&outcomes, now);
        assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 2, 2));
    }

    #[test]
    fn what_is_skipped_of_a_page_from_another_store_counts_when_its_list_tells_it_again() {
        let now = Timestamp::from_millis(1_000);
        let of_all = BulkTasks::Filter(BulkFilter::default());
        let bulk = Bulk::new(BulkId::from_bytes([1; 16]), now, BulkAction::Cancel, of_all);
        let [one, other] = [1, 2].map(|n| TaskId::from_bytes([n; 16]));
        let outcomes = [(one, BulkOutcome::Changed), (other, BulkOutcome::Skipped("gone"))].into();
        let first = bulk.begun(vec![TaskId::from_bytes([3; 16])], Some("5".to_owned()), false, now);
        let first = first.noted(&[(TaskId::from_bytes([3; 16]), BulkOutcome::Skipped("gone"))].into(), now);
        let moved = first.begun(vec![one, other], Some("7".to_owned()), true, now).down_again();
        assert_eq!((moved.after.as_deref(), moved.is_last, moved.looked_at), (None, false, 0));
        assert!(moved.skipped.is_empty(), "{moved:?}");
        let carried = moved.noted(&outcomes, now);
        assert_eq!((carried.state, carried.looked_at, carried.changed), (BulkState::Running, 1, 1));
        let page = carried.begun(vec![other], None, true, now);
        let done = page.noted(&outcomes, now);
        assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 2, 1));
        assert_eq!(done.skipped["gone"], 1);
        assert_eq!(done.clone().down_again(), done);
    }

    #[test]
    fn a_page_without_a_task_is_gone_on_from_at_once() {
        let now = Timestamp::from_millis(1_000);
        let of_none = BulkTasks::Ids(Vec::new());
        let bulk = Bulk::new(BulkId::from_bytes([1; 16]), now, BulkAction::Cancel, of_none);
        let empty = bulk.begun(Vec::new(), Some("5".to_owned()), false, now);
        assert_eq!((empty.state, empty.is_busy(now)), (BulkState::Running, false));
        let next = empty.begun(vec![TaskId::from_bytes([1; 16])], None, true, now);
        assert!(next.is_busy(now));
    }
}
