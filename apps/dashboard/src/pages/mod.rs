//! The pages, each with what it asks the routes for.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod groups;
pub(crate) mod limits;
pub(crate) mod one_setting;
pub(crate) mod one_task;
pub(crate) mod one_worker;
pub(crate) mod overview;
pub(crate) mod projects;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod settings;
pub(crate) mod task_row;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod worker_row;
pub(crate) mod workers;
mod wrong;

use crate::address::path;
use crate::visit::Visit;

/// How many rows a page of a list has.
pub(crate) const ROWS: &str = "50";

/// The query of a list: what was asked of these fields, how many rows, and where the page before ended.
pub(crate) fn list_query<'a>(visit: &'a Visit, fields: &[&str]) -> Vec<(&'a str, &'a str)> {
    let asked = visit.query.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut query: Vec<_> = asked.filter(|(key, _)| *key == "cursor" || fields.contains(key)).collect();
    query.push(("limit", ROWS));
    query
}

/// The address of the list's next page: the same with another cursor.
pub(crate) fn next_page(visit: &Visit, page: &[&str], cursor: Option<&str>) -> Option<String> {
    let cursor = cursor?;
    let asked = visit.query.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut query: Vec<_> = asked.filter(|(key, _)| *key != "cursor" && *key != "did").collect();
    query.push(("cursor", cursor));
    Some(path(page, &query))
}
