//! Schedules: where one stands and what it says lie apart ([`crate::planned`]), as each occurrence writes the former anew together with
//! its tasks, and not the params of its task. An index tells which are due.

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

use crate::attr::{Fields, Item, b, json, n, s};
use crate::create::Batch;
use crate::db::{Query, Range};
use crate::error::{contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::planned::{PLANNED, Planned};
use crate::store::Inner;
use crate::transition::{ROUNDS, is_marked};

/// The partition of where schedules stand, and that of the index where those lie that are due at some time.
const SCHEDULES: &str = "SC";

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
pub(crate) struct StoredSchedule {
    pub(crate) schedule: Schedule,
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

fn due_place(at: Timestamp, of: &ScheduleKey) -> String {
    format!("{}#{}", keys::sortable(at), name_of(of))
}

impl Planned for StoredSchedule {
    const WHAT: &'static str = "the schedule";
    const STATES: &'static str = SCHEDULES;
    const PLANS: &'static str = "SP";
    const COUNTED: &'static str = "schedules";
    const MOST: u64 = MOST_SCHEDULES;

    fn too_many() -> StoreError {
        StoreError::too_many_schedules()
    }

    fn read(state: &Item, plan: &Item) -> Result<Self, StoreError> {
        let (fields, said) = (Fields(state), Fields(plan));
        let lacks = |what: &str| damaged(format!("a schedule lacks {what}"));
        let standing: Standing = fields.maybe_json("st")?.ok_or_else(|| lacks("where it stands"))?;
        let plan: Plan = said.maybe_json("pl")?.ok_or_else(|| lacks("its plan"))?;
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
        Ok(Self { schedule, planned: fields.number(PLANNED)? })
    }

    fn planned(&self) -> u64 {
        self.planned
    }

    fn state_item(&self, mark: u64) -> Result<Item, StoreError> {
        let schedule = &self.schedule;
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
        let mut item = Self::state_key(&name_of(&schedule.key));
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("st", s(json("where a schedule stands", &standing)?));
        put("sd", b(schedule.seed));
        put("rv", n(schedule.revision));
        put(PLANNED, n(self.planned));
        put("nc", n(mark));
        if let Some(at) = schedule.due_at() {
            put("ip", s(SCHEDULES));
            put("is", s(due_place(at, &schedule.key)));
        }
        Ok(item)
    }

    fn plan_item(&self) -> Result<Item, StoreError> {
        let mut item = Self::plan_key(&name_of(&self.schedule.key));
        item.insert("pl".to_owned(), s(json("a schedule's plan", &self.schedule.plan)?));
        item.insert(PLANNED.to_owned(), n(self.planned));
        Ok(item)
    }

    fn as_read(&self) -> Expression {
        stands_at(self.schedule.seed, self.schedule.revision)
    }
}

fn stands_at(seed: [u8; 16], revision: u64) -> Expression {
    Expression::new().when("rv", "=", n(revision)).when("sd", "=", b(seed))
}

impl Inner {
    async fn stored_schedule(&self, of: &ScheduleKey) -> Result<Option<StoredSchedule>, StoreError> {
        self.db.planned(&name_of(of)).await
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
        before: Option<&StoredSchedule>,
        to: Option<&Schedule>,
    ) -> Result<bool, StoreError> {
        let to = to.map(|to| {
            let same = before.filter(|before| before.schedule.plan == to.plan).map(|before| before.planned);
            StoredSchedule { schedule: to.clone(), planned: same.unwrap_or(to.revision) }
        });
        self.db.put_planned(&name_of(of), before, to.as_ref(), None).await
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
        let found: Vec<StoredSchedule> = self.db.planned_at(&states).await?;
        Ok(Page { items: found.into_iter().map(|stored| stored.schedule).collect(), next })
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
        let names = entries.iter().map(|entry| Fields(entry).text("sk")).collect::<Result<Vec<_>, _>>()?;
        let found: Vec<StoredSchedule> = self.db.planned_named(names.into_iter()).await?;
        let mut items: Vec<_> = found.into_iter().map(|stored| stored.schedule).collect();
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
        let stored = StoredSchedule { schedule: after, planned: before.planned };
        let item = stored.state_item(mark)?;
        let said = Fields(&item).text("st")?.to_owned();
        let write: TransactWriteItem = self.db.put_write(item, &before.as_read())?;
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
}

/// The first text behind another.
fn behind(after: &str) -> String {
    format!("{after}\u{1}")
}
