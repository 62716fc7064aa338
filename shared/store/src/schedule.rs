//! Setting schedules, what is told of them, and having what is due happen.

use async_trait::async_trait;
use baton_model::schedule::Said;
use baton_model::{Label, ProjectId, Schedule, ScheduleChange, ScheduleKey, TaskId, TaskSpec, Timestamp};
use futures::{FutureExt, StreamExt};

use crate::{Cancel, Changed, ErrorKind, Page, PageRequest, Store, StoreError};

/// Changes a schedule.
#[derive(Clone, Debug)]
pub struct SetSchedule {
    /// Which.
    pub key: ScheduleKey,
    /// What is wanted of it.
    pub change: ScheduleChange,
    /// Who says so, when and why.
    pub said: Said,
}

/// Has what is due of a schedule happen: see [`Schedule::due`].
#[derive(Clone, Debug)]
pub struct Occur {
    /// The time.
    pub now: Timestamp,
    /// The tasks to create, at most [`baton_model::schedule::STEP_TASKS`].
    pub tasks: Vec<TaskSpec>,
    /// The schedule as it is then: one revision on from what it was.
    pub after: Schedule,
}

impl Occur {
    /// Who creates the tasks, as their first events say.
    pub fn by(&self) -> Label {
        Label::from_stored(format!("schedule {}", self.after.key.name))
    }
}

/// The answer to [`Occur`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurred {
    /// The tasks are created, and the schedule has moved on.
    Now,
    /// The same was done before, by this very command or by whoever found the same due.
    Before,
    /// The schedule has moved on otherwise, was changed or is gone: nothing was done.
    Superseded,
}

/// Which schedules are asked for.
#[derive(Clone, Debug, Default)]
pub struct ScheduleFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
}

/// Schedules: tasks that the clock creates.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Changes a schedule by [`baton_model::schedule::changed`]. To remove one that is not there changes nothing.
    ///
    /// # Errors
    /// [`StoreError::ScheduleNotFound`], [`StoreError::ScheduleExists`], [`StoreError::TooManyLimits`].
    async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError>;

    /// One schedule.
    ///
    /// # Errors
    /// [`StoreError::ScheduleNotFound`].
    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, StoreError>;

    /// Schedules by project and name.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn schedules(
        &self,
        filter: ScheduleFilter,
        page: PageRequest,
    ) -> Result<Page<Schedule>, StoreError>;

    /// Schedules that are due at `now` ([`Schedule::due_at`]), those that have been due for longest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn due_schedules(&self, now: Timestamp, page: PageRequest) -> Result<Page<Schedule>, StoreError>;

    /// Creates the tasks and moves the schedule on, in one commit, if the schedule still stands at the revision before; else
    /// somebody else was faster, or it was changed, and nothing is done. A task whose id exists counts as created.
    ///
    /// # Errors
    /// The store's own failures.
    async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError>;
}

/// What [`run_due`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Tasks created.
    pub created: u64,
    /// Occurrences left out, as the one before had not ended.
    pub skipped: u64,
    /// Schedules that missed occurrences which nothing makes up for.
    pub missed: u64,
    /// Schedules that could not be moved on; they are tried again.
    pub failed: u64,
    /// Whether it stopped before all was done.
    pub more: bool,
}

impl RunReport {
    /// Adds what another call has done after this one; what is left, that one tells.
    pub fn and_then(self, after: Self) -> Self {
        Self {
            created: self.created + after.created,
            skipped: self.skipped + after.skipped,
            missed: self.missed + after.missed,
            ..after
        }
    }
}

/// At how many due schedules one call looks at a time.
const PAGE: u32 = 100;

/// How many of these are moved on at the same time.
const AT_ONCE: usize = 8;

/// Has all happen that is due at `now`, until `enough` says so. Any number of processes may do so at the same time.
///
/// # Errors
/// What the store fails with when it is asked what is due. A schedule that fails by itself holds up no other: the failure goes to
/// `tell`.
pub async fn run_due<S: Store + ?Sized>(
    store: &S,
    now: Timestamp,
    enough: impl Fn() -> bool,
    tell: impl Fn(&ScheduleKey, &StoreError),
) -> Result<RunReport, StoreError> {
    let mut report = RunReport::default();
    let mut page = PageRequest::first(PAGE);
    loop {
        let due = store.due_schedules(now, page).await?;
        let last = |schedule: &Schedule| schedule.last.map(|last| last.task);
        let lasts: Vec<TaskId> = due.items.iter().filter_map(last).collect();
        let unfinished: Vec<TaskId> = match lasts.is_empty() {
            true => lasts,
            false => store
                .linked(lasts)
                .await?
                .into_iter()
                .filter(|task| !task.state.is_final())
                .map(|task| task.id)
                .collect(),
        };
        let mut steps = Vec::with_capacity(due.items.len());
        for schedule in &due.items {
            let last_runs = schedule.last.is_some_and(|last| unfinished.contains(&last.task));
            steps.push(step(store, now, schedule, last_runs).boxed());
        }
        let mut steps = futures::stream::iter(steps).buffer_unordered(AT_ONCE);
        while let Some((key, stepped)) = steps.next().await {
            match stepped {
                Ok(done) => {
                    report.created += done.created;
                    report.skipped += done.skipped;
                    report.missed += done.missed;
                    report.more |= done.more;
                }
                Err(error) => {
                    tell(key, &error);
                    report.failed += 1;
                    // One that nobody reaches is not asked a hundred times.
                    if matches!(error.kind(), ErrorKind::Unavailable) {
                        return Ok(RunReport { more: true, ..report });
                    }
                }
            }
        }
        match due.next {
            Some(after) if !enough() => page = PageRequest { after: Some(after), ..PageRequest::first(PAGE) },
            next => {
                report.more |= next.is_some();
                return Ok(report);
            }
        }
    }
}

/// One step of one schedule.
async fn step<'a, S: Store + ?Sized>(
    store: &S,
    now: Timestamp,
    schedule: &'a Schedule,
    last_runs: bool,
) -> (&'a ScheduleKey, Result<RunReport, StoreError>) {
    (&schedule.key, advance(store, now, schedule, last_runs).await)
}

async fn advance<S: Store + ?Sized>(
    store: &S,
    now: Timestamp,
    schedule: &Schedule,
    last_runs: bool,
) -> Result<RunReport, StoreError> {
    let Some(due) = schedule.due(now, last_runs) else { return Ok(RunReport::default()) };
    let (created, skipped) = (due.tasks.len() as u64, due.after.skipped - schedule.skipped);
    let missed = u64::from(due.after.missed_at != schedule.missed_at);
    let more = due.after.due_at().is_some_and(|at| at <= now);
    let occur = Occur { now, tasks: due.tasks, after: due.after };
    if let Some(task) = due.cancel {
        let reason = Some("the next occurrence of its schedule is due".to_owned());
        let cancel = Cancel { now, task, by: Some(occur.by()), reason, with_dependants: false };
        match store.cancel(cancel).await {
            // It has ended meanwhile, or is gone.
            Ok(_) | Err(StoreError::Refused { .. } | StoreError::TaskNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match store.occur(occur).await? {
        Occurred::Now => RunReport { created, skipped, missed, failed: 0, more },
        // Whoever was faster tells what was done.
        Occurred::Before => RunReport { more, ..RunReport::default() },
        Occurred::Superseded => RunReport::default(),
    })
}
