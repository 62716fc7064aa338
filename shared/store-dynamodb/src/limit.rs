//! Limits that tasks share: what is set, and who knows of it.
//!
//! What is set lies in one partition, with a number that each change raises. The record of each queue that a limit may concern
//! tells that number, and a claim reads it anyway: where there is none, nothing is limited and nothing is asked for; where it is
//! higher than what the process knows, all that is set is read again. So the next claim of every process goes by a change, and a
//! claim of a queue without limits costs what it did.

mod count;
mod held;
mod limiting;
mod room;
mod sequence;
mod standing;
mod tend;
mod under;
mod wait;
mod why;
mod within;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{Digest, FairBy, Head, Label, Limit, LimitBook, LimitOn, ProjectId, QueueName, Timestamp};
use baton_store::transfer::{ImportError, Verdict, limit_onto, owned_onto};
use baton_store::{
    Changed, Cursor, LimitStatus, OwnedProject, Page, PageRequest, Ready, SetLimit, SetOwner, StoreError,
};
use tokio::sync::RwLock;

use crate::attr::{Fields, Item, json, key, n, s, time};
use crate::db::{Query, Range};
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::queue::{StoredQueue, unconditional};
use crate::store::Inner;

pub(crate) use self::limiting::Limiting;
pub(crate) use self::wait::{PLACE, WAITS_AT, Waits};
pub(crate) use self::within::Taking;

/// The partition of all that is set.
pub(crate) const SETTINGS: &str = "J";

/// Where limits and owners begin and end in it.
pub(crate) const LIMITS: (&str, &str) = ("L#", "L#~");
pub(crate) const OWNERS: (&str, &str) = ("P#", "P#~");
/// What the names of fair queues begin with there.
const FAIR: &str = "F#";

/// The longest name in a sort key, which may have 1,024 bytes; of a longer one its beginning and its digest.
const NAME_BYTES: usize = 880;

/// The number that each change raises; beside the table's settings, which whoever makes a queue known may read.
fn version_key() -> Item {
    keys::meta("limits")
}

/// A limit's name as part of a key.
fn name_of(on: &LimitOn) -> String {
    let text = on.to_string();
    if text.len() <= NAME_BYTES {
        return text;
    }
    let digest: String =
        Digest::of_bytes(text.as_bytes()).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let end = (0..=NAME_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}#{digest}", &text[..end])
}

fn limit_key(on: &LimitOn) -> Item {
    key(SETTINGS, &format!("{}{}", LIMITS.0, name_of(on)))
}

fn owner_key(project: &ProjectId) -> Item {
    key(SETTINGS, &format!("{}{project}", OWNERS.0))
}

fn on_of(fields: Fields<'_>) -> Result<LimitOn, StoreError> {
    on_from(fields.text("on")?)
}

fn on_from(text: &str) -> Result<LimitOn, StoreError> {
    LimitOn::from_stored(text).map_err(|_| damaged(format!("expected what a limit holds for, got {text}")))
}

pub(crate) fn read_limit(item: &Item) -> Result<Limit, StoreError> {
    let fields = Fields(item);
    Ok(Limit {
        on: on_of(fields)?,
        rules: fields.maybe_json("ru")?.unwrap_or_default(),
        changed_by: fields.maybe_text("cb")?.map(Label::from_stored),
        reason: fields.maybe_text("cr")?.map(str::to_owned),
        changed_at: fields.time("ca")?,
    })
}

fn limit_item(limit: &Limit) -> Result<Item, StoreError> {
    let mut item = limit_key(&limit.on);
    item.insert("on".to_owned(), s(limit.on.to_string()));
    item.insert("ru".to_owned(), s(json("a limit", &limit.rules)?));
    changed(&mut item, limit.changed_by.as_ref(), limit.reason.as_ref(), limit.changed_at);
    Ok(item)
}

pub(crate) fn read_owned(item: &Item) -> Result<OwnedProject, StoreError> {
    let fields = Fields(item);
    Ok(OwnedProject {
        project: ProjectId::from_stored(fields.text("pj")?),
        owner: Label::from_stored(fields.text("ow")?),
        changed_by: fields.maybe_text("cb")?.map(Label::from_stored),
        reason: fields.maybe_text("cr")?.map(str::to_owned),
        changed_at: fields.time("ca")?,
    })
}

fn owned_item(owned: &OwnedProject) -> Item {
    let mut item = owner_key(&owned.project);
    item.insert("pj".to_owned(), s(owned.project.as_str()));
    item.insert("ow".to_owned(), s(owned.owner.as_str()));
    changed(&mut item, owned.changed_by.as_ref(), owned.reason.as_ref(), owned.changed_at);
    item
}

fn fair_key(queue: &QueueName) -> Item {
    key(SETTINGS, &format!("{FAIR}{queue}"))
}

fn changed(item: &mut Item, by: Option<&Label>, reason: Option<&String>, at: Timestamp) {
    item.insert("ca".to_owned(), time(at));
    if let Some(by) = by {
        item.insert("cb".to_owned(), s(by.as_str()));
    }
    if let Some(reason) = reason {
        item.insert("cr".to_owned(), s(reason));
    }
}

/// When something was last done for a limit.
type Lately = Mutex<HashMap<LimitOn, Timestamp>>;

/// What this process knows of what is set.
#[derive(Default)]
pub(crate) struct Known {
    book: Mutex<(u64, Arc<LimitBook>)>,
    /// When the leases under a full limit were last held against the tasks.
    verified: Lately,
    /// When it was last looked whether what a limit has let go of stands where claims look.
    looked_at: Lately,
    /// The last of the limits that are waited at which the reaper has looked at.
    tended: Mutex<String>,
    /// Held by the claims that are under way: a change waits for those that have begun before it.
    pub(crate) under_way: RwLock<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is set is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether something was done for a limit within a while; if not, notes that it is done now.
fn lately(done: &Lately, on: &LimitOn, now: Timestamp, within: Duration) -> bool {
    // By a clock that was set back, it is to be done anew.
    let is_lately = |at: &Timestamp| *at <= now && now.since(*at) < within;
    let mut done = lock(done);
    if done.get(on).is_some_and(is_lately) {
        return true;
    }
    done.retain(|_, at| is_lately(at));
    done.insert(on.clone(), now);
    false
}

impl Inner {
    /// What a claim of these queues goes by.
    pub(crate) async fn limiting(&self, queues: &[StoredQueue]) -> Result<Limiting, StoreError> {
        let Some(needed) = queues.iter().filter_map(|queue| queue.limits).max() else {
            return Ok(Limiting::default());
        };
        let known = lock(&self.limits.book).clone();
        let book = if known.0 >= needed { known.1 } else { self.read_book().await? };
        Ok(Limiting::of(book))
    }

    /// Whether limits are set, or queues fair, as this process read it last.
    pub(crate) fn knows_limits(&self) -> bool {
        !lock(&self.limits.book).1.is_empty()
    }

    /// A limit that a task notes that it runs under; none if its name is damaged, which the log and a metric say.
    fn noted_limit(&self, task: &Head, text: &str) -> Option<LimitOn> {
        match on_from(text) {
            Ok(on) => Some(on),
            Err(error) => {
                self.db.pass_over(&format!("task {}", task.id), &error);
                None
            }
        }
    }

    /// What is set, as of now.
    async fn fresh_book(&self) -> Result<Arc<LimitBook>, StoreError> {
        let version = self.limits_version().await?;
        let known = lock(&self.limits.book).clone();
        if known.0 >= version { Ok(known.1) } else { self.read_book().await }
    }

    /// What is set, as this process knows it; read, if it has not read it yet.
    async fn known_book(&self) -> Result<Arc<LimitBook>, StoreError> {
        let known = lock(&self.limits.book).clone();
        if known.0 > 0 { Ok(known.1) } else { self.read_book().await }
    }

    async fn read_book(&self) -> Result<Arc<LimitBook>, StoreError> {
        // The number first: what is set later than it is read is newer than it says, which does no harm.
        let version = self.limits_version().await?;
        let found = self.db.query_whole(Query::table(SETTINGS)).await?;
        let mut book = LimitBook::default();
        for item in &found.items {
            let name = Fields(item).text("sk")?;
            if name.starts_with(LIMITS.0) {
                let limit = self.db.read_one(item, read_limit);
                book.limits.extend(limit.map(|limit| (limit.on.clone(), limit)));
            } else if name.starts_with(OWNERS.0) {
                let owned = self.db.read_one(item, read_owned);
                book.owners.extend(owned.map(|owned| (owned.project, owned.owner)));
            } else if let Some(queue) = name.strip_prefix(FAIR) {
                let by = |item: &Item| Fields(item).maybe_json("fb");
                book.fair.extend(
                    self.db.read_one(item, by).flatten().map(|by| (QueueName::from_stored(queue), by)),
                );
            }
        }
        let book = Arc::new(book);
        let mut known = lock(&self.limits.book);
        if version >= known.0 {
            *known = (version, Arc::clone(&book));
        }
        Ok(book)
    }

    async fn limits_version(&self) -> Result<u64, StoreError> {
        let item = self.db.get(version_key()).await?;
        Ok(item.as_ref().map(|item| Fields(item).number("v")).transpose()?.unwrap_or(0))
    }

    /// Has every process read what is set before its next claim of the queues concerned: of one, or of all.
    async fn tell_limits(&self, of: Option<&QueueName>, now: Timestamp) -> Result<(), StoreError> {
        let bump = Expression::new().add("v", n(1)).set("ct", time(now));
        let item = unconditional(self.db.update(version_key(), &bump).await)?;
        let version: u64 = Fields(&item).number("v")?;
        let mark = Expression::new().set("lm", n(version));
        match of {
            // Also one that nobody has named yet, as its first task may come from another process.
            Some(queue) => {
                let mark = mark.set_if_absent("ca", time(now));
                unconditional(self.db.update(keys::queue(queue), &mark).await)?;
            }
            None => {
                let mark = mark.when_present("pk");
                for part in 0..keys::NAME_PARTS {
                    let found = self.db.query_whole(Query::table(keys::queue_partition(part))).await?;
                    for item in &found.items {
                        let Some(queue) = self.db.read_one(item, StoredQueue::read) else { continue };
                        match self.db.update(keys::queue(&queue.name), &mark).await {
                            Ok(_) | Err(WriteError::Condition(_)) => {}
                            Err(WriteError::Failed(error)) => return Err(error),
                        }
                    }
                }
            }
        }
        self.read_book().await?;
        // Claims of this process that went by what was set before have taken by now what they take.
        drop(self.limits.under_way.write().await);
        Ok(())
    }

    /// What follows a change of what is set: what runs is counted by it, and who waits may have room.
    async fn follow_change(
        &self,
        of: Option<&QueueName>,
        concerns: &(dyn Fn(&LimitOn) -> bool + Sync),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.tell_limits(of, now).await?;
        self.count_anew(concerns).await?;
        self.let_all_go(concerns, now).await
    }

    /// Has a queue that has just been made known tell of limits that hold over all queues. Whoever sets one looks for queues
    /// after it has raised the number, and this looks at the number after the queue is there: one of the two sees the other.
    pub(crate) async fn tell_new_queue(&self, queue: &QueueName) -> Result<(), StoreError> {
        let version = self.limits_version().await?;
        if version > 0 {
            let mark = Expression::new().set("lm", n(version));
            unconditional(self.db.update(keys::queue(queue), &mark).await)?;
        }
        Ok(())
    }

    pub(crate) async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError> {
        let from = self.db.get(limit_key(&set.on)).await?.as_ref().map(read_limit).transpose()?;
        if from.is_none() && set.rules.is_some() {
            self.room_for_more("limits", LIMITS).await?;
        }
        let SetLimit { now, on, rules, by, reason } = set;
        let to = rules.map(|rules| Limit { on: on.clone(), rules, changed_by: by, reason, changed_at: now });
        match &to {
            Some(limit) => self.put_setting(limit_item(limit)?).await?,
            None => self.delete_setting(limit_key(&on)).await?,
        }
        self.follow_change(on.queue(), &|one| *one == on || one.for_each() == on, now).await?;
        // The index may not show yet that somebody waits there.
        self.let_go_at(&on, true, now).await?;
        self.ring_for(on.queue(), now).await?;
        Ok(Changed { from, to })
    }

    pub(crate) async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError> {
        let from = self.db.get(owner_key(&set.project)).await?.as_ref().map(read_owned).transpose()?;
        if from.is_none() && set.owner.is_some() {
            self.room_for_more("owned projects", OWNERS).await?;
        }
        let SetOwner { now, project, owner, by, reason } = set;
        let to = owner.map(|owner| OwnedProject {
            project: project.clone(),
            owner,
            changed_by: by,
            reason,
            changed_at: now,
        });
        match &to {
            Some(owned) => self.put_setting(owned_item(owned)).await?,
            None => self.delete_setting(owner_key(&project)).await?,
        }
        self.follow_change(None, &|one| matches!(one, LimitOn::Owner(_)), now).await?;
        self.ring_for(None, now).await?;
        Ok(Changed { from, to })
    }

    /// Has every process know between whom a queue is fair from its next claim of it on, and counts what runs by whose it is.
    pub(crate) async fn set_fair(
        &self,
        queue: &QueueName,
        by: Option<FairBy>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match by {
            Some(by) => {
                let mut item = fair_key(queue);
                item.insert("fb".to_owned(), s(json("between whom a queue is fair", &by)?));
                item.insert("ca".to_owned(), time(now));
                self.put_setting(item).await?;
            }
            None => self.delete_setting(fair_key(queue)).await?,
        }
        let concerns = |one: &LimitOn| matches!(one, LimitOn::Turn(of, _) if of == queue);
        self.follow_change(Some(queue), &concerns, now).await
    }

    async fn put_setting(&self, item: Item) -> Result<(), StoreError> {
        unconditional(self.db.put(item, Expression::new()).await)
    }

    async fn delete_setting(&self, key: Item) -> Result<(), StoreError> {
        unconditional(self.db.delete(key, &Expression::new()).await)
    }

    async fn room_for_more(&self, what: &'static str, (from, to): (&str, &str)) -> Result<(), StoreError> {
        let range = Range::Within(from.to_owned(), to.to_owned());
        let query = Query { range, count: true, ..Query::table(SETTINGS) };
        match self.db.query_whole(query).await?.count {
            count if count >= LimitBook::MOST as u64 => {
                Err(StoreError::TooManyLimits { what, most: LimitBook::MOST })
            }
            _ => Ok(()),
        }
    }

    /// Wakes who waits at a queue, or at any.
    async fn ring_for(&self, queue: Option<&QueueName>, now: Timestamp) -> Result<(), StoreError> {
        let queues = match queue {
            Some(queue) => vec![queue.clone()],
            None => self.all_queues().await?.into_iter().map(|queue| queue.name).collect(),
        };
        for queue in queues {
            self.doorbell.ring(Ready { queue, task_type: None, count: u32::MAX, run_after: now });
        }
        Ok(())
    }

    /// A page of settings behind a name. One that is damaged is passed over.
    async fn settings<T>(
        &self,
        (from, to): (&str, &str),
        after: &str,
        most: u32,
        read: impl Fn(&Item) -> Result<T, StoreError>,
    ) -> Result<(Vec<T>, Option<Cursor>), StoreError> {
        let start = if after.is_empty() { from.to_owned() } else { format!("{from}{after}\u{1}") };
        let range = Range::Within(start, to.to_owned());
        let (items, next) = self.page_of(Query { range, ..Query::table(SETTINGS) }, most, "sk").await?;
        let next = next.map(|Cursor(sort)| Cursor(sort.strip_prefix(from).unwrap_or(&sort).to_owned()));
        Ok((items.iter().filter_map(|item| self.db.read_one(item, &read)).collect(), next))
    }

    pub(crate) async fn limits(&self, page: &PageRequest) -> Result<Page<LimitStatus>, StoreError> {
        let after = cursor(page, |text| text.starts_with("queue/") || text.parse::<LimitOn>().is_ok())?;
        let (found, next) = self.settings(LIMITS, &after, page.limit, read_limit).await?;
        let named: Vec<_> =
            found.iter().filter(|limit| !limit.on.is_each()).map(|limit| limit.on.clone()).collect();
        let standings = self.standings(&named).await?;
        let status = |limit: Limit| {
            let standing = standings.get(&limit.on).map(|standing| standing.counts_by(Some(&limit.rules)));
            let by_name = !limit.on.is_each();
            let (running, held) = standing.map_or((0, 0), |counts| (counts.running, counts.held));
            LimitStatus { limit, running: by_name.then_some(running), held: by_name.then_some(held) }
        };
        Ok(Page { items: found.into_iter().map(status).collect(), next })
    }

    pub(crate) async fn owned_projects(&self, page: &PageRequest) -> Result<Page<OwnedProject>, StoreError> {
        let after = cursor(page, |text| text.parse::<ProjectId>().is_ok())?;
        let (items, next) = self.settings(OWNERS, &after, page.limit, read_owned).await?;
        Ok(Page { items, next })
    }

    /// Takes in a limit that another store has read out.
    pub(crate) async fn import_limit(&self, record: &Limit) -> Result<Verdict, ImportError> {
        let standing = self.db.get(limit_key(&record.on)).await?.as_ref().map(read_limit).transpose()?;
        let verdict = limit_onto(record, standing.as_ref())?;
        if verdict != Verdict::Same {
            self.put_setting(limit_item(record)?).await?;
            let concerns = |one: &LimitOn| *one == record.on || one.for_each() == record.on;
            self.follow_change(record.on.queue(), &concerns, record.changed_at).await?;
        }
        Ok(verdict)
    }

    /// Takes in a project's owner that another store has read out.
    pub(crate) async fn import_owned(&self, record: &OwnedProject) -> Result<Verdict, ImportError> {
        let standing = self.db.get(owner_key(&record.project)).await?.as_ref().map(read_owned).transpose()?;
        let verdict = owned_onto(record, standing.as_ref())?;
        if verdict != Verdict::Same {
            self.put_setting(owned_item(record)).await?;
            let concerns = |one: &LimitOn| matches!(one, LimitOn::Owner(_));
            self.follow_change(None, &concerns, record.changed_at).await?;
        }
        Ok(verdict)
    }
}

fn cursor(page: &PageRequest, is_one: impl Fn(&str) -> bool) -> Result<String, StoreError> {
    match &page.after {
        None => Ok(String::new()),
        Some(cursor) if is_one(&cursor.0) => Ok(cursor.0.clone()),
        Some(_) => Err(StoreError::BadCursor),
    }
}
