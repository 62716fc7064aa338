//! `baton scale run`.

use std::path::PathBuf;
use std::time::Duration;

use baton_api::manage::ActionRequest;
use baton_client::Client;
use baton_machines::Provider;
use baton_model::{Directive, Level, WorkerId, with_causes};
use baton_runtime::settings::MachineSource;
use baton_runtime::{Clock as _, Ids as _, RandomIds, Settings, SystemClock, telemetry};
use baton_scaling::{Action, Decision, Pool, Seen, Turn};
use clap::Args;

use super::leader::Leader;
use super::look::Known;
use crate::context::Context;
use crate::exit::Failure;
use crate::layers::load;
use crate::machines::{listed, open};
use crate::signals::Signals;
use crate::text::parse_span;

/// The most characters of a reason that the server takes.
const REASON: usize = 1_000;

#[derive(Args)]
#[command(after_help = "Examples:
  baton scale run --dry-run --once
  baton scale run --config scaling.toml

A pool in the file of settings, and the provider of its machines:
  [[scaling]]
  name = \"gpu\"
  queues = [\"images\"]
  provider = \"pods\"
  most = 5
  [[machines]]
  name = \"pods\"
  provider = \"runpod\"
  names = [\"gpu-*\"]
  pod_file = \"pod.json\"
New machines are called POOL-123456. docs/scaling.md has all that a pool may say.

Several may run at once: one leads, the others wait for it to end or to be lost.")]
pub(crate) struct Run {
    /// A file of settings; else that of BATON_CONFIG, or baton.toml in the working directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// One turn, then end.
    #[arg(long)]
    once: bool,
    /// How often it looks.
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = parse_span)]
    every: Duration,
}

/// A pool with the provider of its machines.
struct Scaled {
    pool: Pool,
    source: MachineSource,
    provider: Box<dyn Provider>,
    /// What was held back when it was said last.
    held_back: Option<String>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = load(self.config.clone(), [])?;
        let pools = pools(&settings)?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        let mut signals = Signals::listen()?;
        let client = context.client()?;
        let misnamed = |problem| Failure::usage(format!("the host's name makes no worker's name: {problem}"));
        let leader = Leader::new(client.clone(), self.dry_run).map_err(misnamed)?;
        let mut scaler = Scaler { context, client, leader, pools, dry_run: self.dry_run, failed: 0 };
        let ended = loop {
            let turn = tokio::select! {
                turn = scaler.turn() => turn,
                _ = signals.next() => break Ok(()),
            };
            match turn {
                Ok(()) if self.once => break Ok(()),
                Ok(()) => {}
                Err(Failure::Request(error)) if !self.once && error.is_passing() => {
                    tracing::warn!(%error, "the server cannot be asked; trying again");
                }
                Err(failure) => break Err(failure),
            }
            if scaler.leader.directed {
                tracing::info!("an operator has asked this scaler to end");
                break Ok(());
            }
            tokio::select! {
                () = scaler.leader.pause(self.every) => {}
                _ = signals.next() => break Ok(()),
            }
        };
        let Scaler { leader, failed, .. } = scaler;
        if !self.dry_run {
            leader.end().await;
        }
        drop(logs);
        match (ended, failed) {
            (Ok(()), some) if some > 0 && self.once => {
                Err(Failure::failed(format!("{some} of what was decided could not be done")))
            }
            (ended, _) => ended,
        }
    }
}

fn pools(settings: &Settings) -> Result<Vec<Scaled>, Failure> {
    if settings.scaling.is_empty() {
        return Err(Failure::usage(
            "no pool is set: expected a section [[scaling]] in the settings, got none",
        ));
    }
    let mut pools = Vec::new();
    for policy in &settings.scaling {
        let place = format!("scaling.{}.provider", policy.name);
        let known: Vec<&str> = settings.machines.iter().map(|source| source.name.as_str()).collect();
        let found = settings.machines.iter().find(|source| Some(&source.name) == policy.provider.as_ref());
        let Some(source) = found else {
            let got = policy.provider.as_ref().map_or("none", baton_model::GroupName::as_str);
            return Err(Failure::usage(format!(
                "{place}: expected a section [[machines]] of the settings ({}), got {got}",
                known.join(", ")
            )));
        };
        // Machines that are not meant would be started again and again.
        let name = format!("{}-123456", policy.name);
        if !source.names.is_empty() && !source.names.iter().any(|pattern| pattern.fits(&name)) {
            return Err(Failure::usage(format!(
                "machines.{}.names: expected {:?} among them, as the pool's machines are called so, got others",
                source.name,
                format!("{}-*", policy.name)
            )));
        }
        let provider = open(source)?;
        let pool = Pool::new(policy.clone());
        pools.push(Scaled { pool, source: source.clone(), provider, held_back: None });
    }
    Ok(pools)
}

struct Scaler<'a> {
    context: &'a Context,
    client: Client,
    leader: Leader,
    pools: Vec<Scaled>,
    dry_run: bool,
    failed: u64,
}

impl Scaler<'_> {
    /// Looks at all pools, and does what is decided, if it leads.
    async fn turn(&mut self) -> Result<(), Failure> {
        if !self.dry_run && !self.leader.lead().await? {
            tracing::debug!("another scaler leads");
            // What is remembered is of a time before that one.
            for scaled in &mut self.pools {
                scaled.pool = Pool::new(scaled.pool.policy().clone());
            }
            return Ok(());
        }
        let known = Known::read(&self.client).await?;
        for at in 0..self.pools.len() {
            let counts = known.counts(&self.client, self.pools[at].pool.policy()).await?;
            let Scaled { source, provider, .. } = &self.pools[at];
            let machines = match self.leader.during(listed(source, &**provider)).await {
                Ok(machines) => known.machines(machines),
                Err(error) => {
                    let provider = source.name.as_str();
                    tracing::error!(provider, error, "the provider cannot be asked; nothing is decided");
                    self.failed += 1;
                    continue;
                }
            };
            let seen = Seen { now: SystemClock.now(), counts, machines: &machines };
            let pool = &mut self.pools[at].pool;
            if self.dry_run {
                // Nothing is done, and so nothing remembered but how long machines have run nothing.
                let turn = pool.clone().turn(&seen);
                pool.watch(&seen);
                self.tell(at, &turn)?;
                continue;
            }
            let turn = pool.turn(&seen);
            self.tell(at, &turn)?;
            for decision in turn.decisions {
                if !self.leader.surely().await {
                    tracing::warn!("this scaler may lead no more; the rest is left to the one that does");
                    return Ok(());
                }
                self.act(at, decision).await;
            }
        }
        Ok(())
    }

    /// Says what a turn has come to: on stdout what would be done, or in the log what is.
    fn tell(&mut self, at: usize, turn: &Turn) -> Result<(), Failure> {
        let name = self.pools[at].pool.policy().name.to_string();
        let held_back = turn.held_back.map(|why| why.to_string());
        if self.dry_run {
            let decisions: Vec<_> = (turn.decisions.iter())
                .map(|one| serde_json::json!({ "do": one.action.to_string(), "because": one.because.to_string() }))
                .collect();
            if self.context.out.is_json() {
                return self.context.out.json_line(&serde_json::json!({
                    "pool": name,
                    "wanted": turn.wanted.machines,
                    "have": turn.have,
                    "starting": turn.starting,
                    "paid": turn.paid,
                    "cost_per_hour": turn.cost,
                    "why": turn.wanted.why.as_str(),
                    "bound": turn.wanted.bound.map(baton_scaling::Bound::as_str),
                    "decisions": decisions,
                    "held_back": held_back,
                }));
            }
            let why = turn.wanted.why.as_str().replace('_', " ");
            let (wanted, have, cost) = (turn.wanted.machines, turn.have, turn.cost);
            let paid = turn.paid;
            let line =
                format!("{name}: {wanted} wanted, {have} there, {paid} paid for ({cost} an hour): {why}");
            self.context.out.line(&line)?;
            for one in &turn.decisions {
                self.context.out.line(&format!("{name}: would {}: {}", one.action, one.because))?;
            }
            return match held_back {
                Some(why) => self.context.out.line(&format!("{name}: would start no more: {why}")),
                None => Ok(()),
            };
        }
        // Each turn would say the same again.
        if let Some(why) = held_back.as_ref().filter(|_| self.pools[at].held_back != held_back) {
            tracing::warn!(pool = name, "no more machines are started: {why}");
            self.leader.note(Level::Warn, format!("{name}: no more machines are started: {why}"));
        }
        self.pools[at].held_back = held_back;
        Ok(())
    }

    /// Does what is decided, and says so with its reason.
    async fn act(&mut self, at: usize, Decision { action, because }: Decision) {
        let name = self.pools[at].pool.policy().name.to_string();
        let what = format!("{name}: {action}: {because}");
        tracing::info!(pool = name, action = %action, because = %because, "decided");
        self.leader.note(Level::Info, what.clone());
        let done = match action {
            Action::Spawn { machines } => self.spawn(at, machines).await,
            Action::Drain { workers, .. } => self.drain(&workers, &what).await,
            Action::Terminate { machine } => self.terminate(at, &machine).await,
        };
        if let Err(error) = done {
            tracing::error!(pool = name, error, "what was decided could not be done");
            self.leader.note(Level::Error, format!("{name}: {error}"));
            self.failed += 1;
        }
    }

    async fn spawn(&mut self, at: usize, machines: u32) -> Result<(), String> {
        for _ in 0..machines {
            let Scaled { pool, provider, .. } = &mut self.pools[at];
            let name = new_name(pool.policy().name.as_str());
            let spawned = self.leader.during(provider.spawn(&name)).await;
            let now = SystemClock.now();
            match spawned {
                Ok(machine) => {
                    tracing::info!(machine = machine.id, name, price = %machine.price_per_hour, "a machine is started");
                    self.leader.note(Level::Info, format!("{name} is started: {}", machine.id));
                    pool.spawned(machine.id, now);
                }
                // The rest would most likely fail, too: the pause comes first.
                Err(error) => {
                    pool.failed(now);
                    return Err(format!("{name} cannot be started: {}", with_causes(&error)));
                }
            }
            if !self.leader.surely().await {
                return Err("this scaler may lead no more; no further machine is started".to_owned());
            }
        }
        Ok(())
    }

    async fn drain(&self, workers: &[String], reason: &str) -> Result<(), String> {
        for worker in workers {
            let id: WorkerId =
                worker.parse().map_err(|problem: baton_model::Expected| problem.to_string())?;
            let action = ActionRequest {
                by: self.leader.id().as_str().parse().ok(),
                reason: Some(reason.chars().take(REASON).collect()),
            };
            let asked = self.client.direct(&id, Directive::Drain, &action).await;
            asked.map_err(|error| format!("{worker} cannot be drained: {error}"))?;
        }
        Ok(())
    }

    /// Ends a machine, unless a worker on it may claim by now, or holds something.
    async fn terminate(&mut self, at: usize, machine: &str) -> Result<(), String> {
        let Scaled { source, provider, .. } = &self.pools[at];
        let told = self.leader.during(listed(source, &**provider)).await?;
        let known = Known::workers(&self.client).await.map_err(|error| error.to_string())?;
        // One that its provider does not tell of is ended all the same: it may only be slow to tell.
        let found = known.machines(told).into_iter().find(|one| one.id == machine);
        let may_claim =
            |worker: &baton_scaling::SeenWorker| worker.is_alive && worker.directive == Directive::Run;
        if let Some(found) = &found
            && (found.holds() > 0 || found.workers.iter().any(may_claim))
        {
            return Err(format!("{machine} is left alone: a worker runs on it now"));
        }
        let ended = self.leader.during(provider.terminate(machine)).await;
        ended.map_err(|error| format!("{machine} cannot be ended: {}", with_causes(&error)))?;
        tracing::info!(machine, "a machine is ended");
        Ok(())
    }
}

/// A name for a machine of a pool that no other one has.
fn new_name(pool: &str) -> String {
    let text = RandomIds.uuid().simple().to_string();
    format!("{pool}-{}", &text[text.len() - 6..])
}
