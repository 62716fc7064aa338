//! What the store and the supervisor tell, as metrics.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use baton_alerts::Standing;
use baton_http::{ApiError, App, notices, scaling};
use baton_model::{QueueName, State, Timestamp};
use baton_store::commits::Histogram;
use baton_store::{Cursor, PageRequest, QueueStats, Stats, StoreError};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The queue of the sum over those that are not listed. No queue can have this name.
const OTHERS: &str = "(others)";

/// How many standings of rules of alerts are read.
const STANDINGS: u32 = 1_000;

/// At how many limits an answer looks.
const LIMITS: usize = 1_000;

type Number = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tasks {
    queue: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRule {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All metrics in OpenMetrics text.
pub(crate) async fn text(app: &App) -> Result<String, ApiError> {
    let mut baton = Registry::with_prefix("baton");
    // The names that the systems before Baton gave these figures.
    let mut seed = Registry::default();
    let version = Family::<Build, Number>::default();
    version.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1.0);
    baton.register("build", "The version of the server", version);
    let now = app.now();
    let stats = app.store.stats(now).await?;
    app.minutes.note(&stats);
    of_tasks(&stats, &mut baton, &mut seed);
    of_queues(&stats, &mut baton);
    of_untaken(app, &mut baton);
    of_workers(&stats, &mut baton, &mut seed);
    of_limits(app, &mut baton).await?;
    of_alerts(app, &mut baton).await?;
    of_store(app, &mut baton).await?;
    of_commits(app, &mut baton);
    of_fleet(app, &mut baton, &mut seed).await;
    of_pools(app, &stats, now, &mut baton).await;
    let mut text = String::new();
    written(&baton, &mut text)?;
    app.meters.write(&mut text).map_err(unwritten)?;
    written(&seed, &mut text)?;
    text::encode_eof(&mut text).map_err(unwritten)?;
    Ok(text)
}

fn written(registry: &Registry, to: &mut String) -> Result<(), ApiError> {
    text::encode_registry(to, registry).map_err(unwritten)
}

fn unwritten(error: std::fmt::Error) -> ApiError {
    StoreError::Internal { what: format!("metrics cannot be written: {error}"), cause: None }.into()
}

fn number(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

/// What tasks of a state do, in the word of `GET /v1/stats`.
const fn told(state: State) -> &'static str {
    match state {
        State::Queued => "waiting",
        other => other.as_str(),
    }
}

/// The pools of the settings, of which there are at most 100. What is asked for them alone, their queues and all workers, costs no other
/// figure its place if it cannot be read.
async fn of_pools(app: &App, stats: &Stats, now: Timestamp, registry: &mut Registry) {
    let pools = match scaling::pools_by(app, stats, now).await {
        Ok(pools) if pools.is_empty() => return,
        Ok(pools) => pools,
        Err(error) => {
            tracing::warn!(error = error.report(), "metrics are told without those of the pools");
            return;
        }
    };
    let [wanted, have, claimable, running] = [(); 4].map(|()| Family::<OfPool, Number>::default());
    for pool in pools {
        let of = OfPool { pool: pool.name.to_string() };
        wanted.get_or_create(&of).set(f64::from(pool.wanted));
        have.get_or_create(&of).set(f64::from(pool.have));
        claimable.get_or_create(&of).set(pool.claimable as f64);
        running.get_or_create(&of).set(pool.running as f64);
    }
    registry.register("scaling_wanted", "Machines that a pool should have", wanted);
    registry.register("scaling_have", "Machines of a pool with a live worker that may claim", have);
    registry.register("scaling_claimable", "Tasks of a pool that a claim would be given", claimable);
    registry.register("scaling_running", "Tasks of a pool that run", running);
}

fn of_tasks(stats: &Stats, baton: &mut Registry, seed: &mut Registry) {
    let all = Family::<OfState, Number>::default();
    for state in State::ALL {
        let tasks = stats.states.get(&state).copied().unwrap_or_default();
        all.get_or_create(&OfState { state: told(state) }).set(tasks as f64);
    }
    baton.register("tasks", "Tasks by what they do", all);
    let of_state = Family::<Tasks, Number>::default();
    let of = |queue: &str, state| of_state.get_or_create(&Tasks { queue: queue.to_owned(), state }).clone();
    let mut known: BTreeMap<(&QueueName, State), u64> = BTreeMap::new();
    for count in &stats.counts {
        *known.entry((&count.queue, count.state)).or_default() += count.tasks;
    }
    for queue in &stats.queues {
        known.insert((&queue.queue, State::Queued), queue.queued);
        known.insert((&queue.queue, State::Running), queue.running);
    }
    for state in State::ALL {
        let mut listed = 0;
        for queue in &stats.queues {
            let tasks = known.get(&(&queue.queue, state)).copied().unwrap_or_default();
            of(queue.queue.as_str(), told(state)).set(tasks as f64);
            listed += tasks;
        }
        // Of types beyond the rows of counts that are listed, what neither waits nor runs is told of no queue by name.
        if stats.other_queues > 0 || stats.other_counts.0 > 0 {
            let tasks = match state {
                State::Queued | State::Running => stats.other_states.get(&state).copied().unwrap_or_default(),
                _ => stats.states.get(&state).copied().unwrap_or_default().saturating_sub(listed),
            };
            of(OTHERS, told(state)).set(tasks as f64);
        }
    }
    baton.register(
        "queue_tasks",
        "Tasks of a queue by what they do, of the 100 queues with the most that wait or run",
        of_state,
    );
    by_queue(
        seed,
        ("tasks_in_queue", "As baton_queue_tasks of the state waiting"),
        stats.queues.iter().map(|queue| (queue.queue.clone(), queue.queued as f64)),
    );
}

fn by_queue(
    registry: &mut Registry,
    (name, help): (&str, &str),
    values: impl IntoIterator<Item = (QueueName, f64)>,
) {
    let family = Family::<OfQueue, Number>::default();
    for (queue, value) in values {
        family.get_or_create(&OfQueue { queue: queue.to_string() }).set(value);
    }
    registry.register(name, help, family);
}

fn of_queues(stats: &Stats, baton: &mut Registry) {
    let each = |value: fn(&QueueStats) -> f64| {
        stats.queues.iter().map(move |queue| (queue.queue.clone(), value(queue))).collect::<Vec<_>>()
    };
    by_queue(
        baton,
        ("queue_oldest_ready_seconds", "How long the task that is first due has been ready; 0 if none is"),
        each(|queue| queue.oldest_ready.unwrap_or_default().as_secs_f64()),
    );
    by_queue(
        baton,
        ("queue_oldest_running_seconds", "How long the longest-held attempt has been running; 0 if none is"),
        each(|queue| queue.oldest_running.unwrap_or_default().as_secs_f64()),
    );
    by_queue(
        baton,
        ("queue_paused", "Whether claims pass the queue by"),
        each(|queue| f64::from(u8::from(queue.pause.is_some()))),
    );
}

/// Queues with work that no live worker takes.
fn of_untaken(app: &App, baton: &mut Registry) {
    let queues = app.untaken.queues();
    number(baton, "queues_untaken", "Queues with work that no live worker takes", queues.len() as f64);
    by_queue(
        baton,
        ("queue_untaken", "1 of each queue with work that no live worker takes"),
        queues.into_iter().map(|queue| (queue, 1.0)),
    );
}

fn of_workers(stats: &Stats, baton: &mut Registry, seed: &mut Registry) {
    let workers = stats.workers;
    let idle = workers.alive.saturating_sub(workers.busy);
    let states = Family::<OfState, Number>::default();
    for (state, count) in [
        ("busy", workers.busy),
        ("idle", idle),
        ("silent", workers.silent),
        ("lost", workers.lost),
        ("gone", workers.gone),
    ] {
        states.get_or_create(&OfState { state }).set(count as f64);
    }
    baton.register("workers", "Workers by what they do; those that are busy or idle are alive", states);
    number(seed, "workers_active", "Workers that are alive: busy or idle", workers.alive as f64);
    number(seed, "workers_busy", "As baton_workers of the state busy", workers.busy as f64);
    number(seed, "workers_idle", "As baton_workers of the state idle", idle as f64);
}

/// How many limits let no task more start now.
async fn of_limits(app: &App, baton: &mut Registry) -> Result<(), ApiError> {
    let (mut all, mut full, mut after): (usize, usize, Option<Cursor>) = (0, 0, None);
    while all < LIMITS {
        let page = app.store.limits(PageRequest { after, ..PageRequest::first(100) }).await?;
        all += page.items.len();
        full += page.items.iter().filter(|one| one.is_full()).count();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    number(baton, "limits", "Limits that are set, up to 1000", all as f64);
    number(baton, "limits_full", "Of these, those whose places are all taken", full as f64);
    Ok(())
}

/// How much fires by each rule, of which there are 200 at most: those of the settings and those that requests have set.
async fn of_alerts(app: &App, baton: &mut Registry) -> Result<(), ApiError> {
    let rules = app.notices.rules(&*app.store).await?;
    let standings = match rules.is_empty() {
        true => Vec::new(),
        false => app.store.documents(notices::STANDING, None, STANDINGS).await?,
    };
    let firing = Family::<OfRule, Number>::default();
    for (rule, _) in rules {
        let kept = standings.iter().find(|document| document.name == rule.name.as_str());
        let standing: Option<Standing> =
            kept.map(|document| notices::read("how an alert stands", &document.value)).transpose()?;
        let standing = standing.unwrap_or_default();
        firing.get_or_create(&OfRule { rule: rule.name.to_string() }).set(standing.firing.len() as f64);
    }
    baton.register(
        "alerts_firing",
        "What fires by each rule of alerts, such as the queues that are too deep",
        firing,
    );
    Ok(())
}

async fn of_store(app: &App, baton: &mut Registry) -> Result<(), ApiError> {
    let Some(sizes) = app.store.sizes().await? else { return Ok(()) };
    number(baton, "store_file_bytes", "The size of the store's file", sizes.file_bytes as f64);
    number(baton, "store_free_bytes", "Of this, what is free and used again", sizes.free_bytes as f64);
    number(baton, "store_log_bytes", "The size of the write-ahead log beside it", sizes.log_bytes as f64);
    if let Some(room) = sizes.room_bytes {
        number(baton, "store_room_bytes", "How many more bytes can be stored", room as f64);
    }
    Ok(())
}

/// The store's commits, as it has counted them.
fn of_commits(app: &App, baton: &mut Registry) {
    let Some(commits) = app.store.commits() else { return };
    baton.register(
        "store_commit_commands",
        "How many commands the store's commits held",
        Counted(commits.groups()),
    );
    baton.register("store_commit_seconds", "How long they took", Counted(commits.seconds()));
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
struct Counted(Histogram);

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_histogram::<NoLabelSet>(self.0.sum, self.0.count(), &self.0.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// How often supervised workers were started again; without a supervisor, none was.
async fn of_fleet(app: &App, baton: &mut Registry, seed: &mut Registry) {
    let groups = match &app.fleet {
        Some(fleet) => fleet.groups().await,
        None => Vec::new(),
    };
    let restarts = Family::<OfGroup, Counter<u64, AtomicU64>>::default();
    let mut all = 0;
    for group in groups {
        restarts.get_or_create(&OfGroup { group: group.name.to_string() }).inc_by(group.restarts);
        all += group.restarts;
    }
    baton.register(
        "worker_restarts",
        "How often supervised workers that ended by themselves were started again",
        restarts,
    );
    number(seed, "worker_restarts", "As baton_worker_restarts, all groups together", all as f64);
}
