//! How a task is linked with others, as a column of its row says (NULL for nearly all, which have no links), and what is noted
//! with it when others come to depend on it.

use baton_model::{IfDependencyFails, TaskId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::kept::stay;
use crate::rows::state_of;

/// How a task is linked with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// Whether other tasks depend on it, or have depended on it.
    pub(crate) waited_for: bool,
    /// Whether it depends on others.
    pub(crate) waits: bool,
    /// What becomes of it when one of these fails.
    pub(crate) choice: IfDependencyFails,
}

/// The bit that says that other tasks depend on a task.
const WAITED_FOR: i64 = 1;

/// The bit that says that a task depends on others.
const WAITS: i64 = 2;

/// The first bit of what becomes of it when one of these fails.
const CHOICE: u32 = 2;

impl Links {
    /// The column's value.
    pub(crate) fn code(self) -> Option<i64> {
        let choice = match self.choice {
            IfDependencyFails::Cancel => 0,
            IfDependencyFails::Fail => 1,
            IfDependencyFails::Run => 2,
        };
        let flag = |is: bool, bit: i64| if is { bit } else { 0 };
        let code = flag(self.waited_for, WAITED_FOR) | flag(self.waits, WAITS) | choice << CHOICE;
        (code != 0).then_some(code)
    }

    /// The links of a column's value.
    pub(crate) fn of(code: Option<i64>) -> Self {
        let Some(code) = code else { return Self::default() };
        let choice = match code >> CHOICE {
            1 => IfDependencyFails::Fail,
            2 => IfDependencyFails::Run,
            _ => IfDependencyFails::Cancel,
        };
        Self { waited_for: code & WAITED_FOR != 0, waits: code & WAITS != 0, choice }
    }
}

/// Notes with these tasks, where they exist, that others depend on them, and keeps those that have ended.
pub(crate) fn mark_waited_for<'a>(
    db: &Connection,
    ids: impl IntoIterator<Item = &'a TaskId>,
) -> Result<(), Failure> {
    let mut mark = db.prepare_cached(
        "UPDATE task SET links = coalesce(links, 0) | ?2, finished_at = NULL \
         WHERE id = ?1 AND (coalesce(links, 0) & ?2 = 0 OR finished_at IS NOT NULL OR retention IS NOT NULL) RETURNING n, state",
    )?;
    for id in ids {
        let marked = mark.query_row(params![id.as_bytes(), WAITED_FOR], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        if let Some((n, state)) = marked.optional()?
            && state_of(state)?.is_final()
        {
            keep(db, n)?;
        }
    }
    Ok(())
}

/// Keeps a task that has ended and that others depend on, however old it is (`kept.rs`).
pub(crate) fn keep(db: &Connection, n: i64) -> Result<(), Failure> {
    db.prepare_cached("INSERT OR IGNORE INTO kept (n) VALUES (?1)")?.execute([n])?;
    stay(db, n)
}

/// Notes that a task is blocked, or is no longer.
pub(crate) fn note_blocked(db: &Connection, n: i64, is: bool) -> Result<(), Failure> {
    let sql = match is {
        true => "INSERT OR IGNORE INTO blocked (n) VALUES (?1)",
        false => "DELETE FROM blocked WHERE n = ?1",
    };
    db.prepare_cached(sql)?.execute([n])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_link_comes_back_and_none_is_null() {
        assert_eq!(Links::default().code(), None);
        for choice in IfDependencyFails::ALL {
            for flags in 0..4 {
                let links = Links { waited_for: flags & 1 == 1, waits: flags & 2 == 2, choice };
                assert_eq!(Links::of(links.code()), links);
            }
        }
    }
}
