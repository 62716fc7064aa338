//! Settings that are changed while servers run: one row, read whole.

use async_trait::async_trait;
use baton_model::StoredSettings;
use baton_store::transfer::{Refusal, Verdict, settings_onto};
use baton_store::{ConfigStore, SetSetting, SettingsChanged, StoreError};
use rusqlite::{Connection, OptionalExtension};

use crate::SqliteStore;
use crate::error::Failure;
use crate::rows::{from_json, to_json};
use crate::transaction::Transaction;

#[async_trait]
impl ConfigStore for SqliteStore {
    async fn set_setting(&self, set: SetSetting) -> Result<SettingsChanged, StoreError> {
        self.writer.run(set, self::set).await
    }

    async fn settings(&self) -> Result<StoredSettings, StoreError> {
        self.readers.run(all).await
    }
}

/// All that is set.
pub(crate) fn all(db: &Connection) -> Result<StoredSettings, Failure> {
    let mut statement = db.prepare_cached("SELECT body FROM setting WHERE n = 1")?;
    let body: Option<String> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(body.map(|body| from_json("the settings", &body)).transpose()?.unwrap_or_default())
}

fn write(transaction: &mut Transaction<'_>, settings: &StoredSettings) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT OR REPLACE INTO setting (n, body) VALUES (1, ?1)")?
        .execute([to_json("the settings", settings)?])?;
    Ok(())
}

fn set(transaction: &mut Transaction<'_>, set: &SetSetting) -> Result<SettingsChanged, Failure> {
    let from = all(transaction.db)?;
    let to = from.changed(&set.key, set.to.as_deref(), &set.said);
    if from != to {
        write(transaction, &to)?;
    }
    Ok(SettingsChanged { from, to })
}

/// Takes the settings of another store in.
pub(crate) fn import(
    transaction: &mut Transaction<'_>,
    record: &StoredSettings,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let verdict = settings_onto(record, &all(transaction.db)?);
    if matches!(verdict, Ok(Verdict::New | Verdict::Later)) {
        write(transaction, record)?;
    }
    Ok(verdict)
}
