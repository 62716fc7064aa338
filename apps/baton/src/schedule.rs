//! `baton schedule`.

use std::time::Duration;

use baton_api::schedule::{Missed, ScheduleAction, ScheduleView, SetSchedule, USUAL_NEXT};
use baton_client::{Client, ClientError};
use baton_model::{Cron, IfRunning, Label, ProjectId, ScheduleName, TaskType, Timestamp, Zone};
use clap::{ArgGroup, Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::task::TaskFlags;
use crate::when::{self, Paged, Shown, Times};
use crate::{pages, text};

/// The fields of a schedule that flags give.
const FLAGS: &[(&str, &str)] = &[
    ("name", "the name"),
    ("cron", "--cron"),
    ("time_zone", "--time-zone"),
    ("every_seconds", "--every"),
    ("if_missed", "--if-missed"),
    ("missed_at_most", "--missed-at-most"),
    ("late_after_seconds", "--late-after"),
    ("if_running", "--if-running"),
    ("starts_at", "--starts-at"),
    ("ends_at", "--ends-at"),
    ("project", "--project"),
    ("task.queue", "--queue"),
    ("task.params", "--params"),
    ("task.max_attempts", "--max-attempts"),
    ("task.timeout_seconds", "--timeout"),
    ("task.backoff", "--backoff"),
    ("task.expires_after_seconds", "--expires-after"),
    ("task.concurrency_key", "--concurrency-key"),
    ("task.affinity", "--affinity"),
    ("task.unique.key", "--unique"),
    ("task.unique.while", "--unique-while"),
    ("task.description", "--description"),
    ("reason", "--reason"),
];

#[derive(Subcommand)]
pub(crate) enum Schedules {
    /// Have a task created at each time that a cron expression or an interval names.
    Create(Box<Create>),
    /// All schedules, with the next time of each; the column TIMES has five, and so has -o json.
    List(List),
    /// One schedule: what it says, its last task and its next times.
    Show(Show),
    /// The next times of a schedule.
    Next(Next),
    /// Have a schedule create nothing for now.
    Pause(Change),
    /// Have a paused schedule go on, with the first time from now on.
    Resume(Change),
    /// Delete a schedule; the tasks that it has created stay.
    Delete(Change),
}

#[derive(Args)]
#[command(group = ArgGroup::new("when").args(["cron", "every"]).required(true))]
#[command(after_help = "Examples:
  baton schedule create nightly --cron '30 3 * * *' --type backup \\
    --time-zone Europe/Berlin
  baton schedule create weekdays --cron '0 8 * * MON-FRI' --type report \\
    --params '{\"day\": \"{{date}}\"}'
  baton schedule create poll --every 5m --type poll --if-running allow
  baton schedule create close --cron @monthly --type close --if-missed all

A cron expression has five fields: minute, hour, day of the month, month, day
of the week; six with seconds before them. @hourly, @daily, @weekly, @monthly
and @yearly stand for the usual ones. It is meant by the clocks of the time
zone: a time that they skip or show twice comes once.

In the texts of --params, {{time}} becomes the time that a task is for, and
{{date}} that day.")]
pub(crate) struct Create {
    /// Its name within its project.
    name: ScheduleName,
    /// When: a cron expression, such as '30 3 * * MON-FRI' or @daily.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<Cron>,
    /// By the clocks of which time zone, such as Europe/Berlin; UTC if left out.
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    time_zone: Option<Zone>,
    /// When: every so long, such as 5m, counted from --starts-at, else from now.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    every: Option<Duration>,
    /// What becomes of times that passed while nothing ran: skip, once (the default: the latest) or all.
    #[arg(long, value_name = "WHAT")]
    if_missed: Option<Missed>,
    /// With --if-missed all: how many at most.
    #[arg(long, value_name = "N", requires = "if_missed")]
    missed_at_most: Option<u32>,
    /// How late a task may be created before its time counts as missed; 5m if left out.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    late_after: Option<Duration>,
    /// What happens while the last task has not ended: skip (the default), allow or cancel.
    #[arg(long, value_name = "WHAT")]
    if_running: Option<IfRunning>,
    /// No task is created for a time before this one.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    starts_at: Option<Timestamp>,
    /// No task is created for a time after this one.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    ends_at: Option<Timestamp>,
    /// Have it create nothing until it is resumed.
    #[arg(long)]
    paused: bool,
    /// Put it in the place of another of its name.
    #[arg(long)]
    replace: bool,
    /// What kind of work its tasks are.
    #[arg(long = "type", value_name = "TYPE")]
    task_type: TaskType,
    #[command(flatten)]
    task: TaskFlags,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only those of this project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
struct Which {
    /// The schedule.
    name: ScheduleName,
    /// Its project.
    #[arg(long)]
    project: Option<ProjectId>,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Next {
    #[command(flatten)]
    which: Which,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = USUAL_NEXT, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Show times in UTC instead of this machine's time zone.
    #[arg(long)]
    utc: bool,
}

#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
struct Said {
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Schedules {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::Create(create) => create.run(context, &client).await,
            Self::List(list) => list.run(context, &client).await,
            Self::Show(Show { which, shown }) => {
                let schedule = which.get(&client, USUAL_NEXT).await?;
                if context.out.is_json() {
                    return context.out.json(&schedule);
                }
                show(context, &schedule, &shown.begin(context))
            }
            Self::Next(Next { which, limit, utc }) => {
                let schedule = which.get(&client, limit).await?;
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "next": schedule.next }));
                }
                let times = Times::new(context.now(), utc);
                for at in &schedule.next {
                    context.out.line(&times.full(*at))?;
                }
                if schedule.paused {
                    context.out.note("it is paused, and creates no task for them");
                } else if schedule.next.is_empty() {
                    context.out.note("it has ended");
                }
                Ok(())
            }
            Self::Pause(change) => {
                let asked = client.pause_schedule(&change.which.name, &change.action()).await;
                let next = "if it were resumed now, its next times would be";
                change.told(context, asked, ("paused; go on with `baton schedule resume`", next))
            }
            Self::Resume(change) => {
                let asked = client.resume_schedule(&change.which.name, &change.action()).await;
                change.told(context, asked, ("resumed", "its next times"))
            }
            Self::Delete(change) => {
                let asked = client.delete_schedule(&change.which.name, &change.action()).await;
                let what = "deleted; the tasks that it has created stay";
                change.told(context, asked, (what, "its next times would have been"))
            }
        }
    }
}

impl Which {
    async fn get(&self, client: &Client, next: u32) -> Result<ScheduleView, Failure> {
        Ok(client.schedule(&self.name, self.project.as_ref(), Some(next)).await?)
    }
}

impl Change {
    fn action(&self) -> ScheduleAction {
        ScheduleAction {
            project: self.which.project.clone(),
            by: self.said.by.clone(),
            reason: self.said.reason.clone(),
        }
    }

    fn told(
        &self,
        context: &Context,
        asked: Result<ScheduleView, ClientError>,
        (what, next): (&str, &str),
    ) -> Result<(), Failure> {
        let schedule = asked?;
        if context.out.is_json() {
            return context.out.json(&schedule);
        }
        context.out.note(&format!("schedule {} is {what}", schedule.name));
        context.out.note(&format!("{next}: {}", coming(&schedule, &Times::new(context.now(), false))));
        Ok(())
    }
}

impl Create {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let mut task = self.task.task(self.task_type)?;
        let set = SetSchedule {
            project: task.project.take(),
            cron: self.cron,
            time_zone: self.time_zone,
            every: self.every,
            if_missed: self.if_missed,
            missed_at_most: self.missed_at_most,
            late_after: self.late_after,
            if_running: self.if_running,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            paused: self.paused,
            replace: self.replace,
            by: self.said.by,
            reason: self.said.reason,
            ..SetSchedule::new(self.name, task)
        };
        let schedule =
            client.set_schedule(&set).await.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
        if context.out.is_json() {
            return context.out.json(&schedule);
        }
        context.out.line(schedule.name.as_str())?;
        let next = coming(&schedule, &Times::new(context.now(), false));
        let paused = if schedule.paused { "; it is paused" } else { "" };
        context.out.note(&format!("{}{paused}; its next times: {next}", when(&schedule)));
        Ok(())
    }
}

impl List {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let mut rows = rows();
        rows.choose(&self.columns).map_err(Failure::usage)?;
        let (schedules, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
            client.schedules(self.project.as_ref(), cursor.as_deref(), Some(most)).await
        })
        .await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": schedules }));
        }
        let times = self.shown.begin(context);
        for schedule in &schedules {
            rows.add(row(schedule, &times));
        }
        context.out.table(rows, "no schedule; make one with `baton schedule create`")
    }
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("SCHEDULE").cut(),
        Column::new("PROJECT").cut().spare(),
        Column::new("WHEN").cut(),
        Column::new("TYPE").cut(),
        Column::new("QUEUE").cut().spare(),
        Column::new("NEXT"),
        Column::new("LAST"),
        Column::new("CREATED"),
        Column::new("SKIPPED").spare(),
        Column::new("TIMES").room(),
    ])
}

fn row(schedule: &ScheduleView, times: &Times) -> Vec<String> {
    let word = |name: &str| {
        let value = schedule.task.to_value();
        value[name].as_str().unwrap_or("default").to_owned()
    };
    vec![
        schedule.name.to_string(),
        schedule.project.to_string(),
        when(schedule),
        word("type"),
        word("queue"),
        match schedule.next.first() {
            Some(_) if schedule.paused => "paused".to_owned(),
            Some(at) => times.at(*at),
            None => "ended".to_owned(),
        },
        schedule.last.map_or_else(|| "-".to_owned(), |last| times.ago(last.at)),
        schedule.created.to_string(),
        schedule.skipped.to_string(),
        match schedule.next.is_empty() {
            true => "-".to_owned(),
            false => schedule.next.iter().map(|at| times.at(*at)).collect::<Vec<_>>().join(", "),
        },
    ]
}

/// Its next times, in a line.
fn coming(schedule: &ScheduleView, times: &Times) -> String {
    match schedule.next.is_empty() {
        true => "none".to_owned(),
        false => schedule.next.iter().map(|at| times.full(*at)).collect::<Vec<_>>().join(", "),
    }
}

/// When it recurs, in words.
fn when(schedule: &ScheduleView) -> String {
    match (&schedule.cron, schedule.every_seconds) {
        (Some(cron), _) => match &schedule.time_zone {
            Some(zone) if *zone != Zone::UTC => format!("{cron} ({zone})"),
            _ => cron.to_string(),
        },
        (None, every) => format!("every {}", text::seconds(every.unwrap_or_default())),
    }
}

fn show(context: &Context, schedule: &ScheduleView, times: &Times) -> Result<(), Failure> {
    let optional = |at: Option<Timestamp>| at.map(|at| times.full(at));
    let missed = match schedule.missed_at_most {
        Some(most) => format!("all, the latest {most}"),
        None => schedule.if_missed.clone(),
    };
    let state = match (schedule.paused, schedule.next.is_empty()) {
        (_, true) => "ended",
        (true, false) => "paused",
        (false, false) => "on",
    };
    let last = schedule.last.map(|last| format!("{} (task {})", times.full(last.at), last.task_id));
    let by = schedule.changed_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = schedule.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let facts = [
        ("schedule", Some(schedule.name.to_string())),
        ("project", Some(schedule.project.to_string())),
        ("state", Some(state.to_owned())),
        ("when", Some(when(schedule))),
        ("starts", optional(schedule.starts_at)),
        ("ends", optional(schedule.ends_at)),
        ("if missed", Some(missed)),
        ("late after", Some(text::seconds(schedule.late_after_seconds))),
        ("if running", Some(schedule.if_running.as_str().to_owned())),
        ("next", (!schedule.next.is_empty()).then(|| coming(schedule, times))),
        ("last", last),
        ("created", Some(schedule.created.to_string())),
        ("skipped", Some(schedule.skipped.to_string())),
        ("missed", optional(schedule.missed_at)),
        ("changed", Some(format!("{}{by}{why}", times.ago(schedule.changed_at)))),
        ("task", Some(schedule.task.as_str().to_owned())),
    ];
    context.out.facts(facts.into_iter().filter_map(|(name, value)| Some((name, value?))))
}
