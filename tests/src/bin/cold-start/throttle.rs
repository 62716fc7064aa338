//! The share of a core that Lambda gives a function, by its memory, once it serves. While it starts it has a whole one.
//!
//! A control group of Linux does the same: version 2, or the controller `cpu` of version 1. Making one takes root, or a folder
//! that was handed over.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failed;

/// The memory at which a function has a whole core:
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
const CORE_MEGABYTES: f64 = 1_769.0;

/// The period over which a share is counted.
const PERIOD: Duration = Duration::from_millis(20);

/// Where control groups are, by version.
const UNIFIED: &str = "/sys/fs/cgroup";
const FIRST: &str = "/sys/fs/cgroup/cpu";

/// A group of processes with a share of a core.
pub(crate) struct Throttle(PathBuf);

impl Throttle {
    /// A group with the share of a function of so much memory.
    ///
    /// # Errors
    /// If no group can be made here, with what to do.
    pub(crate) fn of_memory(megabytes: f64) -> Result<Self, Failed> {
        let share = (megabytes / CORE_MEGABYTES).min(1.0);
        Self::make(share).map_err(|error| {
            format!(
                "expected to make a control group for {share:.2} of a core, got: {error}; run as root on a Linux whose {UNIFIED} \
                 is writable, or leave --memory out"
            )
            .into()
        })
    }

    fn make(share: f64) -> std::io::Result<Self> {
        let name = format!("baton-cold-start-{}", std::process::id());
        let period = PERIOD.as_micros();
        let quota = (share * period as f64) as u128;
        if Path::new(UNIFIED).join("cgroup.controllers").exists() {
            // May be so already, and then need not be allowed.
            let _ = fs::write(Path::new(UNIFIED).join("cgroup.subtree_control"), "+cpu");
            let group = Self::fresh(Path::new(UNIFIED).join(name))?;
            fs::write(group.0.join("cpu.max"), format!("{quota} {period}"))?;
            return Ok(group);
        }
        let group = Self::fresh(Path::new(FIRST).join(name))?;
        fs::write(group.0.join("cpu.cfs_period_us"), period.to_string())?;
        fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
        Ok(group)
    }

    fn fresh(folder: PathBuf) -> std::io::Result<Self> {
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// Has a process keep to the share from now on.
    pub(crate) fn hold(&self, process: u32) -> Result<(), Failed> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.to_string())?)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Its last process may still be on its way out; the group is empty and harmless then.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
