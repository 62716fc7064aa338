//! Control groups (cgroup v2) of a program's own, where the system lets it make any: whatever its programs start is born into
//! one, however it hides; it can be ended at one blow, and be kept within limits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a group is looked at whose processes were killed, and how many times: 2 s, then it stays.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 100;

/// The group that this process has moved itself into, with what it starts from then on.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Where it came from.
    above: PathBuf,
}

impl Cgroup {
    /// Makes a group of this name below this process's, and moves this process into it.
    ///
    /// # Errors
    /// If there is no cgroup v2, or none of it is this user's to change: without `Delegate=` in a unit of systemd, and in most
    /// containers.
    pub fn enter(name: &str) -> io::Result<Self> {
        let above = own()?;
        let path = above.join(name);
        fs::create_dir(&path)?;
        if let Err(error) = move_into(&path, SELF) {
            let _ = fs::remove_dir(&path);
            return Err(error);
        }
        Ok(Self { path, above })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves this process back. What is left in the group is for [`end`].
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn leave(self) -> io::Result<()> {
        move_into(&self.above, SELF)
    }
}

/// What the processes of a group may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory; when more is asked for, the system ends a process of the group.
    pub memory: Option<u64>,
    /// Processors, such as 1.5.
    pub cpus: Option<f64>,
}

/// The span in microseconds over which the share of processors is counted, as the kernel has it by default.
const CPU_PERIOD: u64 = 100_000;

/// This process's own group, once groups with limits can be made below it. The process itself is then in a leaf of it, as groups
/// with both limits below and processes are not allowed.
#[derive(Debug)]
pub struct Limiter {
    above: PathBuf,
    leaf: PathBuf,
}

impl Limiter {
    /// Moves this process into a leaf of this name, and has limits hold for groups beside it.
    ///
    /// # Errors
    /// As [`Cgroup::enter`], and if other processes are in this process's group.
    pub fn open(leaf: &str) -> io::Result<Self> {
        let Cgroup { path, above } = Cgroup::enter(leaf)?;
        let limiter = Self { above, leaf: path };
        if let Err(error) = fs::write(limiter.above.join("cgroup.subtree_control"), "+memory +cpu") {
            limiter.close();
            return Err(error);
        }
        Ok(limiter)
    }

    /// Makes a group of this name with these limits; one that an earlier process has left is taken over.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn make(&self, name: &str, limits: Limits) -> io::Result<PathBuf> {
        let path = self.above.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let memory = limits.memory.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
        fs::write(path.join("memory.max"), memory)?;
        let share = limits.cpus.map_or_else(
            || "max".to_owned(),
            |cpus| ((cpus * CPU_PERIOD as f64).ceil() as u64).max(1_000).to_string(),
        );
        fs::write(path.join("cpu.max"), format!("{share} {CPU_PERIOD}"))?;
        Ok(path)
    }

    /// Moves this process back, and removes its leaf.
    pub fn close(&self) {
        let _ = fs::write(self.above.join("cgroup.subtree_control"), "-memory -cpu");
        if move_into(&self.above, SELF).is_ok() {
            let _ = fs::remove_dir(&self.leaf);
        }
    }
}

/// The number by which a process names itself there.
const SELF: u32 = 0;

/// The folder of this process's group.
fn own() -> io::Result<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    folder(&membership, &mounts)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "there is no cgroup v2 to be seen"))
}

/// Moves a process, with all its threads.
///
/// # Errors
/// If the system does not let it.
pub fn move_into(path: &Path, process: u32) -> io::Result<()> {
    fs::write(path.join("cgroup.procs"), process.to_string())
}

/// Kills all that is in a group, and removes it.
pub fn end(path: &Path) {
    for _ in 0..LOOKS {
        // Since Linux 5.14; it takes no notice of whose the processes are.
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            for id in listed.lines().filter_map(|id| id.parse::<i32>().ok()).filter(|id| *id > 1) {
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
        // Refused while anything of it lives.
        match fs::remove_dir(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) => sleep(LOOK),
        }
    }
}

/// The folder of this process's cgroup, from `/proc/self/cgroup` and `/proc/self/mountinfo` (cgroups(7), proc(5)).
fn folder(membership: &str, mounts: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // `36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup2 source options`
        let (mount, filesystem) = line.split_once(" - ")?;
        if filesystem.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        // Beyond the root of this process's view (`/..`) nothing is to be seen.
        let within = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        within.then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 30 0:23 / /proc rw,nosuid - proc proc rw
35 30 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn the_folder_of_a_cgroup_is_found_below_its_mount() {
        let of = |membership: &str, mounts: &str| {
            folder(membership, mounts).map(|path| path.display().to_string())
        };
        assert_eq!(of("0::/\n", MOUNTS).as_deref(), Some("/sys/fs/cgroup/"));
        assert_eq!(of("0::/a/b.service\n", MOUNTS).as_deref(), Some("/sys/fs/cgroup/a/b.service"));
        let bound = MOUNTS.replace("/ /sys/fs/cgroup", "/a /sys/fs/cgroup/unified");
        assert_eq!(of("3:cpu:/x\n0::/a/b\n", &bound).as_deref(), Some("/sys/fs/cgroup/unified/b"));
        for (membership, mounts) in [
            ("3:cpu:/x\n", MOUNTS),
            ("0::/c\n", &bound),
            ("0::/../x\n", MOUNTS),
            ("0::/a\n", ""),
            ("", MOUNTS),
        ] {
            assert_eq!(of(membership, mounts), None, "{membership}");
        }
    }

    #[test]
    fn a_group_is_made_with_its_limits() {
        let folder = tempfile::tempdir().unwrap();
        let limiter = Limiter { above: folder.path().to_owned(), leaf: folder.path().join("leaf") };
        let of = |name: &str, limits| {
            let path = limiter.make(name, limits).unwrap();
            let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
            (read("memory.max"), read("cpu.max"))
        };
        let both = Limits { memory: Some(64 << 20), cpus: Some(1.5) };
        assert_eq!(of("a", both), ("67108864".to_owned(), "150000 100000".to_owned()));
        assert_eq!(of("a", Limits::default()), ("max".to_owned(), "max 100000".to_owned()), "taken over");
        assert_eq!(of("b", Limits { cpus: Some(0.001), ..both }).1, "1000 100000", "the kernel's least");
    }
}
