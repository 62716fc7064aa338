//! What stands under a limit: an item with the set of leases themselves, by task and attempt. A claim's own transaction adds its
//! lease on the condition that there is room, so that a limit is never exceeded. Whoever ends the lease takes it out after it; what
//! a crash leaves behind is found by the next claim that finds the limit full, and holds the set against the tasks.

use std::collections::{BTreeSet, HashMap, HashSet};

use baton_model::{
    Arrival, Head, LimitOn, LimitRules, Standing, State, TaskId, TaskState, Timestamp, Watch, holds_place,
};
use baton_store::{Ready, StoreError};

use super::wait::{Waits, due_item};
use super::{lately, name_of, on_of};
use crate::attr::{Fields, Item, key, n, s, texts};
use crate::db::{Query, Range};
use crate::ends::ENDS;
use crate::expression::Expression;
use crate::keys;
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;

/// How long the leases under a limit that is found full again and again are not held against the tasks again.
const VERIFIED: std::time::Duration = std::time::Duration::from_secs(5);

/// For how many seconds what stands under a limit is kept after its last change: longer than any attempt goes on.
pub(super) const KEPT_S: i64 = 400 * 86_400;

/// A lease as it stands in a set.
pub(super) fn lease_of(task: TaskId, attempt: u32) -> String {
    format!("{task}#{attempt}")
}

pub(super) fn task_of(lease: &str) -> Option<(TaskId, u32)> {
    let (id, attempt) = lease.split_once('#')?;
    Some((id.parse().ok()?, attempt.parse().ok()?))
}

/// The partition of the index where the limits lie that somebody may wait at.
const WAITED_AT: &str = "O#w";

fn partition(part: u64) -> String {
    format!("O#{part:x}")
}

/// The item of what stands under a limit.
pub(super) fn standing_key(on: &LimitOn) -> Item {
    let part = keys::hash(on.to_string().as_bytes()) % keys::NAME_PARTS;
    key(&partition(part), &name_of(on))
}

/// What stands under a limit, as its item tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredStanding {
    /// Raised with each change; none of an item that is not there yet.
    pub(super) version: Option<u64>,
    pub(super) leases: BTreeSet<String>,
    /// Tasks that hold their place while they wait for their next attempt.
    pub(super) held: BTreeSet<String>,
    pub(super) arrival: Option<Arrival>,
    /// Whether somebody may wait at it.
    pub(super) is_waited_at: bool,
    /// When it goes if nothing changes, in seconds since 1970.
    pub(super) ends: Option<i64>,
}

impl StoredStanding {
    fn read(item: &Item) -> Result<(LimitOn, Self), StoreError> {
        let fields = Fields(item);
        let set = |name: &str| -> Result<BTreeSet<String>, StoreError> {
            Ok(fields.set_of_texts(name)?.iter().cloned().collect())
        };
        let standing = Self {
            version: fields.maybe_number("v")?,
            leases: set("ls")?,
            held: set("hd")?,
            arrival: fields.maybe_number("ar")?.map(Arrival),
            is_waited_at: fields.has("wt"),
            ends: fields.maybe_number(ENDS)?,
        };
        Ok((on_of(fields)?, standing))
    }

    /// The same as numbers, by what the limit says: without `holds_retries` nobody has a place that waits.
    pub(crate) fn counts_by(&self, rules: Option<&LimitRules>) -> Standing {
        let size = |set: &BTreeSet<String>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        let held = if rules.is_some_and(|rules| rules.holds_retries) { size(&self.held) } else { 0 };
        Standing { running: size(&self.leases), held, arrival: self.arrival }
    }
}

/// Whether a task may hold a place of a limit while it waits for its next attempt: not in another queue, where it may have gone since.
pub(super) fn may_hold(on: &LimitOn, task: &Stored) -> bool {
    let is_there = on.queue().is_none_or(|queue| *queue == task.queue);
    is_there && on.takes_holding() && holds_place(&task.head)
}

/// A change of what stands under a limit.
pub(super) fn changing(on: &LimitOn) -> Expression {
    Expression::new().set("on", s(on.to_string())).add("v", n(1))
}

/// The same, from when on what stands under the limit is kept for as long as it can matter. It is an item for each key that ever
/// ran under a limit.
pub(super) fn lasting(on: &LimitOn, now: Timestamp) -> Expression {
    changing(on).set(ENDS, n(now.as_millis() / 1_000 + KEPT_S))
}

/// The change that notes that somebody waits at a limit, where the reaper finds it.
pub(super) fn waited_at(on: &LimitOn, now: Timestamp) -> Expression {
    lasting(on, now).set("wt", n(1)).set("ip", s(WAITED_AT)).set("is", s(name_of(on)))
}

/// The change that adds a lease to what stands under a limit, on the condition that there is room for it.
pub(super) fn adding(
    on: &LimitOn,
    rules: &LimitRules,
    standing: &StoredStanding,
    (task, attempt): (TaskId, u32),
    now: Timestamp,
) -> Expression {
    let lease = lease_of(task, attempt);
    // Whose turn it is stops nobody, so that no claim would hold its leases against the tasks: the reaper does.
    let change = if matches!(on, LimitOn::Turn(..)) { waited_at(on, now) } else { lasting(on, now) };
    let mut change = change.add("ls", texts([lease.clone()])).take_out("hd", texts([task.to_string()]));
    if let Some(rate) = rules.rate {
        change = change.set("ar", n(rate.started(standing.arrival, now).0));
    }
    match rules.max_running {
        // Only the size of the set matters, so that claims at once do not stand in each other's way.
        Some(most) if rules.rate.is_none() && !rules.holds_retries => {
            change.when_room("ls", s(lease), most as usize)
        }
        None if rules.rate.is_none() => change,
        _ => change.when_still("v", standing.version.map(n)),
    }
}

impl Inner {
    /// What stands under these limits; nothing where there is no item.
    pub(crate) async fn standings(
        &self,
        ons: &[LimitOn],
    ) -> Result<HashMap<LimitOn, StoredStanding>, StoreError> {
        let distinct: HashSet<&LimitOn> = ons.iter().collect();
        let wanted = distinct.into_iter().map(standing_key).collect();
        let items = self.db.get_all(wanted).await?;
        let found = items.iter().filter_map(|item| self.db.read_one(item, StoredStanding::read));
        Ok(found.collect())
    }

    /// Takes a lease that has ended out of what stands under the limits that it was under, and the task with it if it holds its
    /// place no longer, and lets those go that wait for it. So for a task that waits at a limit no longer. What fails is made good
    /// by whoever finds the limit full, and by the reaper. One that waits again after its end holds its places again.
    pub(crate) async fn leave(&self, before: &Stored, after: &Stored, now: Timestamp) {
        self.hold_places_again(before, after).await;
        let Some(rest) = after.rest.as_ref() else { return };
        let waits = before.rest.as_ref().and_then(|rest| rest.waits.as_ref());
        // What stands under limits for it has ended before.
        if waits.is_none() && rest.limits.is_empty() || before.is_final() {
            return;
        }
        let ended = matches!(before.head.state, TaskState::Running(_));
        for text in &rest.limits {
            let Some(on) = self.noted_limit(&after.head, text) else { continue };
            let left = Box::pin(self.leave_one(&on, ended.then_some(&before.head), after, now)).await;
            self.told(&on, left);
        }
        if let Some(waits) = waits {
            let left = Box::pin(self.leave_list(waits, now)).await;
            self.told(&waits.on, left);
        }
        if ended {
            let queue = after.queue.clone();
            self.doorbell.ring(Ready { queue, task_type: None, count: 1, run_after: now });
        }
    }

    /// Tells the log of a place that could not be given back.
    pub(super) fn told<T>(&self, on: &LimitOn, left: Result<T, StoreError>) {
        if let Err(error) = left {
            tracing::warn!(limit = %on, error = error.report(),
                "a place could not be given back; it is by whoever finds the limit full, or by the reaper");
        }
    }

    /// Takes what does not wait at a limit any more out of its list, and lets another go in its place.
    pub(super) async fn leave_list(&self, waits: &Waits, now: Timestamp) -> Result<(), StoreError> {
        self.unlist(&waits.on, &waits.place).await?;
        self.let_go_at(&waits.on, true, now).await.map(drop)
    }

    async fn leave_one(
        &self,
        on: &LimitOn,
        ended: Option<&Head>,
        after: &Stored,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let holds = may_hold(on, after)
            && self.fresh_book().await?.rules_of(on).is_some_and(|rules| rules.holds_retries);
        let mut change = lasting(on, now);
        if let Some(ended) = ended {
            change = change.take_out("ls", texts([lease_of(ended.id, ended.attempt)]));
        }
        let task = texts([after.head.id.to_string()]);
        change = if holds { change.add("hd", task) } else { change.take_out("hd", task) };
        let standing = self.change_standing(on, &change).await?;
        self.let_go_of(on, &standing, false, now).await.map(drop)
    }

    /// Changes what stands under a limit; gives what does after it.
    pub(super) async fn change_standing(
        &self,
        on: &LimitOn,
        change: &Expression,
    ) -> Result<StoredStanding, StoreError> {
        let item = unconditional(self.db.update(standing_key(on), change).await)?;
        StoredStanding::read(&item).map(|(_, standing)| standing)
    }

    /// Limits that somebody may wait at, behind one if that is said.
    pub(super) async fn waited_at(
        &self,
        behind: Option<(&str, i32)>,
    ) -> Result<Vec<(LimitOn, StoredStanding)>, StoreError> {
        let query = Query::index(WAITED_AT);
        let found = match behind {
            None => self.db.query_whole(query).await?,
            Some((name, most)) => {
                // No name goes on with a space where another ends.
                let range = Range::AtLeast(format!("{name} "));
                self.db.query(&Query { range, limit: Some(most), ..query }).await?
            }
        };
        let place = |item: &Item| {
            let fields = Fields(item);
            Ok(key(fields.text("pk")?, fields.text("sk")?))
        };
        let keys = found.items.iter().filter_map(|item| self.db.read_one(item, place)).collect();
        let items = self.db.get_all(keys).await?;
        let mut found: Vec<_> =
            items.iter().filter_map(|item| self.db.read_one(item, StoredStanding::read)).collect();
        found.sort_by_key(|(on, _)| name_of(on));
        Ok(found)
    }

    /// Holds the leases under a full limit against the tasks; says whether some were of attempts that have ended.
    pub(super) async fn verify(
        &self,
        on: &LimitOn,
        standing: &StoredStanding,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if lately(&self.limits.verified, on, now, VERIFIED) {
            return Ok(false);
        }
        self.hold_against_tasks(on, standing, now).await
    }

    /// The same, however lately it was done.
    pub(super) async fn hold_against_tasks(
        &self,
        on: &LimitOn,
        standing: &StoredStanding,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut wanted: Vec<TaskId> =
            standing.leases.iter().filter_map(|lease| task_of(lease)).map(|(id, _)| id).collect();
        wanted.extend(standing.held.iter().filter_map(|id| id.parse::<TaskId>().ok()));
        wanted.sort_unstable();
        wanted.dedup();
        let items = self.db.get_all(wanted.into_iter().map(|id| self.task_key(id)).collect()).await?;
        let tasks: HashMap<TaskId, Stored> = items
            .iter()
            .filter_map(|item| self.db.read_one(item, Stored::read))
            .map(|stored| (stored.head.id, stored))
            .collect();
        let runs = |lease: &String| {
            let Some((id, attempt)) = task_of(lease) else { return false };
            tasks
                .get(&id)
                .is_some_and(|task| task.head.attempt == attempt && task.head.state.state() == State::Running)
        };
        let holds = |id: &String| {
            let task = id.parse().ok().and_then(|id: TaskId| tasks.get(&id));
            task.is_some_and(|task| may_hold(on, task))
        };
        let ended: Vec<String> = standing.leases.iter().filter(|lease| !runs(lease)).cloned().collect();
        let let_go: Vec<String> = standing.held.iter().filter(|id| !holds(id)).cloned().collect();
        if ended.is_empty() && let_go.is_empty() {
            return Ok(false);
        }
        // Whoever ended an attempt gives its place back next, and may not have come to it: a task that waits for its retry is not to lose
        // its place meanwhile.
        let holds_retries = self.known_book().await?.rules_of(on).is_some_and(|rules| rules.holds_retries);
        let ids = ended.iter().filter_map(|lease| task_of(lease)).map(|(id, _)| id.to_string());
        let held: Vec<String> = ids.filter(|id| holds_retries && holds(id)).collect();
        let mut change = lasting(on, now);
        if !ended.is_empty() {
            change = change.take_out("ls", texts(ended));
        }
        // One write adds to a set or takes out of it, and does not do both: what is left over is found again.
        if !held.is_empty() {
            change = change.add("hd", texts(held));
        } else if !let_go.is_empty() {
            change = change.take_out("hd", texts(let_go));
        }
        let standing = self.change_standing(on, &change).await?;
        self.let_go_of(on, &standing, false, now).await?;
        Ok(true)
    }

    /// Dates rates by a clock that was set back.
    pub(crate) async fn redate_rates(&self, watch: &Watch) -> Result<(), StoreError> {
        let book = self.known_book().await?;
        if book.is_empty() {
            return Ok(());
        }
        for part in 0..keys::NAME_PARTS {
            let found = self.db.query_whole(Query::table(partition(part))).await?;
            for item in &found.items {
                let Some((on, standing)) = self.db.read_one(item, StoredStanding::read) else { continue };
                let rate = book.rules_of(&on).and_then(|rules| rules.rate);
                if let (Some(rate), Some(arrival)) = (rate, standing.arrival)
                    && rate.redated(arrival, watch.now) != arrival
                {
                    let dated = rate.redated(arrival, watch.now);
                    self.change_standing(&on, &changing(&on).set("ar", n(dated.0))).await?;
                    if let Some(queue) = on.queue().filter(|_| standing.is_waited_at) {
                        let due = rate.next_at(Some(dated), watch.now);
                        self.put_setting(due_item(&on, queue, due)).await?;
                    }
                }
            }
        }
        Ok(())
    }
}
