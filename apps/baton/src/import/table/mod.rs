//! Rows of other systems, and where they come from: one at a time, however many there are.

mod csv;
mod lines;
mod piped;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use baton_model::Expected;
use serde_json::value::RawValue;

use super::cell::Cell;
use crate::exit::Failure;
use crate::words;

pub(crate) use self::csv::Csv;
pub(crate) use self::lines::Lines;
#[cfg(feature = "postgres")]
pub(crate) use self::piped::Piped;
pub(crate) use self::piped::{Feed, piped};
pub(crate) use self::sqlite::{feed as feed_of_sqlite, open as open_sqlite, rows_in};

/// A row: what its columns hold, by their names.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its line in the file, or its number in the table, from 1.
    pub(crate) line: u64,
    /// Its text, if it is a line of JSON.
    pub(crate) text: Option<String>,
    cells: BTreeMap<String, Cell>,
}

impl Row {
    /// A row of a table.
    pub(crate) fn of_cells(line: u64, cells: BTreeMap<String, Cell>) -> Self {
        Self { line, text: None, cells }
    }

    /// What a column holds; none if it is null, or the row has no such column.
    pub(crate) fn cell(&self, column: &str) -> Option<&Cell> {
        self.cells.get(column)
    }

    /// Reads the columns from the line's JSON.
    ///
    /// # Errors
    /// If it is no JSON object.
    pub(crate) fn read(&mut self) -> Result<(), Expected> {
        let Some(text) = &self.text else { return Ok(()) };
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).map_err(|error| {
            let got = match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Expected::text("", text).got,
                Err(_) => words::json_fault(&error.to_string()),
            };
            Expected::new("a JSON object", got)
        })?;
        self.cells = members.into_iter().filter_map(|(name, raw)| Some((name, Cell::json(raw)?))).collect();
        Ok(())
    }

    /// A line of JSON; its columns are read by [`Row::read`].
    pub(crate) fn of_text(line: u64, text: String) -> Self {
        Self { line, text: Some(text), cells: BTreeMap::new() }
    }
}

/// A row that could not be read: its line, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) line: u64,
    pub(crate) wrong: Expected,
}

/// What the next row is; none at the end.
pub(crate) type Next = Result<Option<Result<Row, Unread>>, Failure>;

/// Rows, one after the other.
pub(crate) trait Rows: Send {
    /// The next one.
    ///
    /// # Errors
    /// If the source cannot be read on.
    fn next(&mut self) -> Next;

    /// How much of the source is read: bytes of a file, or rows.
    fn done(&self) -> u64;
}

/// A single row.
pub(crate) struct One(Option<Row>);

impl One {
    pub(crate) fn new(row: Row) -> Self {
        Self(Some(row))
    }
}

impl Rows for One {
    fn next(&mut self) -> Next {
        Ok(self.0.take().map(Ok))
    }

    fn done(&self) -> u64 {
        u64::from(self.0.is_none())
    }
}
