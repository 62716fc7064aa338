//! A task as a row of the table, in texts that PostgreSQL reads.

use std::borrow::Cow;

use baton_api::task::TaskView;
#[cfg(feature = "dialects")]
use baton_model::Label;
use baton_model::{Payload, Status, TaskId, Timestamp};

/// A column of the table `tasks`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its type, as PostgreSQL names it.
    pub(super) kind: &'static str,
    /// What it is given where it is made, besides its type.
    pub(super) more: &'static str,
    /// Whether it may be null in a task.
    pub(super) nullable: bool,
    /// Whether a table that was there before may lack it.
    pub(super) optional: bool,
}

const fn column(name: &'static str, kind: &'static str, more: &'static str) -> Column {
    Column { name, kind, more, nullable: false, optional: false }
}

const fn nullable(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, more: "", nullable: true, optional: false }
}

const fn lease(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, more: "", nullable: true, optional: true }
}

/// The name of the type of `status`.
pub(super) const ENUM: &str = "taskstatus";

/// Its values, in their order.
pub(super) const STATUSES: [&str; 7] =
    ["created", "queued", "running", "completed", "failed", "cancelled", "retry"];

/// The statuses of a task that has not ended.
pub(super) const UNFINISHED: [Status; 5] =
    [Status::Blocked, Status::Created, Status::Queued, Status::Retry, Status::Running];

const TIME: &str = "timestamp with time zone";

/// How many columns there are.
pub(super) const COUNT: usize = 18;

/// The columns, in the order of [`Row::cells`].
pub(super) const COLUMNS: [Column; COUNT] = [
    column("id", "uuid", "PRIMARY KEY"),
    column("status", ENUM, "NOT NULL DEFAULT 'created'"),
    column("type", "text", "NOT NULL"),
    nullable("description", "text"),
    nullable("domain", "text"),
    column("drift_score", "double precision", "NOT NULL DEFAULT 0.0"),
    column("attempts", "integer", "NOT NULL DEFAULT 0"),
    nullable("locked_by", "text"),
    nullable("locked_at", TIME),
    nullable("run_after", TIME),
    column("params", "jsonb", "NOT NULL DEFAULT '{}'"),
    nullable("result", "jsonb"),
    nullable("error", "text"),
    column("created_at", TIME, "NOT NULL DEFAULT now()"),
    column("updated_at", TIME, "NOT NULL DEFAULT now()"),
    lease("owner_id", "text"),
    lease("lease_expires_at", TIME),
    lease("last_heartbeat", TIME),
];

/// The places of the columns that hold JSON.
pub(super) const JSON: [usize; 2] = [10, 11];

/// What a task is called, in the words of whoever created it.
#[derive(Debug)]
struct Words<'a> {
    task_type: Cow<'a, str>,
    description: Option<Cow<'a, str>>,
    domain: Option<Cow<'a, str>>,
    params: Cow<'a, str>,
}

impl<'a> Words<'a> {
    fn of(task: &'a TaskView) -> Self {
        Self::kept(task).unwrap_or_else(|| Self {
            task_type: task.task_type.as_str().into(),
            description: task.description.as_deref().map(Cow::Borrowed),
            domain: task.domain.as_ref().map(|domain| domain.as_str().into()),
            params: task.params.as_str().into(),
        })
    }

    /// What the dialect of the table's clients has kept of them.
    #[cfg(feature = "dialects")]
    fn kept(task: &TaskView) -> Option<Self> {
        if task.queue != baton_dialect_task_table::queue() {
            return None;
        }
        let domain = task.domain.as_ref().map(Label::as_str);
        let said = baton_dialect_task_table::said(
            task.task_type.as_str(),
            task.description.as_deref(),
            domain,
            task.params.as_str(),
        )?;
        Some(Self {
            task_type: said.task_type.into(),
            description: said.description.map(Cow::Owned),
            domain: said.domain.map(Cow::Owned),
            params: said.params.into(),
        })
    }

    #[cfg(not(feature = "dialects"))]
    fn kept(_: &TaskView) -> Option<Self> {
        None
    }
}

/// A task as it was read.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: TaskId,
    /// How many events its history had.
    pub(super) events: u32,
    pub(super) status: &'static str,
    /// When it last changed, in milliseconds since 1970.
    pub(super) updated_at: i64,
    pub(super) cells: [Option<String>; COUNT],
}

impl Row {
    /// The row of a task, with what it has put out.
    pub(super) fn new(task: &TaskView, result: Option<&Payload>) -> Self {
        let status = word(task.status);
        let lease = task.lease.as_ref();
        let worker = lease.map(|lease| lease.worker_id.to_string());
        let text = |text: &str| without_nul(text).into_owned();
        let words = Words::of(task);
        let cells = [
            Some(task.id.to_string()),
            Some(status.to_owned()),
            Some(text(&words.task_type)),
            words.description.as_deref().map(text),
            words.domain.as_deref().map(text),
            Some(task.drift_score.unwrap_or_default().to_string()),
            Some(task.attempts_used.to_string()),
            worker.clone(),
            lease.map(|lease| lease.claimed_at.to_string()),
            // Nobody has asked to run what waits for the end of time.
            (task.run_after != Timestamp::MAX).then(|| task.run_after.to_string()),
            Some(json_without_nul(&words.params).into_owned()),
            result.map(|result| object(&json_without_nul(result.as_str()))),
            task.error.as_ref().map(|error| text(&error.message)),
            Some(task.created_at.to_string()),
            Some(task.updated_at.to_string()),
            worker,
            lease.and_then(|lease| lease.expires_at).map(|at| at.to_string()),
            None,
        ];
        Self { id: task.id, events: task.events, status, updated_at: task.updated_at.as_millis(), cells }
    }

    /// About how many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.cells.iter().flatten().map(String::len).sum()
    }
}

/// The old word for a status. A task that waits for others has been created, and is not queued yet.
pub(super) const fn word(status: Status) -> &'static str {
    match status {
        Status::Blocked => "created",
        other => other.as_str(),
    }
}

/// Whether a task of this status has not ended.
pub(super) fn is_unfinished(word_of: &str) -> bool {
    UNFINISHED.iter().any(|status| word(*status) == word_of)
}

/// A result as an object: the old system has no other.
fn object(text: &str) -> String {
    if text.trim_start().starts_with('{') { text.to_owned() } else { format!("{{\"result\": {text}}}") }
}

/// A text without the character that PostgreSQL has in none.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// JSON whose texts are without that character. It stands there as an escape alone.
fn json_without_nul(json: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json.into();
    }
    let mut mended = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        // An escape is a backslash and one character, and what belongs to `u` may be read as text; so that no second backslash of a
        // pair is taken for the first of another.
        let length = if escape.starts_with(NUL) { NUL.len() } else { 2.min(escape.len()) };
        mended.push_str(if length == NUL.len() { "\\ufffd" } else { &escape[..length] });
        rest = &escape[length..];
    }
    mended.push_str(rest);
    mended.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_postgresql_cannot_hold_is_replaced() {
        assert_eq!(without_nul("a\0b"), "a\u{fffd}b");
        assert_eq!(
            json_without_nul(r#"{"a\u0000": "\\u0000 \\\u0000"}"#),
            r#"{"a\ufffd": "\\u0000 \\\ufffd"}"#
        );
        assert_eq!(object("[1]"), r#"{"result": [1]}"#);
        assert_eq!(object(r#" {"a": 1}"#), r#" {"a": 1}"#);
    }

    #[test]
    fn the_json_cells_are_where_they_are_said_to_be() {
        let found: Vec<usize> = (0..COUNT).filter(|place| COLUMNS[*place].kind == "jsonb").collect();
        assert_eq!(found, JSON);
    }

    proptest! {
        /// A text within JSON, written and mended, reads as the text with its NULs replaced; all else stays.
        #[test]
        fn only_that_character_is_replaced(text in "[\\x00\\\\u0\"a-cü\n]{0,40}") {
            let json = Value::from(text.clone()).to_string();
            let mended: Value = serde_json::from_str(&json_without_nul(&json)).unwrap();
            prop_assert_eq!(mended, Value::from(text.replace('\0', "\u{fffd}")));
        }
    }
}
