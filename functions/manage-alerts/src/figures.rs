//! The figures that rules look at: each is asked where `GET /v1/stats` and `GET /metrics` ask for it, and counted nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_alerts::{Figure, Figures, Kind, Rate, Rule};
use baton_http::App;
use baton_model::{State, Timestamp};
use baton_store::{Cursor, PageRequest, QueueStats, ScheduleFilter, Stats, StoreError};

/// How long a missed time of a schedule is told of.
const MISSED: Duration = Duration::from_secs(3_600);
/// At how many limits and schedules one look looks.
const LISTED: usize = 1_000;

/// What one look has found, by kind. A kind that could not be told is left out: nothing follows from it.
pub(crate) type Found = BTreeMap<Kind, Figures>;

/// Looks at all that rules of these kinds need.
///
/// # Errors
/// The store's own failures.
pub(crate) async fn look(
    app: &App,
    rules: &[Rule],
    rate: &mut Rate,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let wants = |kind: Kind| rules.iter().any(|rule| rule.kind == kind);
    let mut found = Found::new();
    // Of a file, all attempts end in this process; of a table, in any, and the statistics have them all.
    let counts_all = app.store.capabilities().feed;
    if counts_all {
        rate.note(now, app.meters.ended());
    }
    let of_stats = [Kind::QueueDepth, Kind::OldestReady, Kind::WorkersLost, Kind::DeadLetters];
    let of_hours = wants(Kind::FailureRate) && !counts_all;
    if of_hours || of_stats.into_iter().any(wants) {
        let stats = app.store.stats(now).await?;
        app.minutes.note(&stats);
        of_statistics(&stats, &mut found);
        beyond_statistics(app, rules, &mut found, now).await?;
        if of_hours {
            let hours = stats.hours.iter();
            rate.note_hours(now, hours.map(|hour| (hour.from, (hour.completions, hour.failures))));
        }
    }
    if wants(Kind::FailureRate)
        && let Some(rate) = rate.failures(now)
    {
        found.insert(
            Kind::FailureRate,
            rate.map(|value| (String::new(), figure(value))).into_iter().collect(),
        );
    }
    if wants(Kind::NoWorker) {
        let all = app.untaken.all().into_iter();
        let figures = all.map(|(queue, why)| (queue.to_string(), Figure { value: 1.0, why: Some(why) }));
        found.insert(Kind::NoWorker, figures.collect());
    }
    if wants(Kind::LimitFull) {
        found.insert(Kind::LimitFull, full_limits(app).await?);
    }
    if wants(Kind::ScheduleMissed) {
        found.insert(Kind::ScheduleMissed, missed(app, now).await?);
    }
    if wants(Kind::DiskLow)
        && let Some(room) = app.store.sizes().await?.and_then(|sizes| sizes.room_bytes)
    {
        found.insert(Kind::DiskLow, [(String::new(), figure(room as f64))].into());
    }
    if wants(Kind::GroupFailed) {
        let groups = match &app.fleet {
            Some(fleet) => fleet.groups().await,
            None => Vec::new(),
        };
        let figures = groups.iter().map(|group| (group.name.to_string(), figure(f64::from(group.failed))));
        found.insert(Kind::GroupFailed, figures.collect());
    }
    Ok(found)
}

/// The figures of a rule: of its queue alone, if it names one.
pub(crate) fn of_rule(rule: &Rule, found: &Found) -> Option<Figures> {
    let all = found.get(&rule.kind)?;
    match (&rule.queue, rule.kind) {
        (Some(queue), _) => {
            let queue = queue.as_str();
            Some(all.get(queue).map(|figure| (queue.to_owned(), figure.clone())).into_iter().collect())
        }
        // Without a queue, it is about all tasks that have failed.
        (None, Kind::DeadLetters) => {
            Some(all.get("").map(|figure| (String::new(), figure.clone())).into_iter().collect())
        }
        (None, _) => Some(all.clone()),
    }
}

fn figure(value: f64) -> Figure {
    Figure { value, why: None }
}

fn of_statistics(stats: &Stats, found: &mut Found) {
    found.insert(Kind::QueueDepth, Figures::new());
    found.insert(Kind::OldestReady, Figures::new());
    of_queues(stats.queues.iter(), found);
    found.insert(Kind::WorkersLost, [(String::new(), figure(stats.workers.lost as f64))].into());
    let failed = stats.states.get(&State::Failed).copied().unwrap_or_default();
    let mut dead: BTreeMap<String, u64> = [(String::new(), failed)].into();
    for count in stats.counts.iter().filter(|count| count.state == State::Failed) {
        *dead.entry(count.queue.to_string()).or_default() += count.tasks;
    }
    let dead = dead.into_iter().map(|(queue, tasks)| (queue, figure(tasks as f64)));
    found.insert(Kind::DeadLetters, dead.collect());
}

fn of_queues<'a>(queues: impl Iterator<Item = &'a QueueStats>, found: &mut Found) {
    for queue in queues {
        let name = queue.queue.to_string();
        // What is paused waits because somebody wants it to.
        if let Some(age) = queue.oldest_ready.filter(|_| queue.pause.is_none()) {
            found.entry(Kind::OldestReady).or_default().insert(name.clone(), figure(age.as_secs_f64()));
        }
        found.entry(Kind::QueueDepth).or_default().insert(name, figure(queue.queued as f64));
    }
}

/// The queues that rules name and that statistics do not list, as there are too many.
async fn beyond_statistics(
    app: &App,
    rules: &[Rule],
    found: &mut Found,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rules = rules.iter().filter(|rule| matches!(rule.kind, Kind::QueueDepth | Kind::OldestReady));
    for queue in rules.filter_map(|rule| rule.queue.as_ref()) {
        let is_known =
            |found: &Found| found.get(&Kind::QueueDepth).is_some_and(|all| all.contains_key(queue.as_str()));
        if is_known(found) {
            continue;
        }
        match app.store.queue(queue, now).await {
            Ok(stats) => of_queues([&stats].into_iter(), found),
            Err(StoreError::QueueNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn full_limits(app: &App) -> Result<Figures, StoreError> {
    let (mut full, mut looked, mut after): (Figures, usize, Option<Cursor>) = (Figures::new(), 0, None);
    while looked < LISTED {
        let page = app.store.limits(PageRequest { after, ..PageRequest::first(100) }).await?;
        looked += page.items.len();
        full.extend(
            page.items.iter().filter(|one| one.is_full()).map(|one| (one.limit.on.to_string(), figure(1.0))),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(full)
}

async fn missed(app: &App, now: Timestamp) -> Result<Figures, StoreError> {
    let (mut missed, mut looked, mut after): (Figures, usize, Option<Cursor>) = (Figures::new(), 0, None);
    while looked < LISTED {
        let page = PageRequest { after, ..PageRequest::first(100) };
        let page = app.store.schedules(ScheduleFilter::default(), page).await?;
        looked += page.items.len();
        let lately = page.items.iter().filter(|one| one.missed_at.is_some_and(|at| now.since(at) < MISSED));
        missed.extend(lately.map(|one| (one.key.to_string(), figure(1.0))));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(missed)
}
