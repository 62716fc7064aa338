//! Tasks as `baton export` writes them: whole, with history and generation.

use baton_model::{Expected, State, TaskState};
use baton_store::transfer::TaskRecord;

use crate::words;

/// The task of a line.
///
/// # Errors
/// If it is none, or one that cannot be so.
pub(crate) fn task(text: &str) -> Result<TaskRecord, Expected> {
    let record: TaskRecord = serde_json::from_str(text).map_err(|error| {
        Expected::new("a task as `baton export` writes it", words::json_fault(&error.to_string()))
    })?;
    lawful(&record).map_err(|got| Expected::new("a task that can be so", got))?;
    Ok(record)
}

/// What holds of every task: a line that was written by hand must not bring in what no command could have made.
fn lawful(record: &TaskRecord) -> Result<(), String> {
    let head = &record.task.head;
    let state = head.state.state();
    let mut before: Option<State> = None;
    for (event, seq) in record.history.iter().zip(1..) {
        if event.seq != seq || event.from != before {
            return Err(format!("a history that breaks at its event {seq}"));
        }
        before = Some(event.to);
    }
    if before != Some(state) || record.history.len() != head.events as usize {
        return Err(format!(
            "the state {state}, and a history of {} events that ends otherwise",
            record.history.len()
        ));
    }
    let named = match &head.state {
        TaskState::Completed { generation, .. } => Some(*generation),
        _ => None,
    };
    let generation = record.generation.as_ref();
    if named != generation.map(|one| one.id) || generation.is_some_and(|one| one.task != head.id) {
        return Err(format!("the state {state}, with another generation or none"));
    }
    if record.task.finished_at.is_some() != state.is_final() {
        return Err(format!("the state {state}, with a wrong time of its end"));
    }
    Ok(())
}
