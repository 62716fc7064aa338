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

/// Puts the ids of a batch's tasks in the place of their refs. The batch is one that stands or falls together.
///
/// # Errors
/// What is wrong: a ref that is no task's, or two tasks'; tasks that depend on each other in a circle; more dependencies than
/// a batch may have.
pub(crate) fn resolve(
    tasks: &mut [CreateTask],
    mut new_id: impl FnMut() -> TaskId,
) -> Result<Vec<TaskId>, Vec<FieldError>> {
    if tasks.iter().all(|task| task.reference.is_none() && task.depends_on.is_empty()) {
        return Ok(tasks.iter().map(|task| task.id.unwrap_or_else(&mut new_id)).collect());
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
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.unwrap_or_else(&mut new_id)).collect();
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
    for (place, task) in tasks.iter_mut().enumerate() {
        for (at, dependency) in task.depends_on.iter_mut().enumerate() {
            match dependency {
                DependsOn::Task(id) => edges[place].extend(by_id.get(id)),
                DependsOn::Ref(name) => match by_ref.get(name) {
                    Some(sibling) => {
                        edges[place].push(*sibling);
                        *dependency = DependsOn::Task(ids[*sibling]);
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
    if errors.is_empty() { Ok(ids) } else { Err(errors) }
}

/// The ids that a task depends on, outside of a batch or within one whose refs were put right.
///
/// # Errors
/// A ref that stands for nothing.
pub(crate) fn ids(path: &str, depends_on: Vec<DependsOn>) -> Result<Vec<TaskId>, FieldError> {
    let id = |(at, one): (usize, DependsOn)| match one {
        DependsOn::Task(id) => Ok(id),
        DependsOn::Ref(name) => {
            let problem =
                Expected::text("a task's id, as a ref names a task of the same batch", name.as_str());
            let field = format!("{path}depends_on[{at}]");
            Err(FieldError { field, expected: problem.expected, got: problem.got })
        }
    };
    depends_on.into_iter().enumerate().map(id).collect()
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
    #![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

    use super::*;

    fn task(reference: &str, after: &[&str]) -> CreateTask {
        CreateTask {
            reference: Some(reference.parse().unwrap()),
            depends_on: after.iter().map(|one| one.parse().unwrap()).collect(),
            ..CreateTask::new("render".parse().unwrap())
        }
    }

    fn resolved(tasks: &mut [CreateTask]) -> Result<Vec<TaskId>, Vec<String>> {
        let mut next = 0;
        let new_id = || {
            next += 1;
            TaskId::from_bytes([next; 16])
        };
        resolve(tasks, new_id).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn refs_become_the_ids_of_their_tasks_whatever_their_order() {
        let mut tasks = [task("stitch", &["a", "b"]), task("a", &[]), task("b", &["a"])];
        let ids = resolved(&mut tasks).unwrap();
        assert_eq!(tasks[0].depends_on, [DependsOn::Task(ids[1]), DependsOn::Task(ids[2])]);
        assert_eq!(tasks[2].depends_on, [DependsOn::Task(ids[1])]);
    }

    #[test]
    fn a_circle_is_told_by_its_refs() {
        let mut tasks = [task("a", &["c"]), task("b", &["a"]), task("c", &["b"])];
        assert_eq!(
            resolved(&mut tasks).unwrap_err(),
            [
                "tasks[0].depends_on: expected tasks that do not depend on each other in a circle, got a → c → b → a"
            ]
        );
    }

    #[test]
    fn a_ref_must_be_there_once_and_be_no_id() {
        let id = TaskId::from_bytes([9; 16]).to_string();
        let mut tasks = [task("a", &["x"]), task("a", &[]), task(&id, &[])];
        let errors = resolved(&mut tasks).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("tasks[1].ref: expected a name that no other task of the batch has"));
        assert!(errors[1].starts_with("tasks[2].ref: expected a name that is no task's id"));
        assert!(errors[2].starts_with("tasks[0].depends_on[0]: expected a task's id, or the ref"));
    }
}
