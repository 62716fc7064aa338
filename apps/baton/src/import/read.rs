//! From rows to tasks, on a thread of its own: what reads does not hold up what writes. At most three portions are held, one that is
//! being read, one that waits and one that is being written.

use baton_store::transfer::{Record, TaskRecord};
use tokio::sync::mpsc::{Receiver, channel};

use super::lawful::lawful;
use super::mapping::Map;
use super::old::Change;
use super::own;
use super::report::Mistake;
#[cfg(feature = "dialects")]
use super::systems::System;
use super::table::{Row, Rows, Unread};
use crate::exit::Failure;

/// How many rows make a portion.
const PORTION: usize = 1_000;
/// How many bytes of tasks do, if that is less.
const PORTION_BYTES: usize = 4 << 20;

/// What the rows are.
pub(crate) enum Meaning {
    /// Tasks as Baton exports them.
    Own,
    /// Rows of a table.
    Mapped(Box<Map>),
    /// Rows of a system that Baton knows.
    #[cfg(feature = "dialects")]
    System(Box<System>),
}

/// What a row is.
pub(crate) enum Read {
    /// A task, with what was changed of it.
    Task(Box<TaskRecord>, Vec<(Change, String)>),
    /// None, by all that is wrong with it.
    Wrong(Vec<Mistake>),
}

/// A portion of rows, by their lines.
pub(crate) struct Portion {
    pub(crate) rows: Vec<(u64, Read)>,
    /// How much of the source is read with it.
    pub(crate) done: u64,
}

/// Begins to read.
pub(crate) fn begin(mut rows: Box<dyn Rows>, meaning: Meaning) -> Receiver<Result<Portion, Failure>> {
    let (tell, portions) = channel(1);
    std::thread::spawn(move || {
        loop {
            let portion = portion(&mut *rows, &meaning);
            let is_last = portion.as_ref().map_or(true, |portion| portion.rows.is_empty());
            // Nobody listens any more once the import has broken off.
            if tell.blocking_send(portion).is_err() || is_last {
                return;
            }
        }
    });
    portions
}

fn portion(rows: &mut dyn Rows, meaning: &Meaning) -> Result<Portion, Failure> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while read.len() < PORTION && bytes < PORTION_BYTES {
        let Some(row) = rows.next()? else { break };
        for (line, one) in meaning.read(row) {
            let one = match one {
                Read::Task(task, changes) => {
                    let record = Record::Task(task);
                    bytes += record.size();
                    let Record::Task(task) = record else { continue };
                    Read::Task(task, changes)
                }
                wrong @ Read::Wrong(_) => wrong,
            };
            read.push((line, one));
        }
    }
    Ok(Portion { rows: read, done: rows.done() })
}

fn whole(line: u64, wrong: baton_model::Expected) -> Read {
    Read::Wrong(vec![Mistake { line, field: "row".to_owned(), wrong }])
}

impl Meaning {
    /// The tasks of a row: one, unless its system writes several at once.
    fn read(&self, row: Result<Row, Unread>) -> Vec<(u64, Read)> {
        let mut row = match row {
            Ok(row) => row,
            Err(Unread { line, wrong }) => return vec![(line, whole(line, wrong))],
        };
        let line = row.line;
        if let (Self::Own, Some(text)) = (self, &row.text) {
            let read = own::task(text).map(|task| Read::Task(Box::new(task), Vec::new()));
            return vec![(line, read.unwrap_or_else(|wrong| whole(line, wrong)))];
        }
        if let Err(wrong) = row.read() {
            return vec![(line, whole(line, wrong))];
        }
        match self {
            Self::Own => vec![(line, whole(line, not_own()))],
            Self::Mapped(map) => vec![(line, made(line, map.task(&row)))],
            #[cfg(feature = "dialects")]
            Self::System(system) => {
                system.rows(row).into_iter().map(|row| (line, made(line, system.task(&row)))).collect()
            }
        }
    }
}

fn not_own() -> baton_model::Expected {
    baton_model::Expected::new(
        "a line of JSON as `baton export` writes it",
        "a row of a table; say --map or --as",
    )
}

fn made(line: u64, old: Result<super::old::OldTask, Vec<Mistake>>) -> Read {
    match old {
        Err(mistakes) => Read::Wrong(mistakes),
        Ok(old) => match lawful(old) {
            Ok((task, changes)) => Read::Task(Box::new(task), changes),
            Err(wrong) => whole(line, wrong),
        },
    }
}
