//! What `manage-tasks` is asked and answers of bulk commands: one command for all tasks of a filter.

use std::collections::BTreeMap;

use baton_model::{
    Bulk, BulkAction, BulkFilter, BulkId, BulkState, BulkTasks, Expected, Label, ProjectId, QueueName,
    Status, TaskId, TaskType, Timestamp, WorkerId,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::change::{ChangeRequest, read_change};
use crate::fields::{Fields, ReadFields, boolean, describe, list, parsed, text};
use crate::text::NOTE_CHARS;

/// What is done to each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Calls it off.
    Cancel,
    /// Puts it back into its queue.
    Retry,
    /// Changes how it is to be run.
    Change,
    /// Removes it, if it has ended.
    Delete,
}

impl Do {
    const ALL: [Self; 4] = [Self::Cancel, Self::Retry, Self::Change, Self::Delete];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }

    fn read(raw: &RawValue) -> Result<Self, Expected> {
        let name = serde_json::from_str::<String>(raw.get()).ok();
        let found = name.and_then(|name| Self::ALL.into_iter().find(|one| one.as_str() == name));
        found.ok_or_else(|| Expected::new("cancel, retry, change or delete", describe(raw)))
    }
}

impl Serialize for Do {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What is to be changed, as in `PATCH /v1/tasks/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = BulkWith)]
pub struct WithRequest(pub ChangeRequest);

impl ReadFields for WithRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        read_change(f).map(Self)
    }
}

/// Which tasks: those that fit every field that is there. At least one is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = BulkFilter)]
pub struct FilterRequest {
    /// One of these statuses, as of the command's making. If left out, those that it may be done to: what waits and runs for `cancel`, what
    /// waits for `change`, what failed and was cancelled for `retry`, what has ended for `delete`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub status: Vec<Status>,
    /// Of this type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub task_type: Option<TaskType>,
    /// In this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// Of this project.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// Of this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<Label>,
    /// Assigned by this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub assigned_by: Option<Label>,
    /// Held, or last held, by this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker: Option<WorkerId>,
    /// Created at this time or later, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub created_from: Option<Timestamp>,
    /// Created before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub created_before: Option<Timestamp>,
}

impl ReadFields for FilterRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let status = f.optional("status", list(1..=Status::ALL.len(), parsed));
        let task_type = f.optional("type", parsed);
        let queue = f.optional("queue", parsed);
        let project = f.optional("project", parsed);
        let domain = f.optional("domain", parsed);
        let assigned_by = f.optional("assigned_by", parsed);
        let worker = f.optional("worker", parsed);
        let created_from = f.optional("created_from", parsed);
        let created_before = f.optional("created_before", parsed);
        Some(Self {
            status: status?.unwrap_or_default(),
            task_type: task_type?,
            queue: queue?,
            project: project?,
            domain: domain?,
            assigned_by: assigned_by?,
            worker: worker?,
            created_from: created_from?,
            created_before: created_before?,
        })
    }
}

impl From<FilterRequest> for BulkFilter {
    fn from(filter: FilterRequest) -> Self {
        let FilterRequest {
            status,
            task_type,
            queue,
            project,
            domain,
            assigned_by,
            worker,
            created_from,
            created_before,
        } = filter;
        let statuses = status;
        Self {
            statuses,
            task_type,
            queue,
            project,
            domain,
            assigned_by,
            worker,
            created_from,
            created_before,
        }
    }
}

/// Does something to all tasks of a filter, or to those of these ids.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BulkRequest {
    /// `cancel`, `retry`, `change` or `delete`.
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    pub action: Do,
    /// For `change`: what is to be changed. A delay counts from the command's making.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<WithRequest>,
    /// Which tasks. Not with `ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterRequest>,
    /// Which tasks, 1 to 1,000. Not with `filter`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub ids: Vec<TaskId>,
    /// Whether to count only how many tasks it would look at; of ids, those that there are and whose state it may be done to. `false` if
    /// left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub dry_run: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for BulkRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let action = f.required("do", Do::read);
        let with = f.optional_object::<WithRequest>("with", &());
        let filter = f.optional_object::<FilterRequest>("filter", &());
        let ids = f.optional("ids", list(1..=Bulk::IDS, parsed));
        let dry_run = f.optional("dry_run", boolean);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let request = Self {
            action: action?,
            with: with?,
            filter: filter?,
            ids: ids?.unwrap_or_default(),
            dry_run: dry_run?.unwrap_or_default(),
            by: by?,
            reason: reason?,
        };
        request.check(f).then_some(request)
    }
}

impl BulkRequest {
    /// Whether its parts fit together; notes what does not.
    fn check(&self, f: &mut Fields<'_>) -> bool {
        let some_filter = "at least one of status, type, queue, project, domain, assigned_by, worker, created_from and created_before";
        let is_about_all = self.filter.clone().is_some_and(|filter| BulkFilter::from(filter).is_empty());
        let nothing = self.with.as_ref().is_none_or(|with| with.0.change().is_empty());
        let wrong = match (self.action, &self.filter, self.ids.is_empty()) {
            (_, Some(_), false) => Some(("ids", "filter or ids, not both", "both")),
            (_, None, true) => Some(("filter", "a filter, or ids", "neither")),
            (_, Some(_), true) if is_about_all => {
                Some(("filter", some_filter, "an empty filter, which would be about all tasks"))
            }
            (Do::Change, ..) if nothing => Some(("with", "what is to be changed", "nothing")),
            (Do::Cancel | Do::Retry | Do::Delete, ..) if self.with.is_some() => {
                Some(("with", "nothing, unless `do` is change", "an object"))
            }
            _ => None,
        };
        if let Some((field, expected, got)) = wrong {
            f.refuse(field, Expected::new(expected, got));
        }
        wrong.is_none()
    }

    /// What it does to each task.
    pub fn bulk_action(&self) -> BulkAction {
        match self.action {
            Do::Cancel => BulkAction::Cancel,
            Do::Retry => BulkAction::Retry,
            Do::Delete => BulkAction::Delete,
            Do::Change => {
                BulkAction::Change(self.with.as_ref().map(|with| with.0.change()).unwrap_or_default())
            }
        }
    }

    /// Which tasks it is about.
    pub fn tasks(&self) -> BulkTasks {
        match &self.filter {
            Some(filter) => BulkTasks::Filter(filter.clone().into()),
            None => BulkTasks::Ids(self.ids.clone()),
        }
    }
}

/// How many tasks a bulk command would look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BulkCount)]
pub struct BulkCountView {
    /// So many tasks.
    pub matches: u64,
    /// Whether there are more: counting ends at 10,000, or after some seconds. Left out if that is all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// About how many there are then, by the statistics. Left out if that is all, and if the filter asks for more than queue, type and status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<u64>,
}

/// A bulk command, or, of a dry run, how many tasks it would look at.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BulkAnswer)]
pub enum BulkAnswerView {
    /// The command.
    Command(Box<BulkView>),
    /// Of a dry run.
    Count(BulkCountView),
}

/// A bulk command, with how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Bulk)]
pub struct BulkView {
    /// The command.
    #[schema(value_type = String, format = "uuid")]
    pub id: BulkId,
    /// `cancel`, `retry`, `change` or `delete`.
    #[serde(rename = "do")]
    pub action: String,
    /// What is changed, with times instead of delays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub with: Option<serde_json::Value>,
    /// Which tasks; left out if it is for ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<BulkFilter>,
    /// How many ids it names; left out if it is for a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u64>,
    /// `running`, `done` or `aborted`.
    #[schema(value_type = String)]
    pub state: BulkState,
    /// How many tasks were looked at.
    pub looked_at: u64,
    /// How many of these were changed.
    pub changed: u64,
    /// How many were not, by the reason: the state that did not allow it (`running`, `completed` …), `already`, `gone`, `key_held`,
    /// `dependency_failed`, `attempts_used`, `due_too_late`, `expired`, `history_full`, `waited_for` (unfinished tasks depend on it).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// When it was made; no task is touched that was created later.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ended_at: Option<Timestamp>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Bulk> for BulkView {
    fn from(bulk: Bulk) -> Self {
        let with = match &bulk.action {
            // What was read as JSON is written as JSON.
            BulkAction::Change(change) => serde_json::to_value(change).ok(),
            BulkAction::Cancel | BulkAction::Retry | BulkAction::Delete => None,
        };
        let (filter, ids) = match bulk.tasks {
            BulkTasks::Filter(filter) => (Some(filter), None),
            BulkTasks::Ids(ids) => (None, Some(ids.len() as u64)),
        };
        Self {
            id: bulk.id,
            action: bulk.action.as_str().to_owned(),
            with,
            filter,
            ids,
            state: bulk.state,
            looked_at: bulk.looked_at,
            changed: bulk.changed,
            skipped: bulk.skipped,
            created_at: bulk.created_at,
            ended_at: bulk.ended_at,
            by: bulk.by,
            reason: bulk.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<BulkRequest, BodyError> {
        BulkRequest::from_json(json, &())
    }

    #[test]
    fn a_bulk_command_comes_back_as_a_client_sends_it() {
        for json in [
            r#"{"do":"cancel","filter":{"queue":"a"}}"#,
            r#"{"do":"change","with":{"priority":"high","delay_seconds":0.0},"filter":{"status":["queued"],"type":"a"},"dry_run":true}"#,
            r#"{"do":"change","with":{"queue":"b"},"filter":{"queue":"a"}}"#,
            r#"{"do":"retry","ids":["01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"],"by":"ada","reason":"again"}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_its_field() {
        for (json, field) in [
            (r#"{"do":"cancel"}"#, "filter"),
            (r#"{"do":"cancel","filter":{}}"#, "filter"),
            (r#"{"do":"cancel","filter":{"queue":null}}"#, "filter"),
            (
                r#"{"do":"cancel","filter":{"queue":"a"},"ids":["01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]}"#,
                "ids",
            ),
            (r#"{"do":"cancel","ids":[]}"#, "ids"),
            (r#"{"do":"cancel","filter":{"queue":"a"},"with":{"priority":"low"}}"#, "with"),
            (r#"{"do":"change","filter":{"queue":"a"}}"#, "with"),
            (r#"{"do":"change","filter":{"queue":"a"},"with":{}}"#, "with"),
            (r#"{"do":"change","filter":{"queue":"a"},"with":{"queue":"b c"}}"#, "with.queue"),
            (r#"{"do":"change","filter":{"queue":"a"},"with":{"type":"b"}}"#, "with.type"),
            (r#"{"do":"drop","filter":{"queue":"a"}}"#, "do"),
            (r#"{"do":"cancel","filter":{"status":["waiting"]}}"#, "filter.status"),
        ] {
            match read(json) {
                Err(BodyError::Fields(errors)) => {
                    let fields: Vec<_> =
                        errors.iter().map(|FieldError { field, .. }| field.as_str()).collect();
                    assert_eq!(fields, [field], "{json}");
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
