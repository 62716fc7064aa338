//! Schedules. Where a schedule stands lies in a small item, which each occurrence writes anew together with its tasks; what it
//! says, with the params of its task, lies in one of its own. An index tells which are due.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::schedule::{MOST_SCHEDULES, ScheduleProblem, changed};
use baton_model::{
    Label, Occurrence, Plan, ProjectId, Schedule, ScheduleChange, ScheduleKey, ScheduleName, Timestamp,
};
use baton_store::transfer::{ImportError, Verdict, schedule_onto};
use baton_store::{
    Changed, Create, Cursor, Occur, Occurred, Page, PageRequest, ScheduleFilter, SetSchedule, StoreError,
};
use serde::{Deserialize, Serialize};

use crate::attr::{Fields, Item, b, json, key, n, s};
use crate::create::Batch;
use crate::db::{Query, Range};
use crate::error::{TransactError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;
use crate::transition::{ROUNDS, is_marked};

/// The partition of where schedules stand, and that of the index where those lie that are due at some time.
const SCHEDULES: &str = "SC";
/// The partition of what schedules say.
const PLANS: &str = "SP";

/// Where a schedule stands: all of it but its plan.
#[derive(Serialize, Deserialize)]
struct Standing {
    anchor: Timestamp,
    next_at: Option<Timestamp>,
    last: Option<Occurrence>,
    created: u64,
    skipped: u64,
    missed_at: Option<Timestamp>,
    created_at: Timestamp,
    changed_at: Timestamp,
    changed_by: Option<Label>,
    reason: Option<String>,
}

/// A schedule as the table has it.
struct Stored {
    schedule: Schedule,
    /// The revision that wrote the plan.
    planned: u64,
}

fn name_of(key: &ScheduleKey) -> String {
    format!("{}#{}", key.project, key.name)
}

fn key_named(name: &str) -> Result<ScheduleKey, StoreError> {
    let (project, name) =
        name.split_once('#').ok_or_else(|| damaged(format!("expected a schedule's key, got {name}")))?;
    Ok(ScheduleKey { project: ProjectId::from_stored(project), name: ScheduleName::from_stored(name) })
}

fn state_key(of: &ScheduleKey) -> Item {
    key(SCHEDULES, &name_of(of))
}

fn plan_key(of: &ScheduleKey) -> Item {
    key(PLANS, &name_of(of))
}

fn due_place(at: Timestamp, of: &ScheduleKey) -> String {
    format!("{}#{}", keys::sortable(at), name_of(of))
}

fn state_item(stored: &Stored, mark: u64) -> Result<Item, StoreError> {
    let schedule = &stored.schedule;
    let standing = Standing {
        anchor: schedule.anchor,
        next_at: schedule.next_at,
        last: schedule.last,
        created: schedule.created,
        skipped: schedule.skipped,
        missed_at: schedule.missed_at,
        created_at: schedule.created_at,
        changed_at: schedule.changed_at,
        changed_by: schedule.changed_by.clone(),
        reason: schedule.reason.clone(),
    };
    let mut item = state_key(&schedule.key);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("st", s(json("where a schedule stands", &standing)?));
    put("sd", b(schedule.seed));
    put("rv", n(schedule.revision));
    put("pr", n(stored.planned));
    put("nc", n(mark));
    if let Some(at) = schedule.due_at() {
        put("ip", s(SCHEDULES));
        put("is", s(due_place(at, &schedule.key)));
    }
    Ok(item)
}

fn plan_item(stored: &Stored) -> Result<Item, StoreError> {
    let mut item = plan_key(&stored.schedule.key);
    item.insert("pl".to_owned(), s(json("a schedule's plan", &stored.schedule.plan)?));
    item.insert("pr".to_owned(), n(stored.planned));
    Ok(item)
}

fn is_in(partition: &str, item: &Item) -> bool {
    Fields(item).text("pk").is_ok_and(|pk| pk == partition)
}

/// Reads a schedule from its two items; none if one of them is of another time than the other.
fn read(state: &Item, plan: &Item) -> Result<Option<Stored>, StoreError> {
    let (fields, planned) = (Fields(state), Fields(plan));
    let revision: u64 = fields.number("pr")?;
    if planned.number::<u64>("pr")? != revision {
        return Ok(None);
    }
    let lacks = |what: &str| damaged(format!("a schedule lacks {what}"));
    let standing: Standing = fields.maybe_json("st")?.ok_or_else(|| lacks("where it stands"))?;
    let plan: Plan = planned.maybe_json("pl")?.ok_or_else(|| lacks("its plan"))?;
    let schedule = Schedule {
        key: key_named(fields.text("sk")?)?,
        plan,
        seed: fields.maybe_sixteen("sd")?.ok_or_else(|| lacks("its seed"))?,
        anchor: standing.anchor,
        next_at: standing.next_at,
        last: standing.last,
        created: standing.created,
        skipped: standing.skipped,
        missed_at: standing.missed_at,
        revision: fields.number("rv")?,
        created_at: standing.created_at,
        changed_at: standing.changed_at,
        changed_by: standing.changed_by,
        reason: standing.reason,
    };
    Ok(Some(Stored { schedule, planned: revision }))
}

/// The condition that a schedule stands as it was read.
fn as_read(before: Option<&Stored>) -> Expression {
    match before {
        None => Expression::new().when_absent("pk"),
        Some(Stored { schedule, .. }) => stands_at(schedule.seed, schedule.revision),
    }
}

fn stands_at(seed: [u8; 16], revision: u64) -> Expression {
    Expression::new().when("rv", "=", n(revision)).when("sd", "=", b(seed))
}

impl Inner {
    async fn stored_schedule(&self, of: &ScheduleKey) -> Result<Option<Stored>, StoreError> {
        for _ in 0..ROUNDS {
            let items = self.db.get_all(vec![state_key(of), plan_key(of)]).await?;
            let within =
                |partition| items.iter().find(move |item| Fields(item).text("pk").ok() == Some(partition));
            match (within(SCHEDULES), within(PLANS)) {
                (Some(state), Some(plan)) => {
                    if let Some(stored) = read(state, plan)? {
                        return Ok(Some(stored));
                    }
                }
                (None, None) => return Ok(None),
                // Made or removed between the two readings.
                _ => {}
            }
        }
        Err(contended("the schedule"))
    }

    pub(crate) async fn schedule(&self, of: &ScheduleKey) -> Result<Schedule, StoreError> {
        let found = self.stored_schedule(of).await?;
        found.map(|stored| stored.schedule).ok_or_else(|| StoreError::ScheduleNotFound(of.clone()))
    }

    pub(crate) async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError> {
        let SetSchedule { key, change, said } = set;
        for _ in 0..ROUNDS {
            let before = self.stored_schedule(&key).await?;
            let from = before.as_ref().map(|stored| stored.schedule.clone());
            let to = match changed(&key, from.as_ref(), &change, &said) {
                Ok(to) => to,
                Err(ScheduleProblem::Unknown) if change == ScheduleChange::Remove => None,
                Err(problem) => return Err(StoreError::schedule(key, problem)),
            };
            let changes = from.as_ref().map(|from| from.revision) != to.as_ref().map(|to| to.revision);
            if !changes || self.write_schedule(&key, before.as_ref(), to.as_ref()).await? {
                return Ok(Changed { from, to });
            }
        }
        Err(contended("the schedule"))
    }

    /// Writes a schedule in the place of what was read, or removes it. Says whether it still stood so.
    async fn write_schedule(
        &self,
        of: &ScheduleKey,
        before: Option<&Stored>,
        to: Option<&Schedule>,
    ) -> Result<bool, StoreError> {
        let mark = self.db.draw();
        let mut writes = Vec::new();
        match to {
            Some(to) => {
                let same =
                    before.filter(|before| before.schedule.plan == to.plan).map(|before| before.planned);
                let stored = Stored { schedule: to.clone(), planned: same.unwrap_or(to.revision) };
                writes.push(self.db.put_write(state_item(&stored, mark)?, &as_read(before))?);
                if same.is_none() {
                    writes.push(self.db.put_write(plan_item(&stored)?, &Expression::new())?);
                }
            }
            None => {
                writes.push(self.db.delete_write(state_key(of), &as_read(before))?);
                writes.push(self.db.delete_write(plan_key(of), &Expression::new())?);
            }
        }
        let counted = match (before, to) {
            (None, Some(_)) => {
                Some(Expression::new().add("n", n(1)).when_absent_or("n", "<", n(MOST_SCHEDULES)))
            }
            (Some(_), None) => Some(Expression::new().add("n", n(-1))),
            _ => None,
        };
        let place = writes.len();
        if let Some(counted) = counted {
            writes.push(self.db.update_write(keys::meta("schedules"), &counted)?);
        }
        match self.db.transact(writes, &format!("schedule#{mark}")).await {
            Ok(()) => Ok(true),
            Err(TransactError::Failed(error)) => Err(error),
            Err(TransactError::Conditions(told)) => {
                // The first sending of this very write went through, and its answer was lost.
                if let Some((_, Some(item))) = told.first()
                    && is_marked(item, mark)?
                {
                    return Ok(true);
                }
                match told.get(place) {
                    Some((true, _)) => Err(StoreError::too_many_schedules()),
                    _ => Ok(false),
                }
            }
        }
    }

    /// Schedules by their states' items.
    async fn with_plans(&self, states: &[Item]) -> Result<Vec<Schedule>, StoreError> {
        let mut keys = Vec::with_capacity(states.len());
        for state in states {
            keys.push(plan_key(&key_named(Fields(state).text("sk")?)?));
        }
        let plans = self.db.get_all(keys).await?;
        self.read_together(states, &plans).await
    }

    /// Schedules by their items; what is of two times is read again.
    async fn read_together(&self, states: &[Item], plans: &[Item]) -> Result<Vec<Schedule>, StoreError> {
        let named: HashMap<&str, &Item> =
            plans.iter().filter_map(|plan| Some((Fields(plan).text("sk").ok()?, plan))).collect();
        let mut found = Vec::with_capacity(states.len());
        for state in states {
            let name = Fields(state).text("sk")?;
            let read = named.get(name).and_then(|plan| self.db.read_one(state, |state| read(state, plan)));
            match read {
                Some(Some(stored)) => found.push(stored.schedule),
                _ => {
                    let anew = self.stored_schedule(&key_named(name)?).await?;
                    found.extend(anew.map(|stored| stored.schedule));
                }
            }
        }
        Ok(found)
    }

    pub(crate) async fn schedules(
        &self,
        filter: &ScheduleFilter,
        page: &PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        let (from, to) = match &filter.project {
            None => (String::new(), "~".to_owned()),
            Some(project) => (format!("{project}#"), format!("{project}#~")),
        };
        let from = match &page.after {
            None => from,
            Some(Cursor(after)) if key_named(after).is_ok() && after.as_str() >= from.as_str() => {
                behind(after)
            }
            Some(_) => return Err(StoreError::BadCursor),
        };
        let range = Range::Within(from.max(" ".to_owned()), to);
        let (states, next) =
            self.page_of(Query { range, ..Query::table(SCHEDULES) }, page.limit, "sk").await?;
        Ok(Page { items: self.with_plans(&states).await?, next })
    }

    pub(crate) async fn due_schedules(
        &self,
        now: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        let from = match &page.after {
            None => " ".to_owned(),
            Some(Cursor(after)) if after.contains('#') => behind(after),
            Some(_) => return Err(StoreError::BadCursor),
        };
        let to = format!("{}#~", keys::sortable(now));
        if from > to {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let query = Query { range: Range::Within(from, to), ..Query::index(SCHEDULES) };
        let (entries, next) = self.page_of(query, page.limit, "is").await?;
        // The index may trail: what it tells of is looked at as it stands.
        let mut keys = Vec::with_capacity(2 * entries.len());
        for entry in &entries {
            let of = key_named(Fields(entry).text("sk")?)?;
            keys.extend([state_key(&of), plan_key(&of)]);
        }
        let (plans, states): (Vec<Item>, Vec<Item>) =
            self.db.get_all(keys).await?.into_iter().partition(|item| is_in(PLANS, item));
        let mut items = self.read_together(&states, &plans).await?;
        items.retain(|schedule| schedule.due_at().is_some_and(|at| at <= now));
        items.sort_by_key(|schedule| (schedule.due_at(), name_of(&schedule.key)));
        Ok(Page { items, next })
    }

    /// One page of a query, and the place at its end if there may be more.
    pub(crate) async fn page_of(
        &self,
        query: Query,
        most: u32,
        place: &str,
    ) -> Result<(Vec<Item>, Option<Cursor>), StoreError> {
        let limit = Some(i32::try_from(most).unwrap_or(i32::MAX).saturating_add(1));
        let mut found = self.db.query(&Query { limit, ..query }).await?;
        let more = found.items.len() > most as usize || found.next.is_some();
        found.items.truncate(most as usize);
        let last = found.items.last().filter(|_| more);
        let next =
            last.map(|item| Fields(item).text(place).map(|text| Cursor(text.to_owned()))).transpose()?;
        Ok((found.items, next))
    }

    pub(crate) async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError> {
        let by = Some(occur.by());
        let Occur { now, tasks, after } = occur;
        let Some(before) = self.stored_schedule(&after.key).await? else { return Ok(Occurred::Superseded) };
        if after.is(&before.schedule) {
            return Ok(Occurred::Before);
        }
        if !after.follows(&before.schedule) {
            return Ok(Occurred::Superseded);
        }
        let mark = self.db.draw();
        let stored = Stored { schedule: after, planned: before.planned };
        let item = state_item(&stored, mark)?;
        let said = Fields(&item).text("st")?.to_owned();
        let write: TransactWriteItem = self.db.put_write(item, &as_read(Some(&before)))?;
        let create = Create { now, tasks, atomic: false, idempotency: None, by };
        match self.create_along(&create, Batch::default(), Some(write)).await? {
            Ok(_) => Ok(Occurred::Now),
            Err(Some(standing)) if is_marked(&standing, mark)? => Ok(Occurred::Now),
            // Another was faster: maybe with the same.
            Err(Some(standing)) if Fields(&standing).text("st")? == said => Ok(Occurred::Before),
            Err(_) => Ok(Occurred::Superseded),
        }
    }

    /// Takes in a schedule that another store has read out.
    pub(crate) async fn import_schedule(&self, record: &Schedule) -> Result<Verdict, ImportError> {
        let before = self.stored_schedule(&record.key).await?;
        let verdict = schedule_onto(record, before.as_ref().map(|stored| &stored.schedule))?;
        if verdict != Verdict::Same
            && !self.write_schedule(&record.key, before.as_ref(), Some(record)).await?
        {
            return Err(contended("the schedule").into());
        }
        Ok(verdict)
    }

    /// Schedules behind a place, up to so many, each with its place, and one more if there is one.
    pub(crate) async fn schedules_behind(
        &self,
        after: &str,
        most: u32,
    ) -> Result<Vec<(String, Schedule)>, StoreError> {
        let after = (!after.is_empty()).then(|| Cursor(after.to_owned()));
        let page = PageRequest { after, ..PageRequest::first(most.saturating_add(1)) };
        let found = self.schedules(&ScheduleFilter::default(), &page).await?;
        Ok(found.items.into_iter().map(|schedule| (name_of(&schedule.key), schedule)).collect())
    }
}

/// The first text behind another.
fn behind(after: &str) -> String {
    format!("{after}\u{1}")
}
