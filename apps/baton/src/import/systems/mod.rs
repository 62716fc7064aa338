//! The systems that Baton knows: a map of each one's table, and what its dialect keeps of a task besides.

use std::time::Duration;

use baton_dialect_assistant as assistant;
use baton_dialect_edge_functions as edge;
use baton_dialect_orchestrator as orchestrator;
use baton_dialect_task_table as task_table;
use baton_model::{Backoff, Expected, Payload, Timestamp};
use baton_runtime::Settings;
use baton_runtime::settings::{EdgeSettings, OrchestratorSettings};
use clap::ValueEnum;
use serde_json::value::RawValue;
use serde_json::{Map as Members, Value, json};

use super::cell::Cell;
use super::mapping::{Map, Names};
use super::old::{Change, OldState, OldTask};
use super::report::Mistake;
use super::table::Row;
use crate::exit::Failure;

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The in-memory assistant task server.
    Assistant,
    /// The task table of the cognitive platform.
    TaskTable,
    /// The multi-agent development orchestrator.
    Orchestrator,
    /// The generation platform.
    EdgeFunctions,
    /// The volunteer-compute drift simulation.
    Drift,
}

impl Name {
    const fn map(self) -> &'static str {
        match self {
            Self::Assistant => include_str!("assistant.toml"),
            Self::TaskTable => include_str!("task-table.toml"),
            Self::Orchestrator => include_str!("orchestrator.toml"),
            Self::EdgeFunctions => include_str!("edge-functions.toml"),
            Self::Drift => include_str!("drift.toml"),
        }
    }
}

/// The lists that a system's answers have its tasks in.
const LISTS: [&str; 5] = ["active_tasks", "finished_tasks", "tasks", "all_tasks", "items"];

/// A system whose rows are read.
pub(crate) struct System {
    name: Name,
    map: Map,
    edge: EdgeSettings,
    orchestrator: OrchestratorSettings,
}

impl System {
    /// # Errors
    /// If its map cannot be read, which a test rules out.
    pub(crate) fn new(
        name: Name,
        settings: &Settings,
        created_at: Option<Timestamp>,
    ) -> Result<Self, Failure> {
        let mut map = Map::of_text(name.map()).map_err(Failure::failed)?;
        map.created_at = created_at;
        match name {
            Name::Orchestrator => map.names = Names::Dialect(orchestrator::task_id),
            Name::EdgeFunctions => map.names = Names::Dialect(|_, name| edge::task_id(name)),
            Name::Assistant | Name::TaskTable | Name::Drift => {}
        }
        let dialects = &settings.dialects;
        Ok(Self {
            name,
            map,
            edge: dialects.edge_functions.clone(),
            orchestrator: dialects.orchestrator.clone(),
        })
    }

    /// The rows of a row: a system's answer has a list of tasks, else it is one task.
    pub(crate) fn rows(&self, row: Row) -> Vec<Row> {
        let has_one = |row: &Row| row.cell("id").is_some() || row.cell("task_id").is_some();
        let list = LISTS.into_iter().find_map(|list| match row.cell(list)? {
            Cell::Json(raw) if !has_one(&row) => serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).ok(),
            Cell::Json(_) | Cell::Text(_) => None,
        });
        let Some(list) = list else { return vec![row] };
        let rows = list.into_iter().map(|one| {
            let mut one = Row::of_text(row.line, one.get().to_owned());
            // What is no object has no columns, and is told by what it lacks.
            let _ = one.read();
            one
        });
        rows.collect()
    }

    /// The task of a row.
    ///
    /// # Errors
    /// All that is wrong with the row.
    pub(crate) fn task(&self, row: &Row) -> Result<OldTask, Vec<Mistake>> {
        let mut old = self.map.task(row)?;
        match self.name {
            Name::TaskTable => of_task_table(row, &mut old).map_err(|one| vec![one])?,
            Name::Assistant => of_assistant(row, &mut old).map_err(|one| vec![one])?,
            Name::Orchestrator => self.of_orchestrator(row, &mut old).map_err(|one| vec![one])?,
            Name::EdgeFunctions => self.of_platform(row, &mut old),
            Name::Drift => of_drift(&mut old),
        }
        Ok(old)
    }

    fn of_orchestrator(&self, row: &Row, old: &mut OldTask) -> Result<(), Mistake> {
        let text = |column: &str| row.cell(column).map(|cell| cell.text().into_owned());
        let role = text("role").ok_or_else(|| mistake(row, "role", Expected::new("a value", "none")))?;
        old.queue = orchestrator::queue();
        old.task_type = orchestrator::type_of(&role);
        if old.task_type.as_str() != role {
            old.changes.push((Change::PlainType, role.clone()));
        }
        let title = text("title").unwrap_or_else(|| role.clone());
        let flag = text("full_access").is_some_and(|text| matches!(text.as_str(), "true" | "1"));
        let acceptance: Members<String, Value> =
            text("acceptance").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let kept = json!({
            "id": old.name,
            "title": title,
            "description": text("description").unwrap_or_else(|| title.clone()),
            "role": role,
            "acceptance": acceptance,
            "target_dir": text("target_dir").unwrap_or_else(|| ".".to_owned()),
            "full_access": flag,
            "provider_override": text("provider_override"),
            "provider": text("provider"),
            "model": text("model"),
            "repository_url": text("repository_url"),
            "base_branch": text("base_branch"),
            "branch": text("branch").unwrap_or_else(|| orchestrator::branch(&role, &old.name)),
        });
        old.params = Payload::from_value(&kept);
        old.description = Some(title);
        old.max_attempts = self.orchestrator.max_attempts;
        old.timeout = Some(self.orchestrator.timeout).filter(|timeout| !timeout.is_zero());
        if let (Some(error), "error" | "timeout") = (&mut old.error, old.word.as_str()) {
            error.code = Some(old.word.clone());
        } else if old.state == OldState::Failed && old.error.is_none() {
            let code = Some(old.word.clone()).filter(|word| word != "failed");
            old.error = Some(baton_model::task::Failure { message: old.word.clone(), code, details: None });
        }
        old.output.result =
            text("commit_hash").map(|hash| Payload::from_value(&json!({ "commit_hash": hash })));
        Ok(())
    }

    fn of_platform(&self, row: &Row, old: &mut OldTask) {
        let key = row.cell("idempotency_key").map(Cell::text).filter(|key| !key.is_empty());
        let described = || edge::described(&key?);
        old.description = old.description.take().or_else(described);
        let location = old.output.location.take();
        if old.state == OldState::Completed {
            old.output.location = location;
            old.error = None;
        } else if let (None, Some(message)) = (&old.error, location) {
            // It has why a task failed where others have what they made.
            old.error = Some(baton_model::task::Failure { message, code: None, details: None });
        }
        let params = old.params.to_value();
        let moved = edge::moved(&self.edge, &old.task_type, &params, old.output.location.as_deref());
        old.queue = moved.queue;
        old.domain = moved.domain;
        old.assigned_by = moved.assigned_by;
        old.affinity = moved.affinity;
        old.timeout = Some(moved.timeout);
        old.if_dependency_fails = moved.if_dependency_fails;
        old.output.metadata = Some(moved.metadata);
    }
}

fn mistake(row: &Row, field: &str, wrong: Expected) -> Mistake {
    Mistake { line: row.line, field: field.to_owned(), wrong }
}

fn of_task_table(row: &Row, old: &mut OldTask) -> Result<(), Mistake> {
    let text = |column: &str| row.cell(column).map(|cell| cell.text().into_owned());
    let task_type = text("type").ok_or_else(|| mistake(row, "type", Expected::new("a value", "none")))?;
    let domain = text("domain");
    let kept =
        task_table::keep(&task_type, old.description.as_deref(), domain.as_deref(), old.params.as_str());
    if kept.params != old.params.as_str() {
        old.params = Payload::from_stored(kept.params).map_err(|wrong| mistake(row, "params", wrong))?;
        old.changes.push((Change::KeptWords, Expected::text("", &task_type).got));
    }
    old.queue = task_table::queue();
    old.task_type = kept.task_type;
    old.description = kept.description;
    old.domain = kept.domain;
    Ok(())
}

fn of_assistant(row: &Row, old: &mut OldTask) -> Result<(), Mistake> {
    let needed = |column: &str| {
        row.cell(column).map(Cell::text).ok_or_else(|| mistake(row, column, Expected::new("a value", "none")))
    };
    needed("assigned_by")?;
    let task = needed("task")?;
    let object: Members<String, Value> = serde_json::from_str(&task)
        .map_err(|_| mistake(row, "task", Expected::text("a JSON object", &task)))?;
    old.queue = assistant::queue();
    let actions = assistant::actions(&object).unwrap_or_default();
    let task_type = assistant::type_of(&actions);
    old.task_type = task_type.parse().map_err(|wrong| mistake(row, "action", wrong))?;
    if old.state == OldState::Completed {
        old.output.result = object.get("execution_result").map(Payload::from_value);
    }
    Ok(())
}

/// The horizon of a simulation that names none, in hours.
const HORIZON: f64 = 1.0;

fn of_drift(old: &mut OldTask) {
    let params = old.params.to_value();
    let hours = params["parameters"]["time_horizon"].as_f64().filter(|hours| *hours > 0.0).unwrap_or(HORIZON);
    let timeout = Duration::try_from_secs_f64(hours * 3_600.0).unwrap_or(baton_model::limits::LONGEST_SPAN);
    old.timeout = Some(timeout.min(baton_model::limits::LONGEST_SPAN));
    // Its retries follow at once.
    let pause = Duration::from_millis(1);
    old.backoff = Some(Backoff { base: pause, factor: 1.0, max: pause, jitter: 0.0 });
    if let Some(result) = &old.output.result
        && let Value::String(digits) = result.to_value()
    {
        old.output.result = Some(of_hex(&digits));
    }
}

/// Hexadecimal digits of JSON as that JSON; others as `{"hex": …}`, as the dialect keeps them.
fn of_hex(digits: &str) -> Payload {
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> =
        if digits.len().is_multiple_of(2) { (0..digits.len()).step_by(2).map(pair).collect() } else { None };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| Payload::parse(&text).ok())
        .unwrap_or_else(|| Payload::from_value(&json!({ "hex": digits })))
}

#[cfg(test)]
mod tests {
    use super::super::lawful::lawful;
    use super::*;

    fn read(name: Name, text: &str) -> OldTask {
        let system = System::new(name, &Settings::load(&Default::default()).unwrap(), None).unwrap();
        let mut row = Row::of_text(1, text.to_owned());
        row.read().unwrap();
        let row = system.rows(row).remove(0);
        system.task(&row).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    #[test]
    fn each_system_has_a_map() {
        for name in Name::value_variants() {
            Map::of_text(name.map()).unwrap();
        }
    }

    #[test]
    fn a_task_of_the_table_that_ran_is_queued_again_and_its_attempt_counts_once() {
        let text = r#"{"id":"01980a6e-5b7c-4cc3-98c4-dc0c0c07398f","status":"running","type":"dspy.plan","params":{"n":1.50},
            "attempts":2,"locked_by":"d-1","locked_at":"2026-01-31T08:16:00+00:00","created_at":"2026-01-31T08:15:00+00:00",
            "updated_at":"2026-01-31T08:17:00+00:00","drift_score":0.5,"domain":"x"}"#;
        let (record, changes) = lawful(read(Name::TaskTable, &text.replace('\n', ""))).unwrap();
        let head = &record.task.head;
        assert_eq!((head.attempt, head.attempts_used(), head.state.state().as_str()), (2, 2, "queued"));
        assert_eq!(head.events as usize, record.history.len());
        assert_eq!(
            (record.task.queue.as_str(), record.task.params.as_str()),
            ("task-table", r#"{"n":1.50}"#)
        );
        assert!(changes.iter().any(|(change, _)| *change == Change::Requeued), "{changes:?}");
    }

    #[test]
    fn a_type_and_a_description_of_any_text_are_kept_as_the_dialect_keeps_them() {
        let long = "why? ".repeat(2_000);
        let text = format!(
            r#"{{"id":"01980a6e-5b7c-4cc3-98c4-dc0c0c07398f","status":"queued","type":"general query","params":{{"n":1.50}},
            "description":"{long}","attempts":0,"created_at":"2026-01-31T08:15:00+00:00","domain":""}}"#
        );
        let (record, changes) = lawful(read(Name::TaskTable, &text.replace('\n', ""))).unwrap();
        assert!(changes.iter().any(|(change, _)| *change == Change::KeptWords), "{changes:?}");
        assert!(!changes.iter().any(|(change, _)| *change == Change::ShortDescription), "{changes:?}");
        let task = &record.task;
        assert_eq!((task.task_type.as_str(), &task.domain), ("general_query", &None));
        let said = task_table::said("general_query", task.description.as_deref(), None, task.params.as_str());
        let said = said.unwrap();
        assert_eq!((said.task_type.as_str(), said.description), ("general query", Some(long)));
        assert_eq!(said.params, r#"{"n":1.50}"#);
    }

    #[test]
    fn a_platforms_task_waits_for_others_and_has_its_failure_where_its_output_would_be() {
        let text = r#"{"id":"seg-1","task_type":"travel_segment","status":"Failed","project_id":"p1","params":{"model":"wan"},
            "output_location":"out of memory","attempts":2,"dependant_on":["a"],"created_at":"2026-01-31T08:15:00+00:00"}"#;
        let keyed = text
            .replace("seg-1", "01980a6e-5b7c-4cc3-98c4-dc0c0c07398f")
            .replace("\"attempts\"", "\"idempotency_key\":\"k-1\",\"attempts\"");
        let keyed = read(Name::EdgeFunctions, &keyed.replace('\n', ""));
        assert_eq!(keyed.description.as_deref(), Some("idempotency_key: k-1"));
        let old = read(Name::EdgeFunctions, &text.replace('\n', ""));
        assert_eq!((old.id, old.depends_on.as_slice()), (edge::task_id("seg-1"), &[edge::task_id("a")][..]));
        let (record, _) = lawful(old).unwrap();
        assert_eq!(record.task.error.unwrap().message, "out of memory");
        assert_eq!((record.task.head.attempt, record.task.queue.as_str()), (3, "gpu"));
        assert_eq!(record.task.affinity.unwrap().as_str(), "wan");
    }

    #[test]
    fn an_assistants_list_is_a_row_of_many() {
        let text = r#"{"status":"success","active_tasks":[{"task_id":"01980a6e-5b7c-4cc3-98c4-dc0c0c07398f",
            "task":{"action":"reflect","n":1.50},"assigned_by":"ray","timestamp":"2025-07-27T10:00:00.123456","batch_id":null}]}"#;
        let old = read(Name::Assistant, &text.replace('\n', ""));
        assert_eq!((old.task_type.as_str(), old.state), ("reflect", OldState::Queued));
        assert_eq!(old.params.as_str(), r#"{"assigned_by":"ray","task":{"action":"reflect","n":1.50}}"#);
    }

    #[test]
    fn results_of_simulations_are_the_json_that_their_digits_are() {
        assert_eq!(of_hex("7b2261223a317d").as_str(), r#"{"a":1}"#);
        assert_eq!(of_hex("ff").as_str(), r#"{"hex":"ff"}"#);
        assert_eq!(of_hex("é7b").as_str(), r#"{"hex":"é7b"}"#);
    }
}
