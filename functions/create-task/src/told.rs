//! What the log is told of a new task.

use baton_http::Meters;
use baton_model::{Label, QueueName, TaskSpec, TaskType};
use baton_store::Accepted;

/// The names of a task that is on its way into the store; kept only if the log wants them.
pub(crate) struct Told(Option<(TaskType, QueueName, Option<Label>)>);

impl Told {
    pub(crate) fn of(spec: &TaskSpec) -> Self {
        let wanted = tracing::enabled!(tracing::Level::INFO);
        Self(wanted.then(|| (spec.task_type.clone(), spec.queue.clone(), spec.domain.clone())))
    }

    pub(crate) fn log(&self, meters: &Meters, accepted: &Accepted) {
        if accepted.new {
            meters.created();
        }
        let Self(Some((task_type, queue, domain))) = self else { return };
        if accepted.new {
            tracing::info!(
                task_id = %accepted.id,
                %task_type,
                %queue,
                domain = domain.as_ref().map(tracing::field::display),
                attempt = 0,
                "task created"
            );
        } else if accepted.deduplicated.is_some() {
            tracing::info!(task_id = %accepted.id, %task_type, %queue, "task not created: another holds its unique key");
        }
    }
}
