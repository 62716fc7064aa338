//! The tables: rows are read by Baton's lists, within their bounds, and a change of rows becomes the commands that it means.

mod query;
mod rows;
mod workers;
mod write;

use axum::extract::Request;
use axum::response::Response;
use baton_http::Caller;
use http::header::{ACCEPT, CONTENT_RANGE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::edge::{Edge, LOOKED_THROUGH};
use crate::words::{self, Answer, Object, Said, empty, json_of, table_error};
use query::Query;

/// The most rows of an answer, as the hosted service has it; of rows that are small there may be as many as are looked through.
const MOST_ROWS: usize = 1_000;

/// The column that has what a task depends on.
const DEPENDS: &str = "dependant_on";

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Tasks,
    Workers,
    Logs,
    Generations,
    OrchestratorStatus,
    WorkersHealth,
    PauseScaling,
}

impl Table {
    fn named(name: &str) -> Result<Self, Said> {
        Ok(match name {
            "tasks" => Self::Tasks,
            "workers" => Self::Workers,
            "system_logs" => Self::Logs,
            "generations" => Self::Generations,
            "orchestrator_status" => Self::OrchestratorStatus,
            "active_workers_health" => Self::WorkersHealth,
            "pause_scaling" => Self::PauseScaling,
            _ => {
                let message = format!("Could not find the table 'public.{name}' in the schema cache");
                return Err(table_error(404, "PGRST205", &message, None).into());
            }
        })
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Tasks => rows::TASKS,
            Self::Workers => workers::WORKERS,
            Self::Logs => rows::LOGS,
            Self::Generations => rows::GENERATIONS,
            Self::OrchestratorStatus => workers::STATUS,
            Self::WorkersHealth => workers::HEALTH,
            Self::PauseScaling => &["pool", "until"],
        }
    }
}

/// How a client wants its answer.
#[derive(Clone, Copy, Debug)]
struct Wants {
    /// One object instead of an array.
    single: bool,
    /// The number of all rows that fit.
    count: bool,
    /// The rows that were written, and not an empty body.
    rows: bool,
}

impl Wants {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let prefers = text("prefer");
        Self {
            single: text(ACCEPT.as_str()).contains("vnd.pgrst.object+json"),
            count: prefers.contains("count="),
            rows: prefers.contains("return=representation"),
        }
    }
}

fn read(table: Table, name: &str, parts: &Parts) -> Result<Query, Said> {
    Query::read(parts.uri.query(), name, table.columns())
}

/// Reads rows.
pub(crate) async fn select(edge: &Edge, caller: &Caller, name: &str, parts: &Parts) -> Answer {
    let table = Table::named(name)?;
    let query = read(table, name, parts)?;
    let wants = Wants::of(&parts.headers);
    if table == Table::Tasks && query.counts && query.filters.is_empty() && !caller.is_bound() {
        // How workers see at their start that they reach the server: it costs no list.
        let stats = edge.app.store.stats(edge.app.now()).await?;
        let tasks = usize::try_from(stats.states.values().sum::<u64>()).unwrap_or(usize::MAX);
        return Ok(ranged(&[json!({ "count": tasks })], (0, tasks), wants));
    }
    let small = !query.columns.is_empty()
        && !query
            .columns
            .iter()
            .any(|column| ["params", "result_data", "metadata", "message"].contains(&column.as_str()));
    let most = if small { LOOKED_THROUGH } else { MOST_ROWS };
    let limit = query.limit.unwrap_or(most).min(most);
    let (found, total) = match table {
        Table::Tasks if query.counts => rows::tasks(edge, caller, &query, 0).await?,
        Table::Tasks => rows::tasks(edge, caller, &query, query.offset.saturating_add(limit)).await?,
        _ => {
            let found = all(edge, caller, table, &query).await?;
            let total = found.len();
            (found, total)
        }
    };
    if query.counts {
        return Ok(ranged(&[json!({ "count": total })], (0, total), wants));
    }
    let rows: Vec<Value> =
        found.into_iter().skip(query.offset).take(limit).map(|row| query.pick(row)).collect();
    if wants.single {
        return one(if table == Table::Tasks { alone(&query, rows) } else { rows });
    }
    Ok(ranged(&rows, (query.offset, total), wants))
}

/// The only column of one task, as workers of December ask for what it depends on: they take the value for one id.
fn alone(query: &Query, mut rows: Vec<Value>) -> Vec<Value> {
    if query.columns == [DEPENDS] {
        for row in &mut rows {
            if let Some([only]) = row[DEPENDS].as_array().map(Vec::as_slice) {
                row[DEPENDS] = only.clone();
            }
        }
    }
    rows
}

/// All rows of the other tables that fit, in order.
async fn all(edge: &Edge, caller: &Caller, table: Table, query: &Query) -> Result<Vec<Value>, Said> {
    let found = match table {
        Table::Logs => rows::logs(edge, caller, query).await?,
        Table::Generations => rows::generations(edge, caller, query).await?,
        Table::Workers => workers::rows(edge, caller).await?,
        Table::OrchestratorStatus => workers::status(edge, caller).await?,
        Table::WorkersHealth => workers::health(edge, caller).await?,
        // Tasks are read by themselves.
        Table::Tasks | Table::PauseScaling => Vec::new(),
    };
    let mut found: Vec<Value> = found.into_iter().filter(|row| query.fits(row)).collect();
    query.sort(&mut found);
    Ok(found)
}

/// Rows as the answer to a read, with their place among all.
fn ranged(rows: &[Value], (offset, total): (usize, usize), wants: Wants) -> Response {
    let mut response = json_of(200, &Value::Array(rows.to_vec()));
    let all = if wants.count { total.to_string() } else { "*".to_owned() };
    let range = match rows.len() {
        0 => format!("*/{all}"),
        length => format!("{offset}-{}/{all}", offset + length - 1),
    };
    let is_part = wants.count && rows.len() < total && !rows.is_empty();
    if is_part && rows.iter().all(|row| row.get("count").is_none()) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// The one row, as an object.
fn one(mut rows: Vec<Value>) -> Answer {
    match (rows.len(), rows.pop()) {
        (1, Some(row)) => Ok(json_of(200, &row)),
        (number, _) => {
            let details = format!("The result contains {number} rows");
            let message = "JSON object requested, multiple (or no) rows returned";
            Err(table_error(406, "PGRST116", message, Some(&details)).into())
        }
    }
}

/// Rows as the answer to a write.
fn written(created: bool, rows: Vec<Value>, query: &Query, wants: Wants) -> Answer {
    let status = if created { 201 } else { 200 };
    if !wants.rows {
        return Ok(empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }));
    }
    let rows: Vec<Value> = rows.into_iter().map(|row| query.pick(row)).collect();
    if wants.single {
        return one(rows);
    }
    Ok(json_of(status, &Value::Array(rows)))
}

fn not_writable(name: &str) -> Said {
    let message = format!("permission denied for table {name}");
    table_error(403, "42501", &message, Some("it is written by Baton alone")).into()
}

/// Adds rows.
pub(crate) async fn insert(edge: &Edge, caller: &Caller, name: &str, request: Request) -> Answer {
    let (table, parts, body) = taken(edge, name, request).await?;
    let query = read(table, name, &parts)?;
    let bodies = match body {
        Value::Object(one) => vec![one],
        Value::Array(several) => several
            .into_iter()
            .map(|one| match one {
                Value::Object(one) => Ok(one),
                _ => Err(no_rows()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(no_rows()),
    };
    let mut rows = Vec::with_capacity(bodies.len());
    for body in bodies {
        rows.push(match table {
            Table::Tasks => write::create(edge, caller, body).await?,
            Table::Workers => workers::put(edge, caller, body).await?,
            Table::Logs => write::log(edge, caller, body).await?,
            _ => return Err(not_writable(name)),
        });
    }
    written(true, rows, &query, Wants::of(&parts.headers))
}

fn no_rows() -> Said {
    table_error(400, "PGRST102", "expected a JSON object, or an array of them", None).into()
}

async fn taken(edge: &Edge, name: &str, request: Request) -> Result<(Table, Parts, Value), Said> {
    let table = Table::named(name)?;
    let (parts, body) = request.into_parts();
    let most = edge.app.limits().params_bytes.saturating_add(64 * 1024);
    let body = words::value(Request::from_parts(parts.clone(), body), most).await?;
    Ok((table, parts, body))
}

/// A write without a filter would be about all rows, which nobody means.
fn filtered(query: &Query, what: &str) -> Result<(), Said> {
    if query.filters.is_empty() {
        let message = format!("{what} requires a WHERE clause");
        return Err(table_error(400, "21000", &message, None).into());
    }
    Ok(())
}

/// Changes rows.
pub(crate) async fn update(edge: &Edge, caller: &Caller, name: &str, request: Request) -> Answer {
    let (table, parts, body) = taken(edge, name, request).await?;
    let Value::Object(body) = body else { return Err(no_rows()) };
    let query = read(table, name, &parts)?;
    filtered(&query, "UPDATE")?;
    let wants = Wants::of(&parts.headers);
    let rows = match table {
        Table::Tasks => write::change(edge, caller, &query, &body, wants.rows).await?,
        Table::Workers => workers::change(edge, caller, &query, &body).await?,
        _ => return Err(not_writable(name)),
    };
    written(false, rows, &query, wants)
}

/// Removes rows.
pub(crate) async fn delete(edge: &Edge, caller: &Caller, name: &str, parts: &Parts) -> Answer {
    let table = Table::named(name)?;
    let query = read(table, name, parts)?;
    filtered(&query, "DELETE")?;
    let wants = Wants::of(&parts.headers);
    let rows = match table {
        Table::Tasks => write::remove(edge, caller, &query, wants.rows).await?,
        _ => return Err(not_writable(name)),
    };
    written(false, rows, &query, wants)
}

/// The columns of a change beyond these, which mean nothing that Baton could do.
fn beyond<'a>(body: &'a Object, known: &[&str]) -> Option<&'a str> {
    body.keys().map(String::as_str).find(|key| !known.contains(key))
}
