//! The task of something that creates tasks by itself: as `POST /v1/tasks` takes it, without what such a task cannot say.

use baton_model::limits::Limits;
use baton_model::{Expected, Payload};

use crate::create::CreateTask;
use crate::fields::Fields;

/// The fields that no such task can have: they are about one task, and about when and by whom it is created.
const NEVER: &[&str] =
    &["id", "run_after", "expires_at", "depends_on", "if_dependency_fails", "ref", "traceparent"];

/// Reads the field `task`, which must be there and say none of the fields that no such task can have, nor those `beyond`; `why` it cannot.
pub(crate) fn task(f: &mut Fields<'_>, limits: &Limits, beyond: &[&str], why: &str) -> Option<CreateTask> {
    if !f.has("task") {
        f.refuse("task", Expected::new("the task to create", "nothing"));
    }
    let task = f.optional_object::<CreateTask>("task", limits)??;
    for field in said(&task).filter(|field| NEVER.contains(field) || beyond.contains(field)) {
        f.refuse(&format!("task.{field}"), Expected::new(format!("no such field, as {why}"), "one"));
    }
    Some(task)
}

/// A task as `POST /v1/tasks` takes it, to be shown.
pub(crate) fn shown(task: &CreateTask) -> Payload {
    // It holds nothing but texts, numbers and JSON that was read before.
    let text = serde_json::to_string(task).ok();
    text.and_then(|text| Payload::from_stored(text).ok()).unwrap_or_default()
}

/// Those fields that a task says of which not each kind of template may.
fn said(task: &CreateTask) -> impl Iterator<Item = &'static str> {
    let said = [
        ("id", task.id.is_some()),
        ("project", task.project.is_some()),
        ("queue", task.queue.is_some()),
        ("run_after", task.run_after.is_some()),
        ("delay_seconds", task.delay.is_some()),
        ("expires_at", task.expires_at.is_some()),
        ("unique", task.unique.is_some()),
        ("depends_on", !task.depends_on.is_empty()),
        ("if_dependency_fails", task.if_dependency_fails.is_some()),
        ("ref", task.reference.is_some()),
        ("traceparent", task.traceparent.is_some()),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name)
}
