//! Who keeps the counts, and since when: noted with the table's settings.
//!
//! The stream keeps them by epochs. An epoch counts its members: tasks that were created since it began, and tasks that
//! were *touched* for it, by one attribute that a rebuild sets on every older task. Whether a task is a member stands in
//! its image, so that what a record of the stream changes in an epoch follows from the record alone. While a rebuild
//! is under way there are two epochs, and both are counted; readers see the current one until it is replaced as a whole.

use baton_model::Timestamp;
use baton_store::StoreError;

use crate::attr::{Fields, Item};
use crate::db::Db;
use crate::keys;
use crate::stats::news::Image;

/// The attributes of the table's settings.
pub(crate) mod attribute {
    /// The number of the epoch that readers see.
    pub(crate) const CURRENT: &str = "se";
    /// Since when its tasks are members by their creation.
    pub(crate) const CURRENT_SINCE: &str = "sb";
    /// The number of the epoch that a rebuild fills.
    pub(crate) const NEXT: &str = "sn";
    /// Since when its tasks are members by their creation.
    pub(crate) const NEXT_SINCE: &str = "sm";
    /// The last number that was given to an epoch.
    pub(crate) const LAST: &str = "sl";
}

/// The attribute of a task that says for which epoch it was touched last.
pub(crate) const TOUCHED: &str = "te";

/// One counting from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    /// Tasks created then or later are members from the first.
    pub(crate) since: Timestamp,
}

impl Epoch {
    /// Whether a task counts, as an image shows it.
    pub(crate) fn counts(&self, image: &Image) -> bool {
        image.touched >= self.number || image.created_at >= self.since
    }
}

/// The epochs that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The one that readers see; none if the processes keep the counts.
    pub(crate) current: Option<Epoch>,
    /// The one that a rebuild fills.
    pub(crate) next: Option<Epoch>,
    /// The last number that was given.
    pub(crate) last: u32,
}

impl Epochs {
    /// Reads the table's settings.
    pub(crate) fn read(meta: &Item) -> Result<Self, StoreError> {
        let fields = Fields(meta);
        let epoch = |number, since| -> Result<Option<Epoch>, StoreError> {
            let Some(number) = fields.maybe_number(number)? else { return Ok(None) };
            Ok(Some(Epoch { number, since: fields.time(since)? }))
        };
        Ok(Self {
            current: epoch(attribute::CURRENT, attribute::CURRENT_SINCE)?,
            next: epoch(attribute::NEXT, attribute::NEXT_SINCE)?,
            last: fields.maybe_number(attribute::LAST)?.unwrap_or(0),
        })
    }

    /// Those that a record of the stream is counted for.
    pub(crate) fn all(&self) -> impl Iterator<Item = Epoch> {
        self.current.into_iter().chain(self.next)
    }

    /// The latest that there is: a task that is put into the table with an old time of creation is touched for it.
    pub(crate) fn latest(&self) -> Option<u32> {
        self.all().map(|epoch| epoch.number).max()
    }
}

impl Db {
    /// The epochs as of now.
    pub(crate) async fn epochs(&self) -> Result<Epochs, StoreError> {
        let meta = self.get(keys::meta("table")).await?;
        meta.as_ref().map_or_else(|| Ok(Epochs::default()), Epochs::read)
    }
}
