//! CSV (RFC 4180) with a line of names before all others. An empty field is a null, as PostgreSQL's `COPY … CSV` writes it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_model::Expected;

use super::super::cell::Cell;
use super::{Next, Row, Rows, Unread};
use crate::exit::Failure;
use crate::input;

/// The largest row: without an end, a quote that is never closed would have the rest of the file be read into memory.
const MOST: u64 = 4 * input::MOST as u64;

/// A reader that gives up where one row takes too much.
struct Bounded<R> {
    from: R,
    left: Arc<AtomicU64>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        let taken = u64::try_from(read).unwrap_or(u64::MAX);
        let enough = |left: u64| left.checked_sub(taken);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough) {
            Ok(_) => Ok(read),
            Err(_) => {
                Err(io::Error::other(format!("a row has more than {MOST} bytes; is a quote not closed?")))
            }
        }
    }
}

/// The rows of a CSV text.
pub(crate) struct Csv<R> {
    from: ::csv::Reader<Bounded<R>>,
    left: Arc<AtomicU64>,
    columns: Vec<String>,
    name: String,
}

impl<R: Read> Csv<R> {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// If there are none, or two of one name.
    pub(crate) fn new(from: R, name: String) -> Result<Self, Failure> {
        let left = Arc::new(AtomicU64::new(MOST));
        let from = Bounded { from, left: Arc::clone(&left) };
        let mut from = ::csv::ReaderBuilder::new().flexible(true).from_reader(from);
        let wrong = |what: &dyn std::fmt::Display| Failure::usage(format!("{name}: {what}"));
        let names = from.byte_headers().map_err(|error| wrong(&error))?.clone();
        let mut columns = Vec::with_capacity(names.len());
        for column in &names {
            let column = input::text(column).map_err(|error| wrong(&error))?.trim().to_owned();
            if columns.contains(&column) {
                return Err(wrong(&format!(
                    "expected each column once in the first line, got two {column:?}"
                )));
            }
            columns.push(column);
        }
        if columns.iter().all(String::is_empty) {
            return Err(wrong(&"expected the names of the columns in the first line, got none"));
        }
        Ok(Self { from, left, columns, name })
    }
}

impl<R: Read + Send> Rows for Csv<R> {
    fn next(&mut self) -> Next {
        self.left.store(MOST, Ordering::Relaxed);
        let mut record = ::csv::ByteRecord::new();
        let more = self.from.read_byte_record(&mut record);
        let more = more.map_err(|error| Failure::failed(format!("cannot read {} on: {error}", self.name)))?;
        if !more {
            return Ok(None);
        }
        let line = record.position().map_or(0, ::csv::Position::line);
        let unread = |wrong| Ok(Some(Err(Unread { line, wrong })));
        if record.len() != self.columns.len() {
            let expected = format!("{} fields, as the first line has", self.columns.len());
            return unread(Expected::new(expected, record.len().to_string()));
        }
        let mut cells = BTreeMap::new();
        for (column, field) in self.columns.iter().zip(&record) {
            let Ok(text) = std::str::from_utf8(field) else {
                return unread(Expected::new("UTF-8", format!("other bytes in the column {column}")));
            };
            if !text.is_empty() {
                cells.insert(column.clone(), Cell::Text(text.to_owned()));
            }
        }
        Ok(Some(Ok(Row::of_cells(line, cells))))
    }

    fn done(&self) -> u64 {
        self.from.position().byte()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_empty_ones_are_nulls() {
        let text = "\u{feff}id,params,error\n1,\"{\"\"n\"\": 1.50}\",\n2,\"a\nb\",x\n3\n";
        let mut rows = Csv::new(text.as_bytes(), "x.csv".to_owned()).unwrap();
        let first = rows.next().unwrap().unwrap().unwrap();
        assert_eq!(first.cell("params").unwrap().payload().unwrap().as_str(), r#"{"n": 1.50}"#);
        assert!(first.line == 2 && first.cell("error").is_none());
        assert_eq!(rows.next().unwrap().unwrap().unwrap().cell("params").unwrap().text(), "a\nb");
        let short = rows.next().unwrap().unwrap().unwrap_err();
        assert_eq!(
            (short.line, short.wrong.to_string().as_str()),
            (5, "expected 3 fields, as the first line has, got 1")
        );
        assert!(rows.next().unwrap().is_none());
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_take_all_memory() {
        let text = io::Read::chain(&b"id,params\n1,\"x"[..], io::repeat(b'x'));
        let mut rows = Csv::new(text, "x.csv".to_owned()).unwrap();
        let Failure::Failed(told) = rows.next().unwrap_err() else { panic!("failed") };
        assert!(told.contains("is a quote not closed?"), "{told}");
    }

    #[test]
    fn the_first_line_must_name_the_columns() {
        for (text, expected) in [("", "got none"), ("a,a\n", "got two \"a\"")] {
            let Err(Failure::Usage(told)) = Csv::new(text.as_bytes(), "x.csv".to_owned()) else { panic!() };
            assert!(told.contains(expected), "{told}");
        }
    }
}
