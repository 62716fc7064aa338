//! All that the program writes: data to stdout, talk to stderr.

mod pager;
mod rows;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use serde::Serialize;
use terminal_size::{Height, Width, terminal_size_of};

pub(crate) use baton_verdict::harmless;

use crate::exit::Failure;
use crate::talk;
use rows::Place;
pub(crate) use rows::{Column, Rows};

/// The size of a terminal that does not say its own, or says 0 as those of some serial lines and containers do.
const TERMINAL: Terminal = Terminal { width: 80, height: 24 };

/// The form of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terminal {
    width: usize,
    height: usize,
}

pub(crate) struct Out {
    format: Format,
    /// The terminal that stdout is, if it is one.
    terminal: Option<Terminal>,
    colours: bool,
    /// What is to be shown page by page if it is long, as far as it was written.
    page: Mutex<Option<String>>,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal().then(size);
        // https://no-color.org: any value but the empty one.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colours = wanted && terminal.is_some() && !is_dumb();
        Self { format, terminal, colours, page: Mutex::new(None) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether colours are wanted, and can be shown.
    pub(crate) fn has_colours(&self) -> bool {
        self.colours
    }

    /// Whether the terminal can do nothing but print.
    pub(crate) fn is_dumb(&self) -> bool {
        is_dumb()
    }

    /// How many columns there are to write in: those of the terminal; without one, as many as one likes.
    pub(crate) fn width(&self) -> Option<usize> {
        self.terminal.map(|terminal| terminal.width)
    }

    /// From here on, what is written is one text, which a pager shows if it is longer than the terminal is high.
    pub(crate) fn page(&self) {
        if self.terminal.is_some() && !self.is_json() && !is_dumb() {
            self.held().get_or_insert_default();
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was held back for a pager. It is done before anything is said on stderr, and at the end.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let Some(text) = self.held().take() else { return Ok(()) };
        let Some(terminal) = self.terminal else { return write(&text) };
        // The prompt of the shell takes a line.
        let long = text.lines().count() >= terminal.height;
        match pager::wanted().filter(|_| long) {
            // Where the pager cannot be run, everything comes at once.
            Some(pager) => pager.show(&text).or_else(|_| write(&text)),
            None => write(&text),
        }
    }

    /// Writes one JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        write(&(text + "\n"))
    }

    /// Writes one JSON document on a line of its own, as part of a stream of them.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        write(&(text + "\n"))
    }

    /// Writes one line of data, which stays one whatever it holds.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.put(harmless::line(text).into_owned())
    }

    /// Writes data that may go over several lines; the further ones begin at column `indent`.
    pub(crate) fn lines(&self, text: &str, indent: usize) -> Result<(), Failure> {
        self.put(harmless::behind(text, indent))
    }

    /// Writes facts about one thing, each by its name; a fact without content is left out.
    pub(crate) fn facts<'a>(
        &self,
        facts: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<(), Failure> {
        const NAMES: usize = 13;
        for (name, value) in facts {
            if !value.trim().is_empty() {
                self.lines(&format!("{:<width$} {value}", harmless::line(name), width = NAMES - 1), NAMES)?;
            }
        }
        Ok(())
    }

    /// Writes a table; `empty` to stderr instead, if it has no rows.
    pub(crate) fn table(&self, rows: Rows, empty: &str) -> Result<(), Failure> {
        if rows.is_empty() {
            self.note(empty);
            return Ok(());
        }
        for line in rows.lines(self.width(), |place, whole, cell| self.dressed(place, whole, cell)) {
            self.put(line)?;
        }
        Ok(())
    }

    fn dressed(&self, place: Place, whole: &str, cell: String) -> String {
        if !self.colours {
            return cell;
        }
        match (place, colour_of(whole)) {
            (Place::Header, _) => format!("\u{1b}[1m{cell}\u{1b}[0m"),
            (Place::Row, Some(colour)) => format!("\u{1b}[{colour}m{cell}\u{1b}[39m"),
            (Place::Row, None) => cell,
        }
    }

    /// Writes a line, or holds it back for the pager.
    fn put(&self, mut line: String) -> Result<(), Failure> {
        line.push('\n');
        match &mut *self.held() {
            Some(page) => page.push_str(&line),
            None => return write(&line),
        }
        Ok(())
    }

    /// Says something on stderr.
    pub(crate) fn note(&self, text: &str) {
        // What was said about data comes after it. If it cannot be shown, its end says so.
        let _ = self.finish();
        talk::say(&harmless::lines(text));
    }

    /// Says on stderr what went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.note(&format!("error: {text}"));
    }
}

/// The terminal's size.
fn size() -> Terminal {
    let (width, height) = match terminal_size_of(io::stdout()) {
        Some((Width(width), Height(height))) => (usize::from(width), usize::from(height)),
        None => (0, 0),
    };
    let or = |size: usize, otherwise: usize| if size == 0 { otherwise } else { size };
    Terminal { width: or(width, TERMINAL.width), height: or(height, TERMINAL.height) }
}

/// Whether the terminal can do nothing but print, as that of an editor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Writes to stdout, all of it.
fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        Err(error) => Err(Failure::failed(format!("could not write to stdout: {error}"))),
    }
}

/// The number of a colour (ECMA-48, section 8.3.117) for a word that says how things stand.
fn colour_of(text: &str) -> Option<u8> {
    // A state may be followed by its particulars.
    match text.split([' ', ',']).next().unwrap_or_default() {
        "completed" | "active" | "ok" => Some(32),
        "failed" | "lost" | "error" => Some(31),
        "running" => Some(36),
        "retry" | "cancelled" | "draining" | "stopping" | "paused" | "warn" => Some(33),
        _ => None,
    }
}
