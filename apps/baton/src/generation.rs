//! `baton generation`: the output records of completed tasks.

use std::time::Duration;

use baton_api::task::{GenerationView, OutputFileView};
use baton_client::{Client, GenerationQuery};
use baton_model::{GenerationId, ProjectId, QueueName, TaskType, WorkerId, limits};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Paged, Shown, Times};
use crate::{ids, pages, text};

#[derive(Subcommand)]
#[command(after_help = "Examples:
  baton generation list --since 1h --type resize
  baton generation list --task 01980a6e-5b7c
  baton generation show 01980a6e-6123 -o json")]
pub(crate) enum Generation {
    /// Output records, the newest first.
    List(Box<List>),
    /// One output record, with its result.
    Show(One),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only that of this task (its id, or the beginning of it).
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only those of tasks of this type.
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<TaskType>,
    /// Only those of tasks of this queue.
    #[arg(long)]
    queue: Option<QueueName>,
    /// Only those of tasks of this project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Only those that this worker made.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only those that are not older than this, such as 1h.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct One {
    /// The record's id, or the beginning of it if it is among the newest thousand.
    id: String,
    #[command(flatten)]
    shown: Shown,
}

impl Generation {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => list.run(context, &client).await,
            Self::Show(one) => show(context, &client, one).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let mut rows = table();
        rows.choose(&self.columns).map_err(Failure::usage)?;
        let task_id = match &self.task {
            Some(text) => Some(ids::resolve(client, text).await?),
            None => None,
        };
        let query = GenerationQuery {
            task_id,
            task_type: self.task_type,
            queue: self.queue,
            project: self.project,
            worker: self.worker,
            finished_from: self.since.map(|since| context.now().minus(since)),
            ..GenerationQuery::default()
        };
        let (records, more) = pages::first(self.limit as usize, async |cursor, most| {
            client.generations(&GenerationQuery { cursor, limit: Some(most), ..query.clone() }).await
        })
        .await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": records, "more": more }));
        }
        let times = self.shown.begin(context);
        for record in &records {
            rows.add(row(record, &times));
        }
        context.out.table(rows, "no output records fit")?;
        if more {
            context.out.note(&format!("these are the newest {}; --limit shows more", records.len()));
        }
        Ok(())
    }
}

fn table() -> Rows {
    Rows::of(&[
        Column::new("ID"),
        Column::new("TASK"),
        Column::new("TYPE").cut().spare(),
        Column::new("QUEUE").cut().spare(),
        Column::new("WORKER").cut().spare(),
        Column::new("RUN").spare(),
        Column::new("FINISHED").spare(),
        Column::new("KIND").cut().spare(),
        Column::new("LOCATION").cut().spare(),
        Column::new("ATTEMPT").asked(),
        Column::new("PROJECT").cut().asked(),
    ])
}

fn row(record: &GenerationView, times: &Times) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        record.id.to_string(),
        record.task_id.to_string(),
        record.task_type.to_string(),
        record.queue.to_string(),
        record.worker_id.to_string(),
        text::seconds(record.run_seconds),
        times.ago(record.finished_at),
        or_none(&record.kind),
        or_none(&record.location),
        record.attempt.to_string(),
        record.project.to_string(),
    ]
}

async fn show(context: &Context, client: &Client, one: One) -> Result<(), Failure> {
    let id = match one.id.parse() {
        Ok(id) => id,
        Err(_) => resolve(client, &one.id).await?,
    };
    let record = client.generation(id).await?;
    if context.out.is_json() {
        return context.out.json(&record);
    }
    let times = one.shown.begin(context);
    let about = [
        ("task", record.task_id.to_string()),
        ("type", record.task_type.to_string()),
        ("queue", record.queue.to_string()),
        ("project", record.project.to_string()),
        ("created", times.full(record.created_at)),
        ("claimed", times.full(record.started_at)),
        ("finished", times.full(record.finished_at)),
    ];
    let facts = facts(&record);
    // Which it is, what it is of, what it holds.
    let facts = facts[..2].iter().cloned().chain(about).chain(facts[2..].iter().cloned());
    context.out.facts(facts.collect::<Vec<_>>())
}

/// The record that this is the beginning of.
async fn resolve(client: &Client, text: &str) -> Result<GenerationId, Failure> {
    let Some(prefix) = ids::prefix(text) else {
        return Err(Failure::usage(format!(
            "expected an output record's id or at least 4 of its first characters, got {text:?}; \
             `baton generation list` shows ids"
        )));
    };
    let newest = GenerationQuery { limit: Some(limits::PAGE), ..GenerationQuery::default() };
    let found = client.generations(&newest).await?.items.into_iter().map(|record| record.id);
    let found: Vec<GenerationId> = found.filter(|id| id.to_string().starts_with(&prefix)).collect();
    ids::only(
        &found,
        "output record",
        &prefix,
        "`baton generation list` shows ids; older ones need the whole id",
    )
}

/// What a record holds, by names; the first two say which it is.
pub(crate) fn facts(record: &GenerationView) -> Vec<(&'static str, String)> {
    let made = text::seconds(record.run_seconds);
    let payload =
        |payload: &Option<baton_model::Payload>| payload.as_ref().map(|json| json.as_str().to_owned());
    let mut facts = vec![
        ("generation", record.id.to_string()),
        ("made by", format!("{}, attempt {}, in {made}", record.worker_id, record.attempt)),
    ];
    let more = [
        ("location", record.location.clone()),
        ("kind", record.kind.clone()),
        ("metadata", payload(&record.metadata)),
        ("result", payload(&record.result)),
    ];
    facts.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    facts.extend(record.files.iter().map(|file| {
        let OutputFileView { path, size, sha256, content_type } = file;
        ("file", format!("{path}, {size} bytes, {content_type}, SHA-256 {sha256}"))
    }));
    facts
}
