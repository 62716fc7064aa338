//! Log lines that workers ship with their heartbeats into one time line.

use serde::{Deserialize, Serialize};

use crate::id::{TaskId, WorkerId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the author of the worker.
    Debug,
    /// Something went as it should.
    Info,
    /// Something needs a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Every level, the lightest first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The level's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line of the time line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the worker wrote it, by the worker's clock: shown, and believed for nothing.
    pub at: Timestamp,
    /// When it was received, by which lines are ordered, chosen and kept. That of a heartbeat's line is the heartbeat's time.
    pub received_at: Timestamp,
    /// Who shipped it.
    pub worker: WorkerId,
    /// The task it is about, if any.
    pub task: Option<TaskId>,
    /// How grave it is.
    pub level: Level,
    /// The part of the worker that wrote it, such as `stderr`.
    pub source: String,
    /// The line.
    pub message: String,
    /// More about it, as the worker likes.
    pub metadata: Option<Payload>,
}

impl LogLine {
    /// What a line takes besides its texts: its time, level, worker and task, and its place in the indexes.
    pub const AROUND_BYTES: usize = 100;

    /// How many bytes it counts in the shares of log lines: its message, source and metadata, and what is around them.
    pub fn bytes(&self) -> u64 {
        let metadata = self.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len());
        (self.message.len() + self.source.len() + metadata + Self::AROUND_BYTES) as u64
    }
}
