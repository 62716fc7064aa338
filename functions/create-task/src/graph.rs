//! Tasks of a batch that depend on each other: their refs become ids before the store sees them.

use std::collections::{BTreeSet, HashMap};

use baton_api::FieldError;
use baton_api::create::{CreateTask, DependsOn};
use baton_http::{ApiError, App, Caller};
use baton_model::dependency::order;
use baton_model::{Expected, Label, TaskId, TaskSpec, limits};
use baton_store::{DependencyProblem, ItemRefusal};

/// How many tasks of a circle are named.
const NAMED: usize = 10;

/// The ids of the tasks of a batch that stands or falls together, each with those that it depends on, in the place of their refs.
///
/// # Errors
/// What is wrong: a ref that is no task's, or two tasks'; tasks that depend on each other in a circle; more dependencies than
/// a batch may have.
pub(crate) fn resolve(
    tasks: &[CreateTask],
    mut new_id: impl FnMut() -> TaskId,
) -> Result<Vec<(TaskId, Vec<TaskId>)>, Vec<FieldError>> {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.unwrap_or_else(&mut new_id)).collect();
    if tasks.iter().all(|task| task.reference.is_none() && task.depends_on.is_empty()) {
        return Ok(ids.into_iter().map(|id| (id, Vec::new())).collect());
    }
    let mut errors = Vec::new();
    let mut refuse = |field: String, problem: Expected| {
        errors.push(FieldError { field, expected: problem.expected, got: problem.got });
    };
    let all: usize = tasks.iter().map(|task| task.depends_on.len()).sum();
    if all > limits::BATCH_DEPENDENCIES {
        let most = limits::BATCH_DEPENDENCIES;
        refuse(
            "tasks".to_owned(),
            Expected::new(format!("at most {most} dependencies in a batch"), all.to_string()),
        );
    }
    let mut by_ref: HashMap<Label, usize> = HashMap::new();
    for (place, task) in tasks.iter().enumerate() {
        let Some(name) = &task.reference else { continue };
        let field = format!("tasks[{place}].ref");
        if name.as_str().parse::<TaskId>().is_ok() {
            refuse(field, Expected::text("a name that is no task's id", name.as_str()));
        } else if by_ref.insert(name.clone(), place).is_some() {
            refuse(field, Expected::text("a name that no other task of the batch has", name.as_str()));
        }
    }
    let by_id: HashMap<TaskId, usize> = ids.iter().copied().zip(0..).collect();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut depends_on: Vec<Vec<TaskId>> = vec![Vec::new(); tasks.len()];
    for (place, task) in tasks.iter().enumerate() {
        for (at, dependency) in task.depends_on.iter().enumerate() {
            match dependency {
                DependsOn::Task(id) => {
                    edges[place].extend(by_id.get(id));
                    depends_on[place].push(*id);
                }
                DependsOn::Ref(name) => match by_ref.get(name) {
                    Some(sibling) => {
                        edges[place].push(*sibling);
                        depends_on[place].push(ids[*sibling]);
                    }
                    None => {
                        let expected = Expected::text(
                            "a task's id, or the ref of another task of the batch",
                            name.as_str(),
                        );
                        refuse(format!("tasks[{place}].depends_on[{at}]"), expected);
                    }
                },
            }
        }
    }
    if let Err(cycle) = order(&edges) {
        let told = |place: &usize| match &tasks[*place].reference {
            Some(name) => name.to_string(),
            None => format!("tasks[{place}]"),
        };
        let first = cycle.first().copied().unwrap_or_default();
        let mut names: Vec<String> = cycle.iter().take(NAMED).map(told).collect();
        names.push(if cycle.len() > NAMED { "…".to_owned() } else { told(&first) });
        let got = names.join(" → ");
        refuse(
            format!("tasks[{first}].depends_on"),
            Expected::new("tasks that do not depend on each other in a circle", got),
        );
    }
    if errors.is_empty() { Ok(ids.into_iter().zip(depends_on).collect()) } else { Err(errors) }
}

/// The ids that a task depends on which comes alone: it has no `ref` and names none, as that is for tasks of one batch.
///
/// # Errors
/// The field that has one.
pub(crate) fn alone(task: &CreateTask) -> Result<Vec<TaskId>, ApiError> {
    if let Some(name) = &task.reference {
        let expected = "no ref, which names a task to others of the same batch";
        return Err(ApiError::field("ref", Expected::text(expected, name.as_str())));
    }
    ids(task).map_err(|(at, name)| {
        let problem = Expected::text("a task's id, as a ref names a task of the same batch", name.as_str());
        ApiError::field(format!("depends_on[{at}]"), problem)
    })
}

/// The ids that a task depends on.
///
/// # Errors
/// The first ref among them, and its place.
pub(crate) fn ids(task: &CreateTask) -> Result<Vec<TaskId>, (usize, &Label)> {
    let id = |(at, one)| match one {
        &DependsOn::Task(id) => Ok(id),
        DependsOn::Ref(name) => Err((at, name)),
    };
    task.depends_on.iter().enumerate().map(id).collect()
}

/// The first of each task's dependencies that the caller does not see, where it sees only some tasks: to it they do not exist.
///
/// # Errors
/// The store's failures.
pub(crate) async fn unseen(
    app: &App,
    caller: &Caller,
    specs: &[TaskSpec],
) -> Result<Vec<(usize, ItemRefusal)>, ApiError> {
    if !caller.is_bound() {
        return Ok(Vec::new());
    }
    let within: BTreeSet<TaskId> = specs.iter().map(|spec| spec.id).collect();
    let outside: BTreeSet<TaskId> =
        specs.iter().flat_map(|spec| &spec.depends_on).filter(|id| !within.contains(id)).copied().collect();
    if outside.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = BTreeSet::new();
    let outside: Vec<TaskId> = outside.into_iter().collect();
    for part in outside.chunks(limits::PAGE as usize) {
        let found = app.store.linked(part.to_vec()).await?;
        seen.extend(found.iter().filter(|one| caller.covers(&one.queue, &one.project)).map(|one| one.id));
    }
    let mut refused = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let hidden = |id: &TaskId| !within.contains(id) && !seen.contains(id);
        if let Some((place, id)) = spec.depends_on.iter().enumerate().find(|(_, id)| hidden(id)) {
            refused.push((
                index,
                ItemRefusal::Dependency { place, id: *id, problem: DependencyProblem::Unknown },
            ));
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(reference: &str, after: &[&str]) -> CreateTask {
        CreateTask {
            reference: Some(reference.parse().unwrap()),
            depends_on: after.iter().map(|one| one.parse().unwrap()).collect(),
            ..CreateTask::new("render".parse().unwrap())
        }
    }

    fn resolved(tasks: &[CreateTask]) -> Result<Vec<(TaskId, Vec<TaskId>)>, Vec<String>> {
        let mut next = 0;
        let new_id = || {
            next += 1;
            TaskId::from_bytes([next; 16])
        };
        resolve(tasks, new_id).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn refs_become_the_ids_of_their_tasks_whatever_their_order() {
        let id = |n| TaskId::from_bytes([n; 16]);
        assert_eq!(
            resolved(&[task("stitch", &["a", "b"]), task("a", &[]), task("b", &["a"])]).unwrap(),
            [(id(1), vec![id(2), id(3)]), (id(2), vec![]), (id(3), vec![id(2)])]
        );
    }

    #[test]
    fn a_circle_is_told_by_its_refs() {
        let tasks = [task("a", &["c"]), task("b", &["a"]), task("c", &["b"])];
        assert_eq!(
            resolved(&tasks).unwrap_err(),
            [
                "tasks[0].depends_on: expected tasks that do not depend on each other in a circle, got a → c → b → a"
            ]
        );
    }

    #[test]
    fn a_ref_must_be_there_once_and_be_no_id() {
        let id = TaskId::from_bytes([9; 16]).to_string();
        let tasks = [task("a", &["x"]), task("a", &[]), task(&id, &[])];
        let errors = resolved(&tasks).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("tasks[1].ref: expected a name that no other task of the batch has"));
        assert!(errors[1].starts_with("tasks[2].ref: expected a name that is no task's id"));
        assert!(errors[2].starts_with("tasks[0].depends_on[0]: expected a task's id, or the ref"));
    }
}
