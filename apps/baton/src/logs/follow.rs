//! `baton logs --follow`: the lines that come from now on.
//!
//! A log line has no number of its own: it is kept by the time at which it was received, by the clock of the server or the
//! function that did, and these may differ. So each look begins with the newest lines, and those are told that were not there
//! the look before.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::fleet::LogView;
use baton_client::{Client, LogQuery};
use baton_model::{Timestamp, limits};
use tokio::time::sleep;

use super::newest;
use crate::context::Context;
use crate::exit::Failure;

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How much earlier than the newest line one may seem to be received that is still told: far more than clocks of functions
/// differ.
const WINDOW: Duration = Duration::from_secs(300);
/// A look ends with the first page without a new line, but each so many looks one goes through the whole window: a line that
/// comes late may stand behind a page of lines that are known. Not each look: at 100 lines a second that were 30 requests.
const DEEP_EACH: u32 = 10;
/// How many pages a look takes in at most.
const PAGES: usize = 20;
/// How long a server that is restarting is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the newest `limit` lines that fit, and then those that come, until asking or telling fails.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    query: &LogQuery,
    limit: usize,
    tell: impl Fn(&LogView) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = client.with_deadline(PATIENCE);
    let mut told = Told::default();
    // What is there already and does not fit into `limit` must not be told later as if it were new.
    let last = newest(&client, LogQuery { from: None, ..query.clone() }, 1).await?;
    told.from = last.first().map(|last| last.received_at.min(context.now()).minus(WINDOW));
    drop(told.look(&client, query, true).await?);
    // What has come since is told here or by the next look.
    let first = newest(&client, query.clone(), limit).await?;
    first.iter().try_for_each(&tell)?;
    drop(told.new_of(first, &mut BTreeMap::new()));
    for number in 1_u32.. {
        sleep(EVERY).await;
        let new = told.look(&client, query, number.is_multiple_of(DEEP_EACH)).await?;
        new.iter().rev().try_for_each(&tell)?;
        told.forget(context.now());
    }
    Ok(())
}

/// How many there are of each line: some may be the same to the last letter, and are two all the same.
type Lines = BTreeMap<(Timestamp, String), usize>;

/// The lines that were told and may be seen again.
#[derive(Debug, Default)]
struct Told {
    lines: Lines,
    /// The lines that a look takes in are no older; none were there at the beginning if it is not set.
    from: Option<Timestamp>,
}

impl Told {
    /// The lines that were not there the look before, the newest first.
    async fn look(&mut self, client: &Client, query: &LogQuery, deep: bool) -> Result<Vec<LogView>, Failure> {
        let mut query = LogQuery { from: self.from, limit: Some(limits::PAGE), ..query.clone() };
        let (mut seen, mut all) = (Lines::new(), Vec::new());
        for _ in 0..PAGES {
            let page = client.logs(&query).await?;
            let new = self.new_of(page.items, &mut seen);
            let known = new.is_empty();
            all.extend(new);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || (known && !deep) {
                break;
            }
        }
        Ok(all)
    }

    /// Of the lines of a page, those that were not there before; they count as told from then on. What the look has seen
    /// so far is in `seen`.
    fn new_of(&mut self, page: Vec<LogView>, seen: &mut Lines) -> Vec<LogView> {
        let mut new = Vec::new();
        for line in page {
            let key = (line.received_at, identity(&line));
            let seen = seen.entry(key.clone()).or_default();
            *seen += 1;
            let told = self.lines.entry(key).or_default();
            if *seen > *told {
                *told = *seen;
                new.push(line);
            }
        }
        new
    }

    /// Moves the window on, and forgets what has left it. A clock that is ahead does not move it.
    fn forget(&mut self, now: Timestamp) {
        let newest = self.lines.last_key_value().map(|((at, _), _)| (*at).min(now).minus(WINDOW));
        self.from = self.from.max(newest);
        if let Some(from) = self.from {
            self.lines = self.lines.split_off(&(from, String::new()));
        }
    }
}

/// All of a line by which it differs from others of its moment.
fn identity(line: &LogView) -> String {
    let task = line.task_id.map(|task| task.to_string());
    let metadata = line.metadata.as_ref().map(|metadata| metadata.as_str());
    format!(
        "{:?}",
        (line.at, line.worker_id.as_str(), task, line.level.as_str(), &line.source, &line.message, metadata)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use baton_model::Level;
    use proptest::collection::vec;
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn line(at: i64, message: u8) -> LogView {
        LogView {
            at: Timestamp::from_millis(at),
            received_at: Timestamp::from_millis(at),
            worker_id: "w1".parse().unwrap(),
            task_id: None,
            level: Level::Info,
            source: "stderr".to_owned(),
            message: message.to_string(),
            metadata: None,
        }
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_hide_the_lines_of_others() {
        let now = Timestamp::from_millis(100_000_000);
        let mut told = Told::default();
        told.new_of(vec![line(200_000_000, 1)], &mut Lines::new());
        told.forget(now);
        assert_eq!(told.from, Some(now.minus(WINDOW)));
    }

    proptest! {
        /// Lines come in any order, some of them alike; each look sees all that have come.
        #[test]
        fn each_line_is_told_once_whenever_it_comes(looks in vec(vec((0_i64..4, 0_u8..3), 0..6), 1..6)) {
            let (mut told, mut come, mut seen) = (Told::default(), Vec::new(), HashMap::new());
            for look in &looks {
                come.extend(look.iter().copied());
                let page = come.iter().map(|&(at, message)| line(at, message)).collect();
                for new in told.new_of(page, &mut Lines::new()) {
                    *seen.entry((new.at.as_millis(), new.message)).or_insert(0) += 1;
                }
                let mut all = HashMap::new();
                for (at, message) in &come {
                    *all.entry((*at, message.to_string())).or_insert(0) += 1;
                }
                prop_assert_eq!(&seen, &all);
            }
        }
    }
}
