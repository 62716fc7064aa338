//! `baton task create`.

use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_api::ReadFields as _;
use baton_api::create::BatchItem;
use baton_api::create::{CreateBatch, CreateTask};
use baton_api::fields::BodyError;
use baton_client::Client;
use baton_model::{Label, Limits, Payload, Priority, ProjectId, QueueName, TaskId, TaskType, limits};
use clap::Args;

use crate::context::Context;
use crate::exit::Failure;
use crate::{text, words};

/// The most bytes of tasks that go into one batch; the server takes 16 MiB unless set otherwise.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The fields of a task that flags give.
const FLAGS: &[(&str, &str)] = &[
    ("type", "--type"),
    ("queue", "--queue"),
    ("params", "--params"),
    ("priority", "--priority"),
    ("delay_seconds", "--delay"),
    ("id", "--id"),
    ("max_attempts", "--max-attempts"),
    ("timeout_seconds", "--timeout"),
    ("project", "--project"),
    ("domain", "--domain"),
    ("assigned_by", "--assigned-by"),
    ("description", "--description"),
];

#[derive(Args)]
#[command(after_help = "Examples:
  baton task create --type resize --params '{\"id\": 7}'
  baton task create --type report --params @report.json --delay 2h
  generate | baton task create --type resize --params -
  baton task create --from tasks.jsonl --idempotency-key import-2026-02-01

The id of the new task goes to stdout. A line of the file of --from is a task
as the API takes it:
  {\"type\": \"resize\", \"params\": {\"id\": 7}, \"queue\": \"images\"}
With --idempotency-key, the same command may be run again: what exists is not
created twice.")]
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
    /// An id of your own choice (a UUID); the same id with the same content creates nothing new.
    #[arg(long, value_name = "UUID")]
    id: Option<TaskId>,
    /// A name for this request: sent again, it creates nothing new for 24 hours.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How many attempts it is given.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long one attempt may run, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    timeout: Option<Duration>,
    /// The project that owns it.
    #[arg(long)]
    project: Option<ProjectId>,
    /// The domain that it belongs to.
    #[arg(long)]
    domain: Option<Label>,
    /// Who assigned it.
    #[arg(long, value_name = "NAME")]
    assigned_by: Option<Label>,
    /// What it is, for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Create one task for each line of this file (- for stdin), each a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task_type", "queue", "params", "priority", "delay", "id", "max_attempts", "timeout", "project", "domain",
        "assigned_by", "description",
    ])]
    from: Option<PathBuf>,
}

impl Create {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        match (&self.from, &self.task_type) {
            (Some(file), _) => self.batch(context, client, file).await,
            (None, Some(task_type)) => {
                let task = self.task(task_type.clone())?;
                let created = match &self.idempotency_key {
                    Some(key) => client.create_task_once(&task, key).await,
                    None => client.create_task(&task).await,
                };
                let created = created.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
                if context.out.is_json() {
                    return context.out.json(&created);
                }
                context.out.line(&created.id.to_string())?;
                context
                    .out
                    .note(&format!("{}; follow it with `baton task watch {}`", created.status, created.id));
                Ok(())
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
            delay: self.delay,
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            ..CreateTask::new(task_type)
        })
    }

    /// Each task stands by itself: what the server refuses does not hold up the rest.
    async fn batch(&self, context: &Context, client: &Client, file: &Path) -> Result<(), Failure> {
        let batches = read_batches(open(file)?, file)?;
        let mut items: Vec<BatchItem> = Vec::new();
        for (number, tasks) in batches.into_iter().enumerate() {
            let batch = CreateBatch { atomic: Some(false), tasks };
            let answer = match &self.idempotency_key {
                Some(key) => client.create_batch_once(&batch, &format!("{key}.{number}")).await?,
                None => client.create_batch(&batch).await?,
            };
            let before = u32::try_from(items.len()).unwrap_or(u32::MAX);
            items.extend(
                answer.items.into_iter().map(|item| BatchItem { index: item.index + before, ..item }),
            );
        }
        let refused = items.iter().filter(|item| item.problem.is_some()).count();
        if context.out.is_json() {
            let accepted = items.len() - refused;
            context
                .out
                .json(&serde_json::json!({ "accepted": accepted, "refused": refused, "items": items }))?;
        } else {
            for task in items.iter().filter_map(|item| item.task.as_ref()) {
                context.out.line(&task.id.to_string())?;
            }
            context.out.note(&format!("{} tasks accepted, {refused} refused", items.len() - refused));
        }
        for item in &items {
            if let Some(problem) = &item.problem {
                context.out.note(&format!("  task {}: {}: {}", item.index + 1, problem.code, problem.detail));
                problem.errors.iter().for_each(|field| context.out.note(&format!("    {field}")));
            }
        }
        match refused {
            0 => Ok(()),
            _ => Err(Failure::failed(format!(
                "{refused} of {} tasks were refused; mend and send those again",
                items.len()
            ))),
        }
    }
}

fn params(text: &str) -> Result<Payload, Failure> {
    let (json, from) = match text.strip_prefix('@') {
        _ if text == "-" => {
            let mut json = String::new();
            io::stdin()
                .lock()
                .read_to_string(&mut json)
                .map_err(|error| Failure::usage(format!("stdin: {error}")))?;
            (json, "stdin".to_owned())
        }
        Some(file) => {
            let json = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("--params: cannot read {file}: {error}")))?;
            (json, file.to_owned())
        }
        None => (text.to_owned(), "the command line".to_owned()),
    };
    let json = json.trim();
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
        let fault = words::json_fault(&error.to_string());
        return Err(Failure::usage(format!("--params (from {from}): expected JSON; {fault}")));
    }
    Payload::parse(json).map_err(|problem| Failure::usage(format!("--params (from {from}): {problem}")))
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = std::fs::File::open(file)
        .map_err(|error| Failure::usage(format!("--from: cannot read {}: {error}", file.display())))?;
    Ok(Box::new(io::BufReader::new(opened)))
}

/// Reads all lines before anything is sent, so that a mistake in the last does not leave the rest half done.
fn read_batches(lines: impl BufRead, file: &Path) -> Result<Vec<Vec<CreateTask>>, Failure> {
    // The server knows its own limits.
    let any = Limits { params_bytes: usize::MAX, result_bytes: usize::MAX, batch_bytes: usize::MAX };
    let mut batches: Vec<Vec<CreateTask>> = Vec::new();
    let mut bytes = 0;
    let mut wrong = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| Failure::usage(format!("--from: {}: {error}", file.display())))?;
        if line.trim().is_empty() {
            continue;
        }
        match CreateTask::from_json(&line, &any) {
            Ok(task) => {
                let fits = bytes + line.len() <= BATCH_BYTES;
                bytes = if fits { bytes + line.len() } else { line.len() };
                match batches.last_mut() {
                    Some(batch) if fits && batch.len() < limits::BATCH_TASKS => batch.push(task),
                    _ => {
                        bytes = line.len();
                        batches.push(vec![task]);
                    }
                }
            }
            Err(BodyError::NotJson(error)) => {
                wrong.push(format!("\n  line {}, {}", number + 1, words::json_fault(&error)));
            }
            Err(BodyError::Fields(fields)) => {
                // Of what is no object at all, the line says enough.
                let told = |field: String| field.strip_prefix("(body): ").map(str::to_owned).unwrap_or(field);
                let fields = fields.iter().map(|field| told(field.to_string()));
                wrong.extend(fields.map(|field| format!("\n  line {}: {field}", number + 1)));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(batches);
    }
    let (count, shown) = (wrong.len(), wrong[..wrong.len().min(20)].concat());
    let mistakes = if count == 1 { "mistake" } else { "mistakes" };
    let file = if file == Path::new("-") { "stdin".into() } else { file.display().to_string() };
    Err(Failure::usage(format!("{file} has {count} {mistakes}, nothing was created:{shown}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_batches_of_a_thousand() {
        let text = "{\"type\":\"a\"}\n\n".repeat(2_001);
        let batches = read_batches(text.as_bytes(), Path::new("-")).unwrap();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 1]);
    }

    #[test]
    fn large_lines_become_smaller_batches() {
        let line = format!("{{\"type\":\"a\",\"params\":\"{}\"}}\n", "x".repeat(3 * 1024 * 1024));
        let batches = read_batches(line.repeat(5).as_bytes(), Path::new("-")).unwrap();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "{\"type\":\"a\"}\n{\"typ\":\"a\"}\n{\n";
        let Err(Failure::Usage(message)) = read_batches(text.as_bytes(), Path::new("t.jsonl")) else {
            panic!()
        };
        assert!(message.contains("t.jsonl has 3 mistakes"), "{message}");
        assert!(
            message.contains("line 2: type: expected a value")
                && message.contains("line 3, column 1: it ends within an object"),
            "{message}"
        );
    }
}
