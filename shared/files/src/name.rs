//! Names of files: a project and a path in it.

use std::fmt;
use std::str::FromStr;

use baton_model::{Expected, ProjectId, TaskId};
use serde::{Deserialize, Serialize};

/// The most bytes of a path.
pub const PATH_BYTES: usize = 512;

/// The most bytes of a part of a path: with each of its bytes written as three, it is still a name on any file system.
const PART_BYTES: usize = 80;

/// The folder of the files of tasks within a project.
const TASKS: &str = "tasks/";

/// The name of a file: its project, and a path of parts with `/` between them.
///
/// A part is 1 to 80 bytes, and neither `.` nor `..`; a path has 512 bytes at most, and neither control characters nor backslashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileName {
    project: ProjectId,
    path: FilePath,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct FilePath(String);

impl FileName {
    /// The file of this path in a project.
    ///
    /// # Errors
    /// If the path is none.
    pub fn new(project: ProjectId, path: &str) -> Result<Self, Expected> {
        Ok(Self { project, path: path.parse()? })
    }

    /// The file of this name that belongs to a task.
    ///
    /// # Errors
    /// If the name is none.
    pub fn of_task(project: ProjectId, task: TaskId, name: &str) -> Result<Self, Expected> {
        Self::new(project, &format!("{TASKS}{task}/{name}"))
    }

    /// The project.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path.0
    }

    /// The last part of the path.
    pub fn last(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// The task that the path names: `tasks/{id}/…`.
    pub fn task(&self) -> Option<TaskId> {
        let (id, _) = self.path().strip_prefix(TASKS)?.split_once('/')?;
        id.parse().ok()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.path())
    }
}

impl FromStr for FileName {
    type Err = Expected;

    /// Reads what [`FileName`] is shown as: the project, `/`, and the path.
    fn from_str(text: &str) -> Result<Self, Expected> {
        let (project, path) = text
            .split_once('/')
            .ok_or_else(|| Expected::text("a project, / and a path, such as default/tasks/1/a.png", text))?;
        Self::new(project.parse()?, path)
    }
}

impl FromStr for FilePath {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let part = |part: &str| !part.is_empty() && part.len() <= PART_BYTES && part != "." && part != "..";
        let odd = |c: char| c.is_control() || c == '\\';
        if text.len() > PATH_BYTES || text.chars().any(odd) || !text.split('/').all(part) {
            return Err(Expected::text(
                format!(
                    "a path of at most {PATH_BYTES} bytes, whose parts between / have 1 to {PART_BYTES} bytes, are not . or .., and \
                     have no control character or backslash"
                ),
                text,
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FilePath {
    type Error = Expected;

    fn try_from(text: String) -> Result<Self, Expected> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_nowhere_else() {
        for wrong in
            ["", "/", "a//b", "/a", "a/", ".", "..", "a/../b", "../a", "a/./b", "a\\b", "a\nb", "a\0b"]
        {
            assert!(wrong.parse::<FilePath>().is_err(), "{wrong:?}");
        }
        assert!("x".repeat(81).parse::<FilePath>().is_err());
        assert!(vec!["x".repeat(80); 7].join("/").parse::<FilePath>().is_err(), "513 bytes and more");
        for right in ["a", "a.png", "a/b/c", "... and more", "größe/ß~%2F#?*.txt", ".hidden"] {
            assert!(right.parse::<FilePath>().is_ok(), "{right:?}");
        }
    }

    #[test]
    fn the_path_of_a_tasks_file_names_the_task() {
        let task: TaskId = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let name = FileName::of_task("p".parse().unwrap(), task, "out/a.png").unwrap();
        assert_eq!((name.task(), name.last()), (Some(task), "a.png"));
        assert_eq!(name.to_string().parse::<FileName>().unwrap(), name);
        for none in ["p/tasks/1/a", "p/tasks", "p/a/b", &format!("p/tasks/{task}")] {
            assert_eq!(none.parse::<FileName>().unwrap().task(), None, "{none}");
        }
    }
}
