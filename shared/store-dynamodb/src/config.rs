//! Settings that are changed while servers run: one item, read whole, and written on the condition that it still is as it was read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::StoredSettings;
use baton_store::transfer::{ImportError, Record, Verdict, settings_onto};
use baton_store::{ConfigStore, Keeping, SetSetting, SettingsChanged, StoreError};

use crate::DynamoStore;
use crate::attr::{Fields, json, n, s};
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// How many changes there were, by which a change knows that there was no other meanwhile.
const VERSION: &str = "rv";

#[async_trait]
impl ConfigStore for DynamoStore {
    async fn set_setting(&self, set: SetSetting) -> Result<SettingsChanged, StoreError> {
        self.inner.set_setting(&set).await
    }

    async fn settings(&self) -> Result<StoredSettings, StoreError> {
        self.inner.stored_settings().await
    }

    fn keep(&self, keeping: Keeping) {
        self.inner.keeping.set(keeping);
    }
}

/// How long what is over is kept, as it is at the moment: it may change while the store is open.
pub(crate) struct Kept {
    /// In milliseconds; [`FOR_EVER`] for ever.
    finished: AtomicU64,
    logs: AtomicU64,
}

const FOR_EVER: u64 = u64::MAX;

impl Kept {
    pub(crate) fn new(keeping: Keeping) -> Self {
        let kept = Self { finished: AtomicU64::new(FOR_EVER), logs: AtomicU64::new(0) };
        kept.set(keeping);
        kept
    }

    // Each is a number by itself, and nothing else is read by it: no order is needed.
    fn set(&self, Keeping { finished, logs }: Keeping) {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(FOR_EVER);
        self.finished.store(finished.map_or(FOR_EVER, millis), Ordering::Relaxed);
        self.logs.store(millis(logs), Ordering::Relaxed);
    }

    /// Finished tasks; none for ever.
    pub(crate) fn finished(&self) -> Option<Duration> {
        let millis = self.finished.load(Ordering::Relaxed);
        (millis != FOR_EVER).then(|| Duration::from_millis(millis))
    }

    /// Log lines.
    pub(crate) fn logs(&self) -> Duration {
        Duration::from_millis(self.logs.load(Ordering::Relaxed))
    }
}

impl Inner {
    pub(crate) async fn stored_settings(&self) -> Result<StoredSettings, StoreError> {
        let item = self.db.get(keys::meta("settings")).await?;
        let settings = item.as_ref().map(|item| Fields(item).maybe_json("tx")).transpose()?.flatten();
        Ok(settings.unwrap_or_default())
    }

    async fn set_setting(&self, set: &SetSetting) -> Result<SettingsChanged, StoreError> {
        for _ in 0..ROUNDS {
            let from = self.stored_settings().await?;
            let to = from.changed(&set.key, set.to.as_deref(), &set.said);
            if from == to || self.write_settings(&from, &to).await? {
                return Ok(SettingsChanged { from, to });
            }
        }
        Err(contended("the settings"))
    }

    /// Writes settings in the place of what was read. Says whether they still stood so.
    async fn write_settings(&self, from: &StoredSettings, to: &StoredSettings) -> Result<bool, StoreError> {
        let update = Expression::new()
            .set("tx", s(json("the settings", to)?))
            .set(VERSION, n(to.version))
            .when_still(VERSION, (!from.is_none()).then(|| n(from.version)));
        match self.db.update(keys::meta("settings"), &update).await {
            Ok(_) => Ok(true),
            Err(WriteError::Condition(_)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// The settings as a record, if any were ever set.
    pub(crate) async fn export_settings(&self) -> Result<(Vec<Record>, bool), StoreError> {
        let settings = self.stored_settings().await?;
        let record = (!settings.is_none()).then(|| Record::Settings(Box::new(settings)));
        Ok((record.into_iter().collect(), false))
    }

    /// Takes the settings of another store in.
    pub(crate) async fn import_settings(&self, record: &StoredSettings) -> Result<Verdict, ImportError> {
        let standing = self.stored_settings().await?;
        let verdict = settings_onto(record, &standing)?;
        if verdict != Verdict::Same && !self.write_settings(&standing, record).await? {
            return Err(contended("the settings").into());
        }
        Ok(verdict)
    }
}
