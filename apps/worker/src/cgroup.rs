//! A control group (cgroup v2) of the worker's own, where the system lets it make one: whatever its programs start is born
//! into it, however it hides, and can be ended at one blow when the worker has been killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use baton_model::SessionId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a group is looked at whose processes were killed, and how many times: 2 s, then it stays.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 100;

/// The group that this process has moved itself into, with what it starts from then on.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Where it came from.
    above: PathBuf,
}

impl Cgroup {
    /// Makes a group below this process's, and moves this process into it.
    ///
    /// # Errors
    /// If there is no cgroup v2, or none of it is this user's to change: without `Delegate=` in a unit of systemd, and in most
    /// containers.
    pub(crate) fn enter(session: SessionId) -> io::Result<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let above = folder(&membership, &mounts)
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "there is no cgroup v2 to be seen"))?;
        let path = above.join(format!("baton-worker-{session}"));
        fs::create_dir(&path)?;
        if let Err(error) = move_into(&path) {
            let _ = fs::remove_dir(&path);
            return Err(error);
        }
        Ok(Self { path, above })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves this process back. What is left in the group is for [`end`].
    pub(crate) fn leave(self) -> io::Result<()> {
        move_into(&self.above)
    }
}

/// Moves this process, with all its threads.
fn move_into(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.procs"), "0")
}

/// Kills all that is in a group, and removes it.
pub(crate) fn end(path: &Path) {
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
}
