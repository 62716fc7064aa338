//! Rows that come from elsewhere in the program: from a database, or over the network. At most a few are held.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Next, Row, Rows};
use crate::exit::Failure;

/// How many rows may wait.
const WAITING: usize = 64;

/// Where rows are put in.
pub(crate) struct Feed(Sender<Result<Row, Failure>>);

/// Where they come out, in their order.
pub(crate) struct Piped {
    rows: Receiver<Result<Row, Failure>>,
    done: u64,
}

/// Both ends.
pub(crate) fn piped() -> (Feed, Piped) {
    let (feed, rows) = channel(WAITING);
    (Feed(feed), Piped { rows, done: 0 })
}

impl Feed {
    /// Puts a row in, or why there are no more; false if nobody takes any.
    pub(crate) fn put_blocking(&self, row: Result<Row, Failure>) -> bool {
        self.0.blocking_send(row).is_ok()
    }

    /// The same where threads must not wait.
    #[cfg(feature = "postgres")]
    pub(crate) async fn put(&self, row: Result<Row, Failure>) -> bool {
        self.0.send(row).await.is_ok()
    }
}

impl Rows for Piped {
    fn next(&mut self) -> Next {
        let Some(row) = self.rows.blocking_recv() else { return Ok(None) };
        let row = row?;
        self.done += 1;
        Ok(Some(Ok(row)))
    }

    fn done(&self) -> u64 {
        self.done
    }
}
