//! `baton fleet stop --all`: everything stops, step by step, and may be called off until it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use baton_api::fleet::{DirectedView, WorkerView};
use baton_api::manage::ActionRequest;
use baton_api::reap::ReapRequest;
use baton_client::{Client, ClientError};
use baton_model::{Directive, GroupName, WorkerId, with_causes};
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

With --all, Ctrl-C calls it off until it has happened: every worker that has not ended does
as it was asked before, and who had drained already drains on. What was given back by then
stays so. `baton fleet resume --all` has all go on, whoever has asked them to drain or stop.")]
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
    /// All workers that still live, whoever has asked them to drain or stop, and the groups that are still stopping.
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
        let resumed = emergency.resume_all().await?;
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
    asked: BTreeMap<WorkerId, Asked>,
}

/// That a worker was asked to drain or to stop.
struct Asked {
    /// What was asked of it before, by whomever.
    before: Directive,
    /// What the server has kept of it; none as long as it has not said so, and of a server that keeps nothing.
    kept: Option<DirectedView>,
}

impl Asked {
    /// Whether this is what stands with the worker, and nobody else has asked since.
    fn stands(&self, worker: &WorkerView) -> bool {
        self.kept.is_none() || self.kept == worker.directed
    }
}

impl<'a> Emergency<'a> {
    fn new(context: &'a Context, note: Note) -> Result<Self, Failure> {
        let client = context.client()?;
        Ok(Self { context, client, action: note.action(), stopped: BTreeSet::new(), asked: BTreeMap::new() })
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
                "called off: {} workers go on; those that had ended before stay so",
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
            let (workers, groups) = (self.asked.keys().collect::<Vec<_>>(), &self.stopped);
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
    async fn workers(&self) -> Result<Vec<WorkerView>, ClientError> {
        let mut workers = look::workers(&self.client).await?;
        workers.retain(|worker| is_alive(worker) || worker.active > 0);
        Ok(workers)
    }

    async fn direct(&self, worker: &WorkerView, directive: Directive) -> Result<WorkerView, ClientError> {
        self.client.direct(&worker.id, directive, &self.action).await
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
            let alive: Vec<&WorkerView> = workers.iter().filter(|worker| is_alive(worker)).collect();
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
                if !asked {
                    let own = self.asked.get(&worker.id).filter(|own| own.stands(worker));
                    let before = own.map_or(worker.directive, |own| own.before);
                    // Noted before it is asked: it may be called off before the answer is heard.
                    self.asked.insert(worker.id.clone(), Asked { before, kept: None });
                    let told = self.direct(worker, wanted).await?;
                    self.say(&format!("{} {how}; it holds {}", told.id, worker.active));
                    self.asked.insert(told.id, Asked { before, kept: told.directed });
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
            self.say(&match is_alive(worker) {
                true => format!("{} still lives, and holds {}", worker.id, worker.active),
                false => format!(
                    "{} is heard of no more; what it holds ({}) is taken back once its lease is lost",
                    worker.id, worker.active
                ),
            });
        }
        if left.is_empty() {
            self.say("no worker is left, and none holds anything");
        }
        Ok(u32::try_from(left.len()).unwrap_or(u32::MAX))
    }

    /// Has all workers that still live go on, and the groups that are stopping. Says which workers do.
    async fn resume_all(&self) -> Result<Vec<WorkerId>, Failure> {
        self.start_groups().await?;
        let mut resumed = Vec::new();
        for worker in self.workers().await? {
            if is_alive(&worker) && worker.directive != Directive::Run {
                resumed.extend(self.take_back(&worker, Directive::Run).await?);
            }
        }
        Ok(resumed)
    }

    /// Takes back what this command has asked, of workers that still live and of groups: what others have asked stands. Says which workers
    /// go on.
    async fn call_off(&self) -> Result<Vec<WorkerId>, Failure> {
        self.start_groups().await?;
        let mut resumed = Vec::new();
        for worker in self.workers().await? {
            let Some(asked) = self.asked.get(&worker.id).filter(|_| is_alive(&worker)) else { continue };
            if asked.stands(&worker) {
                resumed.extend(self.take_back(&worker, asked.before).await?);
            } else if worker.directive != Directive::Run {
                self.say(&format!("{} is left as it is: somebody else has asked it since", worker.id));
            }
        }
        Ok(resumed)
    }

    async fn start_groups(&self) -> Result<(), Failure> {
        for group in &self.stopped {
            self.client.start_group(group, &self.action).await?;
            self.say(&format!("group {group} goes on"));
        }
        Ok(())
    }

    /// Asks a worker for what was asked of it before. Its name, if it goes on.
    async fn take_back(
        &self,
        worker: &WorkerView,
        before: Directive,
    ) -> Result<Option<WorkerId>, ClientError> {
        let told = self.direct(worker, before).await?;
        // The store has given its end and this an order.
        if let Some(ended) = told.ended_at {
            self.say(&format!("{} had ended before, at {ended}: it is too late for that one", told.id));
            return Ok(None);
        }
        if before != Directive::Run {
            self.say(&format!("{} drains on, as it was asked before", told.id));
            return Ok(None);
        }
        self.say(&format!("{} goes on, by its next heartbeat", told.id));
        Ok(Some(told.id))
    }
}

fn is_alive(worker: &WorkerView) -> bool {
    look::seen(worker).is_alive
}
