//! Counts, ages and percentiles: read from tallies and from the ends of indexes, so that they cost the same however
//! many tasks there are. Only the ages of running attempts are looked for among the running tasks.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use baton_model::queue::Pause;
use baton_model::{Label, Priority, QueueName, State, TaskType, Timestamp};
use baton_store::{
    Count, Cursor, Hours, Page, PageRequest, Percentiles, QueueStats, StatesOfQueues, Stats, StoreError,
    Tasks, Waiting, Waits, WorkerCounts, sum_of_states,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codes::Code;
use crate::defaults::defaults_of;
use crate::error::Failure;
use crate::order::order_of;
use baton_store::histogram::{What, percentile};

/// How far back percentiles reach.
pub(crate) const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// Everything, as of `now`.
pub(crate) fn stats(db: &Connection, now: Timestamp, heartbeat_timeout: Duration) -> Result<Stats, Failure> {
    let (states, rows) = all_states(db)?;
    let known = db.query_row("SELECT count(*) FROM queue", [], |row| row.get(0))?;
    let running = oldest_running(db)?;
    let (mut listed, mut counts, mut queues) = (StatesOfQueues::new(), Vec::new(), Vec::new());
    for lane in foremost(db)? {
        let (name, of_queue) = (lane.name.clone(), states_of(db, &lane.name)?);
        counts_of(db, &name, &mut counts)?;
        queues.push(one_queue(db, lane, &of_queue, now, &running)?);
        listed.insert(name, of_queue);
    }
    let hours = hours(db, &listed, now)?.last_day(now);
    let states = (states, sum_of_states(&listed));
    let workers = workers(db, now, heartbeat_timeout)?;
    Ok(Stats { hours, ..Stats::bounded(now, (known, rows), states, counts, queues, workers) })
}

/// What was done in each hour in the queues that are listed.
fn hours(db: &Connection, listed: &StatesOfQueues, now: Timestamp) -> Result<Hours, Failure> {
    // One walk over the window's buckets, which the percentiles of the queues read as well.
    let mut statement = db.prepare_cached(
        "SELECT queue, hour, what, sum(tasks) FROM histogram WHERE hour >= ?1 GROUP BY queue, hour, what",
    )?;
    let mut found = statement.query([Hours::of(now.minus(WINDOW))])?;
    let mut hours = Hours::default();
    while let Some(row) = found.next()? {
        let queue = QueueName::from_stored(row.get::<_, Box<str>>(0)?);
        let code: i64 = row.get(2)?;
        let what = What::ALL.into_iter().find(|what| crate::transaction::what_code(*what) == code);
        if let Some(what) = what.filter(|_| listed.contains_key(&queue)) {
            hours.add(row.get(1)?, what, row.get(3)?);
        }
    }
    Ok(hours)
}

/// All tasks by state, and how many rows of counts there are.
fn all_states(db: &Connection) -> Result<(BTreeMap<State, u64>, u64), Failure> {
    let mut statement =
        db.prepare_cached("SELECT state, sum(tasks), count(*) FROM tally WHERE tasks <> 0 GROUP BY state")?;
    let mut found = statement.query([])?;
    let (mut states, mut rows) = (BTreeMap::new(), 0);
    while let Some(row) = found.next()? {
        states.insert(State::of(row.get(0)?)?, row.get(1)?);
        rows += row.get::<_, u64>(2)?;
    }
    Ok((states, rows))
}

/// The queues with the most tasks that wait or run, by name.
fn foremost(db: &Connection) -> Result<Vec<Lane>, Failure> {
    // 13 to 25 ms with 10,000 queues: one look into the tallies for each. The order is that of `Stats::foremost`.
    let sql = format!(
        "{SELECT_LANE} WHERE name IN (SELECT name FROM queue ORDER BY (SELECT coalesce(sum(tasks), 0) FROM tally \
         WHERE tally.queue = queue.name AND state IN ({}, {})) DESC, name LIMIT {}) ORDER BY name",
        State::Queued.code(),
        State::Running.code(),
        Stats::QUEUES
    );
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.query_map([], lane)?.collect::<rusqlite::Result<_>>()?)
}

/// A queue's tasks by state.
fn states_of(db: &Connection, queue: &QueueName) -> Result<BTreeMap<State, u64>, Failure> {
    let mut statement =
        db.prepare_cached("SELECT state, sum(tasks) FROM tally WHERE queue = ?1 GROUP BY state")?;
    let mut found = statement.query([queue.as_str()])?;
    let mut states = BTreeMap::new();
    while let Some(row) = found.next()? {
        states.insert(State::of(row.get(0)?)?, row.get(1)?);
    }
    Ok(states)
}

/// A queue's tasks by type and state, as many rows as are shown at most.
fn counts_of(db: &Connection, queue: &QueueName, counts: &mut Vec<Count>) -> Result<(), Failure> {
    let mut statement = db.prepare_cached(
        "SELECT task_type, state, tasks FROM tally WHERE queue = ?1 AND tasks <> 0 ORDER BY tasks DESC LIMIT ?2",
    )?;
    let mut found = statement.query(params![queue.as_str(), Stats::ROWS as i64])?;
    while let Some(row) = found.next()? {
        counts.push(Count {
            queue: queue.clone(),
            task_type: Some(TaskType::from_stored(row.get::<_, Box<str>>(0)?)),
            state: State::of(row.get(1)?)?,
            tasks: row.get(2)?,
        });
    }
    Ok(())
}

/// Queues by name, behind the cursor.
pub(crate) fn queues(
    db: &Connection,
    now: Timestamp,
    request: &PageRequest,
) -> Result<Page<QueueStats>, Failure> {
    let after = request.after.as_ref().map_or("", |cursor| cursor.0.as_str());
    if request.after.is_some() && after.parse::<QueueName>().is_err() {
        return Err(StoreError::BadCursor.into());
    }
    let limit = request.limit as usize;
    let mut items = queue_page(db, now, after, limit + 1)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| Cursor(last.queue.to_string()));
    Ok(Page { items, next })
}

fn queue_page(
    db: &Connection,
    now: Timestamp,
    after: &str,
    limit: usize,
) -> Result<Vec<QueueStats>, Failure> {
    let sql = format!("{SELECT_LANE} WHERE name > ?1 ORDER BY name LIMIT ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let lanes =
        statement.query_map(params![after, limit as i64], lane)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let running = oldest_running(db)?;
    let one = |lane: Lane| {
        let states = states_of(db, &lane.name)?;
        one_queue(db, lane, &states, now, &running)
    };
    lanes.into_iter().map(one).collect()
}

/// What is kept of a queue besides its tasks, as far as it is shown.
struct Lane {
    name: QueueName,
    pause: Option<Pause>,
    used: bool,
    ordering: Option<String>,
    defaults: Option<String>,
}

/// The columns that [`lane`] reads.
const SELECT_LANE: &str =
    "SELECT name, paused, used, changed_at, changed_by, reason, ordering, defaults FROM queue";

fn lane(row: &Row<'_>) -> rusqlite::Result<Lane> {
    let pause = Pause {
        since: Timestamp::from_millis(row.get(3)?),
        by: row.get::<_, Option<Box<str>>>(4)?.map(Label::from_stored),
        reason: row.get(5)?,
    };
    Ok(Lane {
        name: QueueName::from_stored(row.get::<_, Box<str>>(0)?),
        pause: row.get::<_, bool>(1)?.then_some(pause),
        used: row.get(2)?,
        ordering: row.get(6)?,
        defaults: row.get(7)?,
    })
}

/// One queue.
pub(crate) fn queue(db: &Connection, name: &QueueName, now: Timestamp) -> Result<QueueStats, Failure> {
    let known = db
        .prepare_cached(&format!("{SELECT_LANE} WHERE name = ?1"))?
        .query_row([name.as_str()], lane)
        .optional()?;
    match known {
        Some(lane) => {
            let states = states_of(db, &lane.name)?;
            one_queue(db, lane, &states, now, &oldest_running(db)?)
        }
        None => Err(StoreError::QueueNotFound(name.clone()).into()),
    }
}

/// The time of the oldest claim among the running tasks of each queue.
fn oldest_running(db: &Connection) -> Result<HashMap<QueueName, Timestamp>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT queue, min(claimed_at) FROM task INDEXED BY task_leased WHERE state = 1 GROUP BY queue",
    )?;
    let oldest = statement.query_map([], |row| {
        Ok((QueueName::from_stored(row.get::<_, Box<str>>(0)?), Timestamp::from_millis(row.get(1)?)))
    })?;
    Ok(oldest.collect::<rusqlite::Result<_>>()?)
}

fn one_queue(
    db: &Connection,
    lane: Lane,
    states: &BTreeMap<State, u64>,
    now: Timestamp,
    running: &HashMap<QueueName, Timestamp>,
) -> Result<QueueStats, Failure> {
    let Lane { name: queue, pause, used, ordering, defaults } = lane;
    let in_state = |state: State| states.get(&state).copied().unwrap_or_default();
    let mut first_due: Option<Timestamp> = None;
    for priority in Priority::ALL {
        let due = first_ready(db, queue.as_str(), priority, now)?;
        first_due = match (first_due, due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    Ok(QueueStats {
        pause,
        order: order_of(ordering.as_deref())?,
        defaults: defaults_of(defaults.as_deref())?,
        used,
        queued: in_state(State::Queued),
        waits: waits(db, &queue, in_state(State::Queued), now)?,
        running: in_state(State::Running),
        oldest_ready: first_due.map(|due| now.since(due)),
        oldest_running: running.get(&queue).map(|claimed_at| now.since(*claimed_at)),
        wait: percentiles(db, &queue, What::Wait, now)?,
        run: percentiles(db, &queue, What::Run, now)?,
        counted_at: Some(now),
        queue,
    })
}

/// What waits in a queue, by status. No count goes beyond [`Waits::COUNTED`], so that its cost has a bound.
fn waits(db: &Connection, queue: &QueueName, queued: u64, now: Timestamp) -> Result<Waits, Failure> {
    if queued == 0 {
        return Ok(Waits::default());
    }
    let bound = Waits::COUNTED;
    let ahead = params![queue.as_str(), now.as_millis(), bound];
    let retry: u64 = db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_retry \
             WHERE state = 0 AND attempt > 0 AND queue = ?1 AND run_after > ?2 LIMIT ?3)",
        )?
        .query_row(ahead, |row| row.get(0))?;
    let retry = Tasks::counted(retry, bound);
    let later = by_priorities(
        db,
        queue,
        now,
        "SELECT 1 FROM task INDEXED BY task_ready WHERE state = 0 \
        AND queue = ?1 AND priority = ?2 AND run_after > ?3 LIMIT ?4",
    )?;
    let created = later.tasks.saturating_sub(retry.tasks);
    if !later.at_least {
        return Ok(Waits::of_all(queued, created, retry.tasks));
    }
    // What limits keep from claims is ready all the same.
    let ready = by_priorities(
        db,
        queue,
        now,
        "SELECT 1 FROM (SELECT 1 FROM task INDEXED BY task_ready WHERE state = 0 \
        AND queue = ?1 AND priority = ?2 AND run_after <= ?3 \
        UNION ALL SELECT 1 FROM task INDEXED BY task_put_aside WHERE state = 6 \
        AND queue = ?1 AND priority = ?2 AND run_after <= ?3) LIMIT ?4",
    )?;
    Ok(Waits::of_many(queued, created, retry, ready))
}

/// How many rows a look into the index gives over all priorities, up to the bound.
fn by_priorities(db: &Connection, queue: &QueueName, now: Timestamp, look: &str) -> Result<Tasks, Failure> {
    let mut statement = db.prepare_cached(&format!("SELECT count(*) FROM ({look})"))?;
    let mut tasks = 0;
    for priority in Priority::ALL {
        let key = params![queue.as_str(), priority.code(), now.as_millis(), Waits::COUNTED - tasks];
        tasks += statement.query_row(key, |row| row.get::<_, u64>(0))?;
    }
    Ok(Tasks::counted(tasks, Waits::COUNTED))
}

/// Since when the first task of a queue's priority has been ready; none if none is.
fn first_ready(
    db: &Connection,
    queue: &str,
    priority: Priority,
    now: Timestamp,
) -> Result<Option<Timestamp>, Failure> {
    // A task may have been due before it was created; it has been ready from then on only.
    let mut first: Option<i64> = None;
    for sql in [
        "SELECT max(run_after, created_at) FROM task INDEXED BY task_ready \
         WHERE state = 0 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 ORDER BY run_after, id LIMIT 1",
        "SELECT max(run_after, created_at) FROM task INDEXED BY task_put_aside \
         WHERE state = 6 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 ORDER BY run_after, id LIMIT 1",
    ] {
        let mut statement = db.prepare_cached(sql)?;
        let key = params![queue, priority.code(), now.as_millis()];
        let since: Option<i64> = statement.query_row(key, |row| row.get(0)).optional()?;
        first = [first, since].into_iter().flatten().min();
    }
    Ok(first.map(Timestamp::from_millis))
}

/// The longest wait over all queues.
pub(crate) fn waiting(db: &Connection, now: Timestamp) -> Result<Waiting, Failure> {
    let mut statement = db.prepare_cached("SELECT name FROM queue ORDER BY name")?;
    let names = statement.query_map([], |row| row.get::<_, Box<str>>(0))?;
    let mut places = Vec::new();
    for name in names {
        let name = QueueName::from_stored(name?);
        places.extend(Priority::ALL.map(|priority| (name.clone(), priority)));
    }
    let (places, unseen) = Waiting::in_turn(places, now);
    let mut waiting = Waiting { longest: None, unseen };
    for (queue, priority) in places {
        let since = first_ready(db, queue.as_str(), priority, now)?;
        waiting = waiting.and(&queue, since, now);
    }
    Ok(waiting)
}

fn percentiles(
    db: &Connection,
    queue: &QueueName,
    what: What,
    now: Timestamp,
) -> Result<Percentiles, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT bucket, sum(tasks) FROM histogram WHERE hour >= ?1 AND queue = ?2 AND what = ?3 \
         GROUP BY bucket ORDER BY bucket",
    )?;
    let hour = now.minus(WINDOW).as_millis() / 3_600_000;
    let buckets = statement
        .query_map(params![hour, queue.as_str(), crate::transaction::what_code(what)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, u64)>>>()?;
    Ok(Percentiles {
        count: buckets.iter().map(|(_, count)| count).sum(),
        p50: percentile(&buckets, 0.50),
        p95: percentile(&buckets, 0.95),
        p99: percentile(&buckets, 0.99),
    })
}

fn workers(db: &Connection, now: Timestamp, heartbeat_timeout: Duration) -> Result<WorkerCounts, Failure> {
    // By the status of each: alive, silent, lost or gone.
    let mut statement = db.prepare_cached(
        "SELECT coalesce(sum(ended_at IS NULL AND last_beat_at >= ?1), 0), \
         coalesce(sum(ended_at IS NULL AND last_beat_at IS NULL), 0), \
         coalesce(sum(ended_at IS NULL AND last_beat_at < ?1), 0), coalesce(sum(ended_at IS NOT NULL), 0), \
         coalesce(sum(ended_at IS NULL AND last_beat_at >= ?1 AND EXISTS (SELECT 1 FROM task INDEXED BY task_leased \
         WHERE task.worker = worker.id AND state = 1)), 0) FROM worker",
    )?;
    let alive_since = now.minus(heartbeat_timeout).as_millis();
    Ok(statement.query_row([alive_since], |row| {
        Ok(WorkerCounts {
            alive: row.get(0)?,
            silent: row.get(1)?,
            lost: row.get(2)?,
            gone: row.get(3)?,
            busy: row.get(4)?,
        })
    })?)
}
