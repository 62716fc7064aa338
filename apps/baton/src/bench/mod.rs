//! `baton bench`: how many requests and task lifecycles a server does in a second, and how long each takes.
//!
//! Virtual clients each keep one connection and send one request at a time, through hyper alone, so that as little as
//! possible of what is measured is the measuring. Every answer is checked.

mod arrivals;
mod batches;
mod bulk;
mod client;
mod idle;
mod mixed;
mod phases;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_api::limit::{ClearLimit, SetLimit};
use baton_api::token::CreateToken;
use baton_model::{Expected, LimitOn, LimitRules, Scope, TokenSecret};
use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::exit::Failure;
use crate::process::ServerProcess;
use crate::text;

use report::{PhaseReport, Report};

/// How long a server with a backlog works before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "Examples:
  baton bench                                   on its own server
  baton bench --fused --duration 20s
  baton bench --only backlog --backlog 1000,1000000
  baton bench --server http://127.0.0.1:7410    on one that runs

Phases:
  ceiling    GET /livez: what HTTP alone allows
  create     POST /v1/tasks
  claim      claim and complete, of what was created before
  lifecycle  create, claim and complete, by each client in turn
  fused      the same with two requests: complete carries the next claim
  tokens     the lifecycle without a token, with one, and with one that is
             bound to a project, twice in turn
  limits     the lifecycle without a limit, with one of its queue and with one
             of its project, which are never full, twice in turn
  endings    lifecycles one by one, and with complete and claim in one,
             beside such that are created, ended and claimed by the hundred,
             twice in turn
  backlog    claim, complete and create while this many other tasks wait
  bulk       lifecycles before and while a bulk command cancels this many
             other tasks
  drain      claim and complete this many, which were created before, by the
             hundred
  start      tasks arrive at a given rate while workers wait: from the
             create's answer to that of the claim which gets the task
  open       the same, with creates from when each was meant to be sent
  mixed      lifecycles alone, and beside lists, figures, heartbeats of 100
             workers and somebody who listens to all events
  grow       lifecycles and lists while this many finished tasks are kept
  waiting    what the server takes while this many workers wait for work, each
             with a connection of its own
  beating    what it takes while this many workers send a heartbeat each 20 s

The ratio says how near a lifecycle comes to three no-op requests:
lifecycles/s divided by a third of the ceiling. Clients and server share this
machine's cores. The server logs warnings only, unless BATON_LOG_LEVEL says
otherwise.")]
pub(crate) struct Bench {
    /// Virtual clients, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long each phase is measured.
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = text::parse_span)]
    duration: Duration,
    /// Measure this many rounds of each phase instead of a duration.
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    tasks: Option<u64>,
    /// Compare claims while so many tasks wait; several with commas.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    backlog: Vec<u64>,
    /// Compare lifecycles before and while a bulk command cancels so many other tasks.
    #[arg(long, value_name = "N")]
    bulk: Option<u64>,
    /// Measure how fast so many tasks that wait are claimed and completed by the hundred.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    drain: Option<u64>,
    /// How many tasks arrive a second in the phases start and open.
    #[arg(long, value_name = "N", default_value_t = 1_000.0, value_parser = rate)]
    rate: f64,
    /// Compare lifecycles while so many finished tasks are kept; several with commas, rising.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    grow: Vec<u64>,
    /// Measure what the server takes while so many workers wait for work.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    waiting: Option<u32>,
    /// Measure what the server takes while so many workers send heartbeats.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    beating: Option<u32>,
    /// Also measure the lifecycle with complete and claim in one request.
    #[arg(long)]
    fused: bool,
    /// Also measure what tokens cost.
    #[arg(long)]
    tokens: bool,
    /// Also measure what limits cost that are never full.
    #[arg(long)]
    limits: bool,
    /// Also measure lifecycles that end by the hundred.
    #[arg(long)]
    endings: bool,
    /// Name each claim by a request id, as workers do; the server then keeps the names for 15 minutes.
    #[arg(long)]
    named_claims: bool,
    /// Only these phases; several with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASE")]
    only: Vec<Phase>,
    /// Where its own server's database is put for the time being, instead of the temporary folder.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Phase {
    Ceiling,
    Create,
    Claim,
    Lifecycle,
    Fused,
    Tokens,
    Limits,
    Endings,
    Backlog,
    Bulk,
    Drain,
    Start,
    Open,
    Mixed,
    Grow,
    Waiting,
    Beating,
}

/// How many tasks arrive a second.
fn rate(given: &str) -> Result<f64, String> {
    let rate: f64 = given.parse().map_err(|_| format!("expected a number a second, got {given:?}"))?;
    if (0.1..=1_000_000.0).contains(&rate) {
        return Ok(rate);
    }
    Err(format!("expected 0.1 to 1,000,000 a second, got {given}"))
}

/// When a phase is over.
pub(crate) struct Until {
    deadline: Option<Instant>,
    rounds: Option<AtomicU64>,
    told: AtomicBool,
}

impl Until {
    fn after(length: Duration) -> Self {
        Self { deadline: Some(Instant::now() + length), rounds: None, told: AtomicBool::new(false) }
    }

    /// For so many rounds of all clients together.
    pub(crate) fn rounds(rounds: u64) -> Self {
        Self { deadline: None, rounds: Some(AtomicU64::new(rounds)), told: AtomicBool::new(false) }
    }

    /// Until [`Self::end`] is called.
    pub(crate) fn told() -> Self {
        Self { deadline: None, rounds: None, told: AtomicBool::new(false) }
    }

    /// Lets no further round begin.
    pub(crate) fn end(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    /// Whether one more round may begin.
    pub(crate) fn go_on(&self) -> bool {
        let in_time = self.deadline.is_none_or(|deadline| Instant::now() < deadline);
        let left = |rounds: &AtomicU64| {
            rounds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        in_time && !self.told.load(Ordering::Relaxed) && self.rounds.as_ref().is_none_or(left)
    }
}

impl Bench {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            context.out.note(
                "warning: this is a debug build, several times slower; use `cargo run --release -- bench`",
            );
        }
        let folder = Folder::new(self.dir.as_deref())?;
        let mut report = Report::new(self.connections);
        let plain = [Phase::Ceiling, Phase::Create, Phase::Claim, Phase::Lifecycle, Phase::Fused];
        if plain.into_iter().any(|phase| self.wants(phase)) {
            let target = Target::new(context, &folder, "bench").await?;
            self.plain(context, &target, &mut report).await?;
            target.end().await?;
        }
        if self.wants(Phase::Tokens) {
            if context.server_named {
                return Err(Failure::usage(
                    "what tokens cost is measured on the bench's own server; leave --server out",
                ));
            }
            let target = Target::new(context, &folder, "tokens").await?;
            self.tokens(context, &target, &mut report).await?;
            target.end().await?;
        }
        if self.wants(Phase::Limits) {
            let target = Target::new(context, &folder, "limits").await?;
            self.limits(context, &target, &mut report).await?;
            target.end().await?;
        }
        if self.wants(Phase::Endings) {
            let target = Target::new(context, &folder, "endings").await?;
            self.endings(context, &target, &mut report).await?;
            target.end().await?;
        }
        for &backlog in self.backlog.iter().filter(|_| self.wants(Phase::Backlog)) {
            let target = Target::new(context, &folder, &format!("backlog-{backlog}")).await?;
            let phase = self.with_backlog(context, &target, backlog).await?;
            report.add(phase);
            target.end().await?;
        }
        if let Some(tasks) = self.bulk.filter(|_| self.wants(Phase::Bulk)) {
            let target = Target::new(context, &folder, "bulk").await?;
            self.beside_bulk(context, &target, tasks, &mut report).await?;
            target.end().await?;
        }
        for phase in [Phase::Start, Phase::Open].into_iter().filter(|phase| self.only.contains(phase)) {
            let name = if phase == Phase::Start { "start" } else { "open" };
            let target = Target::new(context, &folder, name).await?;
            context.out.note(&format!("{name}: {} tasks a second arrive", self.rate));
            let setup = self.setup(&target, format!("{}-{name}", target.run));
            let phase = arrivals::arrivals(&setup, name, self.rate, self.duration).await?;
            report.add(phase.with(target.memory()));
            target.end().await?;
        }
        if self.only.contains(&Phase::Mixed) {
            let target = Target::new(context, &folder, "mixed").await?;
            self.mixed(context, &target, &mut report).await?;
            target.end().await?;
        }
        if let Some(tasks) = self.drain.filter(|_| self.wants(Phase::Drain)) {
            let target = Target::new(context, &folder, "drain").await?;
            let setup = self.setup(&target, format!("{}-drain", target.run));
            context.out.note(&format!("drain: creating {tasks} tasks (not measured)"));
            phases::preload(&setup, tasks).await?;
            context.out.note("drain");
            report.add(batches::drain(&setup, tasks).await?.with(target.memory()));
            target.end().await?;
        }
        if !self.grow.is_empty() && self.wants(Phase::Grow) {
            let target = Target::new(context, &folder, "grow").await?;
            self.growing(context, &target, &mut report).await?;
            target.end().await?;
        }
        if let Some(workers) = self.waiting.filter(|_| self.wants(Phase::Waiting)) {
            let target = Target::new(context, &folder, "waiting").await?;
            let setup = self.setup(&target, format!("{}-waiting", target.run));
            context.out.note(&format!("waiting: {workers} workers"));
            let phase = idle::waiting(&setup, workers, self.duration, || target.processor()).await?;
            report.add(phase.with(target.memory()));
            target.end().await?;
        }
        if let Some(workers) = self.beating.filter(|_| self.wants(Phase::Beating)) {
            let target = Target::new(context, &folder, "beating").await?;
            let setup = self.setup(&target, format!("{}-beating", target.run));
            context.out.note(&format!("beating: {workers} workers"));
            let phase = idle::beating(&setup, workers, self.duration, || target.processor()).await?;
            report.add(phase.with(target.memory()));
            target.end().await?;
        }
        report.tell(context)
    }

    fn wants(&self, phase: Phase) -> bool {
        match phase {
            Phase::Fused if self.only.is_empty() => self.fused,
            Phase::Tokens if self.only.is_empty() => self.tokens,
            Phase::Limits if self.only.is_empty() => self.limits,
            Phase::Endings if self.only.is_empty() => self.endings,
            _ => self.only.is_empty() || self.only.contains(&phase),
        }
    }

    fn until(&self) -> Arc<Until> {
        let deadline = self.tasks.is_none().then(|| Instant::now() + self.duration);
        Arc::new(Until { deadline, rounds: self.tasks.map(AtomicU64::new), told: AtomicBool::new(false) })
    }

    async fn plain(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let bench = self.setup(target, target.run.clone());
        if self.wants(Phase::Ceiling) {
            context.out.note("ceiling: GET /livez");
            report.add(phases::ceiling(&bench, self.until()).await?.with(target.memory()));
        }
        if self.wants(Phase::Create) || self.wants(Phase::Claim) {
            context.out.note("create");
            report.add(phases::create(&bench, self.until()).await?.with(target.memory()));
        }
        if self.wants(Phase::Claim) {
            context.out.note("claim and complete");
            report.add(phases::claim(&bench, self.until()).await?.with(target.memory()));
        }
        if self.wants(Phase::Lifecycle) {
            context.out.note("whole lifecycles");
            report.add(phases::lifecycle(&bench, "lifecycle", self.until()).await?.with(target.memory()));
        }
        if self.wants(Phase::Fused) {
            context.out.note("whole lifecycles, fused");
            report.add(phases::fused(&bench, "fused", self.until()).await?.with(target.memory()));
        }
        Ok(())
    }

    fn setup(&self, target: &Target, run: String) -> phases::Setup {
        phases::Setup {
            url: target.url().to_owned(),
            clients: self.connections,
            run,
            named_claims: self.named_claims,
            token: target.token.clone(),
        }
    }

    /// In turn, so that neither has the emptier store.
    async fn tokens(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let tokens = [
            ("no token", None),
            ("token", Some(make_token(target, None).await?)),
            ("bound token", Some(make_token(target, Some("bench".to_owned())).await?)),
        ];
        for round in 1..=2 {
            for (name, token) in &tokens {
                let name = format!("{name} {round}");
                context.out.note(&format!("whole lifecycles: {name}"));
                // A worker's name belongs to the project that first used it.
                let run = format!("{}-{}", target.run, name.replace(' ', "-"));
                let setup = phases::Setup { token: token.clone(), ..self.setup(target, run) };
                report.add(phases::lifecycle(&setup, &name, self.until()).await?.with(target.memory()));
            }
        }
        Ok(())
    }

    /// In turn, so that neither has the emptier store.
    async fn limits(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let client = baton_client::Client::new(target.url())?;
        for round in 1..=2 {
            for name in ["no limit", "queue limit", "project limit"] {
                let phase = format!("{name} {round}");
                let setup = self.setup(target, format!("{}-{}", target.run, phase.replace(' ', "-")));
                let on = match name {
                    "queue limit" => Some(format!("queue/{}", setup.queue(phases::WHOLE))),
                    "project limit" => Some("project/*".to_owned()),
                    _ => None,
                };
                let unfit = |problem: Expected| Failure::failed(problem.to_string());
                let on: Option<LimitOn> = on.map(|on| on.parse()).transpose().map_err(unfit)?;
                if let Some(on) = &on {
                    client.set_limit(&SetLimit::running(on.clone(), LimitRules::MOST_RUNNING)).await?;
                }
                context.out.note(&format!("whole lifecycles: {phase}"));
                report.add(phases::lifecycle(&setup, &phase, self.until()).await?.with(target.memory()));
                if let Some(on) = on {
                    client.clear_limit(&ClearLimit { on, by: None, reason: None }).await?;
                }
            }
        }
        Ok(())
    }

    /// In turn, so that neither has the emptier store.
    async fn endings(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        for round in 1..=2 {
            for name in [report::ONE_BY_ONE, report::WITH_THE_NEXT, report::BATCHES] {
                let phase = format!("{name} {round}");
                let setup = self.setup(target, format!("{}-{}", target.run, phase.replace(' ', "-")));
                context.out.note(&format!("whole lifecycles: {phase}"));
                let measured = match name {
                    report::BATCHES => batches::batches(&setup, &phase, self.until()).await?,
                    report::WITH_THE_NEXT => phases::fused(&setup, &phase, self.until()).await?,
                    _ => phases::lifecycle(&setup, &phase, self.until()).await?,
                };
                report.add(measured.with(target.memory()));
            }
        }
        Ok(())
    }

    async fn beside_bulk(
        &self,
        context: &Context,
        target: &Target,
        tasks: u64,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let setup = self.setup(target, format!("{}-bulk", target.run));
        context.out.note(&format!("bulk: creating {tasks} tasks (not measured)"));
        phases::preload(&setup, tasks).await?;
        context.out.note("whole lifecycles: before the bulk command");
        let before = phases::lifecycle(&setup, "before bulk", self.until()).await?;
        report.add(before.with(target.memory()));
        context.out.note(&format!("whole lifecycles: while {tasks} tasks are cancelled"));
        let (during, took) = bulk::beside_cancel(&setup, tasks).await?;
        context.out.note(&format!("{tasks} tasks were cancelled in {}", text::span(took)));
        report.add(during.with(target.memory()));
        Ok(())
    }

    /// In turn, so that neither has the emptier store.
    async fn mixed(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        for round in 1..=2 {
            let setup = self.setup(target, format!("{}-mixed-{round}", target.run));
            context.out.note("whole lifecycles: alone");
            let alone = phases::lifecycle(&setup, &format!("alone {round}"), self.until()).await?;
            report.add(alone.with(target.memory()));
            context.out.note("whole lifecycles: beside lists, figures, heartbeats and a listener");
            let beside =
                mixed::beside_others(&setup, &format!("beside others {round}"), self.until()).await?;
            report.add(beside.with(target.memory()));
        }
        Ok(())
    }

    /// Lifecycles and lists with ever more finished tasks.
    async fn growing(&self, context: &Context, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let mut kept = 0;
        for &size in &self.grow {
            let setup = self.setup(target, format!("{}-grow-{size}", target.run));
            if size > kept {
                context.out.note(&format!("grow: {} more finished tasks (not measured)", size - kept));
                batches::fill(&setup, size - kept).await?;
                kept = size;
            }
            // The store has a large write behind it: let it come to rest before it is measured.
            phases::lifecycle(&setup, "warm up", Arc::new(Until::after(WARM_UP.min(self.duration)))).await?;
            context.out.note(&format!("whole lifecycles: {size} finished tasks"));
            let name = format!("grow {size}");
            let phase = mixed::beside_a_list(&setup, &name, self.until()).await?;
            kept += phase.lifecycles();
            report.add(phase.with(target.memory()).with_file(target.file_bytes()));
        }
        Ok(())
    }

    async fn with_backlog(
        &self,
        context: &Context,
        target: &Target,
        backlog: u64,
    ) -> Result<PhaseReport, Failure> {
        let bench = self.setup(target, format!("{}-{backlog}", target.run));
        context.out.note(&format!("a backlog of {backlog}: creating it (not measured)"));
        let begun = Instant::now();
        phases::preload(&bench, backlog).await?;
        // The store has a large write behind it: let it come to rest before it is measured.
        phases::backlog(&bench, backlog, Arc::new(Until::after(WARM_UP.min(self.duration)))).await?;
        context
            .out
            .note(&format!("a backlog of {backlog}: created in {}; measuring", text::span(begun.elapsed())));
        Ok(phases::backlog(&bench, backlog, self.until()).await?.with(target.memory()))
    }
}

/// A token for all that virtual clients do, made by the server that is measured.
async fn make_token(target: &Target, project: Option<String>) -> Result<TokenSecret, Failure> {
    let unfit = |problem: Expected| Failure::failed(problem.to_string());
    let name = "bench".parse().map_err(unfit)?;
    let project = project.map(|project| project.parse()).transpose().map_err(unfit)?;
    let token = CreateToken { project, ..CreateToken::new(name, vec![Scope::Producer, Scope::Worker]) };
    let created = baton_client::Client::new(target.url())?.create_token(&token).await?;
    created
        .secret
        .as_deref()
        .and_then(TokenSecret::parse)
        .ok_or_else(|| Failure::failed("the server made no readable token"))
}

/// The server that is measured.
struct Target {
    own: Option<ServerProcess>,
    named: String,
    /// What the user presents to a server of their own.
    token: Option<TokenSecret>,
    /// Part of the names of this run's queues, so that runs against one server do not mix.
    run: String,
    /// The file of its own server.
    store: PathBuf,
}

impl Target {
    async fn new(context: &Context, folder: &Folder, name: &str) -> Result<Self, Failure> {
        let run = format!("bench-{:08x}", rand::random::<u32>());
        if context.server_named {
            context.client()?.livez().await?;
            let named = context.server.clone();
            return Ok(Self { own: None, named, token: context.token()?, run, store: PathBuf::new() });
        }
        let level = std::env::var("BATON_LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
        let store = folder.0.join(format!("{name}.db"));
        let log = folder.0.join(format!("{name}.log"));
        let own = ServerProcess::start(&store, &[("BATON_LOG_LEVEL", &level)], &log).await?;
        Ok(Self { own: Some(own), named: String::new(), token: None, run, store })
    }

    fn url(&self) -> &str {
        self.own.as_ref().map_or(&self.named, |own| &own.url)
    }

    fn memory(&self) -> Option<crate::process::Memory> {
        self.own.as_ref().and_then(ServerProcess::memory)
    }

    fn processor(&self) -> Option<crate::process::Processor> {
        self.own.as_ref().and_then(ServerProcess::processor)
    }

    fn file_bytes(&self) -> Option<u64> {
        self.own.as_ref()?;
        std::fs::metadata(&self.store).ok().map(|file| file.len())
    }

    async fn end(self) -> Result<(), Failure> {
        match self.own {
            Some(mut own) => own.process.end().await.map(drop),
            None => Ok(()),
        }
    }
}

/// A folder that is removed with all in it.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("baton-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::usage(format!("cannot make the folder {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the temporary folder, and named after this program.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
