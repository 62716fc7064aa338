//! What random histories draw for a new task: what it waits for, until when it is to be started, and the key that it asks for.

use baton_model::{Expiry, IfDependencyFails, TaskId, TaskSpec, Timestamp, Unique, UniqueWhile};

use super::kit::*;
use super::split_mix::SplitMix;

/// Concurrency keys and unique keys.
pub(super) const KEYS: [&str; 3] = ["k", "k/2", "*k"];

/// Has a task depend on others: some of the same batch, some of before, now and then itself or one that is not there.
pub(super) fn link(random: &mut SplitMix, spec: &mut TaskSpec, batch: &[TaskSpec], ids: &[TaskId]) {
    // Of several that fail in one round of the reaper, which is the first is the store's choice: so only a task that runs
    // all the same has several.
    let run = random.once_in(2);
    for _ in 0..if run { 1 + random.below(3) } else { 1 } {
        let dependency = match random.below(20) {
            0 => Some(spec.id),
            1 => Some(TaskId::from_bytes(counted_id(8_000_000))),
            2..8 => random.pick(batch).map(|other| other.id),
            _ => random.pick(ids).copied(),
        };
        spec.depends_on.extend(dependency.filter(|id| !spec.depends_on.contains(id)));
    }
    if random.once_in(2)
        && let Some(other) = batch.iter().find(|other| spec.depends_on.contains(&other.id))
    {
        spec.project = other.project.clone();
    }
    spec.if_dependency_fails = match run {
        true => IfDependencyFails::Run,
        false => IfDependencyFails::ALL[random.below(2) as usize],
    };
}

/// Has a task expire now and then, and ask for a unique key.
pub(super) fn once(random: &mut SplitMix, spec: &mut TaskSpec, now: Timestamp) {
    // Of tasks that wait for each other and expire in one round, which does first is the store's choice.
    if random.once_in(4) && spec.depends_on.is_empty() {
        spec.expiry = Some(Expiry::At(now.plus(millis(random.below(90_000)))));
    }
    if random.once_in(4) {
        let held = match random.below(3) {
            0 => UniqueWhile::Queued,
            1 => UniqueWhile::Unfinished,
            _ => UniqueWhile::For(millis(1 + random.below(120_000))),
        };
        spec.unique = Some(Unique { key: name(KEYS[random.below(3) as usize]), held });
    }
}
