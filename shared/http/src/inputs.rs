//! What comes along with claimed tasks that waited for others: what their dependencies have put out.

use std::collections::BTreeMap;

use baton_api::graph::{InputGenerationView, InputView};
use baton_api::task::TaskView;
use baton_model::{Generation, Payload, TaskId};
use baton_store::{ErrorKind, Input, StoreError, TaskStore};

/// How many bytes the inputs of one answer come to at most, about; ids and types come in any case.
const MOST_BYTES: usize = 1 << 20;

/// How often a store that is out of reach for now is asked: the tasks are claimed already.
const ROUNDS: u32 = 3;

/// Fills in the inputs of claimed tasks. Tasks without dependencies cost nothing.
///
/// # Errors
/// The store's failures: the tasks stay claimed, and the same claim under its request id gives them again.
pub async fn fill(store: &(impl TaskStore + ?Sized), tasks: &mut [TaskView]) -> Result<(), StoreError> {
    let mut ids: Vec<TaskId> = tasks.iter().flat_map(|task| &task.depends_on).copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    ids.sort_unstable();
    ids.dedup();
    let mut round = 1;
    let found = loop {
        match store.inputs(ids.clone()).await {
            Err(error)
                if round < ROUNDS && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) =>
            {
                round += 1;
            }
            found => break found?,
        }
    };
    let by_id: BTreeMap<TaskId, Input> = found.into_iter().map(|input| (input.task, input)).collect();
    let mut room = MOST_BYTES;
    for task in tasks {
        let inputs = task.depends_on.iter().filter_map(|id| by_id.get(id));
        task.inputs = inputs.map(|input| view(input, &mut room)).collect();
    }
    Ok(())
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
