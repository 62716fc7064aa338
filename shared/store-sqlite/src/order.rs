//! The order of queues: what is said of it, whose a task is where a queue is fair, and the ready tasks in that order.
//!
//! In a fair queue each task's row says whose it is, so that a claim goes down an index by tenants, and reads as many rows as there are
//! lines (the ready tasks of one tenant, type and project) and not as there are tasks. How many tasks of a tenant run is what stands
//! under [`LimitOn::Turn`]: the writing thread holds it as it holds what stands under limits. `docs/order.md` tells more.
//!
//! A queue that is made fair while tasks wait has their rows noted first, some thousands in a transaction; until that is done it gives
//! out its tasks as before.

use baton_model::order::{Facts, Line, Place, Ready, Rules};
use baton_model::{
    FairBy, Label, LimitOn, Priority, QueueName, QueueOrder, Shared, Tenant, Timestamp, Wants,
};
use baton_store::{Claim, OrderQueue};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::claim::{Kind, Lane, ready, types};
use crate::codes::Code;
use crate::error::Failure;
use crate::limit::Limits;
use crate::queue::forget_unused;
use crate::rows::{ALSO, Stored, affinity_code, from_json, maybe_text, select_task, text, to_json};
use crate::transaction::Transaction;

/// How many rows one transaction notes at most: about 20 ms.
const ROWS: i64 = 10_000;

/// A queue that is being made fair: between whom, and up to which row that is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turning {
    by: FairBy,
    noted: i64,
}

/// Queues that are fair, or are about to be.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    /// Those that give out their tasks so.
    pub(crate) queues: std::collections::BTreeMap<QueueName, FairBy>,
    /// Those that are about to.
    pub(crate) turning: std::collections::BTreeMap<QueueName, Turning>,
}

impl Fair {
    pub(crate) fn load(db: &Connection) -> Result<Self, Failure> {
        let mut fair = Self::default();
        let mut statement =
            db.prepare_cached("SELECT name, ordering, turning FROM queue WHERE ordering IS NOT NULL")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(by) = order_of(maybe_text(row, 1)?)?.fair else { continue };
            let queue = QueueName::from_stored(text(row, 0)?);
            match row.get::<_, Option<i64>>(2)? {
                Some(noted) => drop(fair.turning.insert(queue, Turning { by, noted })),
                None => drop(fair.queues.insert(queue, by)),
            }
        }
        Ok(fair)
    }
}

/// Whose a task is, as its row has it.
pub(crate) fn code_of(tenant: &Tenant) -> String {
    match tenant {
        Tenant::Key(key) => format!("k/{key}"),
        Tenant::Project(project) => format!("p/{project}"),
    }
}

/// The same, in the words of SQL.
const fn sql_of(by: FairBy) -> &'static str {
    match by {
        FairBy::Project => "'p/' || project",
        FairBy::Key => "iif(concurrency_key IS NULL, 'p/' || project, 'k/' || concurrency_key)",
    }
}

impl Limits {
    /// Whose a task is that is about to be written, if its queue is fair or about to be.
    pub(crate) fn whose(&self, task: Shared<'_>) -> Option<String> {
        let by = self.fair_by(task.queue)?;
        Some(code_of(&by.tenant(task.project, task.key)))
    }

    fn fair_by(&self, queue: &QueueName) -> Option<FairBy> {
        self.turning.get(queue).map(|turning| turning.by).or_else(|| self.book.fair.get(queue).copied())
    }
}

/// Has the row of a task say whose it is, if its queue is fair: of one that has come from elsewhere, or lives again and may have ended
/// before the queue was.
pub(crate) fn note_whose(transaction: &Transaction<'_>, n: i64, task: Shared<'_>) -> Result<(), Failure> {
    if let Some(whose) = transaction.state.limits.whose(task) {
        let mut statement = transaction.db.prepare_cached("UPDATE task SET fair = ?2 WHERE n = ?1")?;
        statement.execute(params![n, whose])?;
    }
    Ok(())
}

/// What a task's row says of whose it is in its queue, or that it has an affinity in one that is not fair.
pub(crate) fn fair_code(transaction: &Transaction<'_>, stored: &Stored) -> Option<String> {
    let whose = transaction.state.limits.whose(stored.shared());
    whose.or_else(|| stored.affinity.as_ref().map(|_| String::new()))
}

/// The order that a queue's row tells.
pub(crate) fn order_of(ordering: Option<&str>) -> Result<QueueOrder, Failure> {
    Ok(ordering.map(|json| from_json("a queue's order", json)).transpose()?.unwrap_or_default())
}

/// How an order is written.
pub(crate) fn ordering(order: &QueueOrder) -> Result<Option<String>, Failure> {
    Ok((!order.is_usual()).then(|| to_json("a queue's order", order)).transpose()?)
}

/// What a queue's row tells of how it gives out its tasks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    /// Whether it gives out none.
    pub(crate) paused: bool,
    /// The order that was set.
    pub(crate) set: QueueOrder,
    /// That by which it goes now: it is not fair yet while its tasks are being noted.
    pub(crate) order: QueueOrder,
}

const TOLD: &str = "SELECT paused, ordering, turning IS NOT NULL FROM queue WHERE name = ?1";

/// How a queue gives out its tasks.
pub(crate) fn told(db: &Connection, queue: &QueueName) -> Result<Told, Failure> {
    let mut statement = db.prepare_cached(TOLD)?;
    let mut rows = statement.query([queue.as_str()])?;
    rows.next()?.map_or_else(|| Ok(Told::default()), told_by)
}

/// The same to a claim.
pub(crate) fn told_to_claim(transaction: &Transaction<'_>, queue: &QueueName) -> Result<Told, Failure> {
    Ok(transaction.held.first(TOLD, [queue.as_str()], told_by)?.unwrap_or_default())
}

fn told_by(row: &Row<'_>) -> Result<Told, Failure> {
    let set = order_of(row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)?)?;
    let turning: bool = row.get(2)?;
    Ok(Told { paused: row.get(0)?, set, order: QueueOrder { fair: set.fair.filter(|_| !turning), ..set } })
}

/// Says in which order a queue gives out its tasks.
pub(crate) fn order_queue(
    transaction: &mut Transaction<'_>,
    set: &OrderQueue,
) -> Result<(QueueOrder, QueueOrder), Failure> {
    let from = told(transaction.db, &set.queue)?.set;
    write(transaction, &set.queue, (from, set.order), set.now)?;
    forget_unused(transaction.db, &set.queue)?;
    transaction.ring_queue(&set.queue, set.now);
    Ok((from, set.order))
}

/// Writes the order of a queue, and has its tasks noted if it is to be fair in another way than it was.
pub(crate) fn write(
    transaction: &mut Transaction<'_>,
    queue: &QueueName,
    (from, to): (QueueOrder, QueueOrder),
    now: Timestamp,
) -> Result<(), Failure> {
    if from == to {
        return Ok(());
    }
    transaction
        .db
        .prepare_cached(
            "INSERT INTO queue (name, paused, changed_at, ordering) VALUES (?1, 0, ?2, ?3) \
             ON CONFLICT DO UPDATE SET ordering = ?3",
        )?
        .execute(params![queue.as_str(), now.as_millis(), ordering(&to)?])?;
    if from.fair != to.fair {
        transaction
            .db
            .prepare_cached("UPDATE queue SET turning = ?2 WHERE name = ?1")?
            .execute(params![queue.as_str(), to.fair.map(|_| 0)])?;
        transaction.state.limits = Limits::load(transaction.db)?;
    }
    Ok(())
}

/// Notes whose some more tasks are of queues that are being made fair; says whether there are others.
pub(crate) fn note_some(transaction: &mut Transaction<'_>, (): &()) -> Result<bool, Failure> {
    let first = transaction.state.limits.turning.first_key_value();
    let Some((queue, turning)) = first.map(|(queue, turning)| (queue.clone(), *turning)) else {
        return Ok(false);
    };
    let (last, rows): (Option<i64>, i64) = transaction
        .db
        .prepare_cached("SELECT max(n), count(*) FROM (SELECT n FROM task WHERE n > ?1 ORDER BY n LIMIT ?2)")?
        .query_row([turning.noted, ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let whose = sql_of(turning.by);
    let sql = format!(
        "UPDATE task SET fair = {whose} WHERE n > ?1 AND n <= ?2 AND queue = ?3 AND state IN (0, 1, 5, 6)"
    );
    transaction.db.prepare_cached(&sql)?.execute(params![turning.noted, last, queue.as_str()])?;
    let noted = last.filter(|_| rows == ROWS);
    let mut note = transaction.db.prepare_cached("UPDATE queue SET turning = ?2 WHERE name = ?1")?;
    note.execute(params![queue.as_str(), noted])?;
    // Once it is fair, what runs is counted by whose it is.
    transaction.state.limits = Limits::load(transaction.db)?;
    Ok(!transaction.state.limits.turning.is_empty())
}

/// A ready task of a queue at a place among those that a claim looks into.
struct Candidate {
    queue: usize,
    stored: Stored,
}

impl Ready for Candidate {
    fn facts(&self) -> Facts<'_> {
        facts(self.queue, &self.stored)
    }
}

fn facts(queue: usize, stored: &Stored) -> Facts<'_> {
    Facts {
        queue,
        priority: stored.priority,
        run_after: stored.head.run_after,
        id: stored.head.id,
        project: &stored.project,
        key: stored.concurrency_key.as_ref(),
        affinity: stored.affinity.as_ref(),
    }
}

/// Does something with the rules by which a claim puts tasks in line.
fn by_rules<T>(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    with: impl FnOnce(Rules<'_>) -> T,
) -> T {
    let orders: Vec<QueueOrder> = lanes.iter().map(|lane| lane.order).collect();
    let running = |queue: usize, tenant: &Tenant| {
        let on = lanes.get(queue).map(|lane| LimitOn::Turn(lane.queue.clone(), tenant.clone()));
        on.map_or(0, |on| transaction.state.limits.standing(&on).running)
    };
    with(Rules { orders: &orders, warm: &claim.warm, now: claim.now, running: &running })
}

/// Where a task stands in a claim.
pub(crate) fn place(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    stored: &Stored,
) -> Place {
    let queue = lanes.iter().position(|lane| *lane.queue == stored.queue).unwrap_or_default();
    by_rules(transaction, claim, lanes, |rules| rules.place(&facts(queue, stored)))
}

/// The first ready tasks, up to `most`, each queue by its own order.
pub(crate) fn in_order(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    most: usize,
    kind: Kind,
) -> Result<Vec<Stored>, Failure> {
    let mut candidates = Vec::new();
    for (queue, lane) in lanes.iter().enumerate() {
        let found = firsts_of_queue(transaction, claim, lane, most, kind)?;
        candidates.extend(found.into_iter().map(|stored| Candidate { queue, stored }));
    }
    Ok(by_rules(transaction, claim, lanes, |rules| {
        Line::new(rules, candidates).take(most).map(|candidate| candidate.stored).collect()
    }))
}

/// The ready tasks of a queue that may be among the first `most`, whatever runs: the first ones of each tenant, and of each those for
/// what is to be warm.
fn firsts_of_queue(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lane: &Lane<'_>,
    most: usize,
    kind: Kind,
) -> Result<Vec<Stored>, Failure> {
    let only_warm = claim.warm.wants == Wants::Only;
    let (mut found, mut warm) = (Vec::new(), Vec::new());
    for priority in Priority::ALL {
        for affinity in claim.warm.preferred() {
            let of = (priority, Some(affinity));
            firsts_of_lines(transaction, claim, lane, of, (most, kind), &mut warm)?;
        }
        if lane.order.fair.is_some() && !only_warm {
            firsts_of_lines(transaction, claim, lane, (priority, None), (most, kind), &mut found)?;
        } else if !only_warm {
            for task_type in types(claim, lane) {
                let what = (lane.queue, task_type, priority);
                ready(transaction, claim, kind.query(), what, most, &mut found)?;
            }
        }
        // None of a lower priority counts as of a higher one, and there are enough.
        let enough = if only_warm { warm.len() } else { found.len() };
        if lane.order.age_after_seconds.is_none() && enough >= most {
            break;
        }
    }
    // What is warm may be among the first ones, too, and may be named twice.
    found.append(&mut warm);
    found.sort_by_key(|stored: &Stored| stored.n);
    found.dedup_by_key(|stored| stored.n);
    Ok(found)
}

/// The first task of the line behind that of ?3 to ?6, of any affinity. With `run_after`, past all times: SQLite looks for row values at
/// or behind the given one, so that it would walk past all tasks of that line (16 ms for 100,000 of them, in a debug build).
const NEXT: &str = select_task!(
    also "fair",
    "INDEXED BY task_line WHERE state = 0 AND fair IS NOT NULL AND queue = ?1 AND priority = ?2 \
     AND (affinity, fair, task_type, project, run_after) > (?3, ?4, ?5, ?6, 9223372036854775807) \
     ORDER BY affinity, fair, task_type, project, run_after, id LIMIT 1"
);

/// The same, of one affinity.
const NEXT_WARM: &str = select_task!(
    also "fair",
    "INDEXED BY task_line WHERE state = 0 AND fair IS NOT NULL AND queue = ?1 AND priority = ?2 AND affinity = ?3 \
     AND (fair, task_type, project, run_after) > (?4, ?5, ?6, 9223372036854775807) \
     ORDER BY fair, task_type, project, run_after, id LIMIT 1"
);

/// The first tasks of a line that are due, ?9 at most, with fewer losses of their workers than ?8.
const FIRST: &str = select_task!(
    "INDEXED BY task_line WHERE state = 0 AND queue = ?1 AND priority = ?2 AND affinity = ?3 AND fair = ?4 AND task_type = ?5 \
     AND project = ?6 AND run_after <= ?7 AND worker_losses < ?8 ORDER BY run_after, id LIMIT ?9"
);

/// A walk from line to line of a queue and a priority.
struct Walk<'a> {
    transaction: &'a Transaction<'a>,
    queue: &'a str,
    priority: i64,
    next: &'static str,
    /// The line that was met last, by affinity, tenant, type and project.
    line: (String, String, String, String),
}

impl<'a> Walk<'a> {
    fn new(
        transaction: &'a Transaction<'_>,
        lane: &'a Lane<'_>,
        priority: Priority,
        affinity: Option<&Label>,
    ) -> Self {
        let next = if affinity.is_some() { NEXT_WARM } else { NEXT };
        let line = (affinity_code(affinity).to_owned(), String::new(), String::new(), String::new());
        Self { transaction, queue: lane.queue.as_str(), priority: priority.code(), next, line }
    }

    fn rows<T>(
        &self,
        sql: &str,
        (now, losses, most): (i64, u32, i64),
        mut each: impl FnMut(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut statement = self.transaction.db.prepare_cached(sql)?;
        let (affinity, tenant, task_type, project) = &self.line;
        let key: [&dyn ToSql; 9] =
            [&self.queue, &self.priority, affinity, tenant, task_type, project, &now, &losses, &most];
        let wanted = statement.parameter_count();
        let mut rows = statement.query(&key[..wanted])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(each(row)?);
        }
        Ok(found)
    }

    /// Goes to the next line; gives its first task, due or not.
    fn next(&mut self) -> Result<Option<Stored>, Failure> {
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(ALSO)?, Stored::from_row(row)?));
        let Some((tenant, first)) = self.rows(self.next, (0, 0, 0), read)?.pop() else {
            return Ok(None);
        };
        let affinity = affinity_code(first.affinity.as_ref()).to_owned();
        self.line = (affinity, tenant, first.task_type.to_string(), first.project.to_string());
        Ok(Some(first))
    }

    /// The first tasks of the line that are due.
    fn firsts(&self, now: Timestamp, kind: Kind, most: usize) -> Result<Vec<Stored>, Failure> {
        let of = (now.as_millis(), kind.losses(), most as i64);
        self.rows(FIRST, of, Stored::from_row)
    }
}

fn may_take(claim: &Claim, lane: &Lane<'_>, first: &Stored) -> bool {
    lane.has_type(claim, &first.task_type)
        && claim.caller.project().is_none_or(|project| *project == first.project)
}

/// Adds the first ready tasks of each line: of a fair queue, or for what is to be warm.
fn firsts_of_lines(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lane: &Lane<'_>,
    (priority, affinity): (Priority, Option<&Label>),
    (most, kind): (usize, Kind),
    found: &mut Vec<Stored>,
) -> Result<(), Failure> {
    let mut walk = Walk::new(transaction, lane, priority, affinity);
    while let Some(first) = walk.next()? {
        if !may_take(claim, lane, &first) || first.head.run_after > claim.now {
            continue;
        }
        let is_plain = !first.head.runs_alone() || matches!(kind, Kind::Any);
        if most == 1 && is_plain {
            found.push(first);
        } else {
            found.append(&mut walk.firsts(claim.now, kind, most)?);
        }
    }
    Ok(())
}

/// The affinities that ready tasks of a fair queue and a priority have, that of none included.
pub(crate) fn affinities(db: &Connection, queue: &str, priority: Priority) -> Result<Vec<String>, Failure> {
    let mut next = db.prepare_cached(
        "SELECT affinity FROM task INDEXED BY task_line WHERE state = 0 AND fair IS NOT NULL AND queue = ?1 \
         AND priority = ?2 AND affinity > ?3 ORDER BY affinity LIMIT 1",
    )?;
    let mut all = vec![String::new()];
    while let Some(last) = all.last()
        && let Some(found) =
            next.query_row(params![queue, priority.code(), last], |row| row.get(0)).optional()?
    {
        all.push(found);
    }
    Ok(all)
}

/// When the first of the tasks is due that a claim wants which wants only what is warm.
pub(crate) fn next_warm(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
) -> Result<Option<Timestamp>, Failure> {
    let mut next: Option<Timestamp> = None;
    for lane in lanes {
        for affinity in &claim.warm.names {
            for priority in Priority::ALL {
                let mut walk = Walk::new(transaction, lane, priority, Some(affinity));
                while let Some(first) = walk.next()? {
                    if may_take(claim, lane, &first) {
                        let due = first.head.run_after;
                        next = Some(next.map_or(due, |next| next.min(due)));
                    }
                }
            }
        }
    }
    Ok(next)
}
