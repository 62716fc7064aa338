//! The table: made, and checked against what the store needs.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    PointInTimeRecoverySpecification, PointInTimeRecoveryStatus, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use baton_store::StoreError;

use crate::attr::{Item, n};
use crate::db::{INDEX, unbuilt};
use crate::ends::{DATED, ENDS};
use crate::error::store_error;
use crate::keys;
use crate::row::PROJECTED;
use crate::stats::epoch::attribute;

/// The version of the stored format.
pub const VERSION: u32 = 1;

/// How a table is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Over how many partitions the tasks of each day are spread, 1 to 256. One takes about 250 whole lifecycles a
    /// second; a list asks all of a day's. Fixed for the table's life.
    pub spread: u16,
    /// Whether continuous backups are kept (point-in-time recovery).
    pub recovery: bool,
    /// Who keeps the statistics of a new table; what is there keeps to what it has.
    pub statistics: KeptBy,
    /// How long to wait until the table can be used.
    pub patience: Duration,
}

/// Who keeps the statistics of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptBy {
    /// The processes that change tasks, as an estimate.
    #[default]
    Processes,
    /// Whoever reads the table's stream and has [`crate::DynamoStore::count`] count its records: each exactly once. To be
    /// chosen where somebody does. A table of tasks goes over to it by [`crate::DynamoStore::rebuild_statistics`].
    Stream,
}

impl Default for TableOptions {
    /// A spread of 8, backups on, statistics kept by processes, two minutes of patience.
    fn default() -> Self {
        let statistics = KeptBy::Processes;
        Self { spread: 8, recovery: true, statistics, patience: Duration::from_secs(120) }
    }
}

/// What is wrong with a table, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was expected and what came.
    pub what: String,
    /// Whether the store cannot work so; else it works, and something is missing around it.
    pub fatal: bool,
}

fn failed<E, R>(what: &'static str) -> impl Fn(SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    move |error| store_error(what, error, false)
}

/// Makes a table, or takes up the making of one that was begun: with its index, stream, removal of what has ended, and
/// backups. Billed by request.
///
/// # Errors
/// The engine's own, as what they mean to a caller.
pub async fn create(client: &Client, table: &str, options: TableOptions) -> Result<(), StoreError> {
    let made = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes()?))
        .set_key_schema(Some(schema("pk", "sk")?))
        .global_secondary_indexes(index()?)
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewAndOldImages)
                .build()
                .map_err(unbuilt)?,
        )
        .send()
        .await;
    match made {
        Ok(_) => {}
        Err(SdkError::ServiceError(service)) if service.err().is_resource_in_use_exception() => {}
        Err(error) => return Err(failed("making the table")(error)),
    }
    wait(client, table, options.patience).await?;

    let ends = client.describe_time_to_live().table_name(table).send().await;
    let ends = ends.map_err(failed("reading the table's time to live"))?.time_to_live_description;
    if ends.is_none_or(|ends| ends.attribute_name() != Some(ENDS)) {
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(ENDS).build();
        client
            .update_time_to_live()
            .table_name(table)
            .time_to_live_specification(specification.map_err(unbuilt)?)
            .send()
            .await
            .map_err(failed("switching on the table's time to live"))?;
    }
    if options.recovery {
        let specification =
            PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
        let switched = client
            .update_continuous_backups()
            .table_name(table)
            .point_in_time_recovery_specification(specification.map_err(unbuilt)?)
            .send()
            .await;
        if let Err(error) = switched {
            // Local engines have no backups; `check` tells that they are missing.
            tracing::warn!(table, code = error.code(), "the table's backups could not be switched on");
        }
    }
    let mut meta = keys::meta("table");
    meta.insert("ve".to_owned(), n(VERSION));
    meta.insert("sp".to_owned(), n(options.spread.clamp(1, 256)));
    // Every task that will ever end here is dated as it ends.
    meta.insert(DATED.to_owned(), n(1));
    if options.statistics == KeptBy::Stream {
        // All that will ever be in the table counts.
        meta.insert(attribute::CURRENT.to_owned(), n(1));
        meta.insert(attribute::CURRENT_SINCE.to_owned(), n(0));
        meta.insert(attribute::LAST.to_owned(), n(1));
    }
    let noted = client
        .put_item()
        .table_name(table)
        .set_item(Some(meta))
        .condition_expression("attribute_not_exists(pk)")
        .send()
        .await;
    match noted {
        Ok(_) => Ok(()),
        Err(SdkError::ServiceError(service)) if service.err().is_conditional_check_failed_exception() => {
            Ok(())
        }
        Err(error) => Err(failed("noting the table's settings")(error)),
    }
}

/// Says what a table lacks of what the store needs, and what to do about it; nothing if it is as [`create`] makes it.
/// None if there is no such table.
///
/// # Errors
/// The engine's own, as what they mean to a caller.
pub async fn check(client: &Client, table: &str) -> Result<Option<Vec<Finding>>, StoreError> {
    let described = match client.describe_table().table_name(table).send().await {
        Ok(described) => described.table,
        Err(SdkError::ServiceError(service)) if service.err().is_resource_not_found_exception() => None,
        Err(error) => return Err(failed("describing the table")(error)),
    };
    let Some(described) = described else { return Ok(None) };
    let mut findings = Vec::new();
    if keys_of(described.key_schema()) != ["pk", "sk"] {
        findings.push(fatal(format!(
            "expected the keys pk and sk, got {:?}{ANOTHER}",
            keys_of(described.key_schema())
        )));
    }
    check_index(&described, &mut findings);
    let view = described.stream_specification().filter(|stream| stream.stream_enabled());
    if view.and_then(|stream| stream.stream_view_type()) != Some(&StreamViewType::NewAndOldImages) {
        findings.push(lacking(&format!(
            "expected a stream of new and old images, got none or another: events are not relayed; switch it on by \
             aws dynamodb update-table --table-name {table} --stream-specification \
             StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        )));
    }
    let ends = client.describe_time_to_live().table_name(table).send().await;
    let ends = ends.map_err(failed("reading the table's time to live"))?.time_to_live_description;
    let on = ends.filter(|ends| {
        matches!(ends.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
    });
    if on.as_ref().and_then(|ends| ends.attribute_name()) != Some(ENDS) {
        findings.push(lacking(
            "expected the time to live to be on for xp, got off: what has ended is never removed; run `baton table \
             create` again",
        ));
    }
    let backups = client.describe_continuous_backups().table_name(table).send().await;
    let recovery = backups
        .ok()
        .and_then(|backups| backups.continuous_backups_description)
        .and_then(|backups| backups.point_in_time_recovery_description?.point_in_time_recovery_status);
    if recovery != Some(PointInTimeRecoveryStatus::Enabled) {
        findings.push(lacking(
            "expected point-in-time recovery to be on, got off: the table cannot be set back; run `baton table create` \
             again (engines other than AWS have none)",
        ));
    }
    let key = Some(keys::meta("table"));
    let meta = client.get_item().table_name(table).set_key(key).consistent_read(true).send().await;
    if meta.map_err(failed("reading the table's settings"))?.item.is_none() {
        findings.push(fatal(
            "expected the table's settings, got none: finish it with `baton table create`".to_owned(),
        ));
    }
    Ok(Some(findings))
}

/// Who keeps the statistics of a table; none if it is no table of a store.
///
/// # Errors
/// The engine's own, as what they mean to a caller.
pub async fn kept_by(client: &Client, table: &str) -> Result<Option<KeptBy>, StoreError> {
    let key = Some(keys::meta("table"));
    let meta = client.get_item().table_name(table).set_key(key).consistent_read(true).send().await;
    let meta = meta.map_err(failed("reading the table's settings"))?.item;
    let kept_by = |meta: &Item| match meta.contains_key(attribute::CURRENT) {
        true => KeptBy::Stream,
        false => KeptBy::Processes,
    };
    Ok(meta.as_ref().map(kept_by))
}

/// What to do about what is fixed when a table is made.
const ANOTHER: &str = "; this cannot be changed: make a table of another name with `baton table create`, and move what is in this one with \
     `baton migrate`";

fn check_index(described: &TableDescription, findings: &mut Vec<Finding>) {
    let Some(index) =
        described.global_secondary_indexes().iter().find(|index| index.index_name() == Some(INDEX))
    else {
        findings.push(fatal(format!("expected an index named {INDEX}, got none{ANOTHER}")));
        return;
    };
    if keys_of(index.key_schema()) != ["ip", "is"] {
        findings.push(fatal(format!(
            "expected the index's keys ip and is, got {:?}{ANOTHER}",
            keys_of(index.key_schema())
        )));
    }
    let mut projected: Vec<_> =
        index.projection().iter().flat_map(|one| one.non_key_attributes()).map(String::as_str).collect();
    let mut wanted = PROJECTED.to_vec();
    projected.sort_unstable();
    wanted.sort_unstable();
    let all = index.projection().and_then(|one| one.projection_type()) == Some(&ProjectionType::All);
    if projected != wanted && !all {
        findings.push(fatal(format!("expected the index to hold {wanted:?}, got {projected:?}{ANOTHER}")));
    }
}

fn fatal(what: String) -> Finding {
    Finding { what, fatal: true }
}

fn lacking(what: &str) -> Finding {
    Finding { what: what.to_owned(), fatal: false }
}

fn keys_of(schema: &[KeySchemaElement]) -> Vec<&str> {
    schema.iter().map(KeySchemaElement::attribute_name).collect()
}

fn attributes() -> Result<Vec<AttributeDefinition>, StoreError> {
    let text = |name| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
    };
    ["pk", "sk", "ip", "is"].into_iter().map(text).collect::<Result<_, _>>().map_err(unbuilt)
}

fn schema(partition: &str, sort: &str) -> Result<Vec<KeySchemaElement>, StoreError> {
    let element = |(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let elements = [(partition, KeyType::Hash), (sort, KeyType::Range)];
    elements.into_iter().map(element).collect::<Result<_, _>>().map_err(unbuilt)
}

fn index() -> Result<GlobalSecondaryIndex, StoreError> {
    let projection = Projection::builder()
        .projection_type(ProjectionType::Include)
        .set_non_key_attributes(Some(PROJECTED.map(str::to_owned).into()))
        .build();
    GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .set_key_schema(Some(schema("ip", "is")?))
        .projection(projection)
        .build()
        .map_err(unbuilt)
}

/// Waits until the table can be used.
async fn wait(client: &Client, table: &str, patience: Duration) -> Result<(), StoreError> {
    const STEP: Duration = Duration::from_millis(500);
    let mut waited = Duration::ZERO;
    loop {
        let described = client.describe_table().table_name(table).send().await;
        let described = described.map_err(failed("describing the table"))?.table;
        if described.and_then(|table| table.table_status) == Some(TableStatus::Active) {
            return Ok(());
        }
        if waited >= patience {
            return Err(StoreError::Unavailable(
                format!("expected {table} to be active, got it still in the making").into(),
            ));
        }
        tokio::time::sleep(STEP).await;
        waited += STEP;
    }
}
