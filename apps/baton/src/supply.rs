//! `baton queue supply`.

use std::path::Path;

use baton_api::create::CreateTask;
use baton_api::fields::BodyError;
use baton_api::manage::ActionRequest;
use baton_api::supply::{SetSupply, SupplyTemplate, SupplyView};
use baton_api::{FieldError, ReadFields as _};
use baton_client::Client;
use baton_model::{Label, Limits, Payload, Priority, ProjectId, QueueName, TaskType};
use clap::{ArgGroup, Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Paged, Shown, Times};
use crate::{input, pages, words};

/// The fields of a supply that flags give.
const FLAGS: &[(&str, &str)] = &[
    ("min", "--min"),
    ("target", "--target"),
    ("templates[0].task.params", "--params"),
    ("templates[0].task.project", "--project"),
    ("templates", "--templates"),
    ("reason", "--reason"),
];

#[derive(Subcommand)]
pub(crate) enum Supply {
    /// Have a queue refill itself: when fewer tasks than --min are ready, tasks are created up to --target.
    ///
    /// States the whole supply, whatever it was before; what was created stays.
    Set(Box<Set>),
    /// The supply of a queue.
    Show(One),
    /// All supplies.
    List(List),
    /// Have a queue refill itself no more; the tasks that were created stay.
    Unset(Unset),
}

#[derive(Args)]
#[command(group = ArgGroup::new("what").args(["task_type", "templates"]).required(true))]
#[command(after_help = "Examples:
  baton queue supply set images --min 20 --target 60 --type render \\
    --params '{\"seed\": \"{{index}}\", \"day\": \"{{date}}\"}'
  baton queue supply set images --min 5 --target 20 --while-asked \\
    --templates '[{\"weight\": 3, \"task\": {\"type\": \"render\"}},
                  {\"weight\": 1, \"task\": {\"type\": \"upscale\"}}]'
  baton queue supply set images --min 5 --target 20 --templates @supply.json

Of as many tasks as all templates weigh, each has as many as it weighs. In the
texts of params, {{index}} becomes the number of the task, which counts up from
0, {{time}} the time at which it is created, and {{date}} that day in UTC.")]
pub(crate) struct Set {
    /// The queue.
    queue: QueueName,
    /// It is refilled when fewer tasks than this are ready; 1 to 1000.
    #[arg(long, value_name = "N")]
    min: u32,
    /// Up to how many it is refilled; not fewer than --min, 1000 at most.
    #[arg(long, value_name = "N")]
    target: u32,
    /// What kind of work its tasks are, if all are of one kind.
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<TaskType>,
    /// Their input: JSON, or @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "task_type")]
    params: Option<String>,
    /// critical, high, normal or low.
    #[arg(long, requires = "task_type")]
    priority: Option<Priority>,
    /// The project that owns them.
    #[arg(long, requires = "task_type")]
    project: Option<ProjectId>,
    /// Several kinds of tasks, each with its weight: a list in JSON, or @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-")]
    templates: Option<String>,
    /// Refill it only while a live worker takes such tasks.
    #[arg(long)]
    while_asked: bool,
    /// Create nothing for now.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
pub(crate) struct One {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct Unset {
    /// The queue.
    queue: QueueName,
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

impl Supply {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Set(set) => set.run(context, client).await,
            Self::Show(One { queue, shown }) => {
                let supply = client.supply(&queue).await?;
                if context.out.is_json() {
                    return context.out.json(&supply);
                }
                show(context, &supply, &shown.begin(context))
            }
            Self::List(list) => list.run(context, client).await,
            Self::Unset(Unset { queue, said }) => {
                let action = ActionRequest { by: said.by, reason: said.reason };
                let supply = client.unset_supply(&queue, &action).await?;
                if context.out.is_json() {
                    return context.out.json(&supply);
                }
                context.out.note(&format!(
                    "queue {queue} refills itself no more; the {} tasks that were created stay",
                    supply.created
                ));
                Ok(())
            }
        }
    }
}

impl Set {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let templates = match (&self.templates, self.task_type) {
            (Some(templates), _) => read_templates(templates)?,
            (None, Some(task_type)) => {
                let params = self.params.as_deref().map(|text| json("--params", text)).transpose()?;
                let params = params.map(|text| Payload::parse(&text)).transpose();
                let params = params.map_err(|problem| Failure::usage(format!("--params: {problem}")))?;
                let task = CreateTask {
                    params,
                    priority: self.priority,
                    project: self.project,
                    ..CreateTask::new(task_type)
                };
                vec![SupplyTemplate { weight: None, task }]
            }
            // One of the two is there.
            (None, None) => Vec::new(),
        };
        let set = SetSupply {
            min: self.min,
            target: self.target,
            templates,
            while_asked: self.while_asked,
            paused: self.paused,
            by: self.said.by,
            reason: self.said.reason,
        };
        let asked = client.set_supply(&self.queue, &set).await;
        let supply = asked.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
        if context.out.is_json() {
            return context.out.json(&supply);
        }
        context.out.note(&format!("queue {}: {}", supply.queue, in_words(&supply)));
        Ok(())
    }
}

/// JSON from the command line, a file or stdin.
fn json(flag: &str, text: &str) -> Result<String, Failure> {
    let text = match text.strip_prefix('@') {
        _ if text == "-" => input::read(flag, Path::new("-"))?,
        Some(file) => input::read(flag, Path::new(file))?,
        None => text.to_owned(),
    };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text.trim()) {
        let fault = words::json_fault(&error.to_string());
        return Err(Failure::usage(format!("{flag}: expected JSON; {fault}")));
    }
    Ok(text.trim().to_owned())
}

/// Reads templates as the API does. Which params are too large, the server says.
fn read_templates(text: &str) -> Result<Vec<SupplyTemplate>, Failure> {
    let list = json("--templates", text)?;
    let any = Limits { params_bytes: usize::MAX, ..Limits::default() };
    let read = SetSupply::from_json(&format!(r#"{{"min":1,"target":1,"templates":{list}}}"#), &any);
    read.map(|set| set.templates).map_err(|error| {
        let problems = match error {
            BodyError::Fields(errors) => {
                errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; ")
            }
            BodyError::NotJson(error) => words::json_fault(&error),
        };
        Failure::usage(format!("--templates: {problems}"))
    })
}

impl List {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let mut rows = rows();
        rows.choose(&self.columns).map_err(Failure::usage)?;
        let (supplies, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
            client.supplies(cursor.as_deref(), Some(most)).await
        })
        .await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": supplies }));
        }
        let times = self.shown.begin(context);
        for supply in &supplies {
            rows.add(vec![
                supply.queue.to_string(),
                state(supply).to_owned(),
                supply.min.to_string(),
                supply.target.to_string(),
                types(supply),
                supply.created.to_string(),
                supply.refilled_at.map_or_else(|| "-".to_owned(), |at| times.ago(at)),
            ]);
        }
        context.out.table(rows, "no supply; set one with `baton queue supply set`")
    }
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("QUEUE").cut(),
        Column::new("STATE"),
        Column::new("MIN"),
        Column::new("TARGET"),
        Column::new("TYPES").cut(),
        Column::new("CREATED"),
        Column::new("REFILLED"),
    ])
}

const fn state(supply: &SupplyView) -> &'static str {
    match (supply.paused, supply.while_asked) {
        (true, _) => "paused",
        (false, true) => "while asked",
        (false, false) => "on",
    }
}

/// The types of a supply's tasks, with their weights if there are several.
fn types(supply: &SupplyView) -> String {
    let word = |task: &Payload| task.to_value()["type"].as_str().unwrap_or_default().to_owned();
    match &supply.templates[..] {
        [only] => word(&only.task),
        several => {
            let each = several.iter().map(|one| format!("{} × {}", one.weight, word(&one.task)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What a supply says.
fn in_words(supply: &SupplyView) -> String {
    let asked = if supply.while_asked { ", while a worker takes such tasks" } else { "" };
    let paused = if supply.paused { "; it is paused" } else { "" };
    format!(
        "refilled up to {} ready tasks ({}) when fewer than {} are{asked}{paused}",
        supply.target,
        types(supply),
        supply.min
    )
}

fn show(context: &Context, supply: &SupplyView, times: &Times) -> Result<(), Failure> {
    let by = supply.changed_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = supply.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let mut facts = vec![
        ("queue", supply.queue.to_string()),
        ("state", state(supply).to_owned()),
        ("min", supply.min.to_string()),
        ("target", supply.target.to_string()),
        ("created", supply.created.to_string()),
        ("refilled", supply.refilled_at.map(|at| times.full(at)).unwrap_or_default()),
        ("changed", format!("{}{by}{why}", times.ago(supply.changed_at))),
    ];
    let template = |one: &baton_api::supply::TemplateView| format!("{} × {}", one.weight, one.task.as_str());
    facts.extend(supply.templates.iter().map(|one| ("template", template(one))));
    context.out.facts(facts)
}
