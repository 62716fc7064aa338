//! Who waits at a limit. A claim that meets a task over a limit puts it aside: its entry in the index moves to where claims do not
//! look, and an item in the list of the limit tells of it, in the order of claims. So each is met once, and not by every claim.
//! What is let go stays where claims look, also when the limit is full again: a claim passes over it without a write.
//!
//! The list lies in the table, where it can be read as of now. An item stays in it when its task is let go (it is marked then),
//! until the task starts or ends: so that it can be seen that of each line as many stand where claims look as the limit has
//! places. What puts a task aside is one transaction with the limit's own item, on the condition that it is still full: who frees
//! a place changes that item first, sees that somebody waits, and then finds them all in the list.

use std::collections::{BTreeSet, HashMap};

use baton_model::{Label, LimitOn, LimitRules, Priority, ProjectId, QueueName, TaskId, TaskType, Timestamp};
use baton_store::{Ready, StoreError};

use super::standing::{StoredStanding, standing_key, waited_at};
use super::{name_of, on_from};
use crate::attr::{Fields, Item, key, n, s, time};
use crate::claim::Entered;
use crate::codes::Code;
use crate::error::{TransactError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::notes::Reserved;
use crate::row::Stored;
use crate::store::Inner;

/// The limit that a task waits at, or was let go from and has not started since.
pub(crate) const WAITS_AT: &str = "wa";

/// Its place in the list of that limit.
pub(crate) const PLACE: &str = "ws";

/// How many tasks one transaction puts aside.
const TOGETHER: usize = 25;

/// How often one is sent again without those that have changed under it.
const ROUNDS: u32 = 3;

/// How long the note of when a rate has more to start is kept after that, in seconds.
const DUE_KEPT_S: i64 = 86_400;

/// Whether a limit puts aside what it stops. A queue's own does not, as the queue is not looked into while it is full; unless some
/// types are exempt from it.
pub(super) fn moves(on: &LimitOn, rules: &LimitRules) -> bool {
    !matches!(on, LimitOn::Queue(_)) || !rules.exempt_types.is_empty()
}

/// The partition of the table that lists who waits at a limit.
pub(super) fn list_of(on: &LimitOn) -> String {
    format!("H#{}", name_of(on))
}

/// The partition of the table that tells when rates of a queue have more to start.
pub(super) fn dues_of(queue: &QueueName) -> String {
    format!("H#@{queue}")
}

/// Where a task waits, as its own item tells it.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    pub(super) on: LimitOn,
    pub(super) place: String,
    /// Whether it is where claims do not look; else it was let go.
    pub(super) is_aside: bool,
}

impl Waits {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Option<Self>, StoreError> {
        let (Some(on), Some(place)) = (fields.maybe_text(WAITS_AT)?, fields.maybe_text(PLACE)?) else {
            return Ok(None);
        };
        let is_aside = fields.maybe_text("ip")?.is_some_and(keys::is_put_aside);
        Ok(Some(Self { on: on_from(on)?, place: place.to_owned(), is_aside }))
    }

    /// The key of its item in the list of the limit.
    pub(super) fn key(&self) -> Item {
        key(&list_of(&self.on), &self.place)
    }
}

/// A limit's tasks of which a claim gets all or none: those of one queue, type, project, affinity and priority. Those that hold a
/// place of the limit while they wait for their next attempt are one line before all others.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) queue: QueueName,
    pub(super) task_type: TaskType,
    pub(super) project: ProjectId,
    pub(super) affinity: Option<Label>,
    pub(super) priority: Priority,
    pub(super) holds_place: bool,
}

impl Line {
    fn of(task: &Stored, holds_place: bool) -> Result<Self, StoreError> {
        let rest = task.rest()?;
        Ok(Self {
            queue: task.queue.clone(),
            task_type: task.task_type.clone(),
            project: task.project.clone(),
            affinity: rest.affinity.clone(),
            priority: rest.priority,
            holds_place,
        })
    }

    /// What the places of its tasks begin with.
    pub(super) fn name(&self) -> String {
        let Self { queue, task_type, project, affinity, priority, holds_place } = self;
        // No name begins with a sign before the digits but `+`, `-` and `.`.
        if *holds_place {
            "!".to_owned()
        } else {
            // By its hash, as a name may hold any sign: who has none lies where it lay before there were any.
            let affinity =
                affinity.as_ref().map(|one| format!("+{:016x}", keys::hash(one.as_str().as_bytes())));
            let affinity = affinity.unwrap_or_default();
            format!("{queue}#{task_type}#{project}{affinity}#{}", priority.code())
        }
    }

    /// What sorts behind all of its places, and before those of the next line.
    pub(super) fn end(&self) -> String {
        format!("{}#~", self.name())
    }
}

/// An item of the list of a limit.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    pub(super) line: Line,
    pub(super) place: String,
    /// When it was let go, if it was.
    pub(super) let_go_at: Option<Timestamp>,
}

impl Waiting {
    /// `mark`: no task has the same place twice, so that whoever is slow removes or marks nothing that came later.
    pub(super) fn of(task: &Stored, holds_place: bool, mark: u64) -> Result<Self, StoreError> {
        let line = Line::of(task, holds_place)?;
        let place = keys::place(task.head.run_after, task.head.id);
        let place = format!("{}#{place}#{:08x}", line.name(), mark >> 32);
        Ok(Self { id: task.head.id, line, place, let_go_at: None })
    }

    pub(super) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let text = fields.text("tk")?;
        Ok(Self {
            id: text.parse().map_err(|_| damaged(format!("expected a task's id, got {text}")))?,
            line: Line {
                queue: QueueName::from_stored(fields.text("qu")?),
                task_type: TaskType::from_stored(fields.text("ty")?),
                project: ProjectId::from_stored(fields.text("pj")?),
                affinity: fields.maybe_text("af")?.map(Label::from_stored),
                priority: Priority::of(fields.number("pr")?)?,
                holds_place: fields.has("hp"),
            },
            place: fields.text("sk")?.to_owned(),
            let_go_at: fields.maybe_time("go")?,
        })
    }

    fn item(&self, on: &LimitOn) -> Item {
        let mut item = key(&list_of(on), &self.place);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("tk", s(self.id.to_string()));
        put("qu", s(self.line.queue.as_str()));
        put("ty", s(self.line.task_type.as_str()));
        put("pj", s(self.line.project.as_str()));
        put("pr", n(self.line.priority.code()));
        if let Some(affinity) = &self.line.affinity {
            put("af", s(affinity.as_str()));
        }
        if self.line.holds_place {
            put("hp", n(1));
        }
        item
    }
}

/// The note that a rate has more to start at a time. It is kept for long enough to be seen, and DynamoDB removes it.
pub(super) fn due_item(on: &LimitOn, queue: &QueueName, at: Timestamp) -> Item {
    let mut item = key(&dues_of(queue), &format!("{}#{}", keys::sortable(at), name_of(on)));
    item.insert("on".to_owned(), s(on.to_string()));
    item.insert("xp".to_owned(), n(at.as_millis() / 1_000 + DUE_KEPT_S));
    item
}

/// A task that a limit does not let start.
pub(super) struct Stopped<'a> {
    pub(super) task: Stored,
    pub(super) on: LimitOn,
    /// When its rate does, if it is only that.
    pub(super) next_at: Option<Timestamp>,
    /// Whether it holds a place of the limit.
    pub(super) holds_place: bool,
    /// Whether the limit is full as it is, and not only once the claim has taken what it is about to take.
    pub(super) is_sure: bool,
    /// Other claims of this process leave it alone meanwhile.
    pub(super) _reserved: Option<Reserved<'a>>,
}

impl Inner {
    /// Puts tasks aside that limits stop, and lets others go in place of those that were let go by another limit.
    pub(super) async fn put_aside(
        &self,
        claim: &Entered<'_>,
        stopped: Vec<Stopped<'_>>,
        standings: &HashMap<LimitOn, StoredStanding>,
    ) -> Result<(), StoreError> {
        let mut groups: Vec<Vec<Stopped<'_>>> = Vec::new();
        for one in stopped {
            let fits = |group: &&mut Vec<Stopped<'_>>| {
                let first = &group[0];
                first.on == one.on && first.is_sure == one.is_sure && group.len() < TOGETHER
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.push(one),
                None => groups.push(vec![one]),
            }
        }
        let mut left = BTreeSet::new();
        for group in groups {
            for one in self.put_group_aside(claim, group, standings).await? {
                claim.limits.pass(one.task.head.id, &one.on, one.next_at);
                claim.limits.note_moved(&one.on, one.is_sure);
                self.ring_at(one.next_at, &one.task);
                let earlier = one.task.rest()?.waits.as_ref().map(|waits| &waits.on);
                left.extend(earlier.filter(|earlier| **earlier != one.on).cloned());
            }
        }
        for on in left {
            self.let_go_at(&on, false, claim.now).await?;
        }
        Ok(())
    }

    /// Has who waits for work learn when a rate lets a task start.
    pub(super) fn ring_at(&self, next_at: Option<Timestamp>, task: &Stored) {
        if let Some(run_after) = next_at {
            let (queue, task_type) = (task.queue.clone(), Some(task.task_type.clone()));
            self.doorbell.ring(Ready { queue, task_type, count: 1, run_after });
        }
    }

    /// Puts tasks aside that one limit stops, in one transaction; gives those that it has put aside. None, if the limit has got room
    /// meanwhile.
    async fn put_group_aside<'a>(
        &self,
        claim: &Entered<'_>,
        mut group: Vec<Stopped<'a>>,
        standings: &HashMap<LimitOn, StoredStanding>,
    ) -> Result<Vec<Stopped<'a>>, StoreError> {
        for _ in 0..ROUNDS {
            let Some(first) = group.first() else { break };
            let (on, mark) = (first.on.clone(), self.mark(&(first.task.head.id, claim.now)));
            let rules = claim.limits.book.rules_of(&on);
            let standing = standings.get(&on).cloned().unwrap_or_default();
            let sure = rules.filter(|_| first.is_sure);
            let full = still_full(waited_at(&on, claim.now), sure, &standing, first.next_at);
            let mut writes = vec![self.db.update_write(standing_key(&on), &full)?];
            let dues: BTreeSet<_> = group.iter().filter_map(|one| one.next_at).collect();
            if let Some(queue) = on.queue() {
                for at in dues {
                    writes.push(self.db.put_write(due_item(&on, queue, at), &Expression::new())?);
                }
            }
            let mut places = Vec::with_capacity(group.len());
            for one in &group {
                places.push(writes.len());
                let waiting = Waiting::of(&one.task, one.holds_place, mark)?;
                writes.push(self.aside_write(one, &waiting)?);
                writes.push(self.db.put_write(waiting.item(&on), &Expression::new())?);
                if let Some(earlier) = &one.task.rest()?.waits {
                    writes.push(self.db.delete_write(earlier.key(), &Expression::new())?);
                }
            }
            match self.db.transact(writes, &format!("aside#{mark}")).await {
                Ok(()) => return Ok(group),
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    let failed = |place: usize| reasons.get(place).is_none_or(|(failed, _)| *failed);
                    if failed(0) {
                        return Ok(Vec::new());
                    }
                    let mut changed = places.into_iter().map(failed);
                    group.retain(|_| !changed.next().unwrap_or(true));
                }
            }
        }
        Ok(Vec::new())
    }

    fn aside_write(
        &self,
        one: &Stopped<'_>,
        waiting: &Waiting,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        let (head, rest) = (&one.task.head, one.task.rest()?);
        let shard = keys::shard(head.id, self.options.shards_of(&one.task.queue));
        let partition = keys::put_aside(&one.task.queue, rest.priority, shard);
        let update = Expression::new()
            .when("ev", "=", n(head.events))
            .when("ca", "=", time(one.task.created_at))
            .when("ra", "=", time(head.run_after))
            .when_still(PLACE, rest.waits.as_ref().map(|waits| s(&waits.place)))
            .set("ip", s(partition))
            .set(WAITS_AT, s(one.on.to_string()))
            .set(PLACE, s(&waiting.place));
        self.db.update_write(self.task_key(head.id), &update)
    }
}

/// The condition that a limit is full as it was found: by its places alone, or as its item was.
fn still_full(
    change: Expression,
    rules: Option<&LimitRules>,
    standing: &StoredStanding,
    next_at: Option<Timestamp>,
) -> Expression {
    match rules {
        None => change,
        Some(LimitRules { max_running: Some(most), holds_retries: false, .. }) if next_at.is_none() => {
            change.when_full("ls", *most)
        }
        Some(_) => change.when_still("v", standing.version.map(n)),
    }
}
