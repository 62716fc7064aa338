//! What a creation makes of a spec.

use baton_model::event::EventDetail;
use baton_model::{Event, EventKind, Task, TaskSpec};

use super::{Inner, Kept};
use crate::Create;

impl Inner {
    /// A new task with its first event, and with what its queue gives it.
    pub(super) fn made(&self, mut spec: TaskSpec, create: &Create) -> Kept {
        let content = spec.fingerprint();
        if let Some(lane) = self.queues.get(&spec.queue) {
            lane.defaults.fill(&mut spec);
        }
        Kept { content, ..new_task(spec, create) }
    }
}

fn new_task(spec: TaskSpec, create: &Create) -> Kept {
    let content = spec.fingerprint();
    let head = spec.first_head(create.now);
    let (run_after, to) = (head.run_after, head.state.state());
    let created = Event {
        seq: 1,
        at: create.now,
        kind: EventKind::Created,
        from: None,
        to,
        attempt: 0,
        detail: EventDetail::created(create.by.as_ref(), run_after, create.now),
    };
    let task = Task {
        head,
        project: spec.project,
        queue: spec.queue,
        task_type: spec.task_type,
        priority: spec.priority,
        params: spec.params,
        description: spec.description,
        domain: spec.domain,
        drift_score: spec.drift_score,
        assigned_by: spec.assigned_by,
        retention: spec.retention,
        concurrency_key: spec.concurrency_key,
        affinity: spec.affinity,
        unique: spec.unique,
        created_at: create.now,
        updated_at: create.now,
        finished_at: None,
        error: None,
        depends_on: spec.depends_on,
        if_dependency_fails: spec.if_dependency_fails,
        batch: spec.batch,
        trace: spec.trace,
    };
    Kept { task, content, first_run_after: run_after, claimed_at: None, history: vec![created] }
}
