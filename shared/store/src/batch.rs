//! Which tasks of a batch cannot be created because of what they depend on: one rule for all stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_model::dependency::order;
use baton_model::{ProjectId, TaskId, TaskSpec};

use crate::command::{DependencyProblem, ItemRefusal};

/// What is known of one task of a batch before its dependencies are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is to be created.
    New,
    /// It stands already, or is one of this batch a second time.
    Standing,
    /// It is refused.
    Refused,
}

/// The refusals of those tasks of a batch, by their places, that depend on what they cannot depend on: on a task that neither
/// the store (`project_of` gives its tasks' projects) nor the batch has in the same project, on one that was refused, or on
/// themselves. A task that depends on a refused one is refused with it.
pub fn refusals(
    specs: &[TaskSpec],
    items: &[Item],
    project_of: impl Fn(TaskId) -> Option<ProjectId>,
) -> BTreeMap<usize, ItemRefusal> {
    let mut places: HashMap<TaskId, usize> = HashMap::new();
    for (place, spec) in specs.iter().enumerate().filter(|(place, _)| items[*place] == Item::New) {
        places.entry(spec.id).or_insert(place);
    }
    let refused_ids: BTreeSet<TaskId> = specs
        .iter()
        .zip(items)
        .filter(|(spec, item)| **item == Item::Refused && !places.contains_key(&spec.id))
        .map(|(spec, _)| spec.id)
        .collect();
    let mut found: BTreeMap<usize, ItemRefusal> = BTreeMap::new();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); specs.len()];
    for (place, spec) in specs.iter().enumerate().filter(|(place, _)| items[*place] == Item::New) {
        for (at, id) in spec.depends_on.iter().enumerate() {
            let project = match places.get(id) {
                Some(sibling) => {
                    edges[place].push(*sibling);
                    Some(specs[*sibling].project.clone())
                }
                None if refused_ids.contains(id) => {
                    found.entry(place).or_insert_with(|| refusal(at, *id, DependencyProblem::Refused));
                    continue;
                }
                None => project_of(*id),
            };
            if project.as_ref() != Some(&spec.project) {
                found.entry(place).or_insert_with(|| refusal(at, *id, DependencyProblem::Unknown));
            }
        }
    }
    let at_of = |place: usize, dependency: usize| {
        let id = specs[dependency].id;
        specs[place].depends_on.iter().position(|one| *one == id).unwrap_or_default()
    };
    // Each round takes one cycle out; what depends on it follows below.
    while let Err(cycle) = order(&edges) {
        for (at, place) in cycle.iter().enumerate() {
            let next = cycle[(at + 1) % cycle.len()];
            let at = at_of(*place, next);
            found.insert(*place, refusal(at, specs[next].id, DependencyProblem::Cycle));
        }
        for place in cycle {
            edges[place].clear();
        }
    }
    for place in order(&edges).unwrap_or_default() {
        if let Some(dependency) = edges[place].iter().copied().find(|one| found.contains_key(one)) {
            let at = at_of(place, dependency);
            found
                .entry(place)
                .or_insert_with(|| refusal(at, specs[dependency].id, DependencyProblem::Refused));
        }
    }
    // A second one of the same id is what the first one is.
    let again = |(place, spec): (usize, &TaskSpec)| {
        let first = places.get(&spec.id).filter(|first| **first != place)?;
        Some((place, found.get(first)?.clone()))
    };
    let again: Vec<_> = specs.iter().enumerate().filter_map(again).collect();
    found.extend(again);
    found
}

fn refusal(place: usize, id: TaskId, problem: DependencyProblem) -> ItemRefusal {
    ItemRefusal::Dependency { place, id, problem }
}
