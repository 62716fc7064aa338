//! The audit log. Entries lie by their ids, which are UUIDv7s, so that they are in the order of time; DynamoDB removes
//! them at their end.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{AuditId, Label};
use baton_store::transfer::{ImportError, Verdict, audit_onto};
use baton_store::{AuditEntry, AuditFilter, Page, PageRequest, SettingChange, Settled, StoreError};

use crate::attr::{Fields, Item, n, s, time};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::newest::Wanted;
use crate::store::Inner;

/// How far the time that an entry's id names may be from its own, before a list bounded by time misses it.
const DISORDER: std::time::Duration = std::time::Duration::from_secs(600);

fn item(entry: &AuditEntry, ends: i64) -> Item {
    let mut item = keys::audit(entry.id);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("ca", time(entry.at));
    put("ac", s(&entry.action));
    put("ta", s(&entry.target));
    put("xp", n(ends));
    if let Some(token) = entry.token {
        put("tk", s(token.to_string()));
    }
    if let Some(name) = &entry.token_name {
        put("tn", s(name.as_str()));
    }
    if let Some(request) = &entry.request_id {
        put("rq", s(request));
    }
    if let Some(by) = &entry.by {
        put("by", s(by.as_str()));
    }
    if let Some(reason) = &entry.reason {
        put("re", s(reason));
    }
    if let Some(outcome) = entry.outcome {
        put("oc", n(outcome));
    }
    if let Some(change) = &entry.change {
        put("ch", changed(change));
    }
    item
}

/// What a setting was and is, as JSON.
fn changed(change: &SettingChange) -> AttributeValue {
    // Texts that may be left out are JSON whatever they hold.
    s(serde_json::to_string(change).unwrap_or_default())
}

/// Reads an entry's item.
pub(crate) fn read(item: &Item) -> Result<AuditEntry, StoreError> {
    let fields = Fields(item);
    let text = fields.text("sk")?;
    let bad = |what: &str, text: &str| damaged(format!("expected {what}, got {text}"));
    let token = fields.maybe_text("tk")?;
    Ok(AuditEntry {
        id: text.parse().map_err(|_| bad("an audit entry's id", text))?,
        at: fields.time("ca")?,
        action: fields.text("ac")?.to_owned(),
        target: fields.text("ta")?.to_owned(),
        token: token.map(|text| text.parse().map_err(|_| bad("a token's id", text))).transpose()?,
        token_name: fields.maybe_text("tn")?.map(Label::from_stored),
        request_id: fields.maybe_text("rq")?.map(str::to_owned),
        by: fields.maybe_text("by")?.map(Label::from_stored),
        reason: fields.maybe_text("re")?.map(str::to_owned),
        outcome: fields.maybe_number("oc")?,
        change: fields
            .maybe_text("ch")?
            .map(|text| serde_json::from_str(text).map_err(|_| bad("what was changed, as JSON", text)))
            .transpose()?,
    })
}

impl Inner {
    /// Adds an entry, unless one of its id is there: that one comes back then, if it is told.
    async fn add(&self, entry: &AuditEntry) -> Result<(), WriteError> {
        let ends = entry.at.plus(self.options.keep_audit).as_millis() / 1_000;
        self.db.put(item(entry, ends), Expression::new().when_absent("pk")).await
    }

    pub(crate) async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        match self.add(entry).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Takes in an entry that another store has read out.
    pub(crate) async fn import_audit(&self, record: &AuditEntry) -> Result<Verdict, ImportError> {
        let standing = match self.add(record).await {
            Ok(()) => return Ok(Verdict::New),
            Err(WriteError::Condition(Some(item))) => read(&item)?,
            Err(WriteError::Condition(None)) => return Err(contended("the audit entry").into()),
            Err(WriteError::Failed(error)) => return Err(error.into()),
        };
        let verdict = audit_onto(record, Some(&standing))?;
        // What is later is later by its outcome.
        if let (Verdict::Later, Some(outcome)) = (verdict, record.outcome) {
            let AuditEntry { by, reason, change, .. } = record.clone();
            self.settle(record.id, &Settled { outcome, by, reason, change }).await?;
        }
        Ok(verdict)
    }

    pub(crate) async fn settle(&self, id: AuditId, settled: &Settled) -> Result<(), StoreError> {
        let update = Expression::new()
            .when_present("pk")
            .set("oc", n(settled.outcome))
            .maybe("by", settled.by.as_ref().map(|by| s(by.as_str())))
            .maybe("re", settled.reason.as_ref().map(s))
            .maybe("ch", settled.change.as_ref().map(changed));
        match self.db.update(keys::audit(id), &update).await {
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    pub(crate) async fn audit(
        &self,
        filter: &AuditFilter,
        request: &PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let cursor = match &request.after {
            None => None,
            Some(cursor) => Some(cursor.0.parse::<AuditId>().map_err(|_| StoreError::BadCursor)?.to_string()),
        };
        let bound = filter.before.map(|before| keys::first_id(before.plus(DISORDER)));
        let below = match (cursor, bound) {
            (Some(cursor), Some(bound)) => Some(cursor.min(bound)),
            (one, other) => one.or(other),
        };
        let mut fits = Expression::new();
        if let Some(token) = filter.token {
            fits = fits.when("tk", "=", s(token.to_string()));
        }
        if let Some(action) = &filter.action {
            fits = fits.when("ac", "=", s(action));
        }
        if let Some(from) = filter.from {
            fits = fits.when("ca", ">=", time(from));
        }
        if let Some(before) = filter.before {
            fits = fits.when("ca", "<", time(before));
        }
        let wanted = Wanted {
            partitions: (0..keys::AUDIT_PARTS).map(keys::audit_partition).collect(),
            from: filter.from.map(|from| keys::first_id(from.minus(DISORDER))),
            below,
            filter: fits.condition().is_some().then_some(fits),
            consistent: false,
        };
        self.newest(wanted, request, read).await
    }
}
