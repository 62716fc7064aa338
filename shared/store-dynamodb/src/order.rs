//! Looking for ready tasks in queues that have an order of their own: fair ones, and those in which priorities rise as tasks wait.
//!
//! Such a look asks all places where tasks of a queue may lie for their first ones, and puts them in line by the order of the queue.
//! In a fair queue the tasks of each tenant and type have a place of their own (`lane`), so that a tenant with many tasks hides none of
//! another; how many tasks of a tenant run is what stands under [`LimitOn::Turn`]. So a claim costs by how many tenants and types have
//! tasks there, and not by how many tasks. What lies together, as from before the queue was fair, is looked through only so far.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_model::order::{Facts, Line, Ready, Rules};
use baton_model::{FairBy, Label, LimitOn, Priority, QueueOrder, TaskId, Tenant, Wants};
use baton_store::StoreError;
use futures::{StreamExt, TryStreamExt};

use crate::claim::Entered;
use crate::lane::{self, Choice, Lane};
use crate::look::{AMONG, AT_ONCE, Look, Source, earlier};
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// How many tasks are looked at where those of several tenants lie together.
const TOGETHER: usize = 200;

/// How many entries of all places of a queue together one look reads, about; at least one of each.
const READ: usize = 2_000;

/// An entry of the index, or a task, that a look may pick.
struct Found {
    /// The place of its queue in the claim.
    queue: usize,
    priority: Priority,
    entry: Stored,
    key: Option<Label>,
    affinity: Option<Label>,
    /// Whether its lane tells what it wants to be warm.
    is_told: bool,
}

impl Ready for Found {
    fn facts(&self) -> Facts<'_> {
        Facts {
            queue: self.queue,
            priority: self.priority,
            run_after: self.entry.head.run_after,
            id: self.entry.head.id,
            project: &self.entry.project,
            key: self.key.as_ref(),
            affinity: self.affinity.as_ref(),
        }
    }
}

impl Inner {
    /// As [`Inner::look`], of queues of which some have an order of their own.
    pub(crate) async fn look_in_order(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        most: usize,
    ) -> Result<Look<'_>, StoreError> {
        let in_order = claim.limits.gives_in_sequence_of(queues);
        let rivals = if in_order { 1 } else { self.crowd_at(claim, queues) };
        let among = most.saturating_mul(rivals).min(AMONG.max(most));
        let orders: Vec<QueueOrder> = queues.iter().map(|queue| queue.order).collect();
        for round in 0..ROUNDS {
            let mut look = Look::default();
            let (mut plain, mut alone) = (Vec::new(), Vec::new());
            for place in 0..queues.len() {
                self.found_in(claim, (queues, place), among, &mut look, (&mut plain, &mut alone)).await?;
            }
            if round == 0 {
                // A tenant that is gone is to leave its place to another.
                self.tidy(queues, &look.empty, claim.now).await;
            }
            let counted = self.turns(claim, queues, plain.iter().chain(&alone)).await?;
            let running = |queue: usize, tenant: &Tenant| {
                let on = queues.get(queue).map(|queue| LimitOn::Turn(queue.name.clone(), tenant.clone()));
                on.and_then(|on| counted.get(&on)).copied().unwrap_or(0)
            };
            let rules = Rules { orders: &orders, warm: &claim.warm, now: claim.now, running: &running };
            for one in alone {
                look.meet_alone(rules.place(&one.facts()), one.entry);
            }
            let line = Line::new(rules, plain);
            let (mut first, behind) = Self::first_in_line(claim, line, &orders, (among, most));
            let found = first.len();
            if among > most {
                self.shuffle(&mut first);
            }
            for one in first {
                if look.due.len() == most {
                    break;
                }
                look.reserve(&self.notes, rules.place(&one.facts()), one.entry);
            }
            // Another claim of this process may have reserved them since they were seen: then others are free.
            if found == 0 || look.due.len() == most.min(found) {
                let of_first = look.due.len();
                for one in behind {
                    look.reserve(&self.notes, rules.place(&one.facts()), one.entry);
                }
                look.due[of_first..].iter_mut().for_each(|one| one.is_behind = true);
                return Ok(look);
            }
        }
        Ok(Look { next_at: Some(claim.now), ..Look::default() })
    }

    /// The first ones of a line, among which a claim picks; and behind them the first ones of each fair queue, as many as it wants, where
    /// limits may stop some of these and several queues are named: what hides another of its queue has to be out of the way before the
    /// queues are compared.
    fn first_in_line(
        claim: &Entered<'_>,
        line: Line<'_, Found>,
        orders: &[QueueOrder],
        (among, most): (usize, usize),
    ) -> (Vec<Found>, Vec<Found>) {
        if !claim.limits.is_on() || orders.len() < 2 {
            return (line.take(among).collect(), Vec::new());
        }
        let (mut first, mut behind, mut of_queues) = (Vec::new(), Vec::new(), vec![0; orders.len()]);
        for one in line {
            let is_fair = orders.get(one.queue).is_some_and(|order| order.fair.is_some());
            let of_queue = of_queues.get_mut(one.queue).map_or(usize::MAX, |count| {
                *count += 1;
                *count
            });
            if first.len() < among {
                first.push(one);
            } else if is_fair && of_queue <= most {
                behind.push(one);
            }
        }
        (first, behind)
    }

    /// Adds the first tasks of all places of a queue, as far as they may be among the first `most` of it.
    async fn found_in<'a>(
        &'a self,
        claim: &Entered<'_>,
        (queues, place): (&[&StoredQueue], usize),
        most: usize,
        look: &mut Look<'a>,
        (plain, alone): (&mut Vec<Found>, &mut Vec<Found>),
    ) -> Result<(), StoreError> {
        let (queue, choice) = (queues[place], Choice::of(claim));
        let (by_key, by_warmth) = (queue.order.fair == Some(FairBy::Key), claim.warm.wants != Wants::Any);
        let mut mixed = Vec::new();
        let before = plain.len();
        for priority in Priority::ALL {
            let shards = (0..queue.shards).flat_map(|shard| Source::of(queue, priority, &choice, shard));
            let sources: Vec<Source> = shards.collect();
            let share = (READ / sources.len().max(1)).max(1);
            let each = most.min(share);
            let mut looks = Vec::with_capacity(sources.len());
            for source in &sources {
                let fair = queue.order.fair;
                let wanted = if fair.is_none() && !by_warmth || source.lane.is_of_one(fair) {
                    each
                } else if source.lane.is_apart() {
                    TOGETHER.min(share)
                } else {
                    TOGETHER
                };
                looks.push(self.seen(claim, source, wanted.max(each)));
            }
            let seen: Vec<_> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            let (mut ready, mut single) = (Vec::new(), Vec::new());
            for (source, seen) in sources.iter().zip(seen) {
                look.next_at = earlier(look.next_at, seen.next_at);
                look.expired.extend(seen.expired);
                look.others.extend(seen.others);
                if seen.empty {
                    *look.empty.entry((source.queue.clone(), priority, source.lane)).or_default() += 1;
                }
                let affinity = self.warm_in(claim, source.lane);
                let found = |entry: Stored| Found {
                    is_told: source.lane.is_apart(),
                    queue: place,
                    priority,
                    key: None,
                    affinity: affinity.cloned(),
                    entry,
                };
                ready.extend(seen.found.into_iter().map(found));
                single.extend(seen.alone.into_iter().map(found));
            }
            let unsaid = ready.iter_mut().chain(&mut single);
            self.note_unsaid(unsaid.filter(|one| by_key || by_warmth && !one.is_told)).await?;
            let is_taken = |one: &Found| claim.warm.takes(one.affinity.as_ref());
            plain.extend(ready.into_iter().filter(is_taken));
            alone.extend(single.into_iter().filter(is_taken));
            mixed.extend(sources.into_iter().filter(|source| source.mixed));
            if queue.order.age_after_seconds.is_none() && plain.len() - before >= most {
                break;
            }
        }
        if plain.len() == before {
            for source in &mixed {
                look.next_at = earlier(look.next_at, self.next_of(claim, source).await?);
            }
        }
        Ok(())
    }

    /// Which of the names that a claim has warm the tasks of a lane want.
    fn warm_in<'a>(&self, claim: &'a Entered<'_>, lane: Lane) -> Option<&'a Label> {
        let affinity = lane.affinity()?;
        claim.warm.names.iter().find(|name| lane::is_of(name, affinity))
    }

    /// Notes what the index does not tell of tasks: their keys, and what they want to be warm.
    async fn note_unsaid(&self, found: impl Iterator<Item = &mut Found> + Send) -> Result<(), StoreError> {
        let mut by_id: BTreeMap<TaskId, &mut Found> = found.map(|one| (one.entry.head.id, one)).collect();
        if by_id.is_empty() {
            return Ok(());
        }
        let keys = by_id.keys().map(|id| self.task_key(*id)).collect();
        for item in self.db.get_all_lately(keys).await? {
            let Some(task) = self.db.read_one(&item, Stored::read) else { continue };
            if let Some(found) = by_id.get_mut(&task.head.id) {
                let rest = task.rest()?;
                (found.key, found.affinity) = (rest.concurrency_key.clone(), rest.affinity.clone());
            }
        }
        Ok(())
    }

    /// Reads how many tasks run of those whose turn it may be, and counts those that the claim has picked.
    async fn turns<'a>(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        found: impl Iterator<Item = &'a Found> + Send,
    ) -> Result<HashMap<LimitOn, u32>, StoreError> {
        let on = |one: &Found| {
            let queue = queues.get(one.queue)?;
            let tenant = queue.order.fair?.tenant(&one.entry.project, one.key.as_ref());
            Some(LimitOn::Turn(queue.name.clone(), tenant))
        };
        let ons: BTreeSet<LimitOn> = found.filter_map(on).collect();
        let ons: Vec<LimitOn> = ons.into_iter().collect();
        let standings = self.standings(&ons).await?;
        let running = |on: &LimitOn| {
            let stands: u32 = standings.get(on).map_or(0, |standing| standing.counts_by(None).running);
            stands.saturating_add(claim.limits.picked_of(on))
        };
        Ok(ons.into_iter().map(|on| (on.clone(), running(&on))).collect())
    }
}
