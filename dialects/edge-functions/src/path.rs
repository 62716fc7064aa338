//! Paths of files within the platform's bucket, and what they are called among Baton's files.
//!
//! The folder of a task, `USER/tasks/ID/…`, is Baton's folder of that task, in the task's project: so its files are kept, counted and
//! shown as those of any task, whatever its user is called by now. All else is in a project that has the bucket's name.

use std::str::FromStr;

use baton_files::{FileName, PATH_BYTES};
use baton_model::{Digest, Expected, ProjectId, TaskId};

/// The one bucket of files.
pub(crate) const BUCKET: &str = "image_uploads";

/// The most bytes that a file's path may have.
const LONGEST: usize = 1_024;
/// The most bytes of a part that is not shortened, and how much of it is kept where it is: it stays a name of Baton's.
const PART_BYTES: usize = 80;
const PART_BEGINS: usize = 40;

/// A file's path within the bucket, such as `user/tasks/id/out.mp4`: parts with slashes between them, none of which leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(Box<str>);

impl Path {
    /// The path as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Its first part, which stands for the user of what lies in a folder.
    pub(crate) fn user(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// The task whose folder it lies in, by the name that its client knows, and the rest of it.
    pub(crate) fn in_task(&self) -> Option<(&str, &str)> {
        let mut parts = self.0.splitn(4, '/');
        let (_, tasks, task, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (tasks == "tasks").then_some((task, rest))
    }

    /// What the file is called in the folder of a task.
    pub(crate) fn name_in(rest: &str, task: TaskId, project: ProjectId) -> Result<FileName, Expected> {
        named(project, &format!("tasks/{task}/"), rest)
    }

    /// What it is called where its folder is no task's. Baton's own folders of tasks are not reached so: a project may have the bucket's
    /// name, too.
    pub(crate) fn loose_name(&self) -> Result<FileName, Expected> {
        let name = named(ProjectId::from_stored(BUCKET), "", &self.0)?;
        match name.task() {
            None => Ok(name),
            Some(_) => {
                Err(Expected::text("a path that begins with a user, such as user/tasks/id/out.mp4", &self.0))
            }
        }
    }

    /// The same file name in a folder of its own beside it.
    pub(crate) fn apart(&self, folder: &str) -> Result<Self, Expected> {
        match self.0.rsplit_once('/') {
            Some((before, last)) => format!("{before}/{folder}/{last}").parse(),
            None => format!("{folder}/{}", self.0).parse(),
        }
    }
}

impl FromStr for Path {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let fits = |part: &str| {
            let leads_elsewhere = part.chars().all(|c| c == '.');
            !leads_elsewhere
                && part.len() <= 255
                && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
        };
        let text = text.trim_start_matches('/');
        if text.is_empty() || text.len() > LONGEST || !text.split('/').all(fits) {
            let expected =
                format!("the path of a file, of at most {LONGEST} bytes, without . and .. and empty parts");
            return Err(Expected::text(expected, text));
        }
        Ok(Self(text.into()))
    }
}

/// The file of this path below a folder of a project. Names of the platform may be longer than Baton's: what is too long is shortened, with
/// a digest of all of it, so that two of them never are one.
fn named(project: ProjectId, folder: &str, path: &str) -> Result<FileName, Expected> {
    let parts: Vec<String> = path.split('/').map(shortened).collect();
    let short = format!("{folder}{}", parts.join("/"));
    if short.len() <= PATH_BYTES {
        return FileName::new(project, &short);
    }
    let last = parts.last().map(String::as_str).unwrap_or_default();
    FileName::new(project, &format!("{folder}long/{}/{last}", digest(path)))
}

fn shortened(part: &str) -> String {
    if part.len() <= PART_BYTES {
        return part.to_owned();
    }
    // The ending tells what kind of file it is.
    let ending = part.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| ending.len() <= 5);
    let ending = ending.map_or_else(String::new, |ending| format!(".{ending}"));
    let begins = part.floor_char_boundary(PART_BEGINS);
    format!("{}~{}{ending}", &part[..begins], digest(part))
}

fn digest(text: &str) -> String {
    Digest::of_bytes(text.as_bytes()).to_string().chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_its_folder() {
        for good in ["a", "user/tasks/8b6e/out.mp4", "task_outputs/x y.png", "/a/b"] {
            assert!(good.parse::<Path>().is_ok(), "{good}");
        }
        for bad in ["", "/", "..", "a/../b", "a//b", "a/.", "a/", "a\\b", "a\u{0}b", &"x".repeat(2_000)] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tasks_folder_is_told_from_others() {
        let path = |text: &str| text.parse::<Path>().unwrap();
        assert_eq!(path("u/tasks/t/a/b.png").in_task(), Some(("t", "a/b.png")));
        for other in ["tasks/t/a", "u/tasks/t", "u/other/t/a", "a"] {
            assert_eq!(path(other).in_task(), None, "{other}");
        }
        assert_eq!(path("u/a b.png").loose_name().unwrap().to_string(), "image_uploads/u/a b.png");
        assert_eq!((path("u/tasks/t/a").user(), path("a").user()), ("u", "a"));
    }

    #[test]
    fn no_path_means_the_folder_of_a_task_of_a_project_that_is_called_as_the_bucket() {
        let task = TaskId::from_bytes([7; 16]);
        assert!(format!("tasks/{task}/a.png").parse::<Path>().unwrap().loose_name().is_err());
        assert!("tasks/t/a.png".parse::<Path>().unwrap().loose_name().is_ok());
    }

    #[test]
    fn a_file_of_the_same_name_lies_in_a_folder_beside() {
        let apart = |text: &str| text.parse::<Path>().unwrap().apart("d").unwrap();
        assert_eq!((apart("u/tasks/t/a.png").as_str(), apart("a").as_str()), ("u/tasks/t/d/a.png", "d/a"));
    }

    #[test]
    fn every_path_of_the_platform_has_a_name_of_its_own() {
        let long = |last: &str| format!("{}/{}ö{}/{last}", "u".repeat(255), "v".repeat(200), "w".repeat(40));
        let deep = |last: &str| format!("{}{last}", "folder-of-some-length/".repeat(40));
        let texts = [
            long("a.png"),
            long("b.png"),
            deep("a.png"),
            deep("b.png"),
            format!("{}.png", "n".repeat(251)),
            "n".repeat(255),
        ];
        let names: std::collections::BTreeSet<String> = texts
            .iter()
            .map(|text| text.parse::<Path>().unwrap().loose_name().unwrap().to_string())
            .collect();
        assert_eq!(names.len(), texts.len(), "{names:?}");
        let task = TaskId::from_bytes([7; 16]);
        for text in &texts {
            let name = Path::name_in(text, task, "p".parse().unwrap()).unwrap();
            assert_eq!(name.task(), Some(task));
        }
        assert!(names.iter().any(|name| name.ends_with(".png")));
    }
}
