//! What `manage-tasks` is asked and answers of schedules.

use std::str::FromStr;
use std::time::Duration;

use baton_model::limits::Limits;
use baton_model::schedule::{LATE_AFTER, LONGEST_INTERVAL, MOST_MISSED, SHORTEST_INTERVAL, SHORTEST_LATE};
use baton_model::{
    Cron, Expected, IfMissed, IfRunning, Label, Payload, Plan, ProjectId, Rhythm, Schedule, ScheduleName,
    TaskId, TaskSpec, Timestamp, Zone,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::create::CreateTask;
use crate::fields::{Fields, ReadFields, as_seconds, boolean, integer, parsed, span, text};
use crate::template;
use crate::text::NOTE_CHARS;

/// The fields of a task that a schedule's cannot have either.
const BEYOND: &[&str] = &["project", "delay_seconds"];

/// The most times that an answer tells ahead.
pub const MOST_NEXT: u32 = 100;

/// How many times an answer tells ahead unless it is asked for more or fewer.
pub const USUAL_NEXT: u32 = 5;

/// What becomes of missed times, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// None of them is made up for.
    Skip,
    /// The latest is.
    Once,
    /// The latest ones are.
    All,
}

impl FromStr for Missed {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "skip" => Ok(Self::Skip),
            "once" => Ok(Self::Once),
            "all" => Ok(Self::All),
            _ => Err(Expected::text("one of skip, once, all", text)),
        }
    }
}

/// Sets a schedule: has a task created at each time that it names.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SetSchedule {
    /// Its name within its project: 1 to 128 letters, digits or `. _ - : @ +`.
    #[schema(value_type = String)]
    pub name: ScheduleName,
    /// The project, whose tasks it creates; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// When: five fields (minute, hour, day of the month, month, day of the week), six with seconds before them, or `@hourly`,
    /// `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`. Either `cron` or `every_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30 3 * * MON-FRI")]
    pub cron: Option<Cron>,
    /// By the clocks of which time zone `cron` is meant; an IANA name, `UTC` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Europe/Berlin")]
    pub time_zone: Option<Zone>,
    /// When: every so many seconds, 1 to 315,360,000, counted from `starts_at`, else from the time at which it is set.
    #[serde(
        rename = "every_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub every: Option<Duration>,
    /// What becomes of times that passed while nothing ran: `skip` (none of them), `once` (the default: the latest) or `all` (the
    /// latest ones, up to `missed_at_most`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub if_missed: Option<Missed>,
    /// With `all`: how many at most, 1 to 32; 32 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_at_most: Option<u32>,
    /// How late a task may be created before its time counts as missed, in seconds, 60 to 2,592,000; 300 if left out.
    #[serde(
        rename = "late_after_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub late_after: Option<Duration>,
    /// What happens while the task of the last time has not ended: `skip` (the default: this time is left out), `allow` (a task is
    /// created all the same) or `cancel` (that task is cancelled, and one is created).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub if_running: Option<IfRunning>,
    /// No task is created for a time before this one, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub starts_at: Option<Timestamp>,
    /// No task is created for a time after this one, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ends_at: Option<Timestamp>,
    /// Whether it creates nothing for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub paused: bool,
    /// The task to create, as `POST /v1/tasks` takes it, without `id`, `project`, `run_after`, `delay_seconds`, `expires_at`,
    /// `depends_on`, `if_dependency_fails`, `ref` and `traceparent`. In the texts of its params, `{{time}}` becomes the time that it is for,
    /// and `{{date}}` that day.
    pub task: CreateTask,
    /// Whether it may take the place of another of its name; else that one is in the way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub replace: bool,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SetSchedule {
    /// A schedule with nothing else said; it lacks when.
    pub fn new(name: ScheduleName, task: CreateTask) -> Self {
        Self {
            name,
            project: None,
            cron: None,
            time_zone: None,
            every: None,
            if_missed: None,
            missed_at_most: None,
            late_after: None,
            if_running: None,
            starts_at: None,
            ends_at: None,
            paused: false,
            task,
            replace: false,
            by: None,
            reason: None,
        }
    }

    /// What it says, with the task as the store takes it.
    pub fn plan(&self, task: TaskSpec) -> Plan {
        let most = self.missed_at_most.unwrap_or(MOST_MISSED);
        let rhythm = match (&self.cron, self.every) {
            (Some(cron), _) => {
                Rhythm::Cron { cron: cron.clone(), zone: self.time_zone.clone().unwrap_or_default() }
            }
            // One of the two is there.
            (None, every) => Rhythm::Every(every.unwrap_or(LONGEST_INTERVAL)),
        };
        Plan {
            rhythm,
            if_missed: match self.if_missed {
                Some(Missed::Skip) => IfMissed::Skip,
                Some(Missed::All) => IfMissed::All(most),
                Some(Missed::Once) | None => IfMissed::Once,
            },
            late_after: self.late_after.unwrap_or(LATE_AFTER),
            if_running: self.if_running.unwrap_or_default(),
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            paused: self.paused,
            task: TaskSpec { id: TaskId::unset(), ..task },
        }
    }
}

impl ReadFields for SetSchedule {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let name = f.required("name", parsed);
        let project = f.optional("project", parsed);
        match (f.has("cron"), f.has("every_seconds")) {
            (true, true) => {
                f.refuse("every_seconds", Expected::new("cron or every_seconds, not both", "both"))
            }
            (false, false) => f.refuse("cron", Expected::new("cron or every_seconds", "neither")),
            _ => {}
        }
        if f.has("time_zone") && f.has("every_seconds") {
            f.refuse("time_zone", Expected::new("a time zone with cron only", "one with every_seconds"));
        }
        let cron = f.optional("cron", parsed);
        let time_zone = f.optional("time_zone", parsed);
        let every = f.optional("every_seconds", span(SHORTEST_INTERVAL, LONGEST_INTERVAL));
        let if_missed = f.optional("if_missed", parsed);
        let missed_at_most = f.optional("missed_at_most", integer(1..=MOST_MISSED));
        if let (Some(word), Some(Some(_))) = (&if_missed, &missed_at_most)
            && *word != Some(Missed::All)
        {
            f.refuse("missed_at_most", Expected::new("a number only with if_missed all", "one"));
        }
        let late_after =
            f.optional("late_after_seconds", span(SHORTEST_LATE, baton_model::limits::LONGEST_SPAN));
        let if_running = f.optional("if_running", parsed);
        let starts_at = f.optional("starts_at", parsed);
        let ends_at = f.optional("ends_at", parsed);
        if let (Some(Some(start)), Some(Some(end))) = (starts_at, ends_at)
            && end < start
        {
            f.refuse("ends_at", Expected::new("a time not before starts_at", format!("{end}")));
        }
        let paused = f.optional("paused", boolean);
        let task = template::task(f, limits, BEYOND, "each time has a task of its own");
        let replace = f.optional("replace", boolean);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self {
            name: name?,
            project: project?,
            cron: cron?,
            time_zone: time_zone?,
            every: every?,
            if_missed: if_missed?,
            missed_at_most: missed_at_most?,
            late_after: late_after?,
            if_running: if_running?,
            starts_at: starts_at?,
            ends_at: ends_at?,
            paused: paused?.unwrap_or_default(),
            task: task?,
            replace: replace?.unwrap_or_default(),
            by: by?,
            reason: reason?,
        })
    }
}

/// What is to be done with a schedule. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ScheduleAction {
    /// Its project; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ScheduleAction {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let project = f.optional("project", parsed);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { project: project?, by: by?, reason: reason? })
    }
}

/// A time for which a task was created.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Occurrence)]
pub struct OccurrenceView {
    /// The time.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ScheduleName,
    /// Its project.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// When, as a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cron: Option<Cron>,
    /// By the clocks of which time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Zone>,
    /// When, as an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<f64>,
    /// What becomes of missed times: `skip`, `once` or `all`.
    pub if_missed: String,
    /// With `all`: how many of them at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_at_most: Option<u32>,
    /// How late a task may be created before its time counts as missed.
    pub late_after_seconds: f64,
    /// What happens while the task of the last time has not ended: `skip`, `allow` or `cancel`.
    #[schema(value_type = String)]
    pub if_running: IfRunning,
    /// No task is created for a time before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub starts_at: Option<Timestamp>,
    /// No task is created for a time after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ends_at: Option<Timestamp>,
    /// Whether it creates nothing for now.
    pub paused: bool,
    /// The task that it creates, as `POST /v1/tasks` takes it.
    #[schema(value_type = CreateTask)]
    pub task: Payload,
    /// The next times, at most five unless the request says otherwise; none of a schedule that has ended. While it is paused, those that
    /// it would have if it were resumed now, and no task is created for them. Of one that was deleted, those that it would have had.
    #[schema(value_type = Vec<String>)]
    pub next: Vec<Timestamp>,
    /// The latest time for which a task was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<OccurrenceView>,
    /// For how many times tasks were created.
    pub created: u64,
    /// How many times were left out because the task of the one before had not ended.
    pub skipped: u64,
    /// The latest time that was missed and not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub missed_at: Option<Timestamp>,
    /// When it was first set.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When somebody changed it last.
    #[schema(value_type = String, format = "date-time")]
    pub changed_at: Timestamp,
    /// Who did, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ScheduleView {
    /// A schedule as it is shown at `now`, with so many times ahead.
    pub fn new(schedule: &Schedule, now: Timestamp, next: u32) -> Self {
        let plan = &schedule.plan;
        let (cron, time_zone, every_seconds) = match &plan.rhythm {
            Rhythm::Cron { cron, zone } => (Some(cron.clone()), Some(zone.clone()), None),
            Rhythm::Every(every) => (None, None, Some(every.as_secs_f64())),
        };
        let task = template::shown(&CreateTask::of_template(&plan.task));
        Self {
            name: schedule.key.name.clone(),
            project: schedule.key.project.clone(),
            cron,
            time_zone,
            every_seconds,
            if_missed: plan.if_missed.as_str().to_owned(),
            missed_at_most: match plan.if_missed {
                IfMissed::All(most) => Some(most),
                IfMissed::Skip | IfMissed::Once => None,
            },
            late_after_seconds: plan.late_after.as_secs_f64(),
            if_running: plan.if_running,
            starts_at: plan.starts_at,
            ends_at: plan.ends_at,
            paused: plan.paused,
            task,
            next: schedule.upcoming(now, next as usize),
            last: schedule.last.map(|last| OccurrenceView { at: last.at, task_id: last.task }),
            created: schedule.created,
            skipped: schedule.skipped,
            missed_at: schedule.missed_at,
            created_at: schedule.created_at,
            changed_at: schedule.changed_at,
            changed_by: schedule.changed_by.clone(),
            reason: schedule.reason.clone(),
        }
    }
}
