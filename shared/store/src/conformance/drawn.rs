//! What random histories draw: for a new task what it waits for, until when it is to be started, and the key that it asks for; what
//! limits and schedules say, in which order queues give out their tasks, and what workers have warm.

use baton_model::{
    Backoff, DefaultsChange, Expiry, FairBy, IfDependencyFails, IfMissed, IfRunning, LimitOn, LimitRules,
    Plan, Priority, QueueOrder, Rate, Rhythm, RunAfter, ScheduleChange, SupplyChange, SupplyPlan, TaskChange,
    TaskId, TaskSpec, Template, Timeout, Timestamp, Unique, UniqueWhile, Wants, Warm,
};

use super::kit::*;
use super::split_mix::SplitMix;

/// Concurrency keys and unique keys.
pub(super) const KEYS: [&str; 3] = ["k", "k/2", "*k"];

/// What tasks want to be warm.
pub(super) const AFFINITIES: [&str; 2] = ["sdxl", "flux"];

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

/// What a limit says.
pub(super) fn rules(random: &mut SplitMix, on: &LimitOn) -> LimitRules {
    let has_rate = on.takes_rate() && random.once_in(2);
    let rate = has_rate.then(|| Rate {
        starts: 1 + random.below(3) as u32,
        seconds: 1 + random.below(30) as u32,
        burst: 1 + random.below(3) as u32,
    });
    LimitRules {
        max_running: (rate.is_none() || random.once_in(2)).then(|| random.below(4) as u32),
        rate,
        exempt_types: random.once_in(5).then(|| name("bake")).into_iter().collect(),
        holds_retries: on.takes_holding() && random.once_in(2),
    }
}

/// What a task is changed to.
pub(super) fn change(random: &mut SplitMix, queues: &[&str], now: Timestamp) -> TaskChange {
    let timeout = match random.below(6) {
        0 => Some(Timeout::Never),
        1 => Some(Timeout::After(millis(1 + random.below(120_000)))),
        _ => None,
    };
    let run_after = match random.below(5) {
        0 => Some(RunAfter::Now),
        1 => Some(RunAfter::In(millis(random.below(60_000)))),
        2 => Some(RunAfter::At(now.minus(millis(random.below(60_000))))),
        _ => None,
    };
    TaskChange {
        priority: random.once_in(2).then(|| Priority::ALL[random.below(4) as usize]),
        queue: random.once_in(2).then(|| name(queues[random.below(queues.len() as u64) as usize])),
        run_after,
        timeout,
        max_attempts: random.once_in(3).then(|| 1 + random.below(5) as u32),
    }
}

/// The order of a queue.
pub(super) fn order(random: &mut SplitMix) -> QueueOrder {
    if random.once_in(4) {
        return QueueOrder::default();
    }
    QueueOrder {
        fair: (!random.once_in(3)).then(|| FairBy::ALL[random.below(2) as usize]),
        age_after_seconds: random.once_in(2).then(|| 1 + random.below(60) as u32),
    }
}

/// What becomes of a queue's defaults. Of the fields that JSON may lose the last bit of, none is drawn.
pub(super) fn defaults_change(random: &mut SplitMix) -> DefaultsChange {
    let mut once = |one: u64| random.once_in(3).then(|| (!random.once_in(3)).then(|| 1 + random.below(one)));
    DefaultsChange {
        max_attempts: once(5).map(|said| said.map(|n| n as u32)),
        timeout: once(120_000).map(|said| said.map(millis)),
        backoff: once(60_000).map(|said| said.map(|n| Backoff { base: millis(n), ..Backoff::default() })),
        priority: once(4).map(|said| said.map(|n| Priority::ALL[n as usize - 1])),
        retention: once(1_200).map(|said| said.map(secs)),
    }
}

/// What a worker has warm, and wants.
pub(super) fn warm(random: &mut SplitMix) -> Warm {
    let names = AFFINITIES.iter().take(1 + random.below(2) as usize);
    let pass_over = millis(random.below(60_000));
    Warm {
        names: names.map(|one| name(one)).collect(),
        wants: [Wants::Any, Wants::Only, Wants::Prefer { pass_over }][random.below(3) as usize],
    }
}

/// What becomes of a queue's supply. Whether a worker takes such tasks is said of live workers, and is not drawn.
pub(super) fn supply_change(random: &mut SplitMix, tasks: [TaskSpec; 2]) -> SupplyChange {
    if random.once_in(4) {
        return SupplyChange::Unset;
    }
    let min = 1 + random.below(4) as u32;
    let templates = tasks.map(|task| Template {
        weight: 1 + random.below(4) as u32,
        task: TaskSpec { id: TaskId::unset(), params: json(r#"{"n":"{{index}}"}"#), ..task },
    });
    let plan = SupplyPlan {
        min,
        target: min + random.below(6) as u32,
        templates: templates.into(),
        while_asked: false,
        paused: random.once_in(5),
    };
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&random.next().to_be_bytes());
    SupplyChange::Set { plan: Box::new(plan), seed }
}

/// What becomes of a schedule.
pub(super) fn schedule_change(random: &mut SplitMix, task: TaskSpec, now: Timestamp) -> ScheduleChange {
    match random.below(8) {
        0 => ScheduleChange::Remove,
        1 => ScheduleChange::Pause,
        2 => ScheduleChange::Resume,
        _ => {
            let most = 1 + random.below(3) as u32;
            let plan = Plan {
                rhythm: Rhythm::Every(millis(5_000 + random.below(120_000))),
                if_missed: [IfMissed::Skip, IfMissed::Once, IfMissed::All(most)][random.below(3) as usize],
                late_after: millis(60_000),
                if_running: IfRunning::ALL[random.below(3) as usize],
                starts_at: random.once_in(3).then(|| now.plus(millis(random.below(60_000)))),
                ends_at: random.once_in(4).then(|| now.plus(millis(random.below(600_000)))),
                paused: random.once_in(8),
                task: TaskSpec { id: TaskId::unset(), ..task },
            };
            let mut seed = [0; 16];
            seed[..8].copy_from_slice(&random.next().to_be_bytes());
            ScheduleChange::Set { plan: Box::new(plan), seed, replace: random.once_in(2) }
        }
    }
}
