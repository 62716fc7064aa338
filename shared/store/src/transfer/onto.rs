//! What taking in a record does to what stands in its place, for each kind but tasks and workers, and what goes into its sum.

use std::cmp::Ordering;

use baton_model::queue::Queue;
use baton_model::{Batch, Bulk, Limit, Schedule, StoredSettings, Supply, Timestamp, Token};

use super::record::{DocumentRecord, HappenedRecord, OrderRecord, Refusal, Verdict, sum_of};
use crate::limit::OwnedProject;
use crate::token::{AuditEntry, StoredToken};

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a queue.
///
/// # Errors
/// If the queue was paused or resumed in the target since.
pub fn queue_onto(record: &Queue, standing: Option<&Queue>) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record => Ok(Verdict::Same),
        Some(standing) if standing.changed_at <= record.changed_at => Ok(Verdict::Later),
        Some(standing) => Err(Refusal {
            record: format!("queue {}", record.name),
            why: format!(
                "expected it to be changed by {} at the latest, got {}: it is used in the target",
                record.changed_at, standing.changed_at
            ),
        }),
    }
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a caller's token: it is revoked once and for all, and its last use goes forward only.
///
/// # Errors
/// If what stands is another token, or was revoked or used in the target since: one that was revoked never becomes good
/// again.
pub fn token_onto(record: &StoredToken, standing: Option<&StoredToken>) -> Result<Verdict, Refusal> {
    let Some(standing) = standing else { return Ok(Verdict::New) };
    let refused = |why: String| Refusal { record: token_name(record), why };
    let as_made = |stored: &StoredToken| StoredToken {
        token: Token { revoked_at: None, last_used_at: None, ..stored.token.clone() },
        digest: stored.digest,
    };
    if as_made(record) != as_made(standing) {
        return Err(refused("expected no other token of this id in the target, got one".to_owned()));
    }
    let said = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
    let (ours, theirs) = (&record.token, &standing.token);
    if theirs.revoked_at.is_some() && theirs.revoked_at != ours.revoked_at {
        let (expected, got) = (said(ours.revoked_at), said(theirs.revoked_at));
        return Err(refused(format!(
            "expected its revocation ({expected}) to be the only one, got {got}: it was revoked in the target"
        )));
    }
    if theirs.last_used_at > ours.last_used_at {
        let (expected, got) = (said(ours.last_used_at), said(theirs.last_used_at));
        return Err(refused(format!(
            "expected its last use ({expected}) to be the latest, got {got}: it was used in the target"
        )));
    }
    Ok(if ours == theirs { Verdict::Same } else { Verdict::Later })
}

pub(super) fn token_name(stored: &StoredToken) -> String {
    format!("token {}", stored.token.id)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of an entry of the audit log: it is settled once.
///
/// # Errors
/// If what stands is another entry, or was settled in the target.
pub fn audit_onto(record: &AuditEntry, standing: Option<&AuditEntry>) -> Result<Verdict, Refusal> {
    let Some(standing) = standing else { return Ok(Verdict::New) };
    let refused = |why: String| Refusal { record: audit_name(record), why };
    let AuditEntry { by, reason, outcome, change, .. } = record.clone();
    if (AuditEntry { by, reason, outcome, change, ..standing.clone() }) != *record {
        return Err(refused("expected no other entry of this id in the target, got one".to_owned()));
    }
    match standing.outcome {
        theirs if theirs == record.outcome => Ok(Verdict::Same),
        None => Ok(Verdict::Later),
        Some(theirs) => {
            let ours = record.outcome.map_or("none".to_owned(), |outcome| outcome.to_string());
            Err(refused(format!("expected the outcome {ours}, got {theirs}: it was settled in the target")))
        }
    }
}

pub(super) fn audit_name(entry: &AuditEntry) -> String {
    format!("audit entry {}", entry.id)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a limit.
///
/// # Errors
/// If the limit was changed in the target since.
pub fn limit_onto(record: &Limit, standing: Option<&Limit>) -> Result<Verdict, Refusal> {
    let changed = |limit: &Limit| limit.changed_at;
    setting_onto(limit_name(record), record, standing, changed)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a project's owner.
///
/// # Errors
/// If the owner was changed in the target since.
pub fn owned_onto(record: &OwnedProject, standing: Option<&OwnedProject>) -> Result<Verdict, Refusal> {
    setting_onto(owned_name(record), record, standing, |owned| owned.changed_at)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a schedule: it only ever goes forward.
///
/// # Errors
/// If another was made in the target, or it was changed or has gone on there since.
pub fn schedule_onto(record: &Schedule, standing: Option<&Schedule>) -> Result<Verdict, Refusal> {
    let Some(standing) = standing else { return Ok(Verdict::New) };
    let seeds = (record.seed, standing.seed);
    let revisions = (record.revision, standing.revision);
    revised_onto(schedule_name(record), "schedule of this name", seeds, revisions, record.is(standing))
}

pub(super) fn schedule_name(schedule: &Schedule) -> String {
    format!("schedule {}", schedule.key)
}

/// As [`schedule_onto`], of a queue's supply.
///
/// # Errors
/// If another was set in the target, or it was changed or has refilled there since.
pub fn supply_onto(record: &Supply, standing: Option<&Supply>) -> Result<Verdict, Refusal> {
    let Some(standing) = standing else { return Ok(Verdict::New) };
    let seeds = (record.seed, standing.seed);
    let revisions = (record.revision, standing.revision);
    let is_same = record.next_index == standing.next_index;
    revised_onto(supply_name(record), "supply of this queue", seeds, revisions, is_same)
}

/// Of what is told apart by its seed and goes forward by revisions; each pair is the record's and that of what stands.
fn revised_onto(
    record: String,
    kind: &str,
    seeds: ([u8; 16], [u8; 16]),
    (ours, theirs): (u64, u64),
    is_same: bool,
) -> Result<Verdict, Refusal> {
    if seeds.0 != seeds.1 {
        return Err(Refusal { record, why: format!("expected no other {kind} in the target, got one") });
    }
    match theirs.cmp(&ours) {
        Ordering::Less => Ok(Verdict::Later),
        Ordering::Equal if is_same => Ok(Verdict::Same),
        Ordering::Equal | Ordering::Greater => {
            let why =
                format!("expected revision {ours} at most in the target, got {theirs}: it is used there");
            Err(Refusal { record, why })
        }
    }
}

pub(super) fn supply_name(supply: &Supply) -> String {
    format!("the supply of queue {}", supply.queue)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a batch.
///
/// # Errors
/// If it is another one in the target, or more has become of it there.
pub fn batch_onto(record: &Batch, standing: Option<&Batch>) -> Result<Verdict, Refusal> {
    let Some(standing) = standing else { return Ok(Verdict::New) };
    let came = |batch: &Batch| (batch.counts.tasks, batch.sealed_at, batch.made.map(|made| made.at));
    // One that had ended lives again when a task of it is put back.
    let ended_later = standing.ended_at > record.ended_at && record.ended_at.is_some();
    if batch_sum(record) == batch_sum(standing) {
        return Ok(Verdict::Same);
    }
    if standing.created_at == record.created_at && came(standing) <= came(record) && !ended_later {
        return Ok(Verdict::Later);
    }
    Err(Refusal {
        record: batch_name(record),
        why: format!(
            "expected it to be as the source has had it, got one of {} tasks: it is used in the target",
            standing.counts.tasks
        ),
    })
}

pub(super) fn batch_name(batch: &Batch) -> String {
    format!("batch {}", batch.id)
}

/// What goes into a sum of a batch: what follows it by its content, as text is read to within the last bit of a number.
pub(super) fn batch_sum(batch: &Batch) -> u128 {
    let then =
        batch.then.as_ref().map(|then| (then.on, &then.task.params, &then.task.task_type, &then.task.queue));
    sum_of(&(
        (batch.id, &batch.project, &batch.name, then, batch.created_at, &batch.created_by),
        (batch.sealed_at, batch.ended_at, batch.made, &batch.failures, batch.counts),
    ))
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of the settings, of which every store has some.
///
/// # Errors
/// If any was changed in the target since.
pub fn settings_onto(record: &StoredSettings, standing: &StoredSettings) -> Result<Verdict, Refusal> {
    match standing.version.cmp(&record.version) {
        _ if standing == record => Ok(Verdict::Same),
        _ if standing.is_none() => Ok(Verdict::New),
        Ordering::Less => Ok(Verdict::Later),
        Ordering::Equal | Ordering::Greater => {
            let (ours, theirs) = (record.version, standing.version);
            let why = format!(
                "expected fewer than {ours} changes of them in the target, got {theirs}: they were changed there"
            );
            Err(Refusal { record: settings_name(), why })
        }
    }
}

pub(super) fn settings_name() -> String {
    "the settings".to_owned()
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a bulk command: it only ever goes forward.
///
/// # Errors
/// If it has gone on in the target.
pub fn bulk_onto(record: &Bulk, standing: Option<&Bulk>) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record => Ok(Verdict::Same),
        Some(standing) if standing.version < record.version && standing.created_at == record.created_at => {
            Ok(Verdict::Later)
        }
        Some(standing) => {
            let (ours, theirs) = (record.version, standing.version);
            let why =
                format!("expected version {ours} at most in the target, got {theirs}: it has gone on there");
            Err(Refusal { record: bulk_name(record), why })
        }
    }
}

pub(super) fn bulk_name(bulk: &Bulk) -> String {
    bulk.mark()
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a document; `taken` is what a record of it said that was taken in last. A document
/// has no version: one that says something else than that was written by the target's own server.
///
/// # Errors
/// If it was written in the target.
pub fn document_onto(
    record: &DocumentRecord,
    standing: Option<&str>,
    taken: impl FnOnce(&str) -> bool,
) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record.value => Ok(Verdict::Same),
        Some(standing) if taken(&document_sum(standing)) => Ok(Verdict::Later),
        Some(_) => Err(Refusal {
            record: document_name(record),
            why: "expected it to say what the source has said, got another text: it is used in the target"
                .to_owned(),
        }),
    }
}

/// By what a text of a document is known again: 32 hexadecimal digits.
pub fn document_sum(value: &str) -> String {
    format!("{:032x}", sum_of(&value))
}

pub(super) fn document_name(document: &DocumentRecord) -> String {
    format!("the document {} of {}", document.name, document.kind)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of a part of the order of events; `standing` is what has any of its positions.
///
/// # Errors
/// If something else happened in the target at one of them.
pub fn order_onto(record: &OrderRecord, standing: Option<&OrderRecord>) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record => Ok(Verdict::Same),
        Some(standing) => Err(Refusal {
            record: order_name(record),
            why: format!(
                "expected no other events of these positions in the target, got {} from {} on: it is used there, or the source \
                 has removed some of them since",
                standing.events.len(),
                standing.first
            ),
        }),
    }
}

pub(super) fn order_name(order: &OrderRecord) -> String {
    format!("the order of events from position {} on", order.first)
}

/// As [`TaskRecord::onto`](super::TaskRecord::onto), of what the time line alone tells.
///
/// # Errors
/// If something else happened in the target at this place.
pub fn happened_onto(record: &HappenedRecord, standing: Option<&HappenedRecord>) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record => Ok(Verdict::Same),
        Some(_) => Err(Refusal {
            record: happened_name(record),
            why: "expected nothing else at this moment in the target, got something: it is used there"
                .to_owned(),
        }),
    }
}

pub(super) fn happened_name(happened: &HappenedRecord) -> String {
    format!("what happened at {}", happened.at)
}

fn setting_onto<T: PartialEq>(
    name: String,
    record: &T,
    standing: Option<&T>,
    changed_at: impl Fn(&T) -> Timestamp,
) -> Result<Verdict, Refusal> {
    match standing {
        None => Ok(Verdict::New),
        Some(standing) if standing == record => Ok(Verdict::Same),
        Some(standing) if changed_at(standing) <= changed_at(record) => Ok(Verdict::Later),
        Some(standing) => Err(Refusal {
            record: name,
            why: format!(
                "expected it to be changed by {} at the latest, got {}: it is used in the target",
                changed_at(record),
                changed_at(standing)
            ),
        }),
    }
}

pub(super) fn limit_name(limit: &Limit) -> String {
    format!("limit {}", limit.on)
}

pub(super) fn owned_name(owned: &OwnedProject) -> String {
    format!("the owner of project {}", owned.project)
}

/// What goes into a sum of a schedule: its task by its content, as text is read to within the last bit of a number.
pub(super) fn schedule_sum(schedule: &Schedule) -> u128 {
    let plan = &schedule.plan;
    sum_of(&(
        (&schedule.key, &plan.rhythm, plan.if_missed, plan.if_running, plan.starts_at, plan.ends_at),
        (plan.paused, plan.late_after, &plan.task.params, &plan.task.task_type, &plan.task.queue),
        (schedule.seed, schedule.anchor, schedule.next_at, schedule.last, schedule.created, schedule.skipped),
        (schedule.missed_at, schedule.revision, schedule.created_at, schedule.changed_at),
        (&schedule.changed_by, &schedule.reason),
    ))
}

/// What goes into a sum of a supply: its templates as those of schedules.
pub(super) fn supply_sum(supply: &Supply) -> u128 {
    let plan = &supply.plan;
    let templates: Vec<_> = plan
        .templates
        .iter()
        .map(|one| (one.weight, &one.task.params, &one.task.task_type, &one.task.project))
        .collect();
    sum_of(&(
        (&supply.queue, plan.min, plan.target, templates, plan.while_asked, plan.paused),
        (supply.seed, supply.next_index, supply.filling, supply.refilled_at, supply.revision),
        (supply.created_at, supply.changed_at, &supply.changed_by, &supply.reason),
    ))
}
