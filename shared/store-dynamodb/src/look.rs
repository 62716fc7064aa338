//! Looking for ready tasks: which lanes a claim asks, in which order their tasks are, and which of them it tries.
//!
//! A claim asks the lanes where tasks of its types and project may lie, priority by priority, and puts together what they
//! have in the order of claims. Of one shard it tries the first ones. Where other processes were faster of late, it tries
//! some among more of the first ones, as many as there seem to be rivals (`crowd`): else all would want the same task.
//!
//! Of a queue some of whose keys are a sequence, a look tries the first ones in their order, of all shards, and tells of those that other
//! claims of its process have in hand: what comes behind one of these is not to start before it (`limit::sequence`).

use std::collections::HashSet;

use baton_model::affinity::Fit;
use baton_model::order::Place;
use baton_model::{Priority, ProjectId, QueueName, TaskId, Timestamp, Wants};
use baton_store::{Claim, StoreError};
use futures::{StreamExt, TryStreamExt};

use crate::attr::s;
use crate::claim::Entered;
use crate::db::{Query, Range};
use crate::error::damaged;
use crate::expression::Expression;
use crate::keys;
use crate::lane::{Choice, Lane};
use crate::notes::{Notes, Reserved};
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;
use crate::tidy::Empty;

/// How many entries beyond those wanted the first page of a query reads, in case some are taken.
const SPARE: usize = 4;

/// How many entries further pages read.
const PAGE: i32 = 200;

/// How many lanes are asked at the same time.
pub(crate) const AT_ONCE: usize = 16;

/// Among how many of the first tasks a claim picks at most: 30 read units.
pub(crate) const AMONG: usize = 1_000;

/// How many tasks that have expired a look passes over in one partition.
const MOST_EXPIRED: usize = 200;

/// A ready task that a claim is about to try.
pub(crate) struct Candidate<'a> {
    pub(crate) entry: Stored,
    pub(crate) place: Place,
    pub(crate) reserved: Reserved<'a>,
    /// Whether others may come before it that the look has not looked at.
    pub(crate) is_behind: bool,
}

/// The ready tasks that a look has found.
#[derive(Default)]
pub(crate) struct Look<'a> {
    /// In the order in which they are to be claimed.
    pub(crate) due: Vec<Candidate<'a>>,
    /// Those before or among them that are given out alone, and where they stand.
    pub(crate) alone: Vec<(Place, Stored)>,
    /// When the first of those for later is due, at the earliest.
    pub(crate) next_at: Option<Timestamp>,
    /// Those that have expired, as far as they were met.
    pub(crate) expired: Vec<Stored>,
    /// Those that other claims of this process have in hand or had, and that this one has passed over as they were not as the index told:
    /// in queues some of whose keys are a sequence.
    pub(crate) others: Vec<Stored>,
    /// Lanes that have no task at all, as far as all were asked for.
    pub(crate) empty: Empty,
    /// Whose entries it has. Others of them may be met: at each further look into their partition, and at an old place, as the index trails.
    pub(crate) known: HashSet<TaskId>,
}

/// What a look at one partition has found.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) found: Vec<Stored>,
    pub(crate) alone: Vec<Stored>,
    pub(crate) expired: Vec<Stored>,
    pub(crate) others: Vec<Stored>,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) empty: bool,
}

/// A partition of ready tasks.
pub(crate) struct Source {
    partition: String,
    pub(crate) queue: QueueName,
    pub(crate) lane: Lane,
    /// Whether tasks that the claim does not take may lie there among others.
    pub(crate) mixed: bool,
}

/// Sources whose tasks are taken in their order: all of a claim's, or those of one shard.
#[derive(Default)]
struct Group(Vec<Source>);

impl<'a> Look<'a> {
    /// Adds what a partition has, but for the entries that are still to be reserved.
    fn add(&mut self, priority: Priority, seen: Seen) -> Vec<Stored> {
        self.next_at = earlier(self.next_at, seen.next_at);
        for entry in seen.alone {
            self.meet_alone(usual_place(&entry, priority), entry);
        }
        self.expired.extend(seen.expired);
        self.others.extend(seen.others);
        seen.found
    }

    /// Adds an entry of a task that is given out alone.
    pub(crate) fn meet_alone(&mut self, place: Place, entry: Stored) {
        if self.known.insert(entry.head.id) {
            self.alone.push((place, entry));
        }
    }

    /// Reserves an entry for the claim, as one that is to be tried; says whether another claim of this process has it.
    pub(crate) fn reserve(&mut self, notes: &'a Notes, place: Place, entry: Stored) -> bool {
        let id = entry.head.id;
        if self.known.contains(&id) {
            return false;
        }
        let Some(reserved) = notes.reserve((id, entry.created_at), entry.head.events) else { return true };
        self.known.insert(id);
        self.due.push(Candidate { entry, place, reserved, is_behind: false });
        false
    }
}

/// Where an entry of a partition of this priority stands by the usual order.
fn usual_place(entry: &Stored, level: Priority) -> Place {
    Place { queue: 0, level, fit: Fit::Even, running: 0, run_after: entry.head.run_after, id: entry.head.id }
}

impl Source {
    /// The places of a queue where tasks of one priority lie that a claim could be given.
    pub(crate) fn of(queue: &StoredQueue, priority: Priority, choice: &Choice, shard: u64) -> Vec<Self> {
        let lanes = queue.lanes.iter().filter(|(of, lane)| *of == priority && choice.may_lie_in(*lane));
        let sources = lanes.map(|(_, lane)| Self {
            partition: keys::ready(&queue.name, priority, shard, *lane),
            queue: queue.name.clone(),
            lane: *lane,
            mixed: choice.is_mixed(*lane),
        });
        sources.collect()
    }
}

/// The sources of one priority, by groups: one, if all queues have one shard, or if that is asked for.
fn groups(queues: &[&StoredQueue], priority: Priority, choice: &Choice, in_one: bool) -> Vec<Group> {
    let total = in_one || queues.iter().all(|queue| queue.shards == 1);
    let mut groups: Vec<Group> = Vec::new();
    for queue in queues {
        for shard in 0..queue.shards {
            let sources = Source::of(queue, priority, choice, shard);
            match groups.last_mut() {
                Some(group) if total => group.0.extend(sources),
                _ => groups.push(Group(sources)),
            }
        }
    }
    groups.retain(|group| !group.0.is_empty());
    groups
}

impl Inner {
    /// Finds up to `most` tasks that are ready, and reserves them among the claims of this process.
    pub(crate) async fn look(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<Look<'_>, StoreError> {
        if queues.iter().any(|queue| !queue.order.is_usual()) || claim.warm.wants != Wants::Any {
            return Box::pin(self.look_in_order(claim, queues, most)).await;
        }
        let choice = Choice::of(claim);
        // Of a sequence, nothing is known of one that is picked at random. Who claims picks among those whose turn it is.
        let in_order = claim.limits.gives_in_sequence_of(queues);
        let rivals = if in_order { 1 } else { self.crowd_at(claim, queues) };
        let mut look = Look::default();
        let mut mixed = Vec::new();
        for priority in Priority::ALL {
            let mut groups = groups(queues, priority, &choice, in_order);
            let among = if groups.len() > 1 { self.options.pick_among.max(rivals) } else { rivals };
            if groups.len() > 1 {
                // So that claims at once begin at different shards.
                let first = usize::try_from(self.db.draw() % groups.len() as u64).unwrap_or(0);
                groups.rotate_left(first);
            }
            for group in &groups {
                self.look_at(claim, group, priority, (most, among), &mut look).await?;
                if look.due.len() >= most {
                    return Ok(look);
                }
            }
            let sources = groups.into_iter().flat_map(|group| group.0);
            mixed.extend(sources.filter(|source| source.mixed));
        }
        // Asked only by who is told of it.
        if look.due.is_empty() {
            for source in &mixed {
                look.next_at = earlier(look.next_at, self.next_of(claim, source).await?);
            }
        }
        Ok(look)
    }

    /// Among how many of the first tasks for each wanted one a claim of these queues picks, as other processes were faster of late.
    pub(crate) fn crowd_at(&self, claim: &Entered<'_>, queues: &[&StoredQueue]) -> usize {
        self.notes.crowd(queues.iter().map(|queue| &queue.name), claim.now)
    }

    /// Adds what a group has, up to `most` in all, picked `among` so many times as many of its first ones.
    async fn look_at<'a>(
        &'a self,
        claim: &Entered<'_>,
        group: &Group,
        priority: Priority,
        (most, among): (usize, usize),
        look: &mut Look<'a>,
    ) -> Result<(), StoreError> {
        // Entries that rivals of this process reserve between the look and the taking leave the look short; so it is
        // repeated until it finds none that is free.
        for round in 0.. {
            let missing = most - look.due.len();
            let first = missing.saturating_mul(among).min(AMONG.max(missing));
            let mut looks = Vec::with_capacity(group.0.len());
            for source in &group.0 {
                looks.push(self.seen(claim, source, first));
            }
            let seen: Vec<Seen> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            let empty = group.0.iter().zip(&seen).filter(|(_, seen)| seen.empty && round == 0);
            for (source, _) in empty {
                *look.empty.entry((source.queue.clone(), priority, source.lane)).or_default() += 1;
            }
            let mut found: Vec<_> = seen.into_iter().flat_map(|seen| look.add(priority, seen)).collect();
            if found.is_empty() {
                return Ok(());
            }
            found.sort_by_key(|entry| (entry.head.run_after, entry.head.id));
            found.truncate(first);
            if found.len() > missing {
                self.shuffle(&mut found);
            }
            let lost = self.reserve(found, priority, missing, look);
            if !lost || look.due.len() >= most {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(crate) fn shuffle<T>(&self, entries: &mut [T]) {
        for place in (1..entries.len()).rev() {
            let other = usize::try_from(self.db.draw() % (place as u64 + 1)).unwrap_or(0);
            entries.swap(place, other);
        }
    }

    /// Adds entries to a look as far as no other claim of this process has them; says whether one had.
    fn reserve<'a>(
        &'a self,
        entries: Vec<Stored>,
        priority: Priority,
        missing: usize,
        look: &mut Look<'a>,
    ) -> bool {
        let (mut lost, before) = (false, look.due.len());
        for entry in entries {
            if look.due.len() == before + missing {
                break;
            }
            lost |= look.reserve(&self.notes, usual_place(&entry, priority), entry);
        }
        look.due[before..].sort_by_key(|one| (one.entry.head.run_after, one.entry.head.id));
        lost
    }

    /// Up to `most` entries of a partition that are due, wanted and free, and when the first is due that is not yet.
    pub(crate) async fn seen(
        &self,
        claim: &Entered<'_>,
        source: &Source,
        most: usize,
    ) -> Result<Seen, StoreError> {
        let mut seen = Seen::default();
        let in_sequence = claim.limits.gives_in_sequence(&source.queue);
        let mut query = Query { filter: narrowed(claim), ..Query::index(&source.partition) };
        if source.mixed {
            // Those for later are looked at apart, and not all of them.
            query.range = Range::Below(keys::sortable(Timestamp::from_millis(claim.now.as_millis() + 1)));
        }
        let first = if source.mixed { PAGE } else { i32::try_from(most + SPARE).unwrap_or(PAGE) };
        query.limit = Some(first);
        loop {
            let page = self.db.query(&query).await?;
            seen.empty = query.filter.is_none() && query.start.is_none() && page.scanned == 0;
            for item in &page.items {
                let Some(entry) = self.db.read_one(item, Stored::read) else { continue };
                if entry.head.run_after > claim.now {
                    seen.next_at = Some(entry.head.run_after);
                    return Ok(seen);
                }
                if claim.limits.has_passed(entry.head.id) {
                    if in_sequence && claim.limits.was_stale(entry.head.id) {
                        seen.others.push(entry);
                    }
                    continue;
                }
                if !self.notes.is_taken((entry.head.id, entry.created_at), entry.head.events) {
                    if entry.head.expired(claim.now).is_some() {
                        seen.expired.push(entry);
                        if seen.expired.len() >= MOST_EXPIRED {
                            // There may be ready ones behind them: the claim comes again at once.
                            seen.next_at = Some(claim.now);
                            return Ok(seen);
                        }
                        continue;
                    }
                    if entry.head.runs_alone() {
                        seen.alone.push(entry);
                    } else {
                        seen.found.push(entry);
                    }
                } else if in_sequence {
                    seen.others.push(entry);
                }
                if seen.found.len() >= most {
                    return Ok(seen);
                }
            }
            if page.next.is_none() {
                return Ok(seen);
            }
            query.start = page.next;
            // Of a mixed partition whole pages of a megabyte, as few of their entries may come.
            query.limit = (!source.mixed).then_some(PAGE);
        }
    }

    /// When the first wanted task is due that lies in a mixed partition for later: at the earliest, if it lies behind more
    /// others than one page holds. To know it better would cost reads without bound.
    pub(crate) async fn next_of(
        &self,
        claim: &Claim,
        source: &Source,
    ) -> Result<Option<Timestamp>, StoreError> {
        let later = keys::sortable(Timestamp::from_millis(claim.now.as_millis() + 1));
        let range = Range::AtLeast(later);
        let query = Query { range, filter: narrowed(claim), ..Query::index(&source.partition) };
        let page = self.db.query(&query).await?;
        if let Some(entry) = page.items.iter().find_map(|item| self.db.read_one(item, Stored::read)) {
            return Ok(Some(entry.head.run_after));
        }
        let Some(last) = page.next else { return Ok(None) };
        let key = last.get("is").and_then(|key| key.as_s().ok()).map_or("", String::as_str);
        let at = key.split('#').next().and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis);
        at.map(Some).ok_or_else(|| damaged(format!("expected a time in the index, got {key}")))
    }
}

/// What a claim's tasks must be, where it does not take all.
pub(crate) fn narrowed(claim: &Claim) -> Option<Expression> {
    let mut filter = Expression::new();
    if !claim.types.is_empty() {
        filter = filter.when_in("ty", claim.types.iter().map(|one| s(one.as_str())).collect());
    }
    if let Some(project) = claim.caller.project() {
        filter = when_of(filter, project);
    }
    filter.condition().is_some().then_some(filter)
}

/// That a task is one of a project.
pub(crate) fn of_project(project: &ProjectId) -> Expression {
    when_of(Expression::new(), project)
}

fn when_of(filter: Expression, project: &ProjectId) -> Expression {
    // A task of the default project does not name it.
    let named = (*project != ProjectId::default()).then(|| s(project.as_str()));
    filter.when_still("pj", named)
}

pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use baton_model::RunAfter;
    use baton_store::{Create, TaskStore as _};

    use super::*;
    use crate::Options;
    use crate::testing::{store, task};

    /// A read that names a task twice is refused.
    #[tokio::test]
    async fn a_look_has_each_task_once_however_often_it_is_seen() {
        let store = store(Options::seeded(1)).await;
        let (now, spec) = (Timestamp::from_millis(1_800_000_000_000), task(1, RunAfter::Now));
        let id = spec.id;
        let create = Create { now, tasks: vec![spec], atomic: false, idempotency: None, by: None };
        store.create(create).await.unwrap();
        let entry = store.inner.find(id).await.unwrap().unwrap();
        let mut moved = entry.clone();
        moved.head.events += 1;
        let (notes, mut look) = (&store.inner.notes, Look::default());
        let place = usual_place(&entry, Priority::Normal);
        for entry in [&entry, &moved] {
            assert!(!look.reserve(notes, place, entry.clone()));
            look.meet_alone(place, entry.clone());
        }
        assert_eq!((look.due.len(), look.alone.len()), (1, 0));
        let mut others = Look::default();
        assert!(others.reserve(notes, place, entry.clone()), "another claim has it");
        for entry in [entry, moved] {
            others.meet_alone(place, entry);
        }
        assert_eq!((others.due.len(), others.alone.len()), (0, 1));
    }
}
