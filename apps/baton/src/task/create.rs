//! `baton task create`.

use std::path::PathBuf;
use std::time::Duration;

use baton_api::create::{CreateTask, CreatedTask, DependsOn};
use baton_client::Client;
use baton_model::{IfDependencyFails, Status, TaskId, TaskType, Timestamp, Trace, TraceParent, TraceState};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::task::flags::TaskFlags;
use crate::task::import::Import;
use crate::task::watch;
use crate::text;
use crate::when::{self, Times};

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
    ("retention_seconds", "--retention"),
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
    ("traceparent", "--traceparent"),
    ("tracestate", "--tracestate"),
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
    #[command(flatten)]
    task: TaskFlags,
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
    /// The same as a time, such as 2026-01-31T08:15:00Z; without an offset in this machine's time zone.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "expires_after")]
    expires_at: Option<Timestamp>,
    /// The tasks that are to be completed before, by their whole ids; may be given again, or with commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails or is cancelled: cancel (the default), fail or run.
    #[arg(long, value_name = "WHAT", requires = "depends_on")]
    if_dependency_fails: Option<IfDependencyFails>,
    /// The span that it is created in (W3C Trace Context); that of the environment variable TRACEPARENT if not given, with TRACESTATE.
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceParent>,
    /// What is noted with it.
    #[arg(long, value_name = "TRACESTATE", requires = "traceparent")]
    tracestate: Option<TraceState>,
    /// Wait until the task has ended, for at most so long if a span is given; events go to stderr.
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, value_parser = text::parse_span)]
    wait: Option<Option<Duration>>,
    /// Create one task for each line of this file (- for stdin), each a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task_type", "queue", "params", "priority", "delay", "run_after", "id", "max_attempts", "timeout", "backoff", "retention",
        "project", "domain", "assigned_by", "concurrency_key", "affinity", "expires_after", "expires_at", "unique", "description", "depends_on", "if_dependency_fails",
        "wait", "traceparent",
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

    fn trace(&self) -> Option<Trace> {
        match self.traceparent {
            Some(parent) => Some(Trace { parent, state: self.tracestate.clone() }),
            None => surroundings(),
        }
    }

    fn task(&self, task_type: TaskType) -> Result<CreateTask, Failure> {
        let trace = self.trace();
        Ok(CreateTask {
            id: self.id,
            traceparent: trace.as_ref().map(|trace| trace.parent),
            tracestate: trace.and_then(|trace| trace.state),
            expires_at: self.expires_at,
            run_after: self.run_after,
            delay: self.delay,
            depends_on: self.depends_on.iter().copied().map(DependsOn::Task).collect(),
            if_dependency_fails: self.if_dependency_fails,
            ..self.task.task(task_type)?
        })
    }
}

/// The span that this command runs in, as the environment says; passed over if it is malformed, as a header would be.
pub(crate) fn surroundings() -> Option<Trace> {
    let parent = std::env::var("TRACEPARENT").ok()?;
    Trace::of_headers(&parent, std::env::var("TRACESTATE").ok().as_deref())
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
