//! The functions that read.

use baton_http::Caller;
use baton_model::{Generation, Label, ProjectId, Task, TaskState};
use baton_store::{GenerationFilter, PageRequest, TaskFilter};
use serde_json::{Value, json};

use crate::cascade;
use crate::edge::{Edge, LOOKED_THROUGH};
use crate::generation::output_of;
use crate::row::{OUTPUTS, generations, id_of, row_of, rows};
use crate::words::{
    Answer, Object, Said, Word, coded, json_of, no_task, ok, task_id, text, text_at, text_of,
};

fn required<'a>(body: &'a Object, key: &str) -> Result<&'a str, Said> {
    text(body, key).ok_or_else(|| json_of(400, &json!({ "error": format!("{key} is required") })).into())
}

/// `get-task-status`.
pub(crate) async fn status(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let id = task_id(required(body, "task_id")?);
    match edge.task(caller, id).await? {
        Some(detail) => ok(&json!({ "status": Word::of(detail.task.head.state.state()).as_str() })),
        None => Err(no_task().into()),
    }
}

/// `get-task-output`.
pub(crate) async fn output(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let id = task_id(required(body, "task_id")?);
    let Some(detail) = edge.task(caller, id).await? else { return Err(no_task().into()) };
    let row = row_of(edge, &detail.task).await?;
    let depends = match &row["dependant_on"] {
        Value::Null => json!([]),
        depends => depends.clone(),
    };
    ok(&json!({
        "status": row["status"],
        "output_location": row["output_location"],
        "params": row["params"],
        "dependant_on": depends,
    }))
}

/// What a dependency has put out, and whether it is completed with something.
struct Before {
    id: String,
    output: Option<String>,
    status: &'static str,
}

/// `get-predecessor-output`.
pub(crate) async fn predecessor(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let id = task_id(required(body, "task_id")?);
    let Some(detail) = edge.task(caller, id).await? else { return Err(no_task().into()) };
    let task = detail.task;
    if task.depends_on.is_empty() {
        return sibling(edge, caller, body, &task).await;
    }
    let mut before = Vec::with_capacity(task.depends_on.len());
    for id in &task.depends_on {
        before.push(match edge.task(caller, *id).await? {
            None => Before { id: id.to_string(), output: None, status: "not_found" },
            Some(found) => Before {
                id: id_of(&found.task),
                output: found.generation.as_ref().and_then(output_of),
                status: Word::of(found.task.head.state.state()).as_str(),
            },
        });
    }
    let all = before.iter().all(|one| one.status == Word::Complete.as_str() && one.output.is_some());
    let first = before.first();
    let status = if all { Word::Complete.as_str() } else { first.map_or("not_found", |first| first.status) };
    let predecessors: Vec<Value> = before
        .iter()
        .map(|one| json!({ "predecessor_id": one.id, "output_location": one.output, "status": one.status }))
        .collect();
    ok(&json!({
        "predecessor_id": first.map(|first| &first.id),
        "output_location": first.filter(|_| all).and_then(|first| first.output.as_ref()),
        "status": status,
        "predecessors": predecessors,
        "all_complete": all,
    }))
}

/// The record before this one among the children of a parent, for a task that depends on none.
async fn sibling(edge: &Edge, caller: &Caller, body: &Object, task: &Task) -> Answer {
    let parent = text(body, "parent_generation_id");
    let order = body.get("child_order").and_then(Value::as_i64);
    if let (Some(parent), Some(order)) = (parent, order)
        && let Some(generation) = child_of(edge, caller, &task.project, (parent, order - 1)).await?
    {
        let (id, location) = (generation.task.to_string(), generation.output.location);
        return ok(&json!({
            "predecessor_id": id,
            "output_location": location,
            "status": "Complete",
            "predecessors": [{ "predecessor_id": id, "output_location": location, "status": "Complete" }],
            "all_complete": true,
            "lookup_method": "generation_sibling",
        }));
    }
    ok(&json!({ "predecessor_id": null, "output_location": null, "predecessors": [] }))
}

/// The newest record that is the child of a parent in this place.
async fn child_of(
    edge: &Edge,
    caller: &Caller,
    project: &ProjectId,
    (parent, order): (&str, i64),
) -> Result<Option<Generation>, Said> {
    let filter = GenerationFilter { project: Some(project.clone()), ..GenerationFilter::default() };
    let (mut looked, mut request) = (0, PageRequest::first(1_000));
    while looked < LOOKED_THROUGH {
        let page = edge.app.store.generations(filter.clone(), request).await?;
        looked += page.items.len();
        let fits = |generation: &Generation| {
            let metadata =
                generation.output.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_default();
            caller.sees_generation(generation)
                && metadata["parent_generation_id"] == parent
                && metadata["child_order"] == order
        };
        if let Some(found) = page.items.into_iter().find(fits) {
            return Ok(Some(found));
        }
        match page.next {
            Some(next) => request = PageRequest { after: Some(next), ..PageRequest::first(1_000) },
            None => break,
        }
    }
    Ok(None)
}

/// `get-completed-segments`.
pub(crate) async fn segments(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let run = required(body, "run_id")?;
    let project = match text(body, "project_id") {
        Some(name) => Some(
            name.parse::<ProjectId>().map_err(|_| coded(404, "project_not_found", "Project not found"))?,
        ),
        None if caller.is_bound() => return Err(text_of(400, "project_id is required").into()),
        None => None,
    };
    let Ok(domain) = run.parse::<Label>() else { return ok(&json!([])) };
    let filter = TaskFilter { domain: Some(domain), project, now: edge.app.now(), ..TaskFilter::default() };
    let is_segment = |task: &Task| {
        task.task_type.as_str() == "travel_segment"
            && Word::of(task.head.state.state()) == Word::Complete
            && cascade::run_of(&task.params.to_value()) == Some(run)
    };
    let tasks = edge.tasks(caller, filter, LOOKED_THROUGH, is_segment).await?;
    let mut segments: Vec<(i64, Option<String>)> = Vec::with_capacity(tasks.len());
    for few in tasks.chunks(OUTPUTS) {
        let found = generations(edge, few).await?;
        for task in few {
            let index =
                task.params.to_value().get("segment_index").and_then(Value::as_i64).unwrap_or_default();
            segments.push((index, found.get(&task.head.id).and_then(output_of)));
        }
    }
    segments.sort();
    let told = segments
        .into_iter()
        .map(|(index, location)| json!({ "segment_index": index, "output_location": location }));
    ok(&Value::Array(told.collect()))
}

/// `get-orchestrator-children`. Who asks polls for the end of all of them: what follows from an end is done by now, also where that
/// end came by no request, as when a worker was lost.
pub(crate) async fn children(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let Some(name) = text(body, "orchestrator_task_id") else {
        return Err(text_of(400, "orchestrator_task_id is required").into());
    };
    let mut children = cascade::children(edge, caller, name).await?;
    let has_failed =
        |task: &Task| matches!(Word::of(task.head.state.state()), Word::Failed | Word::Cancelled);
    let has_ended = |task: &Task| task.head.state.state().is_final();
    if (children.iter().any(has_failed) || children.iter().all(has_ended))
        && let Some(detail) = edge.task(caller, task_id(name)).await?
        && matches!(detail.task.head.state, TaskState::Running(_))
    {
        let location = last_location(edge, &children).await?;
        cascade::settle(edge, caller, &detail.task, &children, location.as_deref()).await?;
        children = cascade::children(edge, caller, name).await?;
    }
    let tasks: Vec<Value> = rows(edge, &children)
        .await?
        .into_iter()
        .map(|row| {
            json!({
                "id": row["id"],
                "task_type": row["task_type"],
                "status": row["status"],
                "params": row["params"],
                "output_location": row["output_location"],
            })
        })
        .collect();
    ok(&json!({ "tasks": tasks }))
}

/// What the child has put out that was completed last.
async fn last_location(edge: &Edge, children: &[Task]) -> Result<Option<String>, Said> {
    let completed = children.iter().filter(|task| Word::of(task.head.state.state()) == Word::Complete);
    let Some(last) = completed.max_by_key(|task| task.finished_at) else { return Ok(None) };
    let mut found = generations(edge, std::slice::from_ref(last)).await?;
    Ok(found.remove(&last.head.id).and_then(|generation| generation.output.location))
}

/// `tasks-list`.
pub(crate) async fn list(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let project = text_at(&Value::Object(body.clone()), &["projectId"]).map(str::to_owned);
    let Some(project) = project else {
        return Err(coded(400, "invalid_request_body", "projectId is required").into());
    };
    let project: ProjectId =
        project.parse().map_err(|_| coded(404, "project_not_found", "Project not found"))?;
    let words: Vec<Word> = match body.get("status") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter_map(Word::named).collect(),
        _ => Vec::new(),
    };
    let filter = TaskFilter { project: Some(project), now: edge.app.now(), ..TaskFilter::default() };
    let fits = |task: &Task| words.is_empty() || words.contains(&Word::of(task.head.state.state()));
    let tasks = edge.tasks(caller, filter, 1_000, fits).await?;
    ok(&Value::Array(rows(edge, &tasks).await?))
}
