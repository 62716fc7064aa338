//! A table of an SQLite file, which is opened for reading alone.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::super::cell::Cell;
use super::{Feed, Row};
use crate::exit::Failure;

/// Opens a file.
///
/// # Errors
/// If it cannot be read, or has no such table.
pub(crate) fn open(file: &Path, table: &str) -> Result<Connection, Failure> {
    let name = file.display();
    if !file.exists() {
        return Err(Failure::NotFound(format!("expected a file, got none at {name}")));
    }
    let cannot = |error: rusqlite::Error| Failure::failed(format!("cannot read {name}: {error}"));
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(cannot)?;
    let tables = tables_of(&db).map_err(cannot)?;
    if !tables.iter().any(|one| one == table) {
        let there = if tables.is_empty() { "no table".to_owned() } else { tables.join(", ") };
        return Err(Failure::NotFound(format!(
            "expected the table {table} in {name}, got {there}; name another by --table (a store of Baton's own is moved by \
             `baton migrate`)"
        )));
    }
    Ok(db)
}

fn tables_of(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name";
    let mut tables = db.prepare(sql)?;
    let tables = tables.query_map([], |row| row.get(0))?;
    tables.collect()
}

/// How many rows the table has.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn rows_in(db: &Connection, table: &str) -> Result<u64, Failure> {
    let sql = format!("SELECT count(*) FROM {}", quoted(table));
    db.query_row(&sql, [], |row| row.get(0)).map_err(|error| Failure::failed(error.to_string()))
}

fn quoted(table: &str) -> String {
    format!("\"{}\"", table.replace('"', "\"\""))
}

/// Puts in all rows of a table, in the order in which it has them. On a thread of its own.
pub(crate) fn feed(db: &Connection, table: &str, feed: &Feed) {
    if let Err(error) = read(db, table, feed) {
        // Where nobody takes rows any more, nobody hears of it either.
        let _ = feed.put_blocking(Err(Failure::failed(format!("cannot read the table {table} on: {error}"))));
    }
}

fn read(db: &Connection, table: &str, feed: &Feed) -> rusqlite::Result<()> {
    let mut statement = db.prepare(&format!("SELECT * FROM {}", quoted(table)))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        let mut cells = BTreeMap::new();
        for (index, column) in columns.iter().enumerate() {
            if let Some(cell) = cell(row.get_ref(index)?) {
                cells.insert(column.clone(), cell);
            }
        }
        if !feed.put_blocking(Ok(Row::of_cells(number, cells))) {
            return Ok(());
        }
    }
    Ok(())
}

fn cell(value: ValueRef<'_>) -> Option<Cell> {
    let text = match value {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        // Bytes that are no text are shown as such where the column is read.
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    Some(Cell::Text(text))
}
