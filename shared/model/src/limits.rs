//! What Baton takes and what it refuses, with units.

use std::time::Duration;

/// The limits that an operator may set; the rest are constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of JSON in a task's params.
    pub params_bytes: usize,
    /// The most bytes of JSON in a completion's result, and in its metadata.
    pub result_bytes: usize,
    /// The most bytes in the body of a batch; the body of any other request may have the payload's limit and 64 KiB.
    pub batch_bytes: usize,
    /// How much of the log lines that workers ship is kept.
    pub logs: LogShares,
}

impl Default for Limits {
    /// 256 KiB of params, 1 MiB of result, 16 MiB for a batch.
    fn default() -> Self {
        Self {
            params_bytes: 256 * 1024,
            result_bytes: 1024 * 1024,
            batch_bytes: 16 * 1024 * 1024,
            logs: LogShares::default(),
        }
    }
}

/// How many bytes of log lines are kept, as [`crate::LogLine::bytes`] counts them; none for as many as come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogShares {
    /// Of one heartbeat.
    pub beat: Option<u64>,
    /// Of one worker in a minute, a minute's worth of them at once.
    pub worker_minute: Option<u64>,
    /// Of all workers of one project in a minute; those whose callers are bound to none share one, or one for
    /// the queues that they are bound to.
    pub project_minute: Option<u64>,
}

impl Default for LogShares {
    /// 1 MiB of a heartbeat, 4 MiB a minute of a worker, 32 MiB a minute of a project.
    fn default() -> Self {
        Self { beat: Some(1 << 20), worker_minute: Some(4 << 20), project_minute: Some(32 << 20) }
    }
}

/// The most tasks in one batch.
pub const BATCH_TASKS: usize = 1_000;
/// The most attempts that one request ends.
pub const ENDINGS: usize = 1_000;
/// The most tasks that one task may depend on.
pub const DEPENDENCIES: usize = 100;
/// The most dependencies of all the tasks of one batch together.
pub const BATCH_DEPENDENCIES: usize = 10_000;
/// The most bytes of a dependency's metadata, and of its result, that come along with a claimed task; what is larger is fetched
/// with its generation.
pub const INPUT_BYTES: usize = 1_024;
/// The most tasks that a graph shows.
pub const GRAPH_TASKS: usize = 1_000;
/// The most tasks in one claim.
pub const CLAIM_TASKS: u32 = 100;
/// The most queues, and the most types, that one claim may name.
pub const CLAIM_NAMES: usize = 32;
/// The longest that a claim waits for work.
pub const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// The most tasks that a worker may hold at once, whatever capacity it states.
pub const WORKER_CAPACITY: u32 = 10_000;
/// The most workers of a group that a supervisor starts.
pub const GROUP_WORKERS: u32 = 1_000;
/// The most attempts that a task may be given.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Attempts of a task that names no number.
pub const DEFAULT_ATTEMPTS: u32 = 3;
/// The shortest fixed lease, task timeout and backoff.
pub const SHORTEST_SPAN: Duration = Duration::from_millis(1);
/// The longest fixed lease and task timeout.
pub const LONGEST_SPAN: Duration = Duration::from_secs(30 * 86_400);
/// The furthest that a task may be put off by a delay; `run_after` may name any time.
pub const LONGEST_DELAY: Duration = Duration::from_secs(366 * 86_400);
/// The longest that a task may ask to be kept once it has ended: ten years.
pub const LONGEST_RETENTION: Duration = Duration::from_secs(3_650 * 86_400);
/// The most characters in a description.
pub const DESCRIPTION_CHARS: usize = 4_096;
/// The most bytes in an error message; what is longer is cut at its front, as the end tells the cause.
pub const ERROR_BYTES: usize = 16 * 1024;
/// The most bytes in an output's location.
pub const LOCATION_BYTES: usize = 4_096;
/// The most log lines in one heartbeat.
pub const LOG_LINES: usize = 500;
/// The most bytes in a log line's message; what is longer is cut at its end.
pub const LOG_BYTES: usize = 8 * 1024;
/// The most readings (such as VRAM) in one heartbeat.
pub const READINGS: usize = 64;
/// The most requests a second that a token may be limited to.
pub const TOKEN_REQUESTS: u32 = 1_000_000;
/// The longest that a token may be made for, unless it is made for ever: ten years.
pub const LONGEST_TOKEN: Duration = Duration::from_secs(3_650 * 86_400);
/// How long a token is good for that was made for no particular time: 90 days.
pub const DEFAULT_TOKEN: Duration = Duration::from_secs(90 * 86_400);
/// The most entries of a page.
pub const PAGE: u32 = 1_000;
/// The entries of a page when the caller names no number.
pub const DEFAULT_PAGE: u32 = 50;
/// The most events in one task's history: 65,535. A task that has come this far accepts no further claim or retry.
pub const EVENTS: u32 = 65_535;
