//! Letting go of those that wait at a limit which has room: of each line as many stand where claims look as it has places, so that
//! a free place waits for no worker that never comes.
//!
//! What was let go stays there until it starts, also while the limit is full again. So where each line has its own standing
//! already, the end of a lease writes nothing for it, and only wakes who waits for work.
//!
//! Whoever frees a place does it, and whoever makes more places by changing a limit; a claim does where a rate has more to start
//! by now. What a process does not live to do, an idle claim of the queue does, and the reaper ([`Inner::tend_limits`]). Each step
//! may be done again: a task's entry moves on the condition that it still waits there, and then its item in the list is marked.

use std::collections::BTreeMap;

use baton_model::{LimitBook, LimitOn, QueueName, Shared, State, TaskId, TaskType, Timestamp, Which};
use baton_store::{Ready, StoreError};
use futures::{StreamExt, TryStreamExt};

use super::standing::{StoredStanding, standing_key};
use super::wait::{PLACE, WAITS_AT, Waiting, Waits, due_item, dues_of, list_of, moves};
use super::{lately, on_from};
use crate::attr::{Fields, key, n, s, time};
use crate::claim::Entered;
use crate::codes::Code;
use crate::db::{Query, Range};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::lane::{Lane, OwnLanes};
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;

/// How many of a line that its limit does not concern any more stand where claims look: as many as a claim takes at most.
const LOOSE: u32 = 100;

/// How many tasks one call lets go of; the next one goes on.
const MOST: usize = 200;

/// How many pages of the list of a limit one call reads.
const PAGES: usize = 200;

/// How many items a page has at most.
const PAGE: u32 = 100;

/// How many are let go of at the same time.
const AT_ONCE: usize = 16;

/// After how long it is looked whether what was let go still stands where claims look, and how often a process looks at most.
const SURE: std::time::Duration = std::time::Duration::from_secs(60);

/// How many rates whose time has come one claim looks at.
const DUES: i32 = 20;

/// What of the list of a limit is to be done.
#[derive(Default)]
struct Turn {
    /// Those to be let go of.
    go: Vec<Waiting>,
    /// Those that were let go of long ago.
    check: Vec<Waiting>,
    /// How many of each queue and type stand where claims look.
    standing: BTreeMap<(QueueName, TaskType), u32>,
    /// Whether nobody is in the list.
    is_empty: bool,
}

/// Whether a limit concerns the tasks of a line.
fn concerns(book: &LimitBook, on: &LimitOn, one: &Waiting) -> bool {
    let key = match on {
        LimitOn::Key(_, Which::This(key)) => Some(key),
        _ => None,
    };
    let line = &one.line;
    let shared = Shared { queue: &line.queue, project: &line.project, task_type: &line.task_type, key };
    book.of(shared).iter().any(|(found, _)| found == on)
}

impl Inner {
    /// Lets go of those that a limit has room for by now.
    pub(super) async fn let_go_at(
        &self,
        on: &LimitOn,
        thorough: bool,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        match self.standings(std::slice::from_ref(on)).await?.remove(on) {
            Some(standing) => self.let_go_of(on, &standing, thorough, now).await,
            None => Ok(0),
        }
    }

    /// The same, of a limit as it was just read. Says of how many. `thorough`: also of those that it does not concern any more.
    pub(super) async fn let_go_of(
        &self,
        on: &LimitOn,
        standing: &StoredStanding,
        thorough: bool,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        if !standing.is_waited_at || matches!(on, LimitOn::Turn(..)) {
            return Ok(0);
        }
        let book = self.fresh_book().await?;
        let rules = book.rules_of(on);
        let counts = standing.counts_by(rules);
        let free = rules.map_or(LOOSE, |rules| rules.free(counts, now));
        let for_holders = rules.map_or(LOOSE, |rules| rules.free_for_holders(counts, now));
        if !thorough && free == 0 && for_holders == 0 {
            return Ok(0);
        }
        let quota = |one: &Waiting| match () {
            () if one.line.holds_place && standing.held.contains(&one.id.to_string()) => for_holders,
            () if !concerns(&book, on, one) => LOOSE,
            () => free,
        };
        let turn = self.turn_at(on, free, quota, now).await?;
        if turn.is_empty {
            self.nobody_waits_at(on, standing).await?;
            return Ok(0);
        }
        if let (Some(rate), Some(queue)) = (rules.and_then(|rules| rules.rate), on.queue())
            && rate.free(standing.arrival, now) < rate.burst
        {
            let due = due_item(on, queue, rate.more_at(standing.arrival, now));
            self.put_setting(due).await?;
        }
        for ((queue, task_type), count) in turn.standing {
            self.doorbell.ring(Ready { queue, task_type: Some(task_type), count, run_after: now });
        }
        let mut go = turn.go;
        if !turn.check.is_empty() && (thorough || !lately(&self.limits.looked_at, on, now, SURE)) {
            go.extend(self.strayed(on, turn.check).await?);
        }
        if thorough && for_holders > 0 && rules.is_some_and(|rules| rules.holds_retries) {
            go.extend(self.waiting_holders(on, standing).await?);
        }
        let going = go.iter().map(|one| self.let_one_go(on, one, now)).collect::<Vec<_>>();
        futures::stream::iter(going).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(go.len())
    }

    /// Reads the first ones of each line of the list of a limit, as many as `quota` says.
    async fn turn_at(
        &self,
        on: &LimitOn,
        free: u32,
        quota: impl Fn(&Waiting) -> u32 + Send,
        now: Timestamp,
    ) -> Result<Turn, StoreError> {
        let mut turn = Turn { is_empty: true, ..Turn::default() };
        let limit = i32::try_from(free.clamp(1, PAGE) + 1).ok();
        let mut query = Query { limit, ..Query::table(list_of(on)) };
        let (mut line, mut seen) = (String::new(), 0);
        for _ in 0..PAGES {
            let page = self.db.query(&query).await?;
            let mut end = None;
            for item in &page.items {
                turn.is_empty = false;
                let Some(one) = self.db.read_one(item, Waiting::read) else { continue };
                if one.line.name() != line {
                    (line, seen) = (one.line.name(), 0);
                }
                end = Some(one.line.end()).filter(|_| seen >= quota(&one));
                if end.is_some() {
                    continue;
                }
                seen += 1;
                let Some(at) = one.let_go_at else {
                    turn.go.push(one);
                    continue;
                };
                let name = (one.line.queue.clone(), one.line.task_type.clone());
                *turn.standing.entry(name).or_default() += 1;
                if at > now || now.since(at) >= SURE {
                    turn.check.push(one);
                }
            }
            if page.next.is_none() || turn.go.len() >= MOST {
                break;
            }
            match end {
                // The rest of the line need not be read.
                Some(end) => (query.range, query.start) = (Range::AtLeast(end), None),
                None => query.start = page.next,
            }
        }
        Ok(turn)
    }

    /// Notes that nobody waits at a limit, if it is as it was read before the list was.
    pub(super) async fn nobody_waits_at(
        &self,
        on: &LimitOn,
        standing: &StoredStanding,
    ) -> Result<(), StoreError> {
        let change =
            Expression::new().when_still("v", standing.version.map(n)).remove("wt").remove("ip").remove("is");
        match self.db.update_unseen(standing_key(on), &change).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Those of what was let go that do not stand where claims look. Takes out of the list what does not wait there any more.
    async fn strayed(&self, on: &LimitOn, check: Vec<Waiting>) -> Result<Vec<Waiting>, StoreError> {
        let found = self.tasks_by_id(check.iter().map(|one| one.id).collect()).await?;
        let mut strayed = Vec::new();
        for one in check {
            match found.get(&one.id).and_then(|task| self.waits_as(task, on, &one)) {
                Some(waits) if waits.is_aside => strayed.push(one),
                Some(_) => {}
                None => self.unlist(on, &one.place).await?,
            }
        }
        Ok(strayed)
    }

    /// Where a task waits, if it does so as an item of the list of a limit tells it.
    pub(super) fn waits_as<'a>(&self, task: &'a Stored, on: &LimitOn, one: &Waiting) -> Option<&'a Waits> {
        let waits = task.rest.as_ref().and_then(|rest| rest.waits.as_ref());
        let queued = task.head.state.state() == State::Queued;
        waits.filter(|waits| queued && waits.on == *on && waits.place == one.place)
    }

    /// Those that hold a place of a limit and wait at it as if they had none: it was said later that they hold it.
    async fn waiting_holders(
        &self,
        on: &LimitOn,
        standing: &StoredStanding,
    ) -> Result<Vec<Waiting>, StoreError> {
        let ids = standing.held.iter().filter_map(|id| id.parse::<TaskId>().ok()).collect();
        let mut holders = Vec::new();
        for task in self.tasks_by_id(ids).await?.into_values() {
            let Some(waits) = task.rest()?.waits.clone() else { continue };
            if waits.on == *on && waits.is_aside {
                holders.push(Waiting { place: waits.place, ..Waiting::of(&task, false, 0)? });
            }
        }
        Ok(holders)
    }

    /// Takes an item out of the list of a limit.
    pub(super) async fn unlist(&self, on: &LimitOn, place: &str) -> Result<(), StoreError> {
        self.delete_setting(key(&list_of(on), place)).await
    }

    /// Has a task stand where claims look again.
    async fn let_one_go(&self, on: &LimitOn, one: &Waiting, now: Timestamp) -> Result<(), StoreError> {
        let line = &one.line;
        let its_key = match on {
            LimitOn::Key(_, Which::This(key)) => Some(key),
            _ => None,
        };
        let own = Lane::of((&line.project, &line.task_type), its_key, line.affinity.as_ref());
        // Of another limit it is not told which key a task has, if any: it lies with its project's.
        let own = if its_key.is_some() { own } else { OwnLanes { turn: own.pair, ..own } };
        let lane = self.lane_for(&line.queue, line.priority, own, now).await?;
        let shard = keys::shard(one.id, self.options.shards_of(&line.queue));
        let partition = keys::ready(&line.queue, line.priority, shard, lane);
        let back = Expression::new()
            .when("st", "=", n(State::Queued.code()))
            .when(WAITS_AT, "=", s(on.to_string()))
            .when(PLACE, "=", s(&one.place))
            .set("ip", s(partition));
        let task = match self.db.update(self.task_key(one.id), &back).await {
            Ok(item) => Stored::read(&item)?,
            // It has started or ended, or waits elsewhere.
            Err(WriteError::Condition(_)) => return self.unlist(on, &one.place).await,
            Err(WriteError::Failed(error)) => return Err(error),
        };
        let mark = Expression::new().set("go", time(now)).when_present("pk");
        match self.db.update_unseen(key(&list_of(on), &one.place), &mark).await {
            Ok(()) | Err(WriteError::Condition(_)) => {}
            Err(WriteError::Failed(error)) => return Err(error),
        }
        self.doorbell.ring(Ready {
            queue: task.queue,
            task_type: Some(task.task_type),
            count: 1,
            run_after: task.head.run_after.max(now),
        });
        Ok(())
    }

    /// Lets go of those that wait at rates of these queues which have more to start by now.
    pub(crate) async fn let_due_go(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
    ) -> Result<(), StoreError> {
        let limits = &claim.limits.book.limits;
        for queue in queues {
            let of_it = |on: &LimitOn| on.queue() == Some(&queue.name);
            let rated = |limit: &&baton_model::Limit| {
                of_it(&limit.on) && limit.rules.rate.is_some() && moves(&limit.on, &limit.rules)
            };
            if limits.values().find(rated).is_none() {
                continue;
            }
            let later = Timestamp::from_millis(claim.now.as_millis().saturating_add(1));
            let range = Range::Below(keys::sortable(later));
            let query = Query { range, limit: Some(DUES), ..Query::table(dues_of(&queue.name)) };
            for item in self.db.query(&query).await?.items {
                let read =
                    |item: &_| Ok((on_from(Fields(item).text("on")?)?, Fields(item).text("sk")?.to_owned()));
                let Some((on, place)) = self.db.read_one(&item, read) else { continue };
                self.let_go_at(&on, false, claim.now).await?;
                self.delete_setting(key(&dues_of(&queue.name), &place)).await?;
            }
        }
        Ok(())
    }

    /// Has those follow that wait at limits which may have room after a change.
    pub(super) async fn let_all_go(
        &self,
        concerns: &(dyn Fn(&LimitOn) -> bool + Sync),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (on, standing) in self.waited_at(None).await? {
            if concerns(&on) {
                self.let_go_of(&on, &standing, true, now).await?;
            }
        }
        Ok(())
    }
}
