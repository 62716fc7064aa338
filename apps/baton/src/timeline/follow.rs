//! `baton timeline --follow`: what happens from now on.
//!
//! Entries come from several sources, each with an order of its own, and some are changed after they were made (a request is noted
//! before it is answered). So each look begins with the newest entries, and those are told that were not there the look before.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::timeline::TimelineView;
use baton_client::{Client, TimelineQuery};
use baton_model::{Source, Timestamp, limits};
use tokio::time::sleep;

use super::newest;
use crate::context::Context;
use crate::exit::Failure;

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How much older than the newest entry one may be that is still told.
const WINDOW: Duration = Duration::from_secs(300);
/// How many pages a look takes in at most.
const PAGES: usize = 20;
/// How long a server that is restarting is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the newest `limit` entries that fit, and then those that come, until asking or telling fails.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    query: &TimelineQuery,
    limit: usize,
    tell: impl Fn(&TimelineView) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = client.with_deadline(PATIENCE);
    let mut told = Told::default();
    // What is there already and does not fit into `limit` must not be told later as if it were new.
    let last = newest(&client, &TimelineQuery { from: None, ..query.clone() }, 1).await?;
    told.from = last.first().map(|last| last.at.min(context.now()).minus(WINDOW));
    drop(told.look(&client, query).await?);
    let first = newest(&client, query, limit).await?;
    first.iter().try_for_each(&tell)?;
    drop(told.new_of(first, &mut BTreeMap::new()));
    loop {
        sleep(EVERY).await;
        let new = told.look(&client, query).await?;
        new.iter().rev().try_for_each(&tell)?;
        told.forget(context.now());
    }
}

/// How many there are of each entry: log lines may be the same to the last letter, and are two all the same.
type Entries = BTreeMap<(Timestamp, String), usize>;

/// The entries that were told and may be seen again.
#[derive(Debug, Default)]
struct Told {
    entries: Entries,
    /// The entries that a look takes in are no older; none were there at the beginning if it is not set.
    from: Option<Timestamp>,
}

impl Told {
    /// The entries that were not there the look before, the newest first.
    async fn look(&mut self, client: &Client, query: &TimelineQuery) -> Result<Vec<TimelineView>, Failure> {
        let mut query = TimelineQuery { from: self.from, limit: Some(limits::PAGE), ..query.clone() };
        let (mut seen, mut all) = (Entries::new(), Vec::new());
        for _ in 0..PAGES {
            let page = client.timeline(&query).await?;
            let was_empty = page.items.is_empty();
            let new = self.new_of(page.items, &mut seen);
            let known = new.is_empty() && !was_empty;
            all.extend(new);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || known {
                break;
            }
        }
        Ok(all)
    }

    /// Of the entries of a page, those that were not there before; they count as told from then on. What the look has seen so far
    /// is in `seen`.
    fn new_of(&mut self, page: Vec<TimelineView>, seen: &mut Entries) -> Vec<TimelineView> {
        let mut new = Vec::new();
        for entry in page {
            let key = (entry.at, identity(&entry));
            let seen = seen.entry(key.clone()).or_default();
            *seen += 1;
            let told = self.entries.entry(key).or_default();
            if *seen > *told {
                *told = *seen;
                new.push(entry);
            }
        }
        new
    }

    /// Moves the window on, and forgets what has left it. A clock that is ahead does not move it.
    fn forget(&mut self, now: Timestamp) {
        let newest = self.entries.last_key_value().map(|((at, _), _)| (*at).min(now).minus(WINDOW));
        self.from = self.from.max(newest);
        if let Some(from) = self.from {
            self.entries = self.entries.split_off(&(from, String::new()));
        }
    }
}

/// All of an entry by which it differs from others of its moment, and which does not change.
fn identity(entry: &TimelineView) -> String {
    let task = entry.task_id.map(|task| task.to_string()).unwrap_or_default();
    let what = match entry.source {
        Source::Event => entry.details["seq"].to_string(),
        Source::Audit => format!("{} {}", entry.details["request_id"], entry.details["target"]),
        _ => format!("{:?} {} {}", entry.worker_id, entry.message, entry.details),
    };
    format!("{} {task} {what}", entry.source.as_str())
}
