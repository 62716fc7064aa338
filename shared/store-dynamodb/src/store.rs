//! The store: what all of its parts share, and how it is opened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use baton_model::{LeasePolicy, QueueName, Timestamp};
use baton_store::token::{AUDIT_KEPT, TOKENS};
use baton_store::{Doorbell, Health, Keeping, StoreError};

use crate::archive::ARCHIVED;
use crate::aside::Aside;
use crate::attr::Fields;
use crate::config::Kept;
use crate::db::Db;
use crate::error::damaged;
use crate::keys;
use crate::limit;
use crate::meter::Meter;
use crate::notes::Notes;
use crate::random::Random;
use crate::sightings::Sightings;
use crate::stats::Statistics;
use crate::stats::epoch::Epochs;
use crate::table::VERSION;
use crate::waited::Waited;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// When leases are lost.
    pub policy: LeasePolicy,
    /// Over how many shards the waiting tasks of a queue are spread; one for queues that are not named. A queue of one
    /// shard is claimed in exact order, and takes about 500 tasks a second.
    pub shards: BTreeMap<QueueName, u16>,
    /// Among how many of a shard's first tasks a claim picks, where a queue has several shards, so that claims at once
    /// do not want the same one.
    pub pick_among: usize,
    /// Where the store's randomness begins: the shards that claims begin at, pauses, and the marks of writes. Must
    /// differ between the processes that use a table.
    pub seed: u64,
    /// How long finished tasks are kept before DynamoDB removes them by itself; none for ever. The same in all processes
    /// that use a table.
    pub keep_finished: Option<Duration>,
    /// Whether finished tasks are removed by [`baton_store::ArchiveStore::remove_archived`] alone, whatever the table says. That all
    /// processes go by it, the table has to say: [`crate::DynamoStore::begin_archiving`].
    pub archived: bool,
    /// How long DynamoDB keeps log lines before it removes them by itself.
    pub keep_logs: Duration,
    /// How long DynamoDB keeps entries of the audit log before it removes them by itself.
    pub keep_audit: Duration,
    /// How many tokens there may be. The same in all processes that use a table.
    pub max_tokens: usize,
    /// How often counts are written; none for only when they are asked for, or [`crate::DynamoStore::flush`] is called.
    pub flush_every: Option<Duration>,
    /// Whether who asks for the store's health has a write tried, which is paid for.
    pub health_writes: bool,
    /// Whether a claim that finds nothing tells the table that somebody waits, so that others ring for what they make
    /// ([`crate::DynamoStore::is_waited_for`]).
    pub tells_waiting: bool,
    /// Who hears what requests cost.
    pub meter: Option<Arc<dyn Meter>>,
}

impl Options {
    /// The default policy, one shard a queue, finished tasks for 30 days, log lines for 48 hours, the audit log for 400 days, [`TOKENS`] tokens,
    /// counts once a second. The seed is the caller's to
    /// draw.
    pub fn seeded(seed: u64) -> Self {
        Self {
            policy: LeasePolicy::default(),
            shards: BTreeMap::new(),
            pick_among: 8,
            seed,
            keep_finished: Some(Duration::from_secs(30 * 86_400)),
            archived: false,
            keep_logs: Duration::from_secs(48 * 3_600),
            keep_audit: AUDIT_KEPT,
            max_tokens: TOKENS,
            flush_every: Some(Duration::from_secs(1)),
            health_writes: true,
            tells_waiting: false,
            meter: None,
        }
    }

    /// Over how many shards a queue's tasks are spread.
    pub(crate) fn shards_of(&self, queue: &QueueName) -> u64 {
        self.shards.get(queue).copied().map_or(1, |shards| u64::from(shards.max(1)))
    }
}

/// What the parts of an open store share.
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) options: Options,
    /// Over how many partitions each day is spread: the table's own setting.
    pub(crate) spread: u64,
    pub(crate) doorbell: Arc<dyn Doorbell>,
    pub(crate) notes: Notes,
    pub(crate) sightings: Sightings,
    pub(crate) stats: Statistics,
    pub(crate) limits: limit::Known,
    pub(crate) waited: Waited,
    /// How long what is over is kept, as it is at the moment.
    pub(crate) keeping: Kept,
    /// Whether the table says that its finished tasks are archived, as it was read last.
    archived: AtomicBool,
    /// The last day on which this process has noted that a task has a keeping of its own.
    own_keeping: AtomicI64,
}

impl Inner {
    pub(crate) async fn open(
        client: Client,
        table: String,
        options: Options,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<Self, StoreError> {
        let random = Arc::new(Mutex::new(Random::new(options.seed)));
        let aside = Aside::default();
        let db = Db { client, table, random, meter: options.meter.clone(), aside, commits: Arc::default() };
        let Some(meta) = db.get(keys::meta("table")).await? else {
            return Err(StoreError::Internal {
                what: format!(
                    "expected {} to be a table made by `baton table create`, got another",
                    db.table
                ),
                cause: None,
            });
        };
        let fields = Fields(&meta);
        let found = fields.number("ve")?;
        if found > VERSION {
            return Err(StoreError::NewerSchema { found, known: VERSION });
        }
        let spread = fields.number("sp")?;
        if spread == 0 || spread > 256 {
            return Err(damaged(format!(
                "expected a day to be spread over 1 to 256 partitions, got {spread}"
            )));
        }
        let (notes, stats) = (Notes::default(), Statistics::new(&Epochs::read(&meta)?));
        let (sightings, limits) = (Sightings::default(), limit::Known::default());
        let waited = Waited::default();
        let archived = AtomicBool::new(fields.has(ARCHIVED));
        let keeping = Kept::new(Keeping { finished: options.keep_finished, logs: options.keep_logs });
        Ok(Self {
            db,
            options,
            spread,
            doorbell,
            notes,
            sightings,
            stats,
            limits,
            waited,
            keeping,
            archived,
            own_keeping: AtomicI64::new(i64::MIN),
        })
    }

    /// Whether finished tasks are archived: by this process's own setting, or by the table's, as it was read last.
    pub(crate) fn is_archived(&self) -> bool {
        // Nothing else is read by it: no order is needed.
        self.options.archived || self.archived.load(Ordering::Relaxed)
    }

    /// Notes whether the table says that its finished tasks are archived.
    pub(crate) fn note_archived(&self, archived: bool) {
        self.archived.store(archived, Ordering::Relaxed);
    }

    /// Whether this process has not noted yet that tasks which come on this day have a keeping of their own.
    pub(crate) fn is_news_of_day(&self, now: Timestamp) -> bool {
        self.own_keeping.load(Ordering::Relaxed) < now.as_millis() / keys::DAY_MS
    }

    /// Notes that this is noted.
    pub(crate) fn note_day_of_own_keeping(&self, now: Timestamp) {
        self.own_keeping.fetch_max(now.as_millis() / keys::DAY_MS, Ordering::Relaxed);
    }

    /// Says whether the table can be read and written, by doing both: rights and limits of the two are apart. Where a write is
    /// not to be paid for, only whether it can be read.
    pub(crate) async fn health(&self) -> Health {
        let update = crate::expression::Expression::new().add("n", crate::attr::n(1));
        let write = async {
            if !self.options.health_writes {
                return None;
            }
            Some(crate::queue::unconditional(self.db.update(keys::meta("pulse"), &update).await).map(drop))
        };
        let read = async {
            let found = self.db.get(keys::meta("table")).await?;
            let missing = || StoreError::Gone { what: format!("the table {} is empty", self.db.table) };
            found.map(drop).ok_or_else(missing)
        };
        let (write, read) = tokio::join!(write, read);
        Health { read, write, sizes: None }
    }
}
