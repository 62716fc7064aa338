//! Groups of workers that a server supervises, as they are told and asked.

use baton_model::{GroupName, Label, Timestamp, WorkerId, limits};
use serde::{Deserialize, Serialize};

use crate::fields::{Fields, ReadFields, boolean, integer, parsed, text};
use crate::text::NOTE_CHARS;

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsView {
    /// The groups by name.
    pub items: Vec<GroupView>,
}

/// A group of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// `running`, `restarting`, `degraded` (some have failed), `failed` (all have), `stopping` or `stopped`.
    pub status: String,
    /// How many workers there are to be.
    pub count: u32,
    /// How many live.
    pub active: u32,
    /// Of these, how many run no task.
    pub idle: u32,
    /// Of these, how many run one.
    pub busy: u32,
    /// How many have used up their restarts.
    pub failed: u32,
    /// How often workers that ended by themselves were started again, since the supervisor's start.
    pub restarts: u64,
    /// The program that they run, and its arguments.
    pub command: Vec<String>,
    /// The workers by their number.
    pub workers: Vec<SupervisedView>,
}

/// A worker of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisedView {
    /// Its name.
    pub id: WorkerId,
    /// `spawning`, `active`, `draining`, `terminating`, `pausing` (before its next start), `waiting` (another process has its name),
    /// `stopped`, `done` (not to be started again) or `failed`.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
    /// Its process on the supervisor's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How many tasks it runs.
    pub running: u32,
    /// How many attempts have come to an end with this process.
    pub tasks: u64,
    /// How many bytes of memory its own process holds.
    pub memory_bytes: u64,
    /// How often it was started again after it had ended by itself.
    pub restarts: u64,
    /// When it is started next, in a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// The process that has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How its last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// The end of what that has said; up to 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
}

/// Starts all workers of a group anew. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RestartRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether one goes after the other, each once all others work. `false` if left out: all at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rolling: bool,
}

impl ReadFields for RestartRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let rolling = f.optional("rolling", boolean);
        Some(Self { by: by?, reason: reason?, rolling: rolling?.unwrap_or_default() })
    }
}

/// Sets how many workers a group has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaleRequest {
    /// How many, 0 to 1,000.
    pub count: u32,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ScaleRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let count = f.required("count", integer(0..=limits::GROUP_WORKERS));
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { count: count?, by: by?, reason: reason? })
    }
}
