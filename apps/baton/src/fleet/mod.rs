//! `baton fleet`: workers that are supervised, by this program or by a server.

mod emergency;
mod run;
mod supervise;

use baton_api::manage::ActionRequest;
use baton_api::supervised::{GroupView, RestartRequest, ScaleRequest, SupervisedView};
use baton_client::ClientError;
use baton_model::{GroupName, Label, limits};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::names;
use crate::out::{Column, Rows};
use crate::when::{Paged, Times};

pub(crate) use supervise::{Reload, Workers, folder_beside, start};

#[derive(Subcommand)]
pub(crate) enum Fleet {
    /// Start the settings' groups of workers on this machine, watch them, start them again.
    Run(run::Run),
    /// The groups that the server supervises, or one group's workers.
    List(List),
    /// Start all workers of a group that do not run, those that have failed included.
    Start(Change),
    /// Have all workers of a group, or all there are, finish what they run, and end.
    Stop(emergency::Stop),
    /// Take back a stop of all workers, as far as it has not happened yet.
    Resume(emergency::Resume),
    /// Start all workers of a group anew: each finishes what it runs first.
    Restart(Restart),
    /// Set how many workers a group has, until the server's next start.
    Scale(Scale),
}

#[derive(Args)]
pub(crate) struct List {
    /// The group whose workers are shown.
    group: Option<GroupName>,
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct Change {
    /// The group.
    group: GroupName,
    #[command(flatten)]
    note: Note,
}

/// Who asks, and why.
#[derive(Args)]
struct Note {
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct Restart {
    /// The group.
    group: GroupName,
    /// One after the other, each once all others work; all at once if left out.
    #[arg(long)]
    rolling: bool,
    #[command(flatten)]
    note: Note,
}

#[derive(Args)]
pub(crate) struct Scale {
    /// The group.
    group: GroupName,
    /// How many workers it is to have.
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::GROUP_WORKERS)))]
    count: u32,
    #[command(flatten)]
    note: Note,
}

impl Fleet {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Start(Change { group, note }) => {
                let client = context.client()?;
                let asked = client.start_group(&group, &note.action()).await;
                directed(context, &group, asked, "starts").await
            }
            Self::Stop(stop) => stop.run(context).await,
            Self::Resume(resume) => resume.run(context).await,
            Self::Restart(Restart { group, rolling, note }) => {
                let client = context.client()?;
                let request = RestartRequest { by: note.by, reason: note.reason, rolling };
                let asked = client.restart_group(&group, &request).await;
                let how = if rolling { "starts anew, one worker after the other" } else { "starts anew" };
                directed(context, &group, asked, how).await
            }
            Self::Scale(Scale { group, count, note }) => {
                let client = context.client()?;
                let request = ScaleRequest { count, by: note.by, reason: note.reason };
                let asked = client.scale_group(&group, &request).await;
                directed(context, &group, asked, &format!("is to have {count} workers")).await
            }
        }
    }
}

impl Note {
    fn action(self) -> ActionRequest {
        ActionRequest { by: self.by, reason: self.reason }
    }
}

async fn directed(
    context: &Context,
    name: &GroupName,
    asked: Result<GroupView, ClientError>,
    how: &str,
) -> Result<(), Failure> {
    let group = names::of_group(&context.client()?, name, asked).await?;
    if context.out.is_json() {
        return context.out.json(&group);
    }
    context.out.note(&format!("group {name} {how}; `baton fleet list {name}` shows how far it is"));
    Ok(())
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let rows = |columns: &[Column]| {
            let mut rows = Rows::of(columns);
            rows.choose(&self.columns).map_err(Failure::usage)?;
            Ok::<_, Failure>(rows)
        };
        let rows = if self.group.is_some() { rows(&workers_header()) } else { rows(&groups_header()) }?;
        let client = context.client()?;
        let groups = client.groups().await?;
        let Some(name) = &self.group else {
            if context.out.is_json() {
                return context.out.json(&groups);
            }
            self.shown.begin(context);
            return list_groups(context, rows, &groups.items);
        };
        let Some(group) = groups.items.iter().find(|group| group.name == *name) else {
            return Err(names::no_group(name, &groups.items));
        };
        if context.out.is_json() {
            return context.out.json(group);
        }
        let times = self.shown.begin(context);
        list_workers(context, rows, group, &times)
    }
}

fn groups_header() -> [Column; 7] {
    [
        Column::new("GROUP").cut(),
        Column::new("STATUS"),
        Column::new("WORKERS"),
        Column::new("BUSY"),
        Column::new("FAILED"),
        Column::new("RESTARTS"),
        Column::new("COMMAND").cut().spare(),
    ]
}

fn list_groups(context: &Context, mut rows: Rows, groups: &[GroupView]) -> Result<(), Failure> {
    for group in groups {
        rows.add(vec![
            group.name.to_string(),
            group.status.clone(),
            format!("{}/{}", group.active, group.count),
            group.busy.to_string(),
            group.failed.to_string(),
            group.restarts.to_string(),
            group.command.join(" "),
        ]);
    }
    context.out.table(rows, "no group: name some as [[workers]] in the server's settings")
}

fn workers_header() -> [Column; 7] {
    [
        Column::new("WORKER").cut(),
        Column::new("STATE"),
        Column::new("SINCE"),
        Column::new("PID"),
        Column::new("RUNS"),
        Column::new("RESTARTS"),
        Column::new("ABOUT").cut().spare(),
    ]
}

fn list_workers(context: &Context, mut rows: Rows, group: &GroupView, times: &Times) -> Result<(), Failure> {
    for worker in &group.workers {
        rows.add(vec![
            worker.id.to_string(),
            worker.state.clone(),
            times.ago(worker.since),
            worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            worker.running.to_string(),
            worker.restarts.to_string(),
            about(worker, times),
        ]);
    }
    context.out.table(rows, "the group has no worker: `baton fleet scale` gives it some")?;
    for worker in group.workers.iter().filter(|worker| worker.state == "failed") {
        if let Some(output) = &worker.last_output {
            context.out.line(&format!("\nwhat {} said last:", worker.id))?;
            context.out.lines(output.trim_end(), 2)?;
        }
    }
    Ok(())
}

/// What else there is to say of a worker.
fn about(worker: &SupervisedView, times: &Times) -> String {
    let waits =
        worker.waits_for.as_ref().map(|process| format!("process {process} has its name, and is waited for"));
    let next = worker.starts_at.map(|at| format!("starts again {}", times.ago(at)));
    let last = worker.last_exit.as_ref().map(|exit| format!("last: {exit}"));
    [waits, next, last].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
