//! The tables.

use axum::extract::Request;
use baton_http::Caller;
use http::request::Parts;

use crate::edge::Edge;
use crate::words::{Answer, Said, table_error};

fn unknown(name: &str) -> Said {
    let message = format!("Could not find the table 'public.{name}' in the schema cache");
    table_error(404, "PGRST205", &message, None).into()
}

/// Reads rows.
pub(crate) async fn select(_edge: &Edge, _caller: &Caller, name: &str, _request: &Parts) -> Answer {
    Err(unknown(name))
}

/// Adds a row.
pub(crate) async fn insert(_edge: &Edge, _caller: &Caller, name: &str, _request: Request) -> Answer {
    Err(unknown(name))
}

/// Changes rows.
pub(crate) async fn update(_edge: &Edge, _caller: &Caller, name: &str, _request: Request) -> Answer {
    Err(unknown(name))
}

/// Removes rows.
pub(crate) async fn delete(_edge: &Edge, _caller: &Caller, name: &str, _request: &Parts) -> Answer {
    Err(unknown(name))
}
