//! Rows of files, one at a time: JSON lines and CSV. What a row means is told by a mapping.

use std::io::BufRead;

use baton_model::Expected;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::input::{self, Line};

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Its place, from 1: the line of a file, or its number in a database.
    pub(crate) line: u64,
    pub(crate) fields: Map<String, Value>,
}

/// Why a row is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) line: u64,
    /// The column; empty if it is the row as a whole.
    pub(crate) field: String,
    pub(crate) wrong: Expected,
}

/// Takes what was read; false if no more is wanted.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Result<Row, Mistake>) -> bool;

/// Reads lines as text, and passes each that is not empty on.
///
/// # Errors
/// That the file cannot be read on.
pub(crate) fn lines(
    mut from: impl BufRead,
    each: &mut dyn FnMut(u64, Result<&str, Mistake>) -> bool,
) -> Result<(), Failure> {
    let mut number = 0;
    loop {
        let line = input::next_line(&mut from, input::MOST)
            .map_err(|error| Failure::failed(format!("cannot read on after line {number}: {error}")))?;
        number += 1;
        let mistake = |expected: String, got: String| Mistake {
            line: number,
            field: String::new(),
            wrong: Expected::new(expected, got),
        };
        let goes_on = match &line {
            None => return Ok(()),
            Some(Line::TooLong(bytes)) => {
                let most = format!("a line of at most {} bytes", input::MOST);
                each(number, Err(mistake(most, format!("{bytes} bytes"))))
            }
            Some(Line::Whole(bytes)) if bytes.iter().all(u8::is_ascii_whitespace) => true,
            Some(Line::Whole(bytes)) => match input::text(bytes) {
                Ok(text) => each(number, Ok(text)),
                Err(wrong) => each(number, Err(mistake("text".to_owned(), wrong.to_string()))),
            },
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Reads objects, one a line.
///
/// # Errors
/// As [`lines`].
pub(crate) fn json_lines(from: impl BufRead, take: Take<'_>) -> Result<(), Failure> {
    lines(from, &mut |line, text| {
        take(text.and_then(|text| {
            serde_json::from_str(text).map(|fields| Row { line, fields }).map_err(|error| Mistake {
                line,
                field: String::new(),
                wrong: Expected::new("a JSON object", error.to_string()),
            })
        }))
    })
}

/// Reads CSV (RFC 4180) with a line of names at its beginning. An empty field is none.
///
/// # Errors
/// As [`lines`], and that there are no names.
pub(crate) fn csv(from: impl BufRead, take: Take<'_>) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(from);
    let names = reader.headers().map_err(|error| Failure::failed(format!("cannot read its names: {error}")))?;
    let names: Vec<String> =
        names.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        let mistake = |wrong| Mistake { line, field: String::new(), wrong };
        let read = match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) if record.len() == names.len() => Ok(Row { line, fields: fields(&names, &record) }),
            Ok(true) => Err(mistake(Expected::new(
                format!("{} fields", names.len()),
                format!("{} of them", record.len()),
            ))),
            Err(error) if error.is_io_error() => {
                return Err(Failure::failed(format!("cannot read on after line {line}: {error}")));
            }
            Err(error) => Err(mistake(Expected::new("a line of CSV in UTF-8", error.to_string()))),
        };
        if !take(read) {
            return Ok(());
        }
    }
}

fn fields(names: &[String], record: &csv::StringRecord) -> Map<String, Value> {
    let filled = names.iter().zip(record).filter(|(_, text)| !text.is_empty());
    filled.map(|(name, text)| (name.clone(), Value::from(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: impl Fn(Take<'_>) -> Result<(), Failure>) -> Vec<Result<Row, Mistake>> {
        let mut rows = Vec::new();
        reader(&mut |row| {
            rows.push(row);
            true
        })
        .unwrap();
        rows
    }

    #[test]
    fn each_line_is_an_object_and_another_is_named_by_its_number() {
        let rows = read(|take| json_lines(&b"{\"id\": 1}\n\n[]\n{\"id\": 2}"[..], take));
        assert_eq!(rows[0].as_ref().unwrap().fields["id"], 1);
        assert_eq!(rows[1].as_ref().unwrap_err().line, 3);
        assert_eq!(rows[2].as_ref().unwrap().line, 4);
    }

    #[test]
    fn fields_of_csv_may_hold_commas_quotes_and_lines() {
        let rows = read(|take| csv(&b"id,text,none\n1,\"a, \"\"b\"\"\nc\",\n2\n"[..], take));
        let row = rows[0].as_ref().unwrap();
        assert_eq!((row.line, &row.fields["text"]), (2, &Value::from("a, \"b\"\nc")));
        assert!(!row.fields.contains_key("none"));
        assert_eq!(rows[1].as_ref().unwrap_err().line, 4);
    }
}
