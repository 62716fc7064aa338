//! The time line: what has happened, from all that tells of it, as entries of one kind, the newest first.
//!
//! Log lines and histories are what happened; they come first, and nothing here is made of the present state. What an entry
//! says in words and how grave it is are functions of what is stored, so that the command line, the page and the stream of
//! events never tell different stories.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventKind};
use crate::expected::Expected;
use crate::id::{GroupName, Label, ProjectId, QueueName, ScheduleName, SessionId, TaskId, WorkerId};
use crate::lease::LossReason;
use crate::log::{Level, LogLine};
use crate::task::State;
use crate::time::Timestamp;

/// How many characters of a message are told; the particulars have all of it.
const MESSAGE: usize = 300;

/// What a schedule is named by as the creator of its tasks.
const BY_SCHEDULE: &str = "schedule ";

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A server started or ended.
    Server,
    /// An alert fires, or has ended.
    Alert,
    /// The reaper took something back.
    Reaper,
    /// A worker started, ended or was lost.
    Worker,
    /// An operator asked for something.
    Audit,
    /// Something happened to a task: an entry of its history.
    Event,
    /// A worker wrote a line.
    Log,
}

impl Source {
    /// Every source. Of entries of one moment, one of a later source counts as the newer.
    pub const ALL: [Self; 7] =
        [Self::Server, Self::Alert, Self::Reaper, Self::Worker, Self::Audit, Self::Event, Self::Log];

    /// The source's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Alert => "alert",
            Self::Reaper => "reaper",
            Self::Worker => "worker",
            Self::Audit => "audit",
            Self::Event => "event",
            Self::Log => "log",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEntry {
    /// When: of a log line, when it was received.
    pub at: Timestamp,
    /// Where it is told.
    pub source: Source,
    /// How grave it is.
    pub level: Level,
    /// The task that it is about.
    pub task: Option<TaskId>,
    /// The worker that did it, or that it is about.
    pub worker: Option<WorkerId>,
    /// The queue of the task as it is now, or the queue that it is about.
    pub queue: Option<QueueName>,
    /// The project of the task.
    pub project: Option<ProjectId>,
    /// The schedule that created the task, or that it is about.
    pub schedule: Option<ScheduleName>,
    /// What happened, in a few words.
    pub message: String,
    /// All that is stored of it.
    pub particulars: Particulars,
}

/// What is stored of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Particulars {
    /// An entry of a task's history.
    Event(Box<Event>),
    /// A log line.
    Line(Box<LogLine>),
    /// A request of an operator.
    Asked(Box<Asked>),
    /// Something else that was noted.
    Happened(Box<Happened>),
}

/// What of a request the audit log tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What was asked for, by the operation's name.
    pub action: String,
    /// The path.
    pub target: String,
    /// The name of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<Label>,
    /// The id of the request, as it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who asked, by the request's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why, by the request's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The HTTP status of the answer; none if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<u16>,
}

/// What is noted for the time line alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happened {
    /// A worker was heard that was not known, or a new start of a known one.
    WorkerStarted {
        /// The worker.
        worker: WorkerId,
        /// Its session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    /// A worker said that it ends.
    WorkerEnded {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker fell silent: the reaper took tasks from it, or it held none.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
        /// How many tasks were taken from it; 0 where it is told of the worker alone.
        tasks: u64,
        /// Why the first of them.
        reason: LossReason,
    },
    /// A rule for readings asked a worker to drain: one of them is outside its bounds.
    WorkerDrained {
        /// The worker.
        worker: WorkerId,
        /// Which reading, and by which rule.
        why: String,
    },
    /// The rule took that back: the reading is within its bounds again.
    WorkerResumed {
        /// The worker.
        worker: WorkerId,
        /// Which reading, and by which rule.
        why: String,
    },
    /// A round of the reaper took tasks back.
    TakenBack {
        /// How many.
        tasks: u64,
        /// From how many workers.
        workers: u64,
    },
    /// A server started.
    ServerStarted {
        /// Its version.
        version: String,
    },
    /// A server ended as it was asked to. One that was killed says nothing: the next start follows without it.
    ServerEnded {
        /// Whether all that it had accepted was answered.
        answered: bool,
    },
    /// An alert fires.
    AlertFired {
        /// The rule.
        alert: GroupName,
        /// What it is about: a queue, a limit, a schedule; nothing if everything.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subject: String,
        /// The queue that this is, or that it is of; none of another subject, and of what an earlier version has noted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueName>,
        /// What it says.
        message: String,
    },
    /// An alert has ended.
    AlertEnded {
        /// The rule.
        alert: GroupName,
        /// What it was about.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subject: String,
        /// The queue that this is, or that it is of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueName>,
        /// What it said.
        message: String,
    },
    /// A webhook was given up.
    WebhookDisabled {
        /// The webhook.
        webhook: GroupName,
        /// Why.
        message: String,
    },
}

/// Which entries are asked for: those that fit every field that is set. An entry of which it is not known what a field
/// asks for does not fit it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineFilter {
    /// About this task.
    pub task: Option<TaskId>,
    /// Of this worker.
    pub worker: Option<WorkerId>,
    /// About this queue, or tasks that are in it now.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this schedule, or of a task that it created.
    pub schedule: Option<ScheduleName>,
    /// At least this grave.
    pub level: Option<Level>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Only what happened to tasks.
    pub events_only: bool,
}

impl TimelineFilter {
    /// Whether an entry fits.
    pub fn fits(&self, entry: &TimelineEntry) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, value: &Option<T>) -> bool {
            wanted.is_none() || wanted == value
        }
        (!self.events_only || entry.source == Source::Event)
            && is(&self.task, &entry.task)
            && is(&self.worker, &entry.worker)
            && is(&self.queue, &entry.queue)
            && is(&self.project, &entry.project)
            && is(&self.schedule, &entry.schedule)
            && self.level.is_none_or(|least| entry.level >= least)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.before.is_none_or(|before| entry.at < before)
    }
}

/// What is known of an event's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTask {
    /// The task.
    pub task: TaskId,
    /// The queue that it is in now.
    pub queue: QueueName,
    /// Its project.
    pub project: ProjectId,
    /// The schedule that created it.
    pub schedule: Option<ScheduleName>,
}

/// The schedule that is named by who created a task.
pub fn schedule_of(by: Option<&Label>) -> Option<ScheduleName> {
    by?.as_str().strip_prefix(BY_SCHEDULE)?.parse().ok()
}

impl TimelineEntry {
    /// The entry of an event.
    pub fn of_event(of: &OfTask, event: Event) -> Self {
        Self {
            at: event.at,
            source: Source::Event,
            level: level_of(&event),
            task: Some(of.task),
            worker: event.detail.worker.clone(),
            queue: Some(of.queue.clone()),
            project: Some(of.project.clone()),
            schedule: of.schedule.clone(),
            message: short(words_of(&event)),
            particulars: Particulars::Event(Box::new(event)),
        }
    }

    /// The entry of a log line; `of` is what is known of its task, if there is one.
    pub fn of_line(of: Option<&OfTask>, line: LogLine) -> Self {
        Self {
            at: line.received_at,
            source: Source::Log,
            level: line.level,
            task: line.task,
            worker: Some(line.worker.clone()),
            queue: of.map(|of| of.queue.clone()),
            project: of.map(|of| of.project.clone()),
            schedule: of.and_then(|of| of.schedule.clone()),
            message: short(line.message.clone()),
            particulars: Particulars::Line(Box::new(line)),
        }
    }

    /// The entry of a request that the audit log has.
    pub fn of_request(at: Timestamp, asked: Asked) -> Self {
        let level = match asked.outcome {
            Some(status) if status < 400 => Level::Info,
            _ => Level::Warn,
        };
        let by = asked.by.as_ref().or(asked.token_name.as_ref());
        let message = [
            format!("{} {}", asked.action, asked.target),
            by.map(|by| format!(" by {by}")).unwrap_or_default(),
            asked.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default(),
            match asked.outcome {
                Some(status) if status >= 400 => format!(" (refused with {status})"),
                Some(_) => String::new(),
                None => " (its answer is not known)".to_owned(),
            },
        ];
        let mut segments = asked.target.trim_start_matches("/v1/").split('/');
        let (kind, name) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        Self {
            at,
            source: Source::Audit,
            level,
            task: (kind == "tasks").then(|| name.parse().ok()).flatten(),
            worker: (kind == "workers").then(|| name.parse().ok()).flatten(),
            queue: (kind == "queues").then(|| name.parse().ok()).flatten(),
            project: (kind == "projects").then(|| name.parse().ok()).flatten(),
            schedule: (kind == "schedules").then(|| name.parse().ok()).flatten(),
            message: short(message.concat()),
            particulars: Particulars::Asked(Box::new(asked)),
        }
    }

    /// The entry of what was noted.
    pub fn of_happening(at: Timestamp, happened: Happened) -> Self {
        let queue = match &happened {
            Happened::AlertFired { queue, .. } | Happened::AlertEnded { queue, .. } => queue.clone(),
            _ => None,
        };
        let (source, level, worker, message) = match &happened {
            Happened::WorkerStarted { worker, .. } => {
                (Source::Worker, Level::Info, Some(worker), "started".to_owned())
            }
            Happened::WorkerEnded { worker } => {
                (Source::Worker, Level::Info, Some(worker), "ended".to_owned())
            }
            Happened::WorkerLost { worker, tasks, reason } => {
                let what = if *tasks == 0 { "fell silent".to_owned() } else { format!("lost {tasks} tasks") };
                (Source::Worker, Level::Warn, Some(worker), format!("{what}: {}", reason.explain()))
            }
            Happened::WorkerDrained { worker, why } => {
                (Source::Worker, Level::Warn, Some(worker), format!("is to drain: {why}"))
            }
            Happened::WorkerResumed { worker, why } => {
                (Source::Worker, Level::Info, Some(worker), format!("goes on: {why}"))
            }
            Happened::TakenBack { tasks, workers } => {
                let message = format!("the reaper took back {tasks} tasks from {workers} workers");
                (Source::Reaper, Level::Warn, None, message)
            }
            Happened::ServerStarted { version } => {
                (Source::Server, Level::Info, None, format!("server {version} started"))
            }
            Happened::ServerEnded { answered: true } => {
                (Source::Server, Level::Info, None, "server ended".to_owned())
            }
            Happened::ServerEnded { answered: false } => {
                let message = "server ended before all that it had accepted was answered".to_owned();
                (Source::Server, Level::Warn, None, message)
            }
            Happened::AlertFired { alert, message, .. } => {
                (Source::Alert, Level::Warn, None, format!("alert {alert} fires: {message}"))
            }
            Happened::AlertEnded { alert, message, .. } => {
                (Source::Alert, Level::Info, None, format!("alert {alert} has ended: {message}"))
            }
            Happened::WebhookDisabled { webhook, message } => {
                (Source::Alert, Level::Warn, None, format!("webhook {webhook} was given up: {message}"))
            }
        };
        Self {
            at,
            source,
            level,
            task: None,
            worker: worker.cloned(),
            queue,
            project: None,
            schedule: None,
            message: short(message),
            particulars: Particulars::Happened(Box::new(happened)),
        }
    }
}

/// How grave an event is: an error if the task has failed for good, a warning if an attempt was lost for it.
pub fn level_of(event: &Event) -> Level {
    match event.kind {
        _ if event.to == State::Failed => Level::Error,
        EventKind::AttemptFailed | EventKind::LeaseLost | EventKind::DependencyFailed => Level::Warn,
        _ => Level::Info,
    }
}

/// What an event says, in words.
fn words_of(event: &Event) -> String {
    let detail = &event.detail;
    let worker = detail.worker.as_ref().map_or("nobody", WorkerId::as_str);
    let by = detail.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = detail.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let attempt = event.attempt;
    let text = match event.kind {
        EventKind::Created => format!("created{by}"),
        EventKind::Claimed => format!("claimed by {worker}, attempt {attempt}"),
        EventKind::Completed => format!("completed by {worker}"),
        EventKind::AttemptFailed => {
            let error = detail.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
            format!("attempt {attempt} failed at {worker}{error}")
        }
        EventKind::Released => format!("given back by {worker}{why}"),
        EventKind::LeaseLost => {
            let loss = detail.loss.map(|loss| format!(": {}", loss.explain())).unwrap_or_default();
            format!("attempt {attempt} lost by {worker}{loss}")
        }
        EventKind::Cancelled => format!("cancelled{by}{why}"),
        EventKind::Retried => format!("put back into its queue{by}{why}"),
        EventKind::Unblocked => "the tasks that it waited for have ended".to_owned(),
        EventKind::DependencyFailed => {
            let which = detail.dependency.map(|task| format!(" {task}")).unwrap_or_default();
            format!("the task{which} that it waited for did not complete")
        }
        EventKind::Expired => "not started in time".to_owned(),
        EventKind::Changed => format!("changed{by}{why}"),
    };
    if event.to == State::Failed { format!("{text}; failed for good") } else { text }
}

fn short(text: String) -> String {
    match text.char_indices().nth(MESSAGE) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Where a page of the time line ends: for each source that it was merged from, the place behind what was told of it.
///
/// Each source has its own places, and their order is the only one that is sure: times of two sources may be of two clocks.
/// So a cursor is not a time, and no entry is told twice or passed over whatever the clocks do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineCursor(Vec<(char, String)>);

impl TimelineCursor {
    /// Adds the place of a source that has not come to its end.
    pub fn push(&mut self, lane: char, place: String) {
        self.0.push((lane, place));
    }

    /// The place of a source; none if the source has come to its end.
    pub fn place(&self, lane: char) -> Option<&str> {
        self.0.iter().find(|(one, _)| *one == lane).map(|(_, place)| place.as_str())
    }

    /// Whether all sources have come to their ends.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for TimelineCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(lane, place)| write!(f, "{lane}{}:{place}", place.len()))
    }
}

impl std::str::FromStr for TimelineCursor {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let wrong = || Expected::text("a cursor of the time line", text);
        let (mut cursor, mut rest) = (Self::default(), text);
        while let Some(lane) = rest.chars().next() {
            let (length, behind) = rest[lane.len_utf8()..].split_once(':').ok_or_else(wrong)?;
            let length: usize = length.parse().map_err(|_| wrong())?;
            let place = behind.get(..length).ok_or_else(wrong)?;
            if cursor.place(lane).is_some() {
                return Err(wrong());
            }
            cursor.push(lane, place.to_owned());
            rest = &behind[length..];
        }
        // A number may be written in several ways.
        if cursor.is_empty() || cursor.to_string() != text { Err(wrong()) } else { Ok(cursor) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::EventDetail;
    use crate::task::Failure;

    fn event(kind: EventKind, to: State, detail: EventDetail) -> Event {
        Event { seq: 3, at: Timestamp::from_millis(5), kind, from: None, to, attempt: 2, detail }
    }

    fn of() -> OfTask {
        OfTask {
            task: TaskId::from_bytes([1; 16]),
            queue: QueueName::default(),
            project: ProjectId::default(),
            schedule: schedule_of(Some(&Label::from_stored("schedule nightly"))),
        }
    }

    #[test]
    fn an_event_says_who_what_and_how_grave() {
        let error = Failure { message: "x".repeat(5_000), code: None, details: None };
        let detail = EventDetail { worker: "w1".parse().ok(), error: Some(error), ..EventDetail::default() };
        let again =
            TimelineEntry::of_event(&of(), event(EventKind::AttemptFailed, State::Queued, detail.clone()));
        assert_eq!((again.level, again.source), (Level::Warn, Source::Event));
        assert!(
            again.message.starts_with("attempt 2 failed at w1: xxx") && again.message.chars().count() <= 301
        );
        let last = TimelineEntry::of_event(&of(), event(EventKind::AttemptFailed, State::Failed, detail));
        assert_eq!(last.level, Level::Error);
        assert_eq!(last.schedule.unwrap().as_str(), "nightly");
    }

    #[test]
    fn a_request_is_about_what_its_path_names() {
        let asked = |target: &str, outcome| Asked {
            action: "pause_queue".to_owned(),
            target: target.to_owned(),
            outcome,
            ..Asked::default()
        };
        let queue = TimelineEntry::of_request(Timestamp::default(), asked("/v1/queues/gpu/pause", Some(200)));
        assert_eq!((queue.queue.unwrap().as_str(), queue.level), ("gpu", Level::Info));
        let worker =
            TimelineEntry::of_request(Timestamp::default(), asked("/v1/workers/w1/drain", Some(404)));
        assert_eq!((worker.worker.unwrap().as_str(), worker.level), ("w1", Level::Warn));
        let none = TimelineEntry::of_request(Timestamp::default(), asked("/v1/reap", None));
        assert!(
            none.task.is_none()
                && none.worker.is_none()
                && none.message.ends_with("(its answer is not known)")
        );
    }

    #[test]
    fn what_became_of_a_worker_is_told_with_its_name_and_reads_back() {
        let (worker, why): (WorkerId, _) = ("w1".parse().unwrap(), "temp is 91, over 85".to_owned());
        let lost = |tasks| Happened::WorkerLost {
            worker: worker.clone(),
            tasks,
            reason: LossReason::HeartbeatMissed,
        };
        let drained = Happened::WorkerDrained { worker: worker.clone(), why: why.clone() };
        let resumed = Happened::WorkerResumed { worker: worker.clone(), why };
        for (happened, level, message) in [
            (lost(2), Level::Warn, "lost 2 tasks: the worker missed its heartbeats"),
            (lost(0), Level::Warn, "fell silent: the worker missed its heartbeats"),
            (drained, Level::Warn, "is to drain: temp is 91, over 85"),
            (resumed, Level::Info, "goes on: temp is 91, over 85"),
        ] {
            let text = serde_json::to_string(&happened).unwrap();
            assert_eq!(serde_json::from_str::<Happened>(&text).unwrap(), happened, "{text}");
            let entry = TimelineEntry::of_happening(Timestamp::from_millis(5), happened);
            assert_eq!((entry.source, entry.level, entry.message.as_str()), (Source::Worker, level, message));
            assert_eq!(entry.worker.as_ref(), Some(&worker));
        }
    }

    #[test]
    fn an_alert_about_a_queue_is_found_by_it_and_one_of_before_reads_back_without() {
        let text = r#"{"what":"alert_fired","alert":"deep","subject":"gpu","message":"x"}"#;
        let before: Happened = serde_json::from_str(text).unwrap();
        let queue_of =
            |happened: Happened| TimelineEntry::of_happening(Timestamp::from_millis(5), happened).queue;
        assert_eq!(queue_of(before), None);
        let (alert, subject): (GroupName, _) = ("deep".parse().unwrap(), "gpu".to_owned());
        let queue: Option<QueueName> = subject.parse().ok();
        let (message, of) = ("x".to_owned(), queue.clone());
        let fired = Happened::AlertFired {
            alert: alert.clone(),
            subject: subject.clone(),
            queue: of.clone(),
            message: message.clone(),
        };
        assert_eq!(queue_of(fired), queue);
        assert_eq!(queue_of(Happened::AlertEnded { alert, subject, queue: of, message }), queue);
    }

    #[test]
    fn a_filter_passes_over_what_does_not_say() {
        let entry = TimelineEntry::of_happening(
            Timestamp::from_millis(5),
            Happened::ServerStarted { version: "1".to_owned() },
        );
        assert!(TimelineFilter::default().fits(&entry));
        let queue = TimelineFilter { queue: Some(QueueName::default()), ..TimelineFilter::default() };
        assert!(!queue.fits(&entry));
        assert!(!TimelineFilter { events_only: true, ..TimelineFilter::default() }.fits(&entry));
        let bound = |from: i64, before: i64| TimelineFilter {
            from: Some(Timestamp::from_millis(from)),
            before: Some(Timestamp::from_millis(before)),
            ..TimelineFilter::default()
        };
        assert!(bound(5, 6).fits(&entry) && !bound(6, 9).fits(&entry) && !bound(1, 5).fits(&entry));
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(places in prop::collection::btree_map("[a-zü]", ".{0,30}", 1..5)) {
            let mut cursor = TimelineCursor::default();
            for (lane, place) in &places {
                cursor.push(lane.chars().next().unwrap(), place.clone());
            }
            prop_assert_eq!(cursor.to_string().parse::<TimelineCursor>().unwrap(), cursor);
        }

        #[test]
        fn any_other_text_is_refused_or_read(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<TimelineCursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
