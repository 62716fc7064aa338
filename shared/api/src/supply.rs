//! What `manage-tasks` is asked and answers of the supply of queues.

use baton_model::limits::Limits;
use baton_model::supply::{MOST_READY, MOST_TEMPLATES, MOST_WEIGHT};
use baton_model::{
    Expected, Label, Payload, QueueName, Supply, SupplyPlan, TaskId, TaskSpec, Template, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::create::CreateTask;
use crate::fields::{Fields, ReadFields, boolean, integer, parsed, text};
use crate::template;
use crate::text::NOTE_CHARS;

/// The fields of a task that a supply's cannot have either.
const BEYOND: &[&str] = &["queue", "delay_seconds", "unique"];

/// The most bytes that the params of all templates of a supply have together: they are read with each refill.
pub const MOST_PARAMS: usize = 256 * 1_024;

/// One kind of task that a supply creates.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SupplyTemplate {
    /// Its share: of as many tasks as all templates weigh, so many are of this one, 1 to 1,000; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The task to create, as `POST /v1/tasks` takes it, without `id`, `queue`, `run_after`, `delay_seconds`, `expires_at`, `unique`,
    /// `depends_on`, `if_dependency_fails`, `ref` and `traceparent`. In the texts of its params, `{{index}}` becomes the number of the
    /// task, which counts up from 0, `{{time}}` the time at which it is created, and `{{date}}` that day in UTC.
    pub task: CreateTask,
}

impl ReadFields for SupplyTemplate {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let weight = f.optional("weight", integer(1..=MOST_WEIGHT));
        let task =
            template::task(f, limits, BEYOND, "a supply's tasks come again and again, each ready at once");
        Some(Self { weight: weight?, task: task? })
    }
}

/// Sets the supply of a queue: when fewer than `min` tasks are ready, tasks are created up to `target`. It states the whole supply.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SetSupply {
    /// The queue is refilled when fewer tasks than this are ready, 1 to 1,000.
    pub min: u32,
    /// Up to how many it is refilled, `min` to 1,000.
    pub target: u32,
    /// What is created, 1 to 20 templates.
    pub templates: Vec<SupplyTemplate>,
    /// Whether it is refilled only while a live worker takes such tasks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub while_asked: bool,
    /// Whether it creates nothing for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub paused: bool,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SetSupply {
    /// A supply of one kind of task, with nothing else said.
    pub fn new(min: u32, target: u32, task: CreateTask) -> Self {
        Self {
            min,
            target,
            templates: vec![SupplyTemplate { weight: None, task }],
            while_asked: false,
            paused: false,
            by: None,
            reason: None,
        }
    }

    /// What it says, with the tasks of its templates as the store takes them, in the same order.
    pub fn plan(&self, tasks: Vec<TaskSpec>) -> SupplyPlan {
        let template = |(template, task): (&SupplyTemplate, TaskSpec)| Template {
            weight: template.weight.unwrap_or(1),
            task: TaskSpec { id: TaskId::unset(), ..task },
        };
        SupplyPlan {
            min: self.min,
            target: self.target,
            templates: self.templates.iter().zip(tasks).map(template).collect(),
            while_asked: self.while_asked,
            paused: self.paused,
        }
    }
}

impl ReadFields for SetSupply {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let min = f.required("min", integer(1..=MOST_READY));
        let target = f.required("target", integer(1..=MOST_READY));
        if let (Some(min), Some(target)) = (min, target)
            && target < min
        {
            f.refuse("target", Expected::new(format!("min, {min}, at least"), target.to_string()));
        }
        if !f.has("templates") {
            f.refuse("templates", Expected::new("the tasks to create", "nothing"));
        }
        let templates = f.optional_objects::<SupplyTemplate>("templates", 1..=MOST_TEMPLATES, limits);
        if let Some(Some(templates)) = &templates {
            let params = templates.iter().filter_map(|template| template.task.params.as_ref());
            let bytes: usize = params.map(Payload::size).sum();
            if bytes > MOST_PARAMS {
                let most = format!("params of {MOST_PARAMS} bytes at most in all templates together");
                f.refuse("templates", Expected::new(most, format!("{bytes} bytes")));
            }
        }
        let while_asked = f.optional("while_asked", boolean);
        let paused = f.optional("paused", boolean);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self {
            min: min?,
            target: target?,
            templates: templates??,
            while_asked: while_asked?.unwrap_or_default(),
            paused: paused?.unwrap_or_default(),
            by: by?,
            reason: reason?,
        })
    }
}

/// One kind of task that a supply creates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateView {
    /// Its share: of as many tasks as all templates weigh, so many are of this one.
    pub weight: u32,
    /// The task that it creates, as `POST /v1/tasks` takes it.
    #[schema(value_type = CreateTask)]
    pub task: Payload,
}

/// The supply of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Supply)]
pub struct SupplyView {
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// It is refilled when fewer tasks than this are ready.
    pub min: u32,
    /// Up to how many it is refilled.
    pub target: u32,
    /// What is created.
    pub templates: Vec<TemplateView>,
    /// Whether it is refilled only while a live worker takes such tasks.
    pub while_asked: bool,
    /// Whether it creates nothing for now.
    pub paused: bool,
    /// How many tasks it has created, which is the index of the next one.
    pub created: u64,
    /// When tasks were created last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub refilled_at: Option<Timestamp>,
    /// When it was first set.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When somebody changed it last.
    #[schema(value_type = String, format = "date-time")]
    pub changed_at: Timestamp,
    /// Who did, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Template> for TemplateView {
    fn from(template: Template) -> Self {
        let task = CreateTask { queue: None, ..CreateTask::of_template(&template.task) };
        let task = CreateTask { project: Some(template.task.project), ..task };
        Self { weight: template.weight, task: template::shown(&task) }
    }
}

impl From<Supply> for SupplyView {
    fn from(supply: Supply) -> Self {
        let plan = supply.plan;
        Self {
            queue: supply.queue,
            min: plan.min,
            target: plan.target,
            templates: plan.templates.into_iter().map(TemplateView::from).collect(),
            while_asked: plan.while_asked,
            paused: plan.paused,
            created: supply.next_index,
            refilled_at: supply.refilled_at,
            created_at: supply.created_at,
            changed_at: supply.changed_at,
            changed_by: supply.changed_by,
            reason: supply.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<SetSupply, BodyError> {
        SetSupply::from_json(json, &Limits::default())
    }

    #[test]
    fn a_supply_is_read_as_a_client_sends_it() {
        let json = r#"{"min":10,"target":40,"while_asked":true,"by":"ada","reason":"nights","templates":[
            {"weight":3,"task":{"type":"render","project":"film","params":{"n":"{{index}}"}}},
            {"task":{"type":"bake"}}]}"#;
        let whole = read(json).unwrap();
        assert_eq!((whole.min, whole.target, whole.templates.len()), (10, 40, 2));
        assert_eq!((whole.templates[0].weight, whole.templates[1].weight), (Some(3), None));
        assert_eq!((whole.while_asked, whole.paused), (true, false));
        assert_eq!(read(&serde_json::to_string(&whole).unwrap()), Ok(whole));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field_and_what_would_fit() {
        let with = |fields: &str| format!(r#"{{"min":2,"target":5,"templates":[{{{fields}}}]}}"#);
        let again = "no such field, as a supply's tasks come again and again, each ready at once";
        let number = "a whole number from 1 to 1000";
        let template = r#"[{"task":{"type":"a"}}]"#;
        for (json, field, expected, got) in [
            (format!(r#"{{"min":0,"target":5,"templates":{template}}}"#), "min", number, "0"),
            (format!(r#"{{"min":2,"target":1001,"templates":{template}}}"#), "target", number, "1001"),
            (format!(r#"{{"min":6,"target":5,"templates":{template}}}"#), "target", "min, 6, at least", "5"),
            (r#"{"min":2,"target":5}"#.to_owned(), "templates", "the tasks to create", "nothing"),
            (with(""), "templates[0].task", "the task to create", "nothing"),
            (with(r#""task":{"type":"a"},"weight":0"#), "templates[0].weight", number, "0"),
            (with(r#""task":{"type":"a","queue":"b"}"#), "templates[0].task.queue", again, "one"),
            (
                with(r#""task":{"type":"a","delay_seconds":5}"#),
                "templates[0].task.delay_seconds",
                again,
                "one",
            ),
            (with(r#""task":{"type":"a","unique":{"key":"k"}}"#), "templates[0].task.unique", again, "one"),
            (with(r#""task":{"type":"a","ref":"x"}"#), "templates[0].task.ref", again, "one"),
        ] {
            let wrong = FieldError { field: field.into(), expected: expected.into(), got: got.into() };
            assert_eq!(read(&json), Err(BodyError::Fields(vec![wrong])), "{}", &json[..json.len().min(200)]);
        }
        let large =
            format!(r#"{{"task":{{"type":"a","params":{{"p":"{}"}}}}}}"#, "x".repeat(MOST_PARAMS / 2));
        let wrong = FieldError {
            field: "templates".into(),
            expected: "params of 262144 bytes at most in all templates together".into(),
            got: "262160 bytes".into(),
        };
        let two = format!(r#"{{"min":2,"target":5,"templates":[{large},{large}]}}"#);
        assert_eq!(read(&two), Err(BodyError::Fields(vec![wrong])));
        let none = read(r#"{"min":2,"target":5,"templates":[]}"#).unwrap_err();
        assert!(format!("{none:?}").contains("templates"), "{none:?}");
    }
}
