//! `baton limit`.

use baton_api::limit::{ClearLimit, LimitView, RateView, SetLimit, SetOwner};
use baton_client::Client;
use baton_model::{Label, LimitOn, ProjectId, Rate, TaskType};
use clap::{ArgGroup, Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::pages;
use crate::when::{Paged, Times};

#[derive(Subcommand)]
pub(crate) enum Limits {
    /// Set a limit; the next claim goes by it.
    Set(Set),
    /// All limits, with what runs under each.
    List(List),
    /// One limit.
    Show(One),
    /// Take a limit away; the next claim goes by it.
    Clear(Change),
    /// Say whose a project is.
    Owner(Owner),
    /// All projects that have an owner.
    Owners(List),
}

#[derive(Args)]
#[command(group = ArgGroup::new("rules").args(["running", "rate"]).required(true).multiple(true))]
#[command(after_help = "Examples:
  baton limit set queue/images --running 20
  baton limit set 'queue/images/project/*' --running 2
  baton limit set 'queue/ledger/key/*' --running 1 --hold-retries
  baton limit set queue/mail --rate 60/60 --burst 5
  baton limit set owner/acme --running 50 --exempt orchestrate

What a limit holds for:
  queue/QUEUE                  all tasks of a queue
  project/PROJECT              a project's tasks in all queues
  queue/QUEUE/project/PROJECT  a project's tasks in one queue
  owner/OWNER                  the tasks of all projects of one owner
  queue/QUEUE/key/KEY          the tasks of a queue with one concurrency key
With * in the last place: each one that has no limit by its own name.")]
pub(crate) struct Set {
    /// What it holds for.
    on: LimitOn,
    /// How many tasks may run at once.
    #[arg(long, value_name = "N")]
    running: Option<u32>,
    /// How many may start in how many seconds, such as 60/60; of a queue or a key.
    #[arg(long, value_name = "STARTS/SECONDS", value_parser = parse_rate)]
    rate: Option<(u32, u32)>,
    /// How many of them may start at once after a rest.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "rate")]
    burst: u32,
    /// Types of tasks that it does not concern; several with commas.
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    exempt: Vec<TaskType>,
    /// Of a key: a task that waits for its next attempt keeps its place, so that its successors wait for it.
    #[arg(long)]
    hold_retries: bool,
    #[command(flatten)]
    said: Said,
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
pub(crate) struct One {
    /// What it holds for.
    on: LimitOn,
}

#[derive(Args)]
pub(crate) struct Change {
    /// What it holds for.
    on: LimitOn,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
pub(crate) struct Owner {
    /// The project.
    project: ProjectId,
    /// Its owner; nobody's if left out.
    owner: Option<Label>,
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

fn parse_rate(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str, most: u32| text.parse().ok().filter(|n| (1..=most).contains(n));
    let parts = text.split_once('/');
    parts
        .and_then(|(starts, seconds)| Some((number(starts, Rate::MOST)?, number(seconds, Rate::LONGEST)?)))
        .ok_or_else(|| {
            format!(
                "expected STARTS/SECONDS of 1 to {} and 1 to {}, such as 60/60, got {text:?}",
                Rate::MOST,
                Rate::LONGEST
            )
        })
}

impl Limits {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::Set(set) => set.run(context, &client).await,
            Self::List(list) => {
                let mut rows = rows();
                rows.choose(&list.columns).map_err(Failure::usage)?;
                let limits = all(&client).await?;
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "items": limits }));
                }
                let times = list.shown.begin(context);
                fill(context, rows, &limits, &times)
            }
            Self::Show(One { on }) => {
                let limits = all(&client).await?;
                let Some(limit) = limits.into_iter().find(|limit| limit.on == on) else {
                    return Err(Failure::failed(format!(
                        "there is no limit {on}; `baton limit list` shows all"
                    )));
                };
                if context.out.is_json() {
                    return context.out.json(&limit);
                }
                fill(context, rows(), &[limit], &Times::new(context.now(), false))
            }
            Self::Clear(Change { on, said }) => {
                let clear = ClearLimit { on: on.clone(), by: said.by, reason: said.reason };
                let change = client.clear_limit(&clear).await?;
                if context.out.is_json() {
                    return context.out.json(&change);
                }
                let what = if change.from.is_some() { "is gone" } else { "was not set" };
                context.out.note(&format!("limit {on} {what}"));
                Ok(())
            }
            Self::Owner(Owner { project, owner, said }) => {
                let set = SetOwner { owner, by: said.by, reason: said.reason };
                let project = client.set_owner(&project, &set).await?;
                if context.out.is_json() {
                    return context.out.json(&project);
                }
                let whose = project.owner.map_or("nobody's".to_owned(), |owner| format!("of {owner}"));
                context.out.note(&format!("project {} is {whose}", project.name));
                Ok(())
            }
            Self::Owners(list) => owners(context, &client, list).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let rate = self.rate.map(|(starts, seconds)| RateView { starts, seconds, burst: self.burst });
        let set = SetLimit {
            on: self.on,
            max_running: self.running,
            rate,
            exempt_types: self.exempt,
            holds_retries: self.hold_retries,
            by: self.said.by,
            reason: self.said.reason,
        };
        let flags = [
            ("on", "what it holds for"),
            ("max_running", "--running"),
            ("rate", "--rate"),
            ("rate.burst", "--burst"),
            ("exempt_types", "--exempt"),
            ("holds_retries", "--hold-retries"),
        ];
        let change = client.set_limit(&set).await.map_err(|error| Failure::from(error).by_flags(&flags))?;
        if context.out.is_json() {
            return context.out.json(&change);
        }
        let before = change.from.map_or("none".to_owned(), |from| says(&from));
        context.out.note(&format!("limit {} is set; before: {before}", set.on));
        match change.to {
            Some(limit) => fill(context, rows(), &[limit], &Times::new(context.now(), false)),
            None => Ok(()),
        }
    }
}

async fn all(client: &Client) -> Result<Vec<LimitView>, Failure> {
    let asked = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.limits(cursor.as_deref(), Some(most)).await
    });
    Ok(asked.await?.0)
}

async fn owners(context: &Context, client: &Client, list: List) -> Result<(), Failure> {
    let mut rows =
        Rows::of(&[Column::new("PROJECT").cut(), Column::new("OWNER").cut(), Column::new("CHANGED")]);
    rows.choose(&list.columns).map_err(Failure::usage)?;
    let (projects, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.projects(cursor.as_deref(), Some(most)).await
    })
    .await?;
    if context.out.is_json() {
        return context.out.json(&serde_json::json!({ "items": projects }));
    }
    let times = list.shown.begin(context);
    for project in projects {
        rows.add(vec![
            project.name.to_string(),
            project.owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string()),
            project.changed_at.map_or_else(|| "-".to_owned(), |at| times.ago(at)),
        ]);
    }
    context.out.table(rows, "no project has an owner")
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("LIMIT").cut(),
        Column::new("SAYS").cut(),
        Column::new("RUNNING"),
        Column::new("HELD").spare(),
        Column::new("CHANGED").cut().spare(),
    ])
}

/// What a limit says, in words.
fn says(limit: &LimitView) -> String {
    let mut words = Vec::new();
    words.extend(limit.max_running.map(|most| format!("{most} run")));
    words.extend(limit.rate.map(|rate| {
        let burst = if rate.burst == 1 { String::new() } else { format!(", {} at once", rate.burst) };
        format!("{} start in {} s{burst}", rate.starts, rate.seconds)
    }));
    if !limit.exempt_types.is_empty() {
        let types: Vec<&str> = limit.exempt_types.iter().map(|one| one.as_str()).collect();
        words.push(format!("not {}", types.join(", ")));
    }
    if limit.holds_retries {
        words.push("retries hold".to_owned());
    }
    words.join("; ")
}

fn fill(context: &Context, mut rows: Rows, limits: &[LimitView], times: &Times) -> Result<(), Failure> {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for limit in limits {
        let by = limit.changed_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = limit.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        rows.add(vec![
            limit.on.to_string(),
            says(limit),
            number(limit.running),
            number(limit.held),
            format!("{}{by}{why}", times.ago(limit.changed_at)),
        ]);
    }
    context.out.table(rows, "no limit: all that waits may run; set one with `baton limit set`")
}
