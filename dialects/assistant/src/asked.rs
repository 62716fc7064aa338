//! What the clients send, read with everything that is wrong in it.

use baton_http::fastapi::{Must, Wrong, boolean, object};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// New tasks.
#[derive(Debug)]
pub(crate) struct NewTasks {
    pub(crate) tasks: Vec<NewTask>,
    /// Whether they came as a list.
    pub(crate) is_batch: bool,
    pub(crate) assigned_by: String,
    pub(crate) execute_immediately: bool,
    pub(crate) self_destruct: bool,
}

/// One new task: its text as it came, and its actions.
#[derive(Debug)]
pub(crate) struct NewTask {
    pub(crate) text: Box<RawValue>,
    pub(crate) actions: Vec<String>,
}

/// What an action must be.
const ACTION: &str = "action must be a string or a non-empty list of strings";

/// Which of the two versions of the clients a prefix is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `/task`: a task is any object.
    Early,
    /// `/tasks`: each task names its action, or its actions.
    Late,
}

/// A thought on a task.
#[derive(Debug)]
pub(crate) struct Reflect {
    pub(crate) task_id: String,
    pub(crate) action: Option<String>,
    pub(crate) reflection: String,
    pub(crate) is_final: bool,
}

/// The members of a body, as they came.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    task: Option<&'a RawValue>,
}

fn text(wrong: &mut Wrong, object: &Map<String, Value>, name: &str) -> Option<String> {
    match object.get(name) {
        Some(Value::String(text)) => return Some(text.clone()),
        Some(other) => wrong.add(Must::BeText, &[name.into()], other),
        None => wrong.add(Must::Be, &[name.into()], &Value::Object(object.clone())),
    }
    None
}

fn optional_text(wrong: &mut Wrong, object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).filter(|value| !value.is_null())?;
    text(wrong, object, name)
}

fn flag(wrong: &mut Wrong, object: &Map<String, Value>, name: &str) -> bool {
    match object.get(name) {
        None => false,
        Some(value) => boolean(value).unwrap_or_else(|| {
            wrong.add(Must::BeBoolean, &[name.into()], value);
            false
        }),
    }
}

/// Whether a body, if it is one, has what new tasks have.
pub(crate) fn has_tasks(text: &str) -> bool {
    object(text).is_ok_and(|object| object.contains_key("task") && object.contains_key("assigned_by"))
}

impl NewTasks {
    /// Reads new tasks.
    pub(crate) fn read(body: &str, version: Version) -> Result<Self, Wrong> {
        let object = object(body)?;
        let mut wrong = Wrong::default();
        let is_batch = object.get("task").is_some_and(Value::is_array);
        let tasks = match object.get("task") {
            None => {
                wrong.add(Must::Be, &["task".into()], &Value::Object(object.clone()));
                None
            }
            Some(Value::Object(_) | Value::Array(_)) => {
                let members: Option<Members<'_>> = serde_json::from_str(body).ok();
                members.and_then(|members| members.task).and_then(|text| several(&mut wrong, text, version))
            }
            Some(other) => {
                wrong.add(Must::BeList, &["task".into()], other);
                None
            }
        };
        let assigned_by = text(&mut wrong, &object, "assigned_by");
        let execute_immediately = flag(&mut wrong, &object, "execute_immediately");
        let self_destruct = flag(&mut wrong, &object, "self_destruct");
        let read = tasks.zip(assigned_by).map(|(tasks, assigned_by)| Self {
            tasks,
            is_batch,
            assigned_by,
            execute_immediately,
            self_destruct,
        });
        wrong.none_or(read)
    }
}

/// The tasks of a list, or the one that stands without one.
fn several(wrong: &mut Wrong, text: &RawValue, version: Version) -> Option<Vec<NewTask>> {
    let list: Result<Vec<Box<RawValue>>, _> = serde_json::from_str(text.get());
    let (texts, is_list) = match list {
        Ok(list) => (list, true),
        Err(_) => (vec![text.to_owned()], false),
    };
    let mut tasks = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let mut path: Vec<Value> = vec!["task".into()];
        if is_list {
            path.push(index.into());
        }
        let value: Value = serde_json::from_str(text.get()).ok()?;
        let Value::Object(task) = &value else {
            wrong.add(Must::BeObject, &path, &value);
            continue;
        };
        let actions = actions(task);
        if version == Version::Late && actions.is_none() {
            path.push("action".into());
            match task.get("action") {
                Some(action) => wrong.add(Must::Fit(ACTION), &path, action),
                None => wrong.add(Must::Be, &path, &value),
            }
        }
        tasks.push(NewTask { text, actions: actions.unwrap_or_default() });
    }
    Some(tasks)
}

/// The actions of a task: one, or several in their order; none if they are not said, or not as they must be.
pub fn actions(task: &Map<String, Value>) -> Option<Vec<String>> {
    match task.get("action")? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(several) if !several.is_empty() => {
            several.iter().map(|action| action.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

impl Reflect {
    /// Reads a thought.
    pub(crate) fn read(body: &str) -> Result<Self, Wrong> {
        let object = object(body)?;
        let mut wrong = Wrong::default();
        let task_id = text(&mut wrong, &object, "task_id");
        let reflection = text(&mut wrong, &object, "reflection");
        let action = optional_text(&mut wrong, &object, "action");
        let is_final = flag(&mut wrong, &object, "is_final");
        let read = task_id.zip(reflection);
        let read = read.map(|(task_id, reflection)| Self { task_id, action, reflection, is_final });
        wrong.none_or(read)
    }
}

/// What a heartbeat asks: its action, and its question if it has one.
pub(crate) fn heartbeat(body: &str) -> Result<(String, Option<String>), Wrong> {
    let object = object(body)?;
    let mut wrong = Wrong::default();
    let action = text(&mut wrong, &object, "action");
    let question = optional_text(&mut wrong, &object, "question");
    wrong.none_or(action.map(|action| (action, question)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: &str, version: Version) -> String {
        NewTasks::read(body, version).unwrap_err().line()
    }

    #[test]
    fn both_shapes_of_a_task_are_read() {
        let one = NewTasks::read(r#"{"task": {}, "assigned_by": "ray"}"#, Version::Early).unwrap();
        assert!(!one.is_batch && one.tasks.len() == 1 && one.tasks[0].text.get() == "{}");
        let body = r#"{"task": [{"action": "a"}, {"action": ["b", "c"]}], "assigned_by": "", "self_destruct": true}"#;
        let several = NewTasks::read(body, Version::Late).unwrap();
        assert!(several.is_batch && several.self_destruct && !several.execute_immediately);
        assert_eq!(several.tasks[1].actions, ["b", "c"]);
        let none = NewTasks::read(r#"{"task": [], "assigned_by": "ray"}"#, Version::Late).unwrap();
        assert!(none.is_batch && none.tasks.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (body, version, expected) in [
            (r#"{"task": {}}"#, Version::Early, "body.assigned_by: Field required"),
            (r#"{"assigned_by": "ray"}"#, Version::Early, "body.task: Field required"),
            ("{}", Version::Early, "body.task: Field required; body.assigned_by: Field required"),
            ("", Version::Early, "body: Field required"),
            ("[]", Version::Early, "body: Input should be a valid dictionary"),
            (r#"{"task": 1, "assigned_by": "a"}"#, Version::Early, "body.task: Input should be a valid list"),
            (
                r#"{"task": [{}, 1], "assigned_by": 2}"#,
                Version::Early,
                "body.task.1: Input should be a valid dictionary; body.assigned_by: Input should be a valid string",
            ),
            (r#"{"task": [{}], "assigned_by": "a"}"#, Version::Late, "body.task.0.action: Field required"),
            (
                r#"{"task": {"action": []}, "assigned_by": "a", "execute_immediately": 2}"#,
                Version::Late,
                "body.task.action: Value error, action must be a string or a non-empty list of strings; \
                 body.execute_immediately: Input should be a valid boolean",
            ),
        ] {
            assert_eq!(wrong(body, version), expected, "{body}");
        }
        assert!(wrong("{", Version::Early).starts_with("body.1: JSON decode error: "));
    }
}
