//! The reaper's rounds: a loop for a server, and one round within a time for a schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_api::scaling::PoolView;
use baton_http::{App, scaling};
use baton_model::round::{Finding, RECALLED};
use baton_model::{LossReason, RoundDone, RoundNote, Timestamp, Watch};
use baton_runtime::Shutdown;
use baton_store::{
    Archiver, Cursor, ErrorKind, Expire, Mend, Reap, Redate, RunReport, Sizes, StoreError, SupplyReport,
    Waiting,
};
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};

use crate::archive_rounds::{ArchiveRounds, Times};
use crate::batches;
use crate::bulk;
use crate::removal::Removal;
use crate::round::Round;
use crate::schedules;
use crate::supplies;

/// How many tasks are taken back in one command: few enough that other commands do not wait long behind it.
const BATCH: u32 = 256;

/// At how many blocked tasks a round looks. There is next to nothing to do for it: whoever ends a task lets go of those that
/// wait for it, and only a process that dies meanwhile leaves something.
const BLOCKED: u32 = 500;

/// How long a round of a server may take tasks back; the next one goes on where it stopped.
const ROUND: Duration = Duration::from_secs(60);

/// How long DynamoDB may take to remove what is past its keeping: "within a few days", by its guide.
const GOES_WITHIN: Duration = Duration::from_secs(5 * 86_400);

/// How often a server tells how long tasks wait, and how large its store is.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// For how long after the clock was set back times that lie ahead are looked for: what was begun by the clock as it was may
/// be written a while later.
const REDATED_FOR: Duration = Duration::from_secs(60);

/// Takes over what the rounds before this process have noted. To be done before the process serves: it hears workers from
/// then on.
pub async fn begin(app: &App) {
    let last = app.store.last_round().await.unwrap_or_else(|error| {
        tracing::warn!(error = error.report(), "what the reaper has noted could not be read");
        None
    });
    app.rounds.recall(last.as_ref().map_or(&[], |last| &last.latest));
    app.timekeeper.begin(last.as_ref()).iter().for_each(tell);
}

/// Makes a round every so often, as the settings in force say, until `shutdown` begins; what is left of the interval goes to removals. A
/// round that fails is logged, and the next one tried.
pub async fn run_reaper(app: App, shutdown: Shutdown) {
    let mut interval = app.reaper_interval();
    let mut settings = app.in_force.changes();
    let mut ticks = every(interval);
    let mut pulse = every(app.timekeeper.pulse());
    let mut looked: Option<Instant> = None;
    let mut removal = Removal::default();
    let by = baton_runtime::process_name();
    app.rounds.every(interval);
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            _ = pulse.tick() => {
                app.timekeeper.runs();
                continue;
            }
            // Another interval begins with a round.
            Ok(()) = settings.changed() => {
                if interval == app.reaper_interval() {
                    continue;
                }
                interval = app.reaper_interval();
                ticks = every(interval);
                continue;
            }
            _ = ticks.tick() => {}
        }
        // A store commits a command whole or not at all, also one whose answer nobody waits for.
        let began = Instant::now();
        let at = app.now();
        app.rounds.begins(at);
        // The next one, which takes tasks back, does not wait for removals.
        let round = round(&app, began + ROUND, began + interval, &mut removal);
        let Some(round) = meanwhile(&app, &mut pulse, &shutdown, round).await else { return };
        app.meters.round(round.is_ok());
        app.rounds.made(done(at, began, &by, &round), removal.overdue());
        if let Ok(round) = &round {
            app.meters.worked(round.removed, round.expired, round.schedules_missed);
            if round.taken + round.expired > 0 {
                app.timekeeper.write_next();
            }
        }
        match round {
            Ok(round) if round.taken + round.expired + round.removed > 0 => tracing::debug!(
                taken = round.taken,
                expired = round.expired,
                workers_lost = round.workers_lost,
                removed = round.removed,
                more = round.more,
                "the reaper made its round"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = error.report(),
                "the reaper could not make its round and will try again"
            ),
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            looked = Some(Instant::now());
            let Some(found) = meanwhile(&app, &mut pulse, &shutdown, waiting(&app)).await else { return };
            if let Some(Waiting { longest: Some((queue, age)), .. }) = found {
                let oldest_ready_seconds = age.as_secs_f64();
                tracing::debug!(oldest_ready_seconds, oldest_ready_queue = %queue, "tasks wait");
            }
            let Some(found) = meanwhile(&app, &mut pulse, &shutdown, sizes(&app)).await else { return };
            if let Some(sizes) = found {
                tell_sizes(&sizes, removal.overdue());
            }
        }
    }
}

/// What is kept of a round that began then.
fn done(at: Timestamp, began: Instant, by: &str, round: &Result<Round, StoreError>) -> RoundDone {
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let done = RoundDone { at, millis, by: by.to_owned(), ..RoundDone::default() };
    match round {
        Ok(Round { taken, expired, workers_lost, removed, more, .. }) => RoundDone {
            taken: *taken,
            expired: *expired,
            workers_lost: *workers_lost,
            removed: *removed,
            more: *more,
            ..done
        },
        Err(error) => RoundDone { error: Some(error.report()), ..done },
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Does something, and says meanwhile that the process runs; none if it is to stop.
async fn meanwhile<T>(
    app: &App,
    pulse: &mut Interval,
    shutdown: &Shutdown,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return None,
            _ = pulse.tick() => app.timekeeper.runs(),
            done = &mut work => return Some(done),
        }
    }
}

/// One round: takes back what is lost, then removes what is past its keeping. It begins no command after `budget`.
///
/// # Errors
/// The store's failures; what was done before them stays done.
pub async fn reap_within(app: &App, budget: Duration) -> Result<Round, StoreError> {
    let deadline = Instant::now() + budget;
    // What removals leave of the time goes to bulk commands, and half of it at least if there are any.
    let is_left = bulk::within(app, Instant::now()).await;
    let removing_until = if is_left { Instant::now() + budget / 2 } else { deadline };
    let round = round(app, deadline, removing_until, &mut Removal::default()).await?;
    if is_left {
        bulk::within(app, deadline).await;
    }
    Ok(round)
}

/// A round that takes back until `deadline` at most, and removes until `removing_until`.
async fn round(
    app: &App,
    deadline: Instant,
    removing_until: Instant,
    removal: &mut Removal,
) -> Result<Round, StoreError> {
    let (at, begun) = (app.now(), Instant::now());
    let (watch, mut note, findings) = app.timekeeper.round(last_round(app).await?.as_ref());
    findings.iter().for_each(tell);
    let began = app.clock.reading().passed;
    let taken = take_back(app, &watch, deadline).await;
    match &taken {
        Ok(_) => app.timekeeper.reached(began, true),
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {
            app.timekeeper.reached(began, false);
        }
        Err(_) => {}
    }
    let mut round = taken?;
    if !round.more {
        (round.expired, round.more) = expire(app, &watch, deadline).await?;
    }
    if note.set_back && !round.more {
        round.more = !redate(app, &watch, deadline).await?;
        note.set_back = round.more || watch.heard_for() < REDATED_FOR;
    }
    mend(app, &watch, &mut note.blocked).await;
    batches::tend(app, &watch, &mut note.batches).await;
    let may_remove = note.may_remove();
    if app.timekeeper.hears_itself() {
        note.latest = app.rounds.to_note();
    } else {
        // Whoever makes the next one knows of it by the note alone; what is removed by then is in no round's note.
        note.latest.insert(0, done(at, begun, "", &Ok(round)));
        note.latest.truncate(RECALLED);
    }
    keep(app, note).await;
    if Instant::now() >= deadline {
        return Ok(Round { more: true, ..round });
    }
    if may_remove {
        // By the time that the round has judged, and by no later reading of the clock.
        removal.until(removing_until, app, watch.now, &mut round).await?;
    }
    if let Some(overdue) = round.overdue_seconds.map(Duration::from_secs).filter(|age| *age > GOES_WITHIN) {
        tracing::warn!(
            oldest_overdue_seconds = overdue.as_secs(),
            "what is past its keeping is not removed: look whether the table's time to live is on, with `baton table check`"
        );
    }
    Ok(round)
}

/// The note of the last round, where this process does not know it itself.
pub(crate) async fn last_round(app: &App) -> Result<Option<RoundNote>, StoreError> {
    if app.timekeeper.hears_itself() { Ok(None) } else { app.store.last_round().await }
}

/// Takes back what is lost, until all is or the time is over.
async fn take_back(app: &App, watch: &Watch, deadline: Instant) -> Result<Round, StoreError> {
    let mut round = Round::default();
    let mut lost = BTreeSet::new();
    loop {
        let reap = Reap { watch: watch.clone(), limit: BATCH, worker: None, queue: None };
        let report = app.store.reap(reap).await?;
        report.taken.iter().for_each(|taken| crate::log(app, taken));
        round.taken += report.taken.len() as u64;
        let silent = report
            .taken
            .into_iter()
            .filter(|taken| taken.reason == LossReason::HeartbeatMissed && !taken.worker_gone);
        lost.extend(silent.map(|taken| taken.worker));
        round.workers_lost = lost.len() as u64;
        round.more = report.more;
        if !report.more || Instant::now() >= deadline {
            return Ok(round);
        }
    }
}

/// Fails what was not started in time, until all is or the time is over. Says how much, and whether there is more.
async fn expire(app: &App, watch: &Watch, deadline: Instant) -> Result<(u64, bool), StoreError> {
    let mut tasks = 0;
    loop {
        let expired = app.store.expire(Expire { now: watch.now, limit: BATCH }).await?;
        tasks += expired.tasks;
        if !expired.more || Instant::now() >= deadline {
            if tasks > 0 {
                tracing::info!(tasks, "tasks expired: no attempt had begun in time");
            }
            return Ok((tasks, expired.more));
        }
    }
}

/// Looks at some blocked tasks, where the round before has stopped. That it cannot be done spoils no round: the next one begins
/// anew.
async fn mend(app: &App, watch: &Watch, place: &mut Option<String>) {
    let after = place.take().map(Cursor);
    let mended = match app.store.mend(Mend { now: watch.now, limit: BLOCKED, after }).await {
        Ok(mended) => mended,
        Err(error) => {
            tracing::warn!(error = error.report(), "the reaper could not look at blocked tasks");
            return;
        }
    };
    if mended.unblocked + mended.ended > 0 {
        tracing::info!(
            unblocked = mended.unblocked,
            ended = mended.ended,
            "tasks were let go of whose dependencies had ended"
        );
    }
    *place = mended.next.map(|Cursor(text)| text);
}

/// After the clock was set back: dates what lies ahead by the clock as it is. Says whether that is done.
async fn redate(app: &App, watch: &Watch, deadline: Instant) -> Result<bool, StoreError> {
    loop {
        let redated = app.store.redate(Redate { watch: watch.clone(), limit: BATCH }).await?;
        if redated.tasks + redated.workers > 0 {
            tracing::warn!(
                tasks = redated.tasks,
                workers = redated.workers,
                "times that the clock had told before it was set back were dated anew"
            );
        }
        if !redated.more || Instant::now() >= deadline {
            return Ok(!redated.more);
        }
    }
}

/// Keeps the note of a round, in memory and in the store. Without it, the next process gives workers more time than they
/// need, and removes nothing for an hour: that spoils no round.
async fn keep(app: &App, note: RoundNote) {
    let written = if app.timekeeper.is_to_be_written(&note) {
        let written = app.store.note_round(note.clone()).await;
        if let Err(error) = &written {
            tracing::warn!(error = error.report(), "the reaper could not note its round");
        }
        Some(written.is_ok())
    } else {
        None
    };
    app.timekeeper.made(note, written);
}

/// Tells the log what a round has found out about the time.
fn tell(finding: &Finding) {
    match finding {
        Finding::SetBack(step) => tracing::warn!(
            before = %step.before,
            now = %step.after,
            "the clock is behind the time of the reaper's last round; set it if it is wrong"
        ),
        Finding::Jumped(step) => tracing::warn!(
            before = %step.before,
            now = %step.after,
            "the time has jumped since the reaper's last round"
        ),
        Finding::Late { gap, pace } => tracing::warn!(
            seconds = gap.as_secs_f64(),
            expected_seconds = pace.as_secs_f64(),
            "the reaper's round is late; workers have a whole heartbeat timeout again"
        ),
        Finding::Doubted => tracing::warn!(
            "nothing is removed until the time has gone on evenly for an hour, or is back where it was"
        ),
        Finding::Believed => {
            tracing::info!("the time is believed again: what is past its keeping is removed");
        }
    }
}

/// One round of a schedule: logs what it did and how long tasks wait, and that the next one goes on if it could not do
/// all. What it did is its answer; what alarms listen to comes with it, by the names of the metrics, and how many machines
/// each pool of the settings should have. With an archive, what is past its keeping is archived last, in a third of the time at least.
///
/// # Errors
/// As [`reap_within`].
pub async fn scheduled(
    app: &App,
    budget: Duration,
    archive: Option<(&Archiver, &ArchiveRounds)>,
) -> Result<(Value, BTreeMap<&'static str, f64>, BTreeMap<String, f64>), StoreError> {
    // Before the round: one that has much to do must not hide that tasks wait.
    let waiting = waiting(app).await;
    let (began, now) = (Instant::now(), app.now());
    // What cannot be done for schedules holds up no lost task.
    let ran = schedules::run(app, now, began + budget / 2).await.unwrap_or_else(|error| {
        tracing::warn!(error = error.report(), "schedules could not be run and will be tried again");
        RunReport { more: true, ..RunReport::default() }
    });
    let supplied = supplies::run(app, began + budget / 2).await.unwrap_or_else(|error| {
        tracing::warn!(error = error.report(), "queues could not be refilled and will be tried again");
        SupplyReport { more: true, ..SupplyReport::default() }
    });
    // Bulk commands take as much time as they are given.
    let reaping = if archive.is_some() { budget - budget / 3 } else { budget };
    let mut round = reap_within(app, reaping.saturating_sub(began.elapsed())).await?;
    let wanted = wanted(scaling::pools(app, app.now()), left_for_pools(reaping, began.elapsed())).await;
    let mut gauges = BTreeMap::new();
    if let Some((archiver, rounds)) = archive {
        // As much as the host keeps for what was begun is left to it by half.
        let times = Times { begin: began + budget, end: began + budget + budget / 8 };
        let done = rounds.within(app, archiver, times).await;
        round.archived = Some(done.archived.written);
        round.removed += done.archived.removed;
        round.more |= done.more;
        gauges.insert("ArchiveFailures", f64::from(u8::from(done.failed)));
    }
    let (created, schedules_missed) = (ran.created + supplied.created, ran.missed + ran.failed);
    let round = Round { created, schedules_missed, more: round.more || ran.more || supplied.more, ..round };
    let Round { taken, expired, workers_lost, removed, archived, overdue_seconds, more, .. } = round;
    gauges.extend([("WorkersLost", workers_lost as f64), ("SchedulesMissed", schedules_missed as f64)]);
    gauges.extend(waiting.as_ref().map(|waiting| ("OldestReadySeconds", seconds(waiting))));
    gauges.extend(overdue_seconds.map(|seconds| ("OldestOverdueSeconds", seconds as f64)));
    let queue = waiting.as_ref().and_then(|waiting| waiting.longest.as_ref()).map(|(queue, _)| queue);
    let oldest_ready_queue = queue.map(tracing::field::display);
    let oldest_ready_seconds = waiting.as_ref().map(seconds);
    // More places than one look has: they are looked at in turns.
    let places_unseen = waiting.as_ref().map(|waiting| waiting.unseen).filter(|unseen| *unseen > 0);
    tracing::info!(
        taken,
        expired,
        workers_lost,
        created,
        schedules_missed,
        removed,
        archived,
        more,
        oldest_ready_seconds,
        oldest_ready_queue,
        places_unseen,
        oldest_overdue_seconds = overdue_seconds,
        "the reaper made its round"
    );
    if more {
        tracing::warn!("the reaper's time was over before its work; the next schedule goes on");
    }
    Ok((json!(round), gauges, wanted))
}

/// How long the look at pools may take: what is left of the round's budget, and half of what the host keeps for what was begun within that
/// if there is less. A fifth of its time is kept (`shared/lambda`), which is a fourth of the budget.
fn left_for_pools(budget: Duration, spent: Duration) -> Duration {
    budget.saturating_sub(spent).max(budget / 8)
}

/// How many machines each pool should have, after the round: what it has taken back waits again. That it cannot be told, or not in time,
/// spoils no round.
async fn wanted(
    pools: impl Future<Output = Result<Vec<PoolView>, StoreError>>,
    within: Duration,
) -> BTreeMap<String, f64> {
    let error = match timeout(within, pools).await {
        Ok(Ok(pools)) => {
            return pools.into_iter().map(|pool| (pool.name.to_string(), f64::from(pool.wanted))).collect();
        }
        Ok(Err(error)) => error.report(),
        Err(_) => format!("it took longer than {} s", within.as_secs_f64()),
    };
    tracing::warn!(error, "the reaper could not see how many machines are wanted");
    BTreeMap::new()
}

/// Tells how large the store is and how far removing is behind, as numbers that a reader of logs can make metrics of.
fn tell_sizes(sizes: &Sizes, overdue: Duration) {
    let Sizes { file_bytes, free_bytes, log_bytes, room_bytes, tasks } = *sizes;
    let oldest_overdue_seconds = overdue.as_secs_f64();
    tracing::info!(
        file_bytes,
        free_bytes,
        log_bytes,
        room_bytes,
        tasks,
        oldest_overdue_seconds,
        "the size of the task store"
    );
}

/// How large the store is. That it cannot be told spoils no round.
async fn sizes(app: &App) -> Option<Sizes> {
    app.store.sizes().await.unwrap_or_else(|error| {
        tracing::warn!(error = error.report(), "the reaper could not see how large the task store is");
        None
    })
}

/// How long tasks wait. That it cannot be told spoils no round.
async fn waiting(app: &App) -> Option<Waiting> {
    match app.store.waiting(app.now()).await {
        Ok(waiting) => Some(waiting),
        Err(error) => {
            tracing::warn!(error = error.report(), "the reaper could not see how long tasks wait");
            None
        }
    }
}

/// The longest wait; nothing if no task is ready.
fn seconds(waiting: &Waiting) -> f64 {
    waiting.longest.as_ref().map_or(0.0, |(_, age)| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_at_pools_that_does_not_end_costs_no_round_its_answer() {
        let told =
            timeout(Duration::from_secs(60), wanted(std::future::pending(), Duration::from_millis(10)));
        assert!(told.await.unwrap().is_empty());
        let budget = Duration::from_secs(24);
        for (spent, left) in [(0, 24), (20, 4), (22, 3), (24, 3), (30, 3)] {
            let expected = Duration::from_secs(left);
            assert_eq!(left_for_pools(budget, Duration::from_secs(spent)), expected, "after {spent} s");
        }
    }
}
