//! Schedules: kept, listed, and moved on together with what they create.

use async_trait::async_trait;
use baton_model::schedule::{MOST_SCHEDULES, ScheduleProblem, changed};
use baton_model::{ProjectId, Schedule, ScheduleChange, ScheduleKey, ScheduleName, Timestamp};
use baton_store::transfer::{Refusal, Verdict, schedule_onto};
use baton_store::{
    Changed, Create, Cursor, Occur, Occurred, Page, PageRequest, ScheduleFilter, ScheduleStore, SetSchedule,
    StoreError,
};
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::SqliteStore;
use crate::create;
use crate::error::Failure;
use crate::rows::{from_json, to_json};
use crate::transaction::Transaction;

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError> {
        self.writer.run(set, self::set).await
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, StoreError> {
        let wanted = key.clone();
        let found = self.readers.run(move |db| self::by_key(db, &wanted)).await?;
        found.ok_or_else(|| StoreError::ScheduleNotFound(key.clone()))
    }

    async fn schedules(
        &self,
        filter: ScheduleFilter,
        page: PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        self.readers.run(move |db| self::list(db, &filter, &page)).await
    }

    async fn due_schedules(&self, now: Timestamp, page: PageRequest) -> Result<Page<Schedule>, StoreError> {
        self.readers.run(move |db| self::due(db, now, &page)).await
    }

    async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError> {
        self.writer.run(occur, self::occur).await
    }
}

pub(crate) fn by_key(db: &Connection, key: &ScheduleKey) -> Result<Option<Schedule>, Failure> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM schedule WHERE project = ?1 AND name = ?2")?
        .query_row(params![key.project.as_str(), key.name.as_str()], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| from_json("a schedule", &body)).transpose()?)
}

fn write(db: &Connection, schedule: &Schedule) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO schedule (project, name, body, due_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        schedule.key.project.as_str(),
        schedule.key.name.as_str(),
        to_json("a schedule", schedule)?,
        schedule.due_at().map(Timestamp::as_millis),
    ])?;
    Ok(())
}

/// Changes a schedule.
pub(crate) fn set(
    transaction: &mut Transaction<'_>,
    set: &SetSchedule,
) -> Result<Changed<Schedule>, Failure> {
    let SetSchedule { key, change, said } = set;
    let db = transaction.db;
    let from = by_key(db, key)?;
    let to = match changed(key, from.as_ref(), change, said) {
        Ok(to) => to,
        Err(ScheduleProblem::Unknown) if *change == ScheduleChange::Remove => None,
        Err(problem) => return Err(StoreError::schedule(key.clone(), problem).into()),
    };
    match &to {
        Some(schedule) => {
            if from.is_none() && count(db)? >= MOST_SCHEDULES {
                return Err(StoreError::too_many_schedules().into());
            }
            write(db, schedule)?;
        }
        None => {
            db.prepare_cached("DELETE FROM schedule WHERE project = ?1 AND name = ?2")?
                .execute(params![key.project.as_str(), key.name.as_str()])?;
        }
    }
    Ok(Changed { from, to })
}

fn count(db: &Connection) -> Result<u64, Failure> {
    Ok(db.query_row("SELECT count(*) FROM schedule", [], |row| row.get(0))?)
}

/// Creates what is due and moves the schedule on.
pub(crate) fn occur(transaction: &mut Transaction<'_>, occur: &Occur) -> Result<Occurred, Failure> {
    let after = &occur.after;
    match by_key(transaction.db, &after.key)? {
        Some(standing) if after.is(&standing) => return Ok(Occurred::Before),
        Some(standing) if after.follows(&standing) => {}
        _ => return Ok(Occurred::Superseded),
    }
    if !occur.tasks.is_empty() {
        let tasks = occur.tasks.clone();
        let create = Create { now: occur.now, tasks, atomic: false, idempotency: None, by: Some(occur.by()) };
        create::create(transaction, &create)?;
    }
    write(transaction.db, after)?;
    Ok(Occurred::Now)
}

/// Schedules by project and name.
pub(crate) fn list(
    db: &Connection,
    filter: &ScheduleFilter,
    request: &PageRequest,
) -> Result<Page<Schedule>, Failure> {
    let after = match &request.after {
        None => None,
        Some(cursor) => Some(place(&cursor.0)?),
    };
    let found = behind(db, after.as_ref(), filter.project.as_ref(), i64::from(request.limit) + 1)?;
    Ok(page(found, request, place_of))
}

/// Schedules behind one, by project and name.
pub(crate) fn behind(
    db: &Connection,
    after: Option<&ScheduleKey>,
    project: Option<&ProjectId>,
    most: i64,
) -> Result<Vec<Schedule>, Failure> {
    let (from, name) = after.map_or(("", ""), |key| (key.project.as_str(), key.name.as_str()));
    match project {
        None => {
            let sql =
                "SELECT body FROM schedule WHERE (project, name) > (?1, ?2) ORDER BY project, name LIMIT ?3";
            bodies(db, sql, params![from, name, most])
        }
        Some(project) => {
            let sql = "SELECT body FROM schedule WHERE project = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
            bodies(db, sql, params![project.as_str(), name, most])
        }
    }
}

/// Schedules that are due, those due for longest first.
pub(crate) fn due(db: &Connection, now: Timestamp, request: &PageRequest) -> Result<Page<Schedule>, Failure> {
    let (at, key) = match &request.after {
        None => (-1, None),
        Some(cursor) => {
            let (at, key) = cursor.0.split_once('#').ok_or(StoreError::BadCursor)?;
            (at.parse::<i64>().map_err(|_| StoreError::BadCursor)?, Some(place(key)?))
        }
    };
    let (project, name) = key.as_ref().map_or(("", ""), |key| (key.project.as_str(), key.name.as_str()));
    let sql = "SELECT body FROM schedule WHERE due_at IS NOT NULL AND due_at <= ?1 AND (due_at, project, name) > (?2, ?3, ?4) \
               ORDER BY due_at, project, name LIMIT ?5";
    let found = bodies(db, sql, params![now.as_millis(), at, project, name, i64::from(request.limit) + 1])?;
    Ok(page(found, request, |schedule| {
        let at = schedule.due_at().map_or(-1, Timestamp::as_millis);
        format!("{at}#{}", place_of(schedule))
    }))
}

fn bodies(db: &Connection, sql: &str, values: impl Params) -> Result<Vec<Schedule>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_json("a schedule", &row.get::<_, String>(0)?)?);
    }
    Ok(found)
}

/// The place of a schedule in a list.
pub(crate) fn place_of(schedule: &Schedule) -> String {
    format!("{}#{}", schedule.key.project, schedule.key.name)
}

/// The schedule at a place.
pub(crate) fn place(text: &str) -> Result<ScheduleKey, StoreError> {
    let (project, name) = text.split_once('#').ok_or(StoreError::BadCursor)?;
    Ok(ScheduleKey { project: ProjectId::from_stored(project), name: ScheduleName::from_stored(name) })
}

fn page(
    mut items: Vec<Schedule>,
    request: &PageRequest,
    place: impl Fn(&Schedule) -> String,
) -> Page<Schedule> {
    let more = items.len() > request.limit as usize;
    items.truncate(request.limit as usize);
    let next = items.last().filter(|_| more).map(|last| Cursor(place(last)));
    Page { items, next }
}

/// Takes a schedule in.
pub(crate) fn import(
    transaction: &mut Transaction<'_>,
    record: &Schedule,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let verdict = match schedule_onto(record, by_key(transaction.db, &record.key)?.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        write(transaction.db, record)?;
    }
    Ok(Ok(verdict))
}
