//! Claiming: which tasks a worker gets, and why it gets none.

use baton_model::alone::LOSSES;
use baton_model::transition::Command;
use baton_model::{Directive, Priority, ProjectId, QueueName, QueueOrder, Task, TaskType, Timestamp, Wants};
use baton_store::{Claim, ClaimAnswer, Nothing};
use rusqlite::params;

use crate::alone;
use crate::codes::Code;
use crate::error::Failure;
use crate::expiry;
use crate::limit;
use crate::order::{self, Told};
use crate::rows::{Stored, select_task};
use crate::supply;
use crate::transaction::Transaction;
use crate::worker::{Entered, enter_session};
use baton_store::histogram::What;

/// One query over a queue's waiting tasks, for each kind of claim over the index that leads to its tasks and to no
/// others. Their parameters are ?1 the queue, ?2 the type, ?3 the project, and from ?4 on the query's own.
// Why not one query with `?2 IS NULL OR task_type = ?2`: no index serves both halves of it, so that it walks the queue.
// A claim of a type of which nothing waits, among 100,000 tasks of another, takes 30 ms that way, and 5 us this way.
pub(crate) struct Waiting {
    any: &'static str,
    of_type: &'static str,
    of_project: &'static str,
    of_both: &'static str,
    /// Tasks of the default project are not in the indexes by project: these walk past others' tasks.
    of_default: &'static str,
    of_default_and_type: &'static str,
}

/// The project whose tasks `task_ready_project` leaves out; see `schema-2.sql`.
const DEFAULT_PROJECT: &str = "default";

/// A [`Waiting`] of what is selected of a task, and the conditions, order and limit that follow.
macro_rules! waiting {
    ($select:expr, $tail:literal) => {
        Waiting {
            any: concat!($select, "INDEXED BY task_ready WHERE state = 0 AND queue = ?1", $tail),
            of_type: concat!(
                $select,
                "INDEXED BY task_ready_type WHERE state = 0 AND queue = ?1 AND task_type = ?2",
                $tail
            ),
            of_project: concat!(
                $select,
                "INDEXED BY task_ready_project WHERE state = 0 AND project <> 'default' AND queue = ?1 \
                 AND project = ?3",
                $tail
            ),
            of_both: concat!(
                $select,
                "INDEXED BY task_ready_project_type WHERE state = 0 AND project <> 'default' AND queue = ?1 \
                 AND task_type = ?2 AND project = ?3",
                $tail
            ),
            of_default: concat!(
                $select,
                "INDEXED BY task_ready WHERE state = 0 AND queue = ?1 AND project = ?3",
                $tail
            ),
            of_default_and_type: concat!(
                $select,
                "INDEXED BY task_ready_type WHERE state = 0 AND queue = ?1 AND task_type = ?2 AND project = ?3",
                $tail
            ),
        }
    };
}

impl Waiting {
    fn of(&self, task_type: Option<&TaskType>, project: Option<&ProjectId>) -> &'static str {
        match (task_type, project) {
            (None, None) => self.any,
            (Some(_), None) => self.of_type,
            (None, Some(project)) if project.as_str() == DEFAULT_PROJECT => self.of_default,
            (Some(_), Some(project)) if project.as_str() == DEFAULT_PROJECT => self.of_default_and_type,
            (None, Some(_)) => self.of_project,
            (Some(_), Some(_)) => self.of_both,
        }
    }
}

/// Up to ?4 tasks in the order of their claiming, due or not.
const FIRST_IN_LINE: Waiting = waiting!(select_task!(""), " ORDER BY priority, run_after, id LIMIT ?4");

/// Up to ?6 tasks of the priority ?4 that are due at ?5, in the order of their claiming.
static READY: Waiting =
    waiting!(select_task!(""), " AND priority = ?4 AND run_after <= ?5 ORDER BY run_after, id LIMIT ?6");

/// As [`READY`], without those that are given out alone: they are few, and passed over.
static READY_PLAIN: Waiting = waiting!(
    select_task!(""),
    " AND priority = ?4 AND run_after <= ?5 AND worker_losses < 2 ORDER BY run_after, id LIMIT ?6"
);

/// Which ready tasks are looked for.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// All.
    Any,
    /// Those that need not be given out alone.
    Plain,
}

impl Kind {
    pub(crate) const fn query(self) -> &'static Waiting {
        match self {
            Self::Any => &READY,
            Self::Plain => &READY_PLAIN,
        }
    }

    /// Below how many losses of its worker in a row a task is one of these.
    pub(crate) const fn losses(self) -> u32 {
        match self {
            Self::Any => u32::MAX,
            Self::Plain => LOSSES,
        }
    }
}

/// When the first task of the priority ?4 is due.
const NEXT_DUE: Waiting = waiting!("SELECT min(run_after) FROM task ", " AND priority = ?4");

/// Gives a worker tasks, or says why it gets none.
pub(crate) fn claim(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<ClaimAnswer, Failure> {
    let answer = answer(transaction, claim)?;
    supply::asked(transaction, claim, &answer)?;
    Ok(answer)
}

fn answer(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<ClaimAnswer, Failure> {
    let Entered { directive, beats, alone } = enter_session(transaction, claim)?;
    if let Some(answer) = repeated(transaction, claim)? {
        return Ok(answer);
    }
    if directive != Directive::Run {
        return Ok(ClaimAnswer::Nothing(Nothing::Directed { directive }));
    }
    let active = active(transaction, claim)?;
    if active >= claim.cap {
        return Ok(ClaimAnswer::Nothing(Nothing::AtCap { active, cap: claim.cap }));
    }
    if let Some(alone) = alone
        && let Some(nothing) = alone::tied(transaction, claim, alone, active)?
    {
        return Ok(ClaimAnswer::Nothing(nothing));
    }
    if expiry::before_claim(transaction, claim.now)? {
        return Ok(ClaimAnswer::Nothing(Nothing::Scheduled { next_at: claim.now }));
    }
    // What a server did not live to note: it goes on with each claim.
    order::note_some(transaction, &())?;
    let (mut lanes, mut closed): (Vec<Lane<'_>>, Vec<Lane<'_>>) = (Vec::new(), Vec::new());
    for queue in &claim.queues {
        if lanes.iter().chain(&closed).any(|lane| lane.queue == queue) {
            continue;
        }
        let Told { paused, order, .. } = order::told_to_claim(transaction, queue)?;
        let place = if paused { &mut closed } else { &mut lanes };
        place.push(Lane { queue, order, only: None });
    }
    if lanes.is_empty() {
        return Ok(ClaimAnswer::Nothing(Nothing::Paused { queues: claim.queues.clone() }));
    }
    let most = claim.max_tasks.min(claim.cap - active) as usize;
    if !transaction.state.limits.is_empty() {
        return match limit::claim(transaction, claim, beats, &lanes, (most, active))? {
            Ok(leased) => answered(transaction, claim, leased),
            Err(nothing) => unless_paused(transaction, claim, &closed, nothing).map(ClaimAnswer::Nothing),
        };
    }
    let mut ready = candidates(transaction, claim, &lanes, most)?;
    if ready.iter().any(|stored| stored.head.runs_alone()) {
        ready = match alone::choose(transaction, claim, &lanes, most, active)? {
            Ok(chosen) => chosen,
            Err(nothing) => return Ok(ClaimAnswer::Nothing(nothing)),
        };
    }
    if ready.is_empty() {
        let nothing = nothing(transaction, claim, &lanes)?;
        return unless_paused(transaction, claim, &closed, nothing).map(ClaimAnswer::Nothing);
    }
    let mut leased = Vec::with_capacity(ready.len());
    for stored in ready {
        leased.push(take(transaction, claim, beats, &stored)?);
    }
    answered(transaction, claim, leased)
}

/// The answer of leases, which is given again to the same request key.
fn answered(transaction: &Transaction<'_>, claim: &Claim, leased: Vec<Task>) -> Result<ClaimAnswer, Failure> {
    if let Some(request) = &claim.request {
        transaction
            .db
            .prepare_cached("INSERT INTO claim_request (worker, request, created_at) VALUES (?1, ?2, ?3)")?
            .execute(params![claim.worker.as_str(), request.as_str(), claim.now.as_millis()])?;
    }
    Ok(ClaimAnswer::Leased(leased))
}

/// Where a claim looks: a queue, and of which types.
#[derive(Clone, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) queue: &'a QueueName,
    /// In which order its tasks are given out.
    pub(crate) order: QueueOrder,
    /// The types, if others than those that the claim names are left out.
    pub(crate) only: Option<Vec<TaskType>>,
}

impl Lane<'_> {
    /// Whether a claim gets tasks of this type here.
    pub(crate) fn has_type(&self, claim: &Claim, task_type: &TaskType) -> bool {
        match &self.only {
            Some(only) => only.contains(task_type),
            None => claim.types.is_empty() || claim.types.contains(task_type),
        }
    }
}

/// The answer to a request key that was answered before.
fn repeated(transaction: &Transaction<'_>, claim: &Claim) -> Result<Option<ClaimAnswer>, Failure> {
    let Some(request) = &claim.request else { return Ok(None) };
    let known = transaction
        .db
        .prepare_cached("SELECT 1 FROM claim_request WHERE worker = ?1 AND request = ?2")?
        .exists(params![claim.worker.as_str(), request.as_str()])?;
    if !known {
        return Ok(None);
    }
    let mut statement = transaction.db.prepare_cached(select_task!(
        "INDEXED BY task_leased WHERE worker = ?1 AND state = 1 AND request = ?2 ORDER BY n"
    ))?;
    let mut rows = statement.query(params![claim.worker.as_str(), request.as_str()])?;
    let mut held: Vec<Task> = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        // The first answer may have been to a caller that reaches more.
        if claim.caller.project().is_none_or(|project| *project == stored.project) {
            held.push(stored.into_task(transaction.db)?);
        }
    }
    held.sort_by_key(|task| (task.priority, task.head.run_after, task.head.id));
    Ok(Some(if held.is_empty() {
        ClaimAnswer::Nothing(Nothing::RequestSpent)
    } else {
        ClaimAnswer::Leased(held)
    }))
}

/// How many tasks the worker holds: the leases that name it, and no stored number.
fn active(transaction: &Transaction<'_>, claim: &Claim) -> Result<u32, Failure> {
    let held = "SELECT count(*) FROM task INDEXED BY task_leased WHERE worker = ?1 AND state = 1";
    let held = transaction.held.first(held, [claim.worker.as_str()], |row| Ok(row.get(0)?))?;
    Ok(held.unwrap_or_default())
}

/// The ready tasks that are claimed first, up to `most`: by the orders of their queues, which usually are priority, run_after, id.
pub(crate) fn candidates(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    most: usize,
) -> Result<Vec<Stored>, Failure> {
    if let ([Lane { queue, only: None, order }], []) = (lanes, &*claim.types)
        && order.is_usual()
        && claim.warm.wants == Wants::Any
        && let Some(first) = first_in_line(transaction, claim, queue, most)?
    {
        return Ok(first);
    }
    ranked(transaction, claim, lanes, most, Kind::Any)
}

/// The ready tasks that are claimed first, up to `most`, looked for priority by priority.
pub(crate) fn ranked(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    most: usize,
    kind: Kind,
) -> Result<Vec<Stored>, Failure> {
    if !lanes.iter().all(|lane| lane.order.is_usual()) || claim.warm.wants != Wants::Any {
        return order::in_order(transaction, claim, lanes, most, kind);
    }
    let mut chosen: Vec<Stored> = Vec::new();
    for priority in Priority::ALL {
        let mut found = Vec::new();
        for lane in lanes {
            for task_type in types(claim, lane) {
                let what = (lane.queue, task_type, priority);
                ready(transaction, claim, kind.query(), what, most - chosen.len(), &mut found)?;
            }
        }
        found.sort_by_key(|stored| (stored.head.run_after, stored.head.id));
        found.truncate(most - chosen.len());
        chosen.append(&mut found);
        if chosen.len() == most {
            break;
        }
    }
    Ok(chosen)
}

/// The first tasks of a queue in the order of its index. `None` if one of them is not due: then a due one of lower
/// priority may come behind it. The usual case, at the price of one look instead of one a priority.
fn first_in_line(
    transaction: &Transaction<'_>,
    claim: &Claim,
    queue: &QueueName,
    most: usize,
) -> Result<Option<Vec<Stored>>, Failure> {
    let project = claim.caller.project();
    let line = FIRST_IN_LINE.of(None, project);
    let project = project.map(ProjectId::as_str);
    let mut all_due = true;
    let first =
        transaction.held.query(line, params![queue.as_str(), None::<&str>, project, most as i64], |row| {
            let stored = Stored::from_row(row)?;
            all_due = stored.head.run_after <= claim.now;
            Ok(all_due.then_some(stored))
        })?;
    Ok(all_due.then_some(first))
}

/// The types to look for, each one once; one `None` for all.
pub(crate) fn types<'a>(claim: &'a Claim, lane: &'a Lane<'_>) -> impl Iterator<Item = Option<&'a TaskType>> {
    let types = lane.only.as_ref().unwrap_or(&claim.types);
    let all = types.is_empty().then_some(None);
    let distinct = |(index, one): &(usize, &TaskType)| !types[..*index].contains(one);
    all.into_iter().chain(types.iter().enumerate().filter(distinct).map(|(_, one)| Some(one)))
}

/// Adds the first ready tasks of a queue, a priority and a type.
pub(crate) fn ready(
    transaction: &Transaction<'_>,
    claim: &Claim,
    query: &Waiting,
    (queue, task_type, priority): (&QueueName, Option<&TaskType>, Priority),
    most: usize,
    found: &mut Vec<Stored>,
) -> Result<(), Failure> {
    let project = claim.caller.project();
    let mut statement = transaction.db.prepare_cached(query.of(task_type, project))?;
    let mut rows = statement.query(params![
        queue.as_str(),
        task_type.map(TaskType::as_str),
        project.map(ProjectId::as_str),
        priority.code(),
        claim.now.as_millis(),
        most as i64,
    ])?;
    while let Some(row) = rows.next()? {
        found.push(Stored::from_row(row)?);
    }
    Ok(())
}

/// What a claim is told that finds nothing which is ready.
pub(crate) fn nothing(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
) -> Result<Nothing, Failure> {
    let only = claim.warm.wants == Wants::Only;
    let next = if only { order::next_warm(transaction, claim, lanes)? } else { None };
    if let Some(next_at) = next {
        return Ok(Nothing::Scheduled { next_at });
    }
    Ok(match next_due(transaction, claim, lanes)? {
        Some(_) if only => Nothing::NotWarm,
        Some(next_at) => Nothing::Scheduled { next_at },
        None => Nothing::NoneQueued,
    })
}

/// What a claim is told of which that is all that is known of its open queues: that others of them are paused, if what it asks for waits
/// there.
fn unless_paused(
    transaction: &Transaction<'_>,
    claim: &Claim,
    closed: &[Lane<'_>],
    told: Nothing,
) -> Result<Nothing, Failure> {
    if told != Nothing::NoneQueued || closed.is_empty() {
        return Ok(told);
    }
    let mut waits = matches!(nothing(transaction, claim, closed)?, Nothing::Scheduled { .. });
    for lane in closed {
        waits = waits || limit::is_put_aside(transaction.db, claim, lane.queue)?;
    }
    let queues = closed.iter().map(|lane| lane.queue.clone()).collect();
    Ok(if waits { Nothing::Paused { queues } } else { told })
}

/// When the next of the waiting tasks is due, whatever is warm.
fn next_due(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
) -> Result<Option<Timestamp>, Failure> {
    let project = claim.caller.project();
    let mut next: Option<i64> = None;
    for lane in lanes {
        for task_type in types(claim, lane) {
            for priority in Priority::ALL {
                let due: Option<i64> =
                    transaction.db.prepare_cached(NEXT_DUE.of(task_type, project))?.query_row(
                        params![
                            lane.queue.as_str(),
                            task_type.map(TaskType::as_str),
                            project.map(ProjectId::as_str),
                            priority.code(),
                        ],
                        |row| row.get(0),
                    )?;
                next = match (next, due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    Ok(next.map(Timestamp::from_millis))
}

/// Has the claim's worker take a task.
pub(crate) fn take(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    beats: u64,
    ready: &Stored,
) -> Result<Task, Failure> {
    let command = Command::Claim {
        worker: claim.worker.clone(),
        session: claim.session,
        terms: claim.terms,
        request: claim.request.clone(),
        beats: Some(beats),
    };
    // A claim is never a repetition: those are answered before candidates are sought.
    let taken = transaction.transition(ready, &command, claim.now)?.unwrap_or_else(|| ready.clone());
    // A task may have been due before it was created; it has waited from then on only.
    let ready_since = ready.head.run_after.max(ready.created_at);
    transaction.duration(&ready.queue, What::Wait, claim.now, claim.now.since(ready_since));
    transaction.state.leased.put(taken.head.id, taken.clone());
    taken.into_task(transaction.db)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// How SQLite finds the rows of a query.
    fn plan(db: &Connection, sql: &str) -> Vec<String> {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // The plan does not hang on what is bound, and nothing is.
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        steps
    }

    #[test]
    fn every_claim_goes_down_its_own_index_and_sorts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let hold = crate::hold::Hold::take(&folder.path().join("baton.db")).unwrap();
        let db = crate::open::for_writing(&hold, crate::Options::default()).unwrap();
        let render: TaskType = "render".parse().unwrap();
        let (film, default): (ProjectId, ProjectId) = ("film".parse().unwrap(), ProjectId::default());
        for (task_type, project, index) in [
            (None, None, "task_ready (queue=?"),
            (Some(&render), None, "task_ready_type (queue=? AND task_type=?"),
            (None, Some(&film), "task_ready_project (queue=? AND project=?"),
            (Some(&render), Some(&film), "task_ready_project_type (queue=? AND project=? AND task_type=?"),
            (None, Some(&default), "task_ready (queue=?"),
            (Some(&render), Some(&default), "task_ready_type (queue=? AND task_type=?"),
        ] {
            for (query, also) in [
                (&READY, " AND priority=? AND run_after<?)"),
                (&READY_PLAIN, " AND priority=? AND run_after<?)"),
                (&NEXT_DUE, " AND priority=?)"),
                (&FIRST_IN_LINE, ")"),
            ] {
                let steps = plan(&db, query.of(task_type, project));
                assert_eq!(steps.len(), 1, "{steps:?}");
                let (way, found) = steps[0].split_once("INDEX ").unwrap();
                assert!(way.starts_with("SEARCH task USING"), "{steps:?}");
                assert_eq!(found, format!("{index}{also}"));
            }
        }
    }

    #[test]
    fn the_indexes_by_project_leave_out_the_default_project() {
        assert_eq!(ProjectId::default().as_str(), DEFAULT_PROJECT);
        let indexes = include_str!("schema-2.sql").matches("project <> 'default';").count();
        assert_eq!(indexes, 2);
        for query in [&FIRST_IN_LINE, &READY, &READY_PLAIN, &NEXT_DUE] {
            for by_project in [query.of_project, query.of_both] {
                assert!(by_project.contains("project <> 'default'"), "the index is usable only so");
            }
        }
    }
}
