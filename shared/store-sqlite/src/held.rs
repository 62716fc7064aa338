//! Statements of the writing thread that stay compiled and are found by where their text lies.
//!
//! The cache of rusqlite finds a statement by its text: it hashes it twice for each use, copies its key and clears what was bound. That
//! came to 1,300 instructions a use, of which a lifecycle has thirteen. What a command does once and not by the thousand goes by that
//! cache all the same.

use std::cell::RefCell;

use rusqlite::{Connection, Params, PrepFlags, Row, Statement};

use crate::error::Failure;

/// Does something with a statement.
type Act<'a> = dyn FnMut(&mut Statement<'_>) -> Result<(), Failure> + 'a;

/// The statements of a connection, whose life is nobody's concern.
pub(crate) trait Statements {
    /// Does something with the statement of this text.
    ///
    /// # Errors
    /// If the text is not one of SQL that this database understands, and what is done with it may fail.
    fn with(&self, sql: &'static str, act: &mut Act<'_>) -> Result<(), Failure>;
}

impl dyn Statements + '_ {
    /// Runs a statement that gives no rows, and says how many it has changed.
    pub(crate) fn execute(&self, sql: &'static str, params: impl Params) -> Result<usize, Failure> {
        let (mut params, mut changed) = (Some(params), 0);
        self.with(sql, &mut |statement| {
            if let Some(params) = params.take() {
                changed = statement.execute(params)?;
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Reads the rows of a query while `read` gives something; gives that.
    pub(crate) fn query<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<Option<T>, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let (mut params, mut found) = (Some(params), Vec::new());
        self.with(sql, &mut |statement| {
            let Some(params) = params.take() else { return Ok(()) };
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()?
                && let Some(one) = read(row)?
            {
                found.push(one);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads the first row of a query, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let (mut params, mut found) = (Some(params), None);
        self.with(sql, &mut |statement| {
            let Some(params) = params.take() else { return Ok(()) };
            found = statement.query(params)?.next()?.map(&mut read).transpose()?;
            Ok(())
        })?;
        Ok(found)
    }
}

/// The statements of one connection.
pub(crate) struct Held<'c> {
    db: &'c Connection,
    /// They are few, so that going through them is quicker than any hash.
    statements: RefCell<Vec<(&'static str, Option<Statement<'c>>)>>,
}

impl<'c> Held<'c> {
    /// None is compiled yet.
    pub(crate) fn new(db: &'c Connection) -> Self {
        Self { db, statements: RefCell::new(Vec::with_capacity(32)) }
    }

    fn place(&self, sql: &'static str) -> Option<usize> {
        self.statements.borrow().iter().position(|(text, _)| std::ptr::eq(*text, sql))
    }
}

impl Statements for Held<'_> {
    fn with(&self, sql: &'static str, act: &mut Act<'_>) -> Result<(), Failure> {
        // One that is at work is taken out, so that whoever needs it meanwhile has it compiled once more.
        let held = self.place(sql).and_then(|place| self.statements.borrow_mut()[place].1.take());
        let mut statement = match held {
            Some(statement) => statement,
            // Not in the memory that SQLite keeps at hand for what is short-lived: it would be used up.
            None => self.db.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?,
        };
        let done = act(&mut statement);
        match self.place(sql) {
            Some(place) => self.statements.borrow_mut()[place].1 = Some(statement),
            None => self.statements.borrow_mut().push((sql, Some(statement))),
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "INSERT INTO one (n) VALUES (?1)";
    const ALL: &str = "SELECT n FROM one ORDER BY n";

    fn number(row: &Row<'_>) -> Result<i64, Failure> {
        Ok(row.get(0)?)
    }

    #[test]
    fn a_statement_is_compiled_once_and_may_be_needed_while_it_is_at_work() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE one (n INTEGER PRIMARY KEY)").unwrap();
        let held = Held::new(&db);
        let statements: &dyn Statements = &held;
        for n in 0..3 {
            assert_eq!(statements.execute(ADD, [n]).unwrap(), 1);
        }
        let sums = statements.query(ALL, [], |row| {
            let rest = statements.query(ALL, [], |row| number(row).map(Some))?;
            Ok(Some(number(row)? + rest.iter().sum::<i64>()))
        });
        assert_eq!(sums.unwrap(), [3, 4, 5]);
        assert_eq!(statements.first(ALL, [], number).unwrap(), Some(0));
        assert_eq!(held.statements.borrow().len(), 2);
    }

    #[test]
    fn a_statement_that_failed_is_as_before() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE one (n INTEGER PRIMARY KEY)").unwrap();
        let held = Held::new(&db);
        let statements: &dyn Statements = &held;
        statements.execute(ADD, [1]).unwrap();
        assert!(matches!(statements.execute(ADD, [1]), Err(Failure::Broken(_))));
        statements.execute(ADD, [2]).unwrap();
        assert!(statements.execute("SELECT nothing", []).is_err());
    }
}
