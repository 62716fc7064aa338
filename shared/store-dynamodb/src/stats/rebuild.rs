//! Making the statistics anew while everything runs: a new epoch is filled, and takes the place of the current one.
//!
//! Tasks that are created once it has begun are its members by their creation. All older ones are *touched*: one attribute
//! of each is set, which disturbs no other write, and whose record in the stream brings the task into the epoch in the
//! state that it is in at that very moment. Records before it do not count, and all after it do. So the epoch is exact
//! whatever happens meanwhile, once the stream has been read up to the last touch.
//!
//! Two spans of time make this safe. The epoch begins a little in the future, so that no process, by whatever clock, has
//! created a member of it before whoever counts can know of it. And tasks are looked for until nothing is found that
//! long after its beginning that no creation from before it can still be on its way.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_model::{QueueName, Timestamp};
use baton_store::StoreError;
use futures::StreamExt;
use futures::future::try_join_all;

use crate::attr::{Fields, Item, key, n, time};
use crate::db::{Query, Range};
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::keys::{self, Kind, ODD, ODD_PARTS};
use crate::stats::COUNTS;
use crate::stats::epoch::{Epoch, TOUCHED, attribute};
use crate::store::Inner;
use crate::transition::ROUNDS;

/// How many partitions are gone through at the same time.
const PARTITIONS_AT_ONCE: usize = 8;

/// How many tasks of a partition are touched at the same time: some hundred a second, which leaves the partition, good
/// for a thousand writes a second, to those who work.
const TOUCHES_AT_ONCE: usize = 4;

/// How a rebuild goes about it.
pub struct Rebuild<'a> {
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
    /// By how much the clocks of processes differ at most.
    pub skew: Duration,
    /// How long a creation takes at most from reading the clock to its last attempt to be written.
    pub delay: Duration,
    /// How often it is looked whether the stream was read on.
    pub poll: Duration,
    /// How long to wait for a stream that is not read on.
    pub patience: Duration,
}

impl<'a> Rebuild<'a> {
    /// Clocks that differ by 15 s, creations within 45 s, a look each second, two minutes of patience.
    pub fn new(clock: &'a (dyn Fn() -> Timestamp + Send + Sync)) -> Self {
        let seconds = Duration::from_secs;
        Self { clock, skew: seconds(15), delay: seconds(45), poll: seconds(1), patience: seconds(120) }
    }
}

impl std::fmt::Debug for Rebuild<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clock: _, skew, delay, poll, patience } = self;
        f.debug_struct("Rebuild")
            .field("skew", skew)
            .field("delay", delay)
            .field("poll", poll)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildProgress {
    /// It has begun; an earlier one that was not finished is over.
    Begun {
        /// Whether there was one.
        took_over: bool,
    },
    /// The stream is read.
    Heard,
    /// So many tasks are touched.
    Touched(u64),
    /// So many of the touched tasks are counted.
    Counted {
        /// How many.
        counted: u64,
        /// Of how many.
        touched: u64,
    },
    /// The new statistics are what readers see.
    Replaced,
}

/// What a rebuild has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The number of the epoch that readers see now.
    pub epoch: u32,
    /// How many tasks were touched; those that were created meanwhile were not.
    pub touched: u64,
}

/// Why statistics were not made anew; the former ones stand.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Nobody reads the table's stream, or who does has stopped.
    #[error(
        "expected the table's stream to be read, got nothing of it counted for {waited:.0?} ({counted} of {touched} tasks \
         are counted); see that relay-events is deployed, has the table's stream as its trigger and does not fail, then \
         run this again"
    )]
    Silent {
        /// How long nothing was counted.
        waited: Duration,
        /// How many touched tasks were counted.
        counted: u64,
        /// How many tasks were touched.
        touched: u64,
    },
    /// Another rebuild has begun.
    #[error(
        "expected to be the only one to make the statistics anew, got another that began later and goes on; wait for it"
    )]
    TakenOver,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was counted of an epoch so far.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Heard {
    tick: bool,
    counted: u64,
}

impl Inner {
    pub(crate) async fn rebuild(
        &self,
        rebuild: &Rebuild<'_>,
        mut tell: impl FnMut(RebuildProgress) + Send,
    ) -> Result<Rebuilt, RebuildError> {
        let (epoch, took_over) = self.begin_epoch(rebuild).await?;
        tell(RebuildProgress::Begun { took_over });
        match self.fill(rebuild, epoch, &mut tell).await {
            Ok(touched) => {
                self.replace_epoch(epoch).await?;
                tell(RebuildProgress::Replaced);
                // Who has read which epoch is current is still about to read its counts.
                tokio::time::sleep(rebuild.poll.max(rebuild.skew)).await;
                self.drop_epochs_before(epoch).await?;
                Ok(Rebuilt { epoch: epoch.number, touched })
            }
            Err(error) => {
                if !matches!(error, RebuildError::TakenOver)
                    && let Err(left) = self.abandon_epoch(epoch).await
                {
                    tracing::warn!(error = %left, "an epoch that is given up is still counted; run the rebuild again");
                }
                Err(error)
            }
        }
    }

    /// Begins an epoch; says whether another was not finished.
    async fn begin_epoch(&self, rebuild: &Rebuild<'_>) -> Result<(Epoch, bool), StoreError> {
        let mut took_over = false;
        for _ in 0..ROUNDS {
            let epochs = self.db.epochs().await?;
            let since = (rebuild.clock)().plus(rebuild.skew * 2);
            let epoch = Epoch { number: epochs.last + 1, since };
            let update = Expression::new()
                .when_present("ve")
                .when_still(attribute::LAST, (epochs.last > 0).then(|| n(epochs.last)))
                .set(attribute::LAST, n(epoch.number))
                .set(attribute::NEXT, n(epoch.number))
                .set(attribute::NEXT_SINCE, time(epoch.since));
            match self.db.update(keys::meta("table"), &update).await {
                Ok(_) => {
                    took_over |= epochs.next.is_some();
                    // By any process's clock, it was known of before it began; else it is begun once more.
                    if (rebuild.clock)().plus(rebuild.skew) <= epoch.since {
                        return Ok((epoch, took_over));
                    }
                    self.abandon_epoch(epoch).await?;
                }
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the table's settings"))
    }

    /// Brings all tasks into an epoch, and waits until they are counted; says how many it has touched.
    async fn fill(
        &self,
        rebuild: &Rebuild<'_>,
        epoch: Epoch,
        tell: &mut (impl FnMut(RebuildProgress) + Send),
    ) -> Result<u64, RebuildError> {
        // Before any task is written: that somebody listens.
        self.db.tick((rebuild.clock)(), Some(epoch.number)).await?;
        self.wait(rebuild, epoch, 0, &mut |_| {}).await?;
        tell(RebuildProgress::Heard);
        let mut touched = 0;
        // Most are found while creations from before the epoch may still be on their way; the rest after that.
        let mut more = |found| {
            touched += found;
            tell(RebuildProgress::Touched(touched));
        };
        self.touch_all(epoch, false, &mut more).await?;
        let settled = epoch.since.plus(rebuild.skew).plus(rebuild.delay);
        loop {
            self.still_ours(epoch).await?;
            let left = settled.since((rebuild.clock)());
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(rebuild.poll)).await;
        }
        while self.touch_all(epoch, true, &mut more).await? > 0 {
            self.still_ours(epoch).await?;
        }
        self.wait(rebuild, epoch, touched, tell).await?;
        Ok(touched)
    }

    /// Waits until the tick and all touched tasks are counted.
    async fn wait(
        &self,
        rebuild: &Rebuild<'_>,
        epoch: Epoch,
        touched: u64,
        tell: &mut (impl FnMut(RebuildProgress) + Send),
    ) -> Result<(), RebuildError> {
        let mut last = None;
        let mut since = tokio::time::Instant::now();
        loop {
            self.still_ours(epoch).await?;
            let heard = self.heard(epoch).await?;
            if heard.tick && heard.counted >= touched {
                return Ok(());
            }
            if last != Some(heard) {
                (last, since) = (Some(heard), tokio::time::Instant::now());
                tell(RebuildProgress::Counted { counted: heard.counted, touched });
            }
            let waited = since.elapsed();
            if waited >= rebuild.patience {
                return Err(RebuildError::Silent { waited, counted: heard.counted, touched });
            }
            tokio::time::sleep(rebuild.poll).await;
        }
    }

    async fn heard(&self, epoch: Epoch) -> Result<Heard, StoreError> {
        let (first, last) = keys::touched_of(epoch.number);
        let query = Query { range: Range::Within(first, last), ..Query::table("M") };
        let mut counted = 0;
        for item in self.db.query_whole(query).await?.items {
            counted += Fields(&item).number::<u64>("n")?;
        }
        let noted = self.db.get(keys::meta("counted")).await?;
        let ticked = noted.as_ref().map_or(Ok(None), |item| Fields(item).maybe_number::<u32>(TOUCHED))?;
        Ok(Heard { tick: ticked >= Some(epoch.number), counted })
    }

    async fn still_ours(&self, epoch: Epoch) -> Result<(), RebuildError> {
        match self.db.epochs().await?.next {
            Some(next) if next == epoch => Ok(()),
            _ => Err(RebuildError::TakenOver),
        }
    }

    /// Goes through all tasks and touches those that are no members of an epoch; says how many there were. `sure`: also
    /// those that were written a moment ago are looked at as they are.
    async fn touch_all(
        &self,
        epoch: Epoch,
        sure: bool,
        tell: &mut (impl FnMut(u64) + Send),
    ) -> Result<u64, StoreError> {
        let mut partitions = Vec::new();
        for day in self.days(Kind::Task).await? {
            let parts = if day == ODD { ODD_PARTS } else { self.spread };
            partitions.extend((0..parts).map(|part| keys::partition(Kind::Task, day, part)));
        }
        let mut found = 0;
        let pages = partitions.into_iter().map(|partition| self.touch_partition(epoch, partition, sure));
        let mut pages = futures::stream::iter(pages).buffer_unordered(PARTITIONS_AT_ONCE);
        while let Some(touched) = pages.next().await {
            let touched = touched?;
            found += touched;
            if touched > 0 {
                tell(touched);
            }
        }
        Ok(found)
    }

    async fn touch_partition(&self, epoch: Epoch, partition: String, sure: bool) -> Result<u64, StoreError> {
        let filter = Expression::new().when("ca", "<", time(epoch.since)).when_absent("pg").when_absent_or(
            TOUCHED,
            "<",
            n(epoch.number),
        );
        let mut query = Query { filter: Some(filter), consistent: sure, ..Query::table(partition) };
        let mut touched = 0;
        loop {
            let page = self.db.query(&query).await?;
            let touches = page.items.iter().map(|item| self.touch(epoch, item));
            let mut touches = futures::stream::iter(touches).buffer_unordered(TOUCHES_AT_ONCE);
            while let Some(done) = touches.next().await {
                touched += u64::from(done?);
            }
            drop(touches);
            if page.next.is_none() {
                return Ok(touched);
            }
            query.start = page.next;
        }
    }

    /// Touches a task; false if it is gone.
    async fn touch(&self, epoch: Epoch, task: &Item) -> Result<bool, StoreError> {
        let fields = Fields(task);
        let update = Expression::new()
            .when_present("pk")
            .when_absent("pg")
            .when_absent_or(TOUCHED, "<", n(epoch.number))
            .set(TOUCHED, n(epoch.number));
        match self.db.update(key(fields.text("pk")?, fields.text("sk")?), &update).await {
            Ok(_) => Ok(true),
            // The first sending of this very write went through, unless an import has replaced the task. A task that has
            // changed since is left out of the number, so that it is waited for one less and never for one too many.
            Err(WriteError::Condition(Some(item))) => {
                let now = Fields(&item);
                let same = now.maybe_number::<u32>("ev")? == fields.maybe_number("ev")? && !now.has("pg");
                Ok(same && now.maybe_number(TOUCHED)? == Some(epoch.number))
            }
            Err(WriteError::Condition(None)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Puts an epoch in the place of the current one.
    async fn replace_epoch(&self, epoch: Epoch) -> Result<(), RebuildError> {
        let update = Expression::new()
            .when(attribute::NEXT, "=", n(epoch.number))
            .set(attribute::CURRENT, n(epoch.number))
            .set(attribute::CURRENT_SINCE, time(epoch.since))
            .remove(attribute::NEXT)
            .remove(attribute::NEXT_SINCE);
        match self.db.update(keys::meta("table"), &update).await {
            Ok(_) => Ok(()),
            Err(WriteError::Condition(Some(item)))
                // The first sending of this very write went through.
                if Fields(&item).maybe_number(attribute::CURRENT)? == Some(epoch.number) =>
            {
                Ok(())
            }
            Err(WriteError::Condition(_)) => Err(RebuildError::TakenOver),
            Err(WriteError::Failed(error)) => Err(error.into()),
        }
    }

    /// Has an epoch that does not become whole counted no more.
    async fn abandon_epoch(&self, epoch: Epoch) -> Result<(), StoreError> {
        let update = Expression::new()
            .when(attribute::NEXT, "=", n(epoch.number))
            .remove(attribute::NEXT)
            .remove(attribute::NEXT_SINCE);
        match self.db.update(keys::meta("table"), &update).await {
            // Another has taken over, or the first sending of this very write went through.
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Removes the counts of earlier epochs, those of the processes, and how far rebuilds have come.
    async fn drop_epochs_before(&self, epoch: Epoch) -> Result<(), StoreError> {
        let mut queues = BTreeSet::new();
        for part in 0..keys::NAME_PARTS {
            for item in self.db.query_whole(Query::table(keys::queue_partition(part))).await?.items {
                queues.insert(QueueName::from_stored(Fields(&item).text("sk")?));
            }
        }
        let (current, _) = keys::counts_of(epoch.number);
        let mut places = vec![("M".to_owned(), keys::touched_of(0).0, keys::touched_of(epoch.number).1)];
        let named = (keys::named_types_of(0), keys::named_types_of(epoch.number - 1));
        for queue in &queues {
            places.push((keys::statistics(queue), COUNTS.to_owned(), current.clone()));
            places.push((keys::statistics(queue), named.0.clone(), named.1.clone()));
        }
        for places in places.chunks(PARTITIONS_AT_ONCE) {
            let queries = places.iter().map(|(partition, first, last)| {
                let range = Range::Within(first.clone(), last.clone());
                self.db.query_whole(Query { range, ..Query::table(partition) })
            });
            for found in try_join_all(queries).await? {
                let keys = found.items.iter().map(|item| {
                    let fields = Fields(item);
                    Ok(key(fields.text("pk")?, fields.text("sk")?))
                });
                self.db.delete_all(keys.collect::<Result<_, StoreError>>()?).await?;
            }
        }
        Ok(())
    }
}
