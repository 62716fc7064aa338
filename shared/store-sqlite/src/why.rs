//! Why a task waits. Each question goes down an index to what answers it, and each count has a bound, so that the cost does not
//! depend on how many tasks wait.

use baton_model::order::Before;
use baton_model::queue::Pause;
use baton_model::takes::{Taker, Takers, Wanted};
use baton_model::why::{Ahead, Facts, UnderLimit, Waited, WaitedStanding, reasons};
use baton_model::{
    Directive, Label, LeasePolicy, Priority, State, TaskId, TaskState, Timestamp, Why, WorkerId, WorkerStatus,
};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::alone::tie_of;
use crate::codes::Code;
use crate::error::Failure;
use crate::order;
use crate::rows::{Stored, dependencies_of, maybe_time, takes, text, time};

/// Why a task waits that falls under these limits.
pub(crate) fn why(
    db: &Connection,
    id: TaskId,
    limits: Vec<UnderLimit>,
    policy: &LeasePolicy,
    now: Timestamp,
) -> Result<Why, Failure> {
    // One read transaction, so that all but the limits is of one moment.
    let moment = db.unchecked_transaction()?;
    let stored = Stored::known(&moment, id)?;
    let reasons = match stored.head.state.state() {
        State::Blocked | State::Queued => reasons(facts(&moment, &stored, limits, policy, now)?),
        _ => Vec::new(),
    };
    Ok(Why {
        task: id,
        status: stored.head.status(now),
        attempt: stored.head.attempt,
        worker: Why::worker_of(&stored.head.state),
        queue: stored.queue,
        project: stored.project,
        task_type: stored.task_type,
        affinity: stored.affinity,
        reasons,
    })
}

fn facts(
    db: &Connection,
    stored: &Stored,
    limits: Vec<UnderLimit>,
    policy: &LeasePolicy,
    now: Timestamp,
) -> Result<Facts, Failure> {
    let is_blocked = stored.head.state == TaskState::Blocked;
    let is_at_limit = limits.iter().any(|limit| limit.is_full(now));
    let runs_alone = stored.head.runs_alone();
    let wanted = Wanted {
        queue: &stored.queue,
        task_type: &stored.task_type,
        project: &stored.project,
        affinity: stored.affinity.as_ref(),
    };
    Ok(Facts {
        now,
        is_blocked,
        expired: stored.head.expired(now),
        run_after: stored.head.run_after,
        waited: if is_blocked { waited(db, stored, now)? } else { Vec::new() },
        choice: stored.links.choice,
        pause: pause(db, stored)?,
        limits,
        runs_alone,
        makes_room: if runs_alone { makes_room(db, stored.head.id, now)? } else { None },
        takers: takers(db, &wanted, policy, now)?,
        ahead: if is_blocked { Ahead::default() } else { ahead(db, stored, is_at_limit, now)? },
    })
}

fn waited(db: &Connection, stored: &Stored, now: Timestamp) -> Result<Vec<Waited>, Failure> {
    let mut waited = Vec::new();
    for task in dependencies_of(db, stored.n)? {
        let standing = Stored::by_id(db, task)?.map(|stored| WaitedStanding {
            status: stored.head.status(now),
            queue: stored.queue,
            project: stored.project,
        });
        waited.push(Waited { task, standing });
    }
    Ok(waited)
}

fn pause(db: &Connection, stored: &Stored) -> Result<Option<Pause>, Failure> {
    let mut statement = db
        .prepare_cached("SELECT changed_at, changed_by, reason FROM queue WHERE name = ?1 AND paused <> 0")?;
    let pause = statement.query_row([stored.queue.as_str()], |row| {
        Ok(Pause {
            since: time(row, 0)?,
            by: row.get::<_, Option<Box<str>>>(1)?.map(Label::from_stored),
            reason: row.get(2)?,
        })
    });
    Ok(pause.optional()?)
}

fn makes_room(db: &Connection, task: TaskId, now: Timestamp) -> Result<Option<WorkerId>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT id, alone_task, alone_attempt, alone_until FROM worker INDEXED BY worker_makes_room \
         WHERE alone_until IS NOT NULL AND alone_task = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([task.as_bytes()])?;
    while let Some(row) = rows.next()? {
        if tie_of(row, 1)?.is_some_and(|alone| alone.makes_room_at(now)) {
            return Ok(Some(WorkerId::from_stored(text(row, 0)?)));
        }
    }
    Ok(None)
}

/// Whether anybody takes such tasks, of the workers that were heard of last.
pub(crate) fn takers(
    db: &Connection,
    wanted: &Wanted<'_>,
    policy: &LeasePolicy,
    now: Timestamp,
) -> Result<Takers, Failure> {
    // Names are written into JSON as they are: what does not hold the queue's need not be read.
    let mut statement = db.prepare_cached(
        "SELECT id, started_at, last_beat_at, ended_at, directive, takes FROM (SELECT id, started_at, last_beat_at, \
         ended_at, directive, takes FROM worker INDEXED BY worker_by_seen ORDER BY seen_at DESC LIMIT ?1) \
         WHERE instr(takes, ?2)",
    )?;
    let quoted = format!("\"{}\"", wanted.queue);
    let mut rows = statement.query(params![Takers::LOOKED_AT as i64, quoted])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (beat, ended, directive) =
            (maybe_time(row, 2)?, maybe_time(row, 3)?, <Directive as Code>::of(row.get(4)?)?);
        let takes = takes(row, 5)?;
        found.push(Taker {
            worker: WorkerId::from_stored(text(row, 0)?),
            status: WorkerStatus::of((ended, beat, directive), policy, now),
            directive,
            heard_at: Taker::heard_at(time(row, 1)?, beat, &takes),
            takes,
        });
    }
    let mut more = db.prepare_cached("SELECT 1 FROM worker INDEXED BY worker_by_seen LIMIT 1 OFFSET ?1")?;
    let unseen = more.exists([Takers::LOOKED_AT as i64])?;
    Ok(Takers::among(found, unseen, wanted, now))
}

/// Counts of what waits in a queue and a priority before a time and an id, where claims look and at limits.
const READY: &str = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_ready \
     WHERE state = 0 AND queue = ?1 AND priority = ?2 AND (run_after, id) < (?3, ?4) LIMIT ?5)";
const ASIDE: &str = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_put_aside \
     WHERE state = 6 AND queue = ?1 AND priority = ?2 AND (run_after, id) < (?3, ?4) LIMIT ?5)";

/// The same of one tenant of a fair queue: of one affinity where claims look, and of the first 10,000 at limits.
const READY_OF_TENANT: &str = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_line \
     WHERE state = 0 AND queue = ?1 AND priority = ?2 AND affinity = ?7 AND fair = ?6 AND (run_after, id) < (?3, ?4) LIMIT ?5)";
const ASIDE_OF_TENANT: &str = "SELECT count(*) FROM (SELECT fair FROM task INDEXED BY task_put_aside \
     WHERE state = 6 AND queue = ?1 AND priority = ?2 AND (run_after, id) < (?3, ?4) LIMIT 10000) WHERE fair = ?6 LIMIT ?5";

/// Behind every id.
const LAST_ID: [u8; 16] = [0xff; 16];

/// How many come before a task. Those that claims pass over count only for one that waits at a limit itself, and in a fair queue
/// only those of its own tenant.
fn ahead(db: &Connection, stored: &Stored, is_at_limit: bool, now: Timestamp) -> Result<Ahead, Failure> {
    let order = order::told(db, &stored.queue)?.order;
    let fair = order.fair.map(|fair| fair.tenant(&stored.project, stored.concurrency_key.as_ref()));
    let tenant = fair.as_ref().map(order::code_of);
    let (queue, run_after) = (stored.queue.as_str(), stored.head.run_after);
    let mut count = 0_u64;
    for priority in Priority::ALL {
        let (until, id) = match order.ahead(priority, (stored.priority, run_after), now) {
            Before::None => continue,
            Before::Until(until) => (until, LAST_ID),
            Before::Own => (run_after, *stored.head.id.as_bytes()),
        };
        let mut add = |sql: &str, more: &[&dyn ToSql]| -> Result<(), Failure> {
            let left = Ahead::COUNTED.saturating_sub(count);
            let (code, until) = (priority.code(), until.as_millis());
            let key: [&dyn ToSql; 5] = [&queue, &code, &until, &id, &left];
            let key = key.iter().chain(more);
            let found = db.prepare_cached(sql)?.query_row(rusqlite::params_from_iter(key), |row| row.get(0));
            count += found.map(|found: u64| found)?;
            Ok(())
        };
        match &tenant {
            None => add(READY, &[])?,
            Some(tenant) => {
                for affinity in order::affinities(db, queue, priority)? {
                    add(READY_OF_TENANT, &[tenant, &affinity])?;
                }
            }
        }
        match &tenant {
            _ if !is_at_limit => {}
            None => add(ASIDE, &[])?,
            Some(tenant) => add(ASIDE_OF_TENANT, &[tenant])?,
        }
    }
    Ok(Ahead::counted(count, Ahead::COUNTED))
}
