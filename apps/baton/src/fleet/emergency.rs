//! `baton fleet stop --all`: everything stops, step by step, and may be called off until it has.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use baton_api::manage::ActionRequest;
use baton_api::reap::ReapRequest;
use baton_client::{Client, ClientError};
use baton_model::{Directive, GroupName, WorkerId, with_causes};
use baton_scaling::SeenWorker;
use clap::Args;
use tokio::time::{Instant, sleep};

use super::{Note, directed};
use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Failure;
use crate::layers::load;
use crate::machines::{listed, open};
use crate::scale::look;
use crate::signals::Signals;
use crate::text::parse_span;

/// How often it looks how far things are.
const LOOK: Duration = Duration::from_millis(500);
/// How long workers that were told to stop may take to give back what they run: some heartbeats, and the end of their programs.
const GIVE_BACK: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(after_help = "Examples:
  baton fleet stop resize
  baton fleet stop --all
  baton fleet stop --all --after 10s --machines

With --all, Ctrl-C calls it off until it has happened, as does `baton fleet resume --all`:
workers that have not heard of it yet go on. Others finish what they run, and end.")]
pub(crate) struct Stop {
    /// The group whose workers finish what they run, and end.
    #[arg(required_unless_present = "all")]
    group: Option<GroupName>,
    /// Every worker that the server knows, wherever it runs, and every group that the server supervises.
    #[arg(long, conflicts_with = "group")]
    all: bool,
    /// With --all: how long workers may finish what they run, before they are told to give it back and end.
    #[arg(long, value_name = "SPAN", requires = "all", default_value = "60s", value_parser = parse_span)]
    after: Duration,
    /// With --all: end the machines of the settings' providers, too, once no worker on them holds anything; asks first.
    #[arg(long, requires = "all")]
    machines: bool,
    /// Do not ask.
    #[arg(long, requires = "machines")]
    yes: bool,
    /// A file of settings, which names the providers.
    #[arg(long, value_name = "FILE", requires = "machines")]
    config: Option<PathBuf>,
    #[command(flatten)]
    note: Note,
}

#[derive(Args)]
pub(crate) struct Resume {
    /// All workers that still live, and the groups that are still stopping.
    #[arg(long, required = true)]
    all: bool,
    #[command(flatten)]
    note: Note,
}

impl Stop {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { group, all: _, after, machines, yes, config, note } = self;
        match group {
            Some(group) => {
                let asked = context.client()?.stop_group(&group, &note.action()).await;
                directed(context, &group, asked, "stops, each worker once what it runs is finished").await
            }
            None => Emergency::new(context, note)?.run(after, machines, yes, config).await,
        }
    }
}

impl Resume {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut emergency = Emergency::new(context, self.note)?;
        for group in emergency.groups().await? {
            if group.1 == "stopping" {
                emergency.stopped.insert(group.0);
            }
        }
        let resumed = emergency.call_off().await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "resumed": resumed }));
        }
        if resumed.is_empty() {
            context.out.note("no live worker is draining or stopping: nothing was done");
        }
        Ok(())
    }
}

/// Everything that stops, and what was asked for that.
struct Emergency<'a> {
    context: &'a Context,
    client: Client,
    action: ActionRequest,
    stopped: BTreeSet<GroupName>,
    drained: BTreeSet<WorkerId>,
}

impl<'a> Emergency<'a> {
    fn new(context: &'a Context, note: Note) -> Result<Self, Failure> {
        let client = context.client()?;
        Ok(Self {
            context,
            client,
            action: note.action(),
            stopped: BTreeSet::new(),
            drained: BTreeSet::new(),
        })
    }

    fn say(&self, what: &str) {
        self.context.out.note(what);
    }

    async fn run(
        mut self,
        after: Duration,
        machines: bool,
        yes: bool,
        config: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let sources = if machines { load(config, [])?.machines } else { Vec::new() };
        if machines && sources.is_empty() {
            return Err(Failure::usage(
                "--machines: expected a section [[machines]] in the settings, got none",
            ));
        }
        if machines && !yes {
            let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            let server = &self.context.server;
            confirm(&format!(
                "stop every worker of {server}, and then end all machines of {} for good, with all that lies on them?",
                names.join(", ")
            ))?;
        }
        // Opened before anything stops: a key that is missing is better told now.
        let providers = sources.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut signals = Signals::listen()?;
        let ended = tokio::select! {
            ended = self.stop(after) => Some(ended),
            _ = signals.next() => None,
        };
        let Some(ended) = ended else {
            let resumed = self.call_off().await?;
            return Err(Failure::failed(format!(
                "called off: {} workers may go on; those that had heard of it finish what they run, and end",
                resumed.len()
            )));
        };
        let left = ended?;
        let mut failed = left;
        for (source, provider) in sources.iter().zip(&providers) {
            let machines = listed(source, &**provider).await.map_err(Failure::failed)?;
            let known = look::Known::workers(&self.client).await?;
            for machine in known.machines(machines) {
                if machine.holds() > 0 || machine.workers.iter().any(|worker| worker.is_alive) {
                    self.say(&format!("{}: {} is left alone: a worker runs on it", source.name, machine.id));
                    failed += 1;
                    continue;
                }
                match provider.terminate(&machine.id).await {
                    Ok(()) => self.say(&format!("{}: {} is ended", source.name, machine.id)),
                    Err(error) => {
                        let error = with_causes(&error);
                        self.context.out.error(&format!("{}: {}: {error}", source.name, machine.id));
                        failed += 1;
                    }
                }
            }
        }
        if self.context.out.is_json() {
            let (workers, groups) = (&self.drained, &self.stopped);
            let told = serde_json::json!({ "workers": workers, "groups": groups, "left": left });
            self.context.out.json(&told)?;
        }
        match failed {
            0 => Ok(()),
            some => Err(Failure::failed(format!("{some} workers or machines are left"))),
        }
    }

    /// The groups that the server supervises, with what they do; none if it supervises none.
    async fn groups(&self) -> Result<Vec<(GroupName, String)>, ClientError> {
        match self.client.groups().await {
            Ok(groups) => Ok(groups.items.into_iter().map(|group| (group.name, group.status)).collect()),
            Err(error) if error.is_unknown_route() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The workers that live or hold something.
    async fn workers(&self) -> Result<Vec<SeenWorker>, ClientError> {
        let workers = look::workers(&self.client).await?;
        Ok(workers.iter().map(look::seen).filter(|worker| worker.is_alive || worker.holds > 0).collect())
    }

    async fn direct(
        &self,
        worker: &SeenWorker,
        directive: Directive,
    ) -> Result<Option<WorkerId>, ClientError> {
        let Ok(id) = worker.id.parse::<WorkerId>() else { return Ok(None) };
        self.client.direct(&id, directive, &self.action).await?;
        Ok(Some(id))
    }

    /// Drains all, then stops what is left, then has taken back what they held. Says how many workers are left.
    async fn stop(&mut self, after: Duration) -> Result<u32, Failure> {
        // A supervisor would start its workers again.
        for (group, status) in self.groups().await? {
            if status != "stopped" && status != "stopping" {
                self.client.stop_group(&group, &self.action).await?;
                self.say(&format!("group {group} stops"));
                self.stopped.insert(group);
            }
        }
        let begun = Instant::now();
        let mut stopping = false;
        loop {
            let workers = self.workers().await?;
            let alive: Vec<&SeenWorker> = workers.iter().filter(|worker| worker.is_alive).collect();
            if alive.is_empty() || begun.elapsed() >= after + GIVE_BACK {
                break;
            }
            if !stopping && begun.elapsed() >= after {
                stopping = true;
                let many = alive.len();
                self.say(&format!("{many} workers have not finished: they give back what they run, and end"));
            }
            // Each look finds those, too, that have come since.
            for worker in alive {
                let (wanted, how) = match stopping {
                    true => (Directive::Stop, "stops"),
                    false => (Directive::Drain, "drains"),
                };
                let asked = worker.directive == wanted || worker.directive == Directive::Stop;
                if !asked && let Some(id) = self.direct(worker, wanted).await? {
                    self.say(&format!("{id} {how}; it holds {}", worker.holds));
                    self.drained.insert(id);
                }
            }
            sleep(LOOK).await;
        }
        let taken = self.client.reap(&ReapRequest::default()).await?.taken.len();
        if taken > 0 {
            self.say(&format!("{taken} tasks are taken back"));
        }
        let left = self.workers().await?;
        for worker in &left {
            self.say(&match worker.is_alive {
                true => format!("{} still lives, and holds {}", worker.id, worker.holds),
                false => format!(
                    "{} is heard of no more; what it holds ({}) is taken back once its lease is lost",
                    worker.id, worker.holds
                ),
            });
        }
        if left.is_empty() {
            self.say("no worker is left, and none holds anything");
        }
        Ok(u32::try_from(left.len()).unwrap_or(u32::MAX))
    }

    /// Takes back what was asked of workers that still live, and of groups.
    async fn call_off(&self) -> Result<Vec<WorkerId>, Failure> {
        for group in &self.stopped {
            self.client.start_group(group, &self.action).await?;
            self.say(&format!("group {group} goes on"));
        }
        let mut resumed = Vec::new();
        for worker in self.workers().await? {
            if worker.is_alive
                && worker.directive != Directive::Run
                && let Some(id) = self.direct(&worker, Directive::Run).await?
            {
                self.say(&format!("{id} may go on, if it has not heard of it yet"));
                resumed.push(id);
            }
        }
        Ok(resumed)
    }
}
