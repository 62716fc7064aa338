//! What can go wrong on either side, and whether it passes.

use std::time::Duration;

use baton_client::ClientError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::exit::Failure;
use crate::postgres::Database;

/// Why the mirror could not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server did not answer as it should.
    Server(Box<ClientError>),
    /// The database did not.
    Database(Error),
    /// It cannot go on at all.
    Lasting(Failure),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

/// The classes of SQLSTATE that pass by themselves: connections, transactions that met others, a server without room or about to
/// start or end.
const PASSING: [&str; 4] = ["08", "40", "53", "57"];

impl Trouble {
    /// Whether trying again may help.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Server(error) => {
                error.is_passing() || error.problem().is_some_and(|problem| problem.status >= 500)
            }
            Self::Database(error) => {
                error.code().is_none_or(|code| PASSING.iter().any(|class| code.code().starts_with(class)))
            }
            Self::Lasting(_) => false,
        }
    }

    /// What is told of it in the end.
    pub(super) fn failure(self, database: &Database) -> Failure {
        match self {
            Self::Server(error) => Failure::Request(error),
            Self::Lasting(failure) => failure,
            Self::Database(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let said = error.as_db_error().map(|said| said.message().to_owned()).unwrap_or_default();
                Failure::failed(format!(
                    "{}: {said}; expected the right to make tables in the schema public, and to read and write public.tasks, \
                     public.baton_mirror and public.baton_mirror_task",
                    database.name()
                ))
            }
            Self::Database(error) => database.cannot("cannot write to", &error),
        }
    }

    /// What is told of it while it lasts.
    pub(super) fn told(&self, database: &Database) -> String {
        match self {
            Self::Server(error) => error.to_string(),
            Self::Database(error) => {
                format!("{} is out of reach: {}", database.name(), crate::postgres::told(error))
            }
            Self::Lasting(_) => String::new(),
        }
    }
}

/// Pauses that grow from half a second to half a minute.
pub(super) struct Pauses(Duration);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(500);
    const LAST: Duration = Duration::from_secs(30);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LAST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut pauses = Pauses::new();
        let seconds: Vec<f64> = (0..8).map(|_| pauses.next().as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    }
}
