//! All that the program writes: data to stdout, talk to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::Failure;

/// The width that tables are made for when there is no terminal.
const WIDTH: u16 = 80;

/// The form of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

pub(crate) struct Out {
    format: Format,
    colours: bool,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        // https://no-color.org: any value but the empty one.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colours: wanted && io::stdout().is_terminal() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes one JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        self.line(&text)
    }

    /// Writes one JSON document on a line of its own, as part of a stream of them.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        self.line(&text)
    }

    /// Writes one line of data.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
        {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
            Err(error) => Err(Failure::failed(format!("could not write to stdout: {error}"))),
        }
    }

    /// Writes a table; `empty` to stderr instead, if it has no rows.
    pub(crate) fn table(&self, table: Rows, empty: &str) -> Result<(), Failure> {
        if table.rows.is_empty() {
            self.note(empty);
            return Ok(());
        }
        let mut drawn = Table::new();
        drawn.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if self.colours {
            drawn.enforce_styling();
        } else {
            drawn.force_no_tty();
        }
        drawn.set_width(width());
        drawn.set_header(table.header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in table.rows {
            drawn.add_row(row.into_iter().map(|text| match colour_of(&text) {
                Some(colour) if self.colours => Cell::new(text).fg(colour),
                _ => Cell::new(text),
            }));
        }
        for column in drawn.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in drawn.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Says something on stderr.
    pub(crate) fn note(&self, text: &str) {
        // Nothing can be said about a stderr that cannot be written to.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says on stderr what went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.note(&format!("error: {text}"));
    }
}

/// How many columns there are to write in: the terminal's, or what COLUMNS says, or 80.
pub(crate) fn width() -> u16 {
    if let Some(columns) = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()) {
        return columns;
    }
    if io::stdout().is_terminal() { Table::new().width().unwrap_or(WIDTH) } else { WIDTH }
}

/// A table in the making.
pub(crate) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

fn colour_of(text: &str) -> Option<Color> {
    // A state may be followed by its particulars.
    match text.split([' ', ',']).next().unwrap_or_default() {
        "completed" | "active" | "ok" => Some(Color::Green),
        "failed" | "lost" | "error" => Some(Color::Red),
        "running" => Some(Color::Cyan),
        "retry" | "cancelled" | "draining" | "stopping" | "paused" | "warn" => Some(Color::Yellow),
        _ => None,
    }
}
