//! The flags that say which tasks are meant, for lists and for commands to many.

use std::time::Duration;

use baton_model::{Label, ProjectId, QueueName, Status, TaskType, WorkerId};
use clap::Args;

use crate::text;

/// Which tasks: those that fit all that is said.
#[derive(Args)]
pub(crate) struct Filters {
    /// blocked, created, queued, retry, running, completed, failed, cancelled; several with commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) status: Vec<Status>,
    /// Only tasks of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) task_type: Option<TaskType>,
    /// Only tasks of this queue.
    #[arg(long)]
    pub(crate) queue: Option<QueueName>,
    /// Only tasks of this project.
    #[arg(long)]
    pub(crate) project: Option<ProjectId>,
    /// Only tasks of this domain.
    #[arg(long)]
    pub(crate) domain: Option<Label>,
    /// Only tasks assigned by this one.
    #[arg(long, value_name = "NAME")]
    pub(crate) assigned_by: Option<Label>,
    /// Only tasks that this worker holds, or held last.
    #[arg(long, value_name = "ID")]
    pub(crate) worker: Option<WorkerId>,
    /// Only tasks created not longer ago than this, such as 1h.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    pub(crate) since: Option<Duration>,
}
