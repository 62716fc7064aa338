//! Which tasks of a batch are not created because another one holds their unique key: one rule for all stores.

use std::collections::{BTreeMap, HashMap};

use baton_model::{Head, TaskId, TaskSpec, Timestamp};

use crate::command::{Accepted, ItemRefusal};

/// The task that holds the key of another, which is not created then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// One that exists: the answer that tells of it.
    Standing(Accepted),
    /// One of the same batch, by its place.
    Sibling(usize),
}

/// Who holds the keys of the tasks of a batch, by their places. `is_new` says of a place whether its task would be created, and
/// `holder` which task holds its key now.
pub fn firsts(
    specs: &[TaskSpec],
    is_new: impl Fn(usize) -> bool,
    holder: impl Fn(usize) -> Option<Accepted>,
) -> BTreeMap<usize, First> {
    let mut siblings = HashMap::new();
    let mut found = BTreeMap::new();
    for (place, spec) in specs.iter().enumerate().filter(|(place, _)| is_new(*place)) {
        let Some(unique) = &spec.unique else { continue };
        match holder(place) {
            Some(accepted) => {
                found.insert(place, First::Standing(accepted));
            }
            None => {
                let key = (&spec.project, &spec.queue, &unique.key);
                let first = *siblings.entry(key).or_insert(place);
                if first != place {
                    found.insert(place, First::Sibling(first));
                }
            }
        }
    }
    // A second one of the same id is what the first one is.
    let of_id: HashMap<TaskId, First> =
        found.iter().map(|(place, first)| (specs[*place].id, first.clone())).collect();
    for (place, spec) in specs.iter().enumerate() {
        if let Some(first) = of_id.get(&spec.id) {
            found.entry(place).or_insert_with(|| first.clone());
        }
    }
    found
}

/// The tasks of a batch, with the task that holds a key in the place of each one that is not created because of it: what was to
/// wait for that one waits for the holder.
pub fn after_firsts(specs: &[TaskSpec], firsts: &BTreeMap<usize, First>) -> Vec<TaskSpec> {
    let instead: HashMap<TaskId, TaskId> = firsts
        .iter()
        .map(|(place, first)| match first {
            First::Standing(accepted) => (specs[*place].id, accepted.id),
            First::Sibling(first) => (specs[*place].id, specs[*first].id),
        })
        .collect();
    let mut specs = specs.to_vec();
    for spec in &mut specs {
        let mut depends_on: Vec<TaskId> = Vec::with_capacity(spec.depends_on.len());
        for id in &spec.depends_on {
            let id = *instead.get(id).unwrap_or(id);
            if !depends_on.contains(&id) {
                depends_on.push(id);
            }
        }
        spec.depends_on = depends_on;
    }
    specs
}

/// What a task is answered with whose key is held by this one.
pub fn held_by(head: &Head, created_at: Timestamp, now: Timestamp) -> Accepted {
    let (id, run_after, status) = (head.id, head.run_after, head.status(now));
    Accepted { id, created_at, run_after, new: false, deduplicated: Some(status) }
}

/// What becomes of a task whose key is held by one of the same batch: what became of that one.
pub fn as_sibling(
    first: &TaskSpec,
    outcome: &Result<Accepted, ItemRefusal>,
    now: Timestamp,
) -> Result<Accepted, ItemRefusal> {
    let accepted = outcome.clone()?;
    let status = first.first_head(accepted.created_at).status(now);
    Ok(Accepted { new: false, deduplicated: Some(status), ..accepted })
}
