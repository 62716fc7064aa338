//! The files that a completion names. They must be there, and what they are then is kept with the generation.

use baton_api::{FieldError, ProblemCode};
use baton_files::{FileError, FileName, Files, StoredFile};
use baton_http::arrivals::{self, LookError};
use baton_http::{ApiError, App, Caller};
use baton_model::{Expected, Fence, Generation, OutputFile, ProjectId, TaskId, TaskState};
use futures::StreamExt;

/// How many files of one completion are looked at at the same time.
const AT_ONCE: usize = 8;

/// What is there of the files that a completion names, which belong to the task from now on.
///
/// A completion that comes again, or too late, is the store's to answer: no file is looked for then, as it may be gone since.
pub(crate) async fn named(
    app: &App,
    caller: &Caller,
    (task, fence): (TaskId, &Fence),
    paths: Vec<String>,
    field: &str,
) -> Result<Vec<OutputFile>, ApiError> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let Some(files) = &app.files else {
        let expected = "no files: there is no place for files here (see files.url)";
        return Err(ApiError::field(field, Expected::new(expected, format!("{} of them", paths.len()))));
    };
    let detail = app.store.task(task).await?;
    let (head, project) = (&detail.task.head, &detail.task.project);
    let holds = matches!(&head.state, TaskState::Running(lease) if lease.worker == fence.worker);
    // An attempt that has ended is never taken for one that runs, however old the look was: each claim raises the number.
    if head.attempt > fence.attempt || head.attempt == fence.attempt && !holds {
        return Ok(paths.iter().map(|path| as_before(path, project, detail.generation.as_ref())).collect());
    }
    let place = Place { app, files: &**files, project, task, own_alone: caller.queues().len() > 0 };
    let found = place.look_up(&paths, field).await?;
    place.take(found, &paths, field).await
}

/// The file as the standing generation has it; one that it does not name makes another completion.
fn as_before(path: &str, project: &ProjectId, standing: Option<&Generation>) -> OutputFile {
    let within = within(path, project).unwrap_or(path);
    let known = standing.into_iter().flat_map(|standing| &standing.output.files);
    let known = known
        .clone()
        .find(|file| file.path == path)
        .or_else(|| known.clone().find(|file| file.path == within));
    known.cloned().unwrap_or_else(|| OutputFile {
        path: path.to_owned(),
        size: 0,
        sha256: String::new(),
        content_type: String::new(),
    })
}

/// The path in a project that a name begins with.
fn within<'a>(name: &'a str, project: &ProjectId) -> Option<&'a str> {
    name.strip_prefix(project.as_str())?.strip_prefix('/')
}

/// Where the files of a task's project lie.
struct Place<'a> {
    app: &'a App,
    files: &'a dyn Files,
    project: &'a ProjectId,
    task: TaskId,
    /// The files of this task alone are within the caller's bounds.
    own_alone: bool,
}

impl Place<'_> {
    /// The names of the files, if all of them are there.
    async fn look_up(&self, paths: &[String], field: &str) -> Result<Vec<FileName>, ApiError> {
        let mut looks = Vec::with_capacity(paths.len());
        for path in paths {
            looks.push(self.name_of(path));
        }
        self.all(looks, paths, field).await
    }

    /// Has the files belong to the task, so that they are kept as long as it is.
    async fn take(
        &self,
        names: Vec<FileName>,
        paths: &[String],
        field: &str,
    ) -> Result<Vec<OutputFile>, ApiError> {
        let mut takes = Vec::with_capacity(names.len());
        for name in &names {
            takes.push(
                async move { there(self.files.adopt(name, self.task).await.map_err(LookError::Files)) },
            );
        }
        Ok(self.all(takes, paths, field).await?.into_iter().map(told).collect())
    }

    /// The file that is meant: a path in the task's project or, if there is none, the project's name and a path.
    async fn name_of(&self, path: &str) -> Result<Option<FileName>, ApiError> {
        for path in [Some(path), within(path, self.project)].into_iter().flatten() {
            let Ok(name) = FileName::new(self.project.clone(), path) else { continue };
            let is_reached = !self.own_alone || name.task() == Some(self.task);
            // What was put past the server is taken in for it.
            if is_reached && there(arrivals::head(self.app, self.files, &name).await)?.is_some() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// What all of these come to; which are not there, if any is not.
    async fn all<T>(
        &self,
        each: Vec<impl Future<Output = Result<Option<T>, ApiError>> + Send>,
        paths: &[String],
        field: &str,
    ) -> Result<Vec<T>, ApiError> {
        let found: Vec<_> = futures::stream::iter(each).buffered(AT_ONCE).collect().await;
        let (mut all, mut missing) = (Vec::with_capacity(paths.len()), Vec::new());
        for (index, (found, path)) in found.into_iter().zip(paths).enumerate() {
            match found? {
                Some(one) => all.push(one),
                None => missing.push(self.missing(format!("{field}[{index}]"), path)),
            }
        }
        if missing.is_empty() { Ok(all) } else { Err(ApiError::fields(missing)) }
    }

    fn missing(&self, field: String, path: &str) -> FieldError {
        let Self { project, task, own_alone, .. } = self;
        let expected = if *own_alone {
            format!("the path of a file that is there, of project {project} and this task: tasks/{task}/…")
        } else {
            format!(
                "the path of a file of project {project} that is there; put it first, then complete the task"
            )
        };
        let Expected { expected, got } = Expected::text(expected, path);
        FieldError { field, expected, got }
    }
}

fn told(file: StoredFile) -> OutputFile {
    let path = file.name.path().to_owned();
    OutputFile { path, size: file.size, sha256: file.sha256, content_type: file.content_type }
}

/// A file, or none if it is not there.
fn there(found: Result<StoredFile, LookError>) -> Result<Option<StoredFile>, ApiError> {
    match found {
        Ok(file) => Ok(Some(file)),
        Err(LookError::Files(FileError::NotFound(_))) => Ok(None),
        Err(LookError::Files(error @ (FileError::TooLarge { .. } | FileError::OverQuota { .. }))) => {
            Err(ApiError::new(
                ProblemCode::PayloadTooLarge,
                format!("{error}; it was not kept, and the task was not completed"),
            ))
        }
        Err(LookError::Store(error)) => Err(error.into()),
        Err(LookError::Files(error)) => {
            tracing::error!(
                error = baton_model::with_causes(&error),
                "files of a completion cannot be looked up"
            );
            Err(ApiError::new(
                ProblemCode::StorageUnavailable,
                "the place for files is unavailable and the task was not completed; try again in a second",
            ))
        }
    }
}
