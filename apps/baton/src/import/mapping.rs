//! Which column of a table is what of a task, by a file of TOML; and reading rows by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use baton_model::task::{Failure, IfDependencyFails, Priority};
use baton_model::{
    Expected, Label, Output, Payload, ProjectId, QueueName, TaskId, TaskType, Timestamp, WorkerId, limits,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cell::Cell;
use super::old::{Change, OldState, OldTask};
use super::report::Mistake;
use super::table::Row;
use crate::exit::Failure as Failed;
use crate::input;

/// The columns of what a task has; each has its own name where nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    id: Option<String>,
    #[serde(rename = "type")]
    task_type: Option<String>,
    status: Option<String>,
    params: Option<Params>,
    project: Option<String>,
    queue: Option<String>,
    description: Option<String>,
    domain: Option<String>,
    drift_score: Option<String>,
    assigned_by: Option<String>,
    affinity: Option<String>,
    priority: Option<String>,
    attempts: Option<String>,
    max_attempts: Option<String>,
    timeout_seconds: Option<String>,
    depends_on: Option<String>,
    run_after: Option<String>,
    created_at: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
    updated_at: Option<String>,
    worker: Option<String>,
    error: Option<String>,
    result: Option<String>,
    location: Option<String>,
}

/// The params: one column of JSON, or several that become the members of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Params {
    Column(String),
    Members(Vec<String>),
}

/// What all tasks have whose row does not say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Otherwise {
    status: Option<String>,
    #[serde(rename = "type")]
    task_type: Option<String>,
    project: Option<String>,
    queue: Option<String>,
    max_attempts: Option<u32>,
}

/// What the number of attempts counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Counts {
    /// All that have begun, the one that runs included.
    #[default]
    Begun,
    /// Those before the one that runs or is to come.
    Ended,
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    columns: Columns,
    #[serde(default)]
    states: BTreeMap<String, String>,
    #[serde(default)]
    otherwise: Otherwise,
    #[serde(default)]
    attempts_are: Counts,
    /// The space in which ids that are no UUIDs are names.
    names: Option<String>,
}

/// How the id of a task is made that is known by a name: a UUID is the id itself.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// In a space of names.
    Space(String),
    /// As a dialect makes it for its clients, so that they find the task.
    #[cfg(feature = "dialects")]
    Dialect(fn(&ProjectId, &str) -> TaskId),
}

impl Names {
    fn id(&self, project: &ProjectId, name: &str) -> TaskId {
        match self {
            Self::Space(space) => name.parse().unwrap_or_else(|_| {
                // A name in two projects is two tasks.
                match *project == ProjectId::default() {
                    true => TaskId::of_name(space, name),
                    false => TaskId::of_name(&format!("{space} of {project}"), name),
                }
            }),
            #[cfg(feature = "dialects")]
            Self::Dialect(id) => id(project, name),
        }
    }
}

/// A map of a table.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    columns: Columns,
    states: BTreeMap<String, OldState>,
    otherwise: Otherwise,
    counts: Counts,
    /// How ids are made of names.
    pub(crate) names: Names,
    /// When a row was created that does not say.
    pub(crate) created_at: Option<Timestamp>,
}

/// Words of Baton's own, which need no map.
const WORDS: [(&str, OldState); 8] = [
    ("created", OldState::Queued),
    ("blocked", OldState::Queued),
    ("queued", OldState::Queued),
    ("retry", OldState::Queued),
    ("running", OldState::Running),
    ("completed", OldState::Completed),
    ("failed", OldState::Failed),
    ("cancelled", OldState::Cancelled),
];

impl Map {
    /// The map of a file.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn of_file(file: &Path) -> Result<Self, Failed> {
        let text = input::read("--map", file)?;
        Self::of_text(&text)
            .map_err(|wrong| Failed::usage(format!("--map: {}: {wrong}", input::name_of(file))))
    }

    /// The map that a text is.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn of_text(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut states: BTreeMap<String, OldState> =
            WORDS.into_iter().map(|(word, state)| (word.to_owned(), state)).collect();
        for (word, state) in text.states {
            let state = OldState::named(&state).map_err(|wrong| format!("states.\"{word}\": {wrong}"))?;
            states.insert(word, state);
        }
        Ok(Self {
            columns: text.columns,
            states,
            otherwise: text.otherwise,
            counts: text.attempts_are,
            names: Names::Space(text.names.unwrap_or_else(|| "imported".to_owned())),
            created_at: None,
        })
    }

    /// The task of a row.
    ///
    /// # Errors
    /// All that is wrong with the row.
    pub(crate) fn task(&self, row: &Row) -> Result<OldTask, Vec<Mistake>> {
        let mut reader = Reader::new(row);
        let task = self.read(&mut reader);
        match (task, reader.mistakes) {
            (Some(task), mistakes) if mistakes.is_empty() => Ok(OldTask { changes: reader.changes, ..task }),
            (_, mistakes) => Err(mistakes),
        }
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<OldTask> {
        let columns = &self.columns;
        let named =
            |name: &Option<String>, otherwise: &str| name.clone().unwrap_or_else(|| otherwise.to_owned());
        let name = reader.needed(&named(&columns.id, "id"));
        let status = named(&columns.status, "status");
        let word = match (&self.otherwise.status, reader.text(&status)) {
            (Some(otherwise), None) => Some(otherwise.clone()),
            (_, Some(word)) => Some(word),
            (None, None) => reader.needed(&status),
        };
        let state = word.as_ref().and_then(|word| self.state(reader, &status, word));
        let task_type: Option<TaskType> =
            reader.name(&named(&columns.task_type, "type"), self.otherwise.task_type.as_deref());
        let queue: Option<QueueName> =
            reader.name(&named(&columns.queue, "queue"), self.otherwise.queue.as_deref().or(Some("default")));
        let project: Option<ProjectId> = reader
            .name(&named(&columns.project, "project"), self.otherwise.project.as_deref().or(Some("default")));
        let params = self.params(reader);
        let time = |reader: &mut Reader<'_>, column: &Option<String>, otherwise: &str| {
            reader.read(&named(column, otherwise), Cell::time)
        };
        let created = named(&columns.created_at, "created_at");
        let created_at = reader.read(&created, Cell::time).or(self.created_at);
        if created_at.is_none() && reader.row.cell(&created).is_none() {
            reader.wrong(&created, Expected::new("a time, or --created-at for rows without one", "none"));
        }
        let attempts = reader.read(&named(&columns.attempts, "attempts"), Cell::count);
        let max_attempts = reader.read(&named(&columns.max_attempts, "max_attempts"), Cell::count);
        let error = reader.text(&named(&columns.error, "error"));
        let location = reader.text(&named(&columns.location, "location"));
        let result = reader.row.cell(&named(&columns.result, "result")).map(Cell::payload_or_text);
        let (started_at, finished_at) = (
            time(reader, &columns.started_at, "started_at"),
            time(reader, &columns.finished_at, "finished_at"),
        );
        let (updated_at, run_after) =
            (time(reader, &columns.updated_at, "updated_at"), time(reader, &columns.run_after, "run_after"));
        let drift_score = reader.read(&named(&columns.drift_score, "drift_score"), Cell::number);
        let timeout = reader.read(&named(&columns.timeout_seconds, "timeout_seconds"), Cell::span);
        let priority = reader.name::<Priority>(&named(&columns.priority, "priority"), Some("normal"));
        let description = reader.text(&named(&columns.description, "description"));
        let domain = reader.label(&named(&columns.domain, "domain"));
        let assigned_by = reader.label(&named(&columns.assigned_by, "assigned_by"));
        let affinity = reader.label(&named(&columns.affinity, "affinity"));
        let worker = reader.worker(&named(&columns.worker, "worker"));
        let (name, state, project) = (name?, state?, project?);
        let id = self.id(reader, &project, &name);
        let depends_on = self.depends_on(reader, &project);
        let attempts = attempts.unwrap_or(0);
        let before = self.counts == Counts::Ended
            && matches!(state, OldState::Running | OldState::Completed | OldState::Failed);
        Some(OldTask {
            id,
            project,
            queue: queue?,
            task_type: task_type?,
            params: params?,
            // Where there is none, the name is what people know the task by.
            description: description.or_else(|| name.parse::<TaskId>().is_err().then(|| name.clone())),
            name,
            domain,
            drift_score,
            assigned_by,
            affinity,
            priority: priority?,
            attempts: attempts.saturating_add(u32::from(before)),
            max_attempts: max_attempts.or(self.otherwise.max_attempts).unwrap_or(limits::DEFAULT_ATTEMPTS),
            timeout,
            backoff: None,
            depends_on,
            if_dependency_fails: IfDependencyFails::default(),
            state,
            word: word.unwrap_or_default(),
            run_after,
            created_at: created_at?,
            started_at,
            finished_at,
            updated_at,
            worker,
            error: error.map(|message| Failure { message, code: None, details: None }),
            output: Output { location, result, ..Output::default() },
            changes: Vec::new(),
        })
    }

    fn state(&self, reader: &mut Reader<'_>, column: &str, word: &str) -> Option<OldState> {
        let state = self.states.get(word).copied();
        if state.is_none() {
            let words: Vec<&str> = self.states.keys().map(String::as_str).collect();
            reader.wrong(column, Expected::text(format!("one of {}", words.join(", ")), word));
        }
        state
    }

    /// The id of the task of a name.
    fn id(&self, reader: &mut Reader<'_>, project: &ProjectId, name: &str) -> TaskId {
        let id = self.names.id(project, name);
        if name.parse::<TaskId>().is_err() {
            reader.changes.push((Change::NamedId, name.to_owned()));
        }
        id
    }

    fn depends_on(&self, reader: &mut Reader<'_>, project: &ProjectId) -> Vec<TaskId> {
        let column = self.columns.depends_on.clone().unwrap_or_else(|| "depends_on".to_owned());
        let names = reader.row.cell(&column).map(Cell::names).unwrap_or_default();
        let mut ids: Vec<TaskId> = Vec::with_capacity(names.len());
        for name in names {
            let id = self.names.id(project, &name);
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        if ids.len() > limits::DEPENDENCIES {
            let expected =
                Expected::new(format!("at most {} ids", limits::DEPENDENCIES), ids.len().to_string());
            reader.wrong(&column, expected);
        }
        ids
    }

    fn params(&self, reader: &mut Reader<'_>) -> Option<Payload> {
        match self.columns.params.clone().unwrap_or_else(|| Params::Column("params".to_owned())) {
            Params::Column(column) => match reader.row.cell(&column) {
                Some(_) => reader.read(&column, Cell::payload),
                None => Some(Payload::default()),
            },
            Params::Members(columns) => {
                let mut members: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
                for column in &columns {
                    if let Some(cell) = reader.row.cell(column) {
                        let payload = cell.payload_or_text();
                        let raw = RawValue::from_string(payload.as_str().to_owned()).ok()?;
                        members.insert(column, raw);
                    }
                }
                Payload::from_stored(serde_json::to_string(&members).ok()?).ok()
            }
        }
    }
}

/// Reads a row, and keeps all that is wrong with it.
struct Reader<'a> {
    row: &'a Row,
    mistakes: Vec<Mistake>,
    changes: Vec<(Change, String)>,
}

impl<'a> Reader<'a> {
    fn new(row: &'a Row) -> Self {
        Self { row, mistakes: Vec::new(), changes: Vec::new() }
    }

    fn wrong(&mut self, column: &str, wrong: Expected) {
        self.mistakes.push(Mistake { line: self.row.line, field: column.to_owned(), wrong });
    }

    fn read<T>(&mut self, column: &str, read: impl FnOnce(&Cell) -> Result<T, Expected>) -> Option<T> {
        match read(self.row.cell(column)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(column, wrong);
                None
            }
        }
    }

    fn text(&self, column: &str) -> Option<String> {
        self.row.cell(column).map(|cell| cell.text().into_owned()).filter(|text| !text.is_empty())
    }

    fn needed(&mut self, column: &str) -> Option<String> {
        let text = self.text(column);
        if text.is_none() {
            self.wrong(column, Expected::new("a value", "none"));
        }
        text
    }

    fn name<T: FromStr<Err = Expected>>(&mut self, column: &str, otherwise: Option<&str>) -> Option<T> {
        let Some(text) = self.text(column).or_else(|| otherwise.map(str::to_owned)) else {
            self.wrong(column, Expected::new("a value", "none"));
            return None;
        };
        match text.parse() {
            Ok(name) => Some(name),
            Err(wrong) => {
                self.wrong(column, wrong);
                None
            }
        }
    }

    fn label(&mut self, column: &str) -> Option<Label> {
        let text = self.text(column)?;
        let label = text.parse().ok();
        if label.is_none() {
            self.changes.push((Change::NoLabel, Expected::text("", &text).got));
        }
        label
    }

    fn worker(&mut self, column: &str) -> Option<WorkerId> {
        let text = self.text(column)?;
        let worker = text.parse().ok();
        if worker.is_none() {
            self.changes.push((Change::OtherWorker, Expected::text("", &text).got));
        }
        worker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        let mut row = Row::of_text(7, text.to_owned());
        row.read().unwrap();
        row
    }

    #[test]
    fn a_map_says_which_column_is_what_and_which_word_is_which_state() {
        let map = Map::of_text(
            r#"
            names = "jobs"
            attempts_are = "ended"
            [columns]
            id = "job"
            type = "kind"
            status = "phase"
            params = ["n", "note"]
            created_at = "at"
            [states]
            "In Work" = "running"
            [otherwise]
            queue = "old"
            "#,
        )
        .unwrap();
        let text = r#"{"job": "a 1", "kind": "resize", "phase": "In Work", "n": 1.50, "note": "x", "at": 1769847300, "attempts": 1}"#;
        let task = map.task(&row(text)).unwrap();
        assert_eq!((task.state, task.attempts, task.queue.as_str()), (OldState::Running, 2, "old"));
        assert_eq!(task.params.as_str(), r#"{"n":1.50,"note":"x"}"#);
        assert_eq!((task.id, task.description.as_deref()), (TaskId::of_name("jobs", "a 1"), Some("a 1")));
        assert_eq!(task.changes, [(Change::NamedId, "a 1".to_owned())]);
    }

    #[test]
    fn all_that_is_wrong_with_a_row_is_told_with_its_line_and_column() {
        let map = Map::of_text("").unwrap();
        let wrong =
            map.task(&row(r#"{"type": "a b", "status": "odd", "attempts": "many", "created_at": "then"}"#));
        let told: Vec<_> = wrong.unwrap_err().into_iter().map(|one| (one.line, one.field)).collect();
        let fields = ["id", "status", "type", "created_at", "attempts"];
        assert_eq!(told, fields.map(|field| (7, field.to_owned())));
    }

    #[test]
    fn a_map_that_cannot_be_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("columns = 1", "invalid type"),
            ("[columns]\nidd = \"x\"", "unknown field `idd`"),
            ("[states]\na = \"done\"", "states.\"a\": expected one of queued, held"),
        ] {
            let told = Map::of_text(text).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
    }
}
