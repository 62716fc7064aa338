//! `create-task`, in both shapes of its body.

use baton_http::Caller;
use baton_model::{
    Fingerprint, IfDependencyFails, Label, Payload, ProjectId, Task, TaskId, TaskSpec, TaskType, limits,
};
use baton_store::{Create, Idempotency, ItemRefusal};
use serde_json::{Map, Value, json};

use crate::caps;
use crate::cascade;
use crate::edge::Edge;
use crate::path::BUCKET;
use crate::row::{described, id_of};
use crate::words::{Answer, Object, Said, coded, ok, task_id, task_of_key, text, text_at};

/// What workers of December send where a payload had no project.
const NO_PROJECT: &str = "default_project_id";

/// The most characters of an id that its client chose.
const NAME_CHARS: usize = 255;

/// A task that is asked for.
pub(crate) struct Asked {
    /// The id that its client chose.
    pub(crate) id: Option<String>,
    /// Its type.
    pub(crate) task_type: String,
    /// Its params.
    pub(crate) params: Value,
    /// Its project.
    pub(crate) project: String,
    /// What it depends on.
    pub(crate) depends_on: Vec<String>,
    /// The client's name for the request.
    pub(crate) key: Option<String>,
}

/// What became of it.
pub(crate) struct Made {
    /// The task, by the name that its client knows.
    pub(crate) id: String,
    /// Its id.
    pub(crate) task: TaskId,
    /// Whether it was there already.
    pub(crate) was_there: bool,
}

/// Creates a task.
pub(crate) async fn create(edge: &Edge, caller: &Caller, body: Object) -> Answer {
    let made = make(edge, caller, read(body)?).await?;
    let mut told = json!({ "task_id": made.id, "status": "Task queued" });
    if made.was_there {
        told["deduplicated"] = true.into();
    }
    ok(&told)
}

fn invalid(message: &str) -> Said {
    coded(400, "invalid_request_body", message).into()
}

fn read(mut body: Object) -> Result<Asked, Said> {
    let key = text(&body, "idempotency_key").map(str::to_owned);
    if !body.contains_key("family") && !body.contains_key("input") {
        return Ok(Asked { key, ..read_old(body)? });
    }
    let task_type = text(&body, "family").ok_or_else(|| invalid("family is required"))?.to_owned();
    let project = text(&body, "project_id").ok_or_else(|| invalid("project_id is required"))?.to_owned();
    let Some(Value::Object(input)) = body.remove("input") else {
        return Err(invalid("input must be an object"));
    };
    let id = text(&input, "task_id").map(str::to_owned);
    let depends_on = dependencies(input.get("dependant_on"))?;
    Ok(Asked { id, task_type, params: Value::Object(input), project, depends_on, key })
}

/// The shape until January 2026.
pub(crate) fn read_old(mut body: Object) -> Result<Asked, Said> {
    let missing = || invalid("task_type, params and project_id are required");
    let task_type = text(&body, "task_type").ok_or_else(missing)?.to_owned();
    let project = text(&body, "project_id").ok_or_else(missing)?.to_owned();
    let params = match body.remove("params") {
        Some(Value::Object(params)) => Value::Object(params),
        // Some clients send the text of it.
        Some(Value::String(text)) => serde_json::from_str::<Map<String, Value>>(&text)
            .map(Value::Object)
            .map_err(|_| invalid("params must be an object"))?,
        None | Some(Value::Null) => return Err(missing()),
        Some(_) => return Err(invalid("params must be an object")),
    };
    let id = text(&body, "task_id").or_else(|| text(&body, "id")).map(str::to_owned);
    let depends_on = dependencies(body.get("dependant_on"))?;
    Ok(Asked { id, task_type, params, project, depends_on, key: None })
}

/// None, one id, or several.
fn dependencies(value: Option<&Value>) -> Result<Vec<String>, Said> {
    let mut names: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => {
            let names = several.iter().map(|one| one.as_str().map(str::to_owned));
            names.collect::<Option<_>>().ok_or_else(|| invalid("dependant_on must be an array of ids"))?
        }
        Some(_) => return Err(invalid("dependant_on must be an id, an array of ids, or null")),
    };
    names.retain(|name| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.len() > limits::DEPENDENCIES {
        return Err(invalid(&format!("dependant_on has more than {} ids", limits::DEPENDENCIES)));
    }
    Ok(names)
}

fn project_of(caller: &Caller, name: &str) -> Result<ProjectId, Said> {
    let not_found = || coded(404, "project_not_found", "Project not found");
    if name == NO_PROJECT {
        return Err(not_found().into());
    }
    // What is no task's lies in the bucket's project: whose tasks were there would reach all of it.
    let project: ProjectId =
        name.parse().ok().filter(|project: &ProjectId| project.as_str() != BUCKET).ok_or_else(not_found)?;
    if caller.project().is_some_and(|bound| *bound != project) {
        return Err(coded(403, "project_forbidden", "Forbidden: you do not own this project").into());
    }
    Ok(project)
}

/// Makes the task, or finds the one that the same request has made.
pub(crate) async fn make(edge: &Edge, caller: &Caller, asked: Asked) -> Result<Made, Said> {
    let project = project_of(caller, &asked.project)?;
    let task_type: TaskType =
        asked.task_type.parse().ok().filter(|task_type| edge.types.is_known(task_type)).ok_or_else(|| {
            coded(400, "unknown_task_family", &format!("Unknown task family: {}", asked.task_type))
        })?;
    if asked.id.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS) {
        let message = format!("task_id has more than {NAME_CHARS} characters");
        return Err(coded(400, "validation_error", &message).into());
    }
    let of_key = asked.key.as_deref().map(task_of_key);
    let id = asked.id.as_deref().map(task_id).or(of_key).unwrap_or_else(|| edge.app.ids.task());
    if let Some(made) = found(edge, caller, id).await? {
        return Ok(made);
    }
    let depends_on = known_dependencies(edge, &project, &asked.depends_on).await?;
    let orchestrates = edge.types.is_orchestrator(&task_type);
    caps::ensure(edge, orchestrates.then_some(&task_type)).await?;
    let spec = spec_of(edge, &asked, (id, project, task_type), depends_on);
    let spec = TaskSpec { trace: caller.trace().cloned(), ..spec };
    if !caller.covers(&spec.queue, &spec.project) {
        return Err(
            coded(403, "project_forbidden", "Forbidden: the token does not reach this kind of task").into()
        );
    }
    let idempotency = asked.key.as_deref().map(|key| Idempotency {
        key: format!("edge-functions {}", task_of_key(key)),
        // Whatever else it says: the platform goes by the key alone.
        fingerprint: Fingerprint::of(&key),
    });
    let create =
        Create { now: edge.app.now(), tasks: vec![spec], atomic: false, idempotency, by: caller.name() };
    let answer = edge.app.store.create(create).await?;
    match answer.items.into_iter().next() {
        Some(Ok(accepted)) if accepted.id == id && !answer.replayed && accepted.new => {
            edge.app.meters.created();
            tracing::info!(task_id = %id, task_type = asked.task_type, "task created");
            Ok(Made { id: asked.id.unwrap_or_else(|| id.to_string()), task: id, was_there: false })
        }
        // The key's task may have been removed since; its id is what was answered then.
        Some(Ok(accepted)) => match found(edge, caller, accepted.id).await? {
            Some(made) => Ok(made),
            None => Ok(Made { id: accepted.id.to_string(), task: accepted.id, was_there: true }),
        },
        Some(Err(ItemRefusal::IdConflict { id })) => match found(edge, caller, id).await? {
            Some(made) => Ok(made),
            None => Err(insert_failed("the task's id is taken")),
        },
        Some(Err(ItemRefusal::Dependency { id, .. })) => Err(unknown_dependency(&id.to_string())),
        None => Err(insert_failed("no answer to a task")),
    }
}

fn insert_failed(why: &str) -> Said {
    coded(500, "task_insert_failed", why).into()
}

/// The task of this id that is there already: the same request again, to whoever may see it.
async fn found(edge: &Edge, caller: &Caller, id: TaskId) -> Result<Option<Made>, Said> {
    let task: Task = match edge.app.store.task(id).await {
        Ok(detail) => detail.task,
        Err(baton_store::StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !caller.sees(&task) {
        return Err(coded(403, "project_forbidden", "Forbidden: the task belongs to another project").into());
    }
    Ok(Some(Made { id: id_of(&task), task: id, was_there: true }))
}

fn unknown_dependency(name: &str) -> Said {
    let message = format!(
        "dependant_on names {name}, and there is no such task in this project; it would wait for ever"
    );
    coded(400, "validation_error", &message).into()
}

/// The ids that it depends on, all of which are there: a task that waits for one that is not would wait for ever.
async fn known_dependencies(edge: &Edge, project: &ProjectId, names: &[String]) -> Result<Vec<TaskId>, Said> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<TaskId> = names.iter().map(|name| task_id(name)).collect();
    let linked = edge.app.store.linked(ids.clone()).await?;
    for (name, id) in names.iter().zip(&ids) {
        if !linked.iter().any(|one| one.id == *id && one.project == *project) {
            return Err(unknown_dependency(name));
        }
    }
    Ok(ids)
}

fn spec_of(
    edge: &Edge,
    asked: &Asked,
    (id, project, task_type): (TaskId, ProjectId, TaskType),
    depends_on: Vec<TaskId>,
) -> TaskSpec {
    let label = |text: Option<&str>| text.and_then(|text| text.parse::<Label>().ok());
    let name = asked.id.clone().filter(|name| name.parse::<TaskId>().is_err());
    let timeout = if edge.types.is_orchestrator(&task_type) {
        edge.settings.orchestrator_timeout
    } else {
        edge.settings.task_timeout
    };
    TaskSpec {
        id_chosen: true,
        queue: edge.types.run_type(&task_type).queue(),
        project,
        params: Payload::from_value(&asked.params),
        // The name that its client gave it, where that is no UUID; else its client's key.
        description: name.or_else(|| asked.key.as_deref().and_then(described)),
        // Its run and its orchestrator, by which they are found.
        domain: label(cascade::run_of(&asked.params)),
        assigned_by: label(cascade::orchestrator_of(&asked.params)),
        affinity: label(model_of(&asked.params)),
        timeout: Some(timeout),
        depends_on,
        if_dependency_fails: IfDependencyFails::Fail,
        ..TaskSpec::new(id, task_type)
    }
}

/// The model that a task needs.
pub(crate) fn model_of(params: &Value) -> Option<&str> {
    text_at(params, &["model_name"])
        .or_else(|| text_at(params, &["orchestrator_details", "model_name"]))
        .or_else(|| text_at(params, &["model"]))
}
