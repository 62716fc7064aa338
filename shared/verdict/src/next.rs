//! What to do next about a reason for which a task waits.

use std::fmt;

use baton_api::why::{ReasonView, WhyView};
use baton_model::WorkerStatus;
use baton_model::why::word;

use crate::words::quoted;

/// What to do about a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What the command is for: `see` or `to go on`.
    pub to: &'static str,
    /// The command.
    pub command: String,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.to, self.command)
    }
}

/// What to do about a reason, as a command.
pub fn next(why: &WhyView, reason: &ReasonView) -> Option<Next> {
    let see = |command| Some(Next { to: "see", command });
    let go_on = |command| Some(Next { to: "to go on", command });
    let id = why.task_id;
    match reason.reason.as_str() {
        word::BLOCKED => see(format!("baton task graph {id}")),
        word::PAUSED => go_on(format!("baton queue resume {}", why.queue)),
        word::AT_LIMIT => see(format!("baton limit show {}", quoted(&reason.limit.as_ref()?.to_string()))),
        word::ONLY_ALONE => see(format!("baton task history {id}")),
        word::NO_WORKER => go_on(match (reason.worker_status, &reason.worker_id) {
            (Some(WorkerStatus::Draining | WorkerStatus::Stopping), Some(worker)) => {
                format!("baton worker resume {worker}")
            }
            _ => format!("baton worker run --queue {} -- COMMAND", why.queue),
        }),
        _ => None,
    }
}
