//! Lists of what happened: the newest entries, and with `--follow` those that come from now on.
//!
//! An entry has no number of its own: it is kept by the time at which it came, by the clock of the server or the function that took it,
//! and these may differ; some are changed after they were made. So each look begins with the newest entries, and those are told that
//! were not there the look before.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::task::Page;
use baton_client::{Client, ClientError};
use baton_model::{Level, Timestamp, limits};
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use crate::context::Context;
use crate::exit::Failure;
use crate::when::{Shown, Times};
use crate::{pages, text};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How much earlier than the newest entry one may seem to have come that is still told: far more than clocks of functions differ.
const WINDOW: Duration = Duration::from_secs(300);
/// A look ends with the first page without a new entry, but each so many looks one goes through the whole window: an entry that
/// comes late may stand behind a page of entries that are known. Not each look: at 100 a second that were 30 requests.
const DEEP_EACH: u32 = 10;
/// How many pages a look takes in at most.
const PAGES: usize = 20;
/// How long a server that is restarting is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An entry of such a list.
pub(crate) trait Entry {
    /// When it came.
    fn came_at(&self) -> Timestamp;

    /// All by which it differs from others of its moment, and which does not change.
    fn identity(&self) -> String;
}

/// Which entries are asked for: not older than a time, behind a cursor, and how many at most.
pub(crate) type Asked = (Option<Timestamp>, Option<String>, u32);

/// How much of such a list is shown.
#[derive(Args)]
pub(crate) struct Recent {
    /// Only what is at least this grave: debug, info, warn or error.
    #[arg(long)]
    pub(crate) level: Option<Level>,
    /// Only what is not older than this, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// How many at most: the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on with what comes from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
}

impl Recent {
    /// Shows what `ask` gives, the newest last. `none` is said if that is nothing.
    pub(crate) async fn show<T: Entry + Serialize>(
        self,
        context: &Context,
        client: &Client,
        mut ask: impl AsyncFnMut(&Client, Asked) -> Result<Page<T>, ClientError>,
        tell: impl Fn(&T, &Times) -> Result<(), Failure>,
        none: &str,
    ) -> Result<(), Failure> {
        let (since, limit) = (self.since.map(|since| context.now().minus(since)), self.limit as usize);
        if self.follow {
            let times = self.shown.without_pager(context);
            let client = client.with_deadline(PATIENCE);
            let ask = async |asked| ask(&client, asked).await;
            return follow(context, (since, limit), ask, |entry| match context.out.is_json() {
                true => context.out.json_line(entry),
                false => tell(entry, &times),
            })
            .await;
        }
        let entries =
            pages::newest(limit, async |cursor, most| ask(client, (since, cursor, most)).await).await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": entries }));
        }
        let times = self.shown.begin(context);
        if entries.is_empty() {
            context.out.note(none);
        }
        entries.iter().try_for_each(|entry| tell(entry, &times))
    }
}

/// Tells the newest `limit` entries that are not older than `since`, and then those that come, until asking or telling fails.
async fn follow<T: Entry>(
    context: &Context,
    (since, limit): (Option<Timestamp>, usize),
    mut ask: impl AsyncFnMut(Asked) -> Result<Page<T>, ClientError>,
    tell: impl Fn(&T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut told = Told::default();
    // What is there already and does not fit into `limit` must not be told later as if it were new.
    let last = ask((None, None, 1)).await?.items;
    told.from = last.first().map(|last| last.came_at().min(context.now()).minus(WINDOW));
    drop(told.look(&mut ask, true).await?);
    // What has come since is told here or by the next look.
    let first = pages::newest(limit, async |cursor, most| ask((since, cursor, most)).await).await?;
    first.iter().try_for_each(&tell)?;
    drop(told.new_of(first, &mut BTreeMap::new()));
    for number in 1_u32.. {
        sleep(EVERY).await;
        let new = told.look(&mut ask, number.is_multiple_of(DEEP_EACH)).await?;
        new.iter().rev().try_for_each(&tell)?;
        told.forget(context.now());
    }
    Ok(())
}

/// How many there are of each entry: some may be the same to the last letter, and are two all the same.
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
    async fn look<T: Entry>(
        &mut self,
        ask: &mut impl AsyncFnMut(Asked) -> Result<Page<T>, ClientError>,
        deep: bool,
    ) -> Result<Vec<T>, Failure> {
        let (mut seen, mut all, mut cursor) = (Entries::new(), Vec::new(), None);
        for _ in 0..PAGES {
            let page = ask((self.from, cursor, limits::PAGE)).await?;
            // A page may be empty though there are more.
            let told_something = !page.items.is_empty();
            let new = self.new_of(page.items, &mut seen);
            let known = told_something && new.is_empty();
            all.extend(new);
            cursor = page.next_cursor;
            if cursor.is_none() || (known && !deep) {
                break;
            }
        }
        Ok(all)
    }

    /// Of the entries of a page, those that were not there before; they count as told from then on. What the look has seen so far
    /// is in `seen`.
    fn new_of<T: Entry>(&mut self, page: Vec<T>, seen: &mut Entries) -> Vec<T> {
        let mut new = Vec::new();
        for entry in page {
            let key = (entry.came_at(), entry.identity());
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    /// When it came, and what it says.
    type Line = (i64, u8);

    impl Entry for Line {
        fn came_at(&self) -> Timestamp {
            Timestamp::from_millis(self.0)
        }

        fn identity(&self) -> String {
            self.1.to_string()
        }
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_hide_the_lines_of_others() {
        let now = Timestamp::from_millis(100_000_000);
        let mut told = Told::default();
        told.new_of(vec![(200_000_000, 1)], &mut Entries::new());
        told.forget(now);
        assert_eq!(told.from, Some(now.minus(WINDOW)));
    }

    proptest! {
        /// Lines come in any order, some of them alike; each look sees all that have come.
        #[test]
        fn each_line_is_told_once_whenever_it_comes(looks in vec(vec((0_i64..4, 0_u8..3), 0..6), 1..6)) {
            let (mut told, mut come, mut seen) = (Told::default(), Vec::<Line>::new(), HashMap::<Line, usize>::new());
            for look in &looks {
                come.extend(look.iter().copied());
                for new in told.new_of(come.clone(), &mut Entries::new()) {
                    *seen.entry(new).or_insert(0) += 1;
                }
                let mut all = HashMap::new();
                for line in &come {
                    *all.entry(*line).or_insert(0) += 1;
                }
                prop_assert_eq!(&seen, &all);
            }
        }
    }
}
