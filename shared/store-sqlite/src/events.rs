//! The rows of histories.

use baton_model::{Event, EventDetail, EventKind, SessionId, State, WorkerId};
use baton_store::TaskDetail;
use rusqlite::Connection;

use crate::codes::Code;
use crate::error::Failure as Failed;
use crate::rows::{EVENT_BITS, from_json, maybe_id, maybe_text, time};

const SELECT_EVENTS: &str = "SELECT k, at, kind, from_state, to_state, attempt, worker, session, detail FROM event \
                             WHERE k BETWEEN ?1 AND ?2 ORDER BY k";

const SELECT_EVENTS_BACK: &str = "SELECT k, at, kind, from_state, to_state, attempt, worker, session, detail FROM event \
                                  WHERE k BETWEEN ?1 AND ?2 ORDER BY k DESC";

/// Reads events by a statement, up to so many and so many bytes, but one at least.
fn events(
    db: &Connection,
    sql: &str,
    n: i64,
    after: u32,
    (most, bytes): (usize, usize),
) -> Result<Vec<Event>, Failed> {
    let first = n << EVENT_BITS;
    let range = [first | (i64::from(after) + 1), first | ((1 << EVENT_BITS) - 1)];
    events_within(db, sql, n, range, (most, bytes))
}

/// The same of the keys of a range.
fn events_within(
    db: &Connection,
    sql: &str,
    n: i64,
    range: [i64; 2],
    (most, bytes): (usize, usize),
) -> Result<Vec<Event>, Failed> {
    let mut statement = db.prepare_cached(sql)?;
    let first = n << EVENT_BITS;
    let mut rows = statement.query(range)?;
    let (mut events, mut size) = (Vec::new(), 0);
    while events.len() < most
        && size < bytes
        && let Some(row) = rows.next()?
    {
        let mut detail = match row.get::<_, Option<String>>(8)? {
            Some(json) => {
                size += json.len();
                from_json("an event's detail", &json)?
            }
            None => EventDetail::default(),
        };
        detail.worker = maybe_text(row, 6)?.map(WorkerId::from_stored);
        detail.session = maybe_id(row, 7)?.map(SessionId::from_bytes);
        events.push(Event {
            seq: u32::try_from(row.get::<_, i64>(0)? - first).unwrap_or(u32::MAX),
            at: time(row, 1)?,
            kind: EventKind::of(row.get(2)?)?,
            from: row.get::<_, Option<i64>>(3)?.map(State::of).transpose()?,
            to: State::of(row.get(4)?)?,
            attempt: row.get(5)?,
            detail,
        });
    }
    Ok(events)
}

/// A task's whole history, the first event first.
pub(crate) fn history(db: &Connection, n: i64) -> Result<Vec<Event>, Failed> {
    events(db, SELECT_EVENTS, n, 0, (usize::MAX, usize::MAX))
}

/// The events of a page of a task's history.
pub(crate) fn events_after(db: &Connection, n: i64, after: u32, limit: u32) -> Result<Vec<Event>, Failed> {
    if after >= baton_model::limits::EVENTS {
        return Ok(Vec::new());
    }
    events(db, SELECT_EVENTS, n, after, (limit as usize, TaskDetail::EVENT_BYTES))
}

/// The latest events of a task, in their order.
pub(crate) fn latest_events(db: &Connection, n: i64, most: u32) -> Result<Vec<Event>, Failed> {
    let mut latest = events(db, SELECT_EVENTS_BACK, n, 0, (most as usize, TaskDetail::EVENT_BYTES))?;
    latest.reverse();
    Ok(latest)
}

/// The events of a task below a number, the last one first.
pub(crate) fn events_below(db: &Connection, n: i64, below: i64, most: usize) -> Result<Vec<Event>, Failed> {
    let first = n << EVENT_BITS;
    let last = first | (below.clamp(1, 1 << EVENT_BITS) - 1);
    events_within(db, SELECT_EVENTS_BACK, n, [first | 1, last], (most, TaskDetail::EVENT_BYTES))
}

/// One event of a task; none if it is gone.
pub(crate) fn event_of(db: &Connection, n: i64, seq: u32) -> Result<Option<Event>, Failed> {
    let key = n << EVENT_BITS | i64::from(seq);
    Ok(events_within(db, SELECT_EVENTS, n, [key, key], (1, usize::MAX))?.pop())
}
