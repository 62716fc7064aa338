//! `baton machines`: what is paid for, what of it serves no live worker, and ending it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_api::fleet::WorkerView;
use baton_client::Client;
use baton_machines::{Command, Judged, Known, Provider, Report, RunPod, Totals, Verdict, Worker, report};
use baton_model::{Timestamp, WorkerStatus};
use baton_runtime::settings::{MachineSource, Provider as Asked};
use baton_runtime::{Clock as _, SystemClock};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::{Paged, Times};
use crate::{layers, pages};

/// The variable with the key of an account at RunPod.
const RUNPOD_KEY: &str = "RUNPOD_API_KEY";

#[derive(Subcommand)]
pub(crate) enum Machines {
    /// All machines that are paid for, what each is for, and what they cost.
    List(List),
    /// Machines that no live worker runs on past their start-up time.
    Orphans(List),
    /// End machines for good, with all that lies on them; asks first.
    Terminate(Terminate),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    asked: Sources,
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
struct Sources {
    /// Of this provider only.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// A file of settings, which names the providers.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton machines terminate gpu-7
  baton machines terminate --orphans
  baton machines terminate --orphans --yes

A machine with a live worker is left alone: drain the worker first, or say --force. An
orphan of which it is not known when it was started is ended by its name alone.")]
pub(crate) struct Terminate {
    /// Machines, by id or name.
    #[arg(value_name = "MACHINE", required_unless_present = "orphans")]
    machines: Vec<String>,
    /// All orphans.
    #[arg(long, conflicts_with = "machines")]
    orphans: bool,
    /// Also machines with live workers, whose tasks are taken back and tried again.
    #[arg(long, requires = "machines")]
    force: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    asked: Sources,
}

impl Machines {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => show(context, list, |_| true).await,
            Self::Orphans(list) => show(context, list, Judged::is_orphan).await,
            Self::Terminate(terminate) => terminate.run(context).await,
        }
    }
}

/// A provider with what it told, or why it told nothing.
struct Source {
    settings: MachineSource,
    provider: Box<dyn Provider>,
    told: Result<Report, String>,
}

/// A provider as it is told.
#[derive(Serialize)]
struct SourceView<'a> {
    provider: &'a str,
    #[serde(flatten)]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(crate) fn open(settings: &MachineSource) -> Result<Box<dyn Provider>, Failure> {
    let place = format!("machines.{}", settings.name);
    Ok(match &settings.provider {
        Asked::Command { list, terminate, spawn } => Box::new(Command {
            name: settings.name.to_string(),
            list: list.clone(),
            terminate: terminate.clone(),
            spawn: spawn.clone(),
        }),
        Asked::RunPod { url, key_file, pod_file } => {
            let key = match key_file {
                Some(file) => std::fs::read_to_string(file).map_err(|error| {
                    Failure::usage(format!("{place}.key_file: {} cannot be read: {error}", file.display()))
                })?,
                None => std::env::var(RUNPOD_KEY).map_err(|_| {
                    Failure::usage(format!(
                        "{place}: expected the account's key in key_file or {RUNPOD_KEY}, got none"
                    ))
                })?,
            };
            let opened = RunPod::new(url.as_deref(), &key);
            let opened = opened.map_err(|problem| Failure::usage(format!("{place}: {problem}")))?;
            Box::new(match pod_file {
                None => opened,
                Some(file) => opened.making(pod(file).map_err(|problem| {
                    Failure::usage(format!("{place}.pod_file: {}: {problem}", file.display()))
                })?),
            })
        }
    })
}

/// What new pods are made of, as a file says.
fn pod(file: &Path) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("it cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("expected a JSON object: {error}"))
}

/// The machines of a provider that are meant, as it tells them now.
pub(crate) async fn listed(
    settings: &MachineSource,
    provider: &dyn Provider,
) -> Result<Vec<baton_machines::Machine>, String> {
    let mut machines = provider.list().await.map_err(|error| baton_model::with_causes(&error))?;
    machines.retain(|machine| {
        settings.names.is_empty() || settings.names.iter().any(|name| name.fits(&machine.name))
    });
    Ok(machines)
}

impl Sources {
    /// Asks the providers of the settings, and judges what they tell by the workers that the server knows.
    async fn ask(&self, client: &Client) -> Result<Vec<Source>, Failure> {
        let settings = layers::load(self.config.clone(), [])?.machines;
        let names: Vec<&str> = settings.iter().map(|source| source.name.as_str()).collect();
        if names.is_empty() {
            return Err(Failure::usage(
                "no provider of machines is set: expected a section [[machines]] in the settings, got none",
            ));
        }
        if let Some(wanted) = self.provider.as_deref().filter(|wanted| !names.contains(wanted)) {
            let known = names.join(", ");
            return Err(Failure::usage(format!("--provider: expected one of {known}, got {wanted}")));
        }
        let wanted =
            |source: &MachineSource| self.provider.as_deref().is_none_or(|name| name == source.name.as_str());
        let workers = workers(client).await?;
        let mut sources = Vec::new();
        for settings in settings.into_iter().filter(wanted) {
            let provider = open(&settings)?;
            let told = judged(&settings, &*provider, &workers).await;
            sources.push(Source { settings, provider, told });
        }
        Ok(sources)
    }
}

/// All workers that the server knows, as far as their machines are concerned.
async fn workers(client: &Client) -> Result<Vec<Worker>, Failure> {
    let (workers, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    })
    .await?;
    Ok(workers.into_iter().map(placed).collect())
}

fn placed(worker: WorkerView) -> Worker {
    let alive =
        matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping);
    // One that has only claimed is heard of by its claims, and holds what it has claimed.
    let alive = alive || worker.status == WorkerStatus::Silent && worker.active > 0;
    Worker {
        id: worker.id.to_string(),
        machine: worker.labels.get(baton_model::Worker::MACHINE).cloned(),
        alive,
        heard_at: worker.last_beat_at.max(worker.ended_at).or(Some(worker.started_at)),
        holds: worker.active,
    }
}

async fn judged(
    settings: &MachineSource,
    provider: &dyn Provider,
    workers: &[Worker],
) -> Result<Report, String> {
    let machines = listed(settings, provider).await?;
    let known = Known { machines: &machines, workers, now: SystemClock.now(), start_up: settings.start_up };
    Ok(report(&known))
}

async fn show(context: &Context, list: List, is_shown: impl Fn(&Judged) -> bool) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("PROVIDER"),
        Column::new("MACHINE").cut(),
        Column::new("NAME").cut(),
        Column::new("STATE"),
        Column::new("USED BY").cut().spare(),
        Column::new("STARTED"),
        Column::new("AN HOUR"),
        Column::new("SO FAR"),
    ]);
    rows.choose(&list.columns).map_err(Failure::usage)?;
    let client = context.client()?;
    let mut sources = list.asked.ask(&client).await?;
    for report in sources.iter_mut().filter_map(|source| source.told.as_mut().ok()) {
        report.machines.retain(&is_shown);
    }
    let failed = sources.iter().filter(|source| source.told.is_err()).count();
    if context.out.is_json() {
        let views: Vec<_> = sources
            .iter()
            .map(|source| SourceView {
                provider: source.settings.name.as_str(),
                report: source.told.as_ref().ok(),
                error: source.told.as_ref().err().map(String::as_str),
            })
            .collect();
        context.out.json(&serde_json::json!({ "providers": views }))?;
    } else {
        let times = list.shown.begin(context);
        for (source, report) in told(&sources) {
            report.machines.iter().for_each(|one| rows.add(row(&times, source, one)));
        }
        context.out.table(rows, "no such machine")?;
        for (source, report) in told(&sources) {
            tell_costs(context, source, report)?;
        }
        for source in &sources {
            if let Err(error) = &source.told {
                context.out.error(&format!("{}: {error}", source.settings.name));
            }
        }
    }
    match failed {
        0 => Ok(()),
        some => Err(Failure::failed(format!("{some} of {} providers could not be asked", sources.len()))),
    }
}

fn told(sources: &[Source]) -> impl Iterator<Item = (&Source, &Report)> {
    sources.iter().filter_map(|source| Some((source, source.told.as_ref().ok()?)))
}

fn row(times: &Times, source: &Source, one: &Judged) -> Vec<String> {
    vec![
        source.settings.name.to_string(),
        one.machine.id.clone(),
        one.machine.name.clone(),
        one.machine.state.as_str().to_owned(),
        what_for(times, &one.verdict),
        one.machine.started_at.map_or_else(|| "unknown".to_owned(), |at| times.ago(at)),
        one.machine.price_per_hour.to_string(),
        one.cost_so_far.map_or_else(|| "unknown".to_owned(), |cost| cost.to_string()),
    ]
}

/// What a machine is for, in words.
fn what_for(times: &Times, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Used { workers, holds } => format!("{} ({holds} tasks)", workers.join(", ")),
        Verdict::StartingUp { .. } => "nobody yet: it may be starting up".to_owned(),
        Verdict::Orphan { since: None, .. } => "nobody, since nobody knows when".to_owned(),
        Verdict::Orphan { since: Some(at), last: None } => format!("nobody, due {}", times.ago(*at)),
        Verdict::Orphan { since: Some(at), last: Some(last) } => {
            format!("nobody, due {}; last {}", times.ago(*at), last.id)
        }
        Verdict::Stopped => String::new(),
    }
}

fn tell_costs(context: &Context, source: &Source, report: &Report) -> Result<(), Failure> {
    let costs = |what: &str, totals: &Totals| {
        format!(
            "{}: {} {what} cost {} an hour, {} a day, {} a month of 30 days; {} so far",
            source.settings.name,
            totals.machines,
            totals.per_hour,
            totals.per_day,
            totals.per_month,
            totals.so_far
        )
    };
    context.out.line(&costs("machines", &report.paid))?;
    if report.orphans.machines > 0 {
        context.out.line(&costs("of them without a worker", &report.orphans))?;
    }
    if !report.elsewhere.is_empty() && report.elsewhere.len() <= 10 {
        let workers = report.elsewhere.join(", ");
        context
            .out
            .note(&format!("workers on machines that {} does not tell of: {workers}", source.settings.name));
    }
    Ok(())
}

/// A machine that is to be ended.
struct Doomed {
    source: usize,
    id: String,
    name: String,
}

impl Terminate {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let sources = self.asked.ask(&client).await?;
        if let Some((source, error)) =
            sources.iter().find_map(|source| Some((source, source.told.as_ref().err()?)))
        {
            return Err(Failure::failed(format!("{}: {error}; nothing was done", source.settings.name)));
        }
        let doomed = self.doomed(&sources)?;
        if doomed.is_empty() {
            context.out.note("no machine is without a worker: nothing was done");
            return Ok(());
        }
        if !self.yes {
            let names: Vec<String> = doomed.iter().map(|one| format!("{} ({})", one.id, one.name)).collect();
            let question = format!(
                "end {} machine(s) for good, with all that lies on them: {}?",
                doomed.len(),
                names.join(", ")
            );
            confirm(&question)?;
        }
        let mut ended = Vec::new();
        let mut failed = 0;
        for one in &doomed {
            let source = &sources[one.source];
            // A worker may have come while it was asked.
            if !self.force && self.is_used(&client, source, &one.id).await? {
                context.out.error(&format!("{}: a worker runs on it now; it is left alone", one.id));
                failed += 1;
                continue;
            }
            match source.provider.terminate(&one.id).await {
                Ok(()) => {
                    context.out.note(&format!("{}: {} is ended", source.settings.name, one.id));
                    ended.push(one.id.as_str());
                }
                Err(error) => {
                    context.out.error(&format!("{}: {}", one.id, baton_model::with_causes(&error)));
                    failed += 1;
                }
            }
        }
        if context.out.is_json() {
            context.out.json(&serde_json::json!({ "ended": ended, "failed": failed }))?;
        }
        match failed {
            0 => Ok(()),
            some => Err(Failure::failed(format!("{some} of {} machines were not ended", doomed.len()))),
        }
    }

    /// Which machines are to be ended.
    fn doomed(&self, sources: &[Source]) -> Result<Vec<Doomed>, Failure> {
        let all: Vec<(usize, &Judged)> = sources
            .iter()
            .enumerate()
            .flat_map(|(place, source)| {
                source.told.iter().flat_map(move |told| told.machines.iter().map(move |one| (place, one)))
            })
            .collect();
        let doom = |(source, one): &(usize, &Judged)| Doomed {
            source: *source,
            id: one.machine.id.clone(),
            name: one.machine.name.clone(),
        };
        if self.orphans {
            let is_known = |one: &Judged| matches!(one.verdict, Verdict::Orphan { since: Some(_), .. });
            return Ok(all.iter().filter(|(_, one)| is_known(one)).map(doom).collect());
        }
        let mut doomed: Vec<Doomed> = Vec::new();
        for wanted in &self.machines {
            let of_id: Vec<_> = all.iter().filter(|(_, one)| one.machine.id == *wanted).collect();
            let found = match of_id.is_empty() {
                true => all.iter().filter(|(_, one)| one.machine.name == *wanted).collect(),
                false => of_id,
            };
            let [one] = found[..] else {
                return Err(match found.len() {
                    0 => Failure::NotFound(format!(
                        "no provider tells of a machine {wanted}; nothing was done"
                    )),
                    some => Failure::usage(format!(
                        "{some} machines are called {wanted}: expected an id, or --provider besides; nothing was done"
                    )),
                });
            };
            if let Verdict::Used { workers, holds } = &one.1.verdict
                && !self.force
            {
                let workers = workers.join(", ");
                return Err(Failure::Conflict(format!(
                    "{wanted} is used by {workers}, which hold {holds} task(s): drain them first (`baton worker drain ID`), \
                     or say --force; nothing was done"
                )));
            }
            let one = doom(one);
            if !doomed.iter().any(|other| other.source == one.source && other.id == one.id) {
                doomed.push(one);
            }
        }
        Ok(doomed)
    }

    /// Whether a live worker runs on a machine now.
    async fn is_used(&self, client: &Client, source: &Source, id: &str) -> Result<bool, Failure> {
        let Ok(before) = &source.told else { return Ok(true) };
        let machines: Vec<_> = before.machines.iter().map(|one| one.machine.clone()).collect();
        let workers = workers(client).await?;
        let now: Timestamp = SystemClock.now();
        let told = report(&Known { machines: &machines, workers: &workers, now, start_up: Duration::ZERO });
        let of_it = told.machines.iter().find(|one| one.machine.id == id);
        Ok(of_it.is_none_or(|one| matches!(one.verdict, Verdict::Used { .. })))
    }
}
