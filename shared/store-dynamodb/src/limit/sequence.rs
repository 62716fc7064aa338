//! Keys whose limit is one: their tasks are a sequence, of which none starts before another that comes before it and could start.
//!
//! That a place of the limit is free says nothing about whose turn it is: the first one may be in another claim's hands, which has not
//! written yet, or be put aside and not be let go yet. So a claim takes of a sequence only the first one of all that its look has met,
//! those in the hands of other claims of its process among them, each as its item says now; and of all that the limit's list tells of,
//! which is read as of now where somebody waits. What comes behind another one is put aside as if the limit were full: it is about to be.
//!
//! Whoever takes a task does so on the condition that it is as it was when it was found to be the first. So of several processes that
//! found the same one, one has it, and the others look anew. What no claim has put aside yet is told by the index alone: what becomes
//! ready, or comes to be shown by the index, while a claim is under way may start behind what that claim takes.
//!
//! No condition of the transaction could say more. One on the task before says nothing of tasks that have come since, and one on the
//! limit's own item neither, as whoever creates a task writes nothing there: that would be a transaction for each creation, five write
//! units in place of two.

use std::collections::{BTreeMap, HashMap, HashSet};

use baton_model::affinity::Fit;
use baton_model::order::Place;
use baton_model::transition::{Decision, decide};
use baton_model::{FairBy, Label, LimitOn, Priority, ProjectId, QueueOrder, TaskId, TaskType, Timestamp};
use baton_store::StoreError;

use super::wait::{Line, Waiting, list_of};
use super::within::Judge;
use crate::claim::Entered;
use crate::db::{Query, Range};
use crate::look::Candidate;
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;

/// How many items of the list of a limit are read at once: some 250 bytes each, so that they are one read unit.
const LISTED: i32 = 16;

/// How many pages of it one claim reads at most: one for each kind of tasks that wait there, as a rule.
const PAGES: usize = 200;

/// A sequence: the limit of its key, and whose of its tasks, where their queue is fair between projects. Whose turn it is goes before the
/// order of the tasks then.
type Sequence = (LimitOn, Option<ProjectId>);

/// Where a task stands in its sequence.
type Rank = (Priority, Fit, Timestamp, TaskId);

/// What of a look's tasks is to wait for others of its sequence.
#[derive(Default)]
pub(super) struct Order {
    /// Those behind one that the claim does not have in hand, and where: that one is about to start, or to be let go.
    behind: HashMap<TaskId, LimitOn>,
    /// Those behind one that the claim has in hand.
    later: HashSet<TaskId>,
    /// The first ones of all that were met, which the claim has in hand.
    firsts: HashMap<TaskId, (Sequence, Rank)>,
}

impl Order {
    /// The order of tasks of sequences, each with where it stands, and whether the claim has it in hand.
    fn of(sequences: BTreeMap<Sequence, Vec<(Rank, bool)>>) -> Self {
        let mut order = Self::default();
        for (sequence, mut tasks) in sequences {
            tasks.sort_unstable();
            let mine = tasks.iter().filter(|(_, is_mine)| *is_mine).map(|(rank, _)| *rank);
            if let Some((first, true)) = tasks.first().copied() {
                order.later.extend(mine.skip(1).map(id_of));
                order.firsts.insert(id_of(first), (sequence, first));
            } else {
                order.behind.extend(mine.map(|rank| (id_of(rank), sequence.0.clone())));
            }
        }
        order
    }

    /// The limit at which a task waits for one before it that is not in the claim's hands.
    pub(super) fn is_behind_at(&self, task: TaskId) -> Option<&LimitOn> {
        self.behind.get(&task)
    }

    /// Whether a task comes behind another one that the claim may take.
    pub(super) fn is_later(&self, task: TaskId) -> bool {
        self.later.contains(&task)
    }
}

const fn id_of((.., id): Rank) -> TaskId {
    id
}

/// Whether a task, as its item was read, is as an entry of the index tells it, where claims look.
pub(super) fn is_as_told(task: &Stored, entry: &Stored) -> bool {
    let same = task.head.events == entry.head.events && task.created_at == entry.created_at;
    same && !task.purged && !is_aside(task)
}

fn is_aside(task: &Stored) -> bool {
    let waits = task.rest.as_ref().and_then(|rest| rest.waits.as_ref());
    waits.is_some_and(|waits| waits.is_aside)
}

/// Whether a claim is given tasks of a project, type and affinity.
fn is_wanted(
    claim: &Entered<'_>,
    (project, task_type): (&ProjectId, &TaskType),
    affinity: Option<&Label>,
) -> bool {
    claim.caller.project().is_none_or(|wanted| wanted == project)
        && (claim.types.is_empty() || claim.types.contains(task_type))
        && claim.warm.takes(affinity)
}

/// Whether a claim could start a task now, if its limits let it.
fn is_ready(claim: &Entered<'_>, task: &Stored) -> bool {
    // What is given out alone has a turn of its own.
    !task.purged
        && !task.head.runs_alone()
        && matches!(decide(&task.head, &claim.command(), claim.now), Ok(Decision::Apply(_)))
}

/// The sequence in which a claim could start a task now.
fn sequence_of(
    claim: &Entered<'_>,
    queues: &[&StoredQueue],
    task: &Stored,
) -> Result<Option<Sequence>, StoreError> {
    let Some(on) = claim.limits.book.sequence_of(task.shared()?) else { return Ok(None) };
    let kind = (&task.project, &task.task_type);
    if !is_ready(claim, task) || !is_wanted(claim, kind, task.rest()?.affinity.as_ref()) {
        return Ok(None);
    }
    let by_project = order_of(queues, task).fair == Some(FairBy::Project);
    Ok(Some((on, by_project.then(|| task.project.clone()))))
}

/// The order of a task's queue.
fn order_of(queues: &[&StoredQueue], task: &Stored) -> QueueOrder {
    queues.iter().find(|queue| queue.name == task.queue).map(|queue| queue.order).unwrap_or_default()
}

fn rank_of(claim: &Entered<'_>, queues: &[&StoredQueue], task: &Stored) -> Result<Rank, StoreError> {
    let (rest, run_after) = (task.rest()?, task.head.run_after);
    let level = order_of(queues, task).level(rest.priority, run_after, claim.now);
    let fit = claim.warm.fit(rest.affinity.as_ref(), run_after, claim.now);
    Ok((level, fit, run_after, task.head.id))
}

/// Which of the tasks that a claim has in hand come behind others of their sequences. `theirs`: tasks that other claims have in hand, or
/// that are not as the index told.
pub(super) fn in_sequence(
    claim: &Entered<'_>,
    queues: &[&StoredQueue],
    due: &[Candidate<'_>],
    tasks: &HashMap<TaskId, Stored>,
    theirs: &[Stored],
    judge: &Judge<'_>,
) -> Result<Order, StoreError> {
    if !claim.limits.gives_in_sequence_of(queues) {
        return Ok(Order::default());
    }
    let mut sequences: BTreeMap<Sequence, Vec<(Rank, bool)>> = BTreeMap::new();
    let of_look = due.iter().filter_map(|one| {
        let task = tasks.get(&one.entry.head.id)?;
        Some((task, is_as_told(task, &one.entry)))
    });
    for (task, is_mine) in of_look.chain(theirs.iter().map(|task| (task, false))) {
        // The list tells of what is put aside.
        if is_aside(task) {
            continue;
        }
        if let Some(sequence) = sequence_of(claim, queues, task)?
            && judge.stop(task)?.is_none()
        {
            sequences.entry(sequence).or_default().push((rank_of(claim, queues, task)?, is_mine));
        }
    }
    Ok(Order::of(sequences))
}

impl Inner {
    /// What a claim is to take in place of a task that is the first of its sequence by what was met: another one that comes before it, of
    /// which only the list of the limit tells. If another claim of this process has that one in hand, nothing is; the judge knows it then.
    pub(super) async fn listed_before<'a>(
        &'a self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        (task, place): (TaskId, Place),
        judge: &mut Judge<'_>,
    ) -> Result<Option<Candidate<'a>>, StoreError> {
        let Some((sequence, first)) = judge.order.firsts.remove(&task) else { return Ok(None) };
        if !judge.is_waited_at(&sequence.0) {
            return Ok(None);
        }
        let listed = self.first_listed(claim, queues, &sequence, first, judge).await?;
        let Some(((level, fit, run_after, id), entry)) = listed else { return Ok(None) };
        judge.order.behind.insert(task, sequence.0);
        let place = Place { level, fit, run_after, id, ..place };
        let reserved = self.notes.reserve((id, entry.created_at), entry.head.events);
        Ok(reserved.map(|reserved| Candidate { entry, place, reserved, is_behind: false }))
    }

    /// The first of the tasks that wait at the limit of a sequence, as its list tells them, which could start; none, if it does not come
    /// before `first`. Of each kind of them only the first one is looked at: its limits are those of all behind it.
    async fn first_listed(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        (on, whose): &Sequence,
        first: Rank,
        judge: &mut Judge<'_>,
    ) -> Result<Option<(Rank, Stored)>, StoreError> {
        let mut earliest: Option<(Rank, Stored)> = None;
        let mut query = Query { limit: Some(LISTED), ..Query::table(list_of(on)) };
        let mut done = String::new();
        for _ in 0..PAGES {
            let page = self.db.query(&query).await?;
            let mut end = None;
            for item in &page.items {
                let Some(one) = self.db.read_one(item, Waiting::read) else { continue };
                let name = one.line.name();
                if name == done {
                    end = Some(one.line.end());
                    continue;
                }
                end = None;
                let Line { project, task_type, affinity, holds_place, .. } = &one.line;
                let of_others = whose.as_ref().is_some_and(|whose| whose != project);
                let is_passed_by = of_others || !is_wanted(claim, (project, task_type), affinity.as_ref());
                if !is_passed_by && one.id != id_of(first) {
                    // What a crash has left in the list is passed over.
                    let found = self.find(one.id).await?;
                    let Some(task) = found.filter(|task| self.waits_as(task, on, &one).is_some()) else {
                        continue;
                    };
                    // What is for later tells that all behind it in its line are, too.
                    let is_due = task.head.run_after <= claim.now;
                    if is_due && !is_ready(claim, &task) {
                        continue;
                    }
                    let rank = rank_of(claim, queues, &task)?;
                    let is_first = rank < first && earliest.as_ref().is_none_or(|(other, _)| rank < *other);
                    if is_due && is_first {
                        self.tell_judge(judge, &task).await?;
                        if judge.stop(&task)?.is_none() {
                            earliest = Some((rank, task));
                        }
                    }
                }
                // Those that hold a place are of many kinds.
                if !holds_place {
                    end = Some(one.line.end());
                    done = name;
                }
            }
            match (page.next, end) {
                (None, _) => break,
                // The rest of the line need not be read.
                (Some(_), Some(end)) => (query.range, query.start) = (Range::AtLeast(end), None),
                (next, None) => query.start = next,
            }
        }
        Ok(earliest)
    }

    /// Has a judge know what stands under the limits of one more task.
    async fn tell_judge(&self, judge: &mut Judge<'_>, task: &Stored) -> Result<(), StoreError> {
        let falls = judge.book.of(task.shared()?).into_iter().map(|(on, _)| on);
        let unknown: Vec<LimitOn> = falls.filter(|on| !judge.standings.contains_key(on)).collect();
        if !unknown.is_empty() {
            judge.standings.extend(self.standings(&unknown).await?);
        }
        Ok(())
    }

    /// Of those of a look that may start, picks those that a claim leaves to other processes, where these were faster of late: it takes some
    /// of the first ones, of one priority at random.
    pub(super) fn left_to_others(
        &self,
        due: &[Candidate<'_>],
        tasks: &HashMap<TaskId, Stored>,
        judge: &Judge<'_>,
        room: usize,
    ) -> Result<HashSet<TaskId>, StoreError> {
        let mut free = Vec::new();
        for one in due.iter().filter(|one| !one.is_behind) {
            if let Some(task) = tasks.get(&one.entry.head.id)
                && is_as_told(task, &one.entry)
                && !judge.order.is_later(task.head.id)
                && judge.stop(task)?.is_none()
            {
                free.push((one.place.level, task.head.id));
            }
        }
        self.shuffle(&mut free);
        free.sort_by_key(|(level, _)| *level);
        Ok(free.into_iter().skip(room).map(|(_, id)| id).collect())
    }
}
