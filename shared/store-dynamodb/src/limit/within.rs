//! Claiming where there are limits: which of the ready tasks a claim may take, and taking one with its place.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::order::Place;
use baton_model::transition::Change;
use baton_model::{LimitBook, LimitOn, LimitRules, QueueName, Standing, TaskId, TaskState, Timestamp};
use baton_store::{Nothing, StoreError};

use super::sequence::{Order, in_sequence, is_as_told};
use super::standing::{StoredStanding, adding, standing_key};
use super::wait::{Stopped, due_item, moves};
use crate::attr::{Item, texts};
use crate::claim::{Entered, holds};
use crate::error::{TransactError, contended, damaged};
use crate::expression::Expression;
use crate::look::{Candidate, Look};
use crate::queue::StoredQueue;
use crate::request::Spent;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::{decided_by_item, is_marked};

/// How many tasks a claim looks at once it has met one over its limit.
const WIDE: usize = 64;

/// How often a claim tries to take its place anew because others changed what stands under the limit.
const ROUNDS: u32 = 100;

/// What became of taking a task.
pub(crate) enum Taking {
    /// It is under no limit, and needs no transaction.
    Unlimited,
    /// The claim's worker has it.
    Taken(Box<Stored>),
    /// Others were faster.
    Refused,
    /// Not now: a limit is full, or another plan stands for the claim.
    Full,
}

/// What does not let a task start.
pub(super) struct Stop {
    pub(super) on: LimitOn,
    /// When its rate does, if it is only that.
    pub(super) next_at: Option<Timestamp>,
    holds_place: bool,
    /// Whether the limit is full as it is, and not only once the claim has taken what it is about to take.
    is_sure: bool,
    moves: bool,
    /// Whether the limit has let go of the task before.
    was_let_go: bool,
}

/// Judges tasks by what stands under their limits, and by what a claim is about to take.
pub(super) struct Judge<'a> {
    pub(super) book: &'a LimitBook,
    now: Timestamp,
    pub(super) standings: HashMap<LimitOn, StoredStanding>,
    /// What stands under the limits of what the claim is about to take, once it has.
    taken: HashMap<LimitOn, Standing>,
    /// What comes behind others of its sequence.
    pub(super) order: Order,
}

impl Judge<'_> {
    pub(super) fn standing(&self, on: &LimitOn) -> StoredStanding {
        self.standings.get(on).cloned().unwrap_or_default()
    }

    /// Whether somebody may wait at a limit.
    pub(super) fn is_waited_at(&self, on: &LimitOn) -> bool {
        self.standings.get(on).is_some_and(|standing| standing.is_waited_at)
    }

    fn counts(&self, on: &LimitOn, rules: &LimitRules) -> Standing {
        self.standings.get(on).map(|standing| standing.counts_by(Some(rules))).unwrap_or_default()
    }

    fn holds_place(&self, on: &LimitOn, rules: &LimitRules, task: &Stored) -> bool {
        let id = task.head.id.to_string();
        rules.holds_retries && self.standings.get(on).is_some_and(|standing| standing.held.contains(&id))
    }

    /// What does not let a task start: the limit that has let go of it before, else the first one. So it goes to and fro between
    /// no two limits that are both full. The limit of its key does not either while another comes before it that the claim does not have
    /// in hand.
    pub(super) fn stop(&self, task: &Stored) -> Result<Option<Stop>, StoreError> {
        let let_go_by = task.rest()?.waits.as_ref().filter(|waits| !waits.is_aside).map(|waits| &waits.on);
        let mut first = None;
        for (on, rules) in self.book.of(task.shared()?) {
            let as_it_is = self.counts(&on, rules);
            let counts = self.taken.get(&on).copied().unwrap_or(as_it_is);
            let holds_place = self.holds_place(&on, rules, task);
            if let Some(stop) = rules.stop(counts, holds_place, self.now) {
                let is_sure = rules.stop(as_it_is, holds_place, self.now).is_some();
                let (moves, was_let_go) = (moves(&on, rules), let_go_by == Some(&on));
                let stop = Stop { on, next_at: stop.next_at, holds_place, is_sure, moves, was_let_go };
                if was_let_go {
                    return Ok(Some(stop));
                }
                first.get_or_insert(stop);
            }
        }
        let behind = self.order.is_behind_at(task.head.id).filter(|_| first.is_none());
        Ok(first.or_else(|| {
            let (on, was_let_go) = (behind?.clone(), let_go_by == behind);
            Some(Stop { on, next_at: None, holds_place: false, is_sure: false, moves: true, was_let_go })
        }))
    }

    /// Counts a task that the claim is about to take.
    fn start(&mut self, task: &Stored) -> Result<(), StoreError> {
        for (on, rules) in self.book.of(task.shared()?) {
            let held = self.holds_place(&on, rules, task);
            let mut counts = self.taken.get(&on).copied().unwrap_or_else(|| self.counts(&on, rules));
            counts.running += 1;
            counts.held -= u32::from(held).min(counts.held);
            counts.arrival = rules.rate.map(|rate| rate.started(counts.arrival, self.now)).or(counts.arrival);
            self.taken.insert(on, counts);
        }
        Ok(())
    }
}

/// What a look has met.
struct Met<'a, 'b> {
    due: Vec<Candidate<'a>>,
    alone: &'b [(Place, Stored)],
    others: Vec<Stored>,
}

/// What narrowing a look has come to.
#[derive(Default)]
struct Narrowed {
    /// Whether others may be there by now, also before those that were picked.
    again: bool,
    /// Whether some were passed over, so that there may be more behind them.
    behind: bool,
    /// Queues of which a claim can be given no more.
    shut: BTreeSet<QueueName>,
}

impl Inner {
    /// Reads what stands under the limits of these tasks.
    pub(super) async fn judge_of<'a>(
        &self,
        claim: &'a Entered<'_>,
        tasks: impl IntoIterator<Item = &Stored> + Send,
    ) -> Result<Judge<'a>, StoreError> {
        let book = &*claim.limits.book;
        let mut ons = Vec::new();
        for task in tasks {
            ons.extend(book.of(task.shared()?).into_iter().map(|(on, _)| on));
        }
        let standings = self.standings(&ons).await?;
        Ok(Judge { book, now: claim.now, standings, taken: HashMap::new(), order: Order::default() })
    }

    /// The queues that a claim looks into: not those whose own limit is full, unless types are exempt from it.
    pub(crate) async fn open_within<'a>(
        &self,
        claim: &Entered<'_>,
        queues: Vec<&'a StoredQueue>,
    ) -> Result<Vec<&'a StoredQueue>, StoreError> {
        let book = &claim.limits.book;
        let on = |queue: &StoredQueue| LimitOn::Queue(queue.name.clone());
        let shuts = |on: &LimitOn| book.rules_of(on).filter(|rules| !moves(on, rules));
        let limited: Vec<_> = queues.iter().map(|queue| on(queue)).filter(|on| shuts(on).is_some()).collect();
        let standings = self.standings(&limited).await?;
        let mut open = Vec::with_capacity(queues.len());
        for queue in queues {
            let on = on(queue);
            let stopped = match shuts(&on) {
                Some(rules) => {
                    let standing = standings.get(&on).cloned().unwrap_or_default();
                    match rules.stop(standing.counts_by(Some(rules)), false, claim.now) {
                        Some(baton_model::Stop { next_at: None })
                            if self.verify(&on, &standing, claim.now).await? =>
                        {
                            None
                        }
                        stop => stop,
                    }
                }
                None => None,
            };
            match stopped {
                Some(stop) => claim.limits.stop(&on, stop.next_at),
                None => open.push(queue),
            }
        }
        Ok(open)
    }

    /// As [`Inner::look`] and [`Inner::turn_of`], of tasks whose limits let them start, all of them together. What it meets over
    /// its limit is put aside, unless the limit has let go of it before. `is_first`: the claim has taken nothing yet.
    pub(crate) async fn look_within<'a>(
        &'a self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
        is_first: bool,
    ) -> Result<Result<Look<'a>, Nothing>, StoreError> {
        let found = self.look_and_narrow(claim, queues, most, is_first).await;
        claim.limits.pick(&[])?;
        found
    }

    async fn look_and_narrow<'a>(
        &'a self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
        is_first: bool,
    ) -> Result<Result<Look<'a>, Nothing>, StoreError> {
        let mut queues = queues.to_vec();
        let mut found = Look::default();
        // A look tells of the first tasks of sequences in their order: what is left to other processes is picked here.
        let crowd = match claim.limits.gives_in_sequence_of(&queues) {
            true => self.crowd_at(claim, &queues),
            false => 1,
        };
        let mut wanted = most.saturating_mul(crowd).min(WIDE.max(most));
        loop {
            claim.limits.pick(&found.due)?;
            let look = self.look(claim, &queues, wanted).await?;
            let mut look = self.without_expired(claim, look).await?;
            found.next_at = look.next_at;
            let is_all = look.due.len() < wanted;
            let mut alone = std::mem::take(&mut look.alone);
            // What was picked before comes before them.
            let may_be_alone = is_first && found.due.is_empty();
            if !may_be_alone {
                alone.clear();
            }
            let met = Met { due: look.due, alone: &alone, others: look.others };
            let narrowed = self.narrow(claim, &queues, met, &mut found.due, (most, crowd > 1)).await?;
            // Others may come before what is given out alone by now, and nothing is picked then, nor a queue full of what was.
            if !alone.is_empty() && narrowed.again {
                found.due.clear();
                alone.clear();
            } else {
                queues.retain(|queue| !narrowed.shut.contains(&queue.name));
            }
            if may_be_alone {
                found.alone = alone;
            }
            let more = narrowed.again || !narrowed.shut.is_empty() || narrowed.behind && !is_all;
            let goes_on = more && !claim.limits.has_moved_enough(claim.now);
            if !goes_on || found.due.len() >= most {
                return self.turn_of(claim, found).await;
            }
            wanted = WIDE.max(most - found.due.len());
        }
    }

    /// Adds to `picked` those of a look whose limits let them start, up to `most` in all. Of the others it passes over those that
    /// limits have let go of, which stay where they are, and puts aside those that it meets for the first time. Also those that
    /// are given out alone.
    async fn narrow<'a>(
        &'a self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        Met { due, alone, others }: Met<'a, '_>,
        picked: &mut Vec<Candidate<'a>>,
        (most, is_crowded): (usize, bool),
    ) -> Result<Narrowed, StoreError> {
        let entries = due.iter().map(|one| &one.entry).chain(alone.iter().map(|(_, entry)| entry));
        let own: HashSet<TaskId> = entries.map(|entry| entry.head.id).collect();
        let others: HashSet<TaskId> = others.iter().map(|entry| entry.head.id).collect();
        let keys = own.union(&others).map(|id| self.task_key(*id)).collect();
        let items = self.db.get_all(keys).await?;
        let mut tasks: HashMap<TaskId, Stored> = items
            .iter()
            .filter_map(|item| self.db.read_one(item, Stored::read))
            .map(|task| (task.head.id, task))
            .collect();
        let mut theirs: Vec<Stored> = others.difference(&own).filter_map(|id| tasks.remove(id)).collect();
        theirs.retain(|task| task.head.state == TaskState::Queued);
        let judged = tasks.values().chain(&theirs).chain(picked.iter().map(|one| &one.entry));
        let mut judge = self.judge_of(claim, judged).await?;
        for one in picked.iter() {
            judge.start(&one.entry)?;
        }
        judge.order = in_sequence(claim, queues, &due, &tasks, &theirs, &judge)?;
        let left = match is_crowded {
            true => self.left_to_others(&due, &tasks, &judge, most.saturating_sub(picked.len()))?,
            false => HashSet::new(),
        };
        let mut narrowed = Narrowed::default();
        let mut stopped = Vec::new();
        for (_, entry) in alone {
            let Some(task) = self.as_seen(claim, &mut tasks, entry, &mut narrowed) else { continue };
            if let Some(stop) = judge.stop(&task)? {
                narrowed.again = true;
                stopped.push((task, stop, None));
            }
        }
        // Others may be let go in place of what is put aside, which come before those behind it; and what is stopped in a fair queue may hide
        // another of it that comes before those of other queues.
        let mut taking = stopped.is_empty() && !Self::is_hiding(claim, &due, &tasks, &judge)?;
        for mut one in due {
            // What comes then was only looked at to have something to pick from.
            if is_crowded && picked.len() >= most {
                break;
            }
            let Some(task) = self.as_seen(claim, &mut tasks, &one.entry, &mut narrowed) else { continue };
            let id = task.head.id;
            let is_left = judge.order.is_later(id) || left.contains(&id);
            let may_take = taking && !one.is_behind && !is_left && picked.len() < most;
            if may_take
                && judge.stop(&task)?.is_none()
                && let Some(first) = self.listed_before(claim, queues, (id, one.place), &mut judge).await?
            {
                judge.start(&first.entry)?;
                picked.push(first);
            }
            match judge.stop(&task)? {
                Some(stop) => {
                    // In a fair queue it is another's turn than if it had been taken.
                    let by_turns = stop.moves && claim.limits.book.fair.contains_key(&task.queue);
                    taking &= !by_turns && (!stop.moves || stop.was_let_go);
                    narrowed.again |= by_turns;
                    stopped.push((task, stop, Some(one.reserved)));
                }
                None if may_take => {
                    judge.start(&task)?;
                    one.entry = task;
                    picked.push(one);
                }
                None => {}
            }
        }
        let mut moving = Vec::new();
        for (task, stop, reserved) in stopped {
            let standing = judge.standing(&stop.on);
            if stop.is_sure && stop.next_at.is_none() && self.verify(&stop.on, &standing, claim.now).await? {
                // It has room after all: the next look finds the task again.
                narrowed.again = true;
                continue;
            }
            let Stop { on, next_at, holds_place, is_sure, moves, was_let_go } = stop;
            if moves && was_let_go && claim.limits.pass_over(task.head.id, &on) {
                narrowed.behind = true;
                claim.limits.pass(task.head.id, &on, next_at);
                self.ring_at(next_at, &task);
                continue;
            }
            if moves {
                narrowed.again = true;
                moving.push(Stopped { task, on, next_at, holds_place, is_sure, _reserved: reserved });
            } else {
                // What was picked stays so: nothing of the queue comes before it, as nothing of it starts.
                claim.limits.pass(task.head.id, &on, next_at);
                narrowed.shut.insert(task.queue);
            }
        }
        self.put_aside(claim, moving, &judge.standings).await?;
        Ok(narrowed)
    }

    /// Whether limits stop a task of a fair queue among those of several queues.
    fn is_hiding(
        claim: &Entered<'_>,
        due: &[Candidate<'_>],
        tasks: &HashMap<TaskId, Stored>,
        judge: &Judge<'_>,
    ) -> Result<bool, StoreError> {
        let queues: HashSet<&QueueName> = due.iter().map(|one| &one.entry.queue).collect();
        if queues.len() < 2 {
            return Ok(false);
        }
        for one in due.iter().filter(|one| claim.limits.book.fair.contains_key(&one.entry.queue)) {
            if let Some(task) = tasks.get(&one.entry.head.id)
                && judge.stop(task)?.is_some_and(|stop| stop.moves)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A task that is as an entry of the index tells, where claims look.
    fn as_seen(
        &self,
        claim: &Entered<'_>,
        tasks: &mut HashMap<TaskId, Stored>,
        entry: &Stored,
        narrowed: &mut Narrowed,
    ) -> Option<Stored> {
        let task = tasks.remove(&entry.head.id).filter(|task| is_as_told(task, entry));
        if task.is_none() {
            // The index trails: what it tells of it is not the claim's to take.
            claim.limits.skip_stale(entry.head.id);
            narrowed.again = true;
        }
        task
    }

    /// Takes a task together with its places, in one transaction, and with what the claim has planned.
    pub(crate) async fn take_within(
        &self,
        claim: &Entered<'_>,
        plan: Option<Spent<'_>>,
        entry: &Stored,
        change: &Change,
    ) -> Result<Taking, StoreError> {
        let read;
        let before = match &entry.rest {
            Some(_) => entry,
            None => match self.find(entry.head.id).await? {
                Some(task) if task.head.events == entry.head.events => {
                    read = task;
                    &read
                }
                _ => return Ok(Taking::Refused),
            },
        };
        let change = &decided_by_item(change, entry, before);
        let falls = claim.limits.book.of(before.shared()?);
        let waits = before.rest()?.waits.as_ref();
        if falls.is_empty() && waits.is_none() && !plan.is_some_and(Spent::always) {
            return Ok(Taking::Unlimited);
        }
        let (id, attempt) = (before.head.id, change.head.attempt);
        let mark = self.mark(change);
        for round in 0..ROUNDS {
            let judge = self.judge_of(claim, [before]).await?;
            if let Some(stop) = judge.stop(before)? {
                claim.limits.stop(&stop.on, stop.next_at);
                return Ok(Taking::Full);
            }
            let named = texts(falls.iter().map(|(on, _)| on.to_string()));
            let update = self.update_of(before, change, claim.now, mark).await?;
            let update = update.put("lu", (!falls.is_empty()).then_some(named));
            let mut writes = vec![self.db.update_write(self.task_key(id), &update)?];
            for (on, rules) in &falls {
                writes.extend(self.place_writes(on, rules, &judge.standing(on), (id, attempt), claim.now)?);
            }
            if let Some(waits) = waits {
                writes.push(self.db.delete_write(waits.key(), &Expression::new())?);
            }
            if let Some((key, spent)) = plan.map(|plan| plan.plan().spent()) {
                writes.push(self.db.update_write(key, &spent)?);
            }
            let name = format!("{id}#{}#{mark}#{round}", before.head.events);
            match self.db.transact(writes, &name).await {
                Ok(()) => {
                    // Also what is cancelled before the claim hears of it was taken, and counts.
                    let taken = Stored { head: change.head.clone(), ends: None, ..before.clone() };
                    self.changed(before, &taken, claim.now);
                    if let Some(waits) = waits.filter(|waits| !falls.iter().any(|(on, _)| *on == waits.on)) {
                        // It takes no place of the limit that has let go of it.
                        self.told(&waits.on, Box::pin(self.let_go_at(&waits.on, true, claim.now)).await);
                    }
                    // It may have been cancelled or lost since: then the claim has nothing of it.
                    let taken = self.find(id).await?.filter(|task| task.runs(attempt));
                    return Ok(taken.map_or(Taking::Refused, |task| Taking::Taken(Box::new(task))));
                }
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    let Some((task_changed, item)) = reasons.first() else {
                        return Err(damaged("DynamoDB gave other reasons than there were writes"));
                    };
                    if *task_changed {
                        return self.refused(claim, before, item.as_ref(), attempt, mark);
                    }
                    if plan.is_some() && reasons.last().is_some_and(|(failed, _)| *failed) {
                        return Ok(Taking::Full);
                    }
                }
            }
            self.db.pause(round.min(3)).await;
        }
        Err(contended("a limit"))
    }

    /// The writes that take a place of a limit. Where somebody waits at its rate, they tell when it has more to start.
    fn place_writes(
        &self,
        on: &LimitOn,
        rules: &LimitRules,
        standing: &StoredStanding,
        lease: (TaskId, u32),
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let add = adding(on, rules, standing, lease, now);
        let mut writes = vec![self.db.update_write(standing_key(on), &add)?];
        if let (Some(rate), Some(queue), true) = (rules.rate, on.queue(), standing.is_waited_at) {
            let due = rate.more_at(Some(rate.started(standing.arrival, now)), now);
            writes.push(self.db.put_write(due_item(on, queue, due), &Expression::new())?);
        }
        Ok(writes)
    }

    /// Looks again at limits at which the claim has put tasks aside that were to be full once it had taken what it was about to take:
    /// others may have taken that.
    pub(crate) async fn settle_unsure(&self, claim: &Entered<'_>) {
        let unsure = claim.limits.take_unsure();
        for on in unsure {
            self.told(&on, Box::pin(self.let_go_at(&on, false, claim.now)).await);
        }
    }

    fn refused(
        &self,
        claim: &Entered<'_>,
        before: &Stored,
        item: Option<&Item>,
        attempt: u32,
        mark: u64,
    ) -> Result<Taking, StoreError> {
        let Some(item) = item else { return Ok(Taking::Refused) };
        let stored = Stored::read(item)?;
        let written = is_marked(item, mark)?;
        if written {
            self.changed(before, &stored, claim.now);
        }
        // Another sending of the same request may have taken it for the same worker, and has counted it.
        let own = written || holds(&stored, claim, attempt);
        Ok(if own { Taking::Taken(Box::new(stored)) } else { Taking::Refused })
    }
}
