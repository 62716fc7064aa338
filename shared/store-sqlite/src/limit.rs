//! Limits that tasks share: what stands under them, and who waits at them.
//!
//! What counts is the set of leases under a limit. The writing thread holds these sets in memory, made of the tasks' rows when
//! the file is opened, when a limit is changed and whenever a transaction was undone, and follows each transition with them.
//! Why not an index over running tasks: each plain task would pay for it.
//!
//! A claim that meets a task whose limit is full puts it aside: its state is 6, by which it is in none of the indexes that claims
//! go down, so that each task over a limit is met once and not by every claim. Whatever frees a place lets the first ones
//! go, in the same commit: of each *line* (a limit's tasks of one queue, type, project and priority, of which a claim gets
//! all or none) at least as many stand where claims look as the limit has places. `docs/limits.md` tells more, and
//! `docs/decisions/0023-tasks-over-a-limit.md` what else there was.

mod claim;
mod settings;
mod wait;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use baton_model::{
    Arrival, Label, LimitBook, LimitOn, LimitRules, ProjectId, QueueName, Rate, Shared, Standing, TaskState,
    TaskType, Timestamp, holds_place,
};
use baton_store::{Nothing, StoreError};
use rusqlite::Connection;

pub(crate) use self::claim::claim;
pub(crate) use self::settings::{
    import_limit, import_owned, limits, limits_behind, owned_behind, owned_projects, redate, set_limit,
    set_owner, sweep,
};
pub(crate) use self::wait::{Line, is_put_aside};
use self::wait::{is_waited_at, let_go, let_go_of_line, waiting_at};
pub(crate) use self::why::{are_set, falls_under};
use crate::error::{Failure, corrupt};
use crate::order::{self, Fair, Turning};
use crate::rows::{AtLimit, Stored, maybe_text, select_task, text};
use crate::transaction::Transaction;

/// What stands under one limit.
#[derive(Debug, Default)]
struct Under {
    /// The tasks that run, by their rows.
    running: HashSet<i64>,
    /// Those that hold their place while they wait for their next attempt.
    held: HashSet<i64>,
    /// How many of its tasks were put where claims look while it had room. Only a hint: by it a new task is put aside at
    /// once that no claim could get, instead of being met by one.
    fresh: u32,
}

/// The limits that are set, with what stands under them.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    loaded: bool,
    pub(crate) book: LimitBook,
    /// Queues that are about to be fair.
    pub(crate) turning: BTreeMap<QueueName, Turning>,
    under: HashMap<LimitOn, Under>,
    arrivals: HashMap<LimitOn, Arrival>,
    /// When a rate lets the next ones of those go that wait at it, each limit once.
    due: BTreeSet<(Timestamp, LimitOn)>,
    due_of: HashMap<LimitOn, Timestamp>,
    /// Whether tasks wait at limits that are not there any more: they are let go a few at a time.
    left_over: bool,
    /// Whether tasks were taken in past the transitions, so that all is to be made anew before the next claim.
    unsettled: bool,
}

/// What does not let a task start.
#[derive(Clone, Debug)]
struct Stop {
    on: LimitOn,
    /// When its rate does, if it is only that.
    next_at: Option<Timestamp>,
}

impl Stop {
    fn nothing(self) -> Nothing {
        Nothing::AtLimit { limit: self.on, next_at: self.next_at }
    }
}

impl Limits {
    /// Whether nothing is limited, so that there is nothing to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.book.is_empty() && self.turning.is_empty() && !self.left_over
    }

    /// Forgets all that was read, as the transaction that has followed it is undone.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Has all be made anew before the next claim.
    pub(crate) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// Reads what is set and what stands under it, if that was not done yet.
    pub(crate) fn ensure_loaded(&mut self, db: &Connection) -> Result<(), StoreError> {
        if !self.loaded {
            *self = Self::load(db)?;
        }
        Ok(())
    }

    pub(crate) fn load(db: &Connection) -> Result<Self, Failure> {
        let (mut book, first) = (settings::book(db)?, waiting_at(db, "")?);
        let left_over = book.is_empty() && first.is_some();
        let Fair { queues, turning } = Fair::load(db)?;
        book.fair = queues;
        let mut limits = Self { loaded: true, left_over, book, turning, ..Self::default() };
        if limits.book.is_empty() {
            return Ok(limits);
        }
        limits.arrivals = settings::arrivals(db)?;
        let mut statement = db.prepare(
            "SELECT n, queue, task_type, project, concurrency_key FROM task INDEXED BY task_leased WHERE state = 1",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let queue = QueueName::from_stored(text(row, 1)?);
            let task_type = TaskType::from_stored(text(row, 2)?);
            let project = ProjectId::from_stored(text(row, 3)?);
            let key = maybe_text(row, 4)?.map(Label::from_stored);
            let shared =
                Shared { queue: &queue, project: &project, task_type: &task_type, key: key.as_ref() };
            for (on, _) in limits.book.of(shared) {
                limits.under.entry(on).or_default().running.insert(row.get(0)?);
            }
        }
        limits.load_held(db)?;
        let mut after = String::new();
        while let Some(on) = waiting_at(db, &after)? {
            after = on.to_string();
            if let Some(rate) = limits.book.rules_of(&on).and_then(|rules| rules.rate)
                && let Some(arrival) = limits.arrivals.get(&on)
            {
                // Whether more may start then is seen when it comes.
                limits.look_again(&on, rate.next_at(Some(*arrival), Timestamp::from_millis(0)));
            }
        }
        Ok(limits)
    }

    fn load_held(&mut self, db: &Connection) -> Result<(), Failure> {
        if !self.book.limits.values().any(|limit| limit.rules.holds_retries) {
            return Ok(());
        }
        for sql in [
            select_task!("INDEXED BY task_retry WHERE state = 0 AND attempt > 0"),
            select_task!("INDEXED BY task_put_aside_listed WHERE state = 6 AND attempt > 0"),
        ] {
            let mut statement = db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let stored = Stored::from_row(row)?;
                if !holds_place(&stored.head) {
                    continue;
                }
                for (on, rules) in self.book.of(stored.shared()) {
                    if rules.holds_retries {
                        self.under.entry(on).or_default().held.insert(stored.n);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn standing(&self, on: &LimitOn) -> Standing {
        let under = self.under.get(on);
        let size = |set: &HashSet<i64>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        Standing {
            running: under.map_or(0, |under| size(&under.running)),
            held: under.map_or(0, |under| size(&under.held)),
            arrival: self.arrivals.get(on).copied(),
        }
    }

    /// How many further tasks a limit lets start, and of those that hold a place of it.
    fn free(&self, on: &LimitOn, rules: &LimitRules, now: Timestamp) -> (u32, u32) {
        let standing = self.standing(on);
        (rules.free(standing, now), rules.free_for_holders(standing, now))
    }

    /// The first limit that does not let a task start.
    fn stop(&self, stored: &Stored, now: Timestamp) -> Option<Stop> {
        self.book.of(stored.shared()).into_iter().find_map(|(on, rules)| {
            let holds_place = self.holds_place(&on, stored);
            let stop = rules.stop(self.standing(&on), holds_place, now)?;
            Some(Stop { on, next_at: stop.next_at })
        })
    }

    fn holds_place(&self, on: &LimitOn, stored: &Stored) -> bool {
        self.under.get(on).is_some_and(|under| under.held.contains(&stored.n))
    }

    /// Has a limit looked at again at a time, if not before.
    fn look_again(&mut self, on: &LimitOn, at: Timestamp) {
        match self.due_of.get(on) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => drop(self.due.remove(&(*later, on.clone()))),
            None => {}
        }
        self.due.insert((at, on.clone()));
        self.due_of.insert(on.clone(), at);
    }

    /// Where a new task is to wait, if claims cannot get it now; and whether some of its line can be got.
    pub(crate) fn first_wait(&mut self, task: Shared<'_>, now: Timestamp) -> Option<(LimitOn, bool)> {
        let (on, rules) = self.book.of(task).into_iter().find(|(on, _)| moves(on))?;
        let (free, _) = self.free(&on, rules, now);
        let under = self.under.entry(on.clone()).or_default();
        if under.fresh < free {
            under.fresh += 1;
            return None;
        }
        Some((on, free > 0))
    }
}

/// Whether what a limit stops is put aside. What a queue's own limit stops is not: the queue is not looked at before it has room. Whose
/// turn it is stops nothing.
const fn moves(on: &LimitOn) -> bool {
    !matches!(on, LimitOn::Queue(_) | LimitOn::Turn(..))
}

/// Follows a transition of a task with what stands under its limits; lets go of those that wait for what it has freed.
pub(crate) fn follow(
    transaction: &mut Transaction<'_>,
    before: &Stored,
    after: &Stored,
    now: Timestamp,
) -> Result<(), Failure> {
    let stays = before.queue == after.queue;
    if !stays {
        leave_queue(transaction, before, after, now)?;
    }
    let limits = &mut transaction.state.limits;
    let runs = |stored: &Stored| matches!(stored.head.state, TaskState::Running(_));
    let holds = holds_place(&after.head);
    let (mut freed, mut started) = (Vec::new(), Vec::new());
    let (mut known, mut is_narrowest) = (false, true);
    for (on, rules) in limits.book.of(after.shared()) {
        let under = limits.under.entry(on.clone()).or_default();
        let (ran, held) = (under.running.remove(&before.n), under.held.remove(&before.n));
        if runs(after) {
            under.running.insert(before.n);
            started.extend(rules.rate.map(|rate| (on.clone(), rate)));
        } else if holds && rules.holds_retries {
            under.held.insert(before.n);
        }
        if moves(&on) && std::mem::take(&mut is_narrowest) {
            let waited = stays && waits_in_sight(before);
            under.fresh = under.fresh.saturating_sub(u32::from(waited));
            under.fresh += u32::from(after.head.state == TaskState::Queued);
        }
        if under.running.is_empty() && under.held.is_empty() && under.fresh == 0 {
            limits.under.remove(&on);
        }
        known |= before.at_limit.as_ref().is_some_and(|at| *at.on == *on.to_string());
        if (ran && !runs(after)) || (held && !runs(after) && !holds) {
            freed.push(on);
        }
    }
    for (on, rate) in started {
        start(transaction, &on, rate, now)?;
    }
    for on in freed {
        match &on {
            LimitOn::Queue(queue) => transaction.ring_one(queue, now),
            LimitOn::Turn(..) => {}
            _ => let_go(transaction, &on, now)?,
        }
    }
    if before.head.state.state().is_final() {
        order::note_whose(transaction, after.n, after.shared())?;
    }
    // What was let go and has not become a lease under that limit leaves the place to another.
    if let Some(AtLimit { on, put_aside: false }) = &before.at_limit
        && !(runs(after) && known)
    {
        let_go(transaction, &parsed(on)?, now)?;
    }
    Ok(())
}

/// Whether a task lies where claims look, and no limit has let go of it.
fn waits_in_sight(stored: &Stored) -> bool {
    stored.head.state == TaskState::Queued && stored.at_limit.is_none()
}

/// Takes a task that has gone to another queue out of what stands under the limits of the one that it has left.
fn leave_queue(
    transaction: &mut Transaction<'_>,
    before: &Stored,
    after: &Stored,
    now: Timestamp,
) -> Result<(), Failure> {
    let limits = &mut transaction.state.limits;
    let still: Vec<LimitOn> = limits.book.of(after.shared()).into_iter().map(|(on, _)| on).collect();
    let (mut freed, mut is_narrowest) = (Vec::new(), true);
    for (on, _) in limits.book.of(before.shared()) {
        let is_fresh = moves(&on) && std::mem::take(&mut is_narrowest) && waits_in_sight(before);
        let Some(under) = limits.under.get_mut(&on) else { continue };
        under.fresh = under.fresh.saturating_sub(u32::from(is_fresh));
        if !still.contains(&on) && under.held.remove(&before.n) {
            freed.push(on);
        }
    }
    for on in freed {
        let_go(transaction, &on, now)?;
    }
    Ok(())
}

/// Counts a start against a rate.
fn start(transaction: &mut Transaction<'_>, on: &LimitOn, rate: Rate, now: Timestamp) -> Result<(), Failure> {
    let limits = &mut transaction.state.limits;
    let arrival = rate.started(limits.arrivals.get(on).copied(), now);
    limits.arrivals.insert(on.clone(), arrival);
    settings::note_arrival(transaction.db, on, arrival)?;
    if moves(on) && is_waited_at(transaction.db, on)? {
        let more_at = rate.more_at(Some(arrival), now);
        transaction.state.limits.look_again(on, more_at);
    }
    Ok(())
}

fn parsed(on: &str) -> Result<LimitOn, Failure> {
    LimitOn::from_stored(on).map_err(|error| corrupt("the limit that a task waits at", error).into())
}

/// Lets go of a new task that was put aside, if its turn is now; has its limit looked at again when its rate has more to start.
pub(crate) fn settle_new(
    transaction: &mut Transaction<'_>,
    on: &LimitOn,
    line: &wait::Line,
    has_room: bool,
    now: Timestamp,
) -> Result<(), Failure> {
    if has_room {
        let_go_of_line(transaction, on, line, now)?;
    }
    let limits = &mut transaction.state.limits;
    if let Some(rate) = limits.book.rules_of(on).and_then(|rules| rules.rate) {
        let arrival = limits.arrivals.get(on).copied();
        if rate.free(arrival, now) < rate.burst {
            let more_at = rate.more_at(arrival, now);
            limits.look_again(on, more_at);
        }
    }
    Ok(())
}
