//! What Linux tells of processes in /proc: proc(5). Elsewhere there are none to be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// One process, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
    /// The number of its parent.
    pub parent: i32,
    /// The number of its process group.
    pub group: i32,
    /// Whether it has ended, and only waits for its parent to be told.
    pub ended: bool,
}

/// What tells a process from all others for ever: numbers are used again.
pub type Name = (i32, u64);

impl Process {
    /// What tells it from all others.
    pub fn name(&self) -> Name {
        (self.id, self.started)
    }
}

/// Where processes are looked for.
#[derive(Debug)]
pub struct Procs {
    root: PathBuf,
    /// Whether the kernel lists the children of a thread (`CONFIG_PROC_CHILDREN`, as distributions have it): who comes
    /// from a process is then found without a look at all others.
    lists_children: bool,
}

impl Procs {
    /// Those of this system.
    pub fn here() -> Self {
        Self::at("/proc")
    }

    fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let lists_children = root.join("thread-self/children").exists();
        Self { root, lists_children }
    }

    /// Whether processes can be seen at all.
    pub fn can_see(&self) -> bool {
        self.root.join("self/stat").exists()
    }

    /// None if there is no such process, or no longer.
    pub fn read(&self, id: i32) -> Option<Process> {
        let stat = fs::read(self.root.join(id.to_string()).join("stat")).ok()?;
        of_stat(&String::from_utf8_lossy(&stat))
    }

    /// All that can be seen.
    pub fn all(&self) -> Vec<Process> {
        self.numbers(&self.root.clone()).filter_map(|id| self.read(id)).collect()
    }

    /// All that descend from `ancestor` by parents that still live.
    pub fn below(&self, ancestor: i32) -> Vec<Process> {
        let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
        if !self.lists_children {
            for process in self.all() {
                children.entry(process.parent).or_default().push(process);
            }
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([ancestor]);
        let mut next = vec![ancestor];
        while let Some(parent) = next.pop() {
            let born = if self.lists_children {
                self.children(parent)
            } else {
                children.remove(&parent).unwrap_or_default()
            };
            for process in born {
                if seen.insert(process.id) {
                    next.push(process.id);
                    found.push(process);
                }
            }
        }
        found
    }

    fn children(&self, parent: i32) -> Vec<Process> {
        let threads = self.root.join(parent.to_string()).join("task");
        let lists = self
            .numbers(&threads)
            .filter_map(|thread| fs::read_to_string(threads.join(thread.to_string()).join("children")).ok());
        let ids: Vec<i32> = lists
            .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        ids.into_iter().filter_map(|id| self.read(id)).collect()
    }

    /// The environment that it was started with, each entry ended by a zero byte; none if that is not for this process to know.
    pub fn environment(&self, id: i32) -> Option<Vec<u8>> {
        let read = || fs::read(self.root.join(id.to_string()).join("environ")).ok();
        let environment = read()?;
        if !environment.is_empty() {
            return Some(environment);
        }
        // So it is for a moment while a program takes another's place (execve(2)).
        sleep(Duration::from_millis(1));
        read()
    }

    fn numbers(&self, folder: &PathBuf) -> impl Iterator<Item = i32> + use<> {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }
}

/// A line of `/proc/<pid>/stat`: `pid (name) state parent group …`, and in field 22 when it started. The name may contain
/// anything, so what follows its last parenthesis is read.
fn of_stat(stat: &str) -> Option<Process> {
    let id = stat.split(' ').next()?.parse().ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse().ok();
    Some(Process {
        id,
        started: fields.get(19)?.parse().ok()?,
        parent: number(1)?,
        group: number(2)?,
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A /proc of these processes, each with its parent; each is one thread.
    fn world(processes: &[(i32, i32)], lists_children: bool) -> (tempfile::TempDir, Procs) {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (id, parent) in processes {
            let home = folder.path().join(id.to_string());
            write(&home.join("stat"), &stat(*id, "a) Z 1 (b", 'S', *parent, *id));
            if lists_children {
                let children = processes.iter().filter(|(_, parent)| parent == id);
                let list: String = children.map(|(id, _)| format!("{id} ")).collect();
                write(&home.join("task").join(id.to_string()).join("children"), &list);
            }
        }
        if lists_children {
            write(&folder.path().join("thread-self/children"), "");
        }
        let procs = Procs::at(folder.path());
        (folder, procs)
    }

    fn stat(id: i32, name: &str, state: char, parent: i32, group: i32) -> String {
        format!("{id} ({name}) {state} {parent} {group} 5 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 7000 1 1\n")
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let process = Process { id: 7, started: 7_000, parent: 1, group: 5, ended: false };
        assert_eq!(of_stat(&stat(7, "sh", 'S', 1, 5)), Some(process));
        assert_eq!(of_stat(&stat(7, "a) Z 1 (b\n", 'Z', 1, 5)), Some(Process { ended: true, ..process }));
        assert_eq!(of_stat("7 (sh) S 1 5"), None);
    }

    #[test]
    fn who_descends_from_a_process_is_found_with_and_without_lists_of_children() {
        let processes = [(1, 0), (2, 1), (10, 2), (11, 10), (12, 11), (13, 2), (20, 1), (21, 20)];
        for lists_children in [false, true] {
            let (_folder, procs) = world(&processes, lists_children);
            assert_eq!(procs.lists_children, lists_children);
            let mut found: Vec<i32> = procs.below(2).iter().map(|process| process.id).collect();
            found.sort_unstable();
            assert_eq!(found, [10, 11, 12, 13]);
            assert!(procs.below(21).is_empty() && procs.below(99).is_empty());
        }
    }

    #[test]
    fn this_process_is_seen_by_its_parent_and_with_its_environment() {
        let procs = Procs::here();
        assert!(procs.can_see());
        let mut command = std::process::Command::new("sleep");
        let mut child = command.arg("300").env("MARK", "a b").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let found = procs.below(me).into_iter().find(|process| process.id == id).unwrap();
        assert_eq!((found.parent, found.ended, Some(found)), (me, false, procs.read(id)));
        let has =
            |id| procs.environment(id).unwrap().split(|byte| *byte == 0).any(|entry| entry == b"MARK=a b");
        while !has(id) {
            std::thread::yield_now();
        }
        assert!(!has(me) && procs.environment(i32::MAX).is_none());
        child.kill().unwrap();
        // Not waited for, it has ended, and is still there.
        while !procs.read(id).unwrap().ended {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(procs.read(id), None);
    }
}
