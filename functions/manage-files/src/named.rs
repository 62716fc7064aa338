//! The names of files in requests, and who reaches what they name.

use baton_api::FieldError;
use baton_files::FileName;
use baton_http::{ApiError, App, Caller};
use baton_model::{Expected, ProjectId};
use baton_store::StoreError;

/// The file that a path names.
pub(crate) fn of_path(project: &str, path: &str) -> Result<FileName, ApiError> {
    let project = project.parse().map_err(|problem| ApiError::field("project", problem))?;
    FileName::new(project, path).map_err(|problem| ApiError::field("path", problem))
}

/// The project that is asked for: the one that is named, else the caller's, else the default one.
pub(crate) fn project(caller: &Caller, named: Option<ProjectId>) -> Result<ProjectId, ApiError> {
    let project = named.or_else(|| caller.project().cloned()).unwrap_or_default();
    // A caller of some queues sees the files of their tasks, each by its name.
    if caller.queues().len() > 0 {
        caller.reach_everything()?;
    }
    within(caller, &project)?;
    Ok(project)
}

fn within(caller: &Caller, project: &ProjectId) -> Result<(), ApiError> {
    match caller.project().filter(|bound| *bound != project) {
        None => Ok(()),
        Some(bound) => Err(caller.beyond(vec![FieldError {
            field: "project".to_owned(),
            expected: bound.to_string(),
            got: project.to_string(),
        }])),
    }
}

/// Lets a request pass for a file that is within its caller's bounds: of its project and, if it is bound to queues, of a task in them.
pub(crate) async fn reach(app: &App, caller: &Caller, name: &FileName) -> Result<(), ApiError> {
    within(caller, name.project())?;
    let Some(task) = name.task() else {
        return if caller.queues().len() > 0 {
            let expected = "the file of a task in these queues, such as film/tasks/{id}/a.png";
            let problem = Expected::text(expected, name.path());
            Err(caller.beyond(vec![FieldError {
                field: "path".to_owned(),
                expected: problem.expected,
                got: problem.got,
            }]))
        } else {
            Ok(())
        };
    };
    if caller.queues().len() == 0 {
        return Ok(());
    }
    let known = app.store.task(task).await?.task;
    // A path is its sender's choice: it may name a task of these queues below a project that is another's.
    if caller.sees(&known) && known.project == *name.project() {
        Ok(())
    } else {
        Err(StoreError::TaskNotFound(task).into())
    }
}
