//! `baton task create`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_api::create::{CreateTask, CreatedTask, DependsOn};
use baton_api::unique::UniqueView;
use baton_client::Client;
use baton_model::{
    Backoff, IfDependencyFails, Label, Payload, Priority, ProjectId, QueueName, Status, TaskId, TaskType,
    Timestamp, UniqueWhile,
};
use baton_runtime::nearest;
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::task::import::Import;
use crate::task::watch;
use crate::when::{self, Times};
use crate::{input, text, words};

/// The fields of a task that flags give.
const FLAGS: &[(&str, &str)] = &[
    ("type", "--type"),
    ("queue", "--queue"),
    ("params", "--params"),
    ("priority", "--priority"),
    ("delay_seconds", "--delay"),
    ("run_after", "--run-after"),
    ("id", "--id"),
    ("max_attempts", "--max-attempts"),
    ("timeout_seconds", "--timeout"),
    ("backoff", "--backoff"),
    ("project", "--project"),
    ("domain", "--domain"),
    ("assigned_by", "--assigned-by"),
    ("concurrency_key", "--concurrency-key"),
    ("affinity", "--affinity"),
    ("expires_at", "--expires-at"),
    ("expires_after_seconds", "--expires-after"),
    ("unique.key", "--unique"),
    ("unique.while", "--unique-while"),
    ("description", "--description"),
    ("depends_on", "--depends-on"),
    ("if_dependency_fails", "--if-dependency-fails"),
];

#[derive(Args)]
#[command(after_help = "Examples:
  baton task create --type resize --params '{\"id\": 7}'
  baton task create --type report --params @report.json --delay 2h
  baton task create --type report --run-after 2026-02-01T06:00 --backoff 1m
  baton task create --type resize --params '{\"id\": 7}' --wait=10m
  generate | baton task create --type resize --params -
  baton task create --type stitch \\
    --depends-on 01980a6e-5b7c-7cc3-98c4-dc0c0c07398f
  baton task create --from tasks.jsonl --idempotency-key import-2026-02-01

The id of the new task goes to stdout. A line of the file of --from is a task
as the API takes it:
  {\"type\": \"resize\", \"params\": {\"id\": 7}, \"queue\": \"images\"}
Each line has its own outcome: the id of its task goes to stdout as it is
made, and what is refused to stderr with the line's number; the lines after
it go on. With -o json each outcome is one line of JSON. Exit code 1: some
lines were refused; 5: the server went away, and stderr says how far it came.
With --idempotency-key KEY, line 7 has the key KEY.7, for 24 hours: after an
import that broke off, or once refused lines are mended, run the same command
again, and what exists is not created twice. Each line is then a request of
its own, 16 of them at once; without a key, up to 1,000 lines go together.

--backoff 30s sets the first pause; --backoff base=5s,factor=2,max=10m,
jitter=0.2 (the defaults) sets each part.

With --wait, the exit code is 0 if the task is completed, and 6 if it failed
or was cancelled; -o json then shows the task with its output.")]
pub(crate) struct Create {
    /// What kind of work it is.
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "from")]
    task_type: Option<TaskType>,
    /// The queue it waits in.
    #[arg(long)]
    queue: Option<QueueName>,
    /// Its input: JSON, or @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-")]
    params: Option<String>,
    /// critical, high, normal or low.
    #[arg(long)]
    priority: Option<Priority>,
    /// How long it is to rest before it may be claimed, such as 30s or 2h.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    delay: Option<Duration>,
    /// When it may first be claimed, such as 2026-01-31T08:15:00Z; without an offset in this machine's time zone.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "delay")]
    run_after: Option<Timestamp>,
    /// An id of your own choice (a UUID); the same id with the same content creates nothing new.
    #[arg(long, value_name = "UUID")]
    id: Option<TaskId>,
    /// A name for this request: sent again, it creates nothing new for 24 hours. With --from, what each line's name
    /// begins with.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How many attempts it is given.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long one attempt may run, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    timeout: Option<Duration>,
    /// How long it waits between attempts: the first pause, such as 30s, or each part (see below).
    #[arg(long, value_name = "SPAN|PARTS", value_parser = parse_backoff)]
    backoff: Option<Backoff>,
    /// The project that owns it.
    #[arg(long)]
    project: Option<ProjectId>,
    /// The domain that it belongs to.
    #[arg(long)]
    domain: Option<Label>,
    /// Who assigned it.
    #[arg(long, value_name = "NAME")]
    assigned_by: Option<Label>,
    /// What it shares a limit by with other tasks of its queue.
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<Label>,
    /// What its worker had best have loaded already, such as a model.
    #[arg(long, value_name = "NAME")]
    affinity: Option<Label>,
    /// How long it is worth starting, such as 10m: if no attempt has begun by then, it fails as expired.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    expires_after: Option<Duration>,
    /// The same as a time, such as 2026-01-31T08:15:00Z; without an offset in this machine's time zone.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "expires_after")]
    expires_at: Option<Timestamp>,
    /// A key of which there is to be one task at a time in its project and queue: while another task holds it, none is created,
    /// and the id of that one is told.
    #[arg(long, value_name = "KEY")]
    unique: Option<Label>,
    /// For how long the task holds this key: queued, unfinished (the default) or a span, such as 1h.
    #[arg(long, value_name = "HOW-LONG", requires = "unique", value_parser = parse_unique_while)]
    unique_while: Option<UniqueWhile>,
    /// What it is, for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The tasks that are to be completed before, by their whole ids; may be given again, or with commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails or is cancelled: cancel (the default), fail or run.
    #[arg(long, value_name = "WHAT", requires = "depends_on")]
    if_dependency_fails: Option<IfDependencyFails>,
    /// Wait until the task has ended, for at most so long if a span is given; events go to stderr.
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, value_parser = text::parse_span)]
    wait: Option<Option<Duration>>,
    /// Create one task for each line of this file (- for stdin), each a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task_type", "queue", "params", "priority", "delay", "run_after", "id", "max_attempts", "timeout", "backoff",
        "project", "domain", "assigned_by", "concurrency_key", "affinity", "expires_after", "expires_at", "unique", "description", "depends_on", "if_dependency_fails",
        "wait",
    ])]
    from: Option<PathBuf>,
}

impl Create {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        match (&self.from, &self.task_type) {
            (Some(file), _) => {
                Import::new(context, client, file, self.idempotency_key.as_deref())?.run().await
            }
            (None, Some(task_type)) => {
                let task = self.task(task_type.clone())?;
                let created = match &self.idempotency_key {
                    Some(key) => client.create_task_once(&task, key).await,
                    None => client.create_task(&task).await,
                };
                let created = created.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
                match self.wait {
                    Some(most) => wait(context, client, &created, most).await,
                    None => told(context, &created),
                }
            }
            (None, None) => Err(Failure::usage("expected --type or --from")),
        }
    }

    fn task(&self, task_type: TaskType) -> Result<CreateTask, Failure> {
        Ok(CreateTask {
            id: self.id,
            project: self.project.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            params: self.params.as_deref().map(params).transpose()?,
            description: self.description.clone(),
            domain: self.domain.clone(),
            assigned_by: self.assigned_by.clone(),
            concurrency_key: self.concurrency_key.clone(),
            affinity: self.affinity.clone(),
            expires_at: self.expires_at,
            expires_after: self.expires_after,
            unique: self
                .unique
                .clone()
                .map(|key| UniqueView { key, held: self.unique_while.unwrap_or_default() }),
            run_after: self.run_after,
            delay: self.delay,
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            backoff: self.backoff,
            depends_on: self.depends_on.iter().copied().map(DependsOn::Task).collect(),
            if_dependency_fails: self.if_dependency_fails,
            ..CreateTask::new(task_type)
        })
    }
}

fn told(context: &Context, created: &CreatedTask) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(created);
    }
    context.out.line(&created.id.to_string())?;
    let due = match created.status {
        Status::Created => format!(" until {}", Times::new(context.now(), false).full(created.run_after)),
        _ => String::new(),
    };
    context.out.note(&if created.deduplicated {
        format!("not created: this task holds the unique key, and is {}{due}", created.status)
    } else {
        format!("{}{due}; follow it with `baton task watch {}`", created.status, created.id)
    });
    Ok(())
}

/// Waits until the task has ended. What happens is talk: the data is its id, or in JSON the task with its output.
async fn wait(
    context: &Context,
    client: &Client,
    created: &CreatedTask,
    most: Option<Duration>,
) -> Result<(), Failure> {
    let times = Times::new(context.now(), false);
    if !context.out.is_json() {
        context.out.line(&created.id.to_string())?;
    }
    let tell = |event: &_| {
        if !context.out.is_json() {
            context.out.note(&watch::words_of(event, &times));
        }
        Ok(())
    };
    let ended = watch::follow(context, client, created.id, most, tell).await?;
    if context.out.is_json() {
        context.out.json(&ended.detail)?;
    }
    ended.told(context)
}

/// Reads for how long a unique key is held.
fn parse_unique_while(text: &str) -> Result<UniqueWhile, String> {
    match text {
        "queued" => Ok(UniqueWhile::Queued),
        "unfinished" => Ok(UniqueWhile::Unfinished),
        span => text::parse_span(span)
            .map(UniqueWhile::For)
            .map_err(|_| format!("expected queued, unfinished or a duration such as 1h, got {span:?}")),
    }
}

fn params(text: &str) -> Result<Payload, Failure> {
    let (json, from) = match text.strip_prefix('@') {
        _ if text == "-" => (input::read("--params", Path::new("-"))?, "stdin".to_owned()),
        Some(file) => (input::read("--params", Path::new(file))?, file.to_owned()),
        None => (text.to_owned(), "the command line".to_owned()),
    };
    let json = json.trim();
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
        let fault = words::json_fault(&error.to_string());
        return Err(Failure::usage(format!("--params (from {from}): expected JSON; {fault}")));
    }
    Payload::parse(json).map_err(|problem| Failure::usage(format!("--params (from {from}): {problem}")))
}

/// The parts of a backoff, by the names of the API without their units.
const PARTS: [&str; 4] = ["base", "factor", "max", "jitter"];

/// Reads a backoff: the first pause alone, such as `30s`, or parts such as `base=5s,factor=2,max=10m,jitter=0.2`; what is
/// left out keeps its default.
fn parse_backoff(text: &str) -> Result<Backoff, String> {
    let mut backoff = Backoff::default();
    if !text.contains('=') {
        backoff.base = text::parse_span(text)?;
        // A first pause that is longer than the longest would be cut to it.
        backoff.max = backoff.max.max(backoff.base);
        return Ok(backoff);
    }
    let number = |name: &str, text: &str, least: f64, most: f64| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{name}: expected a number from {least} to {most}, got {text:?}"))
    };
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim() {
            "base" => backoff.base = text::parse_span(value).map_err(|wrong| format!("base: {wrong}"))?,
            "max" => backoff.max = text::parse_span(value).map_err(|wrong| format!("max: {wrong}"))?,
            "factor" => backoff.factor = number("factor", value, 1.0, 10.0)?,
            "jitter" => backoff.jitter = number("jitter", value, 0.0, 1.0)?,
            other => {
                let near = nearest(other, PARTS).map(|near| format!(" (the nearest is {near})"));
                let near = near.unwrap_or_default();
                return Err(format!("expected a span, or some of {}, got {other:?}{near}", PARTS.join(", ")));
            }
        }
    }
    Ok(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_is_its_first_pause_or_its_parts() {
        let secs = Duration::from_secs;
        let default = Backoff::default();
        assert_eq!(parse_backoff("30s"), Ok(Backoff { base: secs(30), ..default }));
        assert_eq!(parse_backoff("1h"), Ok(Backoff { base: secs(3_600), max: secs(3_600), ..default }));
        let parts = parse_backoff("base=1s,factor=1.5,max=2m,jitter=0");
        assert_eq!(parts, Ok(Backoff { base: secs(1), factor: 1.5, max: secs(120), jitter: 0.0 }));
        assert_eq!(parse_backoff("max=2m"), Ok(Backoff { max: secs(120), ..default }));
        for (wrong, told) in [
            ("soon", "expected a duration"),
            ("base=", "base: expected a duration"),
            ("factor=NaN", "factor: expected a number from 1 to 10"),
            ("jitter=2", "jitter: expected a number from 0 to 1"),
            ("bse=5s", "(the nearest is base)"),
            ("base=5s,", "got \"\""),
        ] {
            let error = parse_backoff(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
