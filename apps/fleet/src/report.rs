//! How the groups are, as it is told.

use baton_model::{GroupName, Timestamp, WorkerId};

/// How all groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The groups by name.
    pub groups: Vec<GroupReport>,
}

impl Report {
    /// Of all groups together: workers that live, those of them that run nothing and those that run something, and how often
    /// workers were started again.
    pub fn counts(&self) -> Counts {
        self.groups.iter().fold(Counts::default(), |sum, group| Counts {
            active: sum.active + group.counts.active,
            idle: sum.idle + group.counts.idle,
            busy: sum.busy + group.counts.busy,
            failed: sum.failed + group.counts.failed,
            restarts: sum.restarts + group.counts.restarts,
        })
    }
}

/// How many workers are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that live.
    pub active: u32,
    /// Of these, those that run no task.
    pub idle: u32,
    /// Of these, those that run one.
    pub busy: u32,
    /// Those that have used up their restarts.
    pub failed: u32,
    /// How often workers that ended by themselves were started again.
    pub restarts: u64,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Its name.
    pub name: GroupName,
    /// `running`, `restarting`, `degraded` (some have failed), `failed` (all have), `stopping` or `stopped`.
    pub status: &'static str,
    /// How many workers there are to be.
    pub wanted: u32,
    /// How many there are.
    pub counts: Counts,
    /// The program that they run.
    pub command: Vec<String>,
    /// The workers by their number.
    pub workers: Vec<WorkerReport>,
}

/// How a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Its name.
    pub id: WorkerId,
    /// `spawning`, `active`, `draining`, `terminating`, `pausing` (before its next start), `waiting` (another process has its name),
    /// `stopped`, `done` (it is not to be started again) or `failed`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Its process.
    pub process: Option<u32>,
    /// How many tasks it runs.
    pub running: u32,
    /// How many attempts have come to an end with this process.
    pub tasks: u64,
    /// How many bytes of memory its own process holds.
    pub memory_bytes: u64,
    /// How often it was started again after it had ended by itself.
    pub restarts: u64,
    /// When it is started next, in a pause.
    pub starts_at: Option<Timestamp>,
    /// The process that has its name.
    pub waits_for: Option<String>,
    /// How its last process ended.
    pub last_exit: Option<String>,
    /// The end of what that has said.
    pub last_output: Option<String>,
}
