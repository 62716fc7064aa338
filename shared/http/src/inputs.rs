//! What comes along with claimed tasks that waited for others: what their dependencies have put out.

use std::collections::BTreeMap;

use baton_api::graph::{InputGenerationView, InputView};
use baton_api::task::TaskView;
use baton_model::{Generation, Limits, Payload, TaskId};
use baton_store::{ErrorKind, Input, StoreError};

use crate::app::App;

/// How many bytes the inputs of one answer come to at most, about; ids and types come in any case.
const MOST_BYTES: usize = 1 << 20;

/// What a task has besides its payloads, mostly.
const HEAD: usize = 2 * 1024;

/// How often a store that is out of reach for now is asked: the tasks are claimed already.
const ROUNDS: u32 = 3;

/// Fills in the inputs of claimed tasks, as far as there is room beside the tasks themselves in what is kept for them
/// ([`crate::room`]). Tasks without dependencies cost nothing.
///
/// # Errors
/// The store's failures: the tasks stay claimed, and the same claim under its request id gives them again.
pub async fn fill(app: &App, tasks: &mut [TaskView]) -> Result<(), StoreError> {
    let inputs = fill_in(app, tasks).await;
    app.room.tells(tasks.iter().map(size));
    inputs
}

async fn fill_in(app: &App, tasks: &mut [TaskView]) -> Result<(), StoreError> {
    let mut ids: Vec<TaskId> = tasks.iter().flat_map(|task| &task.depends_on).copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    ids.sort_unstable();
    ids.dedup();
    let mut round = 1;
    let found = loop {
        match app.store.inputs(ids.clone()).await {
            Err(error)
                if round < ROUNDS && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) =>
            {
                round += 1;
            }
            found => break found?,
        }
    };
    let by_id: BTreeMap<TaskId, Input> = found.into_iter().map(|input| (input.task, input)).collect();
    let mut room = beside(tasks, &app.limits()).min(MOST_BYTES);
    for task in tasks {
        let inputs = task.depends_on.iter().filter_map(|id| by_id.get(id));
        task.inputs = inputs.map(|input| view(input, &mut room)).collect();
    }
    Ok(())
}

/// What the params and the latest failures of these tasks leave of what is kept for them.
fn beside(tasks: &[TaskView], limits: &Limits) -> usize {
    let used: usize = tasks.iter().map(|task| task.params.size() + details(task)).sum();
    (2 * limits.params_bytes * tasks.len()).saturating_sub(used)
}

fn details(task: &TaskView) -> usize {
    let details = task.error.as_ref().and_then(|error| error.details.as_ref());
    details.map(Payload::size).unwrap_or_default()
}

/// What a task is told with, about.
fn size(task: &TaskView) -> usize {
    let of = |payload: &Option<Payload>| payload.as_ref().map(Payload::size).unwrap_or_default();
    let generations = task.inputs.iter().filter_map(|input| input.generation.as_ref());
    let inputs: usize = generations.map(|output| of(&output.metadata) + of(&output.result)).sum();
    HEAD + task.params.size() + details(task) + inputs
}

fn view(input: &Input, room: &mut usize) -> InputView {
    InputView {
        task_id: input.task,
        task_type: input.task_type.clone(),
        state: input.state,
        generation: input.generation.as_ref().map(|generation| output(generation, input, room)),
    }
}

fn output(generation: &Generation, input: &Input, room: &mut usize) -> InputGenerationView {
    let mut omitted = Vec::new();
    let mut fits = |name: &str, bytes: Option<usize>, left_out: bool| {
        let fits = bytes.is_some_and(|bytes| bytes <= *room);
        if fits {
            *room -= bytes.unwrap_or_default();
        } else if left_out || bytes.is_some() {
            omitted.push(name.to_owned());
        }
        fits
    };
    let out = &generation.output;
    let location = fits("location", out.location.as_ref().map(String::len), false);
    let kind = fits("kind", out.kind.as_ref().map(String::len), false);
    let metadata = fits("metadata", out.metadata.as_ref().map(Payload::size), input.omitted.metadata);
    let result = fits("result", out.result.as_ref().map(Payload::size), input.omitted.result);
    InputGenerationView {
        id: generation.id,
        location: out.location.clone().filter(|_| location),
        kind: out.kind.clone().filter(|_| kind),
        metadata: out.metadata.clone().filter(|_| metadata),
        result: out.result.clone().filter(|_| result),
        omitted,
    }
}
